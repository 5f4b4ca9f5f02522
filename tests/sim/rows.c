/* sim/rows.c - the rows of the acceptance catalogue that the protocol alone must answer. */
#include "common/base/bits.h"
#include "tests/sim/scenario.h"

static enum cw_member_state
member(const struct sim *sim, uint32_t i)
{
    return sim->reg.recs[0].members[i].state;
}

static bool
member_0_left(struct sim *sim)
{
    return member(sim, 0) != CW_MEMBER_INSYNC;
}

static bool
nobody_waits_for_2(struct sim *sim)
{
    return member(sim, 2) != CW_MEMBER_INSYNC;
}

/* It comes back by a resync, as one that is LAGGING does not. */
static bool
member_2_left(struct sim *sim)
{
    return nobody_waits_for_2(sim) && member(sim, 2) != CW_MEMBER_LAGGING;
}

static bool
member_2_is_lagging(struct sim *sim)
{
    return member(sim, 2) == CW_MEMBER_LAGGING;
}

static bool
member_2_is_synced(struct sim *sim)
{
    return member(sim, 2) == CW_MEMBER_IN_RESYNC;
}

static bool
one_is_left(struct sim *sim)
{
    return sim_n_in_state(sim, CW_MEMBER_INSYNC) == 1;
}

static bool
writes_are_out(struct sim *sim)
{
    return sim->present->n_writes >= 5; /* not all of them were under way before */
}

static bool
old_owner_is_fenced(struct sim *sim)
{
    return sim->clients[0].lost;
}

static void
writes_wait(struct sim *sim, uint64_t ms, const char *what)
{
    uint64_t before;

    sim_pass(sim, 100); /* what was durable is acknowledged yet */
    before = sim->present == NULL ? 0 : sim->present->n_writes_done;
    sim_pass(sim, ms);
    sim_demand(sim, sim->present != NULL && sim->present->n_writes_done == before, what);
}

static void
next_owner(struct sim *sim)
{
    sim_attach_next(sim);
    sim_pass(sim, 50); /* until it is granted */
    sim_expect(sim, sim_owner_is_well, 15000, "the next owner is active");
}

static void
take_over(struct sim *sim)
{
    next_owner(sim);
    sim_goes_on(sim, 5, 5, 20000, "the next owner serves");
}

/* ---- owners ---- */

static void
die_with_writes_on_one_copy(struct sim *sim)
{
    struct sim_client *old = sim->present;

    sim->apart = true;
    sim->depth = 16;
    for (uint32_t i = 1; i < sim->n_daemons; i++)
        sim_part(sim, &old->proc, &sim->daemons[i].proc);
    sim_expect(sim, writes_are_out, 10000, "writes are on their way");
    sim_pass(sim, 300); /* they are durable on that copy */
    sim_client_kill(old);
}

/* The write of an owner that dies reaches one copy only. */
static void
row_01(struct sim *sim)
{
    struct sim_client *old = sim->present;

    die_with_writes_on_one_copy(sim);
    take_over(sim);
    sim_demand(sim, sim_n_in_state(sim, CW_MEMBER_INSYNC) == sim->n_members, "all stay in sync");
    sim_demand(sim, sim->result.marks[SIM_MARK_EQUALISE] > 0, "the others were given its tail");
    for (uint32_t i = 1; i < sim->n_daemons; i++) /* what was under way arrives late */
        sim_join(sim, &old->proc, &sim->daemons[i].proc);
    sim_pass(sim, 2000);
}

/* .. and each copy has another end: all are made equal. */
static void
three_tails(struct sim *sim)
{
    struct sim_client *old = sim->present;

    sim->apart = true;
    sim->depth = 6;
    for (uint32_t i = sim->n_daemons - 1; i > 0;
         i--) { /* none ends without it, the others get more */
        sim_part(sim, &old->proc, &sim->daemons[i].proc);
        sim_pass(sim, 300);
        sim->depth += 6;
    }
    sim_pass(sim, 300);
    sim_client_kill(old);
    take_over(sim);
    sim_demand(sim, sim_n_in_state(sim, CW_MEMBER_INSYNC) == sim->n_members, "all stay in sync");
    sim_demand(sim, sim->result.marks[SIM_MARK_TAILS] > 0, "three different ends were made one");
    for (uint32_t i = 1; i < sim->n_daemons; i++)
        sim_join(sim, &old->proc, &sim->daemons[i].proc);
    sim_pass(sim, 2000);
}

