"""What `memprobe run` and `memprobe watch` say at the end."""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager

from memprobe._cli.chart import chart
from memprobe._cli.output import Terminal, writing
from memprobe._cli.series import thinned, total
from memprobe._cli.table import Row, table, unlisted_text
from memprobe._memprobe import humanbytes
from memprobe._samples import sample
from memprobe._text import cut, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from memprobe._cli.options import Options
    from memprobe._cli.series import Sample
    from memprobe._record_file import Record

# Lines that each has at the least, if it is there.
DUMP = 5
TABLE = 7
CHART = 7


def tell(
    title: str,
    main: Record | None,
    records: Sequence[Record],
    figures: list[str],
    options: Options,
    start: float,
) -> None:
    """Print the report, and write what else was asked for. It was begun at *start*."""
    if not options.quiet:
        span = start, time.time()
        say(_report(title, main, records, figures, options.samples, span))
    if options.csv is not None:
        from memprobe._cli.csv import write_csv

        with _told(), writing(options.csv) as out:
            write_csv(records, out)
    if options.plot is not None:
        from memprobe._cli.show import draw

        with _told():
            draw(options.plot, list(records))


def peak_line(peak: int | None) -> str:
    text = "not known, it ended too soon" if peak is None else humanbytes(peak)
    return f"- rss (peak): {text}."


def unlisted(records: Sequence[Record]) -> list[str]:
    """Return what is to be said of processes that lived too short for a file."""
    text = unlisted_text(
        sum(record.short_lived or 0 for record in records),
        sum(record.missed or 0 for record in records),
    )
    return [f"- not listed: {text}."] if text else []


def _report(
    title: str,
    main: Record | None,
    records: Sequence[Record],
    figures: list[str],
    samples: int | None,
    span: tuple[float, float],
) -> list[str]:
    """Return the lines: the dump of *main*, *figures*, for more processes the table.

    A terminal of 24 lines has room for a few processes. *samples* is how many to print
    at most; None is up to 10, if there is room.
    """
    terminal = Terminal(sys.stderr)
    width, blocks = terminal.width, terminal.blocks
    height = (terminal.height or 24) - 1  # and the prompt
    lines = [f"memprobe: {title}", *figures]
    below: list[str] = []
    if len(records) > 1:
        rows = max(height - len(lines) - DUMP - 1 - CHART, TABLE)
        below = table(
            map(Row, records), width, blocks=blocks, height=rows, summary=False
        )
        below.append("all of them, pages that they share once")
        if main is not None:
            below[-1] += f"; {'█' if blocks else '#'} is {main.pid}"
    room = height - len(lines) - len(below) - CHART
    if main is not None:
        most = min(max(room - 2, 3), 10) if samples is None else samples
        lines[1:1] = _dump(main, most)
    lines = [cut(printable(line), width, blocks) for line in lines]
    room = min(max(height - len(lines) - len(below), CHART), 14)
    drawn = _chart(main, records, span, width=width, blocks=blocks, height=room)
    return [*lines, *below, *drawn]


def _dump(record: Record, most: int) -> list[str]:
    """Return what memdump() prints, of samples that are spread evenly."""
    rows = [rss for _, rss, _ in record.samples()]
    picked = [*sample(rows[:-1], most - 1), *rows[-1:]] if most > 0 else []
    lines = [f"-    > {humanbytes(rss)}," for rss in picked]
    if lines:
        lines.insert(0, "- rss (sample):")
    if record.last is not None:
        lines.append(f"- rss (end): {humanbytes(record.last)}.")
    return lines


def _chart(
    main: Record | None,
    records: Sequence[Record],
    span: tuple[float, float],
    *,
    width: int,
    blocks: bool,
    height: int,
) -> list[str]:
    """Draw the sum of all; where that isn't the same, the main process in it."""
    start, end = span
    whole = thinned(total(records), start, end)
    if len(whole) < 3:
        return []
    inner: list[Sample] = []
    if main is not None and len(records) > 1:
        own = ((time, rss) for time, rss, _ in main.samples())
        inner = [(whole[0][0], 0), *thinned(own, start, end)]
        if inner[-1][0] < whole[-1][0]:
            inner.append((whole[-1][0], 0))
    return chart(
        [(time - start, rss) for time, rss in whole],
        width,
        blocks=blocks,
        height=height,
        peak=main.peak if main is not None and len(records) == 1 else None,
        inner=[(time - start, rss) for time, rss in inner],
    )


@contextmanager
def _told() -> Iterator[None]:
    """What ends a command that only writes doesn't end this one."""
    try:
        yield
    except SystemExit as error:
        say([str(error)])


def say(lines: list[str]) -> None:
    """Write lines to standard error as it is, whatever the program has made of it."""
    end = "\r\n" if _is_raw_terminal(2) else "\n"
    encoding = getattr(sys.stderr, "encoding", None) or "ascii"
    text = "".join(line + end for line in lines).encode(encoding, "backslashreplace")
    while text:
        try:
            text = text[os.write(2, text) :]
        except BlockingIOError:  # somebody made the terminal so
            import select

            select.select([], [2], [])
        except OSError:
            return  # nobody reads it any more


def _is_raw_terminal(descriptor: int) -> bool:
    """Is it one that a program has left so: a line's end leads to no line's start?"""
    if os.name != "posix" or not os.isatty(descriptor):
        return False
    import termios

    try:
        return not termios.tcgetattr(descriptor)[1] & termios.OPOST
    except termios.error:
        return False
