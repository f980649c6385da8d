#define _GNU_SOURCE
#include "cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIMIT_EVERY_NS INT64_C(60000000000)

/* Version 1 says "no limit" by a number near 2**63. */
#define NO_LIMIT (UINT64_C(1) << 60)

static struct {
    char *name;        /* as /proc has it */
    char *folder;      /* of the group, where we see it */
    size_t root;       /* how much of that is where they are mounted; 0: unseen */
    bool version_1;    /* of the interface */
    int64_t limit_ns;  /* when it was read */
    int64_t memory_ns; /* when the usage was read */
    struct mp_cgroup_memory memory;
} groups[MP_CGROUP_MOST];
static int count;

/* Paths are bytes: a group's name may be any. */
static char path[PATH_MAX];
static char text[65536];

/* Reads what fits of a file; there is a NUL after it. Returns whether it could. */
static bool
read_text(const char *name)
{
    int file = open(name, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return false;
    }
    size_t length = 0;
    ssize_t more;
    do {
        more = read(file, text + length, sizeof text - 1 - length);
        length += more > 0 ? (size_t)more : 0;
    } while ((more > 0 && length < sizeof text - 1) || (more < 0 && errno == EINTR));
    (void)close(file);
    text[length] = '\0';
    return more >= 0;
}

/* Reads a file in the group's folder. */
static bool
read_in(const char *folder, const char *name)
{
    int length = snprintf(path, sizeof path, "%s/%s", folder, name);
    return length > 0 && (size_t)length < sizeof path && read_text(path);
}

/* The number after a name at the start of a line of the text, UINT64_MAX if it isn't
 * there; with "" the one at the beginning. */
static uint64_t
number_after(const char *name)
{
    size_t length = strlen(name);
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, length) == 0 && line[length] >= '0' &&
            line[length] <= '9') {
            return strtoull(line + length, NULL, 10);
        }
        if (length == 0) {
            break;
        }
    }
    return UINT64_MAX;
}

/* Cuts the next word out of a line. Returns NULL at its end. */
static char *
next_word(char **line)
{
    while (**line == ' ') {
        (*line)++;
    }
    char *word = *line;
    *line += strcspn(word, " ");
    if (**line != '\0') {
        *(*line)++ = '\0';
    }
    return *word == '\0' ? NULL : word;
}

/* mountinfo has spaces, newlines and backslashes in octal. */
static void
decode(char *word)
{
    char *to = word;
    for (const char *from = word; *from != '\0';) {
        if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] != '\0' &&
            from[3] != '\0') {
            *to++ = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + from[3] - '0');
            from += 4;
        } else {
            *to++ = *from++;
        }
    }
    *to = '\0';
}

/* Is `wanted` one of the words of a list with commas? */
static bool
has_word(const char *list, const char *wanted)
{
    size_t length = strlen(wanted);
    for (const char *at = list; at != NULL; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, wanted, length) == 0 &&
            (at[length] == ',' || at[length] == '\0')) {
            return true;
        }
    }
    return false;
}

/* Finds in mountinfo where the groups of that version are mounted, and where among the
 * folders there the group of that name is: writes its folder to `path`. Returns how
 * much of that is the mount's, 0 if it can't be seen from here. */
static size_t
find_folder(bool version_1, const char *name)
{
    size_t root = 0;
    if (!read_text("/proc/self/mountinfo")) {
        return 0;
    }
    char *next;
    for (char *line = text; *line != '\0' && root == 0; line = next) {
        next = line + strcspn(line, "\n");
        next += *next == '\n' ? (*next = '\0', 1) : 0;
        /* number, parent, device, root, folder, options…, "-", type, source, options */
        char *words[5] = {NULL};
        for (int i = 0; i < 5; i++) {
            words[i] = next_word(&line);
        }
        char *word = words[4];
        while (word != NULL && strcmp(word, "-") != 0) {
            word = next_word(&line);
        }
        const char *type = next_word(&line);
        (void)next_word(&line);
        const char *options = next_word(&line);
        if (options == NULL || strcmp(type, version_1 ? "cgroup" : "cgroup2") != 0 ||
            (version_1 && !has_word(options, "memory"))) {
            continue;
        }
        decode(words[3]);
        decode(words[4]);
        /* In a container the mount may begin at its own group. */
        size_t hidden = strcmp(words[3], "/") == 0 ? 0 : strlen(words[3]);
        if (strncmp(name, words[3], hidden) != 0 ||
            (name[hidden] != '/' && name[hidden] != '\0') ||
            strncmp(name, "/..", 3) == 0) {
            continue;
        }
        const char *below = strcmp(name + hidden, "/") == 0 ? "" : name + hidden;
        int length = snprintf(path, sizeof path, "%s%s", words[4], below);
        if (length > 0 && (size_t)length < sizeof path) {
            root = strlen(words[4]);
        }
    }
    return root;
}

