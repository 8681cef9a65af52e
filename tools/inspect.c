/* inspect: contact sheet of a data set: thumbnails as the trainer sees the intensities, masks, boxes and class names drawn in. */
#include "canvas.h"
#include "commands.h"
#include "shard_list.h"
#include "thumbnail.h"

#include "medley/command.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct sheet {
    canvas  c;
    int     tile, cols, rows, n; /* pixels of a thumbnail; how many */
    int     split, label;        /* filters; -1: all */
    int64_t n_eligible;
    int64_t *take;               /* (n) ranks among the eligible samples, rising */
    const char *label_name;
} sheet;

enum { MARGIN = 16, GAP = 10, LINE = 12, WORD_LINES = 3, CAPTION = (WORD_LINES + 1) * LINE + 6 }; /* id and labels, then numbers */
static const rgb8 paper = {24, 26, 31}, panel = {36, 39, 46}, bright = {236, 238, 242}, dim = {150, 156, 168};

/* ---- which samples ------------------------------------------------------------------------------------------------------ */

static bool eligible(const sheet *s, const shard *f, int64_t i)
{
    return (s->split < 0 || f->split[i] == s->split) && (s->label < 0 || f->label[s->label].present[i]);
}

static status find_label(sheet *s, const shard *f)
{
    s->label = -1;
    if (!s->label_name) return OK;
    const char *names[SHARD_MAX_LABELS];
    for (int l = 0; l < f->meta.n_labels; l++) {
        names[l] = f->meta.label[l].name;
        if (strcmp(names[l], s->label_name) == 0) s->label = l;
    }
    const char *near = s->label < 0 ? text_nearest(s->label_name, names, f->meta.n_labels) : NULL;
    CHECK(s->label >= 0, ST_USAGE, "--label: %s has no label set \"%.63s\"; the %s is %s", f->path, s->label_name, near ? "nearest" : "first",
          near ? near : names[0]);
    return OK;
}

static status count_eligible(sheet *s, const shard_list *list)
{
    s->n_eligible = 0;
    for (int k = 0; k < list->n; k++) {
        shard f;
        TRY(shard_open(&f, list->path[k]), "reading");
        status st = find_label(s, &f);
        for (int64_t i = 0; !st && i < f.n; i++) s->n_eligible += eligible(s, &f, i);
        shard_close(&f);
        if (st) return st;
    }
    CHECK(s->n_eligible > 0, ST_DATA, "%s: no sample%s%s%s%s", list->dir, s->split >= 0 ? " in split " : "", s->split >= 0 ? split_name[s->split] : "",
          s->label_name ? " with label " : "", s->label_name ? s->label_name : "");
    return OK;
}

/* One sample from each of n equal pieces, at a place in the piece that does not follow any period of the data. */
static status choose(sheet *s, int64_t wanted)
{
    s->n = (int)(wanted < s->n_eligible ? wanted : s->n_eligible);
    TRY(mem_alloc(&s->take, sizeof *s->take * (size_t)s->n, "choice of samples"), "contact sheet");
    for (int j = 0; j < s->n; j++) {
        int64_t from = j * s->n_eligible / s->n, to = (j + 1) * s->n_eligible / s->n;
        rng r = rng_open((rng_key){0, (uint32_t)j, 0}, RNG_ORDER, 0);
        s->take[j] = from + (int64_t)rng_below(&r, (uint32_t)(to - from));
    }
    return OK;
}

/* ---- one thumbnail and its caption ------------------------------------------------------------------------------------------- */

