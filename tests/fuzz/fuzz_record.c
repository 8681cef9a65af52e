/* fuzz_record: the record of a run, JSON Lines. */
#include "fuzz.h"

#include "medley/train.h"

#include <string.h>

const char *const fuzz_name = "record";
const char *const fuzz_words[] = {"{\"event\":\"step\",", "\"step\":", "\"loss\":", "null", "true", "\\u0000", "\\ud83d", "\\\"", "1e999", "-", "\n", "}\n", "\"", NULL};
const size_t fuzz_bytes_max = 1 << 15, fuzz_memory_max = 32 << 20;
const int fuzz_mutations = 20000;

static status each(void *arg, const record_line *line)
{
    (void)arg;
    fuzz_require(line->n >= 0 && line->n <= RECORD_MAX_FIELDS, "a line has room for its fields");
    for (int i = 0; i < line->n; i++) {
        const record_field *f = &line->field[i];
        fuzz_require(strlen(f->key) < sizeof f->key && (!f->is_text || strlen(f->text) < sizeof f->text), "texts end");
    }
    return OK;
}

void fuzz_one(const uint8_t *data, size_t n)
{
    if (record_read(fuzz_file(data, n), each, NULL)) fuzz_require(status_message()[0] != 0, "a refusal says why");
}
