"""Where a process's RSS has grown, as it said itself after its last task.

Nobody waits for a busy child: it says so when it has the time, and the answer how old
that is. It costs nothing before somebody has asked, and then 1 % of the time at most.
"""

from __future__ import annotations

import math
import time

from memprobe._breakdown import breakdown
from memprobe.celery._tables import tables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from memprobe._breakdown import Breakdown
    from memprobe._task_table import Slot, Table

_SHARE = 0.01  # of the time

# Of this process, for it has one RSS, whatever number of workers are in it.
_first: Breakdown | None = None
_first_time = _due = 0.0


def note(slot: Slot, task: str) -> None:
    """Note where RSS has grown since the first time, if somebody has asked."""
    global _first, _first_time, _due
    began = time.monotonic()
    if began < _due or not any(table.is_asked for table in tables.values()):
        return
    _due = math.inf  # for the other threads of a pool of threads
    try:
        now = breakdown(count=True)
        sentence = now.since(_first).sentence if _first is not None else ""
    except OSError as error:
        sentence = f"not known: {error}"
    else:
        if _first is None:
            _first, _first_time = now, time.time()
    finally:
        _due = began + (time.monotonic() - began) / _SHARE
    said = time.time()
    slot.note_where(said, _first_time or said, task, sentence)


def answer(table: Table, pids: Iterable[int]) -> str:
    """Return what these processes have said, a paragraph each."""
    table.ask()
    slots = {slot.pid: slot for slot in table.slots()}
    roles = {pid: role for (pid, _), role in table.roles().items()}
    lines = []
    for pid in pids:
        slot = slots.get(pid)
        said = slot.where if slot is not None else None
        name = f"{roles.get(pid) or 'child'} {pid}"
        if said is None:
            lines.append(f"{name}: asked now, it says so after its next tasks")
            continue
        at, since, task, sentence = said
        age = f"{name}, {max(time.time() - at, 0):.0f} s ago, after {task}:"
        if sentence:
            lines += [f"{age} in {at - since:.0f} s,", f"  {sentence}"]
        else:
            lines.append(f"{age} its first look, growth is told from the next one on")
    return "\n".join(lines)
