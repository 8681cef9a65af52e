/* fuzz_recipe: a recipe of a data set, and the path patterns in it. */
#include "fuzz.h"

#include "recipe.h"

#include <stdlib.h>
#include <string.h>

const char *const fuzz_name = "recipe";
const char *const fuzz_words[] = {"images = {", "labels = (", "files = [", "\"*", "{stem}", "{class}", "\"../", "\"/", "map = [\"", " -> ", "kind = ", "source = ",
                                  "tables = (", "match = [\"a = {stem}\"]", "classes = [", "slices = {", "split = {", ";", "}", ")", "]", "\"", NULL};
const size_t fuzz_bytes_max = 1 << 14, fuzz_memory_max = 64 << 20;
const int fuzz_mutations = 8000;

void fuzz_one(const uint8_t *data, size_t n)
{
    recipe *r;
    status st = recipe_load(&r, fuzz_file(data, n));
    if (st) {
        fuzz_require(st == ST_USAGE || st == ST_RESOURCE, "a recipe is refused as usage");
        return;
    }
    fuzz_require(!strchr(r->name, '/') && r->name[0] != '.' && r->name[0], "a data set is a folder of the output folder");
    bindings b = {.n = 2, .v = {{"path", "a/b.png"}, {"stem", "b"}}};
    char text[PATTERN_PATH];
    if (pattern_expand(r->images.id, &b, text, sizeof text)) text[0] = 0;
    for (int i = 0; i < r->images.n_files; i++) {
        found_list list = {0};
        if (strlen(r->images.files[i]) < 40) st = pattern_list("/proc/self/fdinfo", r->images.files[i], NULL, &list);
        for (int k = 0; k < list.n; k++) fuzz_require(!strstr(list.v[k].path, ".."), "found files lie in the source folder");
        found_free(&list);
    }
    free(r);
}
