/* test_config: job files and tables: defaults, every kind of fault with its line, overrides, round trip, hostile input. */
#include "medley/config.h"

#include "test.h"

#include <sys/stat.h>
#include <unistd.h>

/* libconfig 1.5 itself leaks the text of a string that a syntax error cuts off. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libconfig.so\n"; }

static char folder[64];
static job j, j2;

static const char *put(const char *name, const char *text)
{
    static char path[200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    fputs(text, f);
    fclose(f);
    return path;
}

#define HEAD "run = \"runs/x\";\nmodel = { encoder = \"swin_micro\"; };\n"
#define TRAIN "train = { steps = 20; };\n"
#define TASK "{ name = \"a\"; data = \"set\"; image = [64, 96]; }"
#define GOOD HEAD TRAIN "tasks = ( " TASK " );\n"

static bool says(const char *part)
{
    if (strstr(status_message(), part)) return true;
    printf("# not in the message: %s\n# message: %s\n", part, status_message());
    return false;
}

static status load_text(const char *text) { return job_load(&j, put("job.cfg", text), NULL, 0); }

static int fault_count(void)
{
    const char *p = strstr(status_message(), ": ");
    return p ? atoi(p + 2) : -1;
}

static void defaults_are_those_of_the_table(void)
{
    EXPECT_OK(load_text(GOOD));
    EXPECT(j.n_tasks == 1 && j.train.steps == 20 && strcmp(j.train.sum, "exact") == 0, "tasks %d", j.n_tasks);
    EXPECT(j.train.threads == 0 && j.train.prefetch == 4 && j.train.checkpoint_every == 500 && j.train.keep == 3, "train");
    EXPECT(j.train.validate_every == 500 && j.train.log_every == 10 && j.train.suspend_after == 5, "train");
    EXPECT(j.train.checkpoint_minutes == 10 && j.train.watchdog_s == 300 && j.train.ema == 0, "train");
    EXPECT(j.optim.lr == 5e-4 && j.optim.min_lr == 1e-6 && j.optim.weight_decay == 0.05 && j.optim.beta1 == 0.9, "optim");
    EXPECT(j.optim.beta2 == 0.999 && j.optim.eps == 1e-8 && j.optim.clip == 5 && j.optim.warmup == 100, "optim");
    EXPECT(j.seed == 1 && j.model.drop_path == -1 && strcmp(j.model.init, "random") == 0, "model");
    const job_task *t = &j.task[0];
    EXPECT(t->batch == 8 && t->units == 1 && t->weight == 1 && t->dropout == 0.1 && t->max_boxes == 100, "task");
    EXPECT(t->score_min == 0.05 && t->nms_iou == 0.5 && !t->center_sampling && isnan(t->aug.flip_x), "task");
    EXPECT(t->image[0] == 64 && t->image[1] == 96 && t->line == 4, "line %d", t->line);
    EXPECT(strcmp(j.data_root, folder) == 0, "%s", j.data_root);
}

static void every_fault_is_listed_with_its_line(void)
{
    EXPECT_STATUS(load_text("run = 5;\n"                                    /* 1 wrong type */
                            "sed = 3;\n"                                    /* 2 unknown */
                            "model = { encoder = \"swin_v3_t\"; };\n"       /* 3 choice */
                            "train = {\n  steps = 5000000000;\n  prefetch = 2.5;\n  keep = 0;\n  threds = 3;\n  ema = 1e999;\n};\n"
                            "optim = { lr = 1e-7; beta3 = 1; };\n"          /* 11 */
                            "tasks = (\n"
                            "  { name = \"a/b\"; data = \"set\"; image = [60, 64]; batch = \"x\"; },\n" /* 13 */
                            "  {\n    name = \"c\"; image = [64]; augmnt = \"ct\"; },\n"                  /* 14 */
                            "  { name = \"c\"; data = \"nowhere\"; image = [64, 64]; }\n"                /* 16 */
                            ");\n"),
                  ST_USAGE);
    const char *want[] = {
        "job.cfg:1: run: got 5, expected text in quotes",
        "job.cfg:2: sed: unknown key (did you mean \"seed\"?)",
        "job.cfg:3: model.encoder: got \"swin_v3_t\", expected one of swin_t|",
        "(did you mean \"swin_v2_t\"?)",
        "job.cfg:5: train.steps: got 5000000000, which does not fit 32 bits and would be read as 705032704; write 5000000000L",
        "job.cfg:6: train.prefetch: got 2.5, expected an integer from 1 to 256",
        "job.cfg:7: train.keep: got 0, expected an integer from 1 to 1000",
        "job.cfg:8: train.threds: unknown key (did you mean \"threads\"?)",
        "job.cfg:9: train.ema: got inf",
        "job.cfg:11: optim.min_lr: got 1e-06, more than optim.lr",
        "job.cfg:11: optim.beta3: unknown key (did you mean \"beta1\"?)",
        "job.cfg:13: tasks[0].name: got \"a/b\"",
        "job.cfg:13: tasks[0].image[0]: got 60, expected a multiple of 32 such as 64",
        "job.cfg:13: tasks[0].batch: got \"x\", expected an integer",
        "job.cfg:14: tasks[1].data: missing; expected text",
        "job.cfg:15: tasks[1].image: got 1 elements, expected 2",
        "job.cfg:15: tasks[1].augmnt: unknown key (did you mean \"augment\"?)",
        "job.cfg:16: tasks[2].name: got \"c\", which is already the name of tasks[1] (line 14)",
        "job.cfg:16: tasks[2].data: no data set there: "};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) EXPECT(says(want[i]), "fault %zu", i);
    EXPECT(fault_count() == 18, "%d faults:\n%s", fault_count(), status_message());
    const char *last = status_message();
    for (int line = 1; line <= 16; line++) { /* in the order of lines */
        char at[32];
        snprintf(at, sizeof at, "job.cfg:%d: ", line);
        const char *found = strstr(status_message(), at);
        EXPECT(!found || found >= last, "line %d out of order", line);
        if (found) last = found;
    }
}

