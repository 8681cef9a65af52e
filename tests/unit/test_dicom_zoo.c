/* test_dicom_zoo: the 72 odd files of shared/data/dicom-zoo (none of them is here): decoded with the sums of INDEX.csv or refused by name. */
#include "test.h"

#include "readers.h"
#include "table.h"

#include <unistd.h>

static const char *folder;

/* What INDEX.csv (sums by pydicom 2.3.1) does not say, or says otherwise. */
static const struct { const char *file; double sum; const char *refused; } known[] = {
    {"MR_small_jpeg_ls_lossless", 2125338, NULL},      /* the same image as MR_small */
    {"emri_small_jpeg_ls_lossless", 4493276, NULL},    /* emri_small */
    {"SC_rgb_jpeg_gdcm", 3831000, NULL},               /* SC_rgb_rle */
    {"liver_deflate", 107098, NULL},                   /* liver */
    {"liver_rle", 107098, NULL},
    {"liver_j2k", 107098, NULL},                       /* one-bit values: pydicom's decoder makes 128 of 1 */
    {"mlut_18", 6582898, NULL},                        /* 12 bits stored: pydicom keeps the other four, we clear them as the standard says */
    {"MR_truncated", 0, "says 8192 bytes, the file has 8130"},
    {"nested_priv_SQ", 0, "0 x 0 pixels"},
    {"no_meta", 0, "without its file header"},
    {"reportsi", 0, "without an image, modality SR"},
    {"rtplan", 0, "without an image, modality RTPLAN"},
    {"test-SR", 0, "without an image, modality SR"},
    {"emri_small_jpeg_2k_lossless_too_short", 0, "ends inside"}};

static int known_as(const char *file)
{
    const char *name = strrchr(file, '/') + 1;
    size_t n = strlen(name) - strlen(".dcm");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strlen(known[i].file) == n && !strncmp(known[i].file, name, n)) return (int)i;
    return -1;
}

static int n_codec_missing, n_decoded, n_refused, n_summed;

static void one_file(const char *file, const char *index_sum, const int want[4])
{
    char path[1024], *b;
    size_t n;
    image m, seen;
    snprintf(path, sizeof path, "%s/%s", folder, file);
    EXPECT_OK(file_read_all(path, 1 << 26, &b, &n));
    status st = dicom_decode(&m, b, n, USE_LABELS, file);
    free(b);
    int k = known_as(file);
    if (st == ST_RESOURCE) {
        EXPECT(strstr(status_message(), "libgdcm-dev"), "%s: %s", file, status_message());
        n_codec_missing++;
        return;
    }
    if (k >= 0 && known[k].refused) {
        n_refused++;
        EXPECT(st == ST_DATA && strstr(status_message(), known[k].refused) && strstr(status_message(), file), "%s: %d %s", file, st, status_message());
        EXPECT_STATUS(image_read(&seen, path, USE_PIXELS), ST_DATA);
        return;
    }
    EXPECT(!st, "%s: %s", file, status_message());
    if (st) return;
    n_decoded++;
    EXPECT(m.H == want[0] && m.W == want[1] && m.D == want[2] && m.C == want[3], "%s: %d x %d x %d x %d", file, m.D, m.H, m.W, m.C);
    double sum = 0;
    for (size_t i = 0; i < image_count(&m); i++) sum += image_at(&m, i);
    if (k >= 0 || *index_sum) {
        double right = k >= 0 ? known[k].sum : atof(index_sum);
        EXPECT(fabs(sum - right) <= 1e-6 * fabs(right), "%s: sum %.10g, wanted %.10g", file, sum, right);
        n_summed++;
    }
    EXPECT_OK(image_read(&seen, path, USE_PIXELS)); /* with palette, colour space and scaling */
    EXPECT(seen.H == m.H && seen.W == m.W, "%s", file);
    image_free(&seen);
    image_free(&m);
}

static void every_file(void)
{
    if (!folder) SKIP("no dicom-zoo next to the repository (../shared/data)");
    char path[1024];
    table t = {0};
    snprintf(path, sizeof path, "%s/INDEX.csv", folder);
    EXPECT_OK(table_read(&t, path, ""));
    static const char *const names[] = {"rows", "cols", "frames", "spp"};
    for (int r = 0; r < t.n_rows; r++) {
        int want[4];
        for (int i = 0; i < 4; i++) {
            const char *text = table_cell(&t, r, table_column(&t, names[i]));
            want[i] = *text ? atoi(text) : 1;
        }
        one_file(table_cell(&t, r, table_column(&t, "file")), table_cell(&t, r, table_column(&t, "sum")), want);
    }
    printf("# %d files: %d decoded (%d with a known sum), %d refused by name, %d need GDCM\n", t.n_rows, n_decoded, n_summed, n_refused, n_codec_missing);
    EXPECT(t.n_rows == 72, "%d rows", t.n_rows);
    table_free(&t);
}

int main(int argc, char **argv)
{
    if (argc > 1 && access(argv[1], R_OK) == 0) folder = argv[1];
    RUN(every_file);
    DONE();
}
