#include "recording.h"
#include "system.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* How long to wait after an error for the next try; each time twice as long. */
#define FIRST_WAIT_NS INT64_C(1000000000)
#define LONGEST_WAIT_NS INT64_C(60000000000)

/* Where blocks go as long as there is no file: the samples stay in memory. */
static int
read_nothing(void *context, uint32_t slot, void *block)
{
    (void)context;
    (void)slot;
    (void)block;
    return ENOENT;
}

static int
write_nowhere(void *context, uint32_t slot, const void *block)
{
    (void)context;
    (void)block;
    return slot == 0 ? 0 : ENOENT;
}

static const struct mp_record_io nowhere = {NULL, read_nothing, write_nowhere};

static struct mp_record_io
io_of(struct mp_recording *recording)
{
    if (recording->file.descriptor == 0) {
        return nowhere;
    }
    return (struct mp_record_io){&recording->file, mp_folder_read, mp_folder_write};
}

/* Notes what a try to write came to. */
static void
note(struct mp_recording *recording, int error, int64_t now_ns)
{
    if (error == 0) {
        recording->wait_ns = 0;
    } else {
        recording->wait_ns =
            recording->wait_ns == 0 ? FIRST_WAIT_NS : recording->wait_ns * 2;
        if (recording->wait_ns > LONGEST_WAIT_NS) {
            recording->wait_ns = LONGEST_WAIT_NS;
        }
        recording->retry_ns = now_ns + recording->wait_ns;
    }
    recording->error = error;
}

static bool
is_waiting(const struct mp_recording *recording, int64_t now_ns)
{
    return recording->error != 0 && now_ns < recording->retry_ns;
}

static void
make_head(const struct mp_recording *recording,
          const struct mp_recording_settings *settings,
          const struct mp_process *process, int64_t started_ns, int64_t now_ns,
          struct mp_record_head *head)
{
    memset(head, 0, sizeof *head);
    head->pid = process->pid;
    head->start = process->start;
    head->started_ns = started_ns;
    head->started_wall_ns = mp_wall_clock_ns() - (now_ns - started_ns);
    head->pid_namespace = settings->machine.pid_namespace;
    head->page_bytes = settings->machine.page_size;
    memcpy(head->boot, settings->boot, sizeof head->boot);
    memcpy(head->host, settings->machine.host, sizeof head->host);
    head->command_bytes = recording->command_bytes;
    if (recording->command != NULL) {
        memcpy(head->command, recording->command, recording->command_bytes);
    }
    head->changing[0] = recording->changing;
}

int
mp_recording_begin(struct mp_recording *recording,
                   const struct mp_recording_settings *settings,
                   const struct mp_process *process)
{
    static struct mp_record_head head;
    memset(recording, 0, sizeof *recording);
    recording->record = malloc(sizeof *recording->record);
    if (recording->record == NULL) {
        return ENOMEM;
    }
    mp_record_file_name(recording->name, process->pid, process->start, settings->boot,
                        settings->machine.pid_namespace);
    recording->changing.recorder = settings->recorder;
    recording->changing.interval_ns = (uint64_t)settings->interval_ns;
    recording->changing.parent = MP_RECORD_UNKNOWN;
    recording->changing.uid = MP_RECORD_UNKNOWN_32;
    make_head(recording, settings, process, 0, 0, &head);
    return mp_record_file_begin(recording->record, &nowhere, &head);
}

/* Notes a command line. */
static void
note_command(struct mp_recording *recording, const char *command, size_t length)
{
    struct mp_record_head *head = NULL;
    if (recording->file.descriptor == 0 && !recording->brief) {
        /* What was seen at first is what the parent is called, before an exec. */
        size_t room = sizeof head->command;
        size_t bytes = length < room ? length : room;
        char *copy = realloc(recording->command, bytes);
        if (copy != NULL) {
            memcpy(copy, command, bytes);
            recording->command = copy;
            recording->command_bytes = (uint32_t)bytes;
        }
        return;
    }
    struct mp_record_changing *changing = &recording->changing;
    size_t bytes = length < sizeof changing->title ? length : sizeof changing->title;
    bool titled = changing->title_bytes > 0;
    const char *known = titled ? changing->title : recording->command;
    size_t known_bytes = titled ? changing->title_bytes : recording->command_bytes;
    if (known_bytes > sizeof changing->title) {
        known_bytes = sizeof changing->title;
    }
    if (bytes != known_bytes || (bytes > 0 && memcmp(known, command, bytes) != 0)) {
        memset(changing->title, 0, sizeof changing->title);
        memcpy(changing->title, command, bytes);
        changing->title_bytes = (uint32_t)bytes;
        recording->changed = true;
    }
}

void
mp_recording_name(struct mp_recording *recording, const struct mp_process *process)
{
    char command[MP_RECORD_BLOCK_BYTES];
    size_t length = mp_process_command(process, command, sizeof command);
    if (length > 0) {
        note_command(recording, command, length);
    }
}

void
mp_recording_describe(struct mp_recording *recording,
                      const struct mp_process_details *details)
{
    struct mp_record_changing *changing = &recording->changing;
    if (details->parent != MP_PROCESS_UNKNOWN && details->parent != changing->parent) {
        changing->parent = details->parent;
        recording->changed = true;
    }
    if (details->user != MP_PROCESS_UNKNOWN && details->user != changing->uid) {
        changing->uid = (uint32_t)details->user;
        memset(changing->user, 0, sizeof changing->user);
        mp_user_name(details->user, changing->user, sizeof changing->user);
        recording->changed = true;
    }
}

