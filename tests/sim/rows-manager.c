/* sim/rows-manager.c - the rows of the acceptance catalogue that need a real manager. */
#include <stdio.h>
#include <string.h>

#include "common/base/bits.h"
#include "tests/sim/control.h"
#include "tests/sim/scenario.h"

static const struct cw_member *
member_at(const struct sim *sim, const struct sim_daemon *d)
{
    return cw_shard_rec_find(&sim->reg.recs[0], &d->disk_uuid, d->format_id);
}

static struct sim_daemon *
daemon_of_member(const struct sim *sim, uint32_t i)
{
    return sim_member_daemon(sim, &sim->reg.recs[0].members[i]);
}

/* ---- row 14 ---- */

static bool
one_left(struct sim *sim)
{
    return sim_n_in_state(sim, CW_MEMBER_INSYNC) < sim->n_members;
}

static bool
new_disk_is_member(struct sim *sim)
{
    return member_at(sim, &sim->daemons[2]) != NULL;
}

/* A node returns under its name and address with an empty disk, with its own formatted again, or
 * with one of another cluster. Only what was compared and copied is ever in sync, which the store's
 * judge sees to: a member that is new is not INSYNC. */
void
sim_row_14(struct sim *sim)
{
    struct sim_daemon *d = &sim->daemons[2];
    enum sim_replace how = (enum sim_replace)cw_prng_below(&sim->rnd_mgr, 3);
    uint32_t chunks = sim->result.marks[SIM_MARK_PROMOTE];

    sim_goes_on(sim, 10, 10, 20000, "some data is there");
    sim_daemon_kill(d, true);
    sim_pass(sim, sim_chance(&sim->rnd_mgr, 50) ? 200 : 8000);
    sim_log(sim, "%s returns with another disk: %u", d->proc.name, (unsigned)how);
    sim_daemon_replace(d, how);
    sim_daemon_start(d);
    sim_expect(sim, one_left, 20000, "the copy that is gone is not counted");
    sim_goes_on(sim, 10, 10, 20000, "the others serve");
    if (how == SIM_REPLACE_FOREIGN) {
        sim_pass(sim, 20000);
        sim_demand(sim, d->refused && !sim_host_is_registered(d), "the manager does not know it");
        sim_demand(sim, member_at(sim, d) == NULL, "a foreign disk takes no copy");
        sim_daemon_kill(d, false);
        sim_daemon_replace(d, SIM_REPLACE_EMPTY);
        sim_daemon_start(d);
    }
    sim_expect(sim, new_disk_is_member, 30000, "the new disk takes the place of the old one");
    sim_expect(sim, sim_all_in_sync, 60000, "it is resynced");
    sim_demand(sim, sim->result.marks[SIM_MARK_PROMOTE] > chunks, "by a resync");
}

/* ---- row 19 ---- */

static bool
others_hold(struct sim *sim)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < sim->n_daemons; i++) {
        const struct cw_member *m = member_at(sim, &sim->daemons[i]);

        n += m != NULL && m->state == CW_MEMBER_INSYNC && sim->daemons[i].storms == 0;
    }
    return n >= 2;
}

static bool
given_up(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->n_daemons; i++)
        if (sim->daemons[i].storms > 0 && member_at(sim, &sim->daemons[i]) != NULL)
            return false;
    return sim_all_in_sync(sim);
}

static bool
both_dropped(struct sim *sim)
{
    return sim->result.marks[SIM_MARK_DROPPED] >= 2;
}

static bool
is_in_sync(const struct sim *sim, const struct sim_daemon *d)
{
    const struct cw_member *m = member_at(sim, d);

    return m != NULL && m->state == CW_MEMBER_INSYNC;
}

/* Two copies in sync are to be replaced while the third is out: whoever asks the owner is not
 * heard, and the manager itself waits until enough others are in sync, wherever they are. */
