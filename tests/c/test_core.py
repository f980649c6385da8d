"""The C core without Python: each program beside this file, built with sanitizers.

Which ones is in MEMPROBE_SANITIZERS (address,undefined if it isn't set; empty is none),
and what to run the programs under, such as valgrind, in MEMPROBE_RUN_UNDER.
"""

import functools
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import memprobe

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent.parent / "src"
FUZZ = HERE.parent / "fuzz"
SYSTEM = {"linux": "linux", "darwin": "macos"}.get(sys.platform)
WARNINGS = "-Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Werror".split()
SANITIZERS = os.environ.get("MEMPROBE_SANITIZERS", "address,undefined")
RUN_UNDER = os.environ.get("MEMPROBE_RUN_UNDER", "").split()

compiler = os.environ.get("CC") or (sysconfig.get_config_var("CC") or "cc").split()[0]

pytestmark = [
    pytest.mark.skipif(SYSTEM is None, reason="built by hand on this system"),
    pytest.mark.skipif(shutil.which(compiler) is None, reason=f"no {compiler}"),
    pytest.mark.skipif(not SOURCE.is_dir(), reason="no sources beside the tests"),
]


@pytest.fixture(scope="module")
def sanitizers(tmp_path_factory):
    """The options for them; none if the programs don't run, as with musl."""
    if not SANITIZERS:
        return []
    options = [f"-fsanitize={SANITIZERS}", "-fno-sanitize-recover=all"]
    folder = tmp_path_factory.mktemp("sanitizers")
    (folder / "empty.c").write_text("int main(void) { return 0; }\n")
    command = [compiler, *options, "empty.c", "-o", "empty"]
    for step in (command, [folder / "empty"]):
        result = subprocess.run(step, cwd=folder, capture_output=True, check=False)
        if result.returncode != 0:
            return []
    return options


@pytest.fixture(scope="module")
def compile_(sanitizers):
    def compile_(*arguments):
        flags = ["-std=gnu11", "-g", "-O1", *WARNINGS, *sanitizers]
        command = [compiler, *flags, "-I", SOURCE, "-I", HERE, *arguments]
        subprocess.run(command, check=True, timeout=120)

    return compile_


@pytest.fixture(scope="module")
def core(compile_, core_files, tmp_path_factory):
    """Compile the core with these options, once for all programs."""

    @functools.cache
    def core(*options):
        folder = tmp_path_factory.mktemp("core")
        objects = [folder / f"{number}.o" for number in range(len(core_files))]
        for file, target in zip(core_files, objects, strict=True):
            compile_(*options, "-c", file, "-o", target)
        return objects

    return core


@pytest.fixture
def build(compile_, tmp_path):
    def build(*files, options=()):
        executable = tmp_path / files[0].stem
        compile_(*options, *files, "-o", executable, "-lm", "-pthread")
        return executable

    return build


@pytest.mark.parametrize(
    "program", sorted(HERE.glob("test_*.c")), ids=lambda path: path.stem
)
def test_core(program, build, core):
    executable = build(program, *core())
    subprocess.run([*RUN_UNDER, executable], check=True, timeout=300)


@pytest.mark.skipif(sys.platform != "linux", reason="hostile.h is for Linux")
@pytest.mark.parametrize("name", ["probe", "threads", "no_memory"])
def test_core_built_in_a_hostile_way(name, build, core):
    """hostile.h says what that is."""
    hostile = ["-include", HERE / "hostile.h"]
    executable = build(HERE / f"test_{name}.c", *core(*hostile), options=hostile)
    subprocess.run([*RUN_UNDER, executable], check=True, timeout=300)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's ways to fork")
@pytest.mark.skipif(RUN_UNDER != [], reason="it knows of no raw clone()")
@pytest.mark.parametrize("flags", [[], ["-DMP_WIPEONFORK=-1"]])
def test_threads_beside_a_storm_of_forks(build, core, flags):
    """With sanitizers; tests/system/test_forks.py has more forks, without."""
    storm = HERE.parent / "faults" / "fork_storm.c"
    executable = build(storm, *core(*flags), options=flags)
    options = f"{os.environ.get('TSAN_OPTIONS', '')}:die_after_fork=0"
    env = {**os.environ, "TSAN_OPTIONS": options}
    subprocess.run([executable, "40"], env=env, check=True, timeout=120)


