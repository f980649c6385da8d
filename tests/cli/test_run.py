"""`memprobe run`: what it starts, what it says of it, and that it leaves nothing."""

import contextlib
import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

if os.name != "posix":
    pytest.skip("written for POSIX", allow_module_level=True)

MEMPROBE = os.path.join(os.path.dirname(sys.executable), "memprobe")
LINUX = sys.platform == "linux"
linux = pytest.mark.skipif(not LINUX, reason="needs /proc")
root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

KEPT = "kept = bytearray(b'x') * (60 << 20)\n"
CHILD = "import time; kept = bytearray(b'x') * (60 << 20); time.sleep(0.6)"


@pytest.fixture
def folder(tmp_path):
    """Where programs run; TMPDIR is beside it, to see what is left there."""
    for name in ("here", "tmp"):
        (tmp_path / name).mkdir()
    yield tmp_path / "here"
    # Where memprobe was killed, its observer removes the folder, which takes a moment.
    within = time.monotonic() + 10
    while os.listdir(tmp_path / "tmp") and time.monotonic() < within:
        time.sleep(0.02)
    assert os.listdir(tmp_path / "tmp") == []


@pytest.fixture
def run(folder):
    """Run a program by memprobe run, with a time limit."""

    def run(*words, code=None, env=None, command=(MEMPROBE, "run"), **options):
        if code is not None:
            (folder / "program.py").write_text(code)
            words = [*words, "program.py"]
        return subprocess.run(
            [*command, *words],
            cwd=folder,
            env={**os.environ, "TMPDIR": str(folder.parent / "tmp"), **(env or {})},
            **{"stdin": subprocess.DEVNULL, **options},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def peak_of(report):
    return float(re.search(r"^- rss \(peak\): ([\d.]+)MB\.$", report, re.M)[1])


# -- What it says ---------------------------------------------------------------------


def test_the_report_has_the_lines_of_a_dump_and_how_it_went(run):
    done = run(code=KEPT + "import time; time.sleep(0.3)")
    lines = done.stderr.splitlines()
    assert lines[:2] == ["memprobe: program.py", "- rss (sample):"]
    samples = [line for line in lines if line.startswith("-    > ")]
    assert 3 <= len(samples) <= 10
    assert re.fullmatch(r"-    > [\d.]+MB,", samples[0])
    after = lines[2 + len(samples) :]
    assert re.fullmatch(r"- rss \(end\): [\d.]+MB\.", after[0])
    assert 60 < peak_of(done.stderr) < 90
    assert re.fullmatch(r"- duration: (\d+ ms|\d\.\d s)\.", after[2])
    assert after[3] == "- outcome: exited."
    assert "peak " in after[4]
    assert after[-1].endswith(" ms") or after[-1].endswith(" s")
    assert len(lines) <= 23
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("code", "status", "outcome"),
    [
        ("raise SystemExit(3)", 3, "exited (status 3)"),
        ("import os; os._exit(7)", 7, "exited (status 7)"),
        ("1 / 0", 1, "exited (status 1)"),
        ("import os; os.kill(os.getpid(), 15)", -15, "ended by SIGTERM"),
        ("import os; os.kill(os.getpid(), 9)", -9, "killed"),
        ("import os, sys; os.dup2(os.open('/dev/null', 1), 2)", 0, "exited"),
        (
            "import os; os.close(2); os.open('data', os.O_CREAT | os.O_RDWR)",
            0,
            "exited",
        ),
    ],
)
def test_there_is_a_report_whatever_ends_the_program(
    run, folder, code, status, outcome
):
    done = run(code=KEPT + code)
    assert done.returncode == status
    assert f"- outcome: {outcome}.\n" in done.stderr
    assert 60 < peak_of(done.stderr) < 90
    if (folder / "data").exists():
        assert (folder / "data").read_text() == ""


def test_a_peak_at_the_very_end_is_known(run):
    code = "import mmap, os\nflags = mmap.MAP_PRIVATE | mmap.MAP_POPULATE\n"
    code += "mmap.mmap(-1, 30 << 20, flags=flags)\nos._exit(0)"
    for _ in range(5):
        assert 36 < peak_of(run(code=code).stderr) < 50


@linux
def test_a_peak_of_children_is_not_the_programs(run):
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}])"
    assert peak_of(run(code=code).stderr) < 40


