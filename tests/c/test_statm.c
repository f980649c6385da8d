#include "check.h"
#include "statm.h"

#include <errno.h>
#include <string.h>

/* Parses from memory of exactly that length and the '\0', so that ASan sees more. */
static int
parse(const char *text, size_t length, uint64_t *pages)
{
    char *exact = malloc(length + 1);
    CHECK(exact != NULL);
    memcpy(exact, text, length);
    exact[length] = '\0';
    int error = mp_statm_parse(exact, length, pages);
    free(exact);
    return error;
}

static void
test_reads_the_second_number(void)
{
    static const struct {
        const char *text;
        uint64_t pages;
    } cases[] = {
        {"3921 1184 1015 612 0 524 0\n", 1184},
        {"1 1 0 0 0 0 0\n", 1},
        {"9 7 0 0 0 0 0\n", 7}, /* gVisor: the last five are 0 */
        {"18446744073709551615 9999999999999999999 18446744073709551615 "
         "18446744073709551615 18446744073709551615 18446744073709551615 "
         "18446744073709551615\n",
         UINT64_C(9999999999999999999)},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t pages = 0;
        CHECK(parse(cases[i].text, strlen(cases[i].text), &pages) == 0);
        CHECK(pages == cases[i].pages);
    }
}

static void
test_no_resident_page_is_no_reading(void)
{
    uint64_t pages;
    CHECK(parse("0 0 0 0 0 0 0\n", 14, &pages) == ENODATA);
    CHECK(parse("8 0 1 1 0 1 0\n", 14, &pages) == ENODATA);
}

static void
test_refuses_anything_else(void)
{
    static const char *const cases[] = {
        "",
        "\n",
        "12",
        "1 2 3 4 5 6 7",            /* cut short */
        "1 2 3 4 5 6\n",            /* six */
        "1 2 3 4 5 6 7 8\n",        /* eight */
        "1 2 3 4 5 6 7\n\n",        /* more lines */
        "1 2 3 4 5 6 7\n1 2 3 4 5", /* another begins */
        "1  2 3 4 5 6 7\n",         /* two spaces */
        " 1 2 3 4 5 6 7\n",
        "1 2 3 4 5 6 7 \n",
        "1\t2 3 4 5 6 7\n",
        "-1 2 3 4 5 6 7\n",
        "1 +2 3 4 5 6 7\n",
        "1 2.0 3 4 5 6 7\n",
        "0x1 2 3 4 5 6 7\n",
        "a b c d e f g\n",
        "1 18446744073709551616 3 4 5 6 7\n", /* 65 bits */
        "1 00000000000000000002 3 4 5 6 7\n", /* no number of the kernel's */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t pages;
        CHECK(parse(cases[i], strlen(cases[i]), &pages) == EBADMSG);
    }
    uint64_t pages;
    CHECK(parse("1 2\0 3 4 5 6 7\n", 15, &pages) == EBADMSG);
}

static void
test_refuses_each_part_of_a_good_line(void)
{
    static const char line[] = "3921 1184 1015 612 0 524 0\n";
    for (size_t length = 0; length < sizeof line - 1; length++) {
        uint64_t pages;
        CHECK(parse(line, length, &pages) == EBADMSG);
    }
}

int
main(void)
{
    test_reads_the_second_number();
    test_no_resident_page_is_no_reading();
    test_refuses_anything_else();
    test_refuses_each_part_of_a_good_line();
    return 0;
}