static void missing_keys_point_at_their_group(void)
{
    EXPECT_STATUS(load_text("seed = 2;\ntrain = {\n};\ntasks = ( { } );\n"), ST_USAGE);
    EXPECT(says("run: missing") && says("model.encoder: missing") && says("job.cfg:2: train.steps: missing"), "top");
    EXPECT(says("job.cfg:4: tasks[0].name: missing") && says("tasks[0].data: missing") && says("tasks[0].image: missing"), "task");
    EXPECT(fault_count() == 6, "%s", status_message());
    EXPECT_STATUS(load_text(HEAD TRAIN), ST_USAGE);
    EXPECT(says("tasks: missing; expected a list of groups"), "tasks");
    EXPECT_STATUS(load_text(HEAD TRAIN "tasks = ();"), ST_USAGE);
    EXPECT(says("job.cfg:4: tasks: got 0 groups, expected 1 to 256"), "tasks");
}

static void key_in_the_wrong_group_is_found(void)
{
    EXPECT_STATUS(load_text(GOOD "lr = 1e-3;\n"), ST_USAGE);
    EXPECT(says("job.cfg:5: lr: unknown key here (did you mean \"optim.lr\"?)"), "lr");
}

static void syntax_errors_say_what_is_wrong(void)
{
    EXPECT_STATUS(load_text(HEAD "train = { steps = 20;\n  keep = yes;\n};\nsed = 1;\n"), ST_USAGE);
    EXPECT(says("job.cfg:4: train.keep: got yes, write true") && fault_count() == 1, "yes");
    EXPECT_STATUS(load_text(HEAD TRAIN "tasks = ( " TASK ",\n );\n"), ST_USAGE);
    EXPECT(says("no comma before a closing bracket"), "comma");
    EXPECT_STATUS(load_text("sede = 1;\nrun = \"x\";\nrun = \"y\";\n"), ST_USAGE);
    EXPECT(says("job.cfg:3: duplicate setting name") && says("job.cfg:1: sede: unknown key"), "duplicate");
    EXPECT_STATUS(load_text("run = \"x;\nseed = 1;\n"), ST_USAGE);
    EXPECT(says("job.cfg:1: run: the text that starts here is never closed"), "string");
    EXPECT_STATUS(load_text(GOOD "/* no end"), ST_USAGE);
    EXPECT(says("job.cfg:5: the comment that starts here is never closed"), "comment");
    EXPECT_STATUS(load_text(GOOD "= 5;"), ST_USAGE);
    EXPECT(says("job.cfg:5: syntax error"), "syntax");
}

