"""What the observer sees, and when; and that its files are sound whenever it dies."""

import os
import signal
import sys
import time
from itertools import pairwise

import pytest

from memprobe import _record_file

MIB = 2**20
linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc")


def test_the_rise_before_a_kill_is_there(recorded):
    (record,) = recorded(
        """
def rise():
    time.sleep(1.2)
    held = hold(300, 0.15)
    os.kill(os.getpid(), signal.SIGKILL)
pid = fork(rise)
os.waitpid(pid, 0)
print(pid)
time.sleep(0.4)
""",
        interval=1,
    )
    assert record.last > 270 * MIB
    assert record.signal in (signal.SIGKILL, None)


def test_a_spike_between_two_looks_is_in_the_peak(recorded):
    """The kernel's mark has it."""
    (record,) = recorded(
        """
def spike():
    time.sleep(1.5)
    for _ in range(3):
        bytearray(200 * MIB)
    time.sleep(1.5)
    os._exit(0)
pid = fork(spike)
os.waitpid(pid, 0)
print(pid)
""",
        interval=1,
    )
    assert record.peak > 200 * MIB


def test_what_stands_still_is_stored_each_interval_and_what_moves_at_once(recorded):
    (record,) = recorded(
        """
time.sleep(1.2)
memprobe.stop_recording()
memprobe.record("trail", 0.5)  # its start isn't young any more
time.sleep(2.0)
held = bytearray(b"x") * (80 * MIB)
time.sleep(0.9)
print(os.getpid())
""",
        interval=0.5,
    )
    samples = list(record.samples())
    gaps = [after[0] - before[0] for before, after in pairwise(samples)]
    assert max(gaps) < 0.75
    still = [sample for sample in samples if sample[1] < 60 * MIB]
    assert len(still) < 30  # also while it was young and moved
    assert max(sample[1] for sample in samples) > 80 * MIB


def test_shared_pages_are_told_apart(recorded):
    (record,) = recorded("""
import mmap
shared = mmap.mmap(-1, 100 * MIB)
shared[:] = bytes(100 * MIB)
time.sleep(0.5)
memprobe.stop_recording()
print(os.getpid())
""")
    assert record.shared > 100 * MIB
    assert record.last - record.shared < 60 * MIB


def test_swap_pss_and_uss(start_program, read_all):
    program = start_program(os.getpid(), flags=1)
    assert program.hear() == "ready"
    assert program.ask("stop 1") == "done 1"
    record = read_all()[os.getpid()]
    assert record.swap >= 0
    assert 0 < record.uss <= record.pss <= record.last * 1.1
    other = start_program(os.getpid())
    assert other.hear() == "ready"
    assert other.ask("stop 1") == "done 1"
    assert read_all()[os.getpid()].pss is None


def test_title_and_user_as_they_are_by_now(recorded, other_users):
    (record,) = recorded("""
import ctypes
def change():
    time.sleep(0.5)
    libc = ctypes.CDLL(None)
    os.setgid(65534)
    os.setuid(65534)
    # What setproctitle does: it writes over the arguments.
    with open("/proc/self/stat") as file:
        start = int(file.read().rsplit(")", 1)[1].split()[45])
    ctypes.memmove(start, b"worker: idle\\0", 13)
    time.sleep(0.7)
    os._exit(0)
pid = fork(change)
os.waitpid(pid, 0)
print(pid)
time.sleep(0.3)
""")
    assert record.title.startswith("worker: idle")
    assert "script.py" in " ".join(record.command)
    assert (record.uid, record.user) == (65534, "nobody")


# Short ones


@linux
def test_the_short_lived_are_summed_up(recorded):
    (main, *others) = recorded(
        """
time.sleep(0.3)
pids = []
for _ in range(20):
    pid = fork(hold, 20, 0.1)
    os.waitpid(pid, 0)
    pids.append(pid)
time.sleep(0.3)
print(os.getpid(), *pids)
""",
        interval=1,
    )
    assert others == [None] * 20
    assert main.short_lived + main.missed >= 19
    assert main.short_lived >= 15
    assert main.short_lived_peak > 20 * MIB


@linux
def test_a_large_one_has_a_file_however_short_it_lives(recorded):
    records = recorded(
        """
pids = []
for _ in range(5):
    pid = fork(hold, 60, 0.15)
    os.waitpid(pid, 0)
    pids.append(pid)
time.sleep(0.2)
print(*pids)
""",
        interval=5,
    )
    assert all(record.peak > 60 * MIB for record in records)


