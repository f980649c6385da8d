"""The command line: ``memprobe``, also as ``python -m memprobe``."""

import os
import sys

from memprobe._cli.options import check_outputs, picture

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import NoReturn

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
    show.add_argument("paths", nargs="+", metavar="PATH", help="a file or folder")
    show.add_argument("--csv", metavar="FILE", help="write all samples as CSV")
    show.add_argument(
        "--plot",
        type=picture,
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


def _show(options: "argparse.Namespace") -> None:
    if options.follow and (options.csv or options.plot):
        options.parser.error("--follow goes with neither --csv nor --plot")
    check_outputs(options.csv, options.plot)

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
