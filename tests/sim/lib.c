/* sim/lib.c - a client's talk with the manager, as client/lib does it: attach, change, read again,
 * release, report every second; and what the manager wants of an owner.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "tests/sim/control.h"

#define AGAIN_NS (300 * CW_NS_PER_MS)
#define ATTACH_MS 5000u
#define TAKE_MS 12000u
#define DRAIN_NS (5 * CW_NS_PER_S)
#define LET_GO_MAX 4u
#define CALL_MS 3000u
#define REPORT_NS CW_NS_PER_S
#define TRIES_UNFORCED 12u

enum lib_attach { LIB_IDLE, LIB_WANTS, LIB_ASKS };

struct sim_lib {
    struct sim_peer peer;
    struct sim_client *c;
    enum lib_attach attach;
    bool force, forced; /* drawn; sent last */
    bool take;          /* as long as it does not force */
    uint32_t tries;
    uint64_t again_ns, report_ns;
    bool resizing; /* an answer is owed */
    struct sim_msg resize;
    struct sim_msg let_go[LET_GO_MAX]; /* answers are owed */
    uint32_t n_let_go;
};

static struct sim_lib *
lib_of(struct sim_peer *p)
{
    return cw_container_of(p, struct sim_lib, peer);
}

static struct sim_msg *
lib_msg(struct sim_lib *l, enum cw_mgr_call_kind kind)
{
    struct sim_msg *m = sim_msg_new(SIM_MSG_CALL);

    m->call = kind;
    m->id = l->c->id;
    snprintf(m->name, sizeof(m->name), "%s", l->c->proc.name);
    return m;
}

/* ---- attach ---- */

void
sim_desc_in(const struct sim_msg *m, struct cw_volume_desc *to)
{
    *to = (struct cw_volume_desc){
        .id = m->volume,
        .name = SIM_VOLUME_NAME,
        .size_bytes = m->size_bytes,
        .gen = m->gen,
        .released = m->released,
        .cold_start = m->cold,
        .min_insync = m->min_insync,
        .degrade_s = m->degrade_s,
        .ack_replicated = m->ack_replicated,
        .shards = m->recs,
        .n_shards = m->n_recs,
        .disks = m->disks,
        .n_disks = m->n_disks,
    };
}

/* Somebody else has it, and is well: this client does without. */
static bool
lib_gives_up(const struct sim_lib *l)
{
    struct sim *sim = l->c->proc.sim;

    return sim->present != NULL && sim->present != l->c && sim->present->ready &&
           !sim->present->lost && !sim->present->leaving && l->tries > TRIES_UNFORCED;
}

static void
attach_refused(struct sim_lib *l, const struct sim_msg *reply)
{
    struct sim *sim = l->c->proc.sim;

    l->attach = LIB_WANTS;
    l->again_ns = cw_now_ns(&l->c->proc.env) + AGAIN_NS;
    l->tries++;
    if (reply == NULL)
        return;
    sim_log(sim, "%s: not attached: %s", l->c->proc.name, reply->text);
    if (reply->code == CW_MGR_VOLUME_IN_USE) {
        sim_mark(sim, SIM_MARK_IN_USE);
        if (lib_gives_up(l)) {
            l->attach = LIB_IDLE;
            l->c->lost = true;
        }
    } else if (reply->code != CW_MGR_UNAVAILABLE && reply->code != CW_MGR_BUSY &&
               reply->code != CW_MGR_TIMEOUT) {
        sim_fail(sim, "%s: attach: error %d, %s", l->c->proc.name, (int)reply->code, reply->text);
    }
}

static void
attach_done(struct sim_peer *p, const struct sim_msg *reply, void *arg)
{
    struct sim_lib *l = lib_of(p);
    struct cw_volume_desc desc;

    if (reply == NULL || reply->code != CW_MGR_OK) {
        attach_refused(l, reply);
        return;
    }
    l->attach = LIB_IDLE;
    sim_kv_told_grant(p->proc->sim, p->proc, reply);
    sim_desc_in(reply, &desc);
    if (l->take && desc.released)
        sim_mark(p->proc->sim, SIM_MARK_HANDED);
    sim_log(p->proc->sim, "%s is granted gen %u", p->proc->name, desc.gen);
    sim_client_open(l->c, &desc, desc.gen);
}

