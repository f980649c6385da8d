"""The figures as Markdown. Pure: figures in, text out."""

import re
import textwrap


def grouped(number):
    """A whole number in words or in groups of three digits."""
    if number >= 1_000_000 and number % 1_000_000 == 0:
        return f"{number // 1_000_000} million"
    return f"{number:,.0f}".replace(",", " ")


def decimal(number):
    """At least two significant digits, at most three."""
    digits = 3 if number < 0.1 else 2 if number < 10 else 1 if number < 100 else 0
    return f"{number:.{digits}f}"


def code(name):
    """What is a call in a name, as code."""
    return re.sub(r"[\w.]+\([^)]*\)(?:\.\w+)?", r"`\g<0>`", name)


def table(head, rows):
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def paragraph(text):
    return textwrap.fill(text.strip(), 88, break_long_words=False) + "\n"


def measured(readings, *, loops=False):
    """Names and figures of what was measured, the cheapest first."""
    there = [
        (name, one)
        for name, one in readings.items()
        if "ratio" in one and (one["group"] == "loop") == loops
    ]
    return sorted(there, key=lambda item: item[1]["ratio"])


def readings_table(readings):
    rss = readings["memprobe rss()"]["ratio"]
    rows = []
    for name, one in measured(readings):
        note = f" ({one['note']})" if one["note"] else ""
        times_rss = decimal(one["ratio"] / rss)
        ratio, least = decimal(one["ratio"]), decimal(one["least_ratio"])
        rows.append([code(name) + note, ratio, least, grouped(one["ns"]), times_rss])
    head = ["one reading", "1 = `pread`", "at best", "ns", "1 = `rss()`"]
    return table(head, rows)


def readings_text(readings):
    def times(rival, ours):
        return f"{readings[rival]['ratio'] / readings[ours]['ratio']:.1f}"

    loops = {
        name: decimal(one["ratio"]) for name, one in measured(readings, loops=True)
    }
    processes = len(readings["memprobe rss()"]["processes"])
    text = f"""
`rss()` is {times("psutil memory_info().rss", "memprobe rss()")} times as fast as
psutil's `memory_info()`, `sample_mem()` is
{times("Celery sample_mem()", "memprobe sample_mem()")} times as fast as Celery's. The
ratio is the median of {processes} processes, beside it that of the best one; in each,
the least time of many short rounds is divided by that of the C loop, which ran in turn
with it. Nothing is subtracted: an empty Python loop is {loops["an empty loop"]}, one
that calls a C function that does nothing {loops["a C function that does nothing"]}."""
    skipped = [one["skipped"] for one in readings.values() if "skipped" in one]
    if skipped:
        text += f" Not measured: {'; '.join(skipped)}."
    return paragraph(text)


def states_table(states):
    """While RSS stands still, moves, rises: to a pread, and to the least there is."""
    head = ["while RSS", *next(iter(states.values()))]
    rows = [
        [f"`{name}`, {unit}", *(decimal(one[figure]) for one in by_state.values())]
        for name, by_state in states.items()
        for figure, unit in (
            ("ratio", "1 = `pread`"),
            ("of_least", "1 = `pread`, clock, empty call"),
        )
    ]
    return table(head, rows)


def imports_table(imports):
    rows = [
        [
            f"`{module}`",
            f"{one['ns'] / 1e6:.2f}",
            f"{one['rss_import'] / 2**20:.2f}",
            f"{one['rss_first_reading'] / 2**20:.2f}",
        ]
        for module, one in imports.items()
    ]
    return table(["import", "ms", "MB of RSS", "with the first reading"], rows)


