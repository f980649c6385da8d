"""memprobe.h, as an extension in C and one in Cython see it."""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
from pathlib import Path

import pytest

import memprobe

SOURCES = Path(__file__).resolve().parent / "capi"
PYTHON_H = sysconfig.get_path("include")
CC = (sysconfig.get_config_var("CC") or "cc").split()[0]
CXX = {"gcc": "g++", "clang": "clang++"}.get(CC, "c++")

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="builds with cc and pthread"),
    pytest.mark.skipif(shutil.which(CC) is None, reason=f"no {CC}"),
]


def compile_file(source, output, *options, include=None, cc=CC):
    command = [
        *(cc, "-O1", "-Wall", "-Wextra", "-pedantic", "-Werror", *options),
        *("-isystem", PYTHON_H, "-I", include or memprobe.get_include()),
        *(source, "-o", output),
    ]
    # A sanitizer that is preloaded into this process isn't meant for the compiler.
    env = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    subprocess.run(command, check=True, timeout=120, env=env)


def build(name, source, folder, *options, include=None):
    """Build and import an extension."""
    path = folder / f"{name}.so"
    link = ["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else []
    shared = ["-shared", "-fPIC", "-pthread", *link]
    compile_file(source, path, *shared, *options, include=include)
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return build("plain", SOURCES / "plain.c", tmp_path_factory.mktemp("plain"))


def test_without_the_import_every_call_is_enosys(tmp_path):
    module = build("plain", SOURCES / "plain.c", tmp_path)
    assert os.strerror(module.read_rss()[0]) == "Function not implemented"
    assert os.strerror(module.sample_in_threads(1)) == "Function not implemented"
    assert memprobe.stats().count == 0


def test_threads_without_the_gil_store_every_sample(plain):
    plain.import_it()
    assert plain.sample_in_threads(8) == 0
    assert memprobe.stats().count == 8000
    times = [ns for ns, _ in memprobe.snapshot().tolist()]
    assert times == sorted(times)


def test_native_threads_and_python_threads_share_one_ring(plain):
    plain.import_it()

    def sample_in_python():
        for _ in range(5000):
            memprobe.sample_mem()

    thread = threading.Thread(target=sample_in_python)
    thread.start()
    assert plain.sample_in_threads(4) == 0
    thread.join()
    assert memprobe.stats().count == 9000


def test_reading_is_rss(plain):
    plain.import_it()
    error, rss = plain.read_rss()
    assert error == 0
    assert rss == pytest.approx(memprobe.rss(), rel=0.02)


def test_samples_in_c_ignore_min_interval_and_count_as_the_last_one(plain):
    plain.import_it()
    memprobe.configure(min_interval=3600)
    assert plain.sample_in_threads(1) == 0
    assert memprobe.stats().count == 1000
    assert memprobe.sample_mem() == memprobe.humanbytes(memprobe.stats().last)
    assert memprobe.stats().count == 1000


def test_cython_samples_without_the_gil(tmp_path):
    pytest.importorskip("Cython")
    pyx = tmp_path / "cythonic.pyx"
    shutil.copy(SOURCES / "cythonic.pyx", pyx)
    translate = [sys.executable, "-m", "cython", "-3", pyx]
    subprocess.run(translate, check=True, timeout=120)
    # What Cython generates isn't ours to keep free of warnings.
    module = build("cythonic", pyx.with_suffix(".c"), tmp_path, "-w")
    sampled, read = module.sample_many(1000)
    assert memprobe.stats().count == 1000
    assert memprobe.stats().last == sampled
    assert read == pytest.approx(sampled, rel=0.02)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("MEMPROBE_ABI_VERSION 1", "MEMPROBE_ABI_VERSION 2"),
        ("    int (*sample)", "    int (*added)(void);\n    int (*sample)"),
    ],
    ids=["version", "size"],
)
def test_a_newer_header_with_this_module_fails_at_import(tmp_path, old, new):
    header = Path(memprobe.get_include(), "memprobe.h").read_text()
    assert old in header
    (tmp_path / "memprobe.h").write_text(header.replace(old, new))
    module = build("plain", SOURCES / "plain.c", tmp_path, include=tmp_path)
    with pytest.raises(ImportError, match=r"another memprobe\.h .* upgrade memprobe"):
        module.import_it()
    assert os.strerror(module.read_rss()[0]) == "Function not implemented"


@pytest.mark.parametrize("source", ["plain.c", "header_alone.c"])
def test_header_is_c99(tmp_path, source):
    compile_file(SOURCES / source, tmp_path / "x.o", "-std=c99", "-c")


def test_header_is_cxx11(tmp_path):
    if shutil.which(CXX) is None:
        pytest.skip(f"no {CXX}")
    options = ["-std=c++11", "-x", "c++", "-c"]
    compile_file(SOURCES / "header_alone.c", tmp_path / "x.o", *options, cc=CXX)