/* .. and that copy is away during the takeover: ejected before anybody is served. */
static void
row_02(struct sim *sim)
{
    die_with_writes_on_one_copy(sim);
    sim_daemon_kill(&sim->daemons[0], false);
    next_owner(sim);
    sim_demand(sim, member_0_left(sim), "the copy with the lost tail was ejected first");
    sim_goes_on(sim, 5, 5, 20000, "the next owner serves");
    sim_daemon_start(&sim->daemons[0]);
    sim_expect(sim, sim_all_in_sync, 30000, "it is resynced");
}

/* An owner sleeps for a minute and wakes up fenced. */
static void
row_04(struct sim *sim)
{
    struct sim_client *old = sim->present;

    old->proc.paused = true;
    take_over(sim);
    sim_pass(sim, 60000);
    old->proc.paused = false;
    sim_expect(sim, old_owner_is_fenced, 5000, "the old owner is fenced");
    sim_goes_on(sim, 5, 5, 20000, "the new owner is not disturbed");
}

static void
count_late_writes(struct sim_end *to, const struct cw_wire_hdr *h)
{
    to->conn->sim->n_seen += h->type == CW_FT_WRITE && to->stalled_ns != 0;
}

/* A connection stalls with writes on it; they go over a new one, newer ones to the same blocks are
 * acknowledged, then the old ones arrive. */
static void
row_03(struct sim *sim)
{
    sim->on_frame = count_late_writes;
    sim->depth = 16;
    sim->think_ns = 2 * CW_NS_PER_MS;
    for (uint32_t i = 0; i < 10; i++) {
        struct sim_proc *copy = &sim->daemons[i % 3].proc, *owner = &sim->present->proc;
        uint64_t *way_ns = &sim->lag_ns[owner->index][copy->index];

        *way_ns = 50 * CW_NS_PER_MS; /* so that some are under way */
        sim_pass(sim, 200);
        sim_net_abandon(sim, owner, copy, sim_between(&sim->rnd_fault, 200, 2500) * CW_NS_PER_MS);
        *way_ns = 0;
        sim_goes_on(sim, 100, 50, 10000, "a new connection serves");
        sim_pass(sim, 1000);
    }
    sim_demand(sim, sim->n_seen > 0, "late writes arrived");
}

/* The old owner reaches one copy, the new one all others. */
static void
row_05(struct sim *sim)
{
    struct sim_client *old = sim->present;
    struct sim_client *next = &sim->clients[sim->next_client % sim->n_clients];

    sim_part(sim, &next->proc, &sim->daemons[0].proc);
    for (uint32_t i = 1; i < sim->n_daemons; i++)
        sim_part(sim, &old->proc, &sim->daemons[i].proc);
    take_over(sim);
    sim_demand(sim, member_0_left(sim), "the copy that only the old owner reaches is out");
    sim_pass(sim, 8000);
    for (uint32_t i = 1; i < sim->n_daemons; i++)
        sim_join(sim, &old->proc, &sim->daemons[i].proc);
    sim_expect(sim, old_owner_is_fenced, 20000, "the old owner is fenced");
    sim_join(sim, &next->proc, &sim->daemons[0].proc);
}

static void
reads_wait(struct sim *sim, uint64_t ms, const char *what)
{
    uint64_t before = sim->present->n_reads_done;

    sim_pass(sim, ms);
    sim_demand(sim, sim->present->n_reads_done == before, what);
}

/* Clocks are off by 5 % each way, beyond the bound that leases are counted with: what is read may
 * be late then, while two owners live, and nothing else. The owner is suspended and resumed, and
 * reads nothing before copies have answered it anew. */
static void
row_07(struct sim *sim)
{
    struct sim_client *c;

    sim_demand(sim, sim->daemons[0].proc.rate_ppm == 50000, "clocks are off");
    for (uint32_t turn = 0; turn < 2; turn++) { /* a slow clock, a fast one */
        c = sim->present;
        sim_demand(sim, c->proc.rate_ppm == 50000 || c->proc.rate_ppm == -50000,
                   "the owner's, too");
        sim_goes_on(sim, 20, 20, 20000, "clocks do not matter");
        c->proc.paused = true;
        sim_pass(sim, 30000);
        for (uint32_t i = 0; i < sim->n_daemons; i++)
            sim_part(sim, &c->proc, &sim->daemons[i].proc);
        c->proc.paused = false;
        reads_wait(sim, 3000, "reads wait for new leases");
        for (uint32_t i = 0; i < sim->n_daemons; i++)
            sim_join(sim, &c->proc, &sim->daemons[i].proc);
        sim_goes_on(sim, 20, 20, 20000, "the owner goes on once it has its leases again");
        sim_client_kill(c);
        take_over(sim);
    }
}

