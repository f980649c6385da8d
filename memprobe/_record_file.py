"""The files that the observer keeps, for those who read them.

src/record_file.h has the layout, docs/file-format.md pictures and reasons. A file may
be anybody's: nothing that it says is believed unless it fits the rest.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import time
from bisect import bisect_left
from collections import namedtuple
from functools import cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC = b"memprobe"
VERSION = 2
BLOCK_BYTES = 4096
SLOTS = 256
FILE_BYTES = SLOTS * BLOCK_BYTES
SAMPLES = 300  # of a full block
LEVEL_MOST = 55
SCALE_MOST = 31
UNKNOWN = 2**64 - 1
UNKNOWN_32 = 2**32 - 1
STATES = ("running", "exited", "died", "ended")
CAUSES = (None, "out of memory")

# struct mp_record_head up to its command; struct mp_record_changing up to its title.
HEAD = struct.Struct("<8sIIQQQqqQQ40s64sII")
COMMAND_BYTES = 1864
CHANGING = struct.Struct("<QQQQQII40s")
CHANGING_OFFSET = 2048
CHANGING_BYTES = 1024
TITLE_BYTES = 936
# struct mp_record_block: its range with the quarters; totals and summary; samples.
RANGE = struct.Struct("<16xQQQIIQQIIqII32x")
QUARTERS = 4
QUARTERS_OFFSET = 88
TOTALS = struct.Struct("<7Q4q11QII")
TOTALS_OFFSET = 120
SAMPLES_OFFSET = 496
SAMPLE_BYTES = 12

SPANS = 66  # how finely a record knows a life without its samples
_PAGES_OF_SPANS = struct.Struct(f"<{2 * SPANS}Q")
_NO_PAGES = [UNKNOWN] * SPANS + [0] * SPANS

# Without the boot it is of version 1, which is to be refused, not overlooked; what may
# follow on it is a PID namespace.
_NAME = re.compile(r"([0-9]+)-([0-9]+)(?:-([0-9A-Za-z]{8})(?:-[0-9]+)?)?\.memprobe")
_PRIME = 2**64 - 59
_MOST = 2**63 - 1  # of ns, and of samples
_GROWTH_NS = 60_000_000_000  # of a shorter life nothing is said
_CGROUP_BLOCKS = 8
_OPEN_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)  # a FIFO without a writer
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)

_Head = namedtuple(
    "_Head",
    "pid start started_ns started_wall_ns pid_namespace page_bytes boot host command "
    "parent recorder interval_ns uid user title",
)
_Block = namedtuple(
    "_Block",
    "first last number level count low high low_time high_time start_ns scale zero",
)
_Totals = namedtuple(
    "_Totals",
    "sum_low sum_high min max first last shared first_ns last_ns written_ns wall_ns "
    "peak swap pss uss cgroup_bytes cgroup_limit oom_kills status short_lived "
    "short_lived_peak missed state cause",
)
# A block that is whole, with its samples as they lie there.
_Whole = namedtuple("_Whole", "block totals raw_samples")
# Where the next reading finds the newest block, unless that is another one by then: it
# is written to some slots by turns. The file's mtime is in ns.
_Newest = namedtuple("_Newest", "mtime_ns block slots")


class NotARecord(ValueError):
    """What is wrong with a file that the observer didn't write, or that is damaged."""


class NotWrittenYet(NotARecord):
    """An empty file: its process is about to be recorded, or its observer died."""


