/* verify: the command that checks data set folders: sums, index against shards, samples, leaks between splits. */
#include "verify.h"
#include "commands.h"

#include "medley/command.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- findings -------------------------------------------------------------------------------------------------------- */

static void found(findings *f, const char *word, const char *rule, const char *fmt, va_list args)
{
    int r = 0;
    while (r < f->n_rules && strcmp(f->rule[r].rule, rule) != 0) r++;
    if (r == f->n_rules && r < 31) f->rule[f->n_rules++].rule = rule;
    if (++f->rule[r].n > f->most) return;
    printf("%s: %s: ", word, rule);
    vprintf(fmt, args);
    printf("\n");
}

void found_error(findings *f, const char *rule, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    f->n_error++;
    found(f, "error", rule, fmt, args);
    va_end(args);
}

void found_warning(findings *f, const char *rule, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    f->n_warning++;
    found(f, "warning", rule, fmt, args);
    va_end(args);
}

void findings_rest(findings *f)
{
    for (int r = 0; r < f->n_rules; r++)
        if (f->rule[r].n > f->most) printf("... and %lld more of \"%s\"\n", (long long)(f->rule[r].n - f->most), f->rule[r].rule);
}

/* ---- one data set ---------------------------------------------------------------------------------------------------- */

typedef struct check {
    shard_list list;
    findings  *f;
    bool       quick;
    seen_table seen;
    int64_t    n_samples, n_open;
    int64_t   *n_shown[SHARD_MAX_LABELS]; /* (3,K) recounted from the shards; NULL without an index */
    int64_t    n_present[SHARD_MAX_LABELS][N_SPLITS];
} check;

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool listed(const check *c, const char *name)
{
    for (int k = 0; k < c->list.n; k++)
        if (strcmp(base_name(c->list.path[k]), name) == 0) return true;
    return false;
}

/* One line "sha256  name" of SHA256SUMS; compares the file and, for shards, the index. */
static void check_sum(check *c, const char *line, bool *has)
{
    char want[65], got[65], name[256], path[1400];
    if (sscanf(line, "%64[0-9a-f] %*[ *]%255[^\n]", want, name) != 2 && sscanf(line, "%64[0-9a-f]  %255[^\n]", want, name) != 2) {
        found_error(c->f, "sums", "%s/SHA256SUMS: unreadable line \"%.60s\"", c->list.dir, line);
        return;
    }
    snprintf(path, sizeof path, "%s/%s", c->list.dir, name);
    if (!path_exists(path)) {
        found_error(c->f, "sums", "%s is missing, SHA256SUMS names it", path);
        return;
    }
    for (int k = 0; k < c->list.n; k++)
        if (strcmp(base_name(c->list.path[k]), name) == 0) {
            has[k] = true;
            if (c->list.has_index && strcmp(c->list.index.sha256[k], want) != 0)
                found_error(c->f, "index", "%s: SHA256SUMS and index.h5 name different sums", path);
        }
    if (c->quick) return;
    if (sha256_file(path, got)) found_error(c->f, "sums", "%s", status_message());
    else if (strcmp(got, want) != 0) found_error(c->f, "sums", "%s: changed or damaged: SHA-256 %.12s..., should be %.12s...", path, got, want);
}

static status check_sums(check *c)
{
    char path[1100], *text;
    size_t n;
    snprintf(path, sizeof path, "%s/SHA256SUMS", c->list.dir);
    if (!path_exists(path)) {
        found_error(c->f, "sums", "%s is missing", path);
        return OK;
    }
    bool *has;
    TRY(mem_alloc(&has, sizeof *has * (size_t)c->list.n, "names"), "verify");
    status st = file_read_all(path, (size_t)64 << 20, &text, &n);
    if (st) {
        free(has);
        return st;
    }
    for (char *line = text, *end; *line; line = end) {
        end = line + strcspn(line, "\n");
        if (*end) *end++ = 0;
        if (*line) check_sum(c, line, has);
    }
    for (int k = 0; k < c->list.n; k++)
        if (!has[k]) found_error(c->f, "sums", "%s is not in SHA256SUMS", c->list.path[k]);
    free(text);
    free(has);
    return OK;
}

