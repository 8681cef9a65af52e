/* probe_write: what a probe found: means and intervals over repeats, differences draw by draw, as a table and as CSV. */
#include "probe.h"
#include "scores.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- intervals -------------------------------------------------------------------------------------------------------------------------- */

double band_t975(int freedom)
{
    static const double t[] = {12.706204736, 4.302652730, 3.182446305, 2.776445105, 2.570581836, 2.446911851, 2.364624252, 2.306004135, 2.262157163,
                               2.228138852, 2.200985160, 2.178812830, 2.160368656, 2.144786688, 2.131449546, 2.119905299, 2.109815578, 2.100922040,
                               2.093024054, 2.085963447, 2.079613845, 2.073873068, 2.068657610, 2.063898562, 2.059538553, 2.055529439, 2.051830516,
                               2.048407142, 2.045229642, 2.042272456};
    int n = sizeof t / sizeof *t;
    if (freedom < 1) return NAN;
    if (freedom <= n) return t[freedom - 1];
    /* the normal quantile and its expansion in 1 / freedom (Abramowitz & Stegun 26.7.5) */
    double z = 1.959963984540054, v = freedom, z3 = z * z * z, z5 = z3 * z * z, z7 = z5 * z * z;
    return z + (z3 + z) / (4 * v) + (5 * z5 + 16 * z3 + 3 * z) / (96 * v * v) + (3 * z7 + 19 * z5 + 17 * z3 - 15 * z) / (384 * v * v * v);
}

band band_of(const double *v, int n)
{
    band b = {.mean = NAN, .lo = NAN, .hi = NAN};
    double sum = 0, square = 0;
    for (int i = 0; i < n; i++)
        if (isfinite(v[i])) sum += v[i], b.n++;
    if (b.n == 0) return b;
    b.mean = sum / b.n;
    for (int i = 0; i < n; i++)
        if (isfinite(v[i])) square += (v[i] - b.mean) * (v[i] - b.mean);
    if (b.n < 2) return b;
    double half = band_t975(b.n - 1) * sqrt(square / (b.n - 1) / b.n);
    b.lo = b.mean - half, b.hi = b.mean + half;
    return b;
}

static const outcome *cell(const probe *p, int encoder, int method, int fraction, int repeat)
{
    return &p->result[probe_cell(p, encoder, method, fraction, repeat)];
}

/* less: an encoder whose scores are taken off, or -1. */
static band over_repeats(const probe *p, int encoder, int less, int method, int fraction)
{
    double v[PROBE_MOST_REPEATS];
    int n = 0;
    for (int r = 0; r < p->repeats; r++)
        if (!probe_is_copy(p, method, fraction, r))
            v[n++] = cell(p, encoder, method, fraction, r)->score - (less < 0 ? 0 : cell(p, less, method, fraction, r)->score);
    return band_of(v, n);
}

band probe_band(const probe *p, int encoder, int method, int fraction) { return over_repeats(p, encoder, -1, method, fraction); }

band probe_difference(const probe *p, int encoder, int method, int fraction)
{
    return over_repeats(p, encoder, ENCODER_RANDOM, method, fraction);
}

/* The smallest fraction whose mean is not below what random weights reach with the largest: -1, none. */
static int first_reaching(const probe *p, int encoder, int method, band *random)
{
    *random = probe_band(p, ENCODER_RANDOM, method, p->n_fractions - 1);
    for (int f = 0; f < p->n_fractions; f++)
        if (probe_band(p, encoder, method, f).mean >= random->mean) return f;
    return -1;
}

void probe_says(const probe *p, int encoder, int method, char out[PROBE_SAYING])
{
    band random;
    int f = first_reaching(p, encoder, method, &random);
    double most = p->fraction[p->n_fractions - 1];
    const char *by = probe_methods[p->method[method]].name, *name = p->encoder[encoder].name;
    if (!isfinite(random.mean)) snprintf(out, PROBE_SAYING, "%s: random weights have no score", by);
    else if (f < 0)
        snprintf(out, PROBE_SAYING, "%s: %s nowhere reaches what random weights reach with %g %% (%.3f)", by, name, most, random.mean);
    else
        snprintf(out, PROBE_SAYING, "%s: %s reaches with %g %% what random weights reach with %g %% (%.3f)", by, name, p->fraction[f], most, random.mean);
}

/* ---- files ---------------------------------------------------------------------------------------------------------------------------- */

static status write_output(const probe *p, const char *name, probe_put *put)
{
    char path[1200], *text = NULL;
    size_t n = 0;
    FILE *f;
    snprintf(path, sizeof path, "%s/%s", p->out, name);
    TRY(mem_text_open(&f, &text, &n, name), "%s", path);
    put(p, f);
    status st = mem_text_close(f, &text, name);
    if (!st) st = file_write_atomic(path, text, n);
    free(text);
    return st;
}

static void put_numbers(FILE *out, const double *v, int n)
{
    for (int i = 0; i < n; i++) fputc(',', out), csv_number(out, v[i]);
}

