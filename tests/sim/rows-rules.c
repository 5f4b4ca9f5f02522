/* sim/rows-rules.c - situations in which one rule is all that keeps data from being lost.
 *
 * Each was written for a mutation (common/base/mutation.h) that chance did not find: what would
 * else hide the want of the rule, another rule or another copy, is away for as long as it matters.
 */
#include <string.h>

#include "common/base/bits.h"
#include "tests/sim/scenario.h"

static bool
member_1_left(struct sim *sim)
{
    return sim->reg.recs[0].members[1].state != CW_MEMBER_INSYNC;
}

static bool
member_2_left(struct sim *sim)
{
    return sim->reg.recs[0].members[2].state != CW_MEMBER_INSYNC;
}

static bool
member_2_is_promoted(struct sim *sim)
{
    return sim->reg.recs[0].members[2].state == CW_MEMBER_INSYNC;
}

static bool
nothing_is_written(struct sim *sim)
{
    return sim->present->n_writes == 0;
}

static bool
was_seen(struct sim *sim)
{
    return sim->n_seen > 0;
}

static void
rest(struct sim *sim)
{
    sim->load = false;
    sim_expect(sim, nothing_is_written, 10000, "what was written is acknowledged");
}

static void
block_fill(uint8_t *block, uint64_t value)
{
    sim_block_fill(block, value, 1);
}

/* ---- I15: a copy that forgot ---- */

static void
count_opens(struct sim_end *to, const struct cw_wire_hdr *h)
{
    struct sim *sim = to->conn->sim;

    sim->n_seen += h->type == CW_FT_OPEN_OK && to->proc == &sim->present->proc;
}

static void
release_disk(struct sim_daemon *d)
{
    cw_ramdisk_hold(d->disk, 0, 0, 0);
    cw_ramdisk_unstick(d->disk);
    sim_proc_touch(&d->proc);
}

static void
hold_writes(struct sim_daemon *d)
{
    cw_ramdisk_hold(d->disk, CW_RAMDISK_WRITES, 0, d->disk_bytes);
}

/* It loses records that only it had, all above what is acknowledged, so that no peer knows of them
 * and the owner still has them; it is given them again, and goes down before they are durable. */
void
sim_lost_tail(struct sim *sim)
{
    struct sim_daemon *slow = &sim->daemons[0], *d = &sim->daemons[1];
    uint64_t incarnation = d->incarnation;
    struct cw_ramdisk *old;

    sim->depth = 128;
    sim->think_ns = 5 * CW_NS_PER_MS;
    hold_writes(slow);
    sim_pass(sim, 50); /* what was under way is done */
    old = cw_ramdisk_clone_crashed(d->disk, &d->proc.env, (struct cw_ramdisk_crash){ .keep = 256 });
    sim_pass(sim, sim_between(&sim->rnd_fault, 100, 250));
    sim_log(sim, "fault: d1 goes back in time");
    sim_daemon_kill(d, false);
    sim_watch_forget(sim, 1);
    sim_daemon_set_disk(d, old);
    d->incarnation = incarnation;
    sim->on_frame = count_opens;
    sim_daemon_start(d);
    /* that the link is reset takes up to 2 s; after 3 s the slow copy would be set aside */
    sim_expect(sim, was_seen, 2500, "its owner meets it again");
    hold_writes(d);
    sim_pass(sim, 50); /* it has the records again, not durably */
    release_disk(slow);
    sim_pass(sim, 300);
    sim_daemon_kill(d, false);
    release_disk(d);
    sim_daemon_start(d);
    sim_expect(sim, member_1_left, 10000, "it is not in sync any more");
    sim_expect(sim, sim_all_in_sync, 60000, "it is in sync after a resync");
}

/* ---- I16: a log that is damaged before its end ---- */

/* The only copy that boots has lost a record to its disk, and a later one says that it was durable:
 * it serves nobody, though no peer is there to know better. */
