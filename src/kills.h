/* Which of the processes that were killed had taken too much memory: a group of
 * processes counts such kills, and each rise of its count explains one. Pure. */
#ifndef MP_KILLS_H
#define MP_KILLS_H

#include <stdbool.h>
#include <stdint.h>

/* A rise and an end belong together if they were seen within so long. */
#define MP_KILLS_APART_NS INT64_C(5000000000)

/* All zeros: the count was never read. */
struct mp_kills {
    bool read;
    uint64_t count;
    uint64_t unexplained; /* of the last rises */
    int64_t rise_ns;      /* when the last of them was seen */
};

/* Notes the count as it was read at that time. */
void mp_kills_note(struct mp_kills *kills, uint64_t count, int64_t now_ns);

/* Could the end of a process at that time be explained? */
bool mp_kills_may_explain(const struct mp_kills *kills, int64_t ended_ns);

/* Explains so many kills, all that can be. Returns false if there were more than the
 * count has risen by, with those who may have been killed as well: then nobody knows
 * which ones, and none of them ever is explained. */
bool mp_kills_explain(struct mp_kills *kills, uint64_t killed, uint64_t unknown);

#endif
