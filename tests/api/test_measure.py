"""measure(): what a block does to RSS."""

import asyncio
import mmap
import os
import sys
import threading
import time

import pytest

import memprobe
from memprobe import measure

pytestmark = [pytest.mark.calls_c, pytest.mark.threads]

MIB = 2**20
linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux's /proc")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no os.fork")
kernel = pytest.param("kernel", marks=linux)
PEAKS = ["watch", "ends"] + ["kernel"] * (sys.platform == "linux")


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


SIZES = (300, 290, 200, 100, 50, 310)


@pytest.mark.no_sanitizer  # shadow memory counts
@pytest.mark.no_tsan
@pytest.mark.parametrize("peak", ["watch", kernel])
def test_each_peak_is_seen_also_below_the_past(run_python, peak):
    """What the kernel's mark alone tells of the first and the last of them."""
    run_python(f"""
import memprobe
m = memprobe.measure(peak={peak!r})
for mb in {SIZES}:
    with m:
        bytearray(mb * 10**6)
    # After 50 ms it looks each 10 ms, in which the kernel hands out 13 MB.
    assert mb * 0.8 < (m.peak - m.before) / 10**6 < mb * 1.02, (mb, m)
    assert abs(m.delta) < 10**6
""")


@pytest.mark.no_sanitizer  # shadow memory counts
@pytest.mark.no_tsan
def test_both_ends_see_no_peak_below_the_past_and_start_no_thread(run_python):
    run_python(f"""
import os, memprobe
m = memprobe.measure(peak="ends")
peaks = []
for mb in {SIZES}:
    with m:
        bytearray(mb * 10**6)
    peaks.append(round((m.peak - m.before) / 10**7))
assert peaks == [30, 0, 0, 0, 0, 31], peaks
if os.path.exists("/proc/self/task"):
    assert len(os.listdir("/proc/self/task")) == 1
""")


def test_a_block_sees_all_readings_that_are_made_in_it():
    """Also those of rss(), which are not stored."""
    past = touch(300 * MIB)
    memprobe.rss()
    del past
    with measure(peak="ends") as outer:
        kept = touch(100 * MIB)
        highest = memprobe.rss()
        del kept
        with measure(peak="ends") as inner:
            pass
    assert outer.peak >= highest
    assert inner.peak - inner.before < MIB


def test_peak_below_the_past_is_seen_by_the_sampler():
    block = touch(300 * MIB)
    memprobe.rss()
    del block
    with memprobe.sampling(0.001), measure(peak="ends") as m:
        block = touch(100 * MIB)
        seen = memprobe.stats().count
        while memprobe.stats().count < seen + 3:
            time.sleep(0.001)
        del block
    assert m.peak - m.before >= 95 * MIB
    assert m.peak - m.before < 200 * MIB


def test_stores_nothing_and_leaves_the_sampler_alone():
    for peak in PEAKS:
        with measure(peak=peak):
            time.sleep(0.005)
    assert memprobe.stats().count == 0
    with memprobe.sampling(0.001):
        with measure():
            pass
        with pytest.raises(RuntimeError):
            memprobe.start_sampling(0.002)


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


def test_the_peak_is_by_one_of_three_ways():
    with pytest.raises(ValueError, match=r"peak must be one of .*, not 'exact'"):
        measure(peak="exact")
    with pytest.raises(TypeError):
        measure("kernel")


def test_a_block_that_was_not_entered_says_so():
    m = measure()
    with pytest.raises(RuntimeError, match="measuring no block"):
        m.__exit__(None, None, None)
    with m:
        pass
    with pytest.raises(RuntimeError, match="measuring no block"):
        m.__exit__(None, None, None)


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


@pytest.mark.no_tsan
@needs_fork
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


@needs_fork
def test_a_block_that_began_before_a_fork_begins_at_it_in_the_child(run_python):
    """So its figures are the child's: nothing that the parent had before it."""
    run_python("""
import mmap, os, time
import memprobe

def touch(mib):
    block = mmap.mmap(-1, mib << 20)
    block[::4096] = b"x" * (mib << 8)
    return block

with memprobe.measure() as m:
    touch(300).close()
    kept = touch(100)
    time.sleep(1)
    pid = os.fork()
    start = time.monotonic()
    if pid == 0:
        touch(50).close()
if pid == 0:
    peak = (m.peak - m.before) >> 20
    since = time.monotonic() - start
    os._exit(not (45 < peak < 60 and m.delta < 5 << 20 and m.seconds < since + 0.5))
assert os.waitpid(pid, 0)[1] == 0
assert m.peak - m.before > 290 << 20 and m.delta > 95 << 20 and m.seconds > 1
""")


