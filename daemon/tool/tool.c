#include "daemon/tool/tool.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/bits.h"
#include "common/codec/shardrec.h"

#define MESSAGE_SIZE 1024

static const struct cw_tool_cmd *const commands[] = {
    &cw_tool_format_cmd, &cw_tool_info_cmd,    &cw_tool_check_cmd,
    &cw_tool_dump_cmd,   &cw_tool_rebuild_cmd, &cw_tool_metadata_cmd,
};

#define PROGRESS_NS (200 * CW_NS_PER_MS)

/* ---- printing ---- */

void
cw_tool_json(struct cw_tool *t, json_t *root)
{
    if (root == NULL) {
        t->cut = true;
        return;
    }
    json_object_set_new(root, "schema", json_integer(1));
    t->cut |= json_dumpf(root, t->out, JSON_INDENT(2) | JSON_PRESERVE_ORDER) != 0;
    fputc('\n', t->out);
    json_decref(root);
}

void
cw_tool_progress(struct cw_tool *t, const char *what, uint64_t done, uint64_t total)
{
    uint64_t now_ns = cw_reactor_clock_ns();

    if (now_ns - t->progress_ns < PROGRESS_NS || isatty(fileno(t->err)) != 1)
        return;
    t->progress_ns = now_ns;
    fprintf(t->err, "\r\033[K%s: %llu of %llu", what, (unsigned long long)done,
            (unsigned long long)total);
    fflush(t->err);
}

void
cw_tool_progress_end(struct cw_tool *t)
{
    if (t->progress_ns == 0)
        return;
    t->progress_ns = 0;
    fputs("\r\033[K", t->err);
    fflush(t->err);
}

/* ---- failing ---- */

static void
print_line(struct cw_tool *t, const char *hint, const char *message)
{
    fflush(t->out);
    fprintf(t->err, "causeway-store: %s%s%s\n", message, hint != NULL ? "; " : "",
            hint != NULL ? hint : "");
}

static void
print_error(struct cw_tool *t, const char *code, const char *object, const char *hint,
            const char *message)
{
    json_t *o = NULL; /* also if a path in it is no UTF-8 */

    if (t->failed)
        return;
    t->failed = true;
    cw_tool_progress_end(t);
    if (t->json)
        o = json_pack("{s:{s:s,s:s,s:s,s:s}}", "error", "code", code, "message", message, "object",
                      object, "hint", hint != NULL ? hint : "");
    if (o != NULL)
        cw_tool_json(t, o);
    else
        print_line(t, hint, message);
}

int
cw_tool_found(struct cw_tool *t, const char *hint, const char *fmt, ...)
{
    char message[MESSAGE_SIZE];
    va_list args;

    va_start(args, fmt);
    vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);
    print_line(t, hint, message);
    return CW_TOOL_FOUND;
}

int
cw_tool_fail(struct cw_tool *t, const char *code, const char *object, const char *hint,
             const char *fmt, ...)
{
    char message[MESSAGE_SIZE];
    va_list args;

    va_start(args, fmt);
    vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);
    print_error(t, code, object, hint, message);
    return CW_TOOL_FOUND;
}

int
cw_tool_usage(struct cw_tool *t, const struct cw_tool_cmd *cmd, const char *fmt, ...)
{
    char message[MESSAGE_SIZE], hint[64];
    va_list args;
    int n = 0;

    if (cmd != NULL)
        n = snprintf(message, sizeof(message), "%s: ", cmd->word);
    va_start(args, fmt);
    vsnprintf(message + n, sizeof(message) - (size_t)n, fmt, args);
    va_end(args);
    snprintf(hint, sizeof(hint), "see: causeway-store %s%s--help", cmd != NULL ? cmd->word : "",
             cmd != NULL ? " " : "");
    print_error(t, "BAD_USAGE", "", hint, message);
    return CW_TOOL_USAGE;
}

/* ---- the world ---- */

void
cw_tool_log(void *tool, enum cw_log_level level, const char *line)
{
    struct cw_tool *t = tool;

    if (level > CW_LOG_WARNING)
        return;
    snprintf(t->lines[t->n_lines++ % CW_TOOL_LINES], CW_TOOL_LINE_SIZE, "%s", line);
}

