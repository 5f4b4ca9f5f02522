/* shell/manager-rpc-volume.c - volumes as operators see them. */
#include "daemon/shell/manager-rpc.h"

/* ---- out ---- */

static void
member_out(struct cw_mgr_arena *a, const struct cw_mgr_member_info *from, CW_PB(MemberInfo) *to)
{
    to->host = cw_pb_text(from->host);
    to->site = cw_pb_text(from->site);
    to->disk = cw_pb_text(from->disk);
    to->state = (CW_PB(MemberState))from->state;
    to->up = from->up;
    to->chunks_left = from->chunks_left;
    to->chunks_total = from->chunks_total;
    to->bytes_moved = from->bytes_moved;
    to->lag = from->lag;
    to->lag_ns = from->lag_ns;
    to->lag_bytes = from->lag_bytes;
    to->async = from->async;
    to->disk_uuid = cw_pb_uuid(&from->disk_uuid);
}

CW_PB_LIST(members_out, MemberInfo, member_info, struct cw_mgr_member_info, member_out)

static void
shard_out(struct cw_mgr_arena *a, const struct cw_mgr_shard_info *from, CW_PB(ShardInfo) *to)
{
    to->shard = from->shard;
    to->cfg = from->cfg;
    to->suspended = from->suspended;
    to->why = cw_pb_text(from->why);
    to->compression = cw_pb_text(from->compression);
    to->n_members = from->n_members;
    to->members = members_out(a, from->members, from->n_members);
}

CW_PB_LIST(shards_out, ShardInfo, shard_info, struct cw_mgr_shard_info, shard_out)

static void
volume_out(struct cw_mgr_arena *a, const struct cw_mgr_volume_info *from, CW_PB(VolumeInfo) *to)
{
    to->id = from->id;
    to->name = cw_pb_text(from->name);
    to->size_bytes = from->size_bytes;
    to->policy = cw_pb_text(from->policy);
    to->protection = cw_pb_text(from->protection);
    to->protection_why = cw_pb_text(from->protection_why);
    to->eta_s = from->eta_s;
    to->compliant = from->compliant;
    to->compliant_why = cw_pb_text(from->compliant_why);
    to->state = cw_pb_text(from->state);
    to->owner = cw_pb_text(from->owner);
    to->owner_host = cw_pb_text(from->owner_host);
    to->owner_since = cw_pb_text(from->owner_since);
    to->gen = from->gen;
    to->n_shards = from->n_shards;
    to->shards = shards_out(a, from->shards, from->n_shards);
    to->reads = from->reads;
    to->writes = from->writes;
    to->read_p99_ns = from->read_p99_ns;
    to->write_p99_ns = from->write_p99_ns;
    to->created = cw_pb_text(from->created);
    to->purge_at = cw_pb_text(from->purge_at);
    to->used_bytes = from->used_bytes;
    to->warning = cw_pb_text(from->warning);
}

CW_PB_LIST(volumes_out, VolumeInfo, volume_info, struct cw_mgr_volume_info, volume_out)

static void
volume_answer(struct cw_manager_req *r, cw_envelope *out)
{
    out->body_case = CW_PB_BODY(VOLUME_INFO);
    out->volume_info = volumes_out(r->arena, &r->call.reply.volume, 1)[0];
}

static void
volume_ls_answer(struct cw_manager_req *r, cw_envelope *out)
{
    const struct cw_mgr_volume_list *f = &r->call.reply.volumes;
    CW_PB(VolumeLsReply) *to = CW_PB_NEW(r->arena, VolumeLsReply, volume_ls_reply);

    to->n_volumes = f->n_volumes;
    to->volumes = volumes_out(r->arena, f->volumes, f->n_volumes);
    out->body_case = CW_PB_BODY(VOLUME_LS_REPLY);
    out->volume_ls_reply = to;
}

static void
recover_copy_out(struct cw_mgr_arena *a, const struct cw_mgr_recover_copy *from,
                 CW_PB(RecoverCopy) *to)
{
    to->host = cw_pb_text(from->host);
    to->site = cw_pb_text(from->site);
    to->disk = cw_pb_text(from->disk);
    to->state = (CW_PB(MemberState))from->state;
    to->up = from->up;
    to->known = from->known;
    to->last_gen = from->last_gen;
    to->last_seq = from->last_seq;
    to->left = cw_pb_text(from->left);
    to->bar = cw_pb_text(from->bar);
    to->chosen = from->chosen;
}

CW_PB_LIST(recover_copies_out, RecoverCopy, recover_copy, struct cw_mgr_recover_copy,
           recover_copy_out)

