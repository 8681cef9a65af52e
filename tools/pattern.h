/* pattern: the one idea of a recipe. A path pattern "slides/{patient}_{n}.png" finds files and names parts of their paths; a template
 * "{patient}-{n}" or "{table.column}" puts those parts together again. */
#ifndef MEDLEY_TOOLS_PATTERN_H
#define MEDLEY_TOOLS_PATTERN_H

#include "medley/core.h"

#define PATTERN_PATH 320
#define PATTERN_NAMES 12

typedef struct binding { char name[32], text[PATTERN_PATH]; } binding;

/* Names with their texts. more: asked for names that are not here (columns of tables); NULL if there is none. */
typedef struct bindings {
    int     n;
    binding v[PATTERN_NAMES];
    const char *(*more)(const void *ctx, const char *name);
    const void *ctx;
} bindings;
const char *bindings_find(const bindings *b, const char *name); /* NULL */
MUST status bindings_add(bindings *b, const char *name, const char *text); /* or replaces it */

/* Syntax: braces closed, names not empty. Calls `each` for every name. ST_USAGE. */
MUST status pattern_names(const char *pattern, status (*each)(void *ctx, const char *name), void *ctx);

/* Template to text: every {name} must be known. */
MUST status pattern_expand(const char *pattern, const bindings *known, char *out, size_t out_bytes);

/* path: relative to the root. parts: names and texts one behind the other, each with its NUL, as there may be millions of files. */
typedef struct found { char *path, *parts; int n_parts; } found;
typedef struct found_list { int n, room; found *v; } found_list;
void found_parts(const found *f, bindings *out);
void found_drop(found *f);
void found_free(found_list *l);

/* All regular files under `root` that match, or all folders if the pattern ends with '/', in path order. `*` stands for any text and {name}
 * for any text but none, both without '/'; a name already in `known`, or met before in the path, stands for its text. Each match also binds
 * {path}, {file}, {stem} (file without extension), {folder}. Nothing found is no error. Adds to the list. */
MUST status pattern_list(const char *root, const char *pattern, const bindings *known, found_list *out);

#endif
