/* command: the command line of a program by tables: one of its commands, and in each command one of its options. The tables are parser,
 * --help, "did you mean" and manual page. Knows none of the commands. */
#ifndef MEDLEY_COMMAND_H
#define MEDLEY_COMMAND_H

#include "medley/core.h"

/* ---- the words after a command -------------------------------------------------------------------------------------------------- */

typedef struct command_option {
    const char  *name;     /* "--set" */
    const char  *arg;      /* "KEY=VALUE"; NULL: a flag */
    const char  *help;     /* words; wrapped */
    bool        *flag;     /* a flag: set to true. With arg one of the next three: where the value goes */
    const char **text;     /* any text but an empty one; the last one wins */
    const char  *choices;  /*   or only these: "small|medium" */
    int64_t     *number;   /* an integer from lo to hi; the last one wins */
    int64_t      lo, hi;
    const char **list;     /* every value, at most `room` of them; *n_list counts */
    int         *n_list, room;
} command_option;

typedef struct command_line {
    const char           *synopsis; /* begins with program and command: "medley train JOB.cfg [--fresh]"; may have several lines */
    const char           *about;    /* paragraphs for --help; a line that begins with a blank is printed as it is */
    const command_option *options;  /* ends with name == NULL */
    int                   least_args, most_args; /* words that are no options */
} command_line;

/* True if --help is among the words: then it has been printed to stdout and the command is done. Ask before anything is opened. */
bool command_help(const command_line *c, int argc, char **argv);
/* Fills what the options point at, and args with the other words (most_args entries; NULL if there are none). "--" ends options,
 * --name=value works. ST_USAGE: the message names the word, the synopsis and --help. */
MUST status command_parse(const command_line *c, int argc, char **argv, const char **args, int *n_args);
/* ST_USAGE with such a message: `what`, for example "--out DIR", has to be given. */
MUST status command_missing(const command_line *c, const char *what);

/* ---- the program ---------------------------------------------------------------------------------------------------------------- */

typedef struct command_entry {
    const char *name; /* "train" */
    status (*run)(int argc, char **argv); /* argv[0] is the command's name; answers --help */
    const char *help; /* half a line */
} command_entry;

typedef struct command_program {
    const char          *name;     /* "medley" */
    const char          *purpose;  /* half a line, for the manual page */
    const char          *about;    /* a paragraph, for --help */
    const char          *exits;    /* "Exit status: ..." */
    const char          *see_also; /* manual pages, as troff: ".BR medley (1)" */
    void               (*version)(FILE *out);
    const command_entry *commands; /* ends with name == NULL */
} command_program;

/* All of main: runs the command that argv[1] names, or answers --help, --version, --man; prints the message of a failure unless it was
 * cleared. Returns the exit status. */
int command_main(const command_program *p, int argc, char **argv);

#endif
