"""A program under `memprobe run` does, says and finds what it does under plain python.

Each program is run both ways; what memprobe adds stands behind all else on stderr.
"""

import fcntl
import itertools
import os
import re
import resource
import signal
import subprocess
import sys
import zipfile

import pytest

if os.name != "posix":
    pytest.skip("written for POSIX", allow_module_level=True)

MEMPROBE = os.path.join(os.path.dirname(sys.executable), "memprobe")

FLAGS = [
    [],
    ["-O"],
    ["-X", "dev"],
    ["-W", "error", "-bb"],
    ["-I"],
    ["-Es"],
    ["-u", "-B"],
    ["-OO"],
    ["-X", "utf8=0"],
    ["-d", "-q"],
    ["-X", "faulthandler", "--check-hash-based-pycs", "never"],
]
VARIABLES = [
    {},
    {"LC_ALL": "C"},
    {"LANG": "C", "LC_ALL": None, "LC_CTYPE": None},
    {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    {"PYTHONUNBUFFERED": "1", "PYTHONOPTIMIZE": "1"},
    {"PYTHONDEVMODE": "1"},
    {"PYTHONMALLOC": "debug", "PYTHONHASHSEED": "0"},
    {"PYTHONPATH": "folder", "PYTHONDONTWRITEBYTECODE": "x"},
    {"PYTHONWARNINGS": "error", "PYTHONFAULTHANDLER": "1"},
    {"PYTHONIOENCODING": "latin-1:backslashreplace", "PYTHONSAFEPATH": "1"},
    {"PYTHONTRACEMALLOC": "2", "PYTHONNODEBUGRANGES": "1"},
]

# What a program can find out about how it was started. Of pipes only that it is one.
PORTRAIT = """
import os, re, resource, signal, sys, threading
def show(name, value):
    print(name, value)
for name in sorted(globals()):
    value = globals()[name]
    if name in {"__spec__", "__loader__"} and value is not None:
        value = [str(getattr(value, part, "")) for part in
                 ("name", "origin", "path", "parent", "cached")]
    if type(value).__name__ in {"str", "list", "dict", "NoneType"}:
        show(name, value)
for name in ("argv orig_argv path flags executable prefix warnoptions _xoptions "
             "dont_write_bytecode path_hooks meta_path").split():
    show(name, re.sub("0x[0-9a-f]+", "", str(getattr(sys, name))))
show("modules", sorted(sys.modules))
show("environ", sorted(os.environb.items()))
show("environ as given", sorted(open("/proc/self/environ", "rb").read().split(b"\\0")))
show("cmdline", open("/proc/self/cmdline", "rb").read())
for number in sorted(map(int, os.listdir("/proc/self/fd"))):
    try:
        link = re.sub(r"\\d{3,}", "", os.readlink(f"/proc/self/fd/{number}"))
        info = open(f"/proc/self/fdinfo/{number}").read().split()[1:4:2]
        show(f"descriptor {number}", [link, info, os.isatty(number)])
    except OSError:
        pass  # what the folder was listed by
status = open("/proc/self/status").read()
for line in status.splitlines():
    if line.startswith(("Sig", "Shd", "Umask", "Uid", "Gid", "Groups", "NoNewPrivs",
                        "Cap", "Seccomp", "Threads", "Cpus_allowed:", "CoreDumping")):
        if not line.startswith("SigQ"):
            print(line)
show("handlers", [str(signal.getsignal(s)) for s in sorted(signal.valid_signals())])
show("mask", sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])))
show("limits", [resource.getrlimit(getattr(resource, name))
                for name in sorted(dir(resource)) if name.startswith("RLIMIT_")])
show("group", os.getpgrp())
show("session", os.getsid(0))
show("nice", os.nice(0))
show("folder", os.getcwd())
show("timers", [signal.getitimer(i) for i in range(3)])
show("oom", open("/proc/self/oom_score_adj").read())
show("personality", open("/proc/self/personality").read())
show("streams", [(f.encoding, f.errors, f.line_buffering, f.write_through)
                 for f in (sys.stdin, sys.stdout, sys.stderr) if f])
show("maps", sorted({l.split()[-1] for l in open("/proc/self/maps") if ".so" in l}))
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    show("children", "none")
"""

PROGRAMS = {
    "nothing": "",
    "output": "print('out')",
    "both": "import sys; print('out'); print('err', file=sys.stderr)",
    "no newline": "print('out', end='')",
    "bytes": "import sys; sys.stdout.buffer.write(bytes(range(256)))",
    "large": "print('x' * 1_000_000)",
    "reads": "import sys; print(sys.stdin.read())",
    "input": "print(input('question '))",
    "exit": "import sys; sys.exit()",
    "exit 0": "import sys; sys.exit(0)",
    "exit 3": "import sys; sys.exit(3)",
    "exit -1": "import sys; sys.exit(-1)",
    "exit 256": "import sys; sys.exit(256)",
    "exit text": "import sys; sys.exit('b\\xe4d')",
    "exit object": "import sys; sys.exit([1, 2])",
    "exit False": "raise SystemExit(False)",
    "_exit": "import os; os._exit(7)",
    "_exit unflushed": "import os; print('lost'); os._exit(0)",
    "error": "def f():\n    raise ValueError('no')\nf()",
    "chained": "try:\n    1 / 0\nexcept Exception as e:\n    raise KeyError(1) from e",
    "group": "raise BaseException('group', [1])",
    "in a module": "import json\njson.loads('{')",
    "syntax": "x = 1\nif x\n    pass",
    "indentation": "if 1:\npass",
    "null bytes": "x = '\0'",
    "evaluated": "eval('1 +')",
    "recursion": "def f(): f()\nf()",
    "interrupt": "raise KeyboardInterrupt",
    "interrupted": "import signal as s\n"
    "s.signal(s.SIGINT, s.default_int_handler)\ns.raise_signal(s.SIGINT)",
    "assertion": "assert not 'optimised'",
    "hook": "import sys\nsys.excepthook = lambda *a: print(*a[:2])\n1 / 0",
    "hook exits": "import sys\nsys.excepthook = lambda *a: sys.exit(9)\n1 / 0",
    "unraisable": "class A:\n    def __del__(self): 1 / 0\nA()",
    "finalizers": "import sys\nclass A:\n    def __del__(self): print('gone')\na = A()",
    "exit functions": "import atexit\n"
    "atexit.register(print, 'last')\natexit.register(print, 'first')\n1 / 0",
    "threads": "import threading, time\n"
    "def f():\n    time.sleep(0.1); print('thread')\n"
    "threading.Thread(target=f).start(); print('main')\n1 / 0",
    "daemon": "import threading, time\n"
    "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    "warning": "import warnings\nwarnings.warn('careful')",
    "resource": "open('program.py')",
    "closed streams": "import sys; print('x'); sys.stdin.close(); sys.stdout.close()",
    "closed descriptors": "import os; os.closerange(0, 1000)",
    "closed stderr": "import os; os.close(2)",
    "silenced": "import os; os.dup2(os.open(os.devnull, os.O_WRONLY), 2); 1 / 0",
    "main is there": "import __main__, pickle\ndef f(): return 42\n"
    "print(__main__.f(), pickle.loads(pickle.dumps(f)) is f)",
    "no print": "import builtins; builtins.print = None",
    "no open": "import builtins; del builtins.open",
    "frozen time": "import time; time.time = time.monotonic = lambda: 1.0",
    "empty modules": "import sys; sys.modules.clear()",
    "no path": "import sys; sys.path.clear()",
    "no environment": "import os; os.environ.clear()",
    "goes away": "import os; os.chdir('/')",
    "own umask": "import os; os.umask(0o777)",
    "traced": "import sys; sys.settrace(lambda *a: None); print(sys.gettrace())",
    "profiled": "import cProfile; cProfile.run('1', sort='name') or print()",
    "fork": "import os\nif os.fork(): print(os.wait()[1])\nelse: print('child')",
    "fork exits": "import os\nif os.fork() == 0: os._exit(3)\nprint(os.wait()[1])",
    "all children": "import os\ntry:\n    os.wait()\nexcept OSError as e: print(e)",
    "subprocess": "import subprocess as s\n"
    "print(s.run(['echo', '1'], capture_output=True))",
    "shell": "import os; print(os.system('echo $0; exit 3'))",
    "popen": "import os\nwith os.popen('cat; echo x') as f: print(f.read())",
    "multiprocessing": "import multiprocessing as m\ndef f(x): return x * x\n"
    "if __name__ == '__main__':\n"
    "    with m.get_context('fork').Pool(1) as p: print(p.map(f, [1, 2, 3]))",
    "spawn": "import multiprocessing as m\ndef f(x): return x * x\n"
    "if __name__ == '__main__':\n"
    "    with m.get_context('spawn').Pool(1) as p: print(p.map(f, [1, 2, 3]))",
    "executor": "import concurrent.futures as c\n"
    "print(list(c.ThreadPoolExecutor().map(abs, [-1, -2])))",
    "asyncio": "import asyncio\nasync def f():\n"
    "    p = await asyncio.create_subprocess_exec('echo', 'hi')\n"
    "    print(await p.wait())\n"
    "asyncio.run(f())",
    "exec": "import os, sys\n"
    "os.execv(sys.executable, [sys.executable, '-c', 'print(1)'])",
    "exec of a shell": "import os; os.execvp('sh', ['sh', '-c', 'echo $0; exit 5'])",
    "orig_argv": "import os, sys, subprocess\nif os.environ.get('AGAIN'): sys.exit(4)\n"
    "sys.exit(subprocess.call(sys.orig_argv, env={**os.environ, 'AGAIN': '1'}))",
    "re-executes": "import os, sys\nif not os.environ.get('AGAIN'):\n"
    "    os.environ['AGAIN'] = '1'; os.execv(sys.executable, sys.orig_argv)\nprint(1)",
    "SIGTERM": "import os; os.kill(os.getpid(), 15)",
    "SIGKILL": "import os; os.kill(os.getpid(), 9)",
    "SIGINT by default": "import os, signal as s\ns.signal(2, s.SIG_DFL)\n"
    "os.kill(os.getpid(), 2)",
    "SIGHUP": "import os; os.kill(os.getpid(), 1)",
    "SIGUSR1": "import os, signal; os.kill(os.getpid(), signal.SIGUSR1)",
    "SIGPIPE": "import os, signal as s\ns.signal(13, s.SIG_DFL)\n"
    "os.kill(os.getpid(), 13)",
    "SIGSEGV": "import os, resource as r\nr.setrlimit(r.RLIMIT_CORE, (0, 0))\n"
    "os.kill(os.getpid(), 11)",
    "abort": "import os, resource as r\nr.setrlimit(r.RLIMIT_CORE, (0, 0))\nos.abort()",
    "SIGALRM": "import signal, time; signal.setitimer(0, 0.05); time.sleep(9)",
    "SIGXCPU": "import resource as r\nr.setrlimit(r.RLIMIT_CPU, (1, 2))\nwhile 1: pass",
    "a signal of real time": "import os, signal; os.kill(os.getpid(), signal.SIGRTMIN)",
    "handler": "import os, signal as s\ns.signal(10, lambda *a: print('got', a[0]))\n"
    "os.kill(os.getpid(), 10)",
    "to the group": "import os, signal as s, time\nos.setpgid(0, 0)\n"
    "s.signal(10, lambda *a: print('got'))\nos.killpg(0, 10)",
    "own session": "import os; os.setsid() if os.getpid() != os.getsid(0) else 0\n"
    "print(os.getsid(0) == os.getpid())",
    "daemonizes": "import os\nif os.fork(): os._exit(0)\nos.setsid()\n"
    "if os.fork(): os._exit(0)\nos.closerange(0, 3)",
    "stops and goes on": "import os, subprocess, sys\n"
    "subprocess.Popen(['sh', '-c', f'sleep .3; kill -CONT {os.getpid()}'])\n"
    "os.kill(os.getpid(), 19); print('on')",
    "limits itself": "import resource as r\nr.setrlimit(r.RLIMIT_NOFILE, (9, 9))\n"
    "open('/dev/null'); print(1)",
    "no memory": "import resource as r\nr.setrlimit(r.RLIMIT_AS, (1 << 28, 1 << 28))\n"
    "x = bytearray(1 << 30)",
    "broken pipe": "import os\nr, w = os.pipe(); os.close(r); os.write(w, b'x')",
    "unreadable": "import os\nos.chmod('program.py', 0)\n"
    "print(open('program.py').mode)",
    "moved": "import os\nos.rename('program.py', 'moved')\n"
    "os.rename('moved', 'program.py')\n1 / 0",
    "ctypes": "import ctypes; print(ctypes.CDLL(None).getpid() > 0)",
    "sqlite": "import sqlite3\nwith sqlite3.connect(':memory:') as connection:\n"
    "    print(connection.execute('select 1').fetchall())",
    "unicode": "print('\\u20ac')",
    "surrogates": "print(ascii(__import__('sys').argv))",
    "uses memprobe": "import memprobe\nmemprobe.start_sampling()\n"
    "memprobe.stop_sampling()\nmemprobe.clear()\nmemprobe.sample_mem()\n"
    "print(memprobe.rss() > 0, memprobe.stats().count)",
    "version": "import sys, platform; print(sys.version, platform.platform())",
    "code": "import code; code.interact('hello')",
    "pdb": "import pdb; pdb.set_trace()\nprint(1)",
    "unittest": "import unittest\nclass T(unittest.TestCase):\n"
    "    def test(self): self.assertEqual(1, 2)\n"
    "tests = unittest.defaultTestLoader.loadTestsFromTestCase(T)\n"
    "print(tests(unittest.TestResult()))",
    "doctest": "'''\n>>> 1 + 1\n3\n'''\nimport doctest; print(doctest.testmod())",
    "runpy": "import runpy; print(sorted(runpy.run_path('other.py'))[-1])",
    "neighbour": "import neighbour; print(neighbour.__file__)",
}
assert len(PROGRAMS) >= 90

FORMS = [
    ["portrait.py"],
    ["./portrait.py"],
    ["folder/../portrait.py"],
    ["folder/inner.py"],
    ["folder"],
    ["./folder/"],
    ["archive"],
    ["archive.pyz"],
    ["archive/inside"],
    ["link.py"],
    ["no_suffix"],
    ["compiled.pyc"],
    ["-m", "portrait"],
    ["-m", "folder.inner"],
    ["-m", "folder"],
    ["-m", "folder.package"],
    ["-m", "missing"],
    ["-m", "empty"],
    ["-c", PORTRAIT],
    ["-c", ""],
    ["-"],
    ["missing.py"],
    ["latin.py"],
    ["binary.py"],
    ["-m", "json.tool", "--help"],
    ["-m", "timeit", "-n", "1", "-r", "1", "-u", "zz"],
    ["-m", "pdb", "portrait.py"],
    ["-m", "trace", "--count", "-C", "/dev/null", "missing.py"],
    ["-m", "unittest", "-q", "missing"],
]
ARGUMENTS = ["-h", "--csv", "no.csv", "--", "-m", "x", "", "\udc80"]


@pytest.fixture
def folder(tmp_path):
    """A folder with a program in each form that python takes one in."""
    import py_compile

    for name in ("folder/package", "empty"):
        (tmp_path / name).mkdir(parents=True)
    for name in (
        "portrait.py",
        "no_suffix",
        "other.py",
        "neighbour.py",
        "folder/inner.py",
        "folder/__main__.py",
        "folder/package/__init__.py",
        "folder/package/__main__.py",
    ):
        (tmp_path / name).write_text(PORTRAIT if "neigh" not in name else "")
    for name in ("archive", "archive.pyz"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("__main__.py", PORTRAIT)
            archive.writestr("inside/__main__.py", PORTRAIT)
    (tmp_path / "archive.pyz").chmod(0o755)
    (tmp_path / "link.py").symlink_to("folder/inner.py")
    (tmp_path / "binary.py").write_bytes(b"\x7fELF\0\0")
    (tmp_path / "latin.py").write_bytes(b"# coding: latin-1\nprint(ascii('\xe4'))\n")
    py_compile.compile(
        str(tmp_path / "portrait.py"), cfile=str(tmp_path / "compiled.pyc")
    )
    return tmp_path


def outcome(command, folder, variables, **options):
    env = {k: v for k, v in os.environ.items() if k != "COLUMNS"}
    for name, value in variables.items():
        env.pop(name, None)
        if value is not None:
            env[name] = value
    options.setdefault("input", PORTRAIT.encode() if "-" in command[-9:] else b"one\n2")
    result = subprocess.run(
        command,
        cwd=folder,
        env=env,
        capture_output=True,
        timeout=120,
        check=False,
        **options,
    )
    # Where objects lie is chance.
    said = [
        re.sub(rb"0x[0-9a-f]{6,}", b"0x", out) for out in (result.stdout, result.stderr)
    ]
    return *said, result.returncode


def same(folder, program, flags=(), variables=None, script=False, **options):
    """Compare both; return what memprobe added on standard error."""
    variables = variables or {}
    plain = outcome([sys.executable, *flags, *program], folder, variables, **options)
    run = (
        [sys.executable, MEMPROBE]
        if script
        else [sys.executable, *flags, "-m", "memprobe"]
    )
    ours = outcome([*run, "run", *program], folder, variables, **options)
    said, line, added = ours[1].rpartition(b"memprobe: ")
    assert ours[0].decode("utf-8", "replace") == plain[0].decode("utf-8", "replace")
    assert (said if line else ours[1]).decode() == plain[1].decode()
    assert ours[2] == plain[2]
    return added.decode()


everything = bool(os.environ.get("MEMPROBE_EVERY_COMBINATION"))
COMBINATIONS = list(itertools.product(FLAGS, VARIABLES))


def combinations(number):
    """All of flags and variables, or two of them: others for each program."""
    if everything:
        return COMBINATIONS
    return [COMBINATIONS[0], COMBINATIONS[(number * 17 + 1) % len(COMBINATIONS)]]


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_does_what_it_does_plainly(folder, name):
    for flags, variables in combinations(list(PROGRAMS).index(name)):
        (folder / "program.py").unlink(missing_ok=True)
        (folder / "program.py").write_text(PROGRAMS[name], encoding="utf-8")
        same(folder, ["program.py"], flags, variables)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: " ".join(form)[:30])
def test_a_program_finds_itself_as_python_starts_it(folder, form):
    for flags, variables in combinations(FORMS.index(form)):
        same(folder, [*form, *ARGUMENTS], flags, variables)


@pytest.mark.parametrize("flags", FLAGS, ids=" ".join)
def test_what_the_interpreter_was_told_holds(folder, flags):
    shift = FLAGS.index(flags)
    for variables in VARIABLES if everything else VARIABLES[shift::4]:
        same(folder, ["portrait.py"], flags, variables)


SURROUNDINGS = {
    "standard input closed": lambda: os.close(0),
    "standard output closed": lambda: os.close(1),
    "all three closed": lambda: os.closerange(0, 3),
    "SIGINT, SIGHUP, SIGQUIT ignored": lambda: [
        signal.signal(s, signal.SIG_IGN)
        for s in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP)
    ],
    "SIGCHLD ignored": lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
    "signals blocked": lambda: signal.pthread_sigmask(
        signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGCHLD, signal.SIGRTMIN, 2]
    ),
    "umask": lambda: os.umask(0o027),
    "few descriptors": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (40, 50)),
    "no core": lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
    "large stack": lambda: resource.setrlimit(resource.RLIMIT_STACK, (1 << 26, -1)),
    "nice": lambda: os.nice(5),
    "more descriptors": lambda: [
        os.dup2(os.open("/etc/passwd", os.O_RDONLY), n) for n in (3, 7, 30)
    ],
    "a pipe": lambda: os.set_inheritable(os.pipe()[0], True),
    "non-blocking input": lambda: fcntl.fcntl(
        0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_NONBLOCK
    ),
}


@pytest.mark.parametrize("script", [False, True], ids=["-m", "script"])
@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_what_is_inherited_is_inherited(folder, surroundings, script):
    same(
        folder,
        ["portrait.py"],
        script=script,
        preexec_fn=SURROUNDINGS[surroundings],
        input=b"",
    )