@linux
def test_a_family_has_a_table_and_its_sum(run, folder):
    code = f"""
import subprocess, sys
children = [subprocess.Popen([sys.executable, "-c", {CHILD!r}]) for _ in range(5)]
for child in children:
    child.wait()
"""
    done = run("--csv", "out.csv", code=code)
    lines = done.stderr.splitlines()
    assert len(lines) <= 23
    assert max(map(len, lines)) <= 80
    [header] = [i for i, line in enumerate(lines) if " pid command" in line]
    pids = [int(line.split()[0]) for line in lines[header + 1 : header + 7]]
    assert len(set(pids)) == 6
    assert lines[header + 1].split()[1] == "program.py"
    assert all(re.match(r" *\d+   python", line) for line in lines[header + 2 :][:5])
    assert lines[header + 7].startswith("all of them, pages that they share once; ")
    peak = float(re.search(r"peak (\d+)MB", lines[header + 8])[1])
    assert 300 < peak < 400
    rows = rows_of(folder / "out.csv")
    assert {int(row["pid"]) for row in rows} == set(pids)
    assert list(rows[0]) == [
        *("pid", "command", "started", "seconds", "rss_bytes", "shared_bytes")
    ]
    by_pid = {int(row["pid"]): int(row["rss_bytes"]) >> 20 for row in rows}
    assert max(int(row["rss_bytes"]) for row in rows) > 60 << 20
    assert len(by_pid) == 6


@linux
def test_children_that_came_and_went_are_counted(run):
    done = run(code="import os\nfor _ in range(50): os.system('true')")
    counted = re.search(
        r"- not listed: (\d+) short-lived processes?, (\d+) missed", done.stderr
    )
    assert sum(map(int, counted.groups())) > 0


@linux
def test_those_that_live_on_are_named(run, folder):
    code = "exec 3>&1 >&- 2>&-; sleep 20 3>&- & sleep 20 3>&- & echo $! >&3"
    done = run("sh", "-c", code + "; sleep 0.3; exit 4")
    assert done.returncode == 4
    found = re.search(
        r"- 2 processes live on: memprobe watch (\d+) (\d+)\n", done.stderr
    )
    pids = [int(pid) for pid in found.groups()]
    try:
        assert int(done.stdout) in pids
        assert all(os.path.exists(f"/proc/{pid}") for pid in pids)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


@linux
def test_into_a_folder_the_rest_is_recorded_on(run, folder):
    (folder / "trail").mkdir()
    done = run("--record", "trail", "sh", "-c", "sleep 1.5 & sleep 0.3")
    assert "- 1 process lives on, and recorded: memprobe show --follow trail\n" in (
        done.stderr
    )
    end = time.monotonic() + 30
    while time.monotonic() < end:
        shown = subprocess.run(
            [MEMPROBE, "show", "--json", "trail"], cwd=folder, capture_output=True
        ).stdout
        if b'"running"' not in shown:
            break
        time.sleep(0.2)
    assert shown.count(b'"exited"') == 3


def test_a_program_too_short_to_be_seen_is_no_error(run):
    done = run("true")
    assert done.returncode == 0
    assert done.stderr.startswith("memprobe: true\n")
    assert "- outcome: exited.\n" in done.stderr
    assert "not observed" not in done.stderr


def test_so_many_samples_are_printed_as_were_asked_for(run):
    code = "import time\nkept = []\n"
    code += "for _ in range(20): kept.append(b'x' * 5_000_000); time.sleep(.02)"
    for count in (0, 1, 2, 15):
        done = run("--samples", str(count), code=code)
        assert done.stderr.count("-    > ") == count
    assert "- rss (sample):" in done.stderr


def test_quiet_says_nothing(run, folder):
    done = run("--quiet", "--csv=out.csv", code="import time; time.sleep(0.1)")
    assert done.stderr == done.stdout == ""
    assert rows_of(folder / "out.csv")


def test_csv_to_standard_output_stands_behind_the_programs(run):
    done = run("--csv", "-", code="import time; print('mine'); time.sleep(0.1)")
    first, header, *rows = done.stdout.splitlines()
    assert (first, header.split(",")[0]) == ("mine", "pid")
    assert rows


