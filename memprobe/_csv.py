"""RSS over time as CSV."""

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def write_csv(path: str, samples: "Iterable[tuple[float, int]]", start: float) -> None:
    """Write samples, pairs of seconds and bytes, below a comment with the start.

    *start* is what time.time() was at 0 seconds. Raises OSError.
    """
    date = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(start))
    with open(path, "w", encoding="ascii", newline="\n") as file:
        file.write(f"# started {date}.{int(start % 1 * 1e6):06}Z\n")
        file.write("seconds,rss_bytes\n")
        file.writelines(f"{seconds:.6f},{rss}\n" for seconds, rss in samples)
