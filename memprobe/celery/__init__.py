"""Celery: what each process of a worker's pool holds, and which task makes it grow.

import memprobe.celery

app = Celery(...)
memprobe.celery.install(app)

Afterwards ``celery -A app inspect memprobe`` answers from every node.
"""

from __future__ import annotations

import os

from celery import Celery, signals
from celery.worker.control import inspect_command

from memprobe._arguments import checked_int, checked_path, checked_seconds
from memprobe._recorder import KEEP
from memprobe.celery import _answer
from memprobe.celery._processes import (
    Installed,
    in_beat,
    in_child,
    in_embedded_beat,
    in_worker,
    installed,
)
from memprobe.celery._runs import after_task, before_task
from memprobe.celery._tables import slots, tables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, SupportsFloat, SupportsIndex


def install(
    app: Celery,
    directory: str | os.PathLike[str] | None = None,
    interval: SupportsFloat | SupportsIndex = 1.0,
    *,
    keep: SupportsIndex | None = KEEP,
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
      growth of each process. ``inspect memprobe bytes`` answers with plain numbers,
      ``inspect memprobe why`` with where each process has grown: see ``breakdown()``.
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
    installed[:] = [it for it in installed if it.app is not app]
    installed.append(Installed(app, path, seconds, wanted, recycle))
    for sent, receiver in (
        (signals.worker_init, in_worker),
        (signals.worker_process_init, in_child),
        (signals.beat_init, in_beat),
        (signals.beat_embedded_init, in_embedded_beat),
        (signals.task_prerun, before_task),
        (signals.task_postrun, after_task),
    ):
        # By its name, so that it is connected once for all apps.
        name = f"{__name__}.{receiver.__name__}"
        sent.disconnect(dispatch_uid=name)
        sent.connect(receiver, weak=False, dispatch_uid=name)
    inspect_command(
        name="memprobe", args=[("form", str)], signature="[table|bytes|why]"
    )(_inspect_memprobe)
    inspect_command(name="memsample")(_answer.memsample)
    inspect_command(name="memdump", args=[("samples", int)], signature="[samples=10]")(
        _answer.dump
    )


def _inspect_memprobe(state: Any, form: str = "table", **_: object) -> Any:
    """Show which tasks make the pool grow, and RSS."""
    if form not in ("table", "bytes", "why"):
        return {"error": f"form must be table, bytes or why, not {form!r}"}
    node = state.consumer.hostname
    if node not in tables or node not in slots:
        return {"error": "memprobe.celery.install() was not called for this app"}
    return _answer.answer(state, tables[node], slots[node], form)