int
mp_cgroup_of(uint32_t pid)
{
    static char name[PATH_MAX];
    char process[32];
    bool version_1 = false;
    (void)snprintf(process, sizeof process, "/proc/%u/cgroup", pid);
    if (!read_text(process)) {
        return MP_CGROUP_NONE;
    }
    name[0] = '\0';
    for (char *line = text; line != NULL && *line != '\0' && !version_1;) {
        char *end = strchr(line, '\n');
        if (end != NULL) {
            *end++ = '\0';
        }
        /* number:controllers:name; version 2 is the one without controllers */
        char *controllers = strchr(line, ':');
        char *group = controllers == NULL ? NULL : strchr(controllers + 1, ':');
        if (group != NULL) {
            *group++ = '\0';
            version_1 = has_word(controllers + 1, "memory");
            if (version_1 || controllers[1] == '\0') {
                (void)snprintf(name, sizeof name, "%s", group);
            }
        }
        line = end;
    }
    for (int i = 0; i < count; i++) {
        if (groups[i].version_1 == version_1 && strcmp(groups[i].name, name) == 0) {
            return groups[i].root > 0 ? i : MP_CGROUP_NONE;
        }
    }
    if (count == MP_CGROUP_MOST) {
        return MP_CGROUP_NONE;
    }
    size_t root = name[0] == '\0' ? 0 : find_folder(version_1, name);
    groups[count].name = strdup(name);
    groups[count].folder = strdup(root > 0 ? path : "");
    if (groups[count].name == NULL || groups[count].folder == NULL) {
        free(groups[count].name);
        free(groups[count].folder);
        return MP_CGROUP_NONE;
    }
    groups[count].root = root;
    groups[count].version_1 = version_1;
    groups[count].limit_ns = INT64_MIN / 2;
    groups[count].memory_ns = INT64_MIN / 2;
    count++;
    return root > 0 ? count - 1 : MP_CGROUP_NONE;
}

int
mp_cgroup_count(void)
{
    return count;
}

/* The least limit of the group and of those above it, as far as they can be seen. */
static uint64_t
read_limit(int group)
{
    uint64_t least = UINT64_MAX;
    if (groups[group].version_1) {
        /* It knows also what stands above what is mounted. */
        if (read_in(groups[group].folder, "memory.stat")) {
            least = number_after("hierarchical_memory_limit ");
        }
        return least < NO_LIMIT ? least : UINT64_MAX;
    }
    char *folder = strdup(groups[group].folder);
    size_t length = folder == NULL ? 0 : strlen(folder);
    while (length >= groups[group].root && length > 0) {
        folder[length] = '\0';
        /* "max" is no number. */
        uint64_t limit = read_in(folder, "memory.max") ? number_after("") : UINT64_MAX;
        least = limit < least ? limit : least;
        do {
            length--;
        } while (length > 0 && folder[length] != '/');
    }
    free(folder);
    return least;
}

void
mp_cgroup_read(int group, int64_t now_ns, int64_t old_ns,
               struct mp_cgroup_memory *memory)
{
    memory->usage = UINT64_MAX;
    memory->limit = UINT64_MAX;
    if (group == MP_CGROUP_NONE) {
        return;
    }
    if (now_ns - groups[group].limit_ns >= LIMIT_EVERY_NS) {
        groups[group].limit_ns = now_ns;
        groups[group].memory.limit = read_limit(group);
    }
    if (now_ns - groups[group].memory_ns >= old_ns) {
        bool version_1 = groups[group].version_1;
        uint64_t usage = UINT64_MAX;
        groups[group].memory_ns = now_ns;
        if (read_in(groups[group].folder,
                    version_1 ? "memory.usage_in_bytes" : "memory.current")) {
            usage = number_after("");
        }
        if (usage != UINT64_MAX && read_in(groups[group].folder, "memory.stat")) {
            uint64_t given_up =
                number_after(version_1 ? "total_inactive_file " : "inactive_file ");
            usage -= given_up < usage ? given_up : 0;
        }
        groups[group].memory.usage = usage;
    }
    *memory = groups[group].memory;
}

uint64_t
mp_cgroup_oom_kills(int group)
{
    if (group == MP_CGROUP_NONE || groups[group].root == 0) {
        return UINT64_MAX;
    }
    const char *name = groups[group].version_1 ? "memory.oom_control" : "memory.events";
    if (read_in(groups[group].folder, name)) {
        return number_after("oom_kill ");
    }
    /* The root of version 2 has no such file: it is all processes. */
    return errno == ENOENT && read_text("/proc/vmstat") ? number_after("oom_kill ")
                                                        : UINT64_MAX;
}
