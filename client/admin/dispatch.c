#include "client/admin/dispatch.h"

#include <string.h>

#include "common/base/bits.h"

static const struct cw_cmd *const families[] = {
    cw_cmds_status,   cw_cmds_volume,   cw_cmds_copy,   cw_cmds_verify, cw_cmds_explain,
    cw_cmds_recover,  cw_cmds_policy,   cw_cmds_host,   cw_cmds_disk,   cw_cmds_quarantine,
    cw_cmds_scrub,    cw_cmds_events,   cw_cmds_jobs,   cw_cmds_doctor, cw_cmds_bench,
    cw_cmds_local,    cw_cmds_maintain, cw_cmds_remove, cw_cmds_repair, cw_cmds_whatif,
    cw_cmds_metadata, cw_cmds_migrate,  cw_cmds_device,
};

static const struct cw_absent absent[] = {
    { "volume snapshot", NULL },
    { "volume clone", NULL },
};

/* How many words of `words` begin argv; 0 if not all of them do. */
static int
words_match(const char *words, int argc, char **argv)
{
    int n = 0;

    while (*words != '\0') {
        size_t len = strcspn(words, " ");

        if (n == argc || strlen(argv[n]) != len || strncmp(words, argv[n], len) != 0)
            return 0;
        words += len;
        words += strspn(words, " ");
        n++;
    }
    return n;
}

const struct cw_cmd *
cw_dispatch_find(int argc, char **argv, int *ret_n)
{
    for (size_t f = 0; f < CW_LEN(families); f++) {
        for (const struct cw_cmd *c = families[f]; c->words != NULL; c++) {
            int n = words_match(c->words, argc, argv);

            if (n > 0) {
                *ret_n = n;
                return c;
            }
        }
    }
    return NULL;
}

const struct cw_absent *
cw_dispatch_find_absent(int argc, char **argv)
{
    for (size_t i = 0; i < CW_LEN(absent); i++) {
        if (words_match(absent[i].words, argc, argv) > 0)
            return &absent[i];
    }
    return NULL;
}

static void
dispatch_help_family(FILE *out, const struct cw_cmd *cmds, const char *first_word)
{
    size_t len = first_word != NULL ? strlen(first_word) : 0;

    for (const struct cw_cmd *c = cmds; c->words != NULL; c++) {
        char left[120];

        if (len > 0 && (strncmp(c->words, first_word, len) != 0 || c->words[len] != ' '))
            continue;
        snprintf(left, sizeof(left), "%s %s", c->words, c->args);
        if (strlen(left) > 44)
            fprintf(out, "  %s\n  %-44s  %s\n", left, "", c->brief);
        else
            fprintf(out, "  %-44s  %s\n", left, c->brief);
    }
}

void
cw_dispatch_help(struct cw_cli *cli)
{
    fputs("usage: causeway [--cluster ADDR[,ADDR..]] [--json] COMMAND\n\n"
          "Replicated block volumes across hosts and sites. The cluster's address is --cluster or\n"
          "the environment's CAUSEWAY_CLUSTER. Every command explains itself with --help.\n\n"
          "To begin on this machine:\n"
          "  export CAUSEWAY_CLUSTER=$(causeway local up --dir /tmp/cw | tail -n 1)\n"
          "  causeway volume create vm1 --size 2G\n"
          "  causeway status\n\n"
          "Commands:\n",
          cli->out);
    for (size_t f = 0; f < CW_LEN(families); f++)
        dispatch_help_family(cli->out, families[f], NULL);
    fputs("\nExit status: 0 fine; 1 the command failed or status found a warning; 2 status found\n"
          "an error, or bad usage.\n",
          cli->out);
    fflush(cli->out);
}

/* `causeway volume` and `causeway volume --help`. False: no command begins with this word. */
static bool
dispatch_help_group(FILE *out, const char *word)
{
    bool found = false;

    for (size_t f = 0; f < CW_LEN(families); f++) {
        for (const struct cw_cmd *c = families[f]; c->words != NULL; c++)
            found = found || words_match(word, 1, (char *[]){ (char *)c->words }) > 0 ||
                    (strncmp(c->words, word, strlen(word)) == 0 && c->words[strlen(word)] == ' ');
    }
    if (!found || out == NULL)
        return found;
    fprintf(out, "usage: causeway %s COMMAND\n\n", word);
    for (size_t f = 0; f < CW_LEN(families); f++)
        dispatch_help_family(out, families[f], word);
    fflush(out);
    return true;
}

static int
dispatch_absent(struct cw_cli *cli, const struct cw_absent *a)
{
    cw_cli_fail(cli,
                (struct cw_fail){ .code = "NOT_AVAILABLE", .object = a->words, .hint = a->instead },
                "%s: this version (" CW_VERSION ") does not have this command", a->words);
    return CW_EXIT_USAGE;
}

static int
dispatch_unknown(struct cw_cli *cli, int argc, char **argv)
{
    if (!dispatch_help_group(NULL, argv[0]))
        return cw_cli_usage(cli, NULL, "unknown command '%s'", argv[0]);
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        dispatch_help_group(cli->out, argv[0]);
        return CW_EXIT_OK;
    }
    for (int i = 1; i < argc; i++)
        cli->json = cli->json || strcmp(argv[i], "--json") == 0;
    if (argc > 1 && argv[1][0] != '-')
        return cw_cli_usage(cli, NULL, "unknown command '%s %s'", argv[0], argv[1]);
    if (!cli->json)
        dispatch_help_group(cli->err, argv[0]);
    return cw_cli_usage(cli, NULL, "%s: which command?", argv[0]);
}

int
cw_dispatch(struct cw_cli *cli, int argc, char **argv)
{
    const struct cw_absent *a = cw_dispatch_find_absent(argc, argv);
    const struct cw_cmd *cmd;
    int n;

    if (a != NULL)
        return dispatch_absent(cli, a);
    cmd = cw_dispatch_find(argc, argv, &n);
    if (cmd == NULL)
        return dispatch_unknown(cli, argc, argv);
    return cmd->run(cli, cmd, argc - (n - 1), argv + (n - 1));
}
