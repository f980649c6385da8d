"""The stored samples: the dump that celery.utils.debug prints, and figures."""

import gc
import operator
import sys
from collections import namedtuple

from memprobe._memprobe import _forget, _spread, _totals, humanbytes, mem_rss

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NamedTuple, Protocol, SupportsIndex, TypeVar

    _T = TypeVar("_T")

    class _Writer(Protocol):
        def write(self, text: str, /) -> object: ...

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

else:
    # typing.NamedTuple would import typing, which takes longer than all of memprobe.
    Stats = namedtuple(
        "Stats", "count stored overwritten first last min max mean seconds"
    )


def memdump(samples: "SupportsIndex" = 10, file: "_Writer | None" = None) -> None:
    """Print a sample of all RSS samples, and RSS after ``gc.collect()``; forget them.

    At most *samples* of the stored samples are printed, spread evenly, the oldest and
    the newest among them; 1 is the newest, 0 none. *file* is anything with a ``write``
    method; None is ``sys.stdout``. If printing raises, nothing is forgotten; samples
    that come meanwhile are never forgotten.

    Raises TypeError or ValueError for a wrong argument, OSError as ``rss()`` does, and
    whatever *file* raises.
    """
    picked, overwritten, end = _spread(samples)
    out = sys.stdout if file is None else file
    if out is None:
        return  # a program without standard output, such as a daemon
    if not callable(getattr(out, "write", None)):
        raise TypeError(f"file must have a write() method, not {file!r}")
    print_samples(picked, overwritten, out)
    gc.collect()
    print(f"- rss (end): {mem_rss()}.", file=out)
    _forget(end)


def print_samples(picked: "list[int]", overwritten: int, out: "_Writer") -> None:
    if picked:
        print("- rss (sample):", file=out)
        for rss in picked:
            print(f"-    > {humanbytes(rss)},", file=out)
        if overwritten:
            print(f"- rss (overwritten): {overwritten} older samples.", file=out)


def sample(x: "Sequence[_T]", n: "SupportsIndex", k: "SupportsIndex" = 0) -> "list[_T]":
    """Return at most *n* items of the sequence *x*, evenly spread from offset *k* on.

    If *x* has 100 items and *n* is 10, that is every tenth item. Raises TypeError if
    *x* is no sequence or another argument no int, ValueError if *n* or *k* is negative.
    """
    n = _count(n, "n")
    k = _count(k, "k")
    if not hasattr(x, "__getitem__") or not hasattr(x, "__len__") or hasattr(x, "keys"):
        raise TypeError(f"x must be a sequence, not {x!r}")
    length = len(x)
    if n >= length:
        return [x[i] for i in range(k, length)]
    # Lists: CPython 3.12 and 3.13 crash where a generator expression finds no memory.
    indices = [k + i * length // n for i in range(n)]
    return [x[i] for i in indices if i < length]


def _count(value: "SupportsIndex", name: str) -> int:
    try:
        count = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an int, not {value!r}") from None
    if count < 0:
        raise ValueError(f"{name} must be 0 or more, not {value!r}")
    return count


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
