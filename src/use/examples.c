/* examples: draws and writes the pictures of an evaluation. */
#include "examples.h"

#include "scores.h"
#include "thumbnail.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- one picture ------------------------------------------------------------------------------------------------------------------ */

/* What of the network's grid is drawn: the stored image without the black around it. */
typedef struct part { int x0, y0, w, h; } part;

static part part_of(const example *e)
{
    int x0 = (int)floorf(e->field[0]), y0 = (int)floorf(e->field[1]), x1 = (int)ceilf(e->field[2]), y1 = (int)ceilf(e->field[3]);
    x0 = x0 < 0 ? 0 : x0, y0 = y0 < 0 ? 0 : y0, x1 = x1 > e->W ? e->W : x1, y1 = y1 > e->H ? e->H : y1;
    if (x1 <= x0 || y1 <= y0) return (part){0, 0, e->W, e->H};
    return (part){x0, y0, x1 - x0, y1 - y0};
}

/* `bytes` per pixel; out (h,w,bytes). */
static void cut(const uint8_t *from, int W, const part *p, int bytes, uint8_t *out)
{
    for (int y = 0; y < p->h; y++)
        memcpy(out + (size_t)y * (size_t)p->w * (size_t)bytes, from + ((size_t)(p->y0 + y) * (size_t)W + (size_t)p->x0) * (size_t)bytes,
               (size_t)p->w * (size_t)bytes);
}

static void draw_boxes(canvas *c, const example *e, const part *p, bool truth, const task_spec *s, const thumb *t)
{
    thumb_box box[200];
    char name[200][72];
    int n = truth ? e->n_true : e->n_found;
    for (int i = 0; i < n; i++) {
        const float *b = truth ? e->true_box[i] : e->found_box[i];
        int cls = (int)(truth ? b[4] : b[5]);
        for (int k = 0; k < 4; k++) box[i].edge[k] = b[k] - (float)(k % 2 ? p->y0 : p->x0);
        box[i].colour = cls, box[i].name = name[i];
        if (truth) snprintf(name[i], sizeof name[i], "%.63s", s->class_name[cls]);
        else snprintf(name[i], sizeof name[i], "%.2f", (double)b[4]);
    }
    thumb_boxes(c, box, n, t);
}

static status draw(const example *e, bool truth, const task_spec *s, const char *path)
{
    canvas c = {0};
    uint8_t *px = NULL, *mask = NULL;
    part p = part_of(e);
    size_t area = (size_t)p.w * (size_t)p.h;
    thumb t = {.H = p.h, .W = p.w};
    status st;
    thumb_fit(&t, EXAMPLES_TILE, (float[]){NAN, NAN});
    TRY_TO(done, mem_alloc(&px, 3 * area, "picture"), "example");
    cut(e->rgb, e->W, &p, 3, px);
    TRY_TO(done, canvas_init(&c, t.w, t.h, (rgb8){0, 0, 0}), "example");
    thumb_pixels(&c, &(pixels){DT_U8, 3, {0, 255}, px}, &t);
    if (e->truth) {
        TRY_TO(done, mem_alloc(&mask, area, "mask"), "example");
        cut(truth ? e->truth : e->guess, e->W, &p, 1, mask);
        thumb_mask(&c, mask, &t, 0);
    }
    if (s->kind == TASK_DETECTION) draw_boxes(&c, e, &p, truth, s, &t);
    st = canvas_save(&c, path);
done:
    canvas_free(&c);
    free(px);
    free(mask);
    return st;
}

/* ---- the folder --------------------------------------------------------------------------------------------------------------------- */

static const char *file_name(char out[32], int i, const char *what)
{
    snprintf(out, 32, "%02d%s.png", i + 1, what);
    return out;
}

static bool has_two(const task_spec *s) { return s->kind == TASK_SEGMENTATION || s->kind == TASK_DETECTION; }

/* Pictures of an evaluation before, which had more of them. */
static status remove_others(const char *dir, int n, bool two)
{
    static const char *const what[] = {"", "-true", "-predicted"};
    char path[1000], name[32];
    for (int i = 0; i < EXAMPLES_MOST; i++)
        for (int k = 0; k < 3; k++) {
            if (i < n && two == (k > 0)) continue;
            snprintf(path, sizeof path, "%s/%s", dir, file_name(name, i, what[k]));
            CHECK(unlink(path) == 0 || errno == ENOENT, ST_RESOURCE, "%s: cannot remove: %s", path, strerror(errno));
        }
    return OK;
}

/* The classes that are drawn, with their colours; none if nothing is drawn. */
static status find_classes(const task_spec *s, example_class **out, int *n)
{
    int first = s->kind == TASK_SEGMENTATION;
    TRY(mem_alloc(out, sizeof **out * EXAMPLES_CLASSES, "classes"), "examples");
    for (int k = first; has_two(s) && k < s->K && *n < EXAMPLES_CLASSES; k++) {
        rgb8 ink = canvas_colour(k - first);
        example_class *c = &(*out)[(*n)++];
        text_shown(s->class_name[k], c->name, sizeof c->name);
        snprintf(c->colour, sizeof c->colour, "#%02x%02x%02x", ink.r, ink.g, ink.b);
    }
    return OK;
}

static status write_one(const char *dir, int i, const example *e, const task_spec *s, example_row *row)
{
    char path[1000];
    bool two = has_two(s), knows = s->kind == TASK_CLASSIFICATION || s->kind == TASK_MULTILABEL;
    *row = (example_row){.quality = e->quality, .right = knows ? e->right : -1};
    text_shown(e->id, row->id, sizeof row->id), text_shown(e->subject, row->subject, sizeof row->subject); /* one line each */
    text_shown(e->truth_text, row->truth, sizeof row->truth), text_shown(e->guess_text, row->guess, sizeof row->guess);
    for (int k = 0; k < (two ? 2 : 1); k++) {
        file_name(row->file[k], i, !two ? "" : k ? "-predicted" : "-true");
        snprintf(path, sizeof path, "%s/%s", dir, row->file[k]);
        TRY(draw(e, k == 0, s, path), "%s", path);
    }
    return OK;
}

status examples_write(const char *run, const char *split, const task *t, metric *m)
{
    char dir[900];
    int n = metric_n_examples(m), n_classes = 0;
    example_class *cls = NULL;
    example *e = NULL;
    example_row *row = NULL;
    status st;
    TRY(run_file(dir, run, "examples", split, t->spec.name, ""), "examples");
    if (n == 0 && !path_exists(dir)) return OK;
    TRY_TO(done, path_make_dirs(dir), "examples");
    TRY_TO(done, mem_alloc(&e, sizeof *e, "example"), "%s", dir);
    TRY_TO(done, mem_alloc(&row, sizeof *row * (size_t)(n + 1), "examples"), "%s", dir);
    for (int i = 0; i < n; i++) {
        TRY_TO(done, metric_example(m, i, e), "%s", dir);
        TRY_TO(done, write_one(dir, i, e, &t->spec, &row[i]), "example %s", e->id);
    }
    TRY_TO(done, remove_others(dir, n, has_two(&t->spec)), "examples");
    TRY_TO(done, find_classes(&t->spec, &cls, &n_classes), "examples");
    st = examples_save(&(examples){.n = n, .row = row, .n_classes = n_classes, .cls = cls}, dir);
done:
    free(cls);
    free(e);
    free(row);
    return st;
}
