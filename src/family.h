/* Who belongs to the family that is observed: some processes that the observer was
 * started for, and all their descendants. Once a member, always a member, whoever its
 * parent is by then. */
#ifndef MP_FAMILY_H
#define MP_FAMILY_H

#include "process.h"
#include "recording.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mp_member {
    struct mp_process process;
    struct mp_recording recording;
    struct mp_member *next; /* in its bucket */
    size_t index;           /* in the family's list */
    int64_t started_ns;     /* all times are of mp_process_clock_ns() */
    bool root;

    /* What it was like at the last look. */
    uint64_t pages; /* 0 before the first */
    uint64_t shared;
    bool wanted;  /* that is to be stored */
    bool stirred; /* RSS has changed since the last reading of `details` */
    int64_t read_ns;
    uint64_t stored; /* pages of the last sample that was stored */
    uint64_t peak;   /* bytes */
    struct mp_process_details details;
    int group;
    int64_t look_ns; /* when it is due */
    int64_t store_ns;
    int64_t details_ns;
    int64_t check_ns; /* when its file was looked after */
    int64_t group_ns;
    int64_t name_ns;
    int64_t pss_ns; /* when the next reading is due */

    /* How it ended, if it has. */
    bool ended;
    bool gone;   /* its number is free again: nothing more can be known */
    bool known;  /* the status is */
    bool killed; /* by SIGKILL */
    bool out_of_memory;
    bool told;      /* its file says that it has ended */
    int64_t status; /* as from waitpid */
    int64_t ended_ns;
};

#define MP_FAMILY_BUCKETS 1024

/* All zeros: nobody. */
struct mp_family {
    struct mp_member **members;
    size_t count;
    size_t room;
    struct mp_member *buckets[MP_FAMILY_BUCKETS]; /* by the low bits of their numbers */
    uint64_t missed; /* members that had ended before they could be looked at */
};

/* The member of that number, or NULL. */
struct mp_member *mp_family_member(const struct mp_family *family, uint32_t pid);

/* Adds a process. Returns 0, an error of mp_process_open, or ENOMEM. */
int mp_family_add(struct mp_family *family, const struct mp_process_identity *who,
                  struct mp_member **member);

/* Takes a member out, whose number is free again or will be. It is the caller's. */
void mp_family_take_out(struct mp_family *family, struct mp_member *member);

/* Finds new members among the processes that came since the last call, and adds them.
 * Their `pages` are 0. */
void mp_family_find(struct mp_family *family);

#endif
