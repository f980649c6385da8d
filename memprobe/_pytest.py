"""``pytest --memprobe``: what each test does to RSS, and ``limit_rss``.

Measured is the call of the test, without its fixtures. The figures are properties of
its report, so they come along from processes of pytest-xdist, and into JUnit's XML.
"""

from __future__ import annotations

import pytest

from memprobe._measure import measure
from memprobe._units import growth_text, size_of, size_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

SHOWN = 10
LEAST = 2**20  # of what is less nothing is said: any test moves RSS by some pages
BEFORE, PEAK, AFTER = "memprobe_rss_before", "memprobe_rss_peak", "memprobe_rss_after"


class Measuring:
    """The part of the plugin that is there with --memprobe only."""

    def __init__(self) -> None:
        # Of each test that was called: above the start, growth, and peak, in bytes.
        self._tests: dict[str, tuple[int, int, int]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        limit = _limit_of(item)
        measured = measure()
        try:
            with measured:
                result = yield
        finally:
            known = zip(
                (BEFORE, PEAK, AFTER),
                (measured.before, measured.peak, measured.after),
                strict=True,
            )
            figures = {name: bytes for name, bytes in known if bytes is not None}
            item.user_properties += figures.items()
        rise = figures[PEAK] - figures[BEFORE]
        if limit is not None and rise > limit:
            pytest.fail(
                f"limit_rss: RSS rose by {size_text(rise)}, to "
                f"{size_text(figures[PEAK])}; the limit is {size_text(limit)}",
                pytrace=False,
            )
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        figures = {k: v for k, v in report.user_properties if isinstance(v, int)}
        if report.when == "call" and AFTER in figures:
            before, peak = figures[BEFORE], figures[PEAK]
            growth = figures[AFTER] - before
            self._tests[report.nodeid] = (peak - before, growth, peak)

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> None:
        if not self._tests:
            return
        out = terminalreporter
        for title, column in (("highest peaks above the start", 0), ("most growth", 1)):
            ranked = sorted(
                self._tests.items(), key=lambda test: test[1][column], reverse=True
            )
            shown = [test for test in ranked[:SHOWN] if test[1][column] >= LEAST]
            out.section(f"memprobe: {title}")
            if shown:
                out.line("   above   growth     peak")
            for name, (above, growth, peak) in shown:
                cells = growth_text(above), growth_text(growth), size_text(peak)
                out.line("{:>8} {:>8} {:>8}  ".format(*cells) + name)
            others = len(ranked) - len(shown)
            out.line(f"{others} of {len(ranked)} tests aren't listed")


def _limit_of(item: pytest.Item) -> int | None:
    marker = item.get_closest_marker("limit_rss")
    if marker is None:
        return None
    values = [*marker.args, *marker.kwargs.values()]
    if len(values) != 1:
        pytest.fail("limit_rss takes one size", pytrace=False)
    try:
        return size_of(values[0], "limit_rss")
    except (TypeError, ValueError) as error:
        problem = str(error)
    pytest.fail(problem, pytrace=False)
