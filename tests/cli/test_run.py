"""`memprobe run`: the program runs, and ends, as it does without memprobe."""

import os
import signal
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

RUN = [sys.executable, "-W", "error", "-m", "memprobe", "run"]
PLAIN = [sys.executable, "-W", "error"]

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no os.fork()")


@pytest.fixture
def start(tmp_path):
    """Run a command in a folder that has nothing but the test's files."""

    def start(command, **options):
        return subprocess.run(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            **{"cwd": tmp_path, **options},
        )

    return start


@pytest.fixture
def same(start):
    """Run a program plainly and by memprobe run: both must do and say the same.

    Returns what memprobe adds on standard error.
    """

    def same(program, *, report=True, flags=(), **options):
        plain = start([*PLAIN, *flags, *program], **options)
        command = [sys.executable, "-W", "error", *flags, "-m", "memprobe", "run"]
        ours = start([*command, *program], **options)
        assert ours.stdout == plain.stdout
        title = f"-m {program[1]}" if program[0] == "-m" else str(program[0])
        said, line, added = ours.stderr.rpartition(f"memprobe: {title}\n")
        assert bool(line) == report
        assert (said or added if not report else said) == plain.stderr
        assert ours.returncode == plain.returncode
        return added

    return same


SHOW = """
import sys
def show(name, value):
    if type(value).__name__.endswith(("Loader", "zipimporter")):
        value = type(value).__name__, getattr(value, "path", "")
    if type(value).__name__ == "ModuleSpec":
        value = value.name, value.origin, value.parent, value.cached
    if type(value).__name__ == "module":
        value = value.__name__
    print(name, value)
for name in sorted(globals()):
    if name != "show":
        show(name, globals()[name])
print(sys.argv, sys.path)
print(sys.modules["__main__"].__dict__ is globals())
print(__name__ == "__main__", "__file__" in globals())
"""
ARGUMENTS = ["-h", "--csv", "no.csv", "--", "-m", "x", ""]


@pytest.fixture
def show(tmp_path):
    (tmp_path / "folder" / "package").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    for path in (
        "show.py",
        "folder/inner.py",
        "folder/__main__.py",
        "folder/package/__init__.py",
        "folder/package/__main__.py",
        "folder/package/module.py",
    ):
        (tmp_path / path).write_text(SHOW)
    with zipfile.ZipFile(tmp_path / "archive", "w") as archive:
        archive.writestr("__main__.py", SHOW)
    return tmp_path


PROGRAMS = [
    ["show.py"],
    ["./show.py"],
    ["folder/../show.py"],
    ["folder/inner.py"],
    ["folder"],
    ["./folder/"],
    ["archive"],
    ["-m", "show"],
    ["-m", "folder.inner"],
    ["-m", "folder"],
    ["-m", "folder.package"],
    ["-m", "folder.package.module"],
]


@pytest.mark.parametrize("program", PROGRAMS, ids=" ".join)
def test_the_program_finds_itself_as_python_starts_it(same, show, program):
    same([*program, *ARGUMENTS])


@pytest.mark.parametrize("program", [["show.py"], ["folder"], ["-m", "show"]], ids=str)
@pytest.mark.parametrize("flag", ["-I", "-P"])
def test_what_python_was_told_about_the_path_holds(same, start, show, program, flag):
    if flag == "-P" and sys.version_info < (3, 11):
        pytest.skip("-P came with 3.11")
    if start([*PLAIN, flag, "-c", "import memprobe"]).returncode != 0:
        pytest.skip("memprobe is only on PYTHONPATH, which -I ignores")
    same(program, flags=[flag], report=program != ["-m", "show"])


def test_a_script_behind_a_link_finds_its_neighbours(same, show):
    (show / "folder" / "neighbour.py").write_text("")
    script = show / "folder" / "script.py"
    script.write_text("import neighbour, sys; print(sys.path, sys.argv, __file__)")
    try:
        (show / "link.py").symlink_to(script)
    except OSError as error:
        pytest.skip(f"no links: {error}")
    if not (show / "link.py").is_symlink():
        pytest.skip("no links, and no error either")
    same(["link.py"])


def test_a_compiled_script_runs(same, show):
    import py_compile

    py_compile.compile(str(show / "show.py"), cfile=str(show / "compiled.pyc"))
    same(["compiled.pyc"])


