"""The options of the commands. Not argparse, whose import takes 7 ms."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    # How each is read; None: it takes no value.
    Kinds = dict[str, Callable[[str], object] | None]


class Options:
    """What was asked for: attributes of the options' names."""

    interval: float | None = None
    samples: int | None = None
    csv: str | None = None
    plot: str | None = None
    record: str | None = None
    name: str | None = None
    pss = False
    quiet = False


def take(
    words: list[str], options: Options, kinds: Kinds, command: str, help: str
) -> None:
    """Take off *words* the options that it begins with, and what ends them.

    Ends the process with status 2 if one is wrong, with 0 after `--help`.
    """
    while words and words[0][:1] == "-" and words[0] not in {"-", "-m", "-c"}:
        word = words.pop(0)
        if word == "--":
            break
        if word in {"-h", "--help"}:
            print(help, end="")
            sys.exit(0)
        name, sign, value = word.partition("=")
        if name not in kinds:
            wrong(command, f"there is no option {name}")
        kind = kinds[name]
        if kind is None:
            if sign:
                wrong(command, f"{name} takes no value")
            setattr(options, name[2:], True)
            continue
        if not sign:
            if not words:
                wrong(command, f"{name} needs a value")
            value = words.pop(0)
        try:
            setattr(options, name[2:], kind(value))
        except ValueError as error:
            wrong(command, f"{name} {error}")


def wrong(command: str, message: str) -> NoReturn:
    print(f"memprobe {command}: {message} (see --help)", file=sys.stderr)
    sys.exit(2)


def fail(message: str) -> NoReturn:
    sys.exit(f"memprobe: {message}")


def interval(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ValueError(f"must be a finite number of seconds, above 0, not {text!r}")
    return seconds


def count(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = -1
    if number < 0:
        raise ValueError(f"must be an int, 0 or more, not {text!r}")
    return number


def picture(path: str) -> str:
    if not path.lower().endswith((".png", ".svg")):
        raise ValueError(f"must end in .png or .svg, not {path!r}")
    return path


# Those that `run` and `watch` share.
KINDS: Kinds = {
    "--interval": interval,
    "--csv": str,
    "--plot": picture,
    "--record": str,
    "--pss": None,
    "--quiet": None,
}


def check_outputs(csv: str | None, plot: str | None, record: str | None = None) -> None:
    """End the process now, not after hours, if something can't be written."""
    if record is not None:
        _must_be_writable_folder(record)
    for option, path in (("--csv", csv), ("--plot", plot)):
        if path is not None and path != "-":
            _must_be_writable(option, path)
    if plot is not None:
        from importlib.util import find_spec

        if find_spec("matplotlib") is None:
            fail("--plot needs matplotlib: pip install 'memprobe-rss[plot]'")


def _must_be_writable_folder(path: str) -> None:
    try:
        os.scandir(path).close()
    except OSError as error:
        fail(f"--record: {path!r}: {error.strerror}")
    if not os.access(path, os.W_OK | os.X_OK):
        fail(f"--record: cannot write to {path!r}")


def _must_be_writable(option: str, path: str) -> None:
    """What the file holds stays until the end."""
    new = not os.path.lexists(path)
    try:
        # A pipe is not to be opened twice: its reader would see the end.
        if new or os.path.isfile(path) or os.path.isdir(path):
            open(path, "ab").close()
        if new:
            os.remove(path)
    except OSError as error:
        fail(f"{option}: cannot write {path!r}: {error.strerror}")


def descriptors(options: Options) -> set[int]:
    """Return our descriptors that are outputs: `--csv >(gzip > a.gz)` is one, too."""
    found = {2}
    for path in (options.csv, options.plot):
        folder, _, name = (path or "").rpartition("/")
        if path == "-":
            found.add(1)
        elif folder in {"/dev/fd", "/proc/self/fd"} and name.isdecimal():
            found.add(int(name))
    return found