/* Text of a label of the whole image. Returns the class for its colour. */
static int image_label(const shard *f, int l, int64_t i, char *out, size_t room)
{
    const shard_label *label = &f->meta.label[l];
    out[0] = 0;
    if (label->kind == TASK_CLASSIFICATION) {
        snprintf(out, room, "%s", label->class_name[f->label[l].cls[i]]);
        return f->label[l].cls[i];
    }
    if (label->kind == TASK_REGRESSION) snprintf(out, room, "%s %.4g", label->name, (double)f->label[l].scalar[i]);
    if (label->kind == TASK_MULTILABEL) {
        size_t used = 0;
        for (int k = 0; k < label->n_classes && used < room; k++)
            if (f->label[l].vec[i * label->n_classes + k] == 1)
                used += (size_t)snprintf(out + used, room - used, "%s%s", used ? "+" : "", label->class_name[k]);
        if (!used) snprintf(out, room, "none");
    }
    return 0;
}

/* Each label set takes the next colours, so that those of one sheet differ. */
static int label_colour(const shard_meta *m, int l)
{
    int at = 0;
    for (int k = 0; k < l; k++) at += m->label[k].kind == TASK_SEGMENTATION ? m->label[k].n_classes - 1 : m->label[k].n_classes;
    return at;
}

typedef struct caption { canvas *c; int x0, x1, x, y, lines_left; } caption;

/* One word; a line that is full is followed by the next, the last one ends in dots. */
static void put_word(caption *k, rgb8 ink, const char *word)
{
    char fitted[SHARD_TEXT];
    if (!word[0] || k->lines_left < 1) return;
    if (k->x > k->x0 && k->x + canvas_text_width(word, 1) > k->x1) {
        if (k->lines_left == 1) {
            canvas_text_fit("...", k->x1 - k->x, 1, fitted, sizeof fitted);
            canvas_text(k->c, k->x, k->y, 1, dim, fitted);
        }
        k->x = k->x0, k->y += LINE;
        if (--k->lines_left < 1) return;
    }
    canvas_text_fit(word, k->x1 - k->x, 1, fitted, sizeof fitted);
    canvas_text(k->c, k->x, k->y, 1, ink, fitted);
    k->x += canvas_text_width(fitted, 1) + CANVAS_LETTER_W + 3;
}

/* The id, all of it: over two lines if it is long. */
static void put_id(caption *k, const char *id)
{
    int letters = (k->x1 - k->x0) / CANVAS_LETTER_W;
    char first[SHARD_TEXT];
    if ((int)strlen(id) > letters && letters > 8) {
        snprintf(first, sizeof first, "%.*s", letters, id);
        canvas_text(k->c, k->x0, k->y, 1, bright, first);
        k->y += LINE, k->lines_left--, id += letters;
    }
    canvas_text_fit(id, k->x1 - k->x0, 1, first, sizeof first);
    canvas_text(k->c, k->x0, k->y, 1, bright, first);
    k->y += LINE, k->lines_left--;
}

static void put_label(caption *to, const shard *f, int l, int64_t i, const bool shown[256])
{
    char text[256];
    const shard_label *label = &f->meta.label[l];
    int colour = label_colour(&f->meta, l), n_shown = 0;
    if (!f->label[l].present[i]) {
        snprintf(text, sizeof text, "%s: not labelled", label->name);
        put_word(to, dim, text);
    } else if (label->kind == TASK_SEGMENTATION) {
        for (int k = 1; k < label->n_classes; k++)
            if (shown[k]) put_word(to, canvas_colour(colour + k - 1), label->class_name[k]), n_shown++;
    } else if (label->kind == TASK_DETECTION) {
        for (int k = 0; k < label->n_classes; k++) {
            int n = 0;
            for (int64_t b = f->label[l].box_off[i]; b < f->label[l].box_off[i + 1]; b++) n += f->label[l].box_cls[b] == k;
            snprintf(text, sizeof text, "%s %d", label->class_name[k], n);
            if (n) put_word(to, canvas_colour(colour + k), text), n_shown++;
        }
    } else {
        int k = image_label(f, l, i, text, sizeof text);
        put_word(to, canvas_colour(colour + k), text);
        n_shown = 1;
    }
    if (f->label[l].present[i] && !n_shown) {
        snprintf(text, sizeof text, "%s: none", label->name);
        put_word(to, dim, text);
    }
}

