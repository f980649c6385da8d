"""A chart of RSS over time as lines of text."""

from __future__ import annotations

import math

from memprobe._cli.output import BLOCKS
from memprobe._cli.series import columns, rss_of
from memprobe._units import size_text, size_unit, step, time_unit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from memprobe._cli.series import Sample

ASCII = " .:#||+--v-."


def chart(
    samples: Sequence[Sample],
    width: int,
    *,
    blocks: bool,
    height: int = 14,
    peak: int | None = None,
    inner: Sequence[Sample] = (),
) -> list[str]:
    """Draw samples, pairs of seconds and bytes, as lines of at most *width* characters.

    A column is as high as the highest sample in it, so that no peak is lost. *peak* is
    what the kernel knows of, which may be higher than all samples: nobody knows when
    that was. There are at most *height* lines; without *blocks* they are ASCII. There
    are none if there is nothing to draw or no room for it. *inner* is a part of the
    samples, of the same time: the rest of each column is drawn lighter.
    """
    *fills, y_tick, y_axis, corner, x_axis, x_tick, mark, dash, lighter = list(
        BLOCKS[:-1] if blocks else ASCII
    )
    most = height - 3  # rows, less the two of the time axis and one for the mark
    if not samples or most < 1:
        return []
    peak = max(peak or 0, *map(rss_of, samples))
    if peak == 0:
        return []
    unit_name, unit = size_unit(peak)
    by = step(peak / unit, min(most, 9))
    ticks = math.ceil(peak / unit / by)
    rows_per_tick = most // ticks
    rows = ticks * rows_per_tick

    labels = {i * rows_per_tick: f"{i * by:g}{unit_name}" for i in range(1, ticks + 1)}
    margin = max(map(len, labels.values())) + 1
    room = width - margin - 1
    if room < 10:
        return []
    # In steps of one character's smallest part.
    full = len(fills) - 1
    smallest = unit * ticks * by / rows / full
    heights = [max(1, round(rss / smallest)) for rss in columns(samples, room)]
    parts = heights
    if inner:
        parts = [round(rss / smallest) for rss in columns(inner, room)]
    highest = max(heights)
    top = -(-highest // full)
    known = min(-(-round(peak / smallest) // full), rows)
    label = f"peak {size_text(peak)}"
    lines = []
    for row in range(max(rows, top + 1), 0, -1):
        if row == known > top:
            bars = _dashed(label, room, dash)
        elif row == top + 1 > known:
            bars = _marked(label, heights.index(highest), room, mark)
        else:
            bars = "".join(
                lighter
                if part <= (row - 1) * full < whole
                else fills[min(max(min(part, whole) - (row - 1) * full, 0), full)]
                for part, whole in zip(parts, heights, strict=True)
            )
        tick = labels.get(row, "")
        axis = y_tick if tick else y_axis
        lines.append(f"{tick:>{margin - 1}} {axis}{bars}".rstrip())
    line, text = _time_axis(samples[0][0], samples[-1][0], room, x_axis, x_tick)
    lines.append(f"{'0':>{margin - 1}} {corner}{line}")
    lines.append(" " * (margin + 1) + text)
    return lines


def _marked(label: str, column: int, room: int, mark: str) -> str:
    """A mark above a column, and its label beside it where there is room."""
    right = " " * column + f"{mark} {label}"
    if len(right) <= room:
        return right
    return (
        f"{label} {mark}".rjust(column + 1)
        if column > len(label)
        else " " * column + mark
    )


def _dashed(label: str, room: int, dash: str) -> str:
    """A line for what was reached at some time, with its label."""
    label = f" {label} between two samples "
    return label.center(room, dash) if len(label) <= room else dash * room


def _time_axis(
    start: float, end: float, room: int, line: str, tick: str
) -> tuple[str, str]:
    name, unit = time_unit(end)
    length = (end - start) / unit or 1.0
    # With room for 3 steps one is shorter than the whole, and there is a label.
    by = step(length, max(3, room // 12))
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
