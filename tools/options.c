/* options: reads the words after a subcommand by its table, and prints the table as help. */
#include "options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void put_help(const tool_command *c, const char *name)
{
    printf("usage: medley-data %s\n\n%s\n", c->synopsis, c->about);
    printf("\noptions of %s:\n", name);
    for (const tool_option *o = c->options; o->name; o++) {
        char word[64];
        snprintf(word, sizeof word, "%s%s%s", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
        printf("  %-20s %s\n", word, o->help);
    }
    printf("  %-20s %s\n", "--help", "this text");
}

static const tool_option *find_option(const tool_command *c, const char *word, size_t n)
{
    for (const tool_option *o = c->options; o->name; o++)
        if (strlen(o->name) == n && memcmp(o->name, word, n) == 0) return o;
    return NULL;
}

static status unknown(const tool_command *c, const char *word, size_t n)
{
    const char *names[32] = {"--help"};
    char cut[64];
    int count = 1;
    for (const tool_option *o = c->options; o->name && count < 32; o++) names[count++] = o->name;
    snprintf(cut, sizeof cut, "%.*s", (int)n, word);
    const char *near = text_nearest(cut, names, count);
    CHECK(near, ST_USAGE, "unknown option %s", cut);
    CHECK(false, ST_USAGE, "unknown option %s (did you mean %s?)", cut, near);
    return OK;
}

static bool is_choice(const char *choices, const char *value)
{
    size_t n = strlen(value);
    for (const char *p = choices; *p; p += strcspn(p, "|"), p += *p == '|')
        if (strcspn(p, "|") == n && memcmp(p, value, n) == 0) return true;
    return false;
}

static status take_value(const tool_option *o, const char *value)
{
    if (o->text) {
        CHECK(value[0], ST_USAGE, "%s: the value is empty", o->name);
        CHECK(!o->choices || is_choice(o->choices, value), ST_USAGE, "%s: got \"%.40s\", expected one of %s", o->name, value, o->choices);
        *o->text = value;
    }
    if (o->number) {
        char *end;
        errno = 0;
        long long v = strtoll(value, &end, 10);
        CHECK(*value && !*end && !errno, ST_USAGE, "%s: got \"%.40s\", expected an integer", o->name, value);
        CHECK(o->lo == o->hi || (v >= o->lo && v <= o->hi), ST_USAGE, "%s: got %lld, expected an integer from %lld to %lld", o->name, v,
              (long long)o->lo, (long long)o->hi);
        *o->number = v;
    }
    return OK;
}

static status parse(const tool_command *c, int argc, char **argv, const char **args, int *n_args)
{
    bool options = true;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (options && strcmp(word, "--") == 0) {
            options = false;
        } else if (options && word[0] == '-' && word[1]) {
            size_t n = strcspn(word, "=");
            const tool_option *o = find_option(c, word, n);
            if (!o) return unknown(c, word, n);
            if (!o->arg) {
                CHECK(!word[n], ST_USAGE, "%s takes no value", o->name);
                *o->flag = true;
                continue;
            }
            CHECK(word[n] || i + 1 < argc, ST_USAGE, "%s needs a value: %s", o->name, o->arg);
            TRY(take_value(o, word[n] ? word + n + 1 : argv[++i]), "options");
        } else {
            CHECK(*n_args < c->most_args, ST_USAGE, "unexpected word \"%.80s\"", word);
            args[(*n_args)++] = word;
        }
    }
    CHECK(*n_args >= c->least_args, ST_USAGE, "something is missing");
    return OK;
}

status tool_parse(const tool_command *c, int argc, char **argv, const char **args, int *n_args, bool *help)
{
    *n_args = 0;
    *help = false;
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            put_help(c, argv[0]);
            *help = true;
            return OK;
        }
    status st = parse(c, argc, argv, args, n_args);
    if (!st) return OK;
    char why[512];
    snprintf(why, sizeof why, "%s", status_message());
    return status_raise(st, __FILE__, __LINE__, "%s\nusage: medley-data %s\n(medley-data %s --help says more)", why, c->synopsis, argv[0]);
}
