/* sim/rows-views.c - two owners who see different copies, at the moments when a rule of leases,
 * doubts or histories is all that keeps them apart.
 *
 * The models found these (the mutations of replication.md 1.12); chance hardly ever does.
 */
#include "common/base/bits.h"
#include "tests/sim/scenario.h"

static bool
member_2_is_lagging(struct sim *sim)
{
    return sim->reg.recs[0].members[2].state == CW_MEMBER_LAGGING;
}

static bool
member_2_is_insync(struct sim *sim)
{
    return sim->reg.recs[0].members[2].state == CW_MEMBER_INSYNC;
}

static bool
member_2_is_out(struct sim *sim)
{
    return sim->reg.recs[0].members[2].state == CW_MEMBER_OUT;
}

/* Reads as much as it can, of blocks that others write. */
static void
reads_much(struct sim *sim)
{
    sim->depth = 24;
    sim->think_ns = 2 * CW_NS_PER_MS;
    sim->zero_percent = 4;
}

/* It is the nearest one for that owner. */
static void
reads_member_2(struct sim *sim, const struct sim_client *owner)
{
    for (uint32_t i = 0; i < 2; i++)
        sim->lag_ns[i][owner->proc.index] = 3 * CW_NS_PER_MS;
}

/* The third copy is LAGGING, and well again since just now. */
static void
set_aside(struct sim *sim)
{
    cw_ramdisk_slow(sim->daemons[2].disk, 200 * CW_NS_PER_MS);
    sim_expect(sim, member_2_is_lagging, 15000, "it is set aside");
    cw_ramdisk_slow(sim->daemons[2].disk, 0);
    sim_pass(sim, 300); /* what was slow is done */
    sim_demand(sim, member_2_is_lagging(sim), "it is still set aside");
}

static void
block(struct sim *sim, const struct sim_proc *from, const struct sim_proc *to)
{
    sim->blocked[from->index][to->index] = true;
}

/* Whom the next owner seals cannot tell the old one. */
static void
hush_on_seal(struct sim_end *to, const struct cw_wire_hdr *h)
{
    struct sim *sim = to->conn->sim;

    if (h->type != CW_FT_SEAL || sim->epoch < 2)
        return;
    block(sim, to->proc, &sim->clients[0].proc);
    sim_set_lag(sim, to->proc->index, 0);
}

/* Ends when both have had their say: the old owner is cut off, the new one serves. */
static void
both_views(struct sim *sim)
{
    sim_pass(sim, 7000);
    sim_expect(sim, sim_owner_is_well, 20000, "the next owner serves");
}

/* An in-sync copy is sealed a second after a LAGGING one. */
void
sim_lag_wait(struct sim *sim)
{
    struct sim_client *next = &sim->clients[1];

    set_aside(sim);
    reads_much(sim);
    sim_part(sim, &next->proc, &sim->daemons[0].proc);
    sim->lag_ns[next->proc.index][sim->daemons[1].proc.index] =
        sim_between(&sim->rnd_fault, 700, 1500) * CW_NS_PER_MS;
    sim->on_frame = hush_on_seal;
    sim_attach_next(sim);
    both_views(sim);
}

/* A LAGGING copy holds more of the old owner's stream than the in-sync ones. */
void
sim_lag_history(struct sim *sim)
{
    struct sim_client *old = sim->present, *next = &sim->clients[1];

    set_aside(sim);
    sim->depth = 24;
    sim->think_ns = 2 * CW_NS_PER_MS;
    sim_part(sim, &old->proc, &sim->daemons[0].proc);
    sim_part(sim, &old->proc, &sim->daemons[1].proc);
    sim_part(sim, &next->proc, &sim->daemons[2].proc);
    sim_pass(sim, sim_between(&sim->rnd_fault, 5, 300)); /* its writes reach that copy alone */
    sim_client_kill(old);
    sim_attach_next(sim);
    sim_pass(sim, 50);
    sim_expect(sim, sim_owner_is_well, 15000, "the next owner is active");
    for (uint32_t i = 0; i < 2; i++) /* the new stream has not got far when it is met */
        cw_ramdisk_slow(sim->daemons[i].disk, 300 * CW_NS_PER_MS);
    sim_pass(sim, sim_between(&sim->rnd_fault, 0, 200));
    sim_join(sim, &next->proc, &sim->daemons[2].proc);
    sim_pass(sim, 1000);
    for (uint32_t i = 0; i < 2; i++)
        cw_ramdisk_slow(sim->daemons[i].disk, 0);
    sim_expect(sim, sim_all_in_sync, 60000, "all are in sync in the end");
}

/* An eject is in doubt, and was applied; the next owner knows nothing of that copy any more. */
void
sim_doubt_read(struct sim *sim)
{
    struct sim_client *old = sim->present;

    reads_much(sim);
    reads_member_2(sim, old);
    sim->reg.lose_to = CW_BIT(CW_MEMBER_OUT);
    sim_part(sim, &old->proc, &sim->daemons[2].proc);
    sim_part(sim, &sim->clients[1].proc, &sim->daemons[2].proc);
    sim_expect(sim, member_2_is_out, 10000, "it is ejected, and its owner does not know");
    sim->reg.deaf = old;
    sim_join(sim, &old->proc, &sim->daemons[2].proc);
    sim_pass(sim, sim_between(&sim->rnd_fault, 700, 1500)); /* it is connected again */
    sim->on_frame = hush_on_seal;
    sim_attach_next(sim);
    both_views(sim);
}

