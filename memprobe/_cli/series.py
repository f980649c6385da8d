"""RSS over time as few points: of one process, and of a family."""

from __future__ import annotations

import heapq
from contextlib import suppress
from itertools import chain, groupby

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from memprobe._record_file import Record

    # Seconds and bytes.
    Sample = tuple[float, int]

BINS = 600  # of the time: 2 pixels of a PNG, and more than a terminal has columns


def thinned(
    samples: Iterable[Sample], start: float, end: float, bins: int = BINS
) -> list[Sample]:
    """Leave out what can't be seen between *start* and *end*.

    Of each bin the lowest, the highest and the last sample remain, and the
    first of all.
    """
    seconds = (end - start) or 1.0
    kept: list[Sample] = []
    for _, group in groupby(samples, lambda s: int((s[0] - start) / seconds * bins)):
        part = list(group)
        kept += sorted(
            {min(part, key=rss_of), max(part, key=rss_of), part[-1]}
            | ({part[0]} if not kept else set())
        )
    return kept


def dated(record: Record) -> list[Sample]:
    """Return the RSS of a process over time, thinned: dates and bytes."""
    samples = samples_of(record)
    first = next(samples, None)
    if first is None:
        return []
    plain = ((date, rss) for date, rss, _ in chain([first], samples))
    return thinned(plain, first[0], first[0] + record.seconds)


def samples_of(record: Record) -> Iterator[tuple[float, int, int | None]]:
    """Yield the samples of a record; no more of them if its file is gone by now."""
    with suppress(FileNotFoundError, ValueError):
        yield from record.samples()


def rss_of(sample: Sample) -> int:
    return sample[1]


def total(records: Iterable[Record]) -> Iterator[Sample]:
    """Add up the RSS of processes over time, as SharedOnce does.

    Their files are read side by side, each while its process lived.
    """
    own: dict[int, int] = {}
    shared: dict[int, int] = {}
    sum_of_own = largest = 0
    streams = (_changes(number, record) for number, record in enumerate(records))
    for time, number, new_own, new_shared in heapq.merge(*streams):
        if (new_own, new_shared) == (own.get(number, 0), shared.get(number, 0)):
            continue
        sum_of_own += new_own - own.get(number, 0)
        own[number] = new_own
        old_shared, shared[number] = shared.get(number, 0), new_shared
        if new_shared >= largest:
            largest = new_shared
        elif old_shared == largest:
            largest = max(shared.values())
        if sum_of_own + largest > 0:
            yield time, sum_of_own + largest


def _changes(number: int, record: Record) -> Iterator[tuple[float, int, int, int]]:
    # merge() asks each for its first at once: no file is opened for that.
    time = record.started or 0.0
    yield time, number, 0, 0
    for time, rss, shared in samples_of(record):
        yield time, number, rss - (shared or 0), shared or 0
    if record.state != "running":
        yield max(time, record.ended or time), number, 0, 0


def columns(samples: Sequence[Sample], count: int) -> list[int]:
    """Return the highest RSS in each of *count* equal parts of the time.

    Where no sample was taken it is that of the last sample before.
    """
    start = samples[0][0]
    seconds = (samples[-1][0] - start) or 1.0
    heights = [0] * count
    before = 0
    at = 0
    for time, rss in samples:
        column = min(int((time - start) / seconds * count), count - 1)
        if column > at:
            heights[at + 1 : column] = [before] * (column - at - 1)
            at = column
        heights[column] = max(heights[column], rss)
        before = rss
    heights[at + 1 :] = [before] * (count - at - 1)
    return heights
