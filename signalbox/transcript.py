"""What a run's agents have said so far, put together from pieces."""

from __future__ import annotations

from signalbox.models import Event

ANSWERS = "supervisor"
"""The agent whose messages are the run's answer."""

VOIDING = frozenset({"agent.retrying", "run.resumed"})
"""After these, what was half said does not count."""


class Transcript:
    """Messages by their ids, those that are being written and those that are whole."""

    def __init__(self) -> None:
        self._open: dict[str, str] = {}
        self._whole: dict[str, str] = {}
        self._answer_id: str | None = None
        self._output = ""

    @property
    def messages(self) -> dict[str, str]:
        """Return what was said, by message."""
        return {**self._whole, **self._open}

    @property
    def text(self) -> str:
        """Return the run's answer as far as it is written."""
        if self._output or self._answer_id is None:
            return self._output
        return self.messages.get(self._answer_id, "")

    def take(self, event: Event) -> Event | None:
        """Take an event up; return it as it is to be given: of what came before a connection was lost only the
        rest, and `None` where there is none."""
        if event.type == "message.delta":
            self._add(event)
        elif event.type == "message.snapshot":
            return self._resume(event)
        elif event.type == "message.completed" and event.message_id:
            self._open.pop(event.message_id, None)
            self._whole[event.message_id] = event.text
            self._note_answer(event)
        elif event.type in VOIDING:
            self._open.clear()
            self._output = ""
        elif event.ends:
            self._end(event)
        return event

    def _add(self, event: Event) -> None:
        message_id, offset = event.message_id, event.data.get("offset")
        if message_id is None or not isinstance(offset, int):
            return
        known = self._open.get(message_id, "")
        # A server leaves pieces out where a reader is too slow: then the whole message brings the rest.
        if offset <= len(known):
            self._open[message_id] = known[:offset] + event.text
        self._note_answer(event)

    def _resume(self, event: Event) -> Event | None:
        message_id, text = event.message_id, event.text
        if message_id is None:
            return event
        known = self._open.get(message_id)
        self._open[message_id] = text
        self._note_answer(event)
        if not known or not text.startswith(known):
            return event
        if text == known:
            return None
        data = {"message_id": message_id, "offset": len(known), "text": text[len(known) :]}
        return event.model_copy(update={"type": "message.delta", "data": data})

    def _note_answer(self, event: Event) -> None:
        if event.agent == ANSWERS:
            self._answer_id = event.message_id

    def _end(self, event: Event) -> None:
        self._open.clear()
        run = event.data.get("run")
        result = run.get("result") if isinstance(run, dict) else None
        if isinstance(result, dict):
            self._output = str(result.get("output", ""))