void
sim_row_19(struct sim *sim)
{
    struct sim_daemon *a = daemon_of_member(sim, 0), *b = daemon_of_member(sim, 1);
    struct sim_daemon *c = daemon_of_member(sim, 2);

    sim_daemon_kill(c, false);
    sim_expect(sim, one_left, 15000, "the third is ejected");
    cw_volume_evict(sim->present->volume, sim->reg.recs[0].shard, &a->disk_uuid);
    cw_volume_evict(sim->present->volume, sim->reg.recs[0].shard, &b->disk_uuid);
    sim_proc_touch(&sim->present->proc);
    sim_pass(sim, 15000);
    sim_demand(sim, is_in_sync(sim, a) && is_in_sync(sim, b), "neither may leave: too few stay");
    a->storms = b->storms = 1; /* their disks are to be emptied */
    sim_expect(sim, others_hold, 60000, "two others are added and brought in sync");
    sim_pass(sim, 15000);
    sim_demand(sim, is_in_sync(sim, a) && is_in_sync(sim, b),
               "two are not enough for a policy of three: both stay in sync");
    sim_goes_on(sim, 10, 10, 10000, "the owner serves");
    sim_daemon_start(c);
    sim_expect(sim, given_up, 60000, "with the third back they are let go");
    sim_expect(sim, both_dropped, 30000, "and dropped");
    a->storms = b->storms = 0; /* as their stores say */
    sim->result.marks[SIM_MARK_DROPPED] = 0;
}

/* ---- row 22 ---- */

static bool
refused_often(struct sim *sim)
{
    return sim->result.marks[SIM_MARK_DEPOSED] >= sim->goal_writes;
}

static bool
newest_serves(struct sim *sim)
{
    return sim->control->leader->serves;
}

static bool
dead_one_left(struct sim *sim)
{
    return member_at(sim, &sim->daemons[2])->state != CW_MEMBER_INSYNC;
}

/* What an operator, and a client that wants the volume, get from it. */
static void
ask_deposed(struct sim *sim, struct sim_mgr *old)
{
    enum cw_mgr_code code =
        sim_operate(sim, old, CW_MGR_VOLUME_RESIZE,
                    &(union cw_mgr_request){
                        .volume_resize = { .name = SIM_VOLUME_NAME, .size_bytes = 8 * CW_GIB } });

    sim_demand(sim, code == CW_MGR_UNAVAILABLE, "a deposed manager resizes nothing");
    code = sim_operate(
        sim, old, CW_MGR_VOLUME_CREATE,
        &(union cw_mgr_request){
            .volume_create = { .name = "other", .size_bytes = CW_MIB, .policy = "sim" } });
    sim_demand(sim, code == CW_MGR_UNAVAILABLE, "a deposed manager makes nothing");
}

/* A manager that was deposed, and does not know, goes on for as long as it likes: daemons and owner
 * still talk to it, an owner's eject comes its way. Nothing of it has an effect. */
void
sim_row_22(struct sim *sim)
{
    struct sim_mgr *old = sim->control->leader;
    uint32_t changes = sim->reg.n_changes, gen = sim->reg.gen;
    bool asleep = sim_chance(&sim->rnd_mgr, 50);

    old->stubborn = true;
    old->proc.paused = asleep;
    sim_mgr_depose(sim);
    sim_expect(sim, newest_serves, 10000, "another manager serves");
    sim_pass(sim, asleep ? sim_between(&sim->rnd_mgr, 0, 4000) : 0);
    old->proc.paused = false;
    ask_deposed(sim, old);
    sim->goal_writes = sim->result.marks[SIM_MARK_DEPOSED] + 8;
    sim_daemon_kill(&sim->daemons[2], false);
    sim_expect(sim, refused_often, 30000, "its transactions fail, again and again");
    sim_demand(sim, sim->reg.n_changes == changes && sim->reg.gen == gen, "nothing changes");
    sim_demand(sim, old->m != NULL && old->serves, "it still believes to lead");
    sim_pass(sim, 5000);
    sim_demand(sim, sim->reg.gen == gen, "the owner keeps the volume");
    old->stubborn = false;
    sim_expect(sim, dead_one_left, 30000, "the new manager lets the owner eject the dead copy");
    sim_goes_on(sim, 10, 10, 20000, "the others serve");
    sim_daemon_start(&sim->daemons[2]);
    sim_expect(sim, sim_all_in_sync, 30000, "all are in sync");
}

