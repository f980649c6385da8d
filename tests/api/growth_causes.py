"""What makes RSS grow, one cause each; test_breakdown.py and a benchmark run it.

    python growth_causes.py CAUSE [MB]

takes so many MB by that cause between two breakdowns, and prints both and their
difference as JSON. What it needs and isn't there is named, with status 3.
"""

import ctypes
import json
import mmap
import os
import sys
import tempfile
import threading

import memprobe

MB = 2**20
MADV_FREE, MADV_HUGEPAGE = 8, 14

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]


class Small:
    __slots__ = ("a", "b", "c", "d")


def small_objects(size):
    return [Small() for _ in range(size // 64)]  # with the collector's 16 bytes


def one_in_a_thousand(size):
    objects = [Small() for _ in range(size // 64)]
    return objects[::1000]


def kept_bytes(size):
    return [b"x" * 5000 for _ in range(size // 5000)]


def kept_large_bytes(size):
    """Above 32 MB malloc gives each a mapping."""
    return [b"x" * (size // 2) for _ in range(2)]


def kept_lists(size):
    return [[None] * 1000 for _ in range(size // 8000)]


def kept_dicts(size):
    return [dict.fromkeys(range(100)) for _ in range(size // 4700)]


def numpy_arrays(size):
    import numpy

    return [numpy.full(1250, 1.5) for _ in range(size // 10_000)]


def allocate(size, block):
    """In C, and written to."""
    blocks = [libc.malloc(block) for _ in range(size // block)]
    for address in blocks:
        libc.memset(address, 1, block)
    return blocks


def leak_in_c(size):
    allocate(size, 3000)


def fragment(size, block, kept):
    for i, address in enumerate(allocate(size, block)):
        if i % kept:
            libc.free(address)


def small_fragments(size):
    fragment(size, 600, 100)


def large_fragments(size):
    fragment(size, 5000, 20)


def freed_and_untrimmed(size):
    """But for the last block, which keeps the top from being given back."""
    blocks = allocate(size, 3000)
    for address in blocks[:-1]:
        libc.free(address)


def arena_of_many_heaps(size):
    """Of 64 MiB each, one behind the other."""
    thread = threading.Thread(target=fragment, args=(size, 5000, 20))
    thread.start()
    thread.join()


def thread_arenas(size):
    together = threading.Barrier(17)
    done = threading.Event()

    def work():
        together.wait()  # so that each has an arena of its own
        blocks = allocate(size // 16, 3000)
        together.wait()
        for address in blocks[:-1]:
            libc.free(address)
        together.wait()
        done.wait()

    for _ in range(16):
        threading.Thread(target=work, daemon=True).start()
    for _ in range(3):
        together.wait()
    return done


def map_private(size, advice=None):
    mapping = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if advice == MADV_HUGEPAGE:
        mapping.madvise(advice)
    for at in range(0, size, 4096):
        mapping[at] = 1
    if advice == MADV_FREE:
        mapping.madvise(advice)
    return mapping


def private_mapping(size):
    return map_private(size)


def huge_pages(size):
    return map_private(size, MADV_HUGEPAGE)


def given_back(size):
    return map_private(size, MADV_FREE)


def mapped_file(size):
    with tempfile.TemporaryFile(dir=".") as file:
        for _ in range(size // MB):
            file.write(bytes(MB))
        file.flush()
        mapping = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    for at in range(0, len(mapping), 4096):
        mapping[at]
    return mapping


def shared_memory(size):
    mapping = mmap.mmap(-1, size)
    for at in range(0, size, 4096):
        mapping[at] = 1
    return mapping


def deep_stacks(size):
    """Of fifty threads, written to as deep as calls could have gone."""
    threading.stack_size(size // 50 + 2 * MB)
    together = threading.Barrier(51)
    done = threading.Event()

    def work():
        attributes = ctypes.create_string_buffer(64)
        bottom, length = ctypes.c_void_p(), ctypes.c_size_t()
        libc.pthread_self.restype = ctypes.c_void_p
        libc.pthread_getattr_np(ctypes.c_void_p(libc.pthread_self()), attributes)
        libc.pthread_attr_getstack(
            attributes, ctypes.byref(bottom), ctypes.byref(length)
        )
        libc.memset(bottom.value + MB, 1, size // 50)
        together.wait()
        done.wait()

    for _ in range(50):
        threading.Thread(target=work, daemon=True).start()
    together.wait()
    return done


inherited = []


def copied_on_write(size):
    """In a child, of what its parent made: by counting references."""
    for thing in inherited:
        thing.a = thing


def nothing(size):
    for _ in range(5):
        del [kept_bytes(size // 100), small_objects(size // 100)][:]


def arrow_kept(size):
    import pyarrow

    return pyarrow.array(["x" * 100] * (size // 104))


def arrow_freed(size):
    import pyarrow

    for _ in range(3):
        pyarrow.array(["x" * 100] * (size // 104))


def json_in_pieces(size):
    """Documents come and go, and something small of each stays."""
    kept = []
    for _ in range(8):
        text = json.dumps(
            [{"key": str(i), "value": [i] * 5} for i in range(size // 800)]
        )
        document = json.loads(text)
        kept.append([dict(item) for item in document[::50]])
    return kept


def elements_of_lxml(size):
    """Kept: the nodes are libxml2's, in malloc."""
    import lxml.etree

    item = "<item><name>abc</name><value>12345</value></item>"
    return lxml.etree.fromstring(f"<all>{item * (size // 500)}</all>")


def frames_of_pandas(size):
    import pandas

    columns = {str(i): range(size // 80) for i in range(10)}
    return pandas.DataFrame(columns, dtype="float64")


# By cause: the places of the growth, and words of the sentence.
CAUSES = {
    small_objects: ("python_small", "tracemalloc"),
    one_in_a_thousand: ("python_free", "can't give it back"),
    kept_bytes: ("python_large", "tracemalloc"),
    kept_large_bytes: ("python_large", "tracemalloc"),
    kept_lists: ("python_large", "tracemalloc"),
    kept_dicts: ("python_large", "tracemalloc"),
    numpy_arrays: ("python_large", "tracemalloc"),
    leak_in_c: ("malloc_used", "memray --native"),
    small_fragments: ("malloc_free", "trim() gives back"),
    large_fragments: ("malloc_free", "trim() gives back"),
    freed_and_untrimmed: ("malloc_free", "trim() gives back"),
    arena_of_many_heaps: ("malloc_free", "trim() gives back"),
    thread_arenas: ("malloc_free", "MALLOC_ARENA_MAX"),
    private_mapping: ("other", "ask the library"),
    huge_pages: ("other", "ask the library"),
    given_back: ("lazy_free", "nothing to do"),
    mapped_file: ("files", "nothing to do"),
    shared_memory: ("shared", "/dev/shm"),
    deep_stacks: ("stacks", "threading.enumerate()"),
    copied_on_write: ("uss", "became private"),
    nothing: (None, "No growth"),
    arrow_kept: ("other", "pyarrow.total_allocated_bytes()"),
    arrow_freed: (None, ""),
    json_in_pieces: ("python_free", "Python uses it again"),
    elements_of_lxml: ("malloc_used", "memray --native"),
    frames_of_pandas: ("python_large", "tracemalloc"),
}


def main():
    name, *megabytes = sys.argv[1:]
    size = int(*megabytes or ["100"]) * MB
    cause = globals()[name]
    try:
        for _ in range(3):
            # What is imported and allocated once.
            cause(size if cause is nothing else MB)
    except ImportError as error:
        print(error)
        sys.exit(3)
    if cause is copied_on_write:
        inherited.extend(small_objects(size))
        child = os.fork()
        if child:
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    before = memprobe.breakdown(count=True)
    kept = cause(size)
    now = memprobe.breakdown(count=True)
    growth = now.since(before).as_dict()
    said = {"before": before.as_dict(), "now": now.as_dict(), "growth": growth}
    print(json.dumps({**said, "trimmed": memprobe.trim()}), flush=True)
    os._exit(kept is said)  # without waiting for threads


if __name__ == "__main__":
    main()
