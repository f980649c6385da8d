"""How much memory this process holds (RSS), now and over time.

from memprobe import sample_mem, memdump

(PYTEST_DONT_REWRITE: pytest would rewrite what is installed along with a plugin, and
warns of what is imported already.)
"""

__version__ = "0.1.0"

import sys

# What `python -m` has there while it looks for a module, which may be this one.
if getattr(sys, "argv", [])[:1] == ["-m"]:
    import memprobe._as_command  # noqa: F401

from memprobe._built import get_include  # it may put another memprobe here
from memprobe._measure import measure
from memprobe._memprobe import (
    above,
    clear,
    configure,
    humanbytes,
    mem_rss,
    peak_rss,
    rss,
    rss_anon,
    sample_mem,
    snapshot,
    trim,
)
from memprobe._process import ps
from memprobe._recorder import record, stop_recording
from memprobe._sampler import sampling, start_sampling, stop_sampling
from memprobe._samples import Stats, memdump, sample, stats

TYPE_CHECKING = False
if TYPE_CHECKING:
    from memprobe._breakdown import Breakdown, breakdown
    from memprobe._ipython import load_ipython_extension as load_ipython_extension
else:

    def __getattr__(name):
        """Load what is asked for on demand only: it takes a fifth of the import."""
        if name == "load_ipython_extension":  # by %load_ext memprobe
            from memprobe._ipython import load_ipython_extension

            return load_ipython_extension
        if name not in {"Breakdown", "breakdown"}:
            raise AttributeError(f"module 'memprobe' has no attribute {name!r}")
        from memprobe._breakdown import Breakdown, breakdown

        globals().update(Breakdown=Breakdown, breakdown=breakdown)
        return globals()[name]

    def __dir__():
        return sorted({*globals(), *__all__})


__all__ = [
    "Breakdown",
    "Stats",
    "above",
    "breakdown",
    "clear",
    "configure",
    "get_include",
    "humanbytes",
    "measure",
    "mem_rss",
    "memdump",
    "peak_rss",
    "ps",
    "record",
    "rss",
    "rss_anon",
    "sample",
    "sample_mem",
    "sampling",
    "snapshot",
    "start_sampling",
    "stats",
    "stop_recording",
    "stop_sampling",
    "trim",
]
