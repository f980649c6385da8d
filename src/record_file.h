/* The file that the observer keeps of one process: its layout, and how it is written.
 * docs/file-format.md has pictures and the reasons; memprobe/_record_file.py reads it.
 *
 * Pure: it asks nothing of the system, allocates nothing, has no lock and knows one
 * file at a time; whoever calls it reads and writes blocks, holds the file's lock and
 * tells the time.
 *
 * The file is a row of at most MP_RECORD_SLOTS slots of a block each. The head lies in
 * slot 0, data blocks lie in the others, in any order; all that is free is garbage. A
 * data block is always written to a free slot, and the one that it replaces becomes
 * free only then: so the file is sound whichever write is the last, is cut short or
 * fails.
 *
 * Numbers are little-endian. Samples are numbered from 0, in the order of time, over
 * the whole life of the file. */
#ifndef MP_RECORD_FILE_H
#define MP_RECORD_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MP_RECORD_MAGIC "memprobe"
#define MP_RECORD_VERSION 2
#define MP_RECORD_BLOCK_BYTES 4096
#define MP_RECORD_SLOTS 256   /* head included: 1 MiB */
#define MP_RECORD_SAMPLES 300 /* of a full block: a multiple of 4, see thinning */
#define MP_RECORD_QUARTERS 4
#define MP_RECORD_WIDTH 16     /* full blocks that a level keeps */
#define MP_RECORD_LEVEL_TOP 14 /* from this one on all levels keep so many together */
#define MP_RECORD_NAME_BYTES 96

/* "Not known", in every field that has no other word for it. */
#define MP_RECORD_UNKNOWN UINT64_MAX
#define MP_RECORD_UNKNOWN_32 UINT32_MAX

/* What may change while a process lives. All texts are bytes as they came, without a
 * NUL at the end unless there is room: nobody promises UTF-8. */
struct mp_record_changing {
    uint64_t checksum;    /* mp_record_file_checksum of all behind it; ours */
    uint64_t number;      /* 1, 2, …: the higher one is the newer; ours */
    uint64_t parent;      /* its pid; unknown: all ones */
    uint64_t recorder;    /* pid of the process that asked for the record */
    uint64_t interval_ns; /* the longest time between two stored samples; above 0 */
    uint32_t uid;         /* effective; unknown: all ones */
    uint32_t title_bytes; /* 0: the command line is still the first one */
    char user[40];        /* name of uid, NUL-padded; unknown: empty */
    char title[936];      /* the newest command line, as `command` in the head */
};

/* The block in slot 0. It is written anew when something of `changing` changes, and
 * then all but one of its parts are what they were: a write that is cut short can
 * damage that one only, and the older of the two is taken. */
struct mp_record_head {
    char magic[8];           /* MP_RECORD_MAGIC; ours, as are the next three */
    uint32_t version;        /* MP_RECORD_VERSION */
    uint32_t zero;           /* 0 */
    uint64_t checksum;       /* mp_record_file_checksum from `pid` up to `changing` */
    uint64_t pid;            /* the number that /proc has for the process */
    uint64_t start;          /* Linux: field 22 of its stat, ticks since boot; elsewhere
                                another number that it keeps for life */
    int64_t started_ns;      /* when it started, by the samples' clock; unknown: -1 */
    int64_t started_wall_ns; /* the same since 1970, by the clock at the time; -1 */
    uint64_t pid_namespace;  /* inode of /proc/PID/ns/pid, in which pid counts; unknown:
                                all ones */
    uint64_t page_bytes;     /* of a page, in which the samples count: a power of 2 */
    char boot[40];           /* id of the boot, NUL-padded; unknown: empty */
    char host[64];           /* its name, NUL-padded, cut to fit; unknown: empty */
    uint32_t command_bytes;  /* of `command`; unknown, or a kernel's thread: 0 */
    uint32_t spare;          /* 0 */
    char command[1864];      /* the first command line seen: arguments, each with a NUL
                                behind it, cut to what fits */
    struct mp_record_changing
        changing[2]; /* both are sound, unless one was cut short */
};

/* States of a process. */
enum {
    MP_RECORD_RUNNING = 0, /* when the block was written */
    MP_RECORD_EXITED = 1,  /* by itself: `status` is its exit status */
    MP_RECORD_DIED = 2,    /* `status` is the signal's number */
    MP_RECORD_ENDED = 3,   /* nobody knows how */
};

