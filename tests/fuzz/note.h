/* note: the recipe and the items that the notes of a part are of, in the corpus, its target and the unit test. */
#ifndef MEDLEY_FUZZ_NOTE_H
#define MEDLEY_FUZZ_NOTE_H

#include "convert_internal.h"

#include <stdlib.h>
#include <string.h>

enum { NOTE_ITEMS = 3 };

static const char note_recipe[] = "name = \"noted\"; title = \"t\"; modality = \"MR\"; licence = \"CC0\";\n"
                                  "images = { files = [\"{c}/{n}.nii\"]; channels = 1; id = \"{c}-{n}\"; subject = \"{n}\"; };\n"
                                  "labels = ( { name = \"kind\"; kind = \"classification\"; source = \"value\"; value = \"{c}\"; classes = [\"a\", \"b\"]; },\n"
                                  "           { name = \"m\"; kind = \"segmentation\"; source = \"mask\"; file = \"{n}.png\"; classes = [\"x\", \"y\", \"z\"]; } );\n";

static inline status note_load_recipe(recipe **r, const char *path)
{
    TRY(file_write_atomic(path, note_recipe, sizeof note_recipe - 1), "notes");
    return recipe_load(r, path);
}

/* An item with a sample of each class, then one with two samples, then one that was left out. Texts are malloc'ed. */
static inline status note_items(conversion *c)
{
    static const char *const names[NOTE_ITEMS] = {"a-1", "b-2", "a-3"};
    TRY(mem_alloc(&c->item, NOTE_ITEMS * sizeof *c->item, "notes"), "notes");
    c->n = NOTE_ITEMS;
    snprintf(c->list_sha256, sizeof c->list_sha256, "%064d", 7);
    snprintf(c->state_sha256, sizeof c->state_sha256, "%064d", 8);
    c->left.n_orphans = 5;
    for (int i = 0; i < NOTE_ITEMS; i++) {
        item *it = &c->item[i];
        *it = (item){.n_samples = 1 + (i == 1), .given = SPLIT_REST, .likeness = {{(uint64_t)i, 1, 2, 3}, true}, .n_labelled = {1, 1}, .labelled = {true, true}};
        if (i == 2) it->st = ST_DATA, it->n_samples = 0, it->n_labelled[0] = it->n_labelled[1] = 0;
        char *const path[] = {"a/1.nii", "b/2.nii", "a/3.nii"};
        TRY(mem_copy(&it->path, path[i], strlen(path[i]), "notes"), "notes");
        TRY(mem_copy(&it->id, names[i], 3, "notes"), "notes");
        TRY(mem_copy(&it->subject, names[i] + 2, 1, "notes"), "notes");
        TRY(mem_copy(&it->reason, "cut short", i == 2 ? 9 : 0, "notes"), "notes");
        snprintf(it->pixel_hash, sizeof it->pixel_hash, "%064d", i), snprintf(it->file_sha256, sizeof it->file_sha256, "%064d", 10 + i);
        for (int l = 0; l < c->r->n_labels; l++) {
            TRY(mem_alloc(&it->count[l], (size_t)label_columns(&c->r->label[l]) * sizeof **it->count, "notes"), "notes");
            it->count[l][i == 1] = i < 2;
        }
    }
    return OK;
}

static inline void note_drop_items(conversion *c)
{
    for (int i = 0; c->item && i < c->n; i++) {
        item *it = &c->item[i];
        free(it->path), free(it->id), free(it->subject), free(it->centre), free(it->reason);
        for (int l = 0; l < SHARD_MAX_LABELS; l++) free(it->count[l]);
    }
    free(c->item);
    c->item = NULL;
}

/* A file "notes-00000.h5" that speaks of n items and packs them: a few kilobytes, whatever n is. Its other arrays are not there. */
static inline status note_packed(const char *path, const recipe *r, int n)
{
    static const struct { const char *key; bool all; int value; } number[] = {{"part", false, 1}, {"n_parts", false, 1}, {"n_files", true, 0}, {"from", false, 0},
                                                                            {"next", true, 0}, {"next_samples", false, 0}, {"n_shards", false, 0}, {"complete", false, 1}};
    static const char *const sum[] = {"list_sha256", "state_sha256"};
    int32_t *zeros, left[sizeof(leftovers) / 4] = {0};
    store *s = NULL;
    TRY(mem_alloc(&zeros, (size_t)n * 4, "notes"), "notes");
    status st = OK;
    TRY_TO(out, store_create(&s, path), "notes");
    TRY_TO(out, store_put_str(s, "/", "format", "medley-part-notes"), "notes");
    TRY_TO(out, store_put_str(s, "/", "recipe_sha256", r->sha256), "notes");
    for (size_t i = 0; i < sizeof number / sizeof *number; i++)
        TRY_TO(out, store_put_i64(s, "/", number[i].key, number[i].all ? n : number[i].value), "notes");
    for (int i = 0; i < 2; i++) TRY_TO(out, store_put_str(s, "/", sum[i], r->sha256), "notes");
    TRY_TO(out, store_write(s, "leftovers", DT_I32, 1, (int64_t[]){sizeof left / 4}, left, 0), "notes");
    TRY_TO(out, store_write(s, "status", DT_I32, 2, (int64_t[]){n, 1}, zeros, 9), "notes");
out:
    free(zeros);
    if (!st) return store_commit(s);
    store_discard(s);
    return st;
}

#endif
