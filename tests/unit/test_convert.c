/* test_convert: patterns, image operations, recipes and their faults, and small data sets from source files to shards and back. */
#include "test.h"

#include "convert.h"
#include "convert_internal.h"
#include "image.h"
#include "pattern.h"
#include "recipe.h"

#include <unistd.h>

static char folder[256];

static const char *at(const char *name)
{
    static char path[4][512];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

static void put(const char *name, const void *bytes, size_t n)
{
    char path[512];
    snprintf(path, sizeof path, "%s", at(name));
    *strrchr(path, '/') = 0;
    EXPECT_OK(path_make_dirs(path));
    EXPECT_OK(file_write_atomic(at(name), bytes, n));
}

static void put_text(const char *name, const char *text) { put(name, text, strlen(text)); }

static void clear(void)
{
    char command[320];
    snprintf(command, sizeof command, "rm -rf %s/*", folder);
    EXPECT(system(command) == 0, "%s", command);
}

static unsigned char volume[65536];

/* The head of w x h x d bytes as they are stored, 1 mm; rows: from stored to patient (right, front, head). Where the bytes begin. */
static unsigned char *head_of(int w, int h, int d, const float rows[12])
{
    unsigned char *b = volume;
    memset(b, 0, sizeof volume);
    b[0] = 92, b[1] = 1, b[40] = 3;
    b[42] = (unsigned char)w, b[44] = (unsigned char)h, b[46] = (unsigned char)d, b[48] = b[50] = b[52] = b[54] = 1;
    b[70] = 2;
    float one = 1, start = 352;
    for (int i = 0; i < 4; i++) memcpy(b + 76 + 4 * i, &one, 4);
    memcpy(b + 108, &start, 4);
    b[123] = 2, b[254] = 1;
    memcpy(b + 280, rows, 48);
    memcpy(b + 344, "n+1", 4);
    return b + 352;
}

/* A NIfTI volume of w x h x d bytes, RAS, 1 mm. */
static void put_nifti(const char *name, int w, int h, int d, unsigned char (*value)(int x, int y, int z))
{
    unsigned char *b = head_of(w, h, d, (float[12]){1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0});
    for (int z = 0; z < d; z++)
        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++) *b++ = value(x, y, z);
    put(name, volume, (size_t)(352 + w * h * d));
}

/* The same volume stored by sagittal planes from the right to the left, the columns of which run from feet to head. */
static void put_turned(const char *name, int w, int h, int d, unsigned char (*value)(int x, int y, int z))
{
    unsigned char *b = head_of(d, h, w, (float[12]){0, 0, -1, (float)(w - 1), 0, 1, 0, 0, 1, 0, 0, 0});
    for (int x = w - 1; x >= 0; x--)
        for (int y = 0; y < h; y++)
            for (int z = 0; z < d; z++) *b++ = value(x, y, z);
    put(name, volume, (size_t)(352 + w * h * d));
}

/* ---- patterns ----------------------------------------------------------------------------------------------------------------- */

