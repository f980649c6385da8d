/* The observer: a program that reads a family of processes from outside and keeps a
 * file of each. It has one thread, may wait for a disk, and may be killed at any
 * instruction.
 *
 *     _observer INTERVAL_NS KEEP_BYTES FLAGS PID...
 *
 * KEEP_BYTES is -1 for no bound. Descriptors and messages are described in talk.h. */
#include "cgroup.h"
#include "copy.h"
#include "family.h"
#include "keep.h"
#include "kills.h"
#include "process.h"
#include "recording.h"
#include "system.h"
#include "talk.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND_NS INT64_C(1000000000)
#define LEAST_LOOK_NS (SECOND_NS / 100)
#define YOUNG_NS SECOND_NS
#define NEW_NS (10 * SECOND_NS)
#define STILL_NS (5 * SECOND_NS)
#define NAME_NS (5 * SECOND_NS)
#define GROUP_NS (60 * SECOND_NS)
#define KEEP_NS (60 * SECOND_NS)
/* From the end of the family to that of the observer. */
#define LAST_NS (SECOND_NS / 10)
#define PSS_SHARE 100
#define LARGE_BYTES (UINT64_C(32) << 20)

enum flags { WITH_PSS = 1, TEMPORARY = 2, UNLESS_OBSERVED = 4 };

static struct mp_family family;
static struct mp_recording_settings settings;
static int64_t keep_bytes;
static int flags;
static int64_t look_ns; /* between two looks at a process that stands still, */
static int64_t fast_ns; /* and at one that moves */

/* The process that the observer was started for, in whose file the short-lived are
 * summed up; also after its end. */
static struct mp_member *recorder;
static uint64_t short_lived;
static uint64_t short_lived_peak;

static uint64_t told; /* the sum of both counts, as its file has them */

static bool stopping;
static bool look_at_all;
static int64_t alone_ns; /* since when nobody is left */
static int64_t keep_ns;
static int64_t copies_ns; /* when they were renewed last */
static int64_t counted_ns;

static struct mp_kills kills[MP_CGROUP_MOST]; /* of each group */

static int64_t
most(int64_t one, int64_t other)
{
    return one > other ? one : other;
}

static bool
moved(uint64_t from, uint64_t to)
{
    uint64_t difference = from < to ? to - from : from - to;
    return difference * 100 > from;
}

/* The first moment on the grid of `step_ns` after now: so that looks fall together, and
 * one wake-up serves many. */
static int64_t
next_on_grid(int64_t now_ns, int64_t step_ns)
{
    return (now_ns / step_ns + 1) * step_ns;
}

static void
summarize(const struct mp_member *member, int64_t now_ns,
          struct mp_record_summary *summary)
{
    struct mp_cgroup_memory memory;
    uint64_t limit = settings.machine.memory;
    mp_cgroup_read(member->group, now_ns, settings.interval_ns / 2, &memory);
    *summary = (struct mp_record_summary){
        .written_ns = now_ns,
        .wall_ns = mp_wall_clock_ns(),
        .peak = member->peak,
        .swap = member->details.swap,
        .pss = member->details.pss,
        .uss = member->details.uss,
        .cgroup_bytes = memory.usage,
        .cgroup_limit = memory.limit < limit ? memory.limit : limit,
        .oom_kills = MP_RECORD_UNKNOWN,
        .status = MP_RECORD_UNKNOWN,
        .short_lived = MP_RECORD_UNKNOWN,
        .short_lived_peak = MP_RECORD_UNKNOWN,
        .missed = MP_RECORD_UNKNOWN,
        .state = MP_RECORD_RUNNING,
        .cause = MP_RECORD_CAUSE_UNKNOWN,
    };
    if (member->group >= 0 && kills[member->group].read) {
        summary->oom_kills = kills[member->group].count;
    }
    if (member == recorder) {
        told = short_lived + family.missed;
        summary->short_lived = short_lived;
        summary->short_lived_peak = short_lived_peak;
        summary->missed = family.missed;
    }
    if (!member->ended) {
        return;
    }
    uint64_t signal_number = (uint64_t)member->status & 0x7f;
    if (!member->known) {
        summary->state = MP_RECORD_ENDED;
    } else if (signal_number == 0) {
        summary->state = MP_RECORD_EXITED;
        summary->status = (uint64_t)member->status >> 8;
    } else {
        summary->state = MP_RECORD_DIED;
        summary->status = signal_number;
    }
    if (member->out_of_memory) {
        summary->cause = MP_RECORD_CAUSE_OUT_OF_MEMORY;
    }
}

