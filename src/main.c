/* main: the `medley` command: a table of subcommands, no logic. */
#include "medley/use.h"

#include <string.h>

static const struct command {
    const char *name;
    status (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
    {"train", cmd_train, "train a job, or go on with it"},
    {"check", cmd_check, "validate a job file and its data; forecast memory and placement"},
    {"evaluate", cmd_evaluate, "metrics per task with confidence intervals"},
    {"report", cmd_report, "one HTML page about a run"},
    {"status", cmd_status, "where a run is"},
    {"verify-run", cmd_verify_run, "are two runs the same, bit for bit?"},
    {"explain", cmd_explain, "every key of a job file"},
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

static void put_help(FILE *out)
{
    fprintf(out, "usage: medley COMMAND ...\n\nTrains one image encoder on many biomedical imaging tasks at once.\n\n");
    for (int i = 0; i < N_COMMANDS; i++) fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].help);
    fprintf(out, "\nmedley COMMAND --help tells more; medley --version lists what was built in.\n"
                 "Exit status: 0 done, 1 two runs differ (verify-run), 2 usage or configuration, 3 data, 4 resources, 5 numerical,\n"
                 "6 communication, 70 internal, 75 checkpointed on request, run again.\n");
}

/* medley(1), from the same texts as --help. */
static status put_manual(void)
{
    printf(
        ".TH MEDLEY 1 \"\" \"Medley\" \"User commands\"\n.SH NAME\nmedley \\- multi-task pretraining of biomedical imaging encoders\n"
        ".SH SYNOPSIS\n.B medley\n.I COMMAND ...\n.SH DESCRIPTION\n.nf\n");
    put_help(stdout);
    printf(".fi\n.SH COMMANDS\n");
    for (int i = 0; i < N_COMMANDS; i++) {
        char name[32], help[] = "--help", *words[] = {name, help, NULL};
        snprintf(name, sizeof name, "%s", commands[i].name);
        printf(".SS medley %s\n.nf\n", name);
        TRY(commands[i].run(2, words), "manual");
        printf(".fi\n");
    }
    printf(".SH SEE ALSO\n.BR medley.cfg (5),\n.BR medley\\-data (1)\n");
    return OK;
}

static status run(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0) put_help(stdout);
    else if (strcmp(word, "--version") == 0) use_version(stdout);
    else if (strcmp(word, "--man") == 0) return put_manual();
    else {
        const char *names[N_COMMANDS];
        for (int i = 0; i < N_COMMANDS; i++) {
            names[i] = commands[i].name;
            if (strcmp(word, names[i]) == 0) return commands[i].run(argc - 1, argv + 1);
        }
        const char *near = word[0] ? text_nearest(word, names, N_COMMANDS) : NULL;
        CHECK(word[0], ST_USAGE, "a command is missing; medley --help lists them");
        CHECK(!near, ST_USAGE, "no command \"%.40s\" (did you mean \"%s\"?)", word, near);
        CHECK(false, ST_USAGE, "no command \"%.40s\"; medley --help lists them", word);
    }
    return OK;
}

int main(int argc, char **argv)
{
    use_best_kernels(argv);
    status st = run(argc, argv);
    if (fflush(stdout) && !st) st = status_raise(ST_RESOURCE, __FILE__, __LINE__, "cannot write to standard output");
    if (st && status_message()[0]) fprintf(stderr, "medley: %s\n", status_message());
    return (int)st;
}
