/* command: reads a command line by its tables, and prints the tables as help and as manual page. */
#include "medley/command.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 100, INDENT = 25, MOST_NAMES = 64 };

/* ---- help ----------------------------------------------------------------------------------------------------------------------- */

/* The first n bytes of text, in lines of at most WIDTH columns; lines but the first start at `indent`. */
static void put_line(FILE *out, const char *text, size_t n, int indent)
{
    int column = indent;
    for (size_t i = 0, word; i < n; i += word + 1) {
        word = strcspn(text + i, " \n");
        if (column > indent) {
            bool full = column + 1 + (int)word > WIDTH;
            if (full) fprintf(out, "\n%*s", indent, "");
            else fputc(' ', out);
            column = full ? indent : column + 1;
        }
        fprintf(out, "%.*s", (int)word, text + i);
        column += (int)word;
    }
    fputc('\n', out);
}

static void put_paragraphs(FILE *out, const char *text)
{
    for (size_t n; *text; text += n + (text[n] == '\n')) {
        n = strcspn(text, "\n");
        if (*text == ' ') fprintf(out, "%.*s\n", (int)n, text);
        else put_line(out, text, n, 0);
    }
}

bool command_help(const command_line *c, int argc, char **argv)
{
    bool asked = false;
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) asked |= strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0;
    if (!asked) return false;
    fprintf(stdout, "usage: %s\n\n", c->synopsis);
    put_paragraphs(stdout, c->about);
    fputc('\n', stdout);
    for (const command_option *o = c->options; o->name; o++) {
        char word[64];
        snprintf(word, sizeof word, "%s%s%s", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
        fprintf(stdout, "  %-*s ", INDENT - 3, word);
        put_line(stdout, o->help, strlen(o->help), INDENT);
    }
    fprintf(stdout, "  %-*s this text\n", INDENT - 3, "--help");
    return true;
}

/* ---- parser --------------------------------------------------------------------------------------------------------------------- */

/* The message of a usage fault, with the way on. */
static status misused(const command_line *c, const char *why)
{
    size_t words = strcspn(c->synopsis, " ");
    if (c->synopsis[words]) words += 1 + strcspn(c->synopsis + words + 1, " \n");
    return status_raise(ST_USAGE, __FILE__, __LINE__, "%s\nusage: %s\n(%.*s --help says more)", why, c->synopsis, (int)words, c->synopsis);
}

status command_missing(const command_line *c, const char *what)
{
    char why[128];
    snprintf(why, sizeof why, "%s is missing", what);
    return misused(c, why);
}

static const command_option *find_option(const command_line *c, const char *word, size_t n)
{
    for (const command_option *o = c->options; o->name; o++)
        if (strlen(o->name) == n && memcmp(o->name, word, n) == 0) return o;
    return NULL;
}

static status unknown(const command_line *c, const char *word, size_t n)
{
    const char *names[MOST_NAMES] = {"--help"};
    char cut[64];
    int count = 1;
    for (const command_option *o = c->options; o->name && count < MOST_NAMES; o++) names[count++] = o->name;
    snprintf(cut, sizeof cut, "%.*s", (int)n, word);
    const char *near = text_nearest(cut, names, count);
    CHECK(!near, ST_USAGE, "unknown option %s (did you mean %s?)", cut, near);
    return status_raise(ST_USAGE, __FILE__, __LINE__, "unknown option %s", cut);
}

static bool is_choice(const command_option *o, const char *value)
{
    size_t length = strlen(value);
    for (const char *p = o->choices; *p; p += strcspn(p, "|"), p += *p == '|')
        if (strcspn(p, "|") == length && memcmp(p, value, length) == 0) return true;
    return false;
}

/* "a|b|c" becomes "a, b or c". */
static status refuse_choice(const command_option *o, const char *value)
{
    char expected[128] = "";
    for (const char *p = o->choices; *p;) {
        size_t n = strcspn(p, "|"), used = strlen(expected);
        snprintf(expected + used, sizeof expected - used, "%s%.*s", p == o->choices ? "" : p[n] ? ", " : " or ", (int)n, p);
        p += n + (p[n] == '|');
    }
    return status_raise(ST_USAGE, __FILE__, __LINE__, "%s: got \"%.40s\", expected %s", o->name, value, expected);
}

static status take_value(const command_option *o, const char *value)
{
    if (o->text) {
        CHECK(value[0], ST_USAGE, "%s: the value is empty", o->name);
        if (o->choices && !is_choice(o, value)) return refuse_choice(o, value);
        *o->text = value;
    }
    if (o->list) {
        CHECK(*o->n_list < o->room, ST_USAGE, "%s given more than %d times", o->name, o->room);
        o->list[(*o->n_list)++] = value;
    }
    if (o->number) {
        char *end;
        errno = 0;
        long long v = strtoll(value, &end, 10);
        CHECK(*value && !*end && !errno && v >= o->lo && v <= o->hi, ST_USAGE, "%s: got \"%.40s\", expected an integer from %lld to %lld",
              o->name, value, (long long)o->lo, (long long)o->hi);
        *o->number = v;
    }
    return OK;
}

