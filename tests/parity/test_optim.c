/* AdamW against torch.optim.AdamW (values stored by make_optim.py), and the learning-rate schedule. */
#include "../../src/train/train_internal.h"
#include "test.h"

enum { N = 48 };

static void adamw_equals_torch(void)
{
    FILE *f = fopen(REF_DIR "/adamw.txt", "r");
    EXPECT(f != NULL, "%s is missing", REF_DIR "/adamw.txt");
    if (!f) return;
    float w[N], g[N], m[N], v[N];
    int step, lines = 0;
    double decay, lr, worst = 0;
    while (fscanf(f, "%d %lf %lf", &step, &decay, &lr) == 3) {
        if (step == 0)
            for (int i = 0; i < N; i++) w[i] = (float)sin(1.7 * i + 0.3), m[i] = v[i] = 0;
        for (int i = 0; i < N; i++) g[i] = (float)(cos(0.9 * i + step) * pow(10.0, i % 7 - 5));
        adamw o = adamw_at(lr, decay, 0.9, 0.999, 1e-8, step);
        adamw_update(w, g, m, v, NULL, N, &o);
        for (int i = 0; i < N; i++) {
            double want;
            EXPECT(fscanf(f, "%lf", &want) == 1, "short line");
            worst = fmax(worst, fabs(w[i] - want) / (fabs(want) + 1e-3));
            EXPECT(g[i] == 0, "gradient is not cleared");
        }
        lines++;
    }
    fclose(f);
    EXPECT(lines == 10, "%d lines", lines);
    EXPECT(worst < 1e-6, "worst relative difference %g", worst);
}

/* Clipping and moving average ride along: the same bits as in passes of their own. */
static void one_pass(void)
{
    enum { M = 40003 };
    static float w[2][M], g[2][M], m[2][M], v[2][M], a[2][M];
    for (int i = 0; i < M; i++) {
        for (int k = 0; k < 2; k++) w[k][i] = a[k][i] = (float)sin(i), g[k][i] = (float)cos(3.1 * i), m[k][i] = 0.1f, v[k][i] = 0.2f;
        g[1][i] *= 0.3f;
    }
    adamw o = adamw_at(1e-3, 0.05, 0.9, 0.999, 1e-8, 3);
    adamw_update(w[1], g[1], m[1], v[1], NULL, M, &o);
    for (int i = 0; i < M; i++) a[1][i] = 0.75f * a[1][i] + 0.25f * w[1][i];
    o.scale = 0.3f, o.ema = 0.75;
    adamw_update(w[0], g[0], m[0], v[0], a[0], M, &o);
    EXPECT(memcmp(w[0], w[1], sizeof w[0]) == 0 && memcmp(m[0], m[1], sizeof m[0]) == 0 && memcmp(v[0], v[1], sizeof v[0]) == 0,
           "clipping in the pass");
    for (int i = 0; i < M; i++) EXPECT(fabsf(a[0][i] - a[1][i]) <= 1.2e-7f * fabsf(a[1][i]) + 1e-9f && g[0][i] == 0, "average at %d", i);
}

static void schedule(void)
{
    static job j;
    j.train.steps = 110, j.optim.warmup = 10, j.optim.lr = 1.0, j.optim.min_lr = 0.1;
    EXPECT_NEAR(schedule_lr(&j, 0), 0.1, 1e-12);
    EXPECT_NEAR(schedule_lr(&j, 9), 1.0, 1e-12);
    EXPECT_NEAR(schedule_lr(&j, 10), 1.0, 1e-12);
    EXPECT_NEAR(schedule_lr(&j, 60), 0.55, 1e-12);
    EXPECT_NEAR(schedule_lr(&j, 110), 0.1, 1e-12);
    EXPECT_NEAR(schedule_lr(&j, 500), 0.1, 1e-12);
    j.optim.warmup = 0;
    EXPECT_NEAR(schedule_lr(&j, 0), 1.0, 1e-12);
}

int main(void)
{
    RUN(adamw_equals_torch);
    RUN(one_pass);
    RUN(schedule);
    DONE();
}
