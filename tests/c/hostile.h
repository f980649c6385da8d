/* A build that gives bugs a chance, as Lua's ltests.h does: `-include` this before all
 * files of src/. The ring has one slot at first, what is read in pieces is read in the
 * smallest, and it is looked nearly all the time whose file is read. Each lock is taken
 * and released in turn, by the same thread, in one order with all others, and no thread
 * forks or ends with one: else the process is aborted. For Linux. */
#ifndef MP_HOSTILE_H
#define MP_HOSTILE_H

#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define MP_DEFAULT_CAPACITY 1
#define MP_VERIFY_EVERY_NS 3000
#define MP_STATUS_PIECE 32 /* the line of the peak has to fit */
#define MP_ABOVE_PIECE 1

#define MOST_LOCKS 16

/* What this thread holds, the newest last. */
static _Thread_local struct {
    pthread_mutex_t *locks[MOST_LOCKS];
    int count;
} hostile_held;

/* Which lock was held by whom at some time when another was taken. */
static struct {
    _Atomic(pthread_mutex_t *) first;
    _Atomic(pthread_mutex_t *) second;
} hostile_order[MOST_LOCKS * MOST_LOCKS];

static inline void
hostile_check(int holds, const char *what, const void *lock)
{
    if (!holds) {
        fprintf(stderr, "hostile build: %s (%p)\n", what, lock);
        abort();
    }
}

static inline void
hostile_note_order(pthread_mutex_t *first, pthread_mutex_t *second)
{
    for (int i = 0; i < MOST_LOCKS * MOST_LOCKS; i++) {
        pthread_mutex_t *unused = NULL;
        hostile_check(atomic_load(&hostile_order[i].first) != second ||
                          atomic_load(&hostile_order[i].second) != first,
                      "two locks are taken in either order", second);
        if (atomic_load(&hostile_order[i].first) == first &&
            atomic_load(&hostile_order[i].second) == second) {
            return;
        }
        if (atomic_compare_exchange_strong(&hostile_order[i].first, &unused, first)) {
            atomic_store(&hostile_order[i].second, second);
            return;
        }
    }
}

static inline int
hostile_lock(pthread_mutex_t *lock)
{
    for (int i = 0; i < hostile_held.count; i++) {
        hostile_check(hostile_held.locks[i] != lock, "a lock is taken twice", lock);
        hostile_note_order(hostile_held.locks[i], lock);
    }
    hostile_check(hostile_held.count < MOST_LOCKS, "locks aren't released", lock);
    hostile_check(pthread_mutex_lock(lock) == 0, "a lock can't be taken", lock);
    hostile_held.locks[hostile_held.count++] = lock;
    return 0;
}

static inline int
hostile_unlock(pthread_mutex_t *lock)
{
    hostile_check(hostile_held.count > 0, "a lock is released that isn't held", lock);
    hostile_check(hostile_held.locks[--hostile_held.count] == lock,
                  "another lock is released than was taken last", lock);
    hostile_check(pthread_mutex_unlock(lock) == 0, "a lock can't be released", lock);
    return 0;
}

static void
hostile_check_fork(void)
{
    hostile_check(hostile_held.count == 0, "a thread forks with a lock",
                  hostile_held.locks[0]);
}

/* In each file that is built so; only that of the locks has something to find. */
__attribute__((constructor)) static void
hostile_start(void)
{
    hostile_check(pthread_atfork(hostile_check_fork, NULL, NULL) == 0, "no atfork",
                  NULL);
}

__attribute__((destructor)) static void
hostile_end(void)
{
    hostile_check(hostile_held.count == 0, "the program ends with a lock",
                  hostile_held.locks[0]);
}

#define pthread_mutex_lock(lock) hostile_lock(lock)
#define pthread_mutex_unlock(lock) hostile_unlock(lock)

#endif
