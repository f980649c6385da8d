"""Recorded processes as a table: a line each, no wider than the terminal."""

from __future__ import annotations

import time
from collections import defaultdict
from itertools import pairwise

from memprobe._cli.chart import ASCII
from memprobe._cli.output import BLOCKS
from memprobe._cli.series import columns, rss_of
from memprobe._metrics import SharedOnce
from memprobe._record_folder import LIVING
from memprobe._text import command_text, cut, printable, width_of
from memprobe._units import (
    date_text,
    duration_text,
    growth_text,
    short_duration,
    size_text,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from memprobe._record_file import Record

_COMMAND = range(16, 60)  # columns: at least and at most
_CHART = range(6, 30)
_INDENT = 2
_DEEPEST = 4  # levels of a family that are indented
_NEVER = 365 * 86400  # seconds that nobody would foresee


def _short_date(seconds: float | None) -> str:
    day, _, minute = date_text(seconds, "%Y-%m-%d %H:%M").partition(" ")
    return minute if day == date_text(time.time(), "%Y-%m-%d") else day


# The columns in their order, and how they are written.
COLUMNS: dict[str, Callable[[Any], str]] = {
    "pid": str,
    "parent": str,
    "user": printable,
    "host": printable,
    "command": str,
    "role": printable,
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
_LEFT = ["user", "host", "command", "role", "state"]
_IF_THEY_DIFFER = ["parent", "user", "host"]
_ASCENDING = ["pid", "parent", "user", "host", "command", "role", "state"]
_ASCENDING += ["started", "ended"]
# What a narrow terminal has no room for, the first to go first.
_DISPENSABLE = (
    "swap parent shared ended first started host user lasted uss growth/h pss state "
    "role peak"
).split()


class Row:
    """What the table says of a process. It keeps little of the record.

    *shape* is RSS over time, as an earlier row had it.
    """

    __slots__ = ("cgroup", "depth", "family", "living", "shape", "unlisted", "values")

    def __init__(self, record: Record, shape: bytes | None = None) -> None:
        self.living = record.state in LIVING
        self.family = (record.host, record.boot)
        self.depth = 0  # in the family
        self.unlisted = (record.short_lived or 0, record.missed or 0)
        self.cgroup = cgroup_of(record)
        self.shape = _shape(record) if shape is None else shape
        self.values: dict[str, Any] = {
            "pid": record.pid,
            "parent": record.parent,
            "user": record.user,
            "host": record.host,
            "command": command_text(record),
            "role": record.role,
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


def _shape(record: Record) -> bytes:
    """Return RSS over time in steps of one character's smallest part."""
    highs = [(time, high) for time, _, high in record.envelope(_CHART[-1])]
    highest = max(map(rss_of, highs), default=0)
    if highest == 0:
        return b""
    return bytes(-(-8 * high // highest) for high in columns(highs, _CHART[-1]))


class Cgroup:
    """What the cgroup of a process used at a date, and its limit, in bytes."""

    def __init__(
        self, date: float, used: int, limit: int, growth_per_hour: float | None
    ) -> None:
        self.date = date
        self.used = used
        self.limit = limit
        self.growth_per_hour = growth_per_hour

    def text(self) -> str:
        share = f"{self.used / self.limit:.0%}"
        text = f"{size_text(self.used)} of {size_text(self.limit)} used ({share})"
        growth = self.growth_per_hour or 0.0
        seconds = (self.limit - self.used) / growth * 3600 if growth > 0 else _NEVER
        if 0 < seconds < _NEVER:
            text += f", full in {duration_text(seconds)} at {growth_text(growth)}/h"
        return text


def newest(one: Cgroup | None, other: Cgroup) -> Cgroup:
    return other if one is None or other.date >= one.date else one


def cgroup_of(record: Record) -> Cgroup | None:
    if record.cgroup_memory is None or not record.memory_limit:
        return None
    return Cgroup(
        record.date,
        record.cgroup_memory,
        record.memory_limit,
        record.cgroup_growth_per_hour,
    )


def state_text(record: Record) -> str:
    """Return in words how a process is, or how it ended."""
    if record.state == "running" and record.recorded_until is not None:
        return f"running (not recorded since {_short_date(record.recorded_until)})"
    if record.state == "unknown":
        ago = max(time.time() - (record.last_seen or 0.0), 0)
        return f"last seen {duration_text(ago)} ago"
    if record.state == "exited" and record.status:
        return f"exited (status {record.status})"
    if record.state == "died":
        return record.cause or death_text(record.signal)
    return record.state


def death_text(number: int | None) -> str:
    if number is None:
        return "died"
    import signal

    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return "killed" if name == "SIGKILL" else f"ended by {name}"


def table(
    rows: Iterable[Row],
    width: int,
    *,
    blocks: bool,
    height: int | None = None,
    sort: str | None = None,
    summary: bool = True,
) -> list[str]:
    """Return lines of at most *width* columns, *height* lines at most; totals are last.

    The living come first, the largest last RSS first, children below their parents and
    indented; or all in the order of a column.
    """
    rows = list(rows)
    for row in rows:
        row.depth = 0  # a parent may have ended since
    below = _summary(rows) if summary else []
    rows = _sorted(rows, sort) if sort else _families(rows)
    if height is not None and 1 + len(rows) + len(below) > height:
        kept = max(height - len(below) - 2, 1)
        below = [f"and {len(rows) - kept} more", *below]
        del rows[kept:]
    below = [cut(line, width, blocks) for line in below]
    return [*_grid(rows, width, blocks), *below][:height]


def _sorted(rows: list[Row], name: str) -> list[Row]:
    known = [row for row in rows if row.values[name] is not None]
    known.sort(key=lambda row: row.values[name], reverse=name not in _ASCENDING)
    return known + [row for row in rows if row.values[name] is None]


def _families(rows: list[Row]) -> list[Row]:
    """Return the living and then the others, children below their parents."""
    rows = _sorted(sorted(rows, key=_age), "last")
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


def _parents(rows: list[Row]) -> dict[int, int]:
    """Return which row is whose parent, by their ids: it started before its child."""
    newest: dict[object, int] = {}
    parents = {}
    for row in sorted(rows, key=_age):
        parent = newest.get((row.family, row.values["parent"]))
        if parent is not None:
            parents[id(row)] = parent
        newest[row.family, row.values["pid"]] = id(row)
    return parents


def _age(row: Row) -> tuple[float, int]:
    return row.values["started"] or 0.0, row.values["pid"]


def _grid(rows: list[Row], width: int, blocks: bool) -> list[str]:
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
        if _room(widths, width) > min(command, _COMMAND[0]) + _CHART[0]:
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
        lines.append(" ".join([*cells, _sparkline(row.shape, chart, blocks)]).rstrip())
    if sum(widths.values()) + len(widths) + chart > width:
        lines = [cut(line, width, blocks) for line in lines]
    return lines


def _room(widths: dict[str, int], width: int) -> int:
    """How much is left for the command, the chart and a space between."""
    return width - sum(w + 1 for w in widths.values())


def _cell(name: str, text: str, width: int, blocks: bool) -> str:
    text = cut(text, width, blocks)
    space = " " * (width - width_of(text))
    return text + space if name in _LEFT else space + text


def _sparkline(shape: bytes, width: int, blocks: bool) -> str:
    """Draw RSS over time in one line, from 0 to its highest."""
    if not shape or width < 1:
        return ""
    levels = BLOCKS[:9] if blocks else "".join(c * 3 for c in ASCII[:4])[2:]
    ends = [len(shape) * i // width for i in range(width + 1)]
    return "".join(levels[max(shape[a:b])] for a, b in pairwise(ends))


def _summary(rows: list[Row]) -> list[str]:
    """Return what is to be said of all together, and isn't in a line of the table."""
    lines = []
    living = [row for row in rows if row.living]
    ended = f"{len(rows) - len(living)} ended"
    if living:
        text = f"{len(living)} running, {size_text(_total(living))} in all"
        lines.append(text if len(living) == len(rows) else f"{text}; {ended}")
    elif len(rows) > 1:
        lines.append(ended)
    unlisted = [
        sum(counts) for counts in zip(*(row.unlisted for row in rows), strict=True)
    ]
    if text := unlisted_text(*unlisted):
        lines.append(f"not listed: {text}")
    limits: dict[object, Cgroup] = {}
    for row in living or rows:
        cgroup = row.cgroup
        if cgroup is not None:
            key = row.family, cgroup.limit
            limits[key] = newest(limits.get(key), cgroup)
    return lines + [f"memory limit: {cgroup.text()}" for cgroup in limits.values()]


def unlisted_text(short_lived: int | None, missed: int | None) -> str:
    """Return what is said of processes that have no file, if there are any."""
    if not short_lived and not missed:
        return ""
    return f"{short_lived or 0} short-lived processes, {missed or 0} missed"


def _total(rows: list[Row]) -> int:
    """Add up RSS, pages that processes share once; PSS where it is known of all."""
    if all(row.values["pss"] is not None for row in rows):
        return sum(row.values["pss"] for row in rows)
    sums: dict[object, SharedOnce] = {}
    for row in rows:
        one = sums.setdefault(row.family, SharedOnce())
        one.add(row.values["last"] or 0, row.values["shared"])
    return sum(one.total() for one in sums.values())
