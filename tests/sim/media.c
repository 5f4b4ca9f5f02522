/* sim/media.c - disks that damage, lose or forget what they hold, and the operator who sees to it.
 *
 * Budget: one daemon of a run, the victim, has all the bad luck with its disk; others only crash.
 * Damage (rot, unreadable sectors, failed I/O, a disk that vanishes) comes while another copy is in
 * sync too. A disk that forgets what it had acknowledged (an old clone, a flush that lied, a write
 * that was lost or went astray right before a crash) is noticed by comparison with another copy
 * (I15), so nothing else goes wrong from then on until it is ejected or has been given what it
 * lacks. In the unlimited mode damage comes to any disk at any time, and disks are wiped: data may
 * become unreadable, but none that is returned may be wrong.
 */
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "tests/sim/sim.h"

#define LOOK_NS CW_NS_PER_S /* between two looks of the operator */

struct media_task {
    struct sim_task task;
    struct sim_daemon *d;
};

static void
media_after(struct sim_daemon *d, uint64_t after_ns, void (*fn)(struct sim_task *))
{
    struct media_task *t = calloc(1, sizeof(*t));

    cw_assert(t != NULL);
    t->d = d;
    sim_after(d->proc.sim, &t->task, after_ns, fn);
}

static struct sim_daemon *
task_daemon(struct sim_task *t)
{
    return cw_container_of(t, struct media_task, task)->d;
}

void
sim_media_init(struct sim *sim)
{
    struct cw_prng *p = &sim->rnd_mode;

    sim->media.victim = (uint32_t)cw_prng_below(p, sim->n_daemons);
    sim->media.unlimited = sim_chance(p, 10);
}

void
sim_media_fini(struct sim *sim)
{
    cw_ramdisk_free(sim->media.old);
}

/* It is not the disk that was cloned any more. */
void
sim_media_replaced(struct sim_daemon *d)
{
    struct sim_media *m = &d->proc.sim->media;

    cw_ramdisk_replug(d->disk);
    cw_ramdisk_plan(d->disk, CW_RAMDISK_EIO, 0, 0, 0, 0);
    cw_ramdisk_lie(d->disk, false);
    if (d != &d->proc.sim->daemons[m->victim])
        return;
    cw_ramdisk_free(m->old);
    m->old = NULL;
}

static struct sim_daemon *
media_daemon(struct sim *sim)
{
    return &sim->daemons[sim->media.unlimited ? cw_prng_below(&sim->rnd_fault, sim->n_daemons)
                                              : sim->media.victim];
}

/* Of the shard that has fewest. */
static uint32_t
n_in_sync(const struct sim *sim)
{
    uint32_t n = UINT32_MAX;

    for (uint32_t i = 0; i < sim->n_shards; i++)
        n = (uint32_t)cw_min_u64(n, sim_reg_n_in_sync(sim, i));
    return n;
}

static bool
victim_in_sync(const struct sim *sim, uint32_t shard)
{
    return sim_reg_state(sim, shard, &sim->daemons[sim->media.victim]) == CW_MEMBER_INSYNC;
}

static bool
victim_in_sync_anywhere(const struct sim *sim)
{
    for (uint32_t i = 0; i < sim->n_shards; i++)
        if (victim_in_sync(sim, i))
            return true;
    return false;
}

bool
sim_media_may_lose(const struct sim *sim)
{
    return sim->media.touched && (sim->media.unlimited || sim->media.alone);
}

bool
sim_media_excuses(const struct sim *sim, const struct sim_daemon *d)
{
    const struct sim_media *m = &sim->media;

    return m->swapped || (m->touched && (m->unlimited || d == &sim->daemons[m->victim]));
}

/* ---- damage ---- */

/* The last batch of a log may not rot: nothing on that disk could tell that it was there (I16). So
 * the block was written before, and something was written after it. */
