/* Starts the observer's program as nobody's child: this process never hears of its end.
 * A folder per system implements it. */
#ifndef MP_SPAWN_H
#define MP_SPAWN_H

struct mp_spawn {
    const char *program;    /* the path of the file to execute */
    char *const *arguments; /* the last one is NULL */
    int folder;             /* descriptors that become those of talk.h; -1: none */
    int socket;
    int list;
};

/* Starts it, in a session of its own, with nothing at 0 to 2. The program's own
 * memory isn't copied, so it takes half a millisecond however large that is. Returns 0,
 * or an errno. */
int mp_spawn(const struct mp_spawn *what);

#endif
