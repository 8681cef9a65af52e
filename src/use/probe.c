/* probe: `medley probe`: what an encoder is worth with little data: heads fitted to its frozen vectors, or everything trained for a few
 * steps, on 1 to 100 % of a task's training subjects, against the same encoder with random weights and against others. The protocol of
 * UMedPT (Schaefer et al. 2024). */
#include "probe.h"

#include "medley/command.h"
#include "medley/use.h"

#include "run_task.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- words --------------------------------------------------------------------------------------------------------------------------- */

static status parse_fractions(probe *p, const char *text)
{
    const char *at = text;
    for (;;) {
        char *end;
        double v = strtod(at, &end);
        CHECK(end != at && (*end == ',' || !*end) && v > 0 && v <= 100, ST_USAGE,
              "--fractions: got \"%.80s\", expected percentages above 0 and up to 100, such as 1,5,10,50,100", text);
        CHECK(p->n_fractions < PROBE_MOST_FRACTIONS, ST_USAGE, "--fractions: more than %d", PROBE_MOST_FRACTIONS);
        CHECK(p->n_fractions == 0 || v > p->fraction[p->n_fractions - 1], ST_USAGE, "--fractions: \"%.80s\" do not rise", text);
        p->fraction[p->n_fractions++] = v;
        if (!*end) return OK;
        at = end + 1;
    }
}

/* "NAME=PATH", or a path whose last part, without its ending, is the name. */
static status name_encoder(probe *p, const char *text)
{
    const char *equals = strchr(text, '='), *slash = strchr(text, '/');
    bool named = equals && equals > text && (!slash || slash > equals);
    probe_encoder *e = &p->encoder[p->n_encoders++];
    e->from = named ? equals + 1 : text;
    size_t end = strlen(e->from);
    while (end > 1 && e->from[end - 1] == '/') end--;
    size_t from = end;
    while (from > 0 && e->from[from - 1] != '/') from--;
    const char *dot = memrchr(e->from + from, '.', end - from);
    if (dot && dot > e->from + from) end = (size_t)(dot - e->from);
    if (named) snprintf(e->name, sizeof e->name, "%.*s", equals - text < 63 ? (int)(equals - text) : 63, text);
    else snprintf(e->name, sizeof e->name, "%.*s", end - from < 63 ? (int)(end - from) : 63, e->from + from);
    for (int i = 0; i < p->n_encoders - 1; i++)
        CHECK(strcmp(p->encoder[i].name, e->name) != 0, ST_USAGE, "--against %s: there is an encoder called \"%s\" already; --against NAME=%s gives "
              "it another name", text, e->name, e->from);
    return OK;
}

static status name_encoders(probe *p)
{
    p->encoder[ENCODER_RUN] = (probe_encoder){.name = "pretrained", .from = p->from};
    p->encoder[ENCODER_RANDOM] = (probe_encoder){.name = "random"};
    p->n_encoders = ENCODER_OTHERS;
    CHECK(p->n_against <= PROBE_MOST_ENCODERS - ENCODER_OTHERS, ST_USAGE, "--against: more than %d", PROBE_MOST_ENCODERS - ENCODER_OTHERS);
    for (int i = 0; i < p->n_against; i++) TRY(name_encoder(p, p->against[i]), "probe");
    return OK;
}

/* ---- what is asked for: rank 0 ------------------------------------------------------------------------------------------------------------ */

/* The task of the run, as its job has it. */
static status own_task(probe *p)
{
    job *j = p->job;
    job_task *found;
    char dir[JOB_DIR_BYTES];
    TRY(run_task_find(j, p->task, &found), "probe");
    const job_task t = *found;
    job_data_dir(j, t.data, dir);
    p->seen = (seen_data){.H = t.image[0], .W = t.image[1], .spacing = t.spacing};
    snprintf(p->seen.dir, sizeof p->seen.dir, "%s", dir);
    snprintf(p->label, sizeof p->label, "%s", t.label);
    snprintf(p->name, sizeof p->name, "%s", t.name);
    j->task[0] = t;
    return OK;
}

