/* dicom_gdcm: the one door to GDCM (C++): a compressed frame in, its pixels out. GDCM ends the process on some damaged frames (its own
 * assertions stay on in Debian), so each frame is decoded in a child process with bounded time and memory; nothing thrown leaves this file. */
#include "dicom_frame.h"

#include <gdcmImage.h>
#include <gdcmSequenceOfFragments.h>
#include <gdcmTrace.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static int decode(dicom_frame *f, const void *bytes, size_t n, void *out, size_t out_bytes, char *why, size_t why_room)
{
    gdcm::Image im;
    im.SetNumberOfDimensions(2);
    im.SetDimension(0, (unsigned)f->cols);
    im.SetDimension(1, (unsigned)f->rows);
    im.SetPixelFormat(gdcm::PixelFormat((unsigned short)f->samples, (unsigned short)f->allocated, (unsigned short)f->stored,
                                        (unsigned short)(f->stored - 1), (unsigned short)f->is_signed));
    im.SetPhotometricInterpretation(gdcm::PhotometricInterpretation(gdcm::PhotometricInterpretation::GetPIType(f->photometric)));
    im.SetPlanarConfiguration((unsigned)f->planar);
    im.SetTransferSyntax(gdcm::TransferSyntax(gdcm::TransferSyntax::GetTSType(f->syntax)));
    gdcm::SmartPointer<gdcm::SequenceOfFragments> fragments = new gdcm::SequenceOfFragments;
    gdcm::Fragment one;
    one.SetByteValue(static_cast<const char *>(bytes), (uint32_t)n);
    fragments->AddFragment(one);
    gdcm::DataElement pixels(gdcm::Tag(0x7fe0, 0x0010));
    pixels.SetVR(gdcm::VR::OB);
    pixels.SetValue(*fragments);
    im.SetDataElement(pixels);
    if (im.GetBufferLength() != out_bytes) {
        snprintf(why, why_room, "decoded size %lu, %zu bytes were expected", im.GetBufferLength(), out_bytes);
        return 1;
    }
    if (!im.GetBuffer(static_cast<char *>(out))) {
        snprintf(why, why_room, "damaged compressed pixels");
        return 1;
    }
    const char *pi = gdcm::PhotometricInterpretation::GetPIString(im.GetPhotometricInterpretation());
    if (pi) {
        snprintf(f->photometric, sizeof f->photometric, "%s", pi);
        for (size_t k = strlen(f->photometric); k > 0 && f->photometric[k - 1] == ' ';) f->photometric[--k] = 0; /* padded to even length */
    }
    f->planar = (int)im.GetPlanarConfiguration();
    return 0;
}

static int decode_safely(dicom_frame *f, const void *bytes, size_t n, void *out, size_t out_bytes, char *why, size_t why_room)
{
    try {
        return decode(f, bytes, n, out, out_bytes, why, why_room);
    } catch (const std::exception &e) {
        snprintf(why, why_room, "%s", e.what());
    } catch (...) {
        snprintf(why, why_room, "an unnamed fault in the decoder");
    }
    return 1;
}

enum { SECONDS_MAX = 120 };
static const rlim_t memory_more = (rlim_t)1 << 30; /* besides eight times the frame */

static void limit(int what, rlim_t most)
{
    struct rlimit r = {most, most};
    (void)setrlimit(what, &r);
}

/* The child: silent (GDCM's libraries write to standard error), without core files, its signals as they come. */
static void settle_in(size_t out_bytes)
{
    const int fatal[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM, SIGTERM, SIGINT};
    for (int sig : fatal) signal(sig, SIG_DFL);
    int null = open("/dev/null", O_RDWR);
    if (null >= 0) dup2(null, 1), dup2(null, 2);
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_CPU, SECONDS_MAX);
    unsigned long pages[6] = {0};
    FILE *statm = fopen("/proc/self/statm", "r");
    if (statm && fscanf(statm, "%lu %lu %lu %lu %lu %lu", &pages[0], &pages[1], &pages[2], &pages[3], &pages[4], &pages[5]) == 6)
        limit(RLIMIT_DATA, (rlim_t)pages[5] * (rlim_t)sysconf(_SC_PAGESIZE) + 8 * (rlim_t)out_bytes + memory_more);
    gdcm::Trace::WarningOff();
    gdcm::Trace::ErrorOff();
    gdcm::Trace::DebugOff();
}

struct shared { dicom_frame frame; char why[160]; int rc; };

int dicom_gdcm_frame(struct dicom_frame *f, const void *bytes, size_t n, void *out, size_t out_bytes, char *why, size_t why_room)
{
    const size_t head = 4096, all = head + out_bytes;
    void *map = mmap(nullptr, all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) {
        snprintf(why, why_room, "no memory for the decoder");
        return 1;
    }
    shared *s = static_cast<shared *>(map);
    s->frame = *f;
    s->rc = -1;
    pid_t child = fork();
    if (child == 0) {
        settle_in(out_bytes);
        s->rc = decode_safely(&s->frame, bytes, n, static_cast<char *>(map) + head, out_bytes, s->why, sizeof s->why);
        _exit(0);
    }
    int how = 0, rc = 1;
    pid_t got = -1;
    while (child > 0 && (got = waitpid(child, &how, 0)) < 0 && errno == EINTR) {}
    if (child < 0) snprintf(why, why_room, "no process for the decoder");
    else if (got == child && WIFSIGNALED(how)) snprintf(why, why_room, "damaged: the decoder broke down on it (signal %d)", WTERMSIG(how));
    else if (s->rc == 0) {
        memcpy(out, static_cast<char *>(map) + head, out_bytes);
        const char *syntax = f->syntax;
        *f = s->frame;
        f->syntax = syntax;
        rc = 0;
    } else snprintf(why, why_room, "%s", s->rc > 0 && s->why[0] ? s->why : "the decoder gave nothing back");
    munmap(map, all);
    return rc;
}
