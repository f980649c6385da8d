"""What one reading costs: memprobe and its rivals, each in a process of its own.

As a program, `readings.py NAME LIBRARY ROUNDS` is that process; it prints JSON.
"""

import importlib.util
import json
import sys
import time
import timeit
from typing import NamedTuple

from floor import load
from interleave import interleave


class Reading(NamedTuple):
    group: str  # whose it is, for the chart: floor, loop, memprobe, peer, python
    module: str
    setup: str
    statement: str
    note: str = ""


# By name, as the README calls them. The statement alone is timed, in a loop by timeit.
READINGS = {
    "pread in a C loop": Reading("floor", "", "", ""),
    "an empty loop": Reading("loop", "", "", "pass"),
    "a C function that does nothing": Reading(
        "loop", "gc", "from gc import isenabled", "isenabled()"
    ),
    "memprobe rss()": Reading(
        "memprobe", "memprobe", "from memprobe import rss", "rss()"
    ),
    "memprobe sample_mem()": Reading(
        "memprobe", "memprobe", "from memprobe import sample_mem", "sample_mem()"
    ),
    "memprobe mem_rss()": Reading(
        "memprobe", "memprobe", "from memprobe import mem_rss", "mem_rss()"
    ),
    "memprobe sample_mem(), throttled": Reading(
        "memprobe",
        "memprobe",
        "from memprobe import configure, sample_mem\n"
        "configure(min_interval=3600)\n"
        "sample_mem()",
        "sample_mem()",
        "no reading",
    ),
    "memprobe peak_rss()": Reading(
        "memprobe",
        "memprobe",
        "from memprobe import peak_rss",
        "peak_rss()",
        "peak only",
    ),
    "psutil memory_info().rss": Reading(
        "peer",
        "psutil",
        "import psutil\nprocess = psutil.Process()",
        "process.memory_info().rss",
    ),
    "Celery sample_mem()": Reading(
        "peer",
        "celery",
        "from celery.utils.debug import sample_mem",
        "sample_mem()",
    ),
    # Without interval=0 it sleeps for 100 ms after the reading.
    "memory_profiler memory_usage()": Reading(
        "peer",
        "memory_profiler",
        "from memory_profiler import memory_usage",
        "memory_usage(-1, interval=0, max_iterations=1)",
    ),
    "pymemtrace rss()": Reading(
        "peer", "pymemtrace", "from pymemtrace.cPyMemTrace import rss", "rss()"
    ),
    "resource.getrusage()": Reading(
        "python",
        "resource",
        "from resource import RUSAGE_SELF, getrusage",
        "getrusage(RUSAGE_SELF).ru_maxrss * 1024",
        "peak only",
    ),
    "Python: pread of an open statm": Reading(
        "python",
        "os",
        "from os import O_CLOEXEC, O_RDONLY, open, pread, sysconf\n"
        "fd = open('/proc/self/statm', O_RDONLY | O_CLOEXEC)\n"
        "page = sysconf('SC_PAGESIZE')",
        "int(pread(fd, 256, 0).split()[1]) * page",
    ),
    "Python: open, read, split": Reading(
        "python",
        "os",
        "from os import sysconf\npage = sysconf('SC_PAGESIZE')",
        "with open('/proc/self/statm') as statm:\n"
        "    rss = int(statm.read().split()[1]) * page",
    ),
}


def missing(reading):
    """Is what the reading needs not installed?"""
    return reading.module != "" and importlib.util.find_spec(reading.module) is None


def measure(name, library, rounds):
    """Measure one reading against the floor, in this process."""
    reading = READINGS[name]
    floor = load(library)
    if reading.group == "floor":
        return interleave(floor, floor, rounds)
    namespace = {}
    exec(reading.setup, namespace)
    timer = timeit.Timer(reading.statement, "", time.perf_counter_ns, namespace)
    return interleave(floor, timer.timeit, rounds)


if __name__ == "__main__":
    name, library, rounds = sys.argv[1:]
    json.dump(measure(name, library, int(rounds)), sys.stdout)
