"""The metrics as the text that OpenMetrics describes."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from memprobe._metrics import Family


def lines_of(families: Iterable[Family]) -> Iterator[str]:
    """Return the text of the metrics, with line ends."""
    for name, kind, text, samples in families:
        yield f"# TYPE {name} {kind}\n"
        if name.endswith("_bytes"):
            yield f"# UNIT {name} bytes\n"
        yield f"# HELP {name} {text}\n"
        if kind == "counter":
            name += "_total"
        for labels, value in samples:
            inside = ",".join(f'{label}="{_escaped(v)}"' for label, v in labels)
            yield f"{name}{{{inside}}} {value}\n"
    yield "# EOF\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
