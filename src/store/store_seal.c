/* store_seal: the bytes of a finished file to disk so that it is there whole or not at all, and proof later that no bit has changed.
 *
 * A sealed file is a plain HDF5 file with SEAL_BYTES of text behind its end, where HDF5 (h5py, h5dump) never looks:
 *
 *   "\nmedley-seal crc32c XXXXXXXX bytes NNNNNNNNNNNNNNNNNNNN" and spaces up to a final newline
 *
 * over all N bytes before it: arrays, attributes, HDF5's own bookkeeping, gaps. Its root attribute `sealed` = 1 says that the text must be
 * there, so that damage to the seal itself shows too; files of before have neither. */
#include "store_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SEAL_BYTES = 64, PIECE = 4 << 20, READ_BYTES = 1 << 16 };

static void seal_text(char text[SEAL_BYTES + 1], uint32_t crc, uint64_t n)
{
    snprintf(text, SEAL_BYTES + 1, "\nmedley-seal crc32c %08x bytes %020llu         ", crc, (unsigned long long)n);
    text[SEAL_BYTES - 1] = '\n';
}

/* ---- write ------------------------------------------------------------------------------------------------------------------ */

static status read_bytes(int fd, const char *path, char *to, size_t n)
{
    for (size_t left = n; left;) {
        ssize_t k = read(fd, to, left);
        if (k < 0 && errno == EINTR) continue;
        CHECK(k > 0, ST_RESOURCE, "cannot read %s back: %s", path, k < 0 ? strerror(errno) : "it is too short");
        to += k, left -= (size_t)k;
    }
    return OK;
}

static status write_all(int fd, const char *part, const store_image *m, _Atomic int64_t *progress, char seal[SEAL_BYTES + 1])
{
    uint32_t crc = 0;
    for (size_t at = 0, n; at < m->n; at += n) {
        n = m->n - at < PIECE ? m->n - at : PIECE;
        CHECK(!fault_hit("save_write"), ST_RESOURCE, "%s: fault planted", part);
        TRY(file_write(fd, part, m->bytes + at, n), "checkpoint");
        crc = crc32c(crc, m->bytes + at, n);
        if (progress) *progress += 1;
    }
    seal_text(seal, crc, m->n);
    fault_hit("save_seal");
    return file_write(fd, part, seal, SEAL_BYTES);
}

/* The file as the disk has it against the memory it was written from: the strongest check there is. */
static status compare(const char *part, const store_image *m, const char *seal, _Atomic int64_t *progress)
{
    static _Thread_local char buf[READ_BYTES];
    status st = OK;
    int fd = open(part, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0, ST_RESOURCE, "cannot open %s again: %s", part, strerror(errno));
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* from the disk, not from the cache, where the system can */
    for (size_t at = 0, n; at < m->n; at += n) {
        n = m->n - at < READ_BYTES ? m->n - at : READ_BYTES;
        TRY_TO(done, read_bytes(fd, part, buf, n), "verifying");
        CHECK_TO(done, memcmp(buf, m->bytes + at, n) == 0, ST_RESOURCE, "%s: the disk returned other bytes than were written, at %zu", part, at);
        if (progress && at % PIECE == 0) *progress += 1;
    }
    TRY_TO(done, read_bytes(fd, part, buf, SEAL_BYTES), "verifying");
    CHECK_TO(done, memcmp(buf, seal, SEAL_BYTES) == 0 && read(fd, buf, 1) == 0, ST_RESOURCE, "%s: the seal was not written well", part);
done:
    close(fd);
    return st;
}

static status write_part(const char *part, const store_image *m, _Atomic int64_t *progress)
{
    char seal[SEAL_BYTES + 1];
    CHECK(!fault_hit("save_create"), ST_RESOURCE, "%s: fault planted", part);
    int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    CHECK(fd >= 0, ST_RESOURCE, "cannot create %s: %s", part, strerror(errno));
    status st = write_all(fd, part, m, progress, seal);
    fault_hit("save_sync");
    if (!st && fsync(fd) != 0) st = status_raise(ST_RESOURCE, __FILE__, __LINE__, "cannot sync %s: %s", part, strerror(errno));
    if (close(fd) != 0 && !st) st = status_raise(ST_RESOURCE, __FILE__, __LINE__, "cannot close %s: %s", part, strerror(errno));
    fault_hit("save_verify");
    return st ? st : compare(part, m, seal, progress);
}

