/* report and status: made from a record written here; the page is whole, self-contained and safe whatever the names are. */
#include "medley/train.h"
#include "medley/use.h"

#include "../../src/use/examples.h"
#include "../../src/use/history.h"
#include "../../src/use/scores.h"
#include "../../src/use/svg.h"

#include "canvas.h"
#include "test.h"

#include <ctype.h>
#include <fcntl.h>
#include <unistd.h>

static char run[64] = "/tmp/medley-report-XXXXXX";
static const char *const tasks[] = {"nuclei", "view", "cells<script>&\"'"};

void use_version(FILE *out) { fprintf(out, "medley <test>\n"); } /* the real one asks MPI and BLAS */

static const char *in_run(const char *name)
{
    static char path[160];
    snprintf(path, sizeof path, "%s/%s", run, name);
    return path;
}

/* A run of `steps` steps of 0.5 s, with a loss that falls and a score that rises. */
static status write_record(int64_t steps, bool end)
{
    record *r;
    unlink(in_run("record.jsonl"));
    TRY(record_open(&r, in_run("record.jsonl"), 0), "test");
    record_begin(r, "start");
    record_i64(r, "step", 0);
    record_i64(r, "steps", 400);
    record_i64(r, "ranks", 2);
    record_i64(r, "threads", 1);
    record_i64(r, "units", 3);
    record_i64(r, "parameters", 1234567);
    record_f64(r, "imbalance", 1.08);
    record_str(r, "encoder", "swin_v2_micro");
    record_str(r, "sum", "exact");
    TRY(record_end(r), "test");
    for (int64_t s = 5; s <= steps; s += 5) {
        rng noise = rng_open((rng_key){1, (uint32_t)s, 0}, RNG_TEST, 0);
        record_begin(r, "step");
        record_i64(r, "step", s);
        record_f64(r, "lr", 1e-3 * (s < 40 ? (double)s / 40 : 0.5 + 0.5 * cos(3.14 * (double)s / 400)));
        record_f64(r, "loss", exp(-(double)s / 150) + 0.1 * rng_uniform(&noise));
        record_f64(r, "images", 60);
        record_f64(r, "images_per_s", 24 + rng_normal(&noise));
        record_f64(r, "grad_norm", exp(2 - (double)s / 80 + 0.4 * rng_normal(&noise)));
        static const struct {
            const char *key;
            double s;
        } parts[] = {{"load_s", 0.02},  {"forward_s", 0.14}, {"loss_s", 0.01}, {"backward_s", 0.24}, {"sum_s", 0.05},
                     {"clip_s", 0.005}, {"update_s", 0.015}, {"wait_s", 0.03}, {"step_s", 0.5}};
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) record_f64(r, parts[i].key, parts[i].s);
        record_f64(r, "memory_bytes", 400e6 + 1e4 * (double)s);
        record_i64(r, "dropped", s >= 20);
        for (int t = 0; t < 3; t++) {
            char name[96];
            snprintf(name, sizeof name, "loss/%s", tasks[t]);
            record_f64(r, name, t == 1 && s == 10 ? NAN : exp(-(double)s / (100 + 40 * t)) + 0.2 * rng_uniform(&noise));
        }
        TRY(record_end(r), "test");
        for (int t = 0; t < 3 && s % 40 == 0; t++) {
            record_begin(r, "validate");
            record_i64(r, "step", s);
            record_str(r, "task", tasks[t]);
            record_str(r, "score_name", t == 0 ? "dice" : t == 1 ? "balanced_accuracy" : "ap50");
            record_f64(r, "score", 0.9 - 0.6 * exp(-(double)s / 90) - 0.05 * t);
            TRY(record_end(r), "test");
        }
        if (s % 100 == 0) {
            record_begin(r, "checkpoint");
            record_i64(r, "step", s);
            record_str(r, "text", "checkpoints/step.h5");
            TRY(record_end(r), "test");
        }
    }
    if (end) record_begin(r, "end");
    if (end) record_i64(r, "step", steps);
    status st = end ? record_end(r) : OK;
    record_close(r);
    return st;
}

