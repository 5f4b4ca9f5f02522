/* sim/manager-calls.c - the manager's end of a connection: messages to its structs and back. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "tests/sim/control.h"

/* A call that the manager has not answered. */
struct mgr_call {
    struct cw_list node;
    struct cw_mgr_call call;
    struct sim_mgr *mgr;
    struct sim_ctl *ctl;
    struct sim_msg *msg;
    struct cw_mgr_copy_use uses[SIM_MSG_COPIES];
};

/* An ask that its peer has not answered. */
struct mgr_asked {
    struct cw_list node;
    struct cw_mgr_ask *ask;
    uint64_t serial, until_ns;
};

/* ---- calls ---- */

static struct cw_mgr_domain
domain_of(const struct sim_msg *m)
{
    return (struct cw_mgr_domain){ "", "here", "", m->name };
}

static void
call_register(struct mgr_call *mc)
{
    const struct sim_msg *m = mc->msg;

    mc->call.req.register_host = (struct cw_mgr_register){
        .name = m->name,
        .host_key = m->id,
        .cluster_id = m->cluster_id,
        .domain = domain_of(m),
        .advertise = m->addr,
        .unix_path = "",
        .boot_id = m->boot_id,
        .incarnation = m->incarnation,
        .version = "1",
        .disks = &m->disk,
        .n_disks = 1,
        .copies = m->copies,
        .n_copies = m->n_copies,
        .up_ms = m->up_ms,
    };
}

static void
call_beat(struct mgr_call *mc)
{
    const struct sim_msg *m = mc->msg;

    for (uint32_t i = 0; i < m->n_uses; i++)
        mc->uses[i] = (struct cw_mgr_copy_use){ .shard = m->copies[i].shard,
                                                .disk_uuid = m->copies[i].disk_uuid,
                                                .format_id = m->copies[i].format_id,
                                                .mapped_blocks = m->copies[i].mapped_blocks };
    mc->call.req.beat = (struct cw_mgr_beat){ .disks = &m->disk,
                                              .n_disks = 1,
                                              .uses = mc->uses,
                                              .n_uses = m->n_uses,
                                              .bads = m->bads,
                                              .n_bads = m->n_bads };
}

static void
call_fill(struct mgr_call *mc)
{
    const struct sim_msg *m = mc->msg;
    union cw_mgr_request *q = &mc->call.req;

    mc->call.kind = m->call;
    switch ((int)m->call) {
    case CW_MGR_REGISTER:
        mc->call.req = (union cw_mgr_request){ 0 };
        call_register(mc);
        break;
    case CW_MGR_BEAT:
        call_beat(mc);
        break;
    case CW_MGR_CLIENT_HELLO:
        q->client_hello = (struct cw_mgr_client_hello){
            .client_id = m->id, .name = m->name, .domain = { "", "", "", "" }, .host = m->name
        };
        break;
    case CW_MGR_ATTACH:
        q->attach = (struct cw_mgr_attach){ .volume = m->volume == 0 ? SIM_VOLUME_NAME : "",
                                            .volume_id = m->volume,
                                            .force = m->force,
                                            .caretaker = m->caretaker,
                                            .intent = m->intent };
        break;
    case CW_MGR_RELEASE:
        q->release = (struct cw_mgr_release){ m->volume, m->gen };
        break;
    case CW_MGR_CHANGE:
        q->change = (struct cw_mgr_change){ .volume_id = m->volume,
                                            .gen = m->gen,
                                            .shard = m->shard,
                                            .cfg = m->cfg,
                                            .want = m->want,
                                            .n_want = m->n_want,
                                            .why = m->why };
        break;
    case CW_MGR_GET_VOLUME:
        q->id = m->volume;
        break;
    default:
        cw_assert(false);
    }
}

/* ---- replies ---- */

