/* sim/host.c - a daemon's talk with the manager, as daemon/shell does it: it registers, beats every
 * second, and answers what it is asked from its real replica.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "tests/sim/control.h"

#define BEAT_NS CW_NS_PER_S
#define USE_BEATS 10u
#define REGISTER_MS 10000u
#define BEAT_MS 3000u

struct sim_host {
    struct sim_peer peer;
    struct sim_daemon *d;
    struct sim_care *care;
    struct cw_uuid key, boot_id;
    bool registered, calling, claiming;
    uint64_t next_ns, started_ns;
    uint32_t n_beats;
    struct cw_list drops;
};

static struct sim_host *
host_of(struct sim_peer *p)
{
    return cw_container_of(p, struct sim_host, peer);
}

/* ---- what it tells ---- */

static void
fill_disk(struct sim_daemon *d, struct cw_mgr_disk_state *to)
{
    const struct cw_store_identity *id = cw_store_identity(cw_replica_store(d->replica));
    struct cw_replica_stats rs;
    struct cw_store_stats st;

    cw_store_stats(cw_replica_store(d->replica), &st);
    cw_replica_stats(d->replica, &rs);
    *to = (struct cw_mgr_disk_state){
        .uuid = id->disk_uuid,
        .format_id = id->format_id,
        .cluster_id = cw_uuid_is_nil(&d->foreign) ? id->cluster_id : d->foreign,
        .name = "store-0",
        .size_bytes = st.bytes,
        .used_bytes = st.used_bytes,
        .free_bytes = st.free_bytes,
        .full = st.full,
        .stuck = st.stuck || (rs.health & CW_MEMBER_STUCK),
        .failed = st.failed,
        .why = "",
        .csum_errors = st.csum_errors,
        .io_errors = st.io_errors,
        .shards = rs.copies,
        .scrub = { .pass = st.scrub.pass,
                   .last_pass = st.scrub.last_pass,
                   .storms = d->storms > 0 ? d->storms : st.scrub.storms },
    };
}

static void
fill_copies(struct sim_daemon *d, struct sim_msg *m)
{
    const struct cw_store_identity *id = cw_store_identity(cw_replica_store(d->replica));
    struct cw_replica_copy c;

    for (uint64_t from = 0;
         m->n_copies < SIM_MSG_COPIES && cw_replica_copy_next(d->replica, from, &c);
         from = c.shard + 1)
        m->copies[m->n_copies++] =
            (struct cw_mgr_copy_state){ .shard = c.shard,
                                        .disk_uuid = id->disk_uuid,
                                        .format_id = id->format_id,
                                        .gen = (uint32_t)cw_max_u64(c.rec_gen, c.promised_gen),
                                        .cfg = c.rec_cfg,
                                        .last_gen = c.last_gen,
                                        .last_seq = c.last_seq,
                                        .damaged = c.damaged,
                                        .syncing = c.syncing,
                                        .mapped_blocks = c.mapped_blocks };
}

static void
fill_bads(struct sim_daemon *d, struct sim_msg *m)
{
    const struct cw_store_identity *id = cw_store_identity(cw_replica_store(d->replica));
    struct cw_replica_copy c;

    for (uint64_t from = 0; m->n_bads < SIM_MSG_COPIES && cw_replica_bad_next(d->replica, from, &c);
         from = c.shard + 1) {
        m->bads[m->n_bads++] = (struct cw_mgr_copy_bad){ .shard = c.shard,
                                                         .disk_uuid = id->disk_uuid,
                                                         .format_id = id->format_id,
                                                         .blocks = c.bad_blocks };
        m->disk.scrub.bad_blocks += c.bad_blocks;
    }
}

