"""The pages: short enough to be read, and every link leads somewhere."""

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent.parent
PAGES = sorted([*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/*.md")])

pytestmark = pytest.mark.skipif(
    not (CHECKOUT / "docs").is_dir(), reason="no docs beside the tests"
)


def headings(page):
    """The anchors of a page, as the common viewers of Markdown make them."""
    text = re.sub(
        r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S
    )
    found = re.findall(r"^#+ (.*)$", text, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_heading_that_are_there(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if ":" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            assert anchor in headings(linked), target


def test_the_index_names_every_page():
    index = (CHECKOUT / "docs" / "index.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\]\((\w[\w.-]*\.md)\)", index))
    assert named == {page.name for page in CHECKOUT.glob("docs/*.md")} - {"index.md"}


def test_the_readme_is_read_in_a_few_minutes():
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) <= 120


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_fences_come_in_pairs(page):
    text = page.read_text(encoding="utf-8")
    assert len(re.findall(r"^```", text, flags=re.M)) % 2 == 0
