/* config_internal: what the files of src/config share: the list of faults, the text scan, settings and their places. */
#ifndef CONFIG_INTERNAL_H
#define CONFIG_INTERNAL_H

#include "medley/config.h"

#include <libconfig.h>

enum { PATH_BYTES = 256, FILE_LIMIT = 1 << 20, DEPTH_LIMIT = 16, INCLUDE_LIMIT = 32 };

typedef struct fault {
    char *file, *key, *text; /* file NULL: the fault is in a --set */
    int   line, number;      /* number: order of discovery */
} fault;

struct config_faults {
    const char *path, *dir;  /* the file as given; the folder of its @include */
    const key  *table;       /* of the whole file */
    config_t    tree;
    fault      *list;
    int         n, room;
    bool        out_of_memory;
    bool        fatal;       /* the text must not reach the parser */
    bool        partial;     /* a syntax error: the tree ends there, so nothing can be called missing */
    fault      *hint;        /* likely causes of a syntax error; they count only if there is one */
    int         n_hints;
    int         n_files;     /* scanned */
};

/* ---- faults.c */
/* A place in a file. key "" = none. Dropped if `key` has a fault already. */
void faults_at(config_faults *f, const char *file, int line, const char *where, const char *fmt, ...) PRINTF_LIKE(5, 6);
/* In a --set key=value. */
void faults_set(config_faults *f, const char *where, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* At a setting of the tree, wherever it came from. */
void faults_of(config_faults *f, const config_setting_t *s, const char *where, const char *fmt, ...) PRINTF_LIKE(4, 5);
void faults_hint(config_faults *f, const char *file, int line, const char *where, const char *text);
bool faults_has(const config_faults *f, const char *where);
status faults_raise(config_faults *f); /* OK if there are none */
void faults_free(config_faults *f);

/* ---- scan.c */
/* Looks at the text before the parser: literals it would wrap, open strings and comments, depth, size, @include. */
void scan_file(config_faults *f, const char *path);
void scan_text(config_faults *f, const char *path, const char *text, int depth);
/* How @include of `name` is reached. */
void scan_include_path(const config_faults *f, const char *name, char *out, size_t n);

/* ---- set.c */
void set_apply(config_faults *f, const key *table, const char *set);
bool set_is_from(const config_setting_t *s); /* came from a --set */
/* The setting at "tasks[2].image"; NULL if there is none. deepest: its nearest existing parent. */
config_setting_t *set_find(const config_faults *f, const char *path, config_setting_t **deepest);

/* ---- read.c */
const key *key_find(const key *table, const char *name, size_t n);
bool key_is_list(const key *k);
/* "an integer from 1 to 10" */
void key_expected(const key *k, char *out, size_t n);
size_t field_bytes(const key *k); /* of a number */

/* ---- print.c */
void print_number(double v, char out[40]); /* shortest text that reads back to the same double and as a float */

#endif
