/* sim/scenario.c - what plays are made of. The rows stand in rows.c. */
#include "tests/sim/scenario.h"

#include <string.h>

void
sim_scenario_prepare(struct sim *sim, const struct sim_scenario *sc)
{
    sim->n_members = sc->n_members;
    sim->n_daemons = sc->n_members + sc->n_spares + sc->spare;
    sim->spare = sc->spare;
    sim->min_insync = sc->min_insync;
    sim->jitter_ns = cw_min_u64(sim->jitter_ns, CW_NS_PER_MS);
    sim->tail_ns = 5 * CW_NS_PER_MS; /* else a busy copy is slow by it alone */
    memset(sim->fault_weights, 0, sizeof(sim->fault_weights));
    memset(sim->lag_ns, 0, sizeof(sim->lag_ns));
    sim->flip_65536ths = 0;
}

void
sim_scenario_set_clocks(struct sim *sim, const struct sim_scenario *sc)
{
    if (sc->rate_ppm == 0)
        return;
    sim->daemons[0].proc.rate_ppm = sc->rate_ppm;
    sim->daemons[1].proc.rate_ppm = -sc->rate_ppm;
    for (uint32_t i = 0; i < sim->n_clients; i++)
        sim->clients[i].proc.rate_ppm = i % 2 == 0 ? -sc->rate_ppm : sc->rate_ppm;
}

const struct sim_scenario *
sim_scenario_find(const char *name)
{
    for (const struct sim_scenario *sc = sim_scenarios; sc->name != NULL; sc++)
        if (strcmp(sc->name, name) == 0)
            return sc;
    return NULL;
}

static bool
scenario_fits(const struct sim_scenario *sc, enum cw_mutation rule, bool manager)
{
    return (rule == CW_MUTATION_NONE || sc->rule == rule) && (sc->manager || !manager);
}

/* The nth of those that are for the rule (NONE: any), and with real managers where those are asked
 * for. NULL: there is none. */
static const struct sim_scenario *
scenario_nth(uint64_t n, enum cw_mutation rule, bool manager)
{
    uint32_t all = 0;

    for (const struct sim_scenario *sc = sim_scenarios; sc->name != NULL; sc++)
        all += scenario_fits(sc, rule, manager);
    if (all == 0)
        return NULL;
    n %= all;
    for (const struct sim_scenario *sc = sim_scenarios;; sc++)
        if (scenario_fits(sc, rule, manager) && n-- == 0)
            return sc;
}

const struct sim_scenario *
sim_scenario_mixed(uint64_t seed, enum cw_mutation rule, bool manager)
{
    if (seed % 3 == 0)
        return scenario_nth(seed / 3, CW_MUTATION_NONE, manager);
    return seed % 3 == 1 && rule != CW_MUTATION_NONE ? scenario_nth(seed / 3, rule, false) : NULL;
}

static bool
never(struct sim *sim)
{
    return false;
}

void
sim_pass(struct sim *sim, uint64_t ms)
{
    sim_run_until(sim, never, ms * CW_NS_PER_MS);
}

void
sim_pass_ns(struct sim *sim, uint64_t ns)
{
    sim_run_until(sim, never, ns);
}

void
sim_expect(struct sim *sim, bool (*cond)(struct sim *), uint64_t ms, const char *what)
{
    if (!sim->result.failed && !sim_run_until(sim, cond, ms * CW_NS_PER_MS))
        sim_fail(sim, "scenario: expected within %llu ms: %s", (unsigned long long)ms, what);
}

static bool
went_on(struct sim *sim)
{
    const struct sim_client *c = sim->present;

    return c != NULL && c->n_writes_done >= sim->goal_writes && c->n_reads_done >= sim->goal_reads;
}

void
sim_goes_on(struct sim *sim, uint32_t writes, uint32_t reads, uint64_t ms, const char *what)
{
    if (sim->present == NULL) {
        sim_fail(sim, "scenario: nobody owns the volume: %s", what);
        return;
    }
    sim->goal_writes = sim->present->n_writes_done + writes;
    sim->goal_reads = sim->present->n_reads_done + reads;
    sim_expect(sim, went_on, ms, what);
}

void
sim_demand(struct sim *sim, bool is, const char *what)
{
    if (!is)
        sim_fail(sim, "scenario: demanded: %s", what);
}

void
sim_part(struct sim *sim, struct sim_proc *a, struct sim_proc *b)
{
    sim_log(sim, "%s and %s do not reach each other", a->name, b->name);
    sim->blocked[a->index][b->index] = sim->blocked[b->index][a->index] = true;
}

void
sim_join(struct sim *sim, struct sim_proc *a, struct sim_proc *b)
{
    sim_log(sim, "%s and %s reach each other again", a->name, b->name);
    sim->blocked[a->index][b->index] = sim->blocked[b->index][a->index] = false;
}

static void
same_audited(struct sim_audit *a)
{
    *(bool *)a->arg = true;
}

void
sim_same_everywhere(struct sim *sim)
{
    static bool done; /* outlives a run that fails meanwhile */

    if (sim->result.failed)
        return;
    done = false;
    sim_audit_start(sim, sim->epoch, same_audited, &done);
    for (uint32_t i = 0; i < 2000 && !done; i++)
        sim_pass(sim, 1);
    sim_demand(sim, done, "the copies can be read");
}

struct sim_client *
sim_attach_next(struct sim *sim)
{
    struct sim_client *c = &sim->clients[sim->next_client++ % sim->n_clients];

    if (c->proc.up)
        sim_client_kill(c);
    sim_client_attach(c);
    return c;
}

uint32_t
sim_n_in_state(const struct sim *sim, enum cw_member_state state)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < sim->reg.recs[0].n_members; i++)
        n += sim->reg.recs[0].members[i].state == state;
    return n;
}
