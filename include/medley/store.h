/* store: HDF5 files. Named arrays with shape, type and checksum; shards; the checkpoint container. And safetensors files.
 * Only src/store includes hdf5.h. Serial HDF5; locking off by default (read-only and parallel file systems). */
#ifndef MEDLEY_STORE_H
#define MEDLEY_STORE_H

#include "medley/batch.h"
#include "medley/core.h"

enum dtype { DT_U8, DT_U16, DT_I16, DT_I32, DT_U32, DT_I64, DT_F32, DT_F64, N_DTYPES };
size_t dtype_bytes(enum dtype t);
const char *dtype_name(enum dtype t);

/* ---- named arrays ------------------------------------------------------------------------------------------- */

typedef struct store store;

/* Create PATH aside as PATH.part; store_commit flushes, fsyncs, renames and fsyncs the folder. store_discard removes it. */
MUST status store_create(store **out, const char *path);
MUST status store_commit(store *s);  /* closes s in every case */
void        store_discard(store *s); /* closes; NULL allowed */
MUST status store_open(store **out, const char *path); /* read-only */
/* The same from the bytes of a file that somebody has read: `path` is for messages. HDF5 keeps a copy. */
MUST status store_open_bytes(store **out, const char *path, const void *bytes, size_t n_bytes);
void        store_close(store *s);                     /* NULL allowed */

/* The same in memory, for a file that is saved while work goes on: store_create_image, any writes, store_close_image; then
 * store_write_image in any thread. `bytes` (malloc'ed, owned by the caller) of `room` bytes is used again each time and grown if it is
 * too small; n: bytes of the finished file. */
typedef struct store_image { char *bytes; size_t n, room; } store_image;
MUST status store_create_image(store **out, const char *path, store_image *m); /* path: for messages; no file is touched */
MUST status store_close_image(store *s);                                       /* closes s in every case */
/* Written aside, sealed, synced, compared with the memory, renamed, folder synced. ST_RESOURCE names path and cause, and then nothing
 * half done stays. Without HDF5. *progress (or NULL) grows while it works. */
MUST status store_write_image(const store_image *m, const char *path, _Atomic int64_t *progress);
/* Is every bit of the file as it was written? Whole-file seal if it has one (see src/store/store_seal.c), else the arrays' sums. */
MUST status store_verify(const char *path);

/* Whole arrays. Groups in `name` ("weights/encoder...") are made as needed. Each array carries attribute crc32c (u32, of its
 * raw little-endian bytes); store_read recomputes it. ST_DATA names file and object. deflate: 0 none, 1..9 (+shuffle, fletcher32). */
MUST status store_write(store *s, const char *name, enum dtype t, int ndim, const int64_t *dims, const void *data, int deflate);
MUST status store_read(store *s, const char *name, enum dtype t, int64_t n_expected, void *out);
MUST status store_shape(store *s, const char *name, enum dtype *t, int *ndim, int64_t dims[8]);
bool        store_has(store *s, const char *name);
/* Fixed-length UTF-8 string arrays: one char[n][width], NUL padded. */
MUST status store_write_text(store *s, const char *name, int64_t n, int width, const char *data);
MUST status store_read_text(store *s, const char *name, int64_t *n, int *width, char **out); /* free() */
MUST status store_text_shape(store *s, const char *name, int64_t *n, int *width); /* what the file says, not yet held against its size */
/* Attributes of object `name` ("/" = root). Strings are fixed-length UTF-8. */
MUST status store_put_str(store *s, const char *name, const char *key, const char *value);
MUST status store_put_i64(store *s, const char *name, const char *key, int64_t value);
MUST status store_put_f64(store *s, const char *name, const char *key, double value);
MUST status store_get_str(store *s, const char *name, const char *key, char *out, size_t out_bytes);
MUST status store_get_i64(store *s, const char *name, const char *key, int64_t *out);
MUST status store_get_f64(store *s, const char *name, const char *key, double *out);
/* Names of the members of a group, in name order: char[n][width 128]; free(). */
MUST status store_list(store *s, const char *group, int *n, char (**out)[128]);

/* One whole gzip file into `room` bytes, faster than zlib. False: it is something else (several members, damaged, longer), or this build
 * has no libdeflate; the caller asks zlib then, and gets its messages. */
bool unpack_gzip(const void *bytes, size_t n, void *out, size_t room, size_t *n_out);
bool unpack_zlib(const void *bytes, size_t n, void *out, size_t n_out); /* one zlib stream of n_out bytes, neither more nor less */
uint32_t unpack_crc32(const void *bytes, size_t n);                     /* zlib's CRC-32; 0 without libdeflate */

