"""The machine, the system and the versions that figures belong to."""

import datetime
import importlib.metadata
import os
import platform
import subprocess

DISTRIBUTIONS = "memprobe-rss psutil celery memory_profiler pymemtrace".split()
CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def cpu_model():
    with open("/proc/cpuinfo") as cpuinfo:
        for line in cpuinfo:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def versions():
    found = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def git(*command):
    try:
        result = subprocess.run(
            ["git", "-C", CHECKOUT, *command],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()


def commit():
    """The commit of the checkout, with a + where what is built differs from it; None
    outside a checkout.
    """
    name = git("rev-parse", "--short=10", "HEAD")
    changed = git("status", "--porcelain", "--", "src", "memprobe", "setup.py")
    return name and name + ("+" if changed else "")


def describe():
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": cpu_model(),
        "cpus": os.cpu_count(),
        "architecture": platform.machine(),
        "kernel": f"{platform.system()} {platform.release()}",
        "libc": " ".join(platform.libc_ver()),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "python_compiler": platform.python_compiler(),
        "packages": versions(),
        "memprobe_commit": commit(),
        "load_average": list(os.getloadavg()),
    }
