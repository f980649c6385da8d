"""``memprobe run``: starts a program, observes it from outside, says what it held."""

# What is imported here delays the program; the rest is imported while it runs.
import errno
import os
import sys
import time

from memprobe._cli import options as opt
from memprobe._cli.parent import Child, end_as
from memprobe._cli.program import command, environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from memprobe._cli.family import Family
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

def main(words: "list[str]") -> None:
    options = opt.Options()
    opt.take(words, options, {**opt.KINDS, "--samples": opt.count}, "run", HELP)
    if not words or words in (["-m"], ["-c"]):
        opt.wrong("run", "there is nothing to run")
    opt.check_outputs(options.csv, options.plot, options.record)
    title = " ".join(words)
    file, argv = command(words)
    started = time.monotonic()
    try:
        child = Child(file, argv, environment())
    except OSError as error:
        print(f"memprobe: cannot run {file!r}: {error.strerror}", file=sys.stderr)
        missing = error.errno in {errno.ENOENT, errno.ENOTDIR}
        sys.exit(127 if missing else 126)
    child.let_go(opt.descriptors(options))
    # Whatever happens to us, the program goes on and its status is ours.
    problems: list[str] = []
    family = _observe(child.pid, options, problems)
    status = child.wait()
    seconds = time.monotonic() - started
    own_peak = child.peak()
    if family is not None:
        _stop(family, child.pid, status, problems)
    child.reap()
    child.unblock()
    if not options.quiet:
        ...
    end_as(status)


def _observe(
    pid: int, options: "opt.Options", problems: "list[str]"
) -> "Family | None":
    try:
        from memprobe._cli.family import Family

        family = Family(options.record)
        family.start([pid], options.interval or 0.1, options.pss)
        # While there is time.
        from memprobe._cli import report  # noqa: F401
    except (ImportError, OSError) as error:
        problems.append(f"not observed: {error}")
        return None
    return family
