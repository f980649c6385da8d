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

SHOW_DESCRIPTION = """
Shows what the recorder has written, of living processes and of those that have ended:
of several files or a folder a table, one process a line, the largest first; of one file
a chart, samples and figures.
"""

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
        metavar="S",
        help="seconds between two samples (0.01; with --record 1)",
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
    run.add_argument(
        "--record",
        metavar="DIR",
        help="also record into this folder, with all Python programs that it starts",
    )
    run.add_argument("-m", dest="module", action="store_true", help="run a module")
    run.add_argument("program", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    run.set_defaults(command=_run, parser=run)
    show = commands.add_parser(
        "show",
        help="show what the recorder has written",
        description=SHOW_DESCRIPTION,
        allow_abbrev=False,
    )
    show.add_argument("paths", nargs="+", metavar="PATH", help="a file or folder")
    show.add_argument("--csv", metavar="FILE", help="write all samples as CSV")
    show.add_argument(
        "--plot",
        type=_picture,
        metavar="FILE",
        help="draw all in one picture, .png or .svg (needs matplotlib)",
    )
    output = show.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print JSON instead")
    output.add_argument(
        "--follow", action="store_true", help="show it anew every second, until Ctrl-C"
    )
    show.set_defaults(command=_show, parser=show)
    options = parser.parse_args()
    options.command(options)


def _show(options: argparse.Namespace) -> None:
    if options.follow and (options.csv or options.plot):
        options.parser.error("--follow goes with neither --csv nor --plot")
    _check_output_files(options)

    from memprobe._cli.show import follow, show

    try:
        if options.follow:
            follow(options.paths)
        sound = show(
            options.paths, csv=options.csv, plot=options.plot, as_json=options.json
        )
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read this has seen enough. Nothing is to be flushed at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(0 if sound else 1)


def _run(options: argparse.Namespace) -> None:
    program = options.program
    if program[:1] == ["--"] and not options.module:
        del program[0]
    if not program:
        options.parser.error(f"no {'module' if options.module else 'script'} to run")
    _check_output_files(options)

    # All that is needed after the program is imported before it: there may be modules
    # of the same names beside the program.
    from memprobe._cli.report import Report
    from memprobe._cli.run import run
    from memprobe._recorder import record_throughout, record_what_it_starts
    from memprobe._sampler import sample_throughout

    interval = options.interval
    if interval is None:
        interval = 0.01 if options.record is None else 1.0

    report = Report(
        title=f"-m {program[0]}" if options.module else program[0],
        samples=options.samples,
        csv=options.csv,
        plot=options.plot,
    )

    def before() -> None:
        try:
            report.start()
            if options.record is None:
                sample_throughout(interval)
            else:
                record_throughout(options.record, interval)
                record_what_it_starts(options.record, interval)
        except OSError as error:
            report.cancel()
            _fail(f"cannot sample: {error}")

    run(program, as_module=options.module, before=before, not_found=report.cancel)


def _check_output_files(options: argparse.Namespace) -> None:
    for option, path in (("--csv", options.csv), ("--plot", options.plot)):
        if path is not None:
            _must_be_writable(option, path)
    if options.plot is not None:
        _must_be_able_to_plot()


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
