/* predict_tables: the results of all files in their order: CSV for image kinds and masks, COCO JSON for boxes. */
#include "predict.h"
#include "scores.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct row_ref { predict_row row; const char *at; } row_ref; /* at: its numbers, anywhere in memory */
typedef struct tables {
    const predictor     *p;
    const predict_ask   *ask;
    const source_files *f;
    row_ref *row;
    int      n;
    double  *x;         /* (K) */
} tables;

static double number_at(const row_ref *r, int i)
{
    double v;
    memcpy(&v, r->at + sizeof v * (size_t)i, sizeof v);
    return v;
}

/* ---- rows in order ----------------------------------------------------------------------------------------------------------------- */

static int by_place(const void *pa, const void *pb)
{
    const predict_row *a = &((const row_ref *)pa)->row, *b = &((const row_ref *)pb)->row;
    return a->file != b->file ? (a->file < b->file ? -1 : 1) : a->slice < b->slice ? -1 : a->slice > b->slice;
}

static status take_rows(tables *t, const predict_rows *rows)
{
    int room = 0;
    for (size_t at = 0; at < rows->n; t->n++) {
        if (t->n == room) {
            room = 2 * room + 64;
            TRY(mem_grow(&t->row, sizeof *t->row * (size_t)room, "rows"), "predict");
        }
        row_ref *r = &t->row[t->n];
        memcpy(&r->row, rows->bytes + at, sizeof r->row);
        r->at = rows->bytes + at + sizeof r->row;
        at += sizeof r->row + sizeof(double) * (size_t)r->row.n;
    }
    if (t->n) qsort(t->row, (size_t)t->n, sizeof *t->row, by_place);
    return OK;
}

/* ---- CSV ---------------------------------------------------------------------------------------------------------------------------- */

static void put_prediction(const tables *t, FILE *f)
{
    const task_spec *s = &t->p->plan.spec;
    int best = 0, n = 0;
    char *text = NULL;
    size_t bytes = 0;
    if (s->kind == TASK_CLASSIFICATION) {
        for (int k = 1; k < s->K; k++)
            if (t->x[k] > t->x[best]) best = k;
        csv_text(f, t->p->class_name[best]);
        return;
    }
    FILE *list;
    if (mem_text_open(&list, &text, &bytes, "labels")) return; /* the stream of the table fails as well, and says so */
    for (int k = 0; k < s->K; k++)
        if (t->x[k] > 0.5) fprintf(list, "%s%s", n++ ? ";" : "", t->p->class_name[k]);
    if (mem_text_close(list, &text, "labels") == OK) csv_text(f, text);
    free(text);
}

static void put_head(const tables *t, FILE *f, const char *first)
{
    const task_spec *s = &t->p->plan.spec;
    fputs(first, f);
    fputs(s->kind == TASK_REGRESSION ? ",value" : ",prediction", f);
    for (int k = 0; s->kind != TASK_REGRESSION && k < s->K; k++) {
        char name[80];
        snprintf(name, sizeof name, "p_%s", t->p->class_name[k]);
        fputc(',', f), csv_text(f, name);
    }
    fputc('\n', f);
}

static void put_values(const tables *t, FILE *f)
{
    const task_spec *s = &t->p->plan.spec;
    if (s->kind != TASK_REGRESSION) fputc(',', f), put_prediction(t, f);
    for (int k = 0; k < s->K; k++) fputc(',', f), csv_number(f, t->x[k]);
    fputc('\n', f);
}

/* One line a file: of a volume the mean over its planes. */
static void put_files(const tables *t, FILE *f)
{
    int K = t->p->plan.spec.K;
    put_head(t, f, "file,slices");
    for (int i = 0, k; i < t->n; i = k) {
        memset(t->x, 0, sizeof *t->x * (size_t)K);
        for (k = i; k < t->n && t->row[k].row.file == t->row[i].row.file; k++)
            for (int c = 0; c < K; c++) t->x[c] += number_at(&t->row[k], c);
        for (int c = 0; c < K && k - i > 1; c++) t->x[c] /= k - i;
        csv_text(f, t->f->file[t->row[i].row.file].path);
        fprintf(f, ",%d", k - i);
        put_values(t, f);
    }
}

