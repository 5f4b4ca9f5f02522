/* sim/daemon.c - a process with a disk, the real store and the real replica. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "tests/sim/sim.h"

#define DISK_BYTES (512 * CW_MIB)
#define POOL_BYTES (48 * CW_MIB)

static struct sim_daemon *
daemon_of(struct sim_proc *p)
{
    return cw_container_of(p, struct sim_daemon, proc);
}

static void
daemon_turn_end(struct sim_proc *p)
{
    struct sim_daemon *d = daemon_of(p);

    if (d->replica != NULL)
        cw_replica_turn_end(d->replica);
    sim_host_turn_end(d);
}

static void
source_up(struct sim_proc *from, void *arg, struct cw_link *link)
{
    struct sim_daemon *d = daemon_of(from);

    cw_replica_on_link_up(d->replica, (uint64_t)(uintptr_t)arg, link);
}

static void
source_failed(struct sim_proc *from, void *arg, int why)
{
    struct sim_daemon *d = daemon_of(from);

    cw_replica_on_connect_failed(d->replica, (uint64_t)(uintptr_t)arg, why);
}

struct sim_daemon *
sim_member_daemon(const struct sim *sim, const struct cw_member *m)
{
    for (uint32_t i = 0; i < sim->n_daemons; i++)
        if (cw_uuid_equal(&sim->daemons[i].disk_uuid, &m->disk_uuid) &&
            sim->daemons[i].format_id == m->format_id)
            return (struct sim_daemon *)&sim->daemons[i];
    return NULL;
}

const struct sim_disk *
sim_disk_find(const struct sim *sim, const struct cw_uuid *uuid, uint64_t format_id)
{
    for (uint32_t i = 0; i < sim->n_disks; i++)
        if (sim->disks[i].format_id == format_id && cw_uuid_equal(&sim->disks[i].uuid, uuid))
            return &sim->disks[i];
    cw_assert(false);
    return NULL;
}

static void
daemon_connect(void *world, uint64_t dial, const struct cw_wire_sync_from *from)
{
    struct sim_daemon *d = world;
    struct cw_uuid uuid;

    memcpy(&uuid, from->disk_uuid, sizeof(uuid));
    sim_net_dial((struct sim_dial){ .from = &d->proc,
                                    .disk = sim_disk_find(d->proc.sim, &uuid, from->format_id),
                                    .peer_id = d->disk_uuid,
                                    .pool = d->pool,
                                    .up = source_up,
                                    .failed = source_failed,
                                    .arg = (void *)(uintptr_t)dial });
}

static const struct cw_replica_world_ops world_ops = { .connect = daemon_connect };

static void
daemon_opened(void *user, int res)
{
    struct sim_daemon *d = user;
    struct sim *sim = d->proc.sim;
    const struct cw_store_identity *id;

    if (res != 0 && sim_media_excuses(sim, d)) {
        sim_log(sim, "%s does not open its disk: %d", d->proc.name, res);
        d->open_failed = true;
        return;
    }
    if (res != 0) {
        sim_fail(sim, "recovery: %s: the store does not open: %d (I16, recovery)", d->proc.name,
                 res);
        return;
    }
    id = cw_store_identity(cw_replica_store(d->replica));
    if (!cw_uuid_equal(&id->disk_uuid, &d->disk_uuid)) {
        sim_log(sim, "%s has another's disk", d->proc.name);
        d->wrong = true;
        return;
    }
    if (id->incarnation <= d->incarnation && !sim_media_excuses(sim, d)) /* a slot may be lost */
        sim_fail(sim, "recovery: %s: incarnation %llu does not rise (1.3)", d->proc.name,
                 (unsigned long long)id->incarnation);
    d->incarnation = id->incarnation;
    d->serving = true;
    sim_log(sim, "%s serves", d->proc.name);
}

