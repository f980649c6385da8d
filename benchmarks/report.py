"""From results/figures.json the tables of two pages and the chart, without measuring:

python benchmarks/report.py
"""

import json
from pathlib import Path

from tables import markdown, summary

HERE = Path(__file__).resolve().parent
FIGURES = HERE / "results" / "figures.json"
CHART = HERE / "results" / "readings.svg"
# What each page shows of them.
PAGES = {
    HERE.parent / "README.md": summary,
    HERE.parent / "docs" / "figures.md": markdown,
}

BEGIN = "<!-- from here on written by benchmarks/report.py -->\n"
END = "<!-- to here -->\n"


def insert(text, written):
    """A page's text, with what is written of the figures between its two marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page must have the lines {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n{written}\n{END}{after}"


def main():
    from chart import draw  # matplotlib: the tables do without

    figures = json.loads(FIGURES.read_text())
    draw(figures, CHART)
    for page, write in PAGES.items():
        text = page.read_text(encoding="utf-8")
        page.write_text(insert(text, write(figures)), encoding="utf-8")


if __name__ == "__main__":
    main()