@needs_fork
def test_a_grandchild_of_an_open_block_and_one_that_python_does_not_know_of(run_python):
    """The second by C's fork(), of which Python's own hooks hear nothing."""
    run_python(
        """
import ctypes, os
import memprobe

def ended_well(m):
    return 0 <= m.delta < 10 << 20 and m.before <= m.peak < m.before + (20 << 20)

with memprobe.measure() as m:
    kept = bytearray(b"x") * (50 << 20)
    pids = [os.fork()]
    if pids[0] == 0:
        pids = [ctypes.PyDLL(None).fork()]
        last = pids[0] == 0
if pids[0] == 0:
    os._exit(not ended_well(m))
assert os.waitpid(pids[0], 0)[1] == 0
if os.getppid() == int(os.environ["PARENT"]):
    assert m.delta > 45 << 20
else:
    os._exit(not ended_well(m))
""",
        env={"PARENT": str(os.getpid())},
    )


@needs_fork
def test_blocks_go_on_in_the_parent_after_a_fork_without_a_warning(run_python):
    """The thread that watches them is no reason to warn: -W error."""
    run_python("""
import mmap, os, time
import memprobe
past = bytearray(b"x") * (200 << 20)
del past
with memprobe.measure() as m:
    time.sleep(0.005)
    for _ in range(20):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    block = bytearray(b"x") * (100 << 20)
    time.sleep(0.05)
    del block
assert m.peak - m.before > 95 << 20, m
""")


@pytest.mark.no_sanitizer  # shadow memory counts
@pytest.mark.no_tsan
@linux
def test_a_mark_that_somebody_else_resets_in_the_block_counts(run_python):
    run_python("""
import memprobe
bytearray(b"x") * (400 << 20)
first = memprobe.peak_rss()
for peak in ("watch", "ends", "kernel"):
    with memprobe.measure(peak=peak) as m:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
        bytearray(b"x") * (200 << 20)
    assert 190 << 20 < m.peak - m.before < 210 << 20, m
    assert memprobe.peak_rss() >= first
""")


@pytest.mark.no_sanitizer  # shadow memory counts
@pytest.mark.no_tsan
@linux
def test_the_kernels_peak_of_nested_and_overlapping_blocks(run_python):
    run_python("""
import memprobe
bytearray(b"x") * (500 << 20)
first = memprobe.peak_rss()

def mib(m):
    return round((m.peak - m.before) / 2**20)

a, b, c = (memprobe.measure(peak=peak) for peak in ("kernel", "kernel", "ends"))
with a:
    bytearray(b"x") * (130 << 20)
    with b, c:
        bytearray(b"x") * (40 << 20)
assert (mib(a), mib(b), mib(c)) == (130, 40, 40), (a, b, c)

c.__enter__()
a.__enter__()
bytearray(b"x") * (60 << 20)
b.__enter__()
bytearray(b"x") * (20 << 20)
a.__exit__()
bytearray(b"x") * (30 << 20)
b.__exit__()
c.__exit__()
assert (mib(a), mib(b), mib(c)) == (60, 30, 60), (a, b, c)
assert memprobe.peak_rss() >= first
""")


@linux
@pytest.mark.needs(
    "import os; os.setuid(65534 if os.getuid() == 0 else os.getuid())",
    what="become another user",
)
def test_the_kernels_peak_is_refused_where_it_cannot_be_had(run_python):
    run_python("""
import ctypes, os
import memprobe
os.setresuid(65534, 65534, 65534) if os.getuid() == 0 else None
limit = ctypes.CDLL(None).prctl
m = memprobe.measure(peak="kernel")
limit(4, 0)  # not dumpable: its files in /proc belong to root
try:
    m.__enter__()
except OSError as error:
    assert error.errno == 13 and error.filename.endswith("/clear_refs"), error
else:
    raise AssertionError
limit(4, 1)
with m:
    bytearray(50 << 20)
assert m.peak - m.before > 45 << 20
""")


@pytest.mark.no_sanitizer  # they lose memory, or need more
@linux
def test_other_threads_go_on_while_the_kernels_peak_waits_for_who_maps_memory(
    run_python,
):
    run_python("""
import ctypes, mmap, threading, time
import memprobe
libc = ctypes.CDLL(None)  # without the GIL
libc.mmap.restype = ctypes.c_void_p
SIZE, POPULATE = 1 << 30, 0x8000
ticks, longest = 0, 0.0

def tick():
    global ticks
    while True:
        ticks += 1
        time.sleep(0.0005)

def populate():
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | POPULATE
    at = libc.mmap(None, ctypes.c_size_t(SIZE), 3, flags, -1, 0)
    libc.munmap(ctypes.c_void_p(at), ctypes.c_size_t(SIZE))

threading.Thread(target=tick, daemon=True).start()
for _ in range(20):
    thread = threading.Thread(target=populate)
    thread.start()
    time.sleep(0.02)
    before, start = ticks, time.monotonic()
    block = memprobe.measure(peak="kernel").__enter__()
    seconds, seen = time.monotonic() - start, ticks - before
    thread.join()
    if seconds > 0.05:
        assert seen > 5, (seconds, seen)
        break
""")


