"""For the scripts of the fault tests: every way to fork, and a child that reports."""

import ctypes
import os
import platform
import signal
import sys
import traceback
import warnings

warnings.filterwarnings("ignore", ".* is multi-threaded", DeprecationWarning)

# PyDLL keeps the GIL: a child in which nobody holds it would wait for it for ever.
libc = ctypes.PyDLL(None, use_errno=True)

CLONE_FILES = 0x400
CLONE_NEWPID = 0x20000000

# (fork, clone, clone3) of the kernel's tables; not every machine has the first.
NUMBERS = {
    "x86_64": (57, 56, 435),
    "aarch64": (None, 220, 435),
    "riscv64": (None, 220, 435),
    "ppc64le": (2, 120, 435),
}
SYS_FORK, SYS_CLONE, SYS_CLONE3 = NUMBERS.get(platform.machine(), (None, None, None))


def checked(pid):
    if pid < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return pid


def syscall(*arguments):
    return checked(libc.syscall(*(ctypes.c_long(argument) for argument in arguments)))


def clone3():
    arguments = (ctypes.c_uint64 * 8)()
    arguments[4] = signal.SIGCHLD  # exit_signal; no flags, the stack stays
    return syscall(SYS_CLONE3, ctypes.addressof(arguments), ctypes.sizeof(arguments))


FORKS = {
    "os.fork": os.fork,
    "os.forkpty": lambda: os.forkpty()[0],
    "fork": lambda: checked(libc.fork()),
}
if hasattr(libc, "_Fork"):
    FORKS["_Fork"] = lambda: checked(libc._Fork())
if SYS_FORK is not None:
    FORKS["SYS_fork"] = lambda: syscall(SYS_FORK)
if SYS_CLONE is not None:
    FORKS["SYS_clone"] = lambda: syscall(SYS_CLONE, signal.SIGCHLD, 0, 0, 0, 0)
    FORKS["SYS_clone, descriptors shared"] = lambda: syscall(
        SYS_CLONE, signal.SIGCHLD | CLONE_FILES, 0, 0, 0, 0
    )
if SYS_CLONE3 is not None:
    FORKS["SYS_clone3"] = clone3


def start_child(work, fork=os.fork):
    """Fork a child that does the work and ends: with 0, or with 1 and a traceback."""
    pid = fork()
    if pid != 0:
        return pid
    signal.alarm(40)  # a child that hangs dies, and its status says so
    status = 1
    try:
        work()
        status = 0
    except BaseException:
        os.write(2, traceback.format_exc().encode())  # forkpty has taken stderr's place
    finally:
        sys.stdout.flush()
        os._exit(status)


def end_child(pid):
    status = os.waitpid(pid, 0)[1]
    assert status == 0, os.waitstatus_to_exitcode(status)


def in_child(work, fork=os.fork):
    end_child(start_child(work, fork))