static void
lib_attach_now(struct sim_lib *l)
{
    struct sim_msg *m = lib_msg(l, CW_MGR_ATTACH);

    /* without force again and again, an owner that is gone or unwell lets us in at last */
    m->force = l->forced = l->force || l->tries > 4 * TRIES_UNFORCED;
    l->attach = LIB_ASKS;
    m->intent = l->take && !l->forced ? CW_MGR_INTENT_TAKE : CW_MGR_INTENT_OWN;
    sim_peer_call(&l->peer, m, l->take ? TAKE_MS : ATTACH_MS, false, attach_done, NULL);
}

void
sim_lib_attach(struct sim_client *c)
{
    struct sim_lib *l = c->lib;

    l->force = sim_chance(&c->proc.sim->rnd_mgr, c->proc.sim->control->force_percent);
    l->take = false;
    l->tries = 0;
    lib_attach_now(l);
}

void
sim_lib_take(struct sim_client *c)
{
    struct sim_lib *l = c->lib;

    l->force = false;
    l->take = true;
    l->tries = 0;
    lib_attach_now(l);
}

bool
sim_lib_is_attaching(const struct sim_client *c)
{
    return c->proc.up && c->lib->attach != LIB_IDLE;
}

bool
sim_lib_forces(const struct sim_client *c)
{
    return c->lib->forced;
}

/* ---- the owner's calls ---- */

/* Is it certain that this answer's request changed nothing? As client/lib/ask.c says. */
static enum cw_call_res
call_res(enum cw_mgr_code code)
{
    switch ((int)code) {
    case CW_MGR_OK:
        return CW_CALL_OK;
    case CW_MGR_NOT_FOUND:
    case CW_MGR_CONFLICT:
    case CW_MGR_LAST_COPY:
    case CW_MGR_BAD_REQUEST:
    case CW_MGR_VOLUME_IN_USE:
    case CW_MGR_LIMIT:
        return CW_CALL_REFUSED;
    default:
        return CW_CALL_UNKNOWN;
    }
}

static void
change_done(struct sim_peer *p, const struct sim_msg *reply, void *arg)
{
    struct sim *sim = p->proc->sim;
    struct cw_change *ch = arg;

    ch->res = reply != NULL ? call_res(reply->code) : CW_CALL_UNKNOWN;
    ch->has_rec = reply != NULL && reply->code == CW_MGR_OK;
    ch->n_disks = 0;
    ch->disks = NULL;
    if (ch->has_rec) {
        sim_kv_told_record(sim, p->proc, reply);
        ch->res = reply->applied ? CW_CALL_OK : CW_CALL_REFUSED;
        ch->volume_gen = reply->gen;
        ch->rec = reply->recs[0];
        ch->disks = reply->disks;
        ch->n_disks = reply->n_disks;
    } else if (reply != NULL) {
        sim_log(sim, "%s: no change: %s", p->proc->name, reply->text);
        if (reply->code == CW_MGR_BAD_REQUEST)
            sim_fail(sim, "%s: a change that makes no sense: %s", p->proc->name, reply->text);
        if (reply->code == CW_MGR_LIMIT)
            sim_mark(sim, SIM_MARK_NO_ASIDE);
    }
    ch->done(ch);
    sim_proc_touch(p->proc);
}

static struct sim_msg *
owner_msg(enum cw_mgr_call_kind kind)
{
    struct sim_msg *m = sim_msg_new(SIM_MSG_CALL);

    m->call = kind;
    return m;
}

void
sim_owner_change(struct sim_peer *p, struct cw_change *ch)
{
    struct sim_msg *m = owner_msg(CW_MGR_CHANGE);

    m->volume = ch->volume;
    m->gen = ch->gen;
    m->shard = ch->shard;
    m->cfg = ch->cfg;
    m->n_want = ch->n_want;
    memcpy(m->want, ch->want, sizeof(m->want));
    snprintf(m->why, sizeof(m->why), "%s", ch->why);
    sim_log(p->proc->sim, "%s asks for a change at gen %u cfg %u: %s", p->proc->name, ch->gen,
            ch->cfg, ch->why);
    sim_kv_asked(p->proc->sim, ch);
    p->proc->sim->reg.asked_ns = p->proc->sim->now_ns;
    sim_peer_call(p, m, CALL_MS, false, change_done, ch);
}

static void
get_done(struct sim_peer *p, const struct sim_msg *reply, void *arg)
{
    struct cw_volume_get *g = arg;
    struct cw_volume_desc desc;

    g->res = reply != NULL ? call_res(reply->code) : CW_CALL_UNKNOWN;
    g->desc = NULL;
    if (g->res == CW_CALL_OK) {
        sim_desc_in(reply, &desc);
        g->desc = &desc;
        if (p->ops->desc != NULL)
            p->ops->desc(p, &desc);
    }
    g->done(g);
    sim_proc_touch(p->proc);
}

