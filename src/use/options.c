/* options: the words of a command line, by one table per command that is parser and help. */
#include "medley/use.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Words in lines of at most 100 columns; later lines start at `indent`. */
static void put_wrapped(FILE *out, const char *text, int indent)
{
    int column = indent;
    for (const char *p = text; *p; p += *p == ' ') {
        int n = (int)strcspn(p, " ");
        if (column > indent) {
            bool full = column + 1 + n > 100;
            if (full) fprintf(out, "\n%*s", indent, "");
            else fputc(' ', out);
            column = full ? indent : column + 1;
        }
        fprintf(out, "%.*s", n, p);
        column += n;
        p += n;
    }
    fputc('\n', out);
}

static void put_help(const use_command *c, FILE *out)
{
    fprintf(out, "usage: medley %s\n\n", c->synopsis);
    put_wrapped(out, c->about, 0);
    fputc('\n', out);
    for (const use_option *o = c->options; o->name; o++) {
        char word[64];
        snprintf(word, sizeof word, "%s%s%s", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
        fprintf(out, "  %-22s ", word);
        put_wrapped(out, o->help, 25);
    }
    fprintf(out, "  %-22s this text\n", "--help");
}

bool use_help(const use_command *c, int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            put_help(c, stdout);
            return true;
        }
    return false;
}

static const use_option *find_option(const use_command *c, const char *word, size_t n)
{
    for (const use_option *o = c->options; o->name; o++)
        if (strlen(o->name) == n && memcmp(o->name, word, n) == 0) return o;
    return NULL;
}

static status unknown(const use_command *c, const char *word, size_t n)
{
    const char *names[64] = {"--help"};
    char cut[64];
    int count = 1;
    for (const use_option *o = c->options; o->name && count < 64; o++) names[count++] = o->name;
    snprintf(cut, sizeof cut, "%.*s", (int)n, word);
    const char *near = text_nearest(cut, names, count);
    return near ? status_raise(ST_USAGE, __FILE__, __LINE__, "unknown option %s (did you mean %s?)", cut, near)
                : status_raise(ST_USAGE, __FILE__, __LINE__, "unknown option %s", cut);
}

static status take_value(const use_option *o, const char *value)
{
    if (o->text) *o->text = value;
    if (o->list) {
        CHECK(*o->n_list < o->room, ST_USAGE, "%s given more than %d times", o->name, o->room);
        o->list[(*o->n_list)++] = value;
    }
    if (o->number) {
        char *end;
        errno = 0;
        long v = strtol(value, &end, 10);
        CHECK(*value && !*end && !errno && v >= o->lo && v <= o->hi, ST_USAGE, "%s: got \"%.40s\", expected an integer from %d to %d",
              o->name, value, o->lo, o->hi);
        *o->number = (int)v;
    }
    return OK;
}

static status parse(const use_command *c, int argc, char **argv, const char **args, int *n_args)
{
    bool options = true;
    *n_args = 0;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (options && strcmp(word, "--") == 0) {
            options = false;
        } else if (options && word[0] == '-' && word[1]) {
            size_t n = strcspn(word, "=");
            const use_option *o = find_option(c, word, n);
            if (!o) return unknown(c, word, n);
            if (!o->arg) {
                CHECK(!word[n], ST_USAGE, "%s takes no value", o->name);
                *o->flag = true;
                continue;
            }
            CHECK(word[n] || i + 1 < argc, ST_USAGE, "%s needs a value: %s", o->name, o->arg);
            TRY(take_value(o, word[n] ? word + n + 1 : argv[++i]), "options");
        } else {
            CHECK(*n_args < c->most_args, ST_USAGE, "unexpected \"%.80s\"", word);
            args[(*n_args)++] = word;
        }
    }
    CHECK(*n_args >= c->least_args, ST_USAGE, "something is missing");
    return OK;
}

status use_parse(const use_command *c, int argc, char **argv, const char **args, int *n_args)
{
    status st = parse(c, argc, argv, args, n_args);
    if (!st) return OK;
    char why[512];
    snprintf(why, sizeof why, "%s", status_message());
    return status_raise(st, __FILE__, __LINE__, "%s\nusage: medley %s\n(medley %s --help says more)", why, c->synopsis, argv[0]);
}
