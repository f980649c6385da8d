"""How much memory this process holds (RSS), now and over time.

from memprobe import sample_mem, memdump
"""

import memprobe._as_command
import memprobe._built  # noqa: F401  # first: it may put another memprobe here
from memprobe._include import get_include
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
)
from memprobe._process import ps
from memprobe._recorder import record, stop_recording
from memprobe._sampler import sampling, start_sampling, stop_sampling
from memprobe._samples import Stats, memdump, sample, stats
from memprobe._version import __version__ as __version__

__all__ = [
    "Stats",
    "above",
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
]
