/* command: every kind of option, what is said about each fault, and the help, manual and exit status of a program made of tables. */
#include "medley/command.h"

#include "test.h"

#include <fcntl.h>
#include <stdio_ext.h>
#include <unistd.h>

static bool force;
static const char *size, *list[2], *args[2];
static int64_t number;
static int n_list, n_args;
static char said[16384]; /* what the last call printed, on stdout and stderr */

static const command_option options[] = {
    {.name = "--force", .help = "replace", .flag = &force},
    {.name = "--size", .arg = "SIZE", .text = &size, .choices = "small|medium|large", .help = "how much"},
    {.name = "--n", .arg = "N", .number = &number, .lo = -5, .hi = INT64_MAX,
     .help = "a help of more words than a line has room for, so that it goes on below itself and not below the name of the option"},
    {.name = "--set", .arg = "KEY=VALUE", .list = list, .n_list = &n_list, .room = 2, .help = "again and again"},
    {0},
};
static const command_line make = {
    "tool make FILE [FILE]",
    "The first paragraph is one that has more words than fit in a line of one hundred columns, so it goes on.\n"
    "\n  a line with a blank at its beginning is kept as it is, however many words come after the blank of it",
    options, 1, 2};

/* Words up to a NULL, after the name of the command. */
static int words(char **argv)
{
    int n = 0;
    while (argv[n]) n++;
    return n;
}
static status parse(char **argv)
{
    force = false, size = "small", number = 0, n_list = 0;
    return command_parse(&make, words(argv), argv, args, &n_args);
}
#define PARSE(...) parse((char *[]){"make", __VA_ARGS__, NULL})

static int print_start(int keep[2])
{
    FILE *f = tmpfile();
    fflush(stdout);
    for (int i = 0; i < 2; i++) keep[i] = dup(1 + i), dup2(fileno(f), 1 + i);
    int file = dup(fileno(f));
    fclose(f);
    return file;
}
static void print_end(int file, int keep[2])
{
    fflush(stdout);
    for (int i = 0; i < 2; i++) dup2(keep[i], 1 + i), close(keep[i]);
    ssize_t n = pread(file, said, sizeof said - 1, 0);
    said[n > 0 ? n : 0] = 0;
    close(file);
}

static void values(void)
{
    EXPECT_OK(PARSE("a", "--force", "--size", "medium", "--n=7", "--set=x=1", "--n", "-5", "--set", "y=2", "--", "--b"));
    EXPECT(force && strcmp(size, "medium") == 0 && number == -5, "%d %s %lld", force, size, (long long)number);
    EXPECT(n_list == 2 && strcmp(list[0], "x=1") == 0 && strcmp(list[1], "y=2") == 0, "%d", n_list);
    EXPECT(n_args == 2 && strcmp(args[0], "a") == 0 && strcmp(args[1], "--b") == 0, "%d", n_args);
    EXPECT_OK(PARSE("-", "--n", "9223372036854775807"));
    EXPECT(n_args == 1 && number == INT64_MAX && !force && n_list == 0, "%d", n_args);
}