/* A promotion is in doubt, and was applied; the next owner reaches the promoted copy alone. */
void
sim_doubt_lease(struct sim *sim)
{
    struct sim_client *old = sim->present, *next = &sim->clients[1];

    reads_much(sim);
    sim_daemon_kill(&sim->daemons[2], false);
    sim_expect(sim, member_2_is_out, 10000, "it is ejected");
    sim->reg.lose_to = CW_BIT(CW_MEMBER_INSYNC);
    sim_daemon_start(&sim->daemons[2]);
    sim_expect(sim, member_2_is_insync, 30000, "it is promoted, and its owner does not know");
    sim_part(sim, &old->proc, &sim->daemons[2].proc);
    sim_part(sim, &next->proc, &sim->daemons[0].proc);
    sim_part(sim, &next->proc, &sim->daemons[1].proc);
    sim_attach_next(sim);
    both_views(sim);
}

/* A copy that was sealed while its connection was down answers heartbeats on a new one, while OPEN
 * is on its way. */
static void
stall_open(struct sim_end *to, const struct cw_wire_hdr *h)
{
    struct sim *sim = to->conn->sim;
    struct sim_proc *old = &sim->clients[0].proc, *one = &sim->daemons[1].proc;

    if (h->type == CW_FT_SEAL && sim->epoch > 1 && to->proc != one)
        block(sim, to->proc, old);
    if (h->type == CW_FT_HB_ACK && to->proc == old && sim->n_wanted == 1 &&
        to->conn->end[1].proc == one)
        block(sim, one, old);
}

void
sim_lease_before_open(struct sim *sim)
{
    struct sim_proc *old = &sim->present->proc, *next = &sim->clients[1].proc;
    struct sim_proc *one = &sim->daemons[1].proc;

    reads_much(sim);
    sim_part(sim, next, &sim->daemons[0].proc);
    sim_part(sim, old, one);
    sim_net_abandon(sim, old, one, 10 * CW_NS_PER_MS);
    sim->on_frame = stall_open;
    sim_attach_next(sim);
    sim_pass(sim, 1500); /* it is sealed, and the wait runs */
    sim->n_wanted = 1;
    sim_join(sim, old, one);
    both_views(sim);
}

/* The next owner does not reach one copy, the old one reaches them all and is told by the others.
 */
void
sim_one_unseen(struct sim *sim)
{
    reads_much(sim);
    sim_part(sim, &sim->clients[1].proc, &sim->daemons[0].proc);
    sim_attach_next(sim);
    both_views(sim);
}

/* An eject was given up before it took effect, and takes effect when its owner has read the record
 * as it was. */
void
sim_doubt_late(struct sim *sim)
{
    struct sim_client *old = sim->present;

    reads_much(sim);
    reads_member_2(sim, old);
    sim->reg.late_to = CW_BIT(CW_MEMBER_OUT);
    sim->reg.late_ns = 2 * CW_NS_PER_S;
    sim_part(sim, &old->proc, &sim->daemons[2].proc);
    for (uint32_t i = 0; i < 80 && sim->reg.late_to != 0; i++)
        sim_pass(sim, 50);
    sim_demand(sim, sim->reg.late_to == 0, "an eject was asked for");
    sim_join(sim, &old->proc, &sim->daemons[2].proc);
    for (uint32_t i = 0; i < 10; i++) {
        cw_volume_reread(old->volume);
        sim_proc_touch(&old->proc);
        sim_pass(sim, 100);
    }
    sim->reg.deaf = old;
    sim_part(sim, &sim->clients[1].proc, &sim->daemons[2].proc);
    sim_pass(sim, 3000); /* it took effect, unless its owner has raised cfg by a withdrawal */
    sim->on_frame = hush_on_seal;
    sim_attach_next(sim);
    both_views(sim);
}

/* A copy is set aside by a request that was given up, though the next one like it was refused. */
void
sim_doubt_refused(struct sim *sim)
{
    struct sim_client *old = sim->present;

    reads_much(sim);
    reads_member_2(sim, old);
    sim->reg.late_to = sim->reg.refuse_to = CW_BIT(CW_MEMBER_LAGGING);
    sim->reg.late_ns = 12 * CW_NS_PER_S;
    cw_ramdisk_slow(sim->daemons[2].disk, 150 * CW_NS_PER_MS);
    for (uint32_t i = 0; i < 300 && sim->reg.late_to != 0; i++)
        sim_pass(sim, 50);
    sim_demand(sim, sim->reg.late_to == 0, "it was to be set aside");
    sim_pass(sim, 1000);
    cw_ramdisk_slow(sim->daemons[2].disk, 0);
    sim_pass(sim, 9000); /* it is well again, and nothing is asked for any more */
    sim->reg.deaf = old;
    sim_pass(sim, 3000); /* as above */
    sim_part(sim, &sim->clients[1].proc, &sim->daemons[2].proc);
    sim->on_frame = hush_on_seal;
    sim_attach_next(sim);
    both_views(sim);
}

static bool
first_let_go(struct sim *sim)
{
    return sim->clients[0].lost || !sim->clients[0].leaving;
}

/* A Release was applied, and its owner is not told: it does not go on, for the next one, which does
 * not reach all copies, waits for no lease. */
void
sim_release_lost(struct sim *sim)
{
    struct sim_client *old = sim->present;

    reads_much(sim);
    reads_member_2(sim, old);
    sim->reg.deaf = old;
    sim_client_release(old);
    sim_expect(sim, first_let_go, 15000, "it gives the answer up");
    sim_demand(sim, sim->reg.released, "the volume is released");
    sim_pass(sim, 500);
    sim_part(sim, &sim->clients[1].proc, &sim->daemons[2].proc);
    sim->on_frame = hush_on_seal;
    sim_attach_next(sim);
    both_views(sim);
}