def flatness_table(flatness):
    def microseconds(ns):
        return f"{decimal(ns / 1000)} µs"

    rows = []
    for one in flatness:
        capacity = f"capacity {grouped(one['capacity'])}"
        sample_mem = one["sample_mem"]
        rows += [
            [
                f"`sample_mem()`, {capacity} (1 = `pread`)",
                decimal(sample_mem["few"]["ratio"]),
                decimal(sample_mem["many"]["ratio"]),
            ],
            *(
                [
                    f"`{name}()`, {capacity}",
                    microseconds(one[f"{name}_ns"]["few"]),
                    microseconds(one[f"{name}_ns"]["many"]),
                ]
                for name in ("memdump", "stats")
            ),
        ]
    few, many = flatness[0]["few"], flatness[0]["many"]
    return table(["after so many samples", grouped(few), grouped(many)], rows)


def storage_text(figures):
    storage, snapshot = figures["storage"], figures["snapshot"]
    return paragraph(f"""
A stored sample takes {storage["memprobe"]["bytes_per_sample"]:.1f} bytes, in Celery's
list {storage["celery"]["bytes_per_sample"]:.1f}. `snapshot()` of the full default ring
takes {snapshot["ns"] / 1000:.0f} µs. memprobe's first reading allocates the default
ring, 1 MB. `memdump()` is timed without what `gc.collect()` finds to do.""")


def machine_text(machine):
    packages = ", ".join(
        f"{name} {version}"
        for name, version in machine["packages"].items()
        if version is not None and name != "memprobe-rss"
    )
    memprobe = machine["packages"]["memprobe-rss"]
    if machine["memprobe_commit"]:
        memprobe += f" ({machine['memprobe_commit']})"
    return paragraph(
        f"Measured on {machine['date']}: {machine['cpu']}, {machine['cpus']} CPUs "
        f"({machine['architecture']}), {machine['kernel']}, {machine['libc']}, "
        f"{machine['python']} ({machine['python_compiler']}); memprobe {memprobe}, "
        f"{packages}. Load average before and after: {machine['load_average'][0]:.1f}, "
        f"{machine['load_average_at_end'][0]:.1f}."
    )


def summary(figures):
    """The README's few figures, with what they mean."""
    readings, imported = figures["readings"], figures["imports"]["memprobe"]
    observer = figures["observer"]

    def times(rival, ours):
        return round(readings[rival]["ratio"] / readings[ours]["ratio"])

    rss, sample_mem = readings["memprobe rss()"], readings["memprobe sample_mem()"]
    throttled = readings["memprobe sample_mem(), throttled"]
    rows = [
        [
            "`rss()`",
            f"{grouped(rss['ns'])} ns, {decimal(rss['ratio'])} of a bare `pread` of "
            "the kernel's file; "
            f"{times('psutil memory_info().rss', 'memprobe rss()')} times as fast as "
            "psutil",
        ],
        [
            "`sample_mem()`",
            f"{decimal(sample_mem['ratio'])} of it; "
            f"{times('Celery sample_mem()', 'memprobe sample_mem()')} times as fast as "
            "Celery's",
        ],
        [
            "the same, throttled",
            f"{grouped(throttled['ns'])} ns: for the hottest loops",
        ],
        [
            "`import memprobe`",
            f"{imported['ns'] / 1e6:.1f} ms, {imported['rss_import'] / 2**20:.2f} MB",
        ],
        [
            "the observer",
            f"{observer['cpu_percent']:.2f} % of a CPU and "
            f"{observer['rss'] / 2**20:.1f} MB for 100 processes at 10 Hz",
        ],
    ]
    return table(["", ""], rows)


def markdown(figures):
    """The page of figures, from a chart to the machine."""
    parts = [
        "![What one reading costs, as a chart](../benchmarks/results/readings.svg)\n",
        readings_table(figures["readings"]),
        readings_text(figures["readings"]),
        # Figures that were kept before this was measured are shown as they were.
        *([states_table(figures["states"])] if "states" in figures else []),
        imports_table(figures["imports"]),
        flatness_table(figures["flatness"]),
        storage_text(figures),
        machine_text(figures["machine"]),
    ]
    return "\n".join(parts)
