"""Forks of every kind: the child reads its own RSS, the parent loses nothing.

Everything is run three times: with the installed package, whose state the kernel wipes
in a child; with a build that is refused this, as old kernels and qemu do; and after it
was lost, as by a process that was restored from a checkpoint.
"""

import ctypes
import platform
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux's ways to fork")

TESTS = Path(__file__).resolve().parent.parent
SOURCE = TESTS.parent / "src"
REFUSED = "-DMP_WIPEONFORK=-1"  # advice that no kernel takes; see src/linux/os.c

libc = ctypes.CDLL(None) if sys.platform == "linux" else None
by_number = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "aarch64", "riscv64", "ppc64le"),
    reason=f"the system calls' numbers on {platform.machine()} are not known here",
)
FORKS = [
    "os.fork",
    "os.forkpty",
    "fork",
    pytest.param(
        "_Fork",
        marks=pytest.mark.skipif(
            not hasattr(libc, "_Fork"), reason="this C library has no _Fork()"
        ),
    ),
    pytest.param(
        "SYS_fork",
        marks=pytest.mark.skipif(
            platform.machine() not in ("x86_64", "ppc64le"),
            reason=f"no such system call on {platform.machine()}",
        ),
    ),
    pytest.param("SYS_clone", marks=by_number),
    pytest.param("SYS_clone, descriptors shared", marks=by_number),
    pytest.param("SYS_clone3", marks=by_number),
]


@pytest.fixture(scope="session")
def refused_package(build_package):
    """A folder with the installed package, but an extension built for the fallback."""
    return build_package("refused", REFUSED)


@pytest.fixture(params=["wiped", "refused", "restored"])
def run_forks(request, run_fault):
    """Run code in each of the three situations, and make sure of which one it is."""
    package = None
    if request.param == "refused":
        package = request.getfixturevalue("refused_package")

    def run(code, **options):
        make_sure = f"""
import ctypes, re, sys, time
def wiped_areas():
    with open("/proc/self/smaps") as smaps:
        areas = re.split(r"\\n(?=[0-9a-f]+-)", smaps.read())
    return [area.split()[0] for area in areas if re.search("VmFlags:.* wf", area)]

if "memprobe" not in sys.modules:  # a fork server may have imported it
    before = wiped_areas()
    import memprobe
    memprobe.sample_mem()
    memprobe.clear()
    ours = [area for area in wiped_areas() if area not in before]
    assert bool(ours) == {request.param != "refused"}, "a build of the other kind"
    if {request.param == "restored"}:
        libc = ctypes.CDLL(None)
        for low, high in (area.split("-") for area in ours):
            address, size = int(low, 16), int(high, 16) - int(low, 16)
            KEEPONFORK = 19
            libc.madvise(ctypes.c_void_p(address), ctypes.c_size_t(size), KEEPONFORK)
        assert not set(wiped_areas()) & set(ours)
import memprobe
folder = {str(package)!r}
assert folder == "None" or memprobe._memprobe.__file__.startswith(folder)
"""
        return run_fault(make_sure + code, package=package, **options)

    return run


@pytest.mark.parametrize("kind", FORKS)
def test_parent_and_child_each_read_their_own_rss(run_forks, kind):
    run_forks(
        """
import os, select
from forks import FORKS, end_child, start_child
from readings import MIB, assert_right, grow, truth

fork = FORKS[os.environ["KIND"]]
memprobe.configure(capacity=7)
for _ in range(9):
    memprobe.sample_mem()
samples = memprobe.snapshot().tolist()
stats = memprobe.stats()
small = memprobe.rss()
child_has_read, tell_parent = os.pipe()
parent_has_grown, tell_child = os.pipe()

def child():
    assert memprobe.snapshot().shape == (0, 2)
    assert memprobe.stats().count == memprobe.stats().overwritten == 0
    assert_right()
    kept = grow()
    assert_right()
    os.write(tell_parent, b"!")
    os.read(parent_has_grown, 1)
    assert_right()
    assert memprobe.rss() - small > 50 * MIB
    assert memprobe.rss() - small < 70 * MIB
    assert small < memprobe.peak_rss() < small + 70 * MIB
    for _ in range(9):
        memprobe.sample_mem()
    assert memprobe.stats().stored == 7  # the capacity is inherited
    assert memprobe.stats().overwritten == 2
    assert_right(memprobe.stats().first)

pid = start_child(child, fork)
assert select.select([child_has_read], [], [], 20)[0], "the child has gone"
assert_right()
kept = grow(150)
assert_right()
os.write(tell_child, b"!")
end_child(pid)
assert_right()
assert memprobe.snapshot().tolist() == samples
assert memprobe.stats() == stats
memprobe.sample_mem()
assert memprobe.snapshot().tolist()[:-1] == samples[1:]
assert memprobe.stats().count == 10
""",
        env={"KIND": kind},
    )