void
sim_torn_alone(struct sim *sim)
{
    struct sim_daemon *d = &sim->daemons[1];
    static uint8_t block[CW_BLOCK_SIZE]; /* outlives a run that fails meanwhile */
    struct sim_client *next;
    uint64_t off = 0;

    rest(sim);
    for (uint32_t i = 0; i < 3; i++) {
        block_fill(block, 1000000 + i);
        sim_guest_do(sim, CW_IO_WRITE, (uint64_t)i * CW_MIB, block, sizeof(block));
    }
    block_fill(block, 1000001);
    if (sim->result.failed)
        return;
    sim_client_kill(sim->present);
    sim_daemon_kill(&sim->daemons[0], false);
    sim_daemon_kill(d, false);
    sim_demand(sim, cw_ramdisk_find(d->disk, 0, block, &off), "it lies on the disk");
    cw_ramdisk_flip(d->disk, off - CW_BLOCK_SIZE + 77, 4); /* the header of its batch */
    sim_daemon_start(d);
    next = sim_attach_next(sim);
    sim_pass(sim, 12000);
    sim_demand(sim, !next->ready, "a copy with a damaged log alone serves nobody");
    sim_daemon_start(&sim->daemons[0]);
    sim_expect(sim, sim_all_in_sync, 60000, "it is made whole from the other");
    block_fill(block, 1000002);
    sim_guest_same_everywhere(sim, 2 * CW_MIB, block, 1);
    sim->load = true;
}

/* ---- I14: a repair of what has changed meanwhile ---- */

static void
count_repairs(struct sim_end *to, const struct cw_wire_hdr *h)
{
    to->conn->sim->n_seen += h->type == CW_FT_BLOCK_REPAIR;
}

/* A block that is bad on d from the beginning. False: the run has failed. */
static bool
write_rotting(struct sim *sim, struct sim_daemon *d, uint64_t off, uint64_t seed)
{
    static uint8_t block[CW_BLOCK_SIZE];
    uint64_t at = 0;

    block_fill(block, seed);
    sim_guest_do(sim, CW_IO_WRITE, off, block, sizeof(block));
    if (sim->result.failed)
        return false;
    sim_pass(sim, 20);
    sim_demand(sim, cw_ramdisk_find(d->disk, 0, block, &at), "it lies on the disk");
    cw_ramdisk_flip(d->disk, at + 77, 4);
    return true;
}

/* A block is bad on one copy; another takes long to read it, and while it does, it is overwritten
 * everywhere. What was read is then sent as the repair. */
static void
repair_late(struct sim *sim, uint64_t off)
{
    struct sim_daemon *slow = &sim->daemons[0], *d = &sim->daemons[1];
    static uint8_t block[CW_BLOCK_SIZE], read[CW_BLOCK_SIZE];
    static struct sim_guest_io g;

    if (!write_rotting(sim, d, off, 2000000 + off))
        return;
    cw_ramdisk_hold(slow->disk, CW_RAMDISK_OP(CW_DISK_READ), 0, slow->disk_bytes);
    sim_guest_start(sim, &g, CW_IO_READ, off, read, sizeof(read));
    sim_pass(sim, 100);
    block_fill(block, 3000000 + off);
    sim_guest_do(sim, CW_IO_WRITE, off, block, sizeof(block));
    release_disk(slow);
    sim_guest_wait(sim, &g);
    sim_pass(sim, 200); /* a repair is done by now */
    sim_guest_same_everywhere(sim, off, block, 1);
}

void
sim_repair_late(struct sim *sim)
{
    rest(sim);
    sim->on_frame = count_repairs;
    sim->lag_ns[0][sim->present->proc.index] = 5 * CW_NS_PER_MS; /* the other one is nearer */
    for (uint32_t i = 0; i < 8 && !sim->result.failed; i++)
        repair_late(sim, (uint64_t)i * 64 * CW_KIB);
    sim_demand(sim, sim->n_seen > 0, "a repair was sent");
    sim->load = true;
}

/* A block is bad on one copy and being overwritten: the other has the new data, and gives it to a
 * read, but nothing is acknowledged yet. It may come to nothing, so it is no repair. */
