"""For the scripts of the fault tests: what the preloaded lying_files.c tells."""

import contextlib
import ctypes


class _Lie(ctypes.Structure):
    _fields_ = [
        ("part", ctypes.c_char * 32),
        ("text", ctypes.c_char * 300),
        ("length", ctypes.c_long),
        ("read_errno", ctypes.c_int),
        ("open_errno", ctypes.c_int),
        ("times", ctypes.c_int),
        ("told", ctypes.c_int),
        ("foreign_reads", ctypes.c_int),
    ]


lie = _Lie.in_dll(ctypes.CDLL(None), "lie")


@contextlib.contextmanager
def lying(part="/statm", text=None, read=0, open=0, times=-1):
    """Let pread hand over *text* or fail with *read*, or open fail with *open*.

    For files of /proc whose path holds *part*; "/statm" is the process's alone, and
    "statm" that of the thread as well. The lie must have been told at least once.
    """
    lie.part = part.encode()
    lie.text = text or b""
    lie.length = -1 if text is None else len(text)
    lie.read_errno, lie.open_errno = read, open
    lie.times, lie.told = times, 0
    try:
        yield lie
    finally:
        lie.part = b""
    assert lie.told > 0, "nobody asked"