/* ---- shards ------------------------------------------------------------------------------------------------- *
 *
 * One HDF5 file (format "medley-shard", version 1) with N samples of one image set and its label sets (none: no /label):
 *
 *   attributes of "/"    format, format_version, name (data set), title, modality, licence, citation, origin, recipe_sha256,
 *                        creator, axes="sample,y,x,channel", and, if samples were made of files, reading_* (see shard_reading)
 *   /image               (N,Hmax,Wmax,C) u8|u16|i16|f32   one sample per chunk, sample in the top-left corner, zeros beyond
 *   /size                (N,2) i32          height, width of each sample
 *   /range               (N,2) f32          intensities that load time maps to 0 and 1 (CT: window; MR: volume percentiles)
 *   /spacing             (N,2) f32          row, column spacing; NaN unknown; attribute units = "mm" | "um" | ""
 *   /id /subject /centre /case /source      fixed-length strings (N); case = what metrics are averaged over (volume or image)
 *   /slice               (N) i32            slice number in the volume, -1 if 2-D
 *   /split               (N) u8             0 train, 1 val, 2 test
 *   /source_sha256       (N) string[64]
 *   /image_crc32c        (N) u32            over the valid H*W*C raw bytes
 *   /label/NAME          group; attributes kind, n_classes, (regression) lo, hi
 *   /label/NAME/present  (N) u8             1 if the sample has this label
 *   /label/NAME/names    (K) string         class names (segmentation: including background as class 0)
 *   /label/NAME/class    (N) i32            classification, -1 missing
 *   /label/NAME/vector   (N,K) u8           multilabel, 255 missing
 *   /label/NAME/scalar   (N) f32            regression, NaN missing
 *   /label/NAME/mask     (N,Hmax,Wmax) u8   segmentation, 255 ignored and beyond the image; one sample per chunk
 *   /label/NAME/mask_crc32c (N) u32         over the valid H*W bytes, 0 without a mask
 *   /label/NAME/box_off  (N+1) i64, /box (M,4) f32 x0 y0 x1 y1 in pixel edges, /box_class (M) i32   detection
 *
 * deflate 4 + shuffle (2-byte types and up) + Fletcher32 on image and mask.
 * A data set folder holds NAME-00000.h5 ..., index.h5 (see catalogue) and SHA256SUMS (checkable with sha256sum -c). */

#define SHARD_MAX_LABELS 8

typedef struct shard_label {
    char    name[64];
    enum task_kind kind;
    int     n_classes;              /* K; 1 for regression */
    char  (*class_name)[64];        /* K */
    double  lo, hi;                 /* regression range */
} shard_label;

/* How source files became these samples, so that predict sees others in the same way: attributes reading_rule, reading_lo ... of "/", in shards
 * and index. */
typedef struct shard_reading {
    char   rule[12];                /* of /range: "dtype", "window", "percentile"; "": not known */
    double lo, hi;                  /* window: the intensities; percentile: 0 to 100 of each image or volume */
    double spacing_y, spacing_x;    /* of files that do not say; 0: unknown */
    double mpp, tissue;             /* whole slides: micrometres per pixel of a tile of side `tile` (0: no slides), least share of it that is tissue */
    int    tile, axis, max_side;    /* axis across which volumes were cut: 0 z (as stored), 1 y, 2 x; larger images were stored smaller, 0: not */
    int    n_frames, frame[3];      /* 4-D files: the volumes that became the channels */
} shard_reading;

typedef struct shard_meta {         /* what a shard, and the index, says about its data set */
    char name[64], title[256], modality[64], licence[256], citation[512], origin[512], recipe_sha256[65], spacing_units[8];
    enum dtype pixel;
    int  channels;
    shard_reading reading;
    int  n_labels;
    shard_label label[SHARD_MAX_LABELS];
} shard_meta;
void shard_meta_free(shard_meta *m);

typedef struct sample_label {       /* one sample's label in one label set */
    bool     present;
    int32_t  cls;
    uint8_t *vec;                   /* (K) */
    float    scalar;
    uint8_t *mask;                  /* (H,W) */
    int      n_box;
    float   *box;                   /* (n_box,4) */
    int32_t *box_cls;               /* (n_box) */
} sample_label;

typedef struct sample {             /* writer's view of one sample; pointers are the caller's */
    char id[SHARD_TEXT], subject[SHARD_TEXT], centre[SHARD_TEXT], case_id[SHARD_TEXT], source[SHARD_TEXT], source_sha256[65];
    int   slice, H, W;
    float range[2], spacing[2];
    enum split split;
    const void *pixels;             /* (H,W,C) in meta.pixel */
    sample_label label[SHARD_MAX_LABELS];
} sample;

