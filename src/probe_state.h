/* The state of the probe, for its own files: probe_state.c keeps it apart from that of
 * a parent process, probe.c reads and samples, probe_sampling.c has the sampler and the
 * recorder, probe_blocks.c what is measured. */
#ifndef MP_PROBE_STATE_H
#define MP_PROBE_STATE_H

#include "probe.h"
#include "ring.h"
#include "sampler.h"
#include "system.h"

#include <stdatomic.h>
#include <stdint.h>

/* All that belongs to this process and not to a forked child of it. All zeros is fresh.
 */
struct mp_state {
    _Atomic uint64_t owner; /* process << PHASE_BITS | phase */
    _Atomic uint64_t highest;
    struct mp_rss_reader reader;
    mp_lock lock; /* guards the ring */
    struct mp_ring ring;
    /* The sample stored last, for those who don't wait for the lock; time 0: there is
     * none. The bytes are written before the time and read after it, so that they are
     * never older than the time. */
    _Atomic uint64_t last_bytes;
    _Atomic int64_t last_ns;
    struct mp_block *blocks; /* being measured; guarded by the lock */
    struct mp_sampler sampler;
    mp_lock record_control;          /* held while recording begins and ends */
    struct mp_file file;             /* the recorder's; the ring's slots are in it */
    struct mp_record_header *record; /* its first page, or NULL; guarded by the lock */
    char record_path[MP_LONGEST_PATH];
};

/* How many samples the ring is to keep, which a child inherits. */
extern _Atomic uint64_t mp_configured_capacity;

/* The state of this process, ready for a reading. */
struct mp_state *mp_state_ready(void);

/* Gives the ring its slots. With the lock, or before others know the state. Returns 0
 * or MP_NO_MEMORY. */
int mp_state_allocate_ring(struct mp_state *state);

/* Reads RSS, and notes it if it is the highest. Returns as mp_rss_read does. */
int mp_state_read(struct mp_state *state, struct mp_rss_reader *reader, uint64_t *bytes,
                  int64_t *ns);

/* Reads RSS and stores it, unless another thread has stored a sample less than the
 * interval before it: *bytes is then that one's. Returns as mp_probe_sample does. */
int mp_state_sample(struct mp_state *state, struct mp_rss_reader *reader,
                    int64_t min_interval_ns, uint64_t *bytes);

#endif
