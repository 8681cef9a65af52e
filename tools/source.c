/* source: what all images of a data set share while they are read: tables with their indices, the COCO file, mask value maps. */
#include "case.h"

#include <stdlib.h>
#include <string.h>

enum { KEY_BYTES = 1024 };
#define KEY_SEPARATOR "\x1f"

static int by_key(const void *a, const void *b) { return strcmp(((const table_index *)a)->key, ((const table_index *)b)->key); }

static status open_table(source *s, int t)
{
    const recipe_table *rt = &s->r->table[t];
    table *tab = &s->table[t];
    char path[2 * PATTERN_PATH];
    snprintf(path, sizeof path, "%s/%s", s->root, rt->file);
    TRY(table_read(tab, path, rt->sheet), "table \"%s\"", rt->name);
    int column[RECIPE_JOINS];
    for (int m = 0; m < rt->n_match; m++) {
        char name[128], text[128];
        if (!split_pair(rt->match[m], "=", name, text, sizeof name)) continue;
        column[m] = table_column(tab, name);
        CHECK(column[m] >= 0, ST_USAGE, "%s:%d: tables[%d].match: %s has no column \"%s\"", s->r->file, rt->line, t, path, name);
    }
    TRY(mem_alloc(&s->index[t], ((size_t)tab->n_rows + 1) * sizeof(table_index), "a table's index"), "%s", path);
    for (int row = 0; row < tab->n_rows; row++) {
        char joined[KEY_BYTES] = "";
        for (int m = 0; m < rt->n_match; m++) {
            CHECK(strlen(joined) + strlen(table_cell(tab, row, column[m])) + 2 < sizeof joined, ST_DATA, "%s: row %d: key too long", path, row + 2);
            strcat(joined, table_cell(tab, row, column[m]));
            strcat(joined, KEY_SEPARATOR);
        }
        s->index[t][row].row = row;
        TRY(mem_copy(&s->index[t][row].key, joined, strlen(joined), "key"), "%s", path);
    }
    qsort(s->index[t], (size_t)tab->n_rows, sizeof(table_index), by_key);
    return OK;
}

static status open_lut(source *s, int i)
{
    const recipe_label *l = &s->r->label[i];
    TRY(mem_alloc(&s->lut[i], LUT_SIZE * sizeof(int16_t), "a mask's value map"), "label %s", l->name);
    for (int v = 0; v < LUT_SIZE; v++) s->lut[i][v] = -1;
    s->lut[i][LUT_ZERO] = 0;
    for (int k = 0; l->n_map == 0 && k < l->n_classes; k++) s->lut[i][LUT_ZERO + k] = (int16_t)k;
    for (int m = 0; m < l->n_map && !l->by_colour; m++) s->lut[i][LUT_ZERO + l->mask_value[m]] = l->mask_class[m];
    return OK;
}

static status open_coco(source *s, int i)
{
    char path[2 * PATTERN_PATH], *text;
    size_t n;
    snprintf(path, sizeof path, "%s/%s", s->root, s->r->label[i].file);
    TRY(file_read_all(path, (size_t)1 << 31, &text, &n), "label %s", s->r->label[i].name);
    const recipe_label *l = &s->r->label[i];
    coco_rules rules = {.outlines = l->task == TASK_SEGMENTATION, .crowd_is_object = !strcmp(l->crowd, "object")};
    status st = coco_parse(&s->coco[i], text, n, &rules, path);
    free(text);
    return st;
}

/* {table.column}: the column must be there, or every file would fail one by one. */
static status column_exists(void *ctx, const char *name)
{
    const source *s = ctx;
    const char *dot = strchr(name, '.');
    for (int t = 0; dot && t < s->r->n_tables; t++) {
        const char *word = s->r->table[t].name;
        if (strlen(word) != (size_t)(dot - name) || strncmp(word, name, (size_t)(dot - name))) continue;
        CHECK(table_column(&s->table[t], dot + 1) >= 0, ST_USAGE, "%s:%d: {%s}: table \"%s\" (%s) has no column \"%s\"", s->r->file,
              s->r->table[t].line, name, word, s->r->table[t].file, dot + 1);
    }
    return OK;
}

