"""``memprobe show``: what the recorder's files say."""

import os
import sys
import time

from memprobe._cli.chart import chart, terminal
from memprobe._cli.csv import write_csv_of_processes
from memprobe._cli.table import (
    command_text,
    cut,
    date_text,
    growth_per_hour,
    growth_text,
    limit_share,
    printable,
    share_text,
    table,
)
from memprobe._cli.units import duration_text
from memprobe._memprobe import humanbytes
from memprobe._record import MOST, NotARecord, Record, names, read
from memprobe._samples import print_samples

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

EVERY_SAMPLE = 2**20  # of one file; of more a spread is enough
DUMPED = 10


def show(
    paths: "list[str]", *, csv: "str | None", plot: "str | None", as_json: bool
) -> bool:
    """Print what the files, and those in folders, say; return whether all were sound.

    What is wrong with a file is one line on standard error.
    """
    single = len(paths) == 1 and not os.path.isdir(paths[0])
    most = EVERY_SAMPLE if csv or single else MOST
    records, problems = read_all(paths, most)
    for problem in problems:
        print(f"memprobe: {problem}", file=sys.stderr)
    if records:
        if csv is not None:
            _write(csv, write_csv_of_processes, records)
        if plot is not None:
            _write(plot, _plot, records)
        if as_json:
            print_json(records)
        else:
            print_lines(_view(records, single, *terminal(sys.stdout)), sys.stdout)
    elif as_json:
        print("[]")
    return not problems


def follow(paths: "list[str]", interval: float = 1.0) -> None:
    """Print what the files say again and again; in a terminal in the same place."""
    out = sys.stdout
    single = len(paths) == 1 and not os.path.isdir(paths[0])
    redraws = out.isatty()
    if redraws:
        out.write("\x1b[2J")
    while True:
        records, problems = read_all(paths)
        lines = _view(records, single, *terminal(out)) if records else []
        lines.extend(f"memprobe: {problem}" for problem in problems)
        if redraws:
            width, height = os.get_terminal_size(out.fileno())
            lines = [line[: width - 1] for line in lines[: height - 1]]
            out.write("\x1b[H")
            print_lines([f"{line}\x1b[K" for line in lines], out)
            out.write("\x1b[J")
        else:
            print_lines([*lines, ""], out)
        out.flush()
        time.sleep(interval)


def read_all(paths: "list[str]", most: int = MOST) -> "tuple[list[Record], list[str]]":
    """Read files, and those in folders; return with them what is wrong, a line each."""
    records = []
    problems = []

    def problem(path: str, error: Exception) -> None:
        text = error.strerror if isinstance(error, OSError) else str(error)
        problems.append(f"{printable(path)}: {text or error}")

    for path in paths:
        try:
            inside = [path]
            if is_folder := os.path.isdir(path):
                inside = [os.path.join(path, name) for name in names(path)]
        except OSError as error:
            problem(path, error)
            continue
        if not inside:
            problem(path, NotARecord("no files of the recorder in this folder"))
        for file in inside:
            try:
                records.append(read(file, most))
            except FileNotFoundError as error:
                if not is_folder:  # else it was removed since
                    problem(file, error)
            except (OSError, ValueError) as error:
                problem(file, error)
    return records, problems


def print_lines(lines: "list[str]", out: "TextIO") -> None:
    encoding = out.encoding or "ascii"
    for line in lines:
        # A command may have characters that the terminal's encoding has not.
        safe = line.encode(encoding, "backslashreplace").decode(encoding)
        print(safe, file=out)


def print_json(records: "list[Record]") -> None:
    import json

    keys = "pid argv state started seconds interval count stored".split()
    keys += "first last min max mean peak memory_limit".split()
    processes = [
        {
            "file": record.path,
            **{key: getattr(record, key) for key in keys},
            "growth_per_hour": growth_per_hour(record),
            "limit_share": limit_share(record),
        }
        for record in records
    ]
    print(json.dumps(processes, indent=2))


def _view(
    records: "list[Record]", single: bool, width: int, blocks: bool
) -> "list[str]":
    if not single:
        return table(records, width, blocks=blocks)
    (record,) = records
    start = record.samples[0][0] if record.samples else 0
    samples = [(t - start, rss) for t, rss in record.samples]
    return [
        cut(f"memprobe: {command_text(record)}", width, blocks),
        *_dump(record),
        *_stats(record),
        "",
        *chart(samples, width, blocks=blocks),
    ]


def _dump(record: "Record") -> "list[str]":
    import io

    text = io.StringIO()
    samples = record.samples
    count = min(DUMPED, len(samples))
    spread = [
        samples[i * (len(samples) - 1) // max(count - 1, 1)][1] for i in range(count)
    ]
    print_samples(spread, record.count - record.stored, text)
    if record.last is not None:
        print(f"- rss (end): {humanbytes(record.last)}.", file=text)
    if record.peak is not None:
        print(f"- rss (peak): {humanbytes(record.peak)}.", file=text)
    return text.getvalue().splitlines()


def _stats(record: "Record") -> "list[str]":
    lines = [
        f"- process: {record.pid}, {record.state}.",
        f"- started: {date_text(record.started)}.",
        f"- duration: {duration_text(record.seconds)}.",
        f"- samples: {record.count}, one every {duration_text(record.interval)}.",
    ]
    if record.min is not None and record.max is not None and record.mean is not None:
        low, high = humanbytes(record.min), humanbytes(record.max)
        mean = humanbytes(min(round(record.mean), record.max))
        lines.append(f"- rss (min, mean, max): {low}, {mean}, {high}.")
    if (growth := growth_per_hour(record)) is not None:
        lines.append(f"- growth: {growth_text(growth)} an hour.")
    if record.memory_limit is not None:
        limit = humanbytes(record.memory_limit)
        share = share_text(limit_share(record)) or "0%"
        lines.append(f"- limit of the cgroup: {limit}, {share} of it at the end.")
    return lines


def _plot(path: str, records: "list[Record]") -> None:
    from memprobe._cli.picture import plot

    drawn = [record for record in records if record.samples]
    if not drawn:
        raise OSError(0, "there are no samples to draw")
    start = min(record.samples[0][0] for record in drawn)
    series = []
    for record in drawn:
        label = f"{record.pid} {command_text(record)[:24]}"
        series.append((label, [(t - start, rss) for t, rss in record.samples]))
    many = f"{len(series)} processes"
    plot(path, series, series[0][0] if len(series) == 1 else many)


def _write(
    path: str,
    writer: "Callable[[str, list[Record]], None]",
    records: "list[Record]",
) -> None:
    try:
        writer(path, records)
    except OSError as error:
        sys.exit(f"memprobe: cannot write {path!r}: {error.strerror or error}")
