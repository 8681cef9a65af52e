/* conditions: what the bits depend on besides the plan. Ranks that compute with other kernels than rank 0 would give results that
 * depend on the placement; a checkpoint remembers its conditions, so that a run that goes on elsewhere is told what it no longer
 * promises. */
#include "train_internal.h"

#include "medley/kern.h"
#include "medley_build.h"

#include <gnu/libc-version.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT = 640 };

static void conditions_text(const trainer *t, char out[TEXT])
{
    int n = snprintf(out, TEXT, "program = medley %s, %s\nbuild id = %s\nblas = %s\ncpu = %s\nlibm = glibc %s\n", MEDLEY_VERSION,
                     MEDLEY_BUILD, program_id(), kern_blas_name(), kern_isa(), gnu_get_libc_version());
    if (strcmp(t->job.train.precision, "bf16") == 0)
        n += snprintf(out + n, (size_t)(TEXT - n), "precision = bf16, %s\n", kern_bf16_name() ? kern_bf16_name() : "by fp32 instructions");
    if (strcmp(t->job.train.sum, "float") == 0) snprintf(out + n, (size_t)(TEXT - n), "ranks = %d, and sum = float\n", t->size);
}

/* Training in bf16 where nothing is gained by it is a mistake, unless it is asked for (tests do, by MEDLEY_BF16=anyway). */
status precision_set(const trainer *t)
{
    bool on = t->training && strcmp(t->job.train.precision, "bf16") == 0;
    const char *anyway = getenv("MEDLEY_BF16");
    double gain;
    kern_use_bf16(false);
    if (!on || t->dry) return OK;
    TRY(kern_bf16_choose(), "train.precision = \"bf16\"");
    kern_use_bf16(true);
    if (anyway && strcmp(anyway, "anyway") == 0) return OK;
    const char *lacks = kern_bf16_lacks();
    CHECK(kern_bf16_name(), ST_USAGE, "train.precision = \"bf16\": %s, so bf16 would be slower than fp32 here; set \"fp32\"", lacks);
    TRY(kern_bf16_gain(&gain), "train.precision");
    CHECK(gain >= 1, ST_USAGE,
          "train.precision = \"bf16\": linear layers are %.2f times as fast as in fp32 on this CPU with %s, so slower; set \"fp32\" (or "
          "MEDLEY_BF16=anyway in the environment, to get the bits of another machine)%s%s", gain, kern_bf16_name(),
          lacks ? "; " : "", lacks ? lacks : "");
    if (lacks && t->rank == 0) log_line(LOG_WARN, "bf16: %s", lacks);
    return OK;
}

status conditions_agree(trainer *t)
{
    char mine[TEXT];
    conditions_text(t, mine);
    status st = comm_same_text(t->world, mine, ST_USAGE, "the ranks compute differently, so the result would depend on the placement");
    if (st != ST_USAGE) return st;
    if (t->training && !t->job.train.allow_mixed_cpus)
        return status_note(st, __FILE__, __LINE__,
                           "set OPENBLAS_CORETYPE to the same on all nodes, use nodes of one kind, or set "
                           "train.allow_mixed_cpus = true");
    if (t->rank == 0) log_line(LOG_WARN, "%s", status_message());
    status_clear();
    return OK;
}

status conditions_put(const trainer *t, store *s)
{
    char mine[TEXT];
    conditions_text(t, mine);
    return store_write(s, "conditions", DT_U8, 1, (int64_t[]){(int64_t)strlen(mine) + 1}, mine, 0);
}

status conditions_compare(const trainer *t, store *s, const char *path)
{
    enum dtype type;
    int ndim, n_other = 0;
    int64_t dims[8];
    char was[TEXT] = "", is[TEXT];
    if (t->rank != 0 || !store_has(s, "conditions")) return OK; /* older checkpoints do not say */
    TRY(store_shape(s, "conditions", &type, &ndim, dims), "%s", path);
    CHECK(type == DT_U8 && ndim == 1 && dims[0] > 0 && dims[0] <= TEXT, ST_DATA, "%s: object conditions has an unexpected shape", path);
    TRY(store_read(s, "conditions", DT_U8, dims[0], was), "%s", path);
    was[TEXT - 1] = 0;
    conditions_text(t, is);
    for (char *a = was, *b = is; *a || *b;) {
        size_t n = strcspn(a, "\n"), m = strcspn(b, "\n");
        if (n != m || memcmp(a, b, n) != 0) {
            log_line(LOG_WARN, "%s was made with \"%.*s\", this run has \"%.*s\"", path, (int)n, a, (int)m, b);
            n_other++;
        }
        a += n + (a[n] == '\n'), b += m + (b[m] == '\n');
    }
    if (n_other) log_line(LOG_WARN, "the run goes on, but no longer promises the bits of one that was never stopped");
    return OK;
}
