"""The types: what checkers accept, and what asks for them at run time."""

import inspect
import subprocess
import sys
import typing
from importlib.util import find_spec
from pathlib import Path

import pytest

import memprobe

USE = Path(__file__).with_name("typed_use.py")


@pytest.mark.parametrize("checker", ["mypy --strict", "pyright --pythonpath"])
def test_type_checkers_accept_use_of_every_kind(checker, tmp_path):
    module, *options = checker.split()
    if find_spec(module) is None:
        pytest.skip(f"no {module}")
    if module == "pyright":
        options.append(sys.executable)
    # Elsewhere than in the checkout, whose folder memprobe/ hides what is installed.
    command = [sys.executable, "-m", module, *options, str(USE)]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", memprobe.__all__)
def test_type_hints_can_be_had_at_run_time(name):
    public = getattr(memprobe, name)
    typing.get_type_hints(public)
    if isinstance(public, type):
        for method in filter(inspect.isfunction, vars(public).values()):
            if method.__module__ == public.__module__:
                typing.get_type_hints(method)
