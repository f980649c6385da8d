"""breakdown() and trim() where malloc is another library's."""

import glob
import sys

import pytest

import memprobe

LIBRARIES = {
    "jemalloc": "libjemalloc.so.2",
    "tcmalloc": "libtcmalloc_minimal.so.4",
    "mimalloc": "libmimalloc.so.2",
}

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD is Linux's"),
    pytest.mark.skipif(
        memprobe.breakdown().allocator != "glibc", reason="malloc isn't glibc's"
    ),
]


@pytest.fixture(params=LIBRARIES)
def preloaded(request, run_python, sanitized):
    """Run Python code with that allocator; the name of the allocator."""
    if sanitized:
        pytest.skip("the sanitizers have their own malloc")
    found = glob.glob(f"/usr/lib/*/{LIBRARIES[request.param]}")
    if not found:
        pytest.skip(f"no {LIBRARIES[request.param]} (.ci/run installs it)")

    def run(code):
        return run_python(SETTING + code, env={"LD_PRELOAD": found[0]})

    run.allocator = request.param
    return run


SETTING = """
import ctypes
import memprobe
MB = 2**20
places = '''
    python_small python_free malloc_used malloc_free lazy_free stacks files shared other
'''.split()
def look(count=False):
    now = memprobe.breakdown(count=count)
    assert sum(getattr(now, place) or 0 for place in places) == now.rss
    return now
def kept():
    return [b"x" * 5000 for _ in range(20_000)]
"""


def test_the_owner_of_malloc_is_named_and_its_memory_is_other(preloaded):
    preloaded(f"""
before = look()
assert before.allocator == {preloaded.allocator!r}
assert before.malloc_used is before.malloc_free is before.trimmable is None
assert before.python_small > MB // 2
big, small = kept(), [object() for _ in range(1_000_000)]
growth = look().since(before)
assert growth.other > 90 * MB and growth.python_small > 14 * MB, growth
assert "in malloc, which is {preloaded.allocator}'s" in growth.sentence
assert "tracemalloc" in growth.sentence
""")


def test_counting_tells_python_from_c_in_any_malloc(preloaded):
    preloaded("""
before = look(count=True)
big = kept()
growth = look(count=True).since(before)
assert 90 * MB < growth.python_large < 130 * MB, growth
assert "Python objects above 512 bytes" in growth.sentence
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
before = look(count=True)
for _ in range(20_000):
    libc.memset(libc.malloc(5000), 1, 5000)
growth = look(count=True).since(before)
assert growth.python_large < MB, growth
assert "Python objects above" not in growth.sentence
assert "in malloc" in growth.sentence
""")


def test_trim_asks_the_allocator_that_is_there(preloaded):
    preloaded(f"""
lists = [kept() for _ in range(3)]
full = memprobe.rss()
del lists
memprobe.trim()
if {preloaded.allocator!r} != "mimalloc":  # which keeps some by its own clock
    assert memprobe.rss() < full - 200 * MB
""")
