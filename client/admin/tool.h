/* admin/tool.h - other programs: where they are, and what they say. */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#define CW_TOOL_TEXT 1024

struct cw_tool_result {
    int status; /* exit status; 127: it could not be started, 128 and more: killed by a signal */
    char out[CW_TOOL_TEXT], err[CW_TOOL_TEXT]; /* the first bytes, without the last newline */
};

/* A program of ours: beside this one, in the build tree, or in PATH. */
bool cw_tool_ours(const char *name, const char *in_build_tree, char ret[static PATH_MAX]);

bool cw_tool_in_path(const char *name, char ret[static PATH_MAX]);

/* The system's: in PATH, or where root's programs are, which a user's PATH may lack. */
bool cw_tool_find(const char *name, char ret[static PATH_MAX]);

/* Runs argv (ended by NULL) without input and waits for it; what it leaves behind in the background
 * may keep running. */
void cw_tool_run(const char *const *argv, struct cw_tool_result *ret);
