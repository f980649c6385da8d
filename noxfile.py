"""Every check, one door: `nox -l` is the menu, `nox -s NAME` runs one.

Interpreters are looked for on PATH, in pyenv, and in the folders of MEMPROBE_PYTHONS
(each with a bin/, separated as PATH is). MEMPROBE_ABI3_WHEEL is an abi3 wheel that is
there already. Debian packages that a check needs are installed by root, else named.
"""

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import nox

WITH_GIL = ["3.10", "3.11", "3.12", "3.13", "3.14", "3.15"]
WITHOUT_GIL = ["3.13t", "3.14t", "3.15t"]
# The first one that the limited API of the abi3 wheel has, and those that share it.
ABI3_BUILT_ON, *ABI3_SHARED_BY = WITH_GIL[2:]
WARNINGS = "-Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Werror".split()
NO_CORE = {"_memprobe", "extension", "observer"}  # the binding, and what has a main()

nox.options.sessions = ["tests", "abi3", "wheel"]
nox.options.error_on_missing_interpreters = False
nox.options.default_venv_backend = "venv"
nox.options.download_python = "never"


def add_to_path():
    """Before pyenv's shims, which are there for versions that are switched off, too."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    named = os.environ.get("MEMPROBE_PYTHONS", "").split(os.pathsep)
    folders = [Path(name, "bin") for name in named if name]
    folders += sorted(pyenv.glob("versions/*/bin"))
    os.environ["PATH"] = os.pathsep.join([*map(str, folders), os.environ["PATH"]])


add_to_path()


def debian(session, *packages):
    """Install the Debian packages that are missing."""
    query = ["dpkg-query", "-W", "-f", "${db:Status-Status}"]
    missing = [
        package
        for package in packages
        if shutil.which("dpkg-query") is None
        or subprocess.run([*query, package], capture_output=True, check=False).stdout
        != b"installed"
    ]
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        session.skip(f"needs Debian's {' '.join(missing)}")
    apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=600"]
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    session.run(*apt, "update", external=True, silent=True)
    session.run(*apt, "-y", "install", *missing, external=True, silent=True, env=quiet)


def group(name):
    return nox.project.load_toml()["dependency-groups"][name]


def install_tests(session):
    """What the tests need; but for pytest and psutil only as wheels, if there are any.

    The tests skip without them.
    """
    for requirement in group("test"):
        if requirement.startswith(("pytest", "psutil")):
            session.install("-q", requirement)
        else:
            # psleak comes as source only, without C.
            wheels = ["--only-binary=:all:", "--no-binary=psleak"]
            session.install(*wheels, requirement, success_codes=[0, 1], silent=True)


def build(folder, python):
    """Build a wheel. build/ would keep what another Python has compiled."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree("build", ignore_errors=True)
    pip = [python, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, "."]
    subprocess.run(pip, check=True)
    shutil.rmtree("build", ignore_errors=True)
    (wheel,) = Path(folder).glob("*.whl")
    return str(wheel)


def build_here(session):
    folder = Path(session.create_tmp(), "wheel")
    return build(folder, Path(session.bin, "python"))


def build_abi3(session):
    """With a virtual environment: the interpreter itself may have no pip."""
    if "MEMPROBE_ABI3_WHEEL" in os.environ:
        return os.environ["MEMPROBE_ABI3_WHEEL"]
    folder = Path(session.create_tmp())
    python = shutil.which(f"python{ABI3_BUILT_ON}")
    if python is None:
        session.skip(f"Python {ABI3_BUILT_ON} not found, which builds the wheel")
    subprocess.run([python, "-m", "venv", folder / "builder"], check=True)
    return build(folder / "wheel", folder / "builder" / "bin" / "python")


def copy_checkout(session):
    """Copy what git knows: a build with other flags must not find an earlier one's."""
    target = Path(session.create_tmp(), "checkout").resolve()
    shutil.rmtree(target, ignore_errors=True)
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, capture_output=True, check=True).stdout
    for name in filter(None, os.fsdecode(files).split("\0")):
        if os.path.exists(name):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(name, target / name)
    return target


