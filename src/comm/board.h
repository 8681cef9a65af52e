/* board: where every rank says where it is, and where the others can read it without MPI: shared memory inside a node, a small file of
 * each node in the run folder between nodes. Only src/comm includes this. */
#ifndef MEDLEY_BOARD_H
#define MEDLEY_BOARD_H

#include "medley/core.h"

#include <stdatomic.h>

enum seat_state { SEAT_UNKNOWN, SEAT_WORKS, SEAT_WAITS, SEAT_LEAVES }; /* LEAVES: ends on purpose, it has said or will say why */

/* One rank's place. Written by its owner alone; `ticks` moves last. A reader may meet a text half written: it is for messages only. */
typedef struct seat {
    _Atomic uint64_t ticks;  /* moves whenever the rank does */
    _Atomic int32_t state;   /* seat_state */
    int32_t rank, pid;
    uint64_t pid_space;      /* its numbers of processes mean the same to those with the same value; 0: unknown */
    int64_t step;            /* -1: before the first one */
    char verb[16], waits_in[16], task[64];
} seat;

/* A rank as this process sees it. `silent` counts only while this process is awake: a job that was suspended as a whole is not hung. */
typedef struct view {
    seat     last;           /* copy, from the last look */
    double   silent;         /* seconds without a tick */
    int      node;           /* lowest rank of its node */
    bool     heard;          /* `last` is from this job */
    uint64_t beat;           /* of a node's lowest rank: how often the node has written its file; */
    double   stale;          /* seconds since it last did, as far as this node has looked */
} view;

typedef struct board {
    int      rank, size;     /* of the world; 0 and 1 before it is known */
    int      shown, shown_size; /* of this process in messages until then: what the launcher's variables say */
    int      node, n_local, me; /* this node's lowest rank; its number of ranks; this rank's seat */
    uint64_t job;            /* the same on all ranks, another in every job */
    seat    *seats;          /* (n_local) in rank order; shared if n_local > 1 and the system lets us */
    _Atomic int32_t *speaker; /* 1: somebody of this node tells what happened */
    view    *view;           /* (size) */
    int      n_nodes;
    char     folder[600];    /* of the files between nodes; "" = none */
    seat    *post;           /* (FILE_RANKS) what is read of a file; NULL on one node */
    uint64_t beat;           /* how often this node's file has been written */
} board;

enum { FILE_RANKS = 1024 }; /* more ranks on one node are not written down */

/* Rank 0 of 1 with a seat of its own, before MPI is open. */
void board_alone(board *b);
/* Local: the memory for n_local ranks of one node. The lowest one makes it and names it, the others open that name; then each says whether
 * it has it, and if all have, the name is removed (board_unname). board_private: what is left if one has not. */
MUST status board_make(board *b, char name[64]);
MUST status board_open(board *b, const char *name);
void board_unname(const char *name);
void board_private(board *b);
/* Local: a view of every rank; node_of (size): lowest rank of each rank's node. */
MUST status board_views(board *b, const int *node_of);
/* Looks at the ranks of this node. dt: awake seconds since the last look; it adds to the silence of all who have not moved, and of the
 * ranks of other nodes until board_heard says that they have. */
void board_look(board *b, double dt);
/* The files between nodes; these may block in the file system. board_read_file: the seats of a node into b->post, their number, and how often it
 * has written them: a node that waits goes on writing, one that is stopped does not. */
void board_write_file(board *b);
void board_remove_file(const board *b);
int  board_read_file(const board *b, int node, uint64_t *beat);
/* Takes the first n of b->post as the present state of `node`, written for the beat-th time. */
void board_heard(board *b, int node, int n, uint64_t beat);
/* State letter of /proc/PID/stat of a rank of this node: R S D T t Z; 0 if there is no such process; '?' if that cannot be known. */
char process_state(const seat *s);

#endif
