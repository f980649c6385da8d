"""What `memprobe run` and `memprobe watch` say at the end."""

import os
import sys

from memprobe._cli.chart import chart
from memprobe._cli.output import Terminal
from memprobe._cli.series import rss_of, thinned, total
from memprobe._cli.table import Row, state_text, table
from memprobe._cli.text import cut, printable
from memprobe._cli.units import duration_text
from memprobe._memprobe import humanbytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from memprobe._record_file import Record

# Lines of a chart, at least.
CHART = 7


def report(
    title: str,
    main: "Record | None",
    records: "Sequence[Record]",
    *,
    figures: "list[str]",
    samples: "int | None",
    terminal: "Terminal",
) -> "list[str]":
    """Return the lines: the dump of *main*, *figures*, and of more processes the table.

    All of it fits the terminal if there are few of them. *samples* is how many to print
    at most, None what there is room for.
    """
    width, blocks = terminal.width, terminal.blocks
    height = (terminal.height or 24) - 1  # and the prompt
    head = [cut(printable(f"memprobe: {title}"), width, blocks)]
    end = [cut(line, width, blocks) for line in figures]
    below: list[str] = []
    if len(records) > 1:
        room = max(height - len(head) - len(end) - CHART - 4, 9)
        below = table(map(Row, records), width, blocks=blocks, height=room)
    room = height - len(head) - len(end) - len(below)
    dump = []
    if main is not None:
        if samples is None:
            samples = min(max(room - CHART - 3, 3), 10)
        dump = dump_lines(main, samples)
    room = min(max(room - len(dump), CHART), 14)
    drawn = _chart(main, records, width, blocks, room)
    return [*head, *dump, *end, *below, *drawn]


def dump_lines(record: "Record", most: int) -> "list[str]":
    """Return what memdump() prints, of samples that are spread evenly."""
    rows = [rss for _, rss, _ in record.samples()]
    count = min(most, len(rows))
    spread = [rows[i * (len(rows) - 1) // max(count - 1, 1)] for i in range(count)]
    if count == 1:
        spread = rows[-1:]
    lines = [f"-    > {humanbytes(rss)}," for rss in spread]
    return ["- rss (sample):", *lines] if lines else []
