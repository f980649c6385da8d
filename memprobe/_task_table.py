"""What tasks did to RSS, in memory that the processes of one worker share.

Whoever reads a table needs no Celery: it may lie in the recorder's folder.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import threading
import zlib

from memprobe._memprobe import _enter_told
from memprobe._memprobe import _leave as _leave_block

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# A table of slots, a slot for each process, in it a row for each name of a task. Each
# slot has one writer, so that no process ever waits for another, and a process that is
# killed at any instruction leaves behind all that it had counted. A slot goes on where
# the process that had it before left it. Numbers are whole 64-bit words, stored and
# read at once; a reader may see a run in the count that isn't in the growth yet.
#
# All zeros is an empty table, but for its first words. The heads of the slots lie
# together and say how many rows are used: memory that was never touched is not read,
# for that would take it, 32 KB a slot, and look like growth of whoever asks.
SLOTS = 64
ROWS = 128
NAME_BYTES = 128
# What makes room for another name is counted in the last row from then on.
OTHERS = "(others)"

_MAGIC = int.from_bytes(b"mptasks1", "little")
_MOST_SLOTS = 1 << 16
# How a run may end otherwise than by itself, in the order of a row's words.
KILLED = "killed"
TERMINATED = "terminated"
TIME_LIMIT = "time limit"
REVOKED = "revoked"
LOST = "connection lost"
EXITED = "exited"
ENDS = (KILLED, TERMINATED, TIME_LIMIT, REVOKED, LOST, EXITED)

# The table's own words, then what process had which role, then heads, then where each
# has grown, then rows.
_TABLE_WORDS = 64
_FIRST, _SLOTS, _LIMIT, _ASKED = range(4)
_IDENTITY, _NODE, _TEXT_WORDS = 8, 16, 32  # texts up to the next, and of the node
_ROLE_WORDS, _ROLES = 8, 256  # pid, start, name; of the last that were started
_PID, _START, _RSS, _PEAK, _RUNNING, _USED, _HIDDEN, _HEAD_WORDS = *range(7), 16
# Of the run: RSS at its start and the highest since, its task's id, how it ended. Why,
# and whom that was meant for, is written by the parent, which alone knows it.
_RUN_START, _RUN_PEAK, _TASK, _END, _WHY, _WHY_TASK = range(7, 13)
# Where RSS has grown: when that was said, since when, then the task and a sentence.
_SAID, _SINCE, _SENTENCE, _WHERE_WORDS = *range(3), 64
_NAME_WORDS = NAME_BYTES // 8
# COUNTED are the runs in the growth.
_RUNS, _COUNTED, _OVERLAPPED, _GROWTH, _FIRST_GROWTH, _BETWEEN, _LARGEST, _HIGHEST = (
    range(_NAME_WORDS, _NAME_WORDS + 8)
)
_ENDS = _NAME_WORDS + 8
_ROW_WORDS = _NAME_WORDS + 16
_SLOT_WORDS = ROWS * _ROW_WORDS
_SUMS = [_RUNS, _COUNTED, _OVERLAPPED, _GROWTH, _FIRST_GROWTH, _BETWEEN]
_SUMS += range(_ENDS, _ENDS + len(ENDS))


def table_bytes(slots: int) -> int:
    words = _TABLE_WORDS + (_ROLES + slots) * _ROLE_WORDS
    return (words + slots * (_HEAD_WORDS + _WHERE_WORDS + _SLOT_WORDS)) * 8


class Figures:
    """What all processes together counted for one task; memory in bytes.

    *runs* ended by themselves, *ends* says how many ended otherwise, and how; of
    *overlapped* of the runs nobody knows how far they grew. *growth* and *largest* are
    of all but a name's first run in each process, whose growth is *first*. *between* is
    what RSS grew by from the end of a run to the start of the next one, which is this
    task's. *peak* is the most that a run held above its start.
    """

    __slots__ = (
        *("between", "ends", "first", "growth", "largest", "overlapped", "peak"),
        "runs",
    )

    def __init__(self) -> None:
        self.runs = self.overlapped = self.growth = self.first = self.between = 0
        self.largest: int | None = None
        self.peak: int | None = None
        self.ends = dict.fromkeys(ENDS, 0)


class Table:
    """The table of one worker: anonymous and inherited by fork, or in a file."""

    def __init__(self, slots: int = SLOTS, file: int = -1) -> None:
        self._map(memoryview(mmap.mmap(file, table_bytes(slots))).cast("q"), slots)
        self._words[_SLOTS] = slots
        self._words[_FIRST] = _MAGIC

    @classmethod
    def of(cls, file: int, *, read_only: bool = False) -> Table:
        """Return the table in a file. Raises ValueError if that has none, or OSError.

        To be read only, it may be anybody's, and is a copy.
        """
        length = os.fstat(file).st_size
        if read_only:
            if length > table_bytes(_MOST_SLOTS):
                raise ValueError("larger than a table of tasks can be")
            with open(file, "rb", closefd=False) as reader:
                reader.seek(0)
                raw = reader.read(length)
            words = memoryview(raw[: len(raw) // 8 * 8]).cast("q")
        else:
            words = memoryview(mmap.mmap(file, 0)).cast("q")
        if len(words) < _TABLE_WORDS or words[_FIRST] != _MAGIC:
            raise ValueError("not a table of tasks")
        slots = words[_SLOTS]
        if not 0 < slots <= _MOST_SLOTS or table_bytes(slots) > len(words) * 8:
            raise ValueError("a table of tasks that ends too early")
        table = cls.__new__(cls)
        table._map(words, slots)
        return table

    def _map(self, words: memoryview[int], slots: int) -> None:
        self._words = words
        self._count = slots
        self._heads = _TABLE_WORDS + (_ROLES + slots) * _ROLE_WORDS

    def describe(self, node: str, limit: int) -> None:
        """Note whose table it is, and the limit in bytes of its children; 0: none."""
        _put(self._words[_NODE : _NODE + _TEXT_WORDS], node)
        _put(self._words[_IDENTITY:_NODE], _identity())
        self._words[_LIMIT] = limit

    @property
    def node(self) -> str:
        return _got(self._words[_NODE : _NODE + _TEXT_WORDS])

    @property
    def limit(self) -> int:
        return self._words[_LIMIT]

    def slot(self, number: int) -> Slot:
        """Raises IndexError if there is no such slot."""
        if not 0 <= number < self._count:
            raise IndexError(number)
        head = self._heads + number * _HEAD_WORDS
        where = self._heads + self._count * _HEAD_WORDS
        rows = where + self._count * _WHERE_WORDS + number * _SLOT_WORDS
        where += number * _WHERE_WORDS
        return Slot(
            self._words[head : head + _HEAD_WORDS],
            self._words[where : where + _WHERE_WORDS],
            self._words[rows : rows + _SLOT_WORDS],
        )

    def ask(self) -> None:
        """Ask all processes to say where they grow, from now on."""
        self._words[_ASKED] = 1

    @property
    def is_asked(self) -> bool:
        return self._words[_ASKED] != 0

    def slots(self) -> Iterator[Slot]:
        return map(self.slot, range(self._count))

    def tasks(
        self, lives: Callable[[int], bool] = lambda pid: True
    ) -> tuple[dict[str, Figures], int]:
        """Return the figures of each task, by its name; how many names gave way.

        *lives* says of a process whether it does: if not, its run has been cut short.
        """
        found: dict[str, Figures] = {}
        hidden = sum(slot.add_to(found, lives) for slot in self.slots())
        return found, hidden

    def note_role(self, role: str) -> None:
        """Note what this process is for: MainProcess, ForkPoolWorker-3, Beat.

        The numbers of a pool's processes count up, so that none writes where another
        does; what was noted long before is overwritten.
        """
        number = re.search(r"[0-9]+$", role)
        places = _ROLES + self._count - 1
        place = int(number[0]) % places if number else places * (role == "Beat")
        words = self._role(place)
        words[0], words[1] = os.getpid(), _start_of(os.getpid())
        _put(words[2:], role)

    def roles(self) -> dict[tuple[int, int], str]:
        """Return which processes had which role: by number and start (0: not known)."""
        places = map(self._role, range(_ROLES + self._count))
        return {(words[0], words[1]): _got(words[2:]) for words in places if words[0]}

    def _role(self, place: int) -> memoryview[int]:
        at = _TABLE_WORDS + place * _ROLE_WORDS
        return self._words[at : at + _ROLE_WORDS]

    def living(self) -> Callable[[int], bool]:
        """Return what says of a process of the table whether it lives.

        Of another boot's, or another PID namespace's, it can't be told from here.
        """
        identity = _identity()
        if not identity or _got(self._words[_IDENTITY:_NODE]) != identity:
            return lambda pid: True
        starts = dict(self.roles().keys())

        def lives(pid: int) -> bool:
            start = _start_of(pid)
            return start > 0 and starts.get(pid, start) in (0, start)

        return lives

    def note_why(self, pid: int, task_id: str, end: str) -> None:
        """Note what a run is about to be cut short for."""
        for slot in self.slots():
            if slot.pid == pid:
                slot.note_why(task_id, end)


class Run:
    """A run of a task that has begun."""

    __slots__ = ("before", "block", "inner", "is_first", "overlapped", "row", "thread")

    def __init__(self, row: int, thread: int, before: int) -> None:
        self.row, self.thread, self.before = row, thread, before
        self.is_first = self.overlapped = False
        self.inner = 0  # what runs inside this one grew by
        self.block: object = None


class Slot:
    """The part of the table that one process writes."""

    def __init__(
        self, head: memoryview[int], where: memoryview[int], words: memoryview[int]
    ) -> None:
        self._head = head
        self._where = where
        self._words = words
        self._rows: dict[bytes, int] = {}
        self._has_run: set[str] = set()
        self._gave_way: set[bytes] = set()
        self._open: list[Run] = []
        self._lock = threading.Lock()  # of the threads of a pool of threads

    @property
    def pid(self) -> int:
        return self._head[_PID]

    @property
    def start(self) -> int:
        """RSS when the process took the slot."""
        return self._head[_START]

    @property
    def rss(self) -> int:
        """RSS as the process last said."""
        return self._head[_RSS]

    @property
    def peak(self) -> int:
        """The peak as the process last said."""
        return self._head[_PEAK]

    @property
    def running(self) -> str | None:
        """The task that was begun last, if it hasn't ended."""
        row = self._head[_RUNNING]
        if not 0 < row <= ROWS or self._head[_END]:
            return None
        return self._name(row - 1).decode(errors="replace")

    @property
    def where(self) -> tuple[float, float, str, str] | None:
        """When it said where it has grown, since when, after which task, and what.

        The sentence is empty at the first time. None if it hasn't said anything.
        """
        if not self._where[_SAID]:
            return None
        task, _, sentence = _got(self._where[_SENTENCE:]).partition("\n")
        return self._where[_SAID] / 1e9, self._where[_SINCE] / 1e9, task, sentence

    def note_where(self, said: float, since: float, task: str, sentence: str) -> None:
        """Note that, with times since 1970."""
        self._where[_SAID] = 0  # in case it is killed before the end
        _put(self._where[_SENTENCE:], f"{task[-NAME_BYTES:]}\n{sentence}")
        self._where[_SINCE] = int(since * 1e9)
        self._where[_SAID] = int(said * 1e9)

    def take(self, rss: int, peak: int) -> bool:
        """Let this process have the slot, whose owner so far has ended.

        Return whether there was none before.
        """
        head = self._head
        is_first = head[_PID] == 0
        if head[_RUNNING]:
            self._count_cut()
        head[_PID] = head[_WHY] = self._where[_SAID] = 0
        head[_START] = head[_RSS] = rss
        head[_PEAK] = peak
        head[_PID] = os.getpid()
        # Reads all pages, which would look like growth of the first tasks otherwise.
        names = map(self._name, range(ROWS))
        self._rows = {name: row for row, name in enumerate(names) if name}
        return is_first

    def begin(self, task: str, task_id: str, rss: int, *, inside: bool = False) -> Run:
        """Note that a run begins; *inside* another one of this thread, for example."""
        head, thread = self._head, threading.get_ident()
        with self._lock:
            if head[_END]:
                self._count_cut()  # and the process has survived it
            if not inside:
                # Of its end this process wasn't told: an exception came in between.
                for stale in [run for run in self._open if run.thread == thread]:
                    self._close(stale)
                    self._words[self._row(stale.row) + _RUNS] += 1
            run = Run(self._row_for(task), thread, rss)
            run.is_first = task not in self._has_run
            self._has_run.add(task)
            if any(other.thread != thread for other in self._open):
                for one in [*self._open, run]:
                    one.overlapped = True
                head[_RUN_START] = 0
            elif not self._open:
                # Arguments are decoded before this, and who handles ends works after
                # the one before.
                self._words[self._row(run.row) + _BETWEEN] += rss - head[_RSS]
                head[_RSS] = head[_RUN_START] = head[_RUN_PEAK] = rss
            with contextlib.suppress(OSError):  # no thread to be had: both ends, then
                run.block = _enter_told(head[_RUN_PEAK : _RUN_PEAK + 1])
            self._open.append(run)
            head[_TASK] = _digest(task_id)
            head[_RUNNING] = run.row + 1
        return run

    def end(self, run: Run, rss: int, peak: int, end: str | None = None) -> None:
        """Count a run that has ended, by itself or otherwise.

        One that was terminated is counted when it is known what for: by who takes the
        slot next.
        """
        words, head = self._words, self._head
        with self._lock:
            if run not in self._open:
                return  # it was taken for one that has ended
            row = self._row(run.row)
            highest = self._close(run)
            if run.overlapped:
                words[row + _OVERLAPPED] += 1
            else:
                growth = rss - run.before
                for outer in self._open:
                    outer.inner += growth - run.inner
                self._add_growth(row, run, growth - run.inner)
                above = max(highest, rss) - run.before
                words[row + _HIGHEST] = max(words[row + _HIGHEST], above)
            head[_RSS], head[_PEAK] = rss, peak
            if end == TERMINATED:
                head[_END] = ENDS.index(TERMINATED)
                return
            words[row + (_RUNS if end is None else _ENDS + ENDS.index(end))] += 1
            head[_RUNNING] = self._open[-1].row + 1 if self._open else 0

    def note_why(self, task_id: str, end: str) -> None:
        self._head[_WHY_TASK] = _digest(task_id)
        self._head[_WHY] = ENDS.index(end)

    def add_to(self, tasks: dict[str, Figures], lives: Callable[[int], bool]) -> int:
        """Add what the slot counted to the figures of each task.

        Return how many names gave way to others.
        """
        words, head = self._words, self._head
        cut = head[_RUNNING] - 1
        if cut >= 0 and not head[_END] and lives(head[_PID]):
            cut = -1
        for number in range(min(max(head[_USED], 0), ROWS)):
            row = self._row(number)
            if number != cut and not any(words[row + word] for word in _SUMS):
                continue
            name = self._name(number).decode(errors="replace")
            figures = tasks.setdefault(name, Figures())
            figures.runs += words[row + _RUNS]
            figures.overlapped += words[row + _OVERLAPPED]
            figures.growth += words[row + _GROWTH]
            figures.first += words[row + _FIRST_GROWTH]
            figures.between += words[row + _BETWEEN]
            if words[row + _COUNTED]:
                figures.largest = _larger(figures.largest, words[row + _LARGEST])
            highest = words[row + _HIGHEST]
            if number == cut:
                figures.ends[ENDS[self._why_cut()]] += 1
                highest = max(highest, self._told())
            if highest or words[row + _OVERLAPPED] < words[row + _RUNS]:
                figures.peak = _larger(figures.peak, highest)
            for end, count in zip(ENDS, words[row + _ENDS :], strict=False):
                figures.ends[end] += count
        return head[_HIDDEN]

    def _add_growth(self, row: int, run: Run, growth: int) -> None:
        words = self._words
        if run.is_first:
            words[row + _FIRST_GROWTH] += growth
            return
        if not words[row + _COUNTED] or growth > words[row + _LARGEST]:
            words[row + _LARGEST] = growth
        words[row + _GROWTH] += growth
        words[row + _COUNTED] += 1

    def _close(self, run: Run) -> int:
        """Take a run out; return the highest RSS since it began, 0 if not known."""
        self._open.remove(run)
        with contextlib.suppress(OSError):
            if run.block is not None:
                return _leave_block(run.block)[2]
        return 0

    def _count_cut(self) -> None:
        """Count the run that its process didn't count itself."""
        head, words = self._head, self._words
        row = self._row(head[_RUNNING] - 1)
        words[row + _HIGHEST] = max(words[row + _HIGHEST], self._told())
        words[row + _ENDS + self._why_cut()] += 1
        head[_RUNNING] = head[_END] = 0

    def _why_cut(self) -> int:
        head = self._head
        is_meant = head[_WHY] and head[_WHY_TASK] == head[_TASK]
        end = head[_WHY] if is_meant else head[_END]
        return end if 0 <= end < len(ENDS) else 0

    def _told(self) -> int:
        """Return the most that the run held above its start; 0 if that isn't known.

        Of a task inside another one, it is the outer one's.
        """
        start = self._head[_RUN_START]
        return max(self._head[_RUN_PEAK] - start, 0) if start else 0

    @staticmethod
    def _row(number: int) -> int:
        return number * _ROW_WORDS

    def _name(self, number: int) -> bytes:
        row = self._row(number)
        return self._words[row : row + _NAME_WORDS].tobytes().rstrip(b"\0")

    def _row_for(self, task: str) -> int:
        name = task.encode(errors="replace")
        if len(name) > NAME_BYTES:  # its end, and what tells it from others' ends
            name = b"%08x..." % zlib.crc32(name) + name[11 - NAME_BYTES :]
        row = self._rows.get(name)
        if row is None:
            row = len(self._rows)
            if row >= ROWS - 1:
                row = self._make_room()
            start = self._row(row)
            padded = memoryview(name.ljust(NAME_BYTES, b"\0")).cast("q")
            self._words[start : start + _NAME_WORDS] = padded
            self._rows[name] = row
            self._head[_USED] = max(self._head[_USED], row + 1)
        return row

    def _make_room(self) -> int:
        """Let the row that says least give way; the last one has what it said.

        Who is killed in the middle of this counts a row twice, which says least.
        """
        words = self._words
        if OTHERS.encode() not in self._rows:
            self._rows[OTHERS.encode()] = ROWS - 1
            start = self._row(ROWS - 1)
            padded = OTHERS.encode().ljust(NAME_BYTES, b"\0")
            words[start : start + _NAME_WORDS] = memoryview(padded).cast("q")
            self._head[_USED] = ROWS
        in_use = {ROWS - 1, *(run.row for run in self._open)}
        weights = (_GROWTH, _FIRST_GROWTH, _BETWEEN)

        def weight(item: tuple[bytes, int]) -> int:
            row = self._row(item[1])
            return sum(abs(words[row + word]) for word in weights)

        candidates = [item for item in self._rows.items() if item[1] not in in_use]
        if not candidates:
            return ROWS - 1
        name, number = min(candidates, key=weight)
        row, others = self._row(number), self._row(ROWS - 1)
        if words[row + _COUNTED] and (
            not words[others + _COUNTED]
            or words[row + _LARGEST] > words[others + _LARGEST]
        ):
            words[others + _LARGEST] = words[row + _LARGEST]
        words[others + _HIGHEST] = max(words[others + _HIGHEST], words[row + _HIGHEST])
        for word in _SUMS:
            words[others + word] += words[row + word]
        for word in range(row, row + _ROW_WORDS):
            words[word] = 0
        del self._rows[name]
        if name not in self._gave_way:
            self._gave_way.add(name)
            self._head[_HIDDEN] += 1
        return number


def _larger(one: int | None, other: int) -> int:
    return other if one is None else max(one, other)


def _digest(task_id: str) -> int:
    return zlib.crc32(str(task_id).encode(errors="replace")) + 1


def _put(words: memoryview[int], text: str) -> None:
    raw = text.encode(errors="replace")[: words.nbytes]
    words[:] = memoryview(raw.ljust(words.nbytes, b"\0")).cast("q")


def _got(words: memoryview[int]) -> str:
    return words.tobytes().partition(b"\0")[0].decode(errors="replace")


def _identity() -> str:
    """Return where a process's number means this process; nothing if not known."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return f"{file.read().strip()} {os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return ""


def _start_of(pid: int) -> int:
    """Return when a process started, in the system's ticks; 0: it doesn't live."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])
