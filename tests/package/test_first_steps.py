"""What a newcomer types in the checkout, whose memprobe/ hides the installed one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import memprobe

CHECKOUT = Path(__file__).resolve().parent.parent.parent
INSTALLED = Path(memprobe.__file__).parent

pytestmark = pytest.mark.skipif(
    not (CHECKOUT / "memprobe").is_dir(), reason="no folder memprobe/ beside the tests"
)


@pytest.fixture
def clone(tmp_path):
    """A folder that is as bare as a fresh clone."""
    built = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__", "_observer*")
    shutil.copytree(CHECKOUT / "memprobe", tmp_path / "memprobe", ignore=built)
    return tmp_path


@pytest.fixture
def edited(clone):
    """The same after `pip install -e .`, which builds in place."""
    for built in INSTALLED.iterdir():
        if built.suffix in (".so", ".pyd") or built.name.startswith("_observer"):
            shutil.copy(built, clone / "memprobe")
    return clone


def run(clone, *arguments, status=0, **options):
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=clone,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )
    assert done.returncode == status, done.stderr
    return done


WHICH = "import memprobe, sys; print(memprobe.__file__, memprobe.rss() > 0)"


def test_an_import_in_a_bare_checkout_finds_the_installed_one(clone):
    out = run(clone, "-c", WHICH).stdout
    assert out.split() == [str(INSTALLED / "__init__.py"), "True"]


def test_an_import_after_an_editable_install_is_the_checkouts(edited):
    out = run(edited, "-c", WHICH).stdout
    assert out.split() == [str(edited / "memprobe" / "__init__.py"), "True"]


@pytest.mark.parametrize("state", ["clone", "edited"])
def test_python_m_memprobe_in_the_checkout(state, request):
    folder = request.getfixturevalue(state)
    assert "show" in run(folder, "-m", "memprobe", "--help").stdout


@pytest.mark.parametrize("state", ["clone", "edited"])
def test_python_m_pytest_in_the_checkout(state, request):
    folder = request.getfixturevalue(state)
    for name in ("conftest.py", "api/test_readings.py"):
        (folder / "tests" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / "tests" / name, folder / "tests" / name)
    shutil.copy(CHECKOUT / "pyproject.toml", folder)
    out = run(folder, "-m", "pytest", "-q", "-k", "test_text_follows_the_number").stdout
    expected = INSTALLED if state == "clone" else folder / "memprobe"
    assert f"testing {expected}" in out
    assert " passed" in out


def test_a_bare_folder_alone_says_in_one_sentence_what_to_do(clone):
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = run(clone, "-S", "-c", "import memprobe", status=1, env=alone)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert str(clone) in last
    assert last.endswith("run `pip install .` there")


def test_a_damaged_module_keeps_its_own_error(edited):
    for built in (edited / "memprobe").glob("_memprobe*.*"):
        if built.suffix in (".so", ".pyd"):
            built.write_bytes(b"no library")
    done = run(edited, "-c", "import memprobe", status=1)
    assert "pip install" not in done.stderr
    assert str(edited / "memprobe") in done.stderr.splitlines()[-1]
