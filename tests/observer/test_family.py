"""Who is recorded: the program and all that it starts, however it starts it."""

import os
import subprocess
import sys

import pytest

MIB = 2**20

linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux has it")


def test_the_program_itself(recorded):
    (record,) = recorded("held = hold(40, 0.5); print(os.getpid())")
    assert record.peak > 40 * MIB
    assert record.state == "exited"
    assert record.status == 0
    assert record.command[0] == sys.executable
    assert record.count >= 2


@pytest.mark.parametrize(
    "work",
    [
        "hold(60, 0.4)",
        "hold(60, 0.4); os._exit(0)",
        "os.setsid(); hold(60, 0.4)",
        "os.close(0); os.close(1); os.close(2); hold(60, 0.4)",
        "os.closerange(0, 1000); hold(60, 0.4)",
        "os.chdir('/'); os.umask(0o777); hold(60, 0.4)",
        "signal.pthread_sigmask(0, signal.valid_signals()); hold(60, 0.4)",
        "os.execv(sys.executable, [sys.executable, '-c', 'import time;"
        ' held = bytearray(b"x") * (60 << 20); time.sleep(0.4)\'])',
    ],
)
def test_a_forked_child(recorded, work):
    (record,) = recorded(f"""
def work():
    {work}
pid = fork(work)
os.waitpid(pid, 0)
print(pid)
time.sleep(0.3)
""")
    assert record.peak > 60 * MIB


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_child_of_multiprocessing(recorded, method):
    (record,) = recorded(f"""
import multiprocessing
if __name__ == "__main__":
    context = multiprocessing.get_context({method!r})
    process = context.Process(target=hold, args=(60, 0.5))
    process.start()
    process.join()
    assert process.exitcode == 0
    print(process.pid)
    time.sleep(0.3)
""")
    assert record.peak > 60 * MIB


def test_a_subprocess_with_a_session_of_its_own(recorded):
    (record,) = recorded("""
code = "import time; held = bytearray(b'x') * (60 << 20); time.sleep(0.5)"
child = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
child.wait()
print(child.pid)
time.sleep(0.3)
""")
    assert record.peak > 60 * MIB
    assert record.state in ("exited", "ended")
    assert "held" in (record.title or "") + " ".join(record.command)


def test_children_of_children_whose_parents_have_ended(recorded):
    records = recorded("""
read, write = os.pipe()
def middle():
    time.sleep(0.2)
    pid = fork(hold, 60, 0.7)
    os.write(write, b"%d\\n" % pid)
    time.sleep(0.15)
    os._exit(0)
pid = fork(middle)
os.waitpid(pid, 0)
grandchild = int(os.read(read, 100))
time.sleep(0.9)
print(pid, grandchild)
""")
    assert records[1].peak > 60 * MIB
    assert records[1].parent != records[0].pid  # by now


@linux
def test_a_child_of_another_user_and_one_that_may_not_be_looked_into(recorded, root):
    records = recorded("""
import ctypes
libc = ctypes.CDLL(None)
def other_user():
    os.setgid(65534)
    os.setuid(65534)
    hold(60, 0.5)
def no_dumps():
    assert libc.prctl(4, 0) == 0
    hold(60, 0.5)
pids = fork(other_user), fork(no_dumps)
for pid in pids:
    os.waitpid(pid, 0)
print(*pids)
time.sleep(0.3)
""")
    assert min(record.peak for record in records) > 60 * MIB
    assert records[0].uid == 65534


