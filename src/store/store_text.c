/* store_text: string arrays, attributes, and the members of a group. */
#include "store_internal.h"

#include <stdlib.h>
#include <string.h>

static hid_t text_type(size_t width)
{
    hid_t t = H5Tcopy(H5T_C_S1);
    if (t < 0) return t;
    H5Tset_size(t, width);
    H5Tset_cset(t, H5T_CSET_UTF8);
    H5Tset_strpad(t, H5T_STR_NULLPAD);
    return t;
}

status store_write_text(store *s, const char *name, int64_t n, int width, const char *data)
{
    DOOR;
    CHECK(s->writing && n >= 0 && width > 0, ST_BUG, "%s: %s: %lld texts of width %d", s->path, name, (long long)n, width);
    TRY(hdf5_make_parents(s, name), "writing");
    hsize_t extent = (hsize_t)n;
    AUTO_HID space = H5Screate_simple(1, &extent, NULL);
    AUTO_HID type = text_type((size_t)width);
    AUTO_HID plist = hdf5_create_plist(H5P_DATASET_CREATE);
    AUTO_HID set = H5Dcreate2(s->file, name, type, space, H5P_DEFAULT, plist, H5P_DEFAULT);
    DOOR_CHECK(set >= 0, ST_RESOURCE, "%s: cannot make %s", s->part, name);
    if (n) DOOR_CHECK(H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0, ST_RESOURCE, "%s: cannot write %s", s->part, name);
    TRY(hdf5_put_u32(s, set, name, "crc32c", crc32c(0, data, (size_t)n * (size_t)width)), "writing");
    return OK;
}

/* Reads n strings of file_width bytes into new memory of n * width bytes. */
static status read_raw_text(store *s, hid_t set, hid_t type, const char *name, int64_t n, size_t width, char **out)
{
    status st = OK;
    char *data = NULL;
    size_t n_bytes = (size_t)n * width;
    TRY_TO(fail, hdf5_check_storage(s, set, name, (int64_t)n_bytes), "reading");
    TRY_TO(fail, mem_alloc(&data, n_bytes + 1, "texts"), "%s: %s", s->path, name);
    if (n)
        CHECK_TO(fail, H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0, ST_DATA, "%s: %s: cannot read: %s", s->path, name,
                 hdf5_why());
    uint32_t want, got = crc32c(0, data, n_bytes);
    TRY_TO(fail, hdf5_get_u32(s, set, name, "crc32c", &want), "reading");
    CHECK_TO(fail, got == want, ST_DATA, "%s: %s: damaged, checksum %08x, should be %08x", s->path, name, got, want);
    *out = data;
    return OK;
fail:
    free(data);
    return st;
}

/* A string array, opened: its type, number of texts and bytes of each. */
static status open_text(store *s, const char *name, hid_t *set, hid_t *type, hsize_t *n, size_t *width)
{
    TRY(hdf5_check_links(s, name), "reading");
    *set = H5Dopen2(s->file, name, H5P_DEFAULT);
    DOOR_CHECK(*set >= 0, ST_DATA, "%s: no readable array %s", s->path, name);
    *type = H5Dget_type(*set);
    AUTO_HID space = H5Dget_space(*set);
    CHECK(H5Tget_class(*type) == H5T_STRING && H5Tis_variable_str(*type) == 0, ST_DATA, "%s: %s: not fixed-length strings", s->path,
          name);
    CHECK(H5Sget_simple_extent_ndims(space) == 1 && H5Sget_simple_extent_dims(space, n, NULL) == 1, ST_DATA,
          "%s: %s: not one-dimensional", s->path, name);
    *width = H5Tget_size(*type);
    CHECK(*width > 0 && *width <= 1 << 20 && *n <= INT64_MAX / (4 << 20), ST_DATA, "%s: %s: impossible shape", s->path, name);
    return OK;
}

status store_text_shape(store *s, const char *name, int64_t *n, int *width)
{
    DOOR;
    AUTO_HID set = -1;
    AUTO_HID type = -1;
    hsize_t extent = 0;
    size_t w;
    TRY(open_text(s, name, &set, &type, &extent, &w), "reading");
    *n = (int64_t)extent;
    *width = (int)w;
    return OK;
}

