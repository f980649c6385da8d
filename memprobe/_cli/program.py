"""What `memprobe run` starts: the very program that python, or the shell, would."""

from __future__ import annotations

import os
import sys
import zipimport

from memprobe._as_command import module_and_options

# What python runs, whatever the file's mode says.
PYTHON_FILES = (".py", ".pyc", ".pyw", ".pyz")


def command(arguments: list[str]) -> tuple[str, list[str]]:
    """Return the file to execute and its arguments, the first of them its own name.

    A file without a slash is one to be looked for on PATH. It need not exist.
    """
    if _is_for_python(arguments[0]):
        # By the name that this interpreter was called: it finds itself again by that.
        name = sys.orig_argv[0] if os.name == "posix" else sys.executable
        python = sys.executable or name
        return python, [name, *_interpreter_options(), *arguments]
    return arguments[0], arguments


def _is_for_python(name: str) -> bool:
    if name in {"-m", "-c", "-"} or name.endswith(PYTHON_FILES):
        return True
    if os.path.isdir(name):
        return any(os.path.isfile(f"{name}/__main__.{end}") for end in ("py", "pyc"))
    if not os.path.exists(name):
        return _is_archive(name)  # a folder in one
    return not _is_executable(name) or _is_archive(name)


def _is_executable(path: str) -> bool:
    if os.name == "posix":
        return os.access(path, os.X_OK)
    endings = os.environ.get("PATHEXT", ".COM;.EXE;.BAT;.CMD").lower().split(";")
    return path.lower().endswith(tuple(filter(None, endings)))


def _is_archive(path: str) -> bool:
    try:
        return zipimport.zipimporter(path).find_spec("__main__") is not None
    except zipimport.ZipImportError:
        return False


def _interpreter_options() -> list[str]:
    """Return what stood before the `-m memprobe` that started us; else nothing.

    `python -X dev -m memprobe run x.py` runs x.py by `python -X dev`. The first line of
    a console script may have options, too, but those are the script's own.
    """
    module, options = module_and_options()
    return options if module in {"memprobe", "memprobe.__main__"} else []


def environment() -> dict[bytes, bytes]:
    """Return the environment that we were started with.

    Not os.environ: where the locale is C, Python sets LC_CTYPE in it (PEP 538), and
    what site runs may set more.
    """
    try:
        with open("/proc/self/environ", "rb") as file:
            entries = file.read().split(b"\0")
    except OSError:
        return dict(os.environb) if os.supports_bytes_environ else {}
    variables: dict[bytes, bytes] = {}
    for entry in entries:
        name, sign, value = entry.partition(b"=")
        if name and sign:
            variables.setdefault(name, value)  # getenv() finds the first
    return variables
