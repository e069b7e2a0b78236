"""What a caller may set a run's limits to, and what raises a budget that is reached."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from pydantic import ValidationError

from agents._kit.cleaning import clean_text
from domain.approval import Approval, ToolAction
from domain.errors import CallerError
from domain.limits import AMOUNTS, RAISE, BudgetRules, Limits, raises
from domain.problems import Code, Pointer


def check_limits(
    limits: Limits, rules: BudgetRules, agents: Collection[str], *, prefix: str = "/budget"
) -> None:
    """Refuse limits that this server does not allow, or of agents that it does not have."""
    faults = [Pointer(pointer=f"{prefix}{at}", detail=why) for at, why in rules.above(limits)]
    faults += [
        Pointer(
            pointer=f"{prefix}/per_agent/{name}",
            detail=f"there is no agent {name[:80]!r}; the agents are {', '.join(sorted(agents))}",
        )
        for name in limits.per_agent
        if name not in agents
    ]
    if faults:
        raise _refused(faults)


def check_rounds(rounds: int | None, most: int) -> None:
    """Refuse more rounds than this server allows."""
    if rounds is not None and rounds > most:
        detail = f"{rounds} is more than this server allows ({most})"
        raise _refused([Pointer(pointer="/budget/max_rounds", detail=detail)])


def check_agents(names: Sequence[str], known: Sequence[str]) -> None:
    """Refuse agents that this server does not have."""
    for index, name in enumerate(names):
        if name not in known:
            detail = f"there is no agent {name[:80]!r}; the agents are {', '.join(known)}"
            raise _refused([Pointer(pointer=f"/agents/{index}", detail=detail)])


def read_raise(action: ToolAction, prefix: str) -> Limits:
    """Return what an edit raises a budget to; raises `CallerError` where it cannot be read."""
    where = f"{prefix}/edited_action"
    if action.name != RAISE:
        detail = f"is {action.name!r}; a budget is raised with {RAISE!r}"
        raise _refused([Pointer(pointer=f"{where}/name", detail=detail)])
    try:
        limits = Limits.model_validate(action.args)
    except ValidationError as error:
        raise _refused(
            [
                Pointer(
                    pointer="/".join([where, "args", *(str(part) for part in fault["loc"])]),
                    detail=fault["msg"],
                )
                for fault in error.errors(include_url=False)
            ]
        ) from None
    allowed = {*AMOUNTS, "per_agent", "unknown_prices"}
    other = sorted(limits.model_fields_set - allowed)
    if other:
        detail = f"does not raise this budget; it may be {', '.join(sorted(allowed))}"
        raise _refused([Pointer(pointer=f"{where}/args/{other[0]}", detail=detail)])
    return limits


def check_raise(approval: Approval, limits: Limits, prefix: str) -> None:
    """Refuse an edit after which the same limits are reached still."""
    asked = approval.action.args if approval.action else {}
    if raises(asked, limits):
        return
    told = ", ".join(f"{name} above {value}" for name, value in _flat(asked))
    if "unknown_prices" in asked:
        told = "unknown_prices 'allow'"
    detail = f"raises nothing of what was reached: send {told}"
    raise _refused([Pointer(pointer=f"{prefix}/edited_action/args", detail=detail)])


def _flat(asked: dict[str, Any]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in asked.items():
        if isinstance(value, dict):
            found += [(f"{name}.{inner}", amount) for inner, amount in _flat(value)]
        else:
            found.append((name, value))
    return found


def _refused(faults: Sequence[Pointer]) -> CallerError:
    code: Code = "validation-error"
    # Half a surrogate pair can stand in a name that was sent, and cannot be sent back.
    faults = [
        Pointer(pointer=clean_text(fault["pointer"]), detail=clean_text(fault["detail"]))
        for fault in faults
    ]
    told = "; ".join(f"{fault['pointer']}: {fault['detail']}" for fault in faults)
    return CallerError(code, f"{told}.", errors=faults)
