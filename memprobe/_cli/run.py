"""``memprobe run``: starts a program, observes it from outside, says what it held."""

from __future__ import annotations

# What is imported here delays the program; the rest is imported while it runs.
import errno
import sys
import time

from memprobe._cli import options as opt
from memprobe._cli.program import command, environment

if sys.platform == "win32":
    from memprobe._cli.parent_windows import Child, end_as, how_it_ended
else:
    from memprobe._cli.parent import Child, end_as, how_it_ended

TYPE_CHECKING = False
if TYPE_CHECKING:
    from memprobe._record_file import Record

HELP = """\
Usage: memprobe run [options] PROGRAM ARGUMENTS...
       memprobe run [options] -m MODULE | -c CODE | - ARGUMENTS...

Starts a program, as python or the shell would, and observes its memory (RSS) and that
of all its children from outside. When it has ended, samples, peak and a chart go to
standard error; the exit status is the program's.

  --interval S   seconds between two samples at most (0.1)
  --samples N    how many samples to print at most (10, or what there is room for)
  --csv FILE     write all samples as CSV; - is standard output
  --plot FILE    draw a picture, .png or .svg (needs matplotlib)
  --record DIR   keep the observer's files in this folder, for memprobe show
  --pss          also ask for PSS and USS, which count shared pages rightly
  --quiet        print no report
"""


def main(words: list[str]) -> None:
    options = opt.Options()
    opt.take(words, options, {**opt.KINDS, "--samples": opt.count}, "run", HELP)
    if not words or words in (["-m"], ["-c"]):
        opt.wrong("run", "there is nothing to run")
    opt.check_outputs(options.csv, options.plot, options.record)
    file, argv = command(words)
    start = time.time()
    try:
        child = Child(file, argv, environment())
    except OSError as error:
        print(f"memprobe: cannot run {file!r}: {error.strerror}", file=sys.stderr)
        missing = error.errno in {errno.ENOENT, errno.ENOTDIR}
        sys.exit(127 if missing else 126)
    child.let_go(opt.descriptors(options))

    from memprobe._cli.family import Family

    family = Family(
        [child.number],
        options.interval or 0.1,
        directory=options.record,
        pss=options.pss,
    )
    # While there is time.
    import memprobe._record_file  # noqa: F401
    from memprobe._cli import report
    from memprobe._units import duration_text

    status = child.wait()
    records = family.end(status)
    peak = child.reap()
    child.unblock()
    try:
        main = next((record for record in records if record.pid == child.number), None)
        figures = [
            report.peak_line(_peak(main, peak)),
            f"- duration: {duration_text(child.ended - child.began)}.",
            *([_outcome(main, status)] if len(records) < 2 else []),
            *report.unlisted(records),
            *_living([r for r in records if r is not main], options.record),
            *([f"- {family.problem}."] if family.problem else []),
        ]
        report.tell(" ".join(words), main, records, figures, options, start)
    except Exception as error:
        # The status is still the program's.
        report.say([f"memprobe: no report: {error!r}"])
    family.close()
    end_as(status)


def _peak(main: Record | None, own: int | None) -> int | None:
    """Return the highest of all that is known of the program."""
    known = [own]
    if main is not None:
        # Another command line is that of another program, whose peak it may not be.
        known = [main.peak, main.max, own if main.title is None else None]
    return max((value for value in known if value is not None), default=None)


def _outcome(main: Record | None, status: int) -> str:
    from memprobe._cli.table import death_text

    number, code = how_it_ended(status)
    if number is not None:
        outcome = (main and main.cause) or death_text(number)
    else:
        outcome = f"exited (status {code})" if code else "exited"
    return f"- outcome: {outcome}."


def _living(records: list[Record], directory: str | None) -> list[str]:
    """Return who lives on, and how to go on watching."""
    pids = [record.pid for record in records if record.state == "running"]
    if not pids:
        return []
    count = "1 process lives" if len(pids) == 1 else f"{len(pids)} processes live"
    if directory is not None:
        return [f"- {count} on, and recorded: memprobe show --follow {directory}"]
    return [f"- {count} on: memprobe watch {' '.join(map(str, pids))}"]
