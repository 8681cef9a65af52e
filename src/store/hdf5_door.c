/* hdf5_door: locking, error texts, types, attributes and plausibility of sizes for the other files of src/store. */
#include "store_internal.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "checksums are over little-endian bytes as they lie in memory");

static pthread_mutex_t door_lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

/* HDF5 lets HDF5_USE_FILE_LOCKING overrule what a program asks for, once, when it is first used. Our files need no locks: they are
 * written aside, renamed and never changed after, so one without locks reads where locks fail. Only a variable that is there is
 * changed, which moves no memory another thread could be reading. */
static void refuse_locks(void)
{
    if (getenv("HDF5_USE_FILE_LOCKING")) setenv("HDF5_USE_FILE_LOCKING", "FALSE", 1);
}

int door_enter(void)
{
    static bool first = true;
    pthread_mutex_lock(&door_lock);
    if (first) {
        refuse_locks();
        H5dont_atexit(); /* a file that a full disk left half open makes HDF5's own tidying at the end of the process crash; we close all ours */
    }
    first = false;
    static _Thread_local bool quiet; /* in a thread-safe HDF5 the printing is a setting of each thread */
    if (!quiet) {
        H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
        quiet = true;
    }
    return 0;
}

void door_leave(int *unused)
{
    (void)unused;
    pthread_mutex_unlock(&door_lock);
}

void hid_drop(hid_t *id)
{
    if (*id >= 0) H5Idec_ref(*id);
    *id = -1;
}

/* Of a failed system call HDF5 tells time, file, descriptor, addresses and, among them, the cause: only that is kept. */
static herr_t first_line(unsigned n, const H5E_error2_t *e, void *text)
{
    const char *desc = e->desc && *e->desc ? e->desc : "HDF5 error", *cause = strstr(desc, "error message = '");
    if (n == 0 && cause) {
        cause += strlen("error message = '");
        snprintf(text, 200, "%.*s", (int)strcspn(cause, "'"), cause);
    } else if (n == 0) snprintf(text, 200, "%.*s", (int)strcspn(desc, "\n"), desc);
    return 0;
}

const char *hdf5_why(void)
{
    static _Thread_local char text[200];
    snprintf(text, sizeof text, "HDF5 gives no reason");
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, first_line, text);
    return text;
}

static const struct { const char *name; size_t bytes; } dtypes[N_DTYPES] = {
    [DT_U8] = {"u8", 1}, [DT_U16] = {"u16", 2}, [DT_I16] = {"i16", 2}, [DT_I32] = {"i32", 4},
    [DT_U32] = {"u32", 4}, [DT_I64] = {"i64", 8}, [DT_F32] = {"f32", 4}, [DT_F64] = {"f64", 8}};

size_t dtype_bytes(enum dtype t) { return dtypes[t].bytes; }
const char *dtype_name(enum dtype t) { return dtypes[t].name; }

hid_t hdf5_type(enum dtype t)
{
    switch (t) {
    case DT_U8: return H5T_STD_U8LE;
    case DT_U16: return H5T_STD_U16LE;
    case DT_I16: return H5T_STD_I16LE;
    case DT_I32: return H5T_STD_I32LE;
    case DT_U32: return H5T_STD_U32LE;
    case DT_I64: return H5T_STD_I64LE;
    case DT_F32: return H5T_IEEE_F32LE;
    case DT_F64: return H5T_IEEE_F64LE;
    case N_DTYPES: break;
    }
    return -1;
}

status hdf5_dtype(store *s, const char *name, hid_t type, enum dtype *out)
{
    for (int t = 0; t < N_DTYPES; t++)
        if (H5Tequal(type, hdf5_type((enum dtype)t)) > 0) {
            *out = (enum dtype)t;
            return OK;
        }
    return status_raise(ST_DATA, __FILE__, __LINE__, "%s: %s: element type is none of u8 u16 i16 i32 u32 i64 f32 f64 (little-endian)",
                        s->path, name);
}

hid_t hdf5_create_plist(hid_t cls)
{
    hid_t p = H5Pcreate(cls);
    if (p < 0) return p;
    H5Pset_obj_track_times(p, false);      /* the same input makes the same bytes */
    H5Pset_attr_phase_change(p, 64, 48);   /* a few dozen attributes stay in the object header */
    return p;
}

status hdf5_make_group(store *s, const char *name)
{
    if (H5Lexists(s->file, name, H5P_DEFAULT) > 0) return OK;
    AUTO_HID plist = hdf5_create_plist(H5P_GROUP_CREATE);
    AUTO_HID group = H5Gcreate2(s->file, name, H5P_DEFAULT, plist, H5P_DEFAULT);
    DOOR_CHECK(group >= 0, ST_RESOURCE, "%s: cannot make group %s", s->part, name);
    return OK;
}

