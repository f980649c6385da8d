#include "breakdown.h"
#include "system.h"

#include <string.h>
#include <windows.h>

/* No allocator of this system's tells how much it holds in a way that adds up to RSS.
 */

const char mp_mappings_source[] = "K32GetProcessMemoryInfo";

int
mp_mappings_read(bool heaps, struct mp_mappings *mappings)
{
    (void)heaps;
    struct mp_rss_reader reader = {0};
    int64_t ns;
    memset(mappings, 0xff, sizeof *mappings); /* MP_UNKNOWN */
    int error = mp_rss_read(&reader, &mappings->rss, NULL, &ns);
    mappings->anonymous = mappings->rss;
    mappings->rest = 0;
    return error;
}

const char *
mp_malloc_read(struct mp_malloc *malloc)
{
    memset(malloc, 0xff, sizeof *malloc); /* MP_UNKNOWN */
    return "unknown";
}

void
mp_pymalloc_read(struct mp_pymalloc *pymalloc)
{
    memset(pymalloc, 0xff, sizeof *pymalloc); /* MP_UNKNOWN */
}

bool
mp_counting_read(struct mp_counted *counted)
{
    (void)counted;
    return false;
}

void
mp_malloc_trim(void)
{
    (void)HeapCompact(GetProcessHeap(), 0);
}
