"""What breakdown() says of growth whose cause is known, what it costs, and its count.

    python benchmarks/breakdown.py growth [ROUNDS [CAUSE...]]   each in a new process
    python benchmarks/breakdown.py cost
    python benchmarks/breakdown.py count

The causes are those of tests/api/growth_causes.py, of random sizes. Those that need
a library which isn't there are left out.
"""

import ctypes
import gc
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "api"))

import growth_causes

import memprobe

MB = 2**20
PLACES = """
    python_small python_large python_free malloc_used malloc_free lazy_free stacks files
    shared other
""".split()


def run_cause(cause, megabytes):
    """What growth_causes.py prints; None without the library that it needs."""
    command = [sys.executable, growth_causes.__file__, cause, str(megabytes)]
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300
    )
    if result.returncode == 3:
        return None
    result.check_returncode()
    return json.loads(result.stdout)


def place_of(growth):
    """The largest growth, with Python's own part of malloc by itself."""
    large = growth["python_large"] or 0
    growth = {**growth, "malloc_used": (growth["malloc_used"] or 0) - large}
    return max(PLACES, key=lambda place: growth[place] or 0)


def growth(rounds="22", *names):
    print(f"{'cause':22}{'of':>5}  {'said':36}{'named':>7}{'found':>14}{'trim':>6}")
    for cause, (true, words) in growth_causes.CAUSES.items():
        if names and cause.__name__ not in names:
            continue
        said, shares, named, trims = {}, [], 0, 0
        for _ in range(int(rounds)):
            megabytes = random.randrange(40, 160)
            found = run_cause(cause.__name__, megabytes)
            if found is None:
                break
            grew = found["growth"]
            small = "No growth" in grew["sentence"]
            quiet = small or true == "uss"
            place = "nothing" if small else "uss" if quiet else place_of(grew)
            said[place] = said.get(place, 0) + 1
            named += words in grew["sentence"]
            if true is not None:
                shares.append(grew[true] / megabytes / MB)
            least, most = found["now"]["trimmable"]
            trims += least - MB < found["trimmed"] < most + MB
        if said:
            total = sum(said.values())
            places = ", ".join(f"{place} {n}" for place, n in said.items())
            share = f"{min(shares):.2f} to {max(shares):.2f}" if shares else ""
            places = f"{places:36}{named:7}"
            print(f"{cause.__name__:22}{total:5}  {places}{share:>14}{trims:6}")
            sys.stdout.flush()


def best_of(call, times):
    """The least time of a call, in seconds of this thread on a CPU."""
    best = float("inf")
    for _ in range(times):
        start = time.thread_time()
        call()
        best = min(best, time.thread_time() - start)
    return best


def cost():
    libc, python = ctypes.CDLL(None), ctypes.pythonapi
    libc.fopen.restype = ctypes.c_void_p
    null = ctypes.c_void_p(libc.fopen(b"/dev/null", b"w"))

    def show(what, times=20):
        rss = memprobe.rss() / MB
        whole = best_of(memprobe.breakdown, times)
        held = best_of(lambda: python._PyObject_DebugMallocStats(null), times)
        print(f"{what:34}{rss:8.0f} MB{whole * 1e3:9.2f} ms{held * 1e3:9.2f} ms")

    print(f"{'':34}{'RSS':>11}{'breakdown()':>12}{'with the GIL':>12}")

    show("a process as it starts", 200)
    kept = growth_causes.kept_bytes(1024 * MB)
    show("1 GB of bytes, 5000 each")
    del kept
    memprobe.trim()
    kept = growth_causes.small_objects(1024 * MB)
    show("1 GB of small objects")
    del kept
    gc.collect()
    kept = growth_causes.private_mapping(1024 * MB)
    show("1 GB in one mapping")
    del kept
    growth_causes.fragment(2_000_000 * 600, 600, 2)
    show("a million free chunks")
    start = time.thread_time()
    given = memprobe.trim()
    took = time.thread_time() - start
    print(f"{'trim() of it':34}{given / MB:8.0f} MB{took * 1e3:9.2f} ms")


TURNS = 5000
WORKS = {
    "bytes of 512": "bytes(479)",
    "bytes of 600": "bytes(567)",
    "bytes of 5000": "bytes(4967)",
    "list of 100 items": "[i] * 100",
    "dict of 100 items": "dict.fromkeys(range(100))",
    "bytes that grow": "bytearray(b'x' * 600).extend(b'x' * 600)",
}
WORKS = {
    name: eval(f"lambda: [None for i in range({TURNS}) if {work} == 0]")
    for name, work in WORKS.items()
}


def time_works(counted):
    """The least times, in a child of this process."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        if counted:
            before = memprobe.breakdown(count=True)
            assert before.since(before).python_large == 0
        times = [best_of(work, 20) for work in WORKS.values()]
        os.write(writer, json.dumps(times).encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as pipe:
        times = json.load(pipe)
    os.wait()
    return times


def count():
    """Ratios of minima over ten rounds in turn, with the count and without."""
    rounds = [(time_works(False), time_works(True)) for _ in range(10)]
    for i, name in enumerate(WORKS):
        without = min(times[i] for times, _ in rounds)
        counted = min(times[i] for _, times in rounds)
        ns = (counted - without) / TURNS * 1e9
        print(f"{name:30}{counted / without:6.3f}{ns:8.1f} ns a turn")


if __name__ == "__main__":
    {"growth": growth, "cost": cost, "count": count}[sys.argv[1]](*sys.argv[2:])
