"""The extension. Everything else about the package is in pyproject.toml."""

import runpy
import sys
import sysconfig
from glob import glob

from setuptools import Extension, setup

if sys.platform not in {"linux", "darwin", "win32"}:
    sys.exit(
        f"memprobe reads RSS on Linux, macOS and Windows, not on {sys.platform!r}."
    )

# One wheel for 3.12 and later. The limited API of 3.10 has no buffer slots, that of
# 3.11 no interpreters with a GIL of their own; free-threaded Python has none at all.
free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
abi3 = sys.version_info >= (3, 12) and not free_threaded

# The extension says which Python files it belongs to.
version = runpy.run_path("memprobe/_version.py")["__version__"]
macros = [("MEMPROBE_VERSION", f'"{version}"')]
if abi3:
    macros.append(("Py_LIMITED_API", "0x030C0000"))
if free_threaded and sys.platform == "win32":
    # There both builds of Python share their headers, which leave it to whoever
    # compiles (Python's "C API Extension Support for Free Threading").
    macros.append(("Py_GIL_DISABLED", "1"))

if sysconfig.get_platform().startswith("win-") and "GCC" not in sys.version:
    compile_args = ["/std:c11", "/experimental:c11atomics"]
else:
    compile_args = ["-O3", "-fvisibility=hidden"]

setup(
    ext_modules=[
        Extension(
            "memprobe._memprobe",
            sources=["src/extension.c"],
            depends=[
                "memprobe/_version.py",
                "memprobe/include/memprobe.h",
                *glob("src/**/*.[ch]", recursive=True),
            ],
            include_dirs=["memprobe/include", "src"],
            define_macros=macros,
            py_limited_api=abi3,
            extra_compile_args=compile_args,
            # glibc before 2.34 has pthread_atfork in a static part of libpthread.
            extra_link_args=["-pthread"] if sys.platform == "linux" else [],
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp312"}} if abi3 else {},
)
