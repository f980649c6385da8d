/* The recorder's file: the ring as it lies in it, so that the samples outlive the
 * process. memprobe/_record.py reads it; tests/test_record_layout.py compares the two.
 *
 * One page of header, then the slots: sample number i lies in slot i % capacity. All
 * numbers are little-endian, as on every system that memprobe is built for. */
#ifndef MP_RECORD_H
#define MP_RECORD_H

#include "ring.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define MP_RECORD_MAGIC "memprobe"
#define MP_RECORD_VERSION 1
#define MP_RECORD_HEADER_BYTES 4096
#define MP_RECORD_ARGV_BYTES 2048

/* What changes with each sample. The totals are over everything recorded: forgetting
 * samples doesn't reach them. */
struct mp_record_state {
    uint64_t taken; /* the number that the next sample will have */
    uint64_t base;  /* the number of the first sample that was ever in the file */
    struct mp_totals totals;
    uint64_t checksum; /* mp_record_checksum() of the words before */
};

struct mp_record_header {
    char magic[8];
    uint32_t version;
    uint32_t header_bytes;
    uint64_t pid;
    int64_t wall_ns; /* two clocks at one moment, to turn samples' times into dates */
    int64_t monotonic_ns;
    int64_t interval_ns;
    uint64_t capacity;
    uint64_t memory_limit;  /* of the cgroup, in bytes; 0: none */
    _Atomic uint64_t peak;  /* the kernel's high-water mark, in bytes */
    _Atomic uint32_t ended; /* 1: stop_recording(), or the end of the interpreter */
    uint32_t argv_bytes;
    /* Each state is written over the last but one, which may leave a half: of those
     * whose checksum is right, the one that has taken more is the newest. */
    struct mp_record_state states[2];
    char argv[MP_RECORD_ARGV_BYTES]; /* each argument ends with a NUL */
};

/* What a header is made from. */
struct mp_record_origin {
    uint64_t pid;
    int64_t wall_ns;
    int64_t monotonic_ns;
    int64_t interval_ns;
    uint64_t memory_limit;
    const char *argv;
    size_t argv_bytes; /* at most MP_RECORD_ARGV_BYTES are kept */
};

/* Tells a whole state from one that is half written, in whatever order a reader's copy
 * is made: 1 + the sum of word[i] * MP_RECORD_FACTOR ** (i + 1), modulo 2 ** 64. With a
 * sequence number instead, a reader that is slower than a sample would find it changed
 * each time. */
#define MP_RECORD_FACTOR UINT64_C(0x9e3779b97f4a7c15)
uint64_t mp_record_checksum(const struct mp_record_state *state);

/* Makes a header in zeroed memory for the ring, whose slots lie behind it already. */
void mp_record_begin(struct mp_record_header *header,
                     const struct mp_record_origin *origin, const struct mp_ring *ring);

/* Makes the ring's newest sample known to readers, after its slot was written. A
 * process that is killed at any instruction leaves this sample out or in, never half.
 */
void mp_record_publish(struct mp_record_header *header, const struct mp_ring *ring);

#endif