static void put_slices(const tables *t, FILE *f)
{
    put_head(t, f, "file,slice");
    for (int i = 0; i < t->n; i++) {
        if (t->row[i].row.of != ROW_VOLUME) continue;
        for (int c = 0; c < t->p->plan.spec.K; c++) t->x[c] = number_at(&t->row[i], c);
        csv_text(f, t->f->file[t->row[i].row.file].path);
        fprintf(f, ",%d", (int)t->row[i].row.slice);
        put_values(t, f);
    }
}

/* Of slides: x, y, width and height in pixels of the finest level. */
static void put_tiles(const tables *t, FILE *f)
{
    put_head(t, f, "file,x,y,width,height");
    for (int i = 0; i < t->n; i++) {
        const predict_row *r = &t->row[i].row;
        if (r->of != ROW_SLIDE) continue;
        for (int c = 0; c < t->p->plan.spec.K; c++) t->x[c] = number_at(&t->row[i], c);
        csv_text(f, t->f->file[r->file].path);
        fprintf(f, ",%d,%d,%d,%d", (int)r->x, (int)r->y, (int)r->W, (int)r->H);
        put_values(t, f);
    }
}

static bool has(const tables *t, enum row_of of)
{
    for (int i = 0; i < t->n; i++)
        if (t->row[i].row.of == (int)of) return true;
    return false;
}

/* One line a mask: pixels of each class, and of volumes millilitres, of slides square millimetres. */
static void put_masks(const tables *t, FILE *f)
{
    static const char *const end[] = {[ROW_IMAGE] = ".png", [ROW_VOLUME] = ".nii.gz", [ROW_SLIDE] = ".geojson"};
    const task_spec *s = &t->p->plan.spec;
    char name[300];
    bool slides = has(t, ROW_SLIDE);
    fputs("file,mask", f);
    for (int k = 0; k < s->K; k++) snprintf(name, sizeof name, "pixels_%s", t->p->class_name[k]), fputc(',', f), csv_text(f, name);
    for (int k = 1; k < s->K; k++) snprintf(name, sizeof name, "ml_%s", t->p->class_name[k]), fputc(',', f), csv_text(f, name);
    for (int k = 1; slides && k < s->K; k++) snprintf(name, sizeof name, "mm2_%s", t->p->class_name[k]), fputc(',', f), csv_text(f, name);
    fputc('\n', f);
    for (int i = 0; i < t->n; i++) {
        const predict_row *r = &t->row[i].row;
        const source_file *file = &t->f->file[r->file];
        double voxel = (double)r->voxel[0] * (double)r->voxel[1] * (double)r->voxel[2] / 1000; /* mm^3 to ml */
        double pixel = (double)r->voxel[1] * (double)r->voxel[2] / 1e6;                                 /* um^2 to mm^2 */
        csv_text(f, file->path), fputc(',', f);
        snprintf(name, sizeof name, "%.280s%s", file->name, end[r->of]);
        csv_text(f, name);
        for (int k = 0; k < s->K; k++) fprintf(f, ",%.0f", number_at(&t->row[i], k));
        for (int k = 1; k < s->K; k++) fputc(',', f), csv_number(f, r->of == ROW_VOLUME ? number_at(&t->row[i], k) * voxel : (double)NAN);
        for (int k = 1; slides && k < s->K; k++) fputc(',', f), csv_number(f, r->of == ROW_SLIDE ? number_at(&t->row[i], k) * pixel : (double)NAN);
        fputc('\n', f);
    }
}

/* ---- COCO JSON ----------------------------------------------------------------------------------------------------------------------- */

void predict_json_text(FILE *f, const char *s)
{
    fputc('"', f);
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c < 32) fprintf(f, "\\u%04x", c);
        else {
            if (c == '"' || c == '\\') fputc('\\', f);
            fputc(c, f);
        }
    }
    fputc('"', f);
}

