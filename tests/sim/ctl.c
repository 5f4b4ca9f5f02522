/* sim/ctl.c - control connections: messages in order, each way, until one end hangs up or nothing
 * gets through for five seconds.
 */
#include <stdlib.h>

#include "common/base/bits.h"
#include "tests/sim/control.h"

#define STALL_NS (5 * CW_NS_PER_S)
#define RETRY_NS (10 * CW_NS_PER_MS)

struct sim_msg *
sim_msg_new(enum sim_msg_kind kind)
{
    struct sim_msg *m = calloc(1, sizeof(*m));

    cw_assert(m != NULL);
    m->kind = kind;
    return m;
}

static struct sim_proc *
ctl_proc(const struct sim_ctl *c, enum sim_way towards)
{
    return towards == SIM_TO_MANAGER ? &c->mgr->proc : c->peer->proc;
}

static bool
ctl_is_open(const struct sim_ctl *c, enum sim_way end_of)
{
    return end_of == SIM_TO_MANAGER ? c->session != NULL : c->peer_open;
}

static void
ctl_drop(struct sim_ctl *c, enum sim_way way)
{
    struct cw_list *node;

    cw_timerheap_cancel(&c->sim->heap, &c->timer[way]);
    while ((node = cw_list_pop_front(&c->msgs[way])) != NULL)
        free(cw_list_entry(node, struct sim_msg, node));
}

static void
ctl_arm(struct sim_ctl *c, enum sim_way way)
{
    struct sim_msg *m = cw_list_first(&c->msgs[way], struct sim_msg, node);

    if (m != NULL)
        cw_timerheap_set(&c->sim->heap, &c->timer[way], cw_max_u64(m->due_ns, c->sim->now_ns));
}

static void
ctl_deliver(struct sim_ctl *c, enum sim_way way)
{
    struct sim_proc *from = ctl_proc(c, way == SIM_TO_PEER ? SIM_TO_MANAGER : SIM_TO_PEER);
    struct sim_proc *to = ctl_proc(c, way);
    struct sim_msg *m = cw_list_first(&c->msgs[way], struct sim_msg, node);

    if (!ctl_is_open(c, way) || m == NULL) {
        ctl_drop(c, way);
        return;
    }
    if (to->paused || sim_net_blocked(c->sim, from, to)) {
        cw_timerheap_set(&c->sim->heap, &c->timer[way], c->sim->now_ns + RETRY_NS);
        return;
    }
    cw_list_remove(&m->node);
    ctl_arm(c, way);
    if (c->sim->control->on_msg != NULL)
        c->sim->control->on_msg(c, way, m, true);
    if (m->kind == SIM_MSG_END) {
        free(m);
        sim_ctl_close(c, way);
    } else if (way == SIM_TO_MANAGER) {
        sim_mgr_deliver(c, m);
    } else {
        sim_peer_deliver(c, m);
    }
    sim_proc_touch(to);
}

static void
ctl_on_timer_manager(struct cw_timer *t)
{
    ctl_deliver(cw_container_of(t, struct sim_ctl, timer[SIM_TO_MANAGER]), SIM_TO_MANAGER);
}

static void
ctl_on_timer_peer(struct cw_timer *t)
{
    ctl_deliver(cw_container_of(t, struct sim_ctl, timer[SIM_TO_PEER]), SIM_TO_PEER);
}

void
sim_ctl_send(struct sim_ctl *c, enum sim_way way, struct sim_msg *take_msg)
{
    bool idle = cw_list_empty(&c->msgs[way]);

    if (!ctl_is_open(c, way)) {
        free(take_msg);
        return;
    }
    if (c->sim->control->on_msg != NULL)
        c->sim->control->on_msg(c, way, take_msg, false);
    take_msg->due_ns = cw_max_u64(
        c->last_ns[way], c->sim->now_ns + sim_between(&c->sim->rnd_mgr, 100000, 4 * CW_NS_PER_MS));
    c->last_ns[way] = take_msg->due_ns;
    cw_list_push_back(&c->msgs[way], &take_msg->node);
    if (idle)
        ctl_arm(c, way);
}

void
sim_ctl_close(struct sim_ctl *c, enum sim_way end_of)
{
    if (!ctl_is_open(c, end_of))
        return;
    if (end_of == SIM_TO_MANAGER)
        sim_mgr_end(c);
    else
        sim_peer_end(c);
    ctl_drop(c, end_of);
    if (end_of == SIM_TO_MANAGER)
        sim_ctl_send(c, SIM_TO_PEER, sim_msg_new(SIM_MSG_END));
    else
        sim_ctl_send(c, SIM_TO_MANAGER, sim_msg_new(SIM_MSG_END));
}

/* ---- keepalives ---- */

static bool
ctl_stalls(const struct sim_ctl *c)
{
    const struct sim_proc *m = &c->mgr->proc, *p = c->peer->proc;

    return m->paused || p->paused || sim_net_blocked(c->sim, m, p) || sim_net_blocked(c->sim, p, m);
}

