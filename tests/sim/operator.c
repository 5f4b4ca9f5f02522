/* sim/operator.c - what people do to a cluster with real managers: volumes grow, disks are given up
 * and taken back, a node that is out returns with an empty disk, owners hand over, policies ask for
 * more copies and for fewer again.
 */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/bits.h"
#include "tests/sim/control.h"

#define STEP_BYTES (4 * CW_MIB)
#define GROWTH_MAX_BYTES (64 * CW_MIB) /* of the last shard */

/* ---- calls ---- */

struct op_call {
    struct cw_list node;
    struct cw_mgr_call call;
    struct sim_mgr *mgr;
    uint32_t life;
    struct cw_mgr_session *session;
    char name[SIM_MSG_TEXT];
    bool done, waited;
    void (*then)(struct sim *); /* it went well; NULL: nothing follows */
    sim_look_fn *look;          /* at what was answered; NULL: nobody does */
    enum cw_mgr_code code;
};

static void
op_free(struct op_call *op)
{
    if (op->mgr->m != NULL && op->mgr->proc.life == op->life)
        cw_manager_session_down(op->mgr->m, op->session);
    cw_list_remove(&op->node);
    free(op);
}

struct op_task {
    struct sim_task task;
    struct op_call *op;
};

static void
op_end(struct sim_task *t)
{
    struct op_call *op = cw_container_of(t, struct op_task, task)->op;
    void (*then)(struct sim *) = op->code == CW_MGR_OK ? op->then : NULL;

    op_free(op);
    if (then != NULL && !t->sim->calm)
        then(t->sim);
}

static void
op_done(struct cw_mgr_call *call)
{
    struct op_call *op = cw_container_of(call, struct op_call, call);
    struct op_task *t;

    op->done = true;
    op->code = call->error.code;
    sim_log(op->mgr->proc.sim, "operator: call %d ends with %d %s", (int)call->kind, (int)op->code,
            call->error.message);
    if (op->look != NULL && op->code == CW_MGR_OK)
        op->look(op->mgr->proc.sim, &call->reply);
    if (op->waited)
        return;
    t = calloc(1, sizeof(*t));
    cw_assert(t != NULL);
    t->op = op;
    sim_after(op->mgr->proc.sim, &t->task, 0, op_end); /* the session may go from outside only */
}

/* NULL: that one stands by. */
static struct op_call *
op_new(struct sim_mgr *m, enum cw_mgr_call_kind kind)
{
    struct op_call *op;

    if (m->m == NULL || m->proc.paused)
        return NULL;
    op = calloc(1, sizeof(*op));
    cw_assert(op != NULL);
    op->mgr = m;
    op->life = m->proc.life;
    op->call.kind = kind;
    op->call.done = op_done;
    op->session = cw_manager_session_up(m->m, NULL);
    cw_assert(op->session != NULL);
    cw_list_push_back(&m->proc.sim->control->op_calls, &op->node);
    return op;
}

static void
op_begin(struct op_call *op)
{
    cw_manager_call(op->mgr->m, op->session, &op->call);
    sim_proc_touch(&op->mgr->proc);
}

static bool
never(struct sim *sim)
{
    return false;
}

enum cw_mgr_code
sim_operate(struct sim *sim, struct sim_mgr *m, enum cw_mgr_call_kind kind,
            const union cw_mgr_request *req)
{
    return sim_operate_look(sim, m, kind, req, NULL);
}

enum cw_mgr_code
sim_operate_look(struct sim *sim, struct sim_mgr *m, enum cw_mgr_call_kind kind,
                 const union cw_mgr_request *req, sim_look_fn *look)
{
    struct op_call *op = op_new(m, kind);
    enum cw_mgr_code code = CW_MGR_TIMEOUT;

    if (op == NULL)
        return CW_MGR_NOT_MANAGER;
    op->waited = true;
    op->look = look;
    op->call.req = *req;
    op_begin(op);
    for (uint32_t i = 0; i < 3000 && !op->done && !sim->result.failed; i++)
        sim_run_until(sim, never, 10 * CW_NS_PER_MS);
    if (op->done) {
        code = op->code;
        op_free(op);
    }
    return code;
}

