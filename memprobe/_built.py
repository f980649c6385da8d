"""The built module and its header, or what stands in for a bare folder memprobe/.

In a checkout the folder hides an installed memprobe from whatever puts the current
folder first: ``python -c``, ``python -m pytest``, ``python -m memprobe``.
"""

import sys
from os.path import dirname, join

from memprobe import __version__

try:
    import memprobe._memprobe as _built
except ModuleNotFoundError as _error:
    if _error.name != "memprobe._memprobe":
        raise
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec
    from os.path import realpath

    _bare = sys.modules["memprobe"]
    _folder = realpath(dirname(dirname(__file__)))
    _elsewhere = [path for path in sys.path if realpath(path) != _folder]
    _spec = PathFinder.find_spec("memprobe", _elsewhere)
    if _spec is None or _spec.loader is None or _spec.origin is None:
        raise ImportError(
            f"{_folder} has memprobe's source and no built module for this Python: "
            "run `pip install .` there"
        ) from _error
    for _name in [name for name in sys.modules if name.startswith("memprobe.")]:
        del sys.modules[_name]
    # The import system hands out what stands in sys.modules at the end.
    sys.modules["memprobe"] = module_from_spec(_spec)
    try:
        _spec.loader.exec_module(sys.modules["memprobe"])
    except BaseException:
        sys.modules["memprobe"] = _bare
        raise
else:
    _version = getattr(_built, "_version", "unknown")
    if _version != __version__:
        raise ImportError(
            f"memprobe {__version__} has a built module of version {_version} beside "
            f"it, {_built.__file__}: install memprobe anew",
            name="memprobe._memprobe",
            path=_built.__file__,
        )


def get_include() -> str:
    """Return the folder of ``memprobe.h``, for the compiler's ``-I``."""
    return join(dirname(__file__), "include")
