"""Celery: what each process of a worker's pool holds, and which task makes it grow.

import memprobe.celery

app = Celery(...)
memprobe.celery.install(app)

Afterwards ``celery -A app inspect memprobe`` answers from every node.
"""

import atexit
import contextlib
import os
import re
import signal
import sys

from billiard import current_process, get_start_method
from celery import Celery, signals
from celery.utils.log import get_logger
from celery.worker import request as worker_request
from celery.worker import state as worker_state
from celery.worker.control import inspect_command

from memprobe._arguments import checked_int, checked_path, checked_seconds
from memprobe._cli.tasks import SUFFIX
from memprobe._memprobe import peak_rss, rss, sample_mem
from memprobe._recorder import KEEP, record
from memprobe._task_table import (
    EXITED,
    LOST,
    REVOKED,
    TERMINATED,
    TIME_LIMIT,
    Slot,
    Table,
    table_bytes,
)
from memprobe.celery import _answer, _recycle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, SupportsFloat, SupportsIndex

logger = get_logger(__name__)

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
_tables: "dict[str, Table]" = {}  # by worker: several may be in one process
_slots: "dict[str, Slot]" = {}  # of this process
_installed: "list[_Installed]" = []

# Where children that are not forked (worker_pool_start_method, macOS) find the tables:
# a path a line. Those of another process may come with its environment.
_TABLES_VARIABLE = "MEMPROBE_CELERY_TABLES"

# A pool may be told to grow while it runs.
_SPARE_SLOTS = 32

# Signals whose handlers raise in the middle of anything: time limits, termination.
_RAISING = (
    {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGHUP}
    if hasattr(signal, "pthread_sigmask")
    else set()
)


class _Installed:
    """What install() was told for an app."""

    def __init__(
        self,
        app: Celery,
        directory: "str | None",
        interval: float,
        keep: "int | None",
        recycle: str,
    ) -> None:
        self.app, self.directory, self.interval = app, directory, interval
        self.keep, self.recycle = keep, recycle

    def record(self, log: "Callable[..., None]") -> None:
        if self.directory is None:
            return
        try:
            with contextlib.suppress(RuntimeError):  # it is recorded elsewhere already
                record(self.directory, self.interval, keep=self.keep)
        except (OSError, ValueError) as error:
            log("memprobe can't record: %s", error)


def install(
    app: Celery,
    directory: "str | os.PathLike[str] | None" = None,
    interval: "SupportsFloat | SupportsIndex" = 1.0,
    *,
    keep: "SupportsIndex | None" = KEEP,
    recycle: str = "peak",
) -> None:
    """Watch the memory of the workers of *app*, and let them answer about it.

    Call it in the module that makes the app. It does nothing in processes that are
    neither workers nor beat. In a worker:

    - Each task is sampled at its start and its end. What RSS grew by in between is
      added up by the task's name, over all processes of the pool; so is how runs ended,
      and how far they rose. Of runs that overlap in one process, in threads or
      greenlets, the growth isn't known.
    - ``celery -A app inspect memprobe`` shows that, and RSS, private bytes, peak and
      growth of each process. ``inspect memprobe bytes`` answers with plain numbers.
    - ``inspect memsample`` and ``inspect memdump`` are memprobe's.
    - With a *directory*, the worker and its children are recorded into a file each
      there, as ``memprobe.record(directory, interval, keep=keep)`` does; ``celery
      beat``, too. The table of tasks lies there as well. If that fails, the error is
      logged and the worker starts without.
    - With ``recycle="rss"``, ``worker_max_memory_per_child`` means RSS after a task and
      not the highest that the child ever had, which is what ``"peak"``, Celery's own,
      is.

    Raises TypeError or ValueError for a wrong argument.
    """
    path = None if directory is None else checked_path(directory, "directory")
    seconds = checked_seconds(interval, "interval")
    wanted = None if keep is None else checked_int(keep, "keep")
    if recycle not in ("peak", "rss"):
        raise ValueError(f"recycle must be 'peak' or 'rss', not {recycle!r}")
    _installed[:] = [it for it in _installed if it.app is not app]
    _installed.append(_Installed(app, path, seconds, wanted, recycle))
    for sent, receiver in (
        (signals.worker_init, _in_worker),
        (signals.worker_process_init, _in_child),
        (signals.beat_init, _in_beat),
        (signals.beat_embedded_init, _in_embedded_beat),
        (signals.task_prerun, _before_task),
        (signals.task_postrun, _after_task),
    ):
        # By its name, so that it is connected once for all apps.
        name = f"{__name__}.{receiver.__name__}"
        sent.disconnect(dispatch_uid=name)
        sent.connect(receiver, weak=False, dispatch_uid=name)
    inspect_command(name="memprobe", args=[("form", str)], signature="[table|bytes]")(
        _inspect_memprobe
    )
    inspect_command(name="memsample")(_answer.memsample)
    inspect_command(name="memdump", args=[("samples", int)], signature="[samples=10]")(
        _answer.dump
    )