@pytest.mark.parametrize(
    "corpus", sorted((FUZZ / "corpus").iterdir()), ids=lambda path: path.name
)
def test_fuzz_corpus(corpus, build):
    """What the fuzzer has found to be worth trying, see tests/fuzz/run."""
    target = FUZZ / f"{corpus.name}.c"
    replay = FUZZ / "replay.c"
    executable = build(target, replay, SOURCE / f"{corpus.name}.c")
    inputs = sorted(corpus.iterdir())
    assert inputs
    subprocess.run([*RUN_UNDER, executable, *inputs], check=True, timeout=120)


@pytest.mark.parametrize("standard", ["c11", "gnu11"])
@pytest.mark.parametrize("limited", [False, True])
def test_each_file_compiles_alone_without_a_warning(
    tmp_path, core_files, standard, limited
):
    """What it needs it includes; with -std=c11 a system's headers show what it asks."""
    binding = [SOURCE / "_memprobe.c", SOURCE / "extension.c"]
    options = [f"-std={standard}", "-O2", "-fPIC", *WARNINGS, "-I", SOURCE]
    if limited:
        if sys.version_info < (3, 12) or sysconfig.get_config_var("Py_GIL_DISABLED"):
            pytest.skip("the abi3 wheel is for Python 3.12 and later")
        options.append("-DPy_LIMITED_API=0x030C0000")
    options += ["-isystem", sysconfig.get_path("include")]
    options += ["-I", memprobe.get_include()]
    for file in binding if limited else [*core_files, *binding]:
        command = [compiler, *options, "-c", file, "-o", tmp_path / "file.o"]
        subprocess.run(command, check=True, timeout=120)


# What the compilers of such systems define, with headers that go by it.
OTHER_SYSTEMS = {
    "64-bit": ["-U__UINTPTR_MAX__", "-D__UINTPTR_MAX__=0xffffffffU"],
    "little-endian": ["-U__BYTE_ORDER__", "-D__BYTE_ORDER__=__ORDER_BIG_ENDIAN__"],
}


@pytest.mark.parametrize("wanted", OTHER_SYSTEMS)
def test_the_core_refuses_32_bits_and_big_endian(wanted):
    file = {"64-bit": "probe.c", "little-endian": "record_file.c"}[wanted]
    command = [compiler, "-ffreestanding", "-fsyntax-only", SOURCE / file]
    allowed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert f"memprobe is for {wanted} systems" not in allowed.stderr
    refused = subprocess.run(
        [*command, *OTHER_SYSTEMS[wanted]], capture_output=True, text=True, check=False
    )
    assert refused.returncode != 0
    assert f"memprobe is for {wanted} systems" in refused.stderr


@pytest.mark.parametrize(
    "other", ["sys.maxsize = 2**31 - 1", "sys.byteorder = 'big'"], ids=["32", "big"]
)
def test_the_build_refuses_32_bits_and_big_endian_before_it_compiles(other, tmp_path):
    pytest.importorskip("setuptools")
    code = f"import runpy, sys; {other}; runpy.run_path(sys.argv[1])"
    command = [sys.executable, "-c", code, SOURCE.parent / "setup.py"]
    result = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("memprobe is for 64-bit, little-endian systems, and this")


def test_only_the_binding_knows_python():
    for file in SOURCE.rglob("*.[ch]"):
        if file.stem not in ("_memprobe", "extension"):  # which includes the former
            assert "Python.h" not in file.read_text(), file


PROBE = {"blocks", "breakdown", "probe", "probe_state", "ring", "sampler"}
OBSERVER = {"cgroup", "contact", "copy", "family", "folder", "keep", "kills", "process"}
OBSERVER |= {"record_file", "recorder", "recording", "talk"}


def included(file):
    """The names of the headers that a file includes, and that these include."""
    found, todo = set(), [file]
    while todo:
        for name in re.findall(r'#include "([^"]+)\.h"', todo.pop().read_text()):
            header = SOURCE / f"{name}.h"
            if name not in found and header.exists():
                found.add(name)
                todo.append(header)
    return found


def test_probe_and_observer_include_nothing_of_each_other():
    files = {file.stem: file for file in SOURCE.glob("*.c")}
    headers = {file.stem for file in SOURCE.glob("*.h")}
    assert headers >= PROBE | OBSERVER
    assert "system" in included(files["probe"]) & included(files["observer"])
    for name, file in files.items():
        if name in PROBE or name.startswith("probe_"):
            assert not included(file) & OBSERVER, name
        if name in OBSERVER or name == "observer":
            assert not included(file) & PROBE, name
