#include "kills.h"

void
mp_kills_note(struct mp_kills *kills, uint64_t count, int64_t now_ns)
{
    if (kills->read && count > kills->count) {
        if (now_ns - kills->rise_ns > MP_KILLS_APART_NS) {
            kills->unexplained = 0; /* of processes that nobody looks at */
        }
        kills->unexplained += count - kills->count;
        kills->rise_ns = now_ns;
    }
    kills->read = true;
    kills->count = count;
}

bool
mp_kills_may_explain(const struct mp_kills *kills, int64_t ended_ns)
{
    int64_t apart_ns = ended_ns - kills->rise_ns;
    return kills->unexplained > 0 && apart_ns <= MP_KILLS_APART_NS &&
           apart_ns >= -MP_KILLS_APART_NS;
}

bool
mp_kills_explain(struct mp_kills *kills, uint64_t killed, uint64_t unknown)
{
    bool enough = killed + unknown <= kills->unexplained;
    kills->unexplained = enough ? kills->unexplained - killed : 0;
    return enough;
}
