"""What tasks did to RSS, in memory that the processes of one worker share."""

import mmap
import os
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# A table of slots, a slot for each process, in it a row for each name of a task. Each
# slot has one writer, so that no process ever waits for another, and a process that is
# killed at any instruction leaves behind all that it had counted. A slot goes on where
# the process that had it before left it. Numbers are whole 64-bit words, stored and
# read at once; a reader may see a run in the count that isn't in the growth yet.
#
# All zeros is an empty table. The heads of the slots lie together and say how many rows
# are used: memory that was never touched is not read, for that would take it, 20 KB a
# slot, and look like growth of whoever asks.
SLOTS = 256
ROWS = 128
NAME_BYTES = 128
# What doesn't fit into the rows is counted in the last one.
OTHERS = "(others)"

_PID, _START, _RSS, _PEAK, _RUNNING, _USED, _HEAD_WORDS = 0, 1, 2, 3, 4, 5, 8
_NAME_WORDS = NAME_BYTES // 8
_RUNS, _GROWTH, _LARGEST, _KILLED = range(_NAME_WORDS, _NAME_WORDS + 4)
_ROW_WORDS = _NAME_WORDS + 4
_SLOT_WORDS = ROWS * _ROW_WORDS
TABLE_BYTES = SLOTS * (_HEAD_WORDS + _SLOT_WORDS) * 8


class Figures:
    """What all processes together counted for one task; memory in bytes.

    *killed* is how many runs ended with their process; these are not in *runs*, for
    nobody knows how far they grew.
    """

    __slots__ = ("growth", "killed", "largest", "runs")

    def __init__(self) -> None:
        self.runs = self.growth = self.killed = 0
        self.largest: int | None = None


class Table:
    """The table of one worker: anonymous and inherited by fork, or in a file."""

    def __init__(self, file: int = -1) -> None:
        self._words = memoryview(mmap.mmap(file, TABLE_BYTES)).cast("q")

    def slot(self, number: int) -> "Slot":
        head = number * _HEAD_WORDS
        rows = SLOTS * _HEAD_WORDS + number * _SLOT_WORDS
        return Slot(
            self._words[head : head + _HEAD_WORDS],
            self._words[rows : rows + _SLOT_WORDS],
        )

    def slots(self) -> "Iterator[Slot]":
        return map(self.slot, range(SLOTS))

    def tasks(self) -> "dict[str, Figures]":
        """Return the figures of each task that has ended, by its name."""
        found: dict[str, Figures] = {}
        for slot in self.slots():
            slot.add_to(found)
        return found


class Slot:
    """The part of the table that one process writes."""

    def __init__(self, head: "memoryview[int]", words: "memoryview[int]") -> None:
        self._head = head
        self._words = words
        self._rows: dict[bytes, int] = {}
        self._begun: list[int] = []
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
    def running(self) -> "str | None":
        """The task that was begun last, if it hasn't ended."""
        row = self._head[_RUNNING]
        return self._name(row - 1).decode(errors="replace") if row else None

    def take(self, rss: int, peak: int) -> None:
        """Let this process have the slot, whose owner so far has ended."""
        head, words = self._head, self._words
        if head[_RUNNING]:
            words[self._row(head[_RUNNING] - 1) + _KILLED] += 1
        head[_PID] = head[_RUNNING] = 0
        head[_START] = head[_RSS] = rss
        head[_PEAK] = peak
        head[_PID] = os.getpid()
        # Reads all pages, which would look like growth of the first tasks otherwise.
        names = map(self._name, range(ROWS))
        self._rows = {name: row for row, name in enumerate(names) if name}

    def begin(self, task: str) -> None:
        """Note that a task begins."""
        with self._lock:
            self._begun.append(self._row_for(task))
            self._head[_RUNNING] = self._begun[-1] + 1

    def end(self, task: str, growth: int, rss: int, peak: int) -> None:
        """Count a task that was begun and has ended."""
        words = self._words
        with self._lock:
            number = self._row_for(task)
            row = self._row(number)
            if words[row + _RUNS] == 0 or growth > words[row + _LARGEST]:
                words[row + _LARGEST] = growth
            words[row + _GROWTH] += growth
            words[row + _RUNS] += 1
            head = self._head
            head[_RSS], head[_PEAK] = rss, peak
            self._begun.remove(number)
            head[_RUNNING] = self._begun[-1] + 1 if self._begun else 0

    def add_to(self, tasks: "dict[str, Figures]") -> None:
        """Add what the slot counted to the figures of each task."""
        words = self._words
        for number in range(self._head[_USED]):
            row = self._row(number)
            if words[row + _RUNS] == 0 and words[row + _KILLED] == 0:
                continue
            name = self._name(number).decode(errors="replace")
            figures = tasks.setdefault(name, Figures())
            if words[row + _RUNS]:
                largest = words[row + _LARGEST]
                if figures.largest is None or largest > figures.largest:
                    figures.largest = largest
            figures.runs += words[row + _RUNS]
            figures.growth += words[row + _GROWTH]
            figures.killed += words[row + _KILLED]

    @staticmethod
    def _row(number: int) -> int:
        return number * _ROW_WORDS

    def _name(self, number: int) -> bytes:
        row = self._row(number)
        return self._words[row : row + _NAME_WORDS].tobytes().rstrip(b"\0")

    def _row_for(self, task: str) -> int:
        name = task.encode(errors="replace")
        if len(name) > NAME_BYTES:
            name = b"..." + name[3 - NAME_BYTES :]
        row = self._rows.get(name)
        if row is None:
            row = len(self._rows)
            if row >= ROWS - 1:
                name, row = OTHERS.encode(), ROWS - 1
            start = self._row(row)
            padded = memoryview(name.ljust(NAME_BYTES, b"\0")).cast("q")
            self._words[start : start + _NAME_WORDS] = padded
            self._rows[name] = row
            self._head[_USED] = max(self._head[_USED], row + 1)
        return row
