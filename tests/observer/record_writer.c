/* The writer of the observer's file as a program: FILE, and what to do as lines on
 * standard input. Says "ok" or an errno after each.
 *
 *     begin | continue
 *     sample NS PAGES SHARED     (-1: not known)
 *     many COUNT STEP_NS PAGES   by so many ns and pages more each, the last ones again
 *     summary INDEX VALUE        what the next samples say: a field of the summary
 *     end                        writes the newest block with the summary
 *     change PARENT TITLE
 *     row                        first, last, level of each block, before the "ok"
 */
#include "record_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int descriptor;

static int
read_block(void *context, uint32_t slot, void *block)
{
    (void)context;
    ssize_t size = pread(descriptor, block, MP_RECORD_BLOCK_BYTES,
                         (off_t)slot * MP_RECORD_BLOCK_BYTES);
    return size < 0 ? errno : size < MP_RECORD_BLOCK_BYTES ? EBADMSG : 0;
}

static int
write_block(void *context, uint32_t slot, const void *block)
{
    (void)context;
    ssize_t size = pwrite(descriptor, block, MP_RECORD_BLOCK_BYTES,
                          (off_t)slot * MP_RECORD_BLOCK_BYTES);
    return size < 0 ? errno : size < MP_RECORD_BLOCK_BYTES ? EIO : 0;
}

static const struct mp_record_io io = {NULL, read_block, write_block};
static struct mp_record_file file;
static struct mp_record_summary summary;
static int64_t last_ns;
static uint64_t last_pages;

static void
set_head(struct mp_record_head *head)
{
    memset(head, 0, sizeof *head);
    head->pid = 4242;
    head->start = 1234567;
    head->started_ns = 90000000000;
    head->started_wall_ns = INT64_C(1700000000000000000);
    head->pid_namespace = 4026531836;
    head->page_bytes = 4096;
    strcpy(head->boot, "6a97d127-2497-4b6e-add0-f98d22665e22");
    strcpy(head->host, "somewhere");
    memcpy(head->command, "python\0app.py\0\xff", 15);
    head->command_bytes = 15;
    head->changing[0].parent = 4000;
    head->changing[0].recorder = 4001;
    head->changing[0].interval_ns = 1500000000;
    head->changing[0].uid = 33;
    strcpy(head->changing[0].user, "www-data");
}

static int
open_file(int goes_on)
{
    struct mp_record_head head;
    struct stat status;
    set_head(&head);
    if (fstat(descriptor, &status) != 0) {
        return errno;
    }
    uint32_t slots = (uint32_t)(status.st_size / MP_RECORD_BLOCK_BYTES);
    return goes_on ? mp_record_file_continue(&file, &io, &head, slots)
                   : mp_record_file_begin(&file, &io, &head);
}

static int
push(int64_t ns, uint64_t pages, uint64_t shared)
{
    summary.written_ns = ns;
    summary.wall_ns = ns + INT64_C(1700000000000000000);
    last_ns = ns;
    last_pages = pages;
    return mp_record_file_push(&file, &io, ns, pages, shared, &summary);
}

static int
push_many(int64_t count, int64_t step_ns, int64_t pages)
{
    int error = 0;
    for (int64_t i = 0; i < count && error == 0; i++) {
        error = push(last_ns + step_ns, last_pages + (uint64_t)pages, 7);
    }
    return error;
}

static int
change(uint64_t parent, const char *title)
{
    struct mp_record_head head;
    set_head(&head);
    head.changing[0].parent = parent;
    head.changing[0].title_bytes = (uint32_t)strlen(title);
    memcpy(head.changing[0].title, title, strlen(title));
    return mp_record_file_change(&file, &io, &head.changing[0]);
}

static int
print_row(void)
{
    struct mp_record_block block;
    for (int i = 0; i < file.full; i++) {
        int error = read_block(NULL, file.blocks[i].slot, &block);
        if (error != 0) {
            return error;
        }
        printf("%" PRIu64 " %" PRIu64 " %" PRIu32 "\n", block.first, block.last,
               block.level);
    }
    if (file.newest.count > 0) {
        printf("%" PRIu64 " %" PRIu64 " 0\n", file.newest.first, file.newest.last);
    }
    return 0;
}

static int
obey(const char *line)
{
    int64_t a = 0;
    int64_t b = 0;
    int64_t c = 0;
    char title[256];
    if (strncmp(line, "begin", 5) == 0) {
        return open_file(0);
    }
    if (strncmp(line, "continue", 8) == 0) {
        return open_file(1);
    }
    if (sscanf(line, "sample %" SCNd64 " %" SCNd64 " %" SCNd64, &a, &b, &c) == 3) {
        return push(a, (uint64_t)b, (uint64_t)c);
    }
    if (sscanf(line, "many %" SCNd64 " %" SCNd64 " %" SCNd64, &a, &b, &c) == 3) {
        return push_many(a, b, c);
    }
    if (sscanf(line, "summary %" SCNd64 " %" SCNd64, &a, &b) == 2) {
        if (a < 13) {
            memcpy((char *)&summary + 8 * a, &b, 8);
        } else {
            memcpy((char *)&summary + 104 + 4 * (a - 13), &b, 4);
        }
        return 0;
    }
    if (sscanf(line, "change %" SCNd64 " %255[^\n]", &a, title) == 2) {
        return change((uint64_t)a, title);
    }
    if (strncmp(line, "row", 3) == 0) {
        return print_row();
    }
    if (strncmp(line, "end", 3) == 0) {
        return mp_record_file_write(&file, &io, &summary);
    }
    return EINVAL;
}

int
main(int argc, char **argv)
{
    char line[512];
    descriptor = argc == 2 ? open(argv[1], O_RDWR | O_CREAT, 0600) : -1;
    if (descriptor < 0) {
        return 1;
    }
    memset(&summary, 0xff, sizeof summary);
    summary.state = MP_RECORD_RUNNING;
    summary.cause = MP_RECORD_CAUSE_UNKNOWN;
    while (fgets(line, sizeof line, stdin) != NULL) {
        int error = obey(line);
        if (error == 0) {
            puts("ok");
        } else {
            printf("%d\n", error);
        }
        fflush(stdout);
    }
    return 0;
}