static void write_scores(void)
{
    FILE *f = fopen(in_run("scores-test.csv"), "w");
    scores_head(f);
    for (int t = 0; t < 3; t++) {
        score_row row = {.value = 0.9 - 0.1 * t,
                         .lo = t == 2 ? NAN : 0.85 - 0.1 * t,
                         .hi = t == 2 ? NAN : 0.94 - 0.1 * t,
                         .n_samples = 24,
                         .n_cases = 12,
                         .step = 360,
                         .weights = "best"};
        snprintf(row.task, sizeof row.task, "%s", tasks[t]);
        snprintf(row.metric, sizeof row.metric, "score");
        scores_line(f, &row);
        snprintf(row.metric, sizeof row.metric, "dice/a \"quoted\", class");
        row.value = NAN;
        scores_line(f, &row);
        for (int c = 0; c < 2 && t == 0; c++) { /* the better one last */
            snprintf(row.metric, sizeof row.metric, "score"), snprintf(row.centre, sizeof row.centre, c ? "north <b>" : "south");
            row.value = 0.7 + 0.1 * c, row.n_subjects = 5;
            scores_line(f, &row);
        }
    }
    fclose(f);
}

/* Runs a command with its standard output in RUN/out; *text is what it said (free()). */
static status command(status (*cmd)(int, char **), char *a, char *b, char **text)
{
    char name[] = "cmd", *argv[] = {name, a, b, NULL};
    fflush(stdout);
    int keep = dup(1), to = open(in_run("out"), O_CREAT | O_TRUNC | O_WRONLY, 0600);
    dup2(to, 1);
    status st = cmd(b ? 3 : 2, argv);
    fflush(stdout);
    dup2(keep, 1);
    close(keep);
    close(to);
    *text = NULL;
    status got = file_read_all(in_run("out"), 1 << 20, text, NULL);
    return st ? st : got;
}

/* Every opened element is closed in order; returns NULL or where it went wrong. */
static const char *unbalanced(const char *html)
{
    static const char *const alone[] = {"meta", "br", "!DOCTYPE"};
    char stack[64][24];
    int depth = 0;
    for (const char *p = html; (p = strchr(p, '<')); p++) {
        bool closing = p[1] == '/', single = false;
        const char *name = p + 1 + closing, *end = strchr(p, '>');
        char word[24] = "";
        for (size_t i = 0; i + 1 < sizeof word && (isalnum((unsigned char)name[i]) || name[i] == '!'); i++)
            word[i] = name[i], word[i + 1] = 0;
        if (!end || !word[0]) return p;
        for (size_t i = 0; i < sizeof alone / sizeof *alone; i++) single |= strcmp(word, alone[i]) == 0;
        if (single || end[-1] == '/') continue;
        if (!closing && depth == 64) return p;
        if (!closing) strcpy(stack[depth++], word);
        else if (depth == 0 || strcmp(stack[--depth], word) != 0) return p;
        p = end;
    }
    return depth ? "unclosed" : NULL;
}

static void the_page(void)
{
    char *said = NULL, *html = NULL;
    EXPECT_OK(write_record(400, true));
    write_scores();
    EXPECT_OK(file_write_atomic(in_run("job.cfg"), "# not a <job>\n", 14));
    EXPECT_OK(command(cmd_report, run, NULL, &said));
    EXPECT(said && strstr(said, "report.html"), "%s", said);
    EXPECT_OK(file_read_all(in_run("report.html"), 1 << 22, &html, NULL));
    if (html) {
        const char *bad = unbalanced(html);
        EXPECT(!bad, "%.80s", bad);
        static const char *const must[] = {
            "cells&lt;script&gt;&amp;&quot;&#39;",  "# not a &lt;job&gt;",  "medley &lt;test&gt;", "0.900 [0.850, 0.940]",
            "best mean validation score, step 400", "prefers-color-scheme", "<polyline",           "backward 48.0 %",
            "dice/a &quot;quoted&quot;, class",     "of 400 steps",         "1 units were dropped", "By centre",
            "north &lt;b&gt;",                      "Balance"};
        static const char *const never[] = {"<script", "http", "src=", "href=", "@import", "url(", "nan", "inf\"", "-nan"};
        EXPECT(strstr(html, "north &lt;") < strstr(html, ">south<"), "the better centre first");
        for (size_t i = 0; i < sizeof must / sizeof *must; i++) EXPECT(strstr(html, must[i]), "%s is missing", must[i]);
        for (size_t i = 0; i < sizeof never / sizeof *never; i++)
            EXPECT(!strstr(html, never[i]), "%s is there: %.60s", never[i], strstr(html, never[i]));
    }
    free(said);
    free(html);
}

