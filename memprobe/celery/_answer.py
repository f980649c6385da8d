"""What a worker answers when it is asked by ``celery inspect``."""

from __future__ import annotations

import contextlib
import io
import os

from memprobe._memprobe import humanbytes, peak_rss, rss, sample_mem
from memprobe._samples import memdump
from memprobe._task_lines import aligned, in_order, signed, task_lines
from memprobe.celery import _where

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from memprobe._task_table import Slot, Table


def answer(state: Any, table: Table, own: Slot, form: str) -> Any:
    """Return growth by task, and what each process of the worker holds."""
    pool = state.consumer.pool
    processes = pool.info.get("processes", ())
    if form == "why":
        return _where.answer(table, processes or [os.getpid()])
    lives = {os.getpid(), *processes}.__contains__
    slots = {slot.pid: slot for slot in table.slots()}
    roles = {pid: role for (pid, _), role in table.roles().items()}
    children = [
        _figures(pid, slots.get(pid), roles.get(pid), *_read(pid))
        for pid in processes
        if pid != os.getpid()
    ]
    parent = _figures(os.getpid(), own, roles.get(os.getpid()), rss(), peak_rss())
    waiting = _waiting(state)
    if form == "table":
        lines = task_lines(table, lives, overlapping=_overlaps(pool))
        lines += ["", *_process_lines([parent, *children])]
        uncounted = sum(child["growth"] is None for child in children)
        if uncounted:
            lines.append(f"{uncounted} processes have no place in the table yet.")
        if waiting:
            lines.append(f"The parent holds {waiting} tasks until their ETA.")
        return "\n".join(lines)
    tasks, hidden = table.tasks(lives)
    return {
        "parent": parent,
        "children": children,
        "hidden": hidden,
        "waiting": waiting,
        "tasks": [
            {
                "name": name,
                "count": task.runs,
                "total": task.growth,
                "largest": task.largest,
                "first": task.first,
                "between": task.between,
                "peak": task.peak,
                "overlapped": task.overlapped,
                **{end.replace(" ", "_"): count for end, count in task.ends.items()},
            }
            for name, task in in_order(tasks)
        ],
    }


def memsample(state: object, **_: object) -> str:
    """Sample current RSS memory usage."""
    return sample_mem()


def dump(state: object, samples: int = 10, **_: object) -> str:
    """Dump samples of RSS and forget them."""
    out = io.StringIO()
    memdump(samples, file=out)
    return out.getvalue()


def _overlaps(pool: Any) -> bool:
    """Return whether runs of this pool may overlap in a process."""
    return bool(pool.is_green) or type(pool).__module__.endswith(".thread")


def _waiting(state: Any) -> int:
    """Return how many tasks the parent keeps in memory until their time comes."""
    timer = getattr(state.consumer, "timer", None)
    queue = getattr(getattr(timer, "schedule", None), "queue", ())
    return sum(
        any(hasattr(argument, "task_id") for argument in entry.entry.args)
        for entry in list(queue)
    )


def _fields(pid: int, name: str) -> dict[bytes, int]:
    """Return the sizes of a file of another process's, where the system has it."""
    sizes = {}
    with contextlib.suppress(OSError), open(f"/proc/{pid}/{name}", "rb") as file:
        for line in file:
            key, _, value = line.partition(b":")
            if value.endswith(b" kB\n"):
                sizes[key] = int(value.split()[0]) * 1024
    return sizes


def _read(pid: int) -> tuple[int | None, int | None]:
    """Return RSS and peak of another process, where the system tells."""
    sizes = _fields(pid, "status")
    return sizes.get(b"VmRSS"), sizes.get(b"VmHWM")


def _figures(
    pid: int,
    slot: Slot | None,
    role: str | None,
    now: int | None,
    peak: int | None,
) -> dict[str, Any]:
    """What is known of a process: by a reading, or else by what it said last.

    *private* is what no other process has, which copy-on-write makes of shared pages
    while RSS stands still.
    """
    if slot is not None:
        now = slot.rss if now is None else now
        peak = slot.peak if peak is None else peak
    sizes = _fields(pid, "smaps_rollup")
    private = [
        sizes[key] for key in (b"Private_Clean", b"Private_Dirty") if key in sizes
    ]
    return {
        "pid": pid,
        "role": role,
        "rss": now,
        "private": sum(private) if private else None,
        "peak": peak,
        "growth": None if slot is None or now is None else now - slot.start,
        "running": None if slot is None else slot.running,
    }


def _process_lines(processes: list[dict[str, Any]]) -> list[str]:
    rows = [["process", "rss", "private", "peak", "growth", "running"]]
    for process in processes:
        sizes = [process[key] for key in ("rss", "private", "peak")]
        rows.append(
            [
                f"{process['role'] or 'child'} {process['pid']}",
                *("-" if size is None else humanbytes(size) for size in sizes),
                signed(process["growth"]),
                process["running"] or "-",
            ]
        )
    return aligned(rows)
