"""The tables of a worker: where they lie, and which slot is this process's."""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import sys

from billiard import current_process, get_start_method

from memprobe._memprobe import peak_rss, rss, sample_mem
from memprobe._task_lines import SUFFIX
from memprobe._task_table import Slot, Table, table_bytes

# How the figures come from the pool's children to the parent, which answers: by memory
# that they share, made before the pool starts (memprobe/_task_table.py says how it is
# written). A pipe or a queue may block a task when the parent is busy, and what a
# killed child had in it is lost; files of the children grow in number with each that
# --max-tasks-per-child replaces. The slot is the child's index in the pool, which
# billiard gives to another child only when the first has ended: nobody has to hand out
# slots. Slot 0 is the parent's, which runs the tasks of the pools without children.
#
# RSS and peak of a child are read by the parent when it is asked (Linux), so a child in
# the middle of a long task is seen as it is.
tables: dict[str, Table] = {}  # by worker: several may be in one process
slots: dict[str, Slot] = {}  # of this process

# Where children that are not forked (worker_pool_start_method, macOS) find the tables:
# a path a line. Those of another process may come with its environment.
_TABLES_VARIABLE = "MEMPROBE_CELERY_TABLES"


def find_tables() -> None:
    """Find the tables of the worker that has spawned this process."""
    for path in os.environ.get(_TABLES_VARIABLE, "").splitlines():
        with contextlib.suppress(OSError, ValueError), open(path, "r+b") as file:
            table = Table.of(file.fileno())
            tables[table.node] = table


def make_table(
    node: str, start_method: str, count: int, directory: str | None
) -> Table:
    if directory is not None:
        # A folder that can't be written to is told about when recording fails.
        with contextlib.suppress(OSError):
            return table_in(directory, node, count)
    # billiard's own default is another one than Celery's on macOS.
    if start_method == get_start_method() == "fork":
        return Table(count)
    if sys.platform == "linux" and hasattr(os, "memfd_create"):
        # Closed by exec, as at SIGHUP. Spawned children find it while the parent lives.
        file = os.memfd_create("memprobe-tasks")
        os.ftruncate(file, table_bytes(count))
        _publish(f"/proc/{os.getpid()}/fd/{file}")
        return Table(count, file)
    import tempfile

    for path in os.environ.get(_TABLES_VARIABLE, "").splitlines():
        if f"memprobe-{os.getpid()}-" in path:
            _remove(path)  # this process's, before it was started anew by exec
    file, path = tempfile.mkstemp(prefix=f"memprobe-{os.getpid()}-")
    atexit.register(_remove, path)
    return _table_of_file(file, path, count)


def table_in(directory: str, node: str, count: int) -> Table:
    """Make the table of a worker in a folder, where the one before stays, too."""
    name = re.sub(r"[^\w@.+-]", "_", node)
    path = os.path.join(directory, name + SUFFIX)
    with contextlib.suppress(FileNotFoundError):
        os.replace(path, os.path.join(directory, f"{name}.before{SUFFIX}"))
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
    return _table_of_file(os.open(path, flags, 0o600), path, count)


def _table_of_file(file: int, path: str, count: int) -> Table:
    try:
        # Written, not just made long: a disk that is full later must not kill a task.
        with open(file, "wb", buffering=0, closefd=False) as writer:
            length = table_bytes(count)
            while length > 0:
                length -= writer.write(bytes(min(length, 1 << 20))) or length
        table = Table(count, file)
    except BaseException:
        _remove(path)
        raise
    finally:
        os.close(file)
    _publish(path)
    return table


def _publish(path: str) -> None:
    own = os.environ.get(_TABLES_VARIABLE, "").splitlines() if tables else []
    os.environ[_TABLES_VARIABLE] = "\n".join([*own, path])


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def take_slot(node: str, number: int) -> bool:
    """Return whether this process is the first that has that slot."""
    try:
        slot = tables[node].slot(number)
    except IndexError:
        return False  # the answer says so
    sample_mem()  # allocates the ring: before the reading, for that's no growth
    tables[node].note_role(current_process().name)
    is_first = slot.take(rss(), peak_rss())
    slots[node] = slot
    return is_first
