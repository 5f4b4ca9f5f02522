/* shell/manager-rpc-hosts.c - who is there: Register, Beat, ClientHello, host ls and rm. */
#include <string.h>

#include "daemon/shell/manager-rpc.h"

static bool
copies_in(struct cw_mgr_arena *a, CW_PB(CopyState) *const *from, size_t n,
          const struct cw_mgr_copy_state **ret)
{
    struct cw_mgr_copy_state *list = cw_mgr_arena_get(a, n + 1, sizeof(*list));

    for (size_t i = 0; i < n; i++) {
        const CW_PB(CopyState) *f = from[i];

        list[i] = (struct cw_mgr_copy_state){
            .shard = f->shard,
            .format_id = f->format_id,
            .gen = f->gen,
            .cfg = f->cfg,
            .last_gen = f->last_gen,
            .last_seq = f->last_seq,
            .damaged = f->damaged,
            .syncing = f->syncing,
            .mapped_blocks = f->mapped_blocks,
        };
        if (!cw_pb_uuid_in(f->disk_uuid, &list[i].disk_uuid))
            return false;
    }
    *ret = list;
    return true;
}

/* A daemon of the version before does not say. */
static struct cw_mgr_memory
memory_in(const CW_PB(HostMemory) *f)
{
    if (f == NULL)
        return (struct cw_mgr_memory){ 0 };
    return (struct cw_mgr_memory){
        .limit_bytes = f->limit_bytes,
        .pool_bytes = f->pool_bytes,
        .pool_used_bytes = f->pool_used_bytes,
        .metadata_bytes = f->metadata_bytes,
        .metadata_used_bytes = f->metadata_used_bytes,
        .resident_bytes = f->resident_bytes,
    };
}

static CW_PB(HostMemory) *
memory_out(struct cw_mgr_arena *a, const struct cw_mgr_memory *f)
{
    CW_PB(HostMemory) *to = CW_PB_NEW(a, HostMemory, host_memory);

    to->limit_bytes = f->limit_bytes;
    to->pool_bytes = f->pool_bytes;
    to->pool_used_bytes = f->pool_used_bytes;
    to->metadata_bytes = f->metadata_bytes;
    to->metadata_used_bytes = f->metadata_used_bytes;
    to->resident_bytes = f->resident_bytes;
    return to;
}

static bool
register_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    const CW_PB(Register) *f = m->register_;
    struct cw_mgr_register *q = &r->call.req.register_host;

    *q = (struct cw_mgr_register){
        .name = f->name,
        .domain = cw_pb_domain_in(f->domain),
        .site_kind = f->site_kind == CAUSEWAY__CONTROL__SITE_KIND__CLOUD ? CW_SITE_CLOUD
                                                                         : CW_SITE_ON_PREMISE,
        .attributes = cw_pb_attributes_in(f->site_attributes),
        .advertise = f->advertise,
        .unix_path = f->unix_path,
        .incarnation = f->incarnation,
        .version = f->version,
        .n_disks = f->n_disks,
        .n_copies = f->n_copies,
        .up_ms = f->up_ms,
        .memory = memory_in(f->memory),
        .kept = cw_pb_kept_in(f->kept),
    };
    return cw_pb_uuid_in(f->host_key, &q->host_key) &&
           cw_pb_uuid_in(f->cluster_id, &q->cluster_id) && cw_pb_uuid_in(f->boot_id, &q->boot_id) &&
           cw_pb_disks_in(r->arena, f->disks, f->n_disks, &q->disks) &&
           copies_in(r->arena, f->copies, f->n_copies, &q->copies);
}

static void
register_answer(struct cw_manager_req *r, cw_envelope *out)
{
    const struct cw_mgr_register_reply *f = &r->call.reply.register_reply;
    CW_PB(RegisterReply) *to = CW_PB_NEW(r->arena, RegisterReply, register_reply);

    to->cluster_id = cw_pb_uuid(&f->cluster_id);
    to->cluster_name = cw_pb_text(f->cluster_name);
    to->beat_ms = f->beat_ms;
    to->n_refused_disks = f->n_refused_disks;
    to->refused_disks =
        cw_mgr_arena_get(r->arena, f->n_refused_disks + 1, sizeof(*to->refused_disks));
    for (size_t i = 0; i < f->n_refused_disks; i++)
        to->refused_disks[i] = cw_pb_uuid(&f->refused_disks[i]);
    to->n_removed_disks = f->n_removed_disks;
    to->removed_disks =
        cw_mgr_arena_get(r->arena, f->n_removed_disks + 1, sizeof(*to->removed_disks));
    for (size_t i = 0; i < f->n_removed_disks; i++)
        to->removed_disks[i] = cw_pb_uuid(&f->removed_disks[i]);
    to->n_managers = f->n_managers;
    to->managers = cw_mgr_arena_get(r->arena, f->n_managers + 1, sizeof(*to->managers));
    for (size_t i = 0; i < f->n_managers; i++)
        to->managers[i] = cw_pb_text(f->managers[i]);
    out->body_case = CW_PB_BODY(REGISTER_REPLY);
    out->register_reply = to;
}

