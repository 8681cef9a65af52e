/* test_weight_names: the encoder's weights under the names of other programs, against lists that those programs gave (make_names.py).
 * Usage: test_weight_names REF... */
#include "medley/model.h"

#include "test.h"

static int n_files;
static char **files;

static int find(const named_tensor *x, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (strcmp(x[i].name, name) == 0) return i;
    return -1;
}

static void print_shape(const named_tensor *x, char out[96])
{
    int n = snprintf(out, 96, "[");
    for (int d = 0; d < x->ndim; d++) n += snprintf(out + n, 96 - (size_t)n, "%s%lld", d ? "," : "", (long long)x->shape[d]);
    snprintf(out + n, 96 - (size_t)n, "]");
}

static enum weight_naming naming_of(const char *name)
{
    for (int i = 0; i < N_NAMINGS; i++)
        if (strcmp(naming_name[i], name) == 0) return (enum weight_naming)i;
    EXPECT(false, "unknown naming %s", name);
    return NAMING_MEDLEY;
}

/* One list: every name is ours, with the same shape, and we have no other. */
static void compare(const char *path, int *n_encoders)
{
    FILE *f = fopen(path, "r");
    EXPECT(f, "%s", path);
    if (!f) return;
    char line[512], word[256], shape[96], ours[96];
    swin net;
    params t = {0};
    named_tensor *x = NULL;
    int n = 0, seen = 0;
    enum weight_naming naming = NAMING_MEDLEY;
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "names %255s", word) == 1) {
            naming = naming_of(word);
        } else if (sscanf(line, "encoder %255s", word) == 1) {
            EXPECT(seen == n, "%s: %d tensors of ours are not in the list", net.variant, n - seen);
            params_free(&t), free(x), seen = 0, ++*n_encoders;
            EXPECT_OK(swin_init(&net, word, -1, &t));
            EXPECT_OK(swin_named(&net, &t, naming, naming_prefix(naming, net.version), &x, &n));
        } else if (sscanf(line, "%255s %95s", word, shape) == 2) {
            int i = find(x, n, word);
            EXPECT(i >= 0, "%s: %s is not ours", net.variant, word);
            if (i < 0) continue;
            print_shape(&x[i], ours);
            EXPECT(strcmp(ours, shape) == 0, "%s: %s is %s, wanted %s", net.variant, word, ours, shape);
            seen++;
        }
    }
    EXPECT(seen == n, "%s: %d tensors of ours are not in the list", net.variant, n - seen);
    params_free(&t), free(x), fclose(f);
}

static void names_are_those_of_the_programs(void)
{
    int n_encoders = 0;
    for (int i = 0; i < n_files; i++) compare(files[i], &n_encoders);
    EXPECT(n_encoders == 3 * n_files && n_files == 3, "%d encoders in %d files", n_encoders, n_files);
}

/* In every naming every element belongs to one tensor, but for the keys' bias of V2, which some leave out. */
static void every_element_has_one_place(void)
{
    for (int v = 0; swin_variants[v]; v++)
        for (int k = 0; k < N_NAMINGS; k++) {
            swin net;
            params t = {0};
            named_tensor *x;
            int n;
            int64_t covered = 0, keys = 0;
            EXPECT_OK(swin_init(&net, swin_variants[v], -1, &t));
            EXPECT_OK(swin_named(&net, &t, (enum weight_naming)k, "", &x, &n));
            for (int i = 0; i < n; i++) {
                EXPECT(find(x, i, x[i].name) < 0, "%s: %s comes twice in %s", net.variant, x[i].name, naming_name[k]);
                int64_t size = 1;
                for (int d = 0; d < x[i].ndim; d++) size *= x[i].shape[d];
                EXPECT(size == x[i].n && (x[i].param < 0 || x[i].from + x[i].n <= t.p[x[i].param].n), "%s: %s", net.variant, x[i].name);
                if (x[i].param >= 0) covered += x[i].n;
                for (int j = 0; j < i; j++)
                    EXPECT(x[i].param < 0 || x[j].param != x[i].param || x[j].from + x[j].n <= x[i].from, "%s: %s and %s overlap in %s", net.variant,
                           x[j].name, x[i].name, naming_name[k]);
            }
            for (int s = 0; s < 4; s++) keys += net.depth[s] * (int64_t)(net.embed << s);
            int64_t left = net.version == 2 && k != NAMING_MEDLEY && k != NAMING_TORCHVISION ? keys : 0;
            EXPECT(covered + left == params_count(&t, BLOCK_ENCODER), "%s in %s: %lld of %lld", net.variant, naming_name[k], (long long)covered,
                   (long long)params_count(&t, BLOCK_ENCODER));
            params_free(&t), free(x);
        }
}

static void positions(void)
{
    int64_t index[81];
    swin_position_index(3, index);
    EXPECT(index[0] == 12 && index[8] == 0 && index[72] == 24 && index[1] == 11 && index[3] == 7, "%lld %lld %lld", (long long)index[0],
           (long long)index[8], (long long)index[72]);
}

int main(int argc, char **argv)
{
    files = argv + 1, n_files = argc - 1;
    RUN(names_are_those_of_the_programs);
    RUN(every_element_has_one_place);
    RUN(positions);
    DONE();
}
