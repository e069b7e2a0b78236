"""The supervisor: asks a model for a Route, once more where it cannot be read, then decides by rule."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Any, Final, Literal, NamedTuple, cast

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langgraph.runtime import Runtime
from langgraph.types import Command, Send

from agents._kit.hints import pick_agent
from agents._kit.models import ModelGateway
from agents._kit.prompts import (
    EARLIER_RESULT_CHARS,
    SUPERVISOR_CHARS,
    write_prompt,
    write_results,
)
from agents._kit.registry import Team
from domain.agent import AgentSpec, Assignment
from domain.errors import BudgetReachedError, RunFailedError
from domain.events import SUPERVISOR
from domain.notes import NO_NOTES
from domain.routing import Route, RouteAssignment, RouteRecord
from domain.run import RunContext, StopReason
from domain.validation import VALIDATOR
from graph.calls import Call, call_model
from graph.checks import material, mend, owed, standing, to_mend, wants_check, write_check
from graph.context import run_context
from graph.progress import STALLED, Proposal, keep_within, rooms, weigh
from graph.routes import make_assignments, read_route, route_schema
from graph.state import AgentInput, Failure, Missing, State, rounds_of
from graph.steering import (
    ABOUT,
    STOPPED,
    Heard,
    Steering,
    asked,
    heard_in,
    not_followed,
    write_notes,
)

CHECK: Final = VALIDATOR
"""The node that checks the results."""

PROMPT: Final = """\
You supervise a team of agents. Read the task and the results so far, then decide who works next.
- One decision runs in parallel: only independent work. What needs a result waits for it.
- Each assignment is a complete instruction; the agent sees it and the task.
- Use as few agents as possible. Do not repeat work that has a result; try failed work once, in another way.
- When the results answer the task, or more work cannot help, return no assignments.
- Set "last" if nothing is left to decide once these assignments have a result.
- Give a "tier", above the agent's own, only where work is hard or has failed for want of thought.

The team:
{team}
"""

AGAIN: Final = (
    "That was not a usable decision: {fault}. Answer with one JSON object "
    '{{"reason": "…", "assignments": [{{"agent": "…", "task": "…"}}]}}; the agents are: {names}.'
)

USED_UP: Final = " It has had all the work it may get in this run: give it no more."

FORESEEN: Final = "The assignments before were to be the last, and all of them have a result."

REASON_CHARS: Final = 2_000
"""How much of a decision's reason is kept: it rides in every checkpoint."""


Check = Callable[[State, Runtime[RunContext]], Awaitable[Command[Any]]]
"""Checks the results of a state, and says where the run goes on."""


class Decision(NamedTuple):
    """What the supervisor came to."""

    route: RouteRecord
    missing: list[Missing]
    replanned: int = 0
    """The round, where the supervisor was asked to plan anew."""
    stalled: bool = False
    """Whether the run ends because nothing it was to do is new."""


