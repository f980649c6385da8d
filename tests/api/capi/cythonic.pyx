# cython: language_level=3, freethreading_compatible=True
from libc.stdint cimport uint64_t

cdef extern from "memprobe.h" nogil:
    int memprobe_import() except -1
    int memprobe_rss(uint64_t *bytes)
    int memprobe_sample(uint64_t *bytes)

memprobe_import()


def sample_many(int count):
    """Take samples without the GIL; return the bytes of the last one, and of a reading."""
    cdef uint64_t sampled = 0
    cdef uint64_t read = 0
    cdef int error = 0
    cdef int i
    with nogil:
        for i in range(count):
            error = memprobe_sample(&sampled)
            if error != 0:
                break
        if error == 0:
            error = memprobe_rss(&read)
    if error != 0:
        raise OSError(error, "memprobe")
    return sampled, read