static bool
block_is_settled(const struct sim *sim, uint32_t block)
{
    const struct sim_history *h = &sim->history;
    uint64_t last_ns = 0;

    for (uint32_t i = 0; i < h->n[block]; i++) {
        const struct sim_hop *hop = &h->at[block][i];

        if (hop->kind != SIM_READ && hop->end_ns == CW_NEVER)
            return false;
        if (hop->kind != SIM_READ)
            last_ns = cw_max_u64(last_ns, hop->end_ns);
    }
    for (uint32_t b = 0; b < SIM_BLOCKS; b++)
        for (uint32_t i = h->n[b]; i > 0 && h->at[b][i - 1].begin_ns > last_ns; i--)
            if (h->at[b][i - 1].kind != SIM_READ && h->at[b][i - 1].acked)
                return true;
    return false;
}

static void
media_rot(struct sim *sim)
{
    struct cw_prng *p = &sim->rnd_fault;
    struct sim_daemon *d = media_daemon(sim);
    uint32_t n = (uint32_t)sim_between(p, 1, 4);

    if (!d->serving || (!sim->media.unlimited && n_in_sync(sim) < 2))
        return;
    sim->media.touched = true;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t block = (uint32_t)cw_prng_below(p, SIM_BLOCKS);
        bool latent = sim_chance(p, 40);

        if (block_is_settled(sim, block))
            sim_rot_block(sim, d, block, latent);
    }
}

static void
media_eio(struct sim *sim)
{
    struct cw_prng *p = &sim->rnd_fault;
    struct sim_daemon *d = media_daemon(sim);
    uint32_t ops = sim_chance(p, 60) ? CW_RAMDISK_WRITES : CW_RAMDISK_ANY_OP;
    uint64_t nth = sim_between(p, 1, 20), n = sim_between(p, 1, 3);

    if (sim->media.swapped || (!sim->media.unlimited && n_in_sync(sim) < 2))
        return;
    sim_log(sim, "fault: %s fails %llu I/Os", d->proc.name, (unsigned long long)n);
    sim->media.touched = true;
    cw_ramdisk_plan(d->disk, CW_RAMDISK_EIO, ops, nth, n, 0);
}

static void
replug(struct sim_task *t)
{
    struct sim *sim = t->sim;

    for (uint32_t i = 0; i < sim->n_daemons; i++) /* wherever it is by now */
        cw_ramdisk_replug(sim->daemons[i].disk);
}

static void
media_vanish(struct sim *sim)
{
    struct sim_daemon *d = media_daemon(sim);

    if (sim->media.swapped || (!sim->media.unlimited && n_in_sync(sim) < 2))
        return;
    sim_log(sim, "fault: the disk of %s is gone", d->proc.name);
    sim->media.touched = true;
    cw_ramdisk_unplug(d->disk);
    media_after(d, sim_between(&sim->rnd_fault, 10, 8000) * CW_NS_PER_MS, replug);
}

static void
media_start(struct sim_task *t)
{
    struct sim_daemon *d = task_daemon(t);

    if (!d->proc.up)
        sim_daemon_start(d);
}

static void
media_wipe(struct sim *sim)
{
    struct sim_daemon *d = media_daemon(sim);

    if (!sim->media.unlimited)
        return;
    sim_log(sim, "fault: the disk of %s is wiped", d->proc.name);
    sim->media.touched = true;
    sim_daemon_kill(d, false);
    sim_daemon_set_disk(d, cw_ramdisk_new((struct cw_ramdisk_opts){
                               .env = &d->proc.env, .bytes = d->disk_bytes, .seed = 1 }));
    sim_watch_forget(sim, (uint32_t)(d - sim->daemons));
    media_after(d, CW_NS_PER_S, media_start);
}

/* ---- disks in each other's place ---- */

static void
swap_disks(struct sim *sim)
{
    struct sim_media *m = &sim->media;
    struct sim_daemon *a = &sim->daemons[m->victim], *b = &sim->daemons[m->swapped_with];
    struct cw_ramdisk *disk = a->disk;

    sim_daemon_kill(a, false);
    sim_daemon_kill(b, false);
    a->disk = b->disk;
    b->disk = disk;
    cw_ramdisk_move(a->disk, &a->proc.env);
    cw_ramdisk_move(b->disk, &b->proc.env);
    m->swapped = !m->swapped;
}

static void
swap_back(struct sim_task *t)
{
    struct sim_media *m = &t->sim->media;

    if (!m->swapped)
        return;
    sim_log(t->sim, "the disks are back in their places");
    swap_disks(t->sim);
    sim_daemon_start(&t->sim->daemons[m->victim]);
    sim_daemon_start(&t->sim->daemons[m->swapped_with]);
}

