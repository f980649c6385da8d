"""Builds the wheels of every system on one Linux machine, by zig, and looks at them.

    nox -s wheels -- [FOLDER]

Each Python from 3.10 to 3.12, and without a GIL, that is on PATH builds its own; that
of 3.12 is for all later ones. For macOS and Windows only the latter: Python's headers
are this system's, and only what is in the stable ABI is sure to be the same there.
Windows needs some of its own: MEMPROBE_WINDOWS_PYTHON, see platforms/windows.

All is built twice, in different folders, and must be the same byte for byte: dates are
SOURCE_DATE_EPOCH, or those of the last commit. Each wheel is audited, pip must take the
right one for each system and Python out of FOLDER (dist/), and on the Pythons that are
here it must work.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import abi3info
import ziglang

CHECKOUT = Path(__file__).resolve().parent.parent
ZIG = Path(ziglang.__file__).parent / "zig"
WINDOWS = os.environ.get("MEMPROBE_WINDOWS_PYTHON")
PYTHONS = "3.10 3.11 3.12 3.13 3.14 3.15 3.13t 3.14t 3.15t".split()
ABI3_BUILT_ON = "3.12"
# The wheel's tag: what Python calls the system, and zig's target.
TARGETS = {
    "manylinux_2_17_x86_64": ("linux-x86_64", "x86_64-linux-gnu.2.17"),
    "manylinux_2_17_aarch64": ("linux-aarch64", "aarch64-linux-gnu.2.17"),
    "musllinux_1_2_x86_64": ("linux-x86_64", "x86_64-linux-musl"),
    "musllinux_1_2_aarch64": ("linux-aarch64", "aarch64-linux-musl"),
    "macosx_11_0_x86_64": ("macosx-11.0-x86_64", "x86_64-macos.11.0"),
    "macosx_11_0_arm64": ("macosx-11.0-arm64", "aarch64-macos.11.0"),
    "win_amd64": ("win-amd64", "x86_64-windows-gnu"),
}
# What a wheel must do where it is installed.
TRY_IT = """
import json, memprobe, pathlib, subprocess, sys, tempfile
assert memprobe.rss() > 2**20, memprobe.rss()
with tempfile.TemporaryDirectory() as folder:
    memprobe.record(folder)
    memprobe.stop_recording()
    show = [sys.executable, "-m", "memprobe", "show", "--json", folder]
    said = subprocess.run(show, capture_output=True, check=True).stdout
    (process,) = json.loads(said)
    assert process["count"] > 0, process
print(pathlib.Path(memprobe._memprobe.__file__).name, "and the observer work")
"""


def run(*command, **options):
    return subprocess.run([*map(str, command)], check=True, text=True, **options)


def said(*command):
    return run(*command, stdout=subprocess.PIPE).stdout


def abi_of(version):
    name = "cp" + version.replace(".", "")
    stable = version not in ("3.10", "3.11") and not version.endswith("t")
    return "cp312-abi3" if stable else f"{name.rstrip('t')}-{name}"


def builders():
    """The Pythons that are here and build wheels."""
    found = {}
    for version in PYTHONS:
        later = abi_of(version) == abi_of(ABI3_BUILT_ON) and version != ABI3_BUILT_ON
        python = shutil.which(f"python{version}")
        if python is not None and not later:
            found[version] = python
    return found


def write_import_library(folder):
    """Of Windows' python3.dll: the stable ABI of 3.12."""
    lines = ['LIBRARY "python3.dll"', "EXPORTS"]
    for names, suffix in ((abi3info.FUNCTIONS, ""), (abi3info.DATAS, " DATA")):
        for symbol, entry in names.items():
            if (entry.added.major, entry.added.minor) <= (3, 12):
                lines.append(symbol.name + suffix)
    definition = folder / "python3.def"
    definition.write_text("\n".join(lines) + "\n")
    command = [ZIG, "dlltool", "-m", "i386:x86-64", "-d", definition]
    run(*command, "-l", folder / "libpython3.a")


def environment(tag, folder, tools):
    """For setup.py: the compiler, the system; and nothing that differs each time."""
    system, target = TARGETS[tag]
    cc, ldflags = f"{ZIG} cc -target {target}", "-s"
    if tag.startswith("win"):
        cc += f" -I{WINDOWS}/include"
        ldflags += f" -L{folder} -lpython3"
    undefined = " -undefined dynamic_lookup" if tag.startswith("macosx") else ""
    return {
        **os.environ,
        "PYTHONPATH": str(tools),
        "_PYTHON_HOST_PLATFORM": system,
        "CC": cc,
        "CFLAGS": "-g0",
        "LDSHARED": f"{cc} -shared{undefined}",
        "LDFLAGS": ldflags,
        # Pythons with musl don't agree on a longer one.
        "SETUPTOOLS_EXT_SUFFIX": ".so",
        "ZIG_LOCAL_CACHE_DIR": str(folder / "zig-cache"),
    }


