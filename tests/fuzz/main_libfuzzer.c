/* main_libfuzzer: a fuzz target under libFuzzer (clang -fsanitize=fuzzer,address,undefined). */
#include "fuzz.h"

#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
size_t LLVMFuzzerMutate(uint8_t *data, size_t n, size_t room);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t n, size_t room, unsigned seed);

const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libhdf5\nleak:libconfig"; } /* libconfig 1.5 loses the text it was in at a syntax error */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    log_open(-1, LOG_ERROR);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n > fuzz_bytes_max) return -1;
    fuzz_one(data, n);
    return 0;
}

/* libFuzzer's own changes, and in one of four ours, which know the words of the format. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t n, size_t room, unsigned seed)
{
    rng r = rng_open((rng_key){seed, 0, 0}, RNG_TEST, 78);
    return rng_below(&r, 4) ? LLVMFuzzerMutate(data, n, room) : fuzz_mutate(data, n, room, &r);
}
