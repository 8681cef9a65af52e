/* sources: which files a command is about, what their outputs are called, and which rank works on which. */
#include "medley/task.h"

#include "sources.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum { PATH_MOST = 1000, LIST_BYTES = 64 << 20 };

/* Ends of names that tell an image: what of a folder is taken, and what is left out of the name of an output. */
static const char *const ends[] = {".nii.gz", ".nii", ".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".dcm", ".dicom", ".ima",
                                   ".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".svslide"};

static size_t end_of(const char *path)
{
    size_t n = strlen(path);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t m = strlen(ends[i]);
        if (n > m && path[n - m - 1] != '/' && strcasecmp(path + n - m, ends[i]) == 0) return m;
    }
    return 0;
}

/* ---- rank 0: the list ----------------------------------------------------------------------------------------------------------- */

typedef struct found { char *path, *name; double cost; } found;
typedef struct found_files { int n, room; found *v; } found_files;

static void found_close(found_files *l)
{
    for (int i = 0; i < l->n; i++) free(l->v[i].path), free(l->v[i].name);
    free(l->v);
}

static double bytes_of(const char *path)
{
    struct stat info;
    if (stat(path, &info)) return 0; /* it is named when it cannot be read */
    if (!S_ISDIR(info.st_mode)) return (double)info.st_size;
    double sum = 0;
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));) {
        char inside[PATH_MOST + 300];
        snprintf(inside, sizeof inside, "%s/%s", path, e->d_name);
        if (stat(inside, &info) == 0 && S_ISREG(info.st_mode)) sum += (double)info.st_size;
    }
    if (d) closedir(d);
    return sum;
}

static status add(found_files *l, const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    CHECK(n > 0 && n < PATH_MOST, ST_USAGE, "path of %zu letters: %.80s...", n, path);
    if (l->n == l->room) {
        int room = 2 * l->room + 16;
        TRY(mem_grow(&l->v, sizeof *l->v * (size_t)room, "list of files"), "files");
        l->room = room;
    }
    l->v[l->n] = (found){0};
    TRY(mem_copy(&l->v[l->n].path, path, n, "list of files"), "files");
    l->v[l->n].cost = bytes_of(l->v[l->n].path);
    l->n++;
    return OK;
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Names of what lies in a folder, sorted, without hidden ones. *names: each free(), and the list. */
static status list_folder(const char *folder, char ***names, int *n)
{
    int room = 0;
    status st = OK;
    *names = NULL, *n = 0;
    DIR *d = opendir(folder);
    CHECK(d, ST_DATA, "%s: cannot be listed", folder);
    for (struct dirent *e; !st && (e = readdir(d));) {
        if (e->d_name[0] == '.') continue;
        if (*n == room) {
            room = 2 * room + 16;
            st = mem_grow(names, sizeof **names * (size_t)room, "names in a folder");
        }
        if (!st) st = mem_copy(&(*names)[*n], e->d_name, strlen(e->d_name), "names in a folder");
        if (!st) ++*n;
    }
    closedir(d);
    if (*n) qsort(*names, (size_t)*n, sizeof **names, by_text);
    return st;
}

static bool is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* A series is one file; of another folder the images in it, and the series in folders of it. */
static status add_folder(found_files *l, const char *folder)
{
    char **name, path[PATH_MOST + 300];
    int n, before = l->n;
    if (image_is_series(folder)) return add(l, folder);
    status st = list_folder(folder, &name, &n);
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, name[i]);
        if (!st && (is_folder(path) ? image_is_series(path) : end_of(path) > 0)) st = add(l, path);
        free(name[i]);
    }
    free(name);
    TRY(st, "%s", folder);
    CHECK(l->n > before, ST_DATA, "%s: no image in this folder", folder);
    return OK;
}

static status add_word(found_files *l, const char *word) { return is_folder(word) ? add_folder(l, word) : add(l, word); }