/* ---- copies ---- */

/* A replica's process ends and is back within T_eject: nothing changes, nothing is copied. */
static void
row_08(struct sim *sim)
{
    uint32_t changes = sim->reg.n_changes;

    for (uint32_t i = 0; i < sim->n_daemons; i++) {
        sim_daemon_kill(&sim->daemons[i], false);
        sim_pass(sim, 1000);
        sim_daemon_start(&sim->daemons[i]);
        sim_goes_on(sim, 5, 5, 20000, "it is waited for");
    }
    sim_demand(sim, sim->reg.n_changes == changes, "no change of members");
}

/* The target of a resync dies in the middle, again and again. */
static void
row_10(struct sim *sim)
{
    sim_daemon_kill(&sim->daemons[2], true);
    sim_expect(sim, member_2_left, 10000, "it is ejected");
    sim_pass(sim, 5000);
    for (uint32_t i = 0; i < 3; i++) {
        sim_daemon_start(&sim->daemons[2]);
        sim_expect(sim, member_2_is_synced, 30000, "its resync begins");
        sim_run_until(sim, sim_all_in_sync, sim_between(&sim->rnd_fault, 0, 60) * CW_NS_PER_MS);
        sim_daemon_kill(&sim->daemons[2], true);
        sim_expect(sim, member_2_left, 10000, "it is ejected again");
    }
    sim_daemon_start(&sim->daemons[2]);
    sim_expect(sim, sim_all_in_sync, 60000, "it is in sync at last");
}

/* Its sources are behind the target's place in the stream: they wait until they are not. */
static void
row_11(struct sim *sim)
{
    uint64_t behind = sim_between(&sim->rnd_fault, 50, 400) * CW_NS_PER_MS;

    sim_daemon_kill(&sim->daemons[2], true);
    sim_expect(sim, member_2_left, 10000, "it is ejected");
    sim->depth = 48;
    sim->think_ns = 2 * CW_NS_PER_MS;
    sim_goes_on(sim, 200, 0, 10000, "others go on");
    for (uint32_t i = 0; i < 2; i++)
        cw_ramdisk_slow(sim->daemons[i].disk, behind);
    sim_daemon_start(&sim->daemons[2]);
    sim_expect(sim, sim_all_in_sync, 60000, "its resync ends");
    for (uint32_t i = 0; i < 2; i++) {
        struct cw_replica_stats st;

        cw_ramdisk_slow(sim->daemons[i].disk, 0);
        cw_replica_stats(sim->daemons[i].replica, &st);
        sim->n_seen += (uint32_t)st.gets_waited;
    }
    sim_demand(sim, sim->n_seen > 0, "a source had to wait");
}

/* The answer to an eject is lost, the copy returns, the manager goes away in between. */
static void
row_13(struct sim *sim)
{
    sim->reg.lose_256ths = 256;
    sim_daemon_kill(&sim->daemons[2], false);
    sim_pass(sim, 5000);
    sim->reg.away_until_ns = sim->now_ns + 5 * CW_NS_PER_S;
    sim_daemon_start(&sim->daemons[2]);
    sim_pass(sim, 8000);
    sim->reg.lose_256ths = 0;
    sim_expect(sim, sim_all_in_sync, 60000, "the doubt ends");
    sim_demand(sim, sim->result.marks[SIM_MARK_LOST_REPLY] > 0, "an answer was lost");
    sim_demand(sim, sim->result.marks[SIM_MARK_DOUBT] > 0, "the owner was in doubt");
}

/* Everything boots, but only a copy that is not in sync: nobody is served before one that is. */
static void
row_15(struct sim *sim)
{
    struct sim_client *next;

    sim_daemon_kill(&sim->daemons[2], false);
    sim_expect(sim, member_2_left, 10000, "it is ejected");
    sim_goes_on(sim, 10, 0, 20000, "others go on");
    sim_client_kill(sim->present);
    sim_daemon_kill(&sim->daemons[0], true);
    sim_daemon_kill(&sim->daemons[1], true);
    sim_daemon_start(&sim->daemons[2]);
    sim->reg.cold = true;
    next = sim_attach_next(sim);
    sim_pass(sim, 150000);
    sim_demand(sim, !next->ready, "a stale copy alone serves nobody");
    sim_daemon_start(&sim->daemons[1]);
    sim_expect(sim, sim_owner_is_well, 15000, "an in-sync copy is enough");
    sim_daemon_start(&sim->daemons[0]);
}