@linux
def test_csv_into_a_process_of_the_shell(run, folder):
    if shutil.which("bash") is None:
        pytest.skip("no bash")
    line = f"{MEMPROBE} run --csv >(cat > copy) true; sleep 0.5"
    run("-c", line, command=["bash"])
    assert (folder / "copy").read_text().startswith("pid,command")


def test_what_cannot_be_written_at_the_end_leaves_the_status(run, folder):
    code = "import os; os.mkdir('out.csv'); raise SystemExit(5)"
    done = run("--csv", "out.csv", code=code)
    assert done.returncode == 5
    assert done.stderr.endswith("memprobe: cannot write 'out.csv': Is a directory\n")


def test_a_picture_of_the_run(run, folder):
    pytest.importorskip("matplotlib")
    done = run("--plot", "out.svg", code=KEPT + "import time; time.sleep(0.3)")
    assert done.returncode == 0, done.stderr
    assert "peak" in (folder / "out.svg").read_text()


def test_the_program_may_go_elsewhere_and_clear_all_it_has(run, folder):
    (folder / "sub").mkdir()
    code = "import os, sys\nos.chdir('sub'); sys.path.clear(); os.environ.clear()"
    done = run("--csv", "out.csv", code=code)
    assert done.returncode == 0, done.stderr
    assert (folder / "out.csv").exists()


def test_an_old_file_stays_until_the_program_has_ended(run, folder):
    (folder / "out.csv").write_text("old")
    code = "import os; print(open('out.csv').read(), os.path.exists('new.csv'))"
    assert run("--csv", "out.csv", code=code).stdout == "old False\n"
    assert run("--csv", "new.csv", code=code).stdout.endswith(" False\n")
    assert (folder / "out.csv").read_text() != "old"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "there is nothing to run"),
        (["-m"], "there is nothing to run"),
        (["--"], "there is nothing to run"),
        (["--interval", "0", "p.py"], "above 0, not '0'"),
        (["--interval=nan", "p.py"], "above 0, not 'nan'"),
        (["--samples=-1", "p.py"], "must be an int, 0 or more, not '-1'"),
        (["--plot", "x.gif", "p.py"], "must end in .png or .svg, not 'x.gif'"),
        (["--sam", "1", "p.py"], "there is no option --sam"),
        (["--csv"], "--csv needs a value"),
        (["--quiet=1", "p.py"], "--quiet takes no value"),
    ],
)
def test_wrong_usage_is_said_before_anything_runs(run, folder, options, words):
    (folder / "p.py").write_text("print('ran')")
    done = run(*options)
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize("option", ["--csv", "--plot", "--record"])
def test_what_cannot_be_written_is_said_before_the_program_runs(run, option):
    if option == "--plot":
        pytest.importorskip("matplotlib")
    done = run(option, "missing/x.svg", code="print('ran')")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"memprobe: {option}: ")
    assert "No such file or directory" in done.stderr
    assert done.stderr.count("\n") == 1


def test_help_names_the_options(run):
    done = run("--help")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) < 24
    for option in ("--interval S", "--samples N", "--csv FILE", "--plot FILE", "-m "):
        assert option in done.stdout


# -- What it starts -------------------------------------------------------------------


@pytest.fixture
def programs(folder):
    """Executables, scripts and neither, in a folder and on a PATH."""
    (folder / "bin").mkdir()
    for name, text, mode in [
        ("bin/tool", "#!/bin/sh\necho tool $0 $@\n", 0o755),
        ("bin/bare", "echo bare $0 $@\n", 0o755),
        ("bin/locked", "#!/bin/sh\n", 0o644),
        ("script", "import sys; print('python', sys.argv)\n", 0o644),
        ("with_line", "#!/bin/sh\necho sh $0 $@\n", 0o755),
        ("mode.py", "#!/bin/false\nprint('python')\n", 0o755),
    ]:
        (folder / name).write_text(text)
        (folder / name).chmod(mode)
    (folder / "empty").mkdir()
    return {"PATH": f"{folder}/bin:{os.environ['PATH']}"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tool", "-x"], "tool .*bin/tool -x"),
        (["bin/tool"], "tool bin/tool"),
        (["bare", "1"], "bare .*bin/bare 1"),
        (["script", "-m"], r"python \['script', '-m'\]"),
        (["./script"], r"python \['./script'\]"),
        (["./with_line", "a"], r"sh ./with_line a"),
        (["mode.py"], "python"),
        (["--", "script"], r"python \['script'\]"),
        (["-c", "print(__name__)"], "__main__"),
        (["python3", "-c", "print(1)"], "1"),
        (["env", "A=b", "sh", "-c", "echo $A"], "b"),
    ],
)
def test_what_the_shell_or_python_would_run(run, programs, words, said):
    done = run("--quiet", *words, env=programs)
    assert done.stderr == ""
    assert re.fullmatch(said + "\n", done.stdout)


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        (["no-such-command"], 127, "No such file or directory"),
        (["./no-such-file"], 127, "No such file or directory"),
        ([""], 127, "No such file or directory"),
        (["./empty"], 126, "Permission denied"),
        (["locked"], 126, "Permission denied"),
        (["with_line/x"], 127, "Not a directory"),
    ],
)
def test_what_cannot_be_run_is_one_line(run, programs, words, status, reason):
    done = run(*words, env=programs)
    assert done.stderr == f"memprobe: cannot run {words[0]!r}: {reason}\n"
    assert (done.returncode, done.stdout) == (status, "")