static void
repair_early(struct sim *sim, uint64_t off)
{
    struct sim_daemon *d = &sim->daemons[1];
    static uint8_t block[CW_BLOCK_SIZE], read[CW_BLOCK_SIZE];
    static struct sim_guest_io r, w;

    if (!write_rotting(sim, d, off, 4000000 + off))
        return;
    cw_ramdisk_hold(d->disk, CW_RAMDISK_ANY_OP, 0, d->disk_bytes);
    sim_guest_start(sim, &r, CW_IO_READ, off, read, sizeof(read));
    sim_pass(sim, 50);
    block_fill(block, 5000000 + off);
    sim_guest_start(sim, &w, CW_IO_WRITE, off, block, sizeof(block));
    sim_pass(sim, 50);
    sim->n_seen = 0;
    cw_ramdisk_unstick_ops(d->disk, CW_RAMDISK_OP(CW_DISK_READ));
    sim_pass(sim, 100);
    sim->n_wanted += r.done == w.done && !w.done;
    sim_demand(sim, sim->n_seen == 0, "what is not acknowledged is no repair (I14)");
    release_disk(d);
    sim_guest_wait(sim, &w);
    sim_guest_wait(sim, &r);
    sim_guest_same_everywhere(sim, off, block, 1);
}

void
sim_repair_early(struct sim *sim)
{
    rest(sim);
    sim->on_frame = count_repairs;
    sim->lag_ns[0][sim->present->proc.index] = 5 * CW_NS_PER_MS;
    for (uint32_t i = 0; i < 8 && !sim->result.failed; i++)
        repair_early(sim, (uint64_t)i * 64 * CW_KIB);
    sim_demand(sim, sim->n_wanted > 0, "a read waited for the write whose data it had");
    sim->load = true;
}

/* ---- I9: a void version outlives a restart ---- */

/* Nothing but this target hears the owner from the first page of the list on. */
static void
hush_on_list(struct sim_end *to, const struct cw_wire_hdr *h)
{
    struct sim *sim = to->conn->sim;

    if (h->type != CW_FT_VER_DATA || sim->n_seen++ > 0)
        return;
    for (uint32_t i = 0; i < 2; i++)
        sim->blocked[sim->present->proc.index][i] = true;
    sim->load = true;
}

/* A chunk has the same version on source and target; the stream touches it before it is compared,
 * and writes into it while it is copied; all that reaches the target alone, and dies with the
 * owner. Were its version not void, it would still look the same. */
void
sim_void_stays(struct sim *sim)
{
    struct sim_daemon *x = &sim->daemons[2];
    struct sim_client *old = sim->present;

    rest(sim);
    sim_daemon_kill(x, false);
    sim_expect(sim, member_2_left, 15000, "it is ejected");
    sim_pass(sim, 2000);
    sim->depth = 64;
    sim->think_ns = sim_between(&sim->rnd_fault, 4, 8) * CW_NS_PER_MS;
    for (uint32_t i = 0; i < 2; i++)
        sim->lag_ns[i][x->proc.index] = sim_between(&sim->rnd_fault, 3, 10) * CW_NS_PER_MS;
    sim->on_frame = hush_on_list;
    sim_daemon_start(x);
    sim_expect(sim, was_seen, 30000, "its resync begins");
    sim_pass(sim, sim_between(&sim->rnd_fault, 500, 900));
    sim->load = false;
    sim_client_kill(old);
    sim_daemon_kill(x, sim_chance(&sim->rnd_fault, 50));
    for (uint32_t i = 0; i < 2; i++) {
        sim->blocked[old->proc.index][i] = false;
        sim->lag_ns[i][x->proc.index] = 0;
    }
    sim_attach_next(sim);
    sim_pass(sim, 500);
    sim_expect(sim, sim_owner_is_well, 15000, "the next owner is active");
    sim_daemon_start(x);
    sim_expect(sim, sim_all_in_sync, 60000, "it is in sync in the end");
    sim_same_everywhere(sim);
    sim->load = true;
}

/* ---- 1.10: who is promoted can give the others what they lack ---- */

static bool
member_2_is_synced(struct sim *sim)
{
    return sim->reg.recs[0].members[2].state == CW_MEMBER_IN_RESYNC;
}

/* A copy in sync lacks records from before the JOIN, which the target of the resync has as chunks
 * only: it may not be promoted before the other has them. */