/* Their managers are gone. */
void
sim_op_calls_free(struct sim *sim)
{
    struct cw_list *node;

    while ((node = cw_list_pop_front(&sim->control->op_calls)) != NULL)
        free(cw_list_entry(node, struct op_call, node));
}

/* ---- deeds ---- */

static void
grow(struct sim *sim)
{
    uint32_t last = sim->n_shards - 1, n_blocks = sim->reg.recs[last].n_blocks;
    uint64_t bytes = (last * CW_SHARD_BLOCKS + n_blocks) * CW_BLOCK_SIZE;
    struct op_call *op;

    if (sim->n_shards == sim->n_shards_goal && n_blocks >= GROWTH_MAX_BYTES / CW_BLOCK_SIZE)
        return;
    op = op_new(sim->control->leader, CW_MGR_VOLUME_RESIZE);
    if (op == NULL)
        return;
    op->call.req.volume_resize =
        (struct cw_mgr_volume_resize){ .name = SIM_VOLUME_NAME, .size_bytes = bytes + STEP_BYTES };
    op_begin(op);
}

/* Again and again until it has the shard that it is to have. */
static void
grow_again(struct sim_task *t)
{
    struct sim *sim = t->sim;

    if (sim->calm || sim->n_shards == sim->n_shards_goal)
        return;
    grow(sim);
    sim_grow_after(sim, 3 * CW_NS_PER_S);
}

void
sim_grow_after(struct sim *sim, uint64_t ns)
{
    struct sim_task *t = calloc(1, sizeof(*t));

    cw_assert(t != NULL);
    sim_after(sim, t, ns, grow_again);
}

/* Always the same one, and only if there is a place for another copy: else no copy there would ever
 * be in sync again. */
static void
give_up_disk(struct sim *sim)
{
    struct sim_daemon *d = &sim->daemons[0];

    if (sim->n_daemons == sim->n_members)
        return;
    sim_log(sim, "fault: many blocks of %s go bad", d->proc.name);
    d->storms++;
}

static void
take_back_disk(struct sim *sim)
{
    struct op_call *op = op_new(sim->control->leader, CW_MGR_DISK_RETURN);

    if (op == NULL)
        return;
    snprintf(op->name, sizeof(op->name), "%s/store-0", sim->daemons[0].proc.name);
    op->call.req.name = op->name;
    op_begin(op);
}

static void
take_back_again(struct sim_task *t)
{
    take_back_disk(t->sim);
}

/* More copies may have been asked for than there are disks without it. */
void
sim_operator_calm(struct sim *sim)
{
    for (uint64_t s = 1; s <= 16 && sim->daemons[0].storms > 0; s *= 2) {
        struct sim_task *t = calloc(1, sizeof(*t));

        cw_assert(t != NULL);
        sim_after(sim, t, s * CW_NS_PER_S, take_back_again);
    }
}

static bool
is_out_everywhere(const struct sim *sim, const struct sim_daemon *d)
{
    for (uint32_t i = 0; i < sim->n_shards; i++) {
        enum cw_member_state s = sim_reg_state(sim, i, d);

        if (s != CW_MEMBER_OUT && (s != CW_MEMBER_DEAD || i == 0))
            return false;
    }
    return true;
}

/* Only of a copy that is out: nothing that was acknowledged lies there alone. */
static void
replace_disk(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->reg.recs[0].n_members; i++) {
        const struct cw_member *m = &sim->reg.recs[0].members[i];
        struct sim_daemon *d = sim_member_daemon(sim, m);

        if (d == NULL || d->proc.up || !is_out_everywhere(sim, d) || sim->n_disks == SIM_DISKS_MAX)
            continue;
        sim_mark(sim, SIM_MARK_REPLACED);
        sim_log(sim, "fault: %s will return with another disk", d->proc.name);
        sim_daemon_replace(d,
                           sim_chance(&sim->rnd_mgr, 50) ? SIM_REPLACE_EMPTY : SIM_REPLACE_FORMAT);
        return;
    }
}

