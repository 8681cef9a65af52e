/* canvas: drawing on an RGB picture: rectangles, blending, words in a 5x7 bitmap face made for this program. */
#include "canvas.h"

#include <stdlib.h>
#include <string.h>

status canvas_init(canvas *c, int w, int h, rgb8 fill)
{
    CHECK(w > 0 && h > 0 && (int64_t)w * h <= 400000000, ST_USAGE, "a picture of %dx%d pixels is too large", w, h);
    c->w = w, c->h = h;
    TRY(mem_alloc(&c->px, (size_t)w * (size_t)h * 3, "picture"), "%dx%d pixels", w, h);
    canvas_fill(c, 0, 0, w, h, fill, 1);
    return OK;
}

void canvas_free(canvas *c)
{
    free(c->px);
    c->px = NULL;
}

void canvas_put(canvas *c, int x, int y, rgb8 ink)
{
    if (x < 0 || y < 0 || x >= c->w || y >= c->h)
        return;
    uint8_t *p = c->px + 3 * ((size_t)y * (size_t)c->w + (size_t)x);
    p[0] = ink.r, p[1] = ink.g, p[2] = ink.b;
}

void canvas_mix(canvas *c, int x, int y, rgb8 ink, float alpha)
{
    if (x < 0 || y < 0 || x >= c->w || y >= c->h)
        return;
    uint8_t *p = c->px + 3 * ((size_t)y * (size_t)c->w + (size_t)x);
    p[0] = (uint8_t)((float)p[0] + alpha * (float)(ink.r - p[0]) + 0.5f);
    p[1] = (uint8_t)((float)p[1] + alpha * (float)(ink.g - p[1]) + 0.5f);
    p[2] = (uint8_t)((float)p[2] + alpha * (float)(ink.b - p[2]) + 0.5f);
}

void canvas_fill(canvas *c, int x0, int y0, int x1, int y1, rgb8 ink, float alpha)
{
    x0 = x0 < 0 ? 0 : x0, y0 = y0 < 0 ? 0 : y0;
    x1 = x1 > c->w ? c->w : x1, y1 = y1 > c->h ? c->h : y1;
    for (int y = y0; y < y1; y++)
        for (int x = x0; x < x1; x++)
            if (alpha >= 1)
                canvas_put(c, x, y, ink);
            else
                canvas_mix(c, x, y, ink, alpha);
}

void canvas_frame(canvas *c, int x0, int y0, int x1, int y1, rgb8 ink, int thick)
{
    canvas_fill(c, x0, y0, x1, y0 + thick, ink, 1);
    canvas_fill(c, x0, y1 - thick, x1, y1, ink, 1);
    canvas_fill(c, x0, y0, x0 + thick, y1, ink, 1);
    canvas_fill(c, x1 - thick, y0, x1, y1, ink, 1);
}

