#include "client/admin/remote.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/service/sync.h"

struct cw_remote {
    struct cw_cli *cli;
    struct cw_rpc_sync *sync;
};

void
cw_remote_say_waiting(struct cw_cli *cli, uint64_t left_ms)
{
    time_t until = time(NULL) + (time_t)((left_ms + 999) / 1000);
    struct tm tm;
    char text[16] = "";

    if (localtime_r(&until, &tm) != NULL)
        strftime(text, sizeof(text), "%H:%M:%S", &tm);
    cw_cli_note(cli, "waiting for the manager at %s, until %s", cli->cluster, text);
}

static void
remote_is_slow(void *user, uint64_t left_ms)
{
    struct cw_remote *r = user;

    cw_remote_say_waiting(r->cli, left_ms);
}

void
cw_remote_quiet(struct cw_remote *r)
{
    cw_rpc_sync_on_slow(r->sync, 0, NULL, NULL);
}

struct cw_remote *
cw_remote_new(struct cw_cli *cli, int *ret_status)
{
    char why[CW_RPC_WHY_SIZE];
    struct cw_remote *r;

    if (cli->cluster == NULL) {
        *ret_status = cw_cli_no_cluster(cli);
        return NULL;
    }
    r = calloc(1, sizeof(*r));
    if (r == NULL)
        abort();
    r->cli = cli;
    if (cw_rpc_sync_new(cli->cluster, &r->sync, why) != 0) {
        *ret_status = CW_EXIT_USAGE;
        cw_cli_fail(cli,
                    (struct cw_fail){ .code = "BAD_ADDRESS",
                                      .object = cli->cluster,
                                      .hint = "a cluster is ADDR:PORT[,ADDR:PORT..]" },
                    "--cluster %s: %s", cli->cluster, why);
        free(r);
        return NULL;
    }
    cw_rpc_sync_on_slow(r->sync, CW_REMOTE_SLOW_MS, remote_is_slow, r);
    return r;
}

void
cw_remote_free(struct cw_remote *r)
{
    if (r == NULL)
        return;
    cw_rpc_sync_free(r->sync);
    free(r);
}

static const char *
remote_hint(const struct cw_cli *cli, const Causeway__Control__Error *e, char *text, size_t size)
{
    if (e->hint != NULL && e->hint[0] != '\0')
        return e->hint;
    if (e->code != CAUSEWAY__CONTROL__ERROR_CODE__UNAVAILABLE &&
        e->code != CAUSEWAY__CONTROL__ERROR_CODE__TIMEOUT)
        return NULL;
    if (strchr(cli->cluster, ',') != NULL)
        return "where several may be the manager, another takes over within seconds: try again; "
               "data "
               "flows without it";
    snprintf(text, size, "is the manager at %s running? data flows without it", cli->cluster);
    return text;
}

static void
remote_print_error(struct cw_cli *cli, const Causeway__Control__Error *e)
{
    char hint[256];

    cw_cli_fail(cli,
                (struct cw_fail){ .code = cw_rpc_code_name(e->code),
                                  .object = e->object,
                                  .hint = remote_hint(cli, e, hint, sizeof(hint)) },
                "%s", e->message != NULL && e->message[0] != '\0' ? e->message : "refused");
}

cw_envelope *
cw_remote_call(struct cw_remote *r, const cw_envelope *ask,
               Causeway__Control__Envelope__BodyCase want, uint64_t timeout_ms)
{
    bool repeat = want != CW_WANT_EMPTY && timeout_ms <= CW_REMOTE_LS_MS; /* reads only */
    cw_envelope *reply = cw_rpc_call_sync(r->sync, ask, timeout_ms, repeat);

    if (reply->error != NULL) {
        remote_print_error(r->cli, reply->error);
    } else if (reply->body_case != want) {
        cw_cli_fail(r->cli, (struct cw_fail){ .code = "INTERNAL", .object = r->cli->cluster },
                    "%s answered something else than was asked; do the versions differ?",
                    r->cli->cluster);
    } else {
        return reply;
    }
    cw_envelope_free(reply);
    return NULL;
}

cw_envelope *
cw_remote_ask(struct cw_cli *cli, const cw_envelope *ask,
              Causeway__Control__Envelope__BodyCase want, uint64_t timeout_ms, int *ret_status)
{
    struct cw_remote *r = cw_remote_new(cli, ret_status);
    cw_envelope *reply;

    if (r == NULL)
        return NULL;
    reply = cw_remote_call(r, ask, want, timeout_ms);
    cw_remote_free(r);
    *ret_status = reply != NULL ? CW_EXIT_OK : CW_EXIT_FAILED;
    return reply;
}

int
cw_remote_do(struct cw_cli *cli, const cw_envelope *ask)
{
    int status;

    cw_envelope_free(cw_remote_ask(cli, ask, CW_WANT_EMPTY, CW_REMOTE_DO_MS, &status));
    return status;
}

cw_envelope *
cw_remote_try(const char *addrs, const cw_envelope *ask, uint64_t timeout_ms)
{
    char why[CW_RPC_WHY_SIZE];
    struct cw_rpc_sync *sync;
    cw_envelope *reply;

    if (cw_rpc_sync_new(addrs, &sync, why) != 0)
        return NULL;
    reply = cw_rpc_call_sync(sync, ask, timeout_ms, true);
    cw_rpc_sync_free(sync);
    if (reply->error == NULL)
        return reply;
    cw_envelope_free(reply);
    return NULL;
}
