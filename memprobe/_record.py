"""The recorder's files, for those who read them. src/record.h has their layout."""

import os
import re
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

MAGIC = b"memprobe"
VERSION = 1
HEADER_BYTES = 4096
# struct mp_record_header up to its states; struct mp_record_state; struct mp_sample.
HEADER = struct.Struct("<8sIIQqqqQQQIIQ")
STATE = struct.Struct("<QQQQQQQqQqQ")
SAMPLE = struct.Struct("<qQ")
ARGV_BYTES = 2048

_NAME = re.compile(r"\d+-(\d+)\.memprobe")
_SEQUENCE = struct.Struct("<Q")
_SEQUENCE_OFFSET = HEADER.size - _SEQUENCE.size
_ARGV_OFFSET = HEADER.size + 2 * STATE.size
_TRIES = 1000


class NotARecord(ValueError):
    """What is wrong with a file that the recorder didn't write, or that is damaged."""


class Record:
    """What a file says: times in seconds since 1970, memory in bytes.

    *count* to *mean* are over everything that was recorded, *samples* are those that
    are still in the file, oldest first. *state* is running, exited or killed.
    """

    def __init__(self, path: str, file: "BinaryIO") -> None:
        size = os.fstat(file.fileno()).st_size
        header = file.read(HEADER_BYTES)
        if header[: len(MAGIC)] != MAGIC:
            raise NotARecord("not a file of memprobe's recorder")
        if len(header) < HEADER_BYTES:
            raise NotARecord("the file ends within its header")
        fields = HEADER.unpack_from(header)
        _, version, header_bytes, self.pid, wall_ns, monotonic_ns, *rest = fields
        interval_ns, self.capacity, memory_limit, peak, ended, argv_bytes, _ = rest
        if version != VERSION or header_bytes != HEADER_BYTES:
            raise NotARecord(f"version {version} of the format; this reads {VERSION}")
        if (
            size != HEADER_BYTES + self.capacity * SAMPLE.size
            or argv_bytes > ARGV_BYTES
        ):
            raise NotARecord("the header doesn't fit the file")
        self.path = path
        self.started = wall_ns / 1e9
        self.interval = interval_ns / 1e9
        self.memory_limit = memory_limit or None
        argv = header[_ARGV_OFFSET : _ARGV_OFFSET + argv_bytes]
        self.argv = os.fsdecode(argv).split("\0")[:-1]
        state, raw = _read_samples(file, self.capacity)
        _, _, self.count, sum_low, sum_high, self.min, self.max = state[:7]
        first_ns, self.first, last_ns, self.last = state[7:]
        self.mean = (sum_high << 64 | sum_low) / max(self.count, 1)
        self.seconds = (last_ns - first_ns) / 1e9
        self.samples = [
            ((wall_ns + ns - monotonic_ns) / 1e9, rss)
            for ns, rss in SAMPLE.iter_unpack(raw)
        ]
        self.peak = max(peak, self.max)
        self.state = "exited" if ended else "running" if is_running(path) else "killed"


def read(path: str) -> Record:
    """Read a file of the recorder's, also while its process writes it.

    Raises NotARecord, or OSError if it can't be read.
    """
    with open(path, "rb") as file:
        return Record(path, file)


def names(directory: str) -> "list[str]":
    """Return the names of the recorder's files in a directory, the oldest first."""
    found = [
        (int(match[1]), name)
        for name in os.listdir(directory)
        if (match := _NAME.fullmatch(name))
    ]
    return [name for _, name in sorted(found)]


def is_running(path: str) -> bool:
    """Return whether the process that records into this file is alive.

    Its sampler holds a lock on the file; on Windows it has the file open, and lets
    others read it only. Raises OSError if the file can't be read.
    """
    if os.name == "nt":
        try:
            with open(path, "r+b"):
                return False
        except PermissionError:
            return True
    import fcntl

    with open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def _read_samples(file: "BinaryIO", capacity: int) -> "tuple[tuple[int, ...], bytes]":
    """Return a whole state, and the samples that it counts as they lie in the file.

    The process may go on writing meanwhile. A state is whole if no other two came while
    it was read; a sample is, if its slot was not the next one to be written afterwards.
    """
    state = _read_state(file)
    taken, base = state[0], state[1]
    if not base <= taken or (taken > base and capacity == 0):
        raise NotARecord("the header counts what can't be")
    oldest = max(base, taken - capacity)
    raw = b"".join(
        _read_slots(file, first % capacity, count)
        for first, count in _runs(oldest, taken, capacity)
    )
    if len(raw) != (taken - oldest) * SAMPLE.size:
        raise NotARecord("the file ends within its samples")
    # Slot taken % capacity may be half written as soon as the state was read.
    overwritten = _read_state(file)[0] + 1 - capacity - oldest
    return state, raw[max(0, overwritten) * SAMPLE.size :] if overwritten > 0 else raw


def _runs(oldest: int, taken: int, capacity: int) -> "list[tuple[int, int]]":
    """Split samples oldest ... taken - 1 where the ring begins anew."""
    if oldest == taken:
        return []
    until_end = min(taken - oldest, capacity - oldest % capacity)
    runs = [(oldest, until_end), (oldest + until_end, taken - oldest - until_end)]
    return [(first, count) for first, count in runs if count > 0]


def _read_slots(file: "BinaryIO", slot: int, count: int) -> bytes:
    file.seek(HEADER_BYTES + slot * SAMPLE.size)
    return file.read(count * SAMPLE.size)


def _read_state(file: "BinaryIO") -> "tuple[int, ...]":
    for _ in range(_TRIES):
        before = _read_sequence(file)
        file.seek(HEADER.size + before % 2 * STATE.size)
        raw = file.read(STATE.size)
        if len(raw) == STATE.size and _read_sequence(file) == before:
            return STATE.unpack(raw)
    raise NotARecord("the header can't be read while it changes so fast")


def _read_sequence(file: "BinaryIO") -> int:
    file.seek(_SEQUENCE_OFFSET)
    number: int = _SEQUENCE.unpack(file.read(_SEQUENCE.size))[0]
    return number