status hdf5_make_parents(store *s, const char *name)
{
    char path[512];
    CHECK(snprintf(path, sizeof path, "%s", name) < (int)sizeof path, ST_BUG, "%s: object name too long: %.60s...", s->path, name);
    for (char *p = path + 1; *p; p++) { /* a leading slash is no group */
        if (*p != '/') continue;
        *p = 0;
        TRY(hdf5_make_group(s, path), "writing %s", name);
        *p = '/';
    }
    return OK;
}

status hdf5_put_attr(store *s, hid_t object, const char *name, const char *key, hid_t type, const void *value)
{
    if (H5Aexists(object, key) > 0) DOOR_CHECK(H5Adelete(object, key) >= 0, ST_RESOURCE, "%s: %s: attribute %s", s->path, name, key);
    AUTO_HID space = H5Screate(H5S_SCALAR);
    AUTO_HID attr = H5Acreate2(object, key, type, space, H5P_DEFAULT, H5P_DEFAULT);
    DOOR_CHECK(attr >= 0 && H5Awrite(attr, type, value) >= 0, ST_RESOURCE, "%s: %s: cannot write attribute %s", s->path, name, key);
    return OK;
}

status hdf5_put_u32(store *s, hid_t object, const char *name, const char *key, uint32_t value)
{
    return hdf5_put_attr(s, object, name, key, H5T_STD_U32LE, &value);
}

status hdf5_get_u32(store *s, hid_t object, const char *name, const char *key, uint32_t *out)
{
    CHECK(H5Aexists(object, key) > 0, ST_DATA, "%s: %s: attribute %s is missing", s->path, name, key);
    AUTO_HID attr = H5Aopen(object, key, H5P_DEFAULT);
    DOOR_CHECK(attr >= 0, ST_DATA, "%s: %s: attribute %s", s->path, name, key);
    AUTO_HID type = H5Aget_type(attr);
    AUTO_HID space = H5Aget_space(attr);
    CHECK(H5Tequal(type, H5T_STD_U32LE) > 0 && H5Sget_simple_extent_npoints(space) == 1, ST_DATA, "%s: %s: attribute %s is not one u32",
          s->path, name, key);
    DOOR_CHECK(H5Aread(attr, H5T_STD_U32LE, out) >= 0, ST_DATA, "%s: %s: attribute %s", s->path, name, key);
    return OK;
}

status hdf5_check_links(store *s, const char *name)
{
    char path[512];
    CHECK(snprintf(path, sizeof path, "%s", name) < (int)sizeof path, ST_DATA, "%s: object name too long: %.60s...", s->path, name);
    for (char *p = path + (path[0] == '/'); *p;) {
        p += strcspn(p, "/");
        char keep = *p;
        *p = 0;
        H5L_info_t info;
        DOOR_CHECK(H5Lget_info(s->file, path, &info, H5P_DEFAULT) >= 0, ST_DATA, "%s: no readable object %s", s->path, path);
        CHECK(info.type == H5L_TYPE_HARD, ST_DATA, "%s: %s is a soft or external link; these are not accepted", s->path, path);
        *p = keep;
        p += strspn(p, "/");
    }
    return OK;
}

/* Deflate twice over would let a small file unpack to a million times its size; a chunk beyond its array is memory for nothing. */
static status check_chunks(store *s, hid_t dataset, hid_t plist, const char *name)
{
    AUTO_HID space = H5Dget_space(dataset);
    hsize_t chunk[32], extent[32] = {0};
    int rank = H5Pget_chunk(plist, 32, chunk);
    CHECK(rank >= 1 && rank <= 32 && H5Sget_simple_extent_ndims(space) == rank && H5Sget_simple_extent_dims(space, extent, NULL) == rank,
          ST_DATA, "%s: %s: damaged chunk shape", s->path, name);
    for (int i = 0; i < rank; i++)
        CHECK(chunk[i] >= 1 && chunk[i] <= (extent[i] ? extent[i] : 1), ST_DATA, "%s: %s: chunks are larger than the array", s->path, name);
    return OK;
}

/* HDF5 (1.10.8) takes the four bytes of Fletcher's sum off a chunk without asking whether it has them, and reads until it crashes. */
static bool chunk_has_sum(hid_t dataset, const hsize_t *offset)
{
    hsize_t size;
    return H5Dget_chunk_storage_size(dataset, offset, &size) >= 0 && (size == 0 || size > 4); /* 0: not there, reads as the fill value */
}

