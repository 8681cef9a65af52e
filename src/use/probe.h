/* probe: what the files of `medley probe` share. Letters: S training subjects, K classes, D columns of a vector. */
#ifndef USE_PROBE_H
#define USE_PROBE_H

#include "pooled.h"

/* ---- the samples of one label set: probe_roll.c ------------------------------------------------------------------------------------ */

typedef struct roll {
    char      data_name[64], label_name[64];
    enum task_kind kind;
    int       K;
    double    lo, hi;              /* regression */
    int64_t   n, n_split[N_SPLITS], n_subjects; /* labelled samples; S */
    char    (*class_name)[64];     /* (K) */
    int64_t  *index;               /* (n) global index, ascending */
    uint8_t  *split;               /* (n) */
    int64_t  *subject;             /* (n) number of a training subject in the order of their first samples; -1: of no training sample */
    uint64_t *case_id;             /* (n) */
    int32_t  *cls;                 /* (n) classification */
    uint8_t  *vec;                 /* (n,K) multilabel: 0, 1, 255 = missing; detection: is there a box of the class? */
    float    *scalar;              /* (n) regression */
    char    (*id)[SHARD_TEXT], (*subject_name)[SHARD_TEXT]; /* (n) each; rank 0 */
} roll;
/* Collective: rank 0 reads the index and every shard's labels. ST_DATA: no such label set, or a split is empty that is needed. */
MUST status roll_read(roll *r, comm *world, const char *dir, const char *label);
void roll_close(roll *r);

/* ---- which subjects: probe_draw.c ---------------------------------------------------------------------------------------------------- */

/* Place (S) of every training subject in the order of a repeat, of which a fraction takes the first: nested by construction. The first
 * *least of them bring at least one sample of every class that the training split has (a positive of every label, a box of every class);
 * the others follow in random order. A function of seed and repeat alone. */
MUST status draw_order(const roll *r, uint64_t seed, int repeat, int64_t *place, int64_t *least);
int64_t draw_count(double percent, int64_t n_subjects, int64_t least); /* subjects of a fraction: rounded, not below least, at least 1 */
/* rows (n_split[train]): places in the roll of the training samples whose subjects come before `subjects`; returns how many. */
int64_t draw_rows(const roll *r, const int64_t *place, int64_t subjects, int64_t *rows);

/* ---- heads on fixed vectors: probe_head.c ---------------------------------------------------------------------------------------------- */

typedef struct head_ask {
    const roll    *r;
    const float   *x;              /* (r->n, D) */
    int            D;
    const int64_t *rows;           /* (n) of the roll, that are learnt from */
    int64_t        n;
    double         strength;       /* C of logistic regression, 1 / alpha of ridge; 0: the best of `head_strengths` on the val split */
    int            neighbours;     /* most of them */
} head_ask;
int head_k(int most, int64_t n); /* how many of n samples vote: no more than their root */
#define HEAD_STRENGTHS 8
extern const double head_strengths[HEAD_STRENGTHS];
/* Fit, choose, score the test split. *strength: which was taken. */
MUST status head_linear(const head_ask *ask, metric_result *out, double *strength);
MUST status head_neighbours(const head_ask *ask, metric_result *out);

/* ---- the whole ------------------------------------------------------------------------------------------------------------------------- */

enum probe_method { METHOD_LINEAR, METHOD_NEIGHBOURS, METHOD_DECODER, METHOD_FINETUNE, N_METHODS };
typedef struct method_row {
    const char *name, *about;
    bool kind[N_TASK_KINDS];
    bool trained;                  /* by steps of the trainer, else fitted to vectors */
} method_row;
extern const method_row probe_methods[N_METHODS];

enum { PROBE_MOST_ENCODERS = 8, PROBE_MOST_FRACTIONS = 16, PROBE_MOST_REPEATS = 1000, PROBE_VALUES = 5 };
enum { ENCODER_RUN, ENCODER_RANDOM, ENCODER_OTHERS };

typedef struct probe_encoder { char name[64], variant[32], file[1300]; const char *from; } probe_encoder;

/* What one encoder by one method reached with one fraction in one repeat. Sent as bytes. */
typedef struct outcome {
    int64_t subjects, samples;
    double  score, setting;        /* setting: C; neighbours; steps */
    int     n;
    char    name[PROBE_VALUES][32], score_name[32];
    double  value[PROBE_VALUES];   /* the metric's means, by name */
} outcome;

typedef struct probe {
    comm       *world;
    const char *from, *task, *data, *label_asked, *image, *spacing, *out_asked;
    weights_ask ask;
    const char *against[PROBE_MOST_ENCODERS];
    int         n_against;
    bool        finetune, force;
    int64_t     repeats, neighbours, seed, steps;
    double      strength, lr, decoder_lr;
    int         n_fractions;
    double      fraction[PROBE_MOST_FRACTIONS];  /* percent, rising */
    /* decided by rank 0 */
    char        out[1024], name[64], label[64];
    seen_data   seen;
    bool        has_job;
    job        *job;               /* one task, for what is trained; has_job */
    int         n_encoders, n_methods;
    probe_encoder encoder[PROBE_MOST_ENCODERS];
    enum probe_method method[N_METHODS];
    roll        roll;
    int64_t    *place, *least;     /* (repeats, S), (repeats) */
    outcome    *result;            /* (encoders, methods, fractions, repeats) rank 0 */
} probe;

static inline int64_t probe_cell(const probe *p, int encoder, int method, int fraction, int repeat)
{
    return ((((int64_t)encoder * p->n_methods + method) * p->n_fractions) + fraction) * p->repeats + repeat;
}

/* Every subject is drawn and nothing else is left to chance: what the first repeat reached counts for this one. */
bool probe_is_copy(const probe *p, int method, int fraction, int repeat);
/* Collective: all units of one encoder, shared out over the ranks: probe_units.c */
MUST status probe_encoder_units(probe *p, int encoder, const weights *w);

/* Rank 0: probe_write.c, probe_page.c */
typedef struct band { double mean, lo, hi; int n; } band; /* over n repeats; lo, hi: Student's 95 % interval, NaN below two */
double band_t975(int freedom);     /* 97.5 % quantile of Student's t */
band band_of(const double *v, int n); /* NaNs are left out */
/* Scores of the repeats that are no copies; and less those of the random encoder, repeat by repeat. */
band probe_band(const probe *p, int encoder, int method, int fraction);
band probe_difference(const probe *p, int encoder, int method, int fraction);
enum { PROBE_SAYING = 320 };
void probe_says(const probe *p, int encoder, int method, char out[PROBE_SAYING]); /* with what it reaches what random weights reach with all */

typedef void probe_put(const probe *p, FILE *out);
typedef struct probe_output { const char *name; probe_put *put; } probe_output;
extern const probe_output probe_outputs[]; /* the files in p->out; ends with name == NULL */
void probe_svg(const probe *p, FILE *out);
void probe_html(const probe *p, FILE *out);
MUST status probe_write(const probe *p);   /* all of them, and a table on the screen */

#endif
