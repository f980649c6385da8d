"""The examples of the documentation are run, and print what they say they print."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import memprobe

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
EXAMPLE = re.compile(r"^```python\n(.*?)^```\n(?:```text\n(.*?)^```$)?", re.M | re.S)


def examples(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    return [
        pytest.param(*found, id=f"{page}-{i}")
        for i, found in enumerate(EXAMPLE.findall(text))
    ]


def without_figures(text):
    """What stays the same wherever and whenever it is run."""
    text = re.sub(r"[-+]?\d[\d.e+-]*(?:KB|MB|GB)", "SIZE", text.strip())
    return re.sub(r"-?\b\d[\d.]*(?:e-\d+)?\b", "NUMBER", text)


@pytest.mark.parametrize(
    ("code", "printed"),
    [
        *examples("api.md"),
        *examples("from-celery-debug.md"),
        *examples("measure.md"),
    ],
)
def test_examples_print_what_they_say(run_python, code, printed):
    assert without_figures(run_python(code)) == without_figures(printed)


@pytest.mark.parametrize("name", ["plain", "celery_tasks"])
def test_the_programs_in_examples_dump_their_samples(name):
    if name == "celery_tasks":
        pytest.importorskip("celery")
    done = subprocess.run(
        [sys.executable, DOCS.parent / "examples" / f"{name}.py"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^-    > [\d.]+MB,$", done.stdout, re.M)) == 10


def test_every_public_name_has_its_place_in_the_api():
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    described = set(re.findall(r"`(\w+)\(", text)) | set(re.findall(r"-> (\w+)`", text))
    assert not set(memprobe.__all__) - described
