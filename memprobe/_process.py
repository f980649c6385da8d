"""The one thing that psutil serves for."""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import psutil

# By process number: a forked child finds its parent's here, not its own.
_processes: "dict[int, psutil.Process]" = {}


def ps() -> "psutil.Process | None":
    """Return the ``psutil.Process`` of this process, None if psutil isn't installed.

    The same object each time; in a forked child a new one. psutil is imported at the
    first call, and nothing else in memprobe uses it.
    """
    pid = os.getpid()
    process = _processes.get(pid)
    if process is None:
        try:
            import psutil
        except ImportError:
            return None
        # setdefault: two threads that come here at once get the same object.
        process = _processes.setdefault(pid, psutil.Process(pid))
    return process