static void patterns(void)
{
    const char *files[] = {"s/a/img/p1_R_2.nii.gz", "s/a/img/p1_R_10.nii.gz", "s/a/mask/p1_R_2.nii.gz", "s/b/img/x.png", "s/b/img/.hidden.png", "s/b/b.png"};
    for (int i = 0; i < 6; i++) put_text(files[i], "x");
    found_list l = {0};
    EXPECT_OK(pattern_list(at("s"), "{group}/img/{patient}_R_{n}.nii.gz", NULL, &l));
    EXPECT(l.n == 2 && !strcmp(l.v[0].path, "a/img/p1_R_10.nii.gz"), "%d files", l.n);
    if (l.n == 2) {
        char out[64];
        bindings first, second;
        found_parts(&l.v[0], &first);
        found_parts(&l.v[1], &second);
        EXPECT_OK(pattern_expand("{patient}-{n}/{group}:{stem}:{folder}:{file}", &second, out, sizeof out));
        EXPECT(!strcmp(out, "p1-2/a:p1_R_2:img:p1_R_2.nii.gz"), "%s", out);
        EXPECT_STATUS(pattern_expand("{nothing}", &second, out, sizeof out), ST_DATA);
        EXPECT_STATUS(pattern_expand("{stem}", &second, out, 4), ST_DATA);
        found_list masks = {0};
        EXPECT_OK(pattern_list(at("s"), "{group}/mask/{patient}_R_{n}.nii.gz", &second, &masks));
        EXPECT(masks.n == 1 && !strcmp(masks.v[0].path, "a/mask/p1_R_2.nii.gz"), "%d masks", masks.n);
        found_free(&masks);
        EXPECT_OK(pattern_list(at("s"), "{group}/mask/{patient}_R_{n}.nii.gz", &first, &masks));
        EXPECT(masks.n == 0, "%d masks of the other", masks.n);
        found_free(&masks);
    }
    found_free(&l);
    EXPECT_OK(pattern_list(at("s"), "*/img/*.png", NULL, &l));
    EXPECT(l.n == 1, "hidden files are not taken: %d", l.n);
    found_free(&l);
    EXPECT_OK(pattern_list(at("s"), "{x}/{x}.png", NULL, &l));
    EXPECT(l.n == 1 && !strcmp(l.v[0].path, "b/b.png"), "a name that is met twice is the same text");
    found_free(&l);
    EXPECT_OK(pattern_list(at("nowhere"), "*.png", NULL, &l));
    EXPECT(l.n == 0, "nothing there");
    EXPECT_STATUS(pattern_expand("{open", &(bindings){0}, (char[9]){0}, 9), ST_USAGE);
}

/* ---- images -------------------------------------------------------------------------------------------------------------------- */

static void shrinking(void)
{
    image m;
    EXPECT_OK(image_alloc(&m, 1, 2, 4, 1, DT_U8, "m"));
    memcpy(m.data, (unsigned char[]){10, 20, 30, 40, 50, 60, 70, 80}, 8);
    m.spacing[1] = m.spacing[2] = 1;
    EXPECT_OK(image_shrink(&m, 2, false));
    EXPECT(m.H == 1 && m.W == 2 && image_at(&m, 0) == 35 && image_at(&m, 1) == 55 && m.spacing[2] == 2, "%g %g", image_at(&m, 0), image_at(&m, 1));
    image_free(&m);
    EXPECT_OK(image_alloc(&m, 1, 1, 5, 1, DT_F32, "m")); /* 5 to 3: parts of pixels */
    memcpy(m.data, (float[]){3, 6, 9, 12, 15}, 20);
    EXPECT_OK(image_shrink(&m, 3, false));
    EXPECT_NEAR(image_at(&m, 0), (3 + 6 * 2 / 3.0) / (5 / 3.0), 1e-6);
    EXPECT_NEAR(image_at(&m, 1), 9, 1e-6);
    image_free(&m);
    EXPECT_OK(image_alloc(&m, 1, 2, 2, 1, DT_U8, "m"));
    memcpy(m.data, (unsigned char[]){0, 7, 7, 255}, 4);
    EXPECT_OK(image_shrink(&m, 1, true));
    EXPECT(image_at(&m, 0) == 7, "the commonest label: %g", image_at(&m, 0));
    image_free(&m);
    EXPECT_STATUS(image_alloc(&m, 1, 0, 2, 1, DT_U8, "m"), ST_DATA);
    EXPECT_STATUS(image_alloc(&m, 60000, 60000, 60000, 3, DT_F32, "m"), ST_DATA);
}

/* ---- recipes -------------------------------------------------------------------------------------------------------------------- */

#define HEAD "name = \"set\";\ntitle = \"t\";\nmodality = \"MR\";\nlicence = \"none\";\n"

