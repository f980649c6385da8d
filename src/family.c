#include "family.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct mp_member *
mp_family_member(const struct mp_family *family, uint32_t pid)
{
    struct mp_member *member = family->buckets[pid % MP_FAMILY_BUCKETS];
    while (member != NULL && member->process.pid != pid) {
        member = member->next;
    }
    return member;
}

int
mp_family_add(struct mp_family *family, const struct mp_process_identity *who,
              struct mp_member **added)
{
    if (family->count == family->room) {
        size_t room = family->room == 0 ? 16 : family->room * 2;
        struct mp_member **members = realloc(family->members, room * sizeof *members);
        if (members == NULL) {
            return ENOMEM;
        }
        family->members = members;
        family->room = room;
    }
    struct mp_member *member = calloc(1, sizeof *member);
    if (member == NULL) {
        return ENOMEM;
    }
    int error = mp_process_open(&member->process, who);
    if (error != 0) {
        free(member);
        return error;
    }
    member->started_ns = who->started_ns;
    member->index = family->count;
    family->members[family->count++] = member;
    struct mp_member **bucket = &family->buckets[who->pid % MP_FAMILY_BUCKETS];
    member->next = *bucket;
    *bucket = member;
    *added = member;
    return 0;
}

void
mp_family_take_out(struct mp_family *family, struct mp_member *member)
{
    struct mp_member *last = family->members[--family->count];
    family->members[member->index] = last;
    last->index = member->index;
    struct mp_member **at = &family->buckets[member->process.pid % MP_FAMILY_BUCKETS];
    while (*at != member) {
        at = &(*at)->next;
    }
    *at = member->next;
    member->next = NULL;
}

/* Is it still the child of this member? The parent's number may be another process's
 * already; the file that is open tells. */
static bool
is_child(struct mp_process_identity *who, struct mp_member *parent)
{
    uint64_t pages, shared;
    if (mp_process_read(&parent->process, &pages, &shared) != ESRCH) {
        return true;
    }
    /* The member has gone: its children are somebody else's by now. */
    uint32_t before = who->parent;
    return mp_process_identify(who->pid, who) == 0 && who->parent != before;
}

/* A number that may be a new member's. */
struct candidate {
    uint32_t parent;
    enum { UNKNOWN, STRANGER, ADDED, LATER, NOBODY } is;
};

static void
ask(struct mp_family *family, uint32_t pid, struct candidate *candidate)
{
    struct mp_process_identity who;
    struct mp_member *member;
    candidate->is = LATER;
    if (mp_process_identify(pid, &who) != 0) {
        return;
    }
    candidate->is = STRANGER;
    candidate->parent = who.parent;
    struct mp_member *parent = mp_family_member(family, who.parent);
    if (parent == NULL || !is_child(&who, parent)) {
        return;
    }
    if (who.observer) {
        candidate->is = NOBODY;
        return;
    }
    int error = who.zombie ? ESRCH : mp_family_add(family, &who, &member);
    if (error == 0) {
        candidate->is = ADDED;
    } else if (error == ESRCH) {
        candidate->is = NOBODY;
        family->missed++;
    } else {
        candidate->is = error == EINVAL ? NOBODY : LATER;
    }
}

void
mp_family_find(struct mp_family *family)
{
    static struct candidate *candidates;
    static size_t room;
    const uint32_t *pids;
    size_t count = mp_processes_new(&pids);
    if (count > room) {
        struct candidate *more = realloc(candidates, count * sizeof *candidates);
        if (more == NULL) {
            mp_processes_ask_all();
            return;
        }
        candidates = more;
        room = count;
    }
    bool later = false;
    for (size_t i = 0; i < count; i++) {
        candidates[i].is = mp_family_member(family, pids[i]) != NULL ? ADDED : UNKNOWN;
        if (candidates[i].is == UNKNOWN) {
            ask(family, pids[i], &candidates[i]);
            later |= candidates[i].is == LATER;
        }
    }
    /* A child may stand before its parent in the list. */
    for (bool added = count > 0; added;) {
        added = false;
        for (size_t i = 0; i < count; i++) {
            if (candidates[i].is == STRANGER &&
                mp_family_member(family, candidates[i].parent) != NULL) {
                ask(family, pids[i], &candidates[i]);
                added |= candidates[i].is == ADDED;
            }
        }
    }
    for (size_t i = 0; i < count; i++) {
        /* What is a stranger now may be the child of one that can't be asked yet. */
        bool wait =
            candidates[i].is == LATER || (candidates[i].is == STRANGER && later);
        bool again = wait && mp_processes_ask_again(pids[i]);
        if (candidates[i].is == NOBODY || (candidates[i].is == STRANGER && !again)) {
            mp_processes_unwanted(pids[i]);
        }
    }
}