/* Files that lie there and belong to nothing. */
static void check_strays(check *c)
{
    DIR *d = c->list.has_index ? opendir(c->list.dir) : NULL;
    for (struct dirent *e; d && (e = readdir(d));) {
        size_t n = strlen(e->d_name);
        if (n > 3 && strcmp(e->d_name + n - 3, ".h5") == 0 && strcmp(e->d_name, "index.h5") != 0 && !listed(c, e->d_name))
            found_warning(c->f, "stray", "%s/%s is not in the index: it is never read", c->list.dir, e->d_name);
    }
    if (d) closedir(d);
}

static void compare_text(check *c, const char *path, const char *what, const char *shard, const char *index)
{
    if (strcmp(shard, index) != 0) found_error(c->f, "index", "%s: %s is \"%s\", the index says \"%s\"", path, what, shard, index);
}

/* Head of a shard against the index; false if its label sets differ, so that samples cannot be compared. */
static bool compare_meta(check *c, const shard *s)
{
    const shard_meta *m = &s->meta, *x = &c->list.index.meta;
    compare_text(c, s->path, "name", m->name, x->name);
    compare_text(c, s->path, "modality", m->modality, x->modality);
    compare_text(c, s->path, "licence", m->licence, x->licence);
    compare_text(c, s->path, "recipe_sha256", m->recipe_sha256, x->recipe_sha256);
    compare_text(c, s->path, "pixel type", dtype_name(m->pixel), dtype_name(x->pixel));
    if (m->channels != x->channels) found_error(c->f, "index", "%s: %d channels, the index says %d", s->path, m->channels, x->channels);
    if (m->n_labels != x->n_labels) {
        found_error(c->f, "names", "%s: %d label sets, the index has %d", s->path, m->n_labels, x->n_labels);
        return false;
    }
    bool same = true;
    for (int l = 0; l < m->n_labels; l++) {
        const shard_label *a = &m->label[l], *b = &x->label[l];
        if (strcmp(a->name, b->name) != 0 || a->kind != b->kind || a->n_classes != b->n_classes) {
            found_error(c->f, "names", "%s: label %s is %s with %d classes, the index has %s, %s with %d", s->path, a->name, task_kind_name[a->kind],
                        a->n_classes, b->name, task_kind_name[b->kind], b->n_classes);
            same = false;
            continue;
        }
        for (int k = 0; a->kind != TASK_REGRESSION && k < a->n_classes; k++)
            if (strcmp(a->class_name[k], b->class_name[k]) != 0)
                found_error(c->f, "names", "%s: label %s: class %d is \"%s\", the index says \"%s\"", s->path, a->name, k, a->class_name[k], b->class_name[k]);
    }
    return same;
}

/* Each sample of shard k against its entry in the index, which starts at `first`. */
static void compare_samples(check *c, const shard *s, int k, int64_t first, bool labels)
{
    const catalogue *x = &c->list.index;
    if (s->n != x->n[k]) {
        found_error(c->f, "index", "%s: %lld samples, the index says %lld", s->path, (long long)s->n, (long long)x->n[k]);
        return;
    }
    for (int64_t i = 0, g = first; i < s->n; i++, g++) {
        const char *id = x->id + g * x->id_width, *case_id = x->case_id + g * x->case_width;
        if (strcmp(s->id[i], id) != 0 || strcmp(s->case_id[i], case_id) != 0)
            found_error(c->f, "index", "%s: sample %lld is %s of case %s, the index says %s of case %s", s->path, (long long)i, s->id[i], s->case_id[i], id,
                        case_id);
        if (s->split[i] != x->split[g])
            found_error(c->f, "index", "%s: %s is in %s, the index says %s", s->path, s->id[i], split_name[s->split[i]], split_name[x->split[g]]);
        for (int l = 0; labels && l < s->meta.n_labels; l++) {
            if (s->label[l].present[i] != x->label[l].present[g])
                found_error(c->f, "index", "%s: %s: label %s is %s, the index says the opposite", s->path, s->id[i], s->meta.label[l].name,
                            s->label[l].present[i] ? "present" : "missing");
            else if (s->label[l].cls && x->label[l].cls && s->label[l].cls[i] != x->label[l].cls[g])
                found_error(c->f, "index", "%s: %s: label %s: class %d, the index says %d", s->path, s->id[i], s->meta.label[l].name, s->label[l].cls[i],
                            x->label[l].cls[g]);
        }
    }
}

