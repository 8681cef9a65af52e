/* program: which build this is, and where its modules lie. The linker's build id is a hash of the whole program, libmedley included; it is read
 * from memory, so a thousand ranks that compare theirs touch no file. */
#include "medley/core.h"

#include <elf.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char id[65];

/* Notes are padded to 4 bytes: header, name, contents. */
static void find_id(const char *at, const char *end)
{
    while (end - at >= (ptrdiff_t)sizeof(ElfW(Nhdr))) {
        const ElfW(Nhdr) *note = (const void *)at;
        const char *name = at + sizeof *note, *data = name + (note->n_namesz + 3) / 4 * 4;
        if (data + note->n_descsz > end) return;
        if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 && memcmp(name, "GNU", 4) == 0) {
            for (unsigned i = 0; i < note->n_descsz && i < 32; i++) snprintf(id + 2 * i, 3, "%02x", (unsigned char)data[i]);
            return;
        }
        at = data + (note->n_descsz + 3) / 4 * 4;
    }
}

static int look(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size, (void)arg;
    for (int i = 0; i < info->dlpi_phnum && !id[0]; i++)
        if (info->dlpi_phdr[i].p_type == PT_NOTE) {
            const char *at = (const char *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
            find_id(at, at + info->dlpi_phdr[i].p_memsz);
        }
    return 1; /* the program itself comes first */
}

const char *program_id(void)
{
    if (!id[0]) dl_iterate_phdr(look, NULL);
    return id;
}

status program_module(const char *file, char *path, size_t room)
{
    const char *folder = getenv("MEDLEY_MODULES");
    char here[4000];
    if (folder && folder[0]) {
        CHECK((size_t)snprintf(path, room, "%s/%s", folder, file) < room, ST_RESOURCE, "%s: path too long: %.80s...", file, folder);
        return OK;
    }
    ssize_t n = readlink("/proc/self/exe", here, sizeof here);
    CHECK(n > 0 && n < (ssize_t)sizeof here, ST_RESOURCE, "%s: cannot tell where this program lies", file);
    while (n > 0 && here[n - 1] != '/') n--;
    CHECK((size_t)snprintf(path, room, "%.*s%s", (int)n, here, file) < room, ST_RESOURCE, "%s: path too long", file);
    if (path_exists(path)) return OK;
    CHECK((size_t)snprintf(path, room, "%.*s%s/%s", MODULES_DIR[0] == '/' ? 0 : (int)n, here, MODULES_DIR, file) < room, ST_RESOURCE,
          "%s: path too long", file);
    return OK;
}