/* One row per encoder, method, fraction and repeat. */
static void put_repeats(const probe *p, FILE *out)
{
    const outcome *first = p->result;
    fputs("encoder,method,percent,repeat,subjects,samples,setting,metric,score", out);
    for (int k = 0; k < first->n; k++) fprintf(out, ",%s", first->name[k]);
    fputc('\n', out);
    for (int e = 0; e < p->n_encoders; e++)
        for (int m = 0; m < p->n_methods; m++)
            for (int f = 0; f < p->n_fractions; f++)
                for (int r = 0; r < p->repeats; r++) {
                    const outcome *o = cell(p, e, m, f, r);
                    csv_text(out, p->encoder[e].name);
                    fprintf(out, ",%s,%g,%d,%lld,%lld,%g,%s", probe_methods[p->method[m]].name, p->fraction[f], r + 1, (long long)o->subjects,
                            (long long)o->samples, o->setting, o->score_name);
                    put_numbers(out, &o->score, 1);
                    put_numbers(out, o->value, o->n);
                    fputc('\n', out);
                }
}

/* Means over the repeats of what was drawn. */
static void drawn(const probe *p, int method, int fraction, double *subjects, double *samples)
{
    *subjects = *samples = 0;
    for (int r = 0; r < p->repeats; r++) {
        *subjects += (double)cell(p, ENCODER_RUN, method, fraction, r)->subjects / (double)p->repeats;
        *samples += (double)cell(p, ENCODER_RUN, method, fraction, r)->samples / (double)p->repeats;
    }
}

static void put_summary(const probe *p, FILE *out)
{
    fputs("encoder,architecture,method,percent,repeats,subjects,samples,metric,mean,lo,hi,minus_random,minus_random_lo,minus_random_hi\n", out);
    for (int e = 0; e < p->n_encoders; e++)
        for (int m = 0; m < p->n_methods; m++)
            for (int f = 0; f < p->n_fractions; f++) {
                band b = probe_band(p, e, m, f), d = probe_difference(p, e, m, f);
                double subjects, samples;
                drawn(p, m, f, &subjects, &samples);
                csv_text(out, p->encoder[e].name);
                fprintf(out, ",%s,%s,%g,%d,%g,%g,%s", p->encoder[e].variant, probe_methods[p->method[m]].name, p->fraction[f], b.n, subjects, samples,
                        p->result->score_name);
                put_numbers(out, (double[]){b.mean, b.lo, b.hi}, 3);
                if (e == ENCODER_RANDOM) fputs(",,,", out);
                else put_numbers(out, (double[]){d.mean, d.lo, d.hi}, 3);
                fputc('\n', out);
            }
}

/* Every training sample in every repeat, with the smallest fraction that takes it; empty: none does. */
static void put_draws(const probe *p, FILE *out)
{
    const roll *r = &p->roll;
    fputs("repeat,sample,id,subject,class,percent\n", out);
    for (int k = 0; k < p->repeats; k++)
        for (int64_t i = 0; i < r->n; i++) {
            if (r->subject[i] < 0) continue;
            int64_t place = p->place[k * r->n_subjects + r->subject[i]];
            int f = 0;
            while (f < p->n_fractions && place >= draw_count(p->fraction[f], r->n_subjects, p->least[k])) f++;
            fprintf(out, "%d,%lld,", k + 1, (long long)r->index[i]);
            csv_text(out, r->id[i]);
            fputc(',', out);
            csv_text(out, r->subject_name[i]);
            fputc(',', out);
            if (r->cls) fprintf(out, "%d", (int)r->cls[i]);
            fputc(',', out);
            if (f < p->n_fractions) fprintf(out, "%g", p->fraction[f]);
            fputc('\n', out);
        }
}

const probe_output probe_outputs[] = {
    {"probe.csv", put_repeats}, {"summary.csv", put_summary}, {"draws.csv", put_draws}, {"curve.svg", probe_svg}, {"probe.html", probe_html}, {0}};

/* ---- on the screen ------------------------------------------------------------------------------------------------------------------------ */

static void band_text(const band *b, bool sign, char out[64])
{
    if (!isfinite(b->mean)) snprintf(out, 64, "-");
    else if (isfinite(b->lo)) snprintf(out, 64, sign ? "%+.3f [%+.3f, %+.3f]" : "%.3f [%.3f, %.3f]", b->mean, b->lo, b->hi);
    else snprintf(out, 64, sign ? "%+.3f" : "%.3f", b->mean);
}

static void put_table(const probe *p)
{
    char score[64], difference[64];
    printf("\n%-20s %-9s %9s %9s %9s  %-24s %s\n", "encoder", "method", "percent", "subjects", "samples", p->result->score_name, "minus random");
    for (int m = 0; m < p->n_methods; m++)
        for (int e = 0; e < p->n_encoders; e++)
            for (int f = 0; f < p->n_fractions; f++) {
                band b = probe_band(p, e, m, f), d = probe_difference(p, e, m, f);
                double subjects, samples;
                drawn(p, m, f, &subjects, &samples);
                band_text(&b, false, score);
                band_text(&d, true, difference);
                printf("%-20s %-9s %9g %9g %9g  %-24s %s\n", p->encoder[e].name, probe_methods[p->method[m]].name, p->fraction[f], subjects, samples, score,
                       e == ENCODER_RANDOM ? "" : difference);
            }
    puts("");
    for (int m = 0; m < p->n_methods; m++)
        for (int e = 0; e < p->n_encoders; e++) {
            char line[PROBE_SAYING];
            if (e == ENCODER_RANDOM) continue;
            probe_says(p, e, m, line);
            puts(line);
        }
}

status probe_write(const probe *p)
{
    for (const probe_output *o = probe_outputs; o->name; o++) TRY(write_output(p, o->name, o->put), "probe");
    put_table(p);
    printf("written to %s:", p->out);
    for (const probe_output *o = probe_outputs; o->name; o++) printf(" %s", o->name);
    puts("");
    return OK;
}
