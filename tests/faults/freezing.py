"""For the scripts of the fault tests: a thread of this process that is frozen."""

import contextlib
import ctypes
import os

PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207
WALL = 0x40000000
PR_SET_PTRACER, ANY = 0x59616D61, ctypes.c_ulong(-1)

libc = ctypes.PyDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long] * 4


def other_threads():
    return [int(t) for t in os.listdir("/proc/self/task") if int(t) != os.getpid()]


@contextlib.contextmanager
def frozen(thread):
    """The thread stands still meanwhile, as in a debugger; nothing else does."""
    libc.prctl(PR_SET_PTRACER, ANY, 0, 0, 0)
    frozen_now, tell = os.pipe()
    until, thaw = os.pipe()
    # Not by os.fork(), which would pause the thread.
    pid = libc.fork()
    if pid == 0:
        os.close(thaw)
        seized = libc.ptrace(PTRACE_SEIZE, thread, 0, 0) == 0
        if seized and libc.ptrace(PTRACE_INTERRUPT, thread, 0, 0) == 0:
            os.waitpid(thread, WALL)
            os.write(tell, b"!")
        os.close(tell)
        os.read(until, 1)
        os._exit(0)
    os.close(tell)
    os.close(until)
    try:
        if os.read(frozen_now, 1) != b"!":
            raise PermissionError("no thread can be traced here")
        yield
    finally:
        os.close(thaw)  # the tracer ends, and its tracee goes on
        os.waitpid(pid, 0)
        os.close(frozen_now)
