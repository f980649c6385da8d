"""The sampler, for Python: with it, os.fork() and the end of the interpreter work."""

import atexit
import os
import sys

from memprobe import _memprobe
from memprobe._arguments import SupportsFloat, SupportsIndex

# From 3.12 on os.fork() warns of threads. Those of 3.13 and 3.14 counted them at first
# after the hooks in the parent (gh-137109).
_COUNTS_LATE = (3, 13) <= sys.version_info < (3, 13, 10) or (
    (3, 14) <= sys.version_info < (3, 14, 1)
)

# At import, as a fork is made by any interpreter, whichever one uses the thread.
if sys.version_info >= (3, 12) and hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_memprobe._before_fork,
        after_in_parent=(
            _memprobe._after_fork_later if _COUNTS_LATE else _memprobe._after_fork
        ),
    )
atexit.register(_memprobe._end)


def start_sampling(interval: SupportsFloat | SupportsIndex = 0.01) -> None:
    """Start a thread that stores a sample every *interval* seconds, the first at once.

    The thread is native and never takes the GIL: it sees a peak inside one long C call.
    ``os.fork()`` goes on without a warning; the child starts without a sampler. A
    reading that fails is tried again at the next interval: see stop_sampling().

    Does nothing if the sampler runs already with this interval. Raises RuntimeError if
    it runs with another, TypeError or ValueError for a wrong interval, OSError if no
    thread can be started.
    """
    _memprobe._start_sampling(interval)


def stop_sampling() -> None:
    """Stop the sampler, at once however long its interval.

    Does nothing if none runs. Raises OSError if samples that were due haven't come
    until now: why the readings fail, or why there is no thread to make them. It is
    stopped then, too.
    """
    _memprobe._stop_sampling()


class sampling:
    """Run the sampler while a ``with`` block runs.

    start_sampling() before it and stop_sampling() after it; raises what they raise,
    but for an error of the sampler's at the end of a block that has raised one itself.
    """

    def __init__(self, interval: SupportsFloat | SupportsIndex = 0.01) -> None:
        self._interval = interval

    def __enter__(self) -> None:
        start_sampling(self._interval)

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        try:
            stop_sampling()
        except OSError:
            if error is None:
                raise
