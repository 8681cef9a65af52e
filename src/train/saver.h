/* saver: the thread of rank 0 that brings files to disk while training goes on. It knows bytes and paths, neither MPI nor HDF5. */
#ifndef SAVER_H
#define SAVER_H

#include "medley/store.h"

/* One file on its way. best.h5 and the checkpoint of a step have a slot each, so that both can be under way; first come, first served. */
enum { SLOT_STEP, SLOT_BEST, N_SLOTS };

typedef struct saved {
    store_image image;   /* kept from save to save */
    char    path[700];
    int64_t step;
    double  score;       /* best.h5: its validation mean */
    double  stall_s;     /* that training stood still: set by whoever fills the slot */
    double  save_s;      /* from hand-over to the file being in place */
    status  st;          /* of the save */
    char    why[2048];   /* if it failed */
} saved;

typedef struct saver saver;

/* Local. background: with a thread; without one (or if none can be had) saver_submit saves before it returns. room[i]: bytes set aside for
 * slot i at once; a larger image grows it. */
MUST status saver_open(saver **out, const size_t room[N_SLOTS], bool background);
void saver_close(saver *s); /* waits for what is under way; NULL allowed */
/* The slot, to be filled by the caller: image, path, step, stall_s. It must be free (saver_wait, then saver_take). */
saved *saver_slot(saver *s, int which);
void saver_submit(saver *s, int which);
/* Waits at most `seconds` until slot `which` (-1: every slot) is not under way any more; true if so. *progress grows while bytes move. */
bool saver_wait(saver *s, int which, double seconds, int64_t *progress);
/* The slot that finished and nobody has taken yet, the first handed over first that nobody has taken yet, or NULL. It is free again after the call, its contents valid until it is used. */
const saved *saver_take(saver *s);
bool saver_background(const saver *s);

#endif