/* A data set that the run may never have seen. What is trained on it is trained as the run's first task, but for what belongs to the data. */
static status other_task(probe *p)
{
    size_t end = strlen(p->data), from;
    while (end > 1 && p->data[end - 1] == '/') end--;
    for (from = end; from > 0 && p->data[from - 1] != '/'; from--) {}
    snprintf(p->name, sizeof p->name, "%.*s", end - from < 63 ? (int)(end - from) : 63, p->data + from);
    if (p->task) snprintf(p->name, sizeof p->name, "%.63s", p->task);
    CHECK(p->name[0] && !strchr(p->name, '/'), ST_USAGE, "\"%s\" is no name for a task: --task gives one", p->name);
    snprintf(p->label, sizeof p->label, "%.63s", p->label_asked ? p->label_asked : "");
    if (!p->has_job) return OK;
    TRY(features_seen_by(p->job, p->data, &p->seen), "probe");
    job_task *t = &p->job->task[0];
    t->augment[0] = t->kind[0] = 0;
    for (double *a = &t->aug.flip_x; a <= &t->aug.invert; a++) *a = NAN;
    t->balance_sampling = false;
    return OK;
}

/* The job has one task: this one. */
static status settle_job(probe *p)
{
    job *j = p->job;
    job_task *t = &j->task[0];
    CHECK(snprintf(t->data, sizeof t->data, "%s", p->seen.dir) < (int)sizeof t->data, ST_USAGE, "path too long: %.80s...", p->seen.dir);
    snprintf(j->data_root, sizeof j->data_root, "."); /* of relative ones: where they were typed */
    snprintf(t->name, sizeof t->name, "%s", p->name);
    snprintf(t->label, sizeof t->label, "%s", p->label);
    t->image[0] = p->seen.H, t->image[1] = p->seen.W, t->spacing = p->seen.spacing;
    t->units = 1, t->weight = 1;
    j->n_tasks = 1;
    return OK;
}

static status check_out(const probe *p)
{
    char path[1200];
    struct stat info;
    CHECK(stat(p->out, &info) != 0 || S_ISDIR(info.st_mode), ST_USAGE, "--out: %s is there and no folder", p->out);
    for (const probe_output *o = probe_outputs; o->name; o++) {
        snprintf(path, sizeof path, "%s/%s", p->out, o->name);
        status st = use_may_write(path, p->force);
        if (st) return st;
    }
    return OK;
}

static status decide(probe *p, const swin *enc)
{
    char path[1400];
    snprintf(path, sizeof path, "%.1300s/job.cfg", p->from);
    p->has_job = path_exists(path);
    CHECK(p->has_job || p->data, ST_USAGE, "%s is no run folder with tasks of its own: --data DIR is missing", p->from);
    CHECK(p->has_job || p->out_asked, ST_USAGE, "%s is no run folder that could take the results: --out DIR is missing", p->from);
    if (p->has_job) TRY(job_load_without_data(p->job, path, NULL, 0), "probe");
    else TRY(features_seen(enc, p->data, &p->seen), "probe");
    TRY(p->data ? other_task(p) : own_task(p), "probe");
    status st = features_override(p->image, p->spacing, &p->seen);
    if (st) return st;
    if (p->has_job) TRY(settle_job(p), "probe");
    int n = p->out_asked ? snprintf(p->out, sizeof p->out, "%s", p->out_asked) : snprintf(p->out, sizeof p->out, "%s/probe-%s", p->from, p->name);
    CHECK(n < (int)sizeof p->out, ST_USAGE, "path too long: %.80s...", p->out);
    return check_out(p);
}

/* Rank 0's decisions to all. Collective. */
static status share(probe *p)
{
    const struct { void *at; size_t bytes; } parts[] = {{p->out, sizeof p->out}, {p->name, sizeof p->name}, {p->label, sizeof p->label},
                                                        {&p->seen, sizeof p->seen}, {&p->has_job, sizeof p->has_job}, {p->job, sizeof *p->job}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) TRY(comm_bcast(p->world, parts[i].at, parts[i].bytes, 0), "probe");
    return OK;
}

/* ---- the plan --------------------------------------------------------------------------------------------------------------------------- */

static status choose_methods(probe *p)
{
    for (int m = 0; m < N_METHODS; m++)
        if (probe_methods[m].kind[p->roll.kind] && (m != METHOD_FINETUNE || p->finetune)) p->method[p->n_methods++] = (enum probe_method)m;
    for (int m = 0; m < p->n_methods; m++)
        CHECK(p->has_job || !probe_methods[p->method[m]].trained, ST_USAGE,
              "%s is no run folder: training (\"%s\") needs one for its settings; a file can be probed --against a run", p->from,
              probe_methods[p->method[m]].about);
    return OK;
}

static status make_draws(probe *p)
{
    int64_t S = p->roll.n_subjects;
    size_t cells = (size_t)p->n_encoders * (size_t)p->n_methods * (size_t)p->n_fractions * (size_t)p->repeats;
    TRY(mem_alloc(&p->place, sizeof *p->place * (size_t)(S * p->repeats), "draws"), "probe");
    TRY(mem_alloc(&p->least, sizeof *p->least * (size_t)p->repeats, "draws"), "probe");
    for (int r = 0; r < p->repeats; r++) TRY(draw_order(&p->roll, (uint64_t)p->seed, r, p->place + r * S, &p->least[r]), "probe");
    return comm_rank(p->world) == 0 ? mem_alloc(&p->result, sizeof *p->result * cells, "results") : OK;
}

