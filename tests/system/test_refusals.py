"""System calls that are refused: nothing is made of what they haven't written."""

import errno
import platform
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="preloads a library")

START = """
from refusals import refused
import errno, os, time
"""


@pytest.fixture
def run_refused(run_fault, refused_calls):
    def run(code, **options):
        return run_fault(START + code, preload=refused_calls, **options)

    return run


@pytest.mark.no_sanitizer  # shadow memory counts
@pytest.mark.parametrize("at_import", [True, False])
def test_without_getrusage_an_empty_block_has_no_peak(run_refused, at_import):
    run_refused(f"""
with refused(getrusage=errno.EPERM if {at_import} else 0):
    import memprobe
from readings import *
block = grow(300)
del block
assert memprobe.rss() < memprobe.peak_rss() - 200 * MIB
with refused(getrusage=errno.EPERM):
    with memprobe.measure() as empty:
        pass
    with memprobe.measure() as higher:
        block = grow(400)
        del block
    assert_right()
    peak = memprobe.peak_rss()
assert empty.peak - empty.before < 5 * MIB, empty.peak
assert 390 * MIB < higher.peak - higher.before < 410 * MIB
assert higher.peak <= peak < memprobe.rss() + 420 * MIB
""")


def test_the_peak_is_refused_where_nobody_tells(run_refused):
    run_refused("""
import memprobe
from filters import deny
from readings import *
kept = outgrow()
deny("open", errno.EACCES)
assert memprobe.rss() <= memprobe.peak_rss()  # by getrusage
with refused(getrusage=errno.EPERM):
    assert_refused(memprobe.peak_rss, errno.EACCES, file=STATUS)
assert memprobe.rss() <= memprobe.peak_rss()
""")


def test_the_peak_of_the_program_before_exec_is_not_ours(run_refused):
    """ru_maxrss starts with it, which is all that is left without /proc/self/status."""
    run_refused("""
import resource, subprocess, sys
from readings import grow
ballast = grow(300)
code = '''
import errno, resource
maxrss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
import memprobe
from filters import deny
from readings import *
assert maxrss > 300 * MIB, "the test is in vain"
assert memprobe.peak_rss() < 100 * MIB
deny("open", errno.EACCES)
assert_refused(memprobe.peak_rss, errno.EACCES, file=STATUS)
before = memprobe.rss()
kept = grow(400)
assert_right(memprobe.peak_rss(), before + 400 * MIB)
'''
# By vfork: it shares the parent's memory until exec.
raise SystemExit(subprocess.call([sys.executable, "-c", code]))
""")


def test_without_a_clock_rss_is_right_and_nothing_is_stored(run_refused):
    run_refused("""
import memprobe
from readings import *
memprobe.sample_mem()
before = memprobe.snapshot().tolist()
kept = grow()
with refused(clock=errno.EPERM):
    readings = [memprobe.rss() for _ in range(3)]
    assert_refused(memprobe.sample_mem, errno.EPERM)
    assert_refused(lambda: memprobe.above(1, 1), errno.EPERM)
    assert memprobe.above(1)
    peak = memprobe.peak_rss()
    memprobe.configure(min_interval=3600)
    assert_refused(memprobe.sample_mem, errno.EPERM)
    after = memprobe.snapshot().tolist()
assert after == before
assert_right(readings[0])
assert_right(peak)
memprobe.configure(min_interval=3600)
text = memprobe.sample_mem()
with refused(clock=errno.EPERM):
    assert_refused(memprobe.sample_mem, errno.EPERM)
assert memprobe.sample_mem() == text and memprobe.stats().count == 1
""")


def test_without_a_page_size_there_is_no_reading_until_there_is(run_refused):
    run_refused("""
with refused(sysconf=errno.EINVAL):
    import memprobe
    for _ in range(3):
        try:
            print(memprobe.rss())
        except OSError as error:
            assert error.errno == errno.EINVAL
from readings import *
assert_right()
from descriptors import our_descriptor
our_descriptor()
""")


@pytest.mark.parametrize("kind", ["os.fork", "SYS_clone"])
@pytest.mark.parametrize("refusal", ["madvise", "lseek"])
def test_what_is_refused_for_the_sake_of_children_harms_none(
    run_refused, refusal, kind
):
    run_refused(f"""
with refused({refusal}=errno.EPERM):
    import memprobe
from forks import FORKS, in_child
from readings import *
from descriptors import links
fork = FORKS.get({kind!r}, os.fork)
memprobe.sample_mem()

def child():
    global ballast
    assert memprobe.stats().count == 0
    del ballast
    assert_right()
    memprobe.sample_mem()
    assert memprobe.stats().count == 1

ballast = grow()
memprobe.rss()
in_child(child, fork)
assert memprobe.stats().count == 1
""")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library's own way")
def test_an_import_whose_atfork_is_refused_fails_and_can_be_tried_again(run_refused):
    out = run_refused(f"""
from forks import in_child
with refused(atfork={errno.ENOMEM}):
    try:
        import memprobe
    except MemoryError as error:
        print(error)
import memprobe
from readings import *
memprobe.sample_mem()
in_child(assert_right)
assert_right()
""")
    assert out == "no memory for what memprobe knows of this process\n"
