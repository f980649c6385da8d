"""The parent of the program that `memprobe run` runs, on Windows.

There are neither signals nor process groups: the console tells all its programs of
Ctrl-C, and the program's end is a number.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


class Child:
    """The program; see parent.py."""

    def __init__(
        self, file: str, argv: list[str], environment: dict[bytes, bytes]
    ) -> None:
        del environment  # which nobody has changed
        # What the program does at Ctrl-C is its own affair; we wait for its end.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.began = time.monotonic()
        self._process = subprocess.Popen(argv, executable=shutil.which(file) or file)
        self.pid = self.number = self._process.pid

    def let_go(self, keep: set[int]) -> None:
        """Descriptors aren't inherited unless they are named."""

    def wait(self) -> int:
        status = self._process.wait()
        self.ended = time.monotonic()
        return status

    def reap(self) -> None:
        """The system tells the highest of each process: the observer knows it."""

    def unblock(self) -> None:
        pass


def how_it_ended(status: int) -> tuple[int | None, int]:
    return None, status


def end_as(status: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(status & 0xFFFFFFFF)
