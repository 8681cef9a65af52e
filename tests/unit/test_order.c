/* test_order: every sample once per epoch, whatever the step, unit, batch size or history; balanced sampling deals classes evenly. */
#include "../../src/data/data_internal.h"
#include "../shards.h"
#include "test.h"

#include <unistd.h>

static char dir[64];

static void permutations(void)
{
    enum { N = 1000 };
    static int64_t a[N], b[N];
    order_epoch(1, 2, 3, N, a);
    order_epoch(1, 2, 3, N, b);
    EXPECT(memcmp(a, b, sizeof a) == 0, "same key, same order");
    bool seen[N] = {false};
    for (int i = 0; i < N; i++) seen[a[i]] = true;
    for (int i = 0; i < N; i++) EXPECT(seen[i], "%d is missing", i);
    int moved = 0;
    for (int i = 0; i < N; i++) moved += a[i] != i;
    EXPECT(moved > N * 9 / 10, "%d moved", moved);
    const uint64_t other[3][3] = {{2, 2, 3}, {1, 3, 3}, {1, 2, 4}};
    for (int k = 0; k < 3; k++) {
        order_epoch(other[k][0], other[k][1], (uint32_t)other[k][2], N, b);
        int same = 0;
        for (int i = 0; i < N; i++) same += a[i] == b[i];
        EXPECT(same < 15, "key %d: %d places agree", k, same);
    }
    order_epoch(1, 2, 3, 1, a);
    EXPECT(a[0] == 0, "one sample");
    order_epoch(1, 2, 3, 0, a);
}

/* Frequency of each sample in each place of a short list. */
static void uniform(void)
{
    int64_t count[5][5] = {{0}}, a[5];
    for (uint32_t e = 0; e < 10000; e++) {
        order_epoch(9, 77, e, 5, a);
        for (int i = 0; i < 5; i++) count[i][a[i]]++;
    }
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < 5; j++) EXPECT_NEAR(count[i][j], 2000, 200);
}

static dataset *data;
static dataset_use use_of(const char *label, bool balance)
{
    dataset_close(data);
    data = NULL;
    char path[128];
    snprintf(path, sizeof path, "%s/noise", dir);
    EXPECT_OK(dataset_open(&data, path, label));
    return (dataset_use){.data = data, .task_hash = hash_text("task"), .balance = balance};
}

static void once_per_epoch(void)
{
    dataset_use u = use_of("z-classification", false);
    int64_t n = dataset_count(data, SPLIT_TRAIN), total = 0;
    EXPECT(n > 30 && n < 60, "%lld", (long long)n);
    for (int s = 0; s < N_SPLITS; s++) total += dataset_count(data, (enum split)s);
    EXPECT(total == 86, "%lld labelled samples", (long long)total); /* 100 less every seventh */
    picker *p, *q;
    EXPECT_OK(picker_open(&p, &u, 5));
    EXPECT_OK(picker_open(&q, &u, 5));
    for (int e = 0; e < 4; e++) {
        int seen[100] = {0};
        for (int64_t i = 0; i < n; i++) {
            int64_t sample, again;
            uint32_t epoch, epoch2;
            picker_at(p, e * n + i, &sample, &epoch);
            EXPECT(epoch == (uint32_t)e, "epoch %u", epoch);
            seen[sample]++;
            picker_at(q, (3 - e) * n + i, &again, &epoch2); /* another history */
            picker_at(q, e * n + i, &again, &epoch2);
            EXPECT(again == sample && epoch2 == epoch, "position decides");
        }
        for (int64_t i = 0; i < n; i++) EXPECT(seen[dataset_list(data, SPLIT_TRAIN)[i]] == 1, "sample seen %d times", seen[i]);
    }
    picker_close(p), picker_close(q);
}

static void balanced(void)
{
    dataset_use u = use_of("z-classification", true);
    int64_t n[SHARDS_CLASSES], rounds = 400, got[SHARDS_CLASSES] = {0};
    EXPECT_OK(dataset_class_counts(data, SPLIT_TRAIN, n));
    EXPECT(n[0] + n[1] + n[2] == dataset_count(data, SPLIT_TRAIN), "%lld %lld %lld", (long long)n[0], (long long)n[1], (long long)n[2]);
    EXPECT(n[2] == 0 && n[0] > 0 && n[1] > n[0], "squares mod 3 are 0 and 1: an absent class is left out");
    picker *p;
    EXPECT_OK(picker_open(&p, &u, 5));
    static bool taken[100][512];
    for (int64_t i = 0; i < 2 * rounds; i++) {
        int64_t sample;
        uint32_t epoch;
        picker_at(p, i, &sample, &epoch);
        got[dataset_class(data, sample)]++;
        EXPECT(!taken[sample][epoch], "sample %lld twice in its epoch %u", (long long)sample, epoch);
        taken[sample][epoch] = true;
    }
    EXPECT(got[0] == rounds && got[1] == rounds, "%lld %lld", (long long)got[0], (long long)got[1]);
    picker_close(p);
    u = use_of("x-regression", true);
    EXPECT_STATUS(picker_open(&p, &u, 5), ST_USAGE);
}

static void data_set_access(void)
{
    use_of("v-detection", false);
    EXPECT(strcmp(dataset_label(data)->name, "v-detection") == 0 && strcmp(dataset_meta(data)->name, "noise") == 0, "meta");
    EXPECT(strcmp(dataset_sample_id(data, 42), "sample-42") == 0, "%s", dataset_sample_id(data, 42));
    EXPECT(dataset_case(data, 42) == dataset_case(data, 43) && dataset_case(data, 42) != dataset_case(data, 44), "cases of two");
    char path[128];
    snprintf(path, sizeof path, "%s/noise", dir);
    dataset *d;
    EXPECT_STATUS(dataset_open(&d, path, NULL), ST_DATA);
    EXPECT(strstr(status_message(), "x-regression"), "%s", status_message());
    EXPECT_STATUS(dataset_open(&d, path, "v-detektion"), ST_DATA);
    EXPECT(strstr(status_message(), "did you mean \"v-detection\""), "%s", status_message());
    EXPECT_STATUS(dataset_open(&d, dir, NULL), ST_DATA);
    EXPECT(strstr(status_message(), "index.h5"), "%s", status_message());
}

int main(void)
{
    strcpy(dir, "/tmp/medley-order-XXXXXX");
    if (!mkdtemp(dir) || shards_make(dir, "noise", DT_U8, 1, 100, 40000)) return 1;
    RUN(permutations);
    RUN(uniform);
    RUN(once_per_epoch);
    RUN(balanced);
    RUN(data_set_access);
    dataset_close(data);
    char clean[128];
    snprintf(clean, sizeof clean, "rm -rf %s", dir);
    if (system(clean)) return 1;
    DONE();
}