struct cw_reactor *
cw_tool_reactor(struct cw_tool *t)
{
    struct cw_reactor_opts ro = {
        .log_level = CW_LOG_WARNING, .log = cw_tool_log, .log_user = t, .recv_buffers = 2
    };
    int err;

    if (t->r != NULL)
        return t->r;
    err = cw_reactor_new(&ro, &t->r);
    if (err == 0)
        return t->r;
    cw_tool_fail(t, "IO_URING", "", "is it allowed? see: sysctl kernel.io_uring_disabled",
                 "io_uring: %s", strerror(-err));
    return NULL;
}

void
cw_tool_fini(struct cw_tool *t)
{
    cw_reactor_free(t->r);
    t->r = NULL;
}

/* ---- options ---- */

bool
cw_tool_number(const char *text, uint64_t *ret)
{
    bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    const char *digits = hex ? text + 2 : text;
    unsigned long long n;
    char *end;

    for (const char *at = digits; at == digits || *at != '\0'; at++) {
        if (hex ? !isxdigit((unsigned char)*at) : !isdigit((unsigned char)*at))
            return false; /* strtoull would take signs, blanks and a second 0x */
    }
    errno = 0;
    n = strtoull(digits, &end, hex ? 16 : 10);
    if (errno != 0 || *end != '\0')
        return false;
    *ret = n;
    return true;
}

bool
cw_tool_shard(const char *text, uint64_t *ret)
{
    const char *slash = strchr(text, '/');
    char volume[24];
    uint64_t v, i;

    if (slash == NULL)
        return text[0] == '0' && (text[1] | 32) == 'x' && cw_tool_number(text, ret);
    if ((size_t)(slash - text) >= sizeof(volume))
        return false;
    memcpy(volume, text, (size_t)(slash - text));
    volume[slash - text] = '\0';
    if (!cw_tool_number(volume, &v) || !cw_tool_number(slash + 1, &i) || v >= CW_BIT(48) ||
        i > UINT16_MAX)
        return false;
    *ret = CW_SHARD_ID(v, i);
    return true;
}

static int
opt_take(struct cw_tool *t, const struct cw_tool_cmd *cmd, const struct cw_tool_opt *opts, int argc,
         char **argv, int *i)
{
    const char *name = argv[*i] + 2, *eq = strchr(name, '=');
    size_t len = eq != NULL ? (size_t)(eq - name) : strlen(name);

    for (; opts != NULL && opts->name != NULL; opts++) {
        if (strlen(opts->name) != len || strncmp(opts->name, name, len) != 0)
            continue;
        if (opts->flag != NULL && eq == NULL) {
            *opts->flag = true;
            return CW_TOOL_GO;
        }
        if (opts->flag != NULL)
            return cw_tool_usage(t, cmd, "--%s takes no value", opts->name);
        if (eq == NULL && *i + 1 == argc)
            return cw_tool_usage(t, cmd, "--%s: its value is missing", opts->name);
        if (opts->n != NULL && *opts->n == opts->max)
            return cw_tool_usage(t, cmd, "--%s: at most %zu times", opts->name, opts->max);
        opts->text[opts->n != NULL ? (*opts->n)++ : 0] = eq != NULL ? eq + 1 : argv[++*i];
        return CW_TOOL_GO;
    }
    return cw_tool_usage(t, cmd, "unknown option %s", argv[*i]);
}

static void
print_help(struct cw_tool *t, const struct cw_tool_cmd *cmd)
{
    fprintf(t->out, "Usage: causeway-store %s %s\n\n%s\n%s", cmd->word, cmd->args, cmd->brief,
            cmd->about);
}

int
cw_tool_args(struct cw_tool *t, const struct cw_tool_cmd *cmd, const struct cw_tool_opt *opts,
             int argc, char **argv, int *ret_n)
{
    bool options_end = false;
    int n = 0, status;

    for (int i = 1; i < argc; i++) {
        if (options_end || argv[i][0] != '-' || argv[i][1] == '\0') {
            argv[n++] = argv[i];
        } else if (strcmp(argv[i], "--") == 0) {
            options_end = true;
        } else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_help(t, cmd);
            return CW_TOOL_OK;
        } else if (strcmp(argv[i], "--json") == 0) {
            t->json = true;
        } else {
            if (strncmp(argv[i], "--", 2) != 0)
                return cw_tool_usage(t, cmd, "unknown option %s", argv[i]);
            status = opt_take(t, cmd, opts, argc, argv, &i);
            if (status != CW_TOOL_GO)
                return status;
        }
    }
    *ret_n = n;
    return CW_TOOL_GO;
}

