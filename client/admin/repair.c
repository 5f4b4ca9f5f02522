/* admin/repair.c - copies that are made again: which, when, how fast. */
#include <string.h>

#include "client/admin/args.h"
#include "client/admin/dispatch.h"
#include "client/admin/jobs.h"
#include "client/admin/out.h"
#include "client/admin/remote.h"
#include "client/admin/text.h"
#include "common/base/bits.h"
#include "common/base/size.h"
#include "common/shape/payload.h"

typedef Causeway__Control__RepairInfo repair_info;

/* ---- ls ---- */

static const char *
repair_when(const repair_info *i, char text[static CW_TEXT_SIZE * 3])
{
    char done[CW_TEXT_SIZE], total[CW_TEXT_SIZE];

    if (strcmp(i->state, "copying") == 0) {
        snprintf(text, CW_TEXT_SIZE * 3, "%s of %s", cw_text_size(i->done_bytes, done),
                 cw_text_size(i->total_bytes, total));
        return text;
    }
    if (i->at[0] == '\0')
        return "";
    snprintf(text, CW_TEXT_SIZE * 3, "until %s", i->at);
    return text;
}

static int
repair_print_table(struct cw_cli *cli, const cw_pb_repairs *r)
{
    static const char *const columns[] = { "VOLUME",  ">SHARD", ">INSYNC", "STATE",
                                           "HOW-FAR", "FROM",   "TO",      "WHY.." };
    struct cw_table *t = cw_table_new(cli, columns, CW_LEN(columns));
    char text[CW_TEXT_SIZE];

    for (size_t i = 0; i < r->n_repairs; i++) {
        const repair_info *p = r->repairs[i];
        char shard[CW_TEXT_SIZE], insync[CW_TEXT_SIZE], when[CW_TEXT_SIZE * 3];

        cw_table_row(t, (const char *[]){ p->volume, cw_text_u64(p->shard & 0xffff, shard),
                                          cw_text_u64(p->insync, insync), p->state,
                                          repair_when(p, when), p->source, p->target, p->why });
    }
    cw_table_print(t);
    if (r->paused_since[0] != '\0')
        fprintf(cli->out, "repair is paused since %s: causeway repair resume\n", r->paused_since);
    if (r->limit_bytes_per_s > 0)
        fprintf(cli->out, "repair is limited to %s per second and client\n",
                cw_text_size(r->limit_bytes_per_s, text));
    return CW_EXIT_OK;
}

static int
repair_ls(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    Causeway__Control__RepairLs body = CAUSEWAY__CONTROL__REPAIR_LS__INIT;
    struct cw_args a = { 0 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);
    cw_envelope *reply;

    if (status != CW_ARGS_GO)
        return status;
    reply = cw_remote_ask(cli, CW_ASK(REPAIR_LS, repair_ls, &body), CW_WANT(REPAIR_LS_REPLY),
                          CW_REMOTE_LS_MS, &status);
    if (reply == NULL)
        return status;
    status = cli->json ? cw_out_json(cli, cw_payload_repairs(reply->repair_ls_reply))
                       : repair_print_table(cli, reply->repair_ls_reply);
    cw_envelope_free(reply);
    return status;
}

/* ---- now ---- */

static int
repair_now(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    Causeway__Control__RepairNow body = CAUSEWAY__CONTROL__REPAIR_NOW__INIT;
    const char *host = "", *volume = "";
    const struct cw_opt opts[] = {
        { "host", 0, CW_OPT_TEXT, &host, "NAME", "only of volumes with a copy there" },
        { "volume", 0, CW_OPT_TEXT, &volume, "NAME", "only of this volume" },
        { 0 },
    };
    struct cw_args a = { .opts = opts };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);
    cw_envelope *reply;

    if (status != CW_ARGS_GO)
        return status;
    if (host[0] != '\0' && volume[0] != '\0')
        return cw_cli_usage(cli, cmd, "either --host or --volume");
    body.host = (char *)host;
    body.volume = (char *)volume;
    reply = cw_remote_ask(cli, CW_ASK(REPAIR_NOW, repair_now, &body), CW_WANT(JOB), CW_REMOTE_DO_MS,
                          &status);
    if (reply == NULL)
        return status;
    if (cli->json)
        status = cw_out_json(cli, cw_payload_job(reply->job));
    else
        fprintf(cli->out,
                "absent copies are not waited for any more (job %llu); see: causeway repair ls\n",
                (unsigned long long)reply->job->id);
    cw_envelope_free(reply);
    return status;
}

