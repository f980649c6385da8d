#include "check.h"
#include "status.h"

#include <errno.h>
#include <string.h>

static int
parse(const char *text, uint64_t *bytes)
{
    size_t length = strlen(text);
    char *exact = malloc(length + (length == 0));
    CHECK(exact != NULL);
    memcpy(exact, text, length);
    int error = mp_status_parse_peak(exact, length, bytes);
    free(exact);
    return error;
}

static void
test_reads_the_peak(void)
{
    uint64_t bytes = 0;
    CHECK(parse("VmHWM:\t    9420 kB\n", &bytes) == 0 && bytes == 9420 * 1024);
    CHECK(parse("VmHWM:\t17179869184 kB\n", &bytes) == 0 && bytes == UINT64_C(1) << 44);
}

static void
test_passes_over_other_lines(void)
{
    static const char *const cases[] = {
        "",     "Name:\tpython3\n", "VmRSS:\t    9420 kB\n", "Name:\tVmHWM: 1 kB\n",
        "VmHW", "1000 1001 1002 ",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t bytes;
        CHECK(parse(cases[i], &bytes) == ENODATA);
    }
}

static void
test_no_peak_is_no_reading(void)
{
    uint64_t bytes;
    CHECK(parse("VmHWM:\t       0 kB\n", &bytes) == ENODATA);
}

static void
test_refuses_a_line_that_is_not_the_kernels(void)
{
    static const char *const cases[] = {
        "VmHWM:\n",
        "VmHWM:\t    9420 kB",
        "VmHWM:\t    9420 MB\n",
        "VmHWM:\t    9420\n",
        "VmHWM:\t    -942 kB\n",
        "VmHWM:\t    kB\n",
        "VmHWM:\t    9420 kB\nx",
        "VmHWM:\t99999999999999999999999999 kB\n",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t bytes;
        CHECK(parse(cases[i], &bytes) == EBADMSG);
    }
}

int
main(void)
{
    test_reads_the_peak();
    test_passes_over_other_lines();
    test_no_peak_is_no_reading();
    test_refuses_a_line_that_is_not_the_kernels();
    return 0;
}