static struct sim_msg *
host_msg(struct sim_host *h, enum cw_mgr_call_kind kind)
{
    struct sim_msg *m = sim_msg_new(SIM_MSG_CALL);

    m->call = kind;
    snprintf(m->name, sizeof(m->name), "%s", h->d->proc.name);
    snprintf(m->addr, sizeof(m->addr), "127.0.0.%u:4000", h->d->proc.index + 1);
    m->id = h->key;
    m->boot_id = h->boot_id;
    m->incarnation = h->d->incarnation;
    fill_disk(h->d, &m->disk);
    m->cluster_id = m->disk.cluster_id;
    fill_bads(h->d, m);
    return m;
}

/* ---- register, beat ---- */

static void
host_later(struct sim_host *h, uint64_t ns)
{
    h->next_ns = cw_now_ns(&h->d->proc.env) + ns;
}

static void
host_claimed(void *user, int res)
{
    struct sim_host *h = user;

    h->claiming = false;
    if (res != 0)
        sim_log(h->d->proc.sim, "%s: the store is not claimed: %d", h->d->proc.name, res);
}

static void
host_join(struct sim_host *h, const struct cw_uuid *cluster)
{
    struct cw_store *s = cw_replica_store(h->d->replica);

    if (!cw_uuid_is_nil(&cw_store_identity(s)->cluster_id) || h->claiming)
        return;
    h->claiming = true;
    cw_store_claim(s, *cluster, host_claimed, h);
}

static void
register_done(struct sim_peer *p, const struct sim_msg *reply, void *arg)
{
    struct sim_host *h = host_of(p);

    h->calling = false;
    host_later(h, 500 * CW_NS_PER_MS);
    if (reply == NULL || reply->code != CW_MGR_OK) {
        if (reply != NULL)
            sim_log(p->proc->sim, "%s is not registered: %s", p->proc->name, reply->text);
        h->d->refused = reply != NULL && reply->code == CW_MGR_FOREIGN_STORE;
        return;
    }
    h->d->refused = reply->n_refused > 0;
    h->registered = true;
    host_later(h, BEAT_NS);
    if (reply->n_refused == 0)
        host_join(h, &reply->cluster_id);
}

static void
beat_done(struct sim_peer *p, const struct sim_msg *reply, void *arg)
{
    struct sim_host *h = host_of(p);

    h->calling = false;
    if (reply != NULL && reply->code != CW_MGR_OK && reply->code != CW_MGR_UNAVAILABLE &&
        reply->code != CW_MGR_TIMEOUT)
        h->registered = false;
    host_later(h, h->registered ? BEAT_NS : 500 * CW_NS_PER_MS);
}

static void
host_call(struct sim_host *h)
{
    struct sim_msg *m = host_msg(h, h->registered ? CW_MGR_BEAT : CW_MGR_REGISTER);

    h->calling = true;
    if (!h->registered) {
        m->up_ms = (cw_now_ns(&h->d->proc.env) - h->started_ns) / CW_NS_PER_MS;
        fill_copies(h->d, m);
        sim_peer_call(&h->peer, m, REGISTER_MS, false, register_done, NULL);
        return;
    }
    if (++h->n_beats % USE_BEATS == 0) {
        fill_copies(h->d, m);
        m->n_uses = m->n_copies;
    }
    sim_peer_call(&h->peer, m, BEAT_MS, false, beat_done, NULL);
}

static void
host_tick(struct sim_peer *p)
{
    struct sim_host *h = host_of(p);

    if (p->ctl != NULL && h->d->serving && !h->calling && cw_now_ns(&p->proc->env) >= h->next_ns)
        host_call(h);
    sim_care_tick(h->care);
}

static void
host_up(struct sim_peer *p)
{
    struct sim_host *h = host_of(p);

    h->registered = false;
    if (h->d->serving && !h->calling)
        host_call(h);
}

static void
host_down(struct sim_peer *p)
{
    host_of(p)->registered = false;
}

/* ---- what it is asked ---- */

