"""What the recorder's files say, for those who watch many processes: OpenMetrics."""

import os

from memprobe._cli.series import SharedOnce
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

    def add(self, record: "Record") -> None:
        rss = record.last or 0
        self.rss.add(rss, record.shared)
        self.highest = max(self.highest, rss)
        self.peak = max(self.peak, record.peak or 0)


def families(
    records: "Iterable[Record]", *, per_process: bool = False
) -> "list[Family]":
    """Return the metrics of these processes; few, however many processes there are.

    That is, unless *per_process* asks for a series of each that runs.
    """
    states = dict.fromkeys(STATES, 0)
    running: dict[Labels, _Running] = {}
    cgroups: dict[Labels, Record] = {}
    for record in records:
        states[record.state] += 1
        labels: Labels = (
            ("command", name_of(record)),
            ("host", printable(record.host or "")),
        )
        # Also of those that have ended: who watches is to see a last kill.
        if labels not in cgroups or cgroups[labels].updated <= record.updated:
            cgroups[labels] = record
        if record.state == "running":
            if per_process:
                labels += (("pid", str(record.pid)),)
            running.setdefault(labels, _Running()).add(record)
    ours = [(labels, group) for labels, group in running.items()]
    return []


def lines(families: "Iterable[Family]") -> "Iterator[str]":
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
