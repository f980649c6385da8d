"""What pytest loads in each run: an option and a marker, and nothing of memprobe.

It stands outside of the package, whose import would load the extension.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("memprobe").addoption(
        "--memprobe",
        action="store_true",
        help="measure the RSS of each test: highest peaks, most growth, limit_rss",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "limit_rss(size): with --memprobe, fail the test if RSS rises by more than "
        'that above its start: a text like "100MB", or bytes',
    )
    if config.getoption("memprobe"):
        from memprobe._pytest import Measuring

        config.pluginmanager.register(Measuring(), "memprobe-measuring")
