"""Where the C API is."""

import os.path


def get_include() -> str:
    """Return the folder of ``memprobe.h``, for the compiler's ``-I``."""
    return os.path.join(os.path.dirname(__file__), "include")