static void
answer_seen(struct sim_host *h, const struct sim_msg *ask)
{
    struct sim_msg *m = sim_msg_new(SIM_MSG_ANSWER);
    uint64_t silent_ms = 0;
    uint32_t gen = 0;
    bool session = false;

    m->serial = ask->serial;
    if (h->d->serving &&
        cw_replica_owner_seen(h->d->replica, ask->volume, &gen, &session, &silent_ms) && session &&
        (ask->gen == 0 || gen == ask->gen)) {
        m->seen = true;
        m->silent_ms = silent_ms;
    }
    sim_peer_send(&h->peer, m);
}

struct host_drop {
    struct cw_list node;
    struct host_drop_one {
        struct cw_replica_drop drop;
        struct host_drop *of;
    } drops[SIM_MSG_COPIES];
    uint32_t n_left;
    bool bad;
    struct sim_host *h;
    struct sim_msg ask;
};

static void
drop_done(struct cw_replica_drop *drop, int res)
{
    struct host_drop *hd = cw_container_of(drop, struct host_drop_one, drop)->of;
    struct sim *sim = hd->h->d->proc.sim;

    sim_mark(sim, SIM_MARK_DROPPED);
    sim_log(sim, "%s dropped its copy: %d", hd->h->d->proc.name, res);
    hd->bad = hd->bad || (res != 0 && res != -2);
    if (--hd->n_left > 0)
        return;
    sim_peer_answer(&hd->h->peer, &hd->ask, hd->bad ? CW_MGR_INTERNAL : CW_MGR_OK);
    cw_list_remove(&hd->node);
    free(hd);
}

/* A drop cannot be taken back: nobody may ask for that of a copy in sync. */
static void
judge_drop(const struct sim_daemon *d, const struct sim_msg *ask)
{
    struct sim *sim = d->proc.sim;

    for (uint32_t s = 0; s < sim->n_shards && !sim_control_is_behind(sim); s++) {
        const struct cw_shard_rec *rec = &sim->reg.recs[s];
        const struct cw_member *m = cw_shard_rec_find(rec, &d->disk_uuid, d->format_id);

        for (uint32_t i = 0; i < ask->n_shards && m != NULL; i++)
            if (ask->shards[i] == rec->shard && m->state == CW_MEMBER_INSYNC)
                sim_fail(sim, "drops: %s is to drop a copy that is in sync", d->proc.name);
    }
}

static void
answer_drop(struct sim_host *h, const struct sim_msg *ask)
{
    struct host_drop *hd;

    if (!h->d->serving || !cw_uuid_equal(&ask->disk_uuid, &h->d->disk_uuid)) {
        sim_peer_answer(&h->peer, ask, CW_MGR_OK); /* no such disk here */
        return;
    }
    cw_assert(ask->n_shards >= 1 && ask->n_shards <= SIM_MSG_COPIES);
    judge_drop(h->d, ask);
    hd = calloc(1, sizeof(*hd));
    cw_assert(hd != NULL);
    hd->h = h;
    hd->ask = *ask;
    hd->n_left = ask->n_shards;
    cw_list_push_back(&h->drops, &hd->node);
    for (uint32_t i = 0; i < ask->n_shards; i++) {
        hd->drops[i].of = hd;
        hd->drops[i].drop = (struct cw_replica_drop){ .shard = ask->shards[i], .done = drop_done };
        cw_replica_drop(h->d->replica, &hd->drops[i].drop);
    }
    sim_proc_touch(&h->d->proc);
}

static void
answer_scrub(struct sim_host *h, const struct sim_msg *ask)
{
    bool ok = h->d->serving && cw_uuid_equal(&ask->disk_uuid, &h->d->disk_uuid);

    if (ok)
        cw_store_scrub_start(cw_replica_store(h->d->replica));
    sim_peer_answer(&h->peer, ask, ok ? CW_MGR_OK : CW_MGR_NOT_FOUND);
}

