/* verify: what the parts of `medley-data verify` share: the findings and the table of samples that tells leaks. */
#ifndef MEDLEY_TOOLS_VERIFY_H
#define MEDLEY_TOOLS_VERIFY_H

#include "shard_list.h"

typedef struct findings {
    int64_t n_error, n_warning;
    int64_t most;                                       /* lines printed per rule; the rest is counted */
    int     n_rules;
    struct { const char *rule; int64_t n; } rule[32];
} findings;

/* One line on standard output: "error: RULE: ...". rule: a literal, names the kind of fault. */
void found_error(findings *f, const char *rule, const char *fmt, ...) PRINTF_LIKE(3, 4);
void found_warning(findings *f, const char *rule, const char *fmt, ...) PRINTF_LIKE(3, 4);
void findings_rest(findings *f); /* how many of each rule were not printed */

/* ---- samples seen so far (verify_leak.c) ---------------------------------------------------------------------------- */

typedef struct seen_sample { uint64_t subject, cases, id, pixels; size_t name; int32_t shard, at; uint8_t split; } seen_sample;
typedef struct seen_table { seen_sample *v; int64_t n, room; char *names; size_t n_names, room_names; } seen_table;
MUST status seen_add(seen_table *t, const shard *s, int shard_number, int64_t i);
/* Subjects, cases, ids and pixels in more than one place. quick: pixels are compared by checksum and size alone. */
MUST status seen_report(seen_table *t, const shard_list *list, bool quick, findings *f);
void seen_free(seen_table *t);

/* ---- one shard (verify_shard.c) ------------------------------------------------------------------------------------------ */

/* A shard that does not open: what in it is wrong, array by array and sample by sample. `why`: the message of shard_open. */
void verify_broken(const char *path, const char *why, findings *f);
/* Samples of an open shard: metadata, and unless quick pixels and masks one at a time. n_shown[label]: (3,K) samples that show a class, adds. */
MUST status verify_samples(shard *s, bool quick, int64_t *const *n_shown, findings *f);

#endif
