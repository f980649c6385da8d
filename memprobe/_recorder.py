"""The flight recorder: the ring in a mapped file, which outlives the process."""

import atexit
import operator
import os
import sys

from memprobe import _memprobe, _sampler
from memprobe._arguments import SupportsFloat, SupportsIndex

_directory = ""
_keep: "int | None" = None
_follows_forks = False


def record(
    directory: "str | os.PathLike[str]",
    interval: "SupportsFloat | SupportsIndex" = 1.0,
    *,
    keep: "SupportsIndex | None" = None,
) -> None:
    """Keep the ring in a file in *directory*; store a sample every *interval* seconds.

    The file, ``<pid>-<microseconds since 1970>.memprobe``, outlives the process,
    whatever ends that; ``python -m memprobe show`` reads it. Only its owner may read
    it. Samples that the ring holds move along, a running sampler is taken over. A
    forked child gets a file of its own, one interval after the fork. *keep* removes
    files of processes that have ended, but for so many of the newest.

    Raises RuntimeError if the recorder runs already, TypeError or ValueError for a
    wrong argument, OSError if *directory* doesn't exist, can't be written or is full.
    """
    global _directory, _keep
    try:
        path = os.path.abspath(os.fsdecode(directory))
    except TypeError:
        message = f"directory must be a path, not {directory!r}"
        raise TypeError(message) from None
    if "\0" in path:
        raise ValueError(f"directory must be without NUL, not {directory!r}")
    wanted = None if keep is None else _checked_keep(keep)
    if _sampler.recorded_throughout:
        return
    _follow_forks()
    argv = b"".join(os.fsencode(argument) + b"\0" for argument in sys.orig_argv)
    limit = memory_limit() or 0
    _memprobe._record(os.fsencode(path), interval, argv, limit)
    _directory, _keep = path, wanted
    atexit.register(_memprobe._stop_recording)
    _remove_old()


def stop_recording() -> None:
    """Stop the recorder and its sampler, and mark the file as that of a clean exit.

    The samples stay in the ring too. The end of the interpreter does the same. Does
    nothing if nothing is recorded.
    """
    if _sampler.recorded_throughout:
        return
    _memprobe._stop_recording()
    atexit.unregister(_memprobe._stop_recording)


def record_throughout(directory: str, interval: float) -> None:
    """Start the recorder of `memprobe run --record`, which the program can't stop."""
    record(directory, interval)
    _sampler.recorded_throughout = True


def record_what_it_starts(directory: str, interval: float) -> None:
    """Let Python programs that this process starts be recorded too.

    _startup/sitecustomize.py does that, if the environment is passed on to them.
    """
    startup = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_startup")
    paths = [startup, *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    os.environ["MEMPROBE_RECORD"] = os.path.abspath(directory)
    os.environ["MEMPROBE_RECORD_INTERVAL"] = str(interval)


def memory_limit() -> "int | None":
    """Return the least memory limit of this process's cgroups in bytes, or None."""
    try:
        with open("/proc/self/cgroup") as file:
            lines = file.read().splitlines()
    except OSError:
        return None
    limits = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, name = "/sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            root, name = "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        folder = root + path.rstrip("/")
        # Each cgroup above may have a lower limit. In a container the path may be that
        # of the host: what can't be read is passed over.
        while len(folder) >= len(root):
            try:
                with open(f"{folder}/{name}") as file:
                    limits.append(int(file.read()))
            except (OSError, ValueError):
                pass
            folder = os.path.dirname(folder)
    least = min(limits, default=None)
    # Version 1 says "no limit" by a number near 2**63.
    return None if least is None or least >= 2**60 else least


def _checked_keep(keep: "SupportsIndex") -> int:
    try:
        wanted = operator.index(keep)
    except TypeError:
        raise TypeError(f"keep must be an int, not {keep!r}") from None
    if wanted < 0:
        raise ValueError(f"keep must be 0 or more, not {keep!r}")
    return wanted


def _follow_forks() -> None:
    """Let forked children be recorded from now on, if their parent is."""
    global _follows_forks
    if _follows_forks or not hasattr(os, "register_at_fork"):
        return
    from multiprocessing import util

    def after_fork_in_child() -> None:
        _memprobe._after_fork_in_child()
        _remove_old()

    def mark_the_end(_: object) -> None:
        # Children of multiprocessing, and of Celery's billiard, end without atexit.
        util.Finalize(None, _memprobe._stop_recording, exitpriority=0)

    os.register_at_fork(after_in_child=after_fork_in_child)
    util.register_after_fork(record, mark_the_end)
    _follows_forks = True


def _remove_old() -> None:
    """Remove the oldest files of processes that have ended, as *keep* says."""
    if _keep is None:
        return
    import contextlib

    from memprobe._record import NotARecord, has_ended, names

    ended = []
    for name in names(_directory):
        path = os.path.join(_directory, name)
        # What can't be read, or is no record, isn't ours to remove.
        with contextlib.suppress(OSError, NotARecord):
            if has_ended(path):
                ended.append(path)
    for path in ended[: max(0, len(ended) - _keep)]:
        with contextlib.suppress(OSError):  # another recorded process was faster
            os.unlink(path)