def test_a_script_in_another_encoding_runs(same, tmp_path):
    text = "# coding: latin-1\nprint(ascii('\xe4\xf6')); raise ValueError('\xfc')\n"
    (tmp_path / "latin.py").write_bytes(text.encode("latin-1"))
    same(["latin.py"])


def test_the_console_script_does_the_same(start, show):
    scripts = Path(sysconfig.get_path("scripts"))
    name = "memprobe.exe" if os.name == "nt" else "memprobe"
    if not (scripts / name).exists():
        pytest.skip("memprobe was installed without its script")
    plain = start([sys.executable, "show.py", *ARGUMENTS])
    ours = start([scripts / name, "run", "show.py", *ARGUMENTS])
    assert ours.stdout == plain.stdout
    assert ours.stderr.startswith("memprobe: show.py\n")
    (show / "fail.py").write_text("def f():\n    1 / 0\nf()\n")
    plain = start([sys.executable, "fail.py"])
    ours = start([scripts / name, "run", "fail.py"])
    assert ours.stderr.partition("memprobe: fail.py\n")[0] == plain.stderr
    assert ours.returncode == plain.returncode == 1


ENDS = {
    "nothing": "",
    "exit": "import sys; sys.exit()",
    "exit 0": "import sys; sys.exit(0)",
    "exit 3": "import sys; sys.exit(3)",
    "exit -1": "import sys; sys.exit(-1)",
    "exit text": "import sys; sys.exit('b\\xe4d')",
    "exit object": "import sys; sys.exit([1, 2])",
    "exit False": "raise SystemExit(False)",
    "error": "def f():\n    raise ValueError('no')\nf()",
    "error at once": "1 / 0",
    "chained": "try:\n    1 / 0\nexcept Exception as e:\n    raise KeyError(1) from e",
    "in context": "try:\n    1 / 0\nexcept Exception:\n    raise KeyError(1)",
    "base": "class Odd(BaseException): pass\nraise Odd('x')",
    "in a module": "import json\njson.loads('{')",
    "syntax": "x = 1\nif x\n    pass",
    "indentation": "if 1:\npass",
    "evaluated": "eval('1 +')",
    "interrupt": "raise KeyboardInterrupt",
    "interrupted": "import signal as s\n"
    "s.signal(s.SIGINT, s.default_int_handler)\ns.raise_signal(s.SIGINT)",
    "assertion": "assert not 'optimised'",
    "hook": "import sys\nsys.excepthook = lambda t, v, tb: print(t, v, tb.tb_lineno,\n"
    "    v.__traceback__ is tb, sys.last_value is v, sys.last_traceback is tb,\n"
    "    tb.tb_frame.f_code.co_name, file=sys.stderr)\n1 / 0",
    "hook exits": "import sys\nsys.excepthook = lambda *a: sys.exit(9)\n1 / 0",
    "finalizers": "import sys\nclass A:\n    def __del__(self): print('gone')\na = A()",
    "exit functions": "import atexit\n"
    "atexit.register(print, 'last')\natexit.register(print, 'first')\n1 / 0",
    "exit function fails": "import atexit\nclass F:\n"
    "    def __repr__(self): return 'F'\n    def __call__(self): 1 / 0\n"
    "atexit.register(F())",
    "threads": "import threading, time\n"
    "def f():\n    time.sleep(0.3); print('thread')\n"
    "threading.Thread(target=f).start(); print('main')\n1 / 0",
    "thread fails": "import threading\n"
    "t = threading.Thread(target=lambda: 1 / 0, name='T'); t.start(); t.join()",
    "daemon": "import threading, time\n"
    "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    "pool": "import concurrent.futures as c, time\n"
    "c.ThreadPoolExecutor().submit(lambda: (time.sleep(0.2), print('late')))",
    "warning": "import warnings; warnings.simplefilter('default')\n"
    "warnings.warn('careful')",
    "closed streams": "import sys; print('x'); sys.stdin.close()",
    "main is there": "import __main__, pickle\ndef f(): return 42\n"
    "print(__main__.f(), pickle.loads(pickle.dumps(f)) is f)",
    "builtins": "import builtins; print(__builtins__ is builtins, __builtins__.len)",
}


@pytest.mark.parametrize("end", ENDS)
def test_the_program_ends_as_it_does_plainly(same, tmp_path, end):
    (tmp_path / "program.py").write_text(ENDS[end], encoding="utf-8")
    report = end not in {"syntax", "indentation"}
    added = same(["program.py"], report=report)
    assert added.count("- rss (end): ") == report
    same(["-m", "program"])


