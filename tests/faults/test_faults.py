"""Every system call of memprobe's fails once: a part of them, in a minute.

All of them, in half an hour: nox -s faults.
"""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

CAMPAIGN = Path(__file__).with_name("campaign.py")

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"),
    reason="registers and system calls of this machine are not known here",
)


def test_a_system_call_that_fails_makes_no_harm(compile_c, sanitized, tmp_path):
    if sanitized:
        pytest.skip("a sanitizer's own system calls would fail")
    command = [sys.executable, CAMPAIGN, "--seconds", "60", "--seed", "1"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    if "Operation not permitted" in done.stderr:
        pytest.skip("ptrace is not permitted here")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
