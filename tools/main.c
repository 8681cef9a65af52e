/* main: the `medley-data` command: a table of subcommands, no logic. */
#include "commands.h"
#include "medley_build.h"

#include <string.h>

static const struct command {
    const char *name;
    status (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
    {"convert", cmd_convert, "source files and a recipe become shards"},
    {"synth", cmd_synth, "a small learnable stand-in for real data, as source files and as shards"},
    {"verify", cmd_verify, "checksums, ranges, label consistency and split leakage of shards"},
    {"info", cmd_info, "what a data set folder or a shard holds"},
    {"inspect", cmd_inspect, "contact sheet with masks, boxes and class names drawn in"},
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

static void put_help(FILE *out)
{
    fprintf(out, "usage: medley-data COMMAND ...\n\nMakes and looks after the shards that `medley` trains on.\n\n");
    for (int i = 0; i < N_COMMANDS; i++) fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].help);
    fprintf(out, "\nmedley-data COMMAND --help tells more; medley-data --version lists what was built in.\n"
                 "Exit status: 0 done, 2 usage or recipe, 3 data, 4 resources, 70 internal.\n");
}

static void put_version(FILE *out)
{
    fprintf(out, "medley-data %s (%s)\nreads: NIfTI", MEDLEY_VERSION, MEDLEY_BUILD);
#ifdef HAVE_PNG
    fprintf(out, ", PNG");
#endif
#ifdef HAVE_JPEG
    fprintf(out, ", JPEG");
#endif
    fprintf(out, "; labels: CSV, masks");
#ifdef HAVE_EXPAT
    fprintf(out, ", Pascal VOC");
#endif
    fprintf(out, ", COCO");
#if defined(HAVE_ZIP) && defined(HAVE_EXPAT)
    fprintf(out, ", XLSX");
#endif
    fprintf(out, "\n");
}

/* medley-data(1), from the same texts as --help. */
static status put_manual(void)
{
    printf(".TH MEDLEY\\-DATA 1 \"\" \"Medley\" \"User commands\"\n.SH NAME\nmedley\\-data \\- shards of biomedical images for medley\n"
           ".SH SYNOPSIS\n.B medley\\-data\n.I COMMAND ...\n.SH DESCRIPTION\n.nf\n");
    put_help(stdout);
    printf(".fi\n.SH COMMANDS\n");
    for (int i = 0; i < N_COMMANDS; i++) {
        char name[32], help[] = "--help", *words[] = {name, help, NULL};
        snprintf(name, sizeof name, "%s", commands[i].name);
        printf(".SS medley\\-data %s\n.nf\n", name);
        TRY(commands[i].run(2, words), "manual");
        printf(".fi\n");
    }
    printf(".SH SEE ALSO\n.BR medley (1)\n");
    return OK;
}

static status run(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0) put_help(stdout);
    else if (strcmp(word, "--version") == 0) put_version(stdout);
    else if (strcmp(word, "--man") == 0) return put_manual();
    else {
        const char *names[N_COMMANDS];
        for (int i = 0; i < N_COMMANDS; i++) {
            names[i] = commands[i].name;
            if (strcmp(word, names[i]) == 0) return commands[i].run(argc - 1, argv + 1);
        }
        const char *near = word[0] ? text_nearest(word, names, N_COMMANDS) : NULL;
        CHECK(word[0], ST_USAGE, "a command is missing; medley-data --help lists them");
        CHECK(!near, ST_USAGE, "no command \"%.40s\" (did you mean \"%s\"?)", word, near);
        CHECK(false, ST_USAGE, "no command \"%.40s\"; medley-data --help lists them", word);
    }
    return OK;
}

int main(int argc, char **argv)
{
    status st = run(argc, argv);
    if (fflush(stdout) && !st) st = status_raise(ST_RESOURCE, __FILE__, __LINE__, "cannot write to standard output");
    if (st && status_message()[0]) fprintf(stderr, "medley-data: %s\n", status_message());
    return (int)st;
}