struct deserted {
    struct sim_task task;
    struct sim_client *c;
};

static void
comes_back(struct sim_task *t)
{
    struct sim_client *c = cw_container_of(t, struct deserted, task)->c;

    if (!c->proc.up && !t->sim->calm && t->sim->present == NULL)
        sim_client_attach(c);
}

/* The owner dies, and nobody takes its place for a while. */
static void
desert(struct sim *sim)
{
    struct sim_client *c = sim->present;
    struct deserted *d;

    if (c == NULL)
        return;
    sim_log(sim, "fault: %s is killed, for long", c->proc.name);
    sim_client_kill(c);
    d = calloc(1, sizeof(*d));
    cw_assert(d != NULL);
    d->c = c;
    sim_after(sim, &d->task, sim_between(&sim->rnd_mgr, 6, 25) * CW_NS_PER_S, comes_back);
}

static void
take_over(struct sim *sim)
{
    struct sim_client *c = &sim->clients[sim->next_client++ % sim->n_clients];

    if (c == sim->present || sim_lib_is_attaching(c))
        return;
    sim_log(sim, "%s is to have the volume handed over", c->proc.name);
    if (c->proc.up)
        sim_client_kill(c);
    sim_client_take(c);
}

/* As a migration does it, whatever else goes wrong meanwhile. */
static void
hand_over(struct sim *sim)
{
    struct op_call *op = op_new(sim->control->leader, CW_MGR_HANDOVER_ALLOW);

    if (op == NULL)
        return;
    op->call.req.handover_allow =
        (struct cw_mgr_handover_allow){ .volume = SIM_VOLUME_NAME, .seconds = 30 };
    op->then = take_over;
    op_begin(op);
}

static const char *
change_ack(struct sim *sim)
{
    if (!sim->replicated)
        return "";
    return sim_chance(&sim->rnd_ack, 70) ? "replicated" : "durable";
}

/* More copies, or as few as at first: never fewer, since faults leave one of those alone. */
static void
change_policy(struct sim *sim)
{
    struct op_call *op = op_new(sim->control->leader, CW_MGR_POLICY_PUT);
    uint32_t more = (uint32_t)cw_prng_below(&sim->rnd_mgr, sim->n_daemons - sim->n_members + 1);
    bool room = sim->n_members + more < sim->n_daemons; /* for one that follows, if all is well */

    if (op == NULL)
        return;
    op->call.req.policy_put = (struct cw_mgr_policy_put){
        .policy = { .name = "sim",
                    .copies = sim->n_members + more,
                    .spread = "",
                    .sites = "",
                    .journal = "",
                    .ack = change_ack(sim),
                    .async = room && sim_chance(&sim->rnd_stop, 60) ? "here" : "none",
                    .compression = "",
                    .quorum_loss = "",
                    .space_full = "",
                    .warning = "" },
        .force = true
    };
    op_begin(op);
}

static void
operate(struct sim_task *t)
{
    struct sim *sim = t->sim;
    uint32_t dice = (uint32_t)cw_prng_below(&sim->rnd_mgr, 15);

    if (sim->calm)
        return;
    sim_operator_start(sim);
    if (dice < 3)
        grow(sim);
    else if (dice < 5)
        give_up_disk(sim);
    else if (dice < 6)
        take_back_disk(sim);
    else if (dice < 7)
        desert(sim);
    else if (dice < 10)
        replace_disk(sim);
    else if (dice < 13)
        hand_over(sim);
    else
        change_policy(sim);
}

void
sim_operator_start(struct sim *sim)
{
    struct sim_task *t;

    if (sim->control->operate_ns == 0)
        return;
    t = calloc(1, sizeof(*t));
    cw_assert(t != NULL);
    sim_after(sim, t, cw_prng_below(&sim->rnd_mgr, 2 * sim->control->operate_ns), operate);
}
