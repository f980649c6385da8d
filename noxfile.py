"""The tests on every Python that is here: `nox`; those that are not here are named.

Interpreters are looked for on PATH, in pyenv, and in the folders of MEMPROBE_PYTHONS
(each with a bin/, separated as PATH is). MEMPROBE_ABI3_WHEEL is an abi3 wheel that is
there already.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import nox

WITH_GIL = ["3.10", "3.11", "3.12", "3.13", "3.14", "3.15"]
WITHOUT_GIL = ["3.13t", "3.14t", "3.15t"]
# The first one that the limited API of the abi3 wheel has, and those that share it.
ABI3_BUILT_ON, *ABI3_SHARED_BY = WITH_GIL[2:]

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


def install_tests(session):
    """What the tests need; but for pytest and psutil only as wheels, if there are any.

    The tests skip without them.
    """
    for requirement in nox.project.load_toml()["dependency-groups"]["test"]:
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
