"""Runs of tasks: where they begin, how they end, and why."""

from __future__ import annotations

import os
import signal
import sys

from celery.worker import request as worker_request
from celery.worker import state as worker_state

from memprobe._memprobe import peak_rss, rss, sample_mem
from memprobe._task_table import EXITED, LOST, REVOKED, TERMINATED, TIME_LIMIT
from memprobe.celery import _where
from memprobe.celery._tables import slots, tables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from memprobe._task_table import Slot

# Signals whose handlers raise in the middle of anything: time limits, termination.
_RAISING = (
    {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGHUP}
    if hasattr(signal, "pthread_sigmask")
    else set()
)


def _undisturbed(work: Callable[[], object]) -> None:
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


def _slot_of(task: Any) -> Slot | None:
    """Return this process's slot; None in one that was forked by a task, say."""
    if not slots:
        return None
    slot = slots.get(task.request.hostname) or next(iter(slots.values()))
    return slot if slot.pid == os.getpid() else None


def before_task(task: Any, task_id: str, **_: object) -> None:
    slot = _slot_of(task)
    if slot is None:
        return
    inside = bool(task.request.is_eager)

    def begin() -> None:
        sample_mem()
        # The request is this run's own, also with threads and with tasks in tasks.
        task.request.memprobe_run = slot.begin(task.name, task_id, rss(), inside=inside)

    _undisturbed(begin)


def after_task(task: Any, task_id: str, state: str | None = None, **_: object) -> None:
    slot = _slot_of(task)
    if slot is None:
        return
    end = _end_by(sys.exc_info()[1]) if state is None else None
    run = getattr(task.request, "memprobe_run", None)
    inside = bool(task.request.is_eager)

    def count() -> None:
        sample_mem()
        now = rss()
        # An exception may have come before before_task() could do anything.
        begun = run or slot.begin(task.name, task_id, now, inside=inside)
        slot.end(begun, now, peak_rss(), end)
        _where.note(slot, task.name)

    _undisturbed(count)


def _end_by(error: BaseException | None) -> str | None:
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


def hear_why() -> None:
    """Let the parent note why it ends a child, which sees but the same signal."""

    def noting(name: str, end: str, counts: Callable[..., bool]) -> None:
        method = getattr(worker_request.Request, name, None)
        if method is None or hasattr(method, "memprobe_noted"):
            return

        def noted(request: Any, *arguments: Any, **named: Any) -> Any:
            if request.worker_pid and counts(*arguments, **named):
                for table in tables.values():
                    table.note_why(request.worker_pid, request.id, end)
            return method(request, *arguments, **named)

        noted.memprobe_noted = True  # type: ignore[attr-defined]
        setattr(worker_request.Request, name, noted)

    def is_hard(soft: bool = False, timeout: float = 0) -> bool:
        return not soft and not worker_state.should_terminate

    noting("on_timeout", TIME_LIMIT, is_hard)
    noting("terminate", REVOKED, lambda *_, **__: True)
    noting("cancel", LOST, lambda *_, **__: True)
