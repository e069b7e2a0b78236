"""Whether a provider answers is told from its last calls, and from no others."""

from __future__ import annotations

from agents._kit.outages import LAST_CALLS, SEEN_SECONDS, Outages


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_provider_fails_whose_last_calls_have_all_failed() -> None:
    outages = Outages(Clock())
    outages.note("openai", answered=True)
    outages.note("other", answered=True)
    for _ in range(LAST_CALLS):
        assert outages.failing() == []
        outages.note("openai", answered=False)
    assert outages.failing() == ["openai"]
    outages.note("openai", answered=True)
    assert outages.failing() == []


def test_what_was_long_ago_says_nothing_about_now() -> None:
    clock = Clock()
    outages = Outages(clock)
    for _ in range(LAST_CALLS):
        outages.note("openai", answered=False)
    clock.now = SEEN_SECONDS
    assert outages.failing() == ["openai"]
    clock.now += 1
    assert outages.failing() == []