static void recipe_faults(void)
{
    recipe *r;
    put_text("bad.cfg", HEAD "images: { files = \"{c}/*.png\"; chanels = 3; pixel = \"u9\"; id = \"{who}\"; };\n"
                             "labels: ( { name = \"k\"; kind = \"classification\"; source = \"value\"; value = \"{c}\";\n"
                             "  classes = [\"a\", \"a\"]; map = [\"x\", \"y -> z\"]; where = \"m\"; } );\n"
                             "split: { fractions = [0.5, 0.6, 0.1]; stratify = \"q\"; };\nrange: { rule = \"window\"; lo = 5; hi = 5; };\n");
    EXPECT_STATUS(recipe_load(&r, at("bad.cfg")), ST_USAGE);
    static const char *const words[] = {"bad.cfg:5", "map[1]", "chanels", "channels", "u9", "{who}", "appears twice", "no arrow", "\"z\" is none of the classes",
                                        "\"m\" is no segmentation", "add up to 1.2", "stratify", "range.hi"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) EXPECT(strstr(status_message(), words[i]), "no \"%s\" in:\n%s", words[i], status_message());
    put_text("bad.cfg", HEAD "images: { files = \"*.svs\"; units = \"mm\"; id = \"{index}\"; };\nslide: { mpp = 0.5; };\n"
                             "labels: ( { name = \"k\"; kind = \"classification\"; source = \"npz\"; classes = [\"a\", \"b\"]; } );\n");
    EXPECT_STATUS(recipe_load(&r, at("bad.cfg")), ST_USAGE);
    static const char *const slides[] = {"bad.cfg:6: slide.mpp: a slide has no label of source \"npz\"", "{index}", "measured in um"};
    for (size_t i = 0; i < 3; i++) EXPECT(strstr(status_message(), slides[i]), "no \"%s\" in:\n%s", slides[i], status_message());
    put_text("bad.cfg", HEAD "images: { files = \"*.png\"; };\nlabels: ( { name = \"k\"; kind = \"classification\"; source = \"regions\"; classes = [\"a\", \"b\"]; } );\n");
    EXPECT_STATUS(recipe_load(&r, at("bad.cfg")), ST_USAGE);
    EXPECT(strstr(status_message(), "regions lie on slides") && strstr(status_message(), "needs a path pattern"), "%s", status_message());
    put_text("npz.cfg", HEAD "images: { files = \"{set}.npz\"; };\nlabels: ( { name = \"k\"; kind = \"classification\"; source = \"npz\"; classes = [\"a\", \"b\"]; } );\n");
    EXPECT_OK(recipe_load(&r, at("npz.cfg")));
    if (r) EXPECT(!strcmp(r->images.id, "{stem}/{split}-{index}") && !strcmp(r->images.subject, r->images.id) && !strcmp(r->split.value, "{split}"), "%s", r->images.id);
    free(r);
    put_text("bad.cfg", HEAD "images: { files = \"{time}.nii\"; channels = 1; subject = \"{stem}{time}\"; frames = [2]; times = [3, 1, 3]; };\nsplit: { value = \"{time}\"; };\n");
    EXPECT_STATUS(recipe_load(&r, at("bad.cfg")), ST_USAGE);
    static const char *const times[] = {"bad.cfg:5: images.frames: beside images.times", "images.times: 3 appears twice", "images.files: {time}", "images.subject: {time}", "bad.cfg:6: split.value: {time}"};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) EXPECT(strstr(status_message(), times[i]), "no \"%s\" in:\n%s", times[i], status_message());
    put_text("bad.cfg", "name = ;\n");
    EXPECT_STATUS(recipe_load(&r, at("bad.cfg")), ST_USAGE);
    EXPECT_STATUS(recipe_load(&r, at("absent.cfg")), ST_USAGE);
    FILE *f = fopen("/dev/null", "w");
    EXPECT_OK(recipe_explain(f));
    fclose(f);
}

/* ---- folders and a table to shards ---------------------------------------------------------------------------------------------- */

static int seed_of_image;
static unsigned char noise(int x, int y, int z) { return (unsigned char)((unsigned)((x * 31 + y * 17 + z * 7 + seed_of_image * 13 + 1) * 2654435761u) >> 24); }
static unsigned char column(int x, int y, int z) { return (void)y, x == 1 && z == 1; }
static unsigned char blocks(int x, int y, int z) { return (unsigned char)(z < 2 ? 0 : z == 2 ? x < 4 : z == 3 ? x < 2 : (x == 0 && y == 0)); }

