"""The chart of what one reading costs."""

import matplotlib
from matplotlib.figure import Figure
from tables import decimal, measured

# Each is legible on white and on black: the picture has no background of its own.
TEXT = "#7d8590"
GRID = "#7d859040"
COLORS = {
    "floor": "#7d8590",
    "memprobe": "#2f81f7",
    "peer": "#db6d28",
    "python": "#a08a5b",
}
LABELS = {
    "memprobe": "memprobe",
    "peer": "other packages",
    "python": "the standard library",
}

STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "memprobe",  # the same figures make the same file
    "font.family": "sans-serif",
    "font.size": 11,
    "text.color": TEXT,
    "axes.labelcolor": TEXT,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
}


def draw(figures, path):
    """Draw the costs as bars that leave 1, the floor, on a logarithmic axis."""
    bars = measured(figures["readings"])[::-1]
    ratios = [one["ratio"] for _, one in bars]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.8, 0.36 * len(bars) + 1.1), layout="constrained")
        axes = figure.add_subplot()
        axes.set_xscale("log")
        # Room for the figures beside the bars.
        axes.set_xlim(min(ratios) / 6, max(ratios) * 3)
        for row, (_, one) in enumerate(bars):
            color = COLORS[one["group"]]
            axes.barh(row, one["ratio"] - 1, left=1, height=0.66, color=color)
            below = one["ratio"] < 0.995
            axes.annotate(
                decimal(one["ratio"]),
                (one["ratio"], row),
                xytext=(-5 if below else 5, 0),
                textcoords="offset points",
                ha="right" if below else "left",
                va="center",
                color=color,
                fontweight="bold",
            )
        notes = [f" ({one['note']})" if one["note"] else "" for _, one in bars]
        names = [name + note for (name, _), note in zip(bars, notes, strict=True)]
        axes.set_yticks(range(len(bars)), names)
        for tick, (_, one) in zip(axes.get_yticklabels(), bars, strict=True):
            if one["group"] == "memprobe":
                tick.set(color=COLORS["memprobe"], fontweight="bold")
        axes.set_ylim(-0.6, len(bars) - 0.4)
        axes.xaxis.set_major_formatter(lambda ratio, _: f"{ratio:g}")
        # Room for letters that are wider where the picture is looked at.
        figure.get_layout_engine().set(rect=(0.03, 0, 0.95, 1))
        figure.suptitle(
            "Cost of one reading (1 = a pread of /proc/self/statm in a C loop)",
            fontsize="medium",
        )
        axes.axvline(1, color=TEXT, linewidth=1)
        axes.grid(axis="x", color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
        axes.minorticks_off()
        for spine in axes.spines.values():
            spine.set_visible(False)
        for group, label in LABELS.items():
            axes.barh(0, 0, left=1, color=COLORS[group], label=label)
        axes.legend(loc="upper right", frameon=False)
        metadata = {"Date": None} if str(path).endswith(".svg") else None
        figure.savefig(path, transparent=True, metadata=metadata)
