"""Run a program in this process as if the interpreter had been started with it."""

import builtins
import io
import os
import runpy
import sys
from importlib.machinery import SourceFileLoader, SourcelessFileLoader
from importlib.util import MAGIC_NUMBER
from marshal import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, ModuleType, TracebackType


def run(
    program: "list[str]",
    *,
    as_module: bool,
    before: "Callable[[], None]",
    not_found: "Callable[[], None]",
) -> None:
    """Run *program*, a script or module and its arguments, and end as it ends.

    *before* is called when nothing but the program is left to run, *not_found* if then
    a module turns out to be missing. Exceptions pass through, so that the interpreter
    ends as it would without us: it waits for threads, and calls what atexit knows.
    """
    try:
        if as_module:
            sys.argv = ["-m", *program[1:]]
            _replace_first_path(os.getcwd)
            _new_main()
            before()
            _run_module(program[0], True, not_found)
        elif _is_folder_or_archive(program[0]):
            sys.argv = program
            _replace_first_path(lambda: _absolute(program[0]), always=True)
            _new_main()
            before()
            _run_module("__main__", False, not_found)
        else:
            path = _absolute(program[0])
            source = _read(path)
            sys.argv = program
            _replace_first_path(lambda: os.path.dirname(os.path.realpath(path)))
            main = _new_main()
            main.__file__ = path
            compiled = source[:4] == MAGIC_NUMBER
            loader = SourcelessFileLoader if compiled else SourceFileLoader
            main.__loader__ = loader("__main__", path)
            if sys.version_info < (3, 15):
                main.__cached__ = None  # type: ignore[attr-defined, unused-ignore]
            code: CodeType = (
                loads(source[16:])
                if compiled
                else compile(source, path, "exec", dont_inherit=True)
            )
            before()
            exec(code, main.__dict__)
    except SystemExit:
        raise
    except BaseException as error:
        _hide_our_frames(error)
        raise


def _absolute(path: str) -> str:
    # As Python has it: on POSIX "./" and "../" stay, on Windows a separator at the end.
    if os.name == "posix":
        return os.path.join(os.getcwd(), path)
    return os.path.abspath(path) + os.sep * path.endswith(("/", "\\"))


def _is_folder_or_archive(path: str) -> bool:
    """Ask as the interpreter does."""
    for hook in sys.path_hooks:
        try:
            hook(path)
        except ImportError:
            continue
        return True
    return False


def _read(path: str) -> bytes:
    try:
        with io.open_code(path) as file:
            return file.read()
    except OSError as error:
        # Python's own words, but for the name, and its exit status.
        reason = f"[Errno {error.errno}] {error.strerror}"
        print(f"memprobe: can't open file {path!r}: {reason}", file=sys.stderr)
        sys.exit(2)


def _replace_first_path(find: "Callable[[], str]", always: bool = False) -> None:
    """Put the program's folder where python has put ours, unless it was told not to."""
    safe = getattr(sys.flags, "safe_path", sys.flags.isolated)
    if not safe:
        del sys.path[0]
    if always or not safe:
        sys.path.insert(0, find())


def _new_main() -> "ModuleType":
    """Make the module __main__ anew, with what is in it when python starts."""
    main = type(sys)("__main__")
    main.__dict__["__builtins__"] = builtins
    if sys.version_info < (3, 14):
        main.__annotations__ = {}
    sys.modules["__main__"] = main
    return main


def _run_module(name: str, alter_argv: bool, not_found: "Callable[[], None]") -> None:
    # What `python -m` and `python folder` call, so that even its lines in a traceback
    # are there.
    try:
        runpy._run_module_as_main(name, alter_argv)  # type: ignore[attr-defined]
    except SystemExit as error:
        if isinstance(error.__context__, runpy._Error):  # type: ignore[attr-defined]
            not_found()
        raise


def _hide_our_frames(error: BaseException) -> None:
    """Have the traceback of *error* printed from the program's first line on.

    That can't be done here, because the exception has yet to pass through the frames
    that called us.
    """
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_frame.f_globals is globals():
        traceback = traceback.tb_next
    hook = getattr(sys, "excepthook", sys.__excepthook__)

    def hook_without_our_frames(
        kind: "type[BaseException]",
        value: BaseException,
        whole: "TracebackType | None",
    ) -> None:
        sys.excepthook = hook
        if value is error:
            whole = sys.last_traceback = value.__traceback__ = traceback
        hook(kind, value, whole)

    sys.excepthook = hook_without_our_frames