/* All lose power under load, and boot one after the other in any order. */
static void
row_16(struct sim *sim)
{
    uint32_t n = sim->n_daemons, first = (uint32_t)cw_prng_below(&sim->rnd_fault, n);
    uint32_t step = sim_chance(&sim->rnd_fault, 50) ? 1 : n - 1, changes;

    for (uint32_t i = 0; i < n; i++)
        sim_daemon_kill(&sim->daemons[i], true);
    sim_client_kill(sim->present);
    sim->reg.cold = true;
    changes = sim->reg.n_changes;
    sim_attach_next(sim);
    for (uint32_t i = 0; i < n; i++) {
        sim_pass(sim, sim_between(&sim->rnd_fault, 10, 20000));
        sim_daemon_start(&sim->daemons[(first + i * step) % n]);
    }
    sim_expect(sim, sim_owner_is_well, 15000, "all are there");
    sim_demand(sim, sim->min_insync < n || sim->reg.n_changes == changes, "nobody was ejected");
}

/* Two of three die within 100 ms. */
static void
row_17(struct sim *sim)
{
    sim->apart = true; /* else reads wait for writes that wait */
    sim->depth = 8;
    sim_pass(sim, 2000);
    sim_daemon_kill(&sim->daemons[1], false);
    sim_pass(sim, sim_between(&sim->rnd_fault, 0, 100));
    sim_daemon_kill(&sim->daemons[2], false);
    sim_expect(sim, one_is_left, 15000, "both are ejected");
    writes_wait(sim, 5000, "below min-insync nothing is acknowledged");
    sim_goes_on(sim, 0, 10, 10000, "reads go on");
    sim_daemon_start(&sim->daemons[1]);
    sim_daemon_start(&sim->daemons[2]);
    sim_goes_on(sim, 10, 10, 30000, "writes go on with enough copies");
}

/* The last in-sync copy dies and returns: requests wait, and none fails. */
static void
row_18(struct sim *sim)
{
    sim_daemon_kill(&sim->daemons[1], false);
    sim_daemon_kill(&sim->daemons[2], false);
    sim_expect(sim, one_is_left, 15000, "the others are ejected");
    sim_goes_on(sim, 10, 10, 10000, "one copy serves");
    sim_daemon_kill(&sim->daemons[0], false);
    writes_wait(sim, 20000, "without it nothing is acknowledged");
    sim_demand(sim, member(sim, 0) == CW_MEMBER_INSYNC, "the last copy is never ejected (I12)");
    sim_daemon_start(&sim->daemons[0]);
    sim_goes_on(sim, 10, 10, 20000, "requests go on");
    sim_daemon_start(&sim->daemons[1]);
    sim_daemon_start(&sim->daemons[2]);
}

/* The manager is away: no matter; then a copy dies as well; whoever returns first ends the wait. */
static void
row_20(struct sim *sim)
{
    bool copy_first = sim_chance(&sim->rnd_fault, 50);

    sim->reg.away_until_ns = CW_NEVER;
    sim->think_ns = 200 * CW_NS_PER_MS; /* a load that ten minutes can be played with */
    for (uint32_t i = 0; i < 60; i++) {
        sim_goes_on(sim, 5, 5, 10000, "the manager is not needed");
        sim_pass(sim, 10000);
    }
    sim_daemon_kill(&sim->daemons[1], false);
    sim_pass(sim, 5000);
    writes_wait(sim, 10000, "a copy that may be in sync is waited for");
    if (copy_first) {
        sim_daemon_start(&sim->daemons[1]);
        sim_goes_on(sim, 10, 10, 20000, "the copy is back");
        sim->reg.away_until_ns = 0;
    } else {
        sim->reg.away_until_ns = 0;
        sim_goes_on(sim, 10, 10, 20000, "the manager is back");
        sim_daemon_start(&sim->daemons[1]);
    }
}

#define LIST_PAGES 16u /* of 4096 chunks */

