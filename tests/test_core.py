"""The C core without Python: each program in tests/core/, built with sanitizers."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent / "src"
SYSTEM = {"linux": "linux", "darwin": "macos"}.get(sys.platform)
WARNINGS = "-Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Werror".split()
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

compiler = os.environ.get("CC") or (sysconfig.get_config_var("CC") or "cc").split()[0]

pytestmark = [
    pytest.mark.skipif(SYSTEM is None, reason="built by hand on this system"),
    pytest.mark.skipif(shutil.which(compiler) is None, reason=f"no {compiler}"),
    pytest.mark.skipif(not SOURCE.is_dir(), reason="no sources beside the tests"),
]


def core_files():
    """The files of src/ for this system, but for the binding and what includes it."""
    others = {"linux", "macos", "windows"} - {SYSTEM}
    for file in sorted(SOURCE.glob("*.c")):
        if (
            file.stem not in {"_memprobe", "extension"}
            and file.stem.rpartition("_")[2] not in others
        ):
            yield file


@pytest.fixture(scope="module")
def sanitizers(tmp_path_factory):
    """The sanitizers whose programs run: with musl none, though they can be linked."""
    folder = tmp_path_factory.mktemp("sanitizers")
    (folder / "empty.c").write_text("int main(void) { return 0; }\n")
    command = [compiler, *SANITIZERS, "empty.c", "-o", "empty"]
    for step in (command, [folder / "empty"]):
        result = subprocess.run(step, cwd=folder, capture_output=True, check=False)
        if result.returncode != 0:
            return []
    return SANITIZERS


@pytest.mark.parametrize(
    "program", sorted((HERE / "core").glob("test_*.c")), ids=lambda path: path.stem
)
def test_core(program, tmp_path, sanitizers):
    executable = tmp_path / program.stem
    build = [
        *(compiler, "-std=gnu11", "-g", "-O1", *WARNINGS, *sanitizers),
        *("-I", SOURCE, program, *core_files()),
        *("-o", executable, "-lm", "-pthread"),
    ]
    subprocess.run(build, check=True, timeout=120)
    subprocess.run([executable], check=True, timeout=120)


def test_only_the_binding_knows_python():
    for file in SOURCE.glob("*.[ch]"):
        if file.stem != "_memprobe":
            assert "Python.h" not in file.read_text(), file
