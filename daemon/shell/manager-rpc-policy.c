/* shell/manager-rpc-policy.c - policy create, set, ls, show, rm. */
#include "daemon/shell/manager-rpc.h"

static bool
policy_put_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    if (m->policy_put->policy == NULL)
        return false;
    r->call.req.policy_put = (struct cw_mgr_policy_put){
        .policy = cw_pb_policy_in(m->policy_put->policy),
        .create = m->policy_put->create,
        .force = m->policy_put->force,
    };
    return true;
}

static void
policy_answer(struct cw_manager_req *r, cw_envelope *out)
{
    out->body_case = CW_PB_BODY(POLICY);
    out->policy = cw_pb_policy(r->arena, &r->call.reply.policy);
}

static bool
policy_ls_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    r->call.req.name = m->policy_ls->name;
    return true;
}

static void
policy_ls_answer(struct cw_manager_req *r, cw_envelope *out)
{
    const struct cw_mgr_policy_list *f = &r->call.reply.policies;
    CW_PB(PolicyLsReply) *to = CW_PB_NEW(r->arena, PolicyLsReply, policy_ls_reply);

    to->n_policies = f->n_policies;
    to->policies = cw_mgr_arena_get(r->arena, f->n_policies + 1, sizeof(*to->policies));
    for (size_t i = 0; i < f->n_policies; i++)
        to->policies[i] = cw_pb_policy(r->arena, &f->policies[i]);
    out->body_case = CW_PB_BODY(POLICY_LS_REPLY);
    out->policy_ls_reply = to;
}

static bool
policy_rm_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    r->call.req.name = m->policy_rm->name;
    return true;
}

static bool
policy_check_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    if (m->policy_check->policy == NULL)
        return false;
    r->call.req.policy_put.policy = cw_pb_policy_in(m->policy_check->policy);
    return true;
}

static CW_PB(PolicyLoss) *
policy_loss(struct cw_mgr_arena *a, const struct cw_mgr_policy_loss *from)
{
    CW_PB(PolicyLoss) *to = CW_PB_NEW(a, PolicyLoss, policy_loss);

    to->kind = cw_pb_text(from->kind);
    to->name = cw_pb_text(from->name);
    to->copies_left = from->copies_left;
    to->met = from->met;
    to->why = cw_pb_text(from->why);
    to->then = cw_pb_text(from->then);
    to->storable_bytes = from->storable_bytes;
    return to;
}

static void
policy_check_answer(struct cw_manager_req *r, cw_envelope *out)
{
    const struct cw_mgr_policy_check_reply *f = &r->call.reply.policy_check;
    CW_PB(PolicyCheckReply) *to = CW_PB_NEW(r->arena, PolicyCheckReply, policy_check_reply);

    to->policy = cw_pb_policy(r->arena, &f->policy);
    to->met = f->met;
    to->why = cw_pb_text(f->why);
    to->hint = cw_pb_text(f->hint);
    to->factor = f->factor;
    to->storable_bytes = f->storable_bytes;
    to->round_trips = f->round_trips;
    to->round_trips_text = cw_pb_text(f->round_trips_text);
    to->write_wait_ns = f->write_wait_ns;
    to->wait_from = cw_pb_text(f->wait_from);
    to->wait_site = cw_pb_text(f->wait_site);
    to->warning = cw_pb_text(f->warning);
    to->n_losses = f->n_losses;
    to->losses = cw_mgr_arena_get(r->arena, f->n_losses + 1, sizeof(*to->losses));
    for (size_t i = 0; i < f->n_losses; i++)
        to->losses[i] = policy_loss(r->arena, &f->losses[i]);
    out->body_case = CW_PB_BODY(POLICY_CHECK_REPLY);
    out->policy_check_reply = to;
}

static bool
explain_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    r->call.req.name = m->volume_explain->name;
    return true;
}

static CW_PB(CopyReason) *
copy_reason(struct cw_mgr_arena *a, const struct cw_mgr_reason *from)
{
    CW_PB(CopyReason) *to = CW_PB_NEW(a, CopyReason, copy_reason);

    to->shard = from->shard;
    to->copy = cw_pb_text(from->copy);
    to->state = (CW_PB(MemberState))from->state;
    to->why = cw_pb_text(from->why);
    to->n_others = from->n_others;
    to->others = cw_mgr_arena_get(a, from->n_others + 1, sizeof(*to->others));
    for (size_t i = 0; i < from->n_others; i++)
        to->others[i] = cw_pb_text(from->others[i]);
    to->more = from->n_more;
    return to;
}

static void
explain_answer(struct cw_manager_req *r, cw_envelope *out)
{
    const struct cw_mgr_reasons *f = &r->call.reply.reasons;
    CW_PB(VolumeExplainReply) *to = CW_PB_NEW(r->arena, VolumeExplainReply, volume_explain_reply);

    to->n_copies = f->n_reasons;
    to->copies = cw_mgr_arena_get(r->arena, f->n_reasons + 1, sizeof(*to->copies));
    for (size_t i = 0; i < f->n_reasons; i++)
        to->copies[i] = copy_reason(r->arena, &f->reasons[i]);
    to->more_shards = f->n_more;
    out->body_case = CW_PB_BODY(VOLUME_EXPLAIN_REPLY);
    out->volume_explain_reply = to;
}

const struct cw_manager_route cw_manager_routes_policy[] = {
    { CW_PB_BODY(POLICY_PUT), CW_MGR_POLICY_PUT, policy_put_ask, policy_answer },
    { CW_PB_BODY(POLICY_LS), CW_MGR_POLICY_LS, policy_ls_ask, policy_ls_answer },
    { CW_PB_BODY(POLICY_RM), CW_MGR_POLICY_RM, policy_rm_ask, NULL },
    { CW_PB_BODY(POLICY_CHECK), CW_MGR_POLICY_CHECK, policy_check_ask, policy_check_answer },
    { CW_PB_BODY(VOLUME_EXPLAIN), CW_MGR_VOLUME_EXPLAIN, explain_ask, explain_answer },
    { CW_PB_BODY(_NOT_SET), 0, NULL, NULL },
};
