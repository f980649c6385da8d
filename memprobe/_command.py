"""The command line: ``memprobe``, also as ``python -m memprobe``."""

import argparse
import math
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

RUN_USAGE = """
  memprobe run [options] script.py args...
  memprobe run [options] -m module args..."""

RUN_DESCRIPTION = """
Runs a Python program as python itself would, and samples its RSS meanwhile. When it has
ended, the samples, the peak and a chart go to standard error; the exit status is the
program's. Options stand before the program: what follows it is the program's own.
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="memprobe",
        description="How much memory a Python program holds (RSS), now and over time.",
    )
    commands = parser.add_subparsers(title="commands", metavar="command", required=True)
    run = commands.add_parser(
        "run",
        help="run a program, then show its RSS over time",
        usage=RUN_USAGE,
        description=RUN_DESCRIPTION,
        allow_abbrev=False,
    )
    run.add_argument(
        "--interval",
        type=_interval,
        default=0.01,
        metavar="S",
        help="seconds between two samples (0.01)",
    )
    run.add_argument(
        "--samples",
        type=_count,
        default=10,
        metavar="N",
        help="how many samples to print (10)",
    )
    run.add_argument("--csv", metavar="FILE", help="write all samples as CSV")
    run.add_argument(
        "--plot",
        type=_picture,
        metavar="FILE",
        help="draw a picture, .png or .svg (needs matplotlib)",
    )
    run.add_argument("-m", dest="module", action="store_true", help="run a module")
    run.add_argument("program", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    run.set_defaults(command=_run, parser=run)
    options = parser.parse_args()
    options.command(options)


def _run(options: argparse.Namespace) -> None:
    program = options.program
    if program[:1] == ["--"] and not options.module:
        del program[0]
    if not program:
        options.parser.error(f"no {'module' if options.module else 'script'} to run")
    for option, path in (("--csv", options.csv), ("--plot", options.plot)):
        if path is not None:
            _must_be_writable(option, path)
    if options.plot is not None:
        _must_be_able_to_plot()

    # All that is needed after the program is imported before it: there may be modules
    # of the same names beside the program.
    from memprobe._report import Report
    from memprobe._run import run
    from memprobe._sampling import sample_throughout

    report = Report(
        title=f"-m {program[0]}" if options.module else program[0],
        samples=options.samples,
        csv=options.csv,
        plot=options.plot,
    )

    def before() -> None:
        try:
            report.start()
            sample_throughout(options.interval)
        except OSError as error:
            report.cancel()
            _fail(f"cannot sample: {error}")

    run(program, as_module=options.module, before=before, not_found=report.cancel)


def _fail(message: str) -> "NoReturn":
    sys.exit(f"memprobe: {message}")


def _interval(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise argparse.ArgumentTypeError(
            f"must be a finite number of seconds, above 0, not {text!r}"
        )
    return seconds


def _count(text: str) -> int:
    try:
        count = int(text)
    except ValueError:
        count = -1
    if count < 0:
        raise argparse.ArgumentTypeError(f"must be an int, 0 or more, not {text!r}")
    return count


def _picture(path: str) -> str:
    if not path.lower().endswith((".png", ".svg")):
        raise argparse.ArgumentTypeError(f"must end in .png or .svg, not {path!r}")
    return path


def _must_be_writable(option: str, path: str) -> None:
    """Find out now, not after hours. What the file holds stays until then."""
    new = not os.path.lexists(path)
    try:
        # A pipe is not to be opened twice: its reader would see the end.
        if new or os.path.isfile(path) or os.path.isdir(path):
            open(path, "ab").close()
        if new:
            os.remove(path)
    except OSError as error:
        _fail(f"{option}: cannot write {path!r}: {error.strerror}")


def _must_be_able_to_plot() -> None:
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        _fail("--plot needs matplotlib: pip install 'memprobe-rss[plot]'")
