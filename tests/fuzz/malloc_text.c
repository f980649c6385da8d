/* Any lines as what malloc_info() and _PyObject_DebugMallocStats() print. */
#include "malloc_text.h"
#include "check.h"
#include "fuzz.h"

#include <string.h>

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mp_malloc_text text = {.page_size = 4096};
    struct mp_pymalloc_text pymalloc = {0};
    const uint8_t *at = data, *end = data + size;
    while (at < end) {
        const uint8_t *newline = memchr(at, '\n', (size_t)(end - at));
        size_t length = (size_t)((newline == NULL ? end : newline) - at);
        char *line = malloc(length + 1); /* of exactly that size, for ASan */
        CHECK(line != NULL);
        memcpy(line, at, length);
        line[length] = '\0';
        unsigned lines = pymalloc.lines;
        mp_malloc_text_add(&text, line);
        mp_pymalloc_text_add(&pymalloc, line);
        CHECK(pymalloc.lines - lines <= 1);
        free(line);
        at = newline == NULL ? end : newline + 1;
    }
    CHECK(!text.complete || text.arenas > 0);
    return 0;
}