@linux
def test_a_child_in_a_jail_and_one_in_other_namespaces(recorded, root, tmp_path):
    records = recorded(f"""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def jail():
    os.chroot({str(tmp_path)!r})
    hold(60, 0.5)
def user_namespace():
    assert libc.unshare(0x10000000) == 0, ctypes.get_errno()
    hold(60, 0.5)
def mount_namespace():
    assert libc.unshare(0x20000) == 0, ctypes.get_errno()
    hold(60, 0.5)
read, write = os.pipe()
def pid_namespace():
    assert libc.unshare(0x20000000) == 0, ctypes.get_errno()
    pid = fork(hold, 60, 0.5)  # its number there
    os.waitpid(pid, 0)
    os._exit(0)
pids = [fork(jail), fork(user_namespace), fork(mount_namespace), fork(pid_namespace)]
time.sleep(0.25)
with open(f"/proc/{{pids[3]}}/task/{{pids[3]}}/children") as file:
    inner = int(file.read())
for pid in pids:
    os.waitpid(pid, 0)
print(*pids[:3], inner)
time.sleep(0.3)
""")
    assert min(record.peak for record in records) > 60 * MIB


@linux
def test_a_child_that_no_hook_sees(recorded):
    """As uWSGI's workers, forked in C."""
    records = recorded("""
import ctypes
libc = ctypes.PyDLL(None)
held = None
pid = libc.fork()
if pid == 0:
    held = bytearray(b"x") * (60 * MIB)
    libc.usleep(600000)
    libc._exit(7)
raw = libc.syscall(56, 17, 0, 0, 0, 0) if os.uname().machine == "x86_64" else 0
if raw == 0:
    held = bytearray(b"x") * (60 * MIB)
    libc.usleep(600000)
    libc._exit(7)
os.waitpid(pid, 0)
os.waitpid(raw, 0)
print(pid, raw)
time.sleep(0.3)
""")
    for record in records:
        assert record.peak > 60 * MIB
        assert record.status in (7, None)


def test_a_process_whose_first_thread_has_ended(
    start_program, read_all, compile_c, tmp_path
):
    if sys.platform != "linux":
        pytest.skip("only Linux keeps such processes")
    source = tmp_path / "leaderless.c"
    source.write_text("""
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
static void *go_on(void *unused)
{
    (void)unused;
    usleep(300000);
    size_t size = 80 << 20;
    volatile char *held = malloc(size);
    for (size_t i = 0; i < size; i += 4096) held[i] = 1;
    usleep(700000);
    _exit(held[4096] == 1 ? 3 : 4);
}
int main(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, go_on, NULL);
    usleep(100000);
    pthread_exit(NULL);
}
""")
    compile_c(tmp_path / "leaderless", source, "-pthread")
    pid = os.posix_spawn(tmp_path / "leaderless", ["leaderless"], {})
    program = start_program(pid)
    assert program.hear() == "ready"
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    assert program.wait() == 0
    record = read_all()[pid]
    assert record.peak > 80 * MIB
    assert record.last > 80 * MIB


CONTAINERS = """
import ctypes, os, sys, time
libc = ctypes.CDLL(None)
gate, go = os.pipe()
while time.clock_gettime(time.CLOCK_BOOTTIME) % 0.01 > 0.001:
    pass
for _ in range(4):
    if os.fork() == 0:
        if libc.unshare(0x20020000) != 0:  # PIDs and mounts
            os._exit(77)
        if os.fork() == 0:
            os.close(go)
            os.read(gate, 1)
            assert libc.mount(b"none", b"/", None, 0x44000, None) == 0
            assert libc.mount(b"proc", b"/proc", b"proc", 0, None) == 0
            import memprobe
            memprobe.record(sys.argv[1], 0.05)
            time.sleep(0.5)
            os._exit(0)
        os.close(go)
        os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
os.close(go)
sys.exit(max(os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(4)))
"""


@linux
def test_process_1_of_each_of_several_containers_in_one_folder(trail, root):
    """Those that start within a tick of the clock have all else in common."""
    for _ in range(10):
        for path in trail.iterdir():
            path.unlink()
        command = [sys.executable, "-c", CONTAINERS, str(trail)]
        status = subprocess.run(command, timeout=60, cwd="/").returncode
        if status == 77:
            pytest.skip("no PID namespaces")
        assert status == 0
        names = [path.name.split("-") for path in trail.iterdir()]
        assert [name[0] for name in names] == ["1"] * 4
        if len({start for _, start, *_ in names}) < 4:
            return
    pytest.fail("no two of them have ever started within a tick")
