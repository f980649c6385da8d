"""What `python -m memprobe` does first: it leaves the folder that it was started in.

Python puts that folder first on sys.path, for the modules of a program of its own. A
pickle.py that lies there is not for us.
"""

import sys


def module_and_options() -> "tuple[str, list[str]]":
    """Return what this interpreter runs by -m, or "", and what stood before the -m."""
    options: list[str] = []
    words = iter(sys.orig_argv[1:])
    for word in words:
        if not word.startswith("-") or word == "-":
            break
        at = next((i for i, letter in enumerate(word) if letter in "WXmc"), 0)
        if word.startswith("--"):
            valued = word == "--check-hash-based-pycs"
            options += [word, next(words, "")] if valued else [word]
        elif at == 0:
            options.append(word)
        elif word[at] in "WX":
            options += [word] if word[at + 1 :] else [word, next(words, "")]
        elif word[at] == "m":
            if at > 1:
                options.append(word[:at])
            return word[at + 1 :] or next(words, ""), options
        else:
            break
    return "", []


# While python looks for the module that it is to run, this stands for its path.
if getattr(sys, "argv", [])[:1] == ["-m"]:
    _safe = getattr(sys.flags, "safe_path", sys.flags.isolated)
    if not _safe and module_and_options()[0] in {"memprobe", "memprobe.__main__"}:
        del sys.path[0]