void
sim_owner_get(struct sim_peer *p, struct cw_volume_get *g)
{
    struct sim_msg *m = owner_msg(CW_MGR_GET_VOLUME);

    m->volume = g->volume;
    sim_peer_call(p, m, CALL_MS, true, get_done, g);
}

static void
release_done(struct sim_peer *p, const struct sim_msg *reply, void *arg)
{
    struct cw_volume_give_up *g = arg;

    g->res = reply != NULL ? call_res(reply->code) : CW_CALL_UNKNOWN;
    g->done(g);
    sim_proc_touch(p->proc);
}

void
sim_owner_release(struct sim_peer *p, struct cw_volume_give_up *g)
{
    struct sim_msg *m = owner_msg(CW_MGR_RELEASE);

    m->volume = g->volume;
    m->gen = g->gen;
    sim_kv_given_up(p->proc->sim, g->gen);
    sim_peer_call(p, m, CALL_MS, true, release_done, g);
}

struct sim_peer *
sim_lib_peer(struct sim_client *c)
{
    return &c->lib->peer;
}

void
sim_lib_change(struct sim_client *c, struct cw_change *ch)
{
    sim_owner_change(&c->lib->peer, ch);
}

void
sim_lib_get(struct sim_client *c, struct cw_volume_get *g)
{
    sim_owner_get(&c->lib->peer, g);
}

void
sim_lib_release(struct sim_client *c, struct cw_volume_give_up *g)
{
    sim_owner_release(&c->lib->peer, g);
}

/* ---- what the manager wants ---- */

static int
wish(struct sim_lib *l, const struct sim_msg *m)
{
    struct cw_volume *v = l->c->volume;

    if (v == NULL || m->volume != cw_volume_id(v) || l->c->leaving)
        return -ENOENT;
    if (m->ask == CW_MGR_ASK_EVICT)
        return cw_volume_evict(v, m->shards[0], &m->disk_uuid);
    if (m->ask != CW_MGR_ASK_RESIZED)
        return -ENOENT; /* a verify: nobody asks for one here */
    if (l->resizing)
        return -EBUSY;
    return cw_volume_resize(v, m->size_bytes, m->recs, m->n_recs, m->disks, m->n_disks);
}

/* As client/lib/volume.c does it. 0: answered later. */
static int
lib_let_go(struct sim_lib *l, const struct sim_msg *m)
{
    struct sim_client *c = l->c;
    int res;

    if (c->volume == NULL || m->volume != cw_volume_id(c->volume) ||
        m->gen != cw_volume_gen(c->volume))
        return -ENOENT;
    if (l->n_let_go == LET_GO_MAX)
        return -EBUSY;
    res = cw_volume_hand_over(c->volume, DRAIN_NS);
    if (res != 0)
        return res == -EBUSY ? -EBUSY : -ENOENT;
    sim_mark(c->proc.sim, SIM_MARK_LET_GO);
    sim_log(c->proc.sim, "%s hands the volume over", c->proc.name);
    c->leaving = true;
    l->let_go[l->n_let_go++] = *m;
    return 0;
}

void
sim_lib_let_go(struct sim_client *c, enum sim_let_go how)
{
    struct sim_lib *l = c->lib;

    for (uint32_t i = 0; i < l->n_let_go; i++)
        sim_peer_answer(&l->peer, &l->let_go[i],
                        how == SIM_LET_GO_CLEAN  ? CW_MGR_OK
                        : how == SIM_LET_GO_KEPT ? CW_MGR_BUSY
                                                 : CW_MGR_INTERNAL);
    l->n_let_go = 0;
}

static void
lib_answer(struct sim_lib *l, const struct sim_msg *m, int res)
{
    sim_peer_answer(&l->peer, m,
                    res == 0         ? CW_MGR_OK
                    : res == -ENOENT ? CW_MGR_NOT_FOUND
                    : res == -EBUSY  ? CW_MGR_BUSY
                                     : CW_MGR_INTERNAL);
}

static void
lib_let_go_asked(struct sim_lib *l, const struct sim_msg *m)
{
    int res = lib_let_go(l, m);

    if (res != 0)
        lib_answer(l, m, res);
    sim_proc_touch(&l->c->proc);
}

