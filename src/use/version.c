/* version: what was built in. */
#include "medley/use.h"

#include "medley/kern.h"
#include "medley_build.h"

#ifdef HAVE_PNG
#define WORD_PNG " png"
#else
#define WORD_PNG ""
#endif
#ifdef HAVE_JPEG
#define WORD_JPEG " jpeg"
#else
#define WORD_JPEG ""
#endif
#ifdef HAVE_EXPAT
#define WORD_EXPAT " expat"
#else
#define WORD_EXPAT ""
#endif
#ifdef HAVE_ZIP
#define WORD_ZIP " zip"
#else
#define WORD_ZIP ""
#endif

void use_version(FILE *out)
{
    fprintf(out, "medley %s\n", MEDLEY_VERSION);
    fprintf(out, "build: %s\n", MEDLEY_BUILD);
    fprintf(out, "MPI: %s\n", comm_library());
    fprintf(out, "HDF5: %s\n", VERSION_HDF5);
    fprintf(out, "BLAS: %s\n", kern_blas_name());
    fprintf(out, "libconfig: %s\n", VERSION_LIBCONFIG);
    fprintf(out, "zlib: %s\n", VERSION_ZLIB);
    char where[4300] = "";
    bool there = use_readers(where, sizeof where) == OK;
    if (!there) status_clear();
    fprintf(out, "readers of predict and embed: %s%s\n", where, there ? "" : " (cannot be loaded)");
    fprintf(out, "medley-data readers:%s\n", WORD_PNG WORD_JPEG WORD_EXPAT " jansson" WORD_ZIP);
}