static uint32_t
locations_out(const struct cw_mgr_location *from, size_t n, struct cw_disk_location *to)
{
    cw_assert(n <= SIM_DAEMONS_MAX + 1);
    for (size_t i = 0; i < n; i++) {
        to[i] = (struct cw_disk_location){ .disk_uuid = from[i].uuid,
                                           .format_id = from[i].format_id,
                                           .up = from[i].up,
                                           .crowded = from[i].crowded };
        snprintf(to[i].at.host, sizeof(to[i].at.host), "%s", from[i].host);
        snprintf(to[i].at.site, sizeof(to[i].at.site), "%s", from[i].domain.site);
        snprintf(to[i].addr, sizeof(to[i].addr), "%s", from[i].addr);
        to[i].at.boot_id = from[i].boot_id;
    }
    return (uint32_t)n;
}

static void
reply_volume(const struct cw_mgr_attach_reply *r, struct sim_msg *to)
{
    cw_assert(r->n_shards <= SIM_SHARDS_MAX);
    to->volume = r->spec.id;
    to->size_bytes = r->spec.size_bytes;
    to->gen = r->gen;
    to->released = r->released;
    to->cold = r->cold_start;
    to->min_insync = r->policy.min_insync;
    to->degrade_s = r->policy.degrade_s;
    to->ack_replicated = strcmp(r->policy.ack, "replicated") == 0;
    to->n_recs = (uint32_t)r->n_shards;
    memcpy(to->recs, r->shards, r->n_shards * sizeof(to->recs[0]));
    to->n_disks = locations_out(r->disks, r->n_disks, to->disks);
}

static void
reply_change(const struct cw_mgr_change_reply *r, struct sim_msg *to)
{
    to->applied = r->applied;
    to->gen = r->volume_gen;
    to->n_recs = 1;
    to->recs[0] = r->shard;
    to->n_disks = locations_out(r->disks, r->n_disks, to->disks);
}

static void
call_reply(struct mgr_call *mc)
{
    struct sim_msg *to = sim_msg_new(SIM_MSG_REPLY);
    const struct cw_mgr_call *call = &mc->call;

    to->serial = mc->msg->serial;
    to->call = call->kind;
    to->code = call->error.code;
    snprintf(to->text, sizeof(to->text), "%s", call->error.message);
    if (call->error.code == CW_MGR_OK) {
        if (call->kind == CW_MGR_ATTACH || call->kind == CW_MGR_GET_VOLUME)
            reply_volume(&call->reply.attach, to);
        if (call->kind == CW_MGR_CHANGE)
            reply_change(&call->reply.change, to);
        if (call->kind == CW_MGR_REGISTER) {
            to->cluster_id = call->reply.register_reply.cluster_id;
            to->n_refused = (uint32_t)call->reply.register_reply.n_refused_disks;
        }
    }
    sim_ctl_send(mc->ctl, SIM_TO_PEER, to);
}

static void
call_free(struct mgr_call *mc)
{
    cw_list_remove(&mc->node);
    free(mc->msg);
    free(mc);
}

static void
call_done(struct cw_mgr_call *call)
{
    struct mgr_call *mc = cw_container_of(call, struct mgr_call, call);

    if (!mc->mgr->dying && mc->ctl->session != NULL)
        call_reply(mc);
    call_free(mc);
}

void
sim_mgr_calls_free(struct sim_mgr *m)
{
    cw_assert(cw_list_empty(&m->calls)); /* every call is answered, at the latest by its end */
}

/* ---- reports, answers ---- */

/* members: room for CW_MEMBERS_MAX; it points there. */
static struct cw_mgr_shard_report
report_shard(const struct cw_shard_report *from, struct cw_mgr_member_report *members)
{
    for (uint32_t i = 0; i < from->n_members; i++) {
        const struct cw_member_report *mr = &from->members[i];

        members[i] = (struct cw_mgr_member_report){ .disk_uuid = mr->disk_uuid,
                                                    .chunks_left = mr->chunks_left,
                                                    .chunks_total = mr->chunks_total,
                                                    .bytes_moved = mr->bytes_moved,
                                                    .lag = mr->lag,
                                                    .lag_ns = mr->lag_ns,
                                                    .lag_bytes = mr->lag_bytes,
                                                    .connected = mr->connected,
                                                    .flaps = mr->flaps,
                                                    .flapping = mr->flapping };
    }
    return (struct cw_mgr_shard_report){ .shard = from->shard,
                                         .seq = from->seq,
                                         .suspended = from->suspended,
                                         .why = from->why,
                                         .members = members,
                                         .n_members = from->n_members };
}

