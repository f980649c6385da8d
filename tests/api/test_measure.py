"""measure(): what a block does to RSS."""

import asyncio
import mmap
import os
import threading
import time

import pytest

import memprobe
from memprobe import measure

MIB = 2**20


def touch(size):
    """Memory that the system has back once it is dropped, whatever the allocator."""
    block = mmap.mmap(-1, size)
    block[:: mmap.PAGESIZE] = b"x" * (size // mmap.PAGESIZE)
    return block


def test_figures_of_a_block_that_keeps_memory():
    with measure() as m:
        kept = touch(60 * MIB)
        time.sleep(0.01)
    assert m.after == pytest.approx(memprobe.rss(), rel=0.02)
    assert m.delta == m.after - m.before
    assert m.delta == pytest.approx(len(kept), rel=0.03)
    assert m.peak >= m.after
    assert 0.01 <= m.seconds < 30


def test_peak_is_exact_if_the_block_set_a_new_high_water_mark(run_python):
    """No sampler runs, and no reading is made while the memory is there."""
    run_python("""
import mmap
import memprobe
with memprobe.measure() as m:
    block = mmap.mmap(-1, 150 * 2**20)
    block[::4096] = b"x" * (150 * 2**20 // 4096)
    block.close()
assert m.peak - m.before > 149 * 2**20, m
assert m.peak == memprobe.peak_rss()
assert m.delta < 10 * 2**20
""")


@pytest.mark.skipif(not hasattr(os, "posix_spawn"), reason="ru_maxrss")
def test_peak_is_exact_after_exec_from_a_bigger_program(run_python):
    """ru_maxrss then starts at the bigger program's peak, VmHWM doesn't."""
    run_python("""
import os, sys
import memprobe
code = '''
import mmap, resource
import memprobe
def peak_of(size):
    with memprobe.measure() as m:
        block = mmap.mmap(-1, size)
        block[::4096] = b"x" * (size // 4096)
        block.close()
    return m.peak - m.before
assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 250 * 1024
assert 99 * 2**20 < peak_of(100 * 2**20) < 110 * 2**20
assert peak_of(2**20) < 50 * 2**20
assert 399 * 2**20 < peak_of(400 * 2**20) < 410 * 2**20
'''
block = b"x" * (300 * 2**20)
pid = os.posix_spawn(sys.executable, [sys.executable, "-c", code], os.environ)
assert os.waitpid(pid, 0)[1] == 0
""")


def test_peak_is_of_the_block_not_of_the_past():
    block = touch(200 * MIB)
    memprobe.rss()
    del block
    with measure() as m:
        kept = touch(MIB)
    assert m.peak < m.before + 50 * MIB
    del kept


def test_peak_below_the_past_is_seen_by_the_sampler():
    block = touch(300 * MIB)
    memprobe.rss()
    del block
    with memprobe.sampling(0.001), measure() as m:
        block = touch(100 * MIB)
        seen = memprobe.stats().count
        while memprobe.stats().count < seen + 3:
            time.sleep(0.001)
        del block
    assert m.peak - m.before >= 95 * MIB
    assert m.peak - m.before < 200 * MIB


def test_stores_nothing_and_leaves_the_sampler_alone():
    with measure():
        pass
    assert memprobe.stats().count == 0
    memprobe.start_sampling(0.001)
    with measure():
        pass
    with pytest.raises(RuntimeError):
        memprobe.start_sampling(0.001)
    memprobe.stop_sampling()


def test_nested_blocks_each_have_their_own_figures():
    past = touch(400 * MIB)
    memprobe.rss()
    del past
    with measure() as outer:
        first = touch(100 * MIB)
        memprobe.sample_mem()
        del first
        with measure() as inner:
            second = touch(50 * MIB)
            memprobe.sample_mem()
            del second
    assert outer.peak - outer.before == pytest.approx(100 * MIB, rel=0.05)
    assert inner.peak - inner.before == pytest.approx(50 * MIB, rel=0.05)


def test_concurrent_blocks_of_many_threads():
    errors = []

    def work():
        try:
            for _ in range(300):
                with measure() as m:
                    memprobe.sample_mem()
                assert m.peak >= max(m.before, m.after)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []


def test_one_object_measures_one_block_at_a_time():
    m = measure()
    with m, pytest.raises(RuntimeError, match="measuring a block already"):
        m.__enter__()
    with m:
        pass
    assert m.seconds is not None


def test_figures_are_none_before_the_first_block_ends():
    m = measure()
    assert m.before is m.after is m.delta is m.peak is m.seconds is None
    with m:
        assert m.peak is None


def test_figures_are_there_when_the_block_raises():
    m = measure()
    with pytest.raises(ZeroDivisionError), m:
        raise ZeroDivisionError
    assert m.peak >= m.before


def test_a_block_that_is_never_left_is_dropped_with_its_object():
    memprobe.sample_mem()
    for _ in range(1000):
        measure().__enter__()
    memprobe.sample_mem()
    with measure() as m:
        memprobe.sample_mem()
    assert m.peak >= m.before


def test_decorated_function_keeps_its_name_arguments_and_result():
    m = measure()

    @m
    def double(x, *, y=0):
        """Twice."""
        kept = touch(50 * MIB)
        memprobe.sample_mem()
        return 2 * x + y if kept else None

    assert double(3, y=1) == 7
    assert (double.__name__, double.__doc__) == ("double", "Twice.")
    assert m.peak - m.before > 40 * MIB
    assert m.seconds > 0


def test_decorated_function_that_raises_and_one_that_recurs():
    m = measure()

    @m
    def fail():
        raise KeyError("x")

    @m
    def count(n):
        return 0 if n == 0 else 1 + count(n - 1)

    with pytest.raises(KeyError):
        fail()
    assert m.seconds is not None
    assert count(50) == 50


def test_async_function_is_measured_over_its_whole_span():
    m = measure()

    @m
    async def work():
        kept = touch(50 * MIB)
        await asyncio.sleep(0.02)
        memprobe.sample_mem()
        return len(kept)

    assert asyncio.run(work()) == 50 * MIB
    assert m.seconds >= 0.02
    assert m.peak - m.before > 40 * MIB


def test_generator_is_measured_from_start_to_end():
    m = measure()

    @m
    def numbers():
        got = yield 1
        time.sleep(0.01)
        try:
            yield got
        except KeyError:
            yield "caught"
        return "done"

    generator = numbers()
    assert m.seconds is None
    assert next(generator) == 1
    assert generator.send("sent") == "sent"
    assert generator.throw(KeyError()) == "caught"
    with pytest.raises(StopIteration) as caught:
        next(generator)
    assert caught.value.value == "done"
    assert m.seconds >= 0.01


def test_generator_that_is_closed_early_is_measured_to_there():
    m = measure()

    @m
    def endless():
        while True:
            yield

    generator = endless()
    next(generator)
    assert m.seconds is None
    generator.close()
    assert m.seconds is not None


def test_async_generator_is_measured_from_start_to_end():
    m = measure()
    closed = []

    @m
    async def numbers():
        try:
            got = yield 1
            await asyncio.sleep(0.01)
            try:
                yield got
            except KeyError:
                yield "caught"
        finally:
            closed.append(True)

    async def use():
        generator = numbers()
        assert await anext(generator) == 1
        assert await generator.asend("sent") == "sent"
        assert await generator.athrow(KeyError()) == "caught"
        assert [item async for item in generator] == []
        early = numbers()
        assert await anext(early) == 1
        await early.aclose()

    asyncio.run(use())
    assert closed == [True, True]
    assert m.seconds is not None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no os.fork")
def test_a_block_may_be_left_in_a_forked_child(run_python):
    run_python("""
import os
import memprobe
with memprobe.measure() as m:
    pid = os.fork()
    memprobe.sample_mem()
if pid == 0:
    with memprobe.measure() as n:
        memprobe.sample_mem()
    os._exit(not m.peak >= m.before > 0 or not n.peak >= n.before > 0)
assert os.waitpid(pid, 0)[1] == 0
""")