static void
media_swap(struct sim *sim)
{
    struct sim_media *m = &sim->media;
    struct cw_prng *p = &sim->rnd_fault;

    if (m->swapped || m->unlimited)
        return;
    m->swapped_with =
        (m->victim + 1 + (uint32_t)cw_prng_below(p, sim->n_daemons - 1)) % sim->n_daemons;
    sim_log(sim, "fault: %s and %s get each other's disk", sim->daemons[m->victim].proc.name,
            sim->daemons[m->swapped_with].proc.name);
    swap_disks(sim);
    sim_daemon_start(&sim->daemons[m->victim]);
    sim_daemon_start(&sim->daemons[m->swapped_with]);
    media_after(&sim->daemons[m->victim], sim_between(p, 100, 8000) * CW_NS_PER_MS, swap_back);
}

/* ---- disks that forget ---- */

/* What was asked for takes effect at once, or, where the manager is not well, so late. */
#define CHANGE_NS (100 * CW_NS_PER_MS)
#define CHANGE_LATE_NS (8 * CW_NS_PER_S)

/* Then the copy that has what this one forgets may be ejected, or this one promoted by what it had.
 */
static bool
change_is_under_way(const struct sim *sim)
{
    uint64_t since = sim->now_ns - sim->reg.asked_ns;
    bool well = sim->control == NULL && sim->reg.lose_256ths == 0 &&
                sim->now_ns >= sim->reg.away_until_ns + CHANGE_LATE_NS;

    return since < (well ? CHANGE_NS : CHANGE_LATE_NS);
}

/* Nothing else is wrong, and another copy has all that is acknowledged. */
static bool
may_forget(const struct sim *sim)
{
    const struct sim_media *m = &sim->media;

    if (m->unlimited || m->fragile || m->swapped || sim->now_ns < sim->unwell_until_ns ||
        !victim_in_sync_anywhere(sim) || n_in_sync(sim) < 2 || change_is_under_way(sim))
        return false;
    for (uint32_t i = 0; i < sim->n_procs; i++)
        for (uint32_t k = 0; k < sim->n_procs; k++)
            if (sim->blocked[i][k] || sim->bytes_per_s[i] != 0)
                return false;
    for (uint32_t i = 0; i < sim->n_daemons; i++)
        if (!sim->daemons[i].serving || sim->daemons[i].proc.paused)
            return false;
    return true;
}

/* It went down with less than it had promised to keep. */
static void
forget_now(struct sim_daemon *d, bool power)
{
    struct sim *sim = d->proc.sim;

    sim_log(sim, "fault: %s goes down and forgets", d->proc.name);
    sim_daemon_kill(d, power);
    cw_ramdisk_lie(d->disk, false);
    cw_ramdisk_plan(d->disk, CW_RAMDISK_EIO, 0, 0, 0, 0);
    sim_watch_forget(sim, sim->media.victim);
    d->incarnation = 0;
    sim->media.forgot = (uint32_t)CW_BIT(sim->n_shards) - 1;
    sim->media.forgot_ns = sim->now_ns;
    sim_mark(sim, SIM_MARK_FORGOT);
    media_after(d, sim_between(&sim->rnd_fault, 5, 800) * CW_NS_PER_MS, media_start);
}

static void
forget_later(struct sim_task *t)
{
    if (task_daemon(t)->proc.up)
        forget_now(task_daemon(t), true);
}

static void
forget_killed(struct sim_task *t)
{
    if (task_daemon(t)->proc.up)
        forget_now(task_daemon(t), false);
}

/* The first time it is made, the next time it is put back. */
static void
forget_by_clone(struct sim *sim, struct sim_daemon *d)
{
    struct sim_media *m = &sim->media;

    if (m->old == NULL) {
        m->old_incarnation = d->incarnation;
        m->old = cw_ramdisk_clone_crashed(d->disk, &d->proc.env,
                                          (struct cw_ramdisk_crash){ .keep = 256 });
        return;
    }
    m->fragile = true;
    forget_now(d, false);
    sim_daemon_set_disk(d, m->old);
    d->incarnation = m->old_incarnation;
    m->old = NULL;
}

