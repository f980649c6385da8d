/* The probe: what memprobe knows of this process. One per process, whatever number of
 * interpreters and threads use it; every function may be called from any thread, with
 * or without Python. A forked child starts afresh, but for what was configured. */
#ifndef MP_PROBE_H
#define MP_PROBE_H

#include "blocks.h"
#include "ring.h"

#include <stdbool.h>
#include <stdint.h>

/* Errors besides errnos. */
#define MP_NO_MEMORY (-1) /* the ring couldn't be allocated */
#define MP_SAMPLING (-2)  /* the sampler runs with another interval */
#define MP_NOT_TOLD (-4)  /* this system doesn't tell */
#define MP_NO_ANSWER (-5) /* the sampler's thread is frozen */

/* What mp_probe_leave returns, in bytes and nanoseconds. */
struct mp_measured {
    uint64_t before;
    uint64_t after;
    uint64_t peak;
    int64_t ns;
};

/* What mp_probe_select returns beside the samples. */
struct mp_selection {
    uint64_t count;       /* how many samples it wrote */
    uint64_t overwritten; /* how many came before the stored ones */
    uint64_t end;         /* one more than the number of the newest sample */
};

/* Prepares the probe, so that a later reading needs to open nothing. May be called
 * again. Returns 0, or MP_NO_MEMORY: then it is to be tried again before the others. */
int mp_probe_start(void);

/* Reads RSS in bytes. Returns 0, or an errno (on Windows a GetLastError() code). */
int mp_probe_rss(uint64_t *bytes);

/* Reads RSS less its shared part in bytes. Returns as mp_probe_rss does, or
 * MP_NOT_TOLD. */
int mp_probe_rss_anon(uint64_t *bytes);

/* Reads RSS in bytes and stores the sample. Returns as mp_probe_rss does, or
 * MP_NO_MEMORY; on failure nothing is stored. */
int mp_probe_sample(uint64_t *bytes);

/* The same, but within the configured interval after the last stored sample it reads
 * and stores nothing, and hands out the bytes of that sample. */
int mp_probe_sample_throttled(uint64_t *bytes);

/* Reads the peak in bytes, never below a reading that this process has made, nor below
 * what this returned before. Returns as mp_probe_rss does. */
int mp_probe_peak(uint64_t *bytes);

/* Is RSS above the limit now, and was it in each sample of the last so many
 * nanoseconds, forgotten ones included? Not if the samples don't reach back that far.
 * Returns as mp_probe_rss does. */
int mp_probe_above(uint64_t limit, int64_t within_ns, bool *above);

/* Changes the number of samples that the ring keeps. capacity > 0. Returns 0, or
 * MP_NO_MEMORY; then the ring is as it was. */
int mp_probe_set_capacity(uint64_t capacity);

/* Changes the interval of mp_probe_sample_throttled; 0 is none. */
void mp_probe_set_min_interval(int64_t ns);

/* The number of stored samples and of overwritten ones, and the totals. */
void mp_probe_stats(uint64_t *stored, uint64_t *overwritten, struct mp_totals *totals);

/* Copies the newest stored samples, at most `room`, oldest first. Returns how many. */
uint64_t mp_probe_copy(struct mp_sample *to, uint64_t room);

/* Copies at most `room` stored samples, spread evenly, the oldest and the newest among
 * them; if room is 1, the newest. If more are wanted than there is room for, that is
 * all samples up to an end before which there are as many. */
struct mp_selection mp_probe_select(struct mp_sample *to, uint64_t room,
                                    uint64_t wanted);

/* Forgets the samples before the one of this number, as in mp_ring_forget. */
void mp_probe_forget(uint64_t number);

/* Starts the sampler, whose first sample is taken at once; does nothing if it runs with
 * that interval. Returns 0, an error of mp_thread_start, or MP_SAMPLING: *running_ns is
 * its interval then. */
int mp_probe_start_sampling(int64_t interval_ns, int64_t *running_ns);

/* Stops it; does nothing if none runs. Returns 0, or why
 * samples that were due haven't come until now: an error of a reading or of
 * mp_thread_start, or MP_NO_ANSWER; *source is what should have brought them. */
int mp_probe_stop_sampling(const char **source);

/* For error messages: where no thread could be had. */
extern const char mp_probe_thread_source[];

/* Before and after a fork, in the parent: a thread more, and Python would warn. Where
 * no thread could be had again, or Python warns anyway, it stays. */
void mp_probe_pause_thread(void);
void mp_probe_resume_thread(void);

/* The first half of resuming, where the second, that function, comes a moment later;
 * or, if it doesn't, a call that has the time for it. */
void mp_probe_allow_thread(void);

/* Enters a block, which stays where it is until mp_probe_leave or mp_probe_abandon. On
 * failure nothing has begun, and *source is what should have done it. Returns 0, an
 * error of the reading, of mp_rss_reset_peak or of mp_thread_start. `owner` isn't NULL;
 * `told` may be: what a thread reads is told there. */
int mp_probe_enter(struct mp_block *block, enum mp_peak peak, const void *owner,
                   _Atomic uint64_t *told, const char **source);

/* Leaves a block, also on failure. In a forked child one that was entered before the
 * fork begins at the fork. Returns 0 or an error of a reading; *source is as above. */
int mp_probe_leave(struct mp_block *block, struct mp_measured *measured,
                   const char **source);

/* Leaves a block without a result. Does nothing if it isn't open. */
void mp_probe_abandon(struct mp_block *block);

/* The same for all blocks of that owner. */
void mp_probe_abandon_all(const void *owner);

#endif
