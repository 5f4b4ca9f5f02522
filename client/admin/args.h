/* admin/args.h - options of a command, by getopt_long, with --help that teaches.
 *
 * Options may stand before, between and after the operands, as "--name value", "--name=value" or a
 * short letter. --help, --json and --cluster belong to every command and need not be listed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/admin/cli.h"

enum cw_opt_kind {
    CW_OPT_FLAG,    /* to: bool */
    CW_OPT_TEXT,    /* to: const char *, borrowed from argv */
    CW_OPT_SIZE,    /* to: uint64_t, bytes: 4096, 64M, 1T */
    CW_OPT_NUMBER,  /* to: uint64_t */
    CW_OPT_SECONDS, /* to: uint64_t: 10, 10s, 5m, 2h, 1d */
};

struct cw_opt {
    const char *name; /* "size"; NULL name ends a list */
    char letter;      /* 0: none */
    enum cw_opt_kind kind;
    void *to;         /* unchanged when the option is not given */
    const char *arg;  /* "SIZE", for the help */
    const char *help; /* may hold several lines */
};

/* The command goes on; anything else is the exit status. */
#define CW_ARGS_GO (-1)

struct cw_args {
    const struct cw_opt *opts; /* ended by a NULL name; NULL: none */
    int n_min, n_max;          /* operands; n_max < 0: any number */
    int n;                     /* set: how many */
    char **operand;            /* set: they, in argv */
};

/* Fills the options' places and a->n, a->operand. Prints the help (0) or what is wrong (2). */
int cw_args_parse(struct cw_cli *cli, const struct cw_cmd *cmd, struct cw_args *a, int argc,
                  char **argv);

/* What --help prints. opts as above. */
void cw_args_help(struct cw_cli *cli, const struct cw_cmd *cmd, const struct cw_opt *opts);

/* "10", "10s", "5m", "2h", "1d". False leaves *ret unchanged. */
bool cw_args_seconds(const char *text, uint64_t *ret);

/* Digits only, below 2^64. */
bool cw_args_number(const char *text, uint64_t *ret);
