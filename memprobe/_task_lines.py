"""What Celery's tasks did to RSS, as text: what `inspect` answers and `show` prints."""

from __future__ import annotations

import os

from memprobe._memprobe import humanbytes
from memprobe._task_table import ENDS, OTHERS, Table
from memprobe._text import printable, width_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from memprobe._task_table import Figures

SUFFIX = ".tasks"  # of the files that have a worker's table, in the recorder's folder

_HEAD = ["task", "runs", "growth", "largest", "first", "between", "peak", "cut short"]
# What a narrow terminal has no room for, the first to go first.
_DISPENSABLE = ("largest", "first", "between")
_LEFT = ("task", "process", "cut short", "running")


def tables(folder: str) -> Iterator[tuple[str, Table]]:
    """Return the name and the table of each worker that has one in a folder."""
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(SUFFIX))
    except OSError:
        return
    for name in names:
        try:
            file = os.open(
                os.path.join(folder, name), os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)
            )
            try:
                yield name, Table.of(file, read_only=True)
            finally:
                os.close(file)
        except (OSError, ValueError):
            continue  # not one, or not yet


def in_order(tasks: dict[str, Figures]) -> list[tuple[str, Figures]]:
    """Return tasks, those that hold most first."""

    def held(task: tuple[str, Figures]) -> tuple[int, int, str]:
        name, it = task
        return -(it.growth + it.between), -sum(it.ends.values()), name

    return sorted(tasks.items(), key=held)


def task_lines(
    table: Table,
    lives: Callable[[int], bool],
    *,
    overlapping: bool = False,
    width: int = 0,
) -> list[str]:
    """Return what the tasks of a table did as lines; what they don't say is last.

    With a *width*, columns that don't fit are left out; what is left may be wider.
    """
    tasks, hidden = table.tasks(lives)
    rows = [_HEAD]
    for name, it in in_order(tasks):
        unknown = it.overlapped > 0 and it.overlapped >= it.runs
        sizes = (None if unknown else it.growth, it.largest)
        first = None if unknown else it.first
        cut = ", ".join(f"{it.ends[end]} {end}" for end in ENDS if it.ends[end])
        rows.append(
            [
                *(printable(name), str(it.runs), *map(signed, sizes)),
                *(signed(first), signed(None if unknown else it.between)),
                *(signed(it.peak), cut or "-"),
            ]
        )
    lines = aligned(rows)
    for name in _DISPENSABLE:
        if not width or max(map(width_of, lines)) <= width:
            break
        at = rows[0].index(name)
        rows = [row[:at] + row[at + 1 :] for row in rows]
        lines = aligned(rows)
    overlapped = sum(it.overlapped for it in tasks.values())
    if overlapped or overlapping:
        runs = sum(it.runs + sum(it.ends.values()) for it in tasks.values())
        lines.append(
            f"{overlapped} of {runs} runs overlapped others in their process: growth "
            "and peak leave them out."
        )
    if hidden:
        lines.append(f"{OTHERS}: what {hidden} names that gave way to others counted.")
    return lines


def signed(growth: int | None) -> str:
    if growth is None:
        return "-"
    return ("", "+", "-")[(growth > 0) - (growth < 0)] + humanbytes(abs(growth))


def aligned(rows: list[list[str]]) -> list[str]:
    """Return rows as lines of columns, the first row being their head."""
    widths = [max(map(width_of, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = []
        for name, cell, width in zip(rows[0], row, widths, strict=True):
            space = " " * (width - width_of(cell))
            cells.append(cell + space if name in _LEFT else space + cell)
        lines.append("  ".join(cells).rstrip())
    return lines
