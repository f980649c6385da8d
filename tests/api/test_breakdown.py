"""Where RSS is: each figure against what is known to be there, in a fresh process."""

import importlib.util
import json
import os
import pickle
import platform
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import memprobe

HERE = Path(__file__).resolve().parent
MB = 2**20
SIZE = 100 * MB
PLACES = """
    python_small python_free malloc_used malloc_free lazy_free stacks files shared other
""".split()
WITHOUT_GIL = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))

spec = importlib.util.spec_from_file_location("causes", HERE / "growth_causes.py")
growth_causes = importlib.util.module_from_spec(spec)
if sys.platform == "linux":
    spec.loader.exec_module(growth_causes)
    CAUSES = {cause.__name__: it for cause, it in growth_causes.CAUSES.items()}
else:
    CAUSES = {}

linux = pytest.mark.skipif(sys.platform != "linux", reason="nobody can tell elsewhere")
glibc = pytest.mark.skipif(
    sys.platform != "linux" or memprobe.breakdown().allocator != "glibc",
    reason="malloc isn't glibc's",
)
pymalloc = pytest.mark.skipif(
    memprobe.breakdown().python_small is None,
    reason="Python's objects aren't pymalloc's",
)


def adds_up(figures):
    return sum(figures[place] or 0 for place in PLACES) == figures["rss"]


