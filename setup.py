"""The extension. Everything else about the package is in pyproject.toml."""

import sys
import sysconfig

from setuptools import Extension, setup

# By sys.platform: the system in the file names, and the files that only it needs.
SYSTEMS = {
    "linux": ("linux", ["src/statm.c", "src/status.c"]),
    "darwin": ("macos", []),
    "win32": ("windows", []),
}
if sys.platform not in SYSTEMS:
    sys.exit(
        f"memprobe reads RSS on Linux, macOS and Windows, not on {sys.platform!r}."
    )
system, own_files = SYSTEMS[sys.platform]

# One wheel for 3.12 and later. The limited API of 3.10 has no buffer slots, that of
# 3.11 no interpreters with a GIL of their own; free-threaded Python has none at all.
free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
abi3 = sys.version_info >= (3, 12) and not free_threaded

macros = []
if abi3:
    macros.append(("Py_LIMITED_API", "0x030C0000"))
if free_threaded and sys.platform == "win32":
    # There both builds of Python share their headers, which leave it to whoever
    # compiles (Python's "C API Extension Support for Free Threading").
    macros.append(("Py_GIL_DISABLED", "1"))

if sysconfig.get_platform().startswith("win-") and "GCC" not in sys.version:
    compile_args = ["/std:c11", "/experimental:c11atomics"]
else:
    # Hidden: calls from one file of the extension to another are direct.
    compile_args = ["-std=c11", "-O3", "-fvisibility=hidden"]

setup(
    ext_modules=[
        Extension(
            "memprobe._memprobe",
            sources=[
                "src/_memprobe.c",
                "src/humanize.c",
                f"src/os_{system}.c",
                "src/probe.c",
                "src/ring.c",
                f"src/rss_{system}.c",
                *own_files,
            ],
            depends=[
                "src/humanize.h",
                "src/os.h",
                "src/probe.h",
                "src/ring.h",
                "src/rss.h",
                "src/statm.h",
                "src/status.h",
            ],
            define_macros=macros,
            py_limited_api=abi3,
            extra_compile_args=compile_args,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp312"}} if abi3 else {},
)
