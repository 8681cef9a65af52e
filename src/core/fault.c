/* fault: numbered fault points that ship in the program. MEDLEY_FAULT="save_rename@2:kill" kills at the second visit.
 * MEDLEY_FAULT_RANK=r restricts them to the rank of that number (MPI launcher's variable). */
#include "medley/core.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_FAULTS = 16 };
enum action { ACT_KILL, ACT_RAISE, ACT_STOP, ACT_HANG, ACT_NAN };
static struct { char name[48]; long at, seen; enum action action; } fault[MAX_FAULTS];
static int n_faults;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void parse(void)
{
    const char *spec = getenv("MEDLEY_FAULT"), *only = getenv("MEDLEY_FAULT_RANK"), *mine = getenv("OMPI_COMM_WORLD_RANK");
    if (!mine) mine = getenv("PMIX_RANK");
    if (!mine) mine = getenv("SLURM_PROCID");
    if (!spec || (only && strcmp(only, mine ? mine : "0") != 0)) return;
    static const char *const words[] = {"kill", "raise", "stop", "hang", "nan"};
    char copy[1024], *save = NULL;
    snprintf(copy, sizeof copy, "%s", spec);
    for (char *item = strtok_r(copy, ",", &save); item && n_faults < MAX_FAULTS; item = strtok_r(NULL, ",", &save)) {
        char action[16] = "kill";
        fault[n_faults].at = 1;
        if (sscanf(item, "%47[^@:]@%ld:%15s", fault[n_faults].name, &fault[n_faults].at, action) < 1) continue;
        for (int a = 0; a < 5; a++)
            if (strcmp(action, words[a]) == 0) fault[n_faults].action = (enum action)a;
        n_faults++;
    }
}

bool fault_hit(const char *name)
{
    pthread_once(&once, parse);
    bool asked = false;
    for (int i = 0; i < n_faults; i++) {
        if (strcmp(fault[i].name, name) != 0) continue;
        pthread_mutex_lock(&lock);
        bool now = ++fault[i].seen == fault[i].at;
        pthread_mutex_unlock(&lock);
        if (!now) continue;
        switch (fault[i].action) {
        case ACT_KILL: raise(SIGKILL); break;
        case ACT_STOP: raise(SIGSTOP); break;
        case ACT_HANG:
            for (;;) pause();
        case ACT_RAISE:
        case ACT_NAN: asked = true;
        }
    }
    return asked;
}