/* The id; classes, mask classes that show, boxes per class; below: split, size, spacing, and the window that is drawn from black to white.
 * shown (SHARD_MAX_LABELS,256): which mask values were drawn. */
static void draw_caption(canvas *c, const sheet *s, const shard *f, int64_t i, const bool (*shown)[256], int x, int y)
{
    caption to = {c, x, x + s->tile - 8, x, y, WORD_LINES};
    put_id(&to, f->id[i]);
    for (int turn = 0; turn < 2 * f->meta.n_labels; turn++) { /* labels of the whole image first: their names stand nowhere else */
        int l = turn % f->meta.n_labels;
        bool drawn = f->meta.label[l].kind == TASK_SEGMENTATION || f->meta.label[l].kind == TASK_DETECTION;
        if ((s->label < 0 || l == s->label) && drawn == (turn >= f->meta.n_labels)) put_label(&to, f, l, i, shown[l]);
    }
    char text[160], spacing[64] = "", fitted[160];
    const float *mm = f->spacing + 2 * i, *range = f->range + 2 * i;
    if (mm[0] == mm[1]) snprintf(spacing, sizeof spacing, " %.3g %s", (double)mm[0], f->meta.spacing_units);
    else if (!isnan(mm[0]) && !isnan(mm[1])) snprintf(spacing, sizeof spacing, " %.3gx%.3g %s", (double)mm[1], (double)mm[0], f->meta.spacing_units);
    snprintf(text, sizeof text, "%s %dx%d%s [%.4g,%.4g]", split_name[f->split[i]], f->size[2 * i + 1], f->size[2 * i], spacing, (double)range[0], (double)range[1]);
    canvas_text_fit(text, s->tile - 8, 1, fitted, sizeof fitted);
    canvas_text(c, x, y + WORD_LINES * LINE, 1, dim, fitted);
}

/* Boxes of label set l; class k has colour `colour` + k. */
static status draw_boxes(canvas *c, const shard *f, int l, int64_t i, const thumb *t, int colour)
{
    int64_t first = f->label[l].box_off[i];
    int n = (int)(f->label[l].box_off[i + 1] - first);
    thumb_box *box;
    TRY(mem_alloc(&box, sizeof *box * (size_t)n, "boxes"), "sample %s", f->id[i]);
    for (int k = 0; k < n; k++) {
        int cls = f->label[l].box_cls[first + k];
        box[k].colour = colour + cls, box[k].name = f->meta.label[l].class_name[cls];
        memcpy(box[k].edge, f->label[l].box + 4 * (first + k), sizeof box[k].edge);
    }
    thumb_boxes(c, box, n, t);
    free(box);
    return OK;
}

static status draw_sample(sheet *s, shard *f, int64_t i, int place, void *px, uint8_t *mask)
{
    int top = s->c.h - MARGIN - s->rows * (s->tile + CAPTION + GAP) + GAP;
    int x = MARGIN + place % s->cols * (s->tile + GAP), y = top + place / s->cols * (s->tile + CAPTION + GAP);
    canvas_fill(&s->c, x, y, x + s->tile, y + s->tile + CAPTION, panel, 1);
    thumb t = {.H = f->size[2 * i], .W = f->size[2 * i + 1]};
    thumb_fit(&t, s->tile, f->spacing + 2 * i);
    t.x = x + (s->tile - t.w) / 2, t.y = y + (s->tile - t.h) / 2;
    TRY(shard_read_image(f, i, px), "sample %s", f->id[i]);
    thumb_pixels(&s->c, &(pixels){f->meta.pixel, f->meta.channels, {f->range[2 * i], f->range[2 * i + 1]}, px}, &t);
    bool shown[SHARD_MAX_LABELS][256] = {{false}};
    for (int l = 0; l < f->meta.n_labels; l++) {
        if ((s->label >= 0 && l != s->label) || !f->label[l].present[i]) continue;
        int colour = label_colour(&f->meta, l);
        if (f->label[l].has_mask) {
            TRY(shard_read_mask(f, i, l, mask), "sample %s", f->id[i]);
            thumb_mask(&s->c, mask, &t, colour);
            for (int64_t k = 0, area = (int64_t)t.H * t.W; k < area; k++) shown[l][mask[k]] = true;
        }
        if (f->meta.label[l].kind == TASK_DETECTION) TRY(draw_boxes(&s->c, f, l, i, &t, colour), "contact sheet");
    }
    draw_caption(&s->c, s, f, i, (const bool(*)[256])shown, x + 4, y + s->tile + 5);
    return OK;
}

