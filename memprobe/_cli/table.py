"""Recorded processes as a table: one line each, no wider than the terminal."""

import os
import time
import unicodedata

from memprobe._cli.chart import ASCII, BLOCKS, columns
from memprobe._cli.units import size_unit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from memprobe._record import Record

# What a narrow terminal has no room for, the first to go first.
_DISPENSABLE = ["started", "first", "limit", "samples", "lasted", "growth/h", "peak"]
_COMMAND = range(8, 60)  # columns: at least and at most
_CHART = range(6, 30)
_LEFT = {"command", "state", "started", ""}


def table(records: "Sequence[Record]", width: int, *, blocks: bool) -> "list[str]":
    """Return lines of at most *width* characters, the largest last RSS first."""
    records = sorted(records, key=lambda record: record.last or 0, reverse=True)
    rows = [_row(record) for record in records]
    names = [name for name in rows[0] if any(row[name] for row in rows)]
    widths = {
        name: max(_width(r[name]) for r in [*rows, {name: name}]) for name in names
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
    for record, row in zip(records, rows, strict=True):
        cells = [_cell(name, row[name], widths[name], blocks) for name in names]
        lines.append(" ".join([*cells, sparkline(record, chart, blocks=blocks)]))
    return [cut(line.rstrip(), width, blocks) for line in lines]


def command_text(record: "Record") -> str:
    """Return what runs, without the interpreter and the folder of the script."""
    program, *arguments = record.argv
    if os.path.basename(program).startswith("python") and arguments:
        program, *arguments = arguments
    return printable(" ".join([os.path.basename(program), *arguments]))


def printable(text: str) -> str:
    """Return text that does nothing to a terminal."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )


def growth_per_hour(record: "Record") -> "float | None":
    """Return the slope of the line that fits the samples best, in bytes an hour.

    None for less than a second.
    """
    samples = record.samples
    if record.seconds < 1 or len(samples) < 2:
        return None
    start, base = samples[0]
    n = len(samples)
    mean_x = sum(t - start for t, _ in samples) / n
    mean_y = sum(rss - base for _, rss in samples) / n
    xx = xy = 0.0
    for t, rss in samples:
        x = t - start - mean_x
        xx += x * x
        xy += x * (rss - base - mean_y)
    return xy / xx * 3600 if xx > 0 else None


def limit_share(record: "Record") -> "float | None":
    """Return the last RSS as a share of the cgroup's limit, None without one."""
    if not record.memory_limit or record.last is None:
        return None
    return record.last / record.memory_limit


def size_text(bytes: "float | None") -> str:
    """Return a size in three digits: 29.1MB."""
    if bytes is None:
        return ""
    name, unit = size_unit(abs(bytes))
    number = bytes / unit
    digits = 0 if name == "b" or abs(number) >= 99.95 else 1
    if abs(number) < 9.995 and name != "b":
        digits = 2
    return f"{number:.{digits}f}{name}"


def growth_text(bytes: "float | None") -> str:
    if bytes is None:
        return ""
    return ("+" if bytes > 0 else "") + size_text(bytes)


def share_text(share: "float | None") -> str:
    if share is None:
        return ""
    return f"{share:.0%}" if share < 10 else ">999%"


def date_text(seconds: float, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    try:
        return time.strftime(form, time.localtime(seconds))
    except (OSError, OverflowError, ValueError):
        return "?"


def sparkline(record: "Record", width: int, *, blocks: bool) -> str:
    """Draw RSS over time in one line, from 0 to its highest."""
    levels = (BLOCKS if blocks else ASCII)[1:-5]
    highest = max((rss for _, rss in record.samples), default=0)
    if highest == 0:
        return ""
    return "".join(
        levels[max(0, -(-rss * len(levels) // highest) - 1)]
        for rss in columns(record.samples, width)
    )


def _row(record: "Record") -> "dict[str, str]":
    day = date_text(record.started, "%b %d")
    today = day == date_text(time.time(), "%b %d")
    return {
        "pid": str(record.pid),
        "command": command_text(record),
        "state": record.state,
        "started": date_text(record.started, "%H:%M") if today else day,
        "lasted": _short_duration(record.seconds),
        "samples": _short_count(record.count),
        "first": size_text(record.first),
        "peak": size_text(record.peak),
        "last": size_text(record.last),
        "growth/h": growth_text(growth_per_hour(record)),
        "limit": share_text(limit_share(record)),
    }


def _short_duration(seconds: float) -> str:
    if seconds < 99.95:
        return f"{seconds:.1f}s"
    minutes = seconds / 60
    if minutes < 99.5:
        return f"{minutes:.0f}min"
    return f"{minutes / 60:.0f}h" if minutes < 99.5 * 60 else f"{minutes / 1440:.0f}d"


def _short_count(count: int) -> str:
    units = iter("kMGTPE")
    unit = ""
    while count >= 100_000:
        count //= 1000
        unit = next(units)
    return f"{count}{unit}"


def _room(widths: "dict[str, int]", width: int) -> int:
    """How much is left for the command, the chart and a space between."""
    return width - sum(w + 1 for w in widths.values())


def _cell(name: str, text: str, width: int, blocks: bool) -> str:
    text = cut(text, width, blocks)
    space = " " * (width - _width(text))
    return text + space if name in _LEFT else space + text


def cut(text: str, width: int, blocks: bool) -> str:
    """Return text of at most *width* columns, marked where some is missing."""
    if _width(text) <= width:
        return text
    end = "…" if blocks else "~"
    while text and _width(text) + 1 > width:
        # By as much as is too much, at the least: some characters are two wide.
        text = text[: -max(1, (_width(text) + 1 - width) // 2)]
    return text + end


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )
