"""Python without a GIL: the import leaves it off, and no count is lost."""

import sysconfig

import pytest

pytestmark = [
    pytest.mark.threads,
    pytest.mark.skipif(
        not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python has a GIL"
    ),
]

# Eight threads, let go at once: what is done once per process is then done in a race.
PRELUDE = """
import threading
import memprobe

def at_once(*works):
    start = threading.Barrier(len(works))
    failures = []

    def guarded(work):
        start.wait()
        try:
            work()
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
"""


def test_the_import_leaves_the_gil_off(run_python, monkeypatch):
    """A module that doesn't promise to need no GIL would switch it on, and warn."""
    monkeypatch.delenv("PYTHON_GIL", raising=False)
    run_python("""
import sys
assert not sys._is_gil_enabled()
import memprobe
memprobe.sample_mem()
assert not sys._is_gil_enabled()
""")


def test_the_first_calls_of_eight_threads_lose_no_sample(run_python):
    for _ in range(10):
        run_python(f"""{PRELUDE}
at_once(*[memprobe.sample_mem] * 8)
assert memprobe.stats().count == len(memprobe.snapshot()) == 8
""")


def test_eight_threads_lose_no_sample(run_python):
    run_python(f"""{PRELUDE}
def work():
    for _ in range(5000):
        assert memprobe.sample_mem().endswith("MB")

memprobe.configure(capacity=40_000)
at_once(*[work] * 8)
stats = memprobe.stats()
assert stats.count == stats.stored == 40_000
times = [ns for ns, _ in memprobe.snapshot().tolist()]
assert times == sorted(times)

memprobe.clear()
memprobe.configure(capacity=1000)
at_once(*[work] * 8)
stats = memprobe.stats()
assert (stats.count, stats.stored, stats.overwritten) == (40_000, 1000, 39_000)
""")


def test_all_functions_at_once_count_every_sample(run_python):
    """Each sample is in exactly one dump, or overwritten, or still there at the end."""
    run_python(
        f"""{PRELUDE}
import io
done = threading.Event()
sampling = threading.Barrier(4, action=done.set)
dumped = []

def sample():
    for _ in range(3000):
        memprobe.sample_mem()
    sampling.wait()

def dump():
    finished = False
    while not finished:
        finished = done.is_set()
        out = io.StringIO()
        memprobe.memdump(10**9, file=out)
        dumped.append(out.getvalue().count("    > "))

def look():
    while not done.is_set():
        rows = memprobe.snapshot().tolist()
        assert all(rss > 2**20 for _, rss in rows)
        assert rows == sorted(rows, key=lambda row: row[0])
        stats = memprobe.stats()
        assert stats.count == stats.stored + stats.overwritten
        assert stats.count == 0 or stats.min <= stats.last <= stats.max

def resize():
    while not done.is_set():
        for capacity in (12_000, 40_000, 20_000):
            memprobe.configure(capacity=capacity, min_interval=0)

def read():
    while not done.is_set():
        now = memprobe.rss()
        assert memprobe.peak_rss() >= now > 2**20
        assert memprobe.mem_rss().endswith("MB")

at_once(*[sample] * 4, dump, look, resize, read)
memprobe.configure(capacity=40_000)
assert sum(dumped) + memprobe.stats().count == 12_000, (sum(dumped), memprobe.stats())
""",
        timeout=300,
    )
