/* use: the commands of `medley`. Each takes its own argv (argv[0] is its name) and returns the program's exit status; command_main prints
 * the message. Every command answers --help on stdout. */
#ifndef MEDLEY_USE_H
#define MEDLEY_USE_H

#include "medley/comm.h"
#include "medley/core.h"

MUST status cmd_train(int argc, char **argv);    /* MPI */
MUST status cmd_evaluate(int argc, char **argv); /* MPI */
MUST status cmd_embed(int argc, char **argv);    /* MPI */
MUST status cmd_predict(int argc, char **argv);  /* MPI */
MUST status cmd_probe(int argc, char **argv);    /* MPI */
MUST status cmd_check(int argc, char **argv);
MUST status cmd_report(int argc, char **argv);
MUST status cmd_status(int argc, char **argv);
MUST status cmd_verify_run(int argc, char **argv);
MUST status cmd_doctor(int argc, char **argv);   /* MPI */
MUST status cmd_export(int argc, char **argv);
MUST status cmd_import(int argc, char **argv);
MUST status cmd_explain(int argc, char **argv);

/* ---- MPI around a command ----------------------------------------------------------------------------------------------------- */

/* OpenBLAS chooses its kernels when it is loaded. If it chose slow ones for this CPU (kern_better_core), the program starts itself again,
 * once, with OPENBLAS_CORETYPE set. A user's own setting stands. Before MPI. */
void use_best_kernels(char **argv);

/* Opens the world, the log and the signal handlers. Collective over all processes. */
MUST status use_open(int argc, char **argv, comm **world);
/* Ends the command with status `st`. A status all ranks agreed on (comm_agree) is left for main to print on rank 0, and MPI is closed;
 * one that only this rank knows is printed with the rank, and ends all ranks. Returns st. */
MUST status use_close(comm *world, status st);

/* Collective. Threads of this rank; ranks that compute with other kernels, whose results would depend on who made them, are refused. */
MUST status use_compute(comm *world);

/* The module with the readers of image files is loaded by whoever reads one first; here alone, to say where it lies (NULL: never mind). ST_RESOURCE. */
MUST status use_readers(char *where, size_t room);

/* A command's --out: ST_USAGE if the file is there and --force was not given. */
MUST status use_may_write(const char *path, bool force);
/* "224x224": height and width, multiples of 32 up to 4096. ST_USAGE. */
MUST status use_image_size(const char *text, int *H, int *W);
/* What an option says; text NULL: *out stays as it is. ST_USAGE names the option. */
MUST status use_number(const char *option, const char *text, double lo, double hi, double *out);

/* ---- what --version prints --------------------------------------------------------------------------------------------------- */

void use_version(FILE *out);

#endif
