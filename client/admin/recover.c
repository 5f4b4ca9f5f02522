/* admin/recover.c - on from a stale copy, when every in-sync one is lost for good. */
#include "client/admin/args.h"
#include "client/admin/dispatch.h"
#include "client/admin/out.h"
#include "client/admin/remote.h"
#include "client/admin/text.h"
#include "common/base/bits.h"
#include "common/shape/payload.h"

typedef cw_pb_recover recover_reply;
typedef Causeway__Control__RecoverShard recover_shard;
typedef Causeway__Control__RecoverCopy recover_copy;

static void
recover_rows(struct cw_table *t, const recover_shard *s)
{
    char index[CW_TEXT_SIZE];

    cw_text_u64(s->shard & 0xffff, index);
    for (size_t i = 0; i < s->n_copies; i++) {
        const recover_copy *c = s->copies[i];
        char at[160], last[64] = "?";

        snprintf(at, sizeof(at), "%s/%s", c->host, c->disk);
        if (c->known)
            snprintf(last, sizeof(last), "%u:%llu", c->last_gen, (unsigned long long)c->last_seq);
        cw_table_row(t, (const char *[]){ i == 0 ? index : "", at, cw_shape_member_state(c->state),
                                          last, c->left[0] != '\0' ? c->left : "?",
                                          c->bar[0] != '\0' ? c->bar : "can be chosen" });
    }
}

/* What could be done, and what it would cost. */
static void
recover_print_choice(struct cw_cli *cli, const recover_reply *r)
{
    static const char *const columns[] = { ">SHARD", "COPY", "STATE", "GEN:LAST", "LEFT", "NOTE" };
    struct cw_table *t = cw_table_new(cli, columns, CW_LEN(columns));

    fprintf(cli->out, "volume %s: no in-sync copy of %zu shard%s can be reached\n\n", r->volume,
            r->n_shards, r->n_shards == 1 ? "" : "s");
    for (size_t i = 0; i < r->n_shards; i++)
        recover_rows(t, r->shards[i]);
    cw_table_print(t);
    if (r->n_shards > 0)
        fprintf(cli->out, "\nlost would be: %s\n", r->shards[0]->loss);
    for (size_t i = 0; i < r->n_shards; i++) {
        if (r->shards[i]->note[0] != '\0')
            fprintf(cli->out, "shard %u: %s\n", (unsigned)(r->shards[i]->shard & 0xffff),
                    r->shards[i]->note);
    }
    if (r->command[0] != '\0')
        fprintf(cli->out, "if every in-sync copy is lost for good: %s\n", r->command);
    else
        fprintf(cli->out, "no copy can be gone on from now\n");
}

static void
recover_print_done(struct cw_cli *cli, const recover_reply *r)
{
    for (size_t i = 0; i < r->n_shards; i++) {
        for (size_t k = 0; k < r->shards[i]->n_copies; k++) {
            const recover_copy *c = r->shards[i]->copies[k];

            if (c->chosen)
                fprintf(cli->out, "volume %s shard %u goes on from %s/%s, generation %u\n",
                        r->volume, (unsigned)(r->shards[i]->shard & 0xffff), c->host, c->disk,
                        r->gen);
        }
    }
}

static int
volume_recover(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    Causeway__Control__VolumeRecover body = CAUSEWAY__CONTROL__VOLUME_RECOVER__INIT;
    const char *copy = "";
    bool accept_loss = false;
    const struct cw_opt opts[] = {
        { "copy", 0, CW_OPT_TEXT, &copy, "HOST/DISK",
          "the copy to go on from, if several could be" },
        { "accept-loss", 0, CW_OPT_FLAG, &accept_loss, NULL,
          "do it; without it is only told what could be done" },
        { 0 },
    };
    struct cw_args a = { .opts = opts, .n_min = 1, .n_max = 1 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);
    const recover_reply *r;
    cw_envelope *reply;

    if (status != CW_ARGS_GO)
        return status;
    body.name = a.operand[0];
    body.copy = (char *)copy;
    body.accept_loss = accept_loss;
    reply = cw_remote_ask(cli, CW_ASK(VOLUME_RECOVER, volume_recover, &body),
                          CW_WANT(RECOVER_REPLY), CW_REMOTE_DO_MS, &status);
    if (reply == NULL)
        return status;
    r = reply->recover_reply;
    if (cli->json)
        cw_out_json(cli, cw_payload_recover(r));
    else if (r->recovered)
        recover_print_done(cli, r);
    else
        recover_print_choice(cli, r);
    status = r->recovered ? CW_EXIT_OK : CW_EXIT_FAILED;
    cw_envelope_free(reply);
    return status;
}

const struct cw_cmd cw_cmds_recover[] = {
    { "volume recover", "NAME [--copy HOST/DISK] --accept-loss",
      "go on from a stale copy when the last in-sync one is lost for good",
      "Only for a volume none of whose in-sync copies can be reached, and only if they never "
      "will:\n"
      "all that was acknowledged and is not on the chosen copy is lost. The other copies cannot "
      "be\n"
      "merged any more: when they return they are dropped and made anew. Without --accept-loss, "
      "or\n"
      "without --copy where several could be chosen, it tells what could be done and fails.\n"
      "A copy that was being brought up to date, is damaged, or is a journal cannot be chosen.\n\n"
      "  causeway volume recover vm1\n"
      "  causeway volume recover vm1 --copy h2/store-0 --accept-loss\n",
      volume_recover },
    { 0 },
};
