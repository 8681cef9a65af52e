/* run_lock: one training at a time in a run folder. A second one would take the first one's unfinished files for leftovers. The lock dies
 * with its process, however that ends. Where the file system has no locks, there is none. */
#include "train_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

status run_lock(trainer *t)
{
    char path[700];
    snprintf(path, sizeof path, "%s/lock", t->job.run);
    t->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    CHECK(t->lock_fd >= 0, ST_RESOURCE, "cannot write %s: %s", path, strerror(errno));
    struct flock ask = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(t->lock_fd, F_SETLK, &ask) == 0 || (errno != EACCES && errno != EAGAIN)) return OK;
    struct flock who = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    bool known = fcntl(t->lock_fd, F_GETLK, &who) == 0 && who.l_type != F_UNLCK && who.l_pid > 0;
    run_unlock(t);
    return status_raise(ST_USAGE, __FILE__, __LINE__, "%s: another medley train works in this folder (process %d%s). End it first, or use "
                        "another run folder", t->job.run, known ? (int)who.l_pid : 0, known ? "" : ", on another machine maybe");
}

void run_unlock(trainer *t)
{
    if (t->lock_fd > 0) close(t->lock_fd);
    t->lock_fd = 0;
}
