"""For the scripts of the fault tests: mounts that no other process sees."""

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS = 0x20000
CLONE_NEWPID = 0x20000000
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 0x20, 0x1000, 0x4000, 0x40000
MNT_DETACH = 2


def checked(result, what):
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def mount(source, target, kind=None, flags=0, options=None):
    arguments = (
        text if text is None else os.fsencode(text)
        for text in (source, target, kind, options)
    )
    source, at, kind, options = arguments
    checked(libc.mount(source, at, kind, ctypes.c_ulong(flags), options), target)


def unmount(target):
    checked(libc.umount2(os.fsencode(target), MNT_DETACH), target)


def unshare(flags):
    checked(libc.unshare(flags), "unshare")


def own_mounts():
    """From here on this process mounts and unmounts for itself alone."""
    unshare(CLONE_NEWNS)
    mount("none", "/", flags=MS_REC | MS_PRIVATE)


def bind(source, target):
    mount(source, target, flags=MS_BIND)
