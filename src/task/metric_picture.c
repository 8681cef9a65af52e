/* metric_picture: what some samples looked like: the image as the network saw it, masks and boxes on its grid, and the words for it. */
#include "metric_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof((example *)0)->true_box / (TRUE_BOX * sizeof(float)) == PICTURE_BOXES, "an example has room for a picture's boxes");

size_t picture_bytes(const picture *p)
{
    return (size_t)p->H * (size_t)p->W * (p->masks ? 5 : 3) + sizeof(float) * ((size_t)p->n_true * TRUE_BOX + (size_t)p->n_found * DET);
}

status picture_append(metric *m, const picture *p, const void *bytes)
{
    CHECK(p->H > 0 && p->W > 0 && p->n_true >= 0 && p->n_true <= PICTURE_BOXES && p->n_found >= 0 && p->n_found <= PICTURE_BOXES, ST_BUG,
          "task %s: a picture of %dx%d pixels, %d and %d boxes", m->task, p->W, p->H, p->n_true, p->n_found);
    TRY(metric_room(&m->pictures, &m->cap_pictures, m->n_pictures + 1, sizeof *m->pictures, m->task), "metric");
    picture *to = &m->pictures[m->n_pictures];
    *to = *p;
    to->bytes = NULL;
    TRY(mem_alloc(&to->bytes, picture_bytes(p), "example"), "task %s", m->task);
    m->n_pictures++;
    if (bytes) memcpy(to->bytes, bytes, picture_bytes(p));
    return OK;
}

static bool is_wanted(const metric *m, int64_t sample)
{
    int lo = 0, hi = m->n_wanted;
    while (lo < hi) {
        int middle = (lo + hi) / 2;
        if (m->wanted[middle] < sample) lo = middle + 1;
        else hi = middle;
    }
    return lo < m->n_wanted && m->wanted[lo] == sample;
}

/* The stored image's place on the network's grid. */
static void find_field(const batch *b, int i, float field[4])
{
    field[0] = field[1] = 0, field[2] = (float)b->W, field[3] = (float)b->H;
    if (!b->view || !b->native_size) return;
    const view *v = &b->view[i];
    double det = (double)v->ax * v->by - (double)v->bx * v->ay, lo[2] = {INFINITY, INFINITY}, hi[2] = {-INFINITY, -INFINITY};
    if (det == 0) return;
    for (int corner = 0; corner < 4; corner++) {
        double x = (corner & 1 ? b->native_size[2 * i + 1] : 0) - (double)v->cx, y = (corner & 2 ? b->native_size[2 * i] : 0) - (double)v->cy;
        double at[2] = {(v->by * x - v->bx * y) / det, (v->ax * y - v->ay * x) / det};
        for (int k = 0; k < 2; k++) lo[k] = fmin(lo[k], at[k]), hi[k] = fmax(hi[k], at[k]);
    }
    field[0] = (float)fmax(lo[0], 0), field[1] = (float)fmax(lo[1], 0);
    field[2] = (float)fmin(hi[0], b->W), field[3] = (float)fmin(hi[1], b->H);
}

static void put_masks(uint8_t *to, const task_run *r, const batch *b, int i)
{
    static const view same = {.ax = 1, .by = 1};
    size_t area = (size_t)b->H * (size_t)b->W;
    memcpy(to, b->mask + (size_t)i * area, area);
    task_mask_native(r, i, &same, b->H, b->W, to + area);
}

static void put_boxes(float *to, const metric *m, const batch *b, int i, int n_true, int n_found)
{
    for (int g = 0; g < n_true; g++, to += TRUE_BOX) {
        int at = b->box_off[i] + g;
        memcpy(to, b->box + 4 * (int64_t)at, 4 * sizeof *to);
        to[4] = (float)b->box_cls[at];
    }
    for (int d = 0; d < n_found; d++, to += DET) {
        memcpy(to, m->found[d].box, 4 * sizeof *to);
        to[4] = m->found[d].score, to[5] = (float)m->found[d].cls;
    }
}

status picture_add(metric *m, const task_run *r, const batch *b, int i)
{
    if (!is_wanted(m, b->sample[i])) return OK;
    picture p = {.sample = b->sample[i], .H = b->H, .W = b->W, .masks = m->kind == TASK_SEGMENTATION};
    if (m->kind == TASK_DETECTION) {
        int found = task_detect(r, i, m->found), G = b->box_off[i + 1] - b->box_off[i];
        p.n_true = G < PICTURE_BOXES ? G : PICTURE_BOXES;
        p.n_found = found < PICTURE_BOXES ? found : PICTURE_BOXES;
    }
    find_field(b, i, p.field);
    TRY(picture_append(m, &p, NULL), "task %s", m->task);
    uint8_t *to = m->pictures[m->n_pictures - 1].bytes;
    size_t area = (size_t)b->H * (size_t)b->W;
    const float *image = b->image + (size_t)i * area * 3;
    for (size_t k = 0; k < 3 * area; k++) to[k] = (uint8_t)(image[k] > 0 ? image[k] < 1 ? 255 * image[k] + 0.5f : 255 : 0); /* not a number: 0 */
    if (p.masks) put_masks(to + 3 * area, r, b, i);
    if (m->kind == TASK_DETECTION) {
        float boxes[PICTURE_BOXES * (TRUE_BOX + DET)];
        put_boxes(boxes, m, b, i, p.n_true, p.n_found);
        memcpy(to + 3 * area, boxes, picture_bytes(&p) - 3 * area);
    }
    return OK;
}

