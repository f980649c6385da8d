#include "sampler.h"

#include <string.h>

/* The next time after `now_ns` that is a whole number of intervals after `last_ns`:
 * there is no drift, and what was missed is not made up for. */
static int64_t
next_deadline(int64_t last_ns, int64_t now_ns, int64_t interval_ns)
{
    int64_t missed = (now_ns - last_ns) / interval_ns;
    int64_t rest = INT64_MAX - last_ns - missed * interval_ns;
    return rest < interval_ns ? INT64_MAX : last_ns + (missed + 1) * interval_ns;
}

static void
run(void *argument)
{
    struct mp_sampler *sampler = argument;
    struct mp_sampler_own own;
    memset(&own, 0, sizeof own);
    mp_thread_leave_files();
    int64_t deadline_ns = mp_clock_ns();
    do {
        sampler->take(sampler->owner, &own);
        own.taken++;
        deadline_ns = next_deadline(deadline_ns, mp_clock_ns(), sampler->interval_ns);
    } while (!mp_thread_wait(&sampler->thread, deadline_ns));
    mp_file_release(&own.hold);
    mp_rss_close(&own.reader);
}

int
mp_sampler_start(struct mp_sampler *sampler, int64_t interval_ns, mp_sampler_take *take,
                 void *owner)
{
    int error = MP_SAMPLING;
    mp_lock_acquire(&sampler->control);
    if (!sampler->running && !sampler->paused) {
        sampler->interval_ns = interval_ns;
        sampler->take = take;
        sampler->owner = owner;
        error = mp_thread_start(&sampler->thread, run, sampler);
        sampler->running = error == 0;
    }
    mp_lock_release(&sampler->control);
    return error;
}

void
mp_sampler_stop(struct mp_sampler *sampler)
{
    mp_lock_acquire(&sampler->control);
    if (sampler->running) {
        mp_thread_stop(&sampler->thread);
    }
    sampler->running = false;
    sampler->paused = false;
    mp_lock_release(&sampler->control);
}

void
mp_sampler_pause(struct mp_sampler *sampler)
{
    mp_lock_acquire(&sampler->control);
    if (sampler->running) {
        mp_thread_stop(&sampler->thread);
        sampler->running = false;
        sampler->paused = true;
    }
    mp_lock_release(&sampler->control);
}

void
mp_sampler_resume(struct mp_sampler *sampler)
{
    mp_lock_acquire(&sampler->control);
    if (sampler->paused) {
        sampler->running = mp_thread_start(&sampler->thread, run, sampler) == 0;
        sampler->paused = !sampler->running;
    }
    mp_lock_release(&sampler->control);
}
