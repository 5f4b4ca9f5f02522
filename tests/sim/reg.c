/* sim/reg.c - the manager as a register: one volume, its shards, compare-and-set (1.3).
 *
 * Requests take effect at one instant between being sent and being answered, or after the answer
 * was given up, or never; replies may be lost. A change compares the volume's gen and the record's
 * cfg, and never leaves INSYNC empty (I12).
 */
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "tests/sim/sim.h"

static void
reg_init_shard(struct sim *sim, uint32_t shard)
{
    struct cw_shard_rec *rec = &sim->reg.recs[shard];
    bool last = shard == sim->n_shards - 1;

    *rec = (struct cw_shard_rec){
        .shard = CW_SHARD_ID(SIM_VOLUME, shard),
        .gen = 1, /* of the record; the first attach raises the volume's */
        .cfg = 1,
        .lineage = 1,
        .n_blocks = !last          ? (uint32_t)CW_SHARD_BLOCKS
                    : sim->full.on ? 8192
                                   : 4096,
        .n_members = sim->n_members,
    };
    for (uint32_t i = 0; i < sim->n_members; i++) {
        const struct sim_daemon *d = &sim->daemons[(shard * sim->shard_step + i) % sim->n_daemons];

        rec->members[i] = (struct cw_member){
            .disk_uuid = d->disk_uuid,
            .format_id = d->format_id,
            .state = CW_MEMBER_INSYNC,
            .since_seq = CW_SINCE_NEW,
        };
    }
}

void
sim_reg_init(struct sim *sim)
{
    sim->reg.gen = 0;
    sim->reg.released = true;
    for (uint32_t i = 0; i < sim->n_shards; i++)
        reg_init_shard(sim, i);
}

void
sim_reg_attach(struct sim *sim, bool *ret_released)
{
    *ret_released = sim->reg.released;
    sim->reg.gen++;
    sim->reg.released = false;
    sim_ambush_member(sim, SIM_MOMENT_ATTACH,
                      (uint32_t)cw_prng_below(&sim->rnd_reg, sim->n_members), CW_MEMBER_INSYNC);
}

static uint32_t
reg_locations(struct sim *sim, struct cw_disk_location *disks)
{
    for (uint32_t i = 0; i < sim->n_daemons; i++) {
        const struct sim_daemon *d = &sim->daemons[i];

        disks[i] = (struct cw_disk_location){ .disk_uuid = d->disk_uuid,
                                              .format_id = d->format_id,
                                              .up = true };
        strcpy(disks[i].addr, d->proc.name);
        strcpy(disks[i].at.host, d->proc.name);
    }
    return sim->n_daemons;
}

void
sim_reg_desc(struct sim *sim, struct cw_volume_desc *to, struct cw_disk_location *disks)
{
    *to = (struct cw_volume_desc){
        .id = SIM_VOLUME,
        .name = "v",
        .size_bytes = (sim->n_shards - 1) * CW_SHARD_BLOCKS * CW_BLOCK_SIZE +
                      (uint64_t)sim->reg.recs[sim->n_shards - 1].n_blocks * CW_BLOCK_SIZE,
        .gen = sim->reg.gen,
        .min_insync = sim->min_insync,
        .ack_replicated = sim->replicated,
        .cold_start = sim->reg.cold,
        .degrade_s = -1,
        .shards = sim->reg.recs,
        .n_shards = sim->n_shards,
        .disks = disks,
        .n_disks = reg_locations(sim, disks),
    };
}

/* ---- the compare-and-set ---- */

static struct cw_member *
rec_member(struct cw_shard_rec *rec, const struct cw_member *like)
{
    for (uint32_t i = 0; i < rec->n_members; i++)
        if (cw_uuid_equal(&rec->members[i].disk_uuid, &like->disk_uuid) &&
            rec->members[i].format_id == like->format_id)
            return &rec->members[i];
    return NULL;
}

static uint32_t
rec_n_insync(const struct cw_shard_rec *rec)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < rec->n_members; i++)
        n += rec->members[i].state == CW_MEMBER_INSYNC;
    return n;
}

