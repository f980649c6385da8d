"""Where output goes: what fits there, and one line where it can't be written."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, TextIO

BLOCKS = " ▁▂▃▄▅▆▇█┤│└─┬▼╌░…"
WIDEST = 1000


class Terminal:
    """What there is room for: columns, lines (None: no end), and which characters.

    *redraws*: what was written can be written over.
    """

    def __init__(self, out: TextIO) -> None:
        try:
            columns, lines = os.get_terminal_size(out.fileno())
        except (AttributeError, OSError, ValueError):
            self.height: int | None = None
            self.redraws = self.blocks = False
            asked = os.environ.get("COLUMNS", "")
            self.width = int(asked) if asked.isdecimal() and int(asked) > 0 else 80
        else:
            self.height = lines or 24
            self.redraws = os.environ.get("TERM") != "dumb"
            self.blocks = _has(out, BLOCKS)
            # A full line would make some terminals go on to the next.
            self.width = (columns or 80) - 1
        self.width = min(max(self.width, 1), WIDEST)


def _has(out: TextIO, text: str) -> bool:
    try:
        text.encode(out.encoding)
    except (LookupError, UnicodeEncodeError):
        return False
    return True


def say(problem: str) -> None:
    """Print a line on standard error, if there is one."""
    with suppress(AttributeError, OSError, ValueError):
        sys.stderr.write(f"memprobe: {problem}\n")
        sys.stderr.flush()


@contextmanager
def standard_output() -> Iterator[TextIO]:
    """Standard output. If it can't be written, that is one line and status 1."""
    out: Any = sys.stdout
    if out is None:
        sys.exit("memprobe: standard output is closed")
    # A command may have characters that the terminal's encoding has not.
    out.reconfigure(errors="backslashreplace")
    try:
        yield out
        out.flush()
    except OSError as error:
        # Nothing is to be flushed at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        if isinstance(error, BrokenPipeError):
            sys.exit(1)  # whoever read this has seen enough
        sys.exit(f"memprobe: cannot write to standard output: {error.strerror}")


@contextmanager
def writing(path: str) -> Iterator[TextIO]:
    """Write a file, or standard output if it is called -, as standard_output() does."""
    if path == "-":
        with standard_output() as out:
            yield out
        return
    try:
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            yield file
    except OSError as error:
        sys.exit(f"memprobe: cannot write {path!r}: {error.strerror}")