/* ---- pictures ------------------------------------------------------------------------------------------------------------------------ */

static void write_picture(const char *name, int w)
{
    char path[200];
    canvas c;
    EXPECT_OK(canvas_init(&c, w, 9, (rgb8){200, 100, 50}));
    snprintf(path, sizeof path, "%s/%s", in_run("examples-test-nuclei"), name);
    EXPECT_OK(canvas_save(&c, path));
    canvas_free(&c);
}

/* A page with what is in the run's folder; *html: free(). */
static void make_page(char **html)
{
    char *said = NULL;
    *html = NULL;
    EXPECT_OK(command(cmd_report, run, NULL, &said));
    EXPECT_OK(file_read_all(in_run("report.html"), 1 << 22, html, NULL));
    free(said);
}

static int count(const char *text, const char *word)
{
    int n = 0;
    for (const char *p = text; p && (p = strstr(p, word)); p += strlen(word)) n++;
    return n;
}

static void pictures_and_matrices(void)
{
    char *html = NULL;
    static example_row row[2] = {{.file = {"01-true.png", "01-predicted.png"}, .id = "a<b", .truth = "cell", .guess = "Dice 0.91", .quality = 0.91, .right = -1},
                                 {.file = {"02-true.png"}, .id = "second", .truth = "x, \"y\"", .guess = "z (0.70)", .quality = NAN, .right = 0}};
    static example_class cls[1] = {{"cell", "#ff6358"}};
    examples back, e = {.n = 2, .row = row, .n_classes = 1, .cls = cls};
    write_scores();
    unlink(in_run("job.cfg"));
    EXPECT_OK(path_make_dirs(in_run("examples-test-nuclei")));
    write_picture("01-true.png", 40), write_picture("01-predicted.png", 41), write_picture("02-true.png", 42);
    EXPECT_OK(examples_save(&e, in_run("examples-test-nuclei")));
    EXPECT_OK(examples_read(&back, run, "test", "nuclei"));
    EXPECT(back.n == 2 && strcmp(back.row[1].truth, row[1].truth) == 0 && back.row[1].right == 0 && isnan(back.row[1].quality) && back.row[0].quality == 0.91 &&
               back.n_classes == 1 && strcmp(back.cls[0].colour, "#ff6358") == 0, "%d examples", back.n);
    examples_free(&back);
    static const char square[] = "true,benign,\"b, <odd>\"\nbenign,30,10\n\"b, <odd>\",1,9\n", labels[] = "label,true_positive,false_positive,false_negative,true_negative\nnodule,3,1,1,15\n";
    EXPECT_OK(file_write_atomic(in_run("confusion-test-nuclei.csv"), square, sizeof square - 1));
    EXPECT_OK(file_write_atomic(in_run("confusion-test-view.csv"), labels, sizeof labels - 1));
    make_page(&html);
    if (!html) return;
    EXPECT(!unbalanced(html), "%.80s", unbalanced(html));
    static const char *const must[] = {"Predictions on the test split", "<img alt=\"true\" width=\"40\" height=\"9\" src=\"data:image/png;base64,iVBORw0KGgo", "Dice 0.91",
                                       "a&lt;b", "fill=\"#ff6358\"", "b, &lt;odd&gt;", "30 of 40", "9 of 10", "number of images", "0.750", "0.938", "class=\"wrong\""};
    for (size_t i = 0; i < sizeof must / sizeof *must; i++) EXPECT(strstr(html, must[i]), "%s is missing", must[i]);
    EXPECT(count(html, "<img ") == 3 && count(html, "src=\"data:image/png;base64,") == 3 && count(html, "src=") == 3, "%d pictures", count(html, "<img "));
    free(html);
}

