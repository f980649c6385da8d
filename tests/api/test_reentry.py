"""Called in the middle of itself: by finalizers, signal handlers, the dump's file."""

import io
import signal
import sys

import pytest

import memprobe

pytestmark = pytest.mark.threads

needs_timer = pytest.mark.skipif(
    not hasattr(signal, "setitimer"), reason="there is no setitimer"
)


def take(count):
    for _ in range(count):
        memprobe.sample_mem()


class Cycle:
    """Garbage that only the collector finds; calls back as it goes."""

    def __init__(self, call):
        self.call = call
        self.me = self

    def __del__(self):
        self.call()


# In a process of its own, since what goes wrong here is a deadlock or a crash.
EVERYTHING = """
import gc, io, signal, sys
import memprobe
from memprobe._memprobe import _select_samples

taken = inside = 0

def sample():
    global taken
    taken += 1  # before it, as only the sample that is stored can be interrupted
    memprobe.sample_mem()

def interrupt(handler):
    '''Let a signal handler run a moment from now.'''
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0002)

def everything():
    sample()
    memprobe.stats()
    memprobe.snapshot().tolist()
    memprobe.rss(), memprobe.mem_rss(), memprobe.peak_rss()
    memprobe.memdump(3, file=io.StringIO())
    sample()
    memprobe.configure(capacity=1 + taken % 7)
    memprobe.clear()
"""


def test_a_finalizer_may_do_everything_in_the_middle_of_everything(run_python):
    """The collector runs at almost every allocation, wherever that is."""
    run_python(
        EVERYTHING
        + """
class Cycle:
    def __init__(self):
        self.me = self

    def __del__(self):
        global inside
        inside += 1
        everything()

gc.set_threshold(1, 1, 1)
for _ in range(200):
    Cycle()
    sample()
    Cycle()
    memprobe.snapshot()
    Cycle()
    memprobe.stats()
    Cycle()
    memprobe.configure(capacity=5, min_interval=0)
    Cycle()
    memprobe.memdump(file=io.StringIO())
gc.collect()
assert inside == 1000, inside
assert _select_samples(0)[2] == taken == 200 + 2000, (_select_samples(0), taken)
"""
    )


@needs_timer
def test_a_signal_handler_may_do_everything_in_the_middle_of_everything(run_python):
    run_python(
        EVERYTHING
        + """
def handler(number, frame):
    global inside
    inside += 1
    everything()
    interrupt(handler)  # only now: on a busy machine it would interrupt itself for ever

interrupt(handler)
gc.freeze()  # the dump's collection takes long otherwise
while inside < 1000:
    everything()
signal.signal(signal.SIGALRM, signal.SIG_IGN)
assert _select_samples(0)[2] == taken, (_select_samples(0), taken)
"""
    )


@needs_timer
def test_a_signal_handler_samples_while_threads_sample(run_python):
    run_python(
        EVERYTHING
        + """
import threading

def handler(number, frame):
    global inside
    inside += 1
    memprobe.sample_mem()
    interrupt(handler)

def work():
    barrier.wait()
    for _ in range(2000):
        memprobe.sample_mem()

barrier = threading.Barrier(5)
threads = [threading.Thread(target=work) for _ in range(4)]
interrupt(handler)
for thread in threads:
    thread.start()
barrier.wait()
while inside < 500 or any(thread.is_alive() for thread in threads):
    memprobe.stats()
signal.signal(signal.SIGALRM, signal.SIG_IGN)
assert memprobe.stats().count == 8000 + inside, (memprobe.stats(), inside)
"""
    )


def test_what_a_finalizer_samples_during_the_dumps_collection_stays():
    take(3)
    Cycle(lambda: take(2))
    out = io.StringIO()
    memprobe.memdump(file=out)
    assert out.getvalue().count("    > ") == 3
    assert memprobe.stats().count == memprobe.stats().stored == 2


def test_a_finalizer_that_clears_and_samples_during_the_dump():
    def clear_and_sample():
        memprobe.clear()
        take(1)

    take(3)
    Cycle(clear_and_sample)
    memprobe.memdump(file=io.StringIO())
    assert memprobe.stats().count == 1


def test_a_finalizer_that_shrinks_the_ring_during_the_dump():
    def shrink_and_sample():
        memprobe.configure(capacity=2)
        take(3)

    take(5)
    Cycle(shrink_and_sample)
    memprobe.memdump(file=io.StringIO())
    stats = memprobe.stats()
    assert (stats.count, stats.stored, stats.overwritten) == (3, 2, 1)


@pytest.mark.parametrize("at", range(6))
def test_a_file_that_dumps_clears_shrinks_and_samples_at_any_write(at):
    class Meddling(io.StringIO):
        writes = 0

        def write(self, text):
            self.writes += 1
            if self.writes == at + 1:
                memprobe.memdump(file=io.StringIO())
                memprobe.clear()
                memprobe.configure(capacity=2)
                take(3)
            return super().write(text)

    take(4)
    out = Meddling()
    memprobe.memdump(file=out)
    assert out.writes == 6
    assert out.getvalue().count("    > ") == 4
    stats = memprobe.stats()
    assert (stats.count, stats.stored, stats.overwritten) == (3, 2, 1)


def test_a_dump_interrupted_at_any_instruction_forgets_only_what_it_printed():
    """As Ctrl-C may: a signal handler's exception comes between two instructions."""
    code = memprobe.memdump.__code__

    def interrupt_at(instruction):
        left = instruction

        def trace(frame, event, argument):
            nonlocal left
            if frame.f_code is not code:
                return None
            frame.f_trace_opcodes = True
            if event == "opcode":
                if left == 0:
                    raise KeyboardInterrupt
                left -= 1
            return trace

        return trace

    before = sys.gettrace()
    # From 3.12 on opcodes are traced if a frame that is there already asks for it.
    sys._getframe().f_trace_opcodes = True
    forgotten_by_interrupted = 0
    for instruction in range(10_000):
        memprobe.clear()
        take(3)
        out = io.StringIO()
        try:
            sys.settrace(interrupt_at(instruction))
            memprobe.memdump(file=out)
            break
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        if memprobe.stats().count != 3:
            forgotten_by_interrupted += 1
            assert memprobe.stats().count == 0
            assert out.getvalue().endswith(".\n")
    assert instruction > 40
    assert forgotten_by_interrupted < 5  # between forgetting and the end of the call
