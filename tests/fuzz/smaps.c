/* Any bytes as the text of /proc/self/smaps, against a second reading by scanf(). */
#include "smaps.h"
#include "check.h"
#include "fuzz.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define LONGEST_LINE 255

struct sums {
    uint64_t mappings;
    uint64_t bytes;
    uint64_t rss;
    uint64_t swap;
};

static void
add(void *context, const struct mp_mapping *mapping)
{
    struct sums *sums = context;
    CHECK(mapping->start < mapping->end);
    CHECK(mapping->lazy_free <= mapping->anonymous);
    CHECK(mapping->anonymous <= mapping->rss);
    sums->mappings++;
    sums->bytes += mapping->end - mapping->start;
    sums->rss += mapping->rss;
    sums->swap += mapping->swap;
}

/* Of text that was taken for good. */
static void
add_line(struct sums *sums, const char *line)
{
    uint64_t start, end, kilobytes;
    if (line[0] != '\0' && strchr("0123456789abcdef", line[0]) != NULL) {
        CHECK(sscanf(line, "%" SCNx64 "-%" SCNx64, &start, &end) == 2);
        sums->mappings++;
        sums->bytes += end - start;
    } else if (sscanf(line, "Rss: %" SCNu64, &kilobytes) == 1) {
        sums->rss += kilobytes * 1024;
    } else if (sscanf(line, "Swap: %" SCNu64, &kilobytes) == 1) {
        sums->swap += kilobytes * 1024;
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sums sums = {0}, expected = {0};
    struct mp_smaps smaps = {.take = add, .context = &sums};
    const uint8_t *at = data, *end = data + size;
    while (at < end) {
        const uint8_t *newline = memchr(at, '\n', (size_t)(end - at));
        size_t length = (size_t)((newline == NULL ? end : newline) - at);
        length = length < LONGEST_LINE ? length : LONGEST_LINE;
        char *line = malloc(length + 1); /* of exactly that size, for ASan */
        CHECK(line != NULL);
        memcpy(line, at, length);
        line[length] = '\0';
        mp_smaps_add(&smaps, line, length);
        if (smaps.error == 0) {
            add_line(&expected, line);
        }
        free(line);
        at = newline == NULL ? end : newline + 1;
    }
    int error = mp_smaps_end(&smaps);
    CHECK(error == 0 || error == EBADMSG || error == ENODATA);
    CHECK(error != 0 || memcmp(&sums, &expected, sizeof sums) == 0);
    return 0;
}
