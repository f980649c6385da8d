"""What a block of code, or a function, does to RSS."""

import sys

from memprobe._memprobe import _enter, _leave

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    _F = TypeVar("_F")
else:
    Any = _F = object  # for who asks for types at run time

# Numbered as in enum mp_peak of the extension.
_PEAKS = ("watch", "kernel", "ends")


class measure:
    """Measure RSS over a ``with`` block, or over each call of a decorated function.

    Afterwards *before*, *after*, *delta* and *peak* are in bytes, *seconds* is how
    long it took; before the first block ends they are None. The peak is absolute, the
    highest RSS that was seen, and never below a reading that memprobe made meanwhile.
    What sees it is what *peak* says, docs/measure.md has what each can't see:

    - ``"watch"``: a native thread reads RSS each millisecond in a block's first 50 ms,
      then each 10 ms. The kernel's high-water mark counts if the block raised it.
    - ``"kernel"``: the kernel's mark, which is reset at the start (Linux). It sees
      every spike, but others' VmHWM and ru_maxrss fall too.
    - ``"ends"``: both ends, and the kernel's mark if the block raised it.

    A decorated function may be plain, async, a generator or an async generator; these
    are measured from their start to their end, and the figures are the last call's. A
    property, a cached property, a static or class method, a bound method and a partial
    stay what they are. TypeError for what can't be measured without becoming something
    else: classes, and objects that can be called.

    Blocks may be nested and concurrent, but one object measures one ``with`` block at
    a time: RuntimeError otherwise. Nothing is stored in the ring. Raises OSError as
    rss() does, or where there is no thread or no mark to be had; NotImplementedError
    for ``"kernel"`` on other systems than Linux.
    """

    __slots__ = ("_block", "_peak", "after", "before", "delta", "peak", "seconds")

    before: int | None
    after: int | None
    delta: int | None
    peak: int | None
    seconds: float | None

    def __init__(self, *, peak: str = "watch") -> None:
        if peak not in _PEAKS:
            raise ValueError(f"peak must be one of {_PEAKS}, not {peak!r}")
        self._peak = _PEAKS.index(peak)
        self._block: object = None
        self.before = self.after = self.delta = self.peak = self.seconds = None

    def __enter__(self) -> "measure":
        if self._block is not None:
            raise RuntimeError("this object is measuring a block already")
        self._block = _enter(self._peak)
        return self

    def __exit__(self, *error: object) -> None:
        block, self._block = self._block, None
        if block is None:
            raise RuntimeError("this object is measuring no block")
        self._end(block)

    def _end(self, block: object) -> None:
        before, after, self.peak, nanoseconds = _leave(block)
        self.before, self.after, self.delta = before, after, after - before
        self.seconds = nanoseconds / 1e9

    def as_dict(self) -> dict[str, int | float | None]:
        """Return the figures by their names, as json.dumps() takes them."""
        names = ("before", "after", "delta", "peak", "seconds")
        return {name: getattr(self, name) for name in names}

    def __repr__(self) -> str:
        figures = [f"{name}={value}" for name, value in self.as_dict().items()]
        return f"<memprobe.measure {', '.join(figures)}>"

    def __call__(self, function: _F) -> _F:
        decorated: Any = _decorated(function, self)
        if issubclass(type(function), _BUILTINS):
            # In a class a function binds to the object, a builtin one doesn't.
            return staticmethod(decorated)  # type: ignore[return-value]
        return decorated  # type: ignore[no-any-return]


# What is decorated becomes nothing else. To tell what it is, nothing is imported, not
# even later: that may be after a chroot.

_METHOD = type((lambda: None).__get__(0))
# Also C's kinds of the first, as issubclass() has it.
_BUILTINS: tuple[type, ...] = (type(len), type([].__len__))
_FUNCTIONS = (type(lambda: None), type(str.upper), type(object.__init__), *_BUILTINS)
_COMPILED = {"cython_function_or_method", "compiled_function"}  # Cython's, Nuitka's