static void wide_integers_are_never_wrapped(void)
{
    const char *wide[] = {"2147483648", "-2147483649", "0xFFFFFFFF", "99999999999999999999", "99999999999999999999L"};
    for (int i = 0; i < 5; i++) {
        char text[1000];
        snprintf(text, sizeof text, "seed = %s;\n" GOOD, wide[i]);
        EXPECT_STATUS(load_text(text), ST_USAGE);
        EXPECT(says("job.cfg:1: seed: got ") && says("does not fit") && fault_count() == 1, "%s", wide[i]);
    }
    EXPECT_OK(load_text("seed = 5000000000L; # 99999999999 in a comment\n" GOOD));
    EXPECT(j.seed == 5000000000, "%lld", (long long)j.seed);
    EXPECT_OK(load_text("/* 5000000000 */ seed = 2147483647;\n" GOOD));
    EXPECT_OK(
        load_text(HEAD TRAIN "tasks = ( { name = \"a5000000000\"; data = \"set\"; image = [64, 64]; weight = 5.000000000e2; } );"));
    EXPECT_STATUS(load_text(HEAD TRAIN "tasks = ( { name = \"a\"; data = \"set\"; image = [64, 5000000000]; } );"), ST_USAGE);
    EXPECT(says("job.cfg:4: tasks[0].image[1]: got 5000000000") && fault_count() == 1, "%s", status_message());
}

static void integers_serve_as_floats_but_not_back(void)
{
    EXPECT_OK(load_text(GOOD "optim = { lr = 1; clip = 0; };"));
    EXPECT(j.optim.lr == 1 && j.optim.clip == 0, "lr %g", j.optim.lr);
    EXPECT_STATUS(load_text(GOOD "optim = { warmup = 10.0; };"), ST_USAGE);
    EXPECT(says("optim.warmup: got 10.0, expected an integer"), "float");
}

static void overrides_go_through_the_table(void)
{
    const char *set[] = {"train.steps=7",
                         "optim.lr=1",
                         "tasks[a].batch=3",
                         "tasks[0].image=[32, 32]",
                         "model.encoder=swin_t",
                         "run=123",
                         "tasks[a].aug.noise=0.25",
                         "seed=5000000000",
                         "tasks[a].center_sampling=true",
                         "train.steps=9"};
    EXPECT_OK(job_load(&j, put("job.cfg", GOOD), set, 10));
    EXPECT(j.train.steps == 9 && j.optim.lr == 1 && j.task[0].batch == 3 && j.task[0].image[1] == 32, "values");
    EXPECT(strcmp(j.model.encoder, "swin_t") == 0 && strcmp(j.run, "123") == 0 && j.task[0].aug.noise == 0.25, "values");
    EXPECT(j.seed == 5000000000 && j.task[0].center_sampling, "values");
    const char *bad[] = {
        "train.stesp=7", "tasks[b].batch=3",   "nonsense", "optim.lr=fast", "train={}",          "tasks[a].image=[5000000000, 32]",
        "train.keep=0",  "tasks[a].batch=2.5", "seed.x=1", "a b=1",         "tasks[a].data=gone"};
    EXPECT_STATUS(job_load(&j, put("job.cfg", "seed = 2;\n" GOOD), bad, 11), ST_USAGE);
    const char *want[] = {"--set train.stesp: unknown key (did you mean \"steps\"?)",
                          "--set tasks[b].batch: no \"b\" in tasks",
                          "--set nonsense: expected key=value",
                          "--set optim.lr: got \"fast\", expected a number",
                          "--set train: is a group",
                          "--set tasks[a].image: got 5000000000, which does not fit 32 bits",
                          "--set train.keep: got 0",
                          "--set tasks[0].batch: got 2.5",
                          "--set seed.x: \"seed\" is not a group",
                          "--set a b: not a key",
                          "--set tasks[0].data: no data set there"};
    for (int i = 0; i < 11; i++) EXPECT(says(want[i]), "fault %d", i);
}

