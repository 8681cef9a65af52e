/* print: a struct as a file that reads back to it, and the table as help and manual text. */
#include "config_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void print_number(double v, char out[40])
{
    int whole = fabs(v) >= 1 && fabs(v) < 1e15 ? 1 + (int)floor(log10(fabs(v))) : 1; /* 10.0 rather than 1e+01 */
    for (int digits = whole; digits <= 17; digits++) {
        snprintf(out, 40, "%.*g", digits, v);
        if (strtod(out, NULL) == v) break;
    }
    if (isfinite(v) && !strpbrk(out, ".e")) strcat(out, ".0"); /* else libconfig would take it for an integer */
}

static void print_text(FILE *out, const char *s)
{
    fputc('"', out);
    for (; *s; s++) {
        if (*s == '"' || *s == '\\') fputc('\\', out);
        fputc(*s, out);
    }
    fputc('"', out);
}

static void print_integer(FILE *out, int64_t v)
{
    fprintf(out, "%lld%s", (long long)v, v > INT32_MAX || v < INT32_MIN ? "L" : "");
}

/* One number or text at `at`. */
static void print_value(FILE *out, const key *k, const char *at)
{
    char text[40];
    switch (k->type) {
    case KEY_BOOL: fputs(*(const bool *)at ? "true" : "false", out); break;
    case KEY_INT:
    case KEY_INT_LIST: print_integer(out, field_bytes(k) == 4 ? *(const int *)at : *(const int64_t *)at); break;
    case KEY_FLOAT:
    case KEY_FLOAT_LIST: {
        double v = field_bytes(k) == 4 ? (double)*(const float *)at : *(const double *)at;
        print_number(v, text);
        fputs(text, out);
        break;
    }
    default: print_text(out, at);
    }
}

static int list_count(const key *k, const char *base)
{
    return k->least == k->size && k->least > 0 ? (int)k->size : *(const int *)(base + k->count_offset);
}

static void print_list(FILE *out, const key *k, const char *base)
{
    int n = list_count(k, base);
    size_t step = k->type == KEY_TEXT_LIST ? k->item_bytes : field_bytes(k);
    fputc('[', out);
    for (int i = 0; i < n; i++) {
        if (i) fputs(", ", out);
        print_value(out, k, base + k->offset + (size_t)i * step);
    }
    fputc(']', out);
}

static bool is_unset(const key *k, const char *at)
{
    if (k->type != KEY_FLOAT || !k->def || strcmp(k->def, "nan") != 0) return false;
    return isnan(field_bytes(k) == 4 ? *(const float *)at : *(const double *)at);
}

static void print_range(FILE *out, const key *k)
{
    char lo[40], hi[40];
    snprintf(lo, sizeof lo, "%.10g", k->lo);
    snprintf(hi, sizeof hi, "%.10g", k->hi);
    if (k->choices) fprintf(out, " (%s)", k->choices);
    else if (k->lo != k->hi && isinf(k->hi)) fprintf(out, " (>= %s)", lo);
    else if (k->lo != k->hi) fprintf(out, " (%s..%s)", lo, hi);
}

static void print_group(FILE *out, const key *table, const char *base, int depth)
{
    int pad = 4 * depth;
    for (const key *k = table; k->name; k++) {
        const char *at = base + k->offset;
        if (k->type == KEY_LINE) continue;
        if (k->type == KEY_GROUP || k->type == KEY_GROUP_LIST) {
            if (k->help) fprintf(out, "%s%*s# %s\n", depth ? "" : "\n", pad, "", k->help);
            fprintf(out, "%*s%s = %c\n", pad, "", k->name, k->type == KEY_GROUP ? '{' : '(');
            if (k->type == KEY_GROUP) print_group(out, k->sub, at, depth + 1);
            int n = k->type == KEY_GROUP_LIST ? list_count(k, base) : 0;
            for (int i = 0; i < n; i++) {
                fprintf(out, "%*s{\n", pad + 2, "");
                print_group(out, k->sub, at + (size_t)i * k->sub_bytes, depth + 1);
                fprintf(out, "%*s}%s\n", pad + 2, "", i + 1 < n ? "," : "");
            }
            fprintf(out, "%*s%c;\n", pad, "", k->type == KEY_GROUP ? '}' : ')');
            continue;
        }
        bool unset = is_unset(k, at);
        fprintf(out, "%*s%s%s = ", pad, "", unset ? "# " : "", k->name);
        if (unset) fputs("...", out);
        else if (key_is_list(k)) print_list(out, k, base);
        else print_value(out, k, at);
        fprintf(out, ";  # %s", k->help ? k->help : "");
        print_range(out, k);
        fputc('\n', out);
    }
}

status config_print(const key *table, const void *in, FILE *out)
{
    print_group(out, table, in, 0);
    CHECK(!ferror(out), ST_RESOURCE, "cannot write the settings");
    return OK;
}

/* ---- help ------------------------------------------------------------------------------------------------------------------------ */

static void explain(const key *table, const char *path, bool man, FILE *out)
{
    for (const key *k = table; k->name; k++) {
        char full[PATH_BYTES], expected[512];
        if (k->type == KEY_LINE) continue;
        snprintf(full, sizeof full, "%s%s%s", path, path[0] ? "." : "", k->name);
        key_expected(k, expected, sizeof expected);
        fprintf(out, man ? ".TP\n.B %s\n" : "%s\n    ", full);
        for (const char *c = expected; *c; c++) {
            fputc(*c, out);
            if (man && *c == '|') fputs("\\:", out); /* troff may break a long list there */
        }
        if (k->type == KEY_GROUP) fputs(".\n", out);
        else if (!k->def) fputs("; required.\n", out);
        else if (k->type == KEY_FLOAT && strcmp(k->def, "nan") == 0) fputs("; not set by default.\n", out);
        else if (k->type == KEY_TEXT) fprintf(out, "; default \"%s\".\n", k->def);
        else fprintf(out, "; default %s.\n", k->def[0] ? k->def : "empty");
        if (k->help) fprintf(out, "%s%c%s.\n", man ? "" : "    ", k->help[0], k->help + 1);
        if (k->type == KEY_GROUP_LIST) strncat(full, "[]", sizeof full - strlen(full) - 1);
        if (k->sub) explain(k->sub, full, man, out);
    }
}

status config_explain(const key *table, FILE *out)
{
    explain(table, "", false, out);
    CHECK(!ferror(out), ST_RESOURCE, "cannot write the help");
    return OK;
}

status config_man(const key *table, FILE *out)
{
    explain(table, "", true, out);
    CHECK(!ferror(out), ST_RESOURCE, "cannot write the manual");
    return OK;
}
