/* main_plain: a fuzz target as a test for any compiler: the corpus as it is, then a fixed number of mutations of it, the same in every
 * run. TAP. Usage: fuzz_TARGET CORPUS-FOLDER [MUTATIONS [SEED]]; fuzz_TARGET FILE... runs these files (a crash found elsewhere). */
#include "fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
enum { CHECKED = 1 }; /* a sanitizer keeps freed memory for a while: its peak says nothing */
#else
enum { CHECKED = 0 };
#endif
enum { SECONDS_MAX = 60, FILES_MAX = 4096 };

/* HDF5 1.10 keeps some 400 bytes each time it refuses a damaged file; ours is the rest. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libhdf5\nleak:libconfig"; } /* libconfig 1.5 loses the text it was in at a syntax error */

static struct { uint8_t *data; size_t n; char name[256]; } corpus[FILES_MAX];
static int n_corpus;
static const uint8_t *now; /* the input that runs */
static size_t now_n;

/* The input that ends the process is worth more than the process. Only calls that a signal handler may make. */
static void on_end(int sig)
{
    static char path[] = "fuzz-crash";
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd >= 0 && write(fd, now, now_n) == (ssize_t)now_n) {
        static const char text[] = "# the input is in the file fuzz-crash of the working directory\n";
        ssize_t unused = write(2, text, sizeof text - 1);
        (void)unused;
    }
    signal(sig, SIG_DFL);
    raise(sig);
}

static void run(const uint8_t *data, size_t n)
{
    /* a copy that ends where the input ends, so that a sanitizer sees a step beyond it */
    uint8_t *copy = malloc(n ? n : 1);
    if (!copy) abort();
    if (n) memcpy(copy, data, n);
    now = copy, now_n = n;
    alarm(SECONDS_MAX);
    fuzz_one(copy, n);
    alarm(0);
    free(copy);
}

static bool load(const char *path, const char *name)
{
    struct stat info;
    char *data;
    size_t n;
    if (stat(path, &info) || !S_ISREG(info.st_mode) || n_corpus == FILES_MAX) return true;
    if (file_read_all(path, 64 << 20, &data, &n)) return false;
    corpus[n_corpus].data = (uint8_t *)data, corpus[n_corpus].n = n < fuzz_bytes_max ? n : fuzz_bytes_max;
    snprintf(corpus[n_corpus++].name, sizeof corpus[0].name, "%s", name);
    return true;
}

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

static bool load_folder(const char *path)
{
    struct dirent **list;
    int n = scandir(path, &list, NULL, by_name); /* the order of a folder is not the same everywhere */
    for (int i = 0; i < n; i++) {
        char file[1024];
        snprintf(file, sizeof file, "%s/%s", path, list[i]->d_name);
        if (!load(file, list[i]->d_name)) return false;
        free(list[i]);
    }
    if (n >= 0) free(list);
    return n_corpus > 0;
}

static void mutations(int n, uint64_t seed)
{
    size_t room = fuzz_bytes_max;
    uint8_t *buf = malloc(room);
    if (!buf) abort();
    for (int i = 0; i < n; i++) {
        rng r = rng_open((rng_key){seed, (uint32_t)i, 0}, RNG_TEST, 77);
        const int from = (int)rng_below(&r, (uint32_t)n_corpus);
        size_t length = corpus[from].n;
        if (length) memcpy(buf, corpus[from].data, length);
        for (uint32_t k = 1u << rng_below(&r, 4); k > 0; k--) length = fuzz_mutate(buf, length, room, &r);
        run(buf, length);
    }
    free(buf);
}

int main(int argc, char **argv)
{
    struct stat info;
    if (argc < 2) return 2;
    int signals[] = {SIGABRT, SIGALRM, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        if (!CHECKED || i < 2) signal(signals[i], on_end);
    bool folder = stat(argv[1], &info) == 0 && S_ISDIR(info.st_mode), good = true;
    if (folder) good = load_folder(argv[1]);
    else for (int i = 1; i < argc; i++) good = load(argv[i], argv[i]) && good;
    if (!good) return printf("Bail out! no corpus in %s\n", argv[1]), 1;
    log_open(-1, LOG_ERROR);
    int64_t before = memory_peak_bytes();
    for (int i = 0; i < n_corpus; i++) run(corpus[i].data, corpus[i].n);
    bool opened = fuzz_taken == n_corpus || !fuzz_must_open || !folder;
    printf("%sok 1 - %d files%s\n", opened ? "" : "not ", n_corpus, opened ? "" : ", of which not all were opened");
    fflush(stdout);
    int n = !folder ? 0 : argc > 2 ? atoi(argv[2]) : fuzz_mutations;
    mutations(n, argc > 3 ? (uint64_t)atoll(argv[3]) : 1);
    printf("ok 2 - %d mutations\n", n);
    size_t grown = (size_t)(memory_peak_bytes() - before);
    good = opened && (CHECKED || grown <= fuzz_memory_max);
    printf("%sok 3 - %zu MiB of memory, at most %zu allowed%s\n1..3\n", good ? "" : "not ", grown >> 20, fuzz_memory_max >> 20,
           CHECKED ? " # SKIP under a sanitizer" : "");
    for (int i = 0; i < n_corpus; i++) free(corpus[i].data);
    return good ? 0 : 1;
}
