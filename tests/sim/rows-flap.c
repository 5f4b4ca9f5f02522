/* sim/rows-flap.c - row 23 of the acceptance catalogue: links that come and go for minutes. */
#include <stdio.h>

#include "common/base/bits.h"
#include "tests/sim/control.h"
#include "tests/sim/scenario.h"

#define DOWN_MS 2000u
#define WAITED_NS (500 * CW_NS_PER_MS)

/* What a guest saw of it. */
struct seen {
    uint32_t waits;
    uint64_t longest_ns;
};

/* An owner that backs off as owners do, and little load: it takes minutes. */
static void
begin(struct sim *sim)
{
    sim->flap_min_ns = sim->flap_max_ns = 0;
    sim->depth = 2;
    sim->think_ns = 100 * CW_NS_PER_MS;
    sim_client_kill(sim->present);
    sim_attach_next(sim);
    sim_pass(sim, 50); /* until it is granted */
    sim_expect(sim, sim_owner_is_well, 15000, "the owner is active");
}

static void
links(struct sim *sim, uint32_t mask,
      void (*set)(struct sim *, struct sim_proc *, struct sim_proc *))
{
    for (uint32_t i = 0; i < sim->n_daemons; i++)
        if ((mask >> i & 1) != 0)
            set(sim, &sim->present->proc, &sim->daemons[i].proc);
}

/* The owner's links to the daemons of the mask are down and then up; a guest writes as they go. */
static void
flap(struct sim *sim, uint32_t mask, uint64_t up_ms, struct seen *seen)
{
    static uint8_t data[CW_BLOCK_SIZE];
    uint64_t begun = sim->now_ns, took;
    struct sim_guest_io g;

    links(sim, mask, sim_part);
    sim_guest_start(sim, &g, CW_IO_WRITE, 0, data, sizeof(data));
    while (!g.done && !sim->result.failed && sim->now_ns - begun < DOWN_MS * CW_NS_PER_MS)
        sim_pass(sim, 1);
    took = sim->now_ns - begun;
    sim_pass_ns(sim, DOWN_MS * CW_NS_PER_MS - cw_min_u64(took, DOWN_MS * CW_NS_PER_MS));
    links(sim, mask, sim_join);
    sim_guest_wait(sim, &g);
    if (took > WAITED_NS) {
        seen->waits++;
        seen->longest_ns = cw_max_u64(seen->longest_ns, sim->now_ns - begun);
    }
    sim_pass_ns(sim, up_ms * CW_NS_PER_MS);
}

/* Up for a second and down for two, for ten minutes. */
void
sim_row_23(struct sim *sim)
{
    struct seen seen = { 0 };
    uint32_t changes;

    begin(sim);
    changes = sim->reg.n_changes;
    for (uint32_t i = 0; i < 200 && !sim->result.failed; i++)
        flap(sim, CW_BIT(2), 1000, &seen);
    sim_expect(sim, sim_all_in_sync, 20000, "it is taken back");
    sim_demand(sim, sim->reg.n_changes - changes <= 2, "set aside, and taken back");
    sim_demand(sim, seen.waits <= 3, "a guest waits three times");
    sim_demand(sim, seen.longest_ns <= 2500 * CW_NS_PER_MS, "for as long as it is down");
}

/* Up for so long that it is taken back, each time after longer. */
void
sim_row_23_slowly(struct sim *sim)
{
    struct seen seen = { 0 };
    uint32_t changes;

    begin(sim);
    changes = sim->reg.n_changes;
    for (uint32_t i = 0; i < 75 && !sim->result.failed; i++)
        flap(sim, CW_BIT(2), sim_between(&sim->rnd_fault, 5000, 7000), &seen);
    sim_expect(sim, sim_all_in_sync, 30000, "it is taken back");
    sim_demand(sim, sim->reg.n_changes - changes <= 6, "at most six changes of members");
    sim_demand(sim, seen.waits <= 5, "a guest waits five times");
}

/* The owner's own link: it waits for whatever comes back, and blames nobody. */
void
sim_row_23_all(struct sim *sim)
{
    struct seen seen = { 0 };
    uint32_t changes;

    begin(sim);
    changes = sim->reg.n_changes;
    for (uint32_t i = 0; i < 40 && !sim->result.failed; i++)
        flap(sim, (uint32_t)CW_BIT(sim->n_daemons) - 1, 1000, &seen);
    sim_demand(sim, sim->reg.n_changes == changes, "no change of members");
}

/* ---- with a real manager, and a disk to spare ---- */

static bool
its_copy_left(struct sim *sim)
{
    const struct sim_daemon *d = sim->spoken_of;

    return cw_shard_rec_find(&sim->reg.recs[0], &d->disk_uuid, d->format_id) == NULL &&
           sim_all_in_sync(sim);
}

/* The disk is given up: its copy is built elsewhere, and leaves it, while its link still flaps. */
void
sim_row_23_given_up(struct sim *sim)
{
    struct sim_daemon *d = sim_member_daemon(sim, &sim->reg.recs[0].members[2]);
    struct seen seen = { 0 };
    uint32_t cfg;
    char name[24];

    begin(sim);
    cfg = sim->reg.recs[0].cfg;
    sim->spoken_of = d;
    for (uint32_t i = 0; i < 60 && !sim->result.failed; i++)
        flap(sim, (uint32_t)CW_BIT(d - sim->daemons), 1000, &seen);
    sim_demand(sim, its_copy_left(sim), "its copy is elsewhere");
    sim_demand(sim, sim->reg.recs[0].cfg - cfg <= 6, "by six changes of members");
    sim_demand(sim, seen.waits <= 3, "a guest waits three times");
    snprintf(name, sizeof(name), "%s/store-0", d->proc.name);
    sim_demand(sim,
               sim_operate(sim, sim->control->leader, CW_MGR_DISK_RETURN,
                           &(union cw_mgr_request){ .name = name }) == CW_MGR_OK,
               "the disk is returned");
}
