/* store: creating, committing and opening HDF5 files, and whole named arrays with checksums. */
#include "store_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Newest format of HDF5 1.10 (readable by every release since 2016): unlike the older ones it carries a checksum on every piece
 * of its own bookkeeping, so damage there is reported instead of being followed. */
hid_t hdf5_access_plist(void)
{
    hid_t p = H5Pcreate(H5P_FILE_ACCESS);
    if (p < 0) return p;
    H5Pset_libver_bounds(p, H5F_LIBVER_V110, H5F_LIBVER_V110);
    H5Pset_fclose_degree(p, H5F_CLOSE_STRONG);
    H5Pset_file_locking(p, false, true); /* locks fail on many parallel file systems; see also hdf5_door.c */
    return p;
}

status store_new(store **out, const char *path)
{
    *out = NULL;
    store *s;
    TRY(mem_alloc(&s, sizeof *s, "file handle"), "%s", path);
    s->file = s->image = -1;
    for (int i = 0; i < SHARD_MAX_LABELS; i++) s->mask[i] = -1;
    if (snprintf(s->path, sizeof s->path, "%s", path) >= (int)sizeof s->path) {
        free(s);
        return status_raise(ST_RESOURCE, __FILE__, __LINE__, "path too long: %.80s...", path);
    }
    snprintf(s->part, sizeof s->part, "%s.part", path);
    *out = s;
    return OK;
}

status store_create(store **out, const char *path)
{
    DOOR;
    store *s;
    TRY(store_new(&s, path), "new file");
    s->writing = true;
    s->file_bytes = INT64_MAX;
    AUTO_HID fapl = hdf5_access_plist();
    AUTO_HID fcpl = hdf5_create_plist(H5P_FILE_CREATE);
    int fd; /* made by us, so that a link planted under this name is not followed and the mode is ours */
    status st = file_create(s->part, &fd);
    if (!st) {
        close(fd);
        errno = 0;
        s->file = H5Fcreate(s->part, H5F_ACC_TRUNC, fcpl, fapl);
        if (s->file < 0)
            st = status_raise(ST_RESOURCE, __FILE__, __LINE__, "cannot create %s: %s", s->part, errno ? strerror(errno) : hdf5_why());
    }
    if (st) {
        free(s);
        return st;
    }
    *out = s;
    return OK;
}

static void drop_datasets(store *s)
{
    hid_drop(&s->image);
    for (int i = 0; i < SHARD_MAX_LABELS; i++) hid_drop(&s->mask[i]);
}

static status sync_file(const char *path)
{
    int fd = open(path, O_RDONLY);
    CHECK(fd >= 0, ST_RESOURCE, "cannot reopen %s: %s", path, strerror(errno));
    int bad = fsync(fd), why = errno;
    close(fd);
    CHECK(!bad, ST_RESOURCE, "cannot sync %s: %s", path, strerror(why));
    return OK;
}

static status finish(store *s)
{
    DOOR_CHECK(H5Fflush(s->file, H5F_SCOPE_GLOBAL) >= 0, ST_RESOURCE, "cannot write %s", s->part);
    herr_t closed = H5Fclose(s->file);
    s->file = -1;
    DOOR_CHECK(closed >= 0, ST_RESOURCE, "cannot close %s", s->part);
    TRY(sync_file(s->part), "saving %s", s->path);
    AUTO_HID fapl = hdf5_access_plist(); /* read it once as a stranger would, before it takes the place of an older file */
    AUTO_HID again = H5Fopen(s->part, H5F_ACC_RDONLY, fapl);
    DOOR_CHECK(again >= 0, ST_RESOURCE, "%s does not open after writing", s->part);
    hid_drop(&again);
    CHECK(rename(s->part, s->path) == 0, ST_RESOURCE, "cannot rename %s to %s: %s", s->part, s->path, strerror(errno));
    char dir[1024];
    strcpy(dir, s->path);
    char *slash = strrchr(dir, '/');
    if (slash) *(slash == dir ? slash + 1 : slash) = 0;
    TRY(path_sync_dir(slash ? dir : "."), "saving %s", s->path);
    return OK;
}

