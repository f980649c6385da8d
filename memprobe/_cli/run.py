"""``memprobe run``: the parent of a program, which observes it from outside."""

import errno
import sys

from memprobe._cli import options as opt
from memprobe._cli.parent import Child, end_as
from memprobe._cli.program import command, environment

HELP = """\
Usage: memprobe run [options] PROGRAM ARGUMENTS...
       memprobe run [options] -m MODULE | -c CODE | - ARGUMENTS...
"""

KINDS: "opt.Kinds" = {
    "--interval": opt.interval,
    "--record": str,
    "--csv": str,
    "--plot": opt.picture,
    "--samples": opt.count,
    "--quiet": None,
    "--pss": None,
}


def main(words: "list[str]") -> None:
    options = opt.take(words, KINDS, "run", HELP)
    if not words or words in (["-m"], ["-c"]):
        opt.wrong("run", "what to run is missing")
    file, argv = command(words)
    try:
        child = Child(file, argv, environment())
    except OSError as error:
        print(f"memprobe: cannot run {file!r}: {error.strerror}", file=sys.stderr)
        missing = error.errno in {errno.ENOENT, errno.ENOTDIR}
        sys.exit(127 if missing else 126)
    child.let_go(set())
    child.wait()
    status, maxrss = child.reap()
    end_as(status)