/* In a file that begins with another command line, the present one is the title. */
static void
note_other_command(struct mp_recording *recording, const struct mp_record_head *head)
{
    struct mp_record_changing *changing = &recording->changing;
    if (recording->command_bytes == 0) {
        return;
    }
    if (head->command_bytes == recording->command_bytes &&
        memcmp(head->command, recording->command, head->command_bytes) == 0) {
        return;
    }
    uint32_t bytes = recording->command_bytes < sizeof changing->title
                         ? recording->command_bytes
                         : sizeof changing->title;
    memcpy(changing->title, recording->command, bytes);
    changing->title_bytes = bytes;
    recording->changed = true;
}

/* Writes the head of the file that has just been opened, or goes on in it. Returns 0 or
 * an errno. */
static int
take_file(struct mp_recording *recording, struct mp_record_head *head)
{
    static struct mp_record_file scratch;
    struct mp_record_io io = io_of(recording);
    recording->made = recording->file.slots == 0;
    if (recording->made) {
        /* The samples that were kept in memory stay, unless there are more in a file
         * that was lost. */
        bool lost = recording->record->newest_slot != 0;
        int error =
            mp_record_file_begin(lost ? recording->record : &scratch, &io, head);
        if (error != 0) {
            mp_folder_remove(&recording->file, recording->name);
        }
        return error;
    }
    int error =
        mp_record_file_continue(recording->record, &io, head, recording->file.slots);
    if (error == 0) {
        note_other_command(recording, head);
    } else if (error == EBADMSG) {
        error = mp_folder_clear(&recording->file);
        if (error == 0) {
            error = mp_record_file_begin(recording->record, &io, head);
        }
    } else {
        (void)mp_record_file_begin(recording->record, &nowhere, head);
    }
    return error;
}

int
mp_recording_open(struct mp_recording *recording,
                  const struct mp_recording_settings *settings,
                  const struct mp_process *process, int64_t started_ns, int64_t now_ns)
{
    static struct mp_record_head head;
    if (is_waiting(recording, now_ns)) {
        return recording->error;
    }
    if (recording->record == NULL) {
        return ENOMEM;
    }
    int error = mp_folder_open(&recording->file, recording->name, true);
    recording->held = error == EBUSY;
    if (error == EBUSY) {
        return error;
    }
    if (error == 0) {
        make_head(recording, settings, process, started_ns, now_ns, &head);
        recording->changed = false;
        error = take_file(recording, &head);
        recording->brief = !mp_processes_may_keep((int)recording->file.descriptor - 1);
        if (error != 0 || recording->brief) {
            mp_folder_close(&recording->file);
        }
    }
    note(recording, error, now_ns);
    return error;
}

/* Writes by `what`, for which a file is opened if it can't stay open. */
static void
write_by(struct mp_recording *recording, int64_t now_ns,
         int (*what)(struct mp_recording *, const struct mp_record_io *, void *),
         void *argument)
{
    if (recording->record == NULL) {
        return; /* there was no memory for it */
    }
    if (recording->brief && !is_waiting(recording, now_ns) &&
        mp_folder_open(&recording->file, recording->name, false) == ENOENT) {
        recording->brief = false; /* it was removed, and is made anew */
    }
    bool writes = recording->file.descriptor != 0 && !is_waiting(recording, now_ns);
    struct mp_record_io io = writes ? io_of(recording) : nowhere;
    int error = what(recording, &io, argument);
    if (writes && error == 0 && recording->changed) {
        error = mp_record_file_change(recording->record, &io, &recording->changing);
        recording->changed = error != 0;
    }
    if (writes) {
        note(recording, error == ENODATA ? 0 : error, now_ns);
    }
    if (recording->brief) {
        mp_folder_close(&recording->file);
    }
}

struct sample {
    int64_t ns;
    uint64_t pages;
    uint64_t shared;
    const struct mp_record_summary *summary;
};

static int
push(struct mp_recording *recording, const struct mp_record_io *io, void *argument)
{
    const struct sample *sample = argument;
    return mp_record_file_push(recording->record, io, sample->ns, sample->pages,
                               sample->shared, sample->summary);
}

void
mp_recording_store(struct mp_recording *recording, int64_t now_ns, uint64_t pages,
                   uint64_t shared, const struct mp_record_summary *summary)
{
    struct sample sample = {now_ns, pages, shared, summary};
    write_by(recording, now_ns, push, &sample);
}

static int
rewrite(struct mp_recording *recording, const struct mp_record_io *io, void *argument)
{
    return mp_record_file_write(recording->record, io, argument);
}

void
mp_recording_write(struct mp_recording *recording, int64_t now_ns,
                   struct mp_record_summary *summary)
{
    write_by(recording, now_ns, rewrite, summary);
}

void
mp_recording_check(struct mp_recording *recording)
{
    if (recording->file.descriptor != 0 && !mp_folder_is_whole(&recording->file)) {
        mp_folder_close(&recording->file);
    }
}

void
mp_recording_end(struct mp_recording *recording)
{
    mp_folder_close(&recording->file);
    free(recording->record);
    free(recording->command);
    memset(recording, 0, sizeof *recording);
}
