"""Where RSS is, and where it grew."""

from __future__ import annotations

from memprobe._memprobe import _breakdown

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


def breakdown(*, count: bool = False) -> Breakdown:
    """Return where the RSS of this process is; see Breakdown.

    Milliseconds for each GB, the GIL only for Python's own part; other threads' malloc
    waits meanwhile, 24 ms for each million of free chunks. *count* counts from now on
    what Python has in malloc, 10 ns an allocation above 512 bytes: of two such moments
    ``since()`` knows whether Python or C took what malloc has in use. It goes on until
    the process ends. Raises OSError as rss() does.
    """
    *figures, unwritten, counted = _breakdown(count)
    return Breakdown(*figures, unwritten=unwritten, asked=count, counted=counted)


class _Figures:
    rss: int
    python_small: int | None
    python_free: int | None
    malloc_used: int | None
    malloc_free: int | None
    lazy_free: int | None
    stacks: int | None
    files: int | None
    shared: int | None
    other: int
    trimmable: tuple[int, int] | None
    uss: int | None
    pss: int | None
    swap: int | None
    allocator: str

    __slots__ = ("rss", *PLACES, "trimmable", *BESIDE, "allocator")

    def as_dict(self) -> dict[str, object]:
        """Return the figures by name, for JSON say."""
        return {name: getattr(self, name) for name in _Figures.__slots__}

    def __repr__(self) -> str:
        figures = ", ".join([f"{name}={it!r}" for name, it in self.as_dict().items()])
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

    __slots__ = ("_asked", "_counted", "_unwritten")

    def __init__(
        self,
        *figures: object,
        unwritten: int = 0,
        asked: bool = False,
        counted: tuple[int, int] | None = None,
    ) -> None:
        for name, figure in zip(_Figures.__slots__, figures, strict=True):
            setattr(self, name, figure)
        # How much of malloc_used may be other mappings instead: malloc's large blocks
        # can't be told from these, and so many bytes of them aren't resident.
        self._unwritten = unwritten
        self._asked = asked
        self._counted = counted  # (which count it is, bytes)

    def since(self, before: Breakdown) -> Growth:
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

    def as_dict(self) -> dict[str, object]:
        """Return the differences by name, and the sentence, for JSON say."""
        large = {"python_large": self.python_large, "sentence": self.sentence}
        return super().as_dict() | large

    def __str__(self) -> str:
        lines = _table(self.now, self.now, self)
        if self.python_large is not None:
            place = "other" if self.malloc_used is None else "malloc_used"
            words = "    of that, Python objects above 512 bytes"
            line = f"{words:50}{self.python_large / MB:+10.1f}"
            lines.insert(2 + list(PLACES).index(place), line)
        return "\n".join([*lines, self.sentence])

    @property
    def sentence(self) -> str:
        private, swapped = self.uss or 0, self.swap or 0
        worth_it = max(2 * MB, self.before.rss // 50)
        if self.rss < worth_it:
            if swapped >= worth_it:
                return f"{_mb(swapped)} MB more are swapped out, of what can't be told."
            if private >= worth_it:
                return f"RSS stands still, but {_mb(private)} MB {_COPIED}."
            if self.rss <= -worth_it:
                return f"RSS fell by {_mb(-self.rss)} MB."
            return "No growth worth the name."
        # CPython 3.12 and 3.13 crash where a generator, or an inner function, finds
        # no memory.
        grown = sorted([place for place in self._places() if place[0] > 0])[::-1]
        whole = sum([size for size, _ in grown])
        said = [
            f"{100 * size / whole:.0f} % of the growth ({_mb(size)} MB) is {words}"
            for size, words in grown
            if size >= 0.15 * whole
        ]
        return "; ".join(said) + "."

    def _places(self) -> list[tuple[int, str]]:
        """By how many bytes each place grew, and the words for it."""
        sizes = {name: getattr(self, name) or 0 for name in PLACES}
        words = dict(_WORDS)
        if self.trimmable is not None:
            words["malloc_free"] += " {} to {} MB".format(*map(_mb, self.trimmable))
        if self.now.python_small is None:
            words["other"] = words["other_or_python"]
        elif self.now.malloc_used is None:
            words["other"] = words["other_or_malloc"].format(self.allocator)
        # In malloc, whoever owns it.
        place = "other" if self.now.malloc_used is None else "malloc_used"
        unwritten = max(self.before._unwritten, self.now._unwritten)
        if unwritten > 0.15 * max(sizes[place], 2 * MB):
            words[place] = words["malloc_or_other"]
        elif self.python_large is not None:
            rest = sizes[place] - self.python_large
            if rest > -max(2 * MB, self.python_large // 10):
                sizes["python_large"], sizes[place] = self.python_large, rest
                words["malloc_used"] = words["malloc_by_c"]
            else:  # of blocks that aren't large, and whose can't be told
                words[place] = words["malloc_partly_written"]
        elif self.now._asked or self.before._asked:
            words["malloc_used"] = words["malloc_by_anybody"]
        return [(size, words[name]) for name, size in sizes.items()]


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
        "trim() can't give it back"
    ),
    "malloc_used": (
        "in use in malloc: breakdown(count=True) at both moments tells whether by "
        "Python, where tracemalloc sees it, or by C, where memray --native does"
    ),
    "malloc_by_c": (
        "in use in malloc, and not by Python's own objects: memray --native shows the "
        "C code that took it, tracemalloc the arrays of NumPy before 2.5"
    ),
    "malloc_by_anybody": (
        "in use in malloc, by Python or by C: tracemalloc shows what Python took, "
        "memray --native both"
    ),
    "malloc_partly_written": (
        "in use in malloc, where Python took more than was written to: tracemalloc "
        "shows what Python took, memray --native both"
    ),
    "malloc_or_other": (
        "in use in malloc, or in other mappings, from which malloc's large blocks "
        "can't be told while not all of them are written to: tracemalloc shows what "
        "Python took, memray --native all"
    ),
    "malloc_free": (
        "freed, and held by malloc: MALLOC_ARENA_MAX=2 lets threads hold less of it, "
        "trim() gives back"
    ),
    "lazy_free": (
        "given back by a library, and resident until the system needs it: nothing to do"
    ),
    "stacks": "thread stacks: threading.enumerate() and py-spy dump show the threads",
    "files": "pages of libraries and mapped files: nothing to do",
    "shared": "shared memory: who made it, in /dev/shm say, has to remove it",
    "other": (
        "in mappings of neither Python nor malloc, such as an mmap or a library's own "
        "pool: ask the library, as by pyarrow.total_allocated_bytes(); memray --native "
        "sees mmap"
    ),
    "other_or_malloc": (
        "in malloc, which is {}'s, or in other mappings: ask that allocator; "
        "tracemalloc shows what Python took of it, memray --native all"
    ),
    "other_or_python": (
        "in memory that can't be told apart here: tracemalloc shows Python's objects, "
        "memray --native also what C took"
    ),
}


def _mb(size: int) -> str:
    return f"{size / MB:.1f}"


def _table(now: Breakdown, *columns: _Figures) -> list[str]:
    lines = [_line("RSS (MB)", "rss", columns)]
    for name, words in PLACES.items():
        lines.append(_line(f"  {words}", name, columns))
        if name == "malloc_free" and now.trimmable is not None:
            lines[-1] += "   trim(): {} to {}".format(*map(_mb, now.trimmable))
    lines += [_line(words, name, columns) for name, words in BESIDE.items()]
    lines.append(f"malloc is {now.allocator}'s.")
    return lines


def _line(words: str, name: str, columns: tuple[_Figures, ...]) -> str:
    line = f"{words:40}"
    for column in columns:
        size = getattr(column, name)
        sign = "+" if isinstance(column, Growth) else ""
        line += f"{'?':>10}" if size is None else f"{size / MB:{sign}10.1f}"
    return line
