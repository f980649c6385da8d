"""The sampler, for Python: with it, os.fork() and the end of the interpreter work."""

import atexit
import os

from memprobe import _memprobe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import SupportsFloat, SupportsIndex

_pauses_around_forks = False


def start_sampling(interval: "SupportsFloat | SupportsIndex" = 0.01) -> None:
    """Start a thread that stores a sample every *interval* seconds, the first at once.

    The thread is native and never takes the GIL: it sees a peak inside one long C call.
    ``os.fork()`` goes on without a warning; the child starts without a sampler.

    Raises RuntimeError if the sampler runs already, TypeError or ValueError for a wrong
    interval, OSError if no thread can be started.
    """
    pause_around_forks()
    _memprobe._start_sampling(interval)
    atexit.register(_memprobe._stop_sampling)


def stop_sampling() -> None:
    """Stop the sampler, at once however long its interval.

    Does nothing if none runs.
    """
    _memprobe._stop_sampling()
    atexit.unregister(_memprobe._stop_sampling)


class sampling:
    """Run the sampler while a ``with`` block runs.

    start_sampling() before it and stop_sampling() after it; raises what they raise.
    """

    def __init__(self, interval: "SupportsFloat | SupportsIndex" = 0.01) -> None:
        self._interval = interval

    def __enter__(self) -> None:
        start_sampling(self._interval)

    def __exit__(
        self,
        kind: "type[BaseException] | None",
        error: "BaseException | None",
        traceback: "TracebackType | None",
    ) -> None:
        stop_sampling()


def pause_around_forks() -> None:
    """Let the sampler, if one runs, pause during each os.fork() from now on."""
    global _pauses_around_forks
    if _pauses_around_forks or not hasattr(os, "register_at_fork"):
        return
    import threading  # which importing memprobe doesn't need

    def before_fork() -> None:
        in_main_thread = threading.get_ident() == threading.main_thread().ident
        _memprobe._before_fork(in_main_thread)

    os.register_at_fork(
        before=before_fork, after_in_parent=_memprobe._after_fork_in_parent
    )
    _pauses_around_forks = True
