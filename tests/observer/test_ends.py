"""How a process ended, and why: what is known, and never a guess."""

import json
import os
import sys
import time
from pathlib import Path

import pytest

MIB = 2**20

# The kernel tells others than the parent how a process has ended.
told = tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 15)
linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc")

DEATHS = """
import json, random
def die(kind):
    time.sleep(random.uniform(0.5, 0.9))
    if kind == "exit 0":
        os._exit(0)
    if kind == "exit 137":
        os._exit(137)
    if kind == "exec":
        os.execv("/bin/sh", ["sh", "-c", "exit 7"])
    if kind == "other user":
        os.setgid(65534); os.setuid(65534)
        time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGKILL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), int(kind.split()[1]))

kinds = ["exit 0", "exit 137", "exec", "signal 9", "signal 15", "signal 11", "signal 6"]
if os.geteuid() == 0:
    kinds.append("other user")
import resource
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
"""
EXPECTED = {
    "exit 0": ("exited", 0, None),
    "exit 137": ("exited", 137, None),
    "exec": ("exited", 7, None),
    "signal 9": ("died", None, 9),
    "signal 15": ("died", None, 15),
    "signal 11": ("died", None, 11),
    "signal 6": ("died", None, 6),
    "other user": ("died", None, 9),
}


@linux
@pytest.mark.parametrize("reaped", ["at once", "late", "ignored"])
def test_each_of_eight_deaths_has_its_own_state(run_python, trail, read_all, reaped):
    printed = run_python(f"""
import os, signal, subprocess, sys, time
import memprobe
{DEATHS}
if {reaped!r} == "ignored":
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
memprobe.record({str(trail)!r}, 0.2)
pids = {{}}
for _ in range(5):
    for kind in kinds:
        pid = os.fork()
        if pid == 0:
            die(kind)
            os._exit(98)
        pids[pid] = kind
if {reaped!r} == "late":
    time.sleep(1.5)
for pid in pids:
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass
time.sleep(0.4)
memprobe.stop_recording()
print(json.dumps(list(pids.items())))
""")
    records = read_all()
    unknown = 0
    for pid, kind in json.loads(printed):
        record = records[pid]
        found = record.state, record.status, record.signal
        assert record.cause is None
        if found == ("ended", None, None):
            unknown += 1
        else:
            assert found == EXPECTED[kind]
    if told:
        assert unknown == 0


@linux
def test_what_a_parent_knows_is_believed(start_program, read_all):
    """As `memprobe run` tells it: before it reaps."""
    pid = os.fork()
    if pid == 0:
        time.sleep(0.5)
        os._exit(5)
    program = start_program(pid, os.getpid())
    assert program.hear() == "ready"
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert program.ask(f"ended {pid} {5 << 8} 1") == "done 1"
    assert (read_all()[pid].state, read_all()[pid].status) == ("exited", 5)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
    assert program.ask("stop 2") == "done 2"
    assert (read_all()[pid].state, read_all()[pid].status) == ("exited", 5)


def test_a_living_process_is_running(start_program, read_all):
    program = start_program(os.getpid())
    assert program.hear() == "ready"
    assert program.ask("look 1") == "done 1"
    record = read_all()[os.getpid()]
    assert (record.state, record.status, record.signal) == ("running", None, None)
    assert record.recorded_until is None
    assert program.ask("stop 2") == "done 2"
    assert program.wait() == 0
    assert read_all()[os.getpid()].state == "running"


def test_a_zombie_that_nobody_asks_for_doesn_t_keep_the_observer(start_program):
    pid = os.fork()
    if pid == 0:
        time.sleep(0.4)
        os._exit(0)
    program = start_program(pid)
    assert program.hear() == "ready"
    assert program.wait(5) == 0
    os.waitpid(pid, 0)


# Out of memory


@pytest.fixture
def cgroup(root):
    """A group of processes with a limit of 100 MiB; its path, of either version."""
    old = Path("/sys/fs/cgroup/memory")
    new = Path("/sys/fs/cgroup")
    folder = (old if old.is_dir() else new) / f"memprobe-test-{os.getpid()}"
    name = "memory.limit_in_bytes" if old.is_dir() else "memory.max"
    try:
        folder.mkdir()
        (folder / name).write_text(str(100 * MIB))
    except OSError as error:
        pytest.skip(f"no cgroup with a limit: {error}")
    if old.is_dir():
        # Without it what doesn't fit is swapped out.
        (folder / "memory.swappiness").write_text("0")
    yield folder
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            folder.rmdir()
            break
        except OSError:
            time.sleep(0.05)


IN_CGROUP = """
import json
def join():
    with open({folder!r} + "/cgroup.procs", "w") as file:
        file.write("0")
def take(mib):
    held = []
    for _ in range(mib):
        held.append(bytearray(b"x") * MIB)
        time.sleep(0.002)
    time.sleep(30)
def slow_take(mib):
    time.sleep(0.5)
    take(mib)
"""


@linux
@pytest.mark.parametrize("phase", range(3))
def test_out_of_memory_is_the_cause_of_a_kill_for_it(recorded, cgroup, phase):
    records = recorded(
        IN_CGROUP.format(folder=str(cgroup))
        + f"""
join()
time.sleep({0.03 * phase})
pid = fork(slow_take, 300)
other = fork(hold, 5, 10)
status = os.waitpid(pid, 0)[1]
time.sleep(0.3)
os.kill(other, signal.SIGKILL)
os.waitpid(other, 0)
time.sleep(0.3)
assert status == 9, status
print(pid, other, os.getpid())
"""
    )
    record, other, main = records
    assert (record.state, record.signal) == ("died", 9)
    assert record.cause == "out of memory"
    assert record.last > 60 * MIB
    assert record.memory_limit == 100 * MIB
    assert (other.signal, other.cause) == (9, None)
    assert main.oom_kills == 1


@linux
def test_of_more_kills_than_were_for_want_of_memory_none_is_explained(recorded, cgroup):
    records = recorded(
        IN_CGROUP.format(folder=str(cgroup))
        + """
join()
others = [fork(hold, 3, 30) for _ in range(3)]
pid = fork(slow_take, 300)
time.sleep(0.45)
# It is to see all ends at one look.
os.kill(observer(), signal.SIGSTOP)
os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
for other in others:
    os.kill(other, signal.SIGKILL)
for other in [pid, *others]:
    os.waitpid(other, 0)
os.kill(observer(), signal.SIGCONT)
time.sleep(0.4)
print(pid, *others)
"""
    )
    assert {record.signal for record in records} == {9}
    assert [record.cause for record in records] == [None] * 4


@linux
def test_limit_and_usage_are_those_of_the_group(recorded, cgroup):
    (record,) = recorded(
        IN_CGROUP.format(folder=str(cgroup))
        + """
join()
with open("big", "wb") as file:
    file.write(bytes(80 * MIB))  # cached, and no danger
with open("big", "rb") as file:
    while file.read(MIB):
        pass
held = hold(30, 0.5)
print(os.getpid())
memprobe.stop_recording()
""",
        interval=0.1,
    )
    assert record.memory_limit == 100 * MIB
    assert 30 * MIB < record.cgroup_memory < 75 * MIB


@linux
def test_without_a_limit_it_is_the_machine_s_memory(recorded):
    (record,) = recorded("time.sleep(0.2); print(os.getpid())")
    with open("/proc/meminfo") as file:
        total = int(file.readline().split()[1]) * 1024
    assert 0 < record.memory_limit <= total
