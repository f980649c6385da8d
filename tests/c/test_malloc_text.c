#include "check.h"
#include "lines.h"
#include "malloc_text.h"

#include <string.h>

static void
add_malloc(void *text, const char *line, size_t length)
{
    CHECK(strlen(line) == length);
    mp_malloc_text_add(text, line);
}

static void
add_pymalloc(void *text, const char *line, size_t length)
{
    CHECK(strlen(line) == length);
    mp_pymalloc_text_add(text, line);
}

/* As glibc 2.36 writes it. */
static const char malloc_info[] =
    "<malloc version=\"1\">\n"
    "<heap nr=\"0\">\n"
    "<sizes>\n"
    "  <size from=\"17\" to=\"32\" total=\"96\" count=\"3\"/>\n"
    "  <size from=\"33\" to=\"33\" total=\"660\" count=\"20\"/>\n"
    "  <size from=\"20001\" to=\"20001\" total=\"40002\" count=\"2\"/>\n"
    "  <unsorted from=\"145\" to=\"30001\" total=\"60000\" count=\"2\"/>\n"
    "</sizes>\n"
    "<total type=\"fast\" count=\"3\" size=\"96\"/>\n"
    "<total type=\"rest\" count=\"25\" size=\"200662\"/>\n"
    "<system type=\"current\" size=\"1179648\"/>\n"
    "<system type=\"max\" size=\"1187840\"/>\n"
    "<aspace type=\"total\" size=\"1179648\"/>\n"
    "<aspace type=\"mprotect\" size=\"1179648\"/>\n"
    "</heap>\n"
    "<heap nr=\"1\">\n"
    "<sizes>\n"
    "  <size from=\"100001\" to=\"100001\" total=\"100001\" count=\"1\"/>\n"
    "</sizes>\n"
    "<total type=\"fast\" count=\"0\" size=\"0\"/>\n"
    "<total type=\"rest\" count=\"2\" size=\"150000\"/>\n"
    "<system type=\"current\" size=\"1000000\"/>\n"
    "<system type=\"max\" size=\"1179648\"/>\n"
    "<aspace type=\"total\" size=\"1179648\"/>\n"
    "<aspace type=\"mprotect\" size=\"1179648\"/>\n"
    "<aspace type=\"subheaps\" size=\"1\"/>\n"
    "</heap>\n"
    "<total type=\"fast\" count=\"3\" size=\"96\"/>\n"
    "<total type=\"rest\" count=\"27\" size=\"350662\"/>\n"
    "<total type=\"mmap\" count=\"2\" size=\"2097152\"/>\n"
    "<system type=\"current\" size=\"2179648\"/>\n"
    "<system type=\"max\" size=\"2367488\"/>\n"
    "<aspace type=\"total\" size=\"2359296\"/>\n"
    "<aspace type=\"mprotect\" size=\"2359296\"/>\n"
    "</malloc>\n";

static const char pymalloc[] =
    "Small block threshold = 512, in 32 size classes.\n"
    "\n"
    "class   size   num pools   blocks in use  avail blocks\n"
    "-----   ----   ---------   -------------  ------------\n"
    "    0     16           6            5905           221\n"
    "\n"
    "# arenas allocated total           =                    4\n"
    "4 arenas * 1048576 bytes/arena     =            4,194,304\n"
    "\n"
    "# bytes in allocated blocks        =            3,494,640\n"
    "# bytes in available blocks        =              327,840\n"
    "17 unused pools * 16384 bytes      =              278,528\n"
    "# bytes lost to pool headers       =               11,280\n"
    "# bytes lost to quantization       =               16,480\n"
    "# bytes lost to arena alignment    =               65,536\n"
    "Total                              =            4,194,304\n";

static void
check_malloc(const struct mp_malloc_text *text)
{
    const uint64_t lost = 48 + 2 * 4096;
    CHECK(text->complete && text->arenas == 2);
    CHECK(text->system == 2179648 && text->fast == 96 && text->rest == 350662);
    CHECK(text->mapped == 2097152);
    uint64_t top = 200662 - 660 - 40002 - 60000;
    uint64_t bins = 40002 - 2 * lost + 60000 - 2 * lost + 100001 - lost;
    CHECK(text->whole_pages == bins + top - 2 * 4096);
}

static void
test_reads_what_comes_in_pieces_of_any_size(void)
{
    for (size_t piece = 1; piece < sizeof malloc_info; piece = piece * 3 / 2 + 1) {
        struct mp_malloc_text text = {.page_size = 4096};
        struct mp_lines lines = {.take = add_malloc, .context = &text};
        struct mp_pymalloc_text python = {0};
        struct mp_lines others = {.take = add_pymalloc, .context = &python};
        for (size_t at = 0; at < sizeof malloc_info - 1; at += piece) {
            size_t rest = sizeof malloc_info - 1 - at;
            mp_lines_add(&lines, malloc_info + at, rest < piece ? rest : piece);
        }
        for (size_t at = 0; at < sizeof pymalloc - 1; at += piece) {
            size_t rest = sizeof pymalloc - 1 - at;
            mp_lines_add(&others, pymalloc + at, rest < piece ? rest : piece);
        }
        check_malloc(&text);
        CHECK(python.lines == MP_PYMALLOC_LINES);
        CHECK(python.used == 3494640 + 11280 + 16480);
        CHECK(python.free == 327840 + 278528);
    }
}

static void
test_what_is_cut_short_is_not_complete(void)
{
    struct mp_malloc_text text = {.page_size = 4096};
    struct mp_lines lines = {.take = add_malloc, .context = &text};
    mp_lines_add(&lines, malloc_info, sizeof malloc_info - 12);
    CHECK(!text.complete);
    struct mp_pymalloc_text python = {0};
    struct mp_lines others = {.take = add_pymalloc, .context = &python};
    mp_lines_add(&others, pymalloc, sizeof pymalloc - 130);
    CHECK(python.lines < MP_PYMALLOC_LINES);
}

static char long_lines[3][MP_LONGEST_LINE + 1];
static size_t kept;

static void
keep(void *context, const char *line, size_t length)
{
    (void)context;
    CHECK(kept < 3 && strlen(line) == length);
    strcpy(long_lines[kept++], line);
}

static void
test_long_lines_are_cut_and_the_next_begins_at_its_beginning(void)
{
    char text[1000];
    memset(text, 'x', sizeof text);
    text[999] = '\n';
    struct mp_lines lines = {.take = keep};
    mp_lines_add(&lines, text, sizeof text);
    mp_lines_add(&lines, "\nnext", 5);
    mp_lines_add(&lines, " line\nrest", 10);
    CHECK(kept == 3);
    CHECK(strlen(long_lines[0]) == MP_LONGEST_LINE);
    CHECK(strcmp(long_lines[1], "") == 0);
    CHECK(strcmp(long_lines[2], "next line") == 0);
}

int
main(void)
{
    test_reads_what_comes_in_pieces_of_any_size();
    test_what_is_cut_short_is_not_complete();
    test_long_lines_are_cut_and_the_next_begins_at_its_beginning();
    return 0;
}
