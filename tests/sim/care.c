/* sim/care.c - a daemon takes care of the volume while nobody has it attached, as daemon/shell does
 * it: a real owner in the daemon's process, for takeover and resync.
 */
#include <errno.h>
#include <stdlib.h>

#include "common/base/bits.h"
#include "tests/sim/control.h"

#define ATTACH_MS 10000u
#define REPORT_NS CW_NS_PER_S
#define WAITING_MAX 4u

struct sim_care {
    struct sim_daemon *d;
    struct sim_peer *peer;
    struct cw_owner *owner; /* NULL: the daemon is down */
    struct cw_volume *v;    /* NULL: nothing is held */
    uint32_t n_shards;
    bool releasing;
    struct sim_msg waiting[WAITING_MAX]; /* LET_GO, RESIZED */
    uint32_t n_waiting;
    uint64_t report_ns;
};

static struct sim *
sim_of(const struct sim_care *c)
{
    return c->d->proc.sim;
}

static void
care_wait(struct sim_care *c, const struct sim_msg *m)
{
    if (c->n_waiting == WAITING_MAX)
        sim_peer_answer(c->peer, m, CW_MGR_BUSY);
    else
        c->waiting[c->n_waiting++] = *m;
}

static void
care_answer(struct sim_care *c, enum cw_mgr_ask_kind kind, enum cw_mgr_code code)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < c->n_waiting; i++) {
        if (c->waiting[i].ask == kind)
            sim_peer_answer(c->peer, &c->waiting[i], code);
        else
            c->waiting[n++] = c->waiting[i];
    }
    c->n_waiting = n;
}

static void
care_end(struct sim_care *c)
{
    struct cw_volume *v = c->v;

    c->v = NULL;
    care_answer(c, CW_MGR_ASK_LET_GO, CW_MGR_OK);
    care_answer(c, CW_MGR_ASK_RESIZED, CW_MGR_NOT_FOUND);
    cw_volume_free(v);
}

/* ---- what the volume tells ---- */

/* What its former owners left in doubt is decided, as by any takeover. */
static void
on_ready(struct cw_volume *v, void *user)
{
    struct sim_care *c = user;

    sim_mark(sim_of(c), SIM_MARK_CARED);
    sim_log(sim_of(c), "%s cares for the volume, gen %u", c->d->proc.name, cw_volume_gen(v));
    sim_history_active(sim_of(c), cw_volume_gen(v));
    sim_watch_active(sim_of(c), cw_volume_gen(v));
}

static void
on_open_failed(struct cw_volume *v, void *user, int res, const char *text)
{
    struct sim_care *c = user;

    if (res != -ESHUTDOWN)
        sim_fail(sim_of(c), "%s: no care: %d %s", c->d->proc.name, res, text);
    care_end(c);
}

static void
on_fenced(struct cw_volume *v, void *user)
{
    struct sim_care *c = user;

    if (sim_of(c)->reg.gen == cw_volume_gen(v))
        sim_fail(sim_of(c), "%s was fenced though it is the newest owner", c->d->proc.name);
    if (!c->releasing) /* else on_released comes all the same */
        care_end(c);
}

static void
on_released(struct cw_volume *v, void *user, bool clean)
{
    struct sim_care *c = user;

    sim_log(sim_of(c), "%s lets the volume go, %s", c->d->proc.name,
            clean ? "clean" : "not confirmed");
    care_end(c);
}

static void
on_resized(struct cw_volume *v, void *user, uint64_t size_bytes)
{
    struct sim_care *c = user;

    c->n_shards = (uint32_t)cw_div_up(size_bytes, CW_SHARD_BLOCKS * CW_BLOCK_SIZE);
    care_answer(c, CW_MGR_ASK_RESIZED, CW_MGR_OK);
}

static const struct cw_volume_events care_events = {
    .on_ready = on_ready,
    .on_open_failed = on_open_failed,
    .on_fenced = on_fenced,
    .on_released = on_released,
    .on_resized = on_resized,
};

/* ---- the owner's world ---- */

static struct sim_care *
care_of(struct sim_proc *p)
{
    return sim_host_care(cw_container_of(p, struct sim_daemon, proc));
}

static void
link_up(struct sim_proc *from, void *arg, struct cw_link *link)
{
    const struct sim_disk *d = arg;

    cw_owner_on_link_up(care_of(from)->owner, &d->uuid, d->format_id, link);
}

static void
link_failed(struct sim_proc *from, void *arg, int why)
{
    const struct sim_disk *d = arg;

    cw_owner_on_connect_failed(care_of(from)->owner, &d->uuid, d->format_id, why);
}

static void
world_connect(void *world, const struct cw_disk_location *to)
{
    struct sim_care *c = world;
    const struct sim_disk *disk = sim_disk_find(sim_of(c), &to->disk_uuid, to->format_id);

    sim_net_dial((struct sim_dial){ .from = &c->d->proc,
                                    .disk = disk,
                                    .peer_id = c->d->disk_uuid,
                                    .pool = c->d->pool,
                                    .up = link_up,
                                    .failed = link_failed,
                                    .arg = (void *)(uintptr_t)disk });
}

static void
world_change(void *world, struct cw_change *ch)
{
    sim_owner_change(((struct sim_care *)world)->peer, ch);
}

static void
world_get_volume(void *world, struct cw_volume_get *g)
{
    sim_owner_get(((struct sim_care *)world)->peer, g);
}

