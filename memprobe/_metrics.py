"""What the recorder's files say of many processes together: totals, metrics."""

from __future__ import annotations

from memprobe._text import name_of, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sized

    from memprobe._record_file import Record

    Labels = tuple[tuple[str, str], ...]
    # Name (it ends with its unit), kind, help, and the samples.
    Family = tuple[str, str, str, list[tuple[Labels, int]]]

STATES = ["running", "exited", "died", "ended", "unknown"]


class SharedOnce:
    """Adds up the RSS of processes, pages that they share once.

    That is the sum of RSS less its shared part, and the largest shared part.
    """

    def __init__(self) -> None:
        self._own = self._shared = 0

    def add(self, rss: int, shared: int | None) -> None:
        self._own += rss - (shared or 0)
        self._shared = max(self._shared, shared or 0)

    def total(self) -> int:
        return self._own + self._shared


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


def families(
    records: Iterable[Record], problems: Sized, *, per_process: bool = False
) -> list[Family]:
    """Return the metrics: few, however many processes there are.

    That is, unless *per_process* asks for a series of each that runs. *problems* are
    those that reading the records comes upon.
    """
    states = dict.fromkeys(STATES, 0)
    running: dict[Labels, _Running] = {}
    cgroups: dict[Labels, tuple[float, int, int]] = {}
    oom_kills: dict[Labels, tuple[float, int]] = {}
    for record in records:
        states[record.state] += 1
        labels: Labels = (
            ("command", name_of(record)),
            ("host", printable(record.host or "")),
        )
        if record.oom_kills is not None:
            # Also of those that have ended: who watches is to see the last kill.
            kills = (record.date, record.oom_kills)
            oom_kills[labels] = max(oom_kills.get(labels, kills), kills)
        if record.state == "running":
            if record.cgroup_memory is not None and record.memory_limit:
                cgroup = (record.date, record.cgroup_memory, record.memory_limit)
                cgroups[labels] = max(cgroups.get(labels, cgroup), cgroup)
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
            [(labels, used) for labels, (_, used, _) in cgroups.items()],
        ),
        (
            "memprobe_cgroup_memory_limit_bytes",
            "gauge",
            "The least of the limits of their cgroup and the machine's memory.",
            [(labels, limit) for labels, (_, _, limit) in cgroups.items()],
        ),
        (
            "memprobe_oom_kills",
            "counter",
            "Processes of their cgroup that the kernel killed for want of memory.",
            [(labels, count) for labels, (_, count) in oom_kills.items()],
        ),
        (
            "memprobe_unreadable_files",
            "gauge",
            "Files that can't be read, and folders without any.",
            [((), len(problems))],
        ),
    ]