static void
write_last(struct mp_member *member, int64_t now_ns)
{
    struct mp_record_summary summary;
    summarize(member, now_ns, &summary);
    mp_recording_write(&member->recording, now_ns, &summary);
}

/* Has a member lived long enough, or grown large enough, for a file of its own? */
static bool
is_due(const struct mp_member *member, int64_t now_ns)
{
    return member->root || now_ns - member->started_ns >= settings.interval_ns ||
           member->pages * settings.machine.page_size >= LARGE_BYTES;
}

static bool
has_file(const struct mp_member *member)
{
    return member->recording.file.descriptor != 0 || member->recording.brief;
}

/* Reads how many were killed for want of memory in a group. */
static void
count_kills(int group, int64_t now_ns)
{
    uint64_t count = mp_cgroup_oom_kills(group);
    if (count != UINT64_MAX) {
        mp_kills_note(&kills[group], count, now_ns);
    }
}

/* Reads PSS and USS of a member, if it is time: that takes milliseconds for a large
 * process, and a hundredth of a CPU at most for all of them. */
static void
read_pss(struct mp_member *member, int64_t now_ns)
{
    if ((flags & WITH_PSS) == 0 || now_ns < member->pss_ns) {
        return;
    }
    int64_t began_ns = mp_process_clock_ns();
    mp_process_read_pss(&member->process, &member->details);
    int64_t took_ns = mp_process_clock_ns() - began_ns;
    member->pss_ns = now_ns + took_ns * PSS_SHARE * (int64_t)family.count;
}

static void
read_details(struct mp_member *member, int64_t now_ns)
{
    member->details_ns = now_ns;
    member->stirred = false;
    mp_process_read_details(&member->process, &member->details);
    read_pss(member, now_ns);
    if (member->details.peak != MP_PROCESS_UNKNOWN &&
        member->details.peak > member->peak) {
        member->peak = member->details.peak;
    }
    mp_recording_describe(&member->recording, &member->details);
    bool is_new = now_ns - member->started_ns < NEW_NS;
    if (is_new || look_at_all || now_ns - member->name_ns >= NAME_NS) {
        member->name_ns = now_ns;
        mp_recording_name(&member->recording, &member->process);
    }
    /* At first it may be on its way to a group of its own. */
    if (is_new || now_ns - member->group_ns >= GROUP_NS) {
        member->group_ns = now_ns;
        member->group = mp_cgroup_of(member->process.pid);
        if (member->group >= 0 && !kills[member->group].read) {
            count_kills(member->group, now_ns);
        }
    }
}

/* Makes the member's file. Returns 0 or an error of mp_recording_open. */
static int
make_file(struct mp_member *member, int64_t now_ns)
{
    if (member->details_ns == 0) {
        read_details(member, now_ns);
    }
    return mp_recording_open(&member->recording, &settings, &member->process,
                             member->started_ns, now_ns);
}

/* Is an interval over? A look comes a little early or late. */
static bool
is_over(int64_t interval_ns, int64_t since_ns, int64_t now_ns)
{
    return now_ns - since_ns >= interval_ns - fast_ns / 2;
}

/* Is it time for what is read besides RSS? That takes ten times as long, so of those
 * who are neither new nor have moved by a page it is read less often. */
static bool
are_details_due(const struct mp_member *member, int64_t now_ns)
{
    int64_t interval_ns = settings.interval_ns;
    if (now_ns - member->started_ns >= NEW_NS) {
        interval_ns = most(interval_ns, member->stirred ? SECOND_NS : STILL_NS);
    }
    return look_at_all || is_over(interval_ns, member->details_ns, now_ns);
}