@pytest.mark.parametrize("end", ["error", "exit 3", "interrupt", "threads"])
def test_a_folder_ends_as_it_does_plainly(same, tmp_path, end):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "__main__.py").write_text(ENDS[end])
    same(["folder"])


def test_optimisation_and_development_mode_hold(same, tmp_path):
    (tmp_path / "program.py").write_text(ENDS["assertion"])
    same(["program.py"], flags=["-O"])
    same(["program.py"], flags=["-X", "dev"])


def test_the_report_comes_after_threads_and_exit_functions(start, tmp_path):
    (tmp_path / "program.py").write_text("""
import atexit, sys, threading, time
def say(text):
    sys.stderr.write(text + "\\n")
atexit.register(say, "exit function")
def work():
    time.sleep(0.3)
    say("thread")
threading.Thread(target=work).start()
say("main")
sys.exit("exit")
""")
    ours = start([*RUN, "program.py"])
    lines = ours.stderr.splitlines()
    assert lines[:5] == [
        "main",
        "exit",
        "thread",
        "exit function",
        "memprobe: program.py",
    ]
    assert ours.returncode == 1


def test_output_comes_before_the_report(start, tmp_path):
    (tmp_path / "program.py").write_text("print('output', end='')")
    buffered = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    with open(tmp_path / "both", "w") as both:
        command = [*RUN, "program.py"]
        subprocess.run(
            command, cwd=tmp_path, env=buffered, stdout=both, stderr=both, check=True
        )
    assert (tmp_path / "both").read_text().startswith("outputmemprobe: program.py\n")


@pytest.mark.skipif(os.name == "nt", reason="signals are other ones on Windows")
@pytest.mark.parametrize("program", [["program.py"], ["-m", "program"]], ids=str)
def test_ctrl_c_ends_the_program_and_is_reported(tmp_path, program):
    (tmp_path / "program.py").write_text("""
import time
print("ready", flush=True)
while True:  # a signal just before a sleep is seen after it
    time.sleep(0.01)
""")
    process = subprocess.Popen(
        [*RUN, *program],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=60)
        finally:
            process.kill()  # if it is still there
    assert process.returncode == -signal.SIGINT
    said, line, added = stderr.partition(f"memprobe: {' '.join(program)}\n")
    assert said.startswith("Traceback (most recent call last):\n")
    assert said.endswith("KeyboardInterrupt\n")
    assert "memprobe" not in said.replace(str(tmp_path), "")
    assert line
    assert "- rss (end): " in added


@needs_fork
@pytest.mark.parametrize(
    "child",
    ["pass", "sys.exit(5)", "1 / 0", "os._exit(6)", "raise KeyboardInterrupt"],
)
def test_a_forked_child_ends_plainly_and_reports_nothing(same, tmp_path, child):
    (tmp_path / "program.py").write_text(f"""
import atexit, os, sys
atexit.register(lambda: print("exit function", flush=True))
if os.fork() == 0:
    {child}
else:
    print("child ended with", os.wait()[1], flush=True)
""")
    added = same(["program.py"])
    assert added.count("- rss (end): ") == 1


MULTIPROCESSING = """
import multiprocessing
import sys

def square(x):
    return x * x

class Point:
    x = 3

def point(q):
    q.put(Point())

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    with context.Pool(2) as pool:
        print(pool.map(square, range(5)))
    q = context.Queue()
    process = context.Process(target=point, args=(q,))
    process.start()
    print(q.get().x)
    process.join()
    print(process.exitcode)
"""


@pytest.mark.parametrize("way", ["spawn", "fork", "forkserver"])
@pytest.mark.parametrize("program", [["program.py"], ["-m", "program"]], ids=str)
def test_multiprocessing_finds_the_functions_of_main(start, tmp_path, program, way):
    import multiprocessing

    if way not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {way} on this system")
    (tmp_path / "program.py").write_text(MULTIPROCESSING)
    # Not with -W error: since 3.12 a fork beside the threads of a Pool is warned of.
    command = [sys.executable, "-m", "memprobe", "run", *program, way]
    ours = start(command)
    assert ours.stdout == "[0, 1, 4, 9, 16]\n3\n0\n"
    assert ours.stderr.count("- rss (end): ") == 1
    assert ours.returncode == 0


