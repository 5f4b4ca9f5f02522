#include "client/admin/args.h"

#include <ctype.h>
#include <getopt.h>
#include <string.h>

#include "common/base/bits.h"
#include "common/base/size.h"

#define OPTS_MAX 40
#define HELP_COLUMN 26

/* Values that getopt_long returns for the options of every command and, from LISTED on, for the
 * command's own, by place. Above every letter. */
enum { ARG_HELP = 1000, ARG_JSON, ARG_CLUSTER, ARG_LISTED };

bool
cw_args_number(const char *text, uint64_t *ret)
{
    uint64_t value = 0;

    if (*text == '\0')
        return false;
    for (; *text != '\0'; text++) {
        if (!isdigit((unsigned char)*text) || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*text - '0'), &value))
            return false;
    }
    *ret = value;
    return true;
}

bool
cw_args_seconds(const char *text, uint64_t *ret)
{
    static const struct {
        const char *unit;
        uint64_t seconds;
    } units[] = { { "", 1 }, { "s", 1 }, { "m", 60 }, { "h", 3600 }, { "d", 86400 } };
    char digits[24];
    size_t n = strspn(text, "0123456789");
    uint64_t value;

    if (n == 0 || n >= sizeof(digits))
        return false;
    memcpy(digits, text, n);
    digits[n] = '\0';
    if (!cw_args_number(digits, &value))
        return false;
    for (size_t i = 0; i < CW_LEN(units); i++) {
        if (strcmp(text + n, units[i].unit) == 0)
            return !__builtin_mul_overflow(value, units[i].seconds, ret);
    }
    return false;
}

static bool
args_store(const struct cw_opt *o, char *value)
{
    switch (o->kind) {
    case CW_OPT_FLAG:
        *(bool *)o->to = true;
        return true;
    case CW_OPT_TEXT:
        *(const char **)o->to = value;
        return true;
    case CW_OPT_SIZE:
        return cw_size_parse(value, o->to);
    case CW_OPT_NUMBER:
        return cw_args_number(value, o->to);
    case CW_OPT_SECONDS:
        return cw_args_seconds(value, o->to);
    }
    cw_unreachable();
}

static const char *
args_example(enum cw_opt_kind kind)
{
    switch (kind) {
    case CW_OPT_SIZE:
        return "a size such as 4096, 64M, 2G or 1T";
    case CW_OPT_NUMBER:
        return "a number";
    case CW_OPT_SECONDS:
        return "a time such as 10, 90s, 5m or 2h";
    case CW_OPT_FLAG:
    case CW_OPT_TEXT:
        break;
    }
    return "a value";
}

static size_t
args_count(const struct cw_opt *opts)
{
    size_t n = 0;

    while (opts != NULL && opts[n].name != NULL)
        n++;
    cw_assert(n <= OPTS_MAX);
    return n;
}

/* getopt's own tables. A letter is an alias of its long name. */
static void
args_tables(const struct cw_opt *opts, size_t n, struct option *longs, char *shorts)
{
    *shorts++ = ':'; /* a missing value is ':' and not '?' */
    *shorts++ = 'h';
    for (size_t i = 0; i < n; i++) {
        bool has_value = opts[i].kind != CW_OPT_FLAG;

        longs[i] = (struct option){ .name = opts[i].name,
                                    .has_arg = has_value ? required_argument : no_argument,
                                    .val = ARG_LISTED + (int)i };
        if (opts[i].letter != 0)
            *shorts++ = opts[i].letter;
        if (opts[i].letter != 0 && has_value)
            *shorts++ = ':';
    }
    *shorts = '\0';
    longs[n] = (struct option){ "help", no_argument, NULL, ARG_HELP };
    longs[n + 1] = (struct option){ "json", no_argument, NULL, ARG_JSON };
    longs[n + 2] = (struct option){ "cluster", required_argument, NULL, ARG_CLUSTER };
    longs[n + 3] = (struct option){ 0 };
}

static const struct cw_opt *
args_by_value(const struct cw_opt *opts, size_t n, int value)
{
    if (value >= ARG_LISTED)
        return &opts[value - ARG_LISTED];
    for (size_t i = 0; i < n; i++) {
        if (opts[i].letter == value)
            return &opts[i];
    }
    return NULL;
}

