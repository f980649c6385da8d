"""The sampler: a thread that no C call can hide from, and that harms nobody."""

import cmath
import contextlib
import ctypes
import itertools
import os
import signal
import sys
import threading
import time

import pytest

import memprobe

pytestmark = [pytest.mark.calls_c, pytest.mark.threads]

MIB = 2**20
linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no os.fork")


@pytest.fixture(autouse=True)
def no_sampler():
    yield
    memprobe.stop_sampling()


def native_threads():
    return len(os.listdir("/proc/self/task"))


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.001)


def test_samples_come_every_interval():
    with memprobe.sampling(interval=0.002):
        wait_for(lambda: memprobe.stats().count >= 50)
    stats = memprobe.stats()
    assert stats.seconds / (stats.count - 1) >= 0.002 * 0.99
    count = memprobe.stats().count
    time.sleep(0.05)
    assert memprobe.stats().count == count


def test_deadlines_do_not_drift():
    """Each sample is late by itself, not by the sum of all before it."""
    interval = 0.005
    with memprobe.sampling(interval):
        wait_for(lambda: memprobe.stats().count >= 100)
    times = [ns / 1e9 for ns, _ in memprobe.snapshot().tolist()]
    # Hands of a clock that goes round once an interval: drifting ones point anywhere.
    hands = [cmath.exp(2j * cmath.pi * t / interval) for t in times[1:]]
    assert abs(sum(hands)) > len(hands) / 2


@pytest.mark.skipif(sys.platform == "win32", reason="no usleep to call")
def test_a_spike_inside_one_call_that_holds_the_gil_is_seen():
    """ctypes.PyDLL keeps the GIL: no Python thread runs meanwhile."""
    c = ctypes.PyDLL(None)
    c.malloc.restype = ctypes.c_void_p
    before = memprobe.rss()
    with memprobe.sampling(0.005):
        block = c.malloc(200 * MIB)
        c.memset(ctypes.c_void_p(block), 1, 200 * MIB)
        c.usleep(50_000)
        c.free(ctypes.c_void_p(block))
    assert memprobe.stats().max - before >= 200 * MIB * 0.95
    assert memprobe.rss() - before < 100 * MIB


def test_started_again_with_its_interval_goes_on():
    """A module that is imported twice must not bring a server down."""
    memprobe.start_sampling(0.001)
    wait_for(lambda: memprobe.stats().count > 3)
    memprobe.start_sampling(0.001)
    with memprobe.sampling(0.001):
        count = memprobe.stats().count
        wait_for(lambda: memprobe.stats().count > count + 3)


def test_started_again_with_another_interval_is_an_error_that_names_both():
    memprobe.start_sampling(0.001)
    with pytest.raises(RuntimeError, match=r"every 0\.001 seconds and not every 2$"):
        memprobe.start_sampling(2)
    count = memprobe.stats().count
    wait_for(lambda: memprobe.stats().count > count + 3)


def test_no_two_samples_are_closer_than_half_the_interval():
    """However late the one before came: threads of Python's compete with it."""
    busy = [threading.Thread(target=sum, args=(range(20_000_000),)) for _ in range(3)]
    for thread in busy:
        thread.start()
    with memprobe.sampling(0.004):
        for thread in busy:
            thread.join()
        wait_for(lambda: memprobe.stats().count > 50)
    times = [ns for ns, _ in memprobe.snapshot().tolist()]
    gaps = [later - sooner for sooner, later in itertools.pairwise(times)]
    assert min(gaps) >= 2_000_000


def test_stopping_what_does_not_run_does_nothing():
    memprobe.stop_sampling()
    memprobe.start_sampling()
    memprobe.stop_sampling()
    memprobe.stop_sampling()


def test_stops_at_once_however_long_the_interval():
    started = time.monotonic()
    for interval in (3600, 1e300):
        with memprobe.sampling(interval):
            wait_for(lambda: memprobe.stats().count >= 1)
        memprobe.clear()
    assert time.monotonic() - started < 1800  # not the interval


@pytest.mark.parametrize("interval", [0, -1, float("nan"), float("inf")])
def test_interval_is_above_0_and_finite(interval):
    with pytest.raises(ValueError, match="interval must be a finite number of seconds"):
        memprobe.start_sampling(interval)
    with pytest.raises(ValueError, match=f"above 0, not {interval!r}"):
        memprobe.sampling(interval).__enter__()
    with pytest.raises(
        TypeError, match="interval must be a number of seconds, not 'x'"
    ):
        memprobe.start_sampling("x")


def test_sampler_stores_whatever_min_interval_is():
    memprobe.configure(min_interval=3600)
    with memprobe.sampling(0.001):
        wait_for(lambda: memprobe.stats().count > 10)
    assert memprobe.sample_mem() == memprobe.humanbytes(memprobe.stats().last)


