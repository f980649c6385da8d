#include "lines.h"

#include <string.h>

void
mp_lines_add(struct mp_lines *lines, const char *text, size_t length)
{
    while (length > 0) {
        const char *newline = memchr(text, '\n', length);
        size_t piece = newline == NULL ? length : (size_t)(newline - text);
        size_t room = MP_LONGEST_LINE - lines->length;
        size_t kept = piece < room ? piece : room;
        memcpy(lines->line + lines->length, text, kept);
        lines->length += kept;
        if (newline != NULL) {
            lines->line[lines->length] = '\0';
            lines->take(lines->context, lines->line, lines->length);
            lines->length = 0;
            piece++;
        }
        text += piece;
        length -= piece;
    }
}