/* ---- drops ---- */

static void
part_all(struct sim *sim, struct sim_proc *p)
{
    for (uint32_t i = 0; i < sim->n_daemons; i++)
        sim_part(sim, p, &sim->daemons[i].proc);
    for (uint32_t i = 0; i < sim->n_clients; i++)
        sim_part(sim, p, &sim->clients[i].proc);
}

static bool
its_copy_left(struct sim *sim)
{
    return member_at(sim, sim->spoken_of) == NULL && sim_all_in_sync(sim);
}

static bool
one_more(struct sim *sim)
{
    return sim->reg.recs[0].n_members > sim->n_members;
}

static bool
one_dropped(struct sim *sim)
{
    return sim->result.marks[SIM_MARK_DROPPED] >= 1;
}

static bool
its_copy_is_back(struct sim *sim)
{
    return is_in_sync(sim, sim->spoken_of);
}

static bool
is_with_it(struct sim *sim)
{
    return sim_host_is_registered(sim->spoken_of) && !sim_host_is_the_leaders(sim->spoken_of);
}

static void
return_disk(struct sim *sim, struct sim_daemon *d)
{
    char name[24];

    snprintf(name, sizeof(name), "%s/store-0", d->proc.name);
    sim_demand(sim,
               sim_operate(sim, sim->control->leader, CW_MGR_DISK_RETURN,
                           &(union cw_mgr_request){ .name = name }) == CW_MGR_OK,
               "the disk is returned");
}

/* A manager is deposed while it remembers that a copy is to be dropped. Its successor has it
 * dropped, and the disk may be used again. The old one is returned: it reaches nobody. */
static struct sim_mgr *
deposed_with_drop(struct sim *sim, struct sim_daemon *d)
{
    struct sim_mgr *old = sim->control->leader;

    d->storms = 1;
    sim->spoken_of = d;
    sim_expect(sim, one_more, 10000, "a place for its copy is found");
    sim_part(sim, &d->proc, &sim->control->mgrs[0].proc);
    sim_part(sim, &d->proc, &sim->control->mgrs[1].proc);
    sim_expect(sim, its_copy_left, 60000, "its copy goes elsewhere, and is to be dropped");
    old->stubborn = true;
    sim_mgr_depose(sim);
    part_all(sim, &old->proc);
    sim_pass(sim, 12000);
    sim_join(sim, &d->proc, &sim->control->leader->proc);
    sim_expect(sim, one_dropped, 40000, "the new manager has it dropped");
    return_disk(sim, d);
    sim->result.marks[SIM_MARK_DROPPED] = 0;
    return old;
}

static void
stays(struct sim *sim, struct sim_mgr *old)
{
    sim_demand(sim, is_in_sync(sim, sim->spoken_of), "nobody drops what is in sync");
    old->stubborn = false;
    sim_expect(sim, sim_all_in_sync, 30000, "all are in sync");
}

/* Another copy comes to that disk, and is in sync, when its daemon comes to the old manager. */
void
sim_stale_drop(struct sim *sim)
{
    struct sim_daemon *a = daemon_of_member(sim, 0), *b = daemon_of_member(sim, 1);
    struct sim_mgr *old = deposed_with_drop(sim, a);

    b->storms = 1;
    sim_expect(sim, its_copy_is_back, 60000, "another copy comes to that disk");
    sim->spoken_of = b;
    sim_expect(sim, its_copy_left, 60000, "in the place of one that leaves");
    sim_pass(sim, 5000);
    sim->spoken_of = a;
    sim_part(sim, &a->proc, &sim->control->leader->proc);
    sim_join(sim, &a->proc, &old->proc);
    sim_pass(sim, 20000);
    stays(sim, old);
}

/* The daemon goes to the old manager first, with nothing to tell, and the new one does not see it
 * go; what it is asked gets to it when the copy is in sync. */
