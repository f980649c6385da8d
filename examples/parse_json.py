"""Sum a column of 220 MB of JSON twice: from the whole document, then line by line.

    memprobe run --plot parse_json.svg examples/parse_json.py

It needs nothing but the standard library, 1 GB of memory and 220 MB in the folder for
temporary files.
"""

import json
import tempfile
from pathlib import Path

RECORDS = 1_200_000
TEXT = "a text that is as long as texts in records are, and says nothing at all " * 2


def write(path):
    """Write one JSON document with a record on each line."""
    with path.open("w") as file:
        file.write("[\n")
        for i in range(RECORDS):
            comma = "," if i < RECORDS - 1 else ""
            file.write(
                f'{{"id": {i}, "amount": {i % 1009}, "text": "{TEXT}"}}{comma}\n'
            )
        file.write("]\n")


def sum_of_document(path):
    with path.open() as file:
        return sum(record["amount"] for record in json.load(file))


def sum_of_lines(path):
    with path.open() as file:
        lines = (line.rstrip(",\n") for line in file if line.startswith("{"))
        return sum(json.loads(line)["amount"] for line in lines)


with tempfile.TemporaryDirectory() as folder:
    data = Path(folder, "data.json")
    write(data)
    print(f"{data.stat().st_size / 1e6:.0f} MB of JSON")
    print(f"the whole document: {sum_of_document(data)}")
    print(f"line by line: {sum_of_lines(data)}")