/* Stores what the last look has read, and does what is done each interval. */
static void
store(struct mp_member *member, int64_t now_ns)
{
    struct mp_record_summary summary;
    bool due = has_file(member) || is_due(member, now_ns);
    if (due && are_details_due(member, now_ns)) {
        read_details(member, now_ns);
    }
    if (due && is_over(settings.interval_ns, member->check_ns, now_ns)) {
        member->check_ns = now_ns;
        mp_recording_check(&member->recording);
        member->recording.held = false; /* its holder may have gone */
    }
    if (due && !has_file(member) && !member->recording.held) {
        (void)make_file(member, now_ns); /* what keeps it from that stands in it */
    }
    member->stored = member->pages;
    member->store_ns = now_ns;
    if (!member->recording.held) {
        summarize(member, now_ns, &summary);
        mp_recording_store(&member->recording, member->read_ns, member->pages,
                           member->shared, &summary);
    }
}

/* Notes how a member has ended, as far as that is known by now. */
static void
note_end(struct mp_member *member, int64_t now_ns, int64_t status, bool known)
{
    if (!member->ended) {
        member->ended = true;
        member->ended_ns = now_ns;
    }
    if (known && !member->known) {
        member->known = true;
        member->status = status;
        member->killed = (status & 0x7f) == MP_PROCESS_KILLED;
    }
}

/* Asks whether a member has ended, and how. */
static void
ask_end(struct mp_member *member, int64_t now_ns)
{
    int64_t status = 0;
    bool known;
    enum mp_process_state state = mp_process_end(&member->process, &status, &known);
    member->gone = state == MP_PROCESS_GONE;
    member->look_ns = next_on_grid(now_ns, look_ns);
    if (state != MP_PROCESS_LIVES) {
        note_end(member, now_ns, status, known);
    }
}

/* Looks at a member: reads its RSS. Returns whether that is to be stored. */
static bool
look(struct mp_member *member)
{
    uint64_t pages, shared;
    int64_t now_ns = mp_process_clock_ns();
    int error = mp_process_read(&member->process, &pages, &shared);
    if (error == ESRCH || error == ENODATA) {
        ask_end(member, now_ns);
        if (member->ended) {
            return false;
        }
    }
    bool hot = now_ns - member->started_ns < YOUNG_NS;
    bool wanted = false;
    if (error == 0) {
        uint64_t bytes = pages * settings.machine.page_size;
        hot |= moved(member->pages, pages);
        member->stirred |= pages != member->pages;
        member->pages = pages;
        member->shared = shared;
        member->peak = bytes > member->peak ? bytes : member->peak;
        member->read_ns = now_ns;
        wanted = look_at_all ||
                 is_over(settings.interval_ns, member->store_ns, now_ns) ||
                 moved(member->stored, pages);
        if (!wanted && !has_file(member)) {
            wanted = bytes >= LARGE_BYTES && member->recording.error == 0 &&
                     !member->recording.held;
        }
    }
    member->look_ns = next_on_grid(now_ns, hot ? fast_ns : look_ns);
    return wanted;
}

/* Could a rise of its group's count explain how this member ended? */
static bool
may_be_explained(const struct mp_member *member, int group)
{
    return member->ended && member->group == group &&
           (member->killed || !member->known) &&
           mp_kills_may_explain(&kills[group], member->ended_ns);
}

/* Tells who of those that were killed had taken too much memory. Those of whom it isn't
 * known yet how they ended may be meant as well. */
static void
explain_kills(int group, int64_t now_ns)
{
    uint64_t killed = 0;
    uint64_t unknown = 0;
    count_kills(group, now_ns);
    for (size_t i = 0; i < family.count; i++) {
        if (may_be_explained(family.members[i], group)) {
            killed += family.members[i]->killed;
            unknown += !family.members[i]->killed;
        }
    }
    if (killed == 0 || !mp_kills_explain(&kills[group], killed, unknown)) {
        return;
    }
    for (size_t i = 0; i < family.count; i++) {
        struct mp_member *member = family.members[i];
        if (member->ended && member->killed && member->group == group) {
            member->out_of_memory = true;
        }
    }
}

