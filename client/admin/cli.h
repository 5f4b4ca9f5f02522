/* admin/cli.h - what every command of `causeway` shares: where it prints, how it fails.
 *
 *   argv --dispatch.c--> struct cw_cmd --args.h--> its options --> RPC, files --> out.h
 *
 * Exit status: 0 fine, 1 the command failed or `status` found a warning, 2 `status` found an error
 * or bad usage. One thread, except where a command runs an engine (bench, import, export).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum cw_exit { CW_EXIT_OK = 0, CW_EXIT_FAILED = 1, CW_EXIT_USAGE = 2 };

struct cw_cli {
    FILE *out, *err;     /* borrowed */
    const char *cluster; /* "ADDR:PORT[,..]"; NULL: neither --cluster nor CAUSEWAY_CLUSTER */
    bool json;
    bool failed; /* an error was printed: at most one per run */
};

struct cw_cmd {
    const char *words; /* "volume create" */
    const char *args;  /* "NAME --size SIZE", for the usage line */
    const char *brief; /* one line */
    const char *about; /* paragraphs and examples for --help; ends with a newline */
    /* argv[0] is the last word of the command. Returns the exit status. */
    int (*run)(struct cw_cli *, const struct cw_cmd *, int argc, char **argv);
};

/* The whole program with its streams given. argv[0] is the program. */
int cw_cli_main(int argc, char **argv, FILE *out, FILE *err);

/* What an error names besides its text; any part may be NULL. */
struct cw_fail {
    const char *code;   /* "NOT_FOUND"; NULL: "FAILED" */
    const char *object; /* "vm1" */
    const char *hint;   /* the next step */
};

/* Prints one line on err, or the error object on out with --json. Returns CW_EXIT_FAILED. Only the
 * first failure of a run is printed. */
int cw_cli_fail(struct cw_cli *cli, struct cw_fail why, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for bad usage: the hint is the command's --help. Returns CW_EXIT_USAGE. */
int cw_cli_usage(struct cw_cli *cli, const struct cw_cmd *cmd, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Neither --cluster nor CAUSEWAY_CLUSTER. Returns CW_EXIT_USAGE. */
int cw_cli_no_cluster(struct cw_cli *cli);

/* A remark for people on err; nothing with --json. */
void cw_cli_note(struct cw_cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* SIGINT and SIGTERM set a flag instead of ending the program, until it ends. Async-signal-safe
 * state of the process, the one thing here that signals force to be global. */
void cw_cli_catch_signals(void);
bool cw_cli_interrupted(void);