static void
world_release(void *world, struct cw_volume_give_up *g)
{
    sim_owner_release(((struct sim_care *)world)->peer, g);
}

static const struct cw_owner_ops owner_ops = {
    .connect = world_connect,
    .change = world_change,
    .get_volume = world_get_volume,
    .release = world_release,
};

/* ---- what the manager wants ---- */

static void
attached(struct sim_peer *p, const struct sim_msg *reply, void *arg)
{
    struct sim_care *c = arg;
    struct cw_volume_opts opts = { .ev = &care_events, .user = c, .caretaker = true };
    struct cw_volume_desc desc;

    if (reply == NULL || reply->code != CW_MGR_OK) {
        sim_log(sim_of(c), "%s does not care: %s", c->d->proc.name,
                reply != NULL ? reply->text : "no answer");
        return;
    }
    if (c->v != NULL)
        return; /* it is held already, and fenced by now */
    sim_kv_told_grant(sim_of(c), &c->d->proc, reply);
    sim_desc_in(reply, &desc);
    c->releasing = false;
    c->n_shards = desc.n_shards;
    c->v = cw_volume_open(c->owner, &desc, &opts);
    cw_assert(c->v != NULL);
    sim_proc_touch(&c->d->proc);
}

static void
care_begin(struct sim_care *c, const struct sim_msg *ask)
{
    struct sim_msg *m = sim_msg_new(SIM_MSG_CALL);

    sim_mark(sim_of(c), SIM_MARK_CARETAKE);
    sim_peer_answer(c->peer, ask, CW_MGR_OK);
    m->call = CW_MGR_ATTACH;
    m->volume = ask->volume;
    m->caretaker = true;
    sim_peer_call(c->peer, m, ATTACH_MS, false, attached, c);
}

static void
care_hint(struct sim_care *c, const struct sim_msg *m)
{
    if (m->n_disks > 0)
        cw_owner_hint_locations(c->owner, m->disks, m->n_disks);
    if (m->name[0] != '\0')
        cw_owner_hint_host(c->owner, m->name, m->up);
    if (c->v != NULL && m->volume == cw_volume_id(c->v))
        cw_volume_reread(c->v);
}

static void
care_let_go(struct sim_care *c, const struct sim_msg *m)
{
    care_wait(c, m);
    if (c->releasing)
        return;
    c->releasing = true;
    cw_volume_release(c->v);
}

static void
care_resize(struct sim_care *c, const struct sim_msg *m)
{
    int res = cw_volume_resize(c->v, m->size_bytes, m->recs, m->n_recs, m->disks, m->n_disks);

    if (res == 0)
        care_wait(c, m);
    else
        sim_peer_answer(c->peer, m, CW_MGR_INTERNAL);
}

void
sim_care_push(struct sim_care *c, const struct sim_msg *m)
{
    if (m->kind == SIM_MSG_HINT)
        care_hint(c, m);
    else if (m->ask == CW_MGR_ASK_CARETAKE)
        care_begin(c, m);
    else if (c->v == NULL) /* not held is what LET_GO wants */
        sim_peer_answer(c->peer, m, m->ask == CW_MGR_ASK_LET_GO ? CW_MGR_OK : CW_MGR_NOT_FOUND);
    else if (m->ask == CW_MGR_ASK_LET_GO)
        care_let_go(c, m);
    else if (m->ask == CW_MGR_ASK_RESIZED)
        care_resize(c, m);
    else
        sim_peer_answer(c->peer, m,
                        cw_volume_evict(c->v, m->shards[0], &m->disk_uuid) == 0 ? CW_MGR_OK
                                                                                : CW_MGR_INTERNAL);
    sim_proc_touch(&c->d->proc);
}

void
sim_care_tick(struct sim_care *c)
{
    uint64_t now = cw_now_ns(&c->d->proc.env);

    if (c->v == NULL || now < c->report_ns)
        return;
    c->report_ns = now + REPORT_NS;
    sim_peer_send(c->peer, sim_owner_report(c->v, c->n_shards));
}

/* ---- life ---- */

void
sim_care_turn_end(struct sim_care *c)
{
    if (c->owner == NULL)
        return;
    cw_owner_turn_end(c->owner);
    if (cw_owner_pending(c->owner))
        sim_proc_touch(&c->d->proc);
}

void
sim_care_check(const struct sim_care *c)
{
    if (c->owner != NULL)
        cw_owner_check(c->owner);
}

void
sim_care_start(struct sim_care *c)
{
    c->v = NULL;
    c->n_waiting = 0;
    c->report_ns = 0;
    c->owner = cw_owner_new(&(struct cw_owner_opts){
        .env = &c->d->proc.env,
        .pool = c->d->pool,
        .client_id = c->d->disk_uuid,
        .ops = &owner_ops,
        .world = c,
        .tuning = { .flap_min_ns = 200 * CW_NS_PER_MS, .flap_max_ns = 2 * CW_NS_PER_S },
    });
    cw_assert(c->owner != NULL);
}

void
sim_care_stop(struct sim_care *c)
{
    cw_owner_free(c->owner);
    c->owner = NULL;
    c->v = NULL;
}

bool
sim_care_is_idle(const struct sim_care *c)
{
    return c->owner == NULL;
}

struct sim_care *
sim_care_new(struct sim_daemon *d, struct sim_peer *peer)
{
    struct sim_care *c = calloc(1, sizeof(*c));

    cw_assert(c != NULL);
    c->d = d;
    c->peer = peer;
    return c;
}
