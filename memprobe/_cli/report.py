"""What `memprobe run` says of a program that has ended."""

import atexit
import gc
import io
import marshal
import os
import sys
import time
from contextlib import suppress

from memprobe._cli.chart import chart, terminal
from memprobe._cli.csv import write_csv
from memprobe._cli.units import duration_text
from memprobe._memprobe import (
    _history,
    _stop_sampling,
    humanbytes,
    mem_rss,
    peak_rss,
    sample_mem,
)
from memprobe._samples import print_samples

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Report:
    """Printed when the interpreter ends: after threads and what atexit calls.

    For that start() has to be called before the program calls atexit. A forked child
    prints none. Files are named now, where they may be relative.
    """

    def __init__(
        self, title: str, samples: int, csv: "str | None", plot: "str | None"
    ) -> None:
        self._title = title
        self._samples = samples
        self._csv = csv and os.path.abspath(csv)
        self._plot = plot and _Plot(os.path.abspath(plot), title)
        # The program may put others in their place.
        self._stdout, self._stderr = sys.stdout, sys.stderr

    def start(self) -> None:
        self._process = os.getpid()
        self._started = time.time()
        self._started_ns = time.monotonic_ns()
        sample_mem()  # the sampler's first may come later than the program's end
        atexit.register(self._finish)

    def cancel(self) -> None:
        atexit.unregister(self._finish)

    def _finish(self) -> None:
        if os.getpid() == self._process:
            with suppress(KeyboardInterrupt):
                self._make()

    def _make(self) -> None:
        _stop_sampling()
        try:
            # Before the report itself needs memory.
            sample_mem()
            seconds = (time.monotonic_ns() - self._started_ns) / 1e9
            gc.collect()
            end, peak = mem_rss(), humanbytes(peak_rss())
        except OSError as error:
            self._say(f"memprobe: {error}\n")
            return
        # Also what the program itself had forgotten by memdump() or clear().
        history, overwritten = _history()
        rows: Any = history.tolist()
        samples = [(max(ns - self._started_ns, 0) / 1e9, rss) for ns, rss in rows]

        text = io.StringIO()
        text.write(f"memprobe: {self._title}\n")
        print_samples(_spread(samples, self._samples), overwritten, text)
        text.write(f"- rss (end): {end}.\n")
        text.write(f"- rss (peak): {peak}.\n")
        text.write(f"- duration: {duration_text(seconds)}.\n")
        if overwritten:
            lost = duration_text(samples[0][0])
            text.write(f"- not shown: the first {lost}; --interval keeps more.\n")
        width, blocks = terminal(self._stderr)
        for line in ["", *chart(samples, width, blocks=blocks)]:
            text.write(line + "\n")
        self._say(text.getvalue())

        if self._csv:
            try:
                write_csv(self._csv, samples, self._started)
            except OSError as error:
                self._say(f"memprobe: cannot write {self._csv!r}: {error.strerror}\n")
        if self._plot:
            self._plot.draw(samples)

    def _say(self, text: str) -> None:
        # Any of both may be None, closed or broken; Python says so itself if it minds.
        with suppress(AttributeError, OSError, ValueError):
            self._stdout.flush()
        with suppress(AttributeError, OSError, ValueError):
            self._stderr.write(text)
            self._stderr.flush()


def _spread(samples: "list[tuple[float, int]]", most: int) -> "list[int]":
    """What memdump() prints of these samples: spread evenly, both ends included."""
    last = len(samples) - 1
    count = min(most, len(samples))
    if count == 1:
        return [samples[last][1]]
    return [samples[i * last // (count - 1)][1] for i in range(count)]


class _Plot:
    """Draws in a process of its own: the program's may have no threads any more, which
    matplotlib starts, and its modules, settings and limits are its own.
    """

    def __init__(self, path: str, title: str) -> None:
        import subprocess

        self._path = path
        self._title = title
        self._run = subprocess.run
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; import signal; "
            "signal.signal(signal.SIGINT, signal.SIG_DFL); "
            "from memprobe._cli.picture import main; main()"
        )
        self._command = [sys.executable, "-c", code]
        self._environment = dict(os.environ)

    def draw(self, samples: "list[tuple[float, int]]") -> None:
        arguments = (self._path, [(self._title, samples)], self._title)
        self._run(
            self._command,
            input=marshal.dumps(arguments),
            env=self._environment,
            check=False,
        )
