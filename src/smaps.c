#include "smaps.h"

#include <errno.h>
#include <string.h>

/* Reads digits of that base, at least one, until there are none. Returns what follows
 * them, or NULL. */
static const char *
read_digits(const char *at, unsigned base, uint64_t *number)
{
    uint64_t value = 0;
    const char *digits = at;
    for (;; at++) {
        unsigned figure = 16;
        if (*at >= '0' && *at <= '9') {
            figure = (unsigned)(*at - '0');
        } else if (*at >= 'a' && *at <= 'f') {
            figure = (unsigned)(*at - 'a') + 10;
        }
        if (figure >= base) {
            break;
        }
        if (value > (UINT64_MAX - figure) / base) {
            return NULL;
        }
        value = value * base + figure;
    }
    *number = value;
    return at == digits ? NULL : at;
}

/* Returns what follows if that is there, else NULL. */
static const char *
skip_one(const char *at, char character)
{
    return at != NULL && *at == character ? at + 1 : NULL;
}

static bool
begins_with(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* Shared anonymous memory has the name of a file that was never opened. */
static enum mp_mapping_name
name_of(const char *name, bool shared)
{
    if (strcmp(name, "[heap]") == 0) {
        return MP_MAPPING_HEAP;
    }
    if (strcmp(name, "[stack]") == 0) {
        return MP_MAPPING_STACK;
    }
    if (begins_with(name, "/memfd:") || begins_with(name, "/dev/shm/") ||
        begins_with(name, "/SYSV") || (shared && begins_with(name, "/dev/zero")) ||
        begins_with(name, "[anon_shmem:")) {
        return MP_MAPPING_SHARED;
    }
    return MP_MAPPING_OTHER;
}

/* "7f0c5a000000-7f0c5a021000 rw-p 00000000 00:00 0    [name]". Returns 0 or EBADMSG. */
static int
parse_head(const char *line, struct mp_mapping *mapping)
{
    uint64_t ignored;
    const char *at = skip_one(read_digits(line, 16, &mapping->start), '-');
    at = at == NULL ? NULL : skip_one(read_digits(at, 16, &mapping->end), ' ');
    if (at == NULL || mapping->start >= mapping->end || strlen(at) < 5) {
        return EBADMSG;
    }
    mapping->accessible = memcmp(at, "---", 3) != 0;
    mapping->writable = at[1] == 'w';
    bool shared = at[3] == 's';
    at = skip_one(at + 4, ' ');
    at = at == NULL ? NULL : skip_one(read_digits(at, 16, &ignored), ' ');
    at = at == NULL ? NULL : skip_one(read_digits(at, 16, &ignored), ':');
    at = at == NULL ? NULL : skip_one(read_digits(at, 16, &ignored), ' ');
    at = at == NULL ? NULL : read_digits(at, 10, &mapping->inode);
    if (at == NULL || (*at != ' ' && *at != '\0')) {
        return EBADMSG;
    }
    while (*at == ' ') {
        at++;
    }
    mapping->name = name_of(at, shared);
    return 0;
}

/* Adds what a line like "Rss:      132 kB" or "VmFlags: rd wr mr mw me gu ac" says to
 * its place, if it has one. Returns 0 or EBADMSG. */
static int
parse_figure(const char *line, struct mp_mapping *mapping)
{
#define FIGURE(name, bytes)                                                            \
    {                                                                                  \
        name ":", sizeof name, bytes                                                   \
    }
    const struct {
        const char *name;
        size_t length;
        uint64_t *bytes;
    } figures[] = {
        FIGURE("Rss", &mapping->rss),
        FIGURE("Pss", &mapping->pss),
        FIGURE("Private_Clean", &mapping->uss),
        FIGURE("Private_Dirty", &mapping->uss),
        FIGURE("Anonymous", &mapping->anonymous),
        FIGURE("LazyFree", &mapping->lazy_free),
        FIGURE("Swap", &mapping->swap),
    };
#undef FIGURE
    if (begins_with(line, "VmFlags:")) {
        mapping->guard = strstr(line, " gu") != NULL;
    }
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
        /* Most lines are of no interest: their first letter says so. */
        if (*line != *figures[i].name ||
            strncmp(line, figures[i].name, figures[i].length) != 0) {
            continue;
        }
        const char *at = line + figures[i].length;
        while (*at == ' ') {
            at++;
        }
        uint64_t kilobytes;
        at = read_digits(at, 10, &kilobytes);
        /* No process has 2**52 bytes; sums of less can't overflow. */
        if (at == NULL || strcmp(at, " kB") != 0 || kilobytes >> 42 != 0) {
            return EBADMSG;
        }
        *figures[i].bytes += kilobytes * 1024;
        return 0;
    }
    return 0;
}

static void
hand_out(struct mp_smaps *smaps)
{
    struct mp_mapping *mapping = &smaps->mapping;
    if (mapping->anonymous > mapping->rss || mapping->lazy_free > mapping->anonymous) {
        smaps->error = EBADMSG;
    } else {
        smaps->take(smaps->context, mapping);
    }
    *mapping = (struct mp_mapping){0};
}

void
mp_smaps_add(struct mp_smaps *smaps, const char *line, size_t length)
{
    if (smaps->error != 0) {
        return;
    }
    if ((*line >= '0' && *line <= '9') || (*line >= 'a' && *line <= 'f')) {
        if (smaps->begun) {
            hand_out(smaps);
        }
        smaps->begun = true;
        if (strlen(line) != length || parse_head(line, &smaps->mapping) != 0) {
            smaps->error = EBADMSG;
        }
    } else {
        smaps->error = smaps->begun ? parse_figure(line, &smaps->mapping) : EBADMSG;
    }
}

int
mp_smaps_end(struct mp_smaps *smaps)
{
    if (smaps->error == 0 && smaps->begun) {
        hand_out(smaps);
    }
    if (smaps->error != 0) {
        return smaps->error;
    }
    return smaps->begun ? 0 : ENODATA;
}
