"""The stored samples: the dump that celery.utils.debug prints, and figures."""

import sys
from gc import collect
from operator import itemgetter

from memprobe._arguments import (
    Sequence,
    SupportsIndex,
    Writer,
    checked_int,
    checked_length,
    checked_writer,
)
from memprobe._memprobe import _forget, _select_samples, _totals, humanbytes, mem_rss

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple, TypeVar

    _T = TypeVar("_T")

    class Stats(NamedTuple):
        count: int  # type: ignore[assignment]  # hides tuple.count()
        stored: int
        overwritten: int
        first: int | None
        last: int | None
        min: int | None
        max: int | None
        mean: float | None
        seconds: float | None

        def as_dict(self) -> dict[str, int | float | None]: ...

else:
    _T = object  # for who asks for types at run time

    # To import typing takes longer than all of memprobe, and to let
    # collections.namedtuple make it as long as three of its modules.
    class Stats(tuple):
        """What stats() returns: a named tuple."""

        __slots__ = ()
        _fields = __match_args__ = (
            *("count", "stored", "overwritten", "first", "last"),
            *("min", "max", "mean", "seconds"),
        )
        _field_defaults: dict[str, object] = {}  # noqa: RUF012

        def __new__(
            _cls, count, stored, overwritten, first, last, min, max, mean, seconds
        ):
            return tuple.__new__(
                _cls, (count, stored, overwritten, first, last, min, max, mean, seconds)
            )

        @classmethod
        def _make(cls, iterable):
            return cls(*iterable)

        def _replace(self, **changed):
            return self._make((self._asdict() | changed).values())

        def as_dict(self):
            """Return the figures by their names, as json.dumps() takes them."""
            return dict(zip(self._fields, self, strict=True))

        _asdict = as_dict

        def __getnewargs__(self):
            return tuple(self)

        def __repr__(self):
            figures = [f"{name}={value!r}" for name, value in self.as_dict().items()]
            return f"Stats({', '.join(figures)})"

        count, stored, overwritten, first, last, min, max, mean, seconds = map(
            property, map(itemgetter, range(9))
        )


def memdump(samples: SupportsIndex = 10, file: Writer | None = None) -> None:
    """Print a sample of all RSS samples, and RSS after ``gc.collect()``; forget them.

    At most *samples* of the stored samples are printed, spread evenly, the oldest and
    the newest among them; 1 is the newest, 0 none. *file* is anything with a ``write``
    method, which gets a line at each call; None is ``sys.stdout``. If it raises,
    nothing is forgotten; samples that come meanwhile are never forgotten.

    Raises TypeError or ValueError for a wrong argument, OSError as ``rss()`` does, and
    whatever *file* raises.
    """
    picked, overwritten, end = _select_samples(samples)
    out = sys.stdout if file is None else file
    if out is None:
        return  # a program without standard output, such as a daemon
    print_samples(picked, overwritten, checked_writer(out, "file"))
    collect()
    out.write(f"- rss (end): {mem_rss()}.\n")
    _forget(end)


def print_samples(picked: list[int], overwritten: int, out: Writer) -> None:
    # A write for each line: it stays whole beside what others print, what logs a
    # program's output makes one entry of it, and all lines at once, of a large ring,
    # would be memory that the last line then reports.
    if picked:
        out.write("- rss (sample):\n")
        for rss in picked:
            out.write(f"-    > {humanbytes(rss)},\n")
        if overwritten:
            out.write(f"- rss (overwritten): {overwritten} older samples.\n")


def sample(x: Sequence[_T], n: SupportsIndex, k: SupportsIndex = 0) -> list[_T]:
    """Return at most *n* items of the sequence *x*, evenly spread from offset *k* on.

    If *x* has 100 items and *n* is 10, that is every tenth item. Raises TypeError if
    *x* is no sequence or another argument no int, ValueError if *n* or *k* is negative.
    """
    n = checked_int(n, "n")
    k = checked_int(k, "k")
    length = checked_length(x, "x")
    if n >= length:
        return [x[i] for i in range(k, length)]
    # Lists: CPython 3.12 and 3.13 crash where a generator expression finds no memory.
    indices = [k + i * length // n for i in range(n)]
    return [x[i] for i in indices if i < length]


def stats() -> Stats:
    """Return figures over all samples since they were last forgotten.

    Samples that the ring has overwritten are included. *first* to *mean* are in bytes,
    *seconds* is the time from the first sample to the last; all six are None if there
    are no samples.
    """
    stored, overwritten, summed, first, last, low, high, *sum_and_times = _totals()
    sum_high, sum_low, first_ns, last_ns = sum_and_times
    count = stored + overwritten
    if summed == 0:
        return Stats(count, stored, overwritten, *(None,) * 6)
    mean = (sum_high << 64 | sum_low) / summed
    seconds = (last_ns - first_ns) / 1e9
    return Stats(count, stored, overwritten, first, last, low, high, mean, seconds)
