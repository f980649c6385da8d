"""The stored samples: snapshot(), stats(), clear(), configure()."""

import collections
import copy
import itertools
import mmap
import pickle
import statistics
import threading
import time

import pytest

import memprobe

pytestmark = [pytest.mark.calls_c, pytest.mark.threads]


def take(count):
    grown = []
    for _ in range(count):
        memprobe.sample_mem()
        grown.append(bytearray(64 * 1024))


def test_snapshot_is_time_and_bytes_oldest_first():
    before = time.monotonic_ns()
    take(100)
    after = time.monotonic_ns()
    view = memprobe.snapshot()
    assert isinstance(view, memoryview)
    assert (view.format, view.shape, view.itemsize) == ("q", (100, 2), 8)
    assert view.c_contiguous
    rows = view.tolist()
    times = [ns for ns, _ in rows]
    assert before <= times[0] <= times[-1] <= after
    assert times == sorted(times)
    assert all(rss > 2**20 for _, rss in rows)
    assert view[99, 1] == memprobe.stats().last


def test_snapshot_without_samples_has_no_rows():
    view = memprobe.snapshot()
    assert (view.format, view.shape, view.nbytes) == ("q", (0, 2), 0)
    assert view.tolist() == []


def test_snapshot_is_a_copy():
    take(3)
    view = memprobe.snapshot()
    rows = view.tolist()
    memprobe.clear()
    take(5)
    assert view.tolist() == rows
    assert len(view.cast("B").tobytes()) == 3 * 2 * 8


def test_numpy_takes_a_snapshot_as_it_is():
    numpy = pytest.importorskip("numpy")
    assert numpy.asarray(memprobe.snapshot()).shape == (0, 2)
    take(4)
    array = numpy.asarray(memprobe.snapshot())
    assert array.dtype == numpy.int64
    assert array.tolist() == memprobe.snapshot().tolist()


def test_stats_are_over_everything_that_was_stored():
    take(50)
    rows = memprobe.snapshot().tolist()
    values = [rss for _, rss in rows]
    stats = memprobe.stats()
    assert stats == memprobe.Stats(
        count=50,
        stored=50,
        overwritten=0,
        first=values[0],
        last=values[-1],
        min=min(values),
        max=max(values),
        mean=statistics.mean(values),
        seconds=(rows[-1][0] - rows[0][0]) / 1e9,
    )
    assert stats._asdict()["count"] == 50


def test_stats_include_overwritten_samples():
    block = mmap.mmap(-1, 50 * 2**20)
    for page in range(0, len(block), mmap.PAGESIZE):
        block[page] = 1
    memprobe.configure(capacity=10)
    memprobe.sample_mem()
    highest = memprobe.stats().max
    block.close()
    take(99)
    stats = memprobe.stats()
    assert stats.count == 100
    assert stats.stored == 10
    assert stats.overwritten == 90
    assert stats.first == stats.max == highest
    assert min(rss for _, rss in memprobe.snapshot().tolist()) >= stats.min
    assert stats.min < stats.mean < stats.max


def test_stats_without_samples_have_none_where_a_sample_is_needed():
    assert memprobe.stats() == (0, 0, 0, None, None, None, None, None, None)


def test_stats_are_a_named_tuple():
    names = "count stored overwritten first last min max mean seconds"
    made = collections.namedtuple("Stats", names)(*range(9))
    stats = memprobe.Stats(*range(9))
    assert stats == made == memprobe.Stats(**made._asdict())
    assert (stats._fields, stats.__match_args__) == (made._fields, made.__match_args__)
    assert [getattr(stats, name) for name in stats._fields] == list(range(9))
    assert (repr(stats), stats.as_dict()) == (repr(made), made._asdict())
    assert stats._replace(count=9) == (9, *made[1:])
    for same in (copy.copy(stats), pickle.loads(pickle.dumps(stats))):
        assert same == stats
        assert type(same) is memprobe.Stats
    with pytest.raises(TypeError):
        memprobe.Stats(1)
    with pytest.raises(TypeError):
        stats._replace(size=1)
    with pytest.raises(AttributeError):
        stats.count = 1


def test_clear_forgets_samples_and_the_count_of_overwritten_ones():
    memprobe.configure(capacity=5)
    take(8)
    memprobe.clear()
    assert memprobe.stats().count == memprobe.stats().overwritten == 0
    assert memprobe.snapshot().shape == (0, 2)
    take(1)
    assert memprobe.stats().count == 1


def test_capacity_keeps_the_newest_that_fit():
    take(20)
    rows = memprobe.snapshot().tolist()
    memprobe.configure(capacity=7)
    assert memprobe.snapshot().tolist() == rows[13:]
    assert memprobe.stats().overwritten == 13
    memprobe.configure(capacity=30)
    assert memprobe.snapshot().tolist() == rows[13:]
    take(30)
    assert memprobe.stats().stored == 30
    assert memprobe.stats().count == 50


def test_capacity_that_finds_no_memory_changes_nothing():
    take(20)
    rows = memprobe.snapshot().tolist()
    for capacity in (2**45, 2**60, 2**64 - 1, 2**64, 10**30):
        with pytest.raises(MemoryError, match=str(capacity)):
            memprobe.configure(capacity=capacity, min_interval=5)
        assert memprobe.snapshot().tolist() == rows
    take(1)
    assert memprobe.stats().count == 21


def test_configure_with_a_wrong_argument_changes_nothing():
    memprobe.configure(capacity=5)
    take(9)
    with pytest.raises(ValueError, match="min_interval"):
        memprobe.configure(capacity=3, min_interval=-1)
    with pytest.raises(ValueError, match="capacity"):
        memprobe.configure(capacity=0, min_interval=1000)
    assert memprobe.stats().stored == 5
    take(1)
    assert memprobe.stats().count == 10
    memprobe.configure()
    memprobe.configure(capacity=None, min_interval=None)
    assert memprobe.stats().stored == 5


def test_default_capacity_is_65536():
    for _ in range(65537):
        memprobe.sample_mem()
    stats = memprobe.stats()
    assert (stats.stored, stats.overwritten) == (65536, 1)


def test_a_sample_within_min_interval_is_not_stored():
    memprobe.configure(min_interval=3600)
    texts = {memprobe.sample_mem() for _ in range(1000)}
    assert len(texts) == 1
    assert memprobe.stats().count == 1
    memprobe.clear()
    memprobe.sample_mem()
    assert memprobe.stats().count == 1
    memprobe.configure(min_interval=0)
    memprobe.sample_mem()
    assert memprobe.stats().count == 2


def test_samples_are_at_least_min_interval_apart_in_all_threads():
    interval = 0.0005
    memprobe.configure(min_interval=interval)
    end = time.monotonic() + 0.5
    barrier = threading.Barrier(4)

    def work():
        barrier.wait()
        while time.monotonic() < end:
            memprobe.sample_mem()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times = [ns for ns, _ in memprobe.snapshot().tolist()]
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert len(gaps) > 50
    assert min(gaps) >= interval * 1e9


def test_threads_lose_no_sample():
    threads, each = 8, 5000
    memprobe.configure(capacity=threads * each)
    barrier = threading.Barrier(threads)

    def work():
        barrier.wait()
        for _ in range(each):
            memprobe.sample_mem()

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    stats = memprobe.stats()
    assert (stats.count, stats.stored) == (threads * each, threads * each)
    times = [ns for ns, _ in memprobe.snapshot().tolist()]
    assert times == sorted(times)
