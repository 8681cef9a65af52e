/* shard_splits: says in place which split each sample of a shard is in. The arrays have their size already, so that nothing else in the
 * file moves, and a run that dies here can be repeated. */
#include "store_internal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static status put_splits(store *s, const shard_pledge *want, int64_t n_left, int64_t *n)
{
    status st = OK;
    enum dtype t;
    int rank;
    int64_t dims[8];
    uint8_t *split = NULL;
    TRY(hdf5_shape(s, "split", &t, &rank, dims), "shard");
    CHECK(t == DT_U8 && rank == 1, ST_DATA, "%s: /split is not one u8 a sample", s->path);
    CHECK(dims[0] <= n_left, ST_DATA, "%s: has %lld samples, %lld were expected at most", s->path, (long long)dims[0], (long long)n_left);
    TRY(mem_alloc(&split, (size_t)dims[0] + 1, "splits"), "%s", s->path);
    for (int64_t i = 0; i < dims[0]; i++) split[i] = want[i].split;
    *n = dims[0];
    uint32_t crc = crc32c(0, split, (size_t)dims[0]);
    AUTO_HID set = H5Dopen2(s->file, "split", H5P_DEFAULT);
    AUTO_HID attr = H5Aopen(set, "crc32c", H5P_DEFAULT);
    CHECK_TO(out, H5Dwrite(set, H5T_STD_U8LE, H5S_ALL, H5S_ALL, H5P_DEFAULT, split) >= 0 && H5Awrite(attr, H5T_STD_U32LE, &crc) >= 0, ST_RESOURCE,
             "%s: cannot write /split: %s", s->path, hdf5_why());
out:
    free(split);
    return st;
}

/* One data set has one unit of spacing, also where only some of its shards hold slices of volumes. */
static status put_units(store *s, const char *units)
{
    char now[sizeof((shard_meta *)0)->spacing_units];
    TRY(store_get_str(s, "/", "spacing_units", now, sizeof now), "shard");
    if (!strcmp(now, units)) return OK;
    TRY(store_put_str(s, "/", "spacing_units", units), "shard");
    return store_put_str(s, "spacing", "units", units);
}

status shard_set_splits(const char *path, const char *units, const shard_pledge *want, int64_t n_left, int64_t *n)
{
    DOOR;
    store *s;
    TRY(store_new(&s, path), "opening");
    AUTO_HID fapl = hdf5_access_plist();
    status st = OK;
    s->file = H5Fopen(path, H5F_ACC_RDWR, fapl);
    CHECK_TO(out, s->file >= 0, ST_DATA, "%s: cannot open to set the splits: %s", path, hdf5_why());
    TRY_TO(out, put_splits(s, want, n_left, n), "splits");
    TRY_TO(out, put_units(s, units), "splits");
    herr_t closed = H5Fclose(s->file);
    s->file = -1;
    CHECK_TO(out, closed >= 0, ST_RESOURCE, "cannot close %s: %s", path, hdf5_why());
    int fd = open(path, O_RDONLY);
    bool synced = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0) close(fd);
    CHECK_TO(out, synced, ST_RESOURCE, "cannot sync %s", path);
out:
    store_close(s);
    return st;
}