void
sim_reg_note(struct sim *sim, const struct cw_member *m, enum cw_member_state to)
{
    const char *who = "?";

    for (uint32_t i = 0; i < sim->n_daemons; i++)
        if (cw_uuid_equal(&sim->daemons[i].disk_uuid, &m->disk_uuid))
            who = sim->daemons[i].proc.name;
    sim_log(sim, "register: %s %s -> %s", who, cw_member_state_name(m->state),
            cw_member_state_name(to));
    if (to == CW_MEMBER_JOURNAL)
        sim_mark(sim, SIM_MARK_JOURNAL);
    if (m->state == CW_MEMBER_IN_RESYNC && m->since_seq != 0 && to == CW_MEMBER_INSYNC)
        sim_mark(sim, SIM_MARK_WHOLE);
    if (m->state == CW_MEMBER_INSYNC && to == CW_MEMBER_OUT)
        sim_mark(sim, SIM_MARK_EJECT);
    if (m->state == CW_MEMBER_INSYNC && to == CW_MEMBER_LAGGING)
        sim_mark(sim, SIM_MARK_ASIDE);
    if (m->state != CW_MEMBER_INSYNC && to == CW_MEMBER_INSYNC)
        sim_mark(sim, m->state == CW_MEMBER_LAGGING ? SIM_MARK_BACK : SIM_MARK_PROMOTE);
}

/* The others of the cluster have their slow disks too. */
static bool
reg_sets_aside(struct sim *sim, const struct cw_member *m, enum cw_member_state to)
{
    if (m->state != CW_MEMBER_INSYNC || to != CW_MEMBER_LAGGING || sim->opts.scenario != NULL ||
        !sim_chance(&sim->rnd_slow, 30))
        return true;
    sim_mark(sim, SIM_MARK_NO_ASIDE);
    return false;
}

/* As the manager: a journal begins once, or goes; a SYNCING member is bound to the one there is.
 * False: it may not. */
static bool
reg_move(struct cw_shard_rec *rec, struct cw_member *m, const struct cw_member *want)
{
    bool found = want->since_seq == 0;

    if (m->state == CW_MEMBER_JOURNAL && want->state == CW_MEMBER_DEAD) {
        memmove(m, m + 1, (size_t)(&rec->members[rec->n_members] - (m + 1)) * sizeof(*m));
        rec->n_members--;
        return true;
    }
    if (m->state == CW_MEMBER_JOURNAL || want->state == CW_MEMBER_JOURNAL) {
        if (m->state != want->state || m->since_seq != 0 || want->since_seq == 0)
            return false;
        m->since_seq = want->since_seq;
        return true;
    }
    for (uint32_t i = 0; i < rec->n_members; i++)
        found |= rec->members[i].state == CW_MEMBER_JOURNAL &&
                 rec->members[i].since_seq == want->since_seq && want->state == CW_MEMBER_IN_RESYNC;
    m->state = want->state;
    m->since_seq = want->since_seq;
    return found;
}

static void
reg_ambush(struct sim *sim, enum sim_moment moment, const struct cw_member *m,
           enum cw_member_state to)
{
    sim_ambush_member(sim, moment, (uint32_t)(sim_member_daemon(sim, m) - sim->daemons), to);
}

/* CW_CALL_OK or CW_CALL_REFUSED. */
static enum cw_call_res
reg_apply(struct sim *sim, uint32_t shard, uint32_t gen, uint32_t cfg, const struct cw_member *want,
          uint32_t n_want)
{
    struct sim_reg *r = &sim->reg;
    struct cw_shard_rec *now = &r->recs[shard], rec = *now;

    if (r->gen != gen || now->cfg != cfg || r->released)
        return CW_CALL_REFUSED;
    for (uint32_t i = 0; i < n_want; i++) {
        struct cw_member *m = rec_member(&rec, &want[i]);

        if (m == NULL || !reg_sets_aside(sim, m, want[i].state) || !reg_move(&rec, m, &want[i]))
            return CW_CALL_REFUSED;
    }
    if (rec_n_insync(&rec) == 0)
        return CW_CALL_REFUSED;
    for (uint32_t i = 0; i < n_want; i++) {
        const struct cw_member *m = rec_member(now, &want[i]);

        sim_reg_note(sim, m, want[i].state);
        reg_ambush(sim, SIM_MOMENT_CHANGE, m, want[i].state);
    }
    rec.cfg++;
    rec.gen = gen;
    *now = rec;
    r->n_changes++;
    sim_log(sim, "register: gen %u, shard %u cfg %u", gen, shard, rec.cfg);
    return CW_CALL_OK;
}