class Supervisor:
    """The node that routes."""

    def __init__(
        self,
        team: Team,
        gateway: ModelGateway,
        *,
        check: Check | None = None,
        steering: Steering | None = None,
    ) -> None:
        self._team = team
        self._gateway = gateway
        self._check = check
        self._steering = steering or Steering(NO_NOTES, gateway)

    async def __call__(
        self, state: State, runtime: Runtime[RunContext]
    ) -> Command[Literal["answer", "validator"]]:
        """Decide the next round, or go to the answer, by way of the validator where it is to be checked."""
        specs = self._allowed(run_context(runtime))
        round_ = state.get("round", 0) + 1
        heard = await self._steering.hear(state, run_context(runtime))
        foreseen = None if heard.new else _foreseen(state)
        try:
            decision = foreseen or await self._decide(state, runtime, specs, round_, heard)
        except BudgetReachedError:
            raise
        except RunFailedError as error:
            return await self._end(state, runtime, _give_up(state, error))
        assignments = decision.route["assignments"]
        after = _after_check(state)
        route = RouteRecord(**decision.route, check=after) if after else decision.route
        update: State = {
            "routes": [heard_in(route, heard)],
            "missing": [*decision.missing, *not_followed(heard)],
        }
        if heard.new:
            update["notes"] = list(heard.new)
        if decision.replanned:
            update["replanned"] = decision.replanned
        if not assignments:
            stop: StopReason = "no_progress" if decision.stalled else "done"
            return await self._end(state, runtime, {**update, "stop_reason": stop})
        if rounds_of(state) >= run_context(runtime).max_rounds:
            # The route is dropped: what was not carried out must not show as decided.
            return await self._end(state, runtime, {"stop_reason": "max_rounds"})
        return Command(
            goto=[_send(state, assignment, heard) for assignment in assignments],
            update={**update, "round": round_},
        )

    async def _end(
        self, state: State, runtime: Runtime[RunContext], update: State
    ) -> Command[Literal["answer", "validator"]]:
        """Return the way to the answer: through the validator where the results are to be checked."""
        mode = run_context(runtime).validation
        outcomes = state.get("outcomes", [])
        if self._check is None or not wants_check(mode, state["task"], outcomes):
            return Command(goto="answer", update=update)
        if self._gateway.engine == "model":
            return Command(goto=CHECK, update=update)
        # A check by rule alone can be repeated for nothing: it needs no step, and so no checkpoint, of its own.
        checked = await self._check(cast("State", {**state, **update}), runtime)
        found = cast("State", checked.update)
        missing = [*update.get("missing", []), *found.get("missing", [])]
        merged: State = {**update, **found, "missing": missing}
        return Command(goto=checked.goto, update=merged)

    def _allowed(self, context: RunContext) -> tuple[AgentSpec, ...]:
        names = context.agents
        specs = tuple(s for s in self._team.routable if names is None or s.name in names)
        if not specs:
            msg = f"None of the agents this run may use ({', '.join(names or ())}) is part of this server."
            raise RunFailedError(msg, code="run-incompatible")
        return specs

    async def _decide(
        self,
        state: State,
        runtime: Runtime[RunContext],
        specs: tuple[AgentSpec, ...],
        round_: int,
        heard: Heard,
    ) -> Decision:
        messages = self._messages(state, specs, run_context(runtime), heard)
        named = f"notes{heard.total}." if heard.total else ""
        first = await self._propose(messages, state, runtime, specs, round_, name=named)
        if first.route is None:
            return self._fall_back(state, specs, round_, first.fault)
        # What the caller has said is a reason to do again what was done.
        if not first.stall or heard.new:
            return Decision(_with_owed(first.route, state, specs), [])
        if state.get("replanned"):
            return _stopped(first, round_)
        again = HumanMessage(STALLED.format(why=first.stall))
        second = await self._propose(
            [*first.messages, again], state, runtime, specs, round_, name=f"{named}replan."
        )
        if second.route is None:
            found = first._replace(brief=f"{first.brief}; asked again, {second.fault}")
            return _stopped(found, round_)
        if second.stall:
            return _stopped(second, round_)
        reason = f"{second.route['reason']} (Planned anew: {first.brief}.)"
        route = RouteRecord(**{**second.route, "reason": reason[:REASON_CHARS]})
        return Decision(route, [], replanned=round_)

    async def _propose(
        self,
        messages: list[BaseMessage],
        state: State,
        runtime: Runtime[RunContext],
        specs: tuple[AgentSpec, ...],
        round_: int,
        *,
        name: str = "",
    ) -> Proposal:
        """Return what the model decides; asked once more where that is not usable."""
        fault, after, context = "", _after_check(state), run_context(runtime)
        for question in range(2):
            key = f"{f'check{after}.' if after else ''}{name}{question}"
            tier = self._gateway.get_model_for_task("decision", None).tier
            call = Call(SUPERVISOR, tier, round_, key)
            message = await self._ask(messages, runtime, specs, call)
            said = [*messages, AIMessage(message.text or "{}")]
            route = read_route(message, state["task"])
            if route is None:
                fault = "it could not be read"
            else:
                assignments = make_assignments(route, specs, round_, most=context.max_tier)
                if assignments or (_may_end(state) and not route.assignments):
                    proposal = Proposal(said, _as_said(route, assignments, round_))
                    last = rounds_of(state) >= context.max_rounds
                    weighed = weigh(proposal, state, specs, last=last)
                    # The planner would only say it again, and has few rounds in any case.
                    offline = self._gateway.engine == "offline"
                    return weighed._replace(stall="") if offline else weighed
                fault = (
                    "it names no agent of this team"
                    if route.assignments
                    else "nobody has worked yet"
                )
            names = ", ".join(spec.name for spec in specs)
            messages = [*said, HumanMessage(AGAIN.format(fault=fault, names=names))]
        return Proposal(messages, None, fault)

    def _fall_back(
        self, state: State, specs: tuple[AgentSpec, ...], round_: int, fault: str
    ) -> Decision:
        """Decide by rule: at first the agent the task suggests, later the end."""
        missing = Missing(agent=SUPERVISOR, reason=f"its decision was replaced by a rule: {fault}")
        reason = f"The supervisor's decision was not usable ({fault})"
        if _may_end(state):
            return Decision(
                _record(round_, f"{reason}; the results so far are the answer.", []), [missing]
            )
        spec = pick_agent(state["task"], specs)
        route = Route(reason="", assignments=[RouteAssignment(agent=spec.name, task=state["task"])])
        assignments = make_assignments(route, [spec], round_)
        return Decision(
            _record(round_, f"{reason}; a rule chose {spec.name}.", assignments), [missing]
        )

    async def _ask(
        self,
        messages: Sequence[BaseMessage],
        runtime: Runtime[RunContext],
        specs: tuple[AgentSpec, ...],
        call: Call,
    ) -> AIMessage:
        schema = route_schema(specs, most=run_context(runtime).max_tier)
        return await call_model(self._gateway, runtime, call, messages, schema=schema)

    def _messages(
        self, state: State, specs: tuple[AgentSpec, ...], context: RunContext, heard: Heard
    ) -> list[BaseMessage]:
        outcomes = state.get("outcomes", [])
        room = rooms(outcomes, specs)
        results = write_results(
            standing(outcomes, state.get("checks", [])), together=SUPERVISOR_CHARS
        )
        prompt = write_prompt(
            state["task"], earlier=context.earlier, files=context.files, results=results
        )
        check = to_mend(state)
        if check:
            prompt += f"\n\n{write_check(check)}"
        used_up = frozenset(name for name, left in room.items() if not left)
        system, notes = instructions(specs, used_up), write_notes(state, heard.new)
        if notes:
            # Last, so that what stands before stays as a provider has it cached.
            system, prompt = f"{system}{ABOUT}", f"{prompt}\n\n{notes}"
        return [SystemMessage(system), HumanMessage(prompt)]


