/* store_image: HDF5 files in memory, built there or opened from bytes that somebody has read. A checkpoint is taken this way: the arrays are copied while training stands still for
 * a moment, and all that touches a disk is plain writing of bytes, without HDF5, in a thread of its own (store_seal.c). HDF5 over a full
 * or failing disk loses the cause and cannot close its file; over memory it has nothing to fail at. */
#include "store_internal.h"

#include <stdlib.h>
#include <string.h>

enum { STEP_BYTES = 1 << 20 };

/* The callbacks by which HDF5 takes, grows and returns the memory of a file: ours is there already, and stays. */
static void *image_take(size_t size, H5FD_file_image_op_t op, void *udata)
{
    store_image *m = udata;
    (void)op;
    if (size > m->room) {
        if (mem_grow(&m->bytes, size, "a file in memory")) return NULL;
        m->room = size;
    }
    return m->bytes;
}

static void *image_grow(void *was, size_t size, H5FD_file_image_op_t op, void *udata)
{
    (void)was; /* m->bytes, or NULL at first */
    return image_take(size, op, udata);
}

static void *image_copy(void *to, const void *from, size_t size, H5FD_file_image_op_t op, void *udata)
{
    (void)op, (void)udata;
    return to == from ? to : memcpy(to, from, size);
}

static herr_t image_keep(void *bytes, H5FD_file_image_op_t op, void *udata)
{
    (void)bytes, (void)op, (void)udata;
    return 0;
}

static void *image_udata(void *udata) { return udata; }

static herr_t image_udata_keep(void *udata)
{
    (void)udata;
    return 0;
}

/* How HDF5 comes by a file in memory, and the name it is told: it looks for a file of this name first, and below a file there can be none. */
static bool in_memory(hid_t fapl, const char *path, char name[1100])
{
    snprintf(name, 1100, "%s/in-memory", path);
    return H5Pset_fapl_core(fapl, STEP_BYTES, false) >= 0;
}

status store_open_bytes(store **out, const char *path, const void *bytes, size_t n_bytes)
{
    DOOR;
    store *s = NULL;
    char name[1100];
    *out = NULL;
    CHECK(n_bytes <= INT64_MAX, ST_DATA, "%s: %zu bytes", path, n_bytes);
    TRY(store_new(&s, path), "opening");
    s->file_bytes = (int64_t)n_bytes;
    AUTO_HID fapl = hdf5_access_plist();
    bool ready = in_memory(fapl, path, name) && H5Pset_file_image(fapl, (void *)(uintptr_t)bytes, n_bytes) >= 0;
    s->file = ready ? H5Fopen(name, H5F_ACC_RDONLY, fapl) : -1;
    if (s->file < 0) {
        free(s);
        return status_raise(ready ? ST_DATA : ST_RESOURCE, __FILE__, __LINE__, "%s: damaged or not an HDF5 file: %s", path, hdf5_why());
    }
    *out = s;
    return OK;
}

status store_create_image(store **out, const char *path, store_image *m)
{
    DOOR;
    store *s;
    char name[1100];
    TRY(store_new(&s, path), "new file");
    s->writing = true;
    s->file_bytes = INT64_MAX;
    s->memory = m;
    m->n = 0;
    snprintf(s->part, sizeof s->part, "%s", path);
    AUTO_HID fapl = hdf5_access_plist();
    H5FD_file_image_callbacks_t calls = {image_take, image_copy, image_grow, image_keep, image_udata, image_udata_keep, m};
    AUTO_HID fcpl = hdf5_create_plist(H5P_FILE_CREATE);
    bool ready = in_memory(fapl, path, name) && H5Pset_file_image_callbacks(fapl, &calls) >= 0;
    s->file = ready ? H5Fcreate(name, H5F_ACC_TRUNC, fcpl, fapl) : -1;
    if (s->file < 0) {
        free(s);
        return status_raise(ST_RESOURCE, __FILE__, __LINE__, "%s: cannot begin a file in memory: %s", path, hdf5_why());
    }
    *out = s;
    return OK;
}

status store_close_image(store *s)
{
    DOOR;
    store_image *m = s->memory;
    status st = OK;
    herr_t closed = H5Fclose(s->file);
    s->file = -1;
    CHECK_TO(done, m && closed >= 0, ST_RESOURCE, "%s: cannot finish the file in memory: %s", s->path, hdf5_why());
    /* Superblock of version 2 and 3: signature 8, version, sizes and flags 4, base address 8, extension 8, end of file 8 bytes. What lies
     * behind that end is room that HDF5 took in advance. */
    uint64_t end = 0;
    bool known = m->room >= 48 && memcmp(m->bytes, "\211HDF\r\n\032\n", 8) == 0 && m->bytes[8] >= 2 && m->bytes[9] == 8;
    if (known) memcpy(&end, m->bytes + 28, 8);
    CHECK_TO(done, known && end > 48 && end <= m->room, ST_BUG, "%s: the file in memory has no end", s->path);
    m->n = (size_t)end;
done:
    free(s);
    return st;
}
