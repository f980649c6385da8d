"""Prometheus: what the recorder's files say, among the metrics of a program.

import memprobe.prometheus

registry.register(memprobe.prometheus.Collector("/var/lib/shop/memory"))
"""

from __future__ import annotations

import os

from prometheus_client import Metric

from memprobe._arguments import checked_path
from memprobe._metrics import families
from memprobe._record_folder import read_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from memprobe._metrics import Family
    from memprobe._record_file import Record


class Collector:
    """Collects the metrics of all processes that are recorded into *directory*.

    Whichever process is asked has them all: they come from the files, which are read at
    each scrape, those of ended processes once. The metrics are those of ``memprobe show
    --openmetrics``; docs/prometheus.md names them. With *per_process* each running
    process has series of its own.

    Raises TypeError or ValueError for a wrong argument. What can't be read later, the
    directory included, is counted by ``memprobe_unreadable_files``.
    """

    def __init__(
        self, directory: str | os.PathLike[str], *, per_process: bool = False
    ) -> None:
        self._directory = checked_path(directory, "directory")
        self._per_process = per_process
        self._seen: dict[str, Record] = {}

    def describe(self) -> Iterator[Metric]:
        """Yield the metrics without samples; nothing is read."""
        return _metrics(families([], []))

    def collect(self) -> Iterator[Metric]:
        """Read the files, and yield the metrics."""
        problems: list[str] = []
        records = list(read_all([self._directory], problems.append, self._seen))
        # Made anew, not changed: another thread may be reading it.
        self._seen = {record.path: record for record in records}
        return _metrics(families(records, problems, per_process=self._per_process))


def _metrics(families: list[Family]) -> Iterator[Metric]:
    for name, kind, text, samples in families:
        metric = Metric(name, text, kind, "bytes" if name.endswith("_bytes") else "")
        for labels, value in samples:
            suffix = "_total" if kind == "counter" else ""
            metric.add_sample(name + suffix, dict(labels), value)
        yield metric