/* Writer of a data set folder: collects samples, cuts shards by size, writes index.h5 and SHA256SUMS last, everything aside in
 * OUT/NAME.part, renamed to OUT/NAME at the end. Refuses an existing OUT/NAME unless force. */
typedef struct shard_writer shard_writer;
MUST status shard_writer_open(shard_writer **out, const char *out_dir, const shard_meta *meta, int64_t shard_bytes, bool force);
MUST status shard_writer_add(shard_writer *w, const sample *s);
MUST status shard_writer_close(shard_writer *w); /* frees w in every case */
void        shard_writer_discard(shard_writer *w);

/* Shard files DIR/NAME-00000.h5, ... alone, for a data set whose splits are known only when all of it has been read, perhaps by several
 * processes: with open_splits /split holds SPLIT_OPEN, which no reader takes. `meta` must outlive the cutter. */
#define SPLIT_OPEN 255
typedef struct shard_note { char file[SHARD_TEXT], sha256[65]; int64_t n, bytes, n_split[N_SPLITS]; } shard_note;
typedef struct shard_cutting {
    int64_t shard_bytes; /* cut at about this size; 0: 256 MiB */
    int     first, jobs; /* number of the first shard; threads that pack pixels, 0 = 1 */
    bool    open_splits;
} shard_cutting;
typedef struct shard_cutter shard_cutter;
MUST status shard_cutter_open(shard_cutter **out, const char *dir, const shard_meta *meta, const shard_cutting *how);
MUST status shard_cutter_add(shard_cutter *k, const sample *s, bool *cut); /* *cut: a shard with all samples before s is on disk */
MUST status shard_cutter_flush(shard_cutter *k, bool *cut);                /* the rest becomes a shard; *cut: there was one */
const shard_note *shard_cutter_last(const shard_cutter *k);                /* without sha256 and bytes */
void        shard_cutter_close(shard_cutter *k);                           /* NULL allowed; what was not flushed is dropped */
/* Such a shard, whole, becomes the next of a data set: want[0..*n) says split and case of its samples, in order. It is changed in place and
 * linked (moved where there are no links), so that asking again after a run that died does no harm. ST_DATA: not what was expected. */
typedef struct shard_pledge { const char *case_id; uint8_t split; } shard_pledge;
MUST status shard_writer_adopt(shard_writer *w, const char *path, const shard_pledge *want, int64_t n_left, int64_t *n);
/* Adopted shards bring no counts for n_class of the index (masks would have to be read): they are added here. */
void        shard_writer_count(shard_writer *w, int label, enum split split, int cls, int64_t n);

/* Reader of one shard: the index arrays are read and checked at open; pixels and masks one sample at a time. */
typedef struct shard {
    store     *file;
    char       path[512];
    shard_meta meta;
    int64_t    n;
    int        Hmax, Wmax;
    int32_t   *size, *slice;       /* (n,2), (n) */
    float     *range, *spacing;    /* (n,2) */
    char     (*id)[SHARD_TEXT], (*subject)[SHARD_TEXT], (*centre)[SHARD_TEXT], (*case_id)[SHARD_TEXT], (*source)[SHARD_TEXT];
    char     (*source_sha256)[65];
    uint8_t   *split;              /* (n) */
    uint32_t  *crc;                /* (n) */
    struct {
        uint8_t *present; int32_t *cls; uint8_t *vec; float *scalar; int64_t *box_off; float *box; int32_t *box_cls; bool has_mask;
        uint32_t *mask_crc;        /* (n) */
    } label[SHARD_MAX_LABELS];
} shard;
MUST status shard_open(shard *s, const char *path);
void        shard_close(shard *s);
/* Pixels of sample i, packed (H,W,C) in meta.pixel; out must hold Hmax*Wmax*C elements. Fletcher32 and crc are checked. */
MUST status shard_read_image(shard *s, int64_t i, void *out);
MUST status shard_read_mask(shard *s, int64_t i, int label, uint8_t *out); /* (H,W) packed */

/* index.h5 of a data set folder (written by shard_writer_close):
 *   attributes as in a shard; /file (S) string, /n (S) i64, /n_split (S,3) i64, /bytes (S) i64, /sha256 (S) string, label groups with
 *   kind, n_classes, names and n_present (3 splits) i64; n_class (3,K) i64: samples (classification), positives (multilabel), boxes
 *   (detection), samples with the class (segmentation). And of all N samples in the order of the shards, so that samples can be
 *   chosen without opening a shard: /split (N) u8, /id /case (N) string, /label/NAME/present (N) u8, /label/NAME/class (N) i32 */