def test_whatever_a_child_calls_first_is_about_itself(run_forks):
    run_forks("""
import io
from forks import FORKS, in_child
from readings import MIB, assert_right, grow

def humanized(text):
    assert text.endswith("MB"), text
    return float(text[:-2]) * MIB

def clear():
    memprobe.clear()
    assert memprobe.stats().count == 0

def configure():
    memprobe.configure(capacity=3)
    for _ in range(5):
        memprobe.sample_mem()
    assert memprobe.stats().stored == 3 and memprobe.stats().count == 5
    assert_right(memprobe.stats().first)

def memdump():
    printed = io.StringIO()
    memprobe.memdump(file=printed)
    (line,) = printed.getvalue().splitlines()
    assert_right(humanized(line.removeprefix("- rss (end): ").removesuffix(".")))

def sample_mem():
    assert_right(humanized(memprobe.sample_mem()))
    assert memprobe.stats().count == 1
    assert_right(memprobe.stats().first)

def peak_rss():
    peak = memprobe.peak_rss()  # at a fork the child's begins with what it has
    assert memprobe.rss() - MIB < peak < memprobe.rss() + 5 * MIB

def snapshot():
    assert memprobe.snapshot().tolist() == []

def stats():
    assert memprobe.stats() == (0, 0, 0) + 6 * (None,)

def rss():
    assert_right(memprobe.rss())

def mem_rss():
    assert_right(humanized(memprobe.mem_rss()))

kept = grow(100)
for _ in range(20):
    memprobe.sample_mem()
del kept
works = [clear, configure, memdump, sample_mem, peak_rss, snapshot, stats, rss, mem_rss]
for fork in (FORKS["os.fork"], FORKS.get("SYS_clone", FORKS["fork"])):
    for work in works:
        def child(work=work):
            kept = grow()
            work()
        in_child(child, fork)
        assert memprobe.stats().count == 20
""")


def test_a_child_keeps_min_interval_and_its_first_call_reads(run_forks):
    run_forks("""
from forks import in_child
from readings import assert_right, grow
memprobe.configure(min_interval=3600)
texts = {memprobe.sample_mem() for _ in range(10)}
assert memprobe.stats().count == 1

def child():
    kept = grow()
    texts = {memprobe.sample_mem() for _ in range(10)}
    assert memprobe.stats().count == 1
    assert_right(memprobe.stats().last)
    assert texts == {memprobe.humanbytes(memprobe.stats().last)}

in_child(child)
assert {memprobe.sample_mem()} == texts
assert memprobe.stats().count == 1
""")


@pytest.mark.parametrize(
    "kind", ["os.fork", pytest.param("SYS_clone", marks=by_number)]
)
@pytest.mark.parametrize("child_reads", [True, False])
def test_a_grandchild_reads_its_own_rss(run_forks, kind, child_reads):
    run_forks(
        f"""
import os
from forks import FORKS, in_child
from readings import assert_right, grow
fork = FORKS[os.environ["KIND"]]
memprobe.sample_mem()

def grandchild():
    assert memprobe.stats().count == 0
    kept = grow()
    assert_right()

def child():
    kept = grow()
    if {child_reads}:
        assert_right()
        memprobe.sample_mem()
    in_child(grandchild, fork)
    assert_right()
    assert memprobe.stats().count == {int(child_reads)}

in_child(child, fork)
assert_right()
assert memprobe.stats().count == 1
""",
        env={"KIND": kind},
    )