static void data_root_is_relative_to_where_it_was_written(void)
{
    char sub[100], cwd[512], want[1024];
    snprintf(sub, sizeof sub, "%s/deep", folder);
    mkdir(sub, 0777);
    EXPECT_OK(job_load(&j, put("deep/job.cfg", "data_root = \"..\";\n" GOOD), NULL, 0));
    snprintf(want, sizeof want, "%s/deep/..", folder);
    EXPECT(strcmp(j.data_root, want) == 0, "%s", j.data_root);
    char root[200];
    snprintf(root, sizeof root, "data_root=%s", folder);
    const char *set[] = {root};
    EXPECT_OK(job_load(&j, put("deep/job.cfg", GOOD), set, 1));
    EXPECT(strcmp(j.data_root, folder) == 0, "%s", j.data_root);
    const char *here[] = {"data_root=./some"};
    EXPECT_OK(job_load_without_data(&j, put("deep/job.cfg", GOOD), here, 1));
    EXPECT(getcwd(cwd, sizeof cwd), "getcwd");
    snprintf(want, sizeof want, "%s/some", cwd);
    EXPECT(strcmp(j.data_root, want) == 0, "%s, wanted %s", j.data_root, want);
}

static void a_near_data_folder_is_named(void)
{
    EXPECT_STATUS(load_text(HEAD TRAIN "tasks = ( { name = \"a\"; data = \"sett\"; image = [64, 96]; } );\n"), ST_USAGE);
    EXPECT(says("/sett/index.h5 is missing (did you mean \"set\"?)"), "near");
}

static void includes_are_read_and_named(void)
{
    put("part.cfg", "steps = 30;\nkeep = 0;\nwatchdog_s = 5000000000;\n");
    EXPECT_STATUS(load_text(HEAD "train = {\n@include \"part.cfg\"\n};\ntasks = ( " TASK " );\n"), ST_USAGE);
    EXPECT(says("part.cfg:2: train.keep: got 0") && says("part.cfg:3: ") && says("got 5000000000"), "%s", status_message());
    put("part.cfg", "steps = 30;\n");
    EXPECT_OK(load_text(HEAD "train = {\n  @include \"part.cfg\"\n};\ntasks = ( " TASK " );\n"));
    EXPECT(j.train.steps == 30, "%lld", (long long)j.train.steps);
    EXPECT_STATUS(load_text("@include \"gone.cfg\"\n" GOOD), ST_USAGE);
    EXPECT(says("job.cfg:1: @include: cannot open "), "gone");
    put("loop.cfg", "@include \"loop.cfg\"\n");
    EXPECT_STATUS(load_text("@include \"loop.cfg\"\n" GOOD), ST_USAGE);
    EXPECT(says("does it include itself"), "loop");
}

/* job_print, then job_load, gives the same job: for random jobs within the ranges. */
static void print_and_load_round_trip(void)
{
    rng r = rng_open((rng_key){7, 1, 2}, RNG_TEST, 0);
    for (int round = 0; round < 20; round++) {
        EXPECT_OK(load_text(HEAD TRAIN "tasks = ( " TASK ", { name = \"b\"; data = \"set\"; image = [32, 32]; augment = \"ct\"; } );"));
        j.seed = (int64_t)rng_u32(&r) * 1000003;
        j.optim.lr = exp(4 * rng_normal(&r)) * 1e-4;
        if (j.optim.lr < j.optim.min_lr) j.optim.min_lr = j.optim.lr / 3;
        j.optim.beta1 = rng_uniform(&r) * 0.99;
        j.optim.eps = 1e-9 / 3;
        j.train.steps = 1 + rng_below(&r, 1000000000);
        j.task[0].weight = rng_uniform(&r);
        j.task[1].units = 1 + (int)rng_below(&r, 9);
        j.task[1].aug.hue = rng_uniform(&r) / 2;
        j.task[1].balance_loss = round & 1;
        strcpy(j.run, "a \"quoted\\path\" # not a comment");
        char path[200];
        snprintf(path, sizeof path, "%s/printed.cfg", folder);
        FILE *f = fopen(path, "w");
        EXPECT_OK(job_print(&j, f));
        fclose(f);
        EXPECT_OK(job_load(&j2, path, NULL, 0));
        memcpy(j2.file, j.file, sizeof j.file); /* what differs by its nature */
        for (int i = 0; i < j.n_tasks; i++) j2.task[i].line = j.task[i].line;
        char a[20000], b[20000];
        memset(a, 0, sizeof a), memset(b, 0, sizeof b);
        FILE *fa = fmemopen(a, sizeof a, "w"), *fb = fmemopen(b, sizeof b, "w");
        EXPECT_OK(job_print(&j, fa));
        EXPECT_OK(job_print(&j2, fb));
        fclose(fa), fclose(fb);
        EXPECT(strcmp(a, b) == 0, "text differs");
        EXPECT(j.optim.lr == j2.optim.lr && j.seed == j2.seed && j.train.steps == j2.train.steps, "values differ");
        EXPECT(strcmp(j.run, j2.run) == 0 && strcmp(j.data_root, j2.data_root) == 0, "%s %s", j2.run, j2.data_root);
        EXPECT(memcmp(&j.task[0], &j2.task[0], sizeof j.task[0]) == 0, "task 0 differs");
    }
}

