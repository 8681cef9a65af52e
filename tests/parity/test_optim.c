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
        adamw_update(w, g, m, v, N, lr, decay, 0.9, 0.999, 1e-8, step);
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
    RUN(schedule);
    DONE();
}
