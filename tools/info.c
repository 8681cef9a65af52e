/* info: what a data set folder or a shard holds, for people: samples, classes, sizes, intensities, licence, files. */
#include "commands.h"
#include "shard_list.h"

#include "medley/command.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct tally { uint64_t *v; int64_t n, room; } tally; /* hashes, to count different ones */

typedef struct summary {
    const shard_meta *meta;
    int64_t n[N_SPLITS], bytes;
    int64_t present[SHARD_MAX_LABELS][N_SPLITS], *n_class[SHARD_MAX_LABELS]; /* (3,K); masks of a single shard are not counted: NULL */
    int     H[2], W[2];                                                      /* smallest, largest */
    float   range[2][2], spacing[2][2];                                      /* lo/hi, row/column: smallest, largest */
    int64_t n_spaced;
    tally   subject[N_SPLITS], cases[N_SPLITS], centre;
    double  box_side[2];
} summary;

static status tally_add(tally *t, uint64_t hash)
{
    if (t->n == t->room) {
        int64_t room = t->room ? 2 * t->room : 1024;
        TRY(mem_grow(&t->v, (size_t)room * sizeof *t->v, "names"), "info");
        t->room = room;
    }
    t->v[t->n++] = hash;
    return OK;
}

static int by_hash(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int64_t tally_distinct(tally *t)
{
    if (t->n > 1) qsort(t->v, (size_t)t->n, sizeof *t->v, by_hash);
    int64_t n = t->n > 0;
    for (int64_t i = 1; i < t->n; i++) n += t->v[i] != t->v[i - 1];
    return n;
}

static void widen(float v, float *lo, float *hi)
{
    if (v < *lo) *lo = v;
    if (v > *hi) *hi = v;
}

static void add_label(summary *s, const shard *f, int l, int64_t i)
{
    const shard_label *label = &f->meta.label[l];
    enum split k = f->split[i];
    if (!f->label[l].present[i]) return;
    s->present[l][k]++;
    if (!s->n_class[l]) return;
    int64_t *count = s->n_class[l] + (int)k * label->n_classes;
    if (label->kind == TASK_CLASSIFICATION) count[f->label[l].cls[i]]++;
    if (label->kind == TASK_MULTILABEL)
        for (int c = 0; c < label->n_classes; c++) count[c] += f->label[l].vec[i * label->n_classes + c] == 1;
    if (label->kind == TASK_DETECTION)
        for (int64_t b = f->label[l].box_off[i]; b < f->label[l].box_off[i + 1]; b++) {
            const float *e = f->label[l].box + 4 * b;
            double side = sqrt((double)(e[2] - e[0]) * (double)(e[3] - e[1]));
            s->box_side[0] = fmin(s->box_side[0], side), s->box_side[1] = fmax(s->box_side[1], side);
            count[f->label[l].box_cls[b]]++;
        }
}

static status add_sample(summary *s, const shard *f, int64_t i)
{
    enum split k = f->split[i];
    int H = f->size[2 * i], W = f->size[2 * i + 1];
    s->n[k]++;
    s->H[0] = H < s->H[0] ? H : s->H[0], s->H[1] = H > s->H[1] ? H : s->H[1];
    s->W[0] = W < s->W[0] ? W : s->W[0], s->W[1] = W > s->W[1] ? W : s->W[1];
    for (int e = 0; e < 2; e++) {
        widen(f->range[2 * i + e], &s->range[e][0], &s->range[e][1]);
        if (!isnan(f->spacing[2 * i + e])) widen(f->spacing[2 * i + e], &s->spacing[e][0], &s->spacing[e][1]);
    }
    s->n_spaced += !isnan(f->spacing[2 * i]);
    TRY(tally_add(&s->subject[k], hash_text(f->subject[i])), "subjects");
    TRY(tally_add(&s->cases[k], hash_text(f->case_id[i])), "cases");
    if (f->centre[i][0]) TRY(tally_add(&s->centre, hash_text(f->centre[i])), "centres");
    for (int l = 0; l < f->meta.n_labels; l++) add_label(s, f, l, i);
    return OK;
}

static int64_t file_bytes(const char *path)
{
    struct stat about;
    return stat(path, &about) == 0 ? (int64_t)about.st_size : 0;
}

/* Walks all shards of the list; keeps `first` open for its meta. */
static status summarise(summary *s, const shard_list *list, shard *first)
{
    s->H[0] = s->W[0] = INT32_MAX;
    s->box_side[0] = INFINITY;
    for (int e = 0; e < 2; e++) s->range[e][0] = s->spacing[e][0] = INFINITY, s->range[e][1] = s->spacing[e][1] = -INFINITY;
    TRY(shard_open(first, list->path[0]), "info");
    s->meta = list->has_index ? &list->index.meta : &first->meta;
    for (int l = 0; l < s->meta->n_labels; l++)
        if (s->meta->label[l].kind != TASK_SEGMENTATION && s->meta->label[l].kind != TASK_REGRESSION)
            TRY(mem_alloc(&s->n_class[l], sizeof(int64_t) * N_SPLITS * (size_t)s->meta->label[l].n_classes, "class counts"), "info");
    for (int k = 0; k < list->n; k++) {
        shard other, *f = first;
        if (k) {
            TRY(shard_open(&other, list->path[k]), "info");
            f = &other;
        }
        status st = OK;
        if (f->meta.n_labels != s->meta->n_labels) st = status_raise(ST_DATA, __FILE__, __LINE__, "%s: other label sets than the index", list->path[k]);
        for (int l = 0; !st && l < f->meta.n_labels; l++)
            if (f->meta.label[l].kind != s->meta->label[l].kind || f->meta.label[l].n_classes != s->meta->label[l].n_classes)
                st = status_raise(ST_DATA, __FILE__, __LINE__, "%s: label %s differs from the index", list->path[k], f->meta.label[l].name);
        for (int64_t i = 0; !st && i < f->n; i++) st = add_sample(s, f, i);
        if (k) shard_close(&other);
        TRY(st, "info");
        s->bytes += file_bytes(list->path[k]);
    }
    return OK;
}

static void summary_free(summary *s)
{
    for (int l = 0; l < SHARD_MAX_LABELS; l++) free(s->n_class[l]);
    for (int k = 0; k < N_SPLITS; k++) free(s->subject[k].v), free(s->cases[k].v);
    free(s->centre.v);
}

/* ---- printing -------------------------------------------------------------------------------------------------------- */

static void put_bytes(int64_t n)
{
    if (n < 10000) printf("%lld B", (long long)n);
    else if (n < 10000000) printf("%.1f KiB", (double)n / 1024);
    else printf("%.1f MiB", (double)n / 1048576);
}

static void put_row(const char *name, const int64_t v[N_SPLITS])
{
    printf("    %-24.24s %9lld %9lld %9lld %9lld\n", name, (long long)v[0], (long long)v[1], (long long)v[2], (long long)(v[0] + v[1] + v[2]));
}

/* A class, with its share of all that is counted. */
static void put_class(const char *name, const int64_t v[N_SPLITS], int64_t of)
{
    int64_t sum = v[0] + v[1] + v[2];
    printf("    %-24.24s %9lld %9lld %9lld %9lld  %5.1f %%\n", name, (long long)v[0], (long long)v[1], (long long)v[2], (long long)sum,
           of > 0 ? 100 * (double)sum / (double)of : 0);
}

static void put_span(const char *name, double lo, double hi, const char *unit)
{
    if (lo == hi) printf("%s%g%s", name, lo, unit);
    else printf("%s%g to %g%s", name, lo, hi, unit);
}

static void put_text(const char *name, const char *text)
{
    if (text[0]) printf("  %-11s %s\n", name, text);
}

static void put_head(const summary *s)
{
    const shard_meta *m = s->meta;
    printf("%s: %s\n", m->name, m->title);
    put_text("modality", m->modality);
    put_text("licence", m->licence);
    put_text("citation", m->citation);
    put_text("origin", m->origin);
    put_text("recipe", m->recipe_sha256);
    printf("  %-11s %s, %d channel%s, ", "pixels", dtype_name(m->pixel), m->channels, m->channels > 1 ? "s" : "");
    put_span("height ", s->H[0], s->H[1], ", ");
    put_span("width ", s->W[0], s->W[1], "\n");
    printf("  %-11s ", "intensity");
    put_span("0 at ", (double)s->range[0][0], (double)s->range[0][1], ", ");
    put_span("1 at ", (double)s->range[1][0], (double)s->range[1][1], "\n");
    if (s->n_spaced) {
        printf("  %-11s ", "spacing");
        put_span("rows ", (double)s->spacing[0][0], (double)s->spacing[0][1], ", ");
        put_span("columns ", (double)s->spacing[1][0], (double)s->spacing[1][1], " ");
        printf("%s", m->spacing_units);
        int64_t n = s->n[0] + s->n[1] + s->n[2];
        if (s->n_spaced < n) printf(", unknown for %lld samples", (long long)(n - s->n_spaced));
        printf("\n");
    } else put_text("spacing", "unknown");
}

static void put_label(const summary *s, const shard_list *list, int l)
{
    static const char *const unit[N_TASK_KINDS] = {"samples", "positives", "", "samples that show it", "boxes"};
    const shard_label *label = &s->meta->label[l];
    const int64_t *count = list->has_index ? list->index.label[l].n_class : s->n_class[l];
    printf("\n  label %s: %s", label->name, task_kind_name[label->kind]);
    if (label->kind == TASK_REGRESSION) printf(", range %g to %g\n", label->lo, label->hi);
    else printf(", %d class%s%s%s\n", label->n_classes, label->n_classes == 1 ? "" : "es", count ? "; counts are " : "", count ? unit[label->kind] : "");
    put_row("(labelled samples)", s->present[l]);
    int64_t of = s->present[l][0] + s->present[l][1] + s->present[l][2]; /* boxes: of all boxes */
    if (label->kind == TASK_DETECTION) of = 0;
    for (int64_t k = 0; count && label->kind == TASK_DETECTION && k < (int64_t)N_SPLITS * label->n_classes; k++) of += count[k];
    for (int k = 0; label->kind != TASK_REGRESSION && k < label->n_classes; k++) {
        char name[80];
        snprintf(name, sizeof name, "%d %s", k, label->class_name[k]);
        if (count) put_class(name, (int64_t[]){count[k], count[label->n_classes + k], count[2 * label->n_classes + k]}, of);
        else printf("    %s\n", name);
    }
    if (label->kind == TASK_DETECTION && s->box_side[1] > 0) {
        printf("    boxes: ");
        put_span("side (root of the area) ", round(s->box_side[0] * 10) / 10, round(s->box_side[1] * 10) / 10, " pixels\n");
    }
}

static void put_summary(summary *s, const shard_list *list)
{
    put_head(s);
    printf("\n    %-24s %9s %9s %9s %9s    share\n", "", split_name[0], split_name[1], split_name[2], "all");
    put_row("samples", s->n);
    int64_t subjects[N_SPLITS], cases[N_SPLITS];
    for (int k = 0; k < N_SPLITS; k++) subjects[k] = tally_distinct(&s->subject[k]), cases[k] = tally_distinct(&s->cases[k]);
    put_row("subjects", subjects);
    put_row("cases", cases);
    int64_t centres = tally_distinct(&s->centre);
    if (centres) printf("    %-24s %9s %9s %9s %9lld\n", "centres", "", "", "", (long long)centres);
    for (int l = 0; l < s->meta->n_labels; l++) put_label(s, list, l);
    printf("\n  %d shard%s, ", list->n, list->n > 1 ? "s" : "");
    put_bytes(s->bytes);
    printf(" in %s\n", list->dir);
    for (int k = 0; k < list->n; k++) {
        printf("    %-40s ", strrchr(list->path[k], '/') ? strrchr(list->path[k], '/') + 1 : list->path[k]);
        if (list->has_index) printf("%7lld samples  ", (long long)list->index.n[k]);
        put_bytes(file_bytes(list->path[k]));
        printf("\n");
    }
}

static status show_one(const char *path)
{
    shard_list list;
    summary s = {0};
    shard first = {0};
    TRY(shard_list_open(&list, path, NULL, 0), "info");
    status st = summarise(&s, &list, &first);
    if (!st) put_summary(&s, &list);
    shard_close(&first);
    summary_free(&s);
    shard_list_close(&list);
    return st;
}

/* One line per data set below a folder, from the indexes alone. */
static status show_below(const char *path, int n, char (*name)[256])
{
    printf("%-24s %-14s %8s %8s %8s  %-20s labels\n", "data set", "modality", split_name[0], split_name[1], split_name[2], "licence");
    for (int i = 0; i < n; i++) {
        char dir[1400];
        catalogue c;
        snprintf(dir, sizeof dir, "%.1000s/%s", path, name[i]);
        TRY(catalogue_open(&c, dir), "info");
        int64_t count[N_SPLITS] = {0};
        for (int k = 0; k < c.n_shards; k++)
            for (int split = 0; split < N_SPLITS; split++) count[split] += c.n_split[k * N_SPLITS + split];
        printf("%-24s %-14.14s %8lld %8lld %8lld  %-20.20s ", name[i], c.meta.modality, (long long)count[0], (long long)count[1], (long long)count[2],
               *c.meta.licence ? c.meta.licence : "not stated");
        for (int l = 0; l < c.meta.n_labels; l++)
            printf("%s%s (%s, %d)", l ? ", " : "", c.meta.label[l].name, task_kind_name[c.meta.label[l].kind], c.meta.label[l].n_classes);
        printf("\n");
        catalogue_close(&c);
    }
    return OK;
}

status cmd_info(int argc, char **argv)
{
    const command_option options[] = {{0}};
    const command_line command = {"medley-data info DIR|FILE",
                                  "Tells what a data set folder or one shard holds: samples, subjects and cases per split, label sets with "
                                  "counts and shares of their classes, sizes, intensities, spacing, licence, citation, files. For a folder of "
                                  "data sets: one line each. Reads no pixels.",
                                  options, 1, 1};
    const char *args[1];
    int n_args, n = 0;
    if (command_help(&command, argc, argv)) return OK;
    TRY(command_parse(&command, argc, argv, args, &n_args), "info");
    char(*name)[256] = NULL, index[1100];
    struct stat about;
    snprintf(index, sizeof index, "%.1000s/index.h5", args[0]);
    if (stat(args[0], &about) == 0 && S_ISDIR(about.st_mode) && !path_exists(index)) TRY(data_sets_below(args[0], &n, &name), "info");
    status st = n ? show_below(args[0], n, name) : show_one(args[0]);
    free(name);
    return st;
}
