/* board: shared memory for the ranks of a node, files for the other nodes, /proc for the state of a process. No MPI here: the watchdog
 * reads all of it while the main thread is inside MPI. */
#include "board.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static seat own;
static view own_view;
static _Atomic int32_t own_speaker;

/* The shared segment: the speaker's word has a cache line of its own. */
enum { HEAD_BYTES = 64 };

static int launcher_says(const char *const *name, int n, int otherwise)
{
    for (int i = 0; i < n; i++)
        if (getenv(name[i])) return atoi(getenv(name[i]));
    return otherwise;
}

void board_alone(board *b)
{
    static const char *const rank[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"};
    static const char *const size[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_NTASKS"};
    *b = (board){.size = 1, .n_local = 1, .seats = &own, .speaker = &own_speaker, .view = &own_view};
    b->shown = launcher_says(rank, 4, 0);
    b->shown_size = launcher_says(size, 3, b->shown + 1);
    own.pid = (int32_t)getpid();
    own.step = -1;
    struct stat space;
    own.pid_space = stat("/proc/self/ns/pid", &space) == 0 ? (uint64_t)space.st_ino : 0;
    atomic_store(&own.state, SEAT_WORKS);
    own_view.heard = true;
}

static size_t segment_bytes(const board *b) { return HEAD_BYTES + sizeof(seat) * (size_t)b->n_local; }

static status map_segment(board *b, int fd, const char *name)
{
    void *p = mmap(NULL, segment_bytes(b), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    CHECK(p != MAP_FAILED, ST_RESOURCE, "cannot map %s: %s", name, strerror(errno));
    b->speaker = p;
    b->seats = (seat *)((char *)p + HEAD_BYTES);
    return OK;
}

status board_make(board *b, char name[64])
{
    snprintf(name, 64, "/medley-%d-%llx", (int)getpid(), (unsigned long long)b->job);
    int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    CHECK(fd >= 0, ST_RESOURCE, "cannot make shared memory %s: %s", name, strerror(errno));
    int bad = posix_fallocate(fd, 0, (off_t)segment_bytes(b)); /* a full /dev/shm shows here and not as SIGBUS later */
    if (bad) close(fd);
    CHECK(!bad, ST_RESOURCE, "no room in shared memory: %s", strerror(bad));
    return map_segment(b, fd, name);
}

status board_open(board *b, const char *name)
{
    struct stat info;
    int fd = shm_open(name, O_RDWR | O_CLOEXEC, 0600);
    CHECK(fd >= 0, ST_RESOURCE, "cannot open shared memory %s: %s", name, strerror(errno));
    bool whole = fstat(fd, &info) == 0 && info.st_size >= (off_t)segment_bytes(b);
    if (!whole) close(fd);
    CHECK(whole, ST_RESOURCE, "shared memory %s is too small", name);
    return map_segment(b, fd, name);
}

void board_unname(const char *name) { shm_unlink(name); }

void board_private(board *b)
{
    b->seats = &own;
    b->speaker = &own_speaker;
    b->view[b->rank].node = b->node = b->rank;
    b->n_local = 1;
    b->me = 0;
}

status board_views(board *b, const int *node_of)
{
    view *v;
    TRY(mem_alloc(&v, sizeof *v * (size_t)b->size, "views of the ranks"), "watchdog");
    b->n_nodes = 0;
    for (int r = 0; r < b->size; r++) v[r].node = node_of[r], v[r].last.rank = r, b->n_nodes += node_of[r] == r;
    b->view = v;
    if (b->n_nodes > 1) TRY(mem_alloc(&b->post, sizeof *b->post * FILE_RANKS, "states of other nodes"), "watchdog");
    return OK;
}

/* ---- looking ---------------------------------------------------------------------------------------------------------------- */

static void look_at(view *v, const seat *s, double dt)
{
    uint64_t ticks = atomic_load(&s->ticks);
    bool moved = !v->heard || ticks != atomic_load(&v->last.ticks);
    v->silent = moved ? 0 : v->silent + dt;
    memcpy(&v->last, s, sizeof *s);
    atomic_store(&v->last.ticks, ticks);
    v->last.verb[sizeof s->verb - 1] = v->last.waits_in[sizeof s->waits_in - 1] = v->last.task[sizeof s->task - 1] = 0;
    v->heard = true;
}

void board_look(board *b, double dt)
{
    for (int i = 0; i < b->n_local; i++) {
        const seat *s = &b->seats[i];
        if (atomic_load(&s->state) != SEAT_UNKNOWN) look_at(&b->view[s->rank], s, dt);
    }
    for (int r = 0; r < b->size; r++)
        if (b->view[r].node != b->node) b->view[r].silent += dt, b->view[r].stale += dt;
}

/* ---- files between nodes -------------------------------------------------------------------------------------------------------- */

typedef struct file_head { char magic[8]; uint64_t job, beat; int64_t n; } file_head;

static bool file_path(const board *b, int node, char path[700])
{
    return b->folder[0] && snprintf(path, 700, "%s/.watch-%d", b->folder, node) < 700;
}

/* Plain calls: nothing is allocated while a job runs. */
int board_read_file(const board *b, int node, uint64_t *beat)
{
    char path[700];
    file_head head;
    ssize_t n = 0;
    if (!b->post || !file_path(b, node, path)) return 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC); /* opened anew: over NFS that is what fetches the newest bytes */
    if (fd < 0) return 0;
    bool good = read(fd, &head, sizeof head) == sizeof head && memcmp(head.magic, "MEDLEYW2", 8) == 0 && head.job == b->job;
    if (good && head.n > 0 && head.n <= FILE_RANKS) n = read(fd, b->post, sizeof *b->post * (size_t)head.n);
    close(fd);
    *beat = head.beat;
    return n > 0 ? (int)((size_t)n / sizeof *b->post) : 0;
}

void board_heard(board *b, int node, int n, uint64_t beat)
{
    if (n > 0 && beat != b->view[node].beat) b->view[node].beat = beat, b->view[node].stale = 0;
    for (int i = 0; i < n; i++) {
        const seat *s = &b->post[i];
        if (s->rank >= 0 && s->rank < b->size && b->view[s->rank].node == node) look_at(&b->view[s->rank], s, 0);
    }
}

void board_write_file(board *b)
{
    char path[700];
    if (!b->post || !file_path(b, b->node, path)) return;
    file_head head = {.magic = "MEDLEYW2", .job = b->job, .beat = ++b->beat, .n = b->n_local < FILE_RANKS ? b->n_local : FILE_RANKS};
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) return; /* the other nodes then know less: their message is poorer */
    ssize_t ignored = pwrite(fd, &head, sizeof head, 0);
    ignored = pwrite(fd, b->seats, sizeof *b->seats * (size_t)head.n, sizeof head);
    (void)ignored;
    close(fd);
}

void board_remove_file(const board *b)
{
    char path[700];
    if (b->post && file_path(b, b->node, path)) unlink(path);
}

char process_state(const seat *s)
{
    char path[48], text[256];
    if (s->pid_space == 0 || s->pid_space != own.pid_space) return '?';
    snprintf(path, sizeof path, "/proc/%d/stat", (int)s->pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return errno == ENOENT && access("/proc/self/stat", R_OK) == 0 ? 0 : '?';
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    char *end = strrchr(text, ')'); /* the name before it may hold anything */
    return end && end[1] == ' ' && end[2] ? end[2] : n > 0 ? '?' : 0;
}
