import functools
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import memprobe

CHECKOUT = Path(__file__).resolve().parent.parent
FAULTS = CHECKOUT / "tests" / "faults"
SOURCE = CHECKOUT / "src"
# The observer's tests need forks; Windows has its own.
collect_ignore = ["observer"] if sys.platform == "win32" else []


def pytest_sessionstart():
    """The tests are about the installed package, not the folder beside them."""
    extension = Path(sys.modules["memprobe._memprobe"].__file__)
    package = Path(memprobe.__file__)
    if extension.parent != package.parent or not extension.is_file():
        pytest.exit(f"memprobe is not installed: {package} has no extension", 3)
    print(f"testing {extension}")
    # A shell starts what is to run in the background with Ctrl-C ignored, and so would
    # be what the tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)


# What tests no C of ours in its own process: Python alone, other programs, or C that is
# built for these tests with the sanitizers anyway; and what lies about /proc.
ELSEWHERE = {"c", "celery", "cli", "faults", "integrations", "observer", "package"}
ELSEWHERE_FILES = {"test_capi.py", "test_preloaded_allocators.py", "test_proc.py"}


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent.name in ELSEWHERE or item.path.name in ELSEWHERE_FILES:
            item.add_marker("no_sanitizer")


@functools.cache
def refusal(code):
    """How these lines of Python fail in a process of their own; None if they don't."""
    env = {**os.environ, "PYTHONPATH": str(FAULTS)}
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return result.stderr.strip().rpartition("\n")[2] if result.returncode else None


def pytest_runtest_setup(item):
    """Who may do a thing only a try can tell: root of a namespace may do less."""
    for mark in item.iter_markers("needs"):
        skip_unless(*mark.args, **mark.kwargs)


def skip_unless(code, what):
    if reason := refusal(code):
        pytest.skip(f"a process here can't {what}: {reason}")


# By its number, as its function wants pointers; without a signal, as the observer's.
ORPHAN = """
import ctypes, os, platform
number = {"x86_64": 56, "aarch64": 220}[platform.machine()]
pid = ctypes.CDLL(None, use_errno=True).syscall(number, 0, 0, 0, 0, 0)
if pid == 0:
    os._exit(0)
assert pid > 0, os.strerror(ctypes.get_errno())
"""


@pytest.fixture(scope="session")
def orphans():
    """Skip where no process can be had whose end gives no signal, as under qemu."""
    if sys.platform == "linux":
        skip_unless(ORPHAN, "have a child without a signal at its end")


@pytest.fixture(scope="session")
def other_users():
    """Skip where no process can become another user."""
    become = "import os; os.setgroups([]); os.setgid(65534); os.setuid(65534)"
    skip_unless(become, "become another user")


@pytest.fixture(autouse=True)
def fresh_ring():
    """Each test starts, and leaves, memprobe as it is after the import."""

    def reset():
        memprobe.configure(capacity=65536, min_interval=0)
        memprobe.clear()

    reset()
    yield
    reset()


@pytest.fixture
def run_python(tmp_path):
    """Run Python code in a process of its own, with a time limit; return its output.

    The process must end with *status* and print nothing on standard error.
    """

    def run(code, *, status=0, stderr="", timeout=120, env=None):
        script = tmp_path / "script.py"
        script.write_text(code)
        result = subprocess.run(
            [sys.executable, "-W", "error", str(script)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=tmp_path,
            env={**os.environ, **(env or {})},
            check=False,
        )
        assert result.stderr == stderr
        assert result.returncode == status
        return result.stdout

    return run


@pytest.fixture
def run_fault(run_python):
    """Run Python code, which finds the modules of tests/faults/, as run_python does.

    *package* is a folder with another build of memprobe, *preload* a library.
    """

    def run(code, *, package=None, preload=None, env=None, timeout=60, **options):
        path = [package, FAULTS, os.environ.get("PYTHONPATH")]
        path = os.pathsep.join(str(folder) for folder in path if folder)
        env = {"PYTHONPATH": path, **(env or {})}
        if preload is not None:
            others = os.environ.get("LD_PRELOAD", "").split()
            env["LD_PRELOAD"] = " ".join([*others, str(preload)])
        return run_python(code, env=env, timeout=timeout, **options)

    return run


@pytest.fixture(scope="session")
def compile_c():
    """Compile C files of this system into a library or a program."""
    compiler = os.environ.get("CC") or (sysconfig.get_config_var("CC") or "cc")
    command = compiler.split()
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]}")

    def compile_to(target, *arguments):
        build = [*command, "-std=gnu11", "-g", "-O2", "-Wall", "-Wextra", "-Werror"]
        build += [*arguments, "-o", target]
        subprocess.run(build, check=True, timeout=120)
        return target

    return compile_to


@pytest.fixture(scope="session")
def build_package(compile_c, tmp_path_factory):
    """Copy the installed package to a folder, with its extension built otherwise."""
    if not SOURCE.is_dir():
        pytest.skip("no sources beside the tests")
    installed = Path(memprobe.__file__).parent
    version = memprobe._memprobe._version

    def build(name, *options, version=version):
        folder = tmp_path_factory.mktemp(name)
        binaries = shutil.ignore_patterns("*.so", "__pycache__")
        shutil.copytree(installed, folder / "memprobe", ignore=binaries)
        suffix = sysconfig.get_config_var("EXT_SUFFIX")
        compile_c(
            folder / "memprobe" / f"_memprobe{suffix}",
            *("-shared", "-fPIC", "-fvisibility=hidden", "-pthread"),
            *(f'-DMEMPROBE_VERSION="{version}"', *options),
            *("-isystem", sysconfig.get_path("include")),
            *("-I", memprobe.get_include(), "-I", SOURCE),
            *(SOURCE / "extension.c", "-lm"),
        )
        return folder

    return build


@pytest.fixture(scope="session")
def core_files():
    """The C files of this system, but for the binding, and what has a main()."""
    if not SOURCE.is_dir():
        pytest.skip("no sources beside the tests")
    systems = {"linux": ["linux", "posix"], "darwin": ["macos", "posix"]}
    folders = [SOURCE / name for name in systems.get(sys.platform, ["windows"])]
    others = {"_memprobe", "extension", "observer"}
    files = [file for file in SOURCE.glob("*.c") if file.stem not in others]
    return sorted([*files, *(file for at in folders for file in at.glob("*.c"))])


@pytest.fixture
def trail(tmp_path):
    folder = tmp_path / "trail"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def record_files():
    """The module that makes files as the observer writes them, of given samples."""
    path = CHECKOUT / "tests" / "observer" / "record_files.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def lying_files(compile_c, tmp_path_factory):
    """A library to preload, whose pread and open lie; see faults/lying_files.c."""
    library = tmp_path_factory.mktemp("lying") / "lying_files.so"
    return compile_c(library, "-shared", "-fPIC", FAULTS / "lying_files.c", "-ldl")


@pytest.fixture(scope="session")
def refused_calls(compile_c, tmp_path_factory):
    """A library to preload, whose calls can be refused; see faults/refused_calls.c."""
    library = tmp_path_factory.mktemp("refused_calls") / "refused_calls.so"
    return compile_c(library, "-shared", "-fPIC", FAULTS / "refused_calls.c", "-ldl")


@pytest.fixture
def sanitized():
    """Whether a sanitizer watches this process, and those that it starts."""
    return "san.so" in os.environ.get("LD_PRELOAD", "")
