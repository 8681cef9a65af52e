/* presets: strengths of augmentation by modality. Flips are on only where the orientation of the picture says nothing about its
 * label; a job sets them for its own data. crop_scale stays 1: large microscopy fields are fitted whole unless a job zooms in. */
#include "data_internal.h"

#include <ctype.h>
#include <string.h>

static const augment_spec presets[] = {
    {.preset = "none", .scale_lo = 1, .scale_hi = 1, .crop_scale = 1},
    {.preset = "weak", .rotate_deg = 10, .scale_lo = 0.9f, .scale_hi = 1.1f, .crop_scale = 1, .shift = 0.06f, .brightness = 0.05f,
     .contrast = 0.1f, .gamma = 0.1f, .noise = 0.01f, .hue = 0.02f, .saturation = 0.1f},
    {.preset = "ct", .rotate_deg = 15, .scale_lo = 0.85f, .scale_hi = 1.2f, .crop_scale = 1, .shift = 0.06f, .brightness = 0.05f,
     .contrast = 0.15f, .gamma = 0.15f, .noise = 0.03f, .blur = 0.8f, .window = 0.08f},
    {.preset = "mr", .rotate_deg = 15, .scale_lo = 0.85f, .scale_hi = 1.2f, .crop_scale = 1, .shift = 0.06f, .brightness = 0.08f,
     .contrast = 0.25f, .gamma = 0.25f, .noise = 0.03f, .blur = 0.8f, .window = 0.08f},
    {.preset = "xray", .rotate_deg = 10, .scale_lo = 0.9f, .scale_hi = 1.15f, .crop_scale = 1, .shift = 0.06f, .brightness = 0.1f,
     .contrast = 0.25f, .gamma = 0.2f, .noise = 0.02f, .blur = 0.8f, .window = 0.05f, .invert = 0.15f},
    {.preset = "histology", .flip_x = 0.5f, .flip_y = 0.5f, .rot90 = 1, .rotate_deg = 10, .scale_lo = 0.8f, .scale_hi = 1.25f,
     .crop_scale = 1, .shift = 0.06f, .brightness = 0.1f, .contrast = 0.2f, .gamma = 0.15f, .noise = 0.02f, .blur = 0.8f, .hue = 0.04f,
     .saturation = 0.25f},
    {.preset = "microscopy", .flip_x = 0.5f, .flip_y = 0.5f, .rot90 = 1, .rotate_deg = 15, .scale_lo = 0.75f, .scale_hi = 1.35f,
     .crop_scale = 1, .shift = 0.08f, .brightness = 0.1f, .contrast = 0.25f, .gamma = 0.25f, .noise = 0.03f, .blur = 1, .hue = 0.03f,
     .saturation = 0.2f},
};
enum { N_PRESETS = sizeof presets / sizeof *presets };
const char *const augment_presets[] = {"none", "weak", "ct", "mr", "xray", "histology", "microscopy", NULL};
_Static_assert(sizeof augment_presets / sizeof *augment_presets == N_PRESETS + 1, "every preset has its name in the list");

status augment_preset(augment_spec *a, const char *name)
{
    for (int i = 0; i < N_PRESETS; i++)
        if (strcmp(presets[i].preset, name) == 0) {
            *a = presets[i];
            return OK;
        }
    const char *near = text_nearest(name, augment_presets, N_PRESETS);
    return status_raise(ST_USAGE, __FILE__, __LINE__, "no augmentation preset \"%s\"%s%s%s", name, near ? ", did you mean \"" : "",
                        near ? near : "", near ? "\"?" : "");
}

const char *augment_for_modality(const char *modality)
{
    static const struct { const char *part, *preset; } words[] = { /* the first that occurs in the modality's name */
        {"histo", "histology"}, {"patholog", "histology"}, {"slide", "histology"}, {"micro", "microscopy"}, {"fluo", "microscopy"},
        {"cytolog", "microscopy"}, {"x-ray", "xray"}, {"xray", "xray"}, {"radiograph", "xray"}, {"mammogra", "xray"},
        {"tomograph", "ct"}, {"magnetic", "mr"}};
    static const struct { const char *whole, *preset; } codes[] = { /* DICOM's codes among them */
        {"ct", "ct"}, {"mr", "mr"}, {"mri", "mr"}, {"cr", "xray"}, {"dx", "xray"}, {"mg", "xray"}, {"px", "xray"}, {"sm", "histology"},
        {"gm", "microscopy"}, {"em", "microscopy"}};
    char low[64];
    size_t n = 0;
    for (; modality[n] && n + 1 < sizeof low; n++) low[n] = (char)tolower((unsigned char)modality[n]);
    low[n] = 0;
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (strcmp(low, codes[i].whole) == 0) return codes[i].preset;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strstr(low, words[i].part)) return words[i].preset;
    return "weak";
}
