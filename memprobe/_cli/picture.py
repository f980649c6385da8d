"""A picture of RSS over time. It needs matplotlib, which only this module imports."""

import marshal
import sys
import warnings

from memprobe._cli.units import duration_text, size_unit, time_unit
from memprobe._memprobe import humanbytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    _Samples = Sequence[tuple[float, int]]

INK = "#1f2933"
FAINT = "#8b95a1"
COLOURS = ["#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2", "#be185d"]

STYLE: "dict[Any, object]" = {
    "font.family": "sans-serif",
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#e4e7eb",
    "grid.linewidth": 0.8,
    "xtick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.color": FAINT,
    "ytick.labelcolor": INK,
    "ytick.major.size": 0,
    "text.parse_math": False,  # a name may have a $
    "svg.fonttype": "none",  # text that can be read, searched and selected
    "svg.hashsalt": "memprobe",  # the same data, the same file
}

PARTS = 300  # of the time, 4 pixels wide in a PNG


def plot(path: str, series: "Sequence[tuple[str, _Samples]]", title: str) -> None:
    """Draw one or several series into a .png or .svg file.

    A series is a label and its samples, pairs of seconds and bytes, one at least.
    Raises ImportError without matplotlib, OSError if the file can't be written.
    """
    # Not pyplot, which is the program's own.
    import matplotlib  # type: ignore[import-not-found, unused-ignore]
    from matplotlib.figure import (  # type: ignore[import-not-found, unused-ignore]
        Figure,
    )

    # Not what the user's matplotlibrc says, or the program's.
    with matplotlib.rc_context(), warnings.catch_warnings():
        # The title may have characters that the font doesn't.
        warnings.filterwarnings("ignore", "Glyph ", UserWarning)
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        height = 5 if len(series) == 1 else 5 + 0.25 * (len(series) + 1) // 2
        figure = Figure(figsize=(10, height), dpi=150)  # inches: 1500 pixels wide
        figure.set_layout_engine("constrained", w_pad=0.15, h_pad=0.15)
        axes = figure.add_subplot()
        _draw(axes, series)
        axes.set_title(title, loc="left", pad=12, fontsize=14, fontweight="bold")
        if path.lower().endswith(".svg"):
            figure.savefig(path, format="svg", metadata={"Date": None})
        else:
            figure.savefig(path, format="png")


def _draw(axes: "Any", series: "Sequence[tuple[str, _Samples]]") -> None:
    from matplotlib.ticker import (  # type: ignore[import-not-found, unused-ignore]
        MaxNLocator,
    )

    start = min(samples[0][0] for _, samples in series)
    end = max(samples[-1][0] for _, samples in series)
    highest = max(rss for _, samples in series for _, rss in samples)
    time_name, second = time_unit(end)
    size_name, byte = size_unit(highest)

    for number, (label, samples) in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        points = _thinned(samples, PARTS)
        times = [seconds / second for seconds, _ in points]
        sizes = [rss / byte for _, rss in points]
        peak_time, peak = max(samples, key=_rss)
        end_time, last = samples[-1]
        text = f"{label}: peak {humanbytes(peak)}, end {humanbytes(last)}"
        axes.plot(times, sizes, color=colour, linewidth=1.6, label=text)
        axes.plot(
            [peak_time / second, end_time / second],
            [peak / byte, last / byte],
            linestyle="none",
            marker="o",
            markersize=5,
            color=colour,
            clip_on=False,
            zorder=3,
        )
        if len(series) == 1:
            axes.fill_between(times, sizes, color=colour, alpha=0.12, linewidth=0)
            _label_peak_and_end(axes, samples, colour, second, byte)

    if start < (end - start) / 100:
        start = 0.0  # for the label
    axes.set_xlim(start / second, (end if end > start else start + second) / second)
    axes.set_ylim(0, highest / byte * 1.15)
    axes.set_xlabel(f"time ({time_name})")
    axes.set_ylabel(f"RSS ({size_name})")
    axes.xaxis.set_major_locator(MaxNLocator(10, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    if len(series) > 1:
        axes.figure.legend(frameon=False, loc="outside lower center", ncols=2)


def _label_peak_and_end(
    axes: "Any", samples: "_Samples", colour: str, second: float, byte: int
) -> None:
    peak_time, peak = max(samples, key=_rss)
    end_time, end = samples[-1]
    start_time = samples[0][0]
    # A label that stays within the axes wherever the peak is.
    side = (peak_time - start_time) / ((end_time - start_time) or 1.0)
    align = "left" if side < 0.15 else "right" if side > 0.85 else "center"
    axes.annotate(
        f"peak {humanbytes(peak)} at {duration_text(peak_time)}",
        (peak_time / second, peak / byte),
        xytext=(0, 8),
        textcoords="offset points",
        horizontalalignment=align,
        color=colour,
        fontweight="bold",
        bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"},
    )
    axes.annotate(
        f"end {humanbytes(end)}",
        (end_time / second, end / byte),
        xytext=(8, 0),
        textcoords="offset points",
        verticalalignment="center",
        color=colour,
        annotation_clip=False,
    )


def _thinned(samples: "_Samples", parts: int) -> "_Samples":
    """Leave out what can't be seen: of each part of the time keep lowest and highest.

    Both ends stay as well.
    """
    if len(samples) <= 2 * parts:
        return samples
    start = samples[0][0]
    seconds = (samples[-1][0] - start) or 1.0
    by_part: dict[int, list[tuple[float, int]]] = {}
    for sample in samples:
        part = int((sample[0] - start) / seconds * parts)
        by_part.setdefault(part, []).append(sample)
    kept = {samples[0], samples[-1]}
    for part_of_samples in by_part.values():
        kept |= {min(part_of_samples, key=_rss), max(part_of_samples, key=_rss)}
    return sorted(kept)


def _rss(sample: "tuple[float, int]") -> int:
    return sample[1]


def main() -> None:
    """Draw what standard input holds, marshalled: the arguments of plot()."""
    path, series, title = marshal.load(sys.stdin.buffer)
    try:
        plot(path, series, title)
    except (ImportError, OSError) as error:
        sys.exit(f"memprobe: cannot draw {path!r}: {error}")
