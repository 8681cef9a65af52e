/* orient: volumes as they are stored turned to the axes of the patient. */
#include "image.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void orient_find(double a[3][4], int axis[3], bool flip[3])
{
    double unit[3][3];
    for (int j = 0; j < 3; j++) {
        double length = sqrt(a[0][j] * a[0][j] + a[1][j] * a[1][j] + a[2][j] * a[2][j]);
        for (int i = 0; i < 3; i++) unit[i][j] = a[i][j] / length;
    }
    bool used_i[3] = {false}, used_j[3] = {false};
    for (int k = 0; k < 3; k++) {
        int bi = -1, bj = -1;
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 3; j++)
                if (!used_i[i] && !used_j[j] && (bi < 0 || fabs(unit[i][j]) > fabs(unit[bi][bj]) + 1e-6)) bi = i, bj = j;
        used_i[bi] = used_j[bj] = true;
        axis[bi] = bj;
        flip[bi] = bi == 2 ? unit[bi][bj] < 0 : unit[bi][bj] > 0; /* NIfTI's x and y grow to the right and to the front */
    }
}

void orient_note(image *m, double a[3][4], const int64_t size[3], const int axis[3], const bool flip[3], double mm)
{
    for (int k = 0; k < 3; k++) {
        int j = axis[k];
        double length = 0;
        m->origin.size[k] = size[k], m->origin.axis[k] = axis[k], m->origin.flip[k] = flip[k];
        for (int i = 0; i < 3; i++) {
            m->affine[i][k] = flip[k] ? -a[i][j] : a[i][j];
            length += a[i][j] * a[i][j];
        }
        m->spacing[2 - k] = sqrt(length) * mm;
    }
    for (int i = 0; i < 3; i++) {
        m->affine[i][3] = a[i][3];
        for (int k = 0; k < 3; k++)
            if (flip[k]) m->affine[i][3] += a[i][axis[k]] * (double)(size[axis[k]] - 1);
    }
}

int64_t orient_steps(const int64_t size[3], int64_t bytes, const int axis[3], const bool flip[3], int64_t step[3])
{
    int64_t stride[3] = {bytes, bytes * size[0], bytes * size[0] * size[1]}, from = 0;
    for (int k = 0; k < 3; k++) {
        step[k] = flip[k] ? -stride[axis[k]] : stride[axis[k]];
        if (flip[k]) from += stride[axis[k]] * (size[axis[k]] - 1);
    }
    return from;
}

status image_turn(image *m, double a[3][4], const char *what)
{
    int axis[3];
    bool flip[3];
    image out;
    int64_t size[3] = {m->W, m->H, m->D}, px = (int64_t)dtype_bytes(m->type) * m->C;
    int64_t step[3];
    orient_find(a, axis, flip);
    TRY(image_alloc(&out, (int)size[axis[2]], (int)size[axis[1]], (int)size[axis[0]], m->C, m->type, what), "turning a volume");
    int64_t from = orient_steps(size, px, axis, flip, step);
    char *to = out.data;
    for (int64_t z = 0; z < out.D; z++)
        for (int64_t y = 0; y < out.H; y++)
            for (int64_t x = 0; x < out.W; x++, to += px)
                memcpy(to, (const char *)m->data + from + z * step[2] + y * step[1] + x * step[0], (size_t)px);
    orient_note(&out, a, size, axis, flip, 1);
    out.is_volume = out.has_affine = true;
    out.path_tells = m->path_tells;
    image_free(m);
    *m = out;
    return OK;
}