status store_commit(store *s)
{
    DOOR;
    if (!s->writing) {
        store_close(s);
        return status_raise(ST_BUG, __FILE__, __LINE__, "store_commit of a file that was opened for reading");
    }
    status st = finish(s);
    if (st) store_discard(s);
    else free(s);
    return st;
}

void store_discard(store *s)
{
    if (!s) return;
    DOOR;
    if (s->file >= 0) H5Fclose(s->file);
    if (s->writing && !s->memory) unlink(s->part);
    free(s);
}

status store_open(store **out, const char *path)
{
    DOOR;
    store *s = NULL;
    *out = NULL;
    struct stat info;
    CHECK(stat(path, &info) == 0, ST_DATA, "%s: cannot open: %s", path, strerror(errno));
    CHECK(S_ISREG(info.st_mode), ST_DATA, "%s: not a regular file", path);
    CHECK(access(path, R_OK) == 0, ST_RESOURCE, "%s: cannot read: %s", path, strerror(errno));
    TRY(store_new(&s, path), "opening");
    s->file_bytes = info.st_size;
    AUTO_HID fapl = hdf5_access_plist();
    s->file = H5Fopen(path, H5F_ACC_RDONLY, fapl);
    if (s->file < 0) {
        status st = status_raise(ST_DATA, __FILE__, __LINE__, "%s: damaged or not an HDF5 file: %s", path, hdf5_why());
        free(s);
        return st;
    }
    *out = s;
    return OK;
}

void store_close(store *s)
{
    if (!s) return;
    if (s->writing) {
        store_discard(s);
        return;
    }
    DOOR;
    drop_datasets(s);
    unpack_release(&s->image_form);
    for (int l = 0; l < SHARD_MAX_LABELS; l++) unpack_release(&s->mask_form[l]);
    if (s->file >= 0) H5Fclose(s->file);
    free(s);
}

/* Chunks of about 1 MiB: whole trailing dimensions, as many of the leading ones as fit. */
static void chunk_shape(int ndim, const int64_t *dims, size_t bytes, hsize_t *chunk)
{
    int64_t room = (1 << 20) / (int64_t)bytes;
    for (int i = ndim - 1; i >= 0; i--) {
        chunk[i] = (hsize_t)(dims[i] < room ? dims[i] : room > 1 ? room : 1);
        room /= (int64_t)chunk[i];
    }
}