static void
take_report(struct sim_ctl *c, const struct sim_msg *m)
{
    struct cw_mgr_member_report members[SIM_SHARDS_MAX][CW_MEMBERS_MAX];
    struct cw_mgr_shard_report shards[SIM_SHARDS_MAX];
    struct cw_mgr_volume_report r = { .volume_id = m->report.volume,
                                      .gen = m->report.gen,
                                      .shards = shards,
                                      .n_shards = m->n_shard_reports,
                                      .reads = m->report.reads,
                                      .writes = m->report.writes,
                                      .read_bytes = m->report.read_bytes,
                                      .write_bytes = m->report.write_bytes,
                                      .repaired_blocks = m->report.repaired_blocks,
                                      .error_blocks = m->report.error_blocks,
                                      .lost_blocks = m->report.lost_blocks,
                                      .size_bytes = m->report.size_bytes };

    for (uint32_t i = 0; i < m->n_shard_reports; i++)
        shards[i] = report_shard(&m->shard_reports[i], members[i]);
    cw_manager_report(c->mgr->m, c->session, &r);
}

static void
ask_end(struct sim_mgr *m, struct mgr_asked *a, const struct cw_mgr_answer *answer)
{
    struct cw_mgr_ask *ask = a->ask;

    cw_list_remove(&a->node);
    free(a);
    cw_manager_answered(m->m, ask, answer);
}

static void
take_answer(struct sim_ctl *c, const struct sim_msg *m)
{
    struct cw_mgr_answer answer = {
        .code = m->code, .message = "", .seen = m->seen, .silent_ms = m->silent_ms
    };

    CW_LIST_EACH (it, &c->asks) {
        struct mgr_asked *a = cw_list_entry(it, struct mgr_asked, node);

        if (a->serial != m->serial)
            continue;
        ask_end(c->mgr, a, &answer);
        return;
    }
}

void
sim_mgr_deliver(struct sim_ctl *c, struct sim_msg *take_msg)
{
    struct mgr_call *mc;

    if (take_msg->kind == SIM_MSG_CALL) {
        mc = calloc(1, sizeof(*mc));
        cw_assert(mc != NULL);
        mc->mgr = c->mgr;
        mc->ctl = c;
        mc->msg = take_msg;
        mc->call.done = call_done;
        call_fill(mc);
        cw_list_push_back(&c->mgr->calls, &mc->node);
        cw_manager_call(c->mgr->m, c->session, &mc->call);
        return;
    }
    if (take_msg->kind == SIM_MSG_REPORT)
        take_report(c, take_msg);
    else
        take_answer(c, take_msg);
    cw_manager_session_alive(c->mgr->m, c->session);
    free(take_msg);
}

void
sim_mgr_end(struct sim_ctl *c)
{
    struct cw_mgr_session *s = c->session;
    struct cw_list *node;

    c->session = NULL;
    while ((node = cw_list_pop_front(&c->asks)) != NULL)
        free(cw_list_entry(node, struct mgr_asked, node));
    if (!c->mgr->dying)
        cw_manager_session_down(c->mgr->m, s);
}

/* ---- pushes ---- */

static void
push_hint(void *world, void *session_user, const struct cw_mgr_hint *h)
{
    struct sim_msg *m = sim_msg_new(SIM_MSG_HINT);

    snprintf(m->name, sizeof(m->name), "%s", h->host);
    m->up = h->up;
    m->volume = h->volume_id;
    m->n_disks = locations_out(h->disks, h->n_disks, m->disks);
    sim_ctl_send(session_user, SIM_TO_PEER, m);
}

