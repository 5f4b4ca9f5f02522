/* sim/rows-operator.c - an operator does the wrong thing at the wrong moment: each is refused with
 * a reason, and whatever was said, the volume goes on as it was.
 */
#include <stdio.h>
#include <string.h>

#include "common/base/bits.h"
#include "tests/sim/control.h"
#include "tests/sim/scenario.h"

static bool
member_2_left(struct sim *sim)
{
    return sim->reg.recs[0].members[2].state != CW_MEMBER_INSYNC;
}

struct wrong {
    const char *what;
    enum cw_mgr_call_kind kind;
    union cw_mgr_request req;
    enum cw_mgr_code code; /* OK: accepted, and without effect */
};

static struct cw_mgr_policy
policy_of(const char *name, uint32_t copies)
{
    return (struct cw_mgr_policy){ .name = name,
                                   .copies = copies,
                                   .spread = "",
                                   .sites = "",
                                   .journal = "",
                                   .ack = "",
                                   .async = "",
                                   .compression = "",
                                   .quorum_loss = "",
                                   .space_full = "",
                                   .warning = "" };
}

static void
do_wrong(struct sim *sim, const struct wrong *w)
{
    enum cw_mgr_code code = CW_MGR_NOT_MANAGER;

    for (uint32_t i = 0;
         i < 20 && !sim->result.failed &&
         (code == CW_MGR_NOT_MANAGER || code == CW_MGR_TIMEOUT || code == CW_MGR_UNAVAILABLE);
         i++) { /* another may be on its way to lead */
        code = sim_operate(sim, sim->control->leader, w->kind, &w->req);
        if (code == CW_MGR_NOT_MANAGER)
            sim_pass(sim, 1000);
    }
    if (code != w->code)
        sim_fail(sim, "scenario: demanded: %s: %d and not %d", w->what, (int)w->code, (int)code);
}

/* What never is right while the volume is in use and daemons serve. */
static void
do_all_wrong(struct sim *sim)
{
    char host[16], disk[32];
    const struct wrong deeds[] = {
        { "a host that serves copies is not removed",
          CW_MGR_HOST_RM,
          { .host_rm = { .name = host, .accept_loss = true } },
          CW_MGR_BUSY },
        { "nor is its disk",
          CW_MGR_DISK_RM,
          { .disk_rm = { .disk = disk, .accept_loss = true } },
          CW_MGR_BUSY },
        { "a volume in use is not removed",
          CW_MGR_VOLUME_RM,
          { .volume_rm = { .name = SIM_VOLUME_NAME, .now = true } },
          CW_MGR_VOLUME_IN_USE },
        { "a volume does not shrink",
          CW_MGR_VOLUME_RESIZE,
          { .volume_resize = { .name = SIM_VOLUME_NAME, .size_bytes = CW_MIB } },
          CW_MGR_BAD_REQUEST },
        { "a volume that serves needs no recovery",
          CW_MGR_VOLUME_RECOVER,
          { .volume_recover = { .name = SIM_VOLUME_NAME, .copy = disk, .accept_loss = true } },
          CW_MGR_VOLUME_IN_USE },
        { "nor a name that exists",
          CW_MGR_VOLUME_CREATE,
          { .volume_create = { .name = SIM_VOLUME_NAME, .size_bytes = CW_GIB, .policy = "sim" } },
          CW_MGR_EXISTS },
        { "a policy of a volume stays", CW_MGR_POLICY_RM, { .name = "sim" }, CW_MGR_BUSY },
        { "there are not so many copies",
          CW_MGR_POLICY_PUT,
          { .policy_put = { .policy = policy_of("sim", 9), .force = true } },
          CW_MGR_BAD_REQUEST },
        { "a disk that is well is not taken back",
          CW_MGR_DISK_RETURN,
          { .name = disk },
          CW_MGR_BAD_REQUEST },
        { "what is not there cannot be drained",
          CW_MGR_DISK_DRAIN,
          { .disk_drain = { .disk = "d9/store-0" } },
          CW_MGR_NOT_FOUND },
    };
    uint32_t first = (uint32_t)cw_prng_below(&sim->rnd_mgr, CW_LEN(deeds));

    for (uint32_t i = 0; i < CW_LEN(deeds) && !sim->result.failed; i++) {
        const struct sim_daemon *d = &sim->daemons[cw_prng_below(&sim->rnd_mgr, 2)];

        snprintf(host, sizeof(host), "%s", d->proc.name);
        snprintf(disk, sizeof(disk), "%s/store-0", d->proc.name);
        do_wrong(sim, &deeds[(first + i) % CW_LEN(deeds)]);
        if (sim_chance(&sim->rnd_mgr, 20))
            sim_pass(sim, sim_between(&sim->rnd_mgr, 0, 500));
    }
}

static void
nothing_came_of_it(struct sim *sim, uint32_t changes, uint32_t gen)
{
    sim_demand(sim, sim->reg.n_changes == changes && sim->reg.gen == gen, "nothing changed");
    sim_goes_on(sim, 10, 10, 10000, "the owner serves");
}

/* While all is well, and while one copy is out, when more would be lost by it. */
void
sim_operator_errs(struct sim *sim)
{
    uint32_t changes = sim->reg.n_changes, gen = sim->reg.gen;

    sim_pass(sim, 3000);
    do_all_wrong(sim);
    nothing_came_of_it(sim, changes, gen);
    sim_daemon_kill(&sim->daemons[2], false);
    sim_expect(sim, member_2_left, 15000, "a copy is out");
    if (sim_chance(&sim->rnd_mgr, 50))
        sim_mgr_kill_leader(sim);
    sim_pass(sim, 6000);
    changes = sim->reg.n_changes;
    do_all_wrong(sim);
    nothing_came_of_it(sim, changes, gen);
    sim_daemon_start(&sim->daemons[2]);
    sim_expect(sim, sim_all_in_sync, 60000, "it comes back");
}
