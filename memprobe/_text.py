"""Texts that may be anybody's: what is printed of them, and how wide that is."""

from __future__ import annotations

import os
import re
import unicodedata

TYPE_CHECKING = False
if TYPE_CHECKING:
    from memprobe._record_file import Record

# An option of python's: -c and -m end the options, -W and -X have a value.
_OPTION = re.compile(r"-[A-Za-z]*?([cmWX])(.*)", re.DOTALL)


def printable(text: str) -> str:
    """Return text that does nothing to a terminal: the rest of it as escapes."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if _is_plain(c) else ascii(c)[1:-1] for c in text)


def _is_plain(character: str) -> bool:
    # Variation selectors change the width of what is before them, or don't.
    return character.isprintable() and not (
        "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"
    )


def width_of(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(
        2
        if unicodedata.east_asian_width(c) in "WF"
        else unicodedata.category(c) not in ("Mn", "Me")
        for c in text
    )


def cut(text: str, width: int, blocks: bool) -> str:
    """Return text of at most *width* columns, marked where some is missing."""
    if width_of(text) <= width:
        return text
    text = text[: max(width, 0)]
    while text and width_of(text) >= width:
        text = text[:-1]
    return (text + ("…" if blocks else "~"))[: max(width, 0)]


def command_line(record: Record) -> str:
    """Return the whole first command line."""
    return printable(" ".join(record.command))


def command_text(record: Record) -> str:
    """Return what runs, by its last title: without interpreter and folders."""
    return printable(" ".join(words_of(record.title or record.command)))


def name_of(record: Record) -> str:
    """Return the name of the program alone: arguments, and titles, may hold secrets."""
    words = words_of(record.command)
    name = words[0] if words else ""
    return printable(name).strip("()[]:") or "?"


def words_of(command: list[str] | str) -> list[str]:
    """Return program and arguments: without interpreter, its options, and folders."""
    words = command.split(" ") if isinstance(command, str) else list(command)
    if len(words) == 1:  # set by the program itself, as setproctitle does
        words = words[0].split(" ")
    if not words:
        return []
    words[0] = os.path.basename(words[0])
    if not words[0].startswith(("python", "pypy")):
        return words
    at = 1
    while at < len(words) and words[at] != "-":
        option = _OPTION.fullmatch(words[at])
        kind, value = option.groups() if option else ("", words[at])
        if kind == "c":
            break
        if kind == "m":
            return [value, *words[at + 1 :]] if value else words[at + 1 :] or words
        if not words[at].startswith("-"):
            return [os.path.basename(words[at]), *words[at + 1 :]]
        at += 1 if value else 2
    return words
