/* shell/manager-rpc-ops.c - maintenance, drain and removal, repair, what-if. */
#include "daemon/shell/manager-rpc.h"

static char **
texts_out(struct cw_mgr_arena *a, const char *const *from, size_t n)
{
    char **to = cw_mgr_arena_get(a, n + 1, sizeof(char *));

    for (size_t i = 0; i < n; i++)
        to[i] = cw_pb_text(from[i]);
    return to;
}

/* ---- maintenance, drain ---- */

static bool
host_maintain_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    r->call.req.host_maintain = (struct cw_mgr_host_maintain){ .name = m->host_maintain->name,
                                                               .mode = m->host_maintain->mode,
                                                               .plan = m->host_maintain->plan,
                                                               .force = m->host_maintain->force };
    return true;
}

static bool
disk_drain_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    r->call.req.disk_drain = (struct cw_mgr_disk_drain){ .disk = m->disk_drain->disk,
                                                         .plan = m->disk_drain->plan,
                                                         .cancel = m->disk_drain->cancel };
    return true;
}

static void
plan_volume_out(struct cw_mgr_arena *a, const struct cw_mgr_plan_volume *from,
                CW_PB(PlanVolume) *to)
{
    to->name = cw_pb_text(from->name);
    to->now = cw_pb_text(from->now);
    to->then = cw_pb_text(from->then);
    to->why = cw_pb_text(from->why);
    to->move_bytes = from->move_bytes;
    to->blocked = cw_pb_text(from->blocked);
}

CW_PB_LIST(plan_volumes_out, PlanVolume, plan_volume, struct cw_mgr_plan_volume, plan_volume_out)

static void
plan_out(struct cw_mgr_arena *a, const struct cw_mgr_plan *from, CW_PB(Plan) *to)
{
    to->mode = cw_pb_text(from->mode);
    to->copies = from->copies;
    to->moves = from->moves;
    to->move_bytes = from->move_bytes;
    to->seconds = from->seconds;
    to->reduced = from->reduced;
    to->unavailable = from->unavailable;
    to->refused = cw_pb_text(from->refused);
    to->n_volumes = from->n_volumes;
    to->volumes = plan_volumes_out(a, from->volumes, from->n_volumes);
}

CW_PB_LIST(plans_out, Plan, plan, struct cw_mgr_plan, plan_out)

static void
maintain_answer(struct cw_manager_req *r, cw_envelope *out)
{
    const struct cw_mgr_maintain_reply *f = &r->call.reply.maintain;
    CW_PB(HostMaintainReply) *to = CW_PB_NEW(r->arena, HostMaintainReply, host_maintain_reply);

    to->object = cw_pb_text(f->object);
    to->n_plans = f->n_plans;
    to->plans = plans_out(r->arena, f->plans, f->n_plans);
    to->ready = f->ready;
    to->job = f->job;
    to->why = cw_pb_text(f->why);
    out->body_case = CW_PB_BODY(HOST_MAINTAIN_REPLY);
    out->host_maintain_reply = to;
}

static bool
host_return_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    r->call.req.name = m->host_return->name;
    return true;
}

/* ---- removal ---- */

static bool
disk_rm_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    r->call.req.disk_rm =
        (struct cw_mgr_disk_rm){ .disk = m->disk_rm->disk, .accept_loss = m->disk_rm->accept_loss };
    return true;
}

void
cw_manager_remove_answer(struct cw_manager_req *r, cw_envelope *out)
{
    const struct cw_mgr_remove_reply *f = &r->call.reply.removed;
    CW_PB(RemoveReply) *to = CW_PB_NEW(r->arena, RemoveReply, remove_reply);

    to->object = cw_pb_text(f->object);
    to->copies = f->copies;
    to->n_lost = f->n_lost;
    to->lost = texts_out(r->arena, f->lost, f->n_lost);
    out->body_case = CW_PB_BODY(REMOVE_REPLY);
    out->remove_reply = to;
}

/* ---- repair ---- */

static bool
repair_ls_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    return true;
}

static void
repair_out(struct cw_mgr_arena *a, const struct cw_mgr_repair_info *from, CW_PB(RepairInfo) *to)
{
    to->volume = cw_pb_text(from->volume);
    to->shard = from->shard;
    to->state = cw_pb_text(from->state);
    to->why = cw_pb_text(from->why);
    to->at = cw_pb_text(from->at);
    to->source = cw_pb_text(from->source);
    to->target = cw_pb_text(from->target);
    to->done_bytes = from->done_bytes;
    to->total_bytes = from->total_bytes;
    to->bytes_per_s = from->bytes_per_s;
    to->insync = from->insync;
}

