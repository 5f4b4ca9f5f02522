/* sim/modes.c - what a whole run is like, and the events of the classes that came later.
 *
 * All of it comes from a stream of its own, so that what the older classes do to a seed stays as it
 * was.
 */
#include <string.h>

#include "common/base/bits.h"
#include "tests/sim/sim.h"

/* A lease is counted by its owner's clock, and waited for by the next one's: rates may differ by
 * 1 %, and here do. */
#define EDGE_PPM 5000

void
sim_choose_clocks(struct sim *sim)
{
    if (!sim_chance(&sim->rnd_full, 12) || sim->opts.scenario != NULL)
        return;
    for (uint32_t i = 0; i < sim->n_procs; i++)
        sim->procs[i]->rate_ppm = sim_chance(&sim->rnd_full, 50) ? EDGE_PPM : -EDGE_PPM;
    sim_mark(sim, SIM_MARK_CLOCK_EDGE);
}

static void
choose_net(struct sim *sim)
{
    struct cw_prng *p = &sim->rnd_mode;
    bool narrow = sim_chance(p, 15), raw = sim_chance(p, 10);

    for (uint32_t i = 0; i < SIM_PROCS_MAX; i++) {
        uint64_t rate = sim_between(p, 1, 40) * CW_MIB;

        if (sim_chance(p, 40) && narrow)
            sim->bytes_per_s[i] = rate;
    }
    if (raw)
        sim->raw_65536ths = (uint32_t)sim_between(p, 30, 1000);
}

void
sim_choose_modes(struct sim *sim)
{
    static const uint32_t usual[SIM_N_FAULTS] = {
        [SIM_FAULT_HALF_OPEN] = 6, [SIM_FAULT_CLOG] = 4,   [SIM_FAULT_ROT] = 8,
        [SIM_FAULT_EIO] = 4,       [SIM_FAULT_VANISH] = 3, [SIM_FAULT_SWAP] = 2,
        [SIM_FAULT_FORGET] = 8,    [SIM_FAULT_WIPE] = 1,
    };
    struct cw_prng *p = &sim->rnd_mode;

    choose_net(sim);
    sim_media_init(sim);
    for (uint32_t i = SIM_FAULT_FIRST_NEW; i < SIM_N_FAULTS; i++)
        sim->fault_weights[i] = sim_chance(p, 40) ? usual[i] * (uint32_t)sim_between(p, 1, 4) : 0;
    sim->mode_every_ns = sim_between(p, 1, 6) * CW_NS_PER_S;
}

enum sim_fault
sim_modes_next(struct sim *sim, uint64_t *ret_after_ns)
{
    struct cw_prng *p = &sim->rnd_mode;
    uint32_t sum = 0, dice;

    for (uint32_t i = SIM_FAULT_FIRST_NEW; i < SIM_N_FAULTS; i++)
        sum += sim->fault_weights[i];
    if (sum == 0)
        return SIM_N_FAULTS;
    *ret_after_ns = cw_prng_below(p, 2 * sim->mode_every_ns);
    dice = (uint32_t)cw_prng_below(p, sum);
    for (uint32_t i = SIM_FAULT_FIRST_NEW;; i++) {
        if (dice < sim->fault_weights[i])
            return (enum sim_fault)i;
        dice -= sim->fault_weights[i];
    }
}

/* What was lost inside a connection stays lost to it: those end, too. */
void
sim_modes_heal(struct sim *sim)
{
    memset(sim->bytes_per_s, 0, sizeof(sim->bytes_per_s));
    memset(sim->clog_bytes_per_s, 0, sizeof(sim->clog_bytes_per_s));
    memset(sim->wire_ns, 0, sizeof(sim->wire_ns));
    sim->flip_65536ths = 0; /* each costs round trips: the copy at the end of a long way is slow */
    if (sim->raw_65536ths == 0)
        return;
    sim->raw_65536ths = 0;
    CW_LIST_EACH (it, &sim->conns)
        sim_net_cut(cw_list_entry(it, struct sim_conn, node));
}
