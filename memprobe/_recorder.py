"""The flight recorder: an observer beside the program, and how one is started."""

import atexit
import os
import sys

from memprobe import _memprobe
from memprobe._arguments import (
    SupportsFloat,
    SupportsIndex,
    checked_int,
    checked_path,
    checked_seconds,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

KEEP = 67_108_864

# What the observer is told by one number.
_WITH_PSS, _TEMPORARY, _UNLESS_OBSERVED = 1, 2, 4

_NO_BOUND, _MOST = -1, 2**63 - 1
_WINDOWS = os.name == "nt"
_PROGRAM = os.path.join(
    os.path.dirname(os.path.abspath(os.fsdecode(_memprobe.__file__))),
    "_observer.exe" if _WINDOWS else "_observer",
)
_PROGRAM_BYTES = os.fsencode(_PROGRAM)

# Bound here for what runs in a forked child, where a program may have replaced them.
_audit, _close, _getpid, _open, _readlink = (
    sys.audit,
    os.close,
    os.getpid,
    os.open,
    os.readlink,
)
_FOLDER_FLAGS = (
    os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
)

# What a daemon, which leaves its parent's session, records by: interval, bound.
_configured: tuple[float, int] = (1.0, KEEP)
_follows_process = False


def record(
    directory: str | os.PathLike[str],
    interval: SupportsFloat | SupportsIndex = 1.0,
    *,
    keep: SupportsIndex | None = KEEP,
) -> None:
    """Record this process and all its descendants into *directory*, from outside.

    An observer, a small program of its own, keeps a file of each process, which only
    its user may read and which outlives it, whatever ends it; ``memprobe show`` reads
    them. At least every *interval* seconds a sample is stored, and whenever RSS has
    moved by 1 %. Files of ended processes are removed, the oldest first, when the
    folder has more than *keep* bytes (None: never).

    Does nothing if this process is recorded into that directory already. Raises
    RuntimeError if it is recorded into another one, TypeError or ValueError for a wrong
    argument, OSError if the directory doesn't exist or can't be written to, or if the
    observer can't be started; then nothing is left behind.
    """
    global _configured
    # What a link leads to later doesn't matter.
    wanted = os.fsencode(os.path.realpath(checked_path(directory, "directory")))
    seconds = checked_seconds(interval, "interval")
    bound = _checked_keep(keep)
    recorded = _start_recorder(wanted, seconds, bound, _UNLESS_OBSERVED)
    if recorded != wanted:
        raise RuntimeError(
            f"this process is recorded into {os.fsdecode(recorded)!r}, so not into "
            f"{os.fsdecode(wanted)!r}"
        )
    _configured = seconds, bound
    _follow_process()


def stop_recording() -> None:
    """Stop the recorder: this process and its descendants are left to themselves.

    Raises OSError if something can't be written as it is called, since when the disk
    is full, for example, or if the observer doesn't answer within a tenth of a second.
    Does nothing if this process isn't recorded, or not by an observer of its own.
    """
    _memprobe._stop_recording()


def keep_copy(descriptor: int, name: str) -> None:
    """Let the observer keep a copy of shared memory in the folder, by that name.

    It is renewed each second and when the last process has ended. Raises OSError if
    this process isn't recorded by an observer of its own, or if it can't be copied.
    """
    _memprobe._ask_recorder(b"copy %d %s" % (descriptor, os.fsencode(name)))


class Observer:
    """An observer that this process has started for others.

    Its methods wait *seconds* for the answer, and raise OSError: TimeoutError without
    one, BrokenPipeError once it has ended.
    """

    def __init__(self, handle: object) -> None:
        self._handle = handle

    def look(self, seconds: float = 1.0) -> None:
        """Let it look at all now, and store that."""
        _memprobe._ask_observer(self._handle, b"look", seconds)

    def ended(self, pid: int, status: int, seconds: float = 1.0) -> None:
        """Tell how a child ended, by what waitpid() says; before it is reaped."""
        _memprobe._ask_observer(self._handle, b"ended %d %d" % (pid, status), seconds)

    def keep(self, seconds: float = 1.0) -> None:
        """Let the files of a temporary folder stay when this process has ended."""
        _memprobe._ask_observer(self._handle, b"keep", seconds)

    def stop(self, seconds: float = 1.0) -> None:
        """Let it look at all once more, store that, and end.

        Raises OSError if something can't be written as it is called.
        """
        _memprobe._ask_observer(self._handle, b"stop", seconds)


def start_observer(
    directory: int | str | os.PathLike[str],
    pids: "Iterable[int]",
    interval: float,
    *,
    keep: int | None,
    pss: bool = False,
    temporary: bool = False,
) -> Observer:
    """Start an observer of these processes, and of all their descendants.

    *directory* is a path or an open descriptor, *keep* as in record(). With *temporary*
    the observer removes the folder and ends when this process does. Raises OSError.
    """
    flags = (_WITH_PSS if pss else 0) | (_TEMPORARY if temporary else 0)
    bound = _checked_keep(keep)
    path = b"" if isinstance(directory, int) else os.fsencode(directory)
    folder = directory if isinstance(directory, int) else _open_folder(path)
    try:
        _audit("os.posix_spawn", _PROGRAM, ["_observer"], {})
        handle = _memprobe._start_observer(
            _PROGRAM_BYTES, folder, path, tuple(pids), interval, bound, flags
        )
    finally:
        if folder is not directory:
            _close_folder(folder)
    return Observer(handle)


def _open_folder(path: bytes) -> int:
    """Return a descriptor, by which the folder is held whatever its path leads to.

    Windows has none of folders, and lets nobody remove what is a program's current one.
    """
    if _WINDOWS:
        _audit("open", path, None, 0)
        return -1
    return _open(path, _FOLDER_FLAGS)  # which audits itself


def _close_folder(folder: int) -> None:
    if not _WINDOWS:
        _close(folder)


def _checked_keep(keep: SupportsIndex | None) -> int:
    return _NO_BOUND if keep is None else min(checked_int(keep, "keep"), _MOST)


def _start_recorder(directory: bytes, seconds: float, bound: int, flags: int) -> bytes:
    """Return the directory that is recorded into afterwards."""
    folder = _open_folder(directory)
    try:
        _audit("os.posix_spawn", _PROGRAM, ["_observer"], {})
        return _memprobe._record(
            _PROGRAM_BYTES, folder, directory, _own_number(), seconds, bound, flags
        )
    finally:
        _close_folder(folder)


def _own_number() -> int:
    """Return the number that the list of processes has for this one.

    In another PID namespace than that list's, os.getpid() is somebody else's.
    """
    try:
        return int(_readlink(b"/proc/self"))
    except (OSError, ValueError):
        return _getpid()


def _follow_process() -> None:
    """Let a daemon, which leaves the session, be the recorder of its own family."""
    global _follows_process
    if _follows_process:
        return
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_after_fork_in_child)
    atexit.register(_memprobe._last_look)  # which may find that nothing is recorded
    _follows_process = True


def _after_fork_in_child() -> None:
    if _memprobe._left_session():
        seconds, bound = _configured
        try:
            _start_recorder(_memprobe._recorded(), seconds, bound, 0)
        except OSError:
            return  # nobody is there to be told; `memprobe show` says since when