static void hostile_text_is_refused_in_peace(void)
{
    size_t n = 300000;
    char *big = malloc(n + 100);
    strcpy(big, "run = \"");
    memset(big + 7, 'x', n);
    strcpy(big + 7 + n, "\";\n");
    EXPECT_STATUS(load_text(big), ST_USAGE);
    EXPECT(says("job.cfg:1: run: got 300000 characters, at most 511 fit"), "long");
    memset(big, '(', n);
    big[n] = 0;
    memcpy(big, "run = ", 6);
    EXPECT_STATUS(load_text(big), ST_USAGE);
    EXPECT(says("nested more than 16 deep"), "deep");
    memset(big, 'k', n);
    EXPECT_STATUS(load_text(big), ST_USAGE);
    free(big);
    char *huge = malloc((1 << 20) + 2);
    memset(huge, ' ', (1 << 20) + 1);
    huge[(1 << 20) + 1] = 0;
    EXPECT_STATUS(load_text(huge), ST_USAGE);
    EXPECT(says("more than the limit"), "size");
    free(huge);
    EXPECT_STATUS(job_load(&j, "/nowhere/job.cfg", NULL, 0), ST_USAGE);
    EXPECT(says("/nowhere/job.cfg: cannot open"), "absent");
    EXPECT_STATUS(job_load(&j, folder, NULL, 0), ST_USAGE);
    EXPECT(says("not a regular file"), "folder");
    EXPECT_STATUS(load_text("run = \"a\\x01b\\n\";"), ST_USAGE);
    EXPECT(says("no control characters"), "control");
    EXPECT_STATUS(load_text(""), ST_USAGE);
}

/* Good text with bytes changed, dropped and doubled: any answer is right except a crash or a wrong code. */
static void mutated_text_never_crashes(void)
{
    const char *seed_text =
        "seed = 5000000000L;\n" HEAD "train = { steps = 0x20; ema = .5; sum = \"float\"; }; // c\n/* x */ optim = { lr = 1e-3, };\n"
        "tasks = ( " TASK ",\n { name = \"b\" \"c\"; data = \"set\"; image = [ 32, 32 ]; aug = { noise = 1; }; } );\n";
    rng r = rng_open((rng_key){11, 0, 0}, RNG_TEST, 1);
    const char alphabet[] = "{}()[]=:;,\"\\#/*.+-0eExL9a\n @ty";
    size_t n = strlen(seed_text);
    for (int round = 0; round < 4000; round++) {
        char text[1000];
        strcpy(text, seed_text);
        int edits = 1 + (int)rng_below(&r, 4);
        for (int e = 0; e < edits; e++) {
            size_t at = rng_below(&r, (uint32_t)n), len = strlen(text);
            if (at >= len) continue;
            uint32_t how = rng_below(&r, 3);
            if (how == 0) text[at] = alphabet[rng_below(&r, sizeof alphabet - 1)];
            else if (how == 1) memmove(text + at, text + at + 1, len - at);
            else memmove(text + at + 1, text + at, len - at + 1);
        }
        status st = load_text(text);
        EXPECT(st == OK || st == ST_USAGE, "status %d for %s", st, text);
        EXPECT(st == OK || status_message()[0], "no message");
    }
}

