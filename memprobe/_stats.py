"""Figures over all samples since they were last forgotten."""

from collections import namedtuple

from memprobe._memprobe import _totals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

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
