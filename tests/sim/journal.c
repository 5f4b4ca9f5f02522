/* sim/journal.c - what the manager does about journals (daemon/manager/journal.c), where there is a
 * spare daemon: it adds a member there while fewer than two copies are in sync, and has what is
 * left of one dropped when it has gone.
 */
#include <stdlib.h>

#include "tests/sim/sim.h"

#define LOOK_NS (200 * CW_NS_PER_MS)

static struct sim_daemon *
spare_of(struct sim *sim)
{
    return &sim->daemons[sim->n_members];
}

static void
dropped(struct cw_replica_drop *d, int res)
{
    cw_container_of(d, struct sim_reg, drop)->drop_life = 0;
}

/* True: nothing is left there. */
static bool
spare_is_empty(struct sim *sim)
{
    struct sim_daemon *d = spare_of(sim);
    struct sim_reg *r = &sim->reg;

    if (!d->serving || d->proc.paused)
        return false;
    if (r->drop_life == d->proc.life)
        return false;
    if (cw_store_shard_find(cw_replica_store(d->replica), r->recs[0].shard) == NULL)
        return true;
    r->drop = (struct cw_replica_drop){ .shard = r->recs[0].shard, .done = dropped };
    r->drop_life = d->proc.life;
    cw_replica_drop(d->replica, &r->drop);
    sim_proc_touch(&d->proc);
    return false;
}

static uint32_t
count(const struct cw_shard_rec *rec, enum cw_member_state state)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < rec->n_members; i++)
        n += rec->members[i].state == state;
    return n;
}

static void
journal_add(struct sim *sim)
{
    struct cw_shard_rec *rec = &sim->reg.recs[0];
    const struct sim_daemon *d = spare_of(sim);
    struct sim_client *c = sim->present;

    rec->members[rec->n_members++] = (struct cw_member){ .disk_uuid = d->disk_uuid,
                                                         .format_id = d->format_id,
                                                         .state = CW_MEMBER_JOURNAL };
    rec->cfg++;
    sim_log(sim, "register: %s is to be a journal, cfg %u", d->proc.name, rec->cfg);
    if (c == NULL || !c->proc.up || c->proc.paused || c->volume == NULL)
        return;
    cw_volume_reread(c->volume);
    sim_proc_touch(&c->proc);
}

static void
journal_look(struct sim_task *t)
{
    struct sim *sim = t->sim;
    const struct cw_shard_rec *rec = &sim->reg.recs[0];
    struct sim_task *again = calloc(1, sizeof(*again));

    cw_assert(again != NULL);
    sim_after(sim, again, LOOK_NS, journal_look);
    if (count(rec, CW_MEMBER_JOURNAL) > 0 || !spare_is_empty(sim) || sim->reg.released ||
        sim->now_ns < sim->reg.away_until_ns ||
        count(rec, CW_MEMBER_INSYNC) >= cw_max_u64(2, sim->min_insync))
        return;
    journal_add(sim);
}

void
sim_journal_start(struct sim *sim)
{
    struct sim_task *t = calloc(1, sizeof(*t));

    cw_assert(t != NULL);
    sim_after(sim, t, LOOK_NS, journal_look);
}
