/* status: codes, the message of the last failure of this thread, and its context on the way up. */
#include "medley/core.h"

#include <string.h>

enum { MESSAGE_BYTES = 8192 };
static _Thread_local char message[MESSAGE_BYTES];
static _Thread_local char place[96];

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

status status_raise(status code, const char *file, int line, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    snprintf(place, sizeof place, "%s:%d", base_name(file), line);
    return code;
}

status status_note(status code, const char *file, int line, const char *fmt, ...)
{
    (void)file, (void)line; /* the place of the raise says more than the places it passed */
    char note[1024], rest[MESSAGE_BYTES];
    va_list args;
    va_start(args, fmt);
    vsnprintf(note, sizeof note, fmt, args);
    va_end(args);
    memcpy(rest, message, sizeof rest);
    size_t n = strlen(note);
    if (n + 3 >= sizeof message) n = sizeof message - 3;
    memcpy(message, note, n);
    snprintf(message + n, sizeof message - n, ": %.*s", (int)(sizeof message - n - 3), rest);
    return code;
}

const char *status_message(void) { return message; }
const char *status_place(void) { return place; }

status status_set(status code, const char *text)
{
    if (text != message) snprintf(message, sizeof message, "%s", text);
    place[0] = 0;
    return code;
}

void status_clear(void) { message[0] = place[0] = 0; }
