/* store_internal: what the files of src/store share; the only header that includes hdf5.h. */
#ifndef MEDLEY_STORE_INTERNAL_H
#define MEDLEY_STORE_INTERNAL_H

#include "medley/store.h"

#include <hdf5.h>

/* How a stack's chunks are packed. */
typedef struct chunk_form {
    bool    ours;                         /* as pack.c does it */
    bool    sums;                         /* Fletcher's, behind every chunk */
    int64_t rows;
    size_t  row_bytes, element;
} chunk_form;

struct store {
    hid_t   file;
    bool    writing;
    char    path[1024], part[1040];       /* final name; name while writing */
    int64_t file_bytes;                   /* reading: size of the file, a bound for every size found in it */
    int64_t n_listed;                     /* members of groups given out so far */
    hid_t   image, mask[SHARD_MAX_LABELS]; /* shard readers keep these open; -1 if not */
    chunk_form image_form, mask_form[SHARD_MAX_LABELS];
    store_image *memory;                  /* writing into memory: where the bytes are */
};

MUST status store_new(store **out, const char *path); /* an empty handle */


/* Every public function begins with DOOR: one thread in HDF5 at a time (sites often build it without its own lock), and
 * HDF5's automatic printing of errors is off in this thread. Left at the end of the function by itself. */
int  door_enter(void);
void door_leave(int *unused);
#define DOOR __attribute__((cleanup(door_leave), unused)) int door_ = door_enter()

/* An HDF5 identifier that is given back at the end of its scope. */
void hid_drop(hid_t *id);
#define AUTO_HID __attribute__((cleanup(hid_drop))) hid_t

/* The innermost line of HDF5's error stack; call it before the next HDF5 call. */
const char *hdf5_why(void);
#define DOOR_CHECK(ok, code, fmt, ...) CHECK(ok, code, fmt ": %s", __VA_ARGS__, hdf5_why())

hid_t  hdf5_type(enum dtype t);                       /* little-endian file type, also right in memory */
MUST status hdf5_dtype(store *s, const char *name, hid_t type, enum dtype *out);
hid_t  hdf5_access_plist(void);                       /* format, closing, locking */
hid_t  hdf5_create_plist(hid_t cls);                  /* object creation: no time stamps, attributes in the header */
MUST status hdf5_make_parents(store *s, const char *name); /* groups above `name` */
MUST status hdf5_make_group(store *s, const char *name);
MUST status hdf5_put_attr(store *s, hid_t object, const char *name, const char *key, hid_t type, const void *value);
MUST status hdf5_put_u32(store *s, hid_t object, const char *name, const char *key, uint32_t value);
MUST status hdf5_get_u32(store *s, hid_t object, const char *name, const char *key, uint32_t *out);
/* Every link on the way to `name` must be a hard one: soft and external links of HDF5 name objects elsewhere, also in other files. */
MUST status hdf5_check_links(store *s, const char *name);
/* store_shape without asking whether so much data can be there: stacks have samples that were never written. */
MUST status hdf5_shape(store *s, const char *name, enum dtype *t, int *ndim, int64_t dims[8]);
/* Is the stored size of a data set believable: no external or virtual storage, n_bytes raw bytes really in the file. */
MUST status hdf5_check_storage(store *s, hid_t dataset, const char *name, int64_t n_bytes);
bool hdf5_has_sums(hid_t plist); /* Fletcher's, behind every chunk */
/* Can HDF5 be let at the chunk that begins at `offset`, in a data set with such sums? Where hdf5_check_storage saw no more than the form (n_bytes 0). */
MUST status hdf5_check_chunk(store *s, hid_t dataset, const char *name, const hsize_t *offset);
/* Product of dims with overflow refused. */
MUST status dims_count(store *s, const char *name, int ndim, const int64_t *dims, int64_t *n);

/* Attributes of "/" and the label groups, common to shards and index. `format` is "medley-shard" or "medley-index". */
MUST status meta_write(store *s, const char *format, const shard_meta *m);
MUST status meta_read(store *s, const char *format, shard_meta *m); /* on failure m is freed */
MUST status meta_copy(shard_meta *to, const shard_meta *from);
MUST status meta_check(const shard_meta *m);          /* what a writer may ask for */
/* shard_reading.c: the attributes reading_*; none: reading_read leaves rule empty. */
MUST status reading_write(store *s, const shard_reading *r);
MUST status reading_read(store *s, shard_reading *r);
MUST status reading_check(const shard_reading *r, const char *what);
bool store_has_attr(store *s, const char *key);       /* of "/" */
void meta_label_path(char out[160], const shard_label *l, const char *member);
/* Read a whole array of exactly these dims into new memory. */
MUST status read_new(store *s, const char *name, enum dtype t, int ndim, const int64_t *dims, void *out_ptr);
/* n texts of less than SHARD_TEXT bytes into new memory. */
MUST status read_texts(store *s, const char *name, int64_t n, size_t width, void *out_ptr);
/* The texts at first, first + stride, ... as a fixed-length string array as wide as the longest. */
MUST status write_texts(store *s, const char *name, int64_t n, const char *first, size_t stride);

/* One shard file from samples in memory; `jobs` threads pack the pixels, which changes no byte. */
MUST status shard_write_file(const char *path, const shard_meta *m, const sample *const *samples, int64_t n, int jobs);
/* pack.c: one chunk through shuffle (elements of more than a byte), deflate and Fletcher32; *out: malloc'ed. A packer is one thread's. */
typedef struct packer packer;
bool packer_here(void);                               /* false: built without ISA-L and libdeflate */
MUST status packer_open(packer **out, size_t chunk_bytes);
MUST status packer_pack(packer *p, const void *chunk, size_t n, size_t element_bytes, char **out, size_t *n_out);
void packer_close(packer *p);
/* Fletcher's sum of big-endian 16-bit words, as HDF5 stores it; an odd last byte counts as a high one. */
uint32_t fletcher32(const uint8_t *p, size_t n);
/* unpack.c, behind DOOR. prepare: which form have the chunks of (rows,row_bytes), and memory for one, till release, also where it failed.
 * unpack_chunk: the top left corner of sample i's chunk; false, whatever the reason: HDF5 must be asked. */
MUST status unpack_prepare(chunk_form *c, hid_t plist, int64_t rows, size_t row_bytes, size_t element);
void unpack_release(chunk_form *c);
bool unpack_chunk(const chunk_form *c, hid_t set, int64_t i, int64_t rows, size_t row_bytes, void *out);
/* Room for one more after n elements: *cap grows by doubling. */
MUST status grow_array(void *array_ptr, int64_t n, int64_t *cap, size_t bytes, const char *what);
/* shard_splits.c: in place, the splits and the unit of spacing of a shard that was cut with open splits. *n: its samples, <= n_left. */
MUST status shard_set_splits(const char *path, const char *units, const shard_pledge *want, int64_t n_left, int64_t *n);
MUST status sample_check(const shard_meta *m, const sample *s); /* everything a reader relies on */

#endif
