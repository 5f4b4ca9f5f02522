/* tool/tool.h - what every command of causeway-store shares: options, where it prints, how it
 * fails.
 *
 *   argv --dispatch--> struct cw_tool_cmd --cw_tool_args--> its options --> a stand --> out.h
 *
 * Exit status: 0 fine, 1 the command failed, found something or lost output, 2 bad usage. One
 * thread.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/reactor/reactor.h"

enum cw_tool_exit { CW_TOOL_OK = 0, CW_TOOL_FOUND = 1, CW_TOOL_USAGE = 2 };

#define CW_TOOL_LINES 16
#define CW_TOOL_LINE_SIZE 256

struct cw_tool {
    FILE *out, *err; /* borrowed */
    bool json;
    bool failed;          /* an error was printed: at most one per run */
    bool cut;             /* what was to be printed as JSON could not be */
    uint64_t progress_ns; /* when it was last shown; 0: it is not on the screen */

    struct cw_reactor *r; /* made by cw_tool_reactor */
    /* What the store logged as an error or a warning, newest last; n_lines counts all. */
    char lines[CW_TOOL_LINES][CW_TOOL_LINE_SIZE];
    uint32_t n_lines;
};

struct cw_tool_cmd {
    const char *word;  /* "check" */
    const char *args;  /* "PATH", for the usage line */
    const char *brief; /* one line */
    const char *about; /* for --help; ends with a newline */
    /* argv[0] is the word. Returns the exit status. */
    int (*run)(struct cw_tool *, const struct cw_tool_cmd *, int argc, char **argv);
};

extern const struct cw_tool_cmd cw_tool_format_cmd, cw_tool_info_cmd, cw_tool_check_cmd,
    cw_tool_dump_cmd, cw_tool_rebuild_cmd, cw_tool_metadata_cmd;

/* The whole program, with its streams given; out is flushed. A run whose output could not all be
 * written fails. */
int cw_tool_main(int argc, char **argv, FILE *out, FILE *err);

/* ---- options ---- */

struct cw_tool_opt {
    const char *name; /* "out"; NULL ends a list */
    bool *flag;       /* one of these two */
    const char **text;
    size_t *n, max; /* it may be given up to max times, as text[0] and on; *n counts */
};

#define CW_TOOL_GO (-1)

/* Options may stand before, between and after the operands; --help and --json belong to every
 * command. CW_TOOL_GO: the *ret_n operands now are argv[0] and those after it. Else the exit
 * status. */
int cw_tool_args(struct cw_tool *t, const struct cw_tool_cmd *cmd, const struct cw_tool_opt *opts,
                 int argc, char **argv, int *ret_n);

/* Of a command on one store: its path is argv[0]. CW_TOOL_GO, else the exit status. */
int cw_tool_one_path(struct cw_tool *t, const struct cw_tool_cmd *cmd, int n, char **argv);

/* "123" or "0x7b". */
bool cw_tool_number(const char *text, uint64_t *ret);
/* "7/0" (volume and index) or "0x70000". */
bool cw_tool_shard(const char *text, uint64_t *ret);

/* ---- failing ---- */

/* One line on err, or the error object on out with --json. hint may be NULL. Returns CW_TOOL_FOUND;
 * only the first failure of a run is printed. */
int cw_tool_fail(struct cw_tool *t, const char *code, const char *object, const char *hint,
                 const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* One line on err, also with --json: what was printed on out holds it in its own way. Returns
 * CW_TOOL_FOUND. */
int cw_tool_found(struct cw_tool *t, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* As cw_tool_fail, for bad usage. Returns CW_TOOL_USAGE. */
int cw_tool_usage(struct cw_tool *t, const struct cw_tool_cmd *cmd, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Prints one object, with the schema number; root becomes its. NULL: it holds a text that is no
 * UTF-8; that is said when the run ends. */
void cw_tool_json(struct cw_tool *t, json_t *root);

/* A line on err that is written over, now and then, if err is a terminal. */
void cw_tool_progress(struct cw_tool *t, const char *what, uint64_t done, uint64_t total);
void cw_tool_progress_end(struct cw_tool *t); /* before anything else is printed */

/* NULL: it was said why not. Lives until the program ends. */
struct cw_reactor *cw_tool_reactor(struct cw_tool *t);
void cw_tool_fini(struct cw_tool *t);

/* For a reactor's or another world's log. */
void cw_tool_log(void *tool, enum cw_log_level level, const char *line);