/* Recounts what the index claims per class; masks are counted while they are read. */
static void count_classes(check *c, const shard *s)
{
    for (int l = 0; l < s->meta.n_labels; l++) {
        int K = s->meta.label[l].n_classes;
        for (int64_t i = 0; i < s->n; i++) {
            if (!s->label[l].present[i]) continue;
            c->n_present[l][s->split[i]]++;
            if (!c->n_shown[l]) continue;
            int64_t *n = c->n_shown[l] + s->split[i] * K;
            switch (s->meta.label[l].kind) {
            case TASK_CLASSIFICATION: n[s->label[l].cls[i]]++; break;
            case TASK_MULTILABEL:
                for (int k = 0; k < K; k++) n[k] += s->label[l].vec[i * K + k] == 1;
                break;
            case TASK_DETECTION:
                for (int64_t j = s->label[l].box_off[i]; j < s->label[l].box_off[i + 1]; j++) n[s->label[l].box_cls[j]]++;
                break;
            default: break;
            }
        }
    }
}

static void compare_counts(check *c)
{
    const catalogue *x = &c->list.index;
    for (int l = 0; l < x->meta.n_labels; l++) {
        const shard_label *label = &x->meta.label[l];
        bool counted = label->kind != TASK_REGRESSION && (label->kind != TASK_SEGMENTATION || !c->quick);
        for (int split = 0; split < N_SPLITS; split++) {
            for (int k = 0; counted && k < label->n_classes; k++) {
                int64_t got = c->n_shown[l][split * label->n_classes + k], want = x->label[l].n_class[split * label->n_classes + k];
                if (got != want)
                    found_error(c->f, "index", "%s: label %s: class %s counts %lld in %s, the index says %lld", c->list.dir, label->name, label->class_name[k],
                                (long long)got, split_name[split], (long long)want);
            }
            if (split != SPLIT_TRAIN || c->n_present[l][split]) continue;
            found_warning(c->f, "label", "%s: label %s: no labelled sample in %s", c->list.dir, label->name, split_name[split]);
        }
    }
}

static status check_shard(check *c, int k, int64_t first)
{
    const char *path = c->list.path[k];
    struct stat about;
    if (stat(path, &about) != 0) {
        found_error(c->f, "shard", "%s is missing, the index names it", path);
        return OK;
    }
    if (c->list.has_index && (int64_t)about.st_size != c->list.index.bytes[k])
        found_error(c->f, "index", "%s: %lld bytes, the index says %lld", path, (long long)about.st_size, (long long)c->list.index.bytes[k]);
    shard s;
    status st = shard_open(&s, path);
    if (st == ST_RESOURCE) return st;
    if (st) {
        char why[2048];
        snprintf(why, sizeof why, "%s", status_message());
        verify_broken(path, why, c->f);
        return OK;
    }
    static int64_t *const nothing[SHARD_MAX_LABELS];
    bool labels = c->list.has_index && compare_meta(c, &s);
    if (c->list.has_index) compare_samples(c, &s, k, first, labels);
    if (labels) count_classes(c, &s);
    st = verify_samples(&s, c->quick, labels ? c->n_shown : nothing, c->f);
    for (int64_t i = 0; !st && i < s.n; i++) st = seen_add(&c->seen, &s, k, i);
    c->n_samples += s.n;
    c->n_open++;
    shard_close(&s);
    return st;
}