void
sim_promote_behind(struct sim *sim)
{
    struct sim_daemon *slow = &sim->daemons[1], *x = &sim->daemons[2];
    struct sim_proc *owner = &sim->present->proc;

    sim_daemon_kill(x, true);
    sim_expect(sim, member_2_left, 15000, "it is ejected");
    sim->depth = 32;
    sim->think_ns = 2 * CW_NS_PER_MS;
    sim_goes_on(sim, 50, 0, 20000, "others go on");
    sim->lag_ns[owner->index][x->proc.index] = 5 * CW_NS_PER_MS;
    sim->lag_ns[slow->proc.index][x->proc.index] = 20 * CW_NS_PER_MS;
    sim_daemon_start(x);
    sim_expect(sim, member_2_is_synced, 30000, "its resync begins");
    cw_ramdisk_slow(slow->disk, CW_NS_PER_S);
    sim_run_until(sim, member_2_is_promoted, 5 * CW_NS_PER_S);
    cw_ramdisk_slow(slow->disk, 0);
    sim_expect(sim, sim_all_in_sync, 60000, "all are in sync in the end");
}

/* ---- 1.10: of an earlier request nothing is taken ---- */

static void
stall_list(struct sim_end *to, const struct cw_wire_hdr *h)
{
    struct sim *sim = to->conn->sim;

    if (h->type == CW_FT_VER_LIST && sim->n_seen++ == sim->n_wanted)
        sim->blocked[to->proc->index][2] = true;
}

static bool
list_is_stalled(struct sim *sim)
{
    return sim->n_seen > sim->n_wanted;
}

/* A page of the list is so late that it was asked for again: both arrive. */
void
sim_list_late(struct sim *sim)
{
    sim_daemon_kill(&sim->daemons[2], true);
    sim_expect(sim, member_2_left, 15000, "it is ejected");
    sim_goes_on(sim, 50, 0, 20000, "others go on");
    sim->n_wanted = (uint32_t)cw_prng_below(&sim->rnd_fault, 12);
    sim->on_frame = stall_list;
    sim_daemon_start(&sim->daemons[2]);
    sim_expect(sim, list_is_stalled, 30000, "its list is read");
    sim_pass(sim, sim_between(&sim->rnd_fault, 5300, 5800));
    for (uint32_t i = 0; i < 2; i++)
        sim->blocked[i][2] = false;
    sim_expect(sim, sim_all_in_sync, 60000, "it is in sync in the end");
}

/* ---- I18: a disk from before the volume ---- */

static bool
member_0_left(struct sim *sim)
{
    return sim->reg.recs[0].members[0].state != CW_MEMBER_INSYNC;
}

/* It comes back alone, and is attached again and again; its copy cannot be told from one that was
 * never there. Nobody is served from it, and it is resynced once others are there. */
void
sim_old_clone(struct sim *sim)
{
    struct sim_daemon *d = &sim->daemons[0];
    struct sim_client *next;

    sim_goes_on(sim, 10, 10, 20000, "some data is there");
    sim_client_kill(sim->present);
    for (uint32_t i = 0; i < sim->n_daemons; i++)
        sim_daemon_kill(&sim->daemons[i], true);
    sim_log(sim, "fault: d0 is as it was before the volume");
    sim_daemon_replace(d, SIM_REPLACE_CLONE);
    sim->media.lost |= CW_BIT(0);
    sim_daemon_start(d);
    for (uint32_t i = 0; i < 3; i++) {
        next = sim_attach_next(sim);
        sim_pass(sim, sim_between(&sim->rnd_fault, 100, 9000));
        sim_demand(sim, !next->ready, "an empty copy serves nobody");
        sim_client_kill(next);
    }
    sim_attach_next(sim);
    for (uint32_t i = 1; i < sim->n_daemons; i++)
        sim_daemon_start(&sim->daemons[i]);
    sim_expect(sim, sim_owner_is_well, 15000, "the others serve");
    sim_expect(sim, member_0_left, 10000, "it is not in sync any more");
    sim->media.lost = 0;
    sim_expect(sim, sim_all_in_sync, 60000, "it is in sync after a resync");
}
