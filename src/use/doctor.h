/* doctor: what `medley doctor` looks at. Facts are gathered by every rank; rank 0 speaks. */
#ifndef MEDLEY_DOCTOR_H
#define MEDLEY_DOCTOR_H

#include "medley/comm.h"

typedef struct doctor { FILE *out; int n_traps; } doctor;
void doctor_trap(doctor *d, const char *fmt, ...) PRINTF_LIKE(2, 3); /* one known trap, and its cure */

/* A folder as one rank sees it. Local; what fails is a fact, not an error. */
typedef struct folder_facts {
    char   kind[24];         /* "ext4", "NFS", "Lustre", ...; "type 0x1234" */
    bool   in_memory;
    double free_bytes, sync_rate; /* bytes/s of a file written and synced; 0: not tried */
    char   write_fault[160]; /* "" or why no file can be made, synced and renamed */
    bool   locks;            /* fcntl locks, which keep two trainings out of one run folder */
} folder_facts;
void doctor_folder(const char *folder, folder_facts *out);

#endif
