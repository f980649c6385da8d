"""memprobe.h, as an extension in C and one in Cython see it."""

import importlib.util
import os
import re
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


@pytest.mark.parametrize(
    ("package", "message"),
    [
        (None, "No module named 'memprobe'"),
        ("raise ImportError('its disk is gone')", "its disk is gone"),
        ("raise RuntimeError('not today')", "not today"),
        ("", "No module named 'memprobe._memprobe'"),
    ],
)
def test_an_import_that_fails_says_why(tmp_path, run_python, package, message):
    build("plain", SOURCES / "plain.c", tmp_path)
    if package is not None:
        (tmp_path / "memprobe").mkdir()
        (tmp_path / "memprobe" / "__init__.py").write_text(package)
    out = run_python("""
import sys
import plain
sys.path[1:] = [path for path in sys.path if "site-packages" not in path]
sys.meta_path = [one for one in sys.meta_path if "editable" not in str(one)]
try:
    plain.import_it()
except Exception as error:
    print(error)
assert plain.read_rss()[0] != 0
""")
    assert out == message + "\n"


@pytest.fixture(scope="module")
def documented():
    """The code blocks of docs/c-api.md by language."""
    page = Path(__file__).resolve().parents[2] / "docs" / "c-api.md"
    if not page.exists():
        pytest.skip("no documentation beside the tests")
    blocks = {}
    for language, code in re.findall(r"```(\w+)\n(.*?)```", page.read_text(), re.S):
        blocks.setdefault(language, []).append(code)
    return blocks


def test_the_documented_extension_works(documented, tmp_path):
    (code,) = documented["c"]
    (tmp_path / "example.c").write_text(code)
    module = build("example", tmp_path / "example.c", tmp_path)
    assert module.work() == memprobe.stats().last
    assert memprobe.stats().count == 1000


def test_the_documented_cython_works(documented, tmp_path):
    pytest.importorskip("Cython")
    (code,) = documented["cython"]
    code += "cdef uint64_t rss\nmemprobe_rss(&rss)\nread = rss\n"
    (tmp_path / "example.pyx").write_text("# cython: language_level=3\n" + code)
    translate = [sys.executable, "-m", "cython", "-3", tmp_path / "example.pyx"]
    subprocess.run(translate, check=True, timeout=120)
    module = build("example", tmp_path / "example.c", tmp_path, "-w")
    assert module.read == pytest.approx(memprobe.rss(), rel=0.1)


@pytest.mark.parametrize("blocks", [1, 2], ids=["ctypes", "cffi"])
def test_the_documented_way_with_python_works(documented, blocks):
    if blocks == 2:
        pytest.importorskip("cffi")
    names = {}
    for code in documented["python"][:blocks]:
        exec(code, names)
    read = names["bytes_read"]
    read = read.value if blocks == 1 else read[0]
    assert read == pytest.approx(memprobe.rss(), rel=0.1)
    assert names["api"].sample(names["bytes_read"]) == 0
    assert memprobe.stats().count == 1


@pytest.mark.parametrize("source", ["plain.c", "header_alone.c"])
def test_header_is_c99(tmp_path, source):
    compile_file(SOURCES / source, tmp_path / "x.o", "-std=c99", "-c")


def test_header_is_cxx11(tmp_path):
    if shutil.which(CXX) is None:
        pytest.skip(f"no {CXX}")
    options = ["-std=c++11", "-x", "c++", "-c"]
    compile_file(SOURCES / "header_alone.c", tmp_path / "x.o", *options, cc=CXX)
