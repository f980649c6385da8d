#include "contact.h"
#include "system.h"

#include <windows.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_WORD_NS INT64_C(1000000000)

/* The text in UTF-16, which the caller frees; NULL without memory for it. */
static wchar_t *
widen(const char *text)
{
    int length = MultiByteToWideChar(CP_UTF8, 0, text, -1, NULL, 0);
    wchar_t *wide = length > 0 ? malloc((size_t)length * sizeof *wide) : NULL;
    if (wide != NULL) {
        (void)MultiByteToWideChar(CP_UTF8, 0, text, -1, wide, length);
    }
    return wide;
}

/* Numbers and a name: nothing in them needs quotes. */
static wchar_t *
command_line(char *const *arguments)
{
    size_t length = 1;
    for (size_t i = 0; arguments[i] != NULL; i++) {
        length += strlen(arguments[i]) + 1;
    }
    char *line = malloc(length);
    if (line == NULL) {
        return NULL;
    }
    line[0] = '\0';
    for (size_t i = 0; arguments[i] != NULL; i++) {
        strcat(line, arguments[i]);
        strcat(line, " ");
    }
    wchar_t *wide = widen(line);
    free(line);
    return wide;
}

/* Starts the program, with these as its standard input and output and no other handle
 * of ours. Returns 0 or a GetLastError() code. */
static int
create(const wchar_t *program, wchar_t *line, const wchar_t *folder, HANDLE ends[2])
{
    STARTUPINFOEXW start = {.StartupInfo.cb = sizeof start};
    PROCESS_INFORMATION process;
    SIZE_T bytes = 0;
    int error = 0;
    (void)InitializeProcThreadAttributeList(NULL, 1, 0, &bytes); /* asks how many */
    start.lpAttributeList = malloc(bytes);
    if (start.lpAttributeList == NULL) {
        return ERROR_NOT_ENOUGH_MEMORY;
    }
    if (!InitializeProcThreadAttributeList(start.lpAttributeList, 1, 0, &bytes)) {
        error = (int)GetLastError();
        free(start.lpAttributeList);
        return error;
    }
    start.StartupInfo.dwFlags = STARTF_USESTDHANDLES;
    start.StartupInfo.hStdInput = ends[0];
    start.StartupInfo.hStdOutput = ends[1];
    DWORD flags =
        DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP | EXTENDED_STARTUPINFO_PRESENT;
    if (!UpdateProcThreadAttribute(start.lpAttributeList, 0,
                                   PROC_THREAD_ATTRIBUTE_HANDLE_LIST, ends,
                                   2 * sizeof *ends, NULL, NULL) ||
        !CreateProcessW(program, line, NULL, NULL, TRUE, flags, NULL, folder,
                        &start.StartupInfo, &process)) {
        error = (int)GetLastError();
    } else {
        (void)CloseHandle(process.hThread);
        (void)CloseHandle(process.hProcess);
    }
    DeleteProcThreadAttributeList(start.lpAttributeList);
    free(start.lpAttributeList);
    return error;
}

/* Waits for a line until that time. Returns its length, 0 if there was none until then,
 * or -1 if there will be none. */
static int
hear(const struct mp_contact *contact, int64_t until_ns, char line[MP_TALK_LINE])
{
    HANDLE from = (HANDLE)contact->file;
    for (;;) {
        DWORD length = 0;
        if (!PeekNamedPipe(from, line, MP_TALK_LINE, &length, NULL, NULL)) {
            return -1;
        }
        char *end = memchr(line, '\n', length);
        if (end != NULL) {
            DWORD taken;
            *end = '\0';
            char unwanted[MP_TALK_LINE];
            if (!ReadFile(from, unwanted, (DWORD)(end + 1 - line), &taken, NULL)) {
                return -1;
            }
            return (int)(end - line);
        }
        if (mp_clock_ns() >= until_ns) {
            return 0;
        }
        Sleep(1);
    }
}

int
mp_contact_start(struct mp_contact *contact, const struct mp_contact_start *start,
                 char what[MP_TALK_LINE])
{
    SECURITY_ATTRIBUTES inherited = {.nLength = sizeof inherited,
                                     .bInheritHandle = TRUE};
    HANDLE theirs[2] = {NULL, NULL};
    HANDLE ours[2] = {NULL, NULL};
    wchar_t *program = widen(start->program);
    wchar_t *folder = widen(start->path);
    wchar_t *line = command_line(start->arguments);
    int error = 0;
    what[0] = '\0';
    if (program == NULL || folder == NULL || line == NULL) {
        error = ERROR_NOT_ENOUGH_MEMORY;
    } else if (!CreatePipe(&theirs[0], &ours[1], &inherited, 0) ||
               !CreatePipe(&ours[0], &theirs[1], &inherited, 0) ||
               !SetHandleInformation(ours[0], HANDLE_FLAG_INHERIT, 0) ||
               !SetHandleInformation(ours[1], HANDLE_FLAG_INHERIT, 0)) {
        error = (int)GetLastError();
    } else {
        error = create(program, line, folder, theirs);
        if (error == ERROR_DIRECTORY) {
            (void)snprintf(what, MP_TALK_LINE, "%s", start->path);
        }
    }
    free(program);
    free(folder);
    free(line);
    for (int i = 0; i < 2; i++) {
        if (theirs[i] != NULL) {
            (void)CloseHandle(theirs[i]);
        }
    }
    *contact = (struct mp_contact){.file = (intptr_t)ours[0],
                                   .other = (intptr_t)ours[1],
                                   .process = mp_process_id()};
    if (error == 0) {
        error = mp_contact_first_word(
            hear(contact, mp_clock_ns() + FIRST_WORD_NS, what), what);
    }
    if (error != 0) {
        mp_contact_end(contact);
    }
    return error;
}

int
mp_contact_ask(struct mp_contact *contact, const char *request, int64_t wait_ns,
               char what[MP_TALK_LINE])
{
    char line[MP_TALK_LINE];
    what[0] = '\0';
    if (contact->other == 0) {
        return EPIPE;
    }
    int64_t until_ns = mp_clock_ns() + wait_ns;
    uint32_t number = ++contact->number;
    int length = snprintf(line, sizeof line, "%s %u\n", request, number);
    DWORD sent;
    if (length < 0 || (size_t)length >= sizeof line) {
        return EMSGSIZE;
    }
    if (!WriteFile((HANDLE)contact->other, line, (DWORD)length, &sent, NULL)) {
        return EPIPE;
    }
    contact->unanswered = true;
    int error = 0;
    while ((length = hear(contact, until_ns, line)) > 0) {
        if (mp_contact_is_answer(line, number, &error, what)) {
            contact->unanswered = false;
            return error;
        }
    }
    return length == 0 ? ETIMEDOUT : EPIPE;
}

void
mp_contact_end(struct mp_contact *contact)
{
    if (contact->file != 0) {
        (void)CloseHandle((HANDLE)contact->file);
    }
    if (contact->other != 0) {
        (void)CloseHandle((HANDLE)contact->other);
    }
    *contact = (struct mp_contact){0};
}

bool
mp_contact_lives(const struct mp_contact *contact)
{
    return contact->file != 0 &&
           PeekNamedPipe((HANDLE)contact->file, NULL, 0, NULL, NULL, NULL);
}

/* There is no fork. */
void
mp_contact_end_in_child(struct mp_contact *contact)
{
    (void)contact;
}

int
mp_contact_at_fork(void (*in_child)(void))
{
    (void)in_child;
    return 0;
}

uint64_t
mp_contact_session(void)
{
    return 0;
}
