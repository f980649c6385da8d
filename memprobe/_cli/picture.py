"""A picture of RSS over time. It needs matplotlib, which only this module imports."""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from importlib.util import find_spec

from memprobe._cli.series import rss_of
from memprobe._memprobe import humanbytes
from memprobe._units import duration_text, size_unit, time_unit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from memprobe._cli.series import Sample

INK = "#1f2933"
FAINT = "#8b95a1"
COLOURS = ["#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2", "#be185d"]

STYLE: dict[Any, object] = {
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


class Series:
    """A line of a picture: samples, one at least, and the peak that the kernel knows.

    That may be higher than all samples: nobody knows when it was.
    """

    def __init__(
        self, label: str, samples: Sequence[Sample], peak: int | None = None
    ) -> None:
        self.label = label
        self.samples = samples
        self.start = samples[0][0]
        self.high_time, self.high = max(samples, key=rss_of)
        self.end, self.last = samples[-1]
        self.peak = max(peak or 0, self.high)


def plot(path: str, series: Sequence[Series], title: str) -> None:
    """Draw one or several processes into a .png or .svg file; times are in seconds.

    Raises OSError if the file can't be written, and whatever matplotlib does.
    """
    matplotlib = _import_matplotlib()
    from matplotlib.figure import (  # type: ignore[import-not-found, unused-ignore]
        Figure,
    )

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


def _import_matplotlib() -> Any:
    """Import it without what the user has set for it, be that right or wrong."""
    import logging

    os.environ.pop("MPLBACKEND", None)
    os.environ["MATPLOTLIBRC"] = os.devnull
    logging.getLogger("matplotlib").setLevel(logging.CRITICAL)
    spec = find_spec("matplotlib")
    here = None
    if spec and spec.origin:
        # It reads a matplotlibrc in the folder where it is imported, if there is one.
        with suppress(FileNotFoundError):  # deleted
            here = os.getcwd()
        os.chdir(os.path.dirname(spec.origin))
    try:
        import matplotlib  # type: ignore[import-not-found, unused-ignore]
    finally:
        if here is not None:
            os.chdir(here)
    return matplotlib


def _draw(axes: Any, series: Sequence[Series]) -> None:
    from matplotlib.ticker import (  # type: ignore[import-not-found, unused-ignore]
        MaxNLocator,
    )

    start = min(one.start for one in series)
    end = max(one.end for one in series)
    peak = max(one.peak for one in series)
    time_name, second = time_unit(end)
    size_name, byte = size_unit(peak)

    for number, one in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        times = [seconds / second for seconds, _ in one.samples]
        sizes = [rss / byte for _, rss in one.samples]
        text = f"{one.label}: peak {humanbytes(one.peak)}, end {humanbytes(one.last)}"
        axes.plot(times, sizes, color=colour, linewidth=1.6, label=text)
        axes.plot(
            [one.high_time / second, one.end / second],
            [one.high / byte, one.last / byte],
            linestyle="none",
            marker="o",
            markersize=5,
            color=colour,
            clip_on=False,
            zorder=3,
        )
        if one.peak > one.high:
            axes.axhline(one.peak / byte, color=colour, linewidth=1, linestyle="--")
        if len(series) == 1:
            axes.fill_between(times, sizes, color=colour, alpha=0.12, linewidth=0)
            _label_peak_and_end(axes, one, colour, second, byte)

    if start < (end - start) / 100:
        start = 0.0  # for the label
    axes.set_xlim(start / second, (end if end > start else start + second) / second)
    axes.set_ylim(0, peak / byte * 1.15)
    axes.set_xlabel(f"time ({time_name})")
    axes.set_ylabel(f"RSS ({size_name})")
    axes.xaxis.set_major_locator(MaxNLocator(10, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    if len(series) > 1:
        axes.figure.legend(frameon=False, loc="outside lower center", ncols=2)


def _label_peak_and_end(
    axes: Any, one: Series, colour: str, second: float, byte: int
) -> None:
    # A label that stays within the axes wherever the peak is.
    side = (one.high_time - one.start) / ((one.end - one.start) or 1.0)
    align = "left" if side < 0.15 else "right" if side > 0.85 else "center"
    when = "between two samples"
    if one.peak == one.high:
        when = f"at {duration_text(one.high_time)}"
    axes.annotate(
        f"peak {humanbytes(one.peak)} {when}",
        (one.high_time / second, one.peak / byte),
        xytext=(0, 8),
        textcoords="offset points",
        horizontalalignment=align,
        color=colour,
        fontweight="bold",
        bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"},
    )
    axes.annotate(
        f"end {humanbytes(one.last)}",
        (one.end / second, one.last / byte),
        xytext=(8, 0),
        textcoords="offset points",
        verticalalignment="center",
        color=colour,
        annotation_clip=False,
    )
