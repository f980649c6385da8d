"""What begins with a worker, with a child of its pool, and with beat."""

from __future__ import annotations

import os
import platform
import re

from billiard import current_process
from celery import Celery, signals
from celery.utils.log import get_logger

from memprobe._memprobe import rss
from memprobe._recorder import record
from memprobe.celery import _recycle
from memprobe.celery._runs import hear_why
from memprobe.celery._tables import (
    find_tables,
    keep_in,
    make_table,
    slots,
    tables,
    take_slot,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

logger = get_logger("memprobe.celery")

# A pool may be told to grow while it runs.
_SPARE_SLOTS = 32


class Installed:
    """What install() was told for an app."""

    def __init__(
        self,
        app: Celery,
        directory: str | None,
        interval: float,
        keep: int | None,
        recycle: str,
    ) -> None:
        self.app, self.directory, self.interval = app, directory, interval
        self.keep, self.recycle = keep, recycle

    def record(self, node: str, log: Callable[..., None]) -> None:
        """Record this process, and keep a copy of that table."""
        if self.directory is None:
            return
        try:
            record(self.directory, self.interval, keep=self.keep)
        except (OSError, ValueError, RuntimeError) as error:
            log("memprobe can't record: %s", error)
            return
        try:
            keep_in(self.directory, node)
        except OSError as error:
            log("memprobe can't keep the table of tasks: %s", error)


installed: list[Installed] = []


def _of(app: object) -> Installed | None:
    return next((it for it in installed if it.app == app), None)


def _log_when_ready(message: str, *arguments: object) -> None:
    # The worker sets up its log after worker_init, and drops what comes before.
    def when_ready(**_: object) -> None:
        logger.error(message, *arguments)

    signals.worker_ready.connect(when_ready, weak=False)


def in_worker(sender: Any, **_: object) -> None:
    found = _of(sender.app)
    if found is None:
        return
    node = sender.hostname
    table = make_table(
        node,
        # Before Celery 5.7 there was but one.
        getattr(sender, "pool_start_method", "fork"),
        1 + _most_children(sender) + _SPARE_SLOTS,
        copied=found.directory is not None,
    )
    limit = int(getattr(sender, "max_memory_per_child", None) or 0) * 1024
    table.describe(node, limit)
    tables[node] = table
    found.record(node, _log_when_ready)
    take_slot(node, 0)
    hear_why()
    if found.recycle == "rss" and not _recycle.use_rss():
        _log_when_ready(
            "memprobe doesn't find where this billiard reads a child's memory: "
            "worker_max_memory_per_child goes on meaning the peak"
        )


def in_child(sender: str | None = None, **_: object) -> None:
    if any(slot.pid == os.getpid() for slot in slots.values()):
        return  # the pool without processes sends this signal too
    slots.clear()
    if not tables:  # it was spawned
        find_tables()
        if any(it.recycle == "rss" for it in installed):
            _recycle.use_rss()
    node = sender
    if node is None and len(tables) == 1:
        (node,) = tables  # before Celery 5.7 nobody says whose child it is
    if node is None or node not in tables:
        return
    is_first = take_slot(node, 1 + getattr(current_process(), "index", -1))
    limit, grown = tables[node].limit, rss()
    if 0 < limit < grown:
        means_rss = _recycle.exempt()
        if is_first:
            logger.warning(
                "worker_max_memory_per_child is %d KB, and a child begins with %d KB: "
                + ("it is passed over" if means_rss else "each ends after one task"),
                limit // 1024,
                grown // 1024,
            )


def in_beat(sender: Any, **_: object) -> None:
    found = _of(sender.app)
    if found is None or found.directory is None or tables:
        return  # a worker's own beat is one of its processes
    node = f"beat@{platform.node()}"
    table = make_table(node, "fork", 1, copied=True)
    table.describe("beat", 0)
    table.note_role("beat")
    found.record(node, logger.error)


def in_embedded_beat(**_: object) -> None:
    for table in tables.values():
        table.note_role("Beat")


def _most_children(sender: Any) -> int:
    """Return how many children a worker may have, before it is told otherwise."""
    told = f"{sender.concurrency} {sender.options.get('autoscale')}"
    return max(os.cpu_count() or 1, *map(int, re.findall(r"[0-9]+", told)), 1)