/* ---- calls ---- */

enum reg_kind { REG_CHANGE, REG_GET, REG_RELEASE };

/* One call on its way there and back. */
struct reg_call {
    struct sim_task task;
    struct sim_client *client;
    uint32_t life;
    enum reg_kind kind;
    union {
        struct cw_change *change;
        struct cw_volume_get *get;
        struct cw_volume_give_up *give_up;
    } what;
    uint32_t shard, gen, cfg, n_want;
    struct cw_member want[CW_MEMBERS_MAX];
    bool lost, arrived, given_up;
    uint64_t begun_ns;

    enum cw_call_res res;
    uint32_t now_gen;
    struct cw_shard_rec recs[SIM_SHARDS_MAX];
};

static bool
call_is_awaited(const struct reg_call *c)
{
    return c->client->proc.up && c->client->proc.life == c->life;
}

static void
call_answer_change(struct reg_call *c, enum cw_call_res res)
{
    struct cw_change *ch = c->what.change;
    struct cw_disk_location disks[SIM_DAEMONS_MAX];

    ch->res = res;
    ch->has_rec = res != CW_CALL_UNKNOWN;
    ch->volume_gen = c->now_gen;
    ch->rec = c->recs[c->shard];
    ch->disks = disks;
    ch->n_disks = reg_locations(c->client->proc.sim, disks);
    ch->done(ch);
}

static void
call_answer_get(struct reg_call *c, enum cw_call_res res)
{
    struct cw_volume_desc desc;
    struct cw_disk_location disks[SIM_DAEMONS_MAX];
    struct cw_volume_get *g = c->what.get;

    sim_reg_desc(c->client->proc.sim, &desc, disks);
    desc.gen = c->now_gen;
    desc.shards = c->recs;
    g->res = res;
    g->desc = res == CW_CALL_OK ? &desc : NULL;
    g->done(g);
}

static void
call_answer(struct reg_call *c, enum cw_call_res res)
{
    if (!call_is_awaited(c))
        return;
    switch (c->kind) {
    case REG_CHANGE:
        call_answer_change(c, res);
        break;
    case REG_GET:
        call_answer_get(c, res);
        break;
    case REG_RELEASE:
        c->what.give_up->res = res;
        c->what.give_up->done(c->what.give_up);
        break;
    }
    sim_proc_touch(&c->client->proc);
}

static bool
call_goes_to(const struct reg_call *c, uint32_t states)
{
    for (uint32_t i = 0; c->kind == REG_CHANGE && i < c->n_want; i++)
        if (states & CW_BIT(c->want[i].state))
            return true;
    return false;
}

static void
call_effect(struct reg_call *c)
{
    struct sim *sim = c->client->proc.sim;
    struct sim_reg *r = &sim->reg;

    c->res = CW_CALL_OK;
    if (c->kind == REG_CHANGE && !c->given_up && call_goes_to(c, r->refuse_to)) {
        c->res = CW_CALL_REFUSED;
    } else if (c->kind == REG_CHANGE) {
        c->res = reg_apply(sim, c->shard, c->gen, c->cfg, c->want, c->n_want);
        if (c->res == CW_CALL_OK && c->given_up)
            sim_mark(sim, SIM_MARK_LATE_CHANGE);
        if (c->res == CW_CALL_OK && c->lost)
            sim_mark(sim, SIM_MARK_LOST_REPLY);
    } else if (c->kind == REG_RELEASE) {
        if (r->gen != c->gen)
            c->res = CW_CALL_REFUSED;
        else
            r->released = true;
    }
    c->now_gen = r->gen;
    memcpy(c->recs, r->recs, sizeof(c->recs));
}

static void call_step(struct sim_task *t);

static void
call_again(struct reg_call *c, uint64_t after_ns)
{
    struct reg_call *copy = malloc(sizeof(*copy));

    cw_assert(copy != NULL);
    *copy = *c;
    cw_list_init(&copy->task.node);
    sim_after(c->client->proc.sim, &copy->task, after_ns, call_step);
}

