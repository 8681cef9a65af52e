/* pack: chunks as HDF5's own filters shuffle, deflate and Fletcher32 make them, but by libdeflate and in several threads at once (HDF5 lets
 * only one thread in). What is written is an ordinary zlib stream: every reader of HDF5 can read it. The only door to libdeflate. */
#include "store_internal.h"

#include "medley_build.h"

#include <stdlib.h>
#include <string.h>

#ifdef HAVE_DEFLATE
#include <libdeflate.h>

enum { LEVEL = 4 }; /* as small as zlib makes it at 4, within half a percent, in half the time */

struct packer {
    struct libdeflate_compressor *deflate;
    char  *shuffled;
    size_t room;
};

bool packer_here(void) { return true; }

status packer_open(packer **out, size_t chunk_bytes)
{
    packer *p;
    TRY(mem_alloc(&p, sizeof *p, "packer"), "shard");
    status st = mem_alloc(&p->shuffled, chunk_bytes, "packer");
    p->deflate = libdeflate_alloc_compressor(LEVEL);
    p->room = chunk_bytes;
    if (!st && !p->deflate) st = status_raise(ST_RESOURCE, __FILE__, __LINE__, "no memory for libdeflate");
    if (st) packer_close(p);
    else *out = p;
    return st;
}

void packer_close(packer *p)
{
    if (!p) return;
    if (p->deflate) libdeflate_free_compressor(p->deflate);
    free(p->shuffled);
    free(p);
}

/* First all lowest bytes of the elements, then all second ones, ... */
static void shuffle(const char *from, char *to, size_t n, size_t bytes)
{
    size_t count = n / bytes;
    if (bytes == 2)
        for (size_t i = 0; i < count; i++) to[i] = from[2 * i], to[count + i] = from[2 * i + 1];
    else if (bytes == 4)
        for (size_t i = 0; i < count; i++)
            to[i] = from[4 * i], to[count + i] = from[4 * i + 1], to[2 * count + i] = from[4 * i + 2], to[3 * count + i] = from[4 * i + 3];
    else
        for (size_t k = 0; k < bytes; k++)
            for (size_t i = 0; i < count; i++) to[k * count + i] = from[i * bytes + k];
}

/* Fletcher's sum of big-endian 16-bit words, as HDF5 stores it; an odd last byte counts as a high one. */
static uint32_t fletcher32(const uint8_t *p, size_t n)
{
    uint32_t a = 0, b = 0;
    for (size_t left = n / 2; left > 0;) {
        size_t run = left > 360 ? 360 : left; /* as long as b cannot overflow */
        left -= run;
        for (; run > 0; run--, p += 2) a += (uint32_t)p[0] << 8 | p[1], b += a;
        a = (a & 0xffff) + (a >> 16), b = (b & 0xffff) + (b >> 16);
    }
    if (n & 1) {
        a += (uint32_t)*p << 8, b += a;
        a = (a & 0xffff) + (a >> 16), b = (b & 0xffff) + (b >> 16);
    }
    a = (a & 0xffff) + (a >> 16), b = (b & 0xffff) + (b >> 16);
    return b << 16 | a;
}

status packer_pack(packer *p, const void *chunk, size_t n, size_t element_bytes, char **out, size_t *n_out)
{
    const char *from = chunk;
    CHECK(n <= p->room, ST_BUG, "a chunk of %zu bytes, room for %zu", n, p->room);
    if (element_bytes > 1) {
        shuffle(from, p->shuffled, n, element_bytes);
        from = p->shuffled;
    }
    size_t bound = libdeflate_zlib_compress_bound(p->deflate, n);
    char *bytes = NULL;
    *out = NULL;
    TRY(mem_grow(&bytes, bound + 4, "a packed chunk"), "packing");
    size_t packed = libdeflate_zlib_compress(p->deflate, from, n, bytes, bound);
    if (!packed) {
        free(bytes);
        return status_raise(ST_BUG, __FILE__, __LINE__, "libdeflate needs more than its own bound");
    }
    uint32_t sum = fletcher32((const uint8_t *)bytes, packed);
    memcpy(bytes + packed, &sum, 4); /* little-endian, as is the machine */
    status st = mem_grow(&bytes, packed + 4, "a packed chunk"); /* cut to its length */
    if (st) {
        free(bytes);
        return st;
    }
    *out = bytes;
    *n_out = packed + 4;
    return OK;
}

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
#else
bool packer_here(void) { return false; }
status packer_open(packer **out, size_t chunk_bytes)
{
    *out = NULL;
    return status_raise(ST_BUG, __FILE__, __LINE__, "built without libdeflate: no packer for %zu bytes", chunk_bytes);
}
void packer_close(packer *p) { free(p); }
status packer_pack(packer *p, const void *chunk, size_t n, size_t element_bytes, char **out, size_t *n_out)
{
    (void)p, (void)chunk, (void)n, (void)element_bytes, (void)out, (void)n_out;
    return status_raise(ST_BUG, __FILE__, __LINE__, "built without libdeflate");
}
bool unpack_gzip(const void *bytes, size_t n, void *out, size_t room, size_t *n_out)
{
    (void)bytes, (void)n, (void)out, (void)room, (void)n_out;
    return false;
}
#endif
