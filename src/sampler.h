/* The sampler: when its thread is to read RSS, for the ring each interval, and for the
 * blocks whose peak is watched. Pure; its owner, the probe, has the lock, the clock and
 * the thread. */
#ifndef MP_SAMPLER_H
#define MP_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>

/* Watched blocks are looked at each millisecond for so long after the newest was
 * entered, then each 10 ms. */
#define MP_LOOK_NS 1000000
#define MP_LOOK_LATER_NS 10000000
#define MP_LOOK_YOUNG_NS 50000000

/* The thread stays for so long after the last block: to start one costs 20 to 60 us, to
 * wake one up 2 to 5, of the 10 that an empty block may cost. */
#define MP_LINGER_NS 100000000

/* All zeros: nothing to do. */
struct mp_sampler {
    int64_t interval_ns; /* between two samples; 0: none are taken */
    int64_t sample_ns;   /* when the next one is due */
    uint64_t watched;    /* how many blocks are watched */
    int64_t young_ns;    /* until when the newest of them is young */
    int64_t look_ns;     /* when the next look at them is due */
    int64_t linger_ns;   /* until when the thread waits for more of them */
    int64_t wakes_ns;    /* when the thread will see a change without being called */
};

/* Begins to take samples, the first one now. interval_ns > 0. */
void mp_sampler_start(struct mp_sampler *sampler, int64_t interval_ns, int64_t now_ns);

/* Takes no more samples, and keeps no thread for blocks to come. */
void mp_sampler_stop(struct mp_sampler *sampler);

/* Watches one block more. Returns whether a thread that runs must be called, since it
 * would come too late for the first look. */
bool mp_sampler_watch(struct mp_sampler *sampler, int64_t now_ns);

/* Watches one block less. */
void mp_sampler_unwatch(struct mp_sampler *sampler, int64_t now_ns);

/* Is a thread needed? One that runs may linger when it isn't. */
bool mp_sampler_is_needed(const struct mp_sampler *sampler);

/* For the thread: when it is to go on, noted in wakes_ns; INT64_MIN: it is to end. */
int64_t mp_sampler_next(struct mp_sampler *sampler, int64_t now_ns);

/* Is a sample, or a look, due? After a reading at that time the next one is due later:
 * samples a whole number of intervals after the first, so that there is no drift, but
 * never sooner than half an interval after the reading. */
bool mp_sampler_takes_sample(struct mp_sampler *sampler, int64_t now_ns);
bool mp_sampler_takes_look(struct mp_sampler *sampler, int64_t now_ns);

#endif