def test_a_module_beside_the_program_is_the_programs(run, folder):
    # Not what python -m itself imports.
    names = "argparse csv datetime heapq json math random shutil signal struct tempfile"
    for name in f"{names} termios traceback typing unicodedata".split():
        (folder / f"{name}.py").write_text("print('imported the wrong module')")
    (folder / "pickle.py").write_text("ITEMS = 'mine'\n")
    (folder / "trail").mkdir()
    for command in ([MEMPROBE, "run"], [sys.executable, "-m", "memprobe", "run"]):
        code = "import pickle; print(pickle.ITEMS)"
        done = run("--csv", "out.csv", "--record", "trail", "-c", code, command=command)
        assert done.stdout == "mine\n", done.stderr
        assert "- outcome: exited.\n" in done.stderr


def test_variables_that_name_the_process_name_the_program(run):
    line = f"export LISTEN_PID=$$ OTHER_PID=$$ NUMBER=$$; exec {MEMPROBE} run --quiet "
    line += "sh -c 'test $LISTEN_PID = $$ -a $OTHER_PID = $$ && test $NUMBER != $$'"
    assert run("-c", line, command=["sh"]).returncode == 0


@linux
def test_a_command_finds_the_signals_that_it_finds_without(run):
    """Those that Python changes at its start, above all."""
    words = ["grep", "^Sig[BIC]", "/proc/self/status"]
    plain = run(*words[1:], command=words[:1])
    assert run("--quiet", *words).stdout == plain.stdout


def test_a_folder_that_is_gone_does_not_matter(run, folder):
    (folder / "program.py").write_text("print('ran')")
    line = f"mkdir gone; cd gone; rmdir ../gone; {MEMPROBE} run {folder}/program.py"
    assert run("-c", line, command=["sh"]).stdout == "ran\n"


# -- Its parent -----------------------------------------------------------------------

TWICE = """
import os, signal, sys, time
got = []
signal.signal(signal.SIGTERM, lambda *a: got.append(1))
signal.signal(signal.SIGUSR1, lambda *a: got.append(1))
print("ready", flush=True)
end = time.monotonic() + 1
while time.monotonic() < end:
    time.sleep(0.01)
print(len(got), flush=True)
"""


