/* fuzz_note: the notes of a part, as a join reads them, and as a part that goes on does. */
#include "fuzz.h"

#include "note.h"

#include <unistd.h>

const char *const fuzz_name = "note";
const char *const fuzz_words[] = {"OHDR", "OCHK", "BTHD", "status", "count/kind", "likeness", "pixel_sha256", "n_files", "../", "\x89HDF\r\n\x1a\n", NULL};
/* A note is unpacked: its items are a few times its size in memory. The rest is HDF5's. */
const size_t fuzz_bytes_max = 1 << 16, fuzz_memory_max = 64 << 20;
const int fuzz_mutations = 2000;

static recipe *note_recipe_once(void)
{
    static recipe *r;
    char path[] = "/tmp/medley-fuzz-note-XXXXXX";
    if (r) return r;
    int fd = mkstemp(path);
    fuzz_require(fd >= 0 && note_load_recipe(&r, path) == OK, "the harness can read its recipe");
    close(fd);
    unlink(path);
    return r;
}

static void check(const conversion *c, int from, int to)
{
    for (int i = from; i < to; i++) {
        const item *it = &c->item[i];
        fuzz_require(it->path && it->id && it->subject && it->centre && it->reason, "texts are there");
        fuzz_require(it->st || (*it->id && *it->subject), "an image has a name");
        fuzz_require(strlen(it->pixel_hash) <= 64 && strlen(it->file_sha256) <= 64, "hashes end");
        for (int l = 0; l < c->r->n_labels; l++) fuzz_require(it->count[l] && it->count[l][0] >= 0 && it->n_labelled[l] <= it->n_samples, "counts are counts");
    }
}

/* First the head; then, if it speaks of all files, its items; then what a join does with them. */
static void join(const recipe *r, const char *dir, size_t n_bytes)
{
    conversion c = {.r = r};
    part_note n;
    bool other;
    if (note_read(&c, dir, 0, &n, &other) || other) return;
    fuzz_require(n.from >= 0 && n.from <= n.next && n.next <= n.n_files && c.n == n.n_files, "items are some of the files");
    fuzz_require((n.next - n.from) * 96 <= (int64_t)n_bytes, "a note has bytes for its items");
    if (n.from != 0 || n.next != n.n_files) return;
    fuzz_require(mem_alloc(&c.item, (size_t)c.n * sizeof *c.item, "items") == OK, "there is memory for what the file holds");
    if (!note_read(&c, dir, 0, &n, &other)) {
        check(&c, 0, c.n);
        for (int i = 0; i < c.n; i++) c.n_good += !c.item[i].st;
        if (c.n_good && !convert_split(&c)) convert_report(&c, "nowhere");
    }
    note_drop_items(&c);
}

static void go_on(const recipe *r, const char *dir)
{
    conversion c = {.r = r};
    part_note n;
    bool other;
    fuzz_require(note_items(&c) == OK, "the harness has memory");
    if (!note_read(&c, dir, 0, &n, &other) && !other) check(&c, (int)n.from, (int)n.next);
    note_drop_items(&c);
}

void fuzz_one(const uint8_t *data, size_t n)
{
    const recipe *r = note_recipe_once();
    const char *dir = fuzz_folder("notes-00000.h5", data, n);
    join(r, dir, n);
    go_on(r, dir);
}
