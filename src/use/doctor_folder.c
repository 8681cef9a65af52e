/* doctor_folder: is a folder fit for runs? A file is written, synced, locked, renamed and removed in it, as checkpoints are. */
#include "doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

enum { CHUNK_BYTES = 1 << 22, CHUNKS = 16 };

/* linux/magic.h and the file systems' own headers */
static const struct { unsigned magic; const char *name; } kinds[] = {
    {0xef53, "ext4"}, {0x58465342, "XFS"}, {0x9123683e, "btrfs"}, {0x6969, "NFS"}, {0x0bd00bd0, "Lustre"}, {0x47504653, "GPFS"},
    {0x19830326, "BeeGFS"}, {0x00c36400, "Ceph"}, {0xff534d42, "CIFS"}, {0xfe534d42, "SMB2"}, {0x794c7630, "overlay"},
    {0x01021994, "tmpfs"}, {0x858458f6, "ramfs"}, {0x2fc12fc1, "ZFS"}, {0x65735546, "FUSE"}, {0x01021997, "9p"},
};

static void name_kind(const char *folder, folder_facts *f)
{
    struct statfs s;
    if (statfs(folder, &s) != 0) return;
    unsigned magic = (unsigned)s.f_type;
    snprintf(f->kind, sizeof f->kind, "type %#x", magic);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i].magic == magic) snprintf(f->kind, sizeof f->kind, "%s", kinds[i].name);
    f->in_memory = magic == 0x01021994 || magic == 0x858458f6;
    f->free_bytes = (double)s.f_bavail * (double)s.f_bsize;
}

static bool write_all(int fd, double *rate)
{
    char *zeros = NULL;
    double began = timer_now();
    bool good = mem_alloc(&zeros, CHUNK_BYTES, "file test") == OK;
    for (int i = 0; i < CHUNKS && good; i++) good = write(fd, zeros, CHUNK_BYTES) == CHUNK_BYTES;
    good = good && fsync(fd) == 0;
    if (good) *rate = (double)CHUNK_BYTES * CHUNKS / (timer_now() - began);
    free(zeros);
    return good;
}

void doctor_folder(const char *folder, folder_facts *out)
{
    char aside[600], path[600];
    *out = (folder_facts){0};
    name_kind(folder, out);
    snprintf(aside, sizeof aside, "%.500s/.medley-doctor-%d.part", folder, (int)getpid());
    snprintf(path, sizeof path, "%.500s/.medley-doctor-%d", folder, (int)getpid());
    int fd = open(aside, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool good = fd >= 0;
    if (good) {
        good = write_all(fd, &out->sync_rate);
        struct flock ask = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        int why = errno;
        out->locks = fcntl(fd, F_SETLK, &ask) == 0;
        errno = why;
        good = good && rename(aside, path) == 0;
    }
    if (!good) snprintf(out->write_fault, sizeof out->write_fault, "%s", strerror(errno));
    if (fd >= 0) close(fd);
    unlink(aside);
    unlink(path);
}
