"""``memprobe show``: what the recorder's files say."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress

from memprobe._cli.chart import chart
from memprobe._cli.csv import iso_date, write_csv
from memprobe._cli.openmetrics import lines_of
from memprobe._cli.output import Terminal, say, standard_output, writing
from memprobe._cli.series import dated, thinned, total
from memprobe._cli.table import (
    Row,
    cgroup_of,
    state_text,
    table,
    unlisted_text,
)
from memprobe._memprobe import humanbytes
from memprobe._metrics import families
from memprobe._record_folder import LIVING, read_all
from memprobe._task_lines import SUFFIX, tables, task_lines
from memprobe._text import command_line, command_text, cut, name_of, printable
from memprobe._units import date_text, duration_text, growth_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, TextIO

    from memprobe._cli.series import Sample
    from memprobe._record_file import Record

LINES = 23  # that one file takes at most: a terminal of 24, less its prompt
NAMED = 10  # processes in a picture

KEYS = (
    "pid parent command title role user host state status signal cause started ended "
    "seconds interval count first last min max mean peak shared swap growth_per_hour "
    "memory_limit cgroup_memory oom_kills recorded_until"
).split()


def show(options: argparse.Namespace) -> bool:
    """Print what the files, and those in folders, say; return whether all were sound.

    What is wrong with a file is one line on standard error.
    """
    problems: set[str] = set()

    def complain(problem: str) -> None:
        if problem not in problems:  # some files are read twice
            problems.add(problem)
            say(problem)

    def records() -> Iterator[Record]:
        for record in _with_roles(read_all(options.paths, complain)):
            if record.state in LIVING or not options.running:
                yield record

    if options.csv is not None:
        with writing(options.csv) as out:
            write_csv(records(), out)
    if options.plot is not None:
        draw(options.plot, list(records()))
    if options.openmetrics:
        metrics = families(records(), problems, per_process=options.per_process)
        if options.output is None:
            with standard_output() as out:
                out.writelines(lines_of(metrics))
        else:
            _replace(options.output, lines_of(metrics))
    elif options.json:
        with standard_output() as out:
            _print_json(records(), out)
    elif options.csv != "-":
        with standard_output() as out:
            room = Terminal(out)
            if _is_one(options.paths):
                for record in records():
                    _print(one_file(record, dated(record), room), out)
            elif rows := [Row(record) for record in records()]:
                lines = table(rows, room.width, blocks=room.blocks, sort=options.sort)
                _print(lines, out)
                below = _tasks(options.paths, room.width)
                _print((cut(line, room.width, room.blocks) for line in below), out)
    return not problems


def _tasks(paths: list[str], width: int) -> Iterator[str]:
    """Return what Celery's tasks did, of each worker whose table lies in a folder."""
    for path in paths:
        for name, one in tables(path):
            lines = task_lines(one, one.living(), width=width)
            if len(lines) > 1:
                yield from ("", printable(name.removesuffix(SUFFIX)), *lines)


def _with_roles(records: Iterable[Record]) -> Iterator[Record]:
    """Add what a worker's table in the same folder calls a process."""
    roles: dict[str, dict[str, str]] = {}  # by folder, by process
    for record in records:
        folder, name = os.path.split(record.path)
        if folder not in roles:
            roles[folder] = {
                f"{pid}-{start}": role
                for _, one in tables(folder or ".")
                for (pid, start), role in one.roles().items()
            }
        process = "-".join(name.split("-")[:2])
        record.role = roles[folder].get(process, record.role)
        yield record


def follow(
    paths: list[str],
    out: TextIO,
    *,
    interval: float = 1.0,
    running: bool = False,
    sort: str | None = None,
    wait: Callable[[float], object] = time.sleep,
) -> None:
    """Print what the files say again and again; in a terminal in the same place.

    It ends when *wait*, which gets the interval, returns something true.
    """
    seen: dict[str, _Seen] = {}
    if Terminal(out).redraws:
        out.write("\x1b[2J")
    while True:
        problems: list[str] = []
        before, seen = seen, {}
        fresh = {path: one.record for path, one in before.items() if not one.is_old()}
        for record in _with_roles(read_all(paths, problems.append, fresh)):
            seen[record.path] = _Seen(record, before.get(record.path))
        room = Terminal(out)
        rows = [one.row for one in seen.values() if one.row.living or not running]
        height = None if room.height is None else room.height - 1 - len(problems)
        if _is_one(paths):
            lines = [
                line
                for one in seen.values()
                for line in one_file(one.record, one.samples(), room)
            ]
        else:
            lines = table(
                rows, room.width, blocks=room.blocks, height=height, sort=sort
            )
        lines += [f"memprobe: {problem}" for problem in problems]
        if room.redraws and room.height is not None:
            lines = [cut(line, room.width, room.blocks) for line in lines]
            lines = [f"{line}\x1b[K" for line in lines[: room.height - 1]]
            out.write("\x1b[H" + "\n".join(lines) + "\n\x1b[J")
        else:
            _print([*lines, ""], out)
        out.flush()
        if wait(interval):
            return