def test_stops_when_the_block_raises():
    with pytest.raises(ZeroDivisionError), memprobe.sampling(0.001):
        raise ZeroDivisionError
    memprobe.start_sampling()


@linux
def test_thread_is_gone_when_stop_returns():
    before = native_threads()
    for _ in range(50):
        memprobe.start_sampling(0.001)
        assert native_threads() == before + 1
        memprobe.stop_sampling()
        assert native_threads() == before


@linux
def test_thread_holds_none_of_the_programs_files():
    """A pipe's reader sees the end when the program closes it, sampler or not."""
    read, write = os.pipe()
    with memprobe.sampling(0.001):
        wait_for(lambda: memprobe.stats().count > 3)
        os.close(write)
        os.set_blocking(read, False)
        assert os.read(read, 1) == b""
    os.close(read)


@pytest.mark.no_tsan
@linux
def test_closing_every_descriptor_does_not_stop_the_sampler(run_python):
    run_python("""
import os, time
import memprobe
memprobe.start_sampling(0.001)
while memprobe.stats().count < 5:
    time.sleep(0.001)
os.closerange(3, 1000)
taken = [os.open("/dev/null", os.O_RDONLY) for _ in range(20)]
before = memprobe.stats().count
block = b"x" * (60 * 2**20)
while memprobe.stats().count < before + 5:
    time.sleep(0.001)
assert memprobe.stats().last > 60 * 2**20
for fd in taken:
    os.fstat(fd)
    os.close(fd)
""")


@pytest.mark.skipif(sys.platform == "win32", reason="no pthread_kill")
def test_signals_are_never_delivered_to_the_sampler():
    """A blocked main thread must be woken: the kernel may pick any unblocked thread."""
    caught = []
    before = signal.signal(signal.SIGALRM, lambda *_: caught.append(1))
    try:
        with memprobe.sampling(0.001):
            signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
            wait_for(lambda: len(caught) >= 100)
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.no_tsan
@needs_fork
def test_os_fork_does_not_warn_and_the_parents_sampler_goes_on(run_python):
    """-W error makes the DeprecationWarning of Python 3.12 an error."""
    run_python("""
import os, time
import memprobe
memprobe.start_sampling(0.0005)
for _ in range(300):
    pid = os.fork()
    if pid == 0:
        status = memprobe.stats().count != 0 or len(os.listdir("/proc/self/task")) != 1
        os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
before = memprobe.stats().count
while memprobe.stats().count < before + 10:
    time.sleep(0.001)
memprobe.stop_sampling()
assert len(os.listdir("/proc/self/task")) == 1
""")


@needs_fork
def test_a_fork_in_another_thread_leaves_the_sampler_running(run_python):
    run_python("""
import os, threading, time, warnings
import memprobe
warnings.simplefilter("ignore", DeprecationWarning)  # of this program's own threads
memprobe.start_sampling(0.001)

def work():
    pid = os.fork()
    if pid == 0:
        os._exit(memprobe.stats().count)
    assert os.waitpid(pid, 0)[1] == 0
    before = memprobe.stats().count
    while memprobe.stats().count < before + 10:
        time.sleep(0.001)

thread = threading.Thread(target=work)
thread.start()
thread.join(60)
assert not thread.is_alive()
""")


@pytest.mark.no_tsan
@needs_fork
def test_a_child_can_have_a_sampler_of_its_own(run_python):
    run_python("""
import os, time
import memprobe
memprobe.start_sampling(0.001)
pid = os.fork()
if pid == 0:
    memprobe.stop_sampling()
    memprobe.start_sampling(0.001)
    while memprobe.stats().count < 5:
        time.sleep(0.001)
    memprobe.stop_sampling()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
""")


@pytest.mark.parametrize(
    "end",
    [
        "",
        "sys.exit(0)",
        "os._exit(0)",
        "threading.Thread(target=time.sleep, args=(0.05,)).start()",
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
        "atexit.register(memprobe.start_sampling, 0.001); memprobe.stop_sampling()",
    ],
)
def test_ends_silently_with_the_interpreter(run_python, end):
    for _ in range(5):
        run_python(f"""
import atexit, os, sys, threading, time
import memprobe
memprobe.start_sampling(0.0001)
time.sleep(0.01)
{end}
""")


def test_starting_and_stopping_from_many_threads():
    barrier = threading.Barrier(4)

    def work():
        barrier.wait()
        for i in range(100):
            with contextlib.suppress(RuntimeError):
                memprobe.start_sampling(0.0005 * (1 + i % 2))
            memprobe.stop_sampling()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    memprobe.start_sampling(3600)  # none was left behind
