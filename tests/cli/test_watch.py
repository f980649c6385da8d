"""`memprobe watch`: what runs already, by number and by name."""

import contextlib
import csv
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time

import pytest

if sys.platform != "linux":
    pytest.skip("watched by /proc", allow_module_level=True)

pytestmark = pytest.mark.usefixtures("orphans")
MEMPROBE = os.path.join(os.path.dirname(sys.executable), "memprobe")

FAMILY = """
import subprocess, sys, time
code = "import time; kept = bytearray(b'x') * (60 << 20); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", code])
print(child.pid, flush=True)
time.sleep({seconds})
child.kill()
child.wait()
"""


@pytest.fixture
def start():
    """Start a process; what is left of it and of its children is killed at the end."""
    started = []

    def start(*words, **options):
        process = subprocess.Popen(
            [str(word) for word in words],
            **{
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                "text": True,
                "start_new_session": True,
                **options,
            },
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def family(start):
    """Start a process that has a child of 60 MiB; return both their numbers."""

    def family(seconds=60):
        process = start(sys.executable, "-c", FAMILY.format(seconds=seconds))
        return process.pid, int(process.stdout.readline())

    return family


@pytest.fixture
def watch(start, tmp_path):
    """Start memprobe watch; nothing is to be left of it in TMPDIR."""
    (tmp_path / "tmp").mkdir()

    def watch(*words, **options):
        env = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
        return start(MEMPROBE, "watch", *words, cwd=tmp_path, env=env, **options)

    yield watch
    end = time.monotonic() + 10
    while os.listdir(tmp_path / "tmp") and time.monotonic() < end:
        time.sleep(0.1)
    assert os.listdir(tmp_path / "tmp") == []


def lives(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_family_is_watched_until_it_ends(family, watch):
    pid, child = family(seconds=2.5)
    watching = watch(pid, "--interval", "0.2")
    out, err = watching.communicate(timeout=60)
    assert watching.returncode == 0
    lines = out.splitlines()
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d \d+ process(es)?, .*", x) for x in lines)
    sizes = re.findall(r"2 processes, (\d+)\.?\d*MB", out)
    assert sizes
    assert all(70 < int(size) < 100 for size in sizes[1:])
    said = err.splitlines()
    assert said[0].startswith(f"memprobe: {pid} python")
    assert any(line.startswith("- watched: ") for line in said)
    assert any(re.match(rf" *{pid} ", line) for line in said)
    assert any(re.match(rf" *{child}   ", line) for line in said)
    assert len(said) <= 23
    assert max(map(len, said)) <= 80
    assert "not all was observed" not in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_watch_with_a_report_and_nothing_else(family, watch, number):
    pid, child = family()
    watching = watch(pid)
    watching.stdout.readline()
    watching.stdout.readline()
    watching.send_signal(number)
    _, err = watching.communicate(timeout=60)
    assert watching.returncode == 0
    assert f"memprobe: {pid} " in err
    assert "running" in err
    assert "live on" not in err
    assert lives(pid)
    assert lives(child)


def test_the_watch_killed_leaves_the_watched_alone(family, watch):
    pid, child = family()
    watching = watch(pid)
    watching.stdout.readline()
    watching.kill()
    watching.wait()
    time.sleep(0.5)
    assert lives(pid)
    assert lives(child)


def test_quiet_is_nothing_before_the_end(family, watch):
    pid, _ = family(seconds=1)
    out, err = watch(pid, "--quiet").communicate(timeout=60)
    assert out == ""
    assert "memprobe: " in err


def test_several_at_once_have_one_table_and_one_sum(family, watch):
    (one, _), (other, _) = family(seconds=2), family(seconds=2)
    _, err = watch(one, other, "--interval=0.2").communicate(timeout=60)
    assert err.startswith("memprobe: 2 processes and their descendants\n")
    assert all(re.search(rf"^ *{pid} ", err, re.M) for pid in (one, other))
    assert "all of them, pages that they share once\n" in err


def test_samples_go_to_files(family, watch, tmp_path):
    pid, child = family(seconds=2)
    (tmp_path / "trail").mkdir()
    watching = watch(pid, "--csv", "out.csv", "--record", "trail", "--interval", "0.1")
    watching.communicate(timeout=60)
    with open(tmp_path / "out.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {int(row["pid"]) for row in rows} == {pid, child}
    names = sorted(name.split("-")[0] for name in os.listdir(tmp_path / "trail"))
    assert names == sorted(map(str, (pid, child)))


def test_csv_can_be_all_of_standard_output(family, watch):
    pid, _ = family(seconds=1)
    out, _ = watch(pid, "--csv", "-").communicate(timeout=60)
    assert out.startswith("pid,command,")
    assert out.count("pid,command,") == 1


def test_pss_is_asked_for(family, watch):
    pid, _ = family(seconds=2.5)
    _, err = watch(pid, "--pss", "--interval", "0.2").communicate(timeout=60)
    [header] = [line for line in err.splitlines() if " pid command" in line]
    assert " pss" in header


def test_programs_are_found_by_name(start, watch, tmp_path):
    script = tmp_path / "my_server"
    script.write_text("import os, time\nos.fork()\nprint('ready')\ntime.sleep(3)\n")
    server = start(sys.executable, "-u", script)
    server.stdout.readline()
    out, err = watch("--name", "my_server", "--interval", ".2").communicate(timeout=60)
    assert "2 processes, " in out
    assert err.startswith(f"memprobe: {server.pid} my_server\n")
    out, err = watch("--name", "no_server").communicate(timeout=60)
    assert err == "memprobe: no program of the name 'no_server' runs here\n"


def test_what_cannot_be_watched_is_a_line_and_the_rest_is(start, family, watch):
    pid, _ = family(seconds=1.5)
    gone = start("true")
    gone.wait()
    zombie = start("sh", "-c", "sleep 0 & exec sleep 20")
    time.sleep(0.5)
    with open(f"/proc/{zombie.pid}/task/{zombie.pid}/children") as file:
        child = int(file.read())
    threads = start(
        sys.executable,
        "-c",
        "import threading, time\n"
        "t = threading.Thread(target=time.sleep, args=(20,)); t.start()\n"
        "print(t.native_id, flush=True)",
    )
    thread = int(threads.stdout.readline())
    _, err = watch(gone.pid, child, thread, pid).communicate(timeout=60)
    lines = err.splitlines()
    assert lines[:3] == [
        f"memprobe: {gone.pid}: there is no such process here",
        f"memprobe: {child}: it has ended, and its parent hasn't asked for that yet",
        f"memprobe: {thread}: a thread; its process is {threads.pid}",
    ]
    assert lines[3].startswith("memprobe: ")
    watching = watch(gone.pid)
    assert watching.communicate(timeout=60)[0] == ""
    assert watching.returncode == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "what to watch is missing"),
        (["x"], "a PID is a number above 0, not 'x'"),
        (["0"], "a PID is a number above 0, not '0'"),
        (["-1"], "there is no option -1"),
        (["1", "--interval", "no"], "above 0, not 'no'"),
        (["1", "--samples", "3"], "there is no option --samples"),
        (["1", "--name", "x"], "either PIDs or a name"),
    ],
)
def test_wrong_usage_is_one_line(watch, words, said):
    watching = watch(*words)
    _, err = watching.communicate(timeout=60)
    assert said in err
    assert err.count("\n") == 1
    assert watching.returncode == 2