status store_read_text(store *s, const char *name, int64_t *n, int *width, char **out)
{
    DOOR;
    *out = NULL;
    AUTO_HID set = -1;
    AUTO_HID type = -1;
    hsize_t extent = 0;
    size_t w;
    TRY(open_text(s, name, &set, &type, &extent, &w), "reading");
    /* texts padded to their width pack well, but not as well as a file that lies about them */
    CHECK((int64_t)(extent * w) / 256 <= s->file_bytes, ST_DATA, "%s: %s: says %llu texts of %zu bytes, the file has %lld", s->path, name,
          (unsigned long long)extent, w, (long long)s->file_bytes);
    char *data = NULL;
    TRY(read_raw_text(s, set, type, name, (int64_t)extent, w, &data), "reading");
    bool ends = true;
    for (hsize_t i = 0; i < extent; i++) ends &= data[i * w + w - 1] == 0;
    if (!ends) { /* texts that fill their field, as h5py writes them: callers get a NUL */
        char *wide;
        status st = mem_alloc(&wide, (size_t)extent * (w + 1) + 1, "texts");
        for (hsize_t i = 0; !st && i < extent; i++) memcpy(wide + i * (w + 1), data + i * w, w);
        free(data);
        TRY(st, "%s: %s", s->path, name);
        data = wide;
        w++;
    }
    *n = (int64_t)extent;
    *width = (int)w;
    *out = data;
    return OK;
}

/* ---- attributes ---- */

static status open_object(store *s, const char *name, const char *key, bool make, hid_t *object)
{
    if (make && strcmp(name, "/") != 0 && !store_has(s, name)) {
        TRY(hdf5_make_parents(s, name), "attribute");
        TRY(hdf5_make_group(s, name), "attribute");
    }
    TRY(hdf5_check_links(s, name), "attribute %s", key);
    *object = H5Oopen(s->file, name, H5P_DEFAULT);
    DOOR_CHECK(*object >= 0, ST_DATA, "%s: no readable object %s", s->path, name);
    return OK;
}

status store_put_str(store *s, const char *name, const char *key, const char *value)
{
    DOOR;
    AUTO_HID object = -1;
    TRY(open_object(s, name, key, true, &object), "attribute %s", key);
    size_t n = strlen(value);
    AUTO_HID type = text_type(n ? n : 1);
    return hdf5_put_attr(s, object, name, key, type, value);
}

status store_put_i64(store *s, const char *name, const char *key, int64_t value)
{
    DOOR;
    AUTO_HID object = -1;
    TRY(open_object(s, name, key, true, &object), "attribute %s", key);
    return hdf5_put_attr(s, object, name, key, H5T_STD_I64LE, &value);
}

status store_put_f64(store *s, const char *name, const char *key, double value)
{
    DOOR;
    AUTO_HID object = -1;
    TRY(open_object(s, name, key, true, &object), "attribute %s", key);
    return hdf5_put_attr(s, object, name, key, H5T_IEEE_F64LE, &value);
}

bool store_has_attr(store *s, const char *key)
{
    DOOR;
    return H5Aexists(s->file, key) > 0;
}

static status open_attr(store *s, const char *name, const char *key, hid_t *attr, hid_t *type)
{
    AUTO_HID object = -1;
    TRY(open_object(s, name, key, false, &object), "attribute %s", key);
    CHECK(H5Aexists(object, key) > 0, ST_DATA, "%s: %s: attribute %s is missing", s->path, name, key);
    *attr = H5Aopen(object, key, H5P_DEFAULT);
    DOOR_CHECK(*attr >= 0, ST_DATA, "%s: %s: attribute %s", s->path, name, key);
    *type = H5Aget_type(*attr);
    AUTO_HID space = H5Aget_space(*attr);
    CHECK(*type >= 0 && H5Sget_simple_extent_npoints(space) == 1, ST_DATA, "%s: %s: attribute %s is not a single value", s->path, name,
          key);
    return OK;
}

status store_get_str(store *s, const char *name, const char *key, char *out, size_t out_bytes)
{
    DOOR;
    AUTO_HID attr = -1;
    AUTO_HID type = -1;
    TRY(open_attr(s, name, key, &attr, &type), "reading");
    CHECK(H5Tget_class(type) == H5T_STRING, ST_DATA, "%s: %s: attribute %s is not a text", s->path, name, key);
    size_t n = 0;
    if (H5Tis_variable_str(type) > 0) { /* h5py's habit */
        char *text = NULL;
        DOOR_CHECK(H5Aread(attr, type, &text) >= 0, ST_DATA, "%s: %s: attribute %s", s->path, name, key);
        n = text ? strlen(text) : 0;
        if (n < out_bytes) memcpy(out, text ? text : "", n);
        H5free_memory(text);
    } else {
        n = H5Tget_size(type);
        static _Thread_local char text[1 << 16]; /* the most an attribute can hold */
        CHECK(n <= sizeof text, ST_DATA, "%s: %s: attribute %s has %zu bytes", s->path, name, key, n);
        DOOR_CHECK(H5Aread(attr, type, text) >= 0, ST_DATA, "%s: %s: attribute %s", s->path, name, key);
        n = strnlen(text, n);
        if (n < out_bytes) memcpy(out, text, n);
    }
    CHECK(n < out_bytes, ST_DATA, "%s: %s: attribute %s has %zu bytes, at most %zu are accepted", s->path, name, key, n, out_bytes - 1);
    out[n] = 0;
    return OK;
}