/* Takes leave of a member that has ended. */
static void
finish(struct mp_member *member, int64_t now_ns)
{
    if (has_file(member)) {
        write_last(member, now_ns);
    } else if (!member->recording.held && member->recording.error == 0) {
        short_lived++;
        short_lived_peak =
            member->peak > short_lived_peak ? member->peak : short_lived_peak;
    }
    mp_family_take_out(&family, member);
    if (!member->gone) {
        /* A zombie keeps its number for some time, and is no child that was missed. */
        mp_processes_unwanted(member->process.pid);
    }
    mp_process_close(&member->process);
    if (member != recorder) {
        mp_recording_end(&member->recording);
        free(member);
    }
}

/* Asks those that have ended how they did, until it is known or their number is free.
 */
static void
finish_ended(int64_t now_ns)
{
    for (size_t i = 0; i < family.count; i++) {
        struct mp_member *member = family.members[i];
        if (member->ended && !member->known && member->look_ns <= now_ns) {
            ask_end(member, now_ns);
        }
    }
    for (size_t i = 0; i < family.count; i++) {
        const struct mp_member *member = family.members[i];
        if (member->ended && member->killed && member->group >= 0 &&
            !member->out_of_memory) {
            explain_kills(member->group, now_ns);
        }
    }
    for (size_t i = family.count; i-- > 0;) {
        struct mp_member *member = family.members[i];
        if (member->ended && (member->known || member->gone)) {
            finish(member, now_ns);
        } else if (member->ended && !member->told && has_file(member)) {
            member->told = true;
            write_last(member, now_ns);
        }
    }
}

/* Begins with a member that was added. Returns 0 or ENOMEM. */
static int
begin(struct mp_member *member)
{
    member->group = MP_CGROUP_NONE;
    member->group_ns = -GROUP_NS;
    member->name_ns = -NAME_NS;
    member->details.pss = MP_PROCESS_UNKNOWN;
    member->details.uss = MP_PROCESS_UNKNOWN;
    return mp_recording_begin(&member->recording, &settings, &member->process);
}

/* One look at all that are due, and at what is new. */
static void
pass(int64_t now_ns)
{
    size_t before = family.count;
    mp_family_find(&family);
    for (size_t i = before; i < family.count; i++) {
        (void)begin(family.members[i]); /* without memory it goes on unrecorded */
    }
    bool lives = false;
    if (is_over(settings.interval_ns, counted_ns, now_ns)) {
        counted_ns = now_ns;
        for (int group = 0; group < mp_cgroup_count(); group++) {
            count_kills(group, now_ns);
        }
    }
    /* First all that is to be read at this moment; what takes longer comes after it. */
    for (size_t i = 0; i < family.count; i++) {
        struct mp_member *member = family.members[i];
        bool due = look_at_all || member->look_ns <= now_ns + fast_ns / 2;
        member->wanted = !member->ended && due && look(member);
        lives |= !member->ended;
    }
    for (size_t i = 0; i < family.count; i++) {
        if (family.members[i]->wanted) {
            store(family.members[i], now_ns);
        }
    }
    finish_ended(now_ns);
    /* After its end it has no samples with which that is written. */
    if (recorder != NULL && recorder->ended && told != short_lived + family.missed) {
        write_last(recorder, now_ns);
    }
    if (lives) {
        alone_ns = INT64_MAX;
    } else if (alone_ns == INT64_MAX) {
        alone_ns = now_ns;
    }
}

/* Says what went wrong. Returns the program's exit status. */
static int
refuse(int error, const char *what)
{
    char line[MP_TALK_LINE];
    (void)snprintf(line, sizeof line, "error %d %s", error, what);
    (void)mp_talk_send(line);
    return 1;
}

