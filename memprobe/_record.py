"""The recorder's files, for those who read them. src/record.h has their layout.

A file may be anybody's: nothing that it says is believed unless it fits the rest.
"""

import os
import re
import stat
import struct
import time

MAGIC = b"memprobe"
VERSION = 1
HEADER_BYTES = 4096
# struct mp_record_header up to its states; struct mp_record_state; struct mp_sample.
HEADER = struct.Struct("<8sIIQqqqQQQII")
STATE = struct.Struct("<QQQQQQQqQqQQ")
SAMPLE = struct.Struct("<qQ")
ARGV_BYTES = 2048

# All samples of a ring of the default capacity. A sparse file can claim any number.
MOST = 65536

_NAME = re.compile(r"([0-9]+)-([0-9]+)\.memprobe")
_ENDED_OFFSET = 72
_ARGV_OFFSET = HEADER.size + 2 * STATE.size
_FACTOR = 0x9E3779B97F4A7C15
_WORDS = struct.Struct(f"<{STATE.size // 8 - 1}Q")  # of a state, but its checksum
_TRIES = 100
# What clear() may undo: then the ring no longer knows the time of its last sample.
_UNORDERED_NS = 1_000_000_000
_OPEN_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)  # a FIFO without a writer
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


class NotARecord(ValueError):
    """What is wrong with a file that the recorder didn't write, or that is damaged."""


class Record:
    """What a file says: times in seconds since 1970, memory in bytes.

    *count* to *seconds* are over everything that was recorded; without samples all but
    *count* and *seconds* are None. *stored* samples are still in the file; *samples*
    are these, oldest first, or an even spread of them. *state* is running, exited or
    killed.
    """

    first: "int | None"
    last: "int | None"
    min: "int | None"
    max: "int | None"
    mean: "float | None"

    def __init__(self, path: str, file: int, most: int) -> None:
        header = _read_at(file, 0, HEADER_BYTES)
        self.pid, self.capacity, wall_ns, monotonic_ns, interval_ns = _checked(
            header, os.fstat(file).st_size
        )
        limit, peak, _, argv_bytes = HEADER.unpack_from(header)[8:]
        argv = header[_ARGV_OFFSET : _ARGV_OFFSET + argv_bytes]
        self.path = path
        text = argv.removesuffix(b"\0").decode("utf-8", "surrogateescape")
        self.argv = text.split("\0")
        self.interval = interval_ns / 1e9
        self.memory_limit: int | None = limit or None

        state, self.stored, samples = _read_samples(file, self.capacity, most)
        _, _, self.count, sum_low, sum_high, low, high = state[:7]
        first_ns, first, last_ns, last = state[7:]
        self.first = self.last = self.min = self.max = self.mean = None
        self.peak: int | None = peak or None
        self.seconds = 0.0
        began_ns = monotonic_ns
        if self.count > 0:
            self.first, self.last, self.min, self.max = first, last, low, high
            self.mean = (sum_high << 64 | sum_low) / self.count
            self.peak = max(peak, high)
            self.seconds = (last_ns - first_ns) / 1e9
            began_ns = first_ns
        self.started = (wall_ns + began_ns - monotonic_ns) / 1e9
        self.samples = [
            ((wall_ns + ns - monotonic_ns) / 1e9, rss) for ns, rss in samples
        ]
        # Last: what the process wrote before it ended is read by then.
        self.state = _state(path, file, self.pid)


def read(path: str, most: int = MOST) -> Record:
    """Read a file of the recorder's, also while its process writes it.

    If it has more than *most* samples, an even spread of MOST or fewer is read.
    Raises NotARecord, or OSError if it can't be read.
    """
    file = _open(path)
    try:
        for _ in range(_TRIES):
            if not _is_being_created(path, file):
                break
            time.sleep(0.01)
        return Record(path, file, most)
    finally:
        os.close(file)


def names(directory: str) -> "list[str]":
    """Return the names of the recorder's files in a directory, the oldest first."""
    found = [
        (int(match[2]), name)
        for name in os.listdir(directory)
        if (match := _NAME.fullmatch(name))
    ]
    return [name for _, name in sorted(found)]