static void
ctl_look(struct sim_ctl *c)
{
    if (!ctl_stalls(c)) {
        c->stalled_ns = 0;
        return;
    }
    if (c->stalled_ns == 0)
        c->stalled_ns = c->sim->now_ns;
    if (c->sim->now_ns - c->stalled_ns < STALL_NS)
        return;
    if (!c->mgr->proc.paused)
        sim_ctl_close(c, SIM_TO_MANAGER);
    if (!c->peer->proc->paused)
        sim_ctl_close(c, SIM_TO_PEER);
}

void
sim_ctl_look(struct sim *sim)
{
    CW_LIST_EACH_SAFE (it, &sim->control->ctls) {
        struct sim_ctl *c = cw_list_entry(it, struct sim_ctl, node);

        ctl_look(c);
        if (c->session != NULL || c->peer_open)
            continue;
        cw_list_remove(&c->node); /* calls may still point to it */
        cw_list_push_back(&sim->control->old_ctls, &c->node);
    }
}

void
sim_ctl_cut_all(struct sim *sim)
{
    CW_LIST_EACH_SAFE (it, &sim->control->ctls) {
        struct sim_ctl *c = cw_list_entry(it, struct sim_ctl, node);
        enum sim_way end_of = sim_chance(&sim->rnd_mgr, 50) ? SIM_TO_MANAGER : SIM_TO_PEER;

        if (sim_chance(&sim->rnd_mgr, 60) && !ctl_proc(c, end_of)->paused)
            sim_ctl_close(c, end_of);
    }
}

static void
ctls_free(struct cw_list *list)
{
    struct cw_list *node;

    while ((node = cw_list_pop_front(list)) != NULL) {
        struct sim_ctl *c = cw_list_entry(node, struct sim_ctl, node);

        ctl_drop(c, SIM_TO_MANAGER);
        ctl_drop(c, SIM_TO_PEER);
        free(c);
    }
}

void
sim_ctl_free_all(struct sim *sim)
{
    ctls_free(&sim->control->ctls);
    ctls_free(&sim->control->old_ctls);
}

/* ---- dialling ---- */

static void peer_send_waiting(struct sim_peer *p);

struct ctl_dial {
    struct sim_task task;
    struct sim_peer *peer;
    struct sim_mgr *mgr;
    uint32_t life;
    uint64_t begun_ns;
};

static void
dial_connect(struct sim_peer *p, struct sim_mgr *m)
{
    struct sim *sim = p->proc->sim;
    struct sim_ctl *c = calloc(1, sizeof(*c));

    cw_assert(c != NULL);
    c->sim = sim;
    c->mgr = m;
    c->peer = p;
    c->peer_open = true;
    c->timer[SIM_TO_MANAGER].fn = ctl_on_timer_manager;
    c->timer[SIM_TO_PEER].fn = ctl_on_timer_peer;
    cw_list_init(&c->msgs[SIM_TO_MANAGER]);
    cw_list_init(&c->msgs[SIM_TO_PEER]);
    cw_list_init(&c->asks);
    cw_list_push_back(&sim->control->ctls, &c->node);
    c->session = cw_manager_session_up(m->m, c);
    cw_assert(c->session != NULL);
    p->ctl = c;
    p->dialling = false;
    p->ops->up(p);
    peer_send_waiting(p);
    sim_proc_touch(p->proc);
}

static void dial_try(struct sim_task *t);

static void
dial_after(struct sim_peer *p, struct sim_mgr *m, uint64_t begun_ns, uint64_t ns)
{
    struct ctl_dial *d = calloc(1, sizeof(*d));

    cw_assert(d != NULL);
    d->peer = p;
    d->mgr = m;
    d->life = p->proc->life;
    d->begun_ns = begun_ns;
    sim_after(p->proc->sim, &d->task, ns, dial_try);
}

/* A manager that stands by refuses, or names the other. */
static void
dial_try(struct sim_task *t)
{
    struct ctl_dial *d = cw_container_of(t, struct ctl_dial, task);
    struct sim *sim = t->sim;
    struct sim_proc *from = d->peer->proc, *to = &d->mgr->proc;
    bool silent = to->paused || sim_net_blocked(sim, from, to) || sim_net_blocked(sim, to, from);

    if (!from->up || from->life != d->life)
        return;
    if (from->paused || (to->up && silent && sim->now_ns - d->begun_ns < 3 * CW_NS_PER_S)) {
        dial_after(d->peer, d->mgr, d->begun_ns, 20 * CW_NS_PER_MS);
    } else if (!to->up || silent || d->mgr->m == NULL) {
        d->peer->next_mgr++;
        d->peer->dialling = false;
    } else {
        dial_connect(d->peer, d->mgr);
    }
}

static void
peer_dial(struct sim_peer *p)
{
    struct sim *sim = p->proc->sim;

    p->dialling = true;
    dial_after(p, &sim->control->mgrs[p->next_mgr % SIM_MANAGERS], sim->now_ns,
               sim_between(&sim->rnd_mgr, 300000, 5 * CW_NS_PER_MS));
}

/* ---- peers ---- */

#define TICK_NS (200 * CW_NS_PER_MS)

