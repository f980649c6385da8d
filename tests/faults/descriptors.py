"""For the scripts of the fault tests: memprobe's descriptor, and those of others."""

import atexit
import contextlib
import os
import socket
import subprocess
import sys
import time
from typing import ClassVar


def links():
    """What each open descriptor is of, by its number."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


def statm_descriptors():
    return [number for number, link in links().items() if link.endswith("/statm")]


def our_descriptor():
    (number,) = statm_descriptors()
    return number


def start_process(mib):
    """Start a process that holds so much more than Python, until this one ends."""
    code = f"x = bytearray(b'x') * ({mib} << 20); print(flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    process.stdout.readline()
    atexit.register(process.communicate, b"\n")
    return process


class Stranger:
    """A descriptor of somebody else, which takes over the number of ours."""

    FILES: ClassVar = {
        "file like a bigger statm": b"99999 77777 5000 600 0 40000 0\n",
        "file like a smaller statm": b"999 500 50 6 0 400 0\n",
        "file of zeros": b"0 0 0 0 0 0 0\n",
        "file of text": b"to be or not to be\n",
        "empty file": b"",
    }
    PROCESSES: ClassVar = {
        "statm of a bigger process": 200,
        "statm of a smaller process": 0,
    }
    SENT = b"4000 500 50 6 0 400 0\n"  # waits in the pipe, socket or terminal

    def __init__(self, kind, folder):
        self.kind = kind
        self.others = []  # what has to stay open for it
        self.number = self.open(folder)
        self.identity = self.look()

    def open(self, folder):
        if self.kind in self.FILES:
            path = os.path.join(folder, "stranger")
            with open(path, "wb") as file:
                file.write(self.FILES[self.kind])
            number = os.open(path, os.O_RDWR)
            os.lseek(number, 5, os.SEEK_SET)
            return number
        if self.kind in self.PROCESSES:
            process = start_process(self.PROCESSES[self.kind])
            self.others.append(process)
            return os.open(f"/proc/{process.pid}/statm", os.O_RDONLY)
        if self.kind == "pipe":
            number, other = os.pipe()
        elif self.kind == "socket":
            number, other = (end.detach() for end in socket.socketpair())
        elif self.kind == "terminal":
            other, number = os.openpty()
        else:
            return os.open(self.kind, os.O_RDONLY)
        self.others.append(other)
        os.write(other, self.SENT)
        return number

    def look(self):
        """All that shows whether somebody touched it, but what waits to be read."""
        status = os.fstat(self.number)
        try:
            offset = os.lseek(self.number, 0, os.SEEK_CUR)
        except OSError:
            offset = None
        return status.st_dev, status.st_ino, status.st_mode, offset

    def take(self, number):
        """Go over to that number, as the next open() there would have it."""
        os.dup2(self.number, number)
        os.close(self.number)
        self.number = number
        return time.monotonic_ns()

    def assert_untouched(self):
        assert self.look() == self.identity, (self.look(), self.identity)
        if self.kind in self.FILES:
            assert os.pread(self.number, 1000, 0) == self.FILES[self.kind]
        if self.kind in ("pipe", "socket", "terminal"):
            assert os.read(self.number, 1000) == self.SENT
