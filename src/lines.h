/* Text that comes in pieces, to whole lines. Pure. */
#ifndef MP_LINES_H
#define MP_LINES_H

#include <stddef.h>

/* Longer lines are cut: what is asked of those that can be long stands at their
 * beginning. */
#define MP_LONGEST_LINE 255

/* Zeroed but for the first two: nothing came yet. */
struct mp_lines {
    /* Gets each line without its newline; line[length] is '\0'. */
    void (*take)(void *context, const char *line, size_t length);
    void *context;
    size_t length;
    char line[MP_LONGEST_LINE + 1];
};

/* Adds a piece. A last line without a newline waits for the rest of it. */
void mp_lines_add(struct mp_lines *lines, const char *text, size_t length);

#endif