/* ---- in words ---------------------------------------------------------------------------------------------------------------------- */

/* One more word to a list, as long as there is room. */
static void add_word(char *text, size_t room, const char *word, double p)
{
    size_t n = strlen(text);
    char probability[16] = "";
    if (!isnan(p)) snprintf(probability, sizeof probability, " (%.2f)", p);
    if (n + strlen(word) + 16 < room) snprintf(text + n, room - n, "%s%s%s", n ? ", " : "", word, probability);
}

static void in_words_class(const metric *m, const double *p, example *e)
{
    int best = best_class(p + 1, m->K), truth = (int)p[0];
    add_word(e->truth_text, sizeof e->truth_text, m->class_name[truth], NAN);
    add_word(e->guess_text, sizeof e->guess_text, m->class_name[best], p[1 + best]);
    e->quality = p[1 + truth], e->right = best == truth;
}

static void in_words_labels(const metric *m, const double *p, example *e)
{
    e->right = true;
    for (int k = 0; k < m->K; k++) {
        bool yes = p[m->K + k] > 0.5;
        if (p[k] > 0.5) add_word(e->truth_text, sizeof e->truth_text, m->class_name[k], NAN);
        if (yes) add_word(e->guess_text, sizeof e->guess_text, m->class_name[k], p[m->K + k]);
        if (p[k] >= 0 && yes != (p[k] > 0.5)) e->right = false;
    }
    if (!e->truth_text[0]) snprintf(e->truth_text, sizeof e->truth_text, "none");
    if (!e->guess_text[0]) snprintf(e->guess_text, sizeof e->guess_text, "none");
}

static void in_words_mask(const metric *m, const record *r, const double *p, example *e)
{
    double sum = 0;
    int n = 0;
    for (int64_t j = 0; j + metric_counts(m) <= r->n; j += metric_counts(m)) {
        int k = (int)p[j];
        if (k == 0) continue;
        double d = dice_of(p[j + 1], p[j + 2], p[j + 3]);
        if (p[j + 3] > 0) add_word(e->truth_text, sizeof e->truth_text, m->class_name[k], NAN);
        sum += d, n++;
    }
    if (!e->truth_text[0]) snprintf(e->truth_text, sizeof e->truth_text, "%s", m->class_name[0]);
    if (n) e->quality = sum / n;
    if (n) snprintf(e->guess_text, sizeof e->guess_text, "Dice %.2f", e->quality);
    else snprintf(e->guess_text, sizeof e->guess_text, "%s", m->class_name[0]);
}

status metric_example(metric *m, int k, example *e)
{
    metric_sort(m);
    CHECK(k >= 0 && k < m->n_pictures, ST_BUG, "task %s: example %d of %lld", m->task, k, (long long)m->n_pictures);
    const picture *p = &m->pictures[k];
    size_t area = (size_t)p->H * (size_t)p->W;
    *e = (example){.sample = p->sample, .id = "", .subject = "", .H = p->H, .W = p->W, .rgb = p->bytes, .n_true = p->n_true, .n_found = p->n_found,
                   .quality = NAN};
    memcpy(e->field, p->field, sizeof e->field);
    if (p->masks) e->truth = p->bytes + 3 * area, e->guess = e->truth + area;
    for (int g = 0; g < p->n_true; g++) memcpy(e->true_box[g], p->bytes + 3 * area + (size_t)g * sizeof e->true_box[0], sizeof e->true_box[0]);
    const uint8_t *found = p->bytes + 3 * area + (size_t)p->n_true * sizeof e->true_box[0];
    for (int d = 0; d < p->n_found; d++) memcpy(e->found_box[d], found + (size_t)d * sizeof e->found_box[0], sizeof e->found_box[0]);
    for (int64_t i = 0; i < m->n; i++) {
        const record *r = &m->rec[i];
        const double *v = m->data + r->at;
        if (r->sample != p->sample) continue;
        e->id = metric_text(m, r, NOTE_ID), e->subject = metric_text(m, r, NOTE_SUBJECT);
        if (m->kind == TASK_CLASSIFICATION) in_words_class(m, v, e);
        if (m->kind == TASK_MULTILABEL) in_words_labels(m, v, e);
        if (m->kind == TASK_SEGMENTATION) in_words_mask(m, r, v, e);
        if (m->kind == TASK_REGRESSION) {
            snprintf(e->truth_text, sizeof e->truth_text, "%.4g", v[0]);
            snprintf(e->guess_text, sizeof e->guess_text, "%.4g", v[1]);
        }
        if (m->kind == TASK_DETECTION) {
            int sure = 0;
            while (sure < p->n_found && e->found_box[sure][4] >= EXAMPLE_SURE) sure++;
            e->n_found = sure;
            snprintf(e->truth_text, sizeof e->truth_text, "%d box%s", (int)v[1], v[1] == 1 ? "" : "es");
            snprintf(e->guess_text, sizeof e->guess_text, "%d found", sure);
        }
    }
    return OK;
}

int metric_n_examples(const metric *m) { return (int)m->n_pictures; }