/* Lists that lead elsewhere, pictures that are none, damaged tables: the page goes without, and nothing from outside gets in. */
static void pictures_that_are_not(void)
{
    char *html = NULL, many[4000] = "true";
    static const char head[] = "file,predicted_file,id,subject,truth,prediction,quality,right\n";
    static const char *const rows[] = {"../record.jsonl,,i,,t,p,,1\n", "index.csv,,i,,t,p,,1\n", "nothing.png,,i,,t,p,,1\n", "\"01-true.png,,i\n", "01-true.png,,i,,t,p,high,1\n"};
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        char text[300];
        snprintf(text, sizeof text, "%s%s", head, rows[k]);
        EXPECT_OK(file_write_atomic(in_run("examples-test-nuclei/index.csv"), text, strlen(text)));
        make_page(&html);
        EXPECT(html && !unbalanced(html) && count(html, "<img ") == 0 && strstr(html, "30 of 40"), "%s", rows[k]);
        free(html);
    }
    /* more classes than a table can show */
    for (int k = 0; k < 30; k++) snprintf(many + strlen(many), sizeof many - strlen(many), ",c%d", k);
    for (int k = 0; k < 30; k++) {
        snprintf(many + strlen(many), sizeof many - strlen(many), "\nc%d", k);
        for (int j = 0; j < 30; j++) snprintf(many + strlen(many), sizeof many - strlen(many), ",%d", k == 7 && j == 3 ? 25 : k == j ? 75 : 0);
    }
    EXPECT_OK(file_write_atomic(in_run("confusion-test-nuclei.csv"), many, strlen(many)));
    make_page(&html);
    EXPECT(html && strstr(html, "25 of 100 (25.0 %)") && strstr(html, "commonest confusions of 30 classes"), "many classes");
    free(html);
    static const char *const bad[] = {"true,a,b\na,1,2\n", "true,a\na,-1\n", "true,a\na,x\n", "what\n", "label,a,b\nx,1,2\n"};
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        EXPECT_OK(file_write_atomic(in_run("confusion-test-nuclei.csv"), bad[k], strlen(bad[k])));
        make_page(&html);
        EXPECT(html && !unbalanced(html) && !strstr(html, "class=\"confusion"), "%s", bad[k]);
        free(html);
    }
    static const char *const left[] = {"examples-test-nuclei/01-true.png", "examples-test-nuclei/01-predicted.png", "examples-test-nuclei/02-true.png",
                                       "examples-test-nuclei/index.csv", "examples-test-nuclei/classes.csv", "confusion-test-nuclei.csv", "confusion-test-view.csv"};
    for (size_t i = 0; i < sizeof left / sizeof *left; i++) unlink(in_run(left[i]));
    rmdir(in_run("examples-test-nuclei"));
}

static void page_of_a_run_just_begun(void)
{
    char *said = NULL, *html = NULL;
    unlink(in_run("scores-test.csv"));
    unlink(in_run("job.cfg"));
    EXPECT_OK(write_record(0, false));
    EXPECT_OK(command(cmd_report, run, NULL, &said));
    EXPECT_OK(file_read_all(in_run("report.html"), 1 << 22, &html, NULL));
    EXPECT(html && !unbalanced(html) && strstr(html, "Not finished") && strstr(html, "Not evaluated yet"), "page");
    free(said);
    free(html);
}

static void where_a_run_is(void)
{
    char *said = NULL;
    EXPECT_OK(write_record(200, false));
    EXPECT_OK(command(cmd_status, run, NULL, &said));
    static const char *const must[] = {"running",           "200 of 400 (50.0 %)", "about 2 min", "step 200",
                                       "balanced_accuracy", "for data 4.0 %",      "2 ranks x 1"};
    for (size_t i = 0; i < sizeof must / sizeof *must; i++)
        EXPECT(said && strstr(said, must[i]), "%s is missing in:\n%s", must[i], said);
    free(said);
    EXPECT_OK(write_record(400, true));
    EXPECT_OK(command(cmd_status, run, NULL, &said));
    EXPECT(said && strstr(said, "finished"), "%s", said);
    free(said);
}

static void not_a_run(void)
{
    char *said = NULL, nowhere[] = "/nowhere", wrong[] = "--outt=x";
    EXPECT_STATUS(command(cmd_report, nowhere, NULL, &said), ST_DATA);
    EXPECT(strstr(status_message(), "/nowhere/record.jsonl"), "%s", status_message());
    free(said);
    EXPECT_STATUS(command(cmd_report, run, wrong, &said), ST_USAGE);
    free(said);
    EXPECT_OK(file_write_atomic(in_run("scores-test.csv"), "task,metric\nx,y\n", 16));
    EXPECT_STATUS(command(cmd_report, run, NULL, &said), ST_DATA);
    EXPECT(strstr(status_message(), "scores-test.csv:1"), "%s", status_message());
    free(said);
    unlink(in_run("scores-test.csv"));
}

