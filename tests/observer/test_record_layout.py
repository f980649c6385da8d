"""The layout of the recorder's file: src/record.h and memprobe/_record.py agree."""

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from memprobe import _record

SOURCE = Path(__file__).resolve().parent.parent.parent / "src"
compiler = os.environ.get("CC") or (sysconfig.get_config_var("CC") or "cc").split()[0]

# The documented layout: field, offset, bytes. Files of old versions stay readable only
# if this never changes without a new version number.
HEADER = """
    magic 0 8
    version 8 4
    header_bytes 12 4
    pid 16 8
    wall_ns 24 8
    monotonic_ns 32 8
    interval_ns 40 8
    capacity 48 8
    memory_limit 56 8
    peak 64 8
    ended 72 4
    argv_bytes 76 4
    states 80 192
    argv 272 2048
"""
STATE = """
    taken 0 8
    base 8 8
    totals.count 16 8
    totals.sum_low 24 8
    totals.sum_high 32 8
    totals.min 40 8
    totals.max 48 8
    totals.first.ns 56 8
    totals.first.bytes 64 8
    totals.last.ns 72 8
    totals.last.bytes 80 8
    checksum 88 8
"""
SAMPLE = """
    ns 0 8
    bytes 8 8
"""


def rows(table):
    return [line.split() for line in table.strip().splitlines()]


@pytest.fixture
def in_c(tmp_path):
    """What the compiler says: {(struct, field): (offset, bytes)}, and the constants."""
    if shutil.which(compiler) is None or not SOURCE.is_dir():
        pytest.skip("no compiler or no sources")
    structs = {"header": HEADER, "state": STATE, "sample": SAMPLE}
    types = {
        "header": "struct mp_record_header",
        "state": "struct mp_record_state",
        "sample": "struct mp_sample",
    }
    lines = ['#include "record.h"']
    lines += [f"#include <{name}.h>" for name in ("inttypes", "stdio", "string")]
    lines.append("int main(void) {")
    for name, table in structs.items():
        kind = types[name]
        lines.append(f'printf("{name} . 0 %zu\\n", sizeof({kind}));')
        for field, _, _ in rows(table):
            lines.append(
                f'printf("{name} {field} %zu %zu\\n", offsetof({kind}, {field}), '
                f"sizeof((({kind} *)0)->{field}));"
            )
    lines.append('printf("constant MP_RECORD_VERSION %d 0\\n", MP_RECORD_VERSION);')
    for constant in ("MP_RECORD_HEADER_BYTES", "MP_RECORD_ARGV_BYTES"):
        lines.append(f'printf("constant {constant} %d 0\\n", {constant});')
    lines.append("struct mp_record_state state; memset(&state, 0xa5, sizeof state);")
    lines.append("state.taken = 1; state.totals.last.bytes = 2;")
    lines.append(
        'printf("constant checksum %" PRIu64 " 0\\n", mp_record_checksum(&state));'
    )
    lines.append("return 0; }")
    source = tmp_path / "layout.c"
    source.write_text("\n".join(lines))
    program = tmp_path / "layout"
    sources = [source, SOURCE / "record.c", SOURCE / "ring.c"]
    build = [compiler, "-std=gnu11", "-I", SOURCE, *sources, "-o", program]
    subprocess.run(build, check=True, timeout=120)
    out = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    split = [line.split() for line in out.splitlines()]
    return {(s, field): (int(at), int(size)) for s, field, at, size in split}


def test_c_lays_the_file_out_as_documented(in_c):
    for struct, table in (("header", HEADER), ("state", STATE), ("sample", SAMPLE)):
        for field, offset, size in rows(table):
            assert in_c[struct, field] == (int(offset), int(size)), (struct, field)
    assert in_c["constant", "MP_RECORD_VERSION"][0] == _record.VERSION == 1
    assert in_c["constant", "MP_RECORD_HEADER_BYTES"][0] == _record.HEADER_BYTES == 4096
    assert in_c["constant", "MP_RECORD_ARGV_BYTES"][0] == _record.ARGV_BYTES == 2048


def test_python_sums_a_state_up_as_c_does(in_c):
    words = [0xA5A5A5A5A5A5A5A5] * 11
    words[0], words[-1] = 1, 2
    raw = b"".join(word.to_bytes(8, "little") for word in words)
    assert _record.checksum_of(raw) == in_c["constant", "checksum"][0]


def test_every_field_is_documented(in_c):
    for struct, table in (("header", HEADER), ("state", STATE), ("sample", SAMPLE)):
        end = 0
        for _, offset, size in rows(table):
            assert int(offset) == end, (struct, offset)
            end += int(size)
        assert in_c[struct, "."][1] == end


def test_python_reads_the_file_as_documented():
    def codes(layout):
        sizes = {"8s": 8, "I": 4, "Q": 8, "q": 8}
        names = layout.format.lstrip("<").replace("8s", "s")
        return [sizes["8s" if code == "s" else code] for code in names]

    head = [row for row in rows(HEADER) if int(row[1]) < 80]
    assert codes(_record.HEADER) == [int(size) for _, _, size in head]
    assert codes(_record.STATE) == [int(size) for _, _, size in rows(STATE)]
    assert codes(_record.SAMPLE) == [int(size) for _, _, size in rows(SAMPLE)]
    places = {name: int(offset) for name, offset, _ in rows(HEADER)}
    assert places["ended"] == _record._ENDED_OFFSET
    assert places["states"] == _record.HEADER.size
    assert places["argv"] == _record._ARGV_OFFSET
    for table, layout in ((STATE, _record.STATE), (SAMPLE, _record.SAMPLE)):
        names = layout.format.lstrip("<")
        for (field, _, _), code in zip(rows(table), names, strict=True):
            assert (code == "q") == field.endswith("ns"), field
