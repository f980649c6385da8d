"""``memprobe watch``: observes what runs already, whatever it is written in."""

from __future__ import annotations

import signal
import sys
import threading
import time
from contextlib import suppress

from memprobe._cli import options as opt
from memprobe._cli import report
from memprobe._cli.family import Family
from memprobe._cli.output import Terminal, say, standard_output
from memprobe._cli.running import pids_of, whats_wrong
from memprobe._cli.show import follow
from memprobe._cli.table import state_text
from memprobe._metrics import SharedOnce
from memprobe._record_folder import LIVING
from memprobe._text import command_text
from memprobe._units import duration_text, size_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from memprobe._record_file import Record

HELP = """\
Usage: memprobe watch [options] PID...
       memprobe watch [options] --name NAME

Observes the memory (RSS) of processes that run already, and of all their descendants,
from outside, until they have ended or Ctrl-C: in a terminal as a table that is redrawn
in place, else in a line a second. At the end samples, peak and a chart go to standard
error.

  --name NAME    watch the programs of this name
  --interval S   seconds between two samples at most (1)
  --csv FILE     write all samples as CSV; - is standard output
  --plot FILE    draw a picture, .png or .svg (needs matplotlib)
  --record DIR   keep the observer's files in this folder, for memprobe show
  --pss          also ask for PSS and USS, which count shared pages rightly
  --quiet        print nothing before the end
"""


def main(words: list[str]) -> None:
    options = opt.Options()
    named: list[str] = []
    while words:
        opt.take(words, options, {**opt.KINDS, "--name": str}, "watch", HELP)
        named += words[:1]
        del words[:1]
    if not named and options.name is None:
        opt.wrong("watch", "what to watch is missing: PIDs, or a name")
    if named and options.name is not None:
        opt.wrong("watch", "either PIDs or a name")
    pids = [_number(text) for text in named]
    opt.check_outputs(options.csv, options.plot, options.record)
    if options.name is not None:
        pids = pids_of(options.name)
        if not pids:
            opt.fail(f"no program of the name {options.name!r} runs here")
    else:
        pids = _watchable(pids)
    quiet, options.quiet = options.quiet, False

    stop = threading.Event()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        with suppress(AttributeError):  # Windows
            signal.signal(getattr(signal, name), lambda *_: stop.set())
    start = time.time()
    family = Family(
        pids, options.interval or 1.0, directory=options.record, pss=options.pss
    )
    if not family.folder:
        opt.fail(family.problem)

    def wait(seconds: float) -> bool:
        return stop.wait(seconds) or not family.is_observed()

    try:
        if quiet or options.csv == "-":
            while not wait(1.0):
                pass
        else:
            with standard_output() as out:
                if Terminal(out).redraws:
                    follow([family.folder], out, running=True, wait=wait)
                else:
                    _print_sums(family, out, wait)
    finally:
        records = family.end()
        _tell(pids, records, family, options, start)
        family.close()


def _number(text: str) -> int:
    pid = int(text) if text.isascii() and text.isdecimal() else 0
    if pid <= 0:
        opt.wrong("watch", f"a PID is a number above 0, not {text!r}")
    return pid


def _watchable(pids: list[int]) -> list[int]:
    """Say what is wrong with some; end the process if nothing is left."""
    left = []
    for pid in pids:
        problem = whats_wrong(pid)
        if problem:
            say(problem)
        else:
            left.append(pid)
    if not left:
        sys.exit(1)
    return left


def _print_sums(family: Family, out: TextIO, wait: Callable[[float], bool]) -> None:
    """Print a line a second, until there is nobody left to be observed."""
    while True:
        living = [record for record in family.records() if record.state in LIVING]
        together = SharedOnce()
        for record in living:
            together.add(record.last or 0, record.shared)
        count = "1 process" if len(living) == 1 else f"{len(living)} processes"
        clock = time.strftime("%H:%M:%S")
        print(f"{clock} {count}, {size_text(together.total())}", file=out, flush=True)
        if wait(1.0):
            return


def _tell(
    pids: list[int],
    records: list[Record],
    family: Family,
    options: opt.Options,
    start: float,
) -> None:
    main = None
    title = f"{len(pids)} processes and their descendants"
    figures = []
    if len(pids) == 1:
        main = next((record for record in records if record.pid == pids[0]), None)
        title = f"{pids[0]} {command_text(main) if main else ''}".rstrip()
    if main is not None and main.peak is not None:
        figures.append(report.peak_line(main.peak))
    figures.append(f"- watched: {duration_text(time.time() - start)}.")
    if main is not None and len(records) == 1:
        figures.append(f"- outcome: {state_text(main)}.")
    figures += report.unlisted(records)
    if family.problem:
        figures.append(f"- {family.problem}.")
    report.tell(title, main, records, figures, options, start)
