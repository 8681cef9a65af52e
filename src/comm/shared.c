/* shared: an arena per rank that the other ranks of its node read where it lies. */
#include "comm_internal.h"
#include "watchdog_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Where a rank's arena is to be found: file descriptor `fd` of process `pid`. Its first line holds `mark`, so that nobody takes the memory of
 * another process for it, as could happen where process ids differ between containers. */
typedef struct address { uint64_t mark, bytes; int64_t pid, fd; } address;

enum { HEAD_BYTES = 64 };

static status make_own(comm *c, size_t bytes, arena *own, address *a)
{
    int fd;
    TRY(arena_share(own, HEAD_BYTES + bytes, &fd, "memory that the ranks of a node share"), "shared memory");
    *a = (address){.mark = watchdog_board()->job ^ (uint64_t)c->rank << 48, .bytes = HEAD_BYTES + bytes, .pid = getpid(), .fd = fd};
    memcpy(own->base, &a->mark, sizeof a->mark);
    return OK;
}

static status open_other(const address *a, int r, arena *out)
{
    char path[64];
    struct stat info;
    snprintf(path, sizeof path, "/proc/%lld/fd/%lld", (long long)a->pid, (long long)a->fd);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0, ST_RESOURCE, "the memory of rank %d of this node cannot be seen: %s: %s", r, path, strerror(errno));
    bool whole = fstat(fd, &info) == 0 && (uint64_t)info.st_size == a->bytes;
    if (!whole) close(fd);
    CHECK(whole, ST_RESOURCE, "the memory of rank %d of this node cannot be seen: %s is something else", r, path);
    TRY(arena_map(out, fd, (size_t)a->bytes, "memory that the ranks of a node share"), "rank %d of this node", r);
    CHECK(memcmp(out->base, &a->mark, sizeof a->mark) == 0, ST_RESOURCE, "the memory of rank %d of this node cannot be seen: %s is something else", r, path);
    return OK;
}

status comm_shared_open(comm *world, comm *node, size_t bytes, shared_arena *out)
{
    int n = comm_size(node), me = comm_rank(node);
    *out = (shared_arena){0};
    address mine = {.fd = -1}, *all = NULL;
    shared_arena s = {.n = n};
    status st = mem_alloc(&all, sizeof *all * (size_t)n, "addresses of shared memory");
    if (!st) st = mem_alloc(&s.map, sizeof *s.map * (size_t)n, "shared memory");
    if (!st) st = mem_alloc(&s.of, sizeof *s.of * (size_t)n, "shared memory");
    if (!st) st = make_own(world, bytes, &s.map[me], &mine);
    st = comm_agree(world, st);
    if (!st) {
        st = MPI_WAIT("comm_shared", MPI_Allgather(&mine, sizeof mine, MPI_BYTE, all, sizeof mine, MPI_BYTE, node->mpi), "MPI_Allgather");
        for (int r = 0; r < n && !st; r++)
            if (r != me) st = open_other(&all[r], r, &s.map[r]);
        st = comm_agree(world, st); /* also: nobody closes what another is about to open */
    }
    if (mine.fd >= 0) close((int)mine.fd);
    free(all);
    for (int r = 0; r < n && s.of && s.map; r++) s.of[r] = s.map[r].base ? s.map[r].base + HEAD_BYTES : NULL;
    if (!st) {
        *out = s;
        return OK;
    }
    comm_shared_close(&s);
    if (st == ST_COMM) return st;
    if (world->rank == 0) log_line(LOG_INFO, "sums go through MPI: %s", status_message());
    status_clear();
    return OK;
}

/* The node's first rank makes it, and writes the mark behind it. */
static status make_common(comm *world, comm *node, size_t bytes, address *a)
{
    int fd;
    if (node->rank != 0) return OK;
    TRY(arena_file(bytes + sizeof a->mark, &fd, "memory of a node"), "memory of a node");
    *a = (address){.mark = watchdog_board()->job ^ (uint64_t)world->rank << 48 ^ bytes, .bytes = bytes + sizeof a->mark, .pid = getpid(), .fd = fd};
    CHECK(pwrite(fd, &a->mark, sizeof a->mark, (off_t)bytes) == sizeof a->mark, ST_RESOURCE, "no room for the memory of a node");
    return OK;
}

static status open_common(const address *a, size_t bytes, arena *own)
{
    char path[64];
    uint64_t mark = 0;
    snprintf(path, sizeof path, "/proc/%lld/fd/%lld", (long long)a->pid, (long long)a->fd);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0, ST_RESOURCE, "the memory of this node cannot be seen: %s: %s", path, strerror(errno));
    bool same = pread(fd, &mark, sizeof mark, (off_t)bytes) == sizeof mark && mark == a->mark;
    if (!same) close(fd);
    CHECK(same, ST_RESOURCE, "the memory of this node cannot be seen: %s is something else", path);
    return arena_overlay(own, fd, bytes, "memory of a node");
}

status comm_common(comm *world, comm *node, size_t bytes, arena *own)
{
    address a = {.fd = -1};
    status st = comm_agree(world, make_common(world, node, bytes, &a));
    int made = node->rank == 0 ? (int)a.fd : -1;
    if (!st) st = comm_bcast(node, &a, sizeof a, 0);
    if (!st) st = comm_agree(world, open_common(&a, bytes, own)); /* also: nobody closes what another is about to open */
    if (made >= 0) close(made);
    return st;
}

void comm_shared_unsee(shared_arena *s, int r, size_t from, size_t n) { arena_unsee(&s->map[r], HEAD_BYTES + from, n); }

void comm_shared_close(shared_arena *s)
{
    for (int r = 0; r < s->n && s->map; r++) arena_free(&s->map[r]);
    free(s->map);
    free(s->of);
    *s = (shared_arena){0};
}