@pytest.fixture
def start(folder):
    """Start memprobe run in a group of its own; it is killed at the end."""
    started = []

    def start(*words, code=TWICE, **options):
        (folder / "program.py").write_text(code)
        process = subprocess.Popen(
            [MEMPROBE, "run", *words, "program.py"],
            cwd=folder,
            env={**os.environ, "TMPDIR": str(folder.parent / "tmp")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **options,
        )
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@linux
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize("send", ["kill", "killpg", "both"])
def test_a_signal_reaches_the_program_once(start, number, send):
    process = start()
    if send in ("kill", "both"):
        os.kill(process.pid, number)
    if send == "both":
        time.sleep(0.2)
    if send in ("killpg", "both"):
        os.killpg(process.pid, number)
    out, _ = process.communicate(timeout=30)
    assert out == ("2\n" if send == "both" else "1\n")
    assert process.returncode == 0


@linux
def test_many_signals_to_the_group_arrive_as_many_times(start):
    process = start()
    for _ in range(5):
        os.killpg(process.pid, signal.SIGUSR1)
        time.sleep(0.1)
    assert process.communicate(timeout=30)[0] == "5\n"


def test_a_signal_that_ends_the_program_ends_memprobe_after_the_report(start):
    process = start(code="import time; print('ready', flush=True); time.sleep(60)")
    os.kill(process.pid, signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGTERM
    assert "- outcome: ended by SIGTERM.\n" in err


@linux
def test_what_the_program_sends_to_its_parent_goes_on_to_ours(folder):
    code = "import os, signal; os.kill(os.getppid(), signal.SIGUSR1)"
    line = (
        f"trap 'echo got' USR1; {MEMPROBE} run --quiet -c '{code}'; sleep 0.2; echo end"
    )
    done = subprocess.run(
        ["sh", "-c", line], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "got\nend\n"


@linux
def test_memprobe_killed_leaves_the_program_alone(start, folder):
    process = start(
        code="import time; print('ready', flush=True); time.sleep(1)\n"
        "print('went on', flush=True)"
    )
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGKILL)
    assert process.stdout.readline() == "went on\n"
    end = time.monotonic() + 10
    while os.listdir(folder.parent / "tmp") and time.monotonic() < end:
        time.sleep(0.1)


@linux
def test_its_ends_of_pipes_are_the_programs_alone(start):
    code = """
import os, time
print("ready", flush=True)
os.close(0); os.close(1); os.close(3)
time.sleep(1.5)
"""
    mine, given = os.pipe()
    other, writing = os.pipe()
    os.dup2(writing, 3) if writing == 3 else None
    process = start(
        code=code.replace("os.close(3)", f"os.close({given})"),
        stdin=other,
        pass_fds=[given],
    )
    os.close(given)
    os.close(other)
    began = time.monotonic()
    assert process.stdout.read() == ""  # its standard output has ended
    assert os.read(mine, 1) == b""  # and what it was handed down
    with pytest.raises(BrokenPipeError):
        os.write(writing, b"x")
    assert process.poll() is None
    assert time.monotonic() - began < 1.2
    os.close(mine)
    os.close(writing)


@linux
def test_nothing_of_memprobe_is_in_the_program(run):
    code = """
import os, sys
print([os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")
       if int(n) > 2 and os.path.exists(f"/proc/self/fd/{n}")])
print([name for name in sys.modules if "memprobe" in name])
print([name for name in os.environ if "MEMPROBE" in name or "LC_CTYPE" in name])
print(len(os.listdir("/proc/self/task")))
"""
    env = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}
    assert run(code=code, env=env).stdout == "[]\n[]\n[]\n1\n"


@linux
@root
def test_as_process_1_it_ends_with_a_status_and_reaps(run):
    if shutil.which("unshare") is None:
        pytest.skip("no unshare")
    own = ["unshare", "-pf", "--mount-proc", MEMPROBE, "run"]
    code = """
import os, subprocess, time
for _ in range(3):
    subprocess.run(["sh", "-c", "(sleep 0.1; exit 3) & exit 0"])
time.sleep(0.5)
print([pid for pid in os.listdir("/proc") if pid.isdecimal()
       and open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] == "Z"])
os.kill(os.getpid(), 15)
"""
    done = run(code=code, command=own)
    assert done.stdout == "[]\n", done.stderr
    assert done.returncode == 128 + 15
    assert "ended by SIGTERM" in done.stderr


@linux
@root
def test_under_the_proc_of_another_namespace_it_finds_the_program(run):
    """There the numbers that fork() returns are somebody else's."""
    if shutil.which("unshare") is None:
        pytest.skip("no unshare")
    code = KEPT + "import os, time; time.sleep(0.3)\nprint(os.getpid())"
    done = run(code=code, command=["unshare", "-pf", MEMPROBE, "run"])
    assert int(done.stdout) < 10
    assert 60 < peak_of(done.stderr) < 90
    assert "memprobe: program.py\n- rss (sample):\n" in done.stderr


@linux
def test_orphans_have_the_parent_that_they_have_without(run):
    code = """
import os, subprocess, sys
code = "import os, time; time.sleep(.3); print(os.getppid(), flush=True)"
subprocess.Popen([sys.executable, "-c", code])
os.system("sleep 0.1")
"""
    plain = run(code=code, command=[sys.executable]).stdout.split()
    ours = run("--quiet", code=code).stdout.split()
    assert plain[-1] == ours[-1]


@linux
def test_the_report_can_be_read_in_a_terminal_that_was_left_raw(folder):
    pty = pytest.importorskip("pty")
    master, slave = pty.openpty()
    code = "import os, tty; tty.setraw(2); os.kill(os.getpid(), 9)"
    subprocess.run(
        [MEMPROBE, "run", "-c", code], stdin=slave, stderr=slave, cwd=folder, timeout=60
    )
    os.close(slave)
    text = b""
    try:
        while more := os.read(master, 65536):
            text += more
    except OSError:
        pass
    os.close(master)
    assert b"- outcome: killed.\r\n" in text


WRAPPED = {
    "run in run": ["{run}", "{run}", "program.py"],
    "-m run in -m run": [
        "{python} -m memprobe run",
        "-m",
        "memprobe",
        "run",
        "program.py",
    ],
    "timeout": ["timeout 60 {run}", "program.py"],
    "timeout inside": ["{run}", "timeout", "60", "{python}", "program.py"],
    "xargs": ["xargs {run}", "program.py"],
    "env -i": ["env -i {run}", "program.py"],
    "nice": ["nice {run}", "program.py"],
    "setsid": ["setsid -w {run}", "program.py"],
    "nohup": ["nohup {run}", "program.py"],
    "strace": ["strace -f -o /dev/null {run}", "program.py"],
    "strace inside": [
        "{run}",
        "strace",
        "-f",
        "-o",
        "/dev/null",
        "{python}",
        "program.py",
    ],
    "gdb": ["{run}", "gdb", "-batch", "-ex", "run", "--args", "{python}", "program.py"],
    "coverage": [
        "{run}",
        "-m",
        "coverage",
        "run",
        "--data-file=/dev/null",
        "program.py",
    ],
    "under coverage": [
        "{python} -m coverage run --data-file=/dev/null -m memprobe run",
        "program.py",
    ],
    "cProfile": ["{run}", "-m", "cProfile", "-o", "/dev/null", "program.py"],
    "under cProfile": [
        "{python} -m cProfile -o /dev/null -m memprobe run",
        "program.py",
    ],
    "pdb": ["{run}", "-m", "pdb", "-c", "continue", "-c", "quit", "program.py"],
    "make": ["make -s -j2 RUN={run} all"],
}


@linux
@pytest.mark.parametrize("name", WRAPPED)
def test_nested_and_under_other_tools(run, folder, name):
    words = [
        part
        for word in WRAPPED[name]
        for part in word.format(run=f"{MEMPROBE} run", python=sys.executable).split()
    ]
    if name == "make":
        words = ["make", "-s", "-j2", f"RUN={MEMPROBE} run", "all"]
        (folder / "Makefile").write_text(
            "all: a b\na b:\n"
            "\t+@$(RUN) sh -c 'case $$MAKEFLAGS in *j*) echo ran $@;; esac'\n"
        )
    for tool in (words[0], words[2] if len(words) > 2 else "true"):
        if tool in {"strace", "gdb", "make", "setsid"} and shutil.which(tool) is None:
            pytest.skip(f"no {tool}")
    if "coverage" in name:
        pytest.importorskip("coverage")
    (folder / "program.py").write_text("print('ran')")
    input = "" if name != "xargs" else "1\n"
    done = run(*words[1:], command=words[:1], stdin=None, input=input)
    assert "ran" in done.stdout, done.stderr
    assert "memprobe: " in done.stderr
    assert done.returncode == 0


def test_the_parent_of_windows_starts_and_waits(folder):
    """Its own code needs no Windows."""
    code = f"""
import sys
sys.platform = "win32"
from memprobe._cli import parent_windows
argv = ["python", "-c", "raise SystemExit(3)"]
child = parent_windows.Child({sys.executable!r}, argv, {{}})
child.let_go(set())
status = child.wait()
assert parent_windows.how_it_ended(status) == (None, 3)
assert child.reap() is None and child.ended > child.began
parent_windows.end_as(status)
"""
    done = subprocess.run([sys.executable, "-c", code.strip()], timeout=60, cwd=folder)
    assert done.returncode == 3
