/* admin/recover.c - on from a stale copy, when every in-sync one is lost for good. */
#include "client/admin/args.h"
#include "client/admin/dispatch.h"
#include "client/admin/out.h"
#include "client/admin/remote.h"
#include "client/admin/shape.h"
#include "client/admin/text.h"
#include "common/base/bits.h"

typedef Causeway__Control__RecoverReply recover_reply;
typedef Causeway__Control__RecoverShard recover_shard;
typedef Causeway__Control__RecoverCopy recover_copy;

static json_t *
recover_copies(const recover_shard *s)
{
    json_t *copies = json_array();

    for (size_t i = 0; i < s->n_copies; i++) {
        const recover_copy *c = s->copies[i];
        json_t *o =
            json_pack("{s:s,s:s,s:s,s:s,s:b,s:b,s:s,s:b}", "host", c->host, "site", c->site, "disk",
                      c->disk, "state", cw_shape_member_state(c->state), "up", c->up, "usable",
                      c->bar[0] == '\0', "why_not", c->bar, "chosen", c->chosen);

        json_object_set_new(o, "last_gen", c->known ? json_integer(c->last_gen) : json_null());
        json_object_set_new(o, "last_seq",
                            c->known ? json_integer((json_int_t)c->last_seq) : json_null());
        json_object_set_new(o, "left", c->left[0] != '\0' ? json_string(c->left) : json_null());
        json_array_append_new(copies, o);
    }
    return copies;
}

static int
recover_print_json(struct cw_cli *cli, const recover_reply *r)
{
    json_t *shards = json_array();

    for (size_t i = 0; i < r->n_shards; i++)
        json_array_append_new(shards, json_pack("{s:I,s:s,s:s,s:o}", "shard",
                                                (json_int_t)(r->shards[i]->shard & 0xffff), "loss",
                                                r->shards[i]->loss, "note", r->shards[i]->note,
                                                "copies", recover_copies(r->shards[i])));
    return cw_out_json(cli, json_pack("{s:{s:s,s:b,s:I,s:s,s:o}}", "recover", "volume", r->volume,
                                      "recovered", r->recovered, "gen", (json_int_t)r->gen,
                                      "command", r->command, "shards", shards));
}

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
        recover_print_json(cli, r);
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
