"""IPython and notebooks: ``%load_ext memprobe``, then ``%measure``, ``%%measure``."""

from __future__ import annotations

import ast

from IPython.core.error import UsageError
from IPython.core.magic import no_var_expand, output_can_be_silenced

from memprobe._measure import measure
from memprobe._units import duration_text, growth_text, size_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def load_ipython_extension(shell: Any) -> None:
    """Give an IPython shell the magics; what ``%load_ext memprobe`` calls."""

    def measure_magic(line: str, cell: str | None = None) -> object:
        """Measure the RSS of a statement, or of a cell.

        %measure statement

        %%measure
        statements

        Prints RSS at its peak, by how much that is above RSS at the start, what RSS
        has grown by at the end, and the time. The value of the last expression is the
        result, as without the magic. `await` can't stand in it: measure such a cell by
        `with memprobe.measure() as m:`.
        """
        if cell is not None and line.strip():
            raise UsageError("%%measure takes nothing on its own line")
        return _run(shell, line if cell is None else cell)

    magic = output_can_be_silenced(no_var_expand(measure_magic))
    shell.register_magic_function(magic, "line_cell", "measure")


def _run(shell: Any, text: str) -> object:
    """Run what a user wrote, and print what it did to RSS, also if it fails."""
    code = shell.transform_cell(text)
    name = shell.compile.cache(code)  # by which tracebacks show its lines
    tree = shell.transform_ast(shell.compile.ast_parse(code, filename=name))
    value: ast.expr = ast.Constant(None)
    if tree.body and isinstance(tree.body[-1], ast.Expr):
        value = tree.body.pop().value
    last = ast.fix_missing_locations(ast.Expression(value))
    statements = shell.compile(tree, name, "exec")
    expression = shell.compile(last, name, "eval")
    measured = measure()
    try:
        with measured:
            exec(statements, shell.user_ns)
            return eval(expression, shell.user_ns)
    finally:
        before, peak, delta = measured.before, measured.peak, measured.delta
        if before is not None and peak is not None and delta is not None:
            above = growth_text(peak - before)
            time = duration_text(measured.seconds or 0)
            print(
                f"peak {size_text(peak)}, {above} above the start; "
                f"growth {growth_text(delta)}; {time}"
            )