static status parse(const command_line *c, int argc, char **argv, const char **args, int *n_args)
{
    bool options = true;
    *n_args = 0;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (options && strcmp(word, "--") == 0) {
            options = false;
        } else if (options && word[0] == '-' && word[1]) {
            size_t n = strcspn(word, "=");
            const command_option *o = find_option(c, word, n);
            if (!o) return unknown(c, word, n);
            if (!o->arg) {
                CHECK(!word[n], ST_USAGE, "%s takes no value", o->name);
                *o->flag = true;
                continue;
            }
            CHECK(word[n] || i + 1 < argc, ST_USAGE, "%s needs a value: %s", o->name, o->arg);
            status st = take_value(o, word[n] ? word + n + 1 : argv[++i]);
            if (st) return st;
        } else {
            CHECK(*n_args < c->most_args, ST_USAGE, "unexpected word \"%.80s\"", word);
            args[(*n_args)++] = word;
        }
    }
    CHECK(*n_args >= c->least_args, ST_USAGE, "something is missing");
    return OK;
}

status command_parse(const command_line *c, int argc, char **argv, const char **args, int *n_args)
{
    if (!parse(c, argc, argv, args, n_args)) return OK;
    char why[512];
    snprintf(why, sizeof why, "%s", status_message());
    return misused(c, why);
}

/* ---- program -------------------------------------------------------------------------------------------------------------------- */

static void put_help(const command_program *p)
{
    fprintf(stdout, "usage: %s COMMAND ...\n\n", p->name);
    put_paragraphs(stdout, p->about);
    fputc('\n', stdout);
    for (const command_entry *e = p->commands; e->name; e++) fprintf(stdout, "  %-10s %s\n", e->name, e->help);
    fprintf(stdout, "\n%s COMMAND --help tells more; %s --version lists what was built in.\n", p->name, p->name);
    put_paragraphs(stdout, p->exits);
}

/* A name as troff prints it: a bare '-' would become a hyphen there, which nobody can copy into a shell. */
static const char *troff_name(const char *name, bool capitals, char *out, size_t room)
{
    size_t n = 0;
    for (; *name && n + 3 < room; name++) {
        if (*name == '-') out[n++] = '\\';
        out[n++] = capitals ? (char)toupper((unsigned char)*name) : *name;
    }
    out[n] = 0;
    return out;
}

/* PROGRAM(1), from the same texts as --help. */
static status put_manual(const command_program *p)
{
    char title[64], name[64], words[64];
    troff_name(p->name, true, title, sizeof title);
    troff_name(p->name, false, name, sizeof name);
    fprintf(stdout,
            ".TH %s 1 \"\" \"Medley\" \"User commands\"\n.SH NAME\n%s \\- %s\n"
            ".SH SYNOPSIS\n.B %s\n.I COMMAND ...\n.SH DESCRIPTION\n.nf\n",
            title, name, p->purpose, name);
    put_help(p);
    fprintf(stdout, ".fi\n.SH COMMANDS\n");
    for (const command_entry *e = p->commands; e->name; e++) {
        char word[32], help[] = "--help", *argv[] = {word, help, NULL};
        snprintf(word, sizeof word, "%s", e->name);
        fprintf(stdout, ".SS %s %s\n.nf\n", name, troff_name(e->name, false, words, sizeof words));
        TRY(e->run(2, argv), "manual");
        fprintf(stdout, ".fi\n");
    }
    fprintf(stdout, ".SH SEE ALSO\n%s\n", p->see_also);
    return OK;
}

static status run(const command_program *p, int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "", *names[MOST_NAMES];
    int n = 0;
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0) return put_help(p), OK;
    if (strcmp(word, "--version") == 0) return p->version(stdout), OK;
    if (strcmp(word, "--man") == 0) return put_manual(p);
    CHECK(word[0], ST_USAGE, "a command is missing; %s --help lists them", p->name);
    for (const command_entry *e = p->commands; e->name; e++) {
        if (strcmp(word, e->name) == 0) return e->run(argc - 1, argv + 1);
        if (n < MOST_NAMES) names[n++] = e->name;
    }
    const char *near = text_nearest(word, names, n);
    CHECK(!near, ST_USAGE, "no command \"%.40s\" (did you mean \"%s\"?)", word, near);
    return status_raise(ST_USAGE, __FILE__, __LINE__, "no command \"%.40s\"; %s --help lists them", word, p->name);
}

int command_main(const command_program *p, int argc, char **argv)
{
    log_name(p->name);
    status st = run(p, argc, argv);
    if ((fflush(stdout) || ferror(stdout)) && !st) st = status_raise(ST_RESOURCE, __FILE__, __LINE__, "cannot write to standard output");
    if (st && status_message()[0]) fprintf(stderr, "%s: %s\n", p->name, status_message());
    return (int)st;
}
