/* The sampler: a thread that takes a sample every interval. It never touches Python, so
 * no C call that holds the GIL can hide a peak from it. */
#ifndef MP_SAMPLER_H
#define MP_SAMPLER_H

#include "file.h"
#include "system.h"

/* Errors besides errnos. */
#define MP_SAMPLING (-2) /* the sampler runs already */

/* What belongs to the thread, opened in its own table of descriptors. */
struct mp_sampler_own {
    struct mp_rss_reader reader;
    struct mp_file_hold hold;
    uint64_t taken; /* how many samples the thread has taken before */
};

/* Takes one sample for `owner`. */
typedef void mp_sampler_take(void *owner, struct mp_sampler_own *own);

/* All zeros: none runs. */
struct mp_sampler {
    mp_lock control; /* held while it is started and stopped */
    struct mp_thread thread;
    bool running;
    bool paused;
    int64_t interval_ns;
    mp_sampler_take *take;
    void *owner;
};

/* Starts the thread; its first sample is taken at once. Returns 0, MP_SAMPLING, or an
 * error of mp_thread_start. */
int mp_sampler_start(struct mp_sampler *sampler, int64_t interval_ns,
                     mp_sampler_take *take, void *owner);

/* Ends the thread within the time of a reading, however long the interval is. Does
 * nothing if none runs. */
void mp_sampler_stop(struct mp_sampler *sampler);

/* Ends the thread for the time of a fork, and starts it again. Both do nothing if there
 * is nothing to do. */
void mp_sampler_pause(struct mp_sampler *sampler);
void mp_sampler_resume(struct mp_sampler *sampler);

#endif