static void
media_forget(struct sim *sim)
{
    struct sim_media *m = &sim->media;
    struct sim_daemon *d = &sim->daemons[m->victim];
    struct cw_prng *p = &sim->rnd_fault;
    uint32_t dice = (uint32_t)cw_prng_below(p, 4);

    m->touched = true;
    if (dice <= 1) {
        forget_by_clone(sim, d);
        return;
    }
    m->fragile = true;
    if (dice == 2) {
        sim_log(sim, "fault: %s lies about what is stable", d->proc.name);
        cw_ramdisk_lie(d->disk, true);
        media_after(d, sim_between(p, 20, 1500) * CW_NS_PER_MS, forget_later);
    } else {
        bool astray = sim_chance(p, 50);

        sim_log(sim, "fault: %s %s a write", d->proc.name, astray ? "misplaces" : "loses");
        cw_ramdisk_plan(d->disk, astray ? CW_RAMDISK_MISDIRECT : CW_RAMDISK_LOSE, CW_RAMDISK_WRITES,
                        1, sim_between(p, 1, 3),
                        (int64_t)(sim_between(p, 1, 4096) * CW_BLOCK_SIZE));
        /* at once, or when it has gone on for a while and met what is not there */
        media_after(d, sim_between(p, 0, sim_chance(p, 50) ? 100 : 4000) * CW_NS_PER_MS,
                    forget_killed);
    }
}

struct forget_task {
    struct sim_task task;
    uint64_t seed, until_ns;
};

/* At the first moment that is fit for it, if one comes. */
static void
forget_when_fit(struct sim_task *t)
{
    struct forget_task *f = cw_container_of(t, struct forget_task, task), *again;
    struct sim *sim = t->sim;

    if (sim->calm || sim->now_ns > f->until_ns)
        return;
    if (may_forget(sim)) {
        cw_prng_init(&sim->rnd_fault, f->seed);
        media_forget(sim);
        return;
    }
    again = malloc(sizeof(*again));
    cw_assert(again != NULL);
    *again = *f;
    cw_list_init(&again->task.node);
    sim_after(sim, &again->task, 50 * CW_NS_PER_MS, forget_when_fit);
}

static void
forget_soon(struct sim *sim)
{
    struct forget_task *f = calloc(1, sizeof(*f));

    cw_assert(f != NULL);
    f->seed = cw_prng_next(&sim->rnd_fault);
    f->until_ns = sim->now_ns + 30 * CW_NS_PER_S;
    sim_after(sim, &f->task, 0, forget_when_fit);
}

bool
sim_media_forgot(const struct sim *sim, uint32_t shard, uint32_t daemon)
{
    return ((sim->media.forgot & CW_BIT(shard)) != 0 && daemon == sim->media.victim) ||
           (sim->media.lost & CW_BIT(daemon)) != 0;
}

/* With its log, if it was not dropped; nothing there tells that it was. It is as a disk that forgot
 * all: whoever makes it anew finds another that has more. */
void
sim_media_lost_copy(struct sim *sim, uint32_t shard, const struct sim_daemon *d)
{
    struct sim_media *m = &sim->media;

    if (m->unlimited && m->touched)
        m->lost |= CW_BIT(d - sim->daemons);
    if (!sim_media_excuses(sim, d) || m->unlimited || m->fragile || m->swapped ||
        !victim_in_sync(sim, shard))
        return;
    sim_log(sim, "%s has lost its copy with its log", d->proc.name);
    m->forgot |= CW_BIT(shard);
    m->forgot_ns = sim->now_ns;
}

/* ---- after every event ---- */

static bool
copy_has_holes(const struct sim_daemon *d, uint64_t shard)
{
    struct cw_replica_copy c;

    return d != NULL && d->serving && cw_replica_copy_next(d->replica, shard, &c) &&
           c.shard == shard && c.bad_blocks > 0;
}

/* Those in sync are the victim, and what was resynced from it while that could not read all. */
static bool
victim_is_alone(const struct sim *sim, uint32_t shard)
{
    const struct cw_shard_rec *rec = &sim->reg.recs[shard];
    bool any = false;

    for (uint32_t i = 0; i < rec->n_members; i++) {
        const struct cw_member *m = &rec->members[i];
        const struct sim_daemon *d = sim_member_daemon(sim, m);

        if (m->state != CW_MEMBER_INSYNC)
            continue;
        any = true;
        if (d != &sim->daemons[sim->media.victim] && !copy_has_holes(d, rec->shard))
            return false;
    }
    return any;
}

