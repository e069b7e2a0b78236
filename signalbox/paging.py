"""Go through a list, page by page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from pydantic import create_model

from signalbox.flows import Flow, Give
from signalbox.models import Model
from signalbox.sending import Sender

M = TypeVar("M", bound=Model)


class Page(Model):
    """A page of a list, whatever it is of."""

    data: list[Model]
    next_cursor: str | int | None = None
    has_more: bool = False


def page_of(item: type[M]) -> type[Page]:
    """Return the model of a page of these."""
    return create_model(f"{item.__name__}Page", __base__=Page, data=(list[item], ...))  # type: ignore[valid-type]  # a type made at run time


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
    page_type = page_of(item)
    while True:
        page = yield from sender.get(path, page_type, query=asked)
        for each in page.data:
            yield Give(each)
        if not page.has_more or page.next_cursor is None:
            return []
        asked[cursor] = page.next_cursor


def all_of(sender: Sender, path: str, item: type[M]) -> Flow[list[M]]:
    """Return a list that has one page."""
    page = yield from sender.get(path, page_of(item))
    return page.data  # type: ignore[return-value]  # of the type that the page was made for
