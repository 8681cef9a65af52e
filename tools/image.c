/* image: types, channels, size and orientation of decoded source images. */
#include "image.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

status image_alloc(image *m, int D, int H, int W, int C, enum dtype type, const char *what)
{
    *m = (image){.D = D, .H = H, .W = W, .C = C, .type = type, .spacing = {NAN, NAN, NAN}};
    CHECK(D > 0 && H > 0 && W > 0 && C > 0, ST_DATA, "%s: empty image (%d x %d x %d, %d channels)", what, D, H, W, C);
    CHECK(D <= IMAGE_SIDE_MAX && H <= IMAGE_SIDE_MAX && W <= IMAGE_SIDE_MAX && C <= 4, ST_DATA,
          "%s: %d x %d x %d with %d channels is more than the %d a side that are read", what, D, H, W, C, IMAGE_SIDE_MAX);
    size_t plane = (size_t)H * (size_t)W * (size_t)C * dtype_bytes(type);
    CHECK(plane <= IMAGE_BYTES_MAX / (size_t)D, ST_DATA, "%s: %d x %d x %d with %d channels needs more than %zu MiB", what, D, H, W, C,
          IMAGE_BYTES_MAX >> 20);
    TRY(mem_alloc(&m->data, plane * (size_t)D, what), "%s", what);
    return OK;
}

void image_free(image *m)
{
    free(m->data);
    *m = (image){0};
}

static void put(const image *m, size_t i, double v)
{
    switch (m->type) {
    case DT_U8: ((uint8_t *)m->data)[i] = (uint8_t)v; break;
    case DT_U16: ((uint16_t *)m->data)[i] = (uint16_t)v; break;
    case DT_I16: ((int16_t *)m->data)[i] = (int16_t)v; break;
    default: ((float *)m->data)[i] = (float)v; break;
    }
}

/* Same facts (spacing, affine), new shape or type, fresh pixels. */
static status twin(image *to, const image *from, int D, int H, int W, int C, enum dtype type)
{
    TRY(image_alloc(to, D, H, W, C, type, "image"), "converting an image");
    void *data = to->data;
    *to = *from;
    to->D = D, to->H = H, to->W = W, to->C = C, to->type = type, to->data = data;
    return OK;
}

static void replace(image *m, image *by)
{
    free(m->data);
    *m = *by;
}

status image_to_type(image *m, enum dtype type)
{
    size_t n = image_count(m);
    double lo = 0, hi = 0;
    switch (type) {
    case DT_U8: hi = 255; break;
    case DT_U16: hi = 65535; break;
    case DT_I16: lo = -32768, hi = 32767; break;
    case DT_F32: break;
    default: return status_raise(ST_BUG, __FILE__, __LINE__, "images are not kept as %s", dtype_name(type));
    }
    if (m->type == type && type != DT_F32) return OK;
    if (m->type == type) {
        const float *p = m->data;
        bool finite = true;
        for (size_t i = 0; i < n; i++) finite &= fabsf(p[i]) <= FLT_MAX;
        if (finite) return OK; /* else the loop below says where it is not */
    }
    for (size_t i = 0; i < n; i++) {
        double v = image_at(m, i);
        CHECK(isfinite(v), ST_DATA, "value %zu is not finite", i);
        CHECK(type == DT_F32 || (v == rint(v) && v >= lo && v <= hi), ST_DATA,
              "value %g does not fit the recipe's pixel type %s without loss", v, dtype_name(type));
    }
    image out;
    TRY(twin(&out, m, m->D, m->H, m->W, m->C, type), "changing the pixel type");
    for (size_t i = 0; i < n; i++) put(&out, i, image_at(m, i));
    replace(m, &out);
    return OK;
}

status image_to_channels(image *m, int channels)
{
    if (m->C == channels) return OK;
    CHECK((m->C == 1 && channels == 3) || (m->C == 3 && channels == 1), ST_DATA, "%d channels cannot become %d", m->C, channels);
    image out;
    TRY(twin(&out, m, m->D, m->H, m->W, channels, m->type), "changing the number of channels");
    size_t n = (size_t)m->D * (size_t)m->H * (size_t)m->W;
    for (size_t i = 0; i < n; i++) {
        if (channels == 3) {
            double v = image_at(m, i);
            for (size_t c = 0; c < 3; c++) put(&out, 3 * i + c, v);
        } else {
            double r = image_at(m, 3 * i), g = image_at(m, 3 * i + 1), b = image_at(m, 3 * i + 2);
            double v = r == g && g == b ? r : 0.299 * r + 0.587 * g + 0.114 * b;
            put(&out, i, m->type == DT_F32 ? v : rint(v));
        }
    }
    replace(m, &out);
    return OK;
}

/* One output pixel covers [y0,y1) x [x0,x1) of the input, in input pixels; its value is the covered area's mean. */
static double area_mean(const image *m, size_t plane, double y0, double y1, double x0, double x1, int c)
{
    double sum = 0, area = 0;
    for (int y = (int)y0; y < m->H && y < y1; y++) {
        double wy = fmin(y + 1, y1) - fmax(y, y0);
        for (int x = (int)x0; x < m->W && x < x1; x++) {
            double w = wy * (fmin(x + 1, x1) - fmax(x, x0));
            sum += w * image_at(m, (plane + (size_t)y * (size_t)m->W + (size_t)x) * (size_t)m->C + (size_t)c);
            area += w;
        }
    }
    return sum / area;
}