static void history_over_two_sessions(void)
{
    history h;
    static const char text[] =
        "{\"event\":\"start\",\"time\":\"2026-01-01T00:00:00Z\",\"step\":0,\"steps\":100}\n"
        "{\"event\":\"step\",\"time\":\"2026-01-01T00:01:00Z\",\"step\":10,\"step_s\":2,\"forward_s\":1.5,\"images\":80}\n"
        "{\"event\":\"stop\",\"time\":\"2026-01-01T00:02:00Z\",\"text\":\"x\"}\n"
        "{\"event\":\"start\",\"time\":\"2026-01-01T10:00:00Z\",\"step\":12,\"steps\":100}\n"
        "{\"event\":\"step\",\"time\":\"2026-01-01T10:01:00Z\",\"step\":20,\"step_s\":1,\"forward_s\":0.5,\"images\":80}\n"
        "{\"event\":\"evaluate\",\"time\":\"2026-01-03T10:01:00Z\",\"step\":20}\n{\"event\":\"news\",\"time\":\"2026-01-01T10:01:00Z\"}"
        "\n";
    EXPECT_OK(file_write_atomic(in_run("record.jsonl"), text, sizeof text - 1));
    EXPECT_OK(history_load(&h, run));
    EXPECT(h.n_starts == 2 && h.step == 20 && !h.stopped, "%d starts, step %lld", h.n_starts, (long long)h.step);
    EXPECT_NEAR(h.seconds, 180, 0);
    EXPECT_NEAR(h.step_s, 10 * 2 + 8 * 1, 0);
    EXPECT_NEAR(h.part_s[PART_FORWARD], 15 + 4, 0);
    EXPECT_NEAR(h.part_s[PART_OTHER], 5 + 4, 0);
    EXPECT_NEAR(h.images, 160, 0);
    history_free(&h);
}

/* Four ranks on two nodes: 40 s of steps, 6 of validation and 4 of checkpoints; rank 3 is the slowest in 30 of 40 steps. */
static void where_the_time_went(void)
{
#define RANKS(step, steps, seconds, rank, node, s, over, more) \
    "{\"event\":\"ranks\",\"step\":" #step ",\"steps\":" #steps ",\"seconds\":" #seconds ",\"ranks\":4,\"nodes\":2,\"compute_min_s\":0.4,\"compute_mean_s\":0.6," \
    "\"compute_max_s\":0.7,\"data_mean_s\":0.05,\"wait_mean_s\":0.2,\"sum_mean_s\":0.1,\"update_mean_s\":0.03,\"read_mean_s\":0.25,\"slowest_rank\":" #rank \
    ",\"slowest_node\":\"" node "\",\"slowest_s\":" #s ",\"slowest_over\":" #over ",\"slowest_task\":\"cells\",\"longest_task\":\"chest\",\"longest_s\":0.5" more "}\n"
#define GROUP(step, rank, node, s) \
    "{\"event\":\"group\",\"step\":" #step ",\"node\":\"" node "\",\"rank\":" #rank ",\"ranks\":1,\"compute_s\":" #s ",\"data_s\":0,\"slowest_task\":\"cells\"}\n"
    static const char text[] =
        "{\"event\":\"start\",\"step\":0,\"steps\":100,\"ranks\":4,\"imbalance\":1.25,\"start_s\":2.5}\n"
        RANKS(10, 10, 10, 0, "n1", 0.7, 1, ",\"validation_pause_s\":0,\"checkpoint_pause_s\":0") GROUP(10, 0, "n1", 0.7) GROUP(10, 3, "n2", 0.65)
        RANKS(40, 30, 30, 3, "n2", 0.8, 1.2, ",\"validation_pause_s\":6,\"checkpoint_pause_s\":1") GROUP(40, 0, "n1", 0.5) GROUP(40, 3, "n2", 0.7) GROUP(40, 1, "n1", 0.6)
        "{\"event\":\"end\",\"step\":40,\"validation_pause_s\":0,\"checkpoint_pause_s\":3}\n";
    history h;
    char said[600], *shown = NULL;
    EXPECT_OK(file_write_atomic(in_run("record.jsonl"), text, sizeof text - 1));
    EXPECT_OK(history_load(&h, run));
    efficiency_text(&h, said, sizeof said);
    EXPECT(strcmp(said, "units 48.0 %, waiting for data 4.0 %, waiting for other ranks 16.0 % (12.0 % by the placement), sum over the ranks 8.0 %, clip and "
                        "update 2.4 %, validation 12.0 %, checkpoints 8.0 %, the rest 1.6 %; starting up took 2.5 s") == 0, "%s", said);
    slowest_text(&h, true, said, sizeof said);
    EXPECT(strcmp(said, "rank 3 on n2, 0.800 s a step (mean 0.650), most of it task cells; its units take 20 % longer than such units on the mean of all "
                        "ranks; of the tasks chest: 0.500 s a unit") == 0, "%s", said);
    slowest_text(&h, false, said, sizeof said);
    EXPECT(strcmp(said, "rank 3 on n2 in 75 % of the steps, 0.800 s a step (mean 0.650); its units take 20 % longer than such units on the mean of all ranks") == 0,
           "%s", said);
    EXPECT(h.n_groups == 3 && h.group_step == 40 && h.n_slow == 2, "%d groups, %d slow", h.n_groups, h.n_slow);
    char cut[40];
    efficiency_text(&h, cut, sizeof cut);
    EXPECT(strlen(cut) == sizeof cut - 1, "%zu", strlen(cut));
    history_free(&h);
    EXPECT_OK(command(cmd_status, run, NULL, &shown));
    const char *first = shown ? strstr(shown, "3 on n2   ") : NULL, *second = shown ? strstr(shown, "1 on n1   ") : NULL;
    EXPECT(first && second && first < second && strstr(shown, "loader: reading"), "%s", shown);
    free(shown);
}