/* Answers take long, the owner's connection to the target breaks: it joins anew while they are
 * under way. */
static void
rejoin(struct sim *sim)
{
    struct sim_proc *target = &sim->daemons[2].proc;

    for (uint32_t round = 0; round < 3; round++) {
        sim_daemon_kill(&sim->daemons[2], true);
        sim_expect(sim, member_2_left, 10000, "it is ejected");
        sim_goes_on(sim, 50, 0, 10000, "others go on");
        for (uint32_t i = 0; i < 2; i++)
            sim->lag_ns[i][target->index] = sim_between(&sim->rnd_fault, 50, 150) * CW_NS_PER_MS;
        sim_daemon_start(&sim->daemons[2]);
        sim_expect(sim, member_2_is_synced, 20000, "its resync begins");
        for (uint32_t i = 0; i < 12; i++) {
            sim_pass(sim, sim_between(&sim->rnd_fault, 100, 300));
            sim_net_abandon(sim, &sim->present->proc, target, 1000);
        }
        sim_set_lag(sim, target->index, 0);
        sim_expect(sim, sim_all_in_sync, 60000, "it is in sync in the end");
    }
}

/* Versions must not say more than what is there: the target dies while chunks are behind, or half
 * copied, and the next comparison trusts what it finds. */
static void
resync_hit(struct sim *sim)
{
    sim->resync_bytes_per_s = 150 * CW_KIB;
    sim_client_kill(sim->present);
    take_over(sim);
    for (uint32_t round = 0; round < 4; round++) {
        sim->load = true;
        sim_daemon_kill(&sim->daemons[2], true);
        sim_expect(sim, member_2_left, 10000, "it is ejected");
        sim_goes_on(sim, 300, 0, 20000, "others go on");
        sim_daemon_start(&sim->daemons[2]);
        sim_expect(sim, member_2_is_synced, 20000, "its resync begins");
        sim_pass(sim, sim_between(&sim->rnd_fault, 50, 2500));
        sim->load = false;
        sim_pass(sim, 20);
        sim_daemon_kill(&sim->daemons[2], sim_chance(&sim->rnd_fault, 50));
        sim_pass(sim, 5000);
        sim_daemon_start(&sim->daemons[2]);
        sim_expect(sim, sim_all_in_sync, 60000, "it is in sync in the end");
        sim_same_everywhere(sim);
    }
    sim->load = true;
}

static void
cut_a_list(struct sim_end *to, const struct cw_wire_hdr *h)
{
    struct sim *sim = to->conn->sim;

    if (h->type == CW_FT_VER_DATA && ++sim->n_seen == sim->n_wanted) {
        sim_log(sim, "fault: the list of versions breaks off");
        sim_net_cut(to->conn);
    }
}

/* The list of what a source holds breaks off, each time at another place: the comparison begins
 * anew and never takes a part for the whole. */
static void
row_35(struct sim *sim)
{
    sim->on_frame = cut_a_list;
    for (uint32_t i = 0; i < 4; i++) {
        sim_daemon_kill(&sim->daemons[2], true);
        sim_expect(sim, member_2_left, 10000, "it is ejected");
        sim_goes_on(sim, 100, 0, 10000, "others go on");
        sim->n_seen = 0;
        sim->n_wanted = (uint32_t)sim_between(&sim->rnd_fault, 1, LIST_PAGES - 1);
        sim_daemon_start(&sim->daemons[2]);
        sim_expect(sim, sim_all_in_sync, 60000, "it is in sync in the end");
        sim_demand(sim, sim->n_seen >= LIST_PAGES, "all of the list was read");
    }
}

/* ---- slow ones ---- */

/* One copy is 200 ms slow, not dead: set aside within seconds, and taken back without a copy of
 * data. */
static void
row_24(struct sim *sim)
{
    uint32_t promotions = sim->result.marks[SIM_MARK_PROMOTE];

    cw_ramdisk_slow(sim->daemons[2].disk, 200 * CW_NS_PER_MS);
    sim_expect(sim, member_2_is_lagging, 6000, "it is set aside");
    sim_goes_on(sim, 20, 20, 5000, "nobody waits for it");
    cw_ramdisk_slow(sim->daemons[2].disk, 0);
    sim_expect(sim, sim_all_in_sync, 30000, "it is taken back");
    sim_demand(sim, sim->result.marks[SIM_MARK_PROMOTE] == promotions, "without a resync");
}