static const char folders[] = HEAD
    "images: { files = \"{class}/{n}.nii\"; channels = 1; subject = \"{meta.who}\"; id = \"{class}-{n}\"; };\n"
    "tables: ( { name = \"meta\"; file = \"meta.csv\"; match = [\"image = {file}\"]; } );\n"
    "range: { rule = \"percentile\"; lo = 0; hi = 100; };\n"
    "labels: ( { name = \"kind\"; kind = \"classification\"; source = \"value\"; value = \"{class}\"; classes = [\"one\", \"two\"]; map = [\"2 -> two\"]; },\n"
    "  { name = \"age\"; kind = \"regression\"; source = \"value\"; value = \"{meta.age}\"; lo = 0; hi = 100; required = false; missing = [\"\", \"?\"]; },\n"
    "  { name = \"signs\"; kind = \"multilabel\"; source = \"value\"; value = \"{meta.signs}\"; separator = \"|\"; classes = [\"x\", \"y\", \"z\"];"
    " required = false; } );\n";

enum { N_FILES = 40 };

/* 40 images, 20 subjects of two images; image 5 and image 22 (another subject) have the same pixels. */
static void make_folders(void)
{
    char table[8192] = "image,who,age,signs,secret\n", name[64];
    for (int i = 0; i < N_FILES; i++) {
        snprintf(name, sizeof name, "src/%s/%02d.nii", i % 4 < 2 ? "one" : "2", i);
        seed_of_image = i == 22 ? 5 : i;
        put_nifti(name, 6, 5, 1, noise);
        snprintf(table + strlen(table), 200, "%02d.nii,s%02d,%s,\"%s\",1999-01-01\n", i, i / 2, i == 3 ? "?" : "50", i == 4 ? "" : "x|z");
    }
    strcat(table, "ghost.nii,s99,1,x,\n");
    put_text("src/meta.csv", table);
    put_text("set.cfg", folders);
}

static void check_folders(const char *dir)
{
    char path[512];
    shard s;
    snprintf(path, sizeof path, "%s/set/set-00000.h5", dir);
    EXPECT_OK(shard_open(&s, path));
    if (!s.file) return;
    EXPECT(s.n == N_FILES && s.meta.n_labels == 3 && s.meta.channels == 1, "%lld samples", (long long)s.n);
    int kind = 0, age = 1, signs = 2;
    for (int l = 0; l < s.meta.n_labels; l++) {
        if (!strcmp(s.meta.label[l].name, "kind")) kind = l;
        if (!strcmp(s.meta.label[l].name, "age")) age = l;
        if (!strcmp(s.meta.label[l].name, "signs")) signs = l;
    }
    int n[3] = {0}, per_class[3][2] = {{0}}, split_5 = -1, split_22 = -1;
    for (int i = 0; i < s.n; i++) {
        n[s.split[i]]++;
        per_class[s.split[i]][s.label[kind].cls[i]]++;
        for (int k = 0; k < i; k++)
            EXPECT(strcmp(s.subject[i], s.subject[k]) || s.split[i] == s.split[k], "subject %s is in two splits", s.subject[i]);
        int number = atoi(strchr(s.id[i], '-') + 1);
        if (number == 5) split_5 = s.split[i];
        if (number == 22) split_22 = s.split[i];
        EXPECT(s.label[kind].cls[i] == (number % 4 >= 2), "class of %s", s.id[i]);
        EXPECT(s.label[age].present[i] == (number != 3), "age of %s", s.id[i]);
        EXPECT(number == 3 || s.label[age].scalar[i] == 50, "age of %s", s.id[i]);
        EXPECT(s.label[signs].present[i] == (number != 4), "signs of %s", s.id[i]);
        if (number != 4) EXPECT(s.label[signs].vec[3 * i] == 1 && s.label[signs].vec[3 * i + 1] == 0 && s.label[signs].vec[3 * i + 2] == 1, "%s", s.id[i]);
    }
    EXPECT(split_5 == split_22 && split_5 >= 0, "equal pixels in splits %d and %d", split_5, split_22);
    EXPECT(n[0] >= 26 && n[0] <= 30 && n[1] >= 4 && n[1] <= 8 && n[2] >= 4 && n[2] <= 8, "%d %d %d", n[0], n[1], n[2]);
    for (int p = 0; p < 3; p++) EXPECT(abs(per_class[p][0] - per_class[p][1]) <= 4, "split %d: %d and %d", p, per_class[p][0], per_class[p][1]);
    unsigned char px[64];
    EXPECT_OK(shard_read_image(&s, 0, px));
    shard_close(&s);
    /* the table's other columns stay behind */
    char command[700];
    snprintf(command, sizeof command, "grep -q 1999-01-01 %s", path);
    EXPECT(system(command) != 0, "a column that the recipe does not name is in the shard");
}