static bool
uses_in(struct cw_mgr_arena *a, const CW_PB(Beat) *from, struct cw_mgr_beat *to)
{
    struct cw_mgr_copy_use *list = cw_mgr_arena_get(a, from->n_copies + 1, sizeof(*list));

    for (size_t i = 0; i < from->n_copies; i++) {
        const CW_PB(CopyUse) *f = from->copies[i];

        if (f->disk >= to->n_disks)
            return false;
        list[i] = (struct cw_mgr_copy_use){
            .shard = f->shard,
            .disk_uuid = to->disks[f->disk].uuid,
            .format_id = to->disks[f->disk].format_id,
            .mapped_blocks = f->mapped_blocks,
        };
    }
    to->uses = list;
    to->n_uses = from->n_copies;
    return true;
}

static bool
bads_in(struct cw_mgr_arena *a, const CW_PB(Beat) *from, struct cw_mgr_beat *to)
{
    struct cw_mgr_copy_bad *list = cw_mgr_arena_get(a, from->n_bad + 1, sizeof(*list));

    for (size_t i = 0; i < from->n_bad; i++) {
        const CW_PB(CopyBad) *f = from->bad[i];

        if (f->disk >= to->n_disks)
            return false;
        list[i] = (struct cw_mgr_copy_bad){
            .shard = f->shard,
            .disk_uuid = to->disks[f->disk].uuid,
            .format_id = to->disks[f->disk].format_id,
            .blocks = f->blocks,
        };
    }
    to->bads = list;
    to->n_bads = from->n_bad;
    return true;
}

static void
trips_in(struct cw_mgr_arena *a, const CW_PB(Beat) *from, struct cw_mgr_beat *to)
{
    struct cw_mgr_round_trip *list = cw_mgr_arena_get(a, from->n_round_trips + 1, sizeof(*list));

    for (size_t i = 0; i < from->n_round_trips; i++)
        list[i] = (struct cw_mgr_round_trip){ .host = from->round_trips[i]->host,
                                              .ns = from->round_trips[i]->ns };
    to->trips = list;
    to->n_trips = from->n_round_trips;
}

static bool
beat_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    struct cw_mgr_beat *b = &r->call.req.beat;

    b->n_disks = m->beat->n_disks;
    b->memory = memory_in(m->beat->memory);
    trips_in(r->arena, m->beat, b);
    return cw_pb_disks_in(r->arena, m->beat->disks, m->beat->n_disks, &b->disks) &&
           uses_in(r->arena, m->beat, b) && bads_in(r->arena, m->beat, b);
}

static void
probe_out(struct cw_mgr_arena *a, const struct cw_mgr_probe *from, CW_PB(Probe) *to)
{
    to->host = cw_pb_text(from->host);
    to->addr = cw_pb_text(from->addr);
}

CW_PB_LIST(probes_out, Probe, probe, struct cw_mgr_probe, probe_out)

static void
beat_answer(struct cw_manager_req *r, cw_envelope *out)
{
    const struct cw_mgr_beat_reply *f = &r->call.reply.beat;
    CW_PB(BeatReply) *to;

    if (f->n_probes == 0)
        return;
    to = CW_PB_NEW(r->arena, BeatReply, beat_reply);
    to->n_probes = f->n_probes;
    to->probes = probes_out(r->arena, f->probes, f->n_probes);
    out->body_case = CW_PB_BODY(BEAT_REPLY);
    out->beat_reply = to;
}

static bool
client_hello_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    const CW_PB(ClientHello) *f = m->client_hello;
    struct cw_mgr_client_hello *q = &r->call.req.client_hello;

    *q = (struct cw_mgr_client_hello){
        .name = f->name,
        .domain = cw_pb_domain_in(f->domain),
        .host = f->host,
        .pid = f->pid,
    };
    return cw_pb_uuid_in(f->client_id, &q->client_id) && cw_pb_uuid_in(f->boot_id, &q->boot_id);
}

static void
client_hello_answer(struct cw_manager_req *r, cw_envelope *out)
{
    const struct cw_mgr_client_hello_reply *f = &r->call.reply.client_hello;
    CW_PB(ClientHelloReply) *to = CW_PB_NEW(r->arena, ClientHelloReply, client_hello_reply);

    to->cluster_id = cw_pb_uuid(&f->cluster_id);
    to->domain = cw_pb_domain(r->arena, &f->domain);
    to->n_managers = f->n_managers;
    to->managers = cw_mgr_arena_get(r->arena, f->n_managers + 1, sizeof(*to->managers));
    for (size_t i = 0; i < f->n_managers; i++)
        to->managers[i] = cw_pb_text(f->managers[i]);
    out->body_case = CW_PB_BODY(CLIENT_HELLO_REPLY);
    out->client_hello_reply = to;
}