/* There, back, and in between the register away: one more step for each. */
static void
call_step(struct sim_task *t)
{
    struct reg_call *c = cw_container_of(t, struct reg_call, task);
    struct sim *sim = t->sim;
    struct cw_prng *p = &sim->rnd_reg;

    if (c->arrived) { /* on the way back */
        if (c->client->proc.paused && call_is_awaited(c))
            call_again(c, CW_NS_PER_MS);
        else if (!c->given_up)
            call_answer(c, c->lost ? CW_CALL_UNKNOWN : c->res);
        return;
    }
    if (sim->now_ns < sim->reg.away_until_ns) {
        if (!c->given_up && sim->now_ns - c->begun_ns > 2 * CW_NS_PER_S &&
            !c->client->proc.paused) {
            c->given_up = true;
            call_answer(c, CW_CALL_UNKNOWN);
        }
        if (sim->now_ns - c->begun_ns < 6 * CW_NS_PER_S) /* else it is lost */
            call_again(c, 50 * CW_NS_PER_MS);
        return;
    }
    c->lost = !sim->calm && cw_prng_below(p, 256) < sim->reg.lose_256ths;
    if (call_goes_to(c, sim->reg.late_to)) {
        sim->reg.late_to = 0;
        c->lost = c->given_up = true;
        call_answer(c, CW_CALL_UNKNOWN);
        call_again(c, sim->reg.late_ns);
        return;
    }
    if (call_goes_to(c, sim->reg.lose_to) || c->client == sim->reg.deaf)
        c->lost = true;
    else if (c->lost && sim_chance(p, 40) && !c->given_up &&
             !c->client->proc.paused) { /* given up before it takes effect */
        c->given_up = true;
        call_answer(c, CW_CALL_UNKNOWN);
        call_again(c, sim_between(p, 0, CW_NS_PER_S));
        return;
    }
    call_effect(c);
    c->arrived = true;
    if (!c->given_up)
        call_again(c, c->lost ? sim_between(p, CW_NS_PER_MS, 3 * CW_NS_PER_S)
                              : sim_between(p, 200000, 5 * CW_NS_PER_MS));
}

static struct reg_call *
call_new(struct sim_client *client, enum reg_kind kind)
{
    struct reg_call *c = calloc(1, sizeof(*c));

    cw_assert(c != NULL);
    c->client = client;
    c->life = client->proc.life;
    c->kind = kind;
    c->begun_ns = client->proc.sim->now_ns;
    return c;
}

static void
call_send(struct reg_call *c)
{
    struct sim *sim = c->client->proc.sim;

    sim_after(sim, &c->task, sim_between(&sim->rnd_reg, 200000, 5 * CW_NS_PER_MS), call_step);
}

void
sim_reg_change(struct sim_client *client, struct cw_change *ch)
{
    struct reg_call *c = call_new(client, REG_CHANGE);

    client->proc.sim->reg.asked_ns = client->proc.sim->now_ns;
    c->what.change = ch;
    c->gen = ch->gen;
    c->cfg = ch->cfg;
    c->n_want = ch->n_want;
    memcpy(c->want, ch->want, sizeof(c->want));
    c->shard = CW_SHARD_INDEX(ch->shard);
    cw_assert(c->shard < client->proc.sim->n_shards && ch->volume == SIM_VOLUME);
    for (uint32_t i = 0; i < ch->n_want; i++)
        reg_ambush(client->proc.sim, SIM_MOMENT_WANTED, &ch->want[i], ch->want[i].state);
    sim_log(client->proc.sim, "%s asks for a change at gen %u, shard %u cfg %u: %s",
            client->proc.name, ch->gen, c->shard, ch->cfg, ch->why);
    call_send(c);
}

void
sim_reg_get(struct sim_client *client, struct cw_volume_get *g)
{
    struct reg_call *c = call_new(client, REG_GET);

    c->what.get = g;
    call_send(c);
}

void
sim_reg_release(struct sim_client *client, struct cw_volume_give_up *g)
{
    struct reg_call *c = call_new(client, REG_RELEASE);

    c->what.give_up = g;
    c->gen = g->gen;
    call_send(c);
}
