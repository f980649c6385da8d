"""The options of the commands. Not argparse, which takes 7 ms to import."""

import math
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import NoReturn

    # What takes no value has None.
    Kinds = Mapping[str, Callable[[str], object] | None]


def take(
    words: "list[str]", kinds: "Kinds", command: str, help: str
) -> "dict[str, object]":
    """Take the options that *words* begin with; return them by name, without dashes.

    Ends the process with status 2 if one is wrong, with 0 after `--help`.
    """
    options: dict[str, object] = {}
    while words and words[0][:1] == "-" and words[0] not in {"-", "-m", "-c"}:
        word = words.pop(0)
        if word == "--":
            break
        if word in {"-h", "--help"}:
            print(help)
            sys.exit(0)
        name, given, value = word.partition("=")
        if name not in kinds:
            wrong(command, f"there is no option {name}")
        kind = kinds[name]
        if kind is None:
            if given:
                wrong(command, f"{name} takes no value")
            options[name[2:]] = True
            continue
        if not given:
            if not words:
                wrong(command, f"{name} needs a value")
            value = words.pop(0)
        try:
            options[name[2:]] = kind(value)
        except ValueError as error:
            wrong(command, f"{name} {error}")
    return options


def wrong(command: str, message: str) -> "NoReturn":
    print(f"memprobe {command}: {message}; see --help", file=sys.stderr)
    sys.exit(2)


def interval(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
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


def check_outputs(csv: "str | None", plot: "str | None") -> None:
    """End the process now, not after hours, if one of the files can't be written."""
    for option, path in (("--csv", csv), ("--plot", plot)):
        if path is not None and path != "-":
            _must_be_writable(option, path)
    if plot is not None:
        from importlib.util import find_spec

        if find_spec("matplotlib") is None:
            _fail("--plot needs matplotlib: pip install 'memprobe-rss[plot]'")


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
        _fail(f"{option}: cannot write {path!r}: {error.strerror}")


def _fail(message: str) -> "NoReturn":
    sys.exit(f"memprobe: {message}")
