"""``pytest --memprobe``: what the plugin shows and fails, and that it costs nothing."""

import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from importlib.util import find_spec

import pytest

TESTS = """
import os, sys, time
import pytest

kept = []

def test_spike():
    block = bytearray(b"x") * 120_000_000
    time.sleep(0.02)

def test_leak():
    kept.append(bytearray(b"x") * 60_000_000)

@pytest.mark.limit_rss("20MB")
def test_above_its_limit():
    block = bytearray(b"x") * 90_000_000
    time.sleep(0.02)

@pytest.mark.limit_rss(size=200 << 20)
def test_below_its_limit():
    block = bytearray(b"x") * 80_000_000
    time.sleep(0.02)

@pytest.mark.limit_rss("20MB")
def test_fails_by_itself():
    raise ValueError(len(bytearray(b"x") * 70_000_000))

@pytest.mark.limit_rss("20 apples")
def test_wrong_size():
    pass

@pytest.mark.limit_rss
def test_no_size():
    pass

def test_small():
    pass
"""


@pytest.fixture
def run_pytest(tmp_path):
    def run(code, *options, status):
        (tmp_path / "test_it.py").write_text(code)
        command = [sys.executable, "-m", "pytest", "--strict-markers", *options]
        plugins = ["memprobe_pytest", *(["xdist.plugin"] if "-n" in options else [])]
        done = subprocess.run(
            [*command, *(option for name in plugins for option in ("-p", name))],
            cwd=tmp_path,
            # Others, which are installed by chance, take seconds.
            env={**os.environ, "COLUMNS": "100", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    return run


def listed(text, title):
    """Return the rows below a headline: (above, growth, peak, test)."""
    section = text.partition(f"memprobe: {title} ")[2].partition("aren't listed")[0]
    return re.findall(r"^ *(\S+) +(\S+) +(\S+)  test_it\.py::(\w+)$", section, re.M)


def test_every_run_of_pytest_knows_the_option():
    (plugin,) = entry_points(group="pytest11", name="memprobe")
    assert plugin.value == "memprobe_pytest"


def test_without_the_option_nothing_of_memprobe_is_imported(run_pytest):
    code = """
import sys
import pytest

@pytest.mark.limit_rss("1MB")
def test_it():
    block = bytearray(b"x") * 50_000_000
    assert "memprobe_pytest" in sys.modules
    assert not [name for name in sys.modules if name.split(".")[0] == "memprobe"]
"""
    assert "memprobe:" not in run_pytest(code, status=0)


def test_a_program_that_has_imported_memprobe_may_run_pytest(run_python, tmp_path):
    (tmp_path / "test_it.py").write_text("def test_it():\n    pass\n")
    out = run_python("""
import memprobe, pytest, sys
sys.exit(pytest.main(["test_it.py", "-p", "no:cacheprovider"]))
""")
    assert "1 passed in" in out  # and no warning


@pytest.mark.parametrize("options", [[], ["-n", "2"]], ids=["alone", "xdist"])
def test_peaks_growth_and_limits_of_all_tests(run_pytest, options):
    code = TESTS
    if options:
        if find_spec("xdist") is None:
            pytest.skip("no xdist")
        code += "\ndef test_takes_its_process_along():\n    os._exit(3)\n"
    text = run_pytest(code, "--memprobe", *options, status=1)
    peaks = listed(text, "highest peaks above the start")
    by_name = {name: row for *row, name in peaks}
    assert next(iter(by_name)) == "test_spike"
    assert {"test_leak", "test_above_its_limit", "test_below_its_limit"} < set(by_name)
    assert "test_small" not in by_name
    assert re.fullmatch(r"\+11[3-6]MB", by_name["test_spike"][0])
    growth = {name: row[1] for *row, name in listed(text, "most growth")}
    assert re.fullmatch(r"\+5[6-9]\.\dMB", growth["test_leak"])
    assert "test_spike" not in growth
    assert re.search(r"limit_rss: RSS rose by 8[5-8]\.\dMB, to \S+; the limit", text)
    assert "limit_rss must be a size like \"100MB\", not '20 apples'\n" in text
    assert "\nlimit_rss takes one size\n" in text
    failed = set(re.findall(r"^FAILED test_it\.py::(\w+)", text, re.M))
    if options:
        failed.remove("test_takes_its_process_along")
    assert failed == {
        "test_above_its_limit",
        "test_fails_by_itself",
        "test_wrong_size",
        "test_no_size",
    }
    assert "ValueError: 70000000" in text


def test_the_figures_are_in_junits_xml(run_pytest, tmp_path):
    import xml.etree.ElementTree

    code = "def test_it():\n    assert bytearray(b'x') * 60_000_000\n"
    run_pytest(code, "--memprobe", "--junitxml", tmp_path / "junit.xml", status=0)
    properties = xml.etree.ElementTree.parse(tmp_path / "junit.xml").iter("property")
    figures = {at.get("name"): int(at.get("value")) for at in properties}
    before, peak, after = (
        figures[f"memprobe_rss_{name}"] for name in ("before", "peak", "after")
    )
    assert peak - before > 55_000_000
    assert abs(after - before) < 5_000_000
