"""The numbers: RSS and its peak, of this very process."""

import mmap
import os
import sys

import psutil
import pytest

import memprobe

MIB = 2**20
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no os.fork")


def touch(size):
    """Memory that the system has back once it is dropped, whatever the allocator."""
    block = mmap.mmap(-1, size)
    block[:: mmap.PAGESIZE] = b"x" * (size // mmap.PAGESIZE)
    return block


def test_rss_is_what_psutil_reads():
    memprobe.rss()
    expected = psutil.Process().memory_info().rss
    assert memprobe.rss() == pytest.approx(expected, rel=0.02)


def test_rss_rises_by_what_is_touched():
    before = memprobe.rss()
    kept = touch(50 * MIB)
    assert memprobe.rss() - before == pytest.approx(len(kept), rel=0.03)


def test_sample_mem_rises_by_what_is_touched():
    memprobe.sample_mem()
    kept = touch(50 * MIB)
    memprobe.sample_mem()
    (_, before), (_, after) = memprobe.snapshot().tolist()
    assert after - before == pytest.approx(len(kept), rel=0.03)


def test_mem_rss_and_sample_mem_are_humanized_rss():
    kept = touch(200 * MIB)
    number, unit = memprobe.mem_rss()[:-2], memprobe.mem_rss()[-2:]
    assert unit == "MB"
    assert float(number) == pytest.approx(memprobe.rss() / MIB, rel=0.02)
    text = memprobe.sample_mem()
    assert text == memprobe.humanbytes(memprobe.snapshot()[0, 1])
    del kept


def test_text_follows_the_number():
    """The text of the last call is kept; it must never be that of another number."""
    texts = set()
    for _ in range(5):
        kept = touch(20 * MIB)
        text = memprobe.sample_mem()
        assert text == memprobe.humanbytes(memprobe.stats().last)
        texts.add(text)
        del kept
        text = memprobe.sample_mem()
        assert text == memprobe.humanbytes(memprobe.stats().last)
        texts.add(text)
    assert len(texts) > 1


def test_peak_stays_when_memory_is_given_back():
    before = memprobe.rss()
    kept = touch(100 * MIB)
    at_peak = memprobe.rss()
    del kept
    assert memprobe.rss() < before + 50 * MIB
    assert memprobe.peak_rss() >= at_peak


def test_peak_is_never_below_a_reading():
    for _ in range(200):
        kept = touch(MIB)
        seen = memprobe.rss()
        assert memprobe.peak_rss() >= seen
        del kept


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_peak_never_falls_whoever_resets_the_kernels(run_python):
    run_python("""
import mmap, os
import memprobe
MIB = 2**20

def spike(mib):
    with mmap.mmap(-1, mib * MIB) as block:
        block[:: mmap.PAGESIZE] = b"x" * (len(block) // mmap.PAGESIZE)

def reset():
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        os._exit(0)

base = memprobe.rss()
spike(200)
returned = memprobe.peak_rss()
assert 195 * MIB < returned - base < 210 * MIB
reset()
assert memprobe.peak_rss() == returned
spike(100)
assert memprobe.peak_rss() == returned
reset()
spike(300)  # a new one counts, though the mark has fallen since
raised = memprobe.peak_rss()
assert 295 * MIB < raised - base < 310 * MIB
kept = bytearray(b"x") * (400 * MIB)
seen = memprobe.rss()
del kept
reset()
assert memprobe.peak_rss() >= seen > raised  # which only a reading knows
assert memprobe.rss() < base + 50 * MIB
""")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_peak_never_falls_by_the_kernels_inexactness(run_python):
    """VmHWM is shown as the higher of mark and RSS, of which the mark lags behind."""
    run_python("""
import mmap
import memprobe
returned = 0
for i in range(400):
    with mmap.mmap(-1, (40 + i % 7) * mmap.PAGESIZE) as block:
        block[:: mmap.PAGESIZE] = b"x" * (len(block) // mmap.PAGESIZE)
        seen = memprobe.rss()
        now = memprobe.peak_rss()
    assert now >= max(seen, returned), (i, now - returned)
    returned = memprobe.peak_rss()
    assert returned >= now
""")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_peak_takes_no_heap_of_its_own_in_a_thread(run_python):
    """A FILE's buffer in a thread makes glibc reserve 64 MiB for it."""
    run_python("""
import re, threading
import memprobe

def size():
    with open("/proc/self/status") as status:
        return int(re.search(r"VmSize:\\s+(\\d+) kB", status.read())[1]) * 1024

memprobe.peak_rss()
sizes = []

def work():
    sizes.append(size())
    for _ in range(10):
        memprobe.peak_rss()
    sizes.append(size())

thread = threading.Thread(target=work)
thread.start()
thread.join()
before, after = sizes
assert after - before < 2**20, (before, after)
""")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_peak_is_found_behind_any_number_of_groups(run_python):
    """Their line in /proc/self/status can be longer than what is read at once."""
    run_python("""
import os
import memprobe
expected = memprobe.peak_rss()
for count in (*range(80, 180), 1000, 10_000):
    try:
        os.setgroups(range(1000, 1000 + count))
    except PermissionError:
        break
    assert expected <= memprobe.peak_rss() < expected + 2**22, count
""")


needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux's statm")


@needs_linux
def test_rss_anon_is_what_the_kernel_counts_as_anonymous():
    with open("/proc/self/status", encoding="ascii") as status:
        fields = dict(line.split(":", 1) for line in status)
    expected = int(fields["RssAnon"].split()[0]) * 1024
    assert memprobe.rss_anon() == pytest.approx(expected, abs=MIB)


@needs_linux
def test_rss_anon_rises_by_what_is_allocated_and_not_by_files(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * (60 * MIB))
    before, rss = memprobe.rss_anon(), memprobe.rss()
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    assert len(mapped[:: mmap.PAGESIZE]) > 0
    shared = mmap.mmap(-1, 60 * MIB)
    shared[:: mmap.PAGESIZE] = b"x" * (len(shared) // mmap.PAGESIZE)
    assert memprobe.rss() - rss == pytest.approx(120 * MIB, rel=0.1)
    assert memprobe.rss_anon() - before < 5 * MIB
    kept = bytearray(b"x") * (50 * MIB)
    assert memprobe.rss_anon() - before == pytest.approx(len(kept), rel=0.1)


@pytest.mark.skipif(sys.platform == "linux", reason="Linux tells")
def test_rss_anon_is_not_implemented_where_the_system_does_not_tell():
    with pytest.raises(NotImplementedError, match="doesn't tell"):
        memprobe.rss_anon()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_peak_is_the_kernels(run_python):
    run_python("""
import mmap, pathlib, re
import memprobe
block = mmap.mmap(-1, 300 * 2**20)
for i in range(0, len(block), 4096):
    block[i] = 1
block.close()  # never seen by a reading
status = pathlib.Path("/proc/self/status").read_text()
vmhwm = int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1])
assert vmhwm > 300 * 1024
assert vmhwm * 1024 <= memprobe.peak_rss() <= vmhwm * 1024 + 2**20
""")


@needs_fork
def test_forked_child_reads_its_own_growth_and_leaves_the_parents_samples(run_python):
    out = run_python("""
import os, sys
import memprobe
for _ in range(20):
    memprobe.sample_mem()
before = memprobe.rss()
kept = memprobe.snapshot().tolist()
pid = os.fork()
if pid == 0:
    assert memprobe.snapshot().shape == (0, 2)
    assert memprobe.stats().count == 0
    child_before = memprobe.rss()
    block = b"x" * (100 * 2**20)
    growth = memprobe.rss() - child_before
    assert abs(growth - len(block)) < 3 * 2**20, growth
    memprobe.sample_mem()
    assert memprobe.stats().count == 1
    memprobe.memdump()
    sys.stdout.flush()
    os._exit(0)
_, status = os.waitpid(pid, 0)
assert status == 0
assert memprobe.rss() < before + 5 * 2**20
assert memprobe.snapshot().tolist() == kept
print("parent done")
""")
    lines = out.splitlines()
    assert lines[0] == "- rss (sample):"
    assert lines[-1] == "parent done"


@needs_fork
def test_ps_is_the_same_object_until_a_fork(run_python):
    run_python("""
import os
import memprobe
parent = memprobe.ps()
assert parent is memprobe.ps() and parent.pid == os.getpid()
pid = os.fork()
if pid == 0:
    child = memprobe.ps()
    assert child is not parent and child.pid == os.getpid() and child is memprobe.ps()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert memprobe.ps() is parent
""")


def test_without_psutil_only_ps_is_none(run_python):
    out = run_python("""
import sys
sys.modules["psutil"] = None
import memprobe
assert memprobe.ps() is None
assert memprobe.rss() > 0 and memprobe.peak_rss() > 0
memprobe.sample_mem()
memprobe.memdump()
assert memprobe.mem_rss().endswith("MB")
assert memprobe.stats().count == 0
""")
    assert len(out.splitlines()) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_full_ring_does_not_show_as_growth(run_python):
    """16 MiB of slots, touched before the first reading that could notice."""
    run_python("""
import memprobe
memprobe.configure(capacity=2**20)
before = memprobe.rss()
for _ in range(2**20):
    memprobe.sample_mem()
assert memprobe.rss() - before < 2**20, memprobe.rss() - before
""")