static void faults(void)
{
    static const struct {
        char *word[4];
        const char *says;
    } bad[] = {
        {{"a", "--frce"}, "unknown option --frce (did you mean --force?)"},
        {{"a", "--unlike-any=1"}, "unknown option --unlike-any"},
        {{"a", "--force=1"}, "--force takes no value"},
        {{"a", "--size"}, "--size needs a value: SIZE"},
        {{"a", "--size="}, "--size: the value is empty"},
        {{"a", "--size=smal"}, "--size: got \"smal\", expected small, medium or large"},
        {{"a", "--n", "-6"}, "--n: got \"-6\", expected an integer from -5 to 9223372036854775807"},
        {{"a", "--n", "9223372036854775808"}, "--n: got \"9223372036854775808\", expected"},
        {{"a", "--n=4x"}, "--n: got \"4x\", expected"},
        {{"a", "--n="}, "--n: got \"\", expected"},
        {{"--set=1", "--set=2", "--set=3"}, "--set given more than 2 times"},
        {{"a", "b", "c"}, "unexpected word \"c\""},
        {{"--force"}, "something is missing"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *says = bad[i].says;
        EXPECT_STATUS(PARSE(bad[i].word[0], bad[i].word[1], bad[i].word[2]), ST_USAGE);
        EXPECT(strncmp(status_message(), says, strlen(says)) == 0, "%s: %s", says, status_message());
        EXPECT(strstr(status_message(), "\nusage: tool make FILE [FILE]\n(tool make --help says more)"), "%s", status_message());
    }
    EXPECT_STATUS(command_missing(&make, "--out DIR"), ST_USAGE);
    EXPECT(strstr(status_message(), "--out DIR is missing\nusage: tool make"), "%s", status_message());
}

static status run_make(int argc, char **argv)
{
    if (command_help(&make, argc, argv)) return OK;
    return command_parse(&make, argc, argv, args, &n_args);
}
static status run_fail(int argc, char **argv)
{
    (void)argv;
    status st = status_raise(ST_DATA, __FILE__, __LINE__, "damaged");
    if (argc > 1) status_clear();
    return st;
}
static void put_version(FILE *out) { fprintf(out, "tool 1.2\n"); }
static const command_entry entries[] = {
    {"make", run_make, "makes it"}, {"mend-it", run_make, "mends it"}, {"fail", run_fail, "fails"}, {0}};
static const command_program tool = {
    "tool-box", "tools in a box", "About it.", "Exit status: 0 done.", ".BR other (1)", put_version, entries};

static int run(char **argv)
{
    int keep[2], file = print_start(keep), code = command_main(&tool, words(argv), argv);
    print_end(file, keep);
    return code;
}
#define TOOL(...) run((char *[]){"tool-box", __VA_ARGS__, NULL})

static void help(void)
{
    int lines = 0;
    EXPECT(TOOL("make", "--n", "x", "--help") == 0, "%s", said);
    for (char *p = said, *end; (end = strchr(p, '\n')); p = end + 1, lines++)
        EXPECT(end - p <= 100 || strncmp(p, "  a line with", 13) == 0, "%.*s", (int)(end - p), p);
    EXPECT(strncmp(said, "usage: tool make FILE [FILE]\n\nThe first", 39) == 0 && lines == 13, "%d lines:\n%s", lines, said);
    EXPECT(strstr(said, "\n  --set KEY=VALUE        again and again\n  --help                 this text\n"), "%s", said);
    EXPECT(strstr(said, "\n                         "), "%s", said);
    EXPECT(TOOL("make", "--", "--help") == 0 && !said[0], "%s", said);
}

static void program(void)
{
    EXPECT(TOOL("--help") == 0, "%s", said);
    EXPECT(strstr(said, "usage: tool-box COMMAND ...\n\nAbout it.\n\n  make       makes it\n"), "%s", said);
    EXPECT(strstr(said, "Exit status: 0 done.\n"), "%s", said);
    EXPECT(TOOL("--version") == 0 && strcmp(said, "tool 1.2\n") == 0, "%s", said);
    EXPECT(TOOL(NULL) == ST_USAGE && strcmp(said, "tool-box: a command is missing; tool-box --help lists them\n") == 0, "%s", said);
    EXPECT(TOOL("mak") == ST_USAGE && strcmp(said, "tool-box: no command \"mak\" (did you mean \"make\"?)\n") == 0, "%s", said);
    EXPECT(TOOL("something") == ST_USAGE && strstr(said, "no command \"something\"; tool-box --help"), "%s", said);
    EXPECT(TOOL("fail") == ST_DATA && strcmp(said, "tool-box: damaged\n") == 0, "%s", said);
    EXPECT(TOOL("fail", "quietly") == ST_DATA && !said[0], "what a command said itself is said again: %s", said);
}

static void manual(void)
{
    EXPECT(TOOL("--man") == ST_DATA, "a command that fails when it is asked for help");
    static const command_entry good[] = {{"make", run_make, "makes it"}, {"mend-it", run_make, "mends it"}, {0}};
    command_program p = tool;
    char *argv[] = {"tool-box", "--man", NULL};
    int keep[2], file;
    p.commands = good;
    file = print_start(keep);
    int code = command_main(&p, 2, argv);
    print_end(file, keep);
    EXPECT(code == 0 && strncmp(said, ".TH TOOL\\-BOX 1 ", 16) == 0, "%d: %s", code, said);
    EXPECT(strstr(said, "\ntool\\-box \\- tools in a box\n"), "%s", said);
    EXPECT(strstr(said, "\n.SS tool\\-box mend\\-it\n.nf\nusage: tool make"), "%s", said);
    EXPECT(strstr(said, "\n.SH SEE ALSO\n.BR other (1)\n"), "%s", said);
}

static void full_disk(void)
{
    int full = open("/dev/full", O_WRONLY), keep = dup(1);
    if (full < 0) SKIP("no /dev/full");
    fflush(stdout);
    dup2(full, 1);
    char *argv[] = {"tool-box", "--version", NULL};
    int code = command_main(&tool, 2, argv);
    dup2(keep, 1);
    __fpurge(stdout); /* or what was not written comes now */
    clearerr(stdout);
    close(keep);
    close(full);
    EXPECT(code == ST_RESOURCE, "%d", code);
}

int main(void)
{
    RUN(values);
    RUN(faults);
    RUN(help);
    RUN(program);
    RUN(manual);
    RUN(full_disk);
    DONE();
}