def instructions(specs: Iterable[AgentSpec], used_up: Collection[str] = ()) -> str:
    """Return the supervisor's prompt for a team; `used_up`: those of it that have had all their work."""
    team = "\n".join(
        f"- {spec.name} ({spec.tier}): {spec.description}{USED_UP if spec.name in used_up else ''}"
        for spec in specs
    )
    return PROMPT.format(team=team)


def _may_end(state: State) -> bool:
    """Return whether a decision may be that nothing is left to do: not before anybody has worked."""
    return bool(state.get("outcomes")) or rounds_of(state) > 0


def _record(round_: int, reason: str, assignments: list[Assignment]) -> RouteRecord:
    return RouteRecord(round=round_, reason=reason[:REASON_CHARS], assignments=assignments)


def _as_said(route: Route, assignments: list[Assignment], round_: int) -> RouteRecord:
    """Return the record of a decision; the last one it only is where all that it names is carried out."""
    record = _record(round_, route.reason, assignments)
    if route.last and assignments and len(assignments) == len(route.assignments):
        record["last"] = True
    return record


def _foreseen(state: State) -> Decision | None:
    """Return the end of a run whose last decision has said that it is the last, if all of it has succeeded.

    It is the one decision that is known before it is made: asking for it would cost a call that reads
    every result, and the time of it.
    """
    routes, round_ = state.get("routes", []), state.get("round", 0)
    route = routes[-1] if routes else None
    if route is None or not route.get("last") or owed(state.get("checks", []), round_):
        return None
    if route["round"] != round_ or _unfinished(route, state):
        return None
    return Decision(_record(round_ + 1, FORESEEN, []), [])


def _unfinished(route: RouteRecord, state: State) -> bool:
    """Return whether anything of a decision has failed, or is not there."""
    done = {
        outcome["path"]
        for outcome in state.get("outcomes", [])
        if outcome["round"] == route["round"] and outcome["status"] == "completed"
    }
    return not {assignment["path"] for assignment in route["assignments"]} <= done


def _stopped(proposal: Proposal, round_: int) -> Decision:
    """Return the end of a run in which nothing new was to be done, twice."""
    why = f"{STOPPED}: {proposal.brief}"
    route = _record(round_, f"The run is ended for want of progress: {proposal.brief}.", [])
    return Decision(route, [Missing(agent=SUPERVISOR, reason=why)], round_, stalled=True)


def _after_check(state: State) -> int:
    """Return the number of the check whose demands are decided about; 0 where it is about none."""
    check = owed(state.get("checks", []), state.get("round", 0))
    return check["number"] if check else 0


def _send(state: State, assignment: Assignment, heard: Heard) -> Send:
    results = write_results(material(state, assignment["agent"]), limit=EARLIER_RESULT_CHARS)
    payload = AgentInput(
        task=asked(state, heard.new),
        results=results,
        assignment=assignment,
    )
    return Send(assignment["agent"], payload)


def _with_owed(decided: RouteRecord, state: State, specs: Sequence[AgentSpec]) -> RouteRecord:
    """Return a decision that does not leave undone what a check has demanded."""
    check = owed(state.get("checks", []), state.get("round", 0))
    if decided["assignments"] or check is None:
        return decided
    route = mend(check, state.get("outcomes", []), specs)
    assignments = make_assignments(route, specs, decided["round"])
    assignments, _ = keep_within(assignments, state.get("outcomes", []), specs)
    return _record(decided["round"], route.reason, assignments) if assignments else decided


def _give_up(state: State, error: RunFailedError) -> State:
    """Return the end of a run whose supervisor cannot be reached: with what there is, or as a failure."""
    late = error.code == "deadline-exceeded"
    update: State = {"stop_reason": "deadline" if late else "error", "unsteered": True}
    if any(outcome["status"] == "completed" for outcome in state.get("outcomes", [])):
        update["missing"] = [Missing(agent=SUPERVISOR, reason=error.detail)]
        update["stop_reason"] = "deadline" if late else "done"
    else:
        update["failure"] = Failure(
            code=error.code, detail=f"The supervisor could not decide: {error.detail}"
        )
    return update