/* Images, one a file or a plane of a volume; boxes as x, y, width, height in pixels of the source; categories count from 1. */
static void put_boxes(const tables *t, FILE *f)
{
    const predict_plan *plan = &t->p->plan;
    const char *base = strrchr(plan->weights, '/');
    int id = 0;
    fputs("{\"info\": {\"description\": ", f), predict_json_text(f, "boxes by medley predict");
    fputs(", \"task\": ", f), predict_json_text(f, plan->spec.name);
    fputs(", \"weights\": ", f), predict_json_text(f, base ? base + 1 : plan->weights);
    fprintf(f, ", \"step\": %lld},\n\"images\": [", (long long)plan->step);
    for (int i = 0; i < t->n; i++) {
        const predict_row *r = &t->row[i].row;
        fprintf(f, "%s\n{\"id\": %d, \"file_name\": ", i ? "," : "", i + 1);
        predict_json_text(f, t->f->file[r->file].path);
        if (r->of == ROW_VOLUME) fprintf(f, ", \"slice\": %d", (int)r->slice);
        fprintf(f, ", \"width\": %d, \"height\": %d}", (int)r->W, (int)r->H);
    }
    fputs("],\n\"annotations\": [", f);
    for (int i = 0; i < t->n; i++)
        for (int k = 0; k + DETECTION_NUMBERS <= t->row[i].row.n; k += DETECTION_NUMBERS) {
            double b[DETECTION_NUMBERS];
            for (int c = 0; c < DETECTION_NUMBERS; c++) b[c] = number_at(&t->row[i], k + c);
            double w = b[2] - b[0], h = b[3] - b[1];
            fprintf(f, "%s\n{\"id\": %d, \"image_id\": %d, \"category_id\": %d, \"bbox\": [%.9g, %.9g, %.9g, %.9g], \"area\": %.9g, ", id ? "," : "",
                    id + 1, i + 1, (int)b[5] + 1, b[0], b[1], w, h, w * h);
            fprintf(f, "\"iscrowd\": 0, \"score\": %.9g}", b[4]);
            id++;
        }
    fputs("],\n\"categories\": [", f);
    for (int k = 0; k < plan->spec.K; k++) {
        fprintf(f, "%s\n{\"id\": %d, \"name\": ", k ? "," : "", k + 1);
        predict_json_text(f, t->p->class_name[k]);
        fputs("}", f);
    }
    fputs("]}\n", f);
}

/* ---- files ------------------------------------------------------------------------------------------------------------------------------ */

static status write_table(const tables *t, const char *end, void (*put)(const tables *t, FILE *f))
{
    char path[1400], name[64], *text = NULL;
    size_t n = 0;
    FILE *f;
    predict_safe_name(t->p->plan.spec.name, name);
    TRY(predict_path(t->ask, name, end, path), "predict");
    TRY(mem_text_open(&f, &text, &n, "table"), "%s", path);
    put(t, f);
    status st = mem_text_close(f, &text, "table");
    if (!st) st = file_write_atomic(path, text, n);
    free(text);
    return st;
}

status predict_tables(const predictor *p, const predict_ask *ask, const source_files *f, const predict_rows *rows)
{
    tables t = {.p = p, .ask = ask, .f = f};
    enum task_kind kind = p->plan.spec.kind;
    status st = take_rows(&t, rows);
    if (!st) st = mem_alloc(&t.x, sizeof *t.x * (size_t)p->plan.spec.K, "row");
    if (!st && kind == TASK_SEGMENTATION) st = write_table(&t, ".csv", put_masks);
    else if (!st && kind == TASK_DETECTION) st = write_table(&t, ".json", put_boxes);
    else if (!st) {
        st = write_table(&t, ".csv", put_files);
        if (!st && has(&t, ROW_VOLUME)) st = write_table(&t, "-slices.csv", put_slices);
        if (!st && has(&t, ROW_SLIDE)) st = write_table(&t, "-tiles.csv", put_tiles);
    }
    free(t.row), free(t.x);
    return st;
}
