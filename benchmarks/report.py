"""From results/figures.json the README's tables and the chart, without measuring:

python benchmarks/report.py
"""

import json
from pathlib import Path

from tables import markdown

HERE = Path(__file__).resolve().parent
FIGURES = HERE / "results" / "figures.json"
CHART = HERE / "results" / "readings.svg"
README = HERE.parent / "README.md"

BEGIN = "<!-- from here on written by benchmarks/report.py -->\n"
END = "<!-- to here -->\n"


def insert(text, figures):
    """The README's text, with these figures between its two marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{README} must have the lines {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n{markdown(figures)}\n{END}{after}"


def main():
    from chart import draw  # matplotlib: the tables do without

    figures = json.loads(FIGURES.read_text())
    draw(figures, CHART)
    readme = README.read_text(encoding="utf-8")
    README.write_text(insert(readme, figures), encoding="utf-8")


if __name__ == "__main__":
    main()
