"""The figures: made from the kept ones, and not compared with foreign ones."""

import importlib
import json
import re
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent.parent / "benchmarks"

pytestmark = pytest.mark.skipif(
    not BENCHMARKS.is_dir(), reason="no benchmarks beside the tests"
)


@pytest.fixture
def benchmark(monkeypatch):
    """Import one of the files, which find each other as they do when they are run."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "").is_relative_to(
            BENCHMARKS
        ):
            del sys.modules[name]


def test_each_page_shows_the_kept_figures(benchmark):
    report = benchmark("report")
    figures = json.loads(report.FIGURES.read_text())
    assert len(report.PAGES) == 2
    for page, write in report.PAGES.items():
        text = page.read_text(encoding="utf-8")
        assert report.insert(text, write(figures)) == text


def test_the_chart_shows_the_kept_figures(benchmark):
    report, tables = benchmark("report"), benchmark("tables")
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", report.CHART.read_text())
    for name, one in tables.measured(
        json.loads(report.FIGURES.read_text())["readings"]
    ):
        assert tables.decimal(one["ratio"]) in texts
        assert any(text.startswith(name) for text in texts), name


def test_rss_is_ten_times_as_fast_as_psutil_in_the_kept_figures(benchmark):
    readings = json.loads(benchmark("report").FIGURES.read_text())["readings"]
    psutil, rss = readings["psutil memory_info().rss"], readings["memprobe rss()"]
    assert psutil["ratio"] >= 10 * rss["ratio"]


def test_a_ratio_is_of_the_least_times_of_rounds_in_turn(benchmark):
    turns = []

    def timer_of(name, times):
        def timer(count):
            turns.append(name)
            return count * times.pop(0)

        return timer

    floor, timer = timer_of("floor", [9, 2, 3]), timer_of("timer", [8, 7, 6])
    result = benchmark("interleave").interleave(floor, timer, 3, (10, 20))
    assert turns == ["floor", "timer"] * 3
    assert (result["floor_ns"], result["ns"], result["ratio"]) == (2, 6, 3)


def test_a_call_that_grew_by_over_5_percent_is_found(benchmark):
    compare = benchmark("instructions").compare
    kept = {"rss()": 100.0, "sample_mem()": 200.0}
    assert not compare({"rss()": 105.0, "sample_mem()": 150.0}, kept)[1]
    lines, grown = compare({"rss()": 100.0, "sample_mem()": 210.2}, kept)
    assert grown
    assert "sample_mem(): 210.2 instructions, kept: 200.0, +5.1 %" in lines


def test_a_figure_is_for_one_python_and_one_compiler(benchmark, tmp_path):
    compiler_of = benchmark("instructions").compiler_of
    library = tmp_path / "library.so"
    library.write_bytes(b"\0GCC: (Debian 12.2.0-14) 12.2.0\0")
    assert compiler_of(library) == "gcc 12"
    library.write_bytes(b"\0GCC: (Debian 12.2.0) 12.2.0\0Debian clang version 14.0.6\0")
    assert compiler_of(library) == "clang 14"
    version = "{}.{}".format(*sys.version_info)
    assert f" {version}" in benchmark("instructions").combination()


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.0404, "0.040"), (1.14, "1.14"), (12.84, "12.8"), (124.4, "124")],
)
def test_a_ratio_has_two_or_three_digits(benchmark, number, text):
    assert benchmark("tables").decimal(number) == text