/* A copy in another site is far away, and no slower than that. */
static void
far_copy(struct sim *sim)
{
    uint32_t changes = sim->reg.n_changes;

    sim_set_lag(sim, sim->daemons[2].proc.index,
                sim_between(&sim->rnd_fault, 15, 80) * CW_NS_PER_MS);
    sim_client_kill(sim->present); /* the next owner never knew it nearer */
    take_over(sim);
    sim_pass(sim, 30000);
    sim_demand(sim, sim->reg.n_changes == changes, "it stays in sync");
}

/* A disk answers nothing any more while its process answers heartbeats. */
static void
row_25(struct sim *sim)
{
    struct sim_daemon *d = &sim->daemons[2];

    cw_ramdisk_hold(d->disk, CW_RAMDISK_ANY_OP, 0, d->disk_bytes);
    sim_expect(sim, nobody_waits_for_2, 5000, "it is not waited for any more");
    sim_expect(sim, member_2_left, 5000, "it is ejected");
    sim_goes_on(sim, 20, 20, 5000, "the others serve");
    sim_pass(sim, 30000);
    sim_demand(sim, member_2_left(sim), "and not taken back");
}

/* All are slow together: nobody is ejected or set aside. */
static void
row_26(struct sim *sim)
{
    uint32_t changes = sim->reg.n_changes;

    for (uint32_t i = 0; i < sim->n_daemons; i++)
        cw_ramdisk_slow(sim->daemons[i].disk, 300 * CW_NS_PER_MS);
    sim_pass(sim, 60000);
    sim_demand(sim, sim->reg.n_changes == changes, "no change of members");
}

/* The owner does not hear a copy that hears the owner. */
static void
row_27(struct sim *sim)
{
    uint32_t changes = sim->reg.n_changes, owner = sim->present->proc.index;
    uint32_t copy = sim->daemons[2].proc.index;

    if (sim_chance(&sim->rnd_fault, 50))
        sim->blocked[copy][owner] = true;
    else
        sim->blocked[owner][copy] = true;
    sim_expect(sim, member_2_left, 15000, "it is ejected");
    sim_pass(sim, 60000);
    sim_demand(sim, sim->reg.n_changes - changes <= 4, "once, and not again and again");
    sim_goes_on(sim, 10, 10, 5000, "the others serve");
}

