"""Write an operation once, and have it on both faces: `Run` of one is a coroutine of the other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from signalbox.flows import Flow
from signalbox.sending import Sender
from signalbox.streams import AsyncEventStream, EventStream, Following
from signalbox.transports import AsyncTransport, Transport

P = ParamSpec("P")
T = TypeVar("T")


class Resource:
    """A group of operations; `_sender` makes flows of requests."""

    _sender: Sender


class Sync(Resource):
    """A resource whose operations return what they come to."""

    def __init__(self, sender: Sender, transport: Transport) -> None:
        self._sender = sender
        self._result = transport.result
        self._items = transport.items

    def _events(self, following: Following) -> EventStream:
        return EventStream(self._items(following.flow), following.transcript)


class Async(Resource):
    """A resource whose operations are awaited."""

    def __init__(self, sender: Sender, transport: AsyncTransport) -> None:
        self._sender = sender
        self._result = transport.result
        self._items = transport.items

    def _events(self, following: Following) -> AsyncEventStream:
        return AsyncEventStream(self._items(following.flow), following.transcript)


class operation(Generic[P, T]):  # noqa: N801 - it is read as a word beside a method
    """An operation with one result, written as a method that returns a flow."""

    def __init__(self, build: Callable[Concatenate[Any, P], Flow[T]]) -> None:
        self._build = build
        self.__doc__ = build.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> operation[P, T]: ...

    @overload
    def __get__(self, instance: Sync, owner: type) -> Callable[P, T]: ...

    @overload
    def __get__(self, instance: Async, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...

    def __get__(self, instance: Resource | None, owner: type) -> Any:
        if instance is None:
            return self
        return _bound(self._build, instance, "result")


class listing(Generic[P, T]):  # noqa: N801 - it is read as a word beside a method
    """An operation with many results, written as a method that returns a flow which gives them."""

    def __init__(self, build: Callable[Concatenate[Any, P], Flow[Sequence[T]]]) -> None:
        self._build = build
        self.__doc__ = build.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> listing[P, T]: ...

    @overload
    def __get__(self, instance: Sync, owner: type) -> Callable[P, Iterator[T]]: ...

    @overload
    def __get__(self, instance: Async, owner: type) -> Callable[P, AsyncIterator[T]]: ...

    def __get__(self, instance: Resource | None, owner: type) -> Any:
        if instance is None:
            return self
        return _bound(self._build, instance, "items")


class streaming(Generic[P]):  # noqa: N801 - it is read as a word beside a method
    """An operation that gives a run's events, written as a method that returns their flow with what it keeps."""

    def __init__(self, build: Callable[Concatenate[Any, P], Following]) -> None:
        self._build = build
        self.__doc__ = build.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> streaming[P]: ...

    @overload
    def __get__(self, instance: Sync, owner: type) -> Callable[P, EventStream]: ...

    @overload
    def __get__(self, instance: Async, owner: type) -> Callable[P, AsyncEventStream]: ...

    def __get__(self, instance: Resource | None, owner: type) -> Any:
        if instance is None:
            return self
        return _bound(self._build, instance, "events")


def _bound(build: Callable[..., Any], instance: Resource, how: str) -> Callable[..., Any]:
    carry_out = getattr(instance, f"_{how}")

    @wraps(build)
    def call(*args: Any, **kwargs: Any) -> object:
        return carry_out(build(instance, *args, **kwargs))

    return call