static void
push_ask(void *world, void *session_user, struct cw_mgr_ask *ask)
{
    struct sim_ctl *c = session_user;
    struct mgr_asked *a = calloc(1, sizeof(*a));
    struct sim_msg *m = sim_msg_new(SIM_MSG_ASK);

    cw_assert(a != NULL && ask->n_shards <= SIM_MSG_COPIES && ask->n_records <= SIM_SHARDS_MAX);
    a->ask = ask;
    a->serial = m->serial = ++c->peer->serial;
    a->until_ns = cw_now_ns(&c->mgr->proc.env) + ask->timeout_ms * CW_NS_PER_MS;
    cw_list_push_back(&c->asks, &a->node);
    m->ask = ask->kind;
    m->volume = ask->volume_id;
    m->gen = ask->gen;
    m->job = ask->job;
    m->cancel = ask->cancel;
    m->disk_uuid = ask->disk_uuid;
    m->size_bytes = ask->size_bytes;
    m->n_shards = (uint32_t)ask->n_shards;
    for (size_t i = 0; i < ask->n_shards; i++)
        m->shards[i] = ask->shards[i];
    m->n_recs = (uint32_t)ask->n_records;
    for (size_t i = 0; i < ask->n_records; i++)
        m->recs[i] = ask->records[i];
    m->n_disks = locations_out(ask->disks, ask->n_disks, m->disks);
    sim_ctl_send(c, SIM_TO_PEER, m);
}

/* Asks that nobody answered in time; not from inside push_ask. */
void
sim_mgr_asks_look(struct sim_mgr *m)
{
    struct cw_mgr_answer late = { .code = CW_MGR_TIMEOUT, .message = "no answer in time" };
    uint64_t now = cw_now_ns(&m->proc.env);

    CW_LIST_EACH (it, &m->proc.sim->control->ctls) {
        struct sim_ctl *c = cw_list_entry(it, struct sim_ctl, node);

        if (c->mgr != m || c->session == NULL)
            continue;
        CW_LIST_EACH_SAFE (at, &c->asks) {
            struct mgr_asked *a = cw_list_entry(at, struct mgr_asked, node);

            if (now >= a->until_ns)
                ask_end(m, a, &late);
        }
    }
}

struct hang_up {
    struct sim_task task;
    struct sim_ctl *ctl;
};

static void hang_up_now(struct sim_task *t);

static void
hang_up_after(struct sim_ctl *c, uint64_t ns)
{
    struct hang_up *h = calloc(1, sizeof(*h));

    cw_assert(h != NULL);
    h->ctl = c;
    sim_after(c->sim, &h->task, ns, hang_up_now);
}

static void
hang_up_now(struct sim_task *t)
{
    struct sim_ctl *c = cw_container_of(t, struct hang_up, task)->ctl;

    if (c->mgr->proc.paused)
        hang_up_after(c, 5 * CW_NS_PER_MS);
    else
        sim_ctl_close(c, SIM_TO_MANAGER);
}

static void
push_hang_up(void *world, void *session_user)
{
    hang_up_after(session_user, 0);
}

static uint64_t
mgr_wall_s(void *world)
{
    struct sim_mgr *m = world;

    return 1700000000 + m->proc.sim->now_ns / CW_NS_PER_S + (uint64_t)m->wall_off_s;
}

static void
mgr_started(void *world, const char *why_not)
{
    struct sim_mgr *m = world;

    if (why_not != NULL)
        sim_fail(m->proc.sim, "%s does not serve: %s", m->proc.name, why_not);
    m->serves = true;
    sim_log(m->proc.sim, "%s serves", m->proc.name);
}

const struct cw_mgr_ops sim_mgr_ops = {
    .hint = push_hint,
    .ask = push_ask,
    .hang_up = push_hang_up,
    .wall_s = mgr_wall_s,
    .started = mgr_started,
};