static status check_set(check *c)
{
    if (!c->list.is_file) {
        TRY(check_sums(c), "%s", c->list.dir);
        check_strays(c);
    }
    for (int l = 0; c->list.has_index && l < c->list.index.meta.n_labels; l++)
        TRY(mem_alloc(&c->n_shown[l], sizeof(int64_t) * N_SPLITS * (size_t)c->list.index.meta.label[l].n_classes, "class counts"), "verify");
    int64_t first = 0;
    for (int k = 0; k < c->list.n; k++) {
        TRY(check_shard(c, k, first), "%s", c->list.path[k]);
        if (c->list.has_index) first += c->list.index.n[k];
    }
    if (c->list.has_index && c->n_open == c->list.n) compare_counts(c);
    return seen_report(&c->seen, &c->list, c->quick, c->f);
}

static status verify_one(const char *path, bool quick, findings *f)
{
    check c = {.f = f, .quick = quick};
    char no_index[2048];
    int64_t errors = f->n_error, warnings = f->n_warning;
    TRY(shard_list_open(&c.list, path, no_index, sizeof no_index), "verify");
    if (no_index[0]) found_error(f, "index", "%s", no_index);
    status st = check_set(&c);
    if (!st) {
        findings_rest(f);
        errors = f->n_error - errors, warnings = f->n_warning - warnings;
        printf("%s: %lld samples in %d shard%s%s: ", path, (long long)c.n_samples, c.list.n, c.list.n == 1 ? "" : "s", quick ? ", metadata only" : "");
        if (errors) printf("%lld error%s, ", (long long)errors, errors == 1 ? "" : "s");
        else printf("no errors, ");
        printf("%lld warning%s\n", (long long)warnings, warnings == 1 ? "" : "s");
    }
    for (int l = 0; l < SHARD_MAX_LABELS; l++) free(c.n_shown[l]);
    seen_free(&c.seen);
    shard_list_close(&c.list);
    return st;
}

status cmd_verify(int argc, char **argv)
{
    findings f = {.most = 20};
    bool quick = false;
    const char *args[1];
    int n_args, n = 0;
    const command_option options[] = {
        {.name = "--quick", .help = "metadata only: no pixels, no SHA-256 of files", .flag = &quick},
        {.name = "--most", .arg = "N", .help = "lines printed per kind of finding (default 20)", .number = &f.most, .lo = 1, .hi = 1000000},
        {0}};
    const command_line command = {"medley-data verify DIR|FILE [--quick] [--most N]",
                                  "Checks a data set folder, a folder of data sets, or one shard: SHA256SUMS, the checksum of every array, "
                                  "image and mask, values (finite, classes below K, boxes inside their image and not empty), the index "
                                  "against the shards, and that no subject, case or image is in two splits. Lists all findings; keeps one image in "
                                  "memory.\n"
                                  "Exit status 3 if there is an error; warnings do not change it.",
                                  options, 1, 1};
    if (command_help(&command, argc, argv)) return OK;
    TRY(command_parse(&command, argc, argv, args, &n_args), "verify");
    char(*name)[256] = NULL, index[1100];
    struct stat about;
    snprintf(index, sizeof index, "%.1000s/index.h5", args[0]);
    if (stat(args[0], &about) == 0 && S_ISDIR(about.st_mode) && !path_exists(index)) TRY(data_sets_below(args[0], &n, &name), "verify");
    status st = OK;
    int64_t n_error = 0;
    for (int i = 0; !st && i < (n ? n : 1); i++) {
        char dir[1400];
        findings one = {.most = f.most};
        if (n) snprintf(dir, sizeof dir, "%.1000s/%s", args[0], name[i]);
        st = verify_one(n ? dir : args[0], quick, &one);
        n_error += one.n_error;
    }
    free(name);
    if (st) return st;
    CHECK(n_error == 0, ST_DATA, "verify: %s: %lld error%s", args[0], (long long)n_error, n_error == 1 ? "" : "s");
    return OK;
}
