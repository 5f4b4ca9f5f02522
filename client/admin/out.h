/* admin/out.h - tables for people, one JSON object for programs. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "client/admin/cli.h"

/* Prints payload with `schema` in front and frees it. Returns CW_EXIT_OK. */
int cw_out_json(struct cw_cli *cli, json_t *take_payload);

/* The same on one line, for output that goes on (-f, --watch). */
int cw_out_json_line(struct cw_cli *cli, json_t *take_payload);

/* A table under construction; headings appear even without rows. */
struct cw_table;

/* columns: n names, ">NAME" is aligned to the right, "NAME.." may be cut on a narrow terminal. */
struct cw_table *cw_table_new(struct cw_cli *cli, const char *const *columns, size_t n);

/* cells: as many as columns, copied; NULL is empty. */
void cw_table_row(struct cw_table *t, const char *const *cells);

/* Prints and frees. Returns CW_EXIT_OK. */
int cw_table_print(struct cw_table *take_t);

/* Whether out is a terminal, and how wide. 80 if it is none. */
bool cw_out_is_tty(const struct cw_cli *cli);
int cw_out_width(const struct cw_cli *cli);
