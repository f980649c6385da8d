import os
import subprocess
import sys
from pathlib import Path

import pytest

import memprobe

CHECKOUT = Path(__file__).resolve().parent.parent


def pytest_sessionstart():
    """The tests are about the installed package, not the folder beside them."""
    extension = Path(sys.modules["memprobe._memprobe"].__file__)
    package = Path(memprobe.__file__)
    if extension.parent != package.parent or not extension.is_file():
        pytest.exit(f"memprobe is not installed: {package} has no extension", 3)
    print(f"testing {extension}")


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
def sanitized():
    """Whether a sanitizer watches this process, and those that it starts."""
    return "san.so" in os.environ.get("LD_PRELOAD", "")
