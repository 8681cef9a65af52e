/* pack: chunks as HDF5's own filters shuffle, deflate and Fletcher32 make them, but faster and in several threads at once (HDF5 lets only one
 * thread in). What is written is an ordinary zlib stream: every reader of HDF5 can read it. ISA-L packs where it is there, else libdeflate.
 * The only door to ISA-L. */
#include "store_internal.h"

#include "medley_build.h"

#include <stdlib.h>
#include <string.h>

uint32_t fletcher32(const uint8_t *p, size_t n)
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

/* ---- deflate -------------------------------------------------------------------------------------------------------------------------- */

/* deflate_open: room for the library's state. deflate_bytes: `from` as one zlib stream in new memory, with 4 bytes to spare. */
#if defined(HAVE_ISAL)
#include <isa-l/igzip_lib.h>

typedef struct deflater {
    struct isal_zstream stream;
    uint8_t level[ISAL_DEF_LVL2_DEFAULT]; /* 2: three times as fast as libdeflate's 4 and zlib's 1 to 4, 2 to 4 % larger */
} deflater;

static MUST status deflate_open(deflater **out) { return mem_alloc(out, sizeof **out, "packer"); }
static void deflate_close(deflater *d) { free(d); }

static status deflate_bytes(deflater *d, const char *from, size_t n, char **out, size_t *n_out)
{
    struct isal_zstream *z = &d->stream;
    CHECK(n <= UINT32_MAX, ST_BUG, "a chunk of %zu bytes", n);
    isal_deflate_init(z);
    z->level = 2, z->level_buf = d->level, z->level_buf_size = sizeof d->level;
    z->gzip_flag = IGZIP_ZLIB, z->end_of_stream = 1, z->flush = NO_FLUSH;
    z->next_in = (uint8_t *)(uintptr_t)from, z->avail_in = (uint32_t)n;
    for (size_t room = n + n / 16 + 1024;; room += room / 2) { /* pixels that do not shrink nearly fit in the first round */
        TRY(mem_grow(out, room + 4, "a packed chunk"), "packing");
        z->next_out = (uint8_t *)*out + z->total_out, z->avail_out = (uint32_t)(room - z->total_out);
        int why = isal_deflate(z);
        CHECK(why == COMP_OK, ST_BUG, "ISA-L: error %d", why);
        if (z->internal_state.state == ZSTATE_END) break;
    }
    *n_out = z->total_out;
    return OK;
}
#elif defined(HAVE_DEFLATE)
#include <libdeflate.h>

enum { LEVEL = 4 }; /* as small as zlib makes it at 4, within half a percent, in half the time */
typedef struct libdeflate_compressor deflater;

static MUST status deflate_open(deflater **out)
{
    *out = libdeflate_alloc_compressor(LEVEL);
    CHECK(*out, ST_RESOURCE, "no memory for libdeflate");
    return OK;
}
static void deflate_close(deflater *d) { libdeflate_free_compressor(d); }

static status deflate_bytes(deflater *d, const char *from, size_t n, char **out, size_t *n_out)
{
    size_t room = libdeflate_zlib_compress_bound(d, n);
    TRY(mem_grow(out, room + 4, "a packed chunk"), "packing");
    *n_out = libdeflate_zlib_compress(d, from, n, *out, room);
    CHECK(*n_out, ST_BUG, "libdeflate needs more than its own bound");
    return OK;
}
#endif

/* ---- packer --------------------------------------------------------------------------------------------------------------------------- */

#if defined(HAVE_ISAL) || defined(HAVE_DEFLATE)
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

struct packer {
    deflater *deflate;
    char     *shuffled;
    size_t    room;
};

bool packer_here(void) { return true; }

status packer_open(packer **out, size_t chunk_bytes)
{
    packer *p;
    TRY(mem_alloc(&p, sizeof *p, "packer"), "shard");
    status st = mem_alloc(&p->shuffled, chunk_bytes, "packer");
    p->room = chunk_bytes;
    if (!st) st = deflate_open(&p->deflate);
    if (st) packer_close(p);
    else *out = p;
    return st;
}

void packer_close(packer *p)
{
    if (!p) return;
    if (p->deflate) deflate_close(p->deflate);
    free(p->shuffled);
    free(p);
}

status packer_pack(packer *p, const void *chunk, size_t n, size_t element_bytes, char **out, size_t *n_out)
{
    const char *from = chunk;
    char *bytes = NULL;
    size_t packed = 0;
    *out = NULL;
    CHECK(n <= p->room, ST_BUG, "a chunk of %zu bytes, room for %zu", n, p->room);
    if (element_bytes > 1) {
        shuffle(from, p->shuffled, n, element_bytes);
        from = p->shuffled;
    }
    status st = deflate_bytes(p->deflate, from, n, &bytes, &packed);
    if (!st) {
        uint32_t sum = fletcher32((const uint8_t *)bytes, packed);
        memcpy(bytes + packed, &sum, 4); /* little-endian, as is the machine */
        st = mem_grow(&bytes, packed + 4, "a packed chunk"); /* cut to its length */
    }
    if (st) {
        free(bytes);
        return st;
    }
    *out = bytes;
    *n_out = packed + 4;
    return OK;
}
#else
bool packer_here(void) { return false; }
status packer_open(packer **out, size_t chunk_bytes)
{
    *out = NULL;
    return status_raise(ST_BUG, __FILE__, __LINE__, "built without ISA-L and libdeflate: no packer for %zu bytes", chunk_bytes);
}
void packer_close(packer *p) { free(p); }
status packer_pack(packer *p, const void *chunk, size_t n, size_t element_bytes, char **out, size_t *n_out)
{
    (void)p, (void)chunk, (void)n, (void)element_bytes, (void)out, (void)n_out;
    return status_raise(ST_BUG, __FILE__, __LINE__, "built without ISA-L and libdeflate");
}
#endif
