"""Many threads at once: nothing is lost, counted twice, or torn."""

import pytest

pytestmark = [pytest.mark.calls_c, pytest.mark.threads]

# Threads that start at the same moment and give the GIL away as often as they can. An
# exception in one of them is printed on standard error, which fails the test.
TOGETHER = """
import io, re, sys, threading
import memprobe
from memprobe._memprobe import _select_samples

sys.setswitchinterval(1e-6)

def ever_stored():
    return _select_samples(0)[2]  # this counter only grows, whatever is forgotten

def repeat(call, times):
    def work():
        for _ in range(times):
            call()
    return work

def run_together(samplers, others):
    '''Run the samplers once each, and each of the others until they are done.'''
    barrier = threading.Barrier(len(samplers) + len(others))
    done = threading.Event()

    def sampling(work):
        barrier.wait()
        work()

    def beside(call):
        barrier.wait()
        while not done.is_set():
            call()

    first = [threading.Thread(target=sampling, args=(f,)) for f in samplers]
    second = [threading.Thread(target=beside, args=(f,)) for f in others]
    for thread in first + second:
        thread.start()
    for thread in first:
        thread.join()
    done.set()
    for thread in second:
        thread.join()
"""


def test_every_function_at_once_and_every_sample_is_stored(run_python):
    run_python(
        TOGETHER
        + """
def dump():
    memprobe.memdump(file=io.StringIO())

def resize(sizes=iter(range(10**9))):
    memprobe.configure(capacity=1 + next(sizes) % 500)

before = ever_stored()
run_together(
    [repeat(memprobe.sample_mem, 1500)] * 4,
    [dump, dump, memprobe.clear, resize, memprobe.snapshot, memprobe.stats,
     memprobe.rss, memprobe.peak_rss, memprobe.mem_rss],
)
assert ever_stored() - before == 6000, ever_stored() - before
memprobe.clear()
assert memprobe.stats().count == 0
memprobe.sample_mem()
assert memprobe.stats().count == len(memprobe.snapshot()) == 1
"""
    )


def test_what_is_read_beside_samplers_and_resizing_is_whole(run_python):
    run_python(
        TOGETHER
        + """
import mmap, random, time

def resize():
    memprobe.configure(capacity=random.randrange(1, 300))

def read_stats(seen=[0]):
    stats = memprobe.stats()
    assert stats.count == stats.stored + stats.overwritten >= seen[0], (stats, seen)
    assert stats.stored <= 300, stats
    seen[0] = stats.count
    if stats.count:
        assert 0 < stats.min <= stats.first <= stats.max, stats
        assert stats.min <= stats.last <= stats.max, stats
        assert stats.min <= stats.mean <= stats.max and stats.seconds >= 0, stats

def read_snapshot():
    rows = memprobe.snapshot().tolist()
    times = [ns for ns, _ in rows]
    assert len(rows) <= 300 and times == sorted(times)
    stats = memprobe.stats()
    for ns, rss in rows:
        assert start <= ns <= time.monotonic_ns(), ns
        assert rss % mmap.PAGESIZE == 0, rss
        assert stats.min <= rss <= stats.max, (rss, stats)

memprobe.configure(capacity=300)
start = time.monotonic_ns()
run_together(
    [repeat(memprobe.sample_mem, 2000)] * 4,
    [resize, resize, read_stats, read_snapshot, read_snapshot],
)
assert memprobe.stats().count == 8000, memprobe.stats()
"""
    )


def test_each_sample_is_printed_once_or_counted_as_overwritten(run_python):
    """While the ring is resized. The last dump prints what the others left."""
    run_python(
        TOGETHER
        + """
import random

def resize():
    memprobe.configure(capacity=random.randrange(1, 300))

counted = 0

def dump():
    global counted
    out = io.StringIO()
    memprobe.memdump(10**9, file=out)
    counted += out.getvalue().count("    > ")
    overwritten = re.search(r"overwritten\\): (\\d+) older", out.getvalue())
    counted += int(overwritten[1]) if overwritten else 0

run_together([repeat(memprobe.sample_mem, 2000)] * 4, [resize, dump])
dump()
assert counted == 8000, counted
"""
    )


def test_an_interval_that_comes_and_goes_stores_at_most_what_was_asked(run_python):
    run_python(
        TOGETHER
        + """
texts = []

def sample():
    text = memprobe.sample_mem()
    assert text.endswith("B"), text
    texts.append(text)

run_together(
    [repeat(sample, 2000)] * 4,
    [lambda: memprobe.configure(min_interval=3600),
     lambda: memprobe.configure(min_interval=0)],
)
assert len(texts) == 8000
assert 1 <= memprobe.stats().count <= 8000, memprobe.stats()
memprobe.configure(min_interval=3600)
memprobe.clear()
run_together([repeat(sample, 500)] * 8, [])
assert memprobe.stats().count == 1, memprobe.stats()
"""
    )


def test_threads_that_make_the_first_readings_share_one_ring(run_python):
    for _ in range(5):
        run_python(
            TOGETHER
            + """
run_together([memprobe.sample_mem] * 16, [])
assert memprobe.stats().count == 16, memprobe.stats()
"""
        )


def test_threads_get_the_same_process_object(run_python):
    pytest.importorskip("psutil")
    run_python(
        TOGETHER
        + """
found = []
run_together([lambda: found.append(memprobe.ps())] * 16, [])
assert len(found) == 16 and len(set(map(id, found))) == 1, found
"""
    )
