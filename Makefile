# `make help` lists the targets. What a command prints is its output: set-up talks on stderr only.

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
SHELL := /bin/sh

# The first interpreter that is new enough; PYTHON=/path/to/python overrules it.
PYTHON ?= $(shell for python in python3 python3.11 python3.12 python3.13 python3.14; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
# Programs have an interpreter of their own, so that they can read none of the service's packages.
SANDBOX := $(VENV)/sandbox
INSTALLED_SANDBOX := $(VENV)/.installed-sandbox
# LangGraph's development server wants other versions of what the service and its tests use (requirements-langgraph.in).
LANGGRAPH := $(VENV)/langgraph
INSTALLED_LANGGRAPH := $(VENV)/.installed-langgraph

TASK ?= Compute the mean, growth and trend of 120, 135, 150, 149, 171 and, independently, look up what a context manager is in Python
# The task reaches the program through the environment, untouched: `value` keeps make from expanding
# its dollars, and no shell line ever contains it.
override TASK := $(value TASK)
export TASK

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

# At most four: more processes start slower than they test. The everyday tests wait for programs that they start, so
# one more than there are cores.
PYTEST := $(BIN)/pytest -n auto --maxprocesses 4
CORES = $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
EVERYDAY = $(BIN)/pytest -n $(shell expr $(CORES) + 1) --maxprocesses 4

# What is the same on every database: requests that are refused, tools and models by themselves.
ANYWHERE := bad_input exfiltration agents_alone emulation sandbox_robust tables research context told_usage hostile about \
	hosted oidc client client_bounds client_files client_hostile client_models client_streams browsers canaries log_lines openai_chat openai_responses recording commands commands_hostile commands_together runs_commands structured providers rate_limits doctor doctor_checks health model_faults model_calls stopping validation disagreement offline gates metrics
# What asks of who executes runs; the rest asks Postgres the same with and without the queue.
TURNS := create_run threads cancel approvals approval_rounds asking_users doubt event_stream event_reconnect cache \
	budgets budget_questions rounds short_form retention retry metrics
OVER := tests/integration -m "not slow" $(ANYWHERE:%=--ignore tests/integration/test_%.py)

.PHONY: help install dev langgraph run demo serve test test-slow test-times test-web test-all lint format lock audit env-example check bench chaos fuzz

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

install: ## make .venv with the pinned packages (every target does it when needed)
	@$(MAKE) -s -j2 $(INSTALLED) $(INSTALLED_SANDBOX)

dev: ## the same with the tools for tests and lint
	@$(MAKE) -s -j2 $(INSTALLED_DEV) $(INSTALLED_SANDBOX)

langgraph: $(INSTALLED_LANGGRAPH) ## LangGraph's development server in .venv/langgraph, for langgraph.json (docs/langgraph.md)

run: install ## answer one task: make run TASK="…"; progress on stderr, the run as JSON on stdout
	@$(BIN)/signalbox run -- "$$TASK"

demo: install ## start a server with its page and play a run that stops to ask you; Ctrl-C ends it, and leaves nothing
	@$(BIN)/signalbox demo

serve: install ## start the API on http://127.0.0.1:8000
	@$(BIN)/signalbox serve

test: dev ## the everyday tests: of every file the first ones, of every test one case
	@$(EVERYDAY) -m "not slow and not thorough"
	@echo "These were the everyday tests; make test-slow and make test-web run the rest."

# All of them, so that one run shows everything there is to mend.
test-slow: dev langgraph ## all others: every further case, real processes, kills, restarts; then HTTP over Postgres
	@failed=0; \
	$(PYTEST) -m "thorough and not slow" || failed=1; \
	REQUIRE_LANGGRAPH=1 $(PYTEST) -m "slow and not browser" || failed=1; \
	$(PYTEST) $(TURNS:%=tests/integration/test_%.py) -m "not slow" --over postgres-local || failed=1; \
	$(PYTEST) $(OVER) --over postgres-queue || failed=1; \
	exit $$failed

test-times: dev ## the everyday tests one by one, and the thirty that take longest
	@$(BIN)/pytest -m "not slow and not thorough" --durations 30 --durations-min 0.1

test-web: dev ## the page in a browser (Chromium, or what CHROMIUM names; skipped without one); pictures in build/pictures
	@$(BIN)/pytest -n 2 -m browser

test-all: dev ## every test
	@$(PYTEST)

# All of them, so that one run shows everything there is to mend.
lint: $(INSTALLED_DEV) ## style, format, types, layers, spelling
	@failed=; for step in "ruff check ." "ruff format --check ." mypy "lint-imports --no-cache" codespell; do \
		echo "-- $$step"; $(BIN)/$$step || failed="$$failed, $$step"; done; \
	[ -z "$$failed" ] || { echo "lint: failed in$${failed#,}" >&2; exit 1; }

format: $(INSTALLED_DEV) ## mend what ruff can mend
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

check: lint test ## what to run before a commit

bench: dev ## what the service costs beside the bare graph, the queue beside one process, a run in Postgres, a decision, a program, traces
	@$(BIN)/python -m bench.overhead
	@$(BIN)/python -m bench.queue
	@$(BIN)/python -m bench.volume
	@$(BIN)/python -m bench.decisions
	@$(BIN)/python -m bench.sandbox
	@$(BIN)/python -m bench.langsmith

MODE ?= every-write

chaos: dev ## kill real processes at every write: make chaos EVERY=5; MODE=actions or survive for other kinds
	@$(BIN)/python -m tests.chaos --mode $(MODE) $(if $(EVERY),--every $(EVERY))

EXAMPLES ?= 360

fuzz: dev ## ten thousand requests that /openapi.json allows or forbids, to a real server; make fuzz EXAMPLES=50 for fewer
	@$(BIN)/python -m tests.fuzzing --examples $(EXAMPLES)

COMPILE := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command "make lock" --quiet

lock: $(INSTALLED_DEV) ## pin requirements*.in again; make lock UPGRADE=1 takes the newest
	@$(COMPILE) $(if $(UPGRADE),--upgrade) requirements.in -o requirements.txt
	@$(COMPILE) $(if $(UPGRADE),--upgrade) requirements-dev.in -o requirements-dev.txt
	@$(COMPILE) $(if $(UPGRADE),--upgrade) requirements-sandbox.in -o requirements-sandbox.txt
	@cp requirements.txt requirements-langgraph.txt # the service's own versions, wherever they will do
	@$(COMPILE) requirements-langgraph.in -o requirements-langgraph.txt

audit: dev ## look the pinned packages up in the index's advisories, as far as it has them
	@PATH="$(CURDIR)/$(BIN):$$PATH" .ci/audit requirements.txt requirements-sandbox.txt

env-example: $(INSTALLED) ## write .env.example from service/settings.py
	@$(BIN)/python -m service.commands.env_example > .env.example

# The stamps are touched last, so a set-up that was interrupted starts again. What is imported is compiled when it
# is: most of it never is. Not so in the sandbox, which may write nothing there.
$(INSTALLED): requirements.txt requirements.in pyproject.toml
	@{ [ -n "$(PYTHON)" ] && "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; } || { \
		echo "Signalbox needs Python 3.11 or newer, found: $$("$(or $(PYTHON),python3)" --version 2>&1 | head -n 1)." >&2; \
		echo "Install one, or name it: make install PYTHON=/path/to/python3.11" >&2; exit 1; }
	@[ -x $(BIN)/python ] || { echo "Making $(VENV) with $(PYTHON) (once; takes about a minute)" >&2; \
		"$(PYTHON)" -m venv $(VENV) >&2; } || { rm -rf $(VENV); \
		echo "Could not make $(VENV). On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "Installing requirements.txt" >&2
	@$(BIN)/python -m pip install --quiet --no-compile --require-hashes -r requirements.txt >&2
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e . >&2
	@touch $@

$(INSTALLED_DEV): requirements-dev.txt $(INSTALLED)
	@echo "Installing requirements-dev.txt" >&2
	@$(BIN)/python -m pip install --quiet --no-compile --require-hashes -r requirements-dev.txt >&2
	@touch $@

$(INSTALLED_LANGGRAPH): requirements-langgraph.txt $(INSTALLED_DEV)
	@echo "Installing requirements-langgraph.txt" >&2
	@[ -x $(LANGGRAPH)/bin/python ] || $(BIN)/python -m venv --without-pip $(LANGGRAPH) >&2
	@$(BIN)/uv pip install --quiet --python $(LANGGRAPH)/bin/python --require-hashes -r requirements-langgraph.txt >&2
	@touch $@

# Without pip of its own: nothing can be installed from inside. The font list takes seconds, so it is made now.
$(INSTALLED_SANDBOX): requirements-sandbox.txt $(INSTALLED)
	@echo "Installing requirements-sandbox.txt" >&2
	@[ -x $(SANDBOX)/bin/python ] || $(BIN)/python -m venv --without-pip $(SANDBOX) >&2
	@$(BIN)/python -m pip --python $(SANDBOX)/bin/python install --quiet --require-hashes \
		-r requirements-sandbox.txt >&2
	@MPLCONFIGDIR=$(SANDBOX)/matplotlib $(SANDBOX)/bin/python -c "import matplotlib.font_manager" >&2
	@touch $@