status store_get_i64(store *s, const char *name, const char *key, int64_t *out)
{
    DOOR;
    AUTO_HID attr = -1;
    AUTO_HID type = -1;
    TRY(open_attr(s, name, key, &attr, &type), "reading");
    CHECK(H5Tget_class(type) == H5T_INTEGER, ST_DATA, "%s: %s: attribute %s is not an integer", s->path, name, key);
    DOOR_CHECK(H5Aread(attr, H5T_STD_I64LE, out) >= 0, ST_DATA, "%s: %s: attribute %s", s->path, name, key);
    return OK;
}

status store_get_f64(store *s, const char *name, const char *key, double *out)
{
    DOOR;
    AUTO_HID attr = -1;
    AUTO_HID type = -1;
    TRY(open_attr(s, name, key, &attr, &type), "reading");
    H5T_class_t class = H5Tget_class(type);
    CHECK(class == H5T_FLOAT || class == H5T_INTEGER, ST_DATA, "%s: %s: attribute %s is not a number", s->path, name, key);
    DOOR_CHECK(H5Aread(attr, H5T_IEEE_F64LE, out) >= 0, ST_DATA, "%s: %s: attribute %s", s->path, name, key);
    return OK;
}

/* ---- members ---- */

typedef struct members { char (*name)[128]; hsize_t n, cap; bool long_name, soft; } members;

static herr_t add_member(hid_t group, const char *name, const H5L_info_t *info, void *to)
{
    (void)group;
    members *m = to;
    if (m->n >= m->cap) return 1;
    if (snprintf(m->name[m->n], sizeof *m->name, "%s", name) >= (int)sizeof *m->name) m->long_name = true;
    m->soft |= info->type != H5L_TYPE_HARD;
    m->n++;
    return 0;
}

enum { DEPTH_MAX = 8, LISTED_MAX = 1 << 22 };

/* A group that contains itself, or one of those above it, would never end for whoever walks the file. */
static status check_cycle(store *s, hid_t g, const char *group)
{
    H5O_info_t self, above;
    char path[512] = "/";
    DOOR_CHECK(H5Oget_info(g, &self) >= 0, ST_DATA, "%s: %s", s->path, group);
    CHECK(self.rc <= 1, ST_DATA, "%s: %s: has more than one name", s->path, group);
    int depth = 0;
    const char *p = group;
    while (*(p += strspn(p, "/"))) {
        CHECK(++depth <= DEPTH_MAX, ST_DATA, "%s: %s: groups are nested more than %d deep", s->path, group, DEPTH_MAX);
        DOOR_CHECK(H5Oget_info_by_name(s->file, path, &above, H5P_DEFAULT) >= 0, ST_DATA, "%s: %s", s->path, path);
        CHECK(above.addr != self.addr, ST_DATA, "%s: %s: a group inside itself", s->path, group);
        p += strcspn(p, "/");
        CHECK(snprintf(path, sizeof path, "%.*s", (int)(p - group), group) < (int)sizeof path, ST_DATA, "%s: object name too long: %.60s...",
              s->path, group);
    }
    return OK;
}

status store_list(store *s, const char *group, int *n, char (**out)[128])
{
    DOOR;
    *out = NULL;
    TRY(hdf5_check_links(s, group), "reading");
    AUTO_HID g = H5Gopen2(s->file, group, H5P_DEFAULT);
    DOOR_CHECK(g >= 0, ST_DATA, "%s: no readable group %s", s->path, group);
    TRY(check_cycle(s, g, group), "reading");
    H5G_info_t info;
    DOOR_CHECK(H5Gget_info(g, &info) >= 0, ST_DATA, "%s: %s", s->path, group);
    CHECK(info.nlinks <= LISTED_MAX && (int64_t)info.nlinks <= s->file_bytes / 8, ST_DATA, "%s: %s: says %llu members", s->path, group,
          (unsigned long long)info.nlinks);
    s->n_listed += (int64_t)info.nlinks;
    CHECK(s->n_listed <= LISTED_MAX, ST_DATA, "%s: %s: groups hang together in more than %d ways", s->path, group, LISTED_MAX);
    members m = {.cap = info.nlinks};
    TRY(mem_alloc(&m.name, (size_t)(info.nlinks + 1) * sizeof *m.name, "names of members"), "%s: %s", s->path, group);
    hsize_t from = 0;
    herr_t done = H5Literate(g, H5_INDEX_NAME, H5_ITER_INC, &from, add_member, &m);
    if (done != 0 || m.long_name || m.soft || m.n != m.cap) {
        status st = status_raise(ST_DATA, __FILE__, __LINE__, "%s: %s: %s", s->path, group,
                                 m.long_name ? "a member's name is longer than 127 bytes"
                                 : m.soft    ? "a member is a soft or external link; these are not accepted"
                                             : "cannot list the members");
        free(m.name);
        return st;
    }
    *n = (int)m.n;
    *out = m.name;
    return OK;
}