/* Causes of a death. */
enum {
    MP_RECORD_CAUSE_UNKNOWN = 0,
    MP_RECORD_CAUSE_OUT_OF_MEMORY = 1,
};

/* What whoever writes knows at that moment. Unknown: all ones, if nothing else is said.
 */
struct mp_record_summary {
    int64_t written_ns; /* now, by the samples' clock; never unknown */
    int64_t wall_ns;    /* now, since 1970; never unknown. With it all of the file's
                           times become dates, so a stepped clock tears nothing */
    uint64_t peak;      /* the highest RSS so far in bytes: the kernel's high-water mark
                           and all looks, stored or not */
    uint64_t swap;      /* bytes */
    uint64_t pss;       /* bytes */
    uint64_t uss;       /* bytes */
    uint64_t cgroup_bytes; /* what its cgroup uses, less inactive file pages */
    uint64_t cgroup_limit; /* bytes: the least of its limits and the machine's */
    uint64_t oom_kills;    /* of its cgroup, since that was made */
    uint64_t status;       /* see the states; of a running process: unknown */
    /* In the recorder's own file; elsewhere unknown. */
    uint64_t short_lived;      /* how many members lived too short for a file */
    uint64_t short_lived_peak; /* the highest peak of these, in bytes */
    uint64_t missed;           /* how many were never looked at */
    uint32_t state;
    uint32_t cause;
};

/* A point in a block: `time` as in a sample. Unknown: `pages` all ones. */
struct mp_record_point {
    uint32_t time;
    uint32_t pages;
};

struct mp_record_sample {
    uint32_t time;   /* since the block's start_ns, in units of 2**scale ns */
    uint32_t pages;  /* RSS; all ones: it doesn't fit 32 bits */
    uint32_t shared; /* of these, with files and shared memory; all ones: unknown */
};

/* A data block. It stands for the samples `first` to `last`, of which it keeps `count`.
 */
struct mp_record_block {
    uint64_t checksum;         /* mp_record_file_checksum from here up to the samples */
    uint64_t samples_checksum; /* the same of the `count` samples */
    uint64_t first;
    uint64_t last;
    uint64_t number;    /* 1, 2, … in the order in which the file's blocks were written:
                           of two that stand for the same the higher one is the newer */
    uint32_t level;     /* how often it was merged, at least; 0: as it came */
    uint32_t count;     /* 1 to MP_RECORD_SAMPLES; only the newest isn't full */
    uint64_t low;       /* pages: the lowest of all that it stands for, */
    uint64_t high;      /* and the highest, whether or not they fit 32 bits */
    uint32_t low_time;  /* when that was, as a sample's time */
    uint32_t high_time; /* the same of the highest */
    int64_t start_ns;   /* of its first sample; a clock that goes on in a suspend */
    uint32_t scale;     /* 0 to 31: with it the last sample's time fits 32 bits */
    uint32_t zero;      /* 0 */
    /* Of each quarter the median, and of a merged block the mean of such medians, which
     * spikes leave alone: what growth is told from. Known in full blocks. */
    struct mp_record_point quarters[MP_RECORD_QUARTERS];
    /* Over samples 0 to `last`, in pages. */
    uint64_t sum_low; /* 128 bits */
    uint64_t sum_high;
    uint64_t min;
    uint64_t max;
    uint64_t first_pages;
    uint64_t last_pages;
    uint64_t last_shared; /* unknown: all ones */
    int64_t first_ns;     /* when these were */
    int64_t last_ns;
    struct mp_record_summary summary; /* as of the write; of a merged block that of the
                                         younger one */
    uint8_t later[192];               /* zeros; readers don't look */
    struct mp_record_sample samples[MP_RECORD_SAMPLES];
};

_Static_assert(sizeof(struct mp_record_changing) == 1024, "a quarter of the head");
_Static_assert(offsetof(struct mp_record_head, pid) == 24, "behind its checksum");
_Static_assert(offsetof(struct mp_record_head, changing) == 2048, "half of the head");
_Static_assert(sizeof(struct mp_record_head) == MP_RECORD_BLOCK_BYTES, "one block");
_Static_assert(offsetof(struct mp_record_block, summary) == 192,
               "the totals end there");
