/* commands: entry points of `medley-data`, one per subcommand; argv[0] is the subcommand's name. The status is the exit code. */
#ifndef MEDLEY_TOOLS_COMMANDS_H
#define MEDLEY_TOOLS_COMMANDS_H

#include "medley/core.h"

MUST status cmd_convert(int argc, char **argv); /* source files and a recipe to shards */
MUST status cmd_index(int argc, char **argv);   /* parts of a conversion to one data set folder */
MUST status cmd_synth(int argc, char **argv);   /* a small learnable stand-in, as ordinary source files and as shards */
MUST status cmd_verify(int argc, char **argv);  /* checksums, ranges, label consistency, split leakage */
MUST status cmd_info(int argc, char **argv);    /* what a data set folder holds */
MUST status cmd_inspect(int argc, char **argv); /* contact sheet */

#endif
