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

const struct cw_manager_route cw_manager_routes_policy[] = {
    { CW_PB_BODY(POLICY_PUT), CW_MGR_POLICY_PUT, policy_put_ask, policy_answer },
    { CW_PB_BODY(POLICY_LS), CW_MGR_POLICY_LS, policy_ls_ask, policy_ls_answer },
    { CW_PB_BODY(POLICY_RM), CW_MGR_POLICY_RM, policy_rm_ask, NULL },
    { CW_PB_BODY(_NOT_SET), 0, NULL, NULL },
};
