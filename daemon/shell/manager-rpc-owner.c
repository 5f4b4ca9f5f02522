/* shell/manager-rpc-owner.c - what owners ask and report: Attach, Release, Change, GetVolume. */
#include "daemon/shell/manager-rpc.h"

static bool
intent_in(CW_PB(AttachIntent) from, enum cw_mgr_intent *ret)
{
    switch ((int)from) {
    case CAUSEWAY__CONTROL__ATTACH_INTENT__OWN:
        *ret = CW_MGR_INTENT_OWN;
        return true;
    case CAUSEWAY__CONTROL__ATTACH_INTENT__STANDBY:
        *ret = CW_MGR_INTENT_STANDBY;
        return true;
    case CAUSEWAY__CONTROL__ATTACH_INTENT__TAKE:
        *ret = CW_MGR_INTENT_TAKE;
        return true;
    default:
        return false; /* of a newer client: to grant it as something else would be wrong */
    }
}

static bool
attach_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    r->call.req.attach = (struct cw_mgr_attach){
        .volume = m->attach->volume,
        .volume_id = m->attach->volume_id,
        .force = m->attach->force,
        .caretaker = m->attach->caretaker,
    };
    return intent_in(m->attach->intent, &r->call.req.attach.intent);
}

static CW_PB(VolumeSpec) *
spec_out(struct cw_mgr_arena *a, const struct cw_mgr_spec *from)
{
    CW_PB(VolumeSpec) *to = CW_PB_NEW(a, VolumeSpec, volume_spec);

    to->id = from->id;
    to->name = cw_pb_text(from->name);
    to->size_bytes = from->size_bytes;
    to->policy = cw_pb_text(from->policy);
    return to;
}

static void
attach_answer(struct cw_manager_req *r, cw_envelope *out)
{
    const struct cw_mgr_attach_reply *f = &r->call.reply.attach;
    CW_PB(AttachReply) *to = CW_PB_NEW(r->arena, AttachReply, attach_reply);

    to->spec = spec_out(r->arena, &f->spec);
    to->gen = f->gen;
    to->released = f->released;
    to->n_shards = f->n_shards;
    to->shards = cw_pb_shards(r->arena, f->shards, f->n_shards);
    to->n_disks = f->n_disks;
    to->disks = cw_pb_locations(r->arena, f->disks, f->n_disks);
    to->policy = cw_pb_policy(r->arena, &f->policy);
    to->cluster_id = cw_pb_uuid(&f->cluster_id);
    to->cold_start = f->cold_start;
    out->body_case = CW_PB_BODY(ATTACH_REPLY);
    out->attach_reply = to;
}

static bool
owner_read_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    r->call.req.owner_read = (struct cw_mgr_owner_read){ .volume_id = m->owner_read->volume_id,
                                                         .offset = m->owner_read->offset,
                                                         .length = m->owner_read->length };
    return true;
}

static void
owner_read_answer(struct cw_manager_req *r, cw_envelope *out)
{
    const struct cw_mgr_owner_data *f = &r->call.reply.owner_data;
    CW_PB(OwnerReadReply) *to = CW_PB_NEW(r->arena, OwnerReadReply, owner_read_reply);

    to->data = (ProtobufCBinaryData){ .len = f->n, .data = (uint8_t *)f->data };
    out->body_case = CW_PB_BODY(OWNER_READ_REPLY);
    out->owner_read_reply = to;
}

static bool
release_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    r->call.req.release = (struct cw_mgr_release){ m->release->volume_id, m->release->gen };
    return true;
}

static bool
want_in(struct cw_mgr_arena *a, CW_PB(Member) *const *from, size_t n, const struct cw_member **ret)
{
    struct cw_member *list;

    if (n > CW_MEMBERS_MAX)
        return false;
    list = cw_mgr_arena_get(a, n + 1, sizeof(*list));
    for (size_t i = 0; i < n; i++) {
        if (from[i]->state < CAUSEWAY__CONTROL__MEMBER_STATE__INSYNC ||
            from[i]->state > CAUSEWAY__CONTROL__MEMBER_STATE__DEAD)
            return false;
        list[i].format_id = from[i]->format_id;
        list[i].state = (enum cw_member_state)from[i]->state;
        list[i].since_seq = from[i]->since_seq;
        if (!cw_pb_uuid_in(from[i]->disk_uuid, &list[i].disk_uuid))
            return false;
    }
    *ret = list;
    return true;
}

static bool
change_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    const CW_PB(Change) *f = m->change;
    struct cw_mgr_change *q = &r->call.req.change;

    *q = (struct cw_mgr_change){
        .volume_id = f->volume_id,
        .gen = f->gen,
        .shard = f->shard,
        .cfg = f->cfg,
        .n_want = f->n_want,
        .why = f->why,
    };
    return want_in(r->arena, f->want, f->n_want, &q->want);
}

