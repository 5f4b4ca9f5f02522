#include "client/admin/out.h"

#include <libsmartcols.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/base/assert.h"
#include "common/shape/payload.h"

#define COLUMN_NAME_MAX 32

struct cw_table {
    struct cw_cli *cli;
    struct libscols_table *scols;
    size_t n_columns;
};

static int
out_dump(struct cw_cli *cli, json_t *take_payload, size_t flags)
{
    char *text = cw_payload_dump(take_payload, flags);

    fprintf(cli->out, "%s\n", text);
    fflush(cli->out);
    free(text);
    return CW_EXIT_OK;
}

int
cw_out_json(struct cw_cli *cli, json_t *take_payload)
{
    return out_dump(cli, take_payload, JSON_INDENT(2));
}

int
cw_out_json_line(struct cw_cli *cli, json_t *take_payload)
{
    return out_dump(cli, take_payload, JSON_COMPACT);
}

bool
cw_out_is_tty(const struct cw_cli *cli)
{
    int fd = fileno(cli->out); /* -1: a stream in memory */

    return fd >= 0 && isatty(fd);
}

int
cw_out_width(const struct cw_cli *cli)
{
    struct winsize w;

    if (!cw_out_is_tty(cli) || ioctl(fileno(cli->out), TIOCGWINSZ, &w) != 0 || w.ws_col < 20)
        return 80;
    return w.ws_col;
}

static void
table_add_column(struct cw_table *t, const char *spec)
{
    char name[COLUMN_NAME_MAX];
    int flags = 0;
    size_t len;

    if (spec[0] == '>') {
        flags |= SCOLS_FL_RIGHT;
        spec++;
    }
    len = strlen(spec);
    if (len > 2 && strcmp(spec + len - 2, "..") == 0) {
        flags |= SCOLS_FL_TRUNC;
        len -= 2;
    }
    cw_assert(len < sizeof(name));
    memcpy(name, spec, len);
    name[len] = '\0';
    if (scols_table_new_column(t->scols, name, 0, flags) == NULL)
        abort(); /* out of memory for a heading */
}

struct cw_table *
cw_table_new(struct cw_cli *cli, const char *const *columns, size_t n)
{
    struct cw_table *t = calloc(1, sizeof(*t));

    if (t == NULL || (t->scols = scols_new_table()) == NULL)
        abort();
    t->cli = cli;
    t->n_columns = n;
    scols_table_set_stream(t->scols, cli->out);
    if (!cw_out_is_tty(cli))
        scols_table_set_termforce(t->scols, SCOLS_TERMFORCE_NEVER);
    for (size_t i = 0; i < n; i++)
        table_add_column(t, columns[i]);
    return t;
}

void
cw_table_row(struct cw_table *t, const char *const *cells)
{
    struct libscols_line *line = scols_table_new_line(t->scols, NULL);

    if (line == NULL)
        abort();
    for (size_t i = 0; i < t->n_columns; i++)
        scols_line_set_data(line, i, cells[i] != NULL ? cells[i] : "");
}

/* smartcols prints nothing at all for a table without lines. */
static void
table_print_headings(struct cw_table *t)
{
    for (size_t i = 0; i < t->n_columns; i++) {
        struct libscols_column *c = scols_table_get_column(t->scols, i);

        fprintf(t->cli->out, "%s%s", i == 0 ? "" : " ",
                scols_cell_get_data(scols_column_get_header(c)));
    }
    fputc('\n', t->cli->out);
}

int
cw_table_print(struct cw_table *take_t)
{
    if (scols_table_is_empty(take_t->scols))
        table_print_headings(take_t);
    else
        scols_print_table(take_t->scols);
    fflush(take_t->cli->out);
    scols_unref_table(take_t->scols);
    free(take_t);
    return CW_EXIT_OK;
}
