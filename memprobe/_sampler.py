"""The sampler, for Python: with it, os.fork() and the end of the interpreter work."""

import atexit
import os

from memprobe import _memprobe
from memprobe._arguments import SupportsFloat, SupportsIndex

_pauses_around_forks = False

# Under `memprobe run` there is always a sampler, which the program doesn't know of.
# What it starts itself takes that one's place, and what it stops gives the place back.
_interval_throughout: SupportsFloat | SupportsIndex | None = None
_program_samples = False

# Under `memprobe run --record`, and in what the program starts: what samples or records
# itself finds it done already.
recorded_throughout = False


def start_sampling(interval: SupportsFloat | SupportsIndex = 0.01) -> None:
    """Start a thread that stores a sample every *interval* seconds, the first at once.

    The thread is native and never takes the GIL: it sees a peak inside one long C call.
    ``os.fork()`` goes on without a warning; the child starts without a sampler.

    Raises RuntimeError if the sampler runs already, TypeError or ValueError for a wrong
    interval, OSError if no thread can be started.
    """
    global _program_samples
    if recorded_throughout:
        return
    if _interval_throughout is None or _program_samples:
        _start(interval)
        return
    _memprobe._stop_sampling()
    try:
        _start(interval)
        _program_samples = True
    except BaseException:
        _start(_interval_throughout)
        raise


def _start(interval: SupportsFloat | SupportsIndex) -> None:
    pause_around_forks()
    _memprobe._start_sampling(interval)
    atexit.register(_memprobe._stop_sampling)


def stop_sampling() -> None:
    """Stop the sampler, at once however long its interval.

    Does nothing if none runs, or if it is the recorder's.
    """
    global _program_samples
    if _interval_throughout is not None and not _program_samples:
        return
    _memprobe._stop_sampling()
    atexit.unregister(_memprobe._stop_sampling)
    _program_samples = False
    if _interval_throughout is not None:
        _start(_interval_throughout)


def sample_throughout(interval: SupportsFloat | SupportsIndex) -> None:
    """Start the sampler of `memprobe run`."""
    global _interval_throughout
    if recorded_throughout:
        return
    _start(interval)
    _interval_throughout = interval
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_forget_throughout)


def _forget_throughout() -> None:
    global _interval_throughout, _program_samples
    _interval_throughout, _program_samples = None, False


class sampling:
    """Run the sampler while a ``with`` block runs.

    start_sampling() before it and stop_sampling() after it; raises what they raise.
    """

    def __init__(self, interval: SupportsFloat | SupportsIndex = 0.01) -> None:
        self._interval = interval

    def __enter__(self) -> None:
        start_sampling(self._interval)

    def __exit__(self, *error: object) -> None:
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