def build_all(folder, tools):
    """Build each wheel, in a copy of the checkout; return the folder of wheels.

    Each Python has pip and setuptools from the folder *tools*: they are Python alone.
    """
    not_here = shutil.ignore_patterns(".*", "build", "dist", "*.so", "_observer")
    checkout = shutil.copytree(CHECKOUT, folder / "checkout", ignore=not_here)
    if WINDOWS:
        write_import_library(folder)
    for version, python in builders().items():
        for tag in TARGETS:
            if tag.startswith("win") and not WINDOWS:
                continue
            if not tag.startswith(("many", "musl")) and version != ABI3_BUILT_ON:
                continue
            shutil.rmtree(checkout / "build", ignore_errors=True)
            run(
                *(python, "-m", "pip", "wheel", "-q", "--no-deps", checkout),
                *("--no-build-isolation", "-w", folder / "wheels"),
                f"--config-settings=--build-option=--plat-name={tag}",
                env=environment(tag, folder, tools),
                cwd=folder,
            )
    return folder / "wheels"


def digests(folder):
    wheels = sorted(folder.glob("*.whl"))
    return {it.name: hashlib.sha256(it.read_bytes()).hexdigest() for it in wheels}


def needed(wheel):
    """The libraries of an ELF extension and observer."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        names = [it for it in archive.namelist() if it.endswith((".so", "_observer"))]
        shown = [said("readelf", "-d", archive.extract(it, folder)) for it in names]
    return set(re.findall(r"\(NEEDED\).*\[(.*)\]", "".join(shown)))


def look_at(wheel):
    files = zipfile.ZipFile(wheel).infolist()
    modes = [
        it.external_attr >> 16 & 0o777 for it in files if "_observer" in it.filename
    ]
    assert modes == [0o755], f"{wheel.name} has no observer that can be run"
    tag = wheel.stem.rpartition("-")[2]
    if tag.startswith("musllinux"):
        # zig's name for musl, which musl's loader knows, and auditwheel doesn't.
        assert needed(wheel) == {"libc.so"}, needed(wheel)
    elif "linux" in tag:
        shown = said("auditwheel", "show", wheel)
        assert f'platform tag: "{tag}"' in " ".join(shown.split()), shown
    if "-abi3-" in wheel.name:
        run("abi3audit", "--strict", wheel)


def install_from(wheels, folder):
    """Does pip take the right one, for each system, and does it work on this one?"""
    source = ["-q", "--no-deps", "--no-index", "--find-links", wheels, "memprobe-rss"]
    for tag in TARGETS:
        for version in PYTHONS:
            if version.endswith("t"):
                continue
            if not list(wheels.glob(f"*-{abi_of(version)}-{tag}.whl")):
                print(f"no wheel for Python {version} on {tag}")
                continue
            to = folder / tag / version
            options = ["--only-binary=:all:", "--platform", tag, "-d", to]
            pip = [sys.executable, "-m", "pip", "download"]
            run(*pip, *options, "--python-version", version, *source)
            (taken,) = to.iterdir()
            assert taken.name.endswith(f"-{abi_of(version)}-{tag}.whl"), taken
    for version in PYTHONS:
        if python := shutil.which(f"python{version}"):
            venv = folder / f"installed{version}"
            run(python, "-m", "venv", venv)
            run(venv / "bin/python", "-m", "pip", "install", *source)
            print(f"Python {version}: ", end="", flush=True)
            run(venv / "bin/python", "-W", "error", "-c", TRY_IT, cwd=folder)


def main():
    os.umask(0o022)  # the wheels have the files' permissions, too
    last = said("git", "-C", CHECKOUT, "log", "-1", "--format=%ct")
    os.environ.setdefault("SOURCE_DATE_EPOCH", last.strip())
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "dist").resolve()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        tools = folder / "tools"
        pip = [sys.executable, "-m", "pip", "install", "-q", "--target", tools]
        run(*pip, "pip", "setuptools>=77")
        with ThreadPoolExecutor() as both:
            folders = [folder / "one", folder / "two"]
            first, second = both.map(build_all, folders, [tools, tools])
        assert digests(first) == digests(second), [digests(first), digests(second)]
        shutil.copytree(first, target, dirs_exist_ok=True)
        for name, digest in digests(first).items():
            look_at(target / name)
            print(digest, name)
        install_from(first, folder / "taken")


if __name__ == "__main__":
    main()