static void folders_and_tables(void)
{
    clear();
    make_folders();
    log_open(-1, LOG_ERROR);
    EXPECT_OK(convert_run(at("set.cfg"), at("src"), at("out1"), NULL));
    check_folders(at("out1"));
    EXPECT_STATUS(convert_run(at("set.cfg"), at("src"), at("out1"), NULL), ST_USAGE);
    EXPECT(strstr(status_message(), "--force"), "%s", status_message());
    EXPECT_OK(convert_run(at("set.cfg"), at("src"), at("out1"), &(convert_options){.force = true}));
    check_folders(at("out1"));
    /* any number of threads, the same bytes */
    EXPECT_OK(convert_run(at("set.cfg"), at("src"), at("out3"), &(convert_options){.jobs = 3}));
    char a[65], b[65];
    EXPECT_OK(sha256_file(at("out1/set/set-00000.h5"), a));
    EXPECT_OK(sha256_file(at("out3/set/set-00000.h5"), b));
    EXPECT(!strcmp(a, b), "shards differ with the number of threads");
    /* the parent of a folder of the recipe's name does as well */
    EXPECT(rename(at("src"), at("set")) == 0, "rename");
    EXPECT_OK(convert_run(at("set.cfg"), folder, at("out4"), NULL));
    check_folders(at("out4"));
    EXPECT_STATUS(convert_run(at("set.cfg"), at("nowhere"), at("out5"), NULL), ST_DATA);
    EXPECT_STATUS(convert_run(at("set.cfg"), at("out1"), at("out5"), NULL), ST_DATA);
    EXPECT(!path_exists(at("out5/set")), "nothing is written");
}

static void bad_files(void)
{
    clear();
    make_folders();
    put_text("src/one/00.nii", "no volume");
    put_text("src/one/90.nii", "no row in the table either");
    EXPECT_OK(convert_run(at("set.cfg"), at("src"), at("out"), &(convert_options){.quiet = true}));
    catalogue c;
    EXPECT_OK(catalogue_open(&c, at("out/set")));
    EXPECT(c.n_shards == 1 && c.n[0] == N_FILES - 1, "%lld samples", (long long)c.n[0]);
    catalogue_close(&c);
    char text[4096];
    snprintf(text, sizeof text, "%son_error = \"fatal\";\n", folders);
    put_text("fatal.cfg", text);
    EXPECT_STATUS(convert_run(at("fatal.cfg"), at("src"), at("out2"), NULL), ST_DATA);
    EXPECT(strstr(status_message(), "one/00.nii") && strstr(status_message(), "2 of 41"), "%s", status_message());
    EXPECT(!path_exists(at("out2/set")) && !path_exists(at("out2/set.part")), "nothing is left");
    put_text("src/meta.csv", "image,whom\n");
    EXPECT_STATUS(convert_run(at("set.cfg"), at("src"), at("out3"), NULL), ST_USAGE);
    EXPECT(strstr(status_message(), "\"who\"") && strstr(status_message(), "set.cfg:"), "%s", status_message());
}

/* ---- volumes, masks, slices ------------------------------------------------------------------------------------------------------ */

