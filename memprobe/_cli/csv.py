"""RSS over time as CSV, one form everywhere."""

from __future__ import annotations

from datetime import datetime, timedelta

from memprobe._cli.series import samples_of
from memprobe._text import command_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TextIO

    from memprobe._record_file import Record


def write_csv(records: Iterable[Record], out: TextIO) -> None:
    """Write all samples of the processes, one process after the other.

    Seconds are since the date in `started`. What isn't known is empty.
    """
    out.write("pid,command,started,seconds,rss_bytes,shared_bytes\n")
    for record in records:
        start = record.started
        command = command_line(record).replace('"', '""')
        which = f'{record.pid},"{command}",{iso_date(start) or ""}'
        for time, rss, shared in samples_of(record):
            start = time if start is None else start
            line = f"{which},{time - start:.6f},{rss},"
            out.write(f"{line}\n" if shared is None else f"{line}{shared}\n")


def iso_date(seconds: float | None) -> str | None:
    """Return a date in UTC; None for what no calendar has."""
    if seconds is None:
        return None
    try:
        # Not time.gmtime(), which refuses some years on Windows.
        date = datetime(1970, 1, 1) + timedelta(seconds=seconds)
    except OverflowError:
        return None
    return date.isoformat(timespec="microseconds") + "Z"