/* One letter: seven lines of five bits, two hex digits a line, top first. */
static const char *const face[95] = {
    "00000000000000", "04040404040004", "0A0A0000000000", "0A0A1F0A1F0A0A", "040F140E051E04", "18190204081303", "0814140815120D", /* SP ! " # $ % & */
    "04040000000000", "02040808080402", "08040202020408", "0004150E150400", "0004041F040400", "000000000C0408", "0000000E000000", /* ' ( ) * + , - */
    "00000000000C0C", "01010204081010",                                                                                           /* . / */
    "0E11131519110E", "040C040404040E", "0E11010608101F", "1E01010E01011E", "02060A121F0202", "1F101E0101110E", "0608101E11110E", /* 0 to 6 */
    "1F010204040808", "0E11110E11110E", "0E11110F01020C",                                                                         /* 7 to 9 */
    "000C0C000C0C00", "000C0C000C0408", "02040810080402", "00001F001F0000", "08040201020408", "0E110106040004", "0E11171517100E", /* : ; < = > ? @ */
    "0E11111F111111", "1E11111E11111E", "0E11101010110E", "1E11111111111E", "1F10101E10101F", "1F10101E101010", "0E11101711110F", /* A to G */
    "1111111F111111", "0E04040404040E", "0702020202120C", "11121418141211", "1010101010101F", "111B1515111111", "11191915131311", /* H to N */
    "0E11111111110E", "1E11111E101010", "0E11111115120D", "1E11111E141211", "0F10100E01011E", "1F040404040404", "1111111111110E", /* O to U */
    "111111110A0A04", "11111115151B11", "11110A040A1111", "11110A04040404", "1F01020408101F",                                     /* V to Z */
    "0E08080808080E", "10100804020101", "0E02020202020E", "040A1100000000", "0000000000001F", "08040000000000",                   /* [ \ ] ^ _ ` */
    "00000E010F110F", "10101E1111111E", "00000F1010100F", "01010F1111110F", "00000E111F100E", "06081C08080808", "0F1111110F010E", /* a to g */
    "10101E11111111", "04000C0404040E", "0200060202120C", "10101214181412", "0C040404040406", "00001A15151515", "00001E11111111", /* h to n */
    "00000E1111110E", "1E1111111E1010", "0F1111110F0101", "00001618101010", "00000F100E011E", "08081C08080806", "0000111111110F", /* o to u */
    "00001111110A04", "0000111115150A", "0000110A040A11", "111111110F010E", "00001F0204081F",                                     /* v to z */
    "02040408040402", "04040404040404", "08040402040408", "00000815020000",                                                       /* { | } ~ */
};

static int hex_digit(char d)
{
    return d <= '9' ? d - '0' : d - 'A' + 10;
}

void canvas_text(canvas *c, int x, int y, int scale, rgb8 ink, const char *text)
{
    for (const unsigned char *t = (const unsigned char *)text; *t; t++, x += CANVAS_LETTER_W * scale) {
        const char *glyph = *t >= 32 && *t < 127 ? face[*t - 32] : "001F111111111F";
        int drop = *t && strchr("gpqy", *t) ? 2 : 0; /* these hang below the line */
        for (int row = 0; row < 7; row++) {
            int bits = hex_digit(glyph[2 * row]) * 16 + hex_digit(glyph[2 * row + 1]);
            for (int col = 0; col < 5; col++)
                if (bits >> (4 - col) & 1)
                    canvas_fill(c, x + col * scale, y + (row + drop) * scale, x + (col + 1) * scale, y + (row + drop + 1) * scale, ink, 1);
        }
    }
}

int canvas_text_width(const char *text, int scale)
{
    int n = (int)strlen(text);
    return n ? (n * CANVAS_LETTER_W - 1) * scale : 0;
}

void canvas_text_fit(const char *text, int width, int scale, char *out, size_t out_bytes)
{
    int n = (int)strlen(text), room = (width + scale) / (CANVAS_LETTER_W * scale);
    room = room < (int)out_bytes - 1 ? room : (int)out_bytes - 1;
    if (n <= room) {
        memcpy(out, text, (size_t)n + 1);
        return;
    }
    if (room < 5) { /* no space for two ends */
        room = room > 0 ? room : 0;
        memcpy(out, text, (size_t)room);
        out[room] = 0;
        return;
    }
    int head = (room - 2) / 2, tail = room - 2 - head;
    memcpy(out, text, (size_t)head);
    memcpy(out + head, "..", 2);
    memcpy(out + head + 2, text + n - tail, (size_t)tail + 1);
}

rgb8 canvas_colour(int k)
{
    static const rgb8 table[12] = {
        { 255, 99, 88 },  { 72, 187, 255 }, { 255, 205, 64 }, { 94, 220, 130 }, { 214, 130, 255 }, { 255, 150, 60 },
        { 64, 224, 208 }, { 255, 120, 190 }, { 170, 210, 60 }, { 140, 150, 255 }, { 230, 190, 150 }, { 200, 200, 210 },
    };
    return table[(k % 12 + 12) % 12];
}

status canvas_save(const canvas *c, const char *path)
{
    uint8_t *bytes;
    size_t n;
    TRY(png_encode(c->w, c->h, 3, 8, c->px, &bytes, &n), "%s", path);
    status st = file_write_atomic(path, bytes, n);
    free(bytes);
    TRY(st, "contact sheet");
    return OK;
}
