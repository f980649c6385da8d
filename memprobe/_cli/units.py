"""Units and steps of the two axes, in which RSS over time is drawn."""

import math

# As humanbytes() has them.
SIZE_UNITS = [("b", 1), ("KB", 2**10), ("MB", 2**20), ("GB", 2**30), ("TB", 2**40)]

# Each from the number of seconds on at which it is the one to read.
TIME_UNITS = [(0, "ms", 0.001), (1, "s", 1), (120, "min", 60), (7200, "h", 3600)]
DAYS = (48 * 3600, "d", 86400)


def size_unit(bytes: float) -> "tuple[str, int]":
    """Return the largest unit that is not larger than so many bytes, and its bytes."""
    return max((u for u in SIZE_UNITS if u[1] <= max(bytes, 1)), key=lambda u: u[1])


def time_unit(seconds: float) -> "tuple[str, float]":
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
