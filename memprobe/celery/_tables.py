"""The tables of a worker: where they lie, and which slot is this process's."""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import re
import sys

from billiard import current_process, get_start_method

from memprobe._memprobe import peak_rss, rss, sample_mem
from memprobe._record_file import BLOCK_BYTES
from memprobe._recorder import keep_copy
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

_descriptors: dict[str, int] = {}  # of the tables that this process has made


def find_tables() -> None:
    """Find the tables of the worker that has spawned this process."""
    for path in os.environ.get(_TABLES_VARIABLE, "").splitlines():
        with contextlib.suppress(OSError, ValueError), open(path, "r+b") as file:
            table = Table.of(file.fileno())
            tables[table.node] = table


def make_table(node: str, start_method: str, count: int, *, copied: bool) -> Table:
    """Make the table of a worker; *copied*: keep_in() is to come."""
    # billiard's own default is another one than Celery's on macOS.
    forks = start_method == get_start_method() == "fork"
    if forks and not copied:
        return Table(count)
    if sys.platform == "linux" and hasattr(os, "memfd_create"):
        # Closed by exec, as at SIGHUP. Spawned children find it while the parent lives.
        file = os.memfd_create("memprobe-tasks")
        os.ftruncate(file, -(-table_bytes(count) // BLOCK_BYTES) * BLOCK_BYTES)
        _publish(f"/proc/{os.getpid()}/fd/{file}")
        _descriptors[node] = file
        return Table(count, file)
    if forks:
        return Table(count)
    import tempfile

    for path in os.environ.get(_TABLES_VARIABLE, "").splitlines():
        if f"memprobe-{os.getpid()}-" in path:
            _remove(path)  # this process's, before it was started anew by exec
    file, path = tempfile.mkstemp(prefix=f"memprobe-{os.getpid()}-")
    atexit.register(_remove, path)
    try:
        os.ftruncate(file, table_bytes(count))
        table = Table(count, file)
    finally:
        os.close(file)
    _publish(path)
    return table


def keep_in(directory: str, node: str) -> None:
    """Let the observer keep a copy in the folder, where the one before stays, too.

    Nobody who counts ever writes to a disk, which may be full, or stand still. Raises
    OSError.
    """
    if node not in _descriptors:
        raise OSError(errno.ENOTSUP, "there is no memory to be copied on this system")
    name = re.sub(r"[^\w@.+-]", "_", node)
    path = os.path.join(directory, name + SUFFIX)
    with contextlib.suppress(FileNotFoundError):
        os.replace(path, os.path.join(directory, f"{name}.before{SUFFIX}"))
    keep_copy(_descriptors[node], name + SUFFIX)


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
