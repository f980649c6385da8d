/* The state of the probe, for its own files: probe_state.c keeps it apart from that of
 * a parent process, probe.c reads and samples, probe_sampling.c has the
 * thread, probe_blocks.c what is measured. */
#ifndef MP_PROBE_STATE_H
#define MP_PROBE_STATE_H

#include "blocks.h"
#include "probe.h"
#include "ring.h"
#include "sampler.h"
#include "system.h"

#include <stdatomic.h>
#include <stdint.h>

/* All that belongs to this process and not to a forked child of it. All zeros is fresh.
 */
struct mp_state {
    /* How far it is prepared, and mostly by which process. Whoever prepares the state
     * stores it last (release); each call loads it first (acquire). */
    _Atomic uint64_t owner;
    /* The process that prepared it, which `owner` doesn't say where the kernel wipes
     * the state. Stored right before `owner`, and paired in the same way. */
    _Atomic uint64_t process;
    /* The highest RSS that is known for sure: what was read, and what mp_probe_peak
     * returned. Raised by anybody, relaxed: nothing else is read because of it. */
    _Atomic uint64_t highest;
    mp_lock lock; /* guards all up to `silence` */
    struct mp_ring ring;
    /* For sample_mem() calls that come too soon, which don't wait for the lock: until
     * when they get last_bytes; 0: they don't. The bytes are stored before that time
     * (release) and loaded after it (acquire), so that they are never older than it. */
    _Atomic int64_t throttled_until_ns;
    _Atomic uint64_t last_bytes;
    struct mp_blocks blocks; /* being measured */
    int64_t forked_ns;       /* when this process began, and its RSS then, in bytes; */
    uint64_t forked_bytes;   /* not known: 0 */
    struct mp_sampler sampler;
    bool thread_runs;       /* the thread itself says when it doesn't any more */
    bool paused;            /* it must end, and none may be started */
    int silence;            /* why there was no sample when one was due; 0: there was */
    atomic_bool thread_due; /* it couldn't be started yet; looked at without the lock */
    mp_lock control; /* held while the thread is started and ended, before `lock` */
    struct mp_thread thread;
    struct mp_thread trial;
    mp_lock resetting; /* held while the kernel's mark is reset, before `lock` */
};

/* What is open, which a child inherits and needs to know of. It has its own lock. */
extern struct mp_rss_reader mp_state_reader;

/* How many samples the ring is to keep, which a child inherits. Changed with the lock,
 * loaded by anybody. */
extern _Atomic uint64_t mp_configured_capacity;

/* The state of this process, ready for a reading. A child that neither fork() nor the
 * kernel told of, see probe_state.c, may find that of its parent: until the next look
 * at whose file is read, which it is not for longer than a stranger's number is
 * believed. */
struct mp_state *mp_state_ready(void);

/* The same without that, for 0.1 of a reading. */
struct mp_state *mp_state_certain(void);

/* Gives the ring its slots. With the lock, or before others know the state. Returns 0
 * or MP_NO_MEMORY. */
int mp_state_allocate_ring(struct mp_state *state);

/* Notes where the ring's slots are, for a forked child to give them back: NULL if it
 * doesn't have them. With the lock, or before others know the state; before the memory
 * that was noted is given back. */
void mp_state_note_slots(struct mp_sample *slots, uint64_t capacity);

/* Notes that RSS was as high as that. Returns the highest that is noted. */
uint64_t mp_state_raise_highest(struct mp_state *state, uint64_t bytes);

/* The same for readings, which the open blocks know as well. */
void mp_state_note_reading(struct mp_state *state, uint64_t bytes);

/* Reads RSS, and its shared part unless that is NULL, and the time, which is negative
 * as mp_clock_ns() says; after a call that made the state ready. Returns 0 or an error
 * of mp_rss_read_verified. */
int mp_state_read(struct mp_rss_reader *reader, uint64_t *bytes, uint64_t *shared,
                  int64_t *ns);

/* Stores a sample; with the lock. Returns 0 or MP_NO_MEMORY. */
int mp_state_store(struct mp_state *state, int64_t ns, uint64_t bytes);

/* Has the thread run if it is needed and isn't paused. Returns 0, or an error of
 * mp_thread_start. */
int mp_state_run_thread(struct mp_state *state);

/* The same at a call that has the time for it, after a fork at which it failed. */
void mp_state_catch_up(struct mp_state *state);

/* In a forked child, alone: blocks that began before the fork start here. */
void mp_state_begin_blocks_again(struct mp_state *state);

#endif
