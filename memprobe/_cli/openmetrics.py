"""What the recorder's files say, for those who watch many processes: OpenMetrics."""

from __future__ import annotations

from memprobe._cli.series import SharedOnce
from memprobe._cli.table import Cgroup, cgroup_of, date_of, newest
from memprobe._cli.text import name_of, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from memprobe._record_file import Record

    Labels = tuple[tuple[str, str], ...]
    # Name (it ends with its unit), kind, help, and the samples.
    Family = tuple[str, str, str, list[tuple[Labels, int]]]

STATES = ["running", "exited", "died", "ended", "unknown"]


class _Running:
    """What the running processes of one command hold, on one host."""

    def __init__(self) -> None:
        self.rss = SharedOnce()
        self.highest = self.peak = 0

    def add(self, record: Record) -> None:
        rss = record.last or 0
        self.rss.add(rss, record.shared)
        self.highest = max(self.highest, rss)
        self.peak = max(self.peak, record.peak or 0)


def families(records: Iterable[Record], *, per_process: bool = False) -> list[Family]:
    """Return the metrics: few, however many processes there are.

    That is, unless *per_process* asks for a series of each that runs.
    """
    states = dict.fromkeys(STATES, 0)
    running: dict[Labels, _Running] = {}
    cgroups: dict[Labels, Cgroup] = {}
    oom_kills: dict[Labels, tuple[float, int]] = {}
    for record in records:
        states[record.state] += 1
        labels: Labels = (
            ("command", name_of(record)),
            ("host", printable(record.host or "")),
        )
        cgroup = cgroup_of(record)
        if record.oom_kills is not None:
            # Also of those that have ended: who watches is to see the last kill.
            reading = (date_of(record), record.oom_kills)
            oom_kills[labels] = max(oom_kills.get(labels, reading), reading)
        if record.state == "running":
            if cgroup is not None:
                cgroups[labels] = newest(cgroups.get(labels), cgroup)
            if per_process:
                labels += (("pid", str(record.pid)),)
            running.setdefault(labels, _Running()).add(record)
    groups = running.items()
    return [
        (
            "memprobe_rss_bytes",
            "gauge",
            "RSS of the running processes, pages that they share counted once.",
            [(labels, group.rss.total()) for labels, group in groups],
        ),
        (
            "memprobe_rss_max_bytes",
            "gauge",
            "RSS of the largest running process.",
            [(labels, group.highest) for labels, group in groups],
        ),
        (
            "memprobe_peak_rss_bytes",
            "gauge",
            "The highest RSS that one of the running processes ever had.",
            [(labels, group.peak) for labels, group in groups],
        ),
        (
            "memprobe_processes",
            "gauge",
            "Recorded processes by state, also those that have ended.",
            [((("state", state),), count) for state, count in states.items()],
        ),
        (
            "memprobe_cgroup_memory_bytes",
            "gauge",
            "What their cgroup uses, without inactive file pages.",
            [(labels, cgroup.used) for labels, cgroup in cgroups.items()],
        ),
        (
            "memprobe_cgroup_memory_limit_bytes",
            "gauge",
            "The least of the limits of their cgroup and the machine's memory.",
            [(labels, cgroup.limit) for labels, cgroup in cgroups.items()],
        ),
        (
            "memprobe_oom_kills",
            "counter",
            "Processes of their cgroup that the kernel killed for want of memory.",
            [(labels, count) for labels, (_, count) in oom_kills.items()],
        ),
    ]


def lines_of(families: Iterable[Family]) -> Iterator[str]:
    """Return the text of the metrics, with line ends."""
    for name, kind, text, samples in families:
        yield f"# TYPE {name} {kind}\n"
        if name.endswith("_bytes"):
            yield f"# UNIT {name} bytes\n"
        yield f"# HELP {name} {text}\n"
        if kind == "counter":
            name += "_total"
        for labels, value in samples:
            inside = ",".join(f'{label}="{_escaped(v)}"' for label, v in labels)
            yield f"{name}{{{inside}}} {value}\n"
    yield "# EOF\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
