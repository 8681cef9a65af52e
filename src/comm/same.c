/* same: do all ranks mean the same thing? What must be equal is put into words, and the words are compared with rank 0's. */
#include "medley/comm.h"

#include <stdlib.h>
#include <string.h>

/* The first line in which mine and rank 0's differ; a text that ends is an empty line. */
static status compare(int rank, const char *mine, const char *first, status code, const char *what)
{
    while (*mine || *first) {
        size_t n = strcspn(mine, "\n"), m = strcspn(first, "\n");
        CHECK(n == m && memcmp(mine, first, n) == 0, code, "%s: rank %d has \"%.*s\", rank 0 has \"%.*s\"", what, rank,
              n < 600 ? (int)n : 600, mine, m < 600 ? (int)m : 600, first);
        mine += n + (mine[n] == '\n');
        first += m + (first[m] == '\n');
    }
    return OK;
}

status comm_same_text(comm *c, const char *text, status code, const char *what)
{
    if (comm_size(c) == 1) return OK;
    int64_t n = (int64_t)strlen(text) + 1;
    char *first = NULL;
    status st;
    TRY(comm_bcast(c, &n, sizeof n, 0), "%s", what);
    st = mem_alloc(&first, (size_t)n, what);
    TRY_TO(done, comm_agree(c, st), "%s", what);
    if (comm_rank(c) == 0) memcpy(first, text, (size_t)n);
    TRY_TO(done, comm_bcast(c, first, (size_t)n, 0), "%s", what);
    st = comm_agree(c, compare(comm_rank(c), text, first, code, what));
done:
    free(first);
    return st;
}
