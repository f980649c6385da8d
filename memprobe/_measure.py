"""What a block of code, or a function, does to RSS."""

from memprobe._memprobe import _enter, _leave

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator
    from types import TracebackType
    from typing import Any, ParamSpec, TypeVar

    _P = ParamSpec("_P")
    _R = TypeVar("_R")


class measure:
    """Measure RSS over a ``with`` block, or over each call of a decorated function.

    Afterwards *before*, *after*, *delta* and *peak* are in bytes, *seconds* is how
    long it took; before the first block ends they are None. The peak is absolute. It
    is exact if the block set a new high-water mark of the process; otherwise it is the
    highest of both ends and of the samples stored meanwhile, so that a running sampler
    makes it better.

    A decorated function may be plain, async, a generator or an async generator; these
    are measured from their start to their end, and the figures are the last call's.
    Blocks may be nested and concurrent, but one object measures one ``with`` block at
    a time: RuntimeError otherwise. Nothing is stored in the ring. Raises OSError as
    rss() does.
    """

    __slots__ = ("_block", "after", "before", "delta", "peak", "seconds")

    before: "int | None"
    after: "int | None"
    delta: "int | None"
    peak: "int | None"
    seconds: "float | None"

    def __init__(self) -> None:
        self._block: object = None
        self.before = self.after = self.delta = self.peak = self.seconds = None

    def __enter__(self) -> "measure":
        if self._block is not None:
            raise RuntimeError("this object is measuring a block already")
        self._block = _enter()
        return self

    def __exit__(
        self,
        kind: "type[BaseException] | None",
        error: "BaseException | None",
        traceback: "TracebackType | None",
    ) -> None:
        block, self._block = self._block, None
        self._end(block)

    def _end(self, block: object) -> None:
        before, after, self.peak, nanoseconds = _leave(block)
        self.before, self.after, self.delta = before, after, after - before
        self.seconds = nanoseconds / 1e9

    def __repr__(self) -> str:
        names = ("before", "after", "delta", "peak", "seconds")
        figures = ", ".join(f"{name}={getattr(self, name)}" for name in names)
        return f"<memprobe.measure {figures}>"

    def __call__(self, function: "Callable[_P, _R]") -> "Callable[_P, _R]":
        import functools
        import inspect

        # Each call has a block of its own: the function may be called recursively and
        # by several threads at once.
        wrapped: Callable[..., Any]
        if inspect.isasyncgenfunction(function):
            wrapped = self._around_async_generator(function)
        elif inspect.iscoroutinefunction(function):
            wrapped = self._around_coroutine(function)
        elif inspect.isgeneratorfunction(function):
            wrapped = self._around_generator(function)
        else:
            wrapped = self._around_call(function)
        return functools.wraps(function)(wrapped)

    def _around_call(self, function: "Callable[..., Any]") -> "Callable[..., Any]":
        def call(*args: "Any", **kwargs: "Any") -> "Any":
            block = _enter()
            try:
                return function(*args, **kwargs)
            finally:
                self._end(block)

        return call

    def _around_coroutine(self, function: "Callable[..., Any]") -> "Callable[..., Any]":
        async def call(*args: "Any", **kwargs: "Any") -> "Any":
            block = _enter()
            try:
                return await function(*args, **kwargs)
            finally:
                self._end(block)

        return call

    def _around_generator(self, function: "Callable[..., Any]") -> "Callable[..., Any]":
        def call(*args: "Any", **kwargs: "Any") -> "Generator[Any, Any, Any]":
            block = _enter()
            try:
                return (yield from function(*args, **kwargs))
            finally:
                self._end(block)

        return call

    def _around_async_generator(
        self, function: "Callable[..., Any]"
    ) -> "Callable[..., Any]":
        async def call(*args: "Any", **kwargs: "Any") -> "AsyncGenerator[Any, Any]":
            block = _enter()
            inner = function(*args, **kwargs)
            try:
                # What `yield from` does for a generator.
                value = await anext(inner)
                while True:
                    try:
                        sent = yield value
                    except GeneratorExit:
                        raise
                    except BaseException as error:
                        value = await inner.athrow(error)
                    else:
                        value = await inner.asend(sent)
            except StopAsyncIteration:
                pass
            finally:
                await inner.aclose()
                self._end(block)

        return call