@linux
def test_in_a_storm_of_forks_nobody_gets_a_wrong_state(recorded):
    """A thousand children, twenty at a time, of which some live on."""
    records = recorded(
        """
import random
random.seed(1)
living, stay = [], []
def child(seconds, code):
    time.sleep(seconds)
    os._exit(code)
for i in range(1000):
    if i % 100 == 0:
        stay.append(fork(child, 2.5, i // 100))
    living.append(fork(child, random.random() * 0.1, i % 2))
    if len(living) >= 20:
        os.waitpid(living.pop(0), 0)
for pid in living + stay:
    os.waitpid(pid, 0)
time.sleep(0.4)
print(os.getpid(), *stay)
""",
        interval=0.5,
    )
    main, *stay = records
    assert main.short_lived + main.missed > 500
    for number, record in enumerate(stay):
        assert record.state in ("exited", "ended")
        assert record.status in (number, None)


# Few descriptors


@linux
def test_with_too_few_descriptors_all_are_recorded_none_the_less(
    start_program, read_all, wait_for
):
    pids = []
    for i in range(20):
        pid = os.fork()
        if pid == 0:
            held = bytearray(b"x") * (i * MIB)
            time.sleep(60)
            os._exit(len(held))
        pids.append(pid)
    try:
        program = start_program(os.getpid(), interval=0.1, descriptors=40)
        assert program.hear() == "ready"
        time.sleep(1.0)
        assert len(os.listdir(f"/proc/{program.pid}/fd")) <= 32
        assert program.ask("look 1") == "done 1"
        records = read_all()
        for i, pid in enumerate(pids):
            assert records[pid].count > 3
            assert records[pid].last > i * MIB
            assert records[pid].state == "running"
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    time.sleep(0.4)
    assert program.ask("stop 2") == "done 2"
    states = {(read_all()[pid].state, read_all()[pid].signal) for pid in pids}
    assert states <= {("died", 9), ("ended", None)}


# Whenever it dies

DIES = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

/* The observer's writes: of the one whose number stands in DIES_AT half is written, and
 * it dies, or the whole if that number is negative. */
static int number;

ssize_t pwrite(int file, const void *from, size_t bytes, off_t at)
{
    ssize_t (*really)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, "pwrite");
    int dies_at = atoi(getenv("DIES_AT"));
    if (++number == abs(dies_at)) {
        really(file, from, dies_at > 0 ? bytes / 2 : bytes, at);
        kill(getpid(), SIGKILL);
    }
    return really(file, from, bytes, at);
}
"""


@pytest.fixture(scope="module")
def dies(compile_c, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dies")
    (folder / "dies.c").write_text(DIES)
    compile_c(folder / "dies.so", "-shared", "-fPIC", folder / "dies.c", "-ldl")
    return str(folder / "dies.so")


@linux
@pytest.mark.parametrize("half", [1, -1])
def test_killed_at_any_write_it_leaves_sound_files(start_program, trail, dies, half):
    """And the next one goes on in them."""
    counts = []
    for number in range(1, 25):
        program = start_program(
            os.getpid(),
            interval=0.03,
            environment={"LD_PRELOAD": dies, "DIES_AT": str(half * number)},
        )
        assert program.wait() == -signal.SIGKILL
        for name in os.listdir(trail):
            try:
                record = _record_file.read(trail / name)
            except _record_file.NotWrittenYet:
                continue
            except _record_file.NotARecord:
                assert half * number == 1  # its head, and the process is to say so
                (trail / name).unlink()
                continue
            samples = list(record.samples())
            assert len(samples) == record.count
            counts.append(record.count)
    assert counts == sorted(counts)
    assert counts[-1] > 24


@linux
def test_between_vfork_and_exec_nobody_s_memory_is_the_child_s(
    recorded, compile_c, tmp_path
):
    """It runs in its parent's, which is large; the child never is."""
    (tmp_path / "slow.c").write_text("""
#define _GNU_SOURCE
#include <unistd.h>
int slow(void);
int slow(void)
{
    int pid = vfork();
    if (pid == 0) {
        usleep(300000);
        execl("/bin/sleep", "sleep", "1.2", (char *)0);
        _exit(127);
    }
    return pid;
}
""")
    compile_c(tmp_path / "slow.so", "-shared", "-fPIC", tmp_path / "slow.c")
    (record,) = recorded(f"""
import ctypes
held = bytearray(b"x") * (200 * MIB)
pid = ctypes.CDLL({str(tmp_path / "slow.so")!r}).slow()
os.waitpid(pid, 0)
print(pid)
time.sleep(0.3)
""")
    assert record.peak < 50 * MIB