def sources(*systems):
    """The C files of the core for these folders of systems."""
    files = [path for path in Path("src").glob("*.c") if path.stem not in NO_CORE]
    files += [path for name in systems for path in Path("src", name).glob("*.c")]
    return sorted(map(str, files))


# The tests


@nox.session(python=WITH_GIL + WITHOUT_GIL)
def tests(session):
    """The tests, with a wheel of this very Python."""
    install_tests(session)
    session.install("-q", build_here(session))
    session.run("pytest", "-q", *session.posargs)


@nox.session(python=ABI3_SHARED_BY)
def abi3(session):
    """The tests, with the wheel that the first Python with this ABI has built."""
    install_tests(session)
    session.install("-q", build_abi3(session))
    session.run("pytest", "-q", *session.posargs)


@nox.session
def faults(session):
    """Every system call of memprobe's fails once: half an hour, or `-- PART`."""
    session.install("-q", build_here(session))
    session.run("python", "tests/faults/campaign.py", *session.posargs)


@nox.session
def wheel(session):
    """The abi3 wheel keeps to the ABI of its tag, and needs only the C library."""
    session.install("-q", "abi3audit", "auditwheel")
    path = build_abi3(session)
    session.run("abi3audit", "--strict", "--verbose", path)
    shown = session.run("auditwheel", "show", path, silent=True)
    session.log(shown)
    libraries = set(re.findall(r"\S+\.so\.\d+", shown))
    if libraries != {"libc.so.6"}:
        session.error(f"it needs {libraries}")


@nox.session
def wheels(session):
    """The wheels of all systems, from this one: platforms/wheels.py says how."""
    session.install("-q", "abi3audit", "abi3info", "auditwheel", "ziglang==0.15.2")
    session.run("python", "platforms/wheels.py", *session.posargs)


# The text