static status draw_samples(sheet *s, const shard_list *list)
{
    int64_t rank = 0;
    int place = 0;
    for (int k = 0; k < list->n && place < s->n; k++) {
        shard f;
        void *px = NULL;
        uint8_t *mask = NULL;
        TRY(shard_open(&f, list->path[k]), "reading");
        size_t area = (size_t)f.Hmax * (size_t)f.Wmax;
        status st = mem_alloc(&px, area * (size_t)f.meta.channels * dtype_bytes(f.meta.pixel), "one image");
        if (!st) st = mem_alloc(&mask, area, "one mask");
        for (int64_t i = 0; !st && i < f.n && place < s->n; i++) {
            if (!eligible(s, &f, i)) continue;
            if (rank++ == s->take[place]) st = draw_sample(s, &f, i, place++, px, mask);
        }
        free(px);
        free(mask);
        shard_close(&f);
        if (st) return st;
    }
    return OK;
}

/* ---- head: title, counts, legend ------------------------------------------------------------------------------------------- */

/* Class names with their colours, in lines of at most the sheet's width; with c == NULL it only counts lines. */
static int draw_legend(canvas *c, const sheet *s, const shard_meta *m, int width, int y)
{
    int lines = 0;
    for (int l = 0; l < m->n_labels; l++) {
        const shard_label *label = &m->label[l];
        if (s->label >= 0 && l != s->label) continue;
        char text[160];
        snprintf(text, sizeof text, "%s (%s):", label->name, task_kind_name[label->kind]);
        int x = MARGIN, first = label->kind == TASK_SEGMENTATION;
        if (c) canvas_text(c, x, y + lines * (LINE + 3), 1, bright, text);
        x += canvas_text_width(text, 1) + 10;
        for (int k = first; label->kind != TASK_REGRESSION && k < label->n_classes; k++) {
            int need = canvas_text_width(label->class_name[k], 1) + 26;
            if (x + need > width - MARGIN && x > MARGIN + 30) x = MARGIN + 30, lines++;
            if (c) {
                int top = y + lines * (LINE + 3);
                canvas_fill(c, x, top, x + 9, top + 8, canvas_colour(label_colour(m, l) + k - first), 1);
                canvas_text(c, x + 13, top, 1, dim, label->class_name[k]);
            }
            x += need;
        }
        lines++;
    }
    return lines;
}

static status draw_head(sheet *s, const shard_meta *m)
{
    int width = 2 * MARGIN + s->cols * (s->tile + GAP) - GAP, lines = draw_legend(NULL, s, m, width, 0);
    int head = MARGIN + 24 + LINE + 4 + lines * (LINE + 3) + 6;
    TRY(canvas_init(&s->c, width, head + s->rows * (s->tile + CAPTION + GAP) - GAP + MARGIN, paper), "contact sheet");
    char text[512], fitted[512];
    canvas_text_fit(m->name, width - 2 * MARGIN, 2, fitted, sizeof fitted);
    canvas_text(&s->c, MARGIN, MARGIN, 2, bright, fitted);
    int used = canvas_text_width(fitted, 2) + 16;
    if (width - 2 * MARGIN - used > 60) {
        canvas_text_fit(m->title, width - 2 * MARGIN - used, 1, fitted, sizeof fitted);
        canvas_text(&s->c, MARGIN + used, MARGIN + 7, 1, dim, fitted);
    }
    snprintf(text, sizeof text, "%s, %s%s: %d of %lld samples%s%s", m->modality, s->split < 0 ? "all splits" : "split ",
             s->split < 0 ? "" : split_name[s->split], s->n, (long long)s->n_eligible, s->label_name ? " with label " : "",
             s->label_name ? s->label_name : "");
    size_t length = strlen(text);
    snprintf(text + length, sizeof text - length, "; below each: split, width x height, column x row spacing, [black, white]");
    canvas_text_fit(text, width - 2 * MARGIN, 1, fitted, sizeof fitted);
    canvas_text(&s->c, MARGIN, MARGIN + 24, 1, dim, fitted);
    draw_legend(&s->c, s, m, width, MARGIN + 24 + LINE + 4);
    return OK;
}

