"""What runs now: processes by name, and whether one can be watched."""

from __future__ import annotations

import os

from memprobe._text import words_of


def pids_of(name: str) -> list[int]:
    """Return the programs of that name, but for those that descend from one of them.

    The name is that of the command, or of the script or module that an interpreter
    runs. Raises OSError where /proc doesn't tell.
    """
    parents = {}
    named = set()
    for pid in [int(entry) for entry in os.listdir("/proc") if entry.isdecimal()]:
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                before, _, after = file.read().rpartition(b")")
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                argv = [os.fsdecode(word) for word in file.read().split(b"\0")[:-1]]
        except OSError:
            continue  # ended since, or not ours to see
        parents[pid] = int(after.split()[1])
        short = os.fsdecode(before.partition(b"(")[2])
        words = words_of(argv) or [""]
        if name in {short, words[0].strip("()[]:")} and pid != os.getpid():
            named.add(pid)
    return sorted(pid for pid in named if not named & _ancestors(pid, parents))


def _ancestors(pid: int, parents: dict[int, int]) -> set[int]:
    found: set[int] = set()
    while (pid := parents.get(pid, 0)) and pid not in found:
        found.add(pid)
    return found


def whats_wrong(pid: int) -> str:
    """Return why this number can't be watched, "" if it can."""
    if not os.path.exists("/proc/self/status"):
        return ""  # the observer will know
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            status = dict(
                line.split(b":", 1) for line in file.read().splitlines() if b":" in line
            )
    except OSError:
        return f"{pid}: {_why_unseen(pid)}"
    group = int(status[b"Tgid"])
    if group != pid:
        return f"{pid}: a thread; its process is {group}"
    if status[b"State"].split()[0] in {b"Z", b"X"}:
        return f"{pid}: it has ended, and its parent hasn't asked for that yet"
    return ""


def _why_unseen(pid: int) -> str:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return "there is no such process here"
    except OSError:
        pass
    return "another user's, and /proc is mounted so that it can't be seen"
