"""Says what a run of the adversary must come to: a second, plain account of when a supervisor is stopped."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final, NamedTuple

from domain.agent import TIERS, AgentSpec
from tests.fakes.adversary import Said, Script, Wanted, answer_of

Given = list[list[tuple[str, str, str | None]]]
"""Agent, task and raised tier of each assignment, round by round."""


class Expected(NamedTuple):
    """What a run comes to."""

    status: str
    stop: str
    given: Given
    questions: int
    """Calls of the supervisor's model for decisions."""


class _RefusedError(Exception):
    """The model cannot be reached."""


class _Work(NamedTuple):
    agent: str
    words: tuple[str, ...]


class Oracle:
    """Plays one script by hand."""

    def __init__(self, script: Script, team: Sequence[AgentSpec]) -> None:
        self._script: Final = script
        self._team: Final = {
            spec.name: spec for spec in team if script.agents is None or spec.name in script.agents
        }
        self._questions = 0
        self._given: Given = []
        self._had: Counter[str] = Counter()
        self._times: Counter[tuple[str, str]] = Counter()
        self._tries: defaultdict[_Work, list[tuple[int, bool]]] = defaultdict(list)
        self._heard: set[tuple[str, tuple[str, ...]]] = set()
        self._news = 0
        self._good = False
        self._over = False
        """Whether the model has said that what was given is all, and all of it has succeeded."""

    def play(self) -> Expected:
        """Return what the run comes to."""
        try:
            stop = self._play()
        except _RefusedError:
            stop = "done" if self._good else "error"
        if stop == "done" and not self._good:
            stop = "error"
        status = "completed" if stop == "done" else "incomplete" if self._good else "failed"
        return Expected(status, stop, self._given, self._questions)

    def _play(self) -> str:
        anew = False
        while not self._over:
            first = self._ask()
            if first is None:
                if self._given:
                    return "done"
                first = [(next(iter(self._team)), self._script.task, None)]
            if not first:
                return "done"
            if len(self._given) == self._script.max_rounds:
                return "max_rounds"
            kept = self._affordable(first)
            if self._is_stale(kept):
                if anew:
                    return "no_progress"
                anew = True
                second = self._ask()
                if second == []:
                    return "done"
                kept = self._affordable(second or [])
                if self._is_stale(kept):
                    return "no_progress"
            self._carry_out(kept, last=self._says_last(kept))
        return "done"

    def _says_last(self, kept: list[tuple[str, str, str | None]]) -> bool:
        said = self._script.said(self._questions - 1)
        readable = said.shape in {"json", "fenced", "call"}
        return readable and said.last is True and len(kept) == len(said.wanted)

    def _ask(self) -> list[tuple[str, str, str | None]] | None:
        for _ in range(2):
            said = self._script.said(self._questions)
            self._questions += 1
            if said.shape == "refused":
                raise _RefusedError
            wanted = self._readable(said)
            if wanted is None:
                continue
            usable = self._usable(wanted)
            if usable or (not wanted and self._given):
                return usable
        return None

    def _readable(self, said: Said) -> list[Wanted] | None:
        if said.shape == "unreadable":
            return None
        if said.shape == "compact":
            return [Wanted(w.agent, self._script.task) for w in said.wanted]
        return list(said.wanted)

    def _usable(self, wanted: list[Wanted]) -> list[tuple[str, str, str | None]]:
        found: dict[tuple[str, str], str | None] = {}
        for agent, task, tier in wanted:
            if agent in self._team and task.strip():
                found.setdefault((agent, task.strip()[:8000]), self._tier(agent, tier))
        return [(agent, task, tier) for (agent, task), tier in found.items()][:12]

    def _tier(self, agent: str, wanted: str | None) -> str | None:
        order = list(TIERS)
        spec = self._team[agent]
        if wanted not in order or spec.graph is not None:
            return None
        rank = min(order.index(wanted), order.index(self._script.max_tier))
        return order[rank] if rank > order.index(spec.tier) else None

    def _affordable(
        self, wanted: list[tuple[str, str, str | None]]
    ) -> list[tuple[str, str, str | None]]:
        had, kept = self._had.copy(), []
        for each in wanted:
            had[each[0]] += 1
            if had[each[0]] <= self._team[each[0]].max_assignments:
                kept.append(each)
        return kept

    def _is_stale(self, wanted: list[tuple[str, str, str | None]]) -> bool:
        return all(self._is_done(_Work(agent, _words(task))) for agent, task, _ in wanted)

    def _is_done(self, work: _Work) -> bool:
        tries = self._tries[work]
        if not tries:
            return False
        if len(tries) >= 3:
            return True
        last, worked = tries[-1]
        if not worked and sum(not ok for _, ok in tries) == 1:
            return False
        return self._news <= last

    def _carry_out(self, kept: list[tuple[str, str, str | None]], *, last: bool) -> None:
        self._given.append(kept)
        round_ = len(self._given)
        worked: defaultdict[_Work, bool] = defaultdict(bool)
        self._over = last
        for agent, task, _ in kept:
            self._had[agent] += 1
            self._times[agent, task] += 1
            text = answer_of(agent, task, self._script.habits[agent], self._times[agent, task])
            worked[_Work(agent, _words(task))] |= text is not None
            if text is None:
                self._over = False
                continue
            self._good = True
            if (agent, _words(text)) not in self._heard:
                self._heard.add((agent, _words(text)))
                self._news = round_
        for work, ok in worked.items():
            self._tries[work].append((round_, ok))


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.lower().split())