static int
args_take(struct cw_cli *cli, const struct cw_cmd *cmd, const struct cw_args *a, size_t n,
          int value, char **argv)
{
    const struct cw_opt *o;

    switch (value) {
    case 'h':
    case ARG_HELP:
        cw_args_help(cli, cmd, a->opts);
        return CW_EXIT_OK;
    case ARG_JSON:
        cli->json = true;
        return CW_ARGS_GO;
    case ARG_CLUSTER:
        cli->cluster = optarg;
        return CW_ARGS_GO;
    case ':':
        return cw_cli_usage(cli, cmd, "option %s needs a value", argv[optind - 1]);
    case '?':
        if (optopt >= ARG_HELP)
            return cw_cli_usage(cli, cmd, "option %s takes no value", argv[optind - 1]);
        if (optopt != 0)
            return cw_cli_usage(cli, cmd, "unknown option -%c", optopt);
        return cw_cli_usage(cli, cmd, "unknown option %s", argv[optind - 1]);
    default:
        break;
    }
    o = args_by_value(a->opts, n, value);
    cw_assert(o != NULL);
    if (o->kind == CW_OPT_SIZE && cw_size_too_large(optarg))
        return cw_cli_usage(cli, cmd, "--%s %s: too large", o->name, optarg);
    if (!args_store(o, optarg))
        return cw_cli_usage(cli, cmd, "--%s %s: not %s", o->name, optarg, args_example(o->kind));
    return CW_ARGS_GO;
}

/* The name of operand i in the usage line, "NAME" of "NAME FILE [--size SIZE]". */
static const char *
args_operand_name(const struct cw_cmd *cmd, int i, char *text, size_t size)
{
    const char *at = cmd->args;
    size_t len;

    for (; i > 0 && *at != '\0'; i--) {
        at += strcspn(at, " ");
        at += strspn(at, " ");
    }
    len = strcspn(at, " ");
    snprintf(text, size, "%.*s", (int)len, at);
    return len > 0 ? text : "an operand";
}

int
cw_args_parse(struct cw_cli *cli, const struct cw_cmd *cmd, struct cw_args *a, int argc,
              char **argv)
{
    struct option longs[OPTS_MAX + 4];
    char shorts[2 * OPTS_MAX + 3], name[64];
    size_t n = args_count(a->opts);
    int value;

    args_tables(a->opts, n, longs, shorts);
    optind = 0; /* glibc: forget an earlier scan entirely */
    opterr = 0;
    while ((value = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        int status = args_take(cli, cmd, a, n, value, argv);

        if (status != CW_ARGS_GO)
            return status;
    }
    a->n = argc - optind;
    a->operand = argv + optind;
    if (a->n < a->n_min)
        return cw_cli_usage(cli, cmd, "%s is missing",
                            args_operand_name(cmd, a->n, name, sizeof(name)));
    if (a->n_max >= 0 && a->n > a->n_max)
        return cw_cli_usage(cli, cmd, "'%s' is one operand too many", a->operand[a->n_max]);
    return CW_ARGS_GO;
}

/* One option and its help, whose further lines are indented alike. */
static void
args_help_option(FILE *out, char letter, const char *name, const char *arg, const char *help)
{
    char left[80];
    const char *end;

    if (letter != 0)
        snprintf(left, sizeof(left), "  -%c, --%s %s", letter, name, arg);
    else
        snprintf(left, sizeof(left), "  --%s %s", name, arg);
    fprintf(out, "%-*s", HELP_COLUMN, left);
    if (strlen(left) >= HELP_COLUMN)
        fprintf(out, "\n%*s", HELP_COLUMN, "");
    for (; (end = strchr(help, '\n')) != NULL; help = end + 1)
        fprintf(out, "%.*s\n%*s", (int)(end - help), help, HELP_COLUMN, "");
    fprintf(out, "%s\n", help);
}

void
cw_args_help(struct cw_cli *cli, const struct cw_cmd *cmd, const struct cw_opt *opts)
{
    FILE *out = cli->out;

    fprintf(out, "usage: causeway %s%s%s\n\n%s.\n", cmd->words, cmd->args[0] != '\0' ? " " : "",
            cmd->args, cmd->brief);
    if (cmd->about != NULL)
        fprintf(out, "\n%s", cmd->about);
    fputs("\nOptions:\n", out);
    for (; opts != NULL && opts->name != NULL; opts++)
        args_help_option(out, opts->letter, opts->name, opts->arg != NULL ? opts->arg : "",
                         opts->help);
    args_help_option(out, 0, "cluster", "ADDR[,ADDR..]",
                     "which cluster; default: $CAUSEWAY_CLUSTER");
    args_help_option(out, 0, "json", "", "one JSON object instead of text");
    args_help_option(out, 'h', "help", "", "this text");
    fflush(out);
}
