"""The arguments of public functions: what their types are called, and all checks.

Those that only the extension needs are checked there, in the same words.
"""

from operator import index
from os import PathLike, fsdecode
from os.path import abspath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence as Sequence
    from typing import Protocol
    from typing import SupportsFloat as SupportsFloat
    from typing import SupportsIndex as SupportsIndex

    class Writer(Protocol):
        def write(self, text: str, /) -> object: ...

else:
    # For who asks at run time, as typing.get_type_hints() does. To import typing takes
    # longer than to import all of memprobe.
    from _collections_abc import Sequence

    SupportsFloat, SupportsIndex = float, int

    class Writer:
        """Anything that has this method."""

        def write(self, text: str, /) -> object: ...


INFINITY = float("inf")


def checked_int(value: SupportsIndex, name: str) -> int:
    """Return *value* as an int. Raises TypeError, or ValueError if it is below 0."""
    try:
        number = index(value)
    except TypeError:
        raise TypeError(f"{name} must be an int, not {value!r}") from None
    if number < 0:
        raise ValueError(f"{name} must be 0 or more, not {value!r}")
    return number


def checked_length(value: Sequence[object], name: str) -> int:
    """Return the length of *value*. Raises TypeError if it is no sequence."""
    if (
        not hasattr(value, "__getitem__")
        or not hasattr(value, "__len__")
        or hasattr(value, "keys")
    ):
        raise TypeError(f"{name} must be a sequence, not {value!r}")
    return len(value)


def checked_writer(value: Writer, name: str) -> Writer:
    """Return *value*. Raises TypeError if it has no method ``write``."""
    if not callable(getattr(value, "write", None)):
        raise TypeError(f"{name} must have a write() method, not {value!r}")
    return value


def checked_seconds(value: SupportsFloat | SupportsIndex, name: str) -> float:
    """Return *value* as seconds. Raises TypeError, or ValueError if not above 0."""
    try:
        if isinstance(value, (str, bytes, bytearray)):
            raise TypeError  # which float() would parse
        seconds = float(value)
    except TypeError:
        message = f"{name} must be a number of seconds, not {value!r}"
        raise TypeError(message) from None
    except OverflowError:
        seconds = INFINITY
    if not 0 < seconds < INFINITY:
        raise ValueError(
            f"{name} must be a finite number of seconds, above 0, not {value!r}"
        )
    return seconds


def checked_path(value: str | PathLike[str], name: str) -> str:
    """Return *value* as an absolute path. Raises TypeError, or ValueError for NUL."""
    try:
        path = abspath(fsdecode(value))
    except TypeError:
        raise TypeError(f"{name} must be a path, not {value!r}") from None
    if "\0" in path:
        raise ValueError(f"{name} must be without NUL, not {value!r}")
    return path
