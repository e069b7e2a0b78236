"""The tables. Each has `tenant_id`; each index is led by what the query that needs it knows."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    true,
)

from service.store.columns import Money, UtcDateTime, optional_json

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

runs: Final = Table(
    "runs",
    metadata,
    Column("id", String, primary_key=True),
    Column("tenant_id", String, nullable=False),
    Column("thread_id", String, nullable=False),
    Column("status", String, nullable=False),
    Column("stop_reason", String),
    Column("task", Text, nullable=False),
    Column("result", optional_json()),
    Column("required_action", optional_json()),
    Column("error", optional_json()),
    Column("degraded", JSON, nullable=False),
    Column("actions", JSON, nullable=False),
    Column("cache", optional_json()),
    Column("max_rounds", Integer, nullable=False),
    # The other limits: see `domain.budget.Limits`.
    Column("budget", optional_json()),
    # Seconds that its segments have taken, but for the one under way, and when that was claimed.
    Column("ran_seconds", Float, nullable=False, server_default="0"),
    Column("claimed_at", UtcDateTime),
    Column("last_seq", Integer, nullable=False),
    Column("trace_url", String),
    Column("graph_version", String, nullable=False),
    Column("rounds", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("engine", String, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("metadata", JSON, nullable=False),
    Column("tags", JSON, nullable=False),
    # NULL means every routable agent, which an empty list must not come to mean.
    Column("agents", optional_json()),
    # Which key created it; what may execute at the same time is counted by it.
    Column("caller_id", String, nullable=False, server_default="default"),
    # How many of that key's runs may be `running` at the same time, where it has a number of its own.
    Column("caller_places", Integer),
    # When a person is asked; see `domain.run.ApprovalMode`.
    Column("approval_mode", String, nullable=False, server_default="policy"),
    Column("validation", String, nullable=False, server_default="off"),
    # What its answer is to be had as, beside its text.
    Column("output_schema", optional_json()),
    # How often an artifact of it was written: where that is 0, nobody has to look for any.
    Column("artifacts", Integer, nullable=False, server_default="0"),
    # Name and size of what came with the task; the bytes lie in the run's workspace.
    Column("files", optional_json()),
    # What runs have in common that may share an answer, how old that may be, and whether of the web too.
    Column("cache_key", String),
    Column("cache_seconds", Integer),
    Column("cache_web", Boolean, nullable=False, server_default=false()),
    # The run under way whose answer it waits for.
    Column("leader_id", String),
    # Whether others may have its answer: see `service.store.reuse`.
    Column("reusable", String),
    # Since when what its answer rests on is known, where that is not since its end.
    Column("as_of", UtcDateTime),
    # Where it reports to: see `domain.webhook.Webhook`.
    Column("webhook", optional_json()),
    # The span that it was created in: see `domain.tracing`.
    Column("traceparent", String),
    # The attempt whose end the last retry goes on from; see `service.store.retrying`.
    Column("retried_after", Integer, nullable=False, server_default="0"),
    # How many notes it has had, and whether it takes no more; see `service.store.notes`.
    Column("notes", Integer, nullable=False, server_default="0"),
    Column("notes_closed", Boolean, nullable=False, server_default=false()),
    # See `domain.run.ForkedFrom`; that run may be gone.
    Column("forked_from", optional_json()),
    # How far housekeeping has come with it; see `service.store.housekeeping`.
    Column("tidied", Integer, nullable=False, server_default="0"),
)

# A tenant's runs, newest first. Run ids sort by time of creation.
Index(None, runs.c.tenant_id, runs.c.id)
# A thread's runs in order: its list, its earlier turns, and whether an earlier run still blocks.
Index(None, runs.c.tenant_id, runs.c.thread_id, runs.c.id)
# Led by the status alone, so that the dispatcher's look across tenants is served as well.
Index(None, runs.c.status, runs.c.tenant_id, runs.c.id)
# What housekeeping has to do next.
Index(None, runs.c.tidied, runs.c.ended_at)
# A tenant's runs since a time, which may be few among very many.
Index(None, runs.c.tenant_id, runs.c.created_at)

# The answer to a task that was given before, and the run that works on it now.
Index(None, runs.c.tenant_id, runs.c.cache_key, runs.c.ended_at)
# Who waits for a run's answer.
Index(None, runs.c.leader_id)

run_tags: Final = Table(
    "run_tags",
    metadata,
    Column("tenant_id", String, primary_key=True),
    Column("tag", String, primary_key=True),
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True, index=True),
)
"""The runs of a tag. `runs.tags` keeps them as they were sent; only this one is searched."""

seeds: Final = Table(
    "seeds",
    metadata,
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("tenant_id", String, nullable=False),
    # See `domain.forking.Seed`.
    Column("seed", JSON, nullable=False),
)
"""What a fork begins with: it needs nothing of the run that it was forked from."""

events: Final = Table(
    "events",
    metadata,
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("tenant_id", String, nullable=False),
    Column("key", String, nullable=False),
    Column("type", String, nullable=False),
    Column("ts", UtcDateTime, nullable=False),
    Column("agent", String),
    Column("path", String),
    Column("round", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("data", JSON, nullable=False),
    UniqueConstraint("run_id", "key"),
)

usage: Final = Table(
    "usage",
    metadata,
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("key", String, primary_key=True),
    Column("tenant_id", String, nullable=False),
    Column("ts", UtcDateTime, nullable=False),
    Column("agent", String, nullable=False),
    Column("model", String, nullable=False),
    Column("tier", String, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    # NULL is an unknown price; a call that cost nothing has "0".
    Column("cost_usd", Money),
    Column("reasoning_tokens", BigInteger, nullable=False, server_default="0"),
    Column("round", Integer, nullable=False, server_default="0"),
    # See `domain.usage.CallStatus`; `open` while it is being made.
    Column("status", String, nullable=False, server_default="completed"),
    # Whether the provider has told what it used.
    Column("metered", Boolean, nullable=False, server_default=true()),
    # The most it could use: what is set aside while it is open, and counts where nobody told.
    Column("most_tokens", BigInteger, nullable=False, server_default="0"),
    Column("most_cost_usd", Money),
    # Of calls that were not made because another run had made them: what they cost it.
    Column("saved_cost_usd", Money),
)
"""The model calls of a run, one row each."""

# A tenant's calls between two days.
Index(None, usage.c.tenant_id, usage.c.ts)

artifacts: Final = Table(
    "artifacts",
    metadata,
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    # Its path in the workspace, which may be any text but for NUL.
    Column("name", String, primary_key=True),
    Column("tenant_id", String, nullable=False),
    # Under which the shelf has it.
    Column("sha256", String, nullable=False),
    Column("media_type", String, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("agent", String, nullable=False),
    Column("round", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)
"""The files that a run has produced, each in its last version."""

feedback: Final = Table(
    "feedback",
    metadata,
    Column("id", String, primary_key=True),
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("tenant_id", String, nullable=False),
    Column("key", String, nullable=False),
    # A number, or whether it is so.
    Column("score", optional_json()),
    Column("comment", Text),
    Column("caller_id", String, nullable=False),
    # The idempotency key it came with.
    Column("sent_with", String),
    Column("created_at", UtcDateTime, nullable=False),
)
"""What callers think of runs."""

Index(None, feedback.c.run_id, feedback.c.id)

cache: Final = Table(
    "cache",
    metadata,
    Column("tenant_id", String, primary_key=True),
    Column("key", String, primary_key=True),
    # What it is of: see `domain.caching.Kind`.
    Column("kind", String, nullable=False),
    # Whose work it was: it goes with its run.
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("value", JSON, nullable=False),
    # Whether it rests on the web.
    Column("web", Boolean, nullable=False, server_default=false()),
    Column("created_at", UtcDateTime, nullable=False),
)
"""Work that is done once for several runs; the answers of whole runs are with the runs themselves."""

# What housekeeping drops next, and a tenant's newest.
Index(None, cache.c.created_at)
Index(None, cache.c.tenant_id, cache.c.created_at)

idempotency: Final = Table(
    "idempotency",
    metadata,
    Column("tenant_id", String, primary_key=True),
    Column("scope", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("digest", String, nullable=False),
    # Deferred: the record is written before its run, because writing it is what finds a known key.
    Column(
        "run_id",
        ForeignKey("runs.id", ondelete="CASCADE", deferrable=True, initially="DEFERRED"),
        nullable=False,
        index=True,
    ),
    Column("created_at", UtcDateTime, nullable=False),
)

actions: Final = Table(
    "actions",
    metadata,
    # The approval's id, also where nobody was asked.
    Column("id", String, primary_key=True),
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("tenant_id", String, nullable=False),
    Column("thread_id", String, nullable=False),
    Column("type", String, nullable=False),
    Column("agent", String, nullable=False),
    Column("path", String, nullable=False),
    Column("round", Integer, nullable=False),
    # Turn and position of the call, or the interrupt of an outside graph.
    Column("call", String, nullable=False),
    Column("tool", String),
    # As they were asked for; what an edit made of them is in the decision.
    Column("args", optional_json()),
    # Of the call as it would run.
    Column("args_digest", String),
    # Where the question stands; NULL where nobody was asked.
    Column("approval", String),
    # Where the action stands; NULL where there is none, as with a question to the user.
    Column("status", String),
    Column("description", Text, nullable=False),
    Column("response_schema", optional_json()),
    # Who may decide: `any` or `other`.
    Column("decided_by", String, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("on_expiry", String, nullable=False),
    Column("decision", optional_json()),
    Column("created_at", UtcDateTime, nullable=False),
    # Under which claim of the run it was started last.
    Column("attempt", Integer),
    Column("started_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    # What the tool answered, for an agent that asks again after a crash.
    Column("result", Text),
    # The files that it left, for the same reason.
    Column("artifacts", optional_json()),
    Column("settled_by", String),
    # The later action of a retried run that stands for it: see `service.store.repeats`.
    Column("taken_up_by", String),
)
"""What tools do to the world, and what people are asked: an approval is such a row before it is started."""

# The inbox, newest first.
Index(None, actions.c.tenant_id, actions.c.created_at, actions.c.id)
# What housekeeping closes next.
Index(None, actions.c.approval, actions.c.expires_at)

spent: Final = Table(
    "spent",
    metadata,
    Column("tenant_id", String, primary_key=True),
    # In UTC, as `2030-01-02`.
    Column("day", String, primary_key=True),
    Column("caller_id", String, primary_key=True),
    Column("agent", String, primary_key=True),
    Column("model", String, primary_key=True),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("calls", BigInteger, nullable=False),
    Column("unmetered_calls", BigInteger, nullable=False),
    # How many of the calls have a known price, and what these cost.
    Column("priced_calls", BigInteger, nullable=False),
    Column("cost_usd", Money),
    # Pieces that were had from other runs, how many of them have a known price, and what these cost there.
    Column("cached_pieces", BigInteger, nullable=False),
    Column("priced_pieces", BigInteger, nullable=False),
    Column("saved_usd", Money),
    # What counts against the limits of a day: the most there could be where nobody told.
    Column("counted_tokens", BigInteger, nullable=False),
    Column("counted_usd", Money),
)
"""What the runs came to that were deleted, without anything of them: their calls, summed."""

erased_runs: Final = Table(
    "erased_runs",
    metadata,
    Column("run_id", String, primary_key=True),
    Column("tenant_id", String, nullable=False),
    Column("erased_at", UtcDateTime, nullable=False),
)
"""Runs that were deleted, for as long as something of them may lie in a folder of some machine."""

Index(None, erased_runs.c.erased_at, erased_runs.c.run_id)

erased_keys: Final = Table(
    "erased_keys",
    metadata,
    Column("tenant_id", String, primary_key=True),
    # Of route and key: a key may be any text, also one that says something.
    Column("digest", String, primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
)
"""Idempotency keys whose run was deleted: they make no second one."""

Index(None, erased_keys.c.created_at)

notes: Final = Table(
    "notes",
    metadata,
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("tenant_id", String, nullable=False),
    Column("id", String, nullable=False),
    Column("text", Text, nullable=False),
    Column("by", String, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    # The digest of the idempotency key that it came with.
    Column("request", String),
)
"""What callers have said to runs under way, in order."""
