"""What agents say is put together from pieces, and what is void is dropped."""

from __future__ import annotations

from typing import Any

from signalbox import Event
from signalbox.transcript import Transcript


def event(type_: str, agent: str | None = "supervisor", **data: Any) -> Event:
    return Event(type=type_, agent=agent, data=data)


def delta(offset: int, text: str, message_id: str = "m1") -> Event:
    return event("message.delta", message_id=message_id, offset=offset, text=text)


def snapshot(text: str) -> Event:
    return event("message.snapshot", message_id="m1", text=text)


def test_pieces_add_up_to_the_answer() -> None:
    said = Transcript()
    other = event("message.delta", "coder", message_id="m0", offset=0, text="print(1)")
    for each in (other, delta(0, "One "), delta(4, "two")):
        assert said.take(each) is each
    assert said.text == "One two"
    assert said.messages == {"m0": "print(1)", "m1": "One two"}
    said.take(event("message.completed", message_id="m1", text="One two three"))
    assert said.text == "One two three"
    said.take(event("run.completed", None, run={"result": {"output": "All of it"}}))
    assert said.text == "All of it"


def test_void_text_is_dropped() -> None:
    for voiding in ("agent.retrying", "run.resumed"):
        said = Transcript()
        said.take(event("message.completed", "coder", message_id="m0", text="Done."))
        said.take(delta(0, "Half"))
        said.take(event(voiding, "coder"))
        assert said.text == ""
        assert said.messages == {"m0": "Done."}
        said.take(delta(0, "Anew"))
        assert said.text == "Anew"


def test_after_a_break_only_the_rest_is_given() -> None:
    said = Transcript()
    said.take(delta(0, "One "))
    rest = said.take(snapshot("One two "))
    assert rest
    assert (rest.type, rest.data["offset"], rest.text) == ("message.delta", 4, "two ")
    assert said.take(snapshot("One two ")) is None
    assert said.text == "One two "


def test_what_is_no_continuation_is_given_as_it_is() -> None:
    said = Transcript()
    first = snapshot("One ")
    assert said.take(first) is first
    anew = snapshot("Otherwise")
    assert said.take(anew) is anew
    assert said.text == "Otherwise"


def test_a_hole_is_filled_by_the_whole_message() -> None:
    """A server leaves pieces out where a reader is too slow."""
    said = Transcript()
    said.take(delta(0, "One "))
    said.take(delta(8, "three"))
    assert said.text == "One "
    said.take(event("message.completed", message_id="m1", text="One two three"))
    assert said.text == "One two three"