static status add_list(found_files *l, const char *path)
{
    char *text, *rest = NULL;
    TRY(file_read_all(path, LIST_BYTES, &text, NULL), "--list");
    status st = OK;
    for (char *line = strtok_r(text, "\r\n", &rest); line && !st; line = strtok_r(NULL, "\r\n", &rest)) st = add_word(l, line);
    free(text);
    return st;
}

/* ---- rank 0: names ---------------------------------------------------------------------------------------------------------------- */

/* level 0: the file's name without its end; 1: its whole path so; 2: with the end. */
static status name_at(found *f, int level)
{
    const char *path = f->path, *slash = strrchr(path, '/');
    if (level == 0 && slash && slash[1]) path = slash + 1;
    while (level > 0 && (strncmp(path, "./", 2) == 0 || *path == '/')) path += *path == '/' ? 1 : 2;
    size_t n = strlen(path) - (level < 2 ? end_of(path) : 0);
    free(f->name), f->name = NULL;
    TRY(mem_copy(&f->name, path, n, "name"), "files");
    for (char *c = f->name; *c; c++)
        if (*c == '/' || (unsigned char)*c < ' ') *c = '_';
    if (f->name[0] == '.') f->name[0] = '_';
    return OK;
}

static int by_name(const void *a, const void *b)
{
    const found *x = *(found *const *)a, *y = *(found *const *)b;
    int order = strcmp(x->name, y->name);
    return order ? order : strcmp(x->path, y->path);
}

/* Files of one name in different folders get the folder into theirs. */
static status name_all(found_files *l)
{
    found **order;
    bool again = true;
    TRY(mem_alloc(&order, sizeof *order * (size_t)(l->n + 1), "names"), "files");
    status st = OK;
    for (int i = 0; i < l->n; i++) order[i] = &l->v[i];
    for (int i = 0; i < l->n && !st; i++) st = name_at(&l->v[i], 0);
    for (int level = 1; again && !st; level++) {
        again = false;
        qsort(order, (size_t)l->n, sizeof *order, by_name);
        for (int i = 0, k; i < l->n && !st; i = k) {
            for (k = i + 1; k < l->n && strcmp(order[i]->name, order[k]->name) == 0;) k++;
            if (k - i == 1) continue;
            if (level > 2 || strcmp(order[i]->path, order[i + 1]->path) == 0)
                st = status_raise(ST_USAGE, __FILE__, __LINE__, "%s and %s: outputs of one name", order[i]->path, order[i + 1]->path);
            for (int j = i; j < k && !st; j++) st = name_at(order[j], level);
            again = true;
        }
    }
    free(order);
    return st;
}

static status list_files(found_files *l, const char *const *word, int n_words, const char *list)
{
    for (int i = 0; i < n_words; i++) TRY(add_word(l, word[i]), "files");
    if (list) TRY(add_list(l, list), "files");
    CHECK(l->n > 0, ST_USAGE, "no files in the list");
    return name_all(l);
}

/* ---- all ranks ------------------------------------------------------------------------------------------------------------------- */

/* Costs, then paths and names with their NULs. */
static status pack(const found_files *l, char **bytes, size_t *n)
{
    *n = sizeof(double) * (size_t)l->n;
    for (int i = 0; i < l->n; i++) *n += strlen(l->v[i].path) + strlen(l->v[i].name) + 2;
    TRY(mem_alloc(bytes, *n, "list of files"), "files");
    char *at = *bytes;
    for (int i = 0; i < l->n; i++, at += sizeof(double)) memcpy(at, &l->v[i].cost, sizeof(double));
    for (int i = 0; i < l->n; i++) at = stpcpy(at, l->v[i].path) + 1, at = stpcpy(at, l->v[i].name) + 1;
    return OK;
}

static status unpack(source_files *f)
{
    TRY(mem_alloc(&f->file, sizeof *f->file * (size_t)f->n, "list of files"), "files");
    const char *at = f->text + sizeof(double) * (size_t)f->n;
    for (int i = 0; i < f->n; i++) {
        memcpy(&f->file[i].cost, f->text + sizeof(double) * (size_t)i, sizeof(double));
        f->file[i].path = at, at += strlen(at) + 1;
        f->file[i].name = at, at += strlen(at) + 1;
    }
    return OK;
}

