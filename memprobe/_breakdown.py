"""Where RSS is, and where it grew."""

from memprobe._memprobe import _breakdown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# What adds up to rss, with its words in the table.
PLACES = {
    "python_small": "Python objects up to 512 bytes",
    "python_free": "free, held by Python",
    "malloc_used": "malloc, in use",
    "malloc_free": "malloc, free",
    "lazy_free": "given back, still resident (MADV_FREE)",
    "stacks": "thread stacks",
    "files": "libraries and mapped files",
    "shared": "shared memory",
    "other": "other",
}
BESIDE = {
    "uss": "private to this process (USS)",
    "pss": "its share (PSS)",
    "swap": "swapped out",
}
MB = 2**20


def breakdown(*, count: bool = False) -> "Breakdown":
    """Return where the RSS of this process is; see Breakdown.

    Milliseconds for each GB, the GIL only for Python's own part; other threads' malloc
    waits meanwhile, 24 ms for each million of free chunks. *count* counts from now on
    what Python has in malloc, 10 ns an allocation above 512 bytes: of two such moments
    ``since()`` knows whether Python or C took what malloc has in use. It goes on until
    the process ends. Raises OSError as rss() does.
    """
    *figures, counted = _breakdown(count)
    return Breakdown(*figures, counted=False if count and counted is None else counted)


class _Figures:
    rss: int
    python_small: "int | None"
    python_free: "int | None"
    malloc_used: "int | None"
    malloc_free: "int | None"
    lazy_free: "int | None"
    stacks: "int | None"
    files: "int | None"
    shared: "int | None"
    other: int
    trimmable: "tuple[int, int] | None"
    uss: "int | None"
    pss: "int | None"
    swap: "int | None"
    allocator: str

    __slots__ = ("rss", *PLACES, "trimmable", *BESIDE, "allocator")

    def as_dict(self) -> "dict[str, Any]":
        """Return the figures by name, for JSON say."""
        return {name: getattr(self, name) for name in _Figures.__slots__}

    def __repr__(self) -> str:
        figures = ", ".join(f"{name}={it!r}" for name, it in self.as_dict().items())
        return f"<memprobe.{type(self).__name__} {figures}>"


class Breakdown(_Figures):
    """Where RSS is, in bytes; None is what nobody can tell here, and never 0.

    These are disjoint and add up to *rss*: *python_small*, objects up to 512 bytes;
    *python_free*, held by Python for more of them; *malloc_used*, allocations of C code
    and of Python's above 512 bytes; *malloc_free*, held by malloc; *lazy_free*, given
    back by MADV_FREE and still resident; thread *stacks*; *files*, libraries included;
    *shared* memory; *other*.

    Beside them: *trimmable*, what trim() gives back at least and at most; *uss*, *pss*
    and *swap*; *allocator*, who owns malloc: glibc, musl, jemalloc, tcmalloc, mimalloc,
    unknown. ``str()`` of it is a table.
    """

    __slots__ = ("_counted",)

    def __init__(self, *figures: object, counted: "Any") -> None:
        for name, figure in zip(_Figures.__slots__, figures, strict=True):
            setattr(self, name, figure)
        # (which count, bytes); None if not asked for, False if it can't be had.
        self._counted = counted

    def since(self, before: "Breakdown") -> "Growth":
        """Return what grew between *before* and this; see Growth."""
        if not isinstance(before, Breakdown):
            raise TypeError(f"before must be a Breakdown, not {before!r}")
        return Growth(before, self)

    def __str__(self) -> str:
        return "\n".join(_table(self, self))