static void
host_push(struct sim_peer *p, const struct sim_msg *m)
{
    struct sim_host *h = host_of(p);

    if (m->kind == SIM_MSG_HINT) {
        sim_care_push(h->care, m);
        return;
    }
    switch (m->ask) {
    case CW_MGR_ASK_OWNER_SEEN:
        answer_seen(h, m);
        break;
    case CW_MGR_ASK_DROP_SHARDS:
        answer_drop(h, m);
        break;
    case CW_MGR_ASK_SCRUB_RUN:
        answer_scrub(h, m);
        break;
    case CW_MGR_ASK_CARETAKE:
    case CW_MGR_ASK_LET_GO:
    case CW_MGR_ASK_RESIZED:
    case CW_MGR_ASK_EVICT:
        sim_care_push(h->care, m);
        break;
    case CW_MGR_ASK_READ: /* of clients */
    case CW_MGR_ASK_KEEP: /* its manager is not asked for backups */
    case CW_MGR_ASK_VERIFY_RUN:
        sim_peer_answer(p, m, CW_MGR_NOT_FOUND);
        break;
    }
}

/* ---- life ---- */

static const struct sim_peer_ops host_ops = { host_up, host_down, host_push, host_tick, NULL };

void
sim_host_init(struct sim_daemon *d)
{
    struct sim *sim = d->proc.sim;
    struct sim_host *h = calloc(1, sizeof(*h));

    cw_assert(h != NULL);
    h->d = d;
    h->key = sim_uuid(&sim->rnd_mgr);
    h->boot_id = sim_uuid(&sim->rnd_mgr);
    cw_list_init(&h->drops);
    sim_peer_init(&h->peer, &d->proc, &host_ops);
    h->care = sim_care_new(d, &h->peer);
    d->host = h;
}

void
sim_host_start(struct sim_daemon *d)
{
    struct sim_host *h = d->host;

    if (h == NULL)
        return;
    h->registered = h->calling = h->claiming = false;
    h->started_ns = cw_now_ns(&d->proc.env);
    host_later(h, 0);
    sim_care_start(h->care);
    sim_peer_start(&h->peer);
}

/* The process dies; the machine, too: it boots anew. */
bool
sim_host_may_stop(struct sim_daemon *d)
{
    if (d->host == NULL)
        return true;
    if (!sim_care_is_idle(d->host->care))
        return false;
    sim_peer_stop(&d->host->peer);
    return true;
}

void
sim_host_stop(struct sim_daemon *d, bool power)
{
    struct sim_host *h = d->host;
    struct cw_list *node;

    if (h == NULL)
        return;
    sim_care_stop(h->care);
    sim_peer_stop(&h->peer);
    while ((node = cw_list_pop_front(&h->drops)) != NULL)
        free(cw_list_entry(node, struct host_drop, node));
    if (power)
        h->boot_id = sim_uuid(&d->proc.sim->rnd_mgr);
}

struct sim_care *
sim_host_care(const struct sim_daemon *d)
{
    return d->host->care;
}

void
sim_host_turn_end(struct sim_daemon *d)
{
    if (d->host != NULL)
        sim_care_turn_end(d->host->care);
}

void
sim_host_check(const struct sim_daemon *d)
{
    if (d->host != NULL)
        sim_care_check(d->host->care);
}

bool
sim_host_is_registered(const struct sim_daemon *d)
{
    return d->host->registered;
}

bool
sim_host_is_the_leaders(const struct sim_daemon *d)
{
    const struct sim_ctl *c = d->host->peer.ctl;

    return d->host->registered && c != NULL && c->mgr == d->proc.sim->control->leader;
}

void
sim_host_fini(struct sim_daemon *d)
{
    if (d->host != NULL)
        free(d->host->care);
    free(d->host);
}

void
sim_host_turn_to(struct sim_daemon *d, const struct sim_mgr *m)
{
    struct sim_peer *p = &d->host->peer;

    if (p->ctl != NULL)
        sim_ctl_close(p->ctl, SIM_TO_PEER);
    p->next_mgr = (uint32_t)(m - d->proc.sim->control->mgrs);
}
