/* core: status and messages, arenas, counter-based random numbers, checksums, timers, signals, fault points, log.
 * Knows no foreign library. Everything else may include it. */
#ifndef MEDLEY_CORE_H
#define MEDLEY_CORE_H

#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* ---- status: every fallible function returns one ------------------------------------------------------------ */

/* The value is also the exit code of the program (design.md section 2). */
typedef enum status {
    OK          = 0,
    ST_DIFFER   = 1,  /* two runs are not the same (medley verify-run) */
    ST_USAGE    = 2,  /* command line or job/recipe file */
    ST_DATA     = 3,  /* shard, source file, checkpoint: damaged, missing or inconsistent */
    ST_RESOURCE = 4,  /* memory, disk, permission */
    ST_NUMERIC  = 5,  /* not finite, no task left */
    ST_COMM     = 6,  /* MPI, a rank failed or hangs */
    ST_BUG      = 70, /* our own mistake */
    ST_STOPPED  = 75  /* checkpointed on request, run again */
} status;

#define MUST __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, first) __attribute__((format(printf, fmt, first)))

/* Raise: start a new message in this thread. Returns `code`. */
status status_raise(status code, const char *file, int line, const char *fmt, ...) PRINTF_LIKE(4, 5);
/* Forward: put context in front of the message ("context: message"). Returns `code`. */
status status_note(status code, const char *file, int line, const char *fmt, ...) PRINTF_LIKE(4, 5);
/* The message of the last raise in this thread; "" if none. Valid until the next raise. */
const char *status_message(void);
/* Where it was raised, "file.c:123". */
const char *status_place(void);
/* Carry a message over a thread or rank border: set code and text as they are. Returns `code`. */
status status_set(status code, const char *message);
void   status_clear(void);

#define CHECK(cond, code, ...)                                                                                      \
    do { if (!(cond)) return status_raise((code), __FILE__, __LINE__, __VA_ARGS__); } while (0)
#define TRY(call, ...)                                                                                              \
    do { status try_ = (call); if (try_) return status_note(try_, __FILE__, __LINE__, __VA_ARGS__); } while (0)
/* The same two with clean-up: they need a local `status st` and a label. */
#define CHECK_TO(label, cond, code, ...)                                                                            \
    do { if (!(cond)) { st = status_raise((code), __FILE__, __LINE__, __VA_ARGS__); goto label; } } while (0)
#define TRY_TO(label, call, ...)                                                                                    \
    do { st = (call); if (st) { st = status_note(st, __FILE__, __LINE__, __VA_ARGS__); goto label; } } while (0)

/* ---- memory ------------------------------------------------------------------------------------------------- */

/* The only doors to the heap: each may fail with ST_RESOURCE and a message in which `what` names the thing. Free with free(). */
MUST status mem_alloc(void *out_ptr, size_t n_bytes, const char *what); /* zeroed, 64-byte aligned */
/* An array of our own that grows: *ptr (NULL allowed) gets room for n_bytes, contents kept. On failure it stays as it was. */
MUST status mem_grow(void *ptr, size_t n_bytes, const char *what);
MUST status mem_copy(char **out, const char *text, size_t n, const char *what); /* a text of n bytes, a NUL after it */
/* A stream into memory: *text (free() it) and *n_bytes are valid after mem_text_close, which reports what a write could not keep. */
MUST status mem_text_open(FILE **out, char **text, size_t *n_bytes, const char *what);
MUST status mem_text_close(FILE *f, char **text, const char *what);     /* on failure *text is freed and NULL */

/* Fault planting: the k-th call of a door after this one fails (k >= 1), and all later ones if `forever`; 0: none. The shipped program
 * takes "k" or "k+" from MEDLEY_FAULT_ALLOC, on the rank MEDLEY_FAULT_RANK names. */
void    mem_fail_at(int64_t k, bool forever);
int64_t mem_calls(void); /* of all doors so far, arenas included */

/* Arena: measure, then place. With base == NULL it only counts: the same placing code run twice, first to learn the
 * size, then for real. Pieces are 64-byte aligned. Reset by setting `used` back to an earlier mark. */