class Growth(_Figures):
    """What grew from one Breakdown to another: its fields are differences in bytes.

    *python_large* is by how much Python's own allocations in malloc grew, those above
    512 bytes, written to or not; None unless both moments have been asked for with
    ``count=True`` and nothing came between. *trimmable* and *allocator* are those of
    *now*. *sentence* says where the growth is and which tool sees inside; it never says
    "leak", which two moments can't tell from a cache that fills. ``str()`` is a table,
    and the sentence.
    """

    __slots__ = ("before", "now", "python_large")

    def __init__(self, before: Breakdown, now: Breakdown) -> None:
        self.before, self.now = before, now
        self.trimmable, self.allocator = now.trimmable, now.allocator
        for name in ("rss", *PLACES, *BESIDE):
            old, new = getattr(before, name), getattr(now, name)
            unknown = old is None or new is None
            setattr(self, name, None if unknown else new - old)
        self.python_large: int | None = None
        if before._counted and now._counted and before._counted[0] == now._counted[0]:
            self.python_large = now._counted[1] - before._counted[1]

    def as_dict(self) -> "dict[str, Any]":
        """Return the differences by name, and the sentence, for JSON say."""
        large = {"python_large": self.python_large, "sentence": self.sentence}
        return super().as_dict() | large

    def __str__(self) -> str:
        return "\n".join([*_table(self.now, self.now, self), self.sentence])

    @property
    def sentence(self) -> str:
        rss: Any = self.rss
        uss: Any = self.uss or 0
        worth_it = max(2 * MB, self.before.rss // 50)
        if rss < worth_it and uss < worth_it:
            return f"RSS fell by {_mb(-rss)} MB." if rss <= -worth_it else _NO_GROWTH
        if rss < worth_it:
            return f"RSS stands still, but {_mb(uss)} MB {_COPIED}."
        grown = sorted(
            ((size, words) for size, words in self._places() if size > 0), reverse=True
        )
        whole = sum(size for size, _ in grown)
        said = [
            f"{100 * size / whole:.0f} % of the growth ({_mb(size)} MB) is {words}"
            for size, words in grown
            if size >= 0.15 * whole
        ]
        return "; ".join(said) + "."

    def _places(self) -> "list[tuple[int, str]]":
        """What grew, or shrank, by how much, and the words for it."""
        places = {name: getattr(self, name) or 0 for name in PLACES}
        words = dict(_WORDS)
        if self.trimmable is not None:
            least, most = self.trimmable
            words["malloc_free"] += f" ({_mb(least)} to {_mb(most)} MB)"
        if self.now.python_small is None:
            words["malloc_used"] = words["python_or_c"]
            words["other"] = words["anything"]
        elif self.now.malloc_used is None:
            words["other"] = words["malloc_or_other"].format(self.now.allocator)
        if self.python_large is not None:
            # Of malloc, whoever owns it.
            place = "malloc_used" if self.now.malloc_used is not None else "other"
            rest = places[place] - self.python_large
            if rest > -max(2 * MB, self.python_large // 10):
                places["python_large"], places[place] = self.python_large, rest
                words["malloc_used"] = words["c"]
            else:
                words[place] = words["not_all_written"]
        elif self.now._counted is False or self.before._counted is False:
            words["malloc_used"] = words["python_or_c"]
        return [(size, words[name]) for name, size in places.items()]


_NO_GROWTH = "No growth worth the name."
_COPIED = (
    "of shared pages became private: copied when they were written to, as in a forked "
    "child, or the process that shared them has ended"
)
_WORDS = {
    "python_small": "Python objects up to 512 bytes: tracemalloc shows who made them",
    "python_large": (
        "Python objects above 512 bytes, such as bytes, lists, dicts and arrays: "
        "tracemalloc shows who made them"
    ),
    "python_free": (
        "free memory between small Python objects that live on: Python uses it again, "
        "and trim() can't give it back"
    ),
    "malloc_used": (
        "in use in malloc: breakdown(count=True) at both moments tells whether by "
        "Python, which tracemalloc sees, or by C, which memray --native sees"
    ),
    "malloc_free": (
        "freed, and held by malloc: MALLOC_ARENA_MAX=2 keeps threads from holding as "
        "much, and trim() gives back what it can"
    ),
    "lazy_free": (
        "given back by a library, and resident until the system needs it: nothing to do"
    ),
    "stacks": "thread stacks: threading.enumerate() and py-spy dump show the threads",
    "files": "pages of libraries and mapped files: nothing to do",
    "shared": "shared memory: whoever made it, in /dev/shm say, has to remove it",
    "other": (
        "in mappings of neither Python nor malloc, such as an mmap or a library's own "
        "pool: ask the library, as by pyarrow.total_allocated_bytes(); memray --native "
        "sees mmap"
    ),
    # Instead of one of them
    "c": (
        "in use in malloc, and not by Python's own objects: memray --native shows the C "
        "code that took it, tracemalloc the arrays of NumPy before 2.5"
    ),
    "python_or_c": (
        "in use in malloc, by Python or by C: tracemalloc shows the former, memray "
        "--native both"
    ),
    "not_all_written": (
        "in use in malloc, where Python took more than was written to: tracemalloc "
        "shows what Python took, memray --native what C did"
    ),
    "malloc_or_other": (
        "in malloc, which is {}'s, or in other mappings: ask that allocator; memray "
        "--native shows who took it"
    ),
    "anything": (
        "in memory that can't be told apart here: tracemalloc shows Python's objects, "
        "memray --native also what C took"
    ),
}


def _mb(size: int) -> str:
    return f"{size / MB:.1f}"


def _table(now: Breakdown, *columns: _Figures) -> "list[str]":
    def line(words: str, name: str) -> str:
        cells = ""
        for column in columns:
            size = getattr(column, name)
            sign = "" if column is now else "+"
            cells += f"{'?':>10}" if size is None else f"{size / MB:{sign}10.1f}"
        return f"{words:40}{cells}"

    lines = [line("RSS (MB)", "rss")]
    for name, words in PLACES.items():
        lines.append(line(f"  {words}", name))
        if name == "malloc_free" and now.trimmable is not None:
            lines[-1] += "   trim(): {} to {}".format(*map(_mb, now.trimmable))
    lines += [line(words, name) for name, words in BESIDE.items()]
    lines.append(f"malloc is {now.allocator}'s.")
    return lines