/* ---- pause, resume, limit ---- */

static int
repair_set(struct cw_cli *cli, Causeway__Control__RepairSet__What what, uint64_t bytes_per_s,
           const char *says)
{
    Causeway__Control__RepairSet body = CAUSEWAY__CONTROL__REPAIR_SET__INIT;
    int status;

    body.what = what;
    body.bytes_per_s = bytes_per_s;
    status = cw_remote_do(cli, CW_ASK(REPAIR_SET, repair_set, &body));
    if (status == CW_EXIT_OK && cli->json)
        return cw_out_json(cli, cw_payload_done("repair", says));
    if (status == CW_EXIT_OK)
        fprintf(cli->out, "repair is %s\n", says);
    return status;
}

static int
repair_pause(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    struct cw_args a = { 0 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);

    return status != CW_ARGS_GO
               ? status
               : repair_set(cli, CAUSEWAY__CONTROL__REPAIR_SET__WHAT__PAUSE, 0, "paused");
}

static int
repair_resume(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    struct cw_args a = { 0 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);

    return status != CW_ARGS_GO
               ? status
               : repair_set(cli, CAUSEWAY__CONTROL__REPAIR_SET__WHAT__RESUME, 0, "resumed");
}

/* "20M", "20M/s" */
static bool
limit_parse(const char *text, uint64_t *ret)
{
    char number[32];
    size_t len = strlen(text);

    if (len > 2 && strcmp(text + len - 2, "/s") == 0)
        len -= 2;
    if (len >= sizeof(number))
        return false;
    memcpy(number, text, len);
    number[len] = '\0';
    return cw_size_parse(number, ret);
}

static int
repair_limit(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    struct cw_args a = { .n_min = 1, .n_max = 1 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);
    uint64_t bytes = 0;

    if (status != CW_ARGS_GO)
        return status;
    if (strcmp(a.operand[0], "auto") == 0)
        return repair_set(cli, CAUSEWAY__CONTROL__REPAIR_SET__WHAT__LIMIT, 0,
                          "limited by load alone");
    if (!limit_parse(a.operand[0], &bytes) || bytes < CW_MIB)
        return cw_cli_usage(cli, cmd, "'%s': a limit is at least 1M per second, or auto",
                            a.operand[0]);
    return repair_set(cli, CAUSEWAY__CONTROL__REPAIR_SET__WHAT__LIMIT, bytes, "limited");
}

const struct cw_cmd cw_cmds_repair[] = {
    { "repair ls", "", "copies that are, or will be, made again: why, when, from where to where",
      "state is waiting (for an absent host, until repair-delay is over; or for its turn), "
      "copying\n"
      "or stuck, with why. Those with fewest copies in sync come first, as they do in repair.\n",
      repair_ls },
    { "repair now", "[--host NAME | --volume NAME]", "do not wait for absent hosts any longer",
      "Copies whose host is absent are made again elsewhere at once, not after repair-delay. It is "
      "a\n"
      "job: what it is about is hurried until every copy is there; jobs cancel ends that.\n",
      repair_now },
    { "repair pause", "", "make no copies again, until repair resume",
      "Also after a restart. Copies that are in sync stay so; volumes that lack one are "
      "reduced-stuck.\n",
      repair_pause },
    { "repair resume", "", "go on with repair", NULL, repair_resume },
    { "repair limit", "SIZE|auto", "bound what repair copies per second",
      "For the owner of each volume: what all resyncs of one client or daemon copy together. "
      "auto,\n"
      "the default, has no bound but that of load: repair slows down when the requests of clients\n"
      "take longer than they normally do.\n\n"
      "  causeway repair limit 50M\n",
      repair_limit },
    { 0 },
};