typedef struct arena {
    char  *base; /* NULL while measuring */
    size_t size; /* bytes available at base */
    size_t used; /* bytes given out */
    size_t peak; /* largest `used` so far */
} arena;
MUST status arena_init(arena *a, size_t n_bytes, const char *what); /* size 0: measuring arena */
void  arena_free(arena *a);
/* Memory that other processes of this machine can map too: *fd names it until the caller closes it. */
MUST status arena_share(arena *a, size_t n_bytes, int *fd, const char *what);
MUST status arena_map(arena *a, int fd, size_t n_bytes, const char *what); /* what another process shares, to read; takes fd */
/* Memory of no process of its own: *fd names it. arena_overlay: the first n_bytes (whole pages) of an arena become that memory, to read and
 * write; takes fd. */
MUST status arena_file(size_t n_bytes, int *fd, const char *what);
MUST status arena_overlay(arena *a, int fd, size_t n_bytes, const char *what);
void  arena_unsee(arena *a, size_t from, size_t n_bytes); /* pages of arena_map do not count as this process's memory until read again */
void *arena_take(arena *a, size_t n_bytes); /* NULL while measuring; abort()s on overflow: the plan was wrong (our bug) */
#define ARENA_F32(a, n) ((float *)arena_take((a), sizeof(float) * (size_t)(n)))

/* ---- random numbers: Philox 4x32-10 (Salmon et al., SC 2011), no state besides the counter ------------------------ */

enum rng_purpose { RNG_INIT = 1, RNG_ORDER, RNG_AUGMENT, RNG_DROP_PATH, RNG_DROPOUT, RNG_SYNTH, RNG_SPLIT, RNG_BOOTSTRAP,
                   RNG_TEST };
/* Identity of a sample in an epoch; never contains a rank, a thread or a time. */
typedef struct rng_key { uint64_t seed; uint32_t a, b; } rng_key; /* a: e.g. sample index, b: e.g. epoch */
typedef struct rng { uint32_t key[2], ctr[4], out[4]; int left; } rng;
void     philox4x32(const uint32_t key[2], const uint32_t ctr[4], uint32_t out[4]);
rng      rng_open(rng_key key, uint32_t purpose, uint32_t sub); /* ctr = {block, purpose | sub << 8, a, b} */
uint32_t rng_u32(rng *r);
float    rng_uniform(rng *r);                    /* [0,1), 24 bits */
float    rng_normal(rng *r);                     /* mean 0, sd 1; Box-Muller, one of the pair */
/* n draws at once, out (n): a stream of its own, not the values that the calls above would give. Same bits on every CPU. */
void     rng_fill_uniform(rng_key key, uint32_t purpose, uint32_t sub, float *out, int64_t n);
void     rng_fill_normal(rng_key key, uint32_t purpose, uint32_t sub, float *out, int64_t n); /* |x| < 6.7 */
uint32_t rng_below(rng *r, uint32_t n);          /* [0,n), unbiased */
uint64_t hash_text(const char *s);               /* FNV-1a 64: to derive seeds from names */

/* ---- checksums ---------------------------------------------------------------------------------------------- */

uint32_t crc32c(uint32_t seed, const void *data, size_t n_bytes); /* seed 0; Castagnoli polynomial */
typedef struct sha256 { uint32_t h[8]; uint64_t n; uint8_t buf[64]; } sha256;
void sha256_begin(sha256 *s);
void sha256_add(sha256 *s, const void *data, size_t n_bytes);
void sha256_end(sha256 *s, char hex[65]);
bool sha256_hardware(bool wanted); /* for tests: with the CPU's own instructions, as is the rule, or without. False: it has none */
MUST status sha256_file(const char *path, char hex[65]);

/* ---- time, signals, log, fault points ------------------------------------------------------------------------- */

double timer_now(void);                 /* seconds, monotonic */
#define STOP_AGAIN_MS 1000
void   stop_install(void);              /* SIGUSR1, SIGTERM, SIGINT ask for a stop; SIGTERM or SIGINT again, more than STOP_AGAIN_MS later,
                                           ends the process at once */