def test_a_killed_program_leaves_no_report(start, tmp_path):
    (tmp_path / "program.py").write_text("import os; os._exit(7)")
    ours = start([*RUN, "program.py"])
    assert (ours.returncode, ours.stdout, ours.stderr) == (7, "", "")


def test_a_program_may_close_or_replace_its_streams(start, tmp_path):
    (tmp_path / "program.py").write_text("""
import io, sys
sys.stdout = io.StringIO()
sys.stderr = io.StringIO()
""")
    ours = start([*RUN, "program.py"])
    assert ours.stderr.startswith("memprobe: program.py\n")
    (tmp_path / "program.py").write_text("import sys; sys.stderr.close()")
    ours = start([*RUN, "program.py"])
    assert (ours.returncode, ours.stderr) == (0, "")


def test_a_program_may_use_memprobe_itself(start, tmp_path):
    """Its own sampler takes the place of ours; what it forgets is in the report."""
    (tmp_path / "program.py").write_text("""
import io, time
import memprobe
memprobe.stop_sampling()                  # nothing of the program's runs
big = bytearray(200 << 20); time.sleep(0.2)
del big
memprobe.memdump(file=io.StringIO())
memprobe.clear()
assert not memprobe.snapshot()
for wrong in (0, "x"):
    try:
        memprobe.start_sampling(wrong)
    except (ValueError, TypeError):
        pass
    else:
        raise AssertionError(wrong)
with memprobe.sampling(interval=0.001):
    try:
        memprobe.start_sampling()
    except RuntimeError as error:
        assert str(error) == "the sampler runs already"
    else:
        raise AssertionError("started twice")
    time.sleep(0.1)
with memprobe.sampling(0.01):
    pass
memprobe.clear()
time.sleep(0.5)
assert memprobe.stats().count > 5         # ours goes on
memprobe.configure(capacity=5000)
memprobe.memdump(samples=0)
""")
    ours = start([*RUN, "--csv", "out.csv", "program.py"])
    assert ours.returncode == 0, ours.stderr
    rows = (tmp_path / "out.csv").read_text().splitlines()[2:]
    assert max(int(row.split(",")[1]) for row in rows) > 200 << 20


@needs_fork
def test_a_child_has_no_sampler_to_give_back(start, tmp_path):
    (tmp_path / "program.py").write_text("""
import os, time
import memprobe
if os.fork() == 0:
    with memprobe.sampling(0.001):
        time.sleep(0.1)
    memprobe.clear()
    time.sleep(0.2)
    os._exit(memprobe.stats().count)
assert os.wait()[1] == 0
""")
    ours = start([*RUN, "program.py"])
    assert ours.returncode == 0, ours.stderr


@pytest.mark.parametrize(
    ("program", "status", "words"),
    [
        (
            ["missing.py"],
            2,
            "missing.py': [Errno 2] No such file or directory\n",
        ),
        (["-m", "missing"], 1, "No module named missing"),
        (["-m", "empty"], 1, "No module named empty.__main__; 'empty' is a package"),
        (["empty"], 1, "can't find '__main__' module in"),
    ],
)
def test_a_missing_program_is_one_line(same, start, show, program, status, words):
    ours = start([*RUN, *program])
    assert words in ours.stderr
    assert ours.stderr.count("\n") == 1
    assert ours.stdout == ""
    assert ours.returncode == status
    assert start([*PLAIN, *program]).returncode == status


