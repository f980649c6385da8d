#include "copy.h"
#include "folder.h"
#include "process.h"
#include "record_file.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define MOST 8 /* a worker has one, and a process a worker or two */

static struct copy {
    struct mp_folder_file from;
    struct mp_folder_file to;
} copies[MOST];
static unsigned count;

static bool
is_empty(const char block[MP_RECORD_BLOCK_BYTES])
{
    return block[0] == 0 && memcmp(block, block + 1, MP_RECORD_BLOCK_BYTES - 1) == 0;
}

/* Brings one block up to date. What was never written to stays a hole. */
static int
renew_block(struct copy *copy, uint32_t slot)
{
    char now[MP_RECORD_BLOCK_BYTES];
    char before[MP_RECORD_BLOCK_BYTES];
    int error = mp_folder_read(&copy->from, slot, now);
    if (error != 0) {
        return error;
    }
    if (slot < copy->to.slots) {
        if (mp_folder_read(&copy->to, slot, before) == 0 &&
            memcmp(now, before, sizeof now) == 0) {
            return 0;
        }
    } else if (is_empty(now) && slot + 1 < copy->from.slots) {
        return 0;
    }
    return mp_folder_write(&copy->to, slot, now);
}

/* The last block first, which gives the file its length. */
static int
renew(struct copy *copy)
{
    int error = 0;
    for (uint32_t slot = copy->from.slots; slot > 0 && error == 0; slot--) {
        error = renew_block(copy, slot - 1);
    }
    return error;
}

int
mp_copy_start(uint32_t pid, int descriptor, const char *name)
{
    if (count == MOST) {
        return ENOSPC;
    }
    if (name[0] == '\0' || name[0] == '.' || strpbrk(name, "/\\") != NULL) {
        return EINVAL;
    }
    struct copy *copy = &copies[count];
    *copy = (struct copy){0};
    uint64_t bytes = 0;
    int error = mp_process_open_memory(pid, descriptor, &copy->from.descriptor, &bytes);
    if (error == 0 && bytes / MP_RECORD_BLOCK_BYTES > UINT32_MAX) {
        error = EFBIG;
    }
    if (error == 0) {
        copy->from.slots = (uint32_t)(bytes / MP_RECORD_BLOCK_BYTES);
        error = mp_folder_open(&copy->to, name, true);
    }
    if (error == 0) {
        error = mp_folder_clear(&copy->to);
    }
    if (error == 0) {
        error = renew(copy);
    }
    if (error != 0) {
        mp_folder_close(&copy->from);
        mp_folder_close(&copy->to);
        return error;
    }
    count++;
    return 0;
}

void
mp_copies_renew(void)
{
    for (unsigned i = 0; i < count; i++) {
        (void)renew(&copies[i]);
    }
}

void
mp_copies_end(void)
{
    mp_copies_renew();
    for (; count > 0; count--) {
        mp_folder_close(&copies[count - 1].from);
        mp_folder_close(&copies[count - 1].to);
    }
}
