"""``%measure`` in IPython, and in a notebook that is executed."""

import re

import pytest

LINE = r"peak {}, {} above the start; growth {}; \d+(?:\.\d)? m?s"


@pytest.fixture
def run_cells(run_python, tmp_path):
    """Run cells in an IPython of its own; return what each has printed."""
    pytest.importorskip("IPython", reason="no IPython")

    def run(*cells):
        code = f"""
import sys
sys.stderr = sys.stdout  # where it says what was wrongly used
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_line_magic("colors", "nocolor")
for cell in {["%load_ext memprobe", *cells]!r}:
    print("next cell")
    shell.run_cell(cell, store_history=True)
"""
        out = run_python(code, env={"IPYTHONDIR": str(tmp_path)})
        return out.split("next cell\n")[2:]

    return run


def test_a_statement_and_a_cell_are_measured(run_cells):
    line, cell, names = run_cells(
        "%measure kept = bytearray(b'x') * 100_000_000",
        "%%measure\n!echo {1 + 1}\nmore = bytearray(b'x') * 60_000_000\n"
        "import time; time.sleep(0.02)\ndel more\nlen(kept)",
        "print(len(kept), 'more' in globals())",
    )
    hundred = r"\+9[5-7]\.\dMB"
    assert re.fullmatch(LINE.format(r"\S+", hundred, hundred) + "\n", line)
    shell, figures, value = cell.splitlines()
    assert shell == "2"
    assert re.fullmatch(LINE.format(r"\S+", r"\+5[7-9]\.\dMB", r"\S+"), figures)
    assert value == "Out[3]: 100000000"
    assert names == "100000000 False\n"


def test_the_value_of_the_last_expression_is_the_result(run_cells):
    shown, silenced, kept, literal = run_cells(
        "%measure 40 + 2",
        "%measure 40 + 2;",
        "x = %measure 40 + 2\nx + 1",
        "%measure '$x {x}'",
    )
    assert shown.endswith("ms\nOut[2]: 42\n")
    assert silenced.endswith("ms\n")
    assert kept.endswith("ms\nOut[4]: 43\n")
    assert literal.endswith("Out[5]: '$x {x}'\n")


def test_what_fails_is_measured_and_fails(run_cells):
    failing, wrong = run_cells(
        "%%measure\nkept = bytearray(b'x') * 60_000_000\n1 / 0", "%%measure x\n1"
    )
    assert re.match(LINE.format(r"\S+", r"\+5[7-9]\.\dMB", r"\S+"), failing)
    assert "----> 2 1 / 0" in failing
    assert "ZeroDivisionError: division by zero" in failing
    assert "UsageError: %%measure takes nothing on its own line" in wrong


def test_in_a_notebook(tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason="no nbclient")
    pytest.importorskip("ipykernel", reason="no ipykernel")
    from nbformat.v4 import new_code_cell, new_notebook

    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    cells = ["%load_ext memprobe", "%%measure\nlen(bytearray(b'x') * 60_000_000)"]
    notebook = new_notebook(cells=list(map(new_code_cell, cells)))
    nbclient.NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
    printed, value = notebook.cells[1].outputs
    assert re.fullmatch(LINE.format(r"\S+", r"\S+", r"\S+") + "\n", printed["text"])
    assert value["data"]["text/plain"] == "60000000"
