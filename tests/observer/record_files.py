"""Files as the observer writes them, of given samples: what readers are tested with.

    record_files.write(folder, [(0, 50 << 20), (1, 51 << 20)], pid=7, state="exited")

The fixture `record_files` is this module. The layout stands in src/record_file.h, and
is written down here once more on purpose: it is held against memprobe's reader.
"""

import os
import statistics
import struct
import sys
import time
from pathlib import Path

BLOCK = 4096
SAMPLES = 300
UNKNOWN = 2**64 - 1
UNKNOWN_32 = 2**32 - 1
STATES = {"running": 0, "exited": 1, "died": 2, "ended": 3}
CAUSES = {None: 0, "out of memory": 1}


def checksum(raw):
    return int.from_bytes(raw, "big") % (2**64 - 59)


def sealed(raw, at=0):
    """Return a block, or part of one, with its checksum at *at*."""
    return raw[:at] + struct.pack("<Q", checksum(raw[at + 8 :])) + raw[at + 8 :]


def known(value):
    return UNKNOWN if value is None else value


def head(
    *,
    pid=4242,
    start=1234567,
    clock=100.0,
    started=None,
    pid_namespace=None,
    page_bytes=4096,
    boot=None,
    host=None,
    command=("python", "app.py"),
    version=2,
    **changing,
):
    """Return the first block. *clock* is when the process started on the monotonic one,
    *started* the same since 1970."""
    started = time.time() if started is None else started
    boot = this_boot() if boot is None else boot
    host = os.uname().nodename if host is None and os.name != "nt" else host or ""
    namespace = this_pid_namespace() if pid_namespace is None else pid_namespace
    argv = b"".join(os.fsencode(word) + b"\0" for word in command)[:1864]
    numbers = struct.pack(
        "<QQqqQQ40s64sII",
        *(pid, start, int(clock * 1e9), int(started * 1e9), namespace, page_bytes),
        *(boot.encode(), host.encode(), len(argv), 0),
    )
    fixed = (numbers + argv).ljust(2048 - 24, b"\0")
    raw = struct.pack("<8sIIQ", b"memprobe", version, 0, checksum(fixed)) + fixed
    return raw + head_part(number=1, **changing) + bytes(1024)


def head_part(
    *, number, parent=1, recorder=1, interval=1.0, uid=0, user="root", title=None
):
    """Return what of the head may change: a quarter of it."""
    words = title.split("\0") if isinstance(title, str) else title or []
    text = b"".join(os.fsencode(word) + b"\0" for word in words)[:936]
    raw = struct.pack(
        "<QQQQQII40s936s",
        *(0, number, known(parent), recorder, int(interval * 1e9)),
        *(UNKNOWN_32 if uid is None else uid, len(text), user.encode(), text),
    )
    return sealed(raw)


def block(
    samples,
    *,
    number,
    before=(),
    first=None,
    level=0,
    clock=100.0,
    started=0.0,
    page_bytes=4096,
    state="running",
    status=None,
    cause=None,
    written=None,
    wall=None,
    peak=None,
    swap=0,
    pss=None,
    uss=None,
    cgroup_memory=None,
    memory_limit=None,
    oom_kills=None,
    short_lived=None,
    short_lived_peak=None,
    missed=None,
):
    """Return a data block of (seconds since the start, RSS, shared or None).

    *before* are the samples of all earlier blocks, which the totals include.
    """
    samples = [(*sample, None)[:3] for sample in samples]
    everything = [(*sample, None)[:3] for sample in before] + samples
    pages = [rss // page_bytes for _, rss, _ in samples]
    all_pages = [rss // page_bytes for _, rss, _ in everything]
    ns = [int((clock + seconds) * 1e9) for seconds, _, _ in samples]
    scale = max(0, (ns[-1] - ns[0]).bit_length() - 32)
    times = [(t - ns[0]) >> scale for t in ns]
    first = len(before) if first is None else first
    last = first + (len(samples) << level) - 1
    low, high = min(pages), max(pages)
    quarters = [(0, UNKNOWN_32)] * 4
    if len(samples) == SAMPLES:
        quarters = [
            (int(statistics.median(t)), int(statistics.median(p)))
            for t, p in (
                (times[i : i + 75], pages[i : i + 75]) for i in range(0, 300, 75)
            )
        ]
    end = everything[-1][0]
    written = end if written is None else written
    wall = started + written if wall is None else wall
    shared = samples[-1][2]
    total = sum(all_pages)
    kept = b"".join(
        struct.pack(
            "<III",
            *(time_, min(page, UNKNOWN_32)),
            UNKNOWN_32 if shared is None else shared // page_bytes,
        )
        for time_, page, (_, _, shared) in zip(times, pages, samples, strict=True)
    )
    raw = struct.pack(
        "<QQQQQIIQQIIqII8I",
        *(0, checksum(kept), first, last, number, level, len(samples), low, high),
        *(times[pages.index(low)], times[pages.index(high)], ns[0], scale, 0),
        *(number for quarter in quarters for number in quarter),
    )
    raw += struct.pack(
        "<7Qqq",
        *(total % 2**64, total >> 64, min(all_pages), max(all_pages)),
        *(all_pages[0], all_pages[-1]),
        UNKNOWN if shared is None else shared // page_bytes,
        int((clock + everything[0][0]) * 1e9),
        ns[-1],
    )
    raw += struct.pack(
        "<qq11QII192x",
        *(int((clock + written) * 1e9), int(wall * 1e9)),
        max(rss for _, rss, _ in everything) if peak is None else peak,
        *map(known, (swap, pss, uss, cgroup_memory, memory_limit, oom_kills, status)),
        *map(known, (short_lived, short_lived_peak, missed)),
        *(STATES[state], CAUSES[cause]),
    )
    return (sealed(raw) + kept).ljust(BLOCK, b"\0")


HEAD_FACTS = (
    "start pid_namespace boot host command version parent recorder interval uid user "
    "title"
).split()


def write(folder, samples, *, pid=4242, clock=100.0, started=None, **facts):
    """Write a file into *folder* and return its path.

    *samples* are (seconds since the process started, RSS, shared part) in bytes, oldest
    first; the third may be missing. *started* is the date of the start; all other facts
    are those of head() and block(), memory in bytes, None where not known. state is
    "exited" with status 0 if nothing is said. At most 76 500 samples: none are merged.
    """
    if started is None:
        started = time.time() - (samples[-1][0] if samples else 0)
    facts.setdefault("state", "exited")
    facts.setdefault("status", 0 if facts["state"] == "exited" else None)
    page_bytes = facts.pop("page_bytes", 4096)
    heads = {name: facts.pop(name) for name in HEAD_FACTS if name in facts}
    heads = {"start": 1234567, "boot": this_boot(), **heads}
    shared = {"clock": clock, "started": started, "page_bytes": page_bytes}
    raw = [head(pid=pid, **shared, **heads)]
    for number, at in enumerate(range(0, len(samples), SAMPLES), 1):
        part = samples[at : at + SAMPLES]
        raw.append(block(part, number=number, before=samples[:at], **shared, **facts))
    name = f"{pid}-{heads['start']}-{heads['boot'][:8] or '00000000'}.memprobe"
    path = Path(folder) / name
    path.write_bytes(b"".join(raw))
    return path


def hold(path):
    """Hold a file as an observer does; close what this returns to let it go."""
    import fcntl

    file = open(path, "r+b")  # noqa: SIM115
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return file


def this_boot():
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def this_pid_namespace():
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return UNKNOWN


def this_start(pid="self"):
    """Return the start time of a process, as the file's name has it."""
    if sys.platform != "linux":
        return 1234567
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])