static void volumes(void)
{
    clear();
    for (int i = 0; i < 6; i++) {
        char name[64];
        snprintf(name, sizeof name, "src/i/v%d.nii", i);
        seed_of_image = i;
        put_nifti(name, 8, 4, 5, noise);
        snprintf(name, sizeof name, "src/m/v%d.nii", i);
        if (i == 1) put_turned(name, 8, 4, 5, blocks); /* in other axes than its image */
        else if (i != 5) put_nifti(name, 8, 4, 5, blocks); /* v5 has no mask */
    }
    put_nifti("src/m/v9.nii", 8, 4, 5, blocks);      /* a mask without image */
    put_nifti("src/m/v4.nii", 8, 4, 4, blocks);      /* a mask of another shape */
    put_nifti("src/m2/v0.nii", 8, 4, 5, column);
    put_text("vol.cfg", HEAD
             "images: { files = \"i/{v}.nii\"; channels = 1; pixel = \"i16\"; };\nrange: { rule = \"window\"; lo = 10; hi = 20; };\n"
             "slices: { empty = \"cap\"; empty_share = 0.34; label = \"m\"; };\n"
             "labels: ( { name = \"m\"; kind = \"segmentation\"; source = \"mask\"; file = \"m*/{v}.nii\"; classes = [\"no\", \"yes\"]; },\n"
             "  { name = \"c\"; kind = \"classification\"; source = \"value\"; value = \"{v}\"; where = \"m\"; where_share = 0.5;\n"
             "    classes = [\"a\", \"b\"]; map = [\"v0 -> a\", \"v1 -> b\", \"v2 -> b\", \"v3 -> a\", \"v4 -> a\", \"v5 -> a\"]; } );\n");
    EXPECT_OK(convert_run(at("vol.cfg"), at("src"), at("out"), NULL));
    shard s;
    EXPECT_OK(shard_open(&s, at("out/set/set-00000.h5")));
    if (!s.file) return;
    int m = strcmp(s.meta.label[0].name, "m") ? 1 : 0, c = 1 - m, n[2] = {0};
    unsigned char seen[10][5][32] = {{{0}}};
    for (int i = 0; i < s.n; i++) {
        bool merged = !strcmp(s.case_id[i], "v0"); /* its second mask shows something in slice 1 */
        unsigned char mask[32];
        int16_t px[32];
        int sum = 0;
        EXPECT(s.size[2 * i] == 4 && s.size[2 * i + 1] == 8 && s.range[2 * i] == 10 && s.range[2 * i + 1] == 20, "sample %d", i);
        EXPECT_OK(shard_read_mask(&s, i, m, mask));
        EXPECT_OK(shard_read_image(&s, i, px));
        for (int k = 0; k < 32; k++) sum += mask[k];
        int z = s.slice[i], want[] = {0, merged ? 4 : 0, 16, 8, 1};
        EXPECT(sum == want[z], "%s: %d pixels", s.id[i], sum);
        EXPECT(s.label[c].present[i] == (z == 2 || z == 3), "%s: the class is on slices with half of the largest area", s.id[i]);
        n[merged]++;
        memcpy(seen[s.case_id[i][1] - '0'][z], mask, sizeof mask);
        seed_of_image = s.case_id[i][1] - '0';
        EXPECT(px[0] == noise(7, 3, z), "%s: columns run to the left, rows to the back", s.id[i]);
        if (z == 4) EXPECT(mask[31] == 1 && mask[0] == 0, "the mask is turned like the image");
    }
    EXPECT(s.n == 4 + 4 + 4 + 5, "3 full slices and 1 of 2 empty ones; 4 full and 1 empty one: %lld", (long long)s.n);
    EXPECT(n[1] == 5, "v0: %d", n[1]);
    EXPECT(!memcmp(seen[1], seen[2], sizeof seen[1]), "a mask in other axes is the same mask");
    shard_close(&s);
}

