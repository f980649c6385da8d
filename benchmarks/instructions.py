"""The instructions of one call, counted by valgrind's callgrind: a measure that nothing
else on the machine can disturb.

python benchmarks/instructions.py
    compares with results/instructions.json, fails if a call has grown by over 5 %
python benchmarks/instructions.py --record
    writes there what it counts

A figure depends on Python's minor version, on the compiler, on the flags that an
extension inherits from Python (Debian's stack protector makes a throttled call 40 %
longer) and on the processor, so each such combination has its own. Where there is none,
nothing is compared and nothing fails, because a system newer than the figures is no
fault of the code; the last line says so.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from floor import build
from machine import commit

KEPT = Path(__file__).resolve().parent / "results" / "instructions.json"
LIMIT = 1.05
CALLS = 1000

# Runs in a process with still_system.c preloaded. The calls are made by C, not by a
# loop in Python, whose instructions would depend on how Python was built.
COUNTING = """
import sys
packages, library, calls = sys.argv[1:]
sys.path.insert(0, packages)
import ctypes, gc, os
import memprobe

system = ctypes.PyDLL(library)
system.counted_calls.argtypes = [ctypes.c_char_p, ctypes.py_object, ctypes.c_long]
system.counted_readings.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_long]
rss_state = ctypes.c_int.in_dll(system, "rss_state")

class Api(ctypes.Structure):  # memprobe.h
    _fields_ = [("abi_version", ctypes.c_uint32), ("size", ctypes.c_uint32),
                ("rss", ctypes.c_void_p), ("sample", ctypes.c_void_p)]

get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
get_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
get_pointer.restype = ctypes.POINTER(Api)
api = get_pointer(memprobe._memprobe._C_API, b"memprobe._memprobe._C_API").contents

def count(name, function):
    function()
    if system.counted_calls(name.encode(), function, int(calls)) != 0:
        sys.exit(f"{name} failed")

def count_api(name, function):
    if system.counted_readings(name.encode(), function, int(calls)) != 0:
        sys.exit(f"{name} failed")

if memprobe.rss() != 33333 * os.sysconf("SC_PAGESIZE"):
    sys.exit("memprobe reads RSS in a way that still_system.c does not know.")
count("nothing", gc.isenabled)
for value, state in enumerate(("", ", moving", ", rising")):
    rss_state.value = value
    for call in (memprobe.rss, memprobe.mem_rss, memprobe.sample_mem):
        count(f"{call.__name__}(){state}", call)
    count_api(f"memprobe_rss(){state}", api.rss)
    count_api(f"memprobe_sample(){state}", api.sample)
rss_state.value = 0
memprobe.configure(min_interval=1)
count("sample_mem(), throttled", memprobe.sample_mem)
"""


def compiler_of(extension):
    """Name and major version of the compiler that made a library, from its notes."""
    notes = Path(extension).read_bytes()
    # clang first: what it links has notes of gcc's too, in the start-up files.
    patterns = {"clang": rb"clang version (\d+)", "gcc": rb"GCC: \([^)]*\) (\d+)"}
    for name, pattern in patterns.items():
        if found := re.search(pattern, notes):
            return f"{name} {found[1].decode()}"
    return "unknown compiler"


def combination():
    """What the figures are valid for."""
    from memprobe import _memprobe

    version = "{}.{}".format(*sys.version_info)
    free_threaded = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
    python = f"{platform.python_implementation()} {version}{free_threaded}"
    inherited = set(re.findall(r"-[Of]\S+", sysconfig.get_config_var("CFLAGS") or ""))
    compiler = " ".join([compiler_of(_memprobe.__file__), *sorted(inherited)])
    return f"{python}, {compiler}, {platform.machine()}"


def totals(folder):
    """Instructions by name, from the files that callgrind wrote to this folder."""
    found = {}
    for path in Path(folder).glob("callgrind.*"):
        text = path.read_text()
        name = re.search(r"^desc: Trigger: Client Request: (.*)", text, re.M)
        if name:
            found[name[1]] = int(
                re.search(r"^(?:totals|summary): (\d+)", text, re.M)[1]
            )
    return found


def count():
    """Instructions of one call by name, without those of a Python call of nothing."""
    import memprobe

    packages = os.path.dirname(os.path.dirname(memprobe.__file__))
    with tempfile.TemporaryDirectory() as folder:
        library = build("still_system.c", folder)
        command = [
            *("valgrind", "--quiet", "--tool=callgrind"),
            f"--callgrind-out-file={folder}/callgrind.%p",
            *(sys.executable, "-I", "-S", "-c", COUNTING),
            *(packages, library, str(CALLS)),
        ]
        environment = {**os.environ, "LD_PRELOAD": library, "PYTHONHASHSEED": "0"}
        subprocess.run(command, env=environment, timeout=300, check=True)
        found = totals(folder)
    nothing = found.pop("nothing")

    def counted(name):
        from_c = name.startswith("memprobe_")
        return round((found[name] - (0 if from_c else nothing)) / CALLS, 1)

    return {name: counted(name) for name in sorted(found)}


def compare(counts, kept):
    """Lines to print, and whether a count is more than LIMIT times the kept one."""
    lines, grown = [], False
    for name, before in kept.items():
        now = counts[name]
        change = f"{(now / before - 1) * 100:+.1f} %"
        lines.append(f"{name}: {now} instructions, kept: {before}, {change}")
        grown = grown or now > before * LIMIT
    return lines, grown


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--record", action="store_true", help="keep the counts")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        sys.exit("This needs valgrind.")
    key = combination()
    counts = count()
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    if options.record:
        kept[key] = {"memprobe": commit(), "counts": counts}
        KEPT.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n")
    print(f"{key}:")
    if key not in kept:
        for name, now in counts.items():
            print(f"{name}: {now} instructions")
        print(f"NOT COMPARED: {KEPT.name} has no figures for this; --record adds them.")
        return
    lines, grown = compare(counts, kept[key]["counts"])
    print(*lines, sep="\n")
    if grown:
        sys.exit("A call has grown by over 5 %. If that is meant, --record it.")


if __name__ == "__main__":
    main()