# The flags of code objects, by which inspect tells functions apart as well.
_GENERATOR, _COROUTINE, _ITERABLE_COROUTINE, _ASYNC_GENERATOR = 0x20, 0x80, 0x100, 0x200

# As functools.wraps() does. From 3.14 on annotations are not evaluated for it.
_COPIED = (
    *("__module__", "__name__", "__qualname__", "__doc__", "__type_params__"),
    "__annotate__" if sys.version_info >= (3, 14) else "__annotations__",
)


def _decorated(what: Any, measured: measure) -> Any:
    kind = type(what)  # not what its __class__ says, as that of a mock
    if issubclass(kind, _FUNCTIONS) or kind.__name__ in _COMPILED:
        return _around(what, measured)
    if kind is _METHOD:
        return kind(_decorated(what.__func__, measured), what.__self__)
    if kind is staticmethod or kind is classmethod:
        return kind(_decorated(what.__func__, measured))
    if kind is property:
        parts = [what.fget, what.fset, what.fdel]
        getter, setter, deleter = [
            part and _decorated(part, measured) for part in parts
        ]
        return property(getter, setter, deleter, what.__doc__)
    functools = sys.modules.get("functools")
    if functools is not None:
        if kind is functools.partial:
            function = _decorated(what.func, measured)
            partial = kind(function, *what.args, **what.keywords)
            partial.__dict__.update(what.__dict__)
            return partial
        if kind is functools.partialmethod or kind is functools.cached_property:
            copy = object.__new__(kind)
            copy.__dict__.update(what.__dict__)
            copy.func = _decorated(what.func, measured)
            return copy
    if isinstance(what, type):
        raise TypeError(f"measure() can't decorate {what!r}: decorate its methods")
    raise TypeError(
        f"measure() can't decorate {what!r}, it would become something else: put "
        "@measure() below what makes it of a function, or decorate its __call__"
    )


def _around(function: Any, measured: measure) -> Any:
    """Return a function of the same kind that measures each call.

    Each call has a block of its own: the function may be called recursively and by
    several threads at once.
    """
    code = getattr(function, "__code__", None)
    flags = 0 if code is None else code.co_flags
    call: Any
    if flags & _ASYNC_GENERATOR:
        call = _around_async_generator(function, measured)
    elif flags & _COROUTINE:
        call = _around_coroutine(function, measured)
    elif flags & _GENERATOR:
        call = _around_generator(function, measured)
        # That of types.coroutine(): what it returns can be awaited.
        own = call.__code__
        iterable = flags & _ITERABLE_COROUTINE
        call.__code__ = own.replace(co_flags=own.co_flags | iterable)
    else:
        call = _around_call(function, measured)
    for name in _COPIED:
        if hasattr(function, name):
            setattr(call, name, getattr(function, name))
    call.__dict__.update(getattr(function, "__dict__", {}))
    call.__wrapped__ = function
    return call


def _around_call(function: Any, measured: measure) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        block = _enter(measured._peak)
        try:
            result = function(*args, **kwargs)
        except BaseException:
            measured._end(block)
            raise
        if type(result).__name__ == "coroutine":
            # Of a decorator's function around an async one, for example.
            return _until_its_end(result, block, measured)
        measured._end(block)
        return result

    return call


def _until_its_end(coroutine: Any, block: object, measured: measure) -> Any:
    async def work() -> Any:
        try:
            return await coroutine
        finally:
            measured._end(block)

    work.__name__, work.__qualname__ = coroutine.__name__, coroutine.__qualname__
    return work()


def _around_coroutine(function: Any, measured: measure) -> Any:
    async def call(*args: Any, **kwargs: Any) -> Any:
        block = _enter(measured._peak)
        try:
            return await function(*args, **kwargs)
        finally:
            measured._end(block)

    return call


def _around_generator(function: Any, measured: measure) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        block = _enter(measured._peak)
        try:
            return (yield from function(*args, **kwargs))
        finally:
            measured._end(block)

    return call


def _around_async_generator(function: Any, measured: measure) -> Any:
    async def call(*args: Any, **kwargs: Any) -> Any:
        block = _enter(measured._peak)
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
            measured._end(block)

    return call
