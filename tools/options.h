/* options: the words after a `medley-data` subcommand, by one table per command that is parser and help. */
#ifndef MEDLEY_TOOLS_OPTIONS_H
#define MEDLEY_TOOLS_OPTIONS_H

#include "medley/core.h"

typedef struct tool_option {  /* of text, number, flag one is set: where the value goes */
    const char  *name, *arg;  /* "--out", "DIR"; arg NULL: a flag */
    const char  *help;
    const char **text;
    int64_t     *number, lo, hi; /* lo == hi: any number */
    bool        *flag;
    const char  *choices;     /* of a text: "small|medium" or NULL */
} tool_option;

typedef struct tool_command {
    const char        *synopsis;  /* "verify DIR [options]" */
    const char        *about;     /* what it does, with its results and exit codes; lines as they are printed */
    const tool_option *options;   /* ends with name == NULL */
    int                least_args, most_args;
} tool_command;

/* Values into the table's places, other words into args. *help: --help was asked for and printed; nothing else is set then. ST_USAGE. */
MUST status tool_parse(const tool_command *c, int argc, char **argv, const char **args, int *n_args, bool *help);

#endif
