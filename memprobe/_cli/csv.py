"""RSS over time as CSV."""

from datetime import datetime, timedelta

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from memprobe._record import Record


def write_csv(path: str, samples: "Iterable[tuple[float, int]]", start: float) -> None:
    """Write samples, pairs of seconds and bytes, below a comment with the start.

    *start* is what time.time() was at 0 seconds. Raises OSError.
    """
    with open(path, "w", encoding="ascii", newline="\n") as file:
        file.write(f"# started {_date(start)}\n")
        file.write("seconds,rss_bytes\n")
        file.writelines(f"{seconds:.6f},{rss}\n" for seconds, rss in samples)


def write_csv_of_processes(path: str, records: "Iterable[Record]") -> None:
    """Write the samples of recorded processes, one process after the other.

    Seconds are since the first sample of the process, which the column *started* has.
    Raises OSError.
    """
    with open(path, "w", encoding="ascii", newline="\n") as file:
        file.write("pid,started,seconds,rss_bytes\n")
        for record in records:
            if not record.samples:
                continue
            start = record.samples[0][0]
            which = f"{record.pid},{_date(start)}"
            file.writelines(
                f"{which},{t - start:.6f},{rss}\n" for t, rss in record.samples
            )


def _date(seconds: float) -> str:
    # Not time.gmtime(), which refuses what is before 1970 or after 3000 on Windows.
    date = datetime(1970, 1, 1) + timedelta(seconds=seconds)
    return date.isoformat(timespec="microseconds") + "Z"