status store_write_image(const store_image *m, const char *path, _Atomic int64_t *progress)
{
    char part[1040], dir[1040];
    CHECK(snprintf(part, sizeof part, "%s.part", path) < (int)sizeof part, ST_RESOURCE, "path too long: %.80s...", path);
    status st = write_part(part, m, progress);
    fault_hit("save_rename");
    if (!st && rename(part, path) != 0)
        st = status_raise(ST_RESOURCE, __FILE__, __LINE__, "cannot rename %s to %s: %s", part, path, strerror(errno));
    if (st) {
        unlink(part);
        return st;
    }
    fault_hit("save_sync_dir");
    strcpy(dir, path);
    char *slash = strrchr(dir, '/');
    if (slash) *(slash == dir ? slash + 1 : slash) = 0;
    TRY(path_sync_dir(slash ? dir : "."), "saving %s", path);
    fault_hit("save_done");
    return OK;
}

/* ---- verify ------------------------------------------------------------------------------------------------------------------ */

static status check_seal(int fd, const char *path, bool *sealed)
{
    static _Thread_local char buf[READ_BYTES];
    char found[SEAL_BYTES], want[SEAL_BYTES + 1];
    *sealed = false;
    off_t size = lseek(fd, 0, SEEK_END);
    CHECK(size >= 0, ST_DATA, "%s: cannot read: %s", path, strerror(errno));
    if (size < SEAL_BYTES) return OK;
    uint64_t n = (uint64_t)size - SEAL_BYTES;
    ssize_t got = pread(fd, found, SEAL_BYTES, (off_t)n);
    CHECK(got == SEAL_BYTES, ST_DATA, "%s: cannot read: %s", path, got < 0 ? strerror(errno) : "too short");
    if (memcmp(found, "\nmedley-seal ", 13) != 0) return OK;
    *sealed = true;
    uint32_t crc = 0;
    posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    for (uint64_t at = 0; at < n;) {
        size_t want_n = n - at < READ_BYTES ? (size_t)(n - at) : READ_BYTES;
        ssize_t k = pread(fd, buf, want_n, (off_t)at);
        if (k < 0 && errno == EINTR) continue;
        CHECK(k > 0, ST_DATA, "%s: cannot read: %s", path, k < 0 ? strerror(errno) : "it became shorter");
        crc = crc32c(crc, buf, (size_t)k);
        at += (uint64_t)k;
    }
    seal_text(want, crc, n);
    CHECK(memcmp(found, want, SEAL_BYTES) == 0, ST_DATA, "%s: damaged: checksum of the whole file is %08x, its seal says \"%.*s\"", path, crc,
          29, found + 13);
    return OK;
}

/* Reads every array below `group` with its checksum. */
static status read_arrays(store *s, const char *group, void **buf, int64_t *room)
{
    int n;
    char(*name)[128];
    TRY(store_list(s, group, &n, &name), "%s", group);
    status st = OK;
    for (int i = 0; i < n && !st; i++) {
        char path[300];
        enum dtype type;
        int ndim;
        int64_t dims[8], count = 1;
        snprintf(path, sizeof path, "%s%s%s", group, strcmp(group, "/") ? "/" : "", name[i]);
        st = store_shape(s, path, &type, &ndim, dims);
        if (st) { /* a group */
            st = read_arrays(s, path, buf, room);
            continue;
        }
        for (int k = 0; k < ndim; k++) count *= dims[k];
        int64_t bytes = count * (int64_t)dtype_bytes(type);
        if (bytes > s->file_bytes) st = status_raise(ST_DATA, __FILE__, __LINE__, "%s: %s: larger than the file", s->path, path);
        if (!st && bytes > *room) {
            free(*buf);
            *buf = NULL, *room = 0;
            st = mem_alloc(buf, (size_t)bytes, "verification");
            if (!st) *room = bytes;
        }
        if (!st) st = store_read(s, path, type, count, *buf);
    }
    free(name);
    return st;
}

status store_verify(const char *path)
{
    bool sealed = false;
    store *s = NULL;
    void *buf = NULL;
    int64_t room = 0;
    status st = OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0, ST_DATA, "%s: cannot open: %s", path, strerror(errno));
    TRY_TO(done, check_seal(fd, path, &sealed), "verifying");
    TRY_TO(done, store_open(&s, path), "verifying");
    if (sealed) goto done; /* every byte is as it was written */
    int64_t must = 0;
    if (store_get_i64(s, "/", "sealed", &must) == OK)
        CHECK_TO(done, must == 0, ST_DATA, "%s: damaged: the seal at its end is missing or cannot be read", path);
    TRY_TO(done, read_arrays(s, "/", &buf, &room), "verifying");
done:
    free(buf);
    store_close(s);
    close(fd);
    return st;
}
