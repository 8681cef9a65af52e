/* bench_streams: memory bandwidth of one core, a[i] = b[i] + s * c[i] over arrays far larger than the caches (McCalpin's STREAM triad).
 * Prints the best GB/s of N seconds, counting two reads and one write. Run one per core at a time, it shows what the cores share.
 * Usage: bench_streams [SECONDS] */
#include "medley/core.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    enum { N = 16 << 20 };
    double seconds = argc > 1 ? atof(argv[1]) : 2, best = 0, end = timer_now() + seconds;
    arena memory;
    if (arena_init(&memory, 3 * sizeof(float) * (size_t)N, "triad")) return 1;
    float *a = ARENA_F32(&memory, N), *b = ARENA_F32(&memory, N), *c = ARENA_F32(&memory, N);
    for (int i = 0; i < N; i++) a[i] = 0, b[i] = (float)i, c[i] = 1;
    for (float s = 1; timer_now() < end; s += 1) {
        double from = timer_now();
        for (int i = 0; i < N; i++) a[i] = b[i] + s * c[i];
        double rate = 3 * sizeof(float) * 1e-9 * N / (timer_now() - from);
        if (rate > best) best = rate;
    }
    printf("%.2f %g\n", best, (double)a[N / 2]); /* the value keeps the loop alive */
    arena_free(&memory);
    return 0;
}