void
sim_daemon_start(struct sim_daemon *d)
{
    cw_assert(!d->proc.up);
    d->proc.up = true;
    d->proc.life++;
    d->proc.paused = false;
    d->pool = cw_buf_pool_new(POOL_BYTES);
    cw_assert(d->pool != NULL);
    d->replica = cw_replica_new((struct cw_replica_opts){
        .env = &d->proc.env,
        .disk = cw_ramdisk_disk(d->disk),
        .pool = d->pool,
        .world_ops = &world_ops,
        .world = d,
        .map_cache_bytes = 4 * CW_MIB,
        .discard = true,
        .sync_bytes = 8 * CW_MIB,
        .hold_bytes = 4 * CW_MIB,
    });
    cw_assert(d->replica != NULL);
    cw_replica_open(d->replica, daemon_opened, d);
    sim_host_start(d);
    sim_proc_touch(&d->proc);
}

static void
daemon_note_marks(struct sim_daemon *d)
{
    struct cw_replica_stats st;

    cw_replica_stats(d->replica, &st);
    d->proc.sim->result.marks[SIM_MARK_CHUNK] += (uint32_t)st.chunks_copied;
    d->proc.sim->result.marks[SIM_MARK_GET_WAIT] += (uint32_t)st.gets_waited;
    d->proc.sim->result.marks[SIM_MARK_RECHECK] += (uint32_t)st.rechecks;
    d->proc.sim->result.marks[SIM_MARK_COPY_HIT] += (uint32_t)st.copy_hits;
    d->proc.sim->result.marks[SIM_MARK_SOURCE] += (uint32_t)st.source_changes;
    if (st.protocol_errors > 0)
        sim_fail(d->proc.sim, "protocol: %s: a frame that no correct peer sends", d->proc.name);
}

static void
daemon_free(struct sim_daemon *d)
{
    if (d->serving)
        daemon_note_marks(d);
    cw_replica_free(d->replica);
    d->replica = NULL;
    if (cw_buf_pool_used(d->pool) != 0)
        sim_fail(d->proc.sim, "accounting: %s: %llu bytes of buffers leaked", d->proc.name,
                 (unsigned long long)cw_buf_pool_used(d->pool));
    else
        cw_buf_pool_free(d->pool);
    d->pool = NULL;
    d->serving = d->stopping = d->open_failed = d->wrong = false;
}

void
sim_daemon_kill(struct sim_daemon *d, bool power)
{
    struct sim *sim = d->proc.sim;
    struct cw_ramdisk_crash how = { .seed = cw_prng_next(&sim->rnd_fault), .keep = 256 };

    if (!d->proc.up)
        return;
    if (power) {
        how.keep = (uint32_t)sim_between(&sim->rnd_fault, 0, 256);
        how.torn = sim_chance(&sim->rnd_fault, 50);
    }
    sim_net_proc_died(&d->proc);
    sim_host_stop(d, power);
    cw_ramdisk_crash(d->disk, how);
    daemon_free(d);
    cw_timerheap_cancel(&sim->heap, &d->proc.turn);
    if (cw_timerheap_next(&d->proc.heap) != CW_NEVER)
        sim_fail(sim, "accounting: %s: a timer outlives its owner", d->proc.name);
    d->proc.up = false;
    d->proc.paused = false;
}

struct stop_task {
    struct sim_task task;
    struct sim_daemon *d;
    uint32_t life;
};

static void
daemon_ends(struct sim_task *t)
{
    struct stop_task *s = cw_container_of(t, struct stop_task, task);

    if (!s->d->proc.up || s->d->proc.life != s->life)
        return;
    sim_log(t->sim, "%s has stopped", s->d->proc.name);
    sim_daemon_kill(s->d, false);
    if (t->sim->calm)
        sim_daemon_start(s->d);
}

static void
daemon_closed(void *user, int res)
{
    struct sim_daemon *d = user;
    struct stop_task *s = calloc(1, sizeof(*s));

    cw_assert(s != NULL);
    s->d = d;
    s->life = d->proc.life;
    sim_after(d->proc.sim, &s->task, 0, daemon_ends); /* nothing is freed from inside */
}

void
sim_daemon_stop(struct sim_daemon *d)
{
    if (!d->proc.up || d->stopping)
        return;
    if (!d->serving || d->proc.paused || !sim_host_may_stop(d)) {
        sim_daemon_kill(d, false);
        return;
    }
    sim_log(d->proc.sim, "%s is stopped", d->proc.name);
    sim_mark(d->proc.sim, SIM_MARK_STOPPED);
    daemon_note_marks(d);
    d->serving = false;
    d->stopping = true;
    cw_replica_close(d->replica, daemon_closed, d);
    sim_proc_touch(&d->proc);
}