void
sim_late_drop(struct sim *sim)
{
    struct sim_daemon *a = daemon_of_member(sim, 0), *b = daemon_of_member(sim, 1);
    struct sim_mgr *old = deposed_with_drop(sim, a);

    sim_part(sim, &a->proc, &sim->control->leader->proc);
    sim_join(sim, &a->proc, &old->proc);
    sim_host_turn_to(a, old);
    sim_expect(sim, is_with_it, 2000, "its daemon comes to the old manager");
    sim_part(sim, &a->proc, &old->proc);
    b->storms = 1;
    sim_expect(sim, its_copy_is_back, 3500, "another copy comes to that disk");
    sim_join(sim, &a->proc, &old->proc);
    sim_pass(sim, 5000);
    stays(sim, old);
}

/* ---- care ---- */

static bool
is_cared_for(struct sim *sim)
{
    return sim->result.marks[SIM_MARK_CARED] > 0;
}

static bool
all_insync_unowned(struct sim *sim)
{
    return sim->present == NULL && sim_n_in_state(sim, CW_MEMBER_INSYNC) == sim->n_members;
}

static bool
is_released(struct sim *sim)
{
    return sim->reg.released;
}

/* An owner dies while a copy is out, and nobody follows it: a daemon takes care of the volume until
 * every copy is in sync, and lets it go for whoever wants it. */
void
sim_care_row(struct sim *sim)
{
    bool early = sim_chance(&sim->rnd_mgr, 50);

    sim_goes_on(sim, 10, 10, 20000, "some data is there");
    sim_daemon_kill(&sim->daemons[2], false);
    sim_expect(sim, one_left, 15000, "it is ejected");
    sim_goes_on(sim, 10, 10, 20000, "the others serve");
    sim_client_kill(sim->present);
    sim_expect(sim, is_cared_for, 40000, "a daemon takes the place of the owner");
    sim_pass(sim, sim_between(&sim->rnd_mgr, 0, 5000));
    sim_daemon_start(&sim->daemons[2]);
    if (!early) {
        sim_expect(sim, all_insync_unowned, 40000, "the copy is brought in sync");
        sim_expect(sim, is_released, 40000, "the volume is let go");
    }
    sim->control->force_percent = 0;
    sim_attach_next(sim);
    sim_expect(sim, sim_owner_is_well, 20000, "a client need not force its way in");
    sim_goes_on(sim, 10, 10, 20000, "it serves");
    sim_expect(sim, sim_all_in_sync, 30000, "all are in sync");
}

/* ---- in use ---- */

/* Without force nobody takes a volume from an owner that its copies hear, not even from a manager
 * that has just begun and was told nothing yet. */
void
sim_in_use(struct sim *sim)
{
    struct sim_client *owner = sim->present;

    sim->control->force_percent = 0;
    for (uint32_t i = 0; i < 2 && !sim->result.failed; i++) {
        uint32_t gen = sim->reg.gen;
        struct sim_client *c;

        sim_pass(sim, sim_between(&sim->rnd_mgr, 100, 8000));
        sim_mgr_kill_leader(sim);
        sim_pass(sim, sim_between(&sim->rnd_mgr, 0, 4000));
        if (&sim->clients[sim->next_client % sim->n_clients] == owner)
            sim->next_client++;
        c = sim_attach_next(sim);
        sim_pass(sim, 7000);
        sim_demand(sim, sim->reg.gen == gen && sim->present == owner, "the owner keeps it");
        sim_goes_on(sim, 10, 10, 5000, "the owner goes on");
        sim_client_kill(c);
    }
    sim_client_kill(owner);
    sim_attach_next(sim);
    sim_expect(sim, sim_owner_is_well, 15000, "a dead owner's volume needs no force");
}

/* ---- failover ---- */

/* Every few seconds another manager leads, the old one killed, asleep, cut off or unaware: the
 * owner does not notice. */