static void
peer_call_end(struct sim_peer *p, struct sim_peer_call *call, const struct sim_msg *reply)
{
    cw_list_remove(&call->node);
    call->done(p, reply, call->arg);
    free(call->msg);
    free(call);
}

static void
peer_call_send(struct sim_peer *p, struct sim_peer_call *call)
{
    struct sim_msg *copy = sim_msg_new(SIM_MSG_CALL);

    *copy = *call->msg;
    cw_list_init(&copy->node);
    call->sent = true;
    sim_ctl_send(p->ctl, SIM_TO_MANAGER, copy);
}

static void
peer_send_waiting(struct sim_peer *p)
{
    CW_LIST_EACH (it, &p->calls) {
        struct sim_peer_call *call = cw_list_entry(it, struct sim_peer_call, node);

        if (p->ctl != NULL && !call->sent)
            peer_call_send(p, call);
    }
}

static void
peer_on_tick(struct cw_timer *t)
{
    struct sim_peer *p = cw_container_of(t, struct sim_peer, tick);
    uint64_t now = cw_now_ns(&p->proc->env);

    cw_timer_set(&p->proc->env, t, now + TICK_NS);
    if (p->ctl == NULL && !p->dialling)
        peer_dial(p);
    CW_LIST_EACH_SAFE (it, &p->calls) {
        struct sim_peer_call *call = cw_list_entry(it, struct sim_peer_call, node);

        if (now >= call->until_ns)
            peer_call_end(p, call, NULL);
    }
    p->ops->tick(p);
}

void
sim_peer_call(struct sim_peer *p, struct sim_msg *take_msg, uint64_t timeout_ms, bool repeat,
              void (*done)(struct sim_peer *, const struct sim_msg *, void *), void *arg)
{
    struct sim_peer_call *call = calloc(1, sizeof(*call));

    cw_assert(call != NULL);
    take_msg->serial = ++p->serial;
    call->msg = take_msg;
    call->until_ns = cw_now_ns(&p->proc->env) + timeout_ms * CW_NS_PER_MS;
    call->repeat = repeat;
    call->done = done;
    call->arg = arg;
    cw_list_push_back(&p->calls, &call->node);
    if (p->ctl != NULL)
        peer_call_send(p, call);
}

void
sim_peer_send(struct sim_peer *p, struct sim_msg *take_msg)
{
    if (p->ctl != NULL)
        sim_ctl_send(p->ctl, SIM_TO_MANAGER, take_msg);
    else
        free(take_msg);
}

void
sim_peer_answer(struct sim_peer *p, const struct sim_msg *ask, enum cw_mgr_code code)
{
    struct sim_msg *m = sim_msg_new(SIM_MSG_ANSWER);

    m->serial = ask->serial;
    m->code = code;
    sim_peer_send(p, m);
}

static void
peer_replied(struct sim_peer *p, const struct sim_msg *m)
{
    CW_LIST_EACH (it, &p->calls) {
        struct sim_peer_call *call = cw_list_entry(it, struct sim_peer_call, node);

        if (call->msg->serial != m->serial)
            continue;
        peer_call_end(p, call, m);
        return;
    }
}

void
sim_peer_deliver(struct sim_ctl *c, struct sim_msg *take_msg)
{
    if (take_msg->kind == SIM_MSG_REPLY)
        peer_replied(c->peer, take_msg);
    else
        c->peer->ops->push(c->peer, take_msg);
    free(take_msg);
}

void
sim_peer_end(struct sim_ctl *c)
{
    struct sim_peer *p = c->peer;

    c->peer_open = false;
    p->ctl = NULL;
    p->next_mgr++; /* addresses are tried in turn */
    p->ops->down(p);
    CW_LIST_EACH_SAFE (it, &p->calls) {
        struct sim_peer_call *call = cw_list_entry(it, struct sim_peer_call, node);

        if (call->repeat)
            call->sent = false;
        else if (call->sent)
            peer_call_end(p, call, NULL);
    }
}

void
sim_peer_init(struct sim_peer *p, struct sim_proc *proc, const struct sim_peer_ops *ops)
{
    *p = (struct sim_peer){ .proc = proc, .ops = ops, .tick.fn = peer_on_tick };
    cw_list_init(&p->calls);
}

void
sim_peer_start(struct sim_peer *p)
{
    p->dialling = false;
    cw_timer_set(&p->proc->env, &p->tick, cw_now_ns(&p->proc->env));
}

void
sim_peer_stop(struct sim_peer *p)
{
    struct cw_list *node;
    struct sim_ctl *c = p->ctl;

    cw_timer_cancel(&p->proc->env, &p->tick);
    while ((node = cw_list_pop_front(&p->calls)) != NULL) {
        struct sim_peer_call *call = cw_list_entry(node, struct sim_peer_call, node);

        free(call->msg);
        free(call);
    }
    if (c == NULL)
        return;
    p->ctl = NULL;
    c->peer_open = false;
    ctl_drop(c, SIM_TO_PEER);
    sim_ctl_send(c, SIM_TO_MANAGER, sim_msg_new(SIM_MSG_END));
}
