"""For the scripts of the fault tests: what the preloaded refused_calls.c refuses."""

import contextlib
import ctypes

_NAMES = ("clock", "getrusage", "sysconf", "madvise", "atfork", "lseek")


class _Refuse(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in _NAMES]


refuse = _Refuse.in_dll(ctypes.CDLL(None), "refuse")


@contextlib.contextmanager
def refused(**errnos):
    """Let these calls fail with these errnos."""
    for name, errno in errnos.items():
        setattr(refuse, name, errno)
    try:
        yield
    finally:
        for name in errnos:
            setattr(refuse, name, 0)