@pytest.mark.no_tsan
@linux
def test_the_thread_ends_soon_after_the_last_block(run_python):
    run_python("""
import os, time
import memprobe

def threads():
    return len(os.listdir("/proc/self/task"))

def wait_until_alone():
    start = time.monotonic()
    while threads() > 1:
        assert time.monotonic() - start < 5
        time.sleep(0.002)
    return time.monotonic() - start

for _ in range(3):
    with memprobe.measure():
        with memprobe.measure():
            time.sleep(0.01)
            assert threads() == 2  # one for both
    assert wait_until_alone() < 1
block = memprobe.measure().__enter__()
time.sleep(0.3)
assert threads() == 2
del block
wait_until_alone()
memprobe.start_sampling(0.01)
with memprobe.measure():
    time.sleep(0.01)
    assert threads() == 2  # the sampler's
    memprobe.stop_sampling()
    assert threads() == 2
    assert memprobe.stats().stored > 0
wait_until_alone()
""")


@pytest.mark.no_sanitizer  # they lose memory, or need more
@linux
@pytest.mark.needs(
    "import mounts; mounts.unshare(mounts.CLONE_NEWPID)", what="have a PID namespace"
)
def test_a_block_that_nobody_can_watch_is_refused(run_python):
    """After unshare(CLONE_NEWPID) a process has no new thread, ever."""
    run_python("""
import ctypes
import memprobe
assert ctypes.CDLL(None).unshare(0x20000000) == 0
try:
    memprobe.measure().__enter__()
except OSError as error:
    assert "thread" in error.filename, error
else:
    raise AssertionError
with memprobe.measure(peak="ends") as m:
    bytearray(50 << 20)
assert m.peak - m.before > 45 << 20
""")


@pytest.mark.no_sanitizer  # what it loses is meant to be
@pytest.mark.no_tsan
def test_an_interpreters_end_leaves_its_blocks(run_python):
    """One that an extension never gives back, as here, was open for ever."""
    subinterpreters = (
        "_interpreters" if sys.version_info >= (3, 13) else ("_xxsubinterpreters")
    )
    pytest.importorskip(subinterpreters)
    run_python(f"""
import os, sys, time
import {subinterpreters} as interpreters
import memprobe
for _ in range(10):
    # One with a GIL of its own refuses ctypes in Python 3.12.
    shared = {{"isolated": False}} if sys.version_info < (3, 13) else {{}}
    interpreter = interpreters.create(**shared)
    interpreters.run_string(interpreter, f'''
import sys; sys.path[:] = {{sys.path!r}}
import ctypes, memprobe
for peak in {PEAKS}:
    m = memprobe.measure(peak=peak)
    m.__enter__()
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(m))
''')
    interpreters.destroy(interpreter)
    memprobe.sample_mem()
if os.path.exists("/proc/self/task"):
    end = time.monotonic() + 5
    while len(os.listdir("/proc/self/task")) > 1:
        assert time.monotonic() < end
        time.sleep(0.01)
with memprobe.measure(peak="ends") as m:
    memprobe.sample_mem()
assert m.peak < m.before + (5 << 20)
""")


def test_a_sample_costs_the_same_however_many_blocks_are_open():
    def cost():
        start = time.perf_counter()
        for _ in range(300):
            memprobe.sample_mem()
        return time.perf_counter() - start

    one, many = [measure(peak="ends")], [measure(peak="ends") for _ in range(1000)]
    costs = {1: [], 1000: []}
    for _ in range(30):
        for blocks in (one, many):
            for m in blocks:
                m.__enter__()
            costs[len(blocks)].append(cost())
            for m in blocks:
                m.__exit__(None, None, None)
    assert min(costs[1000]) < 1.2 * min(costs[1])


@pytest.mark.no_tsan
@pytest.mark.parametrize("peak", ["watch", kernel])
def test_random_blocks_beside_a_higher_past(run_fault, peak):
    run_fault(f"""
from peaks import MIB, measure_blocks
off = measure_blocks({peak!r}, blocks=40, seconds=9)
assert off[-1] < 2 * MIB, off
assert off[len(off) // 10] > -2 * MIB, off
""")
