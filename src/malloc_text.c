#include "malloc_text.h"

#include <string.h>

/* Reads digits, with commas between them or without. Returns false without any. */
static bool
read_grouped(const char *at, uint64_t *number)
{
    uint64_t value = 0;
    const char *begin = at;
    for (; (*at >= '0' && *at <= '9') || *at == ','; at++) {
        if (*at != ',') {
            if (value > UINT64_MAX / 10 - 1) {
                return false;
            }
            value = value * 10 + (uint64_t)(*at - '0');
        }
    }
    *number = value;
    return at != begin;
}

/* Reads the number behind `name`. Returns false if it isn't there. */
static bool
number_after(const char *line, const char *name, uint64_t *number)
{
    const char *at = strstr(line, name);
    return at != NULL && read_grouped(at + strlen(name), number);
}

static uint64_t
beyond(uint64_t from, uint64_t what)
{
    return from > what ? from - what : 0;
}

/* Adds the line of a bin: so many chunks with so many bytes together. malloc_trim()
 * gives back of a chunk what lies in whole pages behind its header; and the sum over
 * the chunks is at least that of as many average ones. */
static void
add_bin(struct mp_malloc_text *text, const char *line)
{
    const uint64_t header = 48; /* struct malloc_chunk */
    uint64_t total, count;
    if (number_after(line, " total=\"", &total) &&
        number_after(line, " count=\"", &count) && count <= total) {
        text->in_bins += total;
        uint64_t least_lost = header + 2 * text->page_size;
        if (count > 0 && total / count > least_lost) {
            text->whole_pages += total - count * least_lost;
        }
    }
}

/* Adds the sum of an arena's chunks outside of its fast bins. What isn't in a bin is
 * the chunk at its top; that of the main arena is given back. */
static void
add_rest(struct mp_malloc_text *text, uint64_t rest)
{
    uint64_t top = beyond(rest, beyond(text->in_bins, text->in_fast));
    if (text->arenas == 1) {
        text->whole_pages += beyond(top, 2 * text->page_size);
    }
}

void
mp_malloc_text_add(struct mp_malloc_text *text, const char *line)
{
    uint64_t size;
    if (strncmp(line, "<heap nr=", 9) == 0) {
        text->in_arena = true;
        text->arenas++;
        text->in_bins = text->in_fast = 0;
    } else if (strcmp(line, "</heap>") == 0) {
        text->in_arena = false;
    } else if (strcmp(line, "</malloc>") == 0) {
        text->complete = text->arenas > 0;
    } else if (strncmp(line, "  <size ", 8) == 0 ||
               strncmp(line, "  <unsorted ", 12) == 0) {
        add_bin(text, line);
    } else if (number_after(line, "<total type=\"mmap\" count=\"", &size)) {
        (void)number_after(line, " size=\"", &text->mapped);
    } else if (!number_after(line, " size=\"", &size)) {
        return;
    } else if (strncmp(line, "<total type=\"fast\"", 18) == 0) {
        *(text->in_arena ? &text->in_fast : &text->fast) = size;
    } else if (strncmp(line, "<total type=\"rest\"", 18) == 0) {
        if (text->in_arena) {
            add_rest(text, size);
        } else {
            text->rest = size;
        }
    } else if (strncmp(line, "<system type=\"current\"", 22) == 0 && !text->in_arena) {
        text->system = size;
    }
}

void
mp_pymalloc_text_add(struct mp_pymalloc_text *text, const char *line)
{
    static const struct {
        const char *name;
        bool used;
    } lines[MP_PYMALLOC_LINES] = {
        {"# bytes in allocated blocks", true},
        {"# bytes lost to pool headers", true},
        {"# bytes lost to quantization", true},
        {"# bytes in available blocks", false},
        {" unused pools * ", false},
    };
    const char *sum = strstr(line, " = ");
    for (size_t i = 0; sum != NULL && i < MP_PYMALLOC_LINES; i++) {
        if (strstr(line, lines[i].name) != NULL) {
            uint64_t bytes;
            sum += 3;
            sum += strspn(sum, " ");
            if (read_grouped(sum, &bytes)) {
                *(lines[i].used ? &text->used : &text->free) += bytes;
                text->lines++;
            }
            return;
        }
    }
}
