/* convert_report: what a conversion did, for people: samples per split and class, what was left out, and what differs from the recipe. */
#include "convert_internal.h"

#include <string.h>

static void report_label(const conversion *c, int i)
{
    const recipe_label *l = &c->r->label[i];
    int64_t total[RECIPE_CLASSES + 1] = {0};
    log_line(LOG_INFO, "  label %s (%s)%s", l->name, l->kind, l->task == TASK_DETECTION ? ", boxes per class"
             : l->task == TASK_SEGMENTATION ? ", samples that show the class" : "");
    for (int s = 0; s < N_SPLITS; s++) {
        int64_t count[RECIPE_CLASSES + 1] = {0}, labelled = 0;
        for (int k = 0; k < c->n; k++) {
            const item *it = &c->item[k];
            if (it->st || it->split != (enum split)s) continue;
            labelled += it->n_labelled[i];
            for (int a = 0; a < label_columns(l); a++) count[a] += it->count[i][a];
        }
        char line[2048];
        int n = snprintf(line, sizeof line, "    %-5s %6lld labelled", split_name[s], (long long)labelled);
        for (int a = 0; a < label_columns(l); a++) {
            total[a] += count[a];
            if (l->task != TASK_REGRESSION && n < (int)sizeof line - 100)
                n += snprintf(line + n, sizeof line - (size_t)n, "%s%s %lld", a ? ", " : ": ", l->classes[a], (long long)count[a]);
        }
        log_line(LOG_INFO, "%s", line);
    }
    /* Volumes: the recipe's numbers are images, not slices. */
    for (int a = 0; a < l->n_expect; a++) {
        int64_t got = 0;
        for (int k = 0; k < c->n; k++)
            if (!c->item[k].st) got += l->task == TASK_DETECTION ? c->item[k].count[i][a] : c->item[k].count[i][a] > 0;
        if (got != l->expect[a])
            log_line(LOG_WARN, "%s: label %s, class %s: %lld, the recipe expects %d", c->r->name, l->name, l->classes[a], (long long)got, l->expect[a]);
    }
}

static void expect(const conversion *c, const char *what, int64_t got, int64_t want)
{
    if (want >= 0 && got != want)
        log_line(LOG_WARN, "%s: %lld %s, the recipe expects %lld: another edition of the source?", c->r->name, (long long)got, what, (long long)want);
}

void convert_report(const conversion *c, const char *out_dir)
{
    int64_t n[N_SPLITS] = {0}, images[N_SPLITS] = {0}, dropped = 0, clipped = 0;
    for (int i = 0; i < c->n; i++) {
        const item *it = &c->item[i];
        if (it->st) continue;
        n[it->split] += it->n_samples;
        images[it->split]++;
        dropped += it->n_box_dropped;
        clipped += it->n_box_clipped;
    }
    int64_t samples = n[0] + n[1] + n[2], subjects = c->n_subjects;
    log_line(LOG_INFO, "%s: %lld samples from %d images of %lld subjects in %s/%s", c->r->name, (long long)samples, c->n_good,
             (long long)subjects, out_dir, c->r->name);
    log_line(LOG_INFO, "  samples (images): train %lld (%lld), val %lld (%lld), test %lld (%lld)", (long long)n[0], (long long)images[0],
             (long long)n[1], (long long)images[1], (long long)n[2], (long long)images[2]);
    for (int i = 0; i < c->r->n_labels; i++) report_label(c, i);
    if (c->n_straddling) log_line(LOG_INFO, "  %d subjects are in several of the publisher's splits; they train", c->n_straddling);
    if (c->n_duplicates) log_line(LOG_INFO, "  %d images have the same pixels as another one; such images share a split", c->n_duplicates);
    if (dropped || clipped)
        log_line(LOG_INFO, "  boxes: %lld dropped (no area, or marked as missing), %lld clipped to the image", (long long)dropped, (long long)clipped);
    for (int i = 0; i < c->r->n_labels; i++) {
        const leftovers *k = &c->left;
        if (k->n_no_category[i] + k->n_no_image[i] + k->n_no_outline[i])
            log_line(LOG_INFO, "  label %s: annotations left out: %d without a category, %d without an image, %d without an outline", c->r->label[i].name,
                     k->n_no_category[i], k->n_no_image[i], k->n_no_outline[i]);
        if (k->n_crowd[i]) log_line(LOG_INFO, "  label %s: %d crowd regions are no objects", c->r->label[i].name, k->n_crowd[i]);
    }
    for (int t = 0; t < c->r->n_tables; t++)
        if (c->left.n_rows_unused[t])
            log_line(LOG_INFO, "  table %s: %d of %d rows have no image here", c->r->table[t].name, c->left.n_rows_unused[t], c->left.n_rows[t]);
    if (c->left.n_orphans) log_line(LOG_INFO, "  %d label files have no image", c->left.n_orphans);
    log_line(LOG_INFO, "  skipped: %d of %d files", c->n - c->n_good, c->n);
    for (int i = 0; i < c->n; i++)
        if (c->item[i].st) log_line(LOG_INFO, "    %s", c->item[i].reason);
    int n_telling = 0;
    for (int i = 0; i < c->n; i++) n_telling += !c->item[i].st && c->item[i].path_tells;
    if (n_telling)
        log_line(LOG_WARN, "%s: in %d images the patient's name or number, as the DICOM header has it, is part of the path, which /source keeps, and ids may: "
                 "rename the files first if these are not pseudonyms", c->r->name, n_telling);
    expect(c, "images", c->n_good, c->r->expect.images);
    expect(c, "samples", samples, c->r->expect.samples);
    expect(c, "subjects", subjects, c->r->expect.subjects);
    expect(c, "skipped files", c->n - c->n_good, c->r->expect.skipped);
}
