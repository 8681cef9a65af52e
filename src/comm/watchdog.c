/* watchdog: ends a process that makes no progress, so that one stuck rank cannot hold the others for ever. The launcher ends the rest.
 * It calls neither MPI nor anything that may block on it: another thread can be inside MPI. */
#include "medley/comm.h"

#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool running, leave;
    int rank;
    double seconds, last;
    int64_t step;
    char verb[32], task[64];
} dog = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static void *watch(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&dog.lock);
    while (!dog.leave) {
        double left = dog.last + dog.seconds - timer_now();
        if (left <= 0) {
            char text[320];
            int n = snprintf(text, sizeof text, "medley: rank %d: error: no progress for %.0f s at step %lld, %s%s%s: giving up\n", dog.rank,
                             dog.seconds, (long long)dog.step, dog.verb, dog.task[0] ? ", task " : "", dog.task);
            ssize_t ignored = write(STDERR_FILENO, text, (size_t)n);
            (void)ignored;
            _exit(ST_COMM);
        }
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        double nap = left < 1.0 ? left : 1.0;
        until.tv_nsec += (long)(nap * 1e9);
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&dog.wake, &dog.lock, &until);
    }
    pthread_mutex_unlock(&dog.lock);
    return NULL;
}

void watchdog_start(int rank, double seconds)
{
    if (dog.running || seconds <= 0) return;
    dog.rank = rank;
    dog.seconds = seconds;
    dog.last = timer_now();
    dog.leave = false;
    strcpy(dog.verb, "start");
    dog.running = pthread_create(&dog.thread, NULL, watch, NULL) == 0;
}

void watchdog_tick(int64_t step, const char *verb, const char *task)
{
    if (!dog.running) return;
    pthread_mutex_lock(&dog.lock);
    dog.last = timer_now();
    dog.step = step;
    snprintf(dog.verb, sizeof dog.verb, "%s", verb);
    snprintf(dog.task, sizeof dog.task, "%s", task ? task : "");
    pthread_mutex_unlock(&dog.lock);
}

void watchdog_stop(void)
{
    if (!dog.running) return;
    pthread_mutex_lock(&dog.lock);
    dog.leave = true;
    pthread_cond_signal(&dog.wake);
    pthread_mutex_unlock(&dog.lock);
    pthread_join(dog.thread, NULL);
    dog.running = false;
}
