"""Recorded processes as a table: a line each, no wider than the terminal."""

import signal
import time
from collections import defaultdict

from memprobe._cli.chart import ASCII
from memprobe._cli.output import BLOCKS
from memprobe._cli.series import columns
from memprobe._cli.text import command_text, cut, printable, width_of
from memprobe._cli.units import (
    date_text,
    duration_text,
    growth_text,
    short_duration,
    size_text,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from memprobe._record_file import Record

LIVING = ("running", "unknown")

_COMMAND = range(8, 60)  # columns: at least and at most
_CHART = range(6, 30)
_INDENT = 2
_DEEPEST = 4  # levels of a family that are indented


def _short_date(seconds: "float | None") -> str:
    today = date_text(time.time(), "%Y-%m-%d")
    date = date_text(seconds, "%Y-%m-%d")
    return date_text(seconds, "%H:%M") if date == today else date


# The columns in their order, and how they are written.
COLUMNS: "dict[str, Callable[[Any], str]]" = {
    "pid": str,
    "parent": str,
    "user": printable,
    "host": printable,
    "command": str,
    "state": str,
    "started": _short_date,
    "ended": _short_date,
    "lasted": short_duration,
    "first": size_text,
    "peak": size_text,
    "last": size_text,
    "shared": size_text,
    "swap": size_text,
    "pss": size_text,
    "uss": size_text,
    "growth/h": growth_text,
}
_LEFT = ["user", "host", "command", "state"]
_IF_THEY_DIFFER = ["parent", "user", "host"]
_ASCENDING = ["pid", "parent", "user", "host", "command", "state", "started", "ended"]
# What a narrow terminal has no room for, the first to go first.
_DISPENSABLE = (
    "uss pss swap parent shared ended first started host user lasted growth/h state peak"
).split()


class Row:
    """What the table says of a process. It keeps little of the record."""

    def __init__(self, record: "Record") -> None:
        self.record = record
        self.living = record.state in LIVING
        self.depth = 0
        self.values: dict[str, Any] = {
            "pid": record.pid,
            "parent": record.parent,
            "user": record.user,
            "host": record.host,
            "command": command_text(record),
            "state": state_text(record),
            "started": record.started,
            "ended": record.ended,
            "lasted": record.seconds,
            "first": record.first,
            "peak": record.peak,
            "last": record.last,
            "shared": record.shared,
            "swap": record.swap or None,
            "pss": record.pss,
            "uss": record.uss,
            "growth/h": record.growth_per_hour,
        }

    def text(self, name: str) -> str:
        value = self.values[name]
        text = "" if value is None else COLUMNS[name](value)
        if name == "command":
            return " " * _INDENT * min(self.depth, _DEEPEST) + text
        return text


def state_text(record: "Record") -> str:
    """Return in words how a process is, or how it ended."""
    if record.state == "running" and record.recorded_until is not None:
        return f"running (not recorded since {_short_date(record.recorded_until)})"
    if record.state == "unknown":
        ago = max(time.time() - record.last_seen, 0)
        return f"last seen {duration_text(ago)} ago"
    if record.state == "exited" and record.status:
        return f"exited (status {record.status})"
    if record.state == "died":
        return record.cause or death_text(record.signal)
    return record.state


def death_text(number: "int | None") -> str:
    if number is None:
        return "died"
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return "killed" if name == "SIGKILL" else f"ended by {name}"


def table(
    rows: "Iterable[Row]",
    width: int,
    *,
    blocks: bool,
    height: "int | None" = None,
    sort: "str | None" = None,
) -> "list[str]":
    """Return lines of at most *width* columns, *height* lines at most; totals are last.

    The living come first, the largest last RSS first, children below their parents and
    indented; or all in the order of a column.
    """
    rows = list(rows)
    below = _summary(rows)
    rows = _sorted(rows, sort) if sort else _families(rows)
    if height is not None and 1 + len(rows) + len(below) > height:
        kept = max(height - len(below) - 2, 1)
        below = [f"and {len(rows) - kept} more", *below]
        del rows[kept:]
    return [cut(line, width, blocks) for line in [*_grid(rows, width, blocks), *below]]


def _sorted(rows: "list[Row]", name: str) -> "list[Row]":
    known = [row for row in rows if row.values[name] is not None]
    known.sort(key=lambda row: row.values[name], reverse=name not in _ASCENDING)
    return known + [row for row in rows if row.values[name] is None]


def _families(rows: "list[Row]") -> "list[Row]":
    """Return the living and then the others, children below their parents."""
    rows = _sorted(sorted(rows, key=lambda row: row.values["started"]), "last")
    ordered = []
    for living in (True, False):
        children = defaultdict(list)
        among = [row for row in rows if row.living == living]
        parents = _parents(among)
        for row in among:
            children[parents.get(id(row))].append(row)
        stack = children[None][::-1]
        while stack:
            ordered.append(row := stack.pop())
            for child in reversed(children[id(row)]):
                child.depth = row.depth + 1
                stack.append(child)
    return ordered


def _parents(rows: "list[Row]") -> "dict[int, int]":
    """Return which row is whose parent, by their ids: it started before its child."""
    newest: dict[object, int] = {}
    parents = {}
    for row in sorted(rows, key=lambda row: (row.record.started or 0, row.record.pid)):
        record = row.record
        parent = newest.get((record.host, record.boot, record.parent))
        if parent is not None:
            parents[id(row)] = parent
        newest[record.host, record.boot, record.pid] = id(row)
    return parents


def _grid(rows: "list[Row]", width: int, blocks: bool) -> "list[str]":
    texts = [{name: row.text(name) for name in COLUMNS} for row in rows]
    names = [
        name
        for name in COLUMNS
        if len({text[name] for text in texts} - {""}) > (name in _IF_THEY_DIFFER)
    ]
    widths = {
        name: max(width_of(text[name]) for text in [*texts, {name: name}])
        for name in names
    }
    command = widths.pop("command", 0)
    for name in _DISPENSABLE:
        if _room(widths, width) >= _COMMAND[0] + 1 + _CHART[0]:
            break
        if widths.pop(name, None) is not None:
            names.remove(name)
    room = max(_room(widths, width), 1)
    chart = room - min(command, _COMMAND[-1]) - 1
    chart = max(min(chart, _CHART[-1]), min(_CHART[0], room // 2))
    widths["command"] = max(min(command, room - chart - 1), 1)
    lines = [" ".join(_cell(name, name, widths[name], blocks) for name in names)]
    for row, text in zip(rows, texts, strict=True):
        cells = [_cell(name, text[name], widths[name], blocks) for name in names]
        lines.append(" ".join([*cells, _sparkline(row.shape, chart, blocks)]))
    return [line.rstrip() for line in lines]


def _room(widths: "dict[str, int]", width: int) -> int:
    """How much is left for the command, the chart and a space between."""
    return width - sum(w + 1 for w in widths.values())


def _cell(name: str, text: str, width: int, blocks: bool) -> str:
    text = cut(text, width, blocks)
    space = " " * (width - width_of(text))
    return text + space if name in _LEFT else space + text


def _sparkline(shape: "list[int]", width: int, blocks: bool) -> str:
    """Draw RSS over time in one line, from 0 to its highest."""
    levels = (BLOCKS[:9] if blocks else ASCII[:4])[1:]
    highest = max(shape, default=0)
    if highest == 0:
        return ""
    return "".join(
        levels[max(0, -(-rss * len(levels) // highest) - 1)]
        for rss in columns(list(enumerate(shape)), width)
    )


def _summary(rows: "list[Row]") -> "list[str]":
    """Return what is to be said of all together."""
    lines = []
    living = [row.record for row in rows if row.living]
    ended = len(rows) - len(living)
    if len(rows) > 1:
        text = f"{ended} ended"
        if living:
            sum_of_them = size_text(total_of(living))
            text = f"{len(living)} running, {sum_of_them} in all" + f"; {text}" * (ended > 0)
        lines.append(text)
    short_lived = sum(row.record.short_lived or 0 for row in rows)
    missed = sum(row.record.missed or 0 for row in rows)
    if short_lived or missed:
        lines.append(f"not listed: {short_lived} short-lived, {missed} missed")
    return lines + memory_limits(living or [row.record for row in rows])