def has_ended(path: str) -> bool:
    """Return whether the process that recorded into this file has surely ended.

    Raises NotARecord, or OSError if the file can't be read.
    """
    file = _open(path)
    try:
        header = _read_at(file, 0, HEADER_BYTES)
        pid = _named_pid(path)
        if pid is not None and not any(header):
            return not _is_being_created(path, file)
        pid = _checked(header, os.fstat(file).st_size)[0]
        return not _is_held(path, file) and (_is_marked(file) or not _is_there(pid))
    finally:
        os.close(file)


def _named_pid(path: str) -> "int | None":
    name = _NAME.fullmatch(os.path.basename(path))
    return int(name[1]) if name else None


def _is_being_created(path: str, file: int) -> bool:
    """Return whether there is no header yet, but a process that may be writing it."""
    if any(_read_at(file, 0, len(MAGIC))):
        return False
    pid = _named_pid(path)
    return _is_held(path, file) or (pid is not None and _is_there(pid))


def _open(path: str) -> int:
    """Open a regular file; anything else might block, or act on being opened."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise NotARecord("not a regular file")
    file = os.open(path, _OPEN_FLAGS)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise NotARecord("not a regular file")
    return file


def _read_at(file: int, offset: int, count: int) -> bytes:
    """Read so many bytes, or fewer at the end of the file."""
    if hasattr(os, "pread"):
        raw = os.pread(file, count, offset)
        while len(raw) < count:
            more = os.pread(file, count - len(raw), offset + len(raw))
            if not more:
                break
            raw += more
        return raw
    os.lseek(file, offset, os.SEEK_SET)
    raw = os.read(file, count)
    while len(raw) < count and (more := os.read(file, count - len(raw))):
        raw += more
    return raw


def _checked(header: bytes, size: int) -> "tuple[int, int, int, int, int]":
    """Return pid, capacity, wall_ns, monotonic_ns and interval_ns of a sound header."""
    if header[: len(MAGIC)] != MAGIC:
        raise NotARecord("not a file of memprobe's recorder")
    if len(header) < HEADER_BYTES:
        raise NotARecord("the file ends within its header")
    _, version, header_bytes, pid, wall_ns, *rest = HEADER.unpack_from(header)
    monotonic_ns, interval_ns, capacity, _, _, ended, argv_bytes = rest
    if version != VERSION or header_bytes != HEADER_BYTES:
        raise NotARecord(f"version {version} of the format; this reads {VERSION}")
    if capacity == 0 or size != HEADER_BYTES + capacity * SAMPLE.size:
        raise NotARecord("the header doesn't fit the file")
    if (
        not 0 < pid < 2**32
        or min(wall_ns, monotonic_ns) < 0
        or interval_ns <= 0
        or ended > 1
        or argv_bytes > ARGV_BYTES
    ):
        raise NotARecord("the header says what can't be")
    return pid, capacity, wall_ns, monotonic_ns, interval_ns


def _read_samples(
    file: int, capacity: int, most: int
) -> "tuple[tuple[int, ...], int, list[tuple[int, int]]]":
    """Return a whole state, how many samples are stored, and these or a spread of them.

    The process may go on writing meanwhile. A state is whole if its checksum is right,
    a sample if its slot was not the next one to be written afterwards.
    """
    writing = not _is_marked(file)
    state = _read_state(file)
    taken, base = state[0], state[1]
    oldest = max(base, taken - capacity)
    _check_state(state, taken - oldest)
    stored = taken - oldest
    every = 1 if stored <= most else -(-stored // min(most, MOST))
    numbers = range(oldest, taken, every)
    if every == 1:
        raw = b"".join(
            _read_slots(file, first % capacity, count)
            for first, count in _runs(oldest, taken, capacity)
        )
    else:
        raw = b"".join(_read_slots(file, n % capacity, 1) for n in numbers)
    if len(raw) != len(numbers) * SAMPLE.size:
        raise NotARecord("the file ends within its samples")
    # Slot taken % capacity may be half written as soon as the state was read.
    whole = _read_state(file)[0] + writing - capacity
    samples = [
        sample
        for number, sample in zip(numbers, SAMPLE.iter_unpack(raw), strict=True)
        if number >= whole
    ]
    if stored > 0 and (not samples or taken - 1 not in numbers):
        samples.append((state[9], state[10]))  # the state knows the newest one anyway
    return state, stored, _checked_samples(samples, state)


def _check_state(state: "tuple[int, ...]", stored: int) -> None:
    taken, base, count, sum_low, sum_high, low, high = state[:7]
    first_ns, first, last_ns, last = state[7:]
    summed = sum_high << 64 | sum_low
    if not base <= taken or count < stored:
        raise NotARecord("the header counts what can't be")
    if count > 0 and not (
        0 <= first_ns <= last_ns
        and 0 < low <= min(first, last)
        and max(first, last) <= high
        and low * count <= summed <= high * count
    ):
        raise NotARecord("the header sums up what can't be")


def _checked_samples(
    samples: "list[tuple[int, int]]", state: "tuple[int, ...]"
) -> "list[tuple[int, int]]":
    low, high, before_ns, _, last_ns, _ = state[5:]
    for i, (ns, rss) in enumerate(samples):
        if not (before_ns - _UNORDERED_NS <= ns <= last_ns and low <= rss <= high):
            raise NotARecord("its samples are damaged")
        if ns < before_ns:
            samples[i] = before_ns, rss
        else:
            before_ns = ns
    if samples and samples[-1] != state[9:]:
        raise NotARecord("its samples are damaged")
    return samples


def _runs(oldest: int, taken: int, capacity: int) -> "list[tuple[int, int]]":
    """Split samples oldest ... taken - 1 where the ring begins anew."""
    until_end = min(taken - oldest, capacity - oldest % capacity)
    runs = [(oldest, until_end), (oldest + until_end, taken - oldest - until_end)]
    return [(first, count) for first, count in runs if count > 0]


def _read_slots(file: int, slot: int, count: int) -> bytes:
    return _read_at(file, HEADER_BYTES + slot * SAMPLE.size, count * SAMPLE.size)


def _read_state(file: int) -> "tuple[int, ...]":
    """Return the newer of the whole states, without its checksum."""
    for _ in range(_TRIES):
        raw = _read_at(file, HEADER.size, 2 * STATE.size)
        if len(raw) < 2 * STATE.size:
            raise NotARecord("the file ends within its header")
        halves = raw[: STATE.size], raw[STATE.size :]
        states = [STATE.unpack(half) for half in halves if _is_whole(half)]
        if states:
            return max(states)[:-1]
    # Damage: the other state is whole while one is written.
    raise NotARecord("its header is damaged")


def _is_whole(state: bytes) -> bool:
    words, checksum = state[: _WORDS.size], state[_WORDS.size :]
    return checksum_of(words).to_bytes(8, "little") == checksum


def checksum_of(words: bytes) -> int:
    """Return what mp_record_checksum() makes of a state's words before the checksum."""
    total = 1
    for i, word in enumerate(_WORDS.unpack(words)):
        total += word * pow(_FACTOR, i + 1, 2**64)
    return total % 2**64


def _state(path: str, file: int, pid: int) -> str:
    if _is_held(path, file):
        return "running"
    # Where the sampler's thread holds the file, a fork lets go of it for a moment, and
    # stop_recording() a moment before the mark.
    if not _is_marked(file) and _is_there(pid):
        time.sleep(0.02)
        if _is_held(path, file):
            return "running"
    return "exited" if _is_marked(file) else "killed"


def _is_held(path: str, file: int) -> bool:
    """Return whether the process that records into this file holds it.

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
        return False  # a file system without locks
    fcntl.flock(file, fcntl.LOCK_UN)
    return False


def _is_marked(file: int) -> bool:
    return any(_read_at(file, _ENDED_OFFSET, 4))


def _is_there(pid: int) -> bool:
    """Return whether there is a process of that number, on Windows always False."""
    if os.name == "nt":
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass  # somebody else's
    return True