static status make_sheet(sheet *s, const shard_list *list, int64_t wanted, int64_t cols, const char *png)
{
    TRY(count_eligible(s, list), "contact sheet");
    TRY(choose(s, wanted), "contact sheet");
    s->cols = cols ? (int)cols : (int)ceil(sqrt((double)s->n * 1.4));
    s->cols = s->cols > s->n ? s->n : s->cols;
    s->rows = (s->n + s->cols - 1) / s->cols;
    shard f;
    TRY(shard_open(&f, list->path[0]), "contact sheet");
    status st = draw_head(s, &f.meta);
    shard_close(&f);
    if (!st) st = draw_samples(s, list);
    if (!st) st = canvas_save(&s->c, png);
    return st;
}

status cmd_inspect(int argc, char **argv)
{
    const char *png = NULL, *split = NULL, *args[1];
    int64_t n = 24, cols = 0, tile = 224;
    sheet s = {.split = -1, .label = -1};
    int n_args;
    const command_option options[] = {
        {.name = "--png", .arg = "SHEET.png", .help = "where to write; required", .text = &png},
        {.name = "--n", .arg = "N", .help = "samples, spread evenly over the data set (default 24)", .number = &n, .lo = 1, .hi = 2000},
        {.name = "--split", .arg = "S", .help = "only samples of train, val or test", .text = &split, .choices = "train|val|test"},
        {.name = "--label", .arg = "NAME", .help = "draw one label set, only samples that have it (default: all label sets)", .text = &s.label_name},
        {.name = "--cols", .arg = "C", .help = "thumbnails a row (default: about 4:3)", .number = &cols, .lo = 1, .hi = 100},
        {.name = "--tile", .arg = "P", .help = "side of a thumbnail in pixels (default 224)", .number = &tile, .lo = 48, .hi = 1024},
        {0}};
    const command_line command = {"medley-data inspect DIR|FILE --png SHEET.png [--n N] [--split S] [--label NAME] [--cols C] [--tile P]",
                                  "Draws a contact sheet: thumbnails with the intensities the trainer maps to 0 and 1, masks as outlines "
                                  "(ignored pixels hatched), boxes with their class names; below it id, classes, split, size, spacing and the "
                                  "intensities drawn black and white. Pixels that are not square are drawn in their proportions.",
                                  options, 1, 1};
    if (command_help(&command, argc, argv)) return OK;
    TRY(command_parse(&command, argc, argv, args, &n_args), "inspect");
    if (!png) return command_missing(&command, "--png SHEET.png");
    for (int k = 0; split && k < N_SPLITS; k++)
        if (strcmp(split, split_name[k]) == 0) s.split = k;
    s.tile = (int)tile;
    shard_list list;
    TRY(shard_list_open(&list, args[0], NULL, 0), "inspect");
    status st = make_sheet(&s, &list, n, cols, png);
    if (!st) log_line(LOG_INFO, "%s: %d samples, %dx%d pixels", png, s.n, s.c.w, s.c.h);
    canvas_free(&s.c);
    free(s.take);
    shard_list_close(&list);
    TRY(st, "inspect");
    return OK;
}