@pytest.mark.skipif(
    os.name == "nt" or os.geteuid() == 0, reason="everything is readable"
)
def test_an_unreadable_script_is_one_line(start, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("")
    script.chmod(0)
    ours = start([*RUN, "script.py"])
    reason = "[Errno 13] Permission denied"
    assert ours.stderr == f"memprobe: can't open file {str(script)!r}: {reason}\n"
    assert ours.returncode == 2


@pytest.mark.parametrize(
    "content", [b"\0\1\2", b"\x7fELF\0\0", b"\xff\xfe x", b"\x89PN"]
)
def test_what_is_no_python_has_no_traceback(start, tmp_path, content):
    (tmp_path / "binary").write_bytes(content)
    ours = start([*RUN, "binary"])
    assert ours.returncode == 1
    assert "memprobe: " not in ours.stderr
    assert "Traceback" not in ours.stderr
    assert "Error: " in ours.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "no script to run"),
        (["-m"], "no module to run"),
        (["--interval", "0", "p.py"], "above 0, not '0'"),
        (["--interval", "nan", "p.py"], "above 0, not 'nan'"),
        (["--interval", "fast", "p.py"], "above 0, not 'fast'"),
        (["--interval=-1", "p.py"], "above 0, not '-1'"),
        (["--samples=-1", "p.py"], "must be an int, 0 or more, not '-1'"),
        (["--samples", "x", "p.py"], "must be an int, 0 or more, not 'x'"),
        (["--plot", "x.gif", "p.py"], "must end in .png or .svg, not 'x.gif'"),
        (["--sam", "1", "p.py"], "unrecognized arguments"),
        (["--csv"], "expected one argument"),
    ],
)
def test_wrong_usage_is_said_before_anything_runs(start, tmp_path, options, words):
    (tmp_path / "p.py").write_text("print('ran')")
    ours = start([*RUN, *options])
    assert words in ours.stderr
    assert "Traceback" not in ours.stderr
    assert (ours.returncode, ours.stdout) == (2, "")


@pytest.mark.parametrize("option", ["--csv", "--plot"])
def test_a_file_that_cannot_be_written_is_said_before_the_program_runs(
    start, tmp_path, option
):
    if option == "--plot":
        pytest.importorskip("matplotlib")
    (tmp_path / "p.py").write_text("print('ran')")
    (tmp_path / "folder.svg").mkdir()
    for path, reason in (
        ("missing/x.svg", "No such file or directory"),
        ("folder.svg", "Permission denied" if os.name == "nt" else "Is a directory"),
    ):
        ours = start([*RUN, option, path, "p.py"])
        expected = f"memprobe: {option}: cannot write {path!r}: {reason}\n"
        assert (ours.returncode, ours.stdout, ours.stderr) == (1, "", expected)


def test_an_old_file_stays_until_the_program_has_ended(start, tmp_path):
    (tmp_path / "out.csv").write_text("old")
    (tmp_path / "p.py").write_text("""
import os
print(open("out.csv").read(), os.path.exists("new.csv"), flush=True)
os._exit(0)
""")
    assert start([*RUN, "--csv", "out.csv", "p.py"]).stdout == "old False\n"
    assert start([*RUN, "--csv", "new.csv", "p.py"]).stdout == "old False\n"
    assert (tmp_path / "out.csv").read_text() == "old"
    assert not (tmp_path / "new.csv").exists()


def test_help_is_short_and_names_the_options(start):
    ours = start([sys.executable, "-m", "memprobe", "--help"])
    assert ours.returncode == 0
    assert "run a program, then show its RSS over time" in ours.stdout
    ours = start([*RUN, "--help"])
    assert ours.returncode == 0
    for option in ("--interval S", "--samples N", "--csv FILE", "--plot FILE", "-m "):
        assert option in ours.stdout
    assert len(ours.stdout.splitlines()) < 25
    assert start([sys.executable, "-m", "memprobe"]).returncode == 2


def test_a_module_beside_the_program_does_not_disturb_the_report(start, tmp_path):
    for name in "argparse csv gc io json math os shutil signal time contextlib".split():
        (tmp_path / f"{name}.py").write_text("print('imported the wrong module')")
    program = tmp_path / "sub" / "program.py"
    program.parent.mkdir()
    for file in tmp_path.glob("*.py"):
        file.rename(program.parent / file.name)
    program.write_text("import time; time.sleep(0.05)")
    ours = start([*RUN, "--csv", "out.csv", "sub/program.py"])
    assert ours.stdout == ""
    assert ours.stderr.startswith("memprobe: sub/program.py\n")
    assert (tmp_path / "out.csv").exists()


def test_the_program_may_go_elsewhere(start, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "p.py").write_text("""
import os, sys
os.chdir("folder"); sys.path.clear(); os.environ.clear()
""")
    ours = start([*RUN, "--csv", "out.csv", "p.py"])
    assert ours.returncode == 0, ours.stderr
    assert (tmp_path / "out.csv").exists()


def test_running_does_not_wait_for_the_next_sample(start, tmp_path):
    (tmp_path / "p.py").write_text("")
    ours = start([*RUN, "--interval", "1000", "p.py"])  # within its time limit
    assert ours.returncode == 0
    # One sample before the program's first line, and one after its end, at least.
    assert ours.stderr.count("-    > ") in (2, 3)
