/* admin/scrub.c - what the disks read again by themselves: begin it now, see how far it is. */
#include <string.h>

#include "client/admin/args.h"
#include "client/admin/dispatch.h"
#include "client/admin/out.h"
#include "client/admin/remote.h"
#include "client/admin/text.h"
#include "common/base/bits.h"
#include "common/shape/payload.h"

/* ---- ls ---- */

static void
scrub_last_text(const Causeway__Control__ScrubState *s, char *text, size_t size)
{
    char ago[CW_TEXT_SIZE], took[CW_TEXT_SIZE];

    if (s->last_pass == 0)
        snprintf(text, size, "none yet");
    else
        snprintf(text, size, "%s ago, %llu bad, took %s", cw_text_seconds(s->last_ago_s, ago),
                 (unsigned long long)s->last_found, cw_text_seconds(s->last_took_s, took));
}

static void
scrub_row(struct cw_table *t, const cw_pb_host *h, const cw_pb_disk *d)
{
    static const Causeway__Control__ScrubState none = CAUSEWAY__CONTROL__SCRUB_STATE__INIT;
    const Causeway__Control__ScrubState *s = d->scrub != NULL ? d->scrub : &none;
    char pass[CW_TEXT_SIZE], done[CW_TEXT_SIZE], found[CW_TEXT_SIZE], repaired[CW_TEXT_SIZE];
    char bad[CW_TEXT_SIZE], last[100];

    scrub_last_text(s, last, sizeof(last));
    cw_table_row(t, (const char *[]){
                        h->domain != NULL ? h->domain->site : "", h->name, d->name,
                        d->quarantined ? "quarantined" : cw_shape_scrub_state(d),
                        cw_text_u64(s->pass, pass),
                        s->running ? cw_text_percent(s->done_bytes, s->total_bytes, done) : "-",
                        cw_text_u64(s->found, found), cw_text_u64(s->repaired, repaired),
                        cw_text_u64(s->bad_blocks, bad), last });
}

static int
scrub_ls_table(struct cw_cli *cli, const Causeway__Control__HostLsReply *ls)
{
    static const char *const columns[] = { "SITE",  "HOST",   "DISK",      "STATE", ">PASS",
                                           ">DONE", ">FOUND", ">REPAIRED", ">BAD",  "LAST.." };
    struct cw_table *t = cw_table_new(cli, columns, CW_LEN(columns));

    for (size_t i = 0; i < ls->n_hosts; i++) {
        for (size_t k = 0; k < ls->hosts[i]->n_disks; k++)
            if (!ls->hosts[i]->disks[k]->removed)
                scrub_row(t, ls->hosts[i], ls->hosts[i]->disks[k]);
    }
    return cw_table_print(t);
}

static int
scrub_ls(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    Causeway__Control__HostLs body = CAUSEWAY__CONTROL__HOST_LS__INIT;
    struct cw_args a = { 0 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);
    cw_envelope *reply;

    if (status != CW_ARGS_GO)
        return status;
    reply = cw_remote_ask(cli, CW_ASK(HOST_LS, host_ls, &body), CW_WANT(HOST_LS_REPLY),
                          CW_REMOTE_LS_MS, &status);
    if (reply == NULL)
        return status;
    status = cli->json ? cw_out_json(cli, cw_payload_scrubs(reply->host_ls_reply))
                       : scrub_ls_table(cli, reply->host_ls_reply);
    cw_envelope_free(reply);
    return status;
}

/* ---- start ---- */

static size_t
started_count(const Causeway__Control__ScrubStartReply *r)
{
    size_t n = 0;

    for (size_t i = 0; i < r->n_disks; i++)
        n += r->disks[i]->failed[0] == '\0';
    return n;
}

static int
start_print(struct cw_cli *cli, const Causeway__Control__ScrubStartReply *r)
{
    size_t n = started_count(r);

    if (cli->json) {
        cw_out_json(cli, cw_payload_scrub_started(r));
        return n == r->n_disks && n > 0 ? CW_EXIT_OK : CW_EXIT_FAILED;
    }
    for (size_t i = 0; i < r->n_disks; i++) {
        if (r->disks[i]->failed[0] != '\0')
            cw_cli_note(cli, "disk %s: not begun: %s", r->disks[i]->disk, r->disks[i]->failed);
    }
    if (n == 0)
        return cw_cli_fail(
            cli, (struct cw_fail){ .code = "UNAVAILABLE", .hint = "see: causeway host ls" },
            "no disk could begin a scrub");
    fprintf(cli->out, "%zu disk%s read%s all that is live, at full speed; see: causeway scrub ls\n",
            n, n == 1 ? "" : "s", n == 1 ? "s" : "");
    return n == r->n_disks ? CW_EXIT_OK : CW_EXIT_FAILED;
}

static int
scrub_start(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    Causeway__Control__ScrubStart body = CAUSEWAY__CONTROL__SCRUB_START__INIT;
    struct cw_args a = { .n_max = 1 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);
    cw_envelope *reply;

    if (status != CW_ARGS_GO)
        return status;
    if (a.n > 0)
        body.target = a.operand[0];
    reply = cw_remote_ask(cli, CW_ASK(SCRUB_START, scrub_start, &body), CW_WANT(SCRUB_START_REPLY),
                          CW_REMOTE_DO_MS, &status);
    if (reply == NULL)
        return status;
    status = start_print(cli, reply->scrub_start_reply);
    cw_envelope_free(reply);
    return status;
}

const struct cw_cmd cw_cmds_scrub[] = {
    { "scrub start", "[VOLUME | HOST/DISK]", "read all that is live on the disks again, now",
      "Every disk does that by itself once a week, when it has little else to do. This begins a\n"
      "pass at full speed: on every disk, on those that hold a copy of VOLUME, or on one disk. A\n"
      "disk is always read as a whole, and its users come first all the same. Bad blocks are\n"
      "repaired from another copy, whether anybody has the volume attached or not.\n\n"
      "  causeway scrub start onprem-1/store-0\n"
      "  causeway scrub ls\n\n"
      "To read one volume and compare its copies: causeway volume verify NAME\n",
      scrub_start },
    { "scrub ls", "", "how far the scrub of each disk is, and what it found",
      "STATE is full speed (asked for), paced (the weekly one), resting (the pass is over, the "
      "next\n"
      "is due), or quarantined. FOUND counts the bad blocks that this pass met, REPAIRED those\n"
      "rewritten since it began, BAD what is known to be bad and not repaired yet. LAST is the "
      "last\n"
      "whole pass; time that the daemon was down is not counted.\n",
      scrub_ls },
    { 0 },
};
