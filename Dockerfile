# The image of every shape (docs/deployment.md): one process with SQLite, API processes and workers on Postgres, the
# services of single agents, and the sandbox beside them, in which programs run.
#
# A tag names a version and can be moved; a digest cannot. To build on one that you have looked at:
#   docker build --build-arg BASE=python:3.11.14-slim-bookworm@sha256:…
ARG BASE=python:3.11.14-slim-bookworm

# What is installed, apart from what is needed to install it.
FROM ${BASE} AS build

ENV PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore

WORKDIR /app

# Two environments, so that programs find none of the service's packages, and neither has a pip to install more.
# What changes rarely comes first.
COPY requirements-sandbox.txt ./
RUN python -m venv --without-pip /opt/sandbox \
    && python -m pip --python /opt/sandbox/bin/python install --require-hashes -r requirements-sandbox.txt \
    && /opt/sandbox/bin/python -m compileall -q /opt/sandbox/lib
COPY requirements.txt ./
RUN python -m venv --without-pip /opt/signalbox \
    && python -m pip --python /opt/signalbox/bin/python install --require-hashes -r requirements.txt \
    && /opt/signalbox/bin/python -m compileall -q /opt/signalbox/lib

# Only what the service is made of; tests, tools of the trade and local data stay outside.
COPY pyproject.toml requirements.in LICENSE api.py ./
COPY agents agents
COPY domain domain
COPY graph graph
COPY monitoring monitoring
COPY service service
COPY signalbox signalbox
COPY tools tools
COPY web web
# Offline: the build backend is pinned in requirements.txt like everything else.
RUN python -m pip --python /opt/signalbox/bin/python install --no-deps --no-build-isolation --editable . \
    && /opt/signalbox/bin/python -m compileall -q /app


FROM ${BASE}

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PATH=/opt/signalbox/bin:$PATH

# An account without rights or shell. The folders are there already, so that volumes get its ownership; beside them
# and /tmp nothing is written, so the root may be read-only.
RUN useradd --system --uid 10001 --user-group --home-dir /data --shell /usr/sbin/nologin signalbox \
    && install --directory --owner=signalbox --group=signalbox --mode=0750 /data /data/workspaces /run/sandbox

COPY --from=build /opt/sandbox /opt/sandbox
COPY --from=build /opt/signalbox /opt/signalbox
COPY --from=build /app /app

WORKDIR /app
# By number, so that Kubernetes can see that it is not root.
USER 10001:10001
VOLUME /data

ENV SIGNALBOX_HOST=0.0.0.0 \
    SIGNALBOX_PORT=8000 \
    SIGNALBOX_DATA_DIR=/data \
    SIGNALBOX_DATABASE_URL=sqlite:////data/signalbox.db \
    SIGNALBOX_SANDBOX_PYTHON=/opt/sandbox/bin/python
# docker build --build-arg REVISION="$(git rev-parse --short HEAD)"; empty means not told.
ARG REVISION=""
ENV SIGNALBOX_REVISION=$REVISION
EXPOSE 8000

# Any answer but 2xx raises, and the process then exits with 1. The image has no curl.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['SIGNALBOX_PORT'] + '/health/ready', timeout=4)"]

# Without a shell between them, SIGTERM reaches the server; its runs go on at the next start, or in another worker.
CMD ["signalbox", "serve"]