static bool
host_ls_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    return true;
}

static CW_PB(Maintenance) *
maintenance_out(struct cw_mgr_arena *a, const struct cw_mgr_host_info *from)
{
    CW_PB(Maintenance) *to = CW_PB_NEW(a, Maintenance, maintenance);

    to->mode = cw_pb_text(from->maintain);
    to->ready = from->maintain_ready;
    to->since = cw_pb_text(from->maintain_since);
    to->why = cw_pb_text(from->maintain_why);
    to->job = from->maintain_job;
    return to;
}

static void
host_out(struct cw_mgr_arena *a, const struct cw_mgr_host_info *from, CW_PB(HostInfo) *to)
{
    to->name = cw_pb_text(from->name);
    to->domain = cw_pb_domain(a, &from->domain);
    to->site_kind = (CW_PB(SiteKind))from->site_kind;
    to->state = cw_pb_text(from->state);
    to->addr = cw_pb_text(from->addr);
    to->since = cw_pb_text(from->since);
    to->version = cw_pb_text(from->version);
    to->n_disks = from->n_disks;
    to->disks = cw_pb_disks(a, from->disks, from->n_disks);
    to->copies = from->copies;
    to->incarnation = from->incarnation;
    to->memory = memory_out(a, &from->memory);
    to->up = from->up;
    to->site_attributes = cw_pb_attributes(a, &from->attributes);
    to->n_links = from->n_links;
    to->links = cw_pb_links(a, from->links, from->n_links);
    if (from->maintain[0] != '\0')
        to->maintenance = maintenance_out(a, from);
}

CW_PB_LIST(hosts_out, HostInfo, host_info, struct cw_mgr_host_info, host_out)

static void
host_ls_answer(struct cw_manager_req *r, cw_envelope *out)
{
    const struct cw_mgr_host_list *f = &r->call.reply.hosts;
    CW_PB(HostLsReply) *to = CW_PB_NEW(r->arena, HostLsReply, host_ls_reply);

    to->n_hosts = f->n_hosts;
    to->hosts = hosts_out(r->arena, f->hosts, f->n_hosts);
    out->body_case = CW_PB_BODY(HOST_LS_REPLY);
    out->host_ls_reply = to;
}

static bool
host_rm_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    r->call.req.host_rm.name = m->host_rm->name;
    r->call.req.host_rm.accept_loss = m->host_rm->accept_loss;
    return true;
}

/* ---- disks ---- */

static bool
scrub_start_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    r->call.req.name = m->scrub_start->target;
    return true;
}

static void
started_out(struct cw_mgr_arena *a, const struct cw_mgr_scrub_started *from,
            CW_PB(ScrubStarted) *to)
{
    to->disk = cw_pb_text(from->disk);
    to->failed = cw_pb_text(from->failed);
}

CW_PB_LIST(started_list, ScrubStarted, scrub_started, struct cw_mgr_scrub_started, started_out)

static void
scrub_start_answer(struct cw_manager_req *r, cw_envelope *out)
{
    const struct cw_mgr_scrub_start_reply *f = &r->call.reply.scrub_start;
    CW_PB(ScrubStartReply) *to = CW_PB_NEW(r->arena, ScrubStartReply, scrub_start_reply);

    to->n_disks = f->n_disks;
    to->disks = started_list(r->arena, f->disks, f->n_disks);
    out->body_case = CW_PB_BODY(SCRUB_START_REPLY);
    out->scrub_start_reply = to;
}

static bool
disk_return_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    r->call.req.name = m->disk_return->disk;
    return true;
}

static bool
disk_add_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    r->call.req.name = m->disk_add->disk;
    return true;
}

const struct cw_manager_route cw_manager_routes_hosts[] = {
    { CW_PB_BODY(REGISTER), CW_MGR_REGISTER, register_ask, register_answer },
    { CW_PB_BODY(BEAT), CW_MGR_BEAT, beat_ask, beat_answer },
    { CW_PB_BODY(CLIENT_HELLO), CW_MGR_CLIENT_HELLO, client_hello_ask, client_hello_answer },
    { CW_PB_BODY(HOST_LS), CW_MGR_HOST_LS, host_ls_ask, host_ls_answer },
    { CW_PB_BODY(HOST_RM), CW_MGR_HOST_RM, host_rm_ask, cw_manager_remove_answer },
    { CW_PB_BODY(SCRUB_START), CW_MGR_SCRUB_START, scrub_start_ask, scrub_start_answer },
    { CW_PB_BODY(DISK_RETURN), CW_MGR_DISK_RETURN, disk_return_ask, NULL },
    { CW_PB_BODY(DISK_ADD), CW_MGR_DISK_ADD, disk_add_ask, NULL },
    { CW_PB_BODY(_NOT_SET), 0, NULL, NULL },
};