/* Is the process, or one that it descends from, observed already in this folder? */
static bool
is_observed(uint32_t pid)
{
    struct mp_process_identity who;
    for (int i = 0; pid != 0 && i < 64 && mp_process_identify(pid, &who) == 0; i++) {
        char name[MP_RECORD_NAME_BYTES];
        mp_record_file_name(name, who.pid, who.start, settings.boot,
                            settings.machine.pid_namespace);
        if (mp_folder_is_held(name)) {
            return true;
        }
        pid = who.parent;
    }
    return false;
}

/* The boot's id as it is usually written. */
static void
make_boot(const uint8_t id[16], char text[40])
{
    size_t at = 0;
    bool known = false;
    for (size_t i = 0; i < 16; i++) {
        bool hyphen = i == 4 || i == 6 || i == 8 || i == 10;
        at += (size_t)snprintf(text + at, 40 - at, hyphen ? "-%02x" : "%02x", id[i]);
        known |= id[i] != 0;
    }
    if (!known) {
        memset(text, 0, 40);
    }
}

/* Adds the processes that it is started for, and makes their files. Returns 0, or the
 * exit status. */
static int
add_roots(int count, char **numbers)
{
    int64_t now_ns = mp_process_clock_ns();
    int error = ESRCH;
    const char *what = count > 0 ? numbers[0] : "";
    for (int i = 0; i < count; i++) {
        struct mp_process_identity who;
        struct mp_member *member = NULL;
        error = mp_process_identify((uint32_t)strtoul(numbers[i], NULL, 10), &who);
        if (error == 0) {
            error = mp_family_add(&family, &who, &member);
        }
        if (error == 0) {
            member->root = true;
            error = begin(member);
        }
        if (error == 0) {
            error = make_file(member, now_ns);
            what = member->recording.name;
        }
        if (error != 0 && error != EBUSY && (error != ESRCH || count == 1)) {
            return refuse(error, what);
        }
        if (member != NULL && (recorder == NULL || !has_file(recorder))) {
            recorder = member;
        }
    }
    return family.count > 0 ? 0 : refuse(error, what);
}

/* One whose file can't be written, the recorder's before others; NULL if there is none.
 */
static const struct mp_member *
standing_error(void)
{
    if (recorder != NULL && recorder->recording.error != 0) {
        return recorder;
    }
    for (size_t i = 0; i < family.count; i++) {
        if (family.members[i]->recording.error != 0) {
            return family.members[i];
        }
    }
    return NULL;
}

/* Closes all files, so that whoever has told it to stop finds them free. */
static void
let_go(void)
{
    for (size_t i = 0; i < family.count; i++) {
        mp_folder_close(&family.members[i]->recording.file);
    }
    if (recorder != NULL) {
        mp_folder_close(&recorder->recording.file);
    }
    mp_copies_end();
}

/* Answers a request. */
static void
answer(const char *line, int64_t now_ns)
{
    char text[MP_TALK_LINE];
    unsigned long number = 0;
    uint32_t pid = 0;
    int64_t status = 0;
    int descriptor = -1;
    char name[200];
    int error = 0;
    const char *failed = "";
    if (sscanf(line, "look %lu", &number) == 1) {
        look_at_all = true;
        pass(now_ns);
        look_at_all = false;
    } else if (sscanf(line, "ended %" SCNu32 " %" SCNd64 " %lu", &pid, &status,
                      &number) == 3) {
        struct mp_member *member = mp_family_member(&family, pid);
        if (member != NULL) {
            note_end(member, now_ns, status, true);
            finish_ended(now_ns);
        }
    } else if (sscanf(line, "keep %lu", &number) == 1) {
        flags &= ~TEMPORARY;
    } else if (sscanf(line, "copy %d %199s %lu", &descriptor, name, &number) == 3) {
        error = mp_copy_start(settings.recorder, descriptor, name);
        failed = name;
    } else if (sscanf(line, "stop %lu", &number) == 1) {
        look_at_all = true;
        pass(now_ns);
        const struct mp_member *member = standing_error();
        if (member != NULL) {
            error = member->recording.error;
            failed = member->recording.name;
        }
        let_go();
        stopping = true;
    } else {
        return;
    }
    if (error != 0) {
        (void)snprintf(text, sizeof text, "error %lu %d %s", number, error, failed);
    } else {
        (void)snprintf(text, sizeof text, "done %lu", number);
    }
    (void)mp_talk_send(text);
}

