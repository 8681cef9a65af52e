/* fuzz_job: a job file. Lines "#set KEY=VALUE" in it are given as --set as well. */
#include "fuzz.h"

#include "medley/config.h"

#include <stdlib.h>
#include <string.h>

const char *const fuzz_name = "job";
const char *const fuzz_words[] = {"run = ", "tasks = (", "{", "}", "[", "]", "(", ")", ";", "\"", "name = ", "data", "image = [64, 64]", "@include \"",
                                  "/*", "*/", "#set ", "tasks[0].batch=", "train.steps=", "1e999", "0x7fffffffL", "99999999999999999999", "nan", NULL};
const size_t fuzz_bytes_max = 1 << 14, fuzz_memory_max = 64 << 20;
const int fuzz_mutations = 8000;

void fuzz_one(const uint8_t *data, size_t n)
{
    static job j, again;
    char *text = strndup((const char *)data, n), *set[16];
    if (!text) abort();
    int n_set = 0;
    for (char *p = text; n_set < 16 && (p = strstr(p, "#set ")); p++) set[n_set++] = p + 5;
    for (int i = 0; i < n_set; i++) set[i][strcspn(set[i], "\n")] = 0;
    status st = job_load_without_data(&j, fuzz_file(data, n), (const char *const *)set, n_set);
    free(text);
    if (st) {
        fuzz_require(st == ST_USAGE || st == ST_RESOURCE, "a job file is refused as usage");
        return;
    }
    char *printed = NULL;
    size_t length = 0;
    FILE *f = open_memstream(&printed, &length);
    if (!f || job_print(&j, f)) abort();
    fclose(f);
    fuzz_require(job_load_without_data(&again, fuzz_file((uint8_t *)printed, length), NULL, 0) == OK, "a printed job loads again");
    fuzz_require(again.n_tasks == j.n_tasks && again.seed == j.seed && again.optim.lr == j.optim.lr, "and is the same");
    free(printed);
}
