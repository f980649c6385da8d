"""The extension, and the observer's program beside it.

Everything else about the package is in pyproject.toml.
"""

import os
import re
import sys
import sysconfig
from glob import glob
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

if sys.platform not in {"linux", "darwin", "win32"}:
    sys.exit(
        f"memprobe reads RSS on Linux, macOS and Windows, not on {sys.platform!r}."
    )

# One wheel for 3.12 and later. The limited API of 3.10 has no buffer slots, that of
# 3.11 no interpreters with a GIL of their own; free-threaded Python has none at all.
free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
abi3 = sys.version_info >= (3, 12) and not free_threaded

# The extension says which Python files it belongs to.
python = Path("memprobe/__init__.py").read_text(encoding="utf-8")
version = re.search('^__version__ = (".*")$', python, re.MULTILINE)
macros = [("MEMPROBE_VERSION", version[1])]
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

OBSERVER = ["copy", "observer", "family", "keep", "kills", "record_file", "recording"]
OBSERVER_OF = {
    "linux": [
        *("linux/cgroup", "linux/os", "linux/process", "statm"),
        *("posix/folder", "posix/line", "posix/talk"),
    ],
    "darwin": ["macos/os", "macos/process", "posix/folder", "posix/line", "posix/talk"],
    "win32": ["windows/folder", "windows/os", "windows/process", "windows/talk"],
}


class build_with_observer(build_ext):
    """Also links the observer, beside the extension, wherever that lies."""

    def build_extension(self, ext):
        super().build_extension(ext)
        objects = self.compiler.compile(
            [f"src/{name}.c" for name in OBSERVER + OBSERVER_OF[sys.platform]],
            output_dir=os.path.join(self.build_temp, "observer"),
            include_dirs=["src"],
            extra_postargs=compile_args,
            depends=ext.depends,
        )
        folder = os.path.dirname(self.get_ext_fullpath(ext.name))
        # Which distutils gives to libraries alone.
        flags = os.environ.get("LDFLAGS", "").split()
        self.compiler.link_executable(
            objects, "_observer", folder, extra_postargs=flags + ext.extra_link_args
        )

    def observer_beside(self, extension):
        name = "_observer" + (self.compiler.exe_extension or "")
        return os.path.join(os.path.dirname(extension), name)

    def copy_extensions_to_source(self):
        super().copy_extensions_to_source()
        build_py = self.get_finalized_command("build_py")
        for ext in self.extensions:
            inplace, regular = self._get_inplace_equivalent(build_py, ext)
            self.copy_file(self.observer_beside(regular), self.observer_beside(inplace))

    def get_outputs(self):
        outputs = super().get_outputs()
        return outputs + [self.observer_beside(path) for path in outputs]

    def get_output_mapping(self):
        mapping = super().get_output_mapping()
        beside = self.observer_beside
        return mapping | {beside(a): beside(b) for a, b in mapping.items()}


setup(
    cmdclass={"build_ext": build_with_observer},
    ext_modules=[
        Extension(
            "memprobe._memprobe",
            sources=["src/extension.c"],
            depends=[
                "memprobe/__init__.py",
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