/* ---- a table of one's own, as recipes use it ------------------------------------------------------------------------------- */

typedef struct part { char name[16]; float rate; int line; } part;
typedef struct recipe {
    int n_globs, n_parts, n_numbers;
    char glob[4][32];
    part part[3];
    double number[5];
    struct {
        int64_t big;
        bool on;
    } sub;
} recipe;

static const key part_keys[] = {
    {.name = "", .type = KEY_LINE, .offset = offsetof(part, line)},
    {.name = "name", .type = KEY_TEXT, .offset = offsetof(part, name), .size = 16, .help = "name"},
    {.name = "rate", .type = KEY_FLOAT, .offset = offsetof(part, rate), .size = 4, .def = "0.5", .lo = 0, .hi = 1, .help = "rate"},
    {0},
};
static const key sub_keys[] = {
    {.name = "big", .type = KEY_INT, .offset = 0, .size = 8, .def = "-3", .help = "big"},
    {.name = "on", .type = KEY_BOOL, .offset = 8, .def = "true", .help = "on"},
    {0},
};
static const key recipe_keys[] = {
    {.name = "files",
     .type = KEY_TEXT_LIST,
     .offset = offsetof(recipe, glob),
     .size = 4,
     .item_bytes = 32,
     .count_offset = offsetof(recipe, n_globs),
     .least = 1},
    {.name = "numbers",
     .type = KEY_FLOAT_LIST,
     .offset = offsetof(recipe, number),
     .size = 5,
     .def = "[1, 2.5]",
     .count_offset = offsetof(recipe, n_numbers),
     .lo = 0,
     .hi = 9},
    {.name = "parts",
     .type = KEY_GROUP_LIST,
     .offset = offsetof(recipe, part),
     .size = 3,
     .def = "",
     .sub = part_keys,
     .sub_bytes = sizeof(part),
     .count_offset = offsetof(recipe, n_parts)},
    {.name = "sub", .type = KEY_GROUP, .offset = offsetof(recipe, sub), .sub = sub_keys},
    {0},
};

static void forbid_x(void *out, config_faults *f)
{
    recipe *r = out;
    for (int i = 0; i < r->n_parts; i++)
        if (strcmp(r->part[i].name, "x") == 0) config_fault(f, r->part[i].line, "parts", "no part may be called x");
}

static void own_tables_work(void)
{
    recipe r = {0};
    EXPECT_OK(config_load(put("r.cfg", "files = \"*.png\";\n"), recipe_keys, &r, NULL, 0, NULL));
    EXPECT(r.n_globs == 1 && strcmp(r.glob[0], "*.png") == 0 && r.n_parts == 0 && r.sub.big == -3 && r.sub.on, "defaults");
    EXPECT(r.n_numbers == 2 && r.number[1] == 2.5, "default list");
    EXPECT_OK(config_load(put("r.cfg", "files = (\"a\", \"b\");\nnumbers = [1.5, 2.5];\nparts = ( { name = \"p\"; },\n{ name = \"q\"; "
                                       "rate = 1; } );\nsub : { on = false; };"),
                          recipe_keys, &r, NULL, 0, forbid_x));
    EXPECT(r.n_globs == 2 && r.n_parts == 2 && r.part[0].rate == 0.5f && r.part[1].rate == 1 && r.part[1].line == 4 && !r.sub.on,
           "values");
    EXPECT_STATUS(config_load(put("r.cfg", "files = [];\nnumbers = [1, 20];\nparts = ( { name = \"x\"; }, 3 );\nsub = 4;"), recipe_keys,
                              &r, NULL, 0, forbid_x),
                  ST_USAGE);
    EXPECT(says("r.cfg:1: files: got 0 elements, expected 1 to 4") && says("r.cfg:2: numbers[1]: got 20, expected a list"), "lists");
    EXPECT(says("r.cfg:3: parts[1]: expected a group") && says("r.cfg:3: parts: no part may be called x") &&
               says("r.cfg:4: sub: got 4"),
           "groups");
    char text[4000] = "";
    FILE *f = fmemopen(text, sizeof text, "w");
    EXPECT_OK(config_explain(recipe_keys, f));
    EXPECT_OK(config_man(recipe_keys, f));
    fclose(f);
    EXPECT(strstr(text, "parts[].rate"), "%s", text);
}