static status share(source_files *f, int n_ranks)
{
    unit *u;
    TRY(mem_alloc(&f->rank_of, sizeof *f->rank_of * (size_t)f->n, "files of the ranks"), "files");
    TRY(mem_alloc(&u, sizeof *u * (size_t)f->n, "files of the ranks"), "files");
    for (int i = 0; i < f->n; i++) u[i] = (unit){.task = i, .cost = f->file[i].cost + 1e5}; /* opening one costs too */
    double balance = place_units(u, f->n, n_ranks, f->rank_of);
    free(u);
    return balance < 0 ? ST_RESOURCE : OK;
}

status sources_open(source_files *f, comm *world, const char *const *word, int n_words, const char *list)
{
    found_files all = {0};
    uint64_t size[2] = {0};
    bool reads = comm_rank(world) == 0;
    size_t n = 0;
    status st = OK;
    *f = (source_files){0};
    if (reads) {
        st = list_files(&all, word, n_words, list);
        if (!st) st = pack(&all, &f->text, &n);
        size[0] = (uint64_t)all.n, size[1] = n;
        found_close(&all);
    }
    TRY(comm_agree(world, st), "files");
    TRY(comm_bcast(world, size, sizeof size, 0), "files");
    if (!reads) st = mem_alloc(&f->text, size[1], "list of files");
    TRY(comm_agree(world, st), "files");
    TRY(comm_bcast(world, f->text, size[1], 0), "files");
    f->n = (int)size[0];
    st = unpack(f);
    if (!st) st = share(f, comm_size(world));
    return comm_agree(world, st);
}

void sources_close(source_files *f)
{
    free(f->file), free(f->text), free(f->rank_of);
    *f = (source_files){0};
}

/* ---- gathering ---------------------------------------------------------------------------------------------------------------------- */

status sources_gather(comm *world, const void *mine, size_t n, char **all, size_t *n_all)
{
    size_t *sizes = NULL;
    void *got = NULL;
    TRY(comm_agree(world, mem_alloc(&sizes, sizeof *sizes * (size_t)comm_size(world), "sizes")), "gathering");
    status st = comm_gather(world, mine, n, 0, &got, sizes);
    *n_all = 0;
    for (int r = 0; !st && comm_rank(world) == 0 && r < comm_size(world); r++) *n_all += sizes[r];
    free(sizes);
    *all = got;
    return st;
}

status source_faults_note(source_faults *l, int file)
{
    if (l->n == l->room) {
        int room = 2 * l->room + 8;
        TRY(mem_grow(&l->v, sizeof *l->v * (size_t)room, "messages"), "files");
        l->room = room;
    }
    source_fault *f = &l->v[l->n++];
    memset(f, 0, sizeof *f); /* it is sent as bytes */
    f->file = file;
    text_shown(status_message(), f->text, sizeof f->text);
    status_clear();
    return OK;
}

static int by_file(const void *a, const void *b) { return ((const source_fault *)a)->file - ((const source_fault *)b)->file; }

status source_faults_gather(source_faults *l, comm *world)
{
    char *all;
    size_t n;
    TRY(sources_gather(world, l->v, sizeof *l->v * (size_t)l->n, &all, &n), "messages");
    free(l->v);
    l->v = (source_fault *)(void *)all, l->n = l->room = (int)(n / sizeof *l->v);
    if (l->n > 1) qsort(l->v, (size_t)l->n, sizeof *l->v, by_file);
    return OK;
}

status source_faults_say(const source_faults *l, int n_files)
{
    for (int i = 0; i < l->n; i++) log_line(LOG_WARN, "%s", l->v[i].text);
    if (l->n == 0) return OK;
    return status_raise(ST_DATA, __FILE__, __LINE__, "%d of %d file%s could not be used%s%s", l->n, n_files, n_files == 1 ? "" : "s",
                        n_files == 1 ? ": " : "; the first: ", l->v[0].text);
}