/* The label that covers most of the area; the smallest of equals. */
static double area_mode(const image *m, size_t plane, double y0, double y1, double x0, double x1)
{
    double cover[256] = {0};
    for (int y = (int)y0; y < m->H && y < y1; y++) {
        double wy = fmin(y + 1, y1) - fmax(y, y0);
        for (int x = (int)x0; x < m->W && x < x1; x++)
            cover[((const uint8_t *)m->data)[plane + (size_t)y * (size_t)m->W + (size_t)x]] += wy * (fmin(x + 1, x1) - fmax(x, x0));
    }
    int best = 0;
    for (int k = 1; k < 256; k++)
        if (cover[k] > cover[best] + 1e-9) best = k;
    return best;
}

status image_shrink(image *m, int max_side, bool labels)
{
    int side = m->H > m->W ? m->H : m->W;
    if (max_side <= 0 || side <= max_side) return OK;
    CHECK(!labels || (m->type == DT_U8 && m->C == 1), ST_BUG, "labels are one channel of u8");
    double scale = (double)max_side / side;
    int H = (int)fmax(1, rint(m->H * scale)), W = (int)fmax(1, rint(m->W * scale));
    image out;
    TRY(twin(&out, m, m->D, H, W, m->C, m->type), "shrinking an image");
    double sy = (double)m->H / H, sx = (double)m->W / W;
    for (int d = 0; d < m->D; d++) {
        size_t plane = (size_t)d * (size_t)m->H * (size_t)m->W;
        for (int y = 0; y < H; y++)
            for (int x = 0; x < W; x++)
                for (int c = 0; c < m->C; c++) {
                    size_t i = (((size_t)d * (size_t)H + (size_t)y) * (size_t)W + (size_t)x) * (size_t)m->C + (size_t)c;
                    double y0 = y * sy, y1 = fmin(m->H, (y + 1) * sy), x0 = x * sx, x1 = fmin(m->W, (x + 1) * sx);
                    double v = labels ? area_mode(m, plane, y0, y1, x0, x1) : area_mean(m, plane, y0, y1, x0, x1, c);
                    put(&out, i, m->type == DT_F32 ? v : rint(v));
                }
    }
    out.spacing[1] *= sy, out.spacing[2] *= sx;
    out.has_affine = false;
    replace(m, &out);
    return OK;
}

status image_across(image *m, int axis)
{
    if (axis == 0) return OK;
    image out;
    int D = axis == 1 ? m->H : m->W, H = m->D, W = axis == 1 ? m->W : m->H;
    TRY(twin(&out, m, D, H, W, m->C, m->type), "slicing a volume across another axis");
    size_t px = dtype_bytes(m->type) * (size_t)m->C;
    char *to = out.data;
    for (int d = 0; d < D; d++)
        for (int h = 0; h < H; h++)
            for (int w = 0; w < W; w++, to += px) {
                int z = m->D - 1 - h, y = axis == 1 ? d : w, x = axis == 1 ? w : d;
                memcpy(to, (const char *)m->data + (((size_t)z * (size_t)m->H + (size_t)y) * (size_t)m->W + (size_t)x) * px, px);
            }
    double s[3] = {m->spacing[0], m->spacing[1], m->spacing[2]};
    out.spacing[0] = s[axis], out.spacing[1] = s[0], out.spacing[2] = axis == 1 ? s[2] : s[1];
    out.has_affine = false;
    replace(m, &out);
    return OK;
}

status image_along(image *m, int axis)
{
    if (axis == 0) return OK;
    image out = *m; /* of any number of channels: predictions have one a class */
    int D = m->H, H = axis == 1 ? m->D : m->W, W = axis == 1 ? m->W : m->D;
    out.D = D, out.H = H, out.W = W;
    TRY(mem_alloc(&out.data, image_bytes(&out), "volume"), "turning planes into a volume");
    size_t px = dtype_bytes(m->type) * (size_t)m->C;
    char *to = out.data;
    for (int z = 0; z < D; z++)
        for (int y = 0; y < H; y++)
            for (int x = 0; x < W; x++, to += px) {
                int d = axis == 1 ? y : x, h = D - 1 - z, w = axis == 1 ? x : y;
                memcpy(to, (const char *)m->data + (((size_t)d * (size_t)m->H + (size_t)h) * (size_t)m->W + (size_t)w) * px, px);
            }
    double s[3] = {m->spacing[0], m->spacing[1], m->spacing[2]};
    out.spacing[0] = s[1], out.spacing[1] = axis == 1 ? s[0] : s[2], out.spacing[2] = axis == 1 ? s[2] : s[0];
    out.has_affine = false;
    replace(m, &out);
    return OK;
}

void image_hash(const image *m, char hex[65])
{
    sha256 s;
    int32_t shape[5] = {m->D, m->H, m->W, m->C, (int32_t)m->type};
    sha256_begin(&s);
    sha256_add(&s, shape, sizeof shape);
    sha256_add(&s, m->data, image_bytes(m));
    sha256_end(&s, hex);
}
