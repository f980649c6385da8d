#include "sampler.h"

static int64_t
later(int64_t ns, int64_t by_ns)
{
    return ns > INT64_MAX - by_ns ? INT64_MAX : ns + by_ns;
}

void
mp_sampler_start(struct mp_sampler *sampler, int64_t interval_ns, int64_t now_ns)
{
    sampler->interval_ns = interval_ns;
    sampler->sample_ns = now_ns;
}

void
mp_sampler_stop(struct mp_sampler *sampler)
{
    sampler->interval_ns = 0;
    sampler->linger_ns = 0;
}

bool
mp_sampler_watch(struct mp_sampler *sampler, int64_t now_ns)
{
    int64_t first_look_ns = now_ns + MP_LOOK_NS;
    if (sampler->watched == 0 || first_look_ns < sampler->look_ns) {
        sampler->look_ns = first_look_ns;
    }
    sampler->watched++;
    sampler->young_ns = now_ns + MP_LOOK_YOUNG_NS;
    return sampler->wakes_ns > sampler->look_ns;
}

void
mp_sampler_unwatch(struct mp_sampler *sampler, int64_t now_ns)
{
    sampler->watched--;
    sampler->linger_ns = now_ns + MP_LINGER_NS;
}

bool
mp_sampler_is_needed(const struct mp_sampler *sampler)
{
    return sampler->interval_ns > 0 || sampler->watched > 0;
}

int64_t
mp_sampler_next(struct mp_sampler *sampler, int64_t now_ns)
{
    int64_t next_ns = INT64_MIN;
    if (sampler->interval_ns > 0) {
        next_ns = sampler->sample_ns;
    }
    if (sampler->watched > 0) {
        bool sooner = next_ns == INT64_MIN || sampler->look_ns < next_ns;
        next_ns = sooner ? sampler->look_ns : next_ns;
    } else if (next_ns == INT64_MIN && now_ns < sampler->linger_ns) {
        next_ns = sampler->linger_ns;
    }
    sampler->wakes_ns = next_ns;
    return next_ns;
}

bool
mp_sampler_takes_sample(struct mp_sampler *sampler, int64_t now_ns)
{
    int64_t interval_ns = sampler->interval_ns;
    if (interval_ns == 0 || now_ns < sampler->sample_ns) {
        return false;
    }
    int64_t late_ns = now_ns - sampler->sample_ns;
    int64_t on_time_ns = now_ns - late_ns % interval_ns;
    sampler->sample_ns = later(on_time_ns, interval_ns);
    if (sampler->sample_ns - now_ns < interval_ns / 2) {
        sampler->sample_ns = later(sampler->sample_ns, interval_ns);
    }
    return true;
}

bool
mp_sampler_takes_look(struct mp_sampler *sampler, int64_t now_ns)
{
    if (sampler->watched == 0 || now_ns < sampler->look_ns) {
        return false;
    }
    bool young = now_ns < sampler->young_ns;
    sampler->look_ns = now_ns + (young ? MP_LOOK_NS : MP_LOOK_LATER_NS);
    return true;
}
