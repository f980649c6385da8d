"""Celery: what each process of a worker's pool holds, and which task makes it grow.

import memprobe.celery

app = Celery(...)
memprobe.celery.install(app)

Afterwards ``celery -A app inspect memprobe`` answers from every node.
"""

import atexit
import contextlib
import io
import os

from billiard import current_process, get_start_method
from celery import Celery, signals
from celery.utils.log import get_logger
from celery.worker.control import inspect_command

from memprobe._arguments import checked_int, checked_path, checked_seconds
from memprobe._memprobe import humanbytes, peak_rss, rss, sample_mem
from memprobe._recorder import KEEP, record
from memprobe._samples import memdump
from memprobe.celery._task_table import SLOTS, TABLE_BYTES, Figures, Slot, Table

TYPE_CHECKING = False
if TYPE_CHECKING:
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
_table: "Table | None" = None
_slot: "Slot | None" = None

# Where children that are not forked (worker_pool_start_method, macOS) find the table.
_TABLE_VARIABLE = "MEMPROBE_CELERY_TABLE"


def install(
    app: Celery,
    directory: "str | os.PathLike[str] | None" = None,
    interval: "SupportsFloat | SupportsIndex" = 1.0,
    *,
    keep: "SupportsIndex | None" = KEEP,
) -> None:
    """Watch the memory of the workers of *app*, and let them answer about it.

    Call it in the module that makes the app. It does nothing in processes that aren't
    workers. In a worker:

    - Each task is sampled at its start and its end. What RSS grew by in between is
      added up by the task's name, over all processes of the pool. Tasks that overlap
      in one process, in threads or one inside another, count the same growth twice.
    - ``celery -A app inspect memprobe`` shows that, and RSS, peak and growth of each
      process of the pool. ``inspect memprobe bytes`` answers with plain numbers.
    - ``inspect memsample`` and ``inspect memdump`` are memprobe's.
    - With a *directory*, the worker and its children are recorded into a file each
      there, as ``memprobe.record(directory, interval, keep=keep)`` does. If that fails,
      the error is logged and the worker starts without.

    Raises TypeError or ValueError for a wrong argument.
    """
    path = None if directory is None else checked_path(directory, "directory")
    seconds = checked_seconds(interval, "interval")
    wanted = None if keep is None else checked_int(keep, "keep")

    def start_recording() -> None:
        if path is not None:
            with contextlib.suppress(RuntimeError):  # it is recorded elsewhere already
                record(path, seconds, keep=wanted)

    def in_worker(sender: "Any", **_: object) -> None:
        if sender.app == app:
            # Before Celery 5.7 there was but one.
            _make_table(getattr(sender, "pool_start_method", "fork"))
            try:
                start_recording()
            except (OSError, ValueError) as error:
                _log_when_ready("memprobe can't record: %s", error)
            _take_slot(0)

    def in_child(**_: object) -> None:
        global _table
        if _own_slot() is not None:
            return  # the pool without processes sends this signal too
        if _table is None and _TABLE_VARIABLE in os.environ:  # it was spawned
            with open(os.environ[_TABLE_VARIABLE], "r+b") as file:
                _table = Table(file.fileno())
        _take_slot(1 + getattr(current_process(), "index", SLOTS))

    for signal, receiver in (
        (signals.worker_init, in_worker),
        (signals.worker_process_init, in_child),
        (signals.task_prerun, _before_task),
        (signals.task_postrun, _after_task),
    ):
        # By its name, so that a second call replaces the first one's.
        name = f"{__name__}.{receiver.__name__}"
        signal.disconnect(dispatch_uid=name)
        signal.connect(receiver, weak=False, dispatch_uid=name)

    inspect_command(name="memprobe", args=[("form", str)], signature="[table|bytes]")(
        _inspect_memprobe
    )
    inspect_command(name="memsample")(_inspect_memsample)
    inspect_command(name="memdump", args=[("samples", int)], signature="[samples=10]")(
        _inspect_memdump
    )


def _log_when_ready(message: str, error: Exception) -> None:
    # The worker sets up its log after worker_init, and drops what comes before.
    def when_ready(**_: object) -> None:
        logger.error(message, error)

    signals.worker_ready.connect(when_ready, weak=False)


def _make_table(start_method: str) -> None:
    global _table
    if _own_slot() is not None:
        return  # another worker in this process: they share it
    # billiard's own default is another one than Celery's on macOS.
    if start_method == get_start_method() == "fork":
        _table = Table()
        return
    import tempfile

    file, path = tempfile.mkstemp(prefix="memprobe-")
    atexit.register(_remove, path)
    try:
        # Written, not just made long: a disk that is full later must not kill a task.
        with open(file, "wb", buffering=0, closefd=False) as writer:
            writer.write(bytes(TABLE_BYTES))
        _table = Table(file)
    finally:
        os.close(file)
    os.environ[_TABLE_VARIABLE] = path


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def _take_slot(number: int) -> None:
    global _slot
    if _table is None or number >= SLOTS:
        _slot = None
        return
    sample_mem()  # allocates the ring: before the reading, for that's no growth
    _slot = _table.slot(number)
    _slot.take(rss(), peak_rss())


