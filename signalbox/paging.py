"""Go through a list, page by page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

from signalbox.errors import UnexpectedAnswerError
from signalbox.flows import Flow, Give
from signalbox.models import Model
from signalbox.sending import Sender

M = TypeVar("M", bound=Model)


class Page(Model, Generic[M]):
    """A page of a list, whatever it is of."""

    data: list[M]
    next_cursor: str | int | None = None
    has_more: bool = False


def give_all(
    sender: Sender,
    path: str,
    item: type[M],
    query: Mapping[str, object] | None = None,
    *,
    cursor: str = "cursor",
) -> Flow[Sequence[M]]:
    """Give every item of a list; a page is asked for when the one before is used up."""
    asked = dict(query or {})
    while True:
        page: Page[M] = yield from sender.get(path, Page[item], query=asked)  # type: ignore[valid-type]  # pydantic's
        for each in page.data:
            yield Give(each)
        if not page.has_more or page.next_cursor is None:
            return []
        if page.next_cursor == asked.get(cursor):
            msg = f"The page after {page.next_cursor!r} names itself as the next. Is it a Signalbox of this version?"
            raise UnexpectedAnswerError(msg)
        asked[cursor] = page.next_cursor


def all_of(sender: Sender, path: str, item: type[M]) -> Flow[list[M]]:
    """Return a list that has one page."""
    page: Page[M] = yield from sender.get(path, Page[item])  # type: ignore[valid-type]  # pydantic's own way
    return page.data