@pytest.mark.usefixtures("other_users")
def test_another_users_process_and_another_namespaces(start, watch):
    if shutil.which("unshare") is None:
        pytest.skip("no unshare")
    process = start(
        *("unshare", "-pf", "--mount-proc", sys.executable, "-c"),
        "import os, time; os.setgid(65534); os.setuid(65534)\n"
        "kept = bytearray(b'x') * (60 << 20)\n"
        "print('ready', flush=True); time.sleep(2)",
    )
    process.stdout.readline()
    out, err = watch(process.pid, "--interval", "0.2").communicate(timeout=60)
    assert re.search(r"2 processes, [67]\d", out)
    assert "peak" in err


def test_in_a_terminal_a_table_is_redrawn_in_place(family, watch):
    pty = pytest.importorskip("pty")
    pid, child = family()
    master, slave = pty.openpty()
    watching = watch(pid, "--interval", "0.2", stdout=slave, stderr=slave)
    os.close(slave)
    text = ""
    end = time.monotonic() + 30
    while text.count("\x1b[H") < 3 and time.monotonic() < end:
        if select.select([master], [], [], 1)[0]:
            text += os.read(master, 65536).decode()
    last = text.rpartition("\x1b[H")[0].rpartition("\x1b[H")[2]
    assert re.search(rf"{pid} .*running", last)
    assert re.search(rf"{child}   .*running", last)
    assert "2 running, " in last
    watching.send_signal(signal.SIGINT)
    text = ""
    try:
        while more := os.read(master, 65536).decode():
            text += more
    except OSError:
        pass
    os.close(master)
    assert f"memprobe: {pid} python" in text
    assert watching.wait(60) == 0


def test_the_reader_of_its_lines_may_go(family, watch):
    pid, _ = family()
    watching = watch(pid)
    watching.stdout.readline()
    watching.stdout.close()
    watching.wait(60)
    err = watching.stderr.read()
    assert f"memprobe: {pid} " in err
    assert "Traceback" not in err


def test_many_short_and_long_lived_children(start, watch):
    code = """
import subprocess, sys, time
print("ready", flush=True)
end = time.monotonic() + 3
long = [subprocess.Popen(["sleep", "60"]) for _ in range(100)]
count = 0
while time.monotonic() < end:
    subprocess.run(["true"])
    count += 1
for one in long:
    one.kill(); one.wait()
print(count, flush=True)
"""
    process = start(sys.executable, "-c", code)
    process.stdout.readline()
    out, err = watch(process.pid, "--interval", "0.5").communicate(timeout=120)
    assert re.search("1(00|01|02) processes", out)
    assert re.search(r"not listed: \d+ short-lived processes, \d+ missed", err)
    assert re.search("and [0-9]+ more", err)
    assert len(err.splitlines()) <= 24