class Record:
    """What a file says of a process.

    Memory is in bytes, durations are seconds, dates seconds since 1970; None is not
    known. *state* is running, exited (with *status*), died (of *signal*, a number, with
    *cause*), ended (nobody knows how), or unknown: then *last_seen* is all there is.
    *recorded_until* is None while the process is being recorded; else nothing came
    after it. *count* and *first* to *mean* are over all samples that there ever were,
    *seconds* is from the first to the last of them. *growth_per_hour* is None for less
    than a minute.
    """

    path: str
    pid: int
    parent: int | None
    recorder: int
    command: list[str]  # as first seen
    title: str | None  # the newest command line, if it is another one
    uid: int | None
    user: str | None
    host: str | None
    boot: str | None
    pid_namespace: int | None
    page_size: int
    interval: float
    state: str = "running"
    status: int | None = None
    signal: int | None = None
    cause: str | None = None
    started: float | None = None
    ended: float | None = None
    recorded_until: float | None = None
    last_seen: float | None = None
    seconds: float = 0.0
    count: int = 0
    first: int | None = None
    last: int | None = None
    min: int | None = None
    max: int | None = None
    mean: float | None = None
    peak: int | None = None
    shared: int | None = None  # of the last sample
    swap: int | None = None
    pss: int | None = None
    uss: int | None = None
    growth_per_hour: float | None = None
    memory_limit: int | None = None
    cgroup_memory: int | None = None
    cgroup_growth_per_hour: float | None = None  # of late; None for less than a minute
    oom_kills: int | None = None
    # In the recorder's own file: members of the family that lived too short for a file,
    # the highest peak of these, and how many were never seen.
    short_lived: int | None = None
    short_lived_peak: int | None = None
    missed: int | None = None
    role: str | None = None  # as Celery has it; in another file of the folder

    # Date of the first span in ns, ns of each; all lowest pages, all highest.
    _spans: tuple[int, int, bytes]
    _newest: _Newest

    @property
    def date(self) -> float:
        """When the newest of what it says was written."""
        return self.recorded_until or self.last_seen or time.time()

    def samples(self) -> Iterator[tuple[float, int, int | None]]:
        """Yield dates, RSS and its shared part, the oldest first, a block at a time.

        The file is read anew. If it is being written meanwhile, nothing comes twice or
        out of order. What is damaged is left out. Raises NotARecord, or OSError if the
        file can't be read.
        """
        file = _open(self.path)
        try:
            yield from _samples_of_file(file)
        finally:
            os.close(file)

    def envelope(self, most: int = SPANS) -> list[tuple[float, int, int]]:
        """Return date, lowest and highest RSS of *most* equal spans of its time.

        SPANS at most, and only those of which something is known. Nothing is read.
        """
        begin_ns, width_ns, packed = self._spans
        pages = _PAGES_OF_SPANS.unpack(packed)
        lows, highs = pages[:SPANS], pages[SPANS:]
        most = min(most, SPANS)
        envelope = []
        for i in range(most):
            begin, end = i * SPANS // most, (i + 1) * SPANS // most
            low, high = min(lows[begin:end]), max(highs[begin:end])
            if low <= high:
                date = (begin_ns + (begin + end) * width_ns // 2) / 1e9
                envelope.append((date, low * self.page_size, high * self.page_size))
        return envelope


def names(directory: str) -> list[str]:
    """Return the names of the observer's files in a directory, the oldest first."""
    found = []
    boots: dict[str, int] = {}  # when a file of it was written last, of these the first
    with os.scandir(directory) as entries:
        for entry in entries:
            if not (match := _NAME.fullmatch(entry.name)):
                continue
            pid, start, boot = match.groups("")
            try:
                written_ns = entry.stat().st_mtime_ns
            except OSError:  # removed since
                continue
            boots[boot] = min(boots.get(boot, written_ns), written_ns)
            found.append((boot, int(start), int(pid), entry.name))
    found.sort(key=lambda name: (boots[name[0]], *name))
    return [name for *_, name in found]


def read(path: str, before: Record | None = None) -> Record:
    """Read a file of the observer's, also while it is written.

    With the record of an earlier reading only what has changed since is read; growth
    and envelope() may then lack up to 300 samples. Raises NotARecord (NotWrittenYet of
    an empty file), or OSError if it can't be read.
    """
    file = _open(path)
    try:
        record, head, written_ns = _read(path, file, before)
        if record.state == "running":
            held = _is_held(path, file)
            if held is False:
                # Its end may have been written in between.
                record, head, written_ns = _read(path, file, record)
            if record.state == "running":
                _judge(record, head, written_ns, held)
        return record
    finally:
        os.close(file)


# -- Blocks ---------------------------------------------------------------------------


def _open(path: str) -> int:
    """Open a regular file; anything else might block, or act on being opened."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise NotARecord("not a regular file")
    file = os.open(path, _OPEN_FLAGS)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise NotARecord("not a regular file")
    return file


if hasattr(os, "pread"):
    _pread = os.pread
else:

    def _pread(file: int, count: int, offset: int) -> bytes:
        os.lseek(file, offset, os.SEEK_SET)
        return os.read(file, count)


def _read_block(file: int, slot: int) -> bytes:
    """Read a block, or less at the end of the file."""
    at = slot * BLOCK_BYTES
    raw = _pread(file, BLOCK_BYTES, at)
    while 0 < len(raw) < BLOCK_BYTES:
        more = _pread(file, BLOCK_BYTES - len(raw), at + len(raw))
        if not more:
            break
        raw += more
    return raw


def checksum(raw: bytes) -> int:
    """Return what mp_record_file_checksum() makes of bytes."""
    return int.from_bytes(raw, "big") % _PRIME


def _checked_head(file: int) -> _Head:
    """Return what the first block says."""
    raw = _read_block(file, 0)
    if not raw:
        raise NotWrittenYet("nothing is written in it yet")
    if raw[: len(MAGIC)] != MAGIC:
        raise NotARecord("not a file of memprobe's recorder")
    if len(raw) < BLOCK_BYTES:
        raise NotARecord("the file ends within its first block")
    _, version, _, check, *numbers, boot, host, length, _ = HEAD.unpack_from(raw)
    if version != VERSION:
        raise NotARecord(f"version {version} of the format; this reads {VERSION}")
    changing = _newest_changing(raw)
    if check != checksum(raw[24:CHANGING_OFFSET]) or changing is None:
        raise NotARecord("its first block is damaged")
    page_bytes = numbers[-1]
    if page_bytes.bit_count() != 1 or page_bytes > 2**30 or length > COMMAND_BYTES:
        raise NotARecord("its first block says what can't be")
    if os.fstat(file).st_size > FILE_BYTES:
        raise NotARecord("larger than a file of memprobe's recorder can be")
    command = raw[HEAD.size : HEAD.size + length]
    return _Head._make([*numbers, _text(boot), _text(host), _argv(command), *changing])


def _newest_changing(raw: bytes) -> tuple[object, ...] | None:
    """Return what holds of that part of the first block which may change."""
    places = range(CHANGING_OFFSET, BLOCK_BYTES, CHANGING_BYTES)
    parts = [raw[at : at + CHANGING_BYTES] for at in places]
    for part in sorted(parts, key=lambda part: _number_at(part, 8), reverse=True):
        check, number, *facts, uid, length, user = CHANGING.unpack_from(part)
        interval_ns = facts[-1]
        if (
            check == checksum(part[8:])
            and number > 0
            and 0 < interval_ns <= _MOST
            and length <= TITLE_BYTES
        ):
            title = _argv(part[CHANGING.size : CHANGING.size + length])
            return (*facts, uid, _text(user), title)
    return None


def _text(raw: bytes) -> str | None:
    return raw.partition(b"\0")[0].decode("utf-8", "surrogateescape") or None


def _argv(raw: bytes) -> list[str]:
    text = raw.removesuffix(b"\0").decode("utf-8", "surrogateescape")
    return text.split("\0") if text else []


class _Heads:
    """What the blocks of a file say of themselves: of each thing a list, by slot.

    There are up to 256, and a table wants them of each process: so they alone are read,
    and none is made an object of.
    """

    def __init__(self, file: int) -> None:
        size = RANGE.size
        slots = min(os.fstat(file).st_size // BLOCK_BYTES, SLOTS)
        raw = [_pread(file, size, slot * BLOCK_BYTES) for slot in range(1, slots)]
        data = bytes(size) + b"".join(raw)  # slot 0 says nothing
        words = memoryview(data)[: len(data) - len(data) % size].cast("Q")

        def column(offset: int) -> list[int]:
            return words[offset // 8 :: size // 8].tolist()

        self.file = file
        self.first, self.last, self.number = column(16), column(24), column(32)
        self.low, self.high, self.low_high_time = column(48), column(56), column(64)
        self.start_ns, self.scale = column(72), column(80)
        quarters = range(QUARTERS_OFFSET, QUARTERS_OFFSET + 8 * QUARTERS, 8)
        self.quarters = [column(offset) for offset in quarters]
        self.level_count = column(40)
        # What may be data blocks, by what they stand for.
        blocks = zip(self.first, self.last, self.number, range(SLOTS), strict=False)
        self.order = sorted(
            [
                block
                for block, level_count, scale in zip(
                    blocks, self.level_count, self.scale, strict=False
                )
                if 1 << 32 <= level_count < (SAMPLES + 1) << 32
                and scale <= SCALE_MOST
                and block[0] <= block[1]
            ]
        )

    def row(self, *, thorough: bool = False) -> tuple[list[int], _Whole | None]:
        """Return the slots of the blocks that count, the oldest first, and the newest.

        Blocks that another one contains, or that can't follow the one before, don't.
        Unless *thorough*, of a block that others give way to the samples are verified
        only if it was the last to be written: no other can be half written.
        """
        last_write = max((number for _, _, number, _ in self.order), default=0)
        row: list[int] = []
        row_last, row_ns = -1, 0
        for first, last, _, slot in self.order:
            start_ns = self.start_ns[slot]
            while row and (first <= row_last or start_ns < row_ns):
                # Of two that begin alike the wider, or newer, one is sorted behind.
                replaces = first == self.first[row[-1]]
                wider = slot if replaces else row[-1]
                in_full = thorough or self.number[wider] == last_write
                if self._is_whole(wider, in_full) != replaces:
                    slot = 0
                    break
                row.pop()
                row_last = self.last[row[-1]] if row else -1
                row_ns = self.start_ns[row[-1]] if row else 0
            if slot:
                row.append(slot)
                row_last, row_ns = last, start_ns
        while row:
            newest = _whole(_read_block(self.file, row[-1]))
            if newest and newest.block.first == self.first[row[-1]]:
                return row, newest
            if not thorough:
                return self.row(thorough=True)
            row.pop()
        return row, None

    def _is_whole(self, slot: int, in_full: bool) -> bool:
        if in_full:
            return _whole(_read_block(self.file, slot)) is not None
        # A range that is as long as its level says is not a damaged one.
        stands_for = self.last[slot] - self.first[slot] + 1
        if stands_for == SAMPLES << (self.level_count[slot] & 63):
            return True
        raw = _pread(self.file, SAMPLES_OFFSET, slot * BLOCK_BYTES)
        return _number_at(raw, 0) == checksum(raw[8:])


def _whole(raw: bytes) -> _Whole | None:
    """Return what a block says, if it is whole and can be what it says it is."""
    if len(raw) < BLOCK_BYTES:
        return None
    block = _Block._make(RANGE.unpack_from(raw))
    totals = _Totals._make(TOTALS.unpack_from(raw, TOTALS_OFFSET))
    kept = raw[SAMPLES_OFFSET : SAMPLES_OFFSET + block.count * SAMPLE_BYTES]
    if (
        _number_at(raw, 0) != checksum(raw[8:SAMPLES_OFFSET])
        or _number_at(raw, 8) != checksum(kept)
        or not _fits(block, totals)
    ):
        return None
    return _Whole(block, totals, kept)


def _samples(whole: _Whole) -> list[tuple[int, int, int]]:
    """Return ns, pages and shared pages of a block's samples; none if they can't be."""
    block = whole.block
    numbers = struct.unpack(f"<{3 * block.count}I", whole.raw_samples)
    times, pages = list(numbers[::3]), numbers[1::3]
    start_ns, scale = block.start_ns, block.scale
    if (
        times != sorted(times)
        or start_ns + (times[-1] << scale) > _MOST
        or min(pages) < min(block.low, UNKNOWN_32)
        or max(pages) > block.high
    ):
        return []
    ns = [start_ns + (number << scale) for number in times]
    return list(zip(ns, pages, numbers[2::3], strict=True))


def _number_at(raw: bytes, offset: int) -> int:
    return int.from_bytes(raw[offset : offset + 8], "little")


def _fits(block: _Block, totals: _Totals) -> bool:
    """Return whether a block can be what it says it is."""
    count = block.last + 1
    summed = totals.sum_high << 64 | totals.sum_low
    return bool(
        0 < block.number <= _MOST
        and block.first < count <= _MOST
        and 0 < block.count <= SAMPLES
        and block.level <= LEVEL_MOST
        and (block.level == 0 or block.count == SAMPLES)
        and block.count << block.level <= count - block.first
        and block.low <= block.high
        and block.start_ns >= 0
        and block.scale <= SCALE_MOST
        and totals.min <= min(block.low, totals.first, totals.last)
        and max(block.high, totals.first, totals.last) <= totals.max
        and totals.min * count <= summed <= totals.max * count
        and 0 <= totals.first_ns <= totals.last_ns
        and min(totals.written_ns, totals.wall_ns) >= 0
        and totals.state < len(STATES)
        and totals.cause < len(CAUSES)
    )


def _samples_of_file(file: int) -> Iterator[tuple[float, int, int | None]]:
    page_bytes = _checked_head(file).page_bytes
    heads = _Heads(file)
    row, newest = heads.row(thorough=True)
    if newest is None:
        return
    offset_ns = newest.totals.wall_ns - newest.totals.written_ns
    wanted = 0  # number of the next sample
    before_ns = 0
    damaged = set()
    while row:
        slot = row.pop(0)
        first, last, number = heads.first[slot], heads.last[slot], heads.number[slot]
        if last < wanted or (slot, number) in damaged:
            continue
        whole = _whole(_read_block(file, slot))
        if whole is None or whole.block.first != first:
            # Merged since, and its slot used again, so look again; or damaged.
            damaged.add((slot, number))
            heads = _Heads(file)
            row, _ = heads.row(thorough=True)
            continue
        for ns, pages, shared in _samples(whole):
            # A block that was merged since may have samples that were yielded.
            if ns < before_ns or (ns == before_ns and first < wanted):
                continue
            before_ns = ns
            if pages != UNKNOWN_32:
                yield (
                    (ns + offset_ns) / 1e9,
                    pages * page_bytes,
                    None if shared == UNKNOWN_32 else shared * page_bytes,
                )
        wanted = whole.block.last + 1


# -- Records --------------------------------------------------------------------------


def _read(
    path: str, file: int, before: Record | None
) -> tuple[Record, _Head, _Totals | None]:
    """Return what the file says, whether or not it still holds."""
    record = Record()
    record.path = path
    mtime_ns = os.fstat(file).st_mtime_ns
    head = _checked_head(file)
    newest = _newest_again(file, before._newest, mtime_ns) if before else None
    if before and newest:
        slots = before._newest.slots
        record._spans, record.growth_per_hour = before._spans, before.growth_per_hour
        record.cgroup_growth_per_hour = before.cgroup_growth_per_hour
    else:
        heads = _Heads(file)
        row, newest = heads.row()
        first = heads.first[row[-1]] if row else 0
        slots = [block[3] for block in heads.order if block[0] == first]
        record._spans, growth = _life(heads, row, newest)
        if growth is not None:
            record.growth_per_hour = growth * head.page_bytes
        record.cgroup_growth_per_hour = _cgroup_growth(heads, row)
    record._newest = _Newest(mtime_ns, newest.block if newest else None, slots)
    _describe(record, head)
    _sum_up(record, head, newest)
    return record, head, newest.totals if newest else None


def _newest_again(file: int, known: _Newest, mtime_ns: int) -> _Whole | None:
    """Return the newest block if it is surely where it was at an earlier reading."""
    if known.block is None:
        return None
    found = [_whole(_read_block(file, slot)) for slot in known.slots]
    same = [
        whole for whole in found if whole and whole.block.first == known.block.first
    ]
    if len(same) < 2:
        return None  # it was written to one of them only so far, or to others since
    newest = max(same, key=lambda whole: whole.block.number)
    if newest.block.count == SAMPLES:
        return None  # another one may have been begun
    if newest.block == known.block and mtime_ns != known.mtime_ns:
        return None  # it is written to other slots by now
    return newest


def _describe(record: Record, head: _Head) -> None:
    record.pid, record.parent = head.pid, _known(head.parent)
    record.recorder = head.recorder
    record.command = head.command
    record.title = " ".join(head.title).strip() or None
    record.uid = None if head.uid == UNKNOWN_32 else head.uid
    record.user, record.host, record.boot = head.user, head.host, head.boot
    record.pid_namespace = _known(head.pid_namespace)
    record.page_size = head.page_bytes
    record.interval = head.interval_ns / 1e9


def _known(number: int) -> int | None:
    return None if number == UNKNOWN else number


def _sum_up(record: Record, head: _Head, newest: _Whole | None) -> None:
    if head.started_wall_ns >= 0:
        record.started = head.started_wall_ns / 1e9
    if newest is None:
        return
    totals, page_size = newest.totals, head.page_bytes
    record.count = newest.block.last + 1
    record.first, record.last = totals.first * page_size, totals.last * page_size
    record.min, record.max = totals.min * page_size, totals.max * page_size
    summed = totals.sum_high << 64 | totals.sum_low
    record.mean = summed * page_size / record.count
    record.seconds = (totals.last_ns - totals.first_ns) / 1e9
    if totals.shared != UNKNOWN:
        record.shared = totals.shared * page_size
    record.peak = max(_known(totals.peak) or 0, record.max)
    for name in "swap pss uss oom_kills short_lived short_lived_peak missed".split():
        setattr(record, name, _known(getattr(totals, name)))
    record.cgroup_memory = _known(totals.cgroup_bytes)
    record.memory_limit = _known(totals.cgroup_limit)

    record.state, record.cause = STATES[totals.state], CAUSES[totals.cause]
    if record.state == "exited":
        record.status = _known(totals.status)
    elif record.state == "died":
        record.signal = _known(totals.status)
    # One difference for all times, so that a stepped clock tears no record.
    offset_ns = totals.wall_ns - totals.written_ns
    if head.started_ns >= 0 or record.started is None:
        began_ns = head.started_ns if head.started_ns >= 0 else totals.first_ns
        record.started = (began_ns + offset_ns) / 1e9
    record.last_seen = record.recorded_until = totals.wall_ns / 1e9
    record.ended = None if record.state == "running" else record.last_seen


# -- Growth ---------------------------------------------------------------------------


def _life(
    heads: _Heads, row: list[int], newest: _Whole | None
) -> tuple[tuple[int, int, bytes], float | None]:
    """Return a record's _spans, and by how many pages it grows in an hour."""
    if newest is None:
        return (0, 0, _PAGES_OF_SPANS.pack(*_NO_PAGES)), None
    totals = newest.totals
    begin_ns, end_ns = totals.first_ns, totals.last_ns
    width_ns = (end_ns - begin_ns) // SPANS + 1
    starts = [heads.start_ns[slot] for slot in row]
    lows = [heads.low[slot] for slot in row]
    highs = [heads.high[slot] for slot in row]
    middles = [heads.quarters[1][slot] >> 32 for slot in row]
    # Of each span what is typical of its parts, pages and ns; and all pages.
    typical: list[list[tuple[int, int]]] = []
    pages_of: list[list[int]] = []
    coarse = [row[-1]]  # blocks that take more time than a span
    points: list[tuple[int, int]] = []  # as typical, of these
    start = 0
    for span in range(1, SPANS + 1):
        # Blocks that begin in the span; all but the last one end there as well.
        stop = bisect_left(starts, begin_ns + span * width_ns, start, len(row) - 1)
        fine = stop
        if stop > start and starts[stop] - starts[stop - 1] > width_ns:
            fine = stop - 1
            slot, ns = row[fine], starts[fine]
            coarse.append(slot)
            scale = heads.scale[slot]
            for column in heads.quarters:
                quarter = column[slot]
                points.append((quarter >> 32, ns + ((quarter & UNKNOWN_32) << scale)))
        if fine > start:
            typical.append(
                list(zip(middles[start:fine], starts[start:fine], strict=True))
            )
            pages_of.append([min(lows[start:fine]), max(highs[start:fine])])
        else:
            typical.append([])
            pages_of.append([])
        start = stop
    if end_ns - starts[-1] > width_ns:
        points += [(pages, ns) for ns, pages, _ in _samples(newest)]
    else:
        points.append((totals.last, end_ns))
    for point in points:
        pages, ns = point
        span = (ns - begin_ns) // width_ns
        if 0 <= span < SPANS and pages != UNKNOWN_32:
            typical[span].append(point)
            pages_of[span].append(pages)
    for slot in coarse:
        times, scale = heads.low_high_time[slot], heads.scale[slot]
        after_ns = heads.start_ns[slot] - begin_ns
        low_span = (after_ns + ((times & UNKNOWN_32) << scale)) // width_ns
        high_span = (after_ns + ((times >> 32) << scale)) // width_ns
        if 0 <= low_span < SPANS and 0 <= high_span < SPANS:
            pages_of[low_span].append(heads.low[slot])
            pages_of[high_span].append(heads.high[slot])

    packed = _PAGES_OF_SPANS.pack(
        *[min(pages) if pages else UNKNOWN for pages in pages_of],
        *[max(pages) if pages else 0 for pages in pages_of],
    )
    spans = begin_ns + totals.wall_ns - totals.written_ns, width_ns, packed
    if end_ns - begin_ns < _GROWTH_NS:
        return spans, None
    return spans, _growth([sorted(part)[len(part) // 2] for part in typical if part])


def _growth(medians: list[tuple[int, int]]) -> float:
    """Return the slope that all of a life has, in pages an hour.

    The least of the median slopes of its thirds, 0 if their signs differ: a step, a
    plateau, a spike and a start aren't in all of them.
    """
    hours = [ns / 3600e9 for _, ns in medians]
    slopes = []
    for third in range(3):
        begin, end = third * len(medians) // 3, (third + 1) * len(medians) // 3
        part = [(hours[i], float(medians[i][0])) for i in range(begin, end)]
        slopes.append(_median_slope(part))
    return 0.0 if min(slopes) <= 0 <= max(slopes) else min(slopes, key=abs)


def _median_slope(points: list[tuple[float, float]]) -> float:
    """Return the median of the slopes from earlier to later half; 0 if there are none.

    Slopes between neighbours, which are mostly noise, are left out.
    """
    half = len(points) // 2
    steps = [
        (y - earlier_y) / (x - earlier_x)
        for earlier_x, earlier_y in points[:half]
        for x, y in points[half:]
        if x > earlier_x
    ]
    steps.sort()
    if not steps:
        return 0.0
    return (steps[len(steps) // 2] + steps[(len(steps) - 1) // 2]) / 2


def _cgroup_growth(heads: _Heads, row: list[int]) -> float | None:
    """Return by how many bytes an hour its cgroup grew in the time of a few blocks."""
    points = []
    for slot in row[-_CGROUP_BLOCKS:]:
        raw = _pread(heads.file, TOTALS.size, slot * BLOCK_BYTES + TOTALS_OFFSET)
        if len(raw) == TOTALS.size:
            totals = _Totals._make(TOTALS.unpack(raw))
            if totals.cgroup_bytes != UNKNOWN:
                points.append((totals.written_ns / 3600e9, totals.cgroup_bytes))
    if not points or points[-1][0] - points[0][0] < _GROWTH_NS / 3600e9:
        return None
    return _median_slope(points)


# -- Is it running? -------------------------------------------------------------------


def _is_held(path: str, file: int) -> bool | None:
    """Return whether an observer holds a file, None where locks can't tell.

    It has locked it; on Windows it has the file open, and lets others read it only.
    """
    if os.name == "nt":
        try:
            os.close(os.open(path, os.O_RDWR))
        except PermissionError:
            return True
        return False
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    fcntl.flock(file, fcntl.LOCK_UN)
    return False


def _judge(
    record: Record, head: _Head, totals: _Totals | None, held: bool | None
) -> None:
    """Say what became of a process that ran when its file was written last."""
    if not held:
        record.state = _state_by_number(head)
    if record.state == "ended":
        record.ended = record.last_seen
    elif record.state == "running" and held is not False and totals is not None:
        if _is_this_boot(head):
            silent_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - totals.written_ns
        else:
            silent_ns = time.time_ns() - totals.wall_ns
        if silent_ns <= 3 * head.interval_ns + 1_000_000_000:
            record.recorded_until = None


@cache
def _this_boot() -> str | None:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip() or None
    except OSError:
        return None


def _is_this_boot(head: _Head) -> bool:
    return head.boot is not None and head.boot == _this_boot()


def _state_by_number(head: _Head) -> str:
    """Return running or ended, or unknown where the process's number says nothing."""
    is_this_host = hasattr(os, "uname") and head.host == os.uname().nodename
    if _this_boot() is None:  # no Linux
        return "unknown" if not is_this_host or _is_there(head.pid) else "ended"
    if not _is_this_boot(head):
        return "ended" if is_this_host and head.boot else "unknown"
    try:
        if os.stat("/proc/self/ns/pid").st_ino != head.pid_namespace:
            return "unknown"
        with open(f"/proc/{head.pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except FileNotFoundError:
        return "unknown" if _is_there(head.pid) else "ended"  # /proc may hide it
    except ProcessLookupError:
        return "ended"
    except OSError:
        return "unknown"
    state, threads, start = fields[0], int(fields[17]), int(fields[19])
    is_zombie = state in (b"Z", b"X") and threads <= 1
    return "running" if start == head.start and not is_zombie else "ended"


def _is_there(pid: int) -> bool:
    """Return whether there is a process of that number, on Windows always True."""
    if os.name == "nt":
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass  # somebody else's
    return True