def _of(app: object) -> "_Installed | None":
    return next((it for it in _installed if it.app == app), None)


def _log_when_ready(message: str, *arguments: object) -> None:
    # The worker sets up its log after worker_init, and drops what comes before.
    def when_ready(**_: object) -> None:
        logger.error(message, *arguments)

    signals.worker_ready.connect(when_ready, weak=False)


# -- Processes ------------------------------------------------------------------------


def _in_worker(sender: "Any", **_: object) -> None:
    installed = _of(sender.app)
    if installed is None:
        return
    node = sender.hostname
    table = _make_table(
        node,
        # Before Celery 5.7 there was but one.
        getattr(sender, "pool_start_method", "fork"),
        1 + _most_children(sender) + _SPARE_SLOTS,
        installed.directory,
    )
    limit = int(getattr(sender, "max_memory_per_child", None) or 0) * 1024
    table.describe(node, limit)
    _tables[node] = table
    installed.record(_log_when_ready)
    _take_slot(node, 0)
    _hear_why()
    if installed.recycle == "rss" and not _recycle.use_rss():
        _log_when_ready(
            "memprobe doesn't find where this billiard reads a child's memory: "
            "worker_max_memory_per_child goes on meaning the peak"
        )


def _in_child(sender: "str | None" = None, **_: object) -> None:
    if any(slot.pid == os.getpid() for slot in _slots.values()):
        return  # the pool without processes sends this signal too
    _slots.clear()
    if not _tables:  # it was spawned
        for path in os.environ.get(_TABLES_VARIABLE, "").splitlines():
            with contextlib.suppress(OSError, ValueError), open(path, "r+b") as file:
                table = Table.of(file.fileno())
                _tables[table.node] = table
        if any(it.recycle == "rss" for it in _installed):
            _recycle.use_rss()
    node = sender
    if node is None and len(_tables) == 1:
        (node,) = _tables  # before Celery 5.7 nobody says whose child it is
    if node is None or node not in _tables:
        return
    is_first = _take_slot(node, 1 + getattr(current_process(), "index", -1))
    limit, grown = _tables[node].limit, rss()
    if 0 < limit < grown:
        means_rss = _recycle.exempt()
        if is_first:
            logger.warning(
                "worker_max_memory_per_child is %d KB, and a child begins with %d KB: "
                + ("it is passed over" if means_rss else "each ends after one task"),
                limit // 1024,
                grown // 1024,
            )


def _in_beat(sender: "Any", **_: object) -> None:
    installed = _of(sender.app)
    if installed is None or installed.directory is None:
        return
    installed.record(logger.error)
    try:
        table = _table_in(installed.directory, f"beat@{os.uname().nodename}", 1)
    except (OSError, AttributeError):
        return  # it is recorded, and has but no name
    table.describe("beat", 0)
    table.note_role("beat")


def _in_embedded_beat(**_: object) -> None:
    for table in _tables.values():
        table.note_role("Beat")


def _most_children(sender: "Any") -> int:
    """Return how many children a worker may have, before it is told otherwise."""
    told = f"{sender.concurrency} {getattr(sender, 'autoscale', '')}"
    return max(os.cpu_count() or 1, *map(int, re.findall(r"[0-9]+", told)), 1)


def _make_table(
    node: str, start_method: str, slots: int, directory: "str | None"
) -> Table:
    if directory is not None:
        # A folder that can't be written to is told about when recording fails.
        with contextlib.suppress(OSError):
            return _table_in(directory, node, slots)
    # billiard's own default is another one than Celery's on macOS.
    if start_method == get_start_method() == "fork":
        return Table(slots)
    if sys.platform == "linux":
        # Closed by exec, as at SIGHUP. Spawned children find it while the parent lives.
        file = os.memfd_create("memprobe-tasks")
        os.ftruncate(file, table_bytes(slots))
        _publish(f"/proc/{os.getpid()}/fd/{file}")
        return Table(slots, file)
    import tempfile

    for path in os.environ.get(_TABLES_VARIABLE, "").splitlines():
        if f"memprobe-{os.getpid()}-" in path:
            _remove(path)  # this process's, before it was started anew by exec
    file, path = tempfile.mkstemp(prefix=f"memprobe-{os.getpid()}-")
    atexit.register(_remove, path)
    return _table_of_file(file, path, slots)


def _table_in(directory: str, node: str, slots: int) -> Table:
    """Make the table of a worker in a folder, where the one before stays, too."""
    name = re.sub(r"[^\w@.+-]", "_", node)
    path = os.path.join(directory, name + SUFFIX)
    with contextlib.suppress(FileNotFoundError):
        os.replace(path, os.path.join(directory, f"{name}.before{SUFFIX}"))
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
    return _table_of_file(os.open(path, flags, 0o600), path, slots)


