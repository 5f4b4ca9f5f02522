#include "client/admin/cli.h"

#include <signal.h>
#include <stdarg.h>
#include <string.h>

#include "client/admin/out.h"
#include "common/shape/payload.h"

#define MESSAGE_SIZE 1024

static volatile sig_atomic_t interrupted;

static void
cli_print_error(struct cw_cli *cli, const struct cw_fail *why, const char *message)
{
    if (cli->failed)
        return;
    cli->failed = true;
    if (cli->json) {
        cw_out_json(cli, cw_payload_error(why->code != NULL ? why->code : "FAILED", message,
                                          why->object, why->hint));
        return;
    }
    fflush(cli->out);
    if (why->hint != NULL && why->hint[0] != '\0')
        fprintf(cli->err, "causeway: %s; %s\n", message, why->hint);
    else
        fprintf(cli->err, "causeway: %s\n", message);
}

int
cw_cli_fail(struct cw_cli *cli, struct cw_fail why, const char *fmt, ...)
{
    char message[MESSAGE_SIZE];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(message, sizeof(message), fmt, ap);
    va_end(ap);
    cli_print_error(cli, &why, message);
    return CW_EXIT_FAILED;
}

int
cw_cli_usage(struct cw_cli *cli, const struct cw_cmd *cmd, const char *fmt, ...)
{
    char message[MESSAGE_SIZE], hint[128];
    va_list ap;
    int n = 0;

    if (cmd != NULL)
        n = snprintf(message, sizeof(message), "%s: ", cmd->words);
    va_start(ap, fmt);
    vsnprintf(message + n, sizeof(message) - (size_t)n, fmt, ap);
    va_end(ap);
    snprintf(hint, sizeof(hint), "see: causeway %s%s--help", cmd != NULL ? cmd->words : "",
             cmd != NULL ? " " : "");
    cli_print_error(cli, &(struct cw_fail){ .code = "BAD_USAGE", .hint = hint }, message);
    return CW_EXIT_USAGE;
}

int
cw_cli_no_cluster(struct cw_cli *cli)
{
    cw_cli_fail(cli,
                (struct cw_fail){ .code = "NO_CLUSTER",
                                  .hint = "give --cluster ADDR:PORT or set CAUSEWAY_CLUSTER" },
                "no cluster is named");
    return CW_EXIT_USAGE;
}

void
cw_cli_note(struct cw_cli *cli, const char *fmt, ...)
{
    va_list ap;

    if (cli->json)
        return;
    fflush(cli->out);
    fputs("causeway: ", cli->err);
    va_start(ap, fmt);
    vfprintf(cli->err, fmt, ap);
    va_end(ap);
    fputc('\n', cli->err);
    fflush(cli->err);
}

static void
cli_on_signal(int sig)
{
    interrupted = 1;
}

void
cw_cli_catch_signals(void)
{
    /* One more Ctrl-C ends the program at once, should it hang in the clean-up. */
    struct sigaction sa = { .sa_handler = cli_on_signal, .sa_flags = (int)SA_RESETHAND };

    sigemptyset(&sa.sa_mask);
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
}

bool
cw_cli_interrupted(void)
{
    return interrupted != 0;
}
