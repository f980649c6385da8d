"""The floor that every cost is a ratio to: a loop of preads in C, in this process."""

import ctypes
import os
import subprocess
import sysconfig


def build(source, folder):
    """Compile a C file of this folder into a shared library; return its path."""
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), source)
    library = os.path.join(folder, os.path.basename(source)[:-2] + ".so")
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-shared", "-fPIC"]
    command = [*compiler.split(), *flags, source, "-o", library]
    subprocess.run(command, check=True, timeout=60)
    return library


def load(library):
    """Return the floor as a function: the nanoseconds that *count* preads take."""
    floor_ns = ctypes.CDLL(library).floor_ns
    floor_ns.argtypes = [ctypes.c_long]
    floor_ns.restype = ctypes.c_int64

    def floor(count):
        ns = floor_ns(count)
        if ns < 0:
            raise OSError("/proc/self/statm cannot be read")
        return ns

    return floor
