"""For the scripts of the fault tests: seccomp filters that deny some system calls."""

import ctypes
import errno
import platform
import struct

libc = ctypes.CDLL(None, use_errno=True)

# (AUDIT_ARCH, numbers): of the calls that open, and of those that look at a descriptor.
MACHINES = {
    "x86_64": (
        0xC000003E,
        {"open": (2, 257, 437), "fstat": (5, 262, 332), "execve": (59, 322)},
    ),
    "aarch64": (
        0xC00000B7,
        {"open": (56, 437), "fstat": (80, 79, 291), "execve": (221, 281)},
    ),
}
KNOWN = platform.machine() in MACHINES

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
NUMBER_AT, ARCH_AT = 0, 4


def deny(what, number=errno.EPERM):
    """From here on these system calls of the calling thread fail with that errno."""
    arch, numbers = MACHINES[platform.machine()]
    denied = numbers[what]
    program = [
        (LOAD, 0, 0, ARCH_AT),
        (JUMP_IF_EQUAL, 1, 0, arch),
        (RETURN, 0, 0, ALLOW),
    ]
    program.append((LOAD, 0, 0, NUMBER_AT))
    for i, call in enumerate(denied):
        program.append((JUMP_IF_EQUAL, len(denied) - i, 0, call))
    program += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, ERRNO | number)]
    code = b"".join(struct.pack("HBBI", *line) for line in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    header = ctypes.create_string_buffer(
        struct.pack("HxxxxxxP", len(program), ctypes.addressof(buffer))
    )
    no_new = libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if no_new != 0 or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0):
        raise OSError(ctypes.get_errno(), "no seccomp filter")