typedef struct catalogue {
    char       dir[512];
    shard_meta meta;
    int        n_shards;
    char     (*file)[SHARD_TEXT];
    int64_t   *n;                  /* (S) */
    int64_t   *n_split;            /* (S,3) */
    int64_t   *bytes;              /* (S) */
    char     (*sha256)[65];
    int64_t    n_total;            /* N, samples of all shards */
    uint8_t   *split;              /* (N) */
    char      *id, *case_id;       /* (N) texts of id_width, case_width bytes, NUL included */
    int        id_width, case_width;
    struct { uint8_t *present; int32_t *cls; int64_t *n_class; } label[SHARD_MAX_LABELS]; /* (N), (N) or NULL, (3,K) */
} catalogue;
MUST status catalogue_open(catalogue *c, const char *dir);
/* In two steps, so that one rank reads and the others are sent the bytes: the whole of dir/index.h5, free(); and the catalogue from it. */
MUST status catalogue_read(const char *dir, char **bytes, size_t *n_bytes);
MUST status catalogue_open_bytes(catalogue *c, const char *dir, const void *bytes, size_t n_bytes);
void        catalogue_close(catalogue *c);

/* ---- safetensors: weights from and for other programs -------------------------------------------------------- *
 *
 * u64 length of the header, the header (JSON: name -> {"dtype", "shape", "data_offsets": [from, to]} and "__metadata__": texts), the
 * elements, little-endian, C order. No code and no checksums in it. Everything the header says is checked at open: every range lies in
 * the file, none overlap, none leave a gap, every range is as long as its shape says, no name comes twice. ST_DATA names file and tensor.
 * Memory is taken for the header alone (at most TENSORS_HEADER_MAX bytes of it are read), never for what it promises. */

#define TENSORS_HEADER_MAX (16 << 20)
#define TENSORS_MAX_DIMS 8

enum tensor_type { TT_BOOL, TT_U8, TT_I8, TT_F8_E5M2, TT_F8_E4M3, TT_U16, TT_I16, TT_F16, TT_BF16, TT_U32, TT_I32, TT_F32, TT_U64, TT_I64,
                   TT_F64, N_TENSOR_TYPES };
const char *tensor_type_name(enum tensor_type t);

typedef struct tensor_info {
    const char *name;               /* the file's; valid until tensors_close */
    enum tensor_type type;          /* as stored */
    int     ndim;                   /* 0: one number */
    int64_t dims[TENSORS_MAX_DIMS];
    int64_t n;                      /* elements */
    int64_t from, to;               /* bytes, counted from the end of the header */
} tensor_info;

typedef struct tensors tensors;
MUST status tensors_open(tensors **out, const char *path);
void        tensors_close(tensors *t);                                     /* NULL allowed */
int         tensors_count(const tensors *t);
/* One after the other in the order of the data: `after` NULL gives the first; NULL behind the last. */
const tensor_info *tensors_next(const tensors *t, const tensor_info *after);
const tensor_info *tensors_find(const tensors *t, const char *name);       /* NULL: no such tensor */
/* The i-th pair of __metadata__, false behind the last; and the value of a key, NULL if there is none. */
bool        tensors_meta(const tensors *t, int i, const char **key, const char **value);
const char *tensors_meta_find(const tensors *t, const char *key);
/* All elements of x, which must be n_expected, as DT_F32 (of F32, F16, BF16: exact; of F64: rounded, not beyond what f32 holds), as DT_F64
 * (of any float type) or as DT_I64 (of I64). Other pairs: ST_DATA. */
MUST status tensors_read(tensors *t, const tensor_info *x, enum dtype as, int64_t n_expected, void *out);

/* Writer: first everything that goes in, then the file in one go, aside, synced, renamed. Names and texts are UTF-8. */
typedef struct tensors_writer tensors_writer;
MUST status tensors_create(tensors_writer **out, const char *path);
MUST status tensors_put_meta(tensors_writer *w, const char *key, const char *value);
/* t: DT_F32, DT_F64 or DT_I64. `data` stays the caller's and is read by tensors_commit. A name that was put before: ST_BUG. */
MUST status tensors_put(tensors_writer *w, const char *name, enum dtype t, int ndim, const int64_t *dims, const void *data);
MUST status tensors_commit(tensors_writer *w);  /* frees w in every case */
void        tensors_discard(tensors_writer *w); /* frees w; NULL allowed */

#endif