def _table_of_file(file: int, path: str, slots: int) -> Table:
    try:
        # Written, not just made long: a disk that is full later must not kill a task.
        with open(file, "wb", buffering=0, closefd=False) as writer:
            length = table_bytes(slots)
            while length > 0:
                length -= writer.write(bytes(min(length, 1 << 20))) or length
        table = Table(slots, file)
    except BaseException:
        _remove(path)
        raise
    finally:
        os.close(file)
    _publish(path)
    return table


def _publish(path: str) -> None:
    own = os.environ.get(_TABLES_VARIABLE, "").splitlines() if _tables else []
    os.environ[_TABLES_VARIABLE] = "\n".join([*own, path])


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def _take_slot(node: str, number: int) -> bool:
    """Return whether this process is the first that has that slot."""
    try:
        slot = _tables[node].slot(number)
    except IndexError:
        return False  # the answer says so
    sample_mem()  # allocates the ring: before the reading, for that's no growth
    _tables[node].note_role(current_process().name)
    is_first = slot.take(rss(), peak_rss())
    _slots[node] = slot
    return is_first


# -- Tasks ----------------------------------------------------------------------------


def _undisturbed(work: "Callable[[], object]") -> None:
    """Do something whole, whatever exception a signal's handler raises meanwhile.

    It is raised after it: between any two instructions of Python's, a soft time limit
    or a SIGTERM would leave behind a run that has ended and is shown as running.
    """
    if not _RAISING:
        work()
        return
    before: set[int] = set()
    try:
        before.update(signal.pthread_sigmask(signal.SIG_BLOCK, _RAISING))
    finally:
        try:
            work()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _RAISING - before)


def _slot_of(task: "Any") -> "Slot | None":
    """Return this process's slot; None in one that was forked by a task, say."""
    if not _slots:
        return None
    slot = _slots.get(task.request.hostname) or next(iter(_slots.values()))
    return slot if slot.pid == os.getpid() else None


def _before_task(task: "Any", task_id: str, **_: object) -> None:
    slot = _slot_of(task)
    if slot is None:
        return
    inside = bool(task.request.is_eager)

    def begin() -> None:
        sample_mem()
        # The request is this run's own, also with threads and with tasks in tasks.
        task.request.memprobe_run = slot.begin(task.name, task_id, rss(), inside=inside)

    _undisturbed(begin)


def _after_task(
    task: "Any", task_id: str, state: "str | None" = None, **_: object
) -> None:
    slot = _slot_of(task)
    if slot is None:
        return
    end = _end_by(sys.exc_info()[1]) if state is None else None
    run = getattr(task.request, "memprobe_run", None)
    inside = bool(task.request.is_eager)

    def count() -> None:
        sample_mem()
        now = rss()
        # An exception may have come before _before_task() could do anything.
        begun = run or slot.begin(task.name, task_id, now, inside=inside)
        slot.end(begun, now, peak_rss(), end)

    _undisturbed(count)


def _end_by(error: "BaseException | None") -> "str | None":
    """Return how a run ends by what leaves its task; None: as any other run."""
    if error is None or isinstance(error, Exception):
        return None
    # gevent's and eventlet's, by which these end a task in their one process.
    by_name = {"GreenletExit": REVOKED, "Timeout": TIME_LIMIT}
    if (end := by_name.get(type(error).__name__)) is not None:
        return end
    # What billiard's handler of signals exits with (billiard.common).
    code = getattr(error, "code", None)
    if isinstance(code, int) and -256 < code <= signal.NSIG - 256:
        return TERMINATED
    return EXITED


def _hear_why() -> None:
    """Let the parent note why it ends a child: in that one it's one and the same."""

    def noting(name: str, end: str, counts: "Callable[..., bool]") -> None:
        method = getattr(worker_request.Request, name, None)
        if method is None or hasattr(method, "memprobe_noted"):
            return

        def noted(request: "Any", *arguments: "Any", **named: "Any") -> "Any":
            if request.worker_pid and counts(*arguments, **named):
                for table in _tables.values():
                    table.note_why(request.worker_pid, request.id, end)
            return method(request, *arguments, **named)

        noted.memprobe_noted = True  # type: ignore[attr-defined]
        setattr(worker_request.Request, name, noted)

    def is_hard(soft: bool = False, timeout: float = 0) -> bool:
        return not soft and not worker_state.should_terminate

    noting("on_timeout", TIME_LIMIT, is_hard)
    noting("terminate", REVOKED, lambda *_, **__: True)
    noting("cancel", LOST, lambda *_, **__: True)


def _inspect_memprobe(state: "Any", form: str = "table", **_: object) -> "Any":
    """Show which tasks make the pool grow, and RSS."""
    if form not in ("table", "bytes"):
        return {"error": f"form must be table or bytes, not {form!r}"}
    node = state.consumer.hostname
    if node not in _tables or node not in _slots:
        return {"error": "memprobe.celery.install() was not called for this app"}
    return _answer.answer(state, _tables[node], _slots[node], form)