bool hdf5_has_sums(hid_t plist)
{
    for (int i = 0, n = H5Pget_nfilters(plist); i < n; i++) {
        unsigned flags, config;
        size_t n_values = 0;
        if (H5Pget_filter2(plist, (unsigned)i, &flags, &n_values, NULL, 0, NULL, &config) == H5Z_FILTER_FLETCHER32) return true;
    }
    return false;
}

status hdf5_check_chunk(store *s, hid_t dataset, const char *name, const hsize_t *offset)
{
    CHECK(chunk_has_sum(dataset, offset), ST_DATA, "%s: %s: a damaged chunk", s->path, name);
    return OK;
}

/* The same of all chunks of an array that is about to be read. */
static status check_sums(store *s, hid_t dataset, hid_t plist, const char *name, int64_t stored)
{
    AUTO_HID space = H5Dget_space(dataset);
    hsize_t chunk[32], extent[32] = {0}, at[32] = {0}, n = 1;
    int rank = H5Pget_chunk(plist, 32, chunk);
    H5Sget_simple_extent_dims(space, extent, NULL);
    for (int i = 0; i < rank; i++)
        CHECK(!__builtin_mul_overflow(n, (extent[i] + chunk[i] - 1) / chunk[i], &n) && n <= (hsize_t)stored, ST_DATA,
              "%s: %s: more chunks than stored bytes", s->path, name);
    for (hsize_t k = 0; k < n; k++) {
        CHECK(chunk_has_sum(dataset, at), ST_DATA, "%s: %s: a damaged chunk", s->path, name);
        for (int i = rank - 1; i >= 0; i--) { /* the next place of the grid */
            at[i] += chunk[i];
            if (at[i] < extent[i]) break;
            at[i] = 0;
        }
    }
    return OK;
}

status hdf5_check_storage(store *s, hid_t dataset, const char *name, int64_t n_bytes)
{
    AUTO_HID plist = H5Dget_create_plist(dataset);
    DOOR_CHECK(plist >= 0, ST_DATA, "%s: %s", s->path, name);
    H5D_layout_t layout = H5Pget_layout(plist);
    CHECK(H5Pget_external_count(plist) == 0 && (layout == H5D_CONTIGUOUS || layout == H5D_CHUNKED || layout == H5D_COMPACT), ST_DATA,
          "%s: %s: external or virtual storage is not accepted", s->path, name);
    int n_filters = H5Pget_nfilters(plist);
    unsigned seen = 0;
    for (int i = 0; i < n_filters; i++) {
        unsigned flags, config;
        size_t n_values = 0;
        H5Z_filter_t f = H5Pget_filter2(plist, (unsigned)i, &flags, &n_values, NULL, 0, NULL, &config);
        CHECK(f == H5Z_FILTER_DEFLATE || f == H5Z_FILTER_SHUFFLE || f == H5Z_FILTER_FLETCHER32, ST_DATA,
              "%s: %s: filter %d is not accepted (deflate, shuffle, fletcher32 are)", s->path, name, (int)f);
        CHECK(!(seen >> f & 1), ST_DATA, "%s: %s: filter %d twice", s->path, name, (int)f);
        seen |= 1u << f;
    }
    if (layout == H5D_CHUNKED) TRY(check_chunks(s, dataset, plist, name), "reading");
    if (n_bytes == 0) return OK;
    int64_t stored = (int64_t)H5Dget_storage_size(dataset);
    CHECK(stored > 0 && stored <= s->file_bytes, ST_DATA, "%s: %s: %lld bytes stored, the file has %lld", s->path, name,
          (long long)stored, (long long)s->file_bytes);
    /* deflate cannot shrink by more than 1032; an uncompressed array is as long as it says */
    bool fits = layout == H5D_CHUNKED ? n_bytes / 1040 <= stored : n_bytes == stored;
    CHECK(fits, ST_DATA, "%s: %s: says %lld bytes of data but stores %lld", s->path, name, (long long)n_bytes, (long long)stored);
    return layout == H5D_CHUNKED && hdf5_has_sums(plist) ? check_sums(s, dataset, plist, name, stored) : OK;
}

status dims_count(store *s, const char *name, int ndim, const int64_t *dims, int64_t *n)
{
    *n = 1;
    for (int i = 0; i < ndim; i++)
        CHECK(dims[i] >= 0 && !__builtin_mul_overflow(*n, dims[i], n) && *n <= INT64_MAX / 16, ST_DATA, "%s: %s: impossible shape",
              s->path, name);
    return OK;
}
