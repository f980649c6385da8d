"""Units and steps of the two axes, in which RSS over time is drawn."""

from __future__ import annotations

import math
import time

# As humanbytes() has them.
SIZE_UNITS = [("TB", 2**40), ("GB", 2**30), ("MB", 2**20), ("KB", 2**10), ("b", 1)]

# Each from the number of seconds on at which it is the one to read.
TIME_UNITS = [(0, "ms", 0.001), (1, "s", 1), (120, "min", 60), (7200, "h", 3600)]
DAYS = (48 * 3600, "d", 86400)


def size_unit(bytes: float) -> tuple[str, int]:
    """Return the largest unit that is not larger than so many bytes, and its bytes."""
    return next((unit for unit in SIZE_UNITS if bytes >= unit[1]), SIZE_UNITS[-1])


def size_of(value: object, name: str) -> int:
    """Return *value* in bytes: an int, or a text like "1.5GB". 0 isn't one.

    Raises TypeError or ValueError.
    """
    if isinstance(value, str):
        text = value.strip().upper()
        number, unit = next(
            (
                (text.removesuffix(unit.upper()), bytes)
                for unit, bytes in SIZE_UNITS
                if text.endswith(unit.upper())
            ),
            ("", 1),
        )
        try:
            bytes = float(number) * unit
        except ValueError:
            bytes = 0.0
    elif isinstance(value, int):
        bytes = value
    else:
        raise TypeError(f"{name} must be a size, not {value!r}")
    if not 0 < bytes < math.inf:
        raise ValueError(f'{name} must be a size like "100MB", not {value!r}')
    return round(bytes)


def time_unit(seconds: float) -> tuple[str, float]:
    """Return the unit to read so many seconds in, and its seconds."""
    _, name, unit = [u for u in [*TIME_UNITS, DAYS] if u[0] <= max(seconds, 0)][-1]
    return name, unit


def step(length: float, most: int) -> float:
    """Return 1, 2 or 5 times a power of ten: the least with *most* steps or fewer."""
    power = 10.0 ** math.floor(math.log10(length / most))
    return next(n * power for n in (1, 2, 5, 10) if length / (n * power) <= most)


def duration_text(seconds: float) -> str:
    """Return so many seconds as text for people: '340 ms', '12.3 s', '2 h 05 min'."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 119.95:
        return f"{seconds:.1f} s"
    if seconds < 7199.5:
        return "{} min {:02} s".format(*divmod(round(seconds), 60))
    minutes = round(seconds / 60)
    if minutes < 48 * 60:
        return "{} h {:02} min".format(*divmod(minutes, 60))
    return "{} d {} h".format(*divmod(round(minutes / 60), 24))


def short_duration(seconds: float) -> str:
    """Return so many seconds as text of 6 characters at most: '12.3s', '99min'."""
    if seconds < 99.95:
        return f"{seconds:.1f}s"
    minutes = seconds / 60
    if minutes < 99.5:
        return f"{minutes:.0f}min"
    return f"{minutes / 60:.0f}h" if minutes < 99.5 * 60 else f"{minutes / 1440:.0f}d"


def size_text(bytes: float | None) -> str:
    """Return a size in three digits: 29.1MB."""
    if bytes is None:
        return ""
    name, unit = size_unit(abs(bytes))
    number = bytes / unit
    digits = 0 if name == "b" or abs(number) >= 99.95 else 1
    if abs(number) < 9.995 and name != "b":
        digits = 2
    return f"{number:.{digits}f}{name}"


def growth_text(bytes: float | None) -> str:
    """Return a growth with its sign; 0 where there is none, nothing if not known."""
    if not bytes:
        return "" if bytes is None else "0"
    return ("+" if bytes > 0 else "") + size_text(bytes)


def date_text(seconds: float | None, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Return a date in the local time."""
    if seconds is None:
        return ""
    try:
        return time.strftime(form, time.localtime(seconds))
    except (OSError, OverflowError, ValueError):
        return "?"