int
cw_tool_one_path(struct cw_tool *t, const struct cw_tool_cmd *cmd, int n, char **argv)
{
    if (n == 0)
        return cw_tool_usage(t, cmd, "which store? Its path is missing");
    if (n > 1)
        return cw_tool_usage(t, cmd, "one store at a time: %s is too many", argv[1]);
    return CW_TOOL_GO;
}

/* ---- dispatch ---- */

static const char about[] =
    "\n"
    "Works on stores that no daemon has open: it locks each of them, and refuses one in use.\n"
    "All but format never write to a store: they recover it as the daemon would, with all writes\n"
    "kept in memory.\n"
    "\n"
    "  causeway-store COMMAND --help   what a command does, with examples\n"
    "  --json                          one object for programs, with a \"schema\" number\n"
    "\n"
    "A daemon does not start on a store?     causeway-store info PATH, then check PATH\n"
    "What is damaged, and where?             causeway-store check PATH\n"
    "What do the bytes there say?            causeway-store dump PATH segment N, batch SEG:OFF ..\n"
    "The manager's directory is lost?        causeway-store rebuild-metadata STORE.. --out DIR\n"
    "It is to be saved, or moved to etcd?    causeway-store metadata export, then import\n"
    "\n"
    "Exit status: 0 fine, 1 failed, something was found or output was lost, 2 bad usage.\n";

static void
print_commands(struct cw_tool *t)
{
    fputs("Usage: causeway-store COMMAND [ARGUMENT..] [--json]\n\n"
          "Looks at the stores of a Causeway cluster, offline.\n\n",
          t->out);
    for (size_t i = 0; i < CW_LEN(commands); i++)
        fprintf(t->out, "  %-17s %s\n", commands[i]->word, commands[i]->brief);
    fputs(about, t->out);
}

static int
dispatch(struct cw_tool *t, int argc, char **argv)
{
    int i = 1;

    for (; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            t->json = true;
        } else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_commands(t);
            return CW_TOOL_OK;
        } else if (strcmp(argv[i], "--version") == 0) {
            fputs("causeway-store " CW_VERSION "\n", t->out);
            return CW_TOOL_OK;
        } else {
            return cw_tool_usage(t, NULL, "unknown option %s", argv[i]);
        }
    }
    if (i >= argc)
        return cw_tool_usage(t, NULL, "which command?");
    for (size_t k = 0; k < CW_LEN(commands); k++) {
        if (strcmp(commands[k]->word, argv[i]) == 0)
            return commands[k]->run(t, commands[k], argc - i, argv + i);
    }
    return cw_tool_usage(t, NULL, "unknown command %s", argv[i]);
}

/* A full disk or a closed pipe is no success. */
static int
output_end(struct cw_tool *t, int status)
{
    int err = fflush(t->out) != 0 ? errno : 0;

    if (err != 0 || ferror(t->out))
        fprintf(t->err,
                "causeway-store: the output could not be written: %s; is there room where it "
                "goes?\n",
                err != 0 ? strerror(err) : "an earlier write failed");
    else if (t->cut)
        fputs("causeway-store: JSON cannot hold the answer: a name in it is no UTF-8; leave out "
              "--json\n",
              t->err);
    else
        return status;
    return status == CW_TOOL_OK ? CW_TOOL_FOUND : status;
}

int
cw_tool_main(int argc, char **argv, FILE *out, FILE *err)
{
    struct cw_tool *t = calloc(1, sizeof(*t));
    int status;

    if (t == NULL) {
        fputs("causeway-store: out of memory\n", err);
        return CW_TOOL_FOUND;
    }
    t->out = out;
    t->err = err;
    status = output_end(t, dispatch(t, argc, argv));
    cw_tool_fini(t);
    free(t);
    return status;
}
