#include "talk.h"

#include <windows.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Its standard input and output are pipes of the program that has started it. */

/* A pipe can't be waited for: it is asked so often. */
#define ASK_MS 10

static bool ended;

void
mp_talk_start(void)
{
    /* It ends by itself, with the last of the family or when it is told to. */
    (void)SetConsoleCtrlHandler(NULL, TRUE);
    (void)SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX);
}

bool
mp_talk_wait(int64_t ns)
{
    ULONGLONG until = GetTickCount64() + (ULONGLONG)(ns / 1000000);
    for (;;) {
        DWORD there = 0;
        if (!ended && (!PeekNamedPipe(GetStdHandle(STD_INPUT_HANDLE), NULL, 0, NULL,
                                      &there, NULL) ||
                       there > 0)) {
            return true;
        }
        ULONGLONG now = GetTickCount64();
        if (now >= until) {
            return false;
        }
        Sleep(until - now < ASK_MS ? (DWORD)(until - now) : ASK_MS);
    }
}

int
mp_talk_receive(char line[MP_TALK_LINE])
{
    HANDLE input = GetStdHandle(STD_INPUT_HANDLE);
    DWORD there = 0;
    DWORD length;
    char *end;
    if (ended || !PeekNamedPipe(input, line, MP_TALK_LINE, &length, &there, NULL)) {
        ended = true;
        return -1;
    }
    end = memchr(line, '\n', length);
    if (end == NULL) {
        return 0;
    }
    if (!ReadFile(input, line, (DWORD)(end + 1 - line), &length, NULL)) {
        ended = true;
        return -1;
    }
    *end = '\0';
    return (int)(end - line);
}

int
mp_talk_send(const char *line)
{
    char text[MP_TALK_LINE];
    DWORD sent;
    int length = snprintf(text, sizeof text, "%s\n", line);
    if (length < 0 || (size_t)length >= sizeof text) {
        return EMSGSIZE;
    }
    if (!WriteFile(GetStdHandle(STD_OUTPUT_HANDLE), text, (DWORD)length, &sent, NULL)) {
        return (int)GetLastError();
    }
    return 0;
}