static void
change_answer(struct cw_manager_req *r, cw_envelope *out)
{
    const struct cw_mgr_change_reply *f = &r->call.reply.change;
    CW_PB(ChangeReply) *to = CW_PB_NEW(r->arena, ChangeReply, change_reply);

    to->applied = f->applied;
    to->volume_gen = f->volume_gen;
    to->shard = cw_pb_shards(r->arena, &f->shard, 1)[0];
    to->n_disks = f->n_disks;
    to->disks = cw_pb_locations(r->arena, f->disks, f->n_disks);
    out->body_case = CW_PB_BODY(CHANGE_REPLY);
    out->change_reply = to;
}

static bool
get_volume_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    r->call.req.id = m->get_volume->volume_id;
    return true;
}

const struct cw_manager_route cw_manager_routes_owner[] = {
    { CW_PB_BODY(ATTACH), CW_MGR_ATTACH, attach_ask, attach_answer },
    { CW_PB_BODY(RELEASE), CW_MGR_RELEASE, release_ask, NULL },
    { CW_PB_BODY(CHANGE), CW_MGR_CHANGE, change_ask, change_answer },
    { CW_PB_BODY(OWNER_READ), CW_MGR_OWNER_READ, owner_read_ask, owner_read_answer },
    { CW_PB_BODY(GET_VOLUME), CW_MGR_GET_VOLUME, get_volume_ask, attach_answer },
    { CW_PB_BODY(_NOT_SET), 0, NULL, NULL },
};

/* ---- one-way ---- */

static bool
member_report_in(const CW_PB(MemberReport) *from, struct cw_mgr_member_report *to)
{
    to->chunks_left = from->chunks_left;
    to->chunks_total = from->chunks_total;
    to->bytes_moved = from->bytes_moved;
    to->lag = from->lag;
    to->lag_ns = from->lag_ns;
    to->lag_bytes = from->lag_bytes;
    to->connected = from->connected;
    to->flaps = from->flaps;
    to->flapping = from->flapping;
    return cw_pb_uuid_in(from->disk_uuid, &to->disk_uuid) &&
           cw_pb_uuid_in(from->source_uuid, &to->source_uuid);
}

static bool
shard_report_in(struct cw_mgr_arena *a, const CW_PB(ShardReport) *from,
                struct cw_mgr_shard_report *to)
{
    struct cw_mgr_member_report *members =
        cw_mgr_arena_get(a, from->n_members + 1, sizeof(*members));

    to->shard = from->shard;
    to->seq = from->seq;
    to->suspended = from->suspended;
    to->why = from->why;
    to->members = members;
    to->n_members = from->n_members;
    for (size_t i = 0; i < from->n_members; i++)
        if (!member_report_in(from->members[i], &members[i]))
            return false;
    return true;
}

static bool
report_in(struct cw_mgr_arena *a, const CW_PB(VolumeReport) *from, struct cw_mgr_volume_report *to)
{
    struct cw_mgr_shard_report *shards = cw_mgr_arena_get(a, from->n_shards + 1, sizeof(*shards));

    *to = (struct cw_mgr_volume_report){
        .volume_id = from->volume_id,
        .gen = from->gen,
        .shards = shards,
        .n_shards = from->n_shards,
        .reads = from->reads,
        .writes = from->writes,
        .read_bytes = from->read_bytes,
        .write_bytes = from->write_bytes,
        .read_p99_ns = from->read_p99_ns,
        .write_p99_ns = from->write_p99_ns,
        .repaired_blocks = from->repaired_blocks,
        .error_blocks = from->error_blocks,
        .lost_blocks = from->lost_blocks,
        .size_bytes = from->size_bytes,
    };
    for (size_t i = 0; i < from->n_shards; i++)
        if (!shard_report_in(a, from->shards[i], &shards[i]))
            return false;
    return true;
}

static void
peer_report(struct cw_manager_peer *p, const CW_PB(VolumeReport) *from)
{
    struct cw_mgr_arena *a = cw_mgr_arena_new();
    struct cw_mgr_volume_report r;

    if (report_in(a, from, &r))
        cw_manager_report(p->rpc->manager, p->session, &r);
    cw_mgr_arena_free(a);
}

static void
peer_verify_progress(struct cw_manager_peer *p, const CW_PB(VerifyProgress) *from)
{
    struct cw_mgr_verify v = {
        .job = from->job,
        .volume_id = from->volume_id,
        .done_bytes = from->done_bytes,
        .total_bytes = from->total_bytes,
        .found = from->found,
        .repaired = from->repaired,
        .unrepairable = from->unrepairable,
        .copies = from->copies,
        .differing = from->differing,
        .finished = from->finished,
        .failed = from->failed,
    };

    cw_manager_verify_progress(p->rpc->manager, p->session, &v);
}

void
cw_manager_rpc_oneway(struct cw_manager_peer *p, const cw_envelope *m)
{
    if (m->body_case == CW_PB_BODY(VOLUME_REPORT))
        peer_report(p, m->volume_report);
    else if (m->body_case == CW_PB_BODY(VERIFY_PROGRESS))
        peer_verify_progress(p, m->verify_progress);
    cw_manager_session_alive(p->rpc->manager, p->session);
}
