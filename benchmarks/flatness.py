"""Does anything cost more once many samples were taken?

As a program, `flatness.py CAPACITY MANY LIBRARY STATES ROUNDS` measures in this
process, after ten samples and after MANY, and prints JSON. LIBRARY is made of floor.c,
STATES of states.c.
"""

import contextlib
import gc
import json
import sys
import time
import timeit

import states
from floor import load
from interleave import interleave

import memprobe

FEW = 10
COLD = 100_000  # samples after which memdump's code has left the caches


class KeepTheSamples(Exception):
    pass


class LastLineFails:
    """A file that keeps nothing and makes memdump() keep its samples."""

    def write(self, text):
        if text.startswith("- rss (end)"):
            raise KeepTheSamples


class Nowhere:
    """A file that keeps nothing."""

    def write(self, text):
        pass


def least_ns(function, count):
    """The least CPU time of *count* calls; CPU time, because it may be one call."""
    times = []
    for _ in range(count):
        start = time.thread_time_ns()
        function()
        times.append(time.thread_time_ns() - start)
    return min(times)


def fill(count):
    timeit.timeit(memprobe.sample_mem, number=count)


def start_anew():
    memprobe.clear()
    fill(FEW)


def dump():
    with contextlib.suppress(KeepTheSamples):
        memprobe.memdump(file=LastLineFails())


def dump_and_forget():
    memprobe.memdump(file=Nowhere())


def measure(capacity, many, library, states_library, rounds):
    floor = load(library)
    measure_state = states.load(states_library)

    def in_states():
        # A tenth of the rounds: while RSS rises, each keeps some pages for good.
        return {
            state: measure_state(state, memprobe.sample_mem, rounds // 10)["ratio"]
            for state in states.STATES
        }

    namespace = {"sample_mem": memprobe.sample_mem}
    timer = timeit.Timer("sample_mem()", "", time.perf_counter_ns, namespace).timeit
    memprobe.configure(capacity=capacity)
    gc.freeze()  # or memdump's gc.collect() is nearly all of what it takes

    # 100 calls a round are few enough to be the ones right after the first ten.
    counts = (100, 100)
    sample_few = interleave(floor, timer, rounds, counts, start_anew)
    start_anew()
    states_few = in_states()
    start_anew()
    stats_few = least_ns(memprobe.stats, 1000)
    dump_few = least_ns(dump, 1000)
    fill(COLD)
    start_anew()
    dump_once_few = least_ns(dump_and_forget, 1)

    fill(many)
    sample_many = interleave(floor, timer, rounds, counts)
    states_many = in_states()
    stats_many = least_ns(memprobe.stats, 1000)
    dump_many = least_ns(dump, 1000)
    fill(COLD)
    dump_once_many = least_ns(dump_and_forget, 1)

    return {
        "capacity": capacity,
        "few": FEW,
        "many": many,
        "sample_mem": {"few": sample_few, "many": sample_many},
        "states": {"few": states_few, "many": states_many},
        "stats_ns": {"few": stats_few, "many": stats_many},
        # All but the forgetting, which can't be repeated; and one that forgets.
        "memdump_ns": {"few": dump_few, "many": dump_many},
        "memdump_once_ns": {"few": dump_once_few, "many": dump_once_many},
    }


if __name__ == "__main__":
    capacity, many, *libraries, rounds = sys.argv[1:]
    result = measure(int(capacity), int(many), *libraries, int(rounds))
    json.dump(result, sys.stdout)
