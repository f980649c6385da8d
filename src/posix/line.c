#include "line.h"
#include "system.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

int
mp_line_receive(int socket, char line[MP_TALK_LINE])
{
    ssize_t length = recv(socket, line, MP_TALK_LINE, MSG_PEEK | MSG_DONTWAIT);
    for (int i = 0; length < 0 && errno == EINTR && i < MP_MOST_INTERRUPTIONS; i++) {
        length = recv(socket, line, MP_TALK_LINE, MSG_PEEK | MSG_DONTWAIT);
    }
    if (length < 0) {
        return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -1;
    }
    char *end = memchr(line, '\n', (size_t)length);
    if (end == NULL) {
        return length > 0 && length < MP_TALK_LINE ? 0 : -1;
    }
    *end = '\0';
    char taken[MP_TALK_LINE];
    ssize_t bytes = end + 1 - line;
    if (recv(socket, taken, (size_t)bytes, MSG_DONTWAIT) != bytes) {
        return -1;
    }
    return (int)(end - line);
}