void   stop_settled(void);              /* the stop is made, the exit code known: from here on signals change neither */
int    stop_requested(void);            /* number of the last signal that asks for a stop (SIGUSR1 gives way to the others), or 0 */

/* pthread_create for a thread that leaves all signals to the main one. Returns its error number. */
int    thread_start(pthread_t *thread, void *(*body)(void *), void *arg);

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
void log_open(int rank, enum log_level level); /* rank -1: no prefix. LOG_INFO goes to stdout on rank 0 (or -1) only */
void log_name(const char *program); /* whose warnings and errors they are; "medley" until it is said */
void log_line(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);
void log_progress(const char *fmt, ...) PRINTF_LIKE(1, 2); /* as LOG_INFO, but the text brings its own ends of lines, or none */

/* Fault points ship in the program; what MEDLEY_FAULT, MEDLEY_FAULT_DELAY and MEDLEY_FAULT_TRACE ask for: core/fault.c. fault_hit(name)
 * returns true if `nan`, `raise` or `nomem` was asked for here; kill, stop, term, hang and spin act at once. A name is a word the tests
 * use. fault_check is for places that can fail: `raise` raises `code`, the code such a place fails with; `nomem` raises ST_RESOURCE. */
bool fault_hit(const char *name);
MUST status fault_check(const char *name, status code);
/* Tells where in the plan this thread is, so that a test can plant the same fault on any number of ranks: "gradient@TASK.STEP.UNIT:nan". */
void fault_place(const char *task, int64_t step, int number);

/* Life signs of long loops: progress_beat moves the counter of the thread that called progress_watch (NULL: no more) and does nothing in
 * any other thread, whose life says nothing about the watched one. */
void progress_watch(_Atomic uint64_t *counter);
void progress_beat(void);

/* ---- small helpers -------------------------------------------------------------------------------------------- */

int  text_distance(const char *a, const char *b);      /* Levenshtein, for "did you mean" */
void text_seconds(double s, char out[32]);               /* "3 d", "1.5 h", "12 min", "40 s"; "unknown" if not finite */
const char *text_shown(const char *s, char *buf, size_t n); /* a stranger's text: control characters as '?', cut to n bytes; returns buf */
const char *text_nearest(const char *word, const char *const *list, int n); /* NULL if nothing is near */
MUST status path_make_dirs(const char *path);          /* mkdir -p; mode 0755 less the umask */
MUST status path_sync_dir(const char *path);           /* fsync of a folder */
bool path_exists(const char *path);
/* "dir/name" of a file that another file names: a plain name, no ".", no '/', and no symbolic link that leads out of `dir`. ST_DATA.
 * A file that is not there is left to whoever opens it. */
MUST status path_inside(const char *dir, const char *name, char *out, size_t out_bytes);
/* A new file for writing, mode 0644 less the umask. What had the name before is unlinked, never followed, opened or cut. */
MUST status file_create(const char *path, int *fd);
/* All n bytes to an open file, in spite of interruptions and short writes; path: for the message. */
MUST status file_write(int fd, const char *path, const void *data, size_t n_bytes);
MUST status file_read_all(const char *path, size_t limit_bytes, char **out, size_t *out_bytes); /* NUL-terminated, free() */
MUST status file_write_atomic(const char *path, const void *data, size_t n_bytes);  /* aside, fsync, rename */
/* The same of a stream, for what is not held in memory. close: of work that went wrong (st) nothing stays; returns st, or what the disk says. */
MUST status file_stream_open(FILE **out, const char *path);
MUST status file_stream_close(FILE *f, const char *path, status st);
const char *program_id(void);                          /* build id of the running program in hex, by its linker; "" if it has none */
/* Where a module of the program lies: in the folder that MEDLEY_MODULES names, beside the program (as built), or in the folder for libraries (as
 * installed, wherever that was moved to). What is there is left to whoever loads it. */
MUST status program_module(const char *file, char *path, size_t room);
int64_t memory_peak_bytes(void);                       /* VmHWM of this process; 0 if unknown */

#endif
