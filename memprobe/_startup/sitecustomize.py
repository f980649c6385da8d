"""Start the recorder in each Python program that a recorded program starts.

`memprobe run --record` puts this folder first on PYTHONPATH, and Python imports
sitecustomize before anything else. The program isn't ours: failures stay silent.
"""

import os
import sys


def _record() -> None:
    directory = os.environ.get("MEMPROBE_RECORD")
    if not directory:
        return
    try:
        from memprobe._recorder import record_throughout

        interval = os.environ.get("MEMPROBE_RECORD_INTERVAL", "1")
        record_throughout(directory, float(interval))
    except Exception:
        pass


def _import_the_hidden_one() -> None:
    """Import the sitecustomize that stands behind this one, if there is one."""
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    here = os.path.dirname(__file__)
    sys.path[:] = [path for path in sys.path if path != here]
    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is not None and spec.loader is not None:
        sys.modules["sitecustomize"] = module = module_from_spec(spec)
        spec.loader.exec_module(module)


_record()
_import_the_hidden_one()
