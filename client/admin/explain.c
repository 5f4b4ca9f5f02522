/* admin/explain.c - where a volume's copies are, and why there. */
#include <string.h>

#include "client/admin/args.h"
#include "client/admin/dispatch.h"
#include "client/admin/out.h"
#include "client/admin/text.h"
#include "client/admin/volume.h"

static void
explain_policy(FILE *out, const cw_pb_policy *p)
{
    fprintf(out, "The policy %s asks for %u cop%s, no two in one %s", p->name, p->copies,
            p->copies == 1 ? "y" : "ies", p->spread);
    if (strcmp(p->sites, "any") != 0 && p->sites[0] != '\0')
        fprintf(out, ", sites %s", p->sites);
    fprintf(out, ".\nWrites wait while fewer than %u are in sync", cw_shape_min_insync(p));
    if (p->degrade_s >= 0 && cw_shape_min_insync(p) > 1)
        fprintf(out, "; after %d s one is enough", p->degrade_s);
    fputs(".\n", out);
}

/* One sentence per copy: what its place gives to the policy, or why it does not count. */
static void
explain_member(FILE *out, const cw_pb_member *m, const cw_pb_policy *p)
{
    char lag[CW_TEXT_SIZE], size[CW_TEXT_SIZE];

    fprintf(out, "  %s/%s/%s: ", m->site, m->host, m->disk);
    switch (m->state) {
    case CAUSEWAY__CONTROL__MEMBER_STATE__INSYNC:
        fprintf(out, "in sync; the one copy in %s %s%s\n", p != NULL ? p->spread : "host",
                p != NULL && strcmp(p->spread, "site") == 0 ? m->site : m->host,
                m->up ? "" : "; its host does not answer now");
        return;
    case CAUSEWAY__CONTROL__MEMBER_STATE__SYNCING:
        fprintf(out, "being brought up to date, %llu of %llu chunks left; does not count yet\n",
                (unsigned long long)m->chunks_left, (unsigned long long)m->chunks_total);
        return;
    case CAUSEWAY__CONTROL__MEMBER_STATE__LAGGING:
        if (m->lag == 0)
            fprintf(out, "%s; writes do not wait for it\n", m->async ? "follows" : "has caught up");
        else
            fprintf(out,
                    "%llu records (%s, the oldest of %s ago) behind; writes do not wait for it\n",
                    (unsigned long long)m->lag, cw_text_size(m->lag_bytes, size),
                    cw_text_latency(m->lag_ns, lag));
        return;
    case CAUSEWAY__CONTROL__MEMBER_STATE__OUT:
        fprintf(out, "missed writes while it was away%s\n",
                m->up ? "; it is about to be brought up to date" : "; its host does not answer");
        return;
    case CAUSEWAY__CONTROL__MEMBER_STATE__JOURNAL:
        fputs("keeps new writes while a copy is missing\n", out);
        return;
    case CAUSEWAY__CONTROL__MEMBER_STATE__DEAD:
        fputs("given up; another copy takes its place\n", out);
        return;
    case CAUSEWAY__CONTROL__MEMBER_STATE__MEMBER_NONE:
    case _CAUSEWAY__CONTROL__MEMBER_STATE_IS_INT_SIZE:
        break;
    }
    fputs("in a state that this program does not know\n", out);
}

/* Why it is there, and why nowhere else. */
static void
explain_reason(FILE *out, const cw_pb_reasons *r, uint64_t shard, const cw_pb_member *m)
{
    char copy[256];

    snprintf(copy, sizeof(copy), "%s/%s/%s", m->site, m->host, m->disk);
    for (size_t i = 0; i < r->n_copies; i++) {
        const Causeway__Control__CopyReason *c = r->copies[i];

        if (c->shard != shard || strcmp(c->copy, copy) != 0)
            continue;
        fprintf(out, "    there because: %s\n", c->why);
        for (size_t k = 0; k < c->n_others; k++)
            fprintf(out, "    not on %s\n", c->others[k]);
        if (c->more > 0)
            fprintf(out, "    nor on %llu others\n", (unsigned long long)c->more);
    }
}

static void
explain_print(FILE *out, const cw_pb_volume *v, const cw_pb_policy *p, const cw_pb_reasons *r)
{
    if (p != NULL)
        explain_policy(out, p);
    for (size_t s = 0; s < v->n_shards; s++) {
        const cw_pb_shard *shard = v->shards[s];

        fprintf(out, "Shard %llu (64 GiB of the volume each), configuration %u%s%s:\n",
                (unsigned long long)(shard->shard & 0xffff), shard->cfg,
                shard->suspended ? ", suspended: " : "", shard->suspended ? shard->why : "");
        for (size_t m = 0; m < shard->n_members; m++) {
            explain_member(out, shard->members[m], p);
            explain_reason(out, r, shard->shard, shard->members[m]);
        }
    }
    fprintf(out, "Protection: %s%s%s. %s%s\n", v->protection,
            v->protection_why[0] != '\0' ? ", " : "", v->protection_why,
            v->compliant ? "The volume complies with its policy." : "Not compliant: ",
            v->compliant ? "" : v->compliant_why);
    fflush(out);
}

static cw_envelope *
explain_ask_policy(struct cw_cli *cli, const char *name, int *ret_status)
{
    Causeway__Control__PolicyLs body = CAUSEWAY__CONTROL__POLICY_LS__INIT;

    body.name = (char *)name;
    return cw_remote_ask(cli, CW_ASK(POLICY_LS, policy_ls, &body), CW_WANT(POLICY_LS_REPLY),
                         CW_REMOTE_LS_MS, ret_status);
}

static cw_envelope *
explain_ask_reasons(struct cw_cli *cli, const char *volume, int *ret_status)
{
    Causeway__Control__VolumeExplain body = CAUSEWAY__CONTROL__VOLUME_EXPLAIN__INIT;

    body.name = (char *)volume;
    return cw_remote_ask(cli, CW_ASK(VOLUME_EXPLAIN, volume_explain, &body),
                         CW_WANT(VOLUME_EXPLAIN_REPLY), CW_REMOTE_LS_MS, ret_status);
}

static int
explain_run(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    struct cw_args a = { .n_min = 1, .n_max = 1 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);
    cw_envelope *volume = NULL, *policies = NULL, *reasons = NULL;
    const cw_pb_policy *p = NULL;

    if (status != CW_ARGS_GO || (volume = cw_volume_ask(cli, a.operand[0], &status)) == NULL)
        return status;
    policies = explain_ask_policy(cli, volume->volume_info->policy, &status);
    if (policies != NULL)
        reasons = explain_ask_reasons(cli, a.operand[0], &status);
    if (reasons != NULL)
        p = cw_shape_find_policy(policies->policy_ls_reply, volume->volume_info->policy);
    if (reasons != NULL && cli->json)
        cw_out_json(cli, cw_payload_explain(volume->volume_info, p, reasons->volume_explain_reply));
    else if (reasons != NULL)
        explain_print(cli->out, volume->volume_info, p, reasons->volume_explain_reply);
    cw_envelope_free(reasons);
    cw_envelope_free(policies);
    cw_envelope_free(volume);
    return status;
}

const struct cw_cmd cw_cmds_explain[] = {
    { "explain", "VOLUME", "why a volume's copies are where they are", NULL, explain_run },
    { 0 },
};