/* Removes what it wrote, and the folder: whoever was to read it has ended before. */
static void
remove_all(void)
{
    struct mp_folder_entry *entries;
    size_t count;
    if (mp_folder_list(".memprobe", &entries, &count) == 0) {
        for (size_t i = 0; i < count; i++) {
            mp_folder_remove(NULL, entries[i].name);
        }
    }
    free(entries);
    mp_folder_remove_itself();
}

/* Removes the files that it has made, because nobody knows of them. */
static void
remove_made(void)
{
    for (size_t i = 0; i < family.count; i++) {
        const struct mp_recording *recording = &family.members[i]->recording;
        if (recording->made && recording->file.descriptor != 0) {
            mp_folder_remove(&recording->file, recording->name);
        }
    }
}

/* Hears what it is asked for until that moment. */
static void
listen(int64_t until_ns)
{
    char line[MP_TALK_LINE];
    int64_t now_ns = mp_process_clock_ns();
    do {
        int heard = 0;
        bool any = mp_talk_wait(until_ns - now_ns);
        while (any && !stopping && (heard = mp_talk_receive(line)) > 0) {
            answer(line, mp_process_clock_ns());
        }
        if (!stopping && heard < 0 && (flags & TEMPORARY) != 0) {
            remove_all();
            stopping = true;
        }
        now_ns = mp_process_clock_ns();
    } while (!stopping && now_ns < until_ns);
}

/* Looks until it is told to stop, or until nobody is left. */
static void
observe(void)
{
    int64_t now_ns = mp_process_clock_ns();
    alone_ns = INT64_MAX;
    while (!stopping && now_ns - LAST_NS < alone_ns) {
        pass(now_ns);
        if (keep_bytes >= 0 && now_ns - keep_ns >= KEEP_NS) {
            keep_ns = now_ns;
            mp_keep((uint64_t)keep_bytes, &settings);
        }
        if (now_ns - copies_ns >= SECOND_NS) {
            copies_ns = now_ns;
            mp_copies_renew();
        }
        now_ns = mp_process_clock_ns();
        int64_t next_ns = next_on_grid(now_ns, look_ns);
        for (size_t i = 0; i < family.count; i++) {
            const struct mp_member *member = family.members[i];
            if (!member->ended && member->look_ns < next_ns) {
                next_ns = member->look_ns;
            }
        }
        listen(most(next_ns, now_ns + fast_ns / 2));
        now_ns = mp_process_clock_ns();
    }
    mp_copies_end();
}

int
main(int count, char **arguments)
{
    mp_talk_start();
    if (count < 5) {
        return refuse(EINVAL, "arguments");
    }
    settings.interval_ns = strtoll(arguments[1], NULL, 10);
    keep_bytes = strtoll(arguments[2], NULL, 10);
    flags = (int)strtol(arguments[3], NULL, 10);
    settings.recorder = (uint32_t)strtoul(arguments[4], NULL, 10);
    if (settings.interval_ns <= 0) {
        return refuse(EINVAL, arguments[1]);
    }
    fast_ns = most(settings.interval_ns / 100, LEAST_LOOK_NS);
    look_ns = most(settings.interval_ns / 10, LEAST_LOOK_NS);
    int error = mp_folder_start(MP_TALK_FOLDER);
    if (error != 0) {
        return refuse(error, "the folder");
    }
    error = mp_processes_start(MP_TALK_LIST);
    if (error != 0) {
        return refuse(error, "/proc");
    }
    mp_machine_read(&settings.machine);
    make_boot(settings.machine.boot, settings.boot);
    if ((flags & UNLESS_OBSERVED) != 0 && is_observed(settings.recorder)) {
        return mp_talk_send("observed");
    }
    int status = add_roots(count - 4, arguments + 4);
    if (status == 0 && mp_talk_send("ready") != 0) {
        status = 1;
    }
    if (status != 0) {
        remove_made();
        return status;
    }
    observe();
    return 0;
}