@nox.session
def lint(session):
    """Style of Python and C, and that the sdist has what it should."""
    session.install("-q", *group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    c = ["src", "memprobe/include", "tests", "benchmarks"]
    files = [str(path) for folder in c for path in Path(folder).rglob("*.[ch]")]
    session.run("clang-format", "--dry-run", "-Werror", *files)
    session.run("check-manifest")


@nox.session
def types(session):
    """mypy of the package and of its use, and its stub against the built module."""
    session.install("-q", "pytest", *group("lint"))
    # Which memprobe.celery and others import.
    session.install("-q", "celery", "ipython", "prometheus_client")
    session.install("-q", build_here(session))
    session.run("mypy")
    session.run("pytest", "-q", "tests/package/test_types.py")
    config = str(Path("pyproject.toml").resolve())
    passed_over = str(Path("tests/package/stubtest.txt").resolve())
    with session.chdir(session.create_tmp()):
        command = ["python", "-m", "mypy.stubtest", "--mypy-config-file", config]
        session.run(*command, "--allowlist", passed_over, "memprobe")


# C


@nox.session(name="c")
def c_(session):
    """Warnings are errors, by gcc and clang, also for Windows; C tests with musl."""
    debian(session, "clang", "gcc-mingw-w64-x86-64", "musl-tools", "python3-dev")
    include = f"-isystem{sysconfig.get_path('include')}"
    flags = ["-O2", "-fPIC", "-Imemprobe/include", "-Isrc", *WARNINGS, include]
    compiled = [*sources("linux", "posix"), "src/_memprobe.c", "src/extension.c"]
    if Path("src/observer.c").exists():
        compiled.append("src/observer.c")
    for cc in ("gcc", "clang"):
        for file in compiled:
            session.run(
                *(cc, *flags, "-c", file, "-o", os.devnull), external=True, silent=True
            )
    for file in sources("windows"):
        command = ["x86_64-w64-mingw32-gcc", "-O2", *WARNINGS, "-Isrc", "-c", file]
        session.run(*command, "-o", os.devnull, external=True, silent=True)
    program = Path(session.create_tmp(), "test").resolve()
    for test in sorted(Path("tests/c").glob("test_*.c")):
        command = ["musl-gcc", "-static", "-g", "-O1", *WARNINGS, "-Isrc", "-Itests/c"]
        files = [str(test), *sources("linux", "posix")]
        session.run(*command, *files, "-o", str(program), external=True, silent=True)
        session.run(str(program), external=True)


@nox.session
def arm64(session):
    """The C tests and what the fuzzer has found, on arm64 as qemu emulates it."""
    compiler = ["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"]
    debian(session, *compiler, "qemu-user-static")
    folder = Path(session.create_tmp()).resolve()
    Path(folder, "core.a").unlink(missing_ok=True)
    cc = ["aarch64-linux-gnu-gcc", "-g", "-O1", *WARNINGS, "-Isrc", "-Itests/c"]
    core = str(folder / "core.a")
    for file in sources("linux", "posix"):
        compiled = str(folder / f"{file.replace('/', '-')}.o")
        session.run(*cc, "-c", file, "-o", compiled, external=True, silent=True)
        session.run("ar", "-qc", core, compiled, external=True, silent=True)
    tests = {str(test): [core] for test in Path("tests/c").glob("test_*.c")}
    corpora = {}
    for corpus in Path("tests/fuzz/corpus").iterdir():
        target = f"tests/fuzz/{corpus.name}.c"
        tests[target] = ["tests/fuzz/replay.c", f"src/{corpus.name}.c"]
        corpora[target] = sorted(map(str, corpus.iterdir()))
    for test, rest in sorted(tests.items()):
        program = str(folder / Path(test).stem)
        command = [*cc, "-static", test, *rest, "-o", program, "-lm", "-pthread"]
        session.run(*command, external=True, silent=True)
        arguments = corpora.get(test, [])
        session.run(
            "qemu-aarch64-static", program, *arguments, external=True, log=False
        )
        session.log(f"{test}: passed" + f", {len(arguments)} inputs" * bool(arguments))


@nox.session
def valgrind(session):
    """The C tests under valgrind: reads of what was never written.

    No sanitizer of gcc sees these. test_probe is about RSS, of which valgrind itself
    takes more than the test does; test_humanize tries millions of numbers, its fuzz
    corpus the ones that matter.
    """
    debian(session, "gcc", "valgrind")
    session.install("-q", "pytest")
    session.install("-q", build_here(session))
    under = "valgrind -q --error-exitcode=99 --leak-check=full"
    under += " --errors-for-leak-kinds=definite --fair-sched=yes"
    selection = ["tests/c", "-k", "not test_probe and not test_humanize"]
    env = {"MEMPROBE_SANITIZERS": "", "MEMPROBE_RUN_UNDER": under}
    session.run("pytest", "-q", *selection, *session.posargs, env=env)


@nox.session
def fuzz(session):
    """Fuzzes what reads text or files, 15 seconds each; tests/fuzz/run takes longer."""
    debian(session, "clang")
    version = subprocess.run(
        ["clang", "-dumpversion"], capture_output=True, text=True, check=True
    ).stdout
    debian(session, f"libclang-rt-{version.split('.')[0]}-dev")
    session.run("tests/fuzz/run", *(session.posargs or ["15"]), external=True)


def library(name):
    command = ["gcc", f"-print-file-name=lib{name}.so"]
    return subprocess.run(
        command, capture_output=True, text=True, check=True
    ).stdout.strip()


def run_sanitized(session, sanitizers, preload, options, *selection):
    """Build with sanitizers, and run tests in a copy without a folder memprobe/."""
    debian(session, "gcc", "python3-dev")
    checkout = copy_checkout(session)
    # Compilers that tests start mustn't run under the sanitizer of the tests.
    clean = checkout / "clean-bin"
    clean.mkdir()
    for name in ("cc", "gcc", "c++", "g++", "clang", "clang++", "git"):
        if path := shutil.which(name):
            script = clean / name
            script.write_text(f'#!/bin/sh\nunset LD_PRELOAD\nexec "{path}" "$@"\n')
            script.chmod(0o755)
    flags = f"-O1 -g -fno-omit-frame-pointer -fsanitize={sanitizers}"
    env = {
        "CFLAGS": f"{flags} -fno-sanitize-recover=all",
        "LDFLAGS": f"-fsanitize={sanitizers}",
    }
    session.install("-q", "--force-reinstall", "--no-deps", str(checkout), env=env)
    shutil.rmtree(checkout / "memprobe")
    shutil.rmtree(checkout / "build", ignore_errors=True)
    libraries = " ".join(map(library, preload))
    path = f"{clean}{os.pathsep}{session.bin}{os.pathsep}{os.environ['PATH']}"
    env = {**options, "PATH": path, "LD_PRELOAD": libraries}
    # Through env, so that the shell of nox doesn't run under it.
    assignments = [f"{name}={value}" for name, value in env.items()]
    with session.chdir(checkout):
        pytest = [str(Path(session.bin, "python")), "-P", "-m", "pytest", "-q"]
        session.run(
            *("env", *assignments, *pytest, *selection, *session.posargs), external=True
        )


@nox.session
def asan(session):
    """All tests of our own C under AddressSanitizer, with leaks, and UBSan."""
    install_tests(session)
    # Its import leaks some 50 objects. The stacks that are fast to get end in
    # libpython's allocators, so to suppress these leaks would be to suppress all.
    session.run("pip", "uninstall", "-q", "-y", "numpy", silent=True)
    # Freed memory is given back at once, as the tests that watch RSS expect.
    give_back = "quarantine_size_mb=0:thread_local_quarantine_size_kb=0"
    options = {
        "PYTHONMALLOC": "malloc",
        "ASAN_OPTIONS": f"detect_leaks=1:{give_back}",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    selection = ["-m", "not no_sanitizer"]
    run_sanitized(session, "address,undefined", ["asan", "ubsan"], options, *selection)


# Its locks are its own, which TSan doesn't know: what it does by them with the memory
# that libc allocates looks like races. Those of the extension are seen.
TSAN_FREE_THREADED = ":ignore_noninstrumented_modules=1"


@nox.session(python=[None, *WITHOUT_GIL], tags=["tsan"])
def tsan(session):
    """The tests marked `threads` under ThreadSanitizer, and the C tests of threads."""
    session.install("-q", "pytest", "psutil")
    free_threaded = TSAN_FREE_THREADED if str(session.python).endswith("t") else ""
    options = {"TSAN_OPTIONS": f"exitcode=66:halt_on_error=1{free_threaded}"}
    selection = ["-m", "threads and not no_tsan"]
    run_sanitized(session, "thread", ["tsan"], options, *selection)
    if not free_threaded:
        # Without TSan in Python, which couldn't import it.
        session.install("-q", "--force-reinstall", "--no-deps", build_here(session))
        env = {"MEMPROBE_SANITIZERS": "thread"}
        session.run("pytest", "-q", "tests/c", "-k", "test_threads", env=env)


@nox.session
def debug_python(session):
    """What calls C, on Debian's debug build of Python: assertions, references."""
    debian(session, "gcc", "python3-dbg", "python3-venv")
    checkout = copy_checkout(session)
    python = str(checkout / ".venv/bin/python")
    session.run(
        *("/usr/bin/python3-dbg", "-m", "venv", checkout / ".venv"), external=True
    )
    pip = [python, "-m", "pip", "install", "-q"]
    session.run(*pip, str(checkout), "pytest", "psutil", external=True)
    shutil.rmtree(checkout / "memprobe")
    shutil.rmtree(checkout / "build", ignore_errors=True)
    session.run(python, "-c", "import sys; sys.gettotalrefcount()", external=True)
    with session.chdir(checkout):
        session.run(
            *(python, "-m", "pytest", "-q", "-m", "calls_c", "tests/api"), external=True
        )


# Figures


@nox.session
def benchmarks(session):
    """Instructions of one call, which may not grow; the benchmarks, not for figures."""
    debian(session, "gcc", "valgrind")
    session.install("-q", *group("bench"))
    session.install("-q", build_here(session))
    session.run("python", "benchmarks/instructions.py")
    session.run("python", "benchmarks/run.py", "--quick", silent=True)


# Other systems: each script says what it needs


@nox.session(name="platform")
def platform_(session):
    """nox -s platform -- musl|windows|debian-sid|macos.py ARGUMENTS… (platforms/)."""
    if not session.posargs:
        session.error(f"name one of {' '.join(sorted(os.listdir('platforms')))}")
    name, *arguments = session.posargs
    if name.endswith(".py"):
        session.install("-q", "ziglang", "abi3info")
        session.run("python", f"platforms/{name}", *arguments)
    else:
        session.run(f"platforms/{name}", *arguments, external=True)
