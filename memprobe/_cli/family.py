"""A family of processes that `run` or `watch` observes, and where its files lie."""

from __future__ import annotations

# What is imported here delays the first look.
import os
import sys
import time

from memprobe._recorder import KEEP, start_observer

LIVING = ("running", "unknown")

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from memprobe._record_file import Record
    from memprobe._recorder import Observer


class Family:
    """Observed from now until end(). What fails is said in *problem*, one line."""

    def __init__(
        self,
        pids: Sequence[int],
        interval: float,
        *,
        directory: str | None = None,
        pss: bool = False,
    ) -> None:
        """The files go into *directory*, else into a folder that close() removes."""
        self.problem = ""
        self.folder = directory or ""
        self._stays = directory is not None
        self._main = pids[0]
        self._since = time.time() - 2  # files have coarse times
        self._seen: dict[str, Record] = {}
        self._observer: Observer | None = None
        try:
            self.folder = directory or _new_folder()
            self._observer = start_observer(
                self.folder,
                pids,
                interval,
                keep=None if directory is None else KEEP,
                pss=pss,
                temporary=directory is None,
            )
        except OSError as error:
            self.close()
            self.folder = ""
            self.problem = f"not observed: {error}"

    def records(self) -> list[Record]:
        """Read what is known of each process, the oldest first."""
        from memprobe._record_file import NotARecord, names, read

        records = []
        for name in names(self.folder) if self.folder else []:
            path = os.path.join(self.folder, name)
            try:
                record = self._seen.get(path)
                if record is None and os.stat(path).st_mtime < self._since:
                    continue  # of an earlier day
                if record is None or record.state in LIVING:
                    self._seen[path] = record = read(path, record)
            except (OSError, NotARecord):
                continue  # removed since, or yet to be written
            records.append(record)
        return self._own(records) if self._stays else records

    def _own(self, records: list[Record]) -> list[Record]:
        """Return what was recorded for us, and the descendants of these.

        A program that records itself in the same folder keeps the files that it has.
        """
        found: dict[int, Record] = {}
        for record in sorted(records, key=lambda record: record.started or 0):
            if record.recorder == self._main or record.parent in found:
                found[record.pid] = record
        return list(found.values())

    def is_observed(self) -> bool:
        """Does the observer still run? It ends by itself after the last process."""
        if self._observer is None:
            return False
        try:
            # Of nobody: only to hear whether there is somebody to be told.
            self._observer.ended(0, 0, seconds=0)
        except TimeoutError:
            pass
        except OSError:
            return False
        return True

    def end(self, status: int | None = None) -> list[Record]:
        """End the observation, and return what is known.

        *status* is how the first process has ended, our child, which is yet to be
        reaped. In a folder that stays the observer goes on if others live.
        """
        records: list[Record] = []
        if self._observer is None:
            return records
        try:
            if status is not None:
                self._observer.ended(self._main, status)
            self._observer.look()
            # While it observes: those that live on are running, no more can be said.
            records = self.records()
            lives_on = any(record.state == "running" for record in records)
            if not self._stays or not lives_on:
                self._observer.stop()
        except OSError as error:
            records = records or self.records()
            # After the last of the family the observer ends by itself.
            if any(record.state in LIVING for record in records):
                self.problem = f"not all was observed: {error}"
        return records

    def close(self) -> None:
        """Remove what isn't to stay."""
        if self._stays or not self.folder:
            return
        try:
            for name in os.listdir(self.folder):
                os.unlink(os.path.join(self.folder, name))
            os.rmdir(self.folder)
        except OSError:
            pass  # the observer has done it


def _new_folder() -> str:
    """Make a folder where tempfile would, whose import takes longer than all else."""
    asked = [os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP")]
    usual = ["C:\\TEMP"] if sys.platform == "win32" else ["/tmp", "/var/tmp"]
    problem: OSError | None = None
    for parent in [*filter(None, asked), *usual, os.curdir]:
        name = f"memprobe-{os.urandom(8).hex()}"
        folder = os.path.join(os.path.abspath(parent), name)
        try:
            os.mkdir(folder, 0o700)
        except OSError as error:
            problem = problem or error
        else:
            return folder
    assert problem is not None
    raise problem