static void
lib_wish(struct sim_lib *l, const struct sim_msg *m)
{
    int res = wish(l, m);

    if (res == 0 && m->ask == CW_MGR_ASK_EVICT)
        sim_mark(l->c->proc.sim, SIM_MARK_EVICT);
    if (res == 0 && m->ask == CW_MGR_ASK_RESIZED) {
        l->resizing = true;
        l->resize = *m;
        return;
    }
    lib_answer(l, m, res);
}

static void
lib_asked(struct sim_lib *l, const struct sim_msg *m)
{
    if (m->ask == CW_MGR_ASK_LET_GO)
        lib_let_go_asked(l, m);
    else
        lib_wish(l, m);
}

void
sim_lib_resized(struct sim_client *c)
{
    if (c->lib == NULL || !c->lib->resizing)
        return;
    c->lib->resizing = false;
    sim_mark(c->proc.sim, SIM_MARK_RESIZED);
    sim_peer_answer(&c->lib->peer, &c->lib->resize, CW_MGR_OK);
}

static void
lib_push(struct sim_peer *p, const struct sim_msg *m)
{
    struct sim_client *c = lib_of(p)->c;

    if (m->kind == SIM_MSG_ASK) {
        lib_asked(lib_of(p), m);
        return;
    }
    if (m->n_disks > 0)
        cw_owner_hint_locations(c->owner, m->disks, m->n_disks);
    if (m->name[0] != '\0')
        cw_owner_hint_host(c->owner, m->name, m->up);
    if (c->volume != NULL && m->volume == cw_volume_id(c->volume))
        cw_volume_reread(c->volume);
}

/* ---- reports ---- */

struct sim_msg *
sim_owner_report(const struct cw_volume *v, uint32_t n_shards)
{
    struct sim_msg *m = sim_msg_new(SIM_MSG_REPORT);

    cw_volume_report(v, &m->report);
    m->n_shard_reports = n_shards;
    for (uint32_t i = 0; i < n_shards; i++)
        cw_volume_report_shard(v, i, &m->shard_reports[i]);
    return m;
}

static void
lib_tick(struct sim_peer *p)
{
    struct sim_lib *l = lib_of(p);
    uint64_t now = cw_now_ns(&p->proc->env);

    if (l->attach == LIB_WANTS && now >= l->again_ns)
        lib_attach_now(l);
    if (l->c->volume == NULL || now < l->report_ns)
        return;
    l->report_ns = now + REPORT_NS;
    sim_peer_send(&l->peer, sim_owner_report(l->c->volume, l->c->n_shards));
}

/* New limits of the policy, at once. */
static void
lib_desc(struct sim_peer *p, const struct cw_volume_desc *desc)
{
    struct cw_volume *v = lib_of(p)->c->volume;

    if (v == NULL || desc->gen != cw_volume_gen(v))
        return;
    cw_volume_set_policy(v, desc->min_insync, desc->degrade_s, false, false);
    cw_volume_set_ack(v, desc->ack_replicated);
}

static void
hello_done(struct sim_peer *p, const struct sim_msg *reply, void *arg)
{
    if (reply != NULL && reply->code != CW_MGR_OK && reply->code != CW_MGR_UNAVAILABLE)
        sim_fail(p->proc->sim, "%s: hello: %s", p->proc->name, reply->text);
}

static void
lib_up(struct sim_peer *p)
{
    sim_peer_call(p, lib_msg(lib_of(p), CW_MGR_CLIENT_HELLO), ATTACH_MS, false, hello_done, NULL);
}

static void
lib_down(struct sim_peer *p)
{
    lib_of(p)->resizing = false;
    lib_of(p)->n_let_go = 0;
}

/* ---- life ---- */

static const struct sim_peer_ops lib_ops = { lib_up, lib_down, lib_push, lib_tick, lib_desc };

void
sim_lib_init(struct sim_client *c)
{
    struct sim_lib *l = calloc(1, sizeof(*l));

    cw_assert(l != NULL);
    l->c = c;
    sim_peer_init(&l->peer, &c->proc, &lib_ops);
    c->lib = l;
}

void
sim_lib_start(struct sim_client *c)
{
    struct sim_lib *l = c->lib;

    if (l == NULL)
        return;
    l->attach = LIB_IDLE;
    l->report_ns = 0;
    l->resizing = false;
    l->n_let_go = 0;
    sim_peer_start(&l->peer);
}

void
sim_lib_stop(struct sim_client *c)
{
    if (c->lib != NULL)
        sim_peer_stop(&c->lib->peer);
}

void
sim_lib_fini(struct sim_client *c)
{
    free(c->lib);
}