static void
daemon_formatted(void *user, int res)
{
    *(int *)user = res;
}

static void
daemon_format(struct sim *sim, struct sim_daemon *d, bool over)
{
    int res = 1000;
    struct cw_timer *t;

    d->pool = cw_buf_pool_new(POOL_BYTES);
    cw_store_format(&d->proc.env, cw_ramdisk_disk(d->disk), d->pool,
                    (struct cw_store_format_opts){
                        .disk_uuid = d->disk_uuid, .format_id = d->format_id, .force = over },
                    daemon_formatted, &res);
    while (res == 1000 && (t = cw_timerheap_pop(&d->proc.heap, CW_NEVER - 1)) != NULL)
        t->fn(t);
    if (res != 0)
        sim_fail(sim, "recovery: %s: format: %d", d->proc.name, res);
    cw_buf_pool_free(d->pool);
    d->pool = NULL;
}

static void
daemon_disk_is_known(struct sim *sim, struct sim_daemon *d)
{
    cw_assert(sim->n_disks < SIM_DISKS_MAX);
    sim->disks[sim->n_disks++] =
        (struct sim_disk){ .uuid = d->disk_uuid, .format_id = d->format_id, .d = d };
}

void
sim_daemon_replace(struct sim_daemon *d, enum sim_replace how)
{
    struct cw_prng *p = &d->proc.sim->rnd_mgr;

    sim_watch_forget(d->proc.sim, (uint32_t)(d - d->proc.sim->daemons));
    cw_assert(!d->proc.up);
    cw_ramdisk_slow(d->disk, 0); /* this one is well */
    cw_ramdisk_hold(d->disk, 0, 0, 0);
    cw_ramdisk_unstick(d->disk);
    sim_media_replaced(d);
    if (how != SIM_REPLACE_FORMAT && how != SIM_REPLACE_CLONE)
        d->disk_uuid = sim_uuid(p);
    if (how != SIM_REPLACE_CLONE)
        d->format_id = cw_prng_next(p) | 1;
    else /* nothing of it, that its identity would make valid */
        sim_daemon_set_disk(d, cw_ramdisk_new((struct cw_ramdisk_opts){
                                   .env = &d->proc.env, .bytes = d->disk_bytes, .seed = 1 }));
    d->incarnation = 0;
    d->storms = 0;
    d->foreign = how == SIM_REPLACE_FOREIGN ? sim_uuid(p) : (struct cw_uuid){ 0 };
    daemon_format(d->proc.sim, d, true);
    if (how != SIM_REPLACE_CLONE)
        daemon_disk_is_known(d->proc.sim, d);
}

void
sim_daemon_init(struct sim *sim, struct sim_daemon *d, uint32_t index)
{
    char name[8];
    struct cw_ramdisk_opts opts = { .env = &d->proc.env, .bytes = DISK_BYTES };

    snprintf(name, sizeof(name), "d%u", index);
    sim_proc_init(sim, &d->proc, name);
    d->proc.turn_end = daemon_turn_end;
    d->disk_uuid = sim_uuid(&sim->rnd_fault);
    d->format_id = cw_prng_next(&sim->rnd_fault) | 1;
    d->disk_bytes = opts.bytes;
    opts.seed = cw_prng_next(&sim->rnd_fault);
    opts.latency_min_ns = 10000;
    opts.latency_max_ns = sim_chance(&sim->rnd_fault, 70) ? 200000 : 5 * CW_NS_PER_MS;
    d->disk = cw_ramdisk_new(opts);
    cw_assert(d->disk != NULL);
    daemon_format(sim, d, false);
    daemon_disk_is_known(sim, d);
    if (index < sim->full.n_disks)
        sim_full_fill(d);
}

void
sim_daemon_set_disk(struct sim_daemon *d, struct cw_ramdisk *take_disk)
{
    cw_assert(!d->proc.up);
    cw_ramdisk_free(d->disk);
    d->disk = take_disk;
}

void
sim_daemon_fini(struct sim_daemon *d)
{
    if (d->proc.up)
        sim_daemon_kill(d, false);
    sim_host_fini(d);
    cw_ramdisk_free(d->disk);
    sim_proc_fini(&d->proc);
}
