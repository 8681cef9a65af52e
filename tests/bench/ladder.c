/* ladder: times kernels and whole training steps, one item at a time, as the script that runs it next to torch asks for them.
 *
 *   bench_ladder --list          items, one a line: name|label|work shown|unit|work|limit
 *   bench_ladder --core          the OPENBLAS_CORETYPE this program uses, or nothing
 *   bench_ladder --peak NAME     runs the item twice and prints the peak memory of the process in bytes
 *   bench_ladder --precisions    "fp32", and "bf16" where training in it is not refused
 *   bench_ladder [--bf16]        reads "NAME SECONDS" lines and answers "NAME BEST_SECONDS", or "NAME -" where bf16 has no part in it */
#include "ladder.h"

#include "medley/kern.h"
#include "medley/use.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

item *ladder_add(ladder *l, const char *unit, const char *limit, double work, const char *name, const char *label)
{
    if (l->n == LADDER_MAX) abort();
    item *it = &l->item[l->n++];
    *it = (item){.unit = unit, .limit = limit, .work = work, .shown = work};
    snprintf(it->name, sizeof it->name, "%s", name);
    snprintf(it->label, sizeof it->label, "%s", label);
    return it;
}

float *ladder_floats(int64_t n, uint32_t seed)
{
    float *x;
    if (mem_alloc(&x, sizeof(float) * (size_t)(n > 0 ? n : 1), "bench")) {
        fprintf(stderr, "%s\n", status_message());
        exit(ST_RESOURCE);
    }
    uint32_t s = seed * 2654435761u + 1;
    for (int64_t i = 0; i < n; i++) {
        s = s * 1664525u + 1013904223u;
        x[i] = (float)(s >> 8) * 0x1p-24f - 0.5f;
    }
    return x;
}

/* Seconds this process had a core: with one thread that is the wall time of a machine without other work. */
static double cpu_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds of the fastest run within `seconds`, at least two runs after one that touches the pages. */
static status best_run(const item *it, double seconds, double *best)
{
    void *state;
    TRY(it->open(it, &state), "%s", it->name);
    it->run(state);
    *best = 1e30;
    double began = timer_now();
    for (int n = 0; n < 2 || timer_now() - began < seconds; n++) {
        double t = cpu_now();
        it->run(state);
        t = cpu_now() - t;
        if (t < *best) *best = t;
    }
    it->close(state);
    return OK;
}

static const item *find(const ladder *l, const char *name)
{
    for (int i = 0; i < l->n; i++)
        if (strcmp(l->item[i].name, name) == 0) return &l->item[i];
    return NULL;
}

static status peak(const item *it)
{
    void *state;
    struct rusage use;
    TRY(it->open(it, &state), "%s", it->name);
    it->run(state);
    it->run(state);
    it->close(state);
    getrusage(RUSAGE_SELF, &use);
    printf("%ld\n", use.ru_maxrss * 1024L);
    return OK;
}

static bool has_bf16(const item *it)
{
    return strncmp(it->name, "step_", 5) == 0 || strncmp(it->name, "linear", 6) == 0 || strcmp(it->name, "unet") == 0 || strcmp(it->name, "fpn") == 0 ||
           strcmp(it->name, "joint") == 0;
}

static status serve(const ladder *l, bool bf16)
{
    if (bf16) TRY(kern_bf16_choose(), "bench");
    kern_use_bf16(bf16);
    char line[256], name[64];
    double seconds, best = 0.0;
    while (fgets(line, sizeof line, stdin)) {
        CHECK(sscanf(line, "%63s %lf", name, &seconds) == 2, ST_USAGE, "not \"NAME SECONDS\": %s", line);
        const item *it = find(l, name);
        CHECK(it, ST_USAGE, "no item %s", name);
        if (bf16 && !has_bf16(it)) {
            printf("%s -\n", name);
        } else {
            TRY(best_run(it, seconds, &best), "bench");
            printf("%s %.9g\n", name, best);
        }
        fflush(stdout);
    }
    return OK;
}

int main(int argc, char **argv)
{
    static ladder l;
    use_best_kernels(argv);
    kern_init(1);
    ladder_kernels(&l);
    ladder_steps(&l);
    ladder_joint(&l);
    status st = OK;
    const item *one = argc > 2 ? find(&l, argv[2]) : NULL;
    if (argc > 1 && strcmp(argv[1], "--list") == 0)
        for (int i = 0; i < l.n; i++)
            printf("%s|%s|%.9g|%s|%.9g|%s\n", l.item[i].name, l.item[i].label, l.item[i].shown, l.item[i].unit, l.item[i].work,
                   l.item[i].limit);
    else if (argc > 1 && strcmp(argv[1], "--core") == 0) printf("%s\n", getenv("OPENBLAS_CORETYPE") ? getenv("OPENBLAS_CORETYPE") : "");
    else if (argc > 2 && strcmp(argv[1], "--peak") == 0 && one) st = peak(one);
    else if (argc > 1 && strcmp(argv[1], "--precisions") == 0) printf("fp32%s\n", kern_bf16_name() ? " bf16" : "");
    else if (argc == 1 || strcmp(argv[1], "--bf16") == 0) st = serve(&l, argc > 1);
    else st = status_raise(ST_USAGE, __FILE__, __LINE__, "usage: %s [--list | --core | --precisions | --peak NAME | --bf16]", argv[0]);
    if (st) fprintf(stderr, "%s\n", status_message());
    return st;
}
