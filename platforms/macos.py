"""Cross-compiles and links extension and observer for macOS, and looks at them.

    python3 -m venv /tmp/macos && /tmp/macos/bin/pip install -q ziglang abi3info
    /tmp/macos/bin/python platforms/macos.py

For arm64 and x86_64. They can't be run. What can be known is that the compiler takes
every line without a warning, and that every symbol that they need is one of macOS's
libSystem or of Python: of the stable ABI for the wheel of 3.12 and later, of this very
Python for the others. Needs llvm-nm, of Debian's package llvm.
"""

import ast
import re
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import abi3info
import ziglang

CHECKOUT = Path(__file__).resolve().parent.parent
ZIG = Path(ziglang.__file__).parent
SETUP = (CHECKOUT / "setup.py").read_text()
WARNINGS = "-Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Werror".split()
# arm64 has no older one.
TARGETS = ["aarch64-macos.11.0", "x86_64-macos.11.0"]


def build(target, limited, output):
    command = [
        *(sys.executable, "-m", "ziglang", "cc", "-target", target),
        *("-O3", "-fvisibility=hidden", *WARNINGS),
        *("-I", str(CHECKOUT / "memprobe/include"), "-I", str(CHECKOUT / "src")),
        *("-isystem", sysconfig.get_path("include")),
        *(["-DPy_LIMITED_API=0x030C0000"] if limited else []),
        *("-shared", "-Wl,-undefined,dynamic_lookup"),
        *(str(CHECKOUT / "src/extension.c"), "-o", str(output)),
    ]
    # zig takes files out of the current folder for its own.
    subprocess.run(command, check=True, cwd=output.parent)


def build_observer(target, output):
    """The files are those that setup.py names for this system."""
    names = ast.literal_eval(
        re.search(r"^OBSERVER = (\[.*?\])", SETUP, re.DOTALL | re.MULTILINE)[1]
    )
    names += ast.literal_eval(re.search(r'"macos": (\[.*?\])', SETUP, re.DOTALL)[1])
    command = [
        *(sys.executable, "-m", "ziglang", "cc", "-target", target, "-O3", *WARNINGS),
        *("-I", str(CHECKOUT / "src")),
        *(str(CHECKOUT / f"src/{name}.c") for name in names),
        *("-o", str(output)),
    ]
    subprocess.run(command, check=True, cwd=output.parent)


def system_symbols():
    """The names that libSystem exports, from the description that zig links with."""
    text = (ZIG / "lib/libc/darwin/libSystem.tbd").read_text()
    lists = re.findall(r"symbols:\s*\[(.*?)\]", text, re.DOTALL)
    return {name.strip().strip("'") for names in lists for name in names.split(",")}


def names(file, *options):
    """The names that llvm-nm lists, with macOS's underscore."""
    command = ["llvm-nm", "--format=just-symbols", *options, str(file)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    return set(result.stdout.split())


def python_symbols(limited):
    if limited:
        stable = [*abi3info.FUNCTIONS.items(), *abi3info.DATAS.items()]
        return {
            "_" + symbol.name
            for symbol, entry in stable
            if (entry.added.major, entry.added.minor) <= (3, 12)
        }
    files = [Path(sys.executable).resolve()]
    if sysconfig.get_config_var("Py_ENABLE_SHARED"):
        folder, library = map(sysconfig.get_config_var, ("LIBDIR", "INSTSONAME"))
        files.append(Path(folder, library))
    return {
        "_" + name
        for file in files
        for name in names(file, "--dynamic", "--defined-only")
    }


def main():
    system = system_symbols()
    assert {"_task_info", "_memcpy"} <= system, "libSystem.tbd was not understood"
    failed = False
    for target in TARGETS:
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder, "_observer")
            build_observer(target, output)
            unknown = names(output, "--undefined-only") - system
            print(
                f"{target}, the observer: of libSystem,", "all" if not unknown else ""
            )
            failed |= bool(unknown)
        for limited in (True, False):
            with tempfile.TemporaryDirectory() as folder:
                output = Path(folder, "_memprobe.so")
                build(target, limited, output)
                needed = names(output, "--undefined-only")
                exported = names(output, "--extern-only", "--defined-only")
            python = python_symbols(limited)
            unknown = needed - python - system
            abi = "abi3" if limited else "of this Python"
            print(f"{target}, {abi}: {len(needed & python)} symbols of Python", end="")
            print(" and, of libSystem,", *sorted((needed & system) - python))
            print("    exports", *sorted(exported))
            if unknown:
                print("    UNKNOWN", *sorted(unknown))
            failed |= bool(unknown) or "_task_info" not in needed
            # The other two come from the linker.
            linker = {"___dso_handle", "__mh_dylib_header"}
            failed |= exported - linker != {"_PyInit__memprobe"}
    print("FAILED" if failed else "nothing is undefined")
    return failed


if __name__ == "__main__":
    sys.exit(main())