CW_PB_LIST(repairs_out, RepairInfo, repair_info, struct cw_mgr_repair_info, repair_out)

static void
repair_ls_answer(struct cw_manager_req *r, cw_envelope *out)
{
    const struct cw_mgr_repair_list *f = &r->call.reply.repairs;
    CW_PB(RepairLsReply) *to = CW_PB_NEW(r->arena, RepairLsReply, repair_ls_reply);

    to->n_repairs = f->n_repairs;
    to->repairs = repairs_out(r->arena, f->repairs, f->n_repairs);
    to->paused_since = cw_pb_text(f->paused_since);
    to->limit_bytes_per_s = f->limit_bytes_per_s;
    out->body_case = CW_PB_BODY(REPAIR_LS_REPLY);
    out->repair_ls_reply = to;
}

static bool
repair_now_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    r->call.req.repair_now =
        (struct cw_mgr_repair_now){ .host = m->repair_now->host, .volume = m->repair_now->volume };
    return true;
}

static bool
repair_set_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    r->call.req.repair_set =
        (struct cw_mgr_repair_set){ .what = (enum cw_mgr_repair_what)m->repair_set->what,
                                    .bytes_per_s = m->repair_set->bytes_per_s };
    return (unsigned)m->repair_set->what <= CW_MGR_REPAIR_LIMIT;
}

/* ---- what-if ---- */

static bool
whatif_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    r->call.req.whatif = (struct cw_mgr_whatif){ .fail = (const char *const *)m->whatif->fail,
                                                 .n_fail = m->whatif->n_fail };
    return true;
}

static void
whatif_volume_out(struct cw_mgr_arena *a, const struct cw_mgr_whatif_volume *from,
                  CW_PB(WhatifVolume) *to)
{
    to->name = cw_pb_text(from->name);
    to->now = cw_pb_text(from->now);
    to->word = cw_pb_text(from->word);
    to->why = cw_pb_text(from->why);
    to->next = cw_pb_text(from->next);
    to->for_good = cw_pb_text(from->for_good);
    to->restorable = from->restorable;
    to->restore_why = cw_pb_text(from->restore_why);
    to->restore_bytes = from->restore_bytes;
}

CW_PB_LIST(whatif_volumes_out, WhatifVolume, whatif_volume, struct cw_mgr_whatif_volume,
           whatif_volume_out)

static void
whatif_answer(struct cw_manager_req *r, cw_envelope *out)
{
    const struct cw_mgr_whatif_reply *f = &r->call.reply.whatif;
    CW_PB(WhatifReply) *to = CW_PB_NEW(r->arena, WhatifReply, whatif_reply);

    to->n_disks = f->n_disks;
    to->disks = texts_out(r->arena, f->disks, f->n_disks);
    to->n_volumes = f->n_volumes;
    to->volumes = whatif_volumes_out(r->arena, f->volumes, f->n_volumes);
    to->unaffected = f->unaffected;
    out->body_case = CW_PB_BODY(WHATIF_REPLY);
    out->whatif_reply = to;
}

const struct cw_manager_route cw_manager_routes_ops[] = {
    { CW_PB_BODY(HOST_MAINTAIN), CW_MGR_HOST_MAINTAIN, host_maintain_ask, maintain_answer },
    { CW_PB_BODY(HOST_RETURN), CW_MGR_HOST_RETURN, host_return_ask, NULL },
    { CW_PB_BODY(DISK_DRAIN), CW_MGR_DISK_DRAIN, disk_drain_ask, maintain_answer },
    { CW_PB_BODY(DISK_RM), CW_MGR_DISK_RM, disk_rm_ask, cw_manager_remove_answer },
    { CW_PB_BODY(REPAIR_LS), CW_MGR_REPAIR_LS, repair_ls_ask, repair_ls_answer },
    { CW_PB_BODY(REPAIR_NOW), CW_MGR_REPAIR_NOW, repair_now_ask, cw_manager_job_answer },
    { CW_PB_BODY(REPAIR_SET), CW_MGR_REPAIR_SET, repair_set_ask, NULL },
    { CW_PB_BODY(WHATIF), CW_MGR_WHATIF, whatif_ask, whatif_answer },
    { CW_PB_BODY(_NOT_SET), 0, NULL, NULL },
};
