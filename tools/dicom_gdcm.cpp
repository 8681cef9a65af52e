/* dicom_gdcm: the one door to GDCM (C++): a compressed frame in, its pixels out. Nothing thrown leaves this file. */
#include "dicom_frame.h"

#include <gdcmImage.h>
#include <gdcmSequenceOfFragments.h>
#include <gdcmTrace.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <mutex>

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

int dicom_gdcm_frame(struct dicom_frame *f, const void *bytes, size_t n, void *out, size_t out_bytes, char *why, size_t why_room)
{
    static std::once_flag quiet;
    std::call_once(quiet, [] {
        gdcm::Trace::WarningOff();
        gdcm::Trace::ErrorOff();
        gdcm::Trace::DebugOff();
    });
    try {
        return decode(f, bytes, n, out, out_bytes, why, why_room);
    } catch (const std::exception &e) {
        snprintf(why, why_room, "%s", e.what());
    } catch (...) {
        snprintf(why, why_room, "an unnamed fault in the decoder");
    }
    return 1;
}
