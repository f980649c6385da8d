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

if sys.maxsize < 2**32 or sys.byteorder != "little":
    sys.exit(
        "memprobe is for 64-bit, little-endian systems, and this Python is "
        f"{sys.maxsize.bit_length() + 1}-bit, {sys.byteorder}-endian."
    )

# The system that is built for, which need not be this one (`nox -s wheels`).
platform = sysconfig.get_platform()
SYSTEMS = {"linux": "linux", "macosx": "macos", "mingw": "windows", "win": "windows"}
system = SYSTEMS.get(platform.replace("_", "-").partition("-")[0])
if system is None:
    sys.exit(f"memprobe reads RSS on Linux, macOS and Windows, not on {platform!r}.")

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
if free_threaded and system == "windows":
    # There both builds of Python share their headers, which leave it to whoever
    # compiles (Python's "C API Extension Support for Free Threading").
    macros.append(("Py_GIL_DISABLED", "1"))

if platform.startswith("win-") and "GCC" not in sys.version:
    compile_args = ["/std:c11", "/experimental:c11atomics"]
else:
    compile_args = ["-O3", "-fvisibility=hidden"]

OBSERVER = ["copy", "observer", "family", "keep", "kills", "record_file", "recording"]
OBSERVER_OF = {
    "linux": [
        *("linux/cgroup", "linux/os", "linux/process", "statm"),
        *("posix/folder", "posix/line", "posix/talk"),
    ],
    "macos": ["macos/os", "macos/process", "posix/folder", "posix/line", "posix/talk"],
    "windows": ["windows/folder", "windows/os", "windows/process", "windows/talk"],
}
exe_extension = ".exe" if system == "windows" else ""


class build_with_observer(build_ext):
    """Also links the observer, beside the extension, wherever that lies."""

    def build_extension(self, ext):
        self.compiler.exe_extension = exe_extension
        super().build_extension(ext)
        objects = self.compiler.compile(
            [f"src/{name}.c" for name in OBSERVER + OBSERVER_OF[system]],
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

    def get_ext_filename(self, fullname):
        """The suffix is that of this system, and may be needed for Windows."""
        name = super().get_ext_filename(fullname)
        return name.replace(".abi3.so", ".pyd") if system == "windows" else name

    def observer_beside(self, extension):
        name = "_observer" + exe_extension
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
            extra_link_args=["-pthread"] if system == "linux" else [],
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp312"}} if abi3 else {},
)
