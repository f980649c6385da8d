"""The one thing that psutil serves for."""

from os import getpid, readlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from psutil import Process
else:
    Process = object  # for who asks for types at run time

# By process number: a forked child finds its parent's here, not its own.
_processes: dict[int, Process] = {}


def ps() -> Process | None:
    """Return the ``psutil.Process`` of this process, None if psutil isn't installed.

    The same object each time; in a forked child a new one. psutil is imported at the
    first call, and nothing else in memprobe uses it. Raises OSError if /proc doesn't
    say which process this is, and what psutil raises.
    """
    try:
        import psutil
    except ImportError:
        return None
    # macOS and Windows have no such folder.
    number = _own_number(getattr(psutil, "PROCFS_PATH", None))
    process = _processes.get(number)
    if process is None:
        # setdefault: two threads that come here at once get the same object.
        process = _processes.setdefault(number, psutil.Process(number))
    return process


def _own_number(folder: str | None) -> int:
    """Return the number that this process has in that /proc, the one psutil reads.

    In a PID namespace that sees the /proc of another one, as after ``unshare -pf``,
    getpid() is there the number of somebody else.
    """
    if folder is None:
        return getpid()
    try:
        return int(readlink(f"{folder}/self"))
    except OSError:
        number = getpid()
        if number not in _processes:
            raise
        return number  # after a chroot: the object that there is already
