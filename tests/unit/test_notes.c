/* test_notes: what a part of a conversion leaves for the join: read back as it was written, and no number in it believed beyond what the files
 * can hold. */
#include "test.h"

#include "../fuzz/note.h"

#include <unistd.h>

static char folder[64];
static recipe *r;

/* "FOLDER/noted.parts/1-of-N" */
static const char *part_of(int part, int n_parts)
{
    static char dir[1024];
    char parts[256];
    snprintf(parts, sizeof parts, "%s/noted" PARTS_SUFFIX, folder);
    part_dir(dir, parts, part, n_parts);
    return dir;
}

static void clear(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s/noted*", folder);
    EXPECT(system(command) == 0, "%s", command);
}

/* The three items as one note of a whole conversion; `change` may spoil it before it is written. */
static void write_note(void (*change)(conversion *, part_note *))
{
    conversion c = {.r = r};
    part_note n = {.part = 1, .n_parts = 1, .n_files = NOTE_ITEMS, .next = NOTE_ITEMS, .n_shards = 0, .complete = 1};
    clear();
    EXPECT_OK(path_make_dirs(part_of(1, 1)));
    EXPECT_OK(note_items(&c));
    if (change) change(&c, &n);
    EXPECT_OK(note_write(&c, &n, part_of(1, 1)));
    note_drop_items(&c);
}

static void round_trip(void)
{
    conversion c = {.r = r}, want = {.r = r};
    part_note n;
    bool other;
    write_note(NULL);
    EXPECT_OK(note_items(&want));
    EXPECT_OK(note_read(&c, part_of(1, 1), 0, &n, &other));
    EXPECT(!other && c.n == NOTE_ITEMS && !c.item && n.next == NOTE_ITEMS && n.complete == 1, "the head: %d items", c.n);
    EXPECT_OK(mem_alloc(&c.item, NOTE_ITEMS * sizeof *c.item, "items"));
    EXPECT_OK(note_read(&c, part_of(1, 1), 0, &n, &other));
    EXPECT(!other && c.left.n_orphans == 5, "leftovers");
    for (int i = 0; i < NOTE_ITEMS; i++) {
        const item *a = &c.item[i], *b = &want.item[i];
        EXPECT(a->st == b->st && a->n_samples == b->n_samples && a->given == b->given, "item %d", i);
        EXPECT(!strcmp(a->path, b->path) && !strcmp(a->id, b->id) && !strcmp(a->subject, b->subject) && !strcmp(a->reason, b->reason) && !*a->centre, "texts of %d", i);
        EXPECT(!strcmp(a->pixel_hash, b->pixel_hash) && !strcmp(a->file_sha256, b->file_sha256), "hashes of %d", i);
        EXPECT(!memcmp(&a->likeness, &b->likeness, sizeof a->likeness.bit) && a->likeness.known, "likeness of %d", i);
        for (int l = 0; l < r->n_labels; l++) {
            EXPECT(a->labelled[l] && a->n_labelled[l] == b->n_labelled[l], "label %d of %d", l, i);
            EXPECT(!memcmp(a->count[l], b->count[l], (size_t)label_columns(&r->label[l]) * 4), "counts %d of %d", l, i);
        }
    }
    note_drop_items(&c);
    note_drop_items(&want);
}

/* ---- lies -------------------------------------------------------------------------------------------------------------------- */

enum { MANY = 3000000 }; /* items take more than 1 GiB */

static void many_files(conversion *c, part_note *n) { (void)c, n->n_files = MANY; }
static void many_samples(conversion *c, part_note *n)
{
    (void)n;
    for (int i = 0; i < 2; i++) c->item[i].n_samples = 1 << 24; /* pledges of half a GiB */
}
static void no_count(conversion *c, part_note *n) { (void)n, c->item[0].count[1][2] = -1; }
static void no_id(conversion *c, part_note *n) { (void)n, c->item[1].id[0] = 0; }
static void labelled_more(conversion *c, part_note *n) { (void)n, c->item[1].n_labelled[0] = 3; }

static void refused(const char *words)
{
    conversion c = {.r = r, .options = {.quiet = true}};
    int64_t before = memory_peak_bytes();
    EXPECT_STATUS(convert_join(&c, folder, 1), ST_DATA);
    EXPECT(strstr(status_message(), words), "\"%s\" instead of \"%s\"", status_message(), words);
#ifndef __SANITIZE_ADDRESS__
    int64_t grown = memory_peak_bytes() - before;
    EXPECT(grown < 32 << 20, "%lld MiB of memory for a note of some KiB", (long long)(grown >> 20));
#endif
    (void)before;
    note_drop_items(&c);
    EXPECT(path_exists(part_of(1, 1)), "the part stays");
}

static void lies(void)
{
    char path[1100];
    write_note(many_files);
    refused("do not follow each other");
    write_note(NULL);
    note_path(path, part_of(1, 1), 0);
    EXPECT_OK(note_packed(path, r, MANY));
    refused("no readable object given");
    write_note(many_samples);
    refused("the notes speak of 33554432 samples, the shards have 0 bytes");
    write_note(no_count);
    refused("impossible values for a/1.nii");
    write_note(no_id);
    refused("impossible values for b/2.nii");
    write_note(labelled_more);
    refused("impossible values for b/2.nii");
}

int main(void)
{
    char path[128];
    strcpy(folder, "/tmp/medley-notes-XXXXXX");
    if (!mkdtemp(folder)) return 1;
    log_open(-1, LOG_ERROR);
    snprintf(path, sizeof path, "%s/noted.cfg", folder);
    if (note_load_recipe(&r, path)) return printf("Bail out! %s\n", status_message()), 1;
    RUN(round_trip);
    RUN(lies);
    clear();
    unlink(path);
    rmdir(folder);
    free(r);
    DONE();
}