def _own_slot() -> "Slot | None":
    """This process's slot; None in one that was forked by a task, for example."""
    return _slot if _slot is not None and _slot.pid == os.getpid() else None


def _before_task(task: "Any", **_: object) -> None:
    slot = _own_slot()
    if slot is not None:
        sample_mem()
        before = rss()
        slot.begin(task.name)
        # The request is this run's own, also with threads and with tasks in tasks.
        task.request.memprobe_before = before


def _after_task(task: "Any", **_: object) -> None:
    slot = _own_slot()
    before = getattr(task.request, "memprobe_before", None)
    if slot is not None and before is not None:
        sample_mem()
        after = rss()
        slot.end(task.name, after - before, after, peak_rss())


def _inspect_memprobe(state: "Any", form: str = "table", **_: object) -> "Any":
    """Show which tasks make the pool grow, and RSS."""
    if form not in ("table", "bytes"):
        return {"error": f"form must be table or bytes, not {form!r}"}
    own = _own_slot()
    if _table is None or own is None:
        return {"error": "memprobe.celery.install() was not called for this app"}
    processes = state.consumer.pool.info.get("processes", ())
    slots = {slot.pid: slot for slot in _table.slots()}
    children = [
        _figures(pid, slots.get(pid), *_read(pid))
        for pid in processes
        if pid != os.getpid()
    ]
    parent = _figures(os.getpid(), own, rss(), peak_rss())
    tasks = sorted(
        _table.tasks().items(),
        key=lambda task: (-task[1].growth, -task[1].killed, task[0]),
    )
    if form == "table":
        return _as_text(parent, children, tasks)
    return {
        "parent": parent,
        "children": children,
        "tasks": [
            {
                "name": name,
                "count": task.runs,
                "total": task.growth,
                "largest": task.largest,
                "killed": task.killed,
            }
            for name, task in tasks
        ],
    }


def _inspect_memsample(state: object, **_: object) -> str:
    """Sample current RSS memory usage."""
    return sample_mem()


def _inspect_memdump(state: object, samples: int = 10, **_: object) -> str:
    """Dump samples of RSS and forget them."""
    out = io.StringIO()
    memdump(samples, file=out)
    return out.getvalue()


def _read(pid: int) -> "tuple[int | None, int | None]":
    """Return RSS and peak of another process, where the system tells."""
    fields = {}
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status", "rb") as file:
        fields = dict(line.split(b":", 1) for line in file if b":" in line)
    now, peak = (
        int(fields[name].split()[0]) * 1024 if name in fields else None
        for name in (b"VmRSS", b"VmHWM")
    )
    return now, peak


def _figures(
    pid: int, slot: "Slot | None", now: "int | None", peak: "int | None"
) -> "dict[str, Any]":
    """What is known of a process: by a reading, or else by what it said last."""
    if slot is not None:
        now = slot.rss if now is None else now
        peak = slot.peak if peak is None else peak
    return {
        "pid": pid,
        "rss": now,
        "peak": peak,
        "growth": None if slot is None or now is None else now - slot.start,
        "running": None if slot is None else slot.running,
    }


def _as_text(
    parent: "dict[str, Any]",
    children: "list[dict[str, Any]]",
    tasks: "list[tuple[str, Figures]]",
) -> str:
    by_task = [["task", "runs", "growth", "largest", "killed"]]
    for name, task in tasks:
        figures = [_signed(task.growth), _signed(task.largest), str(task.killed)]
        by_task.append([name, str(task.runs), *figures])
    by_process = [["process", "rss", "peak", "growth", "running"]]
    for kind, process in [("parent", parent), *(("child", it) for it in children)]:
        sizes = (process["rss"], process["peak"])
        by_process.append(
            [
                f"{kind} {process['pid']}",
                *("-" if size is None else humanbytes(size) for size in sizes),
                _signed(process["growth"]),
                process["running"] or "-",
            ]
        )
    return "\n".join([*_lines(by_task), "", *_lines(by_process)])


def _signed(growth: "int | None") -> str:
    if growth is None:
        return "-"
    return ("", "+", "-")[(growth > 0) - (growth < 0)] + humanbytes(abs(growth))


def _lines(rows: "list[list[str]]") -> "list[str]":
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if 0 < number < 4 else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
