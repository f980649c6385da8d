#include "check.h"
#include "smaps.h"

#include <errno.h>
#include <string.h>

#define MOST 8
static struct mp_mapping mappings[MOST];
static size_t count;

static void
keep(void *context, const struct mp_mapping *mapping)
{
    (void)context;
    CHECK(count < MOST);
    mappings[count++] = *mapping;
}

/* Each line from memory of exactly its length and the '\0', so that ASan sees more. */
static int
parse(const char *text)
{
    struct mp_smaps smaps = {.take = keep};
    count = 0;
    while (*text != '\0') {
        size_t length = strcspn(text, "\n");
        char *line = malloc(length + 1);
        CHECK(line != NULL);
        memcpy(line, text, length);
        line[length] = '\0';
        mp_smaps_add(&smaps, line, length);
        free(line);
        text += length + (text[length] == '\n');
    }
    return mp_smaps_end(&smaps);
}

static void
test_reads_what_the_kernel_writes(void)
{
    CHECK(parse("55d0c5a00000-55d0c5a21000 rw-p 00000000 00:00 0             [heap]\n"
                "Size:                132 kB\n"
                "KernelPageSize:        4 kB\n"
                "Rss:                 100 kB\n"
                "Pss:                  60 kB\n"
                "Pss_Dirty:            50 kB\n"
                "Shared_Clean:          4 kB\n"
                "Private_Clean:         8 kB\n"
                "Private_Dirty:        40 kB\n"
                "Anonymous:            96 kB\n"
                "LazyFree:             12 kB\n"
                "AnonHugePages:         0 kB\n"
                "Swap:                 20 kB\n"
                "SwapPss:              20 kB\n"
                "THPeligible:           0\n"
                "VmFlags: rd wr mr mw me ac \n"
                "7f0c5a000000-7f0c5a021000 ---p 00000000 00:00 0 \n"
                "Rss:                   0 kB\n"
                "VmFlags: mr mw me gu ac \n"
                "7f0c5b000000-7f0c5b021000 r-xp 00001000 fe:0a 260850     /usr/lib/x\n"
                "Rss:                   4 kB\n") == 0);
    CHECK(count == 3);
    const struct mp_mapping *heap = &mappings[0];
    CHECK(heap->start == 0x55d0c5a00000 && heap->end == 0x55d0c5a21000);
    CHECK(heap->accessible && heap->writable && heap->inode == 0);
    CHECK(heap->name == MP_MAPPING_HEAP);
    CHECK(heap->rss == 100 * 1024 && heap->pss == 60 * 1024 && heap->uss == 48 * 1024);
    CHECK(heap->anonymous == 96 * 1024 && heap->lazy_free == 12 * 1024);
    CHECK(heap->swap == 20 * 1024);
    CHECK(!mappings[1].accessible && !mappings[1].writable && mappings[1].rss == 0);
    CHECK(!heap->guard && mappings[1].guard && !mappings[2].guard);
    CHECK(mappings[2].accessible && !mappings[2].writable);
    CHECK(mappings[2].inode == 260850 && mappings[2].name == MP_MAPPING_OTHER);
}

static void
test_knows_mappings_by_their_names(void)
{
    static const struct {
        const char *rest;
        enum mp_mapping_name name;
    } cases[] = {
        {"rw-p 00000000 00:00 0 ", MP_MAPPING_OTHER},
        {"rw-p 00000000 00:00 0", MP_MAPPING_OTHER},
        {"rw-p 00000000 00:00 0 [heap]", MP_MAPPING_HEAP},
        {"rw-p 00000000 00:00 0 [heaps]", MP_MAPPING_OTHER},
        {"rw-p 00000000 00:00 0 [stack]", MP_MAPPING_STACK},
        {"rw-p 00000000 00:00 0 [anon:some arena]", MP_MAPPING_OTHER},
        {"rw-s 00000000 00:00 9 [anon_shmem:x]", MP_MAPPING_SHARED},
        {"rw-s 00000000 00:01 9 /dev/zero (deleted)", MP_MAPPING_SHARED},
        {"rw-p 00000000 00:06 9 /dev/zero", MP_MAPPING_OTHER},
        {"rw-s 00000000 00:01 9 /memfd:x (deleted)", MP_MAPPING_SHARED},
        {"rw-s 00000000 00:17 9 /dev/shm/psm_1", MP_MAPPING_SHARED},
        {"rw-s 00000000 00:01 9 /SYSV00000000 (deleted)", MP_MAPPING_SHARED},
        {"r--p 00000000 fe:00 9 /home/dev/shm/x", MP_MAPPING_OTHER},
        {"r--p 00000000 fe:00 9 /a name: with 12 kB", MP_MAPPING_OTHER},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[128];
        (void)snprintf(line, sizeof line, "1000-2000 %s", cases[i].rest);
        CHECK(parse(line) == 0);
        CHECK(count == 1 && mappings[0].name == cases[i].name);
    }
}

static void
test_refuses_what_the_kernel_does_not_write(void)
{
    static const char *const cases[] = {
        "Rss: 4 kB\n", /* of no mapping */
        "12 34 56\n",
        "1000-2000\n",
        "1000-2000 rw-p\n",
        "1000-2000 rw-p 0 00:00\n",
        "1000-2000 rw-p 0 0000 0\n",
        "1000-2000 rw-p 0 00:00 x\n",
        "1000-2000 rw-p 0 00:00 0x\n",
        "2000-1000 rw-p 0 00:00 0\n",
        "1000-1000 rw-p 0 00:00 0\n",
        "1000-10000000000000000 rw-p 0 00:00 0\n",
        "1000-2000 rw-p 0 00:00 0\nRss: kB\n",
        "1000-2000 rw-p 0 00:00 0\nRss: 4\n",
        "1000-2000 rw-p 0 00:00 0\nRss: 4 MB\n",
        "1000-2000 rw-p 0 00:00 0\nRss: -4 kB\n",
        "1000-2000 rw-p 0 00:00 0\nRss: 9999999999999 kB\n",
        "1000-2000 rw-p 0 00:00 0\nRss: 4 kB\nAnonymous: 8 kB\n",
        "1000-2000 rw-p 0 00:00 0\nRss: 4 kB\nAnonymous: 4 kB\nLazyFree: 8 kB\n",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK(parse(cases[i]) == EBADMSG);
    }
    struct mp_smaps smaps = {.take = keep};
    count = 0;
    mp_smaps_add(&smaps, "1000-2000 rw-p 0 00:00 0\0x", 26);
    CHECK(mp_smaps_end(&smaps) == EBADMSG);
}

static void
test_nothing_is_no_mapping(void)
{
    CHECK(parse("") == ENODATA);
}

int
main(void)
{
    test_reads_what_the_kernel_writes();
    test_knows_mappings_by_their_names();
    test_refuses_what_the_kernel_does_not_write();
    test_nothing_is_no_mapping();
    return 0;
}