/* A table that gives the times of a file subjects and splits of their own is not believed: the file stays together, and trains. */
static void times(void)
{
    clear();
    char table[1024] = "file,time,who,part\n", name[64];
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "src/v%d.nii", seed_of_image = i);
        put_nifti(name, 4, 2, 12, noise);
        volume[40] = 4, volume[46] = 1, volume[48] = 12; /* not 12 planes, but 12 times of one */
        put(name, volume, 352 + 4 * 2 * 12);
        for (int t = 2; t < 12; t += 9) snprintf(table + strlen(table), sizeof table - strlen(table), "v%d,%02d,w%d-%d,%s\n", i, t, i, t, i < 2 ? "train" : t == 11 ? "test" : "val");
    }
    put_text("src/t.csv", table);
    put_text("times.cfg", HEAD "images: { files = \"{v}.nii\"; channels = 1; times = [11, 2]; subject = \"{t.who}\"; };\nsplit: { value = \"{t.part}\"; };\n"
                               "tables: ( { name = \"t\"; file = \"t.csv\"; match = [\"file = {v}\", \"time = {time}\"]; } );\n");
    EXPECT_OK(convert_run(at("times.cfg"), at("src"), at("out"), NULL));
    shard s;
    EXPECT_OK(shard_open(&s, at("out/set/set-00000.h5")));
    if (!s.file) return;
    EXPECT(s.n == 8, "%lld samples", (long long)s.n);
    for (int i = 0, t = 11; i < s.n; i++, t = 13 - t) {
        uint8_t px[8];
        snprintf(name, sizeof name, "v%d-t%02d/000", seed_of_image = i / 2, t);
        EXPECT(!strcmp(s.id[i], name) && s.split[i] == SPLIT_TRAIN, "%s (%d), not %s", s.id[i], s.split[i], name);
        EXPECT_OK(shard_read_image(&s, i, px));
        for (int k = 0; k < 8; k++) EXPECT(px[k] == noise(3 - k % 4, 1 - k / 4, t), "%s: %d", s.id[i], px[k]);
    }
    shard_close(&s);
}

/* Blobs at places that depend on `which`, at any size and brightness. */
static void picture(image *m, int which, int H, int W, double bright)
{
    EXPECT_OK(image_alloc(m, 1, H, W, 1, DT_F32, "picture"));
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++) {
            double v = 0;
            for (int k = 0; k < 12; k++) {
                rng r = rng_open((rng_key){(uint64_t)which, (uint32_t)k, 0}, RNG_TEST, 0);
                double cy = (double)rng_u32(&r) / 4294967296.0, cx = (double)rng_u32(&r) / 4294967296.0;
                double dy = (y + 0.5) / H - cy, dx = (x + 0.5) / W - cx;
                v += exp(-(dx * dx + dy * dy) / 0.01);
            }
            ((float *)m->data)[y * W + x] = (float)(bright * v);
        }
}

static void look_alike(void)
{
    image m;
    likeness first, resized, other;
    picture(&m, 1, 100, 130, 1);
    likeness_of(&m, &first);
    image_free(&m);
    picture(&m, 1, 61, 77, 40);
    likeness_of(&m, &resized);
    image_free(&m);
    EXPECT(first.known && resized.known && likeness_apart(&first, &resized) <= 10, "%d bits apart after resizing", likeness_apart(&first, &resized));
    for (int which = 2; which < 12; which++) {
        picture(&m, which, 100, 130, 1);
        likeness_of(&m, &other);
        image_free(&m);
        EXPECT(other.known && likeness_apart(&first, &other) > 40, "picture %d: %d bits apart", which, likeness_apart(&first, &other));
    }
    EXPECT_OK(image_alloc(&m, 1, 50, 50, 3, DT_U8, "flat"));
    ((uint8_t *)m.data)[77] = 200;
    likeness_of(&m, &other);
    EXPECT(!other.known, "an empty picture looks like nothing");
    image_free(&m);
    EXPECT_OK(image_alloc(&m, 1, 10, 50, 1, DT_U8, "small"));
    likeness_of(&m, &other);
    EXPECT(!other.known, "too small to tell");
    image_free(&m);
}

int main(void)
{
    snprintf(folder, sizeof folder, "/tmp/medley-convert-XXXXXX");
    if (!mkdtemp(folder)) return 1;
    log_open(-1, LOG_ERROR);
    RUN(patterns);
    RUN(shrinking);
    RUN(look_alike);
    RUN(recipe_faults);
    RUN(folders_and_tables);
    RUN(bad_files);
    RUN(volumes);
    RUN(times);
    clear();
    rmdir(folder);
    DONE();
}