/* Sizes with units, and what a micro-batch may be. */
static void memory_and_micro_batch(void)
{
    static const struct { const char *text; int64_t bytes; } size[] = {{"6GiB", 6LL << 30}, {"800 MiB", 800LL << 20}, {"1.5GiB", 3LL << 29},
                                                                      {"65536KiB", 64LL << 20}, {"1TiB", 1LL << 40}};
    static const char *const no_size[] = {"6GB", "6", "GiB", "-1GiB", "0MiB", "1e30GiB", "6GiBs", "nanGiB", "6 G"};
    static const char *const no_micro[] = {"3", "16", "0", "-1", "4.0", "half", "4 "};
    char text[200];
    EXPECT_OK(load_text(GOOD));
    EXPECT(job_memory(&j) == 0 && job_micro_batch(&j.task[0]) == 8, "no budget, whole batches");
    for (size_t i = 0; i < sizeof size / sizeof *size; i++) {
        snprintf(text, sizeof text, "train.memory=%s", size[i].text);
        const char *set[] = {text, "tasks[a].micro_batch=auto"};
        EXPECT_OK(job_load(&j, put("job.cfg", GOOD), set, 2));
        EXPECT(job_memory(&j) == size[i].bytes && job_micro_batch(&j.task[0]) == 0, "%s: %lld", text, (long long)job_memory(&j));
    }
    for (size_t i = 0; i < sizeof no_size / sizeof *no_size; i++) {
        snprintf(text, sizeof text, "train.memory=%s", no_size[i]);
        const char *set[] = {text};
        EXPECT_STATUS(job_load(&j, put("job.cfg", GOOD), set, 1), ST_USAGE);
        EXPECT(fault_count() == 1 && says("train.memory") && says("such as \"6GiB\""), "%s", no_size[i]);
    }
    for (size_t i = 0; i < sizeof no_micro / sizeof *no_micro; i++) {
        snprintf(text, sizeof text, "tasks[a].micro_batch=%s", no_micro[i]);
        const char *set[] = {text};
        EXPECT_STATUS(job_load(&j, put("job.cfg", GOOD), set, 1), ST_USAGE);
        EXPECT(fault_count() == 1 && says("tasks[0].micro_batch") && says("a divisor of batch (8)"), "%s", no_micro[i]);
    }
    const char *four[] = {"tasks[a].micro_batch=4"}, *no_budget[] = {"tasks[a].micro_batch=auto"};
    EXPECT_OK(job_load(&j, put("job.cfg", GOOD), four, 1));
    EXPECT(job_micro_batch(&j.task[0]) == 4, "%d", job_micro_batch(&j.task[0]));
    EXPECT_STATUS(job_load(&j, put("job.cfg", GOOD), no_budget, 1), ST_USAGE);
    EXPECT(says("train.memory gives no budget"), "auto without a budget");
}

int main(void)
{
    snprintf(folder, sizeof folder, "/tmp/medley-config-%d", (int)getpid());
    char index[128];
    mkdir(folder, 0777);
    snprintf(index, sizeof index, "%s/set", folder);
    mkdir(index, 0777);
    put("set/index.h5", "");
    RUN(defaults_are_those_of_the_table);
    RUN(every_fault_is_listed_with_its_line);
    RUN(missing_keys_point_at_their_group);
    RUN(key_in_the_wrong_group_is_found);
    RUN(syntax_errors_say_what_is_wrong);
    RUN(wide_integers_are_never_wrapped);
    RUN(integers_serve_as_floats_but_not_back);
    RUN(overrides_go_through_the_table);
    RUN(data_root_is_relative_to_where_it_was_written);
    RUN(a_near_data_folder_is_named);
    RUN(includes_are_read_and_named);
    RUN(print_and_load_round_trip);
    RUN(hostile_text_is_refused_in_peace);
    RUN(mutated_text_never_crashes);
    RUN(own_tables_work);
    RUN(memory_and_micro_batch);
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    if (system(command)) return 1;
    DONE();
}