@pytest.mark.no_sanitizer
@pytest.mark.parametrize("read_before", [True, False])
def test_a_child_whose_parent_has_gone_reads_its_own_rss(run_forks, read_before):
    """The parent's file says ESRCH then."""
    run_forks(f"""
import os, signal
from forks import start_child
from readings import assert_right, grow
memprobe.sample_mem()
gone, still_there = os.pipe()
answer, say = os.pipe()

def orphan():
    if {read_before}:
        assert_right()
    os.close(still_there)
    os.read(gone, 1)  # until the parent's end of the pipe is closed
    assert memprobe.stats().count == 0
    kept = grow()
    assert_right()
    assert memprobe.rss() <= memprobe.peak_rss()
    os.write(say, b"fine")

pid = os.fork()
if pid == 0:
    start_child(orphan)
    os._exit(0)
os.waitpid(pid, 0)
os.close(still_there)
os.close(say)
assert os.read(answer, 10) == b"fine"
assert memprobe.stats().count == 1
""")


def test_forks_while_other_threads_sample(run_forks):
    run_forks(
        """
import os, threading
from forks import in_child
from readings import assert_right, grow

memprobe.configure(capacity=2**20)
kept = grow()
stop = threading.Event()
counts = []

def work():
    count = 0
    while not stop.is_set():
        memprobe.sample_mem()
        count += 1
    counts.append(count)

def child():
    assert memprobe.stats().count == 0
    more = grow(10)
    assert_right()
    memprobe.sample_mem()
    assert memprobe.stats().count == 1

threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
for _ in range(25):
    in_child(child, os.fork)  # after another kind Python waits for its threads
stop.set()
for thread in threads:
    thread.join()
assert len(counts) == 3
assert memprobe.stats().count == sum(counts) > 0
assert_right()
"""
    )


@pytest.mark.parametrize("flags", [[], [REFUSED]], ids=["wiped", "refused"])
def test_a_storm_of_forks_while_native_threads_sample(
    compile_c, core_files, tmp_path, flags
):
    """Without the GIL: locks are held at the moment of the fork."""
    storm = compile_c(
        tmp_path / "fork_storm",
        *("-I", SOURCE, TESTS / "faults" / "fork_storm.c", *core_files),
        *("-pthread", "-lm", *flags),
    )
    result = subprocess.run(
        [storm, "200"], capture_output=True, text=True, timeout=120, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert int(result.stdout.split()[0]) > 200


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_workers_of_multiprocessing_read_their_own_rss(run_forks, method):
    run_forks(
        """
import multiprocessing, os, warnings

def work(mib):
    # Imported here: what a spawned process finds by itself is part of the test.
    from readings import MIB, assert_right, grow
    first = memprobe.stats().count
    kept = grow(mib)
    assert_right()
    memprobe.sample_mem()
    return first, memprobe.stats().count, memprobe.rss() / MIB

if __name__ == "__main__":
    warnings.filterwarnings("ignore", ".* is multi-threaded", DeprecationWarning)
    from readings import assert_right, grow
    kept = grow(200)
    for _ in range(20):
        memprobe.sample_mem()
    context = multiprocessing.get_context(os.environ["METHOD"])
    if os.environ["METHOD"] == "forkserver":
        context.set_forkserver_preload(["memprobe"])
    for mib in (60, 120):
        with context.Pool(1) as pool:
            first, count, rss = pool.apply_async(work, [mib]).get(40)
            pool.close()
            pool.join()
        assert (first, count) == (0, 1)
        inherited = 200 if os.environ["METHOD"] == "fork" else 0
        assert mib + inherited < rss < mib + inherited + 50, rss
    assert memprobe.stats().count == 20
    assert_right()
""",
        env={"METHOD": method},
    )


@pytest.mark.no_sanitizer
def test_a_child_with_the_number_of_its_parent_reads_its_own_rss(run_forks):
    """In a PID namespace within another, parent and child both are process 1."""
    out = run_forks("""
import ctypes, os
from forks import CLONE_NEWPID, in_child
from readings import assert_right, grow
memprobe.sample_mem()
if ctypes.CDLL(None).unshare(CLONE_NEWPID) != 0:
    print("no PID namespace")
    os._exit(0)

def child():
    assert os.getpid() == 1
    memprobe.sample_mem()
    memprobe.sample_mem()
    assert ctypes.CDLL(None).unshare(CLONE_NEWPID) == 0
    in_child(grandchild)
    assert memprobe.stats().count == 2

def grandchild():
    assert os.getpid() == 1
    assert memprobe.stats().count == 0
    kept = grow()
    memprobe.sample_mem()
    # Its own /proc: the outer one calls it by another number, but is right as well.
    assert_right(memprobe.stats().last)

in_child(child)
assert memprobe.stats().count == 1
""")
    if "no PID namespace" in out:
        pytest.skip("unshare(CLONE_NEWPID) is not permitted")