const struct sim_scenario sim_scenarios[] = {
    { "row-01", "an owner dies, its write reached one copy", 3, 2, 0, row_01 },
    { "row-01-tails", "each of three copies has another end", 3, 2, 0, three_tails },
    { "row-02", "and that copy is away during the takeover", 3, 2, 0, row_02 },
    { "row-03", "a stalled connection delivers old writes after newer ones", 3, 2, 0, row_03 },
    { "row-04", "an owner is paused for a minute, and fenced", 3, 2, 0, row_04 },
    { "row-05", "an old owner reaches one copy, the new one the others", 3, 2, 0, row_05 },
    { "row-07", "clocks off by 5 %, owners suspended and resumed", 3, 2, 50000, row_07 },
    { "row-08", "replicas restart within T_eject", 3, 2, 0, row_08 },
    { "row-09", "a copy is away for ten minutes", 3, 2, 0, sim_row_09 },
    { "row-10", "the target of a resync dies in the middle, three times", 3, 2, 0, row_10 },
    { "row-11", "the sources of a resync are behind its target", 3, 2, 0, row_11,
      .rule = CW_MUTATION_NO_MIN_SEQ },
    { "row-12", "the source of a resync dies in the middle", 3, 1, 0, sim_row_12 },
    { "row-12-bad", "the sources of a resync have blocks that cannot be read", 3, 1, 0,
      sim_row_12_bad },
    { "row-13", "the answer to an eject is lost, the manager goes", 3, 2, 0, row_13 },
    { "row-15", "cold boot with a stale copy only", 3, 1, 0, row_15 },
    { "row-16", "all lose power, and boot in any order", 3, 3, 0, row_16 },
    { "row-17", "two of three die within 100 ms", 3, 2, 0, row_17 },
    { "row-17-journal", "and a journal on a spare lets writes go on", 3, 2, 0, sim_row_17_journal,
      .spare = true },
    { "row-18-journal", "and an older copy takes the last one's place", 3, 2, 0, sim_row_18_journal,
      .spare = true, .rule = CW_MUTATION_LOG_NO_ACK },
    { "journal-short", "and one that left long before does not", 3, 2, 0, sim_journal_short,
      .spare = true, .rule = CW_MUTATION_LOG_ANY_COPY },
    { "full", "stores fill up, owners wait until there is room", 3, 2, 0, sim_fill_play,
      .full = true, .rule = CW_MUTATION_NO_CREDIT },
    { "row-18", "the last in-sync copy dies and returns", 3, 1, 0, row_18 },
    { "row-20", "the manager is away, then a copy too", 3, 2, 0, row_20 },
    { "row-35", "the list of versions breaks off", 3, 2, 0, row_35, .rule = CW_MUTATION_LIST_PART },
    { "row-23", "a link flaps for ten minutes", 3, 2, 0, sim_row_23 },
    { "row-23-slowly", "and is up for longer than the back-off at first", 3, 2, 0,
      sim_row_23_slowly },
    { "row-23-all", "and so do all others, with it", 3, 2, 0, sim_row_23_all },
    { "row-24", "one copy is slow", 3, 2, 0, row_24 },
    { "far-copy", "one copy is far away, in another site", 3, 2, 0, far_copy },
    { "row-25", "a disk hangs, its process does not", 3, 2, 0, row_25 },
    { "row-26", "all copies are slow", 3, 2, 0, row_26 },
    { "row-27", "an asymmetric partition", 3, 2, 0, row_27 },
    { "lag-wait", "a LAGGING copy is sealed before an in-sync one", 3, 1, 0, sim_lag_wait,
      .rule = CW_MUTATION_WAIT_ANY },
    { "lag-history", "a LAGGING copy holds what others never had", 3, 1, 0, sim_lag_history,
      .rule = CW_MUTATION_LAG_NO_CHECK },
    { "doubt-read", "an eject is in doubt, another takes over", 3, 1, 0, sim_doubt_read,
      .rule = CW_MUTATION_READ_UNION },
    { "doubt-lease", "a promotion is in doubt, another takes over", 3, 1, 0, sim_doubt_lease,
      .rule = CW_MUTATION_LEASE_OLD },
    { "lease-open", "heartbeats of a copy sealed meanwhile", 2, 1, 0, sim_lease_before_open,
      .rule = CW_MUTATION_HB_NO_OPEN },
    { "one-unseen", "the next owner does not reach one copy", 3, 1, 0, sim_one_unseen,
      .rule = CW_MUTATION_LEASE_ONE },
    { "doubt-late", "an eject takes effect late, another takes over", 3, 1, 0, sim_doubt_late,
      .rule = CW_MUTATION_RESOLVE_BY_READ },
    { "doubt-refused", "a refused request takes effect late", 3, 1, 0, sim_doubt_refused,
      .rule = CW_MUTATION_REFUSED_IS_NO },
    { "lost-tail", "a copy forgets what only it had, and gets it again", 2, 1, 0, sim_lost_tail,
      .rule = CW_MUTATION_LOST_TAIL },
    { "torn-alone", "a log is damaged before its end, and its copy alone", 2, 1, 0, sim_torn_alone,
      .rule = CW_MUTATION_TORN_IS_END },
    { "repair-late", "a block is overwritten before its repair", 2, 1, 0, sim_repair_late,
      .rule = CW_MUTATION_REPAIR_STALE },
    { "repair-early", "a block is read before its overwrite is acknowledged", 2, 1, 0,
      sim_repair_early, .rule = CW_MUTATION_REPAIR_BLIND },
    { "void-stays", "a copied chunk has what dies with its owner", 3, 1, 0, sim_void_stays,
      .rule = CW_MUTATION_VOID_VOLATILE },
    { "list-late", "a page of a list arrives twice", 3, 2, 0, sim_list_late,
      .rule = CW_MUTATION_LIST_OLD },
    { "promote-behind", "a resync ends while a copy is behind its JOIN", 3, 1, 0,
      sim_promote_behind, .rule = CW_MUTATION_PROMOTE_UNACKED },
    { "release-lost", "a Release is applied, its owner is not told", 3, 1, 0, sim_release_lost,
      .rule = CW_MUTATION_RELEASE_SERVES },
    { "rejoin", "answers to an earlier join arrive in the next", 3, 1, 0, rejoin },
    { "resync-hit", "a resync is slow, its target dies, writes end", 3, 1, 0, resync_hit,
      .rule = CW_MUTATION_NO_VOID },
    { "to-and-fro", "blocks change to and fro while they are copied", 3, 2, 0, sim_to_and_fro,
      .rule = CW_MUTATION_NO_RECHECK },
    { "row-28", "a guest changes its buffer while the write is under way", 3, 2, 0, sim_row_28 },
    { "row-29", "a flush, then all lose power", 3, 2, 0, sim_row_29 },
    { "row-32", "trims race with writes and resyncs", 3, 2, 0, sim_row_32 },
    { "row-33", "writes of any size at any place, by many", 3, 2, 0, sim_row_33 },
    { "row-06", "the managers' wall clocks jump by an hour", 3, 2, 0, sim_row_06, true, 0 },
    { "old-clone", "a disk from before the volume comes back alone", 3, 2, 0, sim_old_clone,
      .rule = CW_MUTATION_MAKE_ANY },
    { "row-14", "a node returns with another disk", 3, 2, 0, sim_row_14, true, 0 },
    { "row-19", "two copies are to leave while the third is out", 3, 2, 0, sim_row_19, true, 2 },
    { "row-23-given-up", "and the disk is given up for one that is spare", 3, 2, 0,
      sim_row_23_given_up, true, 1 },
    { "row-13-managers", "an eject is in doubt, its manager dies", 3, 2, 0, sim_row_13_managers,
      true, 0 },
    { "row-15-named", "cold boot with a stale copy only: what is missing is named", 3, 1, 0,
      sim_row_15_named, true, 0 },
    { "operator-errs", "an operator does the wrong thing at the wrong moment", 3, 2, 0,
      sim_operator_errs, true, 0 },
    { "row-22", "a deposed manager goes on", 3, 2, 0, sim_row_22, true, 0 },
    { "row-36", "on from a stale copy; the copies that were in sync return", 3, 1, 0, sim_row_36,
      true, 0 },
    { "row-56", "an older copy of the metadata is put back", 3, 2, 0, sim_row_56, true, 1 },
    { "row-56-at-once", "and somebody attaches before the daemons are back", 3, 2, 0,
      sim_row_56_at_once, true, 1 },
    { "row-36-shards", "the same with a volume of two shards", 3, 1, 0, sim_row_36, true, 0,
      .n_shards = 2 },
    { "row-31-shards", "a volume of two shards is handed over and back", 3, 2, 0,
      sim_hand_to_and_fro, true, 0, .n_shards = 2 },
    { "stale-asks", "what no owner may ask, or may no more", 3, 2, 0, sim_stale_asks, true, 0 },
    { "care", "an owner dies for good while a copy is out", 3, 2, 0, sim_care_row, true, 0 },
    { "in-use", "attaches without force while managers fail over", 3, 2, 0, sim_in_use, true, 0 },
    { "stale-drop", "a deposed manager wants a copy dropped that is in sync by now", 3, 2, 0,
      sim_stale_drop, true, 1 },
    { "late-drop", "and its daemon is asked before that copy comes", 3, 2, 0, sim_late_drop, true,
      1, .rule = CW_MUTATION_DROP_EARLY },
    { "row-31", "a volume is handed over and back, ten times", 3, 2, 0, sim_hand_to_and_fro, true,
      0 },
    { "row-31-asked", "a fault when the target asks for the volume", 3, 2, 0, sim_hand_asked, true,
      0 },
    { "row-31-let-go", "a fault before the owner learns of it", 3, 2, 0, sim_hand_let_go, true, 0 },
    { "row-31-drains", "a fault while the owner drains", 3, 2, 0, sim_hand_drains, true, 0 },
    { "row-31-release", "a fault between drain and Release", 3, 2, 0, sim_hand_release, true, 0 },
    { "row-31-no-release", "a Release is lost, and a fault", 3, 2, 0, sim_hand_no_release, true,
      0 },
    { "row-31-applied", "a fault when the Release is applied", 3, 2, 0, sim_hand_applied, true, 0 },
    { "row-31-no-reply", "its reply is lost, and a fault", 3, 2, 0, sim_hand_no_reply, true, 0 },
    { "row-31-granted", "a fault when the volume is granted", 3, 2, 0, sim_hand_granted, true, 0 },
    { "row-31-no-grant", "the grant is lost, and a fault", 3, 2, 0, sim_hand_no_grant, true, 0 },
    { "failover", "managers fail over and over under load", 3, 2, 0, sim_failover, true, 0 },
    { 0 },
};
