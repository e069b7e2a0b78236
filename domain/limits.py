"""The limits of a run, what it has spent of them, and what is left."""

from __future__ import annotations

import re
from decimal import ROUND_FLOOR, Decimal
from typing import Annotated, Any, Final, Literal, NamedTuple, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictInt,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from domain.agent import TIERS, Tier
from domain.usage import Usd

RAISE: Final = "raise_budget"
"""The name of the action by which a budget is raised."""

RUN: Final = "run"
"""The scope of the limits that hold for all agents together."""

UnknownPrices = Literal["ask", "allow", "deny"]
"""What becomes of a call whose price nobody knows, while an amount of money is the limit: `ask` a person is
asked once · `allow` it is made, and counts nothing · `deny` it is not made."""

_STRICT: Final[dict[UnknownPrices, int]] = {"allow": 0, "ask": 1, "deny": 2}

AMOUNTS: Final = ("max_cost_usd", "max_tokens")
"""The limits that a person may raise when they are reached."""

MOST_USD: Final = Decimal(1_000_000)
LEAST_USD: Final = Decimal("1e-12")
"""The smallest amount there is; numbers are rounded down to it."""

MOST_TOKENS: Final = 10**12
MOST_SECONDS: Final = 30 * 86_400.0


_DECIMAL: Final = r"^(?=.*[1-9])(?:[0-9]{1,6}(?:\.[0-9]{1,12})?|1000000(?:\.0{1,12})?)$"
"""How amounts are written up to the most."""

_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
"""What is read as one: Python would also take `1_0`, ` 1 ` and digits of other scripts."""

UsdLimit = Annotated[
    Usd,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": float(LEAST_USD), "maximum": float(MOST_USD)},
                {"type": "string", "pattern": _DECIMAL},
            ]
        },
        mode="validation",
    ),
]


def whole(value: object) -> object:
    """Return a number as JSON means it: 3.0 is the integer 3."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class AgentLimits(BaseModel):
    """What one agent may spend of a run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_cost_usd: UsdLimit | None = Field(
        default=None, gt=0, le=MOST_USD, max_digits=19, decimal_places=12
    )
    max_tokens: StrictInt | None = Field(default=None, gt=0, le=MOST_TOKENS)

    @field_validator("max_cost_usd", "max_seconds", mode="before", check_fields=False)
    @classmethod
    def _is_amount(cls, value: object, info: ValidationInfo) -> object:
        # Pydantic would take `true` for 1, and seconds in a string.
        if isinstance(value, bool) or (info.field_name == "max_seconds" and isinstance(value, str)):
            msg = "must be a number"
            raise ValueError(msg)
        if isinstance(value, str) and not _NUMBER.fullmatch(value):
            msg = 'must be a number, written as in "1.50"'
            raise ValueError(msg)
        if info.field_name == "max_cost_usd" and isinstance(value, float) and 0 < value <= MOST_USD:
            # 0.1 + 0.2 has seventeen digits, which nobody meant.
            return Decimal(repr(value)).quantize(LEAST_USD, ROUND_FLOOR)
        return value

    _tokens_are_whole = field_validator("max_tokens", mode="before")(whole)


class Limits(AgentLimits):
    """What a run may spend. What is not given has no limit."""

    max_seconds: float | None = Field(default=None, gt=0, le=MOST_SECONDS, allow_inf_nan=False)
    """Of running; the time that a person takes to decide does not count."""
    per_agent: dict[str, AgentLimits] = Field(default={}, max_length=50)
    max_tier: Tier | None = None
    """The dearest tier that the supervisor may raise an assignment to."""
    unknown_prices: UnknownPrices | None = None

    def changed_by(self, changes: Limits) -> Limits:
        """Return these limits with those that are set in `changes`; agent by agent."""
        given = {name: getattr(changes, name) for name in changes.model_fields_set}
        agents = {**self.per_agent}
        for name, limits in given.pop("per_agent", {}).items():
            before = agents.get(name, AgentLimits())
            own = {each: getattr(limits, each) for each in limits.model_fields_set}
            agents[name] = before.model_copy(update=own)
        return self.model_copy(update={**given, "per_agent": agents})

    def stored(self) -> dict[str, Any] | None:
        """Return the limits as JSON; `None` where there are none."""
        return self.model_dump(mode="json", exclude_defaults=True) or None


NO_LIMITS: Final = Limits()


