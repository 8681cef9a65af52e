/* saver: hand-over of finished images to one thread, and what became of them. */
#include "saver.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum stage { FREE, QUEUED, SAVING, FINISHED };

struct saver {
    pthread_t       thread;
    pthread_mutex_t lock;
    pthread_cond_t  changed;
    bool            background, leave;
    int64_t         n_handed;          /* orders slots */
    _Atomic int64_t progress;
    struct { saved file; enum stage stage; int64_t order; double from; } slot[N_SLOTS];
};

/* The slot in that stage that came first, or -1. Under the lock. */
static int first_in(const saver *s, enum stage stage)
{
    int best = -1;
    for (int i = 0; i < N_SLOTS; i++)
        if (s->slot[i].stage == stage && (best < 0 || s->slot[i].order < s->slot[best].order)) best = i;
    return best;
}

static void save_one(saver *s, int i)
{
    saved *f = &s->slot[i].file;
    f->st = store_write_image(&f->image, f->path, &s->progress);
    f->why[0] = 0;
    if (f->st) snprintf(f->why, sizeof f->why, "%.2000s", status_message());
    f->save_s = timer_now() - s->slot[i].from;
}

static void *work(void *arg)
{
    saver *s = arg;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        int i = first_in(s, QUEUED);
        if (i < 0 && s->leave) break;
        if (i < 0) {
            pthread_cond_wait(&s->changed, &s->lock);
            continue;
        }
        s->slot[i].stage = SAVING;
        pthread_mutex_unlock(&s->lock);
        save_one(s, i);
        pthread_mutex_lock(&s->lock);
        s->slot[i].stage = FINISHED;
        s->progress++;
        pthread_cond_broadcast(&s->changed);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static bool start_thread(saver *s)
{
    int bad = thread_start(&s->thread, work, s);
    if (bad) log_line(LOG_WARN, "no thread for saving (%s): training waits for each checkpoint", strerror(bad));
    return !bad;
}

status saver_open(saver **out, const size_t room[N_SLOTS], bool background)
{
    saver *s;
    status st = OK;
    TRY(mem_alloc(&s, sizeof *s, "saver"), "checkpoint");
    for (int i = 0; i < N_SLOTS && !st; i++) {
        store_image *m = &s->slot[i].file.image;
        st = mem_alloc(&m->bytes, room[i], "checkpoint in memory");
        if (!st) m->room = room[i];
    }
    if (st) {
        for (int i = 0; i < N_SLOTS; i++) free(s->slot[i].file.image.bytes);
        free(s);
        return st;
    }
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    s->background = background && start_thread(s);
    *out = s;
    return OK;
}

void saver_close(saver *s)
{
    if (!s) return;
    if (s->background) {
        pthread_mutex_lock(&s->lock);
        s->leave = true;
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->thread, NULL);
    }
    for (int i = 0; i < N_SLOTS; i++) free(s->slot[i].file.image.bytes);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

saved *saver_slot(saver *s, int which) { return &s->slot[which].file; }

void saver_submit(saver *s, int which)
{
    pthread_mutex_lock(&s->lock);
    s->slot[which].from = timer_now();
    s->slot[which].order = s->n_handed++;
    if (s->background) {
        s->slot[which].stage = QUEUED;
        pthread_cond_broadcast(&s->changed);
    } else {
        save_one(s, which);
        s->slot[which].stage = FINISHED;
    }
    pthread_mutex_unlock(&s->lock);
}

static bool under_way(const saver *s, int which)
{
    for (int i = 0; i < N_SLOTS; i++)
        if ((which < 0 || which == i) && (s->slot[i].stage == QUEUED || s->slot[i].stage == SAVING)) return true;
    return false;
}

bool saver_wait(saver *s, int which, double seconds, int64_t *progress)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)seconds;
    until.tv_nsec += (long)((seconds - (double)(time_t)seconds) * 1e9);
    if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
    pthread_mutex_lock(&s->lock);
    while (under_way(s, which) && pthread_cond_timedwait(&s->changed, &s->lock, &until) != ETIMEDOUT) { }
    bool done = !under_way(s, which);
    pthread_mutex_unlock(&s->lock);
    *progress = s->progress;
    return done;
}

const saved *saver_take(saver *s)
{
    pthread_mutex_lock(&s->lock);
    int i = first_in(s, FINISHED);
    if (i >= 0) s->slot[i].stage = FREE;
    pthread_mutex_unlock(&s->lock);
    return i < 0 ? NULL : &s->slot[i].file;
}

bool saver_background(const saver *s) { return s->background; }