@pytest.fixture
def grow(tmp_path):
    """Run one cause; return what growth_causes.py printed."""

    def run(cause, size=SIZE, env=None, library=None):
        script = [sys.executable, HERE / "growth_causes.py", cause, str(size // MB)]
        result = subprocess.run(
            script,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            cwd=tmp_path,
            env={**os.environ, **(env or {})},
            check=False,
        )
        if result.returncode == 3:
            pytest.skip(result.stdout)
        assert result.returncode == 0, result.stderr
        said = json.loads(result.stdout)
        assert adds_up(said["before"])
        assert adds_up(said["now"])
        return said

    return run


@glibc
@pymalloc
@pytest.mark.parametrize("cause", CAUSES)
def test_growth_is_found_where_it_is(grow, cause):
    place, words = CAUSES[cause]
    growth = grow(cause)["growth"]
    sentence = growth["sentence"]
    assert "leak" not in sentence
    assert words in sentence
    if cause in {"numpy_arrays", "frames_of_pandas"}:
        place = "malloc_used" if before_numpy_2_5() else "python_large"
    if place is not None:
        assert growth[place] > 0.8 * SIZE, growth
        others = {*PLACES, "python_large"} - {place}
        if place in {"python_large", "malloc_used"}:
            assert growth["malloc_used"] > 0.8 * SIZE, growth
            others -= {"malloc_used", "python_large"}
        assert all(growth[other] < 0.2 * SIZE for other in others), growth
    if cause in {"leak_in_c", "elements_of_lxml"}:
        assert growth["python_large"] < 0.1 * SIZE, growth


def before_numpy_2_5():
    import numpy

    return tuple(map(int, numpy.__version__.split(".")[:2])) < (2, 5)


@glibc
@pytest.mark.parametrize(
    "cause",
    [
        "small_fragments",
        "large_fragments",
        "freed_and_untrimmed",
        "thread_arenas",
        "kept_bytes",
    ],
)
def test_trim_gives_back_what_was_foretold(grow, cause):
    said = grow(cause)
    least, most = said["now"]["trimmable"]
    assert least - MB < said["trimmed"] < most + MB
    if cause == "kept_bytes":
        assert said["trimmed"] < MB
    else:
        assert least > 0.7 * SIZE


@linux
def test_freed_memory_is_trimmed_once(run_python):
    run_python(f"""
import os, sys
sys.path.insert(0, {str(HERE)!r})
import memprobe
from growth_causes import freed_and_untrimmed
freed_and_untrimmed({SIZE})
before = memprobe.rss()
given = memprobe.trim()
assert abs(before - memprobe.rss() - given) < 2**20
if memprobe.breakdown().allocator == "glibc":
    assert given > 0.9 * {SIZE}
    least, most = memprobe.breakdown().trimmable
    assert least < 2**20 and most < 2**20
    assert memprobe.trim() < 2**20
os._exit(0)  # the block that kept the rest is no leak of ours
""")


# What is asked for


def test_a_breakdown_has_each_field_in_bytes_or_none_and_adds_up():
    now = memprobe.breakdown()
    figures = now.as_dict()
    trimmable, allocator = figures.pop("trimmable"), figures.pop("allocator")
    assert all(figure is None or figure >= 0 for figure in figures.values())
    assert adds_up(figures)
    assert now.rss == pytest.approx(memprobe.rss(), rel=0.05)
    assert allocator in "glibc musl jemalloc tcmalloc mimalloc unknown".split()
    assert trimmable is None or 0 <= trimmable[0] <= trimmable[1] == now.malloc_free
    assert set(figures) == {"rss", *PLACES, "uss", "pss", "swap"}
    if sys.platform == "linux":
        assert 0 < now.uss <= now.rss
        assert now.uss <= now.pss <= now.rss


@pytest.mark.skipif(sys.platform == "linux", reason="Linux tells more")
def test_elsewhere_all_is_other():
    now = memprobe.breakdown(count=True)
    assert now.other == now.rss > 0
    unknown = [*PLACES[:-1], "trimmable", "uss", "pss", "swap"]
    assert {getattr(now, name) for name in unknown} == {None}
    assert now.since(now).python_large is None
    assert memprobe.trim() >= 0


def test_breakdowns_and_differences_pickle_and_become_json():
    before = memprobe.breakdown(count=True)
    growth = memprobe.breakdown(count=True).since(before)
    for figures in (before, growth):
        copy = pickle.loads(pickle.dumps(figures))
        assert copy.as_dict() == figures.as_dict()
        assert str(copy) == str(figures)
        assert json.loads(json.dumps(copy.as_dict()))["rss"] == figures.rss
    assert pickle.loads(pickle.dumps(before)).since(before).rss == 0
    assert pickle.loads(pickle.dumps(memprobe.breakdown))().rss > 0


def test_str_is_a_table_and_of_a_difference_ends_with_the_sentence():
    before = memprobe.breakdown()
    table = str(before).splitlines()
    assert table[0].startswith("RSS (MB)")
    assert table[-1] == f"malloc is {before.allocator}'s."
    assert len(table) == 14
    growth = memprobe.breakdown().since(before)
    *table, last = str(growth).splitlines()
    assert last == growth.sentence == "No growth worth the name."
    assert all(len(line) <= 88 for line in table)
    assert repr(before).startswith("<memprobe.Breakdown rss=")
    assert repr(growth).startswith("<memprobe.Growth rss=")


def test_what_is_no_breakdown_is_refused():
    now = memprobe.breakdown()
    with pytest.raises(TypeError, match=r"before must be a Breakdown, not 5"):
        now.since(5)
    with pytest.raises(TypeError):
        memprobe.breakdown(True)


@glibc
@pymalloc
def test_without_counting_the_sentence_says_how_to_learn_more(run_python):
    run_python("""
import memprobe
before = memprobe.breakdown()
kept = [b"x" * 5000 for _ in range(10000)]
growth = memprobe.breakdown().since(before)
assert growth.python_large is None
assert "breakdown(count=True)" in growth.sentence
before = memprobe.breakdown()
del kept
memprobe.trim()
fell = memprobe.breakdown(count=True).since(before)
assert fell.sentence.startswith("RSS fell by "), fell.sentence
""")


# Where it is hard to look


@linux
def test_without_its_file_a_breakdown_is_an_error(run_python):
    run_python("""
import resource
import memprobe
memprobe.breakdown()
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
try:
    memprobe.breakdown()
except OSError as error:
    assert error.errno and error.filename == "/proc/thread-self/smaps"
else:
    raise AssertionError
resource.setrlimit(resource.RLIMIT_NOFILE, limits)
""")


@glibc
@pytest.mark.needs("import os; os.setuid(65534)", what="become another user")
def test_heaps_are_found_by_who_is_not_dumpable(run_python):
    """After setuid() /proc/self/mem can't be opened."""
    run_python(f"""
import os, sys
sys.path.insert(0, {str(HERE)!r})
import memprobe
from growth_causes import thread_arenas
memprobe.breakdown()
os.setuid(65534)
try:
    open("/proc/self/mem")
except PermissionError:
    pass
else:
    raise AssertionError
kept = thread_arenas({SIZE})
now = memprobe.breakdown()
assert now.malloc_free > 0.9 * {SIZE}, now
os._exit(0)
""")


@glibc
def test_after_the_end_of_the_main_thread(run_python):
    out = run_python("""
import ctypes, os, threading, time
import memprobe
memprobe.breakdown()
def look():
    with open("/proc/self/statm") as statm:
        while statm.read().split()[1] != "0":
            time.sleep(0.01)
            statm.seek(0)
    now = memprobe.breakdown()
    os.write(1, b"%d" % (now.rss > 2**20))
    os._exit(0)
threading.Thread(target=look).start()
ctypes.CDLL(None).pthread_exit(None)
""")
    assert out == "1"


MAPPING = """
import ctypes, mmap, struct
import memprobe
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, *[ctypes.c_long] * 5]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
size = 64 * 2**20
"""


@glibc
def test_an_area_that_begins_like_a_heap_is_not_one(run_python):
    """PyArrow's mimalloc may begin where malloc's heaps do; the sizes tell."""
    run_python(
        MAPPING
        + """
area = libc.mmap(None, 3 * size, 3, private | 0x4000, -1, 0)  # MAP_NORESERVE
at = (area + size - 1) & -size
ctypes.memset(at, 1, size)
before = memprobe.breakdown()
for arena, previous, *sizes in (
    (at + 48, 0, 12345, size),
    (at + 48, 0, 0, size),
    (at + 48, 0, 8192, size - 1),
    (at + 48, 0, 2 * size, size),
    (at + 48, 0, size, 2 * size),
    (at + 48, size, size, size),
    (at + 4096, 0, size, size),
    (at + 52, 0, size, size),
    (at - size + 48, at - size, size, size),
    (at + size + 48, at + size, size, size),
    (0, 0, 0, 0),
):
    head = struct.pack("4Q", arena, previous, *sizes)
    ctypes.memmove(at, head, len(head))
    growth = memprobe.breakdown().since(before)
    assert abs(growth.other) < 2**20, (arena - at, previous, sizes, growth)
head = struct.pack("4Q", at + 48, 0, size, size)
ctypes.memmove(at, head, len(head))  # as a heap that malloc doesn't know of
assert memprobe.breakdown().since(before).other < -0.9 * size
"""
    )


@glibc
@pytest.mark.parametrize("cause", ["freed_and_untrimmed", "thread_arenas"])
def test_what_was_trimmed_is_taken_out_of_no_other_mapping(run_python, cause):
    """By malloc's own account it still has it: only its heaps tell what is there."""
    run_python(f"""
import os, sys
sys.path.insert(0, {str(HERE)!r})
import memprobe
from growth_causes import {cause}, private_mapping
kept = {cause}({SIZE})
memprobe.trim()
before = memprobe.breakdown()
mapping = private_mapping({SIZE})
growth = memprobe.breakdown().since(before)
assert growth.other > 0.9 * {SIZE}, growth
os._exit(0)
""")


@linux
def test_reserved_memory_below_other_memory_makes_no_stack_of_it(run_python):
    run_python(
        MAPPING
        + """
area = libc.mmap(None, 2 * size, 0, private, -1, 0)
before = memprobe.breakdown()
assert libc.mprotect(area + size, size, 3) == 0
ctypes.memset(area + size, 1, size)
growth = memprobe.breakdown().since(before)
assert growth.other > 0.9 * size and growth.stacks < 2**20, growth
"""
    )


@linux
def test_written_pages_of_a_private_file_mapping_are_no_pages_of_the_file(run_python):
    run_python(
        MAPPING
        + """
with open("file", "wb+") as file:
    file.truncate(size)
    before = memprobe.breakdown()
    mapping = mmap.mmap(file.fileno(), size, mmap.MAP_PRIVATE)
    for at in range(0, size, 4096):
        mapping[at] = 1
growth = memprobe.breakdown().since(before)
assert growth.other > 0.9 * size and growth.files < 2**20, growth
"""
    )


@glibc
def test_blocks_of_malloc_that_nobody_wrote_to_are_not_there(run_python):
    run_python("""
import ctypes
import memprobe
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
before = memprobe.breakdown()
assert libc.malloc(2**30)
growth = memprobe.breakdown().since(before)
assert growth.malloc_used < 2 * 2**20 and growth.sentence == "No growth worth the name."
""")


@glibc
def test_what_may_be_malloc_or_another_mapping_is_said_to_be_either(run_python):
    run_python("""
import ctypes, mmap
import memprobe
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
assert libc.malloc(2**28)  # and not written to
before = memprobe.breakdown(count=True)
mapping = mmap.mmap(-1, 2**26, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for at in range(0, len(mapping), 4096):
    mapping[at] = 1
growth = memprobe.breakdown(count=True).since(before)
assert "in use in malloc, or in other mappings" in growth.sentence, growth
""")


def moments(**grown):
    """Two breakdowns, between which these have grown by so many MB."""
    count = grown.pop("python_large", None)
    unknown = grown.pop("unknown", "").split()
    fields = ["rss", *PLACES, "trimmable", "uss", "pss", "swap", "allocator"]
    before = dict.fromkeys(fields, 10 * MB)
    before |= {"trimmable": (0, MB), "allocator": "glibc"}
    before |= dict.fromkeys(unknown)
    now = before | {name: before[name] + mb * MB for name, mb in grown.items()}
    now["rss"] += sum(grown.get(name, 0) for name in PLACES) * MB
    counts = [None if count is None else (1, mb * MB) for mb in (0, count or 0)]
    return [
        memprobe.Breakdown(*figures.values(), asked=True, counted=counted)
        for figures, counted in zip((before, now), counts, strict=True)
    ]


@pytest.mark.parametrize(
    ("grown", "words", "others"),
    [
        ({"malloc_used": 100, "python_large": 100}, "Python objects above", "--native"),
        ({"malloc_used": 100, "python_large": 50}, "and not by Python's own", "leak"),
        ({"malloc_used": 100, "python_large": 50}, "Python objects above", "leak"),
        ({"malloc_used": 100, "python_large": 0}, "and not by Python's own", "above"),
        ({"malloc_used": 100, "python_large": -80}, "and not by Python's own", "above"),
        # Python took more than is resident; what is may be C's.
        ({"malloc_used": 50, "python_large": 100}, "more than was written", "above"),
        ({"malloc_used": 100}, "by Python or by C", "above"),
        ({"malloc_used": -90, "other": 100}, "ask the library", "malloc:"),
        ({"python_small": 50, "files": 50, "other": 5}, "nothing to do", "5 MB"),
        (
            {"other": 100, "unknown": "python_small python_free"},
            "tracemalloc shows Python's objects",
            "neither",
        ),
        (
            {"other": 100, "unknown": "malloc_used malloc_free", "python_large": 100},
            "Python objects above",
            "--native",
        ),
    ],
)
def test_the_sentence_says_what_two_moments_can_tell(grown, words, others):
    before, now = moments(**grown)
    sentence = now.since(before).sentence
    assert words in sentence
    assert others not in sentence


def test_what_was_swapped_out_is_no_growth_that_is_denied():
    before = memprobe.breakdown()
    after = pickle.loads(pickle.dumps(before))
    before.swap, after.swap = 0, before.rss
    sentence = after.since(before).sentence
    assert sentence == f"{before.rss / MB:.1f} MB more are swapped out, of what " + (
        "can't be told."
    )


@linux
def test_a_child_forked_while_others_look_can_look_too(run_python):
    run_python("""
import os, threading, warnings
import memprobe
warnings.simplefilter("ignore")  # of the threads, since 3.12
memprobe.breakdown()  # an import that is under way at a fork stays so in the child
done = threading.Event()
def look():
    while not done.is_set():
        memprobe.breakdown()
threads = [threading.Thread(target=look) for _ in range(2)]
for thread in threads:
    thread.start()
for _ in range(50):
    pid = os.fork()
    if pid == 0:
        now = memprobe.breakdown(count=True)
        os._exit(now.rss < 2**20)
    assert os.waitpid(pid, 0)[1] == 0
done.set()
for thread in threads:
    thread.join()
""")


@linux
def test_a_breakdown_takes_nothing_large(run_python):
    run_python("""
import memprobe
for _ in range(50):
    memprobe.breakdown(count=True)
before = memprobe.rss()
for _ in range(1000):
    memprobe.breakdown(count=True)
assert abs(memprobe.rss() - before) < 2**18
""")


# Counting

KEPT = """
import memprobe
MB = 2**20
def kept(size=50 * MB):
    return [b"x" * 5000 for _ in range(size // 5000)]
def look():
    return memprobe.breakdown(count=True)
def large(before):
    return look().since(before).python_large
def is_near(size, expected):
    return size is not None and abs(size - expected * MB) < 5 * MB
"""


@linux
@pymalloc
def test_counting_is_right_about_what_was_there_before(run_python):
    run_python(
        KEPT
        + """
older = kept()
before = look()
del older
assert is_near(large(before), -50), large(before)
before = look()
newer = kept()
taken = large(before)
assert is_near(taken, 50), taken
newer.extend(range(200_000))  # realloc()
assert 1.5 * MB < large(before) - taken < 2.5 * MB
zeros = [bytes(5000) for _ in range(10_000)]  # calloc()
assert is_near(large(before) - taken, 50), large(before) - taken
del newer, zeros
assert abs(large(before)) < 2**18
"""
    )


@linux
@pytest.mark.parametrize(
    ("malloc", "small"),
    [
        ("malloc", False),
        ("malloc_debug", False),
        ("debug", not WITHOUT_GIL),
        ("pymalloc_debug", True),
        ("mimalloc", False),
        ("mimalloc_debug", False),
    ],
)
def test_counting_is_unknown_with_other_allocators_of_python(run_python, malloc, small):
    if "mimalloc" in malloc and sys.version_info < (3, 13):
        pytest.skip("since 3.13")
    if "pymalloc" in malloc and WITHOUT_GIL:
        pytest.skip("not without a GIL")
    run_python(
        KEPT
        + f"""
before = look()
assert (before.python_small is not None) == (before.python_free is not None) == {small}
more = kept()
growth = look().since(before)
assert growth.python_large is None
assert "tracemalloc" in growth.sentence and "count=True" not in growth.sentence
assert growth.rss > 48 * MB
""",
        env={"PYTHONMALLOC": malloc},
    )


@linux
@pymalloc
@pytest.mark.parametrize(
    ("first", "between", "last", "known"),
    [
        ("", "start()", "stop()", False),
        ("start()", "", "", False),
        ("start()", "stop()", "", False),
        ("", "start(); stop()", "", True),
        ("start(); stop()", "", "", True),
        ("", "start(5)", "stop()", False),
    ],
)
def test_counting_is_unknown_with_tracemalloc(run_python, first, between, last, known):
    run_python(
        KEPT
        + f"""
from tracemalloc import start, stop
{first}
before = look()
{between}
more = kept()
got = large(before)
{last}
assert (got is not None) == {known}, got
if {known or bool(last)}:
    assert is_near(large(before), 50), large(before)  # it has passed all on
"""
    )


@pytest.fixture(scope="module")
def other_tool(compile_c, tmp_path_factory):
    library = tmp_path_factory.mktemp("hooks") / "other_tool.so"
    include = f"-I{sysconfig.get_path('include')}"
    return compile_c(
        library, "-shared", "-fPIC", include, HERE / "hooks" / "other_tool.c"
    )


@linux
@pymalloc
def test_counting_is_unknown_beside_another_tools_hook(run_python, other_tool):
    run_python(
        KEPT
        + f"""
import ctypes
tool = ctypes.PyDLL({str(other_tool)!r})
tool.tool_load()

# Before: never through it.
tool.tool_start()
before = look()
one = kept()
assert large(before) is None
tool.tool_stop()
assert large(before) is None

# After: not while it is there; it hands on to ours, and leaves ours.
before = look()
tool.tool_start()
two = kept()
assert large(before) is None
tool.tool_stop()
assert is_near(large(before), 50), large(before)

# It takes ours away: what happened meanwhile isn't known, ever.
tool.tool_restore()
three = kept()
assert large(before) is None
before = look()
four = kept()
assert is_near(large(before), 50), large(before)
"""
    )


@linux
@pytest.mark.skipif(not WITHOUT_GIL, reason="a Python with a GIL")
def test_counting_is_unknown_without_a_gil(run_python):
    run_python(KEPT + "before = look(); more = kept(); assert large(before) is None")


@linux
@pymalloc
def test_a_forked_child_goes_on_counting(run_python):
    run_python(
        KEPT
        + """
import os
before = look()
mine = kept()
pid = os.fork()
if pid == 0:
    more = kept()
    os._exit(not is_near(large(before), 100))
assert os.waitpid(pid, 0)[1] == 0
assert is_near(large(before), 50)
"""
    )


@linux
@pymalloc
def test_another_process_is_another_count(run_python):
    run_python(
        KEPT
        + """
import pickle, subprocess, sys
code = "import memprobe, pickle, sys; "
code += "sys.stdout.buffer.write(pickle.dumps(memprobe.breakdown(count=True)))"
other = pickle.loads(subprocess.check_output([sys.executable, "-c", code]))
assert look().since(other).python_large is None
"""
    )


@linux
@pymalloc
def test_counting_in_threads_and_interpreters(run_python):
    """All of them are counted, and each can ask."""
    run_python(
        KEPT
        + """
import sys, threading
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
before = look()
lists = []
def work():
    for _ in range(20):
        lists.append(kept(MB))
        look()
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert is_near(large(before), 80), large(before)
one = interpreters.create()
code = f"import sys; sys.path[:] = {sys.path!r}\\n"
interpreters.run_string(one, code + '''
import memprobe
blocks = [b"x" * 5000 for _ in range(10000)]
now = memprobe.breakdown(count=True)
assert now.since(now).python_large == 0 and now.python_small is not None
''')
assert is_near(large(before), 130), large(before)
interpreters.destroy(one)
assert is_near(large(before), 80), large(before)
"""
    )


@linux
@pytest.mark.parametrize("thread", [False, True])
def test_counting_until_the_end_of_the_interpreter(run_python, sanitized, thread):
    if sanitized and thread:
        pytest.skip("what a thread still uses looks like a leak")
    out = run_python(
        KEPT
        + f"""
import atexit, threading
class Late:
    def __init__(self):
        self.look, self.print = look, print
    def __del__(self):
        self.print(str(self.look())[:3])
before = look()
atexit.register(lambda: print(large(before) is None or large(before) > -(2**22)))
late = Late()
late.itself = late
def forever():
    while True:
        blocks = kept(2**20)
if {thread}:
    threading.Thread(target=forever, daemon=True).start()
"""
    )
    # What a thread may still use isn't deleted.
    assert out == ("True\n" if thread else "True\nRSS\n")


FIXED_ADDRESS = """
#include "breakdown.h"
#include <stdio.h>
#include <stdlib.h>

void *(*volatile taken)(size_t);

int
main(void)
{
    struct mp_malloc found;
    taken = malloc;
    puts(mp_malloc_read(&found));
    return taken(1) == NULL || found.system == MP_UNKNOWN;
}
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's entries")
def test_whose_malloc_it_is_in_a_program_for_a_fixed_address(compile_c, tmp_path):
    """Debian's python3 is one: dlsym() names the program for malloc() there."""
    source = HERE.parent.parent / "src"
    if not source.is_dir():
        pytest.skip("no sources beside the tests")
    (tmp_path / "fixed.c").write_text(FIXED_ADDRESS)
    names = ["linux/allocators.c", "lines.c", "malloc_text.c"]
    files = [tmp_path / "fixed.c", *(source / name for name in names)]
    options = ["-fno-pie", "-no-pie", "-rdynamic", "-I", source]
    program = compile_c(tmp_path / "fixed", *options, *files, "-ldl")
    clean = {name: it for name, it in os.environ.items() if name != "LD_PRELOAD"}
    command = subprocess.run([program], env=clean, capture_output=True, check=True)
    assert command.stdout == b"glibc\n"