static void say_plan(const probe *p)
{
    const roll *r = &p->roll;
    char methods[128] = "";
    for (int m = 0; m < p->n_methods; m++)
        snprintf(methods + strlen(methods), sizeof methods - strlen(methods), "%s%s", m ? ", " : "", probe_methods[p->method[m]].name);
    log_line(LOG_INFO, "probe of %s (%s): %lld training samples of %lld subjects, %lld val, %lld test at %dx%d; %d encoders; %s; %d fractions x %lld repeats",
             p->name, task_kind_name[r->kind], (long long)r->n_split[SPLIT_TRAIN], (long long)r->n_subjects, (long long)r->n_split[SPLIT_VAL],
             (long long)r->n_split[SPLIT_TEST], p->seen.H, p->seen.W, p->n_encoders, methods, p->n_fractions, (long long)p->repeats);
}

/* The weights of encoder i. Collective. */
static status open_encoder(probe *p, int i, weights *w, const char *variant)
{
    probe_encoder *e = &p->encoder[i];
    TRY(i == ENCODER_RANDOM ? comm_agree(p->world, weights_random(w, variant, (uint64_t)p->seed))
                            : weights_open_all(w, p->world, e->from, i == ENCODER_RUN ? &p->ask : NULL), "encoder %s", e->name);
    snprintf(e->variant, sizeof e->variant, "%s", w->enc.variant);
    snprintf(e->file, sizeof e->file, "%s", w->path);
    return OK;
}

static status run_encoders(probe *p, weights *first)
{
    for (int i = 0; i < p->n_encoders; i++) {
        weights w = {0};
        status st = i == ENCODER_RUN ? OK : open_encoder(p, i, &w, first->enc.variant);
        if (!st) st = probe_encoder_units(p, i, i == ENCODER_RUN ? first : &w);
        weights_close(&w);
        if (st) return status_note(st, __FILE__, __LINE__, "encoder %s", p->encoder[i].name);
        log_line(LOG_INFO, "encoder %s (%s): done", p->encoder[i].name, p->encoder[i].variant);
    }
    return OK;
}

/* Collective: everything before the first unit. */
static status prepare(probe *p, weights *first)
{
    TRY(use_compute(p->world), "probe");
    status st = mem_alloc(&p->job, sizeof *p->job, "job");
    TRY(comm_agree(p->world, st), "probe");
    TRY(open_encoder(p, ENCODER_RUN, first, NULL), "probe");
    TRY(comm_agree(p->world, comm_rank(p->world) == 0 ? decide(p, &first->enc) : OK), "probe");
    TRY(share(p), "probe");
    TRY(roll_read(&p->roll, p->world, p->seen.dir, p->label), "probe");
    st = choose_methods(p);
    if (!st) st = make_draws(p);
    TRY(comm_agree(p->world, st), "probe");
    for (int i = ENCODER_OTHERS; i < p->n_encoders; i++) { /* what cannot be read is found now, not hours from here */
        weights w = {0};
        TRY(open_encoder(p, i, &w, NULL), "probe");
        weights_close(&w);
    }
    return comm_agree(p->world, comm_rank(p->world) == 0 ? path_make_dirs(p->out) : OK);
}

static status run(probe *p)
{
    weights first = {0};
    status st = prepare(p, &first);
    if (!st) say_plan(p);
    if (!st) st = run_encoders(p, &first);
    weights_close(&first);
    return st ? st : comm_agree(p->world, comm_rank(p->world) == 0 ? probe_write(p) : OK);
}

/* ---- the command -------------------------------------------------------------------------------------------------------------------------- */

static status parse(probe *p, const command_line *c, int argc, char **argv, const char *const text[4])
{
    const char *args[1];
    int n_args = 0;
    TRY(command_parse(c, argc, argv, args, &n_args), "probe");
    p->from = args[0];
    if (!p->task && !p->data) return command_missing(c, "--task TASK or --data DIR");
    TRY(parse_fractions(p, text[0]), "probe");
    TRY(use_number("--lr", text[1], 1e-12, 100, &p->lr), "probe");
    TRY(use_number("--decoder-lr", text[2], 1e-12, 100, &p->decoder_lr), "probe");
    TRY(use_number("--strength", text[3], 1e-9, 1e9, &p->strength), "probe");
    CHECK(!p->label_asked || p->data, ST_USAGE, "--label goes with --data; a task of the run has its label");
    return name_encoders(p);
}