bool
sim_media_is_lost(const struct sim *sim)
{
    for (uint32_t i = 0; i < sim->n_shards; i++)
        if (sim->media.touched && sim_watch_damaged(sim, i, sim->media.victim) &&
            victim_is_alone(sim, i))
            return true;
    return false;
}

static bool
is_noticed(const struct sim *sim, uint32_t shard)
{
    const struct sim_media *m = &sim->media;

    if (!victim_in_sync(sim, shard))
        return true;
    return sim->daemons[m->victim].serving &&
           sim_watch_durable(sim, shard, m->victim) >= sim_watch_acked(sim, shard);
}

static void
notice(struct sim *sim)
{
    struct sim_media *m = &sim->media;

    for (uint32_t i = 0; i < sim->n_shards; i++)
        if ((m->forgot & CW_BIT(i)) && is_noticed(sim, i)) {
            sim_log(sim, "%s is noticed to have forgotten", sim->daemons[m->victim].proc.name);
            m->forgot &= ~(uint32_t)CW_BIT(i);
            m->fragile = m->forgot != 0;
        }
}

void
sim_media_event(struct sim *sim)
{
    struct sim_media *m = &sim->media;

    if (!m->touched)
        return;
    for (uint32_t i = 0; i < sim->n_shards && !m->unlimited; i++)
        m->alone = m->alone || victim_is_alone(sim, i);
    if (m->forgot == 0)
        return;
    notice(sim);
    if (sim->present == NULL || !sim->present->ready)
        m->forgot_ns = sim->now_ns; /* nobody is there to notice it */
    if (m->forgot != 0 && !m->alone && sim->now_ns - m->forgot_ns > 60 * CW_NS_PER_S) {
        sim_fail(sim, "invariant: I15: %s forgot what it had, and is in sync for 60 s",
                 sim->daemons[m->victim].proc.name);
    }
}

/* ---- the operator ---- */

static bool
wants_restart(struct sim_daemon *d)
{
    struct cw_store_stats st;

    if (!d->proc.up || d->proc.paused)
        return false;
    if (d->open_failed)
        return true;
    if (!d->serving)
        return false;
    cw_store_stats(cw_replica_store(d->replica), &st);
    return st.failed;
}

static void
look(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->n_daemons; i++) {
        struct sim_daemon *d = &sim->daemons[i];

        if (!wants_restart(d) || (sim->media.swapped && d->open_failed))
            continue;
        sim_log(sim, "operator: %s starts again", d->proc.name);
        sim_daemon_kill(d, false);
        sim_daemon_start(d);
    }
}

static void
look_again(struct sim_task *t)
{
    look(t->sim);
    media_after(task_daemon(t), LOOK_NS, look_again);
}

void
sim_media_start(struct sim *sim)
{
    media_after(&sim->daemons[0], LOOK_NS, look_again);
}

void
sim_media_heal(struct sim *sim)
{
    struct sim_media *m = &sim->media;

    for (uint32_t i = 0; i < sim->n_daemons; i++) {
        struct sim_daemon *d = &sim->daemons[i];

        cw_ramdisk_replug(d->disk);
        if (!m->fragile || m->forgot || i != m->victim) {
            cw_ramdisk_plan(d->disk, CW_RAMDISK_EIO, 0, 0, 0, 0);
            cw_ramdisk_lie(d->disk, false);
        }
    }
    if (m->swapped)
        swap_disks(sim);
}

void
sim_media_do(struct sim *sim, enum sim_fault fault)
{
    if (fault == SIM_FAULT_ROT)
        media_rot(sim);
    else if (fault == SIM_FAULT_EIO)
        media_eio(sim);
    else if (fault == SIM_FAULT_VANISH)
        media_vanish(sim);
    else if (fault == SIM_FAULT_SWAP)
        media_swap(sim);
    else if (fault == SIM_FAULT_FORGET)
        forget_soon(sim);
    else if (fault == SIM_FAULT_WIPE)
        media_wipe(sim);
}