/* Numbers no count can be, in a record somebody else wrote. */
static void history_of_odd_numbers(void)
{
    history h;
    static const char text[] = "{\"event\":\"start\",\"step\":1e300,\"steps\":-1e300,\"ranks\":1e19}\n{\"event\":\"step\",\"step\":1e300,\"dropped\":1e40}\n"
                               "{\"event\":\"validate\",\"task\":\"a\",\"step\":1e99,\"score\":1}\n";
    EXPECT_OK(file_write_atomic(in_run("record.jsonl"), text, sizeof text - 1));
    EXPECT_OK(history_load(&h, run));
    EXPECT(h.step == 0 && h.steps == 0 && h.ranks == 0 && h.dropped == 0 && h.n_tasks == 1 && h.task[0].best_step == 0, "%lld %lld %lld",
           (long long)h.step, (long long)h.steps, (long long)h.dropped);
    history_free(&h);
}

static void scores_round_trip(void)
{
    score_row *rows;
    int n;
    write_scores();
    EXPECT_OK(scores_read(in_run("scores-test.csv"), &rows, &n));
    EXPECT(n == 8, "%d rows", n);
    EXPECT(n == 8 && strcmp(rows[6].task, tasks[2]) == 0 && strcmp(rows[7].metric, "dice/a \"quoted\", class") == 0 && !rows[7].centre[0], "names");
    EXPECT(n == 8 && rows[0].lo == 0.85 && isnan(rows[6].lo) && isnan(rows[7].value) && rows[7].n_cases == 12 && rows[7].step == 360,
           "numbers");
    EXPECT(n == 8 && strcmp(rows[3].centre, "north <b>") == 0 && rows[3].value == 0.8 && rows[3].n_subjects == 5, "centres");
    free(rows);
    EXPECT_OK(scores_read("/nowhere", &rows, &n));
    EXPECT(n == 0 && !rows, "%d", n);
}

int main(void)
{
    if (!mkdtemp(run)) return 1;
    RUN(the_page);
    RUN(pictures_and_matrices);
    RUN(pictures_that_are_not);
    RUN(page_of_a_run_just_begun);
    RUN(where_a_run_is);
    RUN(not_a_run);
    RUN(history_over_two_sessions);
    RUN(where_the_time_went);
    RUN(history_of_odd_numbers);
    RUN(scores_round_trip);
    static const char *const left[] = {"record.jsonl", "scores-test.csv", "report.html", "job.cfg", "out"};
    for (size_t i = 0; i < sizeof left / sizeof *left; i++) unlink(in_run(left[i]));
    rmdir(run);
    DONE();
}
