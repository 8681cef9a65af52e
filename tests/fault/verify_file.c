/* verify_file FILE...: is every one of them whole (store_verify)? Says what is wrong; exit 1. verify_file --flip FILE [OFFSET]: flips a bit. */
#include "medley/store.h"

#include <stdlib.h>
#include <string.h>

static int flip(const char *path, const char *offset)
{
    FILE *f = fopen(path, "r+b");
    if (!f) return 1;
    fseek(f, 0, SEEK_END);
    long at = offset ? atol(offset) : ftell(f) / 2;
    fseek(f, at, SEEK_SET);
    int c = fgetc(f);
    fseek(f, at, SEEK_SET);
    fputc(c ^ 16, f);
    return fclose(f) || c < 0;
}

int main(int argc, char **argv)
{
    if (argc > 2 && strcmp(argv[1], "--flip") == 0) return flip(argv[2], argc > 3 ? argv[3] : NULL);
    for (int i = 1; i < argc; i++)
        if (store_verify(argv[i])) {
            printf("# %s\n", status_message());
            return 1;
        }
    return argc < 2;
}