class BudgetRules(BaseModel):
    """What a server allows its runs to spend."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    default: Limits = NO_LIMITS
    """Each holds where a run does not say otherwise."""
    most: Limits = NO_LIMITS
    """No run may have more, nor may it be raised above."""
    per_day: AgentLimits = AgentLimits()
    """What the runs of one API key may spend together on one day (UTC)."""
    unknown_prices: UnknownPrices = "allow"

    @model_validator(mode="after")
    def _agree(self) -> Self:
        # What has no effect there would look as if it had one.
        idle = self.most.model_fields_set & {"per_agent", "unknown_prices"}
        if idle:
            msg = (
                f"most has {min(idle)}, which is no limit that all runs have; leave it out of most"
            )
            raise ValueError(msg)
        faults = self.above(self.default)
        if faults:
            where, why = faults[0]
            msg = f"default{where.replace('/', '.')}: {why}"
            raise ValueError(msg)
        return self

    def limits_of(self, asked: Limits) -> Limits:
        """Return the limits of a run that asks for some; `above` says whether it may have them."""
        limits = self.default.changed_by(asked)
        filled = {
            name: getattr(self.most, name)
            for name in ("max_cost_usd", "max_tokens", "max_seconds", "max_tier")
            if getattr(limits, name) is None and getattr(self.most, name) is not None
        }
        prices = limits.unknown_prices or self.unknown_prices
        return limits.model_copy(update={**filled, "unknown_prices": prices})

    def capped(self, limits: Limits) -> Limits:
        """Return the limits of a run of before, as far as it may have them now."""
        lower: dict[str, Any] = {}
        for name in ("max_cost_usd", "max_tokens", "max_seconds"):
            own, most = getattr(limits, name), getattr(self.most, name)
            if most is not None and (own is None or own > most):
                lower[name] = most
        tier = self.most.max_tier
        if tier and (limits.max_tier is None or TIERS.index(limits.max_tier) > TIERS.index(tier)):
            lower["max_tier"] = tier
        if _STRICT[limits.unknown_prices or "allow"] < _STRICT[self.unknown_prices]:
            lower["unknown_prices"] = self.unknown_prices
        return limits.model_copy(update=lower)

    def above(self, limits: Limits) -> list[tuple[str, str]]:
        """Return what of these limits is more than a run may have: where it stands, and why not."""
        found = [
            (f"/{name}", f"{value} is more than this server allows ({most})")
            for name in ("max_cost_usd", "max_tokens", "max_seconds")
            if (value := getattr(limits, name)) is not None
            and (most := getattr(self.most, name)) is not None
            and value > most
        ]
        found += [
            (f"/{name}", f"null would lift it, and this server allows at most {most}")
            for name in ("max_cost_usd", "max_tokens", "max_seconds", "max_tier")
            if name in limits.model_fields_set
            and getattr(limits, name) is None
            and (most := getattr(self.most, name)) is not None
        ]
        if limits.max_tier and self.most.max_tier:
            order = TIERS.index
            if order(limits.max_tier) > order(self.most.max_tier):
                detail = f"{limits.max_tier!r} is dearer than this server allows ({self.most.max_tier!r})"
                found.append(("/max_tier", detail))
        prices = limits.unknown_prices or "allow"
        said = "unknown_prices" in limits.model_fields_set
        if said and _STRICT[prices] < _STRICT[self.unknown_prices]:
            detail = f"{prices!r} is less strict than this server is ({self.unknown_prices!r})"
            found.append(("/unknown_prices", detail))
        return found


NO_RULES: Final = BudgetRules()


class Spent(BaseModel):
    """What counts against the limits."""

    model_config = ConfigDict(frozen=True)

    cost_usd: Usd = Decimal(0)
    """Of the calls whose price is known; where the provider has not told what a call used, the most it can
    have been."""
    cost_known: bool = True
    """Whether the price of every call is known."""
    tokens: int = 0
    seconds: float = 0.0


NOTHING_SPENT: Final = Spent()


class DaySpent(NamedTuple):
    """What the runs of a caller have spent on a day, and what is set aside for their calls under way."""

    tokens: int
    cost_usd: Decimal
    open_tokens: int
    open_cost_usd: Decimal


class Remaining(BaseModel):
    """What is left; null where there is no limit."""

    model_config = ConfigDict(frozen=True)

    cost_usd: Usd | None = None
    tokens: int | None = None
    seconds: float | None = None
    rounds: int | None = None


class RunBudget(Limits):
    """The limits in force for a run, with what it has spent."""

    max_rounds: int
    spent: Spent = Spent()
    remaining: Remaining = Remaining()

    @property
    def limits(self) -> Limits:
        """Return the limits alone."""
        return Limits.model_construct(**{name: getattr(self, name) for name in Limits.model_fields})


def budget_of(limits: Limits, *, max_rounds: int, rounds: int, spent: Spent) -> RunBudget:
    """Return a run's budget: its limits, and what is left of them."""

    def left(limit: Any, used: Any) -> Any:  # noqa: ANN401 - numbers of one kind
        return None if limit is None else max(limit - used, type(limit)(0))

    return RunBudget.model_construct(
        **{name: getattr(limits, name) for name in Limits.model_fields},
        max_rounds=max_rounds,
        spent=spent,
        remaining=Remaining.model_construct(
            cost_usd=left(limits.max_cost_usd, spent.cost_usd),
            tokens=left(limits.max_tokens, spent.tokens),
            seconds=left(limits.max_seconds, spent.seconds),
            rounds=max(max_rounds - rounds, 0),
        ),
    )


def raises(asked: dict[str, Any], limits: Limits) -> bool:
    """Return whether limits are higher than those of which a budget's question tells."""
    if "unknown_prices" in asked:
        return limits.unknown_prices == "allow"
    if "per_agent" in asked:
        return any(
            _raises(own, limits.per_agent.get(name)) for name, own in asked["per_agent"].items()
        )
    return _raises(asked, limits)


def _raises(asked: dict[str, Any], limits: AgentLimits | None) -> bool:
    if limits is None:
        return False
    before = AgentLimits.model_validate(asked)
    return any(
        (old := getattr(before, name)) is not None
        and name in limits.model_fields_set
        and ((new := getattr(limits, name)) is None or new > old)
        for name in AMOUNTS
    )