status cmd_probe(int argc, char **argv)
{
    probe p = {.repeats = 5, .neighbours = 20, .seed = 1, .steps = 300};
    const char *text[4] = {"1,5,10,50,100", "1e-4", "1e-3", NULL};
    const command_option options[] = {
        {.name = "--task", .arg = "TASK", .text = &p.task, .help = "a task of the run; with --data only a name for the results"},
        {.name = "--data", .arg = "DIR", .text = &p.data, .help = "a data set folder of shards instead, which the run may never have seen"},
        {.name = "--label", .arg = "NAME", .text = &p.label_asked, .help = "its label set, if it has several"},
        {.name = "--fractions", .arg = "P,P...", .text = &text[0], .help = "percent of the training subjects (default 1,5,10,50,100)"},
        {.name = "--repeats", .arg = "R", .number = &p.repeats, .lo = 1, .hi = PROBE_MOST_REPEATS, .help = "draws of each fraction (default 5)"},
        {.name = "--against", .arg = "[NAME=]WHAT", .list = p.against, .n_list = &p.n_against, .room = PROBE_MOST_ENCODERS,
         .help = "another encoder: a run folder, a checkpoint, or a safetensors file (ImageNet weights); may be given several times"},
        {.name = "--finetune", .flag = &p.finetune, .help = "train everything, too; segmentation and detection always train decoder and head"},
        {.name = "--steps", .arg = "N", .number = &p.steps, .lo = 1, .hi = 1000000, .help = "steps of what is trained (default 300)"},
        {.name = "--lr", .arg = "X", .text = &text[1], .help = "peak learning rate of --finetune (default 1e-4)"},
        {.name = "--decoder-lr", .arg = "X", .text = &text[2], .help = "of decoder and head on a frozen encoder (default 1e-3)"},
        {.name = "--strength", .arg = "C", .text = &text[3],
         .help = "inverse of the penalty of linear heads (default: the best of 1e-5 to 100 on the val split; 1 without one)"},
        {.name = "--neighbours", .arg = "K", .number = &p.neighbours, .lo = 1, .hi = 1000, .help = "most neighbours that vote (default 20), by cosine; never more than the root of the number of samples"},
        {.name = "--seed", .arg = "N", .number = &p.seed, .lo = 0, .hi = 1000000000, .help = "of draws, random encoder and trained heads (default 1)"},
        {.name = "--weights", .arg = "WHICH", .text = &p.ask.which, .help = "of RUN: best (by validation, default), last or a checkpoint file"},
        {.name = "--raw", .flag = &p.ask.raw, .help = "the trained weights of RUN themselves, not their moving average (train.ema)"},
        {.name = "--image", .arg = "HxW", .text = &p.image, .help = "size the network sees (default: the run's for this data set, or its first task's)"},
        {.name = "--spacing", .arg = "S", .text = &p.spacing, .help = "size of a network pixel in the data's units; 0: the whole image is fitted"},
        {.name = "--out", .arg = "DIR", .text = &p.out_asked, .help = "where the results go (default RUN/probe-TASK)"},
        {.name = "--force", .flag = &p.force, .help = "replace results that are there"},
        {0},
    };
    const command_line c = {
        "medley probe RUN|FILE --task TASK|--data DIR [--fractions P,P...] [--repeats R] [--against WHAT]... [--finetune] [--out DIR]",
        "What the encoder of a run is worth with little data: some percent of a task's training subjects are drawn, at least one sample of "
        "each class among them, a head learns from them, and the test split is scored; beside it the same encoder with random weights and "
        "those of --against, on the same draws. On any number of ranks, with the same bytes.\n"
        "Classes, label vectors and scalars: a linear head on the frozen encoder's vectors (logistic or ridge regression), for classes "
        "nearest neighbours too. Segmentation and detection: decoder and head are trained on the frozen encoder. --finetune trains everything.\n"
        "Writes a table, probe.csv (each repeat), summary.csv (mean, Student's 95 % interval over the repeats, difference to random weights draw "
        "by draw), draws.csv, curve.svg and probe.html.",
        options, 1, 1};
    if (command_help(&c, argc, argv)) return OK;
    TRY(use_open(argc, argv, &p.world), "probe");
    status st = comm_agree(p.world, parse(&p, &c, argc, argv, text));
    if (!st) st = run(&p);
    roll_close(&p.roll);
    free(p.job), free(p.place), free(p.least), free(p.result);
    return use_close(p.world, st);
}
