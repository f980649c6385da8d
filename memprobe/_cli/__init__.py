"""The command line: ``memprobe``, also as ``python -m memprobe``."""

from __future__ import annotations

import sys

from memprobe._cli.options import check_outputs, interval, picture

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

SHOW_DESCRIPTION = """
Shows what the recorder has written, of living processes and of those that have ended:
of several files or a folder a table, one process a line, the largest first; of one file
a chart, samples and figures.
"""


def main() -> None:
    if sys.argv[1:2] == ["run"]:
        # Before all that it doesn't need: the program is to start at once.
        from memprobe._cli import run

        run.main(sys.argv[2:])
    if sys.argv[1:2] == ["watch"]:
        from memprobe._cli import watch

        watch.main(sys.argv[2:])
        return
    import argparse

    parser = argparse.ArgumentParser(
        prog="memprobe",
        description="How much memory a Python program holds (RSS), now and over time.",
    )
    commands = parser.add_subparsers(title="commands", metavar="command", required=True)
    commands.add_parser("run", help="run a program, then show its RSS over time")
    commands.add_parser("watch", help="watch what runs already")
    show = commands.add_parser(
        "show",
        help="show what the recorder has written",
        description=SHOW_DESCRIPTION,
        allow_abbrev=False,
    )
    add_show_options(show)
    show.set_defaults(command=_show, parser=show)
    options = parser.parse_args()
    options.command(options)


def add_show_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a file or folder")
    parser.add_argument(
        "--running", action="store_true", help="only what hasn't surely ended"
    )
    parser.add_argument("--sort", metavar="COLUMN", help="of the table: by a column")
    parser.add_argument(
        "--csv",
        metavar="FILE",
        help="write all samples as CSV, to - instead of a table",
    )
    parser.add_argument(
        "--plot",
        type=_type(picture),
        metavar="FILE",
        help="draw all in one picture, .png or .svg (needs matplotlib)",
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print JSON instead")
    output.add_argument(
        "--openmetrics", action="store_true", help="print metrics instead"
    )
    output.add_argument(
        "--follow", action="store_true", help="show it anew again and again"
    )
    parser.add_argument(
        "--per-process", action="store_true", help="metrics of each that runs"
    )
    parser.add_argument("--output", metavar="FILE", help="write the metrics to a file")
    parser.add_argument(
        "--interval",
        type=_type(interval),
        metavar="S",
        help="with --follow: seconds between two looks (1)",
    )


def _type(check: Callable[[str], object]) -> Callable[[str], object]:
    def convert(text: str) -> object:
        from argparse import ArgumentTypeError

        try:
            return check(text)
        except ValueError as error:
            raise ArgumentTypeError(str(error)) from None

    return convert


def _show(options: argparse.Namespace) -> None:
    wrong = options.parser.error
    if options.follow and (options.csv or options.plot):
        wrong("--follow goes with neither --csv nor --plot")
    if options.interval is not None and not options.follow:
        wrong("--interval is for --follow")
    if (options.per_process or options.output) and not options.openmetrics:
        wrong("--per-process and --output are for --openmetrics")
    if options.csv == "-" and (options.json or options.openmetrics):
        wrong("--csv - is all that standard output gets")

    from memprobe._cli.output import standard_output
    from memprobe._cli.show import follow, show
    from memprobe._cli.table import COLUMNS

    if options.sort is not None and options.sort not in COLUMNS:
        wrong(f"--sort takes one of {', '.join(COLUMNS)}, not {options.sort!r}")
    check_outputs(options.csv, options.plot)

    try:
        if not options.follow:
            sys.exit(0 if show(options) else 1)
        with standard_output() as out:
            follow(
                options.paths,
                out,
                interval=options.interval or 1.0,
                running=options.running,
                sort=options.sort,
            )
    except KeyboardInterrupt:
        sys.exit(130)
