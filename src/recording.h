/* What the observer knows of one process, and how that gets into its file. */
#ifndef MP_RECORDING_H
#define MP_RECORDING_H

#include "folder.h"
#include "process.h"
#include "record_file.h"

#include <stdbool.h>
#include <stdint.h>

/* What all recordings of an observer have in common. */
struct mp_recording_settings {
    int64_t interval_ns;
    uint32_t recorder; /* the process that it was started for */
    struct mp_machine machine;
    char boot[40]; /* the machine's, as the files have it */
};

/* The file of one process. All zeros: there is none yet. */
struct mp_recording {
    char name[MP_RECORD_NAME_BYTES];
    struct mp_folder_file file;
    /* Samples go here from the first look on, before there is a file, too. */
    struct mp_record_file *record;
    char *command; /* the first command line that was seen */
    uint32_t command_bytes;
    struct mp_record_changing changing; /* what the head is to say */
    bool changed;                       /* it doesn't say so yet */
    bool held;                          /* by another observer */
    bool made;                          /* the file wasn't there before */
    bool brief; /* there are too few descriptors: it is open for a write at a time */
    int error;  /* why nothing can be written, or 0 */
    int64_t retry_ns; /* not to be tried before */
    int64_t wait_ns;  /* how long it was waited for the last try */
};

/* Begins without a file. Returns 0 or ENOMEM. */
int mp_recording_begin(struct mp_recording *recording,
                       const struct mp_recording_settings *settings,
                       const struct mp_process *process);

/* Notes the command line that the process has now. */
void mp_recording_name(struct mp_recording *recording,
                       const struct mp_process *process);

/* Notes its parent and its user. */
void mp_recording_describe(struct mp_recording *recording,
                           const struct mp_process_details *details);

/* Makes the file, or goes on in the one that is there, unless it was tried a short time
 * ago. Returns 0, EBUSY if another observer holds it, or an errno. */
int mp_recording_open(struct mp_recording *recording,
                      const struct mp_recording_settings *settings,
                      const struct mp_process *process, int64_t started_ns,
                      int64_t now_ns);

/* Stores a sample. What can't be written now is written later. */
void mp_recording_store(struct mp_recording *recording, int64_t now_ns, uint64_t pages,
                        uint64_t shared, const struct mp_record_summary *summary);

/* Writes what there is once more, with that summary. */
void mp_recording_write(struct mp_recording *recording, int64_t now_ns,
                        struct mp_record_summary *summary);

/* Makes sure that the file is still there; if not it is made anew by the next
 * mp_recording_open. */
void mp_recording_check(struct mp_recording *recording);

/* Closes the file and forgets all. */
void mp_recording_end(struct mp_recording *recording);

#endif