_Static_assert(offsetof(struct mp_record_block, samples) == 496, "300 of 12 bytes fit");
_Static_assert(sizeof(struct mp_record_block) == MP_RECORD_BLOCK_BYTES, "one block");

/* The bytes as one number, the first one the highest, modulo 2**64 - 59, the largest
 * prime below 2**64: in Python int.from_bytes(bytes, "big") % (2**64 - 59). `before` is
 * that of the bytes in front of them, 0 if there are none; `bytes` is a multiple of 4.
 */
uint64_t mp_record_file_checksum(uint64_t before, const void *from, size_t bytes);

/* What of the head holds now. NULL if this is no head, or a damaged one. */
const struct mp_record_changing *
mp_record_file_head_now(const struct mp_record_head *head);

/* Is this a data block that is whole and says nothing that can't be? */
bool mp_record_file_block_is_sound(const struct mp_record_block *block);

/* How blocks get into the file and out of it: a whole block from or to offset slot *
 * MP_RECORD_BLOCK_BYTES. They return 0 or an errno, EBADMSG for a block that the file
 * ends before or within, and retry EINTR and short transfers themselves. */
struct mp_record_io {
    void *context;
    int (*read)(void *context, uint32_t slot, void *block);
    int (*write)(void *context, uint32_t slot, const void *block);
};

/* A file that is being written: the newest block, and where the others lie. */
struct mp_record_file {
    struct mp_record_block newest; /* to be read: totals and summary are in it */
    bool unwritten;                /* its newest sample, or more, isn't in the file */
    uint8_t newest_slot;           /* where it was written last; 0: nowhere */
    uint8_t full;                  /* how many full blocks there are before it */
    struct {
        uint8_t slot;
        uint8_t level;
    } blocks[MP_RECORD_SLOTS - 1]; /* these, the oldest first; levels don't rise */
    uint64_t written;              /* the highest `number` so far */
    uint32_t used[MP_RECORD_SLOTS / 32]; /* a bit a slot */
};

/* "<pid>-<start>-<boot>.memprobe", with the first 8 letters of boot; of an unknown boot
 * "00000000". In another PID namespace than the system's first one (containers) the
 * number of the namespace follows on boot, after a hyphen: there, many are process 1.
 */
void mp_record_file_name(char name[MP_RECORD_NAME_BYTES], uint64_t pid, uint64_t start,
                         const char *boot, uint64_t pid_namespace);

/* Begins an empty file; `file` may be garbage. The caller has filled in the head, all
 * but what is ours, what it presently is in changing[0]; the rest of it is made here,
 * and then it is written. Returns 0 or the errno of that write. */
int mp_record_file_begin(struct mp_record_file *file, const struct mp_record_io *io,
                         struct mp_record_head *head);

/* Goes on in a file of `slots` whole slots, under its lock; `head` is filled in as to
 * begin one. What the process was called first stays, changing[0] is written if it is
 * news. Returns 0, EBADMSG if this is no sound file of this very process (nothing was
 * written), or the errno of a read or write; then too nothing is lost, and it may be
 * tried again. Damaged blocks are as good as free. */
int mp_record_file_continue(struct mp_record_file *file, const struct mp_record_io *io,
                            struct mp_record_head *head, uint32_t slots);

/* Writes what changed to the head: `now` is filled in but for what is ours. Returns 0,
 * EBADMSG if the file has lost its head, or the errno of the read or write. */
int mp_record_file_change(struct mp_record_file *file, const struct mp_record_io *io,
                          const struct mp_record_changing *now);

/* Stores a sample: its time (one before the last one's becomes that one), RSS and its
 * shared part in pages (unknown: all ones), and the summary of now. Returns 0, or the
 * errno of a write or read that failed. Then the sample is kept in memory and is
 * written with the next; as long as writing fails, a block that gets full is thinned as
 * if it were merged, so no lowest and no highest is lost. */
int mp_record_file_push(struct mp_record_file *file, const struct mp_record_io *io,
                        int64_t ns, uint64_t pages, uint64_t shared,
                        const struct mp_record_summary *now);

/* Writes the newest block once more, with this summary: a state, or what failed to be
 * written before. Returns 0, the errno of the write, or ENODATA before any sample. */
int mp_record_file_write(struct mp_record_file *file, const struct mp_record_io *io,
                         const struct mp_record_summary *now);

#endif
