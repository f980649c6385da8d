"""The observer's files, and those in folders, read one after the other."""

from __future__ import annotations

import os
from types import MappingProxyType

from memprobe._record_file import NotWrittenYet, Record, names, read
from memprobe._text import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Complaint = Callable[[str], object]

# What an observer may go on to write of.
LIVING = ("running", "unknown")


def read_all(
    paths: list[str],
    complain: Complaint,
    seen: Mapping[str, Record] = MappingProxyType({}),
) -> Iterator[Record]:
    """Read files, and those in folders, one after the other.

    Of what was *seen*, by path, only that is read which may have changed.
    """
    for path, in_folder in _files(paths, complain):
        known = seen.get(path)
        try:
            if known is not None and known.state not in LIVING:
                record = known
            else:
                record = read(path, known)
        except (OSError, ValueError) as error:
            # In a folder files come and go.
            if not (
                in_folder and isinstance(error, (FileNotFoundError, NotWrittenYet))
            ):
                complain(_problem(path, error))
        else:
            yield record


def _files(paths: list[str], complain: Complaint) -> Iterator[tuple[str, bool]]:
    """Return each file, and whether it is one of a folder's."""
    for path in paths:
        if not os.path.isdir(path):
            yield path, False
            continue
        try:
            inside = names(path)
        except OSError as error:
            complain(_problem(path, error))
            continue
        if not inside:
            complain(f"{printable(path)}: no files of the recorder in this folder")
        for name in inside:
            yield os.path.join(path, name), True


def _problem(path: str, error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) else str(error)
    return f"{printable(path)}: {printable(text or repr(error))}"
