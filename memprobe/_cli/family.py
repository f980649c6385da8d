"""A family of processes that `run` or `watch` observes, and where its files lie."""

import os
import sys
import time

from memprobe._record_file import NotARecord, names, read
from memprobe._recorder import start_observer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from memprobe._record_file import Record
    from memprobe._recorder import Observer

KEEP = 64 * 2**20  # bytes in a folder that stays, as record() has it


class Family:
    """The observed processes, from start() until close()."""

    def __init__(self, directory: "str | None" = None) -> None:
        """Their files go into *directory*; without one into a folder that close()
        removes."""
        self._temporary = directory is None
        self.folder = directory or _new_folder()
        self._observer: Observer | None = None
        self._since = time.time() - 2  # coarse file times

    def start(self, pids: "list[int]", interval: float, pss: bool) -> None:
        """Have an observer started. Raises OSError."""
        self._observer = start_observer(
            self.folder,
            pids,
            interval,
            keep=None if self._temporary else KEEP,
            pss=pss,
            temporary=self._temporary,
        )

    def records(self) -> "list[Record]":
        """Read what is known of each process, the oldest first."""
        records = []
        for name in names(self.folder):
            path = os.path.join(self.folder, name)
            try:
                # There may be others, of an earlier day.
                if self._temporary or os.stat(path).st_mtime >= self._since:
                    records.append(read(path))
            except (OSError, NotARecord):
                continue  # removed since, or nothing that was just written
        return records if self._temporary else _of_one_family(records, os.getpid())

    def ended(self, pid: int, status: int) -> None:
        """Tell the observer what it can't see: how a child of ours has ended."""
        if self._observer is not None:
            self._observer.ended(pid, status)

    def stop(self) -> None:
        """End the observation; raises OSError with what it couldn't do."""
        if self._observer is not None:
            self._observer.stop()

    def close(self) -> None:
        if not self._temporary:
            return
        try:
            for name in os.listdir(self.folder):
                os.unlink(os.path.join(self.folder, name))
            os.rmdir(self.folder)
        except OSError:
            pass  # the observer has done it


def _of_one_family(records: "list[Record]", recorder: int) -> "list[Record]":
    """Return what was recorded for *recorder*, and the descendants of these.

    A program that records itself in the same folder keeps the files that it has.
    """
    found: dict[int, Record] = {}
    for record in sorted(records, key=lambda record: record.started or 0):
        if record.recorder == recorder or record.parent in found:
            found[record.pid] = record
    return list(found.values())


def _new_folder() -> str:
    """Make a folder for files that aren't to stay, where tempfile would.

    Its import takes longer than all else.
    """
    asked = [os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP")]
    usual = ["/tmp", "/var/tmp"] if sys.platform != "win32" else ["C:\\TEMP"]
    problem: OSError | None = None
    for parent in [*filter(None, asked), *usual, os.curdir]:
        folder = os.path.join(os.path.abspath(parent), f"memprobe-{os.urandom(8).hex()}")
        try:
            os.mkdir(folder, 0o700)
        except OSError as error:
            problem = problem or error
        else:
            return folder
    assert problem is not None
    raise problem
