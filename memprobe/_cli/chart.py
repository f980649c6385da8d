"""A chart of RSS over time as lines of text."""

import math
import os

from memprobe._cli.units import size_unit, step, time_unit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

BLOCKS = " ▁▂▃▄▅▆▇█┤│└─┬"
ASCII = " .:#||+--"


def chart(
    samples: "Sequence[tuple[float, int]]", width: int, *, blocks: bool
) -> "list[str]":
    """Draw samples, pairs of seconds and bytes, as lines of at most *width* characters.

    A column is as high as the highest sample in it, so that no peak is lost. Without
    *blocks* it is drawn in ASCII. Returns no lines if there is nothing to draw or no
    room for it.
    """
    *fills, y_tick, y_axis, corner, x_axis, x_tick = list(BLOCKS if blocks else ASCII)
    highest = max((rss for _, rss in samples), default=0)
    if highest == 0:
        return []
    unit_name, unit = size_unit(highest)
    by = step(highest / unit, 9)
    ticks = math.ceil(highest / unit / by)
    rows_per_tick = round(12 / ticks) or 1
    rows = ticks * rows_per_tick

    labels = {i * rows_per_tick: f"{i * by:g}{unit_name}" for i in range(1, ticks + 1)}
    margin = max(map(len, labels.values())) + 1
    room = width - margin - 1
    if room < 10:
        return []
    start, end = samples[0][0], samples[-1][0]
    # In steps of one character's smallest part.
    full = len(fills) - 1
    heights = [
        max(1, round(rss / unit / (ticks * by) * rows * full))
        for rss in columns(samples, room)
    ]
    lines = []
    for row in range(rows, 0, -1):
        label = labels.get(row, "")
        bars = (fills[min(max(h - (row - 1) * full, 0), full)] for h in heights)
        axis = y_tick if label else y_axis
        lines.append(f"{label:>{margin - 1}} {axis}{''.join(bars)}".rstrip())
    line, text = _time_axis(start, end, room, x_axis, x_tick)
    lines.append(f"{'0':>{margin - 1}} {corner}{line}")
    lines.append(" " * (margin + 1) + text)
    return lines


def columns(samples: "Sequence[tuple[float, int]]", count: int) -> "list[int]":
    """Return the highest RSS in each of *count* equal parts of the time.

    Where no sample was taken it is that of the last sample before.
    """
    start = samples[0][0]
    seconds = (samples[-1][0] - start) or 1.0
    heights = [0] * count
    for time, rss in samples:
        column = min(int((time - start) / seconds * count), count - 1)
        heights[column] = max(heights[column], rss)
    last = 0
    at = 0
    for column, height in enumerate(heights):
        # The last sample in a column, which may be lower than its highest.
        if height == 0:
            heights[column] = last
            continue
        while at < len(samples) and (
            min(int((samples[at][0] - start) / seconds * count), count - 1) <= column
        ):
            last = samples[at][1]
            at += 1
    return heights


def _time_axis(
    start: float, end: float, room: int, line: str, tick: str
) -> "tuple[str, str]":
    name, unit = time_unit(end)
    length = (end - start) / unit or 1.0
    by = step(length, max(3, room // 12))  # of 3, one step is always shorter
    axis = [line] * room
    text = ""
    # Less than a column before the first sample is close enough for a label.
    number = math.ceil((start / unit - length / room) / by)
    while True:
        value = number * by
        column = max(0, int((value - start / unit) / length * room))
        if column >= room:
            return "".join(axis), text
        label = f"{value:g} {name}"
        at = max(0, min(column - len(label) // 2, room - len(label)))
        axis[column] = tick
        if at > len(text) or not text:
            text = text.ljust(at) + label
        number += 1


def terminal(out: "TextIO") -> "tuple[int, bool]":
    """Return the width of a line there, and whether it may have block characters."""
    try:
        columns = os.get_terminal_size(out.fileno()).columns
    except (AttributeError, OSError, ValueError):
        return 80, False
    try:
        BLOCKS.encode(out.encoding)
        blocks = True
    except (LookupError, UnicodeEncodeError):
        blocks = False
    # A full line would make some terminals go on to the next.
    return (columns or 80) - 1, blocks
