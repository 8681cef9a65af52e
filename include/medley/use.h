/* use: the commands of `medley`. Each takes its own argv (argv[0] is its name) and returns the program's exit status; main prints the
 * message. Every command answers --help on stdout. */
#ifndef MEDLEY_USE_H
#define MEDLEY_USE_H

#include "medley/comm.h"
#include "medley/core.h"

MUST status cmd_train(int argc, char **argv);    /* MPI */
MUST status cmd_evaluate(int argc, char **argv); /* MPI */
MUST status cmd_check(int argc, char **argv);
MUST status cmd_report(int argc, char **argv);
MUST status cmd_status(int argc, char **argv);
MUST status cmd_verify_run(int argc, char **argv);
MUST status cmd_explain(int argc, char **argv);

/* ---- options, shared by the commands ---------------------------------------------------------------------------------------- */

typedef struct use_option {
    const char *name;    /* "--set" */
    const char *arg;     /* "KEY=VALUE"; NULL: a flag */
    const char *help;
    bool *flag;          /* flag: set to true */
    const char **text;   /* with arg: the value, the last one wins */
    int *number;         /* with arg: an integer from lo to hi instead */
    int lo, hi;
    const char **list;   /* with arg: every value, at most `room` of them; *n_list counts */
    int *n_list, room;
} use_option;

typedef struct use_command {
    const char *synopsis;        /* "train JOB.cfg [options]" */
    const char *about;           /* a paragraph for --help */
    const use_option *options;   /* ends with name == NULL */
    int least_args, most_args;   /* words that are no options */
} use_command;

/* True if --help is among the words: then the help has been printed to stdout and the command is done. Ask before opening MPI. */
bool use_help(const use_command *c, int argc, char **argv);
/* Fills what the options point at, and args with the other words (most_args entries). "--" ends options; --name=value works. */
MUST status use_parse(const use_command *c, int argc, char **argv, const char **args, int *n_args);

/* ---- MPI around a command ----------------------------------------------------------------------------------------------------- */

/* OpenBLAS chooses its kernels when it is loaded. If it chose slow ones for this CPU (kern_better_core), the program starts itself again,
 * once, with OPENBLAS_CORETYPE set. A user's own setting stands. Before MPI. */
void use_best_kernels(char **argv);

/* Opens the world, the log and the signal handlers. Collective over all processes. */
MUST status use_open(int argc, char **argv, comm **world);
/* Ends the command with status `st`. A status all ranks agreed on (comm_agree) is left for main to print on rank 0, and MPI is closed;
 * one that only this rank knows is printed with the rank, and ends all ranks. Returns st. */
MUST status use_close(comm *world, status st);

/* ---- what main prints ---------------------------------------------------------------------------------------------------------- */

void use_version(FILE *out);

#endif