static void
recover_shard_out(struct cw_mgr_arena *a, const struct cw_mgr_recover_shard *from,
                  CW_PB(RecoverShard) *to)
{
    to->shard = from->shard;
    to->loss = cw_pb_text(from->loss);
    to->note = cw_pb_text(from->note);
    to->n_copies = from->n_copies;
    to->copies = recover_copies_out(a, from->copies, from->n_copies);
}

CW_PB_LIST(recover_shards_out, RecoverShard, recover_shard, struct cw_mgr_recover_shard,
           recover_shard_out)

static void
recover_answer(struct cw_manager_req *r, cw_envelope *out)
{
    const struct cw_mgr_recover_reply *f = &r->call.reply.recover;
    CW_PB(RecoverReply) *to = CW_PB_NEW(r->arena, RecoverReply, recover_reply);

    to->volume = cw_pb_text(f->volume);
    to->command = cw_pb_text(f->command);
    to->recovered = f->recovered;
    to->gen = f->gen;
    to->n_shards = f->n_shards;
    to->shards = recover_shards_out(r->arena, f->shards, f->n_shards);
    out->body_case = CW_PB_BODY(RECOVER_REPLY);
    out->recover_reply = to;
}

/* ---- in ---- */

static bool
volume_create_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    r->call.req.volume_create = (struct cw_mgr_volume_create){
        .name = m->volume_create->name,
        .size_bytes = m->volume_create->size_bytes,
        .policy = m->volume_create->policy,
        .force = m->volume_create->force,
    };
    return true;
}

static bool
volume_ls_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    r->call.req.trash = m->volume_ls->trash;
    return true;
}

static bool
volume_show_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    r->call.req.name = m->volume_show->name;
    return true;
}

static bool
volume_rm_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    r->call.req.volume_rm = (struct cw_mgr_volume_rm){
        .name = m->volume_rm->name,
        .delay_s = m->volume_rm->delay_s,
        .now = m->volume_rm->now,
    };
    return true;
}

static bool
volume_restore_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    r->call.req.volume_restore = (struct cw_mgr_volume_restore){
        .name = m->volume_restore->name,
        .volume_id = m->volume_restore->volume_id,
        .new_name = m->volume_restore->new_name,
    };
    return true;
}

static bool
volume_resize_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    r->call.req.volume_resize = (struct cw_mgr_volume_resize){
        .name = m->volume_resize->name,
        .size_bytes = m->volume_resize->size_bytes,
    };
    return true;
}

static bool
volume_set_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    r->call.req.volume_set = (struct cw_mgr_volume_set){
        .name = m->volume_set->name,
        .policy = m->volume_set->policy,
        .force = m->volume_set->force,
    };
    return true;
}

static bool
handover_allow_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    r->call.req.handover_allow = (struct cw_mgr_handover_allow){
        .volume = m->handover_allow->volume,
        .seconds = m->handover_allow->seconds,
    };
    return true;
}

static bool
volume_recover_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    r->call.req.volume_recover = (struct cw_mgr_volume_recover){
        .name = m->volume_recover->name,
        .copy = m->volume_recover->copy,
        .accept_loss = m->volume_recover->accept_loss,
    };
    return true;
}

static bool
handover_cancel_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    r->call.req.handover_allow =
        (struct cw_mgr_handover_allow){ .volume = m->handover_cancel->volume };
    return true;
}

const struct cw_manager_route cw_manager_routes_volume[] = {
    { CW_PB_BODY(VOLUME_CREATE), CW_MGR_VOLUME_CREATE, volume_create_ask, volume_answer },
    { CW_PB_BODY(VOLUME_LS), CW_MGR_VOLUME_LS, volume_ls_ask, volume_ls_answer },
    { CW_PB_BODY(VOLUME_SHOW), CW_MGR_VOLUME_SHOW, volume_show_ask, volume_answer },
    { CW_PB_BODY(VOLUME_RM), CW_MGR_VOLUME_RM, volume_rm_ask, NULL },
    { CW_PB_BODY(VOLUME_RESTORE), CW_MGR_VOLUME_RESTORE, volume_restore_ask, NULL },
    { CW_PB_BODY(VOLUME_RESIZE), CW_MGR_VOLUME_RESIZE, volume_resize_ask, volume_answer },
    { CW_PB_BODY(VOLUME_SET), CW_MGR_VOLUME_SET, volume_set_ask, volume_answer },
    { CW_PB_BODY(HANDOVER_ALLOW), CW_MGR_HANDOVER_ALLOW, handover_allow_ask, NULL },
    { CW_PB_BODY(HANDOVER_CANCEL), CW_MGR_HANDOVER_CANCEL, handover_cancel_ask, NULL },
    { CW_PB_BODY(VOLUME_RECOVER), CW_MGR_VOLUME_RECOVER, volume_recover_ask, recover_answer },
    { CW_PB_BODY(_NOT_SET), 0, NULL, NULL },
};
