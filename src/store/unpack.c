/* unpack: deflate the other way, by libdeflate: whole gzip files and zlib streams for the readers of images, and chunks of shards, which HDF5
 * would hand to zlib at twice the time. All of it is a shortcut: whoever calls asks zlib or HDF5 where this says no, and gets their messages. */
#include "store_internal.h"

#include "medley_build.h"

#include <stdlib.h>
#include <string.h>

#ifdef HAVE_DEFLATE
#include <libdeflate.h>

bool unpack_gzip(const void *bytes, size_t n, void *out, size_t room, size_t *n_out)
{
    struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();
    if (!d) return false;
    size_t used = 0, got = 0;
    bool good = libdeflate_gzip_decompress_ex(d, bytes, n, out, room, &used, &got) == LIBDEFLATE_SUCCESS && used == n;
    libdeflate_free_decompressor(d);
    if (good) *n_out = got;
    return good;
}

bool unpack_zlib(const void *bytes, size_t n, void *out, size_t n_out)
{
    struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();
    if (!d) return false;
    bool good = libdeflate_zlib_decompress(d, bytes, n, out, n_out, NULL) == LIBDEFLATE_SUCCESS; /* NULL: neither more nor less */
    libdeflate_free_decompressor(d);
    return good;
}

uint32_t unpack_crc32(const void *bytes, size_t n) { return libdeflate_crc32(0, bytes, n); }

/* ---- chunks --------------------------------------------------------------------------------------------------------------------------- */

/* Shared by all open shards, and used behind DOOR, where only one thread is: HDF5 would take and give back as much for every chunk. */
static struct {
    struct libdeflate_decompressor *inflate;
    uint8_t *packed, *raw;
    size_t chunk, room;    /* bytes of the largest chunk, and of what it may be packed */
    int    users;          /* stacks that are open */
} work;

static status make_room(size_t chunk)
{
    if (!work.inflate) work.inflate = libdeflate_alloc_decompressor();
    CHECK(work.inflate, ST_RESOURCE, "no memory for libdeflate");
    if (chunk <= work.chunk) return OK;
    size_t room = chunk + chunk / 16 + 4096; /* deflate's worst is below; what is longer is HDF5's */
    TRY(mem_grow(&work.packed, room, "a packed chunk"), "shard");
    work.room = room;
    TRY(mem_grow(&work.raw, chunk, "a chunk"), "shard");
    work.chunk = chunk;
    return OK;
}

/* The filters must be those of pack.c, in their order, shuffle among elements of the size they have. */
status unpack_prepare(chunk_form *c, hid_t plist, int64_t rows, size_t row_bytes, size_t element)
{
    static const H5Z_filter_t want[] = {H5Z_FILTER_SHUFFLE, H5Z_FILTER_DEFLATE, H5Z_FILTER_FLETCHER32};
    int n = H5Pget_nfilters(plist), first = element == 1;
    *c = (chunk_form){.rows = rows, .row_bytes = row_bytes, .element = element};
    if (n != 3 - first) return OK;
    for (int i = 0; i < n; i++) {
        unsigned flags, config, value[8] = {0};
        size_t n_values = 8;
        if (H5Pget_filter2(plist, (unsigned)i, &flags, &n_values, value, 0, NULL, &config) != want[first + i]) return OK;
        if (want[first + i] == H5Z_FILTER_SHUFFLE && (n_values != 1 || value[0] != element)) return OK;
    }
    c->ours = true;
    work.users++;
    return make_room((size_t)rows * row_bytes);
}

void unpack_release(chunk_form *c)
{
    if (!c->ours) return;
    c->ours = false;
    if (--work.users > 0) return;
    libdeflate_free_decompressor(work.inflate);
    free(work.packed);
    free(work.raw);
    memset(&work, 0, sizeof work);
}

/* `n` elements from the `first` of a shuffled chunk. */
static void unshuffle(const uint8_t *from, size_t count, size_t element, size_t first, size_t n, uint8_t *to)
{
    const uint8_t *p[8];
    for (size_t k = 0; k < element; k++) p[k] = from + k * count + first;
    if (element == 2)
        for (size_t i = 0; i < n; i++) to[2 * i] = p[0][i], to[2 * i + 1] = p[1][i];
    else if (element == 4)
        for (size_t i = 0; i < n; i++) to[4 * i] = p[0][i], to[4 * i + 1] = p[1][i], to[4 * i + 2] = p[2][i], to[4 * i + 3] = p[3][i];
    else
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; k < element; k++) to[element * i + k] = p[k][i];
}

bool unpack_chunk(const chunk_form *c, hid_t set, int64_t i, int64_t rows, size_t row_bytes, void *out)
{
    hsize_t offset[4] = {(hsize_t)i}, size = 0;
    size_t chunk = (size_t)c->rows * c->row_bytes;
    uint32_t skipped = 0, sum;
    if (!c->ours || c->element > 8 || chunk > work.chunk) return false;
    if (H5Dget_chunk_storage_size(set, offset, &size) < 0 || size < 5 || size > work.room) return false; /* 0: never written, reads as its fill value */
    if (H5Dread_chunk(set, H5P_DEFAULT, offset, &skipped, work.packed) < 0 || skipped) return false;
    size_t n = (size_t)size - 4;
    memcpy(&sum, work.packed + n, 4);
    if (sum != fletcher32(work.packed, n)) return false;
    bool whole = rows == c->rows && row_bytes == c->row_bytes;
    uint8_t *raw = whole && c->element == 1 ? out : work.raw;
    if (libdeflate_zlib_decompress(work.inflate, work.packed, n, raw, chunk, NULL) != LIBDEFLATE_SUCCESS) return false;
    if (whole && c->element > 1) unshuffle(raw, chunk / c->element, c->element, 0, chunk / c->element, out);
    for (int64_t y = 0; !whole && y < rows; y++) {
        uint8_t *to = (uint8_t *)out + (size_t)y * row_bytes;
        size_t from = (size_t)y * c->row_bytes;
        if (c->element == 1) memcpy(to, raw + from, row_bytes);
        else unshuffle(raw, chunk / c->element, c->element, from / c->element, row_bytes / c->element, to);
    }
    return true;
}
#else
bool unpack_gzip(const void *bytes, size_t n, void *out, size_t room, size_t *n_out) { return (void)bytes, (void)n, (void)out, (void)room, (void)n_out, false; }
bool unpack_zlib(const void *bytes, size_t n, void *out, size_t n_out) { return (void)bytes, (void)n, (void)out, (void)n_out, false; }
uint32_t unpack_crc32(const void *bytes, size_t n) { return (void)bytes, (void)n, 0; }
status unpack_prepare(chunk_form *c, hid_t plist, int64_t rows, size_t row_bytes, size_t element)
{
    (void)plist;
    *c = (chunk_form){.rows = rows, .row_bytes = row_bytes, .element = element};
    return OK;
}
void unpack_release(chunk_form *c) { (void)c; }
bool unpack_chunk(const chunk_form *c, hid_t set, int64_t i, int64_t rows, size_t row_bytes, void *out)
{
    return (void)c, (void)set, (void)i, (void)rows, (void)row_bytes, (void)out, false;
}
#endif
