"""The package as such: import, types, signatures."""

import importlib.metadata
import inspect
import re
import sys
from pathlib import Path

import pytest

import memprobe

CHECKOUT = Path(__file__).resolve().parent.parent.parent

DESIGN = """
    sample_mem memdump sample mem_rss ps humanbytes
    rss peak_rss configure snapshot stats clear get_include
    start_sampling stop_sampling sampling measure record stop_recording
    breakdown trim
""".split()


def test_every_name_is_there_and_documented():
    assert set(DESIGN) <= set(memprobe.__all__)
    for name in memprobe.__all__:
        public = getattr(memprobe, name)
        assert inspect.getdoc(public), name
        assert inspect.signature(public) is not None


@pytest.mark.parametrize(
    ("name", "signature"),
    [
        ("sample_mem", "()"),
        ("mem_rss", "()"),
        ("humanbytes", "(s, /)"),
        ("configure", "(*, capacity=None, min_interval=None)"),
    ],
)
def test_functions_in_c_have_signatures(name, signature):
    assert str(inspect.signature(getattr(memprobe, name))) == signature


def test_import_loads_nothing_heavy(run_python):
    out = run_python("""
import sys
import atexit, collections, gc, operator, os
before = set(sys.modules)
import memprobe
print(*sorted(set(sys.modules) - before))
""")
    assert out.split() == [
        "memprobe",
        "memprobe._arguments",
        "memprobe._built",
        "memprobe._measure",
        "memprobe._memprobe",
        "memprobe._process",
        "memprobe._recorder",
        "memprobe._sampler",
        "memprobe._samples",
    ]


def test_psutil_is_imported_by_ps_alone(run_python):
    run_python("""
import sys, io
from memprobe import *
import memprobe
sample_mem(), mem_rss(), memprobe.rss(), memprobe.peak_rss(), memprobe.stats()
memdump(file=io.StringIO())
assert "psutil" not in sys.modules
assert memprobe.ps().pid
assert "psutil" in sys.modules
""")


def test_the_extension_can_be_imported_anew_beside_itself(run_python):
    """Multi-phase initialisation: two modules, one process, one ring."""
    run_python("""
import sys
import memprobe
first = sys.modules.pop("memprobe._memprobe")
import importlib
second = importlib.import_module("memprobe._memprobe")
assert first is not second
first.sample_mem()
second.sample_mem()
assert first.snapshot().tolist() == second.snapshot().tolist()
assert len(first.snapshot()) == 2
del first
sys.modules.pop("memprobe._memprobe")
del second
import gc; gc.collect()
assert memprobe.stats().count == 2
""")


def test_metadata_promises_no_runtime_dependency():
    requires = importlib.metadata.requires("memprobe-rss") or []
    assert all("extra ==" in requirement for requirement in requires)


@pytest.mark.skipif(
    Path(memprobe.__file__).parent.parent == CHECKOUT,
    reason="an editable install has no files of its own",
)
def test_the_wheel_has_types_and_no_c_source():
    files = [str(file) for file in importlib.metadata.files("memprobe-rss")]
    assert "memprobe/py.typed" in files
    assert "memprobe/_memprobe.pyi" in files
    assert "memprobe/include/memprobe.h" in files
    assert any("LICENSE" in file for file in files)
    assert not [file for file in files if file.endswith(".c")]
    assert not [file for file in files if file.startswith(("src", "tests"))]


def test_every_promise_names_tests_that_are_there():
    page = CHECKOUT / "docs" / "promises-and-systems.md"
    text = page.read_text(encoding="utf-8")
    promises = text.partition("## Promises")[2].partition("## Limits")[0]
    promised = set(re.findall(r"`(test_\w+)`", promises))
    files = (CHECKOUT / "tests").rglob("test_*.py")
    tests = "".join(path.read_text(encoding="utf-8") for path in files)
    assert len(promised) > 20
    assert not {name for name in promised if f"def {name}(" not in tests}


@pytest.mark.skipif(sys.platform == "win32", reason="builds with cc")
def test_an_extension_of_another_version_says_so_at_the_import(
    build_package, run_fault
):
    package = build_package("other_version", version="0.0.9")
    out = run_fault(
        """
try:
    import memprobe
except ImportError as error:
    print(error.name, error.path == error.msg.split(", ")[1].partition(":")[0])
    print(error)
""",
        package=package,
    )
    name, message = out.splitlines()
    assert name == "memprobe._memprobe True"
    assert re.fullmatch(
        rf"memprobe {re.escape(memprobe.__version__)} has a built module of version "
        r"0\.0\.9 beside it, .*: install memprobe anew",
        message,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="builds with cc")
def test_a_build_with_fast_math_refuses_what_others_refuse(build_package, run_fault):
    run_fault(
        """
import memprobe
for seconds in (float("inf"), float("-inf"), float("nan"), 10**400, -1):
    for call in (
        lambda: memprobe.above(1, seconds),
        lambda: memprobe.configure(min_interval=seconds),
    ):
        try:
            print(call())
        except ValueError as error:
            assert f"not {seconds!r}" in str(error), error
        else:
            raise AssertionError(seconds)
memprobe.configure(min_interval=1e300)
memprobe.configure(min_interval=0.5)
assert memprobe.humanbytes(1536) == "1.5KB"
""",
        package=build_package("fast_math", "-ffast-math", "-O3"),
    )