static status check_columns(source *s)
{
    const recipe *r = s->r;
    TRY(pattern_names(r->images.id, column_exists, s), "images.id");
    TRY(pattern_names(r->images.subject, column_exists, s), "images.subject");
    TRY(pattern_names(r->images.centre, column_exists, s), "images.centre");
    for (int i = 0; i < r->n_labels; i++) {
        const recipe_label *l = &r->label[i];
        int t = strcmp(l->source, "columns") ? -1 : recipe_table_find(r, l->value);
        for (int k = 0; t >= 0 && k < l->n_classes; k++)
            CHECK(table_column(&s->table[t], l->classes[k]) >= 0, ST_USAGE, "%s:%d: labels[%d].classes: table \"%s\" (%s) has no column \"%s\"", r->file,
                  l->line, i, l->value, r->table[t].file, l->classes[k]);
        if (t >= 0) continue;
        TRY(pattern_names(l->value, column_exists, s), "labels[%d].value", i);
        TRY(pattern_names(l->file, column_exists, s), "labels[%d].file", i);
        TRY(pattern_names(l->image_name, column_exists, s), "labels[%d].image_name", i);
    }
    return OK;
}

status source_open(source *s, const recipe *r, const char *root)
{
    *s = (source){.r = r};
    status st = OK;
    CHECK(strlen(root) < sizeof s->root, ST_DATA, "path too long: %.80s...", root);
    snprintf(s->root, sizeof s->root, "%s", root);
    for (int t = 0; t < r->n_tables; t++) TRY_TO(fail, open_table(s, t), "%s", r->name);
    for (int i = 0; i < r->n_labels; i++) {
        if (!strcmp(r->label[i].source, "mask") || (!strcmp(r->label[i].source, "npy") && r->label[i].task == TASK_SEGMENTATION)) TRY_TO(fail, open_lut(s, i), "%s", r->name);
        if (!strcmp(r->label[i].source, "coco")) TRY_TO(fail, open_coco(s, i), "%s", r->name);
    }
    TRY_TO(fail, check_columns(s), "%s", r->name);
    return OK;
fail:
    source_close(s);
    return st;
}

void source_close(source *s)
{
    for (int t = 0; t < RECIPE_TABLES; t++) {
        for (int i = 0; s->index[t] && i < s->table[t].n_rows; i++) free(s->index[t][i].key);
        free(s->index[t]);
        table_free(&s->table[t]);
    }
    for (int i = 0; i < SHARD_MAX_LABELS; i++) {
        coco_free(&s->coco[i]);
        free(s->lut[i]);
    }
    *s = (source){0};
}

/* ---- names of one file ------------------------------------------------------------------------------------------------------ */

static const char *cell_of(const void *ctx, const char *name)
{
    const names *n = ctx;
    const char *dot = strchr(name, '.');
    for (int t = 0; dot && t < n->s->r->n_tables; t++) {
        const char *word = n->s->r->table[t].name;
        if (strlen(word) != (size_t)(dot - name) || strncmp(word, name, (size_t)(dot - name))) continue;
        int column = table_column(&n->s->table[t], dot + 1);
        return column < 0 || n->row[t] < 0 ? NULL : table_cell(&n->s->table[t], n->row[t], column);
    }
    return NULL;
}

status names_open(names *n, const source *s, const bindings *parts)
{
    *n = (names){.s = s, .is = *parts};
    n->is.more = NULL;
    for (int t = 0; t < s->r->n_tables; t++) {
        const recipe_table *rt = &s->r->table[t];
        char joined[KEY_BYTES] = "";
        for (int m = 0; m < rt->n_match; m++) {
            char column[128], text[128], value[PATTERN_PATH];
            if (!split_pair(rt->match[m], "=", column, text, sizeof column)) continue;
            TRY(pattern_expand(text, &n->is, value, sizeof value), "table \"%s\"", rt->name);
            CHECK(strlen(joined) + strlen(value) + 2 < sizeof joined, ST_DATA, "key of table \"%s\" is too long", rt->name);
            strcat(joined, value);
            strcat(joined, KEY_SEPARATOR);
        }
        table_index want = {joined, 0}, *all = s->index[t], *end = all + s->table[t].n_rows;
        table_index *hit = bsearch(&want, all, (size_t)s->table[t].n_rows, sizeof want, by_key);
        n->row[t] = hit ? hit->row : -1;
        bool twice = hit && ((hit > all && !by_key(hit, hit - 1)) || (hit + 1 < end && !by_key(hit, hit + 1)));
        CHECK(!twice, ST_DATA, "table \"%s\" has several rows for this image", rt->name);
    }
    n->is.more = cell_of;
    n->is.ctx = n;
    return OK;
}
