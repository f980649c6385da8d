#include "keep.h"
#include "folder.h"
#include "record_file.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static int
compare_ages(const void *one, const void *other)
{
    const struct mp_folder_entry *first = one;
    const struct mp_folder_entry *second = other;
    return (first->written_ns > second->written_ns) -
           (first->written_ns < second->written_ns);
}

/* How the process of an open file has ended. */
enum end { UNSURE, BY_ITSELF, OTHERWISE };

/* Has a process ended whose file doesn't say so? Only where its number means something
 * here: after another start of this very system it has, and in this PID namespace the
 * list of processes tells. */
static bool
is_gone(const struct mp_record_head *head, const struct mp_recording_settings *settings)
{
    struct mp_process_identity who;
    if (head->boot[0] == '\0' || settings->boot[0] == '\0' ||
        strncmp(head->host, settings->machine.host, sizeof head->host) != 0) {
        return false;
    }
    if (memcmp(head->boot, settings->boot, sizeof head->boot) != 0) {
        return true;
    }
    if (settings->machine.pid_namespace == MP_RECORD_UNKNOWN ||
        head->pid_namespace != settings->machine.pid_namespace) {
        return false;
    }
    return mp_process_identify((uint32_t)head->pid, &who) == ESRCH ||
           who.start != head->start;
}

static enum end
find_end(struct mp_folder_file *file, const struct mp_recording_settings *settings)
{
    static struct mp_record_head head;
    static struct mp_record_block block;
    uint64_t newest = 0;
    uint32_t state = MP_RECORD_RUNNING;
    if (mp_folder_read(file, 0, &head) != 0 || mp_record_file_head_now(&head) == NULL) {
        return UNSURE; /* somebody else's */
    }
    for (uint32_t slot = 1; slot < file->slots && slot < MP_RECORD_SLOTS; slot++) {
        if (mp_folder_read(file, slot, &block) == 0 && block.number > newest &&
            mp_record_file_block_is_sound(&block)) {
            newest = block.number;
            state = block.summary.state;
        }
    }
    if (state == MP_RECORD_RUNNING) {
        return is_gone(&head, settings) ? OTHERWISE : UNSURE;
    }
    return state == MP_RECORD_EXITED ? BY_ITSELF : OTHERWISE;
}

/* Removes a file if its process has ended so, and nobody holds it. Returns whether it
 * did. */
static bool
remove_ended(const char *name, bool otherwise_too,
             const struct mp_recording_settings *settings)
{
    struct mp_folder_file file;
    bool removes = false;
    if (mp_folder_open(&file, name, false) == 0) {
        enum end end = file.locked ? find_end(&file, settings) : UNSURE;
        removes = end == BY_ITSELF || (end == OTHERWISE && otherwise_too);
        if (removes) {
            mp_folder_remove(&file, name);
        }
        mp_folder_close(&file);
    }
    return removes;
}

void
mp_keep(uint64_t bytes, const struct mp_recording_settings *settings)
{
    struct mp_folder_entry *entries;
    size_t count;
    uint64_t sum = 0;
    if (mp_folder_list(".memprobe", &entries, &count) == 0) {
        for (size_t i = 0; i < count; i++) {
            sum += entries[i].bytes;
        }
        qsort(entries, count, sizeof *entries, compare_ages);
        for (int otherwise_too = 0; otherwise_too < 2; otherwise_too++) {
            for (size_t i = 0; i < count && sum > bytes; i++) {
                if (entries[i].bytes > 0 &&
                    remove_ended(entries[i].name, otherwise_too, settings)) {
                    sum -= entries[i].bytes;
                    entries[i].bytes = 0;
                }
            }
        }
    }
    free(entries);
}