class _Seen:
    """A record that was read while following, and what was made of it."""

    row: Row

    def __init__(self, record: Record, before: _Seen | None) -> None:
        self.record = record
        # For how long it had been recorded when growth and charts were made.
        self._whole = record.seconds
        self._samples: list[Sample] | None = None
        if before is None or before.is_old():
            self.row = Row(record)
        else:
            self._whole, self._samples = before._whole, before._samples
            self.row = before.row
            if record is not before.record:
                self.row = Row(record, before.row.shape)

    def is_old(self) -> bool:
        """Return whether growth and charts would be others by now."""
        return self.record.seconds - self._whole > self._whole / 60

    def samples(self) -> list[Sample]:
        if self._samples is None:
            self._samples = dated(self.record)
        return self._samples


def _is_one(paths: list[str]) -> bool:
    return len(paths) == 1 and not os.path.isdir(paths[0])


def _print(lines: Iterable[str], out: TextIO) -> None:
    out.writelines(f"{line}\n" for line in lines)


def _print_json(records: Iterable[Record], out: TextIO) -> None:
    import json

    separator = "[\n"
    for record in records:
        out.write(separator + json.dumps(as_json(record)))
        separator = ",\n"
    out.write("[]\n" if separator == "[\n" else "\n]\n")


def as_json(record: Record) -> dict[str, Any]:
    """Return what a file says in the words of --json; strict parsers take it, too."""
    process: dict[str, Any] = {key: getattr(record, key) for key in KEYS}
    process["command"] = command_line(record)
    for key in ("title", "role", "user", "host"):
        process[key] = process[key] and printable(process[key])
    for key in ("started", "ended", "recorded_until"):
        process[key] = iso_date(process[key])
    process["file"] = printable(record.path)
    return process


def _replace(path: str, lines: Iterator[str]) -> None:
    """Write a file so that whoever reads it finds the old one or the new one, whole."""
    path = os.path.realpath(path)
    if os.path.exists(path) and not os.path.isfile(path):
        sys.exit(f"memprobe: cannot write {path!r}: not a regular file")
    new = f"{path}.{os.getpid()}.tmp"
    try:
        with writing(new) as out:
            out.writelines(lines)
        os.replace(new, path)
    except OSError as error:
        sys.exit(f"memprobe: cannot write {path!r}: {error.strerror}")
    finally:
        with suppress(FileNotFoundError):
            os.remove(new)


def one_file(record: Record, samples: list[Sample], room: Terminal) -> list[str]:
    """Return figures and chart of one process, as lines that fit a terminal."""
    figures = [cut(line, room.width, room.blocks) for line in _figures(record)]
    start = samples[0][0] if samples else 0.0
    lines = chart(
        [(date - start, rss) for date, rss in samples],
        room.width,
        blocks=room.blocks,
        height=min(LINES, (room.height or 24) - 1) - 1 - len(figures),
        peak=record.peak,
    )
    return [*figures, "", *lines] if lines else figures


def _figures(record: Record) -> list[str]:
    user, host = printable(record.user or "?"), printable(record.host or "?")
    time = date_text(record.started) or "?"
    if record.ended is not None:
        time += f" to {date_text(record.ended)}"
    lines = {
        "started as": command_line(record) if record.title else "",
        "role": printable(record.role or ""),
        "state": state_text(record),
        "process": f"{record.pid}, parent {record.parent}, user {user}, host {host}",
        "time": f"{time}, {duration_text(record.seconds)}",
        "samples": f"{record.count}, one every {duration_text(record.interval)}",
        "rss": _sizes(record, "first last peak"),
        "rss (samples)": _sizes(record, "min mean max"),
        "of the last": _sizes(record, "shared swap pss uss"),
        "growth": "",
        "memory limit": "",
        "not listed": unlisted_text(record.short_lived, record.missed),
    }
    if record.growth_per_hour is not None:
        lines["growth"] = f"{growth_text(record.growth_per_hour)} an hour"
    if (cgroup := cgroup_of(record)) is not None:
        lines["memory limit"] = cgroup.text()
    known = (f"- {name}: {text}." for name, text in lines.items() if text)
    return [f"memprobe: {command_text(record)}", *known]


def _sizes(record: Record, names: str) -> str:
    known = [
        f"{name} {humanbytes(round(bytes))}"
        for name in names.split()
        if (bytes := getattr(record, name)) is not None
    ]
    return ", ".join(known)


def draw(path: str, records: list[Record]) -> None:
    """Draw the largest by name, and what the others hold together."""
    from memprobe._cli.picture import Series, plot

    records.sort(key=lambda record: record.peak or 0, reverse=True)
    named, others = records[:NAMED], records[NAMED:]
    drawn: list[tuple[str, list[Sample], int | None]] = [
        (f"{record.pid} {name_of(record)}", dated(record), record.peak)
        for record in named
    ]
    if others:
        start = min(record.date - record.seconds for record in others)
        end = max(record.date for record in others)
        together = thinned(total(others), start, end)
        drawn.append((f"{len(others)} others", together, None))
    drawn = [line for line in drawn if line[1]]
    if not drawn:
        sys.exit(f"memprobe: cannot draw {path!r}: there are no samples")
    zero = min(samples[0][0] for _, samples, _ in drawn)
    series = [
        Series(label, [(date - zero, rss) for date, rss in samples], peak)
        for label, samples, peak in drawn
    ]
    title = series[0].label if len(series) == 1 else f"{len(records)} processes"
    try:
        plot(path, series, title)
    except Exception as error:  # matplotlib, its fonts, its folders: anything
        reason = str(error).partition("\n")[0] or repr(error)
        sys.exit(f"memprobe: cannot draw {path!r}: {reason}")