status store_write(store *s, const char *name, enum dtype t, int ndim, const int64_t *dims, const void *data, int deflate)
{
    DOOR;
    progress_beat();
    CHECK(s->writing, ST_BUG, "%s: not open for writing", s->path);
    CHECK(ndim >= 0 && ndim <= 8 && deflate >= 0 && deflate <= 9, ST_BUG, "%s: %s: %d dimensions, deflate %d", s->path, name, ndim,
          deflate);
    int64_t n;
    TRY(dims_count(s, name, ndim, dims, &n), "writing");
    TRY(hdf5_make_parents(s, name), "writing");
    hsize_t extent[8], chunk[8];
    for (int i = 0; i < ndim; i++) extent[i] = (hsize_t)dims[i];
    AUTO_HID space = ndim ? H5Screate_simple(ndim, extent, NULL) : H5Screate(H5S_SCALAR);
    AUTO_HID plist = hdf5_create_plist(H5P_DATASET_CREATE);
    H5Pset_fill_time(plist, H5D_FILL_TIME_NEVER);
    if (deflate && ndim && n) {
        chunk_shape(ndim, dims, dtype_bytes(t), chunk);
        H5Pset_chunk(plist, ndim, chunk);
        if (dtype_bytes(t) > 1) H5Pset_shuffle(plist);
        H5Pset_deflate(plist, (unsigned)deflate);
        H5Pset_fletcher32(plist);
    }
    AUTO_HID set = H5Dcreate2(s->file, name, hdf5_type(t), space, H5P_DEFAULT, plist, H5P_DEFAULT);
    DOOR_CHECK(set >= 0, ST_RESOURCE, "%s: cannot make %s", s->part, name);
    if (n)
        DOOR_CHECK(H5Dwrite(set, hdf5_type(t), H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0, ST_RESOURCE, "%s: cannot write %s", s->part,
                   name);
    TRY(hdf5_put_u32(s, set, name, "crc32c", crc32c(0, data, (size_t)n * dtype_bytes(t))), "writing");
    return OK;
}

static status open_array(store *s, const char *name, hid_t *set, enum dtype *t, int *ndim, int64_t dims[8], int64_t *n)
{
    TRY(hdf5_check_links(s, name), "reading");
    *set = H5Dopen2(s->file, name, H5P_DEFAULT);
    DOOR_CHECK(*set >= 0, ST_DATA, "%s: no readable array %s", s->path, name);
    AUTO_HID type = H5Dget_type(*set);
    AUTO_HID space = H5Dget_space(*set);
    DOOR_CHECK(type >= 0 && space >= 0, ST_DATA, "%s: %s", s->path, name);
    TRY(hdf5_dtype(s, name, type, t), "reading");
    int rank = H5Sget_simple_extent_ndims(space);
    CHECK(rank >= 0 && rank <= 8 && H5Sis_simple(space) > 0 && H5Sget_simple_extent_type(space) != H5S_NULL, ST_DATA,
          "%s: %s: not an array of at most 8 dimensions", s->path, name);
    hsize_t extent[8] = {0};
    DOOR_CHECK(H5Sget_simple_extent_dims(space, extent, NULL) >= 0, ST_DATA, "%s: %s", s->path, name);
    for (int i = 0; i < rank; i++) {
        CHECK(extent[i] <= INT64_MAX / 16, ST_DATA, "%s: %s: impossible shape", s->path, name);
        dims[i] = (int64_t)extent[i];
    }
    *ndim = rank;
    return dims_count(s, name, rank, dims, n);
}

status hdf5_shape(store *s, const char *name, enum dtype *t, int *ndim, int64_t dims[8])
{
    DOOR;
    AUTO_HID set = -1;
    int64_t n;
    return open_array(s, name, &set, t, ndim, dims, &n);
}

status store_shape(store *s, const char *name, enum dtype *t, int *ndim, int64_t dims[8])
{
    DOOR;
    AUTO_HID set = -1;
    int64_t n;
    TRY(open_array(s, name, &set, t, ndim, dims, &n), "reading");
    return s->writing ? OK : hdf5_check_storage(s, set, name, n * (int64_t)dtype_bytes(*t));
}

status store_read(store *s, const char *name, enum dtype t, int64_t n_expected, void *out)
{
    DOOR;
    progress_beat();
    AUTO_HID set = -1;
    enum dtype found;
    int ndim;
    int64_t dims[8], n;
    TRY(open_array(s, name, &set, &found, &ndim, dims, &n), "reading");
    CHECK(found == t, ST_DATA, "%s: %s: stored as %s, wanted %s", s->path, name, dtype_name(found), dtype_name(t));
    CHECK(n == n_expected, ST_DATA, "%s: %s: has %lld elements, wanted %lld", s->path, name, (long long)n, (long long)n_expected);
    size_t n_bytes = (size_t)n * dtype_bytes(t);
    TRY(hdf5_check_storage(s, set, name, (int64_t)n_bytes), "reading");
    if (n)
        DOOR_CHECK(H5Dread(set, hdf5_type(t), H5S_ALL, H5S_ALL, H5P_DEFAULT, out) >= 0, ST_DATA, "%s: %s: cannot read", s->path, name);
    uint32_t want, got = crc32c(0, out, n_bytes);
    TRY(hdf5_get_u32(s, set, name, "crc32c", &want), "reading");
    CHECK(got == want, ST_DATA, "%s: %s: damaged, checksum %08x, should be %08x", s->path, name, got, want);
    return OK;
}

bool store_has(store *s, const char *name)
{
    DOOR;
    char path[512];
    if (snprintf(path, sizeof path, "%s", name) >= (int)sizeof path) return false;
    for (char *p = path + 1; *p; p++) { /* HDF5 wants every group above to exist before it is asked for the member */
        if (*p != '/') continue;
        *p = 0;
        if (H5Lexists(s->file, path, H5P_DEFAULT) <= 0 || hdf5_check_links(s, path)) return false;
        *p = '/';
    }
    return strcmp(path, "/") == 0 || H5Lexists(s->file, path, H5P_DEFAULT) > 0;
}
