/* isa: which instructions this build's kernels and the libraries under them use here, and how the CPU rounds. */
#include "medley/kern.h"

#include <string.h>

/* What our own kernels were compiled for: fixed in the program. */
#if defined(__AVX512F__)
#define COMPILED "avx512"
#elif defined(__AVX2__)
#define COMPILED "avx2"
#elif defined(__x86_64__)
#define COMPILED "sse2"
#elif defined(__aarch64__)
#define COMPILED "aarch64"
#else
#define COMPILED "generic"
#endif

/* The mathematical library chooses its exp, log, sin and cos by these when it is loaded. */
const char *kern_isa(void)
{
    static char text[96];
    if (text[0]) return text;
    snprintf(text, sizeof text, "kernels %s, CPU has", COMPILED);
#if defined(__x86_64__)
    const struct {
        const char *name;
        int has;
    } feature[] = {{" fma", __builtin_cpu_supports("fma")},
                   {" fma4", __builtin_cpu_supports("fma4")},
                   {" avx2", __builtin_cpu_supports("avx2")},
                   {" avx512f", __builtin_cpu_supports("avx512f")}};
    for (int i = 0; i < 4; i++)
        if (feature[i].has) strcat(text, feature[i].name);
#else
    strcat(text, " its base set");
#endif
    return text;
}

void kern_flush_denormals(void)
{
#if defined(__x86_64__)
    enum { FLUSH_TO_ZERO = 0x8000, DENORMALS_ARE_ZEROS = 0x40 };
    __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | FLUSH_TO_ZERO | DENORMALS_ARE_ZEROS);
#elif defined(__aarch64__)
    enum { FLUSH_TO_ZERO = 1 << 24 };
    __builtin_aarch64_set_fpcr(__builtin_aarch64_get_fpcr() | FLUSH_TO_ZERO);
#endif
}