void
sim_failover(struct sim *sim)
{
    for (uint32_t i = 0; i < 12 && !sim->result.failed; i++) {
        sim_mgr_fault(sim);
        sim_goes_on(sim, 10, 10, 5000, "the data path needs no manager");
        sim_pass(sim, sim_between(&sim->rnd_mgr, 0, 4000));
    }
    sim_daemon_kill(&sim->daemons[2], false);
    sim_pass(sim, 10000);
    sim_daemon_start(&sim->daemons[2]);
    sim_expect(sim, sim_all_in_sync, 90000, "a copy comes back through whoever leads");
    sim_goes_on(sim, 10, 10, 20000, "and the owner goes on");
}

/* ---- row 13: an eject in doubt, and another manager ---- */

static bool
member_2_left(struct sim *sim)
{
    return sim->reg.recs[0].members[2].state != CW_MEMBER_INSYNC;
}

/* The store does not say what became of the eject, its manager dies, the copy returns before the
 * next one leads. */
void
sim_row_13_managers(struct sim *sim)
{
    uint32_t elected = sim->result.marks[SIM_MARK_FAILOVER];

    sim->control->kv.lose_256ths = 256;
    sim_daemon_kill(&sim->daemons[2], false);
    sim_expect(sim, member_2_left, 15000, "the eject is applied, and nobody is told");
    sim_mgr_kill_leader(sim);
    sim_pass(sim, sim_between(&sim->rnd_mgr, 0, 3000));
    sim_daemon_start(&sim->daemons[2]);
    sim_pass(sim, sim_between(&sim->rnd_mgr, 0, 8000));
    sim->control->kv.lose_256ths = 0;
    sim_expect(sim, sim_all_in_sync, 90000, "the doubt ends");
    sim_goes_on(sim, 10, 10, 20000, "and the owner goes on");
    sim_demand(sim, sim->result.marks[SIM_MARK_FAILOVER] > elected, "another manager leads");
    sim_demand(sim, sim->result.marks[SIM_MARK_DOUBT] > 0, "the owner was in doubt");
}

/* ---- row 15: what is missing is named ---- */

static bool
is_named(const char *text, const struct sim_daemon *d)
{
    return text != NULL && strstr(text, d->proc.name) != NULL;
}

/* n_seen: findings that name the copies that are away, and not the one that is there. */
static void
look_for_names(struct sim *sim, const union cw_mgr_reply *reply)
{
    const struct cw_mgr_status *st = &reply->status;

    for (size_t i = 0; i < st->n_findings; i++) {
        const struct cw_mgr_finding *f = &st->findings[i];

        if (strcmp(f->code, "VOLUME_UNAVAILABLE") == 0 && is_named(f->cause, &sim->daemons[0]) &&
            is_named(f->cause, &sim->daemons[1]) && !is_named(f->cause, &sim->daemons[2]))
            sim->n_seen++;
    }
}

static bool
missing_are_named(struct sim *sim)
{
    return sim->n_seen > 0;
}

/* Everything boots, but only a copy that is not in sync: nobody is served, and who looks is told
 * which copies the volume waits for. */
void
sim_row_15_named(struct sim *sim)
{
    struct sim_client *next;

    sim_daemon_kill(&sim->daemons[2], false);
    sim_expect(sim, member_2_left, 15000, "it is ejected");
    sim_goes_on(sim, 10, 0, 20000, "others go on");
    sim_client_kill(sim->present);
    sim_daemon_kill(&sim->daemons[0], true);
    sim_daemon_kill(&sim->daemons[1], true);
    sim_mgr_kill_leader(sim);
    sim_daemon_start(&sim->daemons[2]);
    next = sim_attach_next(sim);
    sim_pass(sim, 60000);
    sim_demand(sim, !next->ready, "a stale copy alone serves nobody");
    for (uint32_t i = 0; i < 20 && !missing_are_named(sim) && !sim->result.failed; i++) {
        sim_operate_look(sim, sim->control->leader, CW_MGR_STATUS, &(union cw_mgr_request){ 0 },
                         look_for_names);
        sim_pass(sim, 1000);
    }
    sim_demand(sim, missing_are_named(sim), "the copies that are missing are named");
    sim_daemon_start(&sim->daemons[0]);
    sim_daemon_start(&sim->daemons[1]);
    sim_expect(sim, sim_owner_is_well, 60000, "with them it serves");
}
