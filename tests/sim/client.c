/* sim/client.c - a process with the real owner, and a workload of unique values. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "tests/sim/sim.h"

#define POOL_BYTES (64 * CW_MIB)
#define OP_BLOCKS_MAX 8u

struct sim_op {
    struct cw_io io;
    struct cw_list node;
    struct sim_client *client;
    struct iovec iov;
    enum sim_op_kind kind;
    uint32_t first, n; /* of the workload's blocks */
    bool late;         /* a newer owner was ACTIVE when it began, on some shard that it is of */
    uint32_t hop[SIM_BLOCKS];
    uint64_t value;
    uint8_t data[OP_BLOCKS_MAX * CW_BLOCK_SIZE];
};

static struct sim_client *
client_of(struct sim_proc *p)
{
    return cw_container_of(p, struct sim_client, proc);
}

/* Four times a quarter whose words are an arithmetic progression: the RAM disk keeps two words. */
void
sim_block_fill(uint8_t *block, uint64_t value, uint32_t lba)
{
    uint64_t x = value, step = (uint64_t)lba << 32 | 1;

    for (uint32_t i = 0; i < CW_BLOCK_SIZE / 4; i += sizeof(x), x += step)
        memcpy(block + i, &x, sizeof(x));
    for (uint32_t i = 1; i < 4; i++)
        memcpy(block + i * (CW_BLOCK_SIZE / 4), block, CW_BLOCK_SIZE / 4);
}

bool
sim_block_value(const uint8_t *block, uint32_t lba, uint64_t *ret)
{
    uint8_t want[CW_BLOCK_SIZE];
    uint64_t value;

    memcpy(&value, block, sizeof(value));
    *ret = value;
    if (value == 0)
        memset(want, 0, sizeof(want));
    else
        sim_block_fill(want, value, lba);
    return memcmp(block, want, sizeof(want)) == 0;
}

/* ---- requests ---- */

static void
op_count(const struct sim_op *op, int by)
{
    if (op->kind == SIM_READ)
        return;
    op->client->n_writes += (uint32_t)by;
    for (uint32_t i = 0; i < op->n; i++)
        op->client->writing[op->first + i] += (uint32_t)by;
}

/* In each of the shards that it reads; between them nothing is promised. */
static void
op_judge_whole(const struct sim_op *op, const uint64_t *values)
{
    struct sim *sim = op->client->proc.sim;

    for (uint32_t i = 0, n; i < op->n; i += n) {
        n = sim_blocks_in_shard(sim, op->first + i, op->n - i);
        sim_atoms_judge(sim, op->first + i, n, values + i, NULL, op->client->proc.name);
    }
}

static bool
op_is_late(const struct sim_op *op)
{
    struct sim *sim = op->client->proc.sim;

    for (uint32_t i = 0, n; i < op->n; i += n) {
        n = sim_blocks_in_shard(sim, op->first + i, op->n - i);
        if (sim_watch_newer_active(sim, sim_block_shard(sim, op->first + i), op->client->epoch))
            return true;
    }
    return false;
}

static void
op_done(struct cw_io *io, int res)
{
    struct sim_op *op = cw_container_of(io, struct sim_op, io);
    struct sim_client *c = op->client;
    struct sim *sim = c->proc.sim;
    uint64_t values[SIM_BLOCKS];

    if (res == -EIO && op->kind == SIM_READ && sim_media_may_lose(sim))
        sim_mark(sim, SIM_MARK_EIO);
    else if (res != 0 && res != -ESHUTDOWN)
        sim_fail(sim, "requests: %s: one on block %u ended with %d", c->proc.name, op->first, res);
    if (res != 0 && op->kind != SIM_READ)
        sim_mark(sim, SIM_MARK_UNKNOWN);
    if (res == 0 && op->late)
        sim_fail(sim,
                 "exclusive: %s did a %s on block %u that began when a newer owner was ACTIVE (%s)",
                 c->proc.name, op->kind == SIM_READ ? "read" : "write", op->first,
                 op->kind == SIM_READ ? "I10, I11" : "I5");
    for (uint32_t i = 0; res == 0 && i < op->n; i++) {
        uint64_t value = op->value;

        if (op->kind == SIM_READ && !sim_block_value(op->data + (size_t)i * CW_BLOCK_SIZE,
                                                     sim_block_lba(sim, op->first + i), &value))
            sim_fail(sim, "requests: %s: block %u read as bytes that nobody wrote (%llx)",
                     c->proc.name, op->first + i, (unsigned long long)value);
        if (op->kind == SIM_READ ||
            !sim_watch_is_past(sim, sim_block_shard(sim, op->first + i), c->gen))
            sim_history_end(sim, op->first + i, op->hop[i], value);
        values[i] = value;
    }
    /* one that had to be put together from several copies is whole block by block only */
    if (res == 0 && op->kind == SIM_READ && !sim->media.touched && sim->flip_65536ths == 0)
        op_judge_whole(op, values);
    if (res == 0)
        *(op->kind == SIM_READ ? &c->n_reads_done : &c->n_writes_done) += 1;
    c->n_pending--;
    op_count(op, -1);
    sim->result.ops++;
    cw_list_remove(&op->node);
    free(op);
}

/* ---- flushes: with ack=replicated only ---- */

struct sim_flush {
    struct cw_io io;
    struct cw_list node;
    struct sim_client *client;
    uint64_t begin_ns;
    bool waited;
};

static void
flush_done(struct cw_io *io, int res)
{
    struct sim_flush *f = cw_container_of(io, struct sim_flush, io);
    struct sim_client *c = f->client;
    struct sim *sim = c->proc.sim;

    if (res != 0 && res != -ESHUTDOWN)
        sim_fail(sim, "requests: %s: a flush ended with %d", c->proc.name, res);
    if (res == 0) {
        sim_history_flushed(sim, c->epoch, f->begin_ns);
        if (sim->now_ns > f->begin_ns)
            sim_mark(sim, SIM_MARK_FLUSHED);
    }
    c->n_pending--;
    cw_list_remove(&f->node);
    free(f);
}

static void
client_flush(struct sim_client *c)
{
    struct sim *sim = c->proc.sim;
    struct sim_flush *f = calloc(1, sizeof(*f));

    cw_assert(f != NULL);
    f->client = c;
    f->begin_ns = sim->now_ns;
    f->io = (struct cw_io){ .op = CW_IO_FLUSH, .done = flush_done };
    cw_list_push_back(&c->flushes, &f->node);
    c->n_pending++;
    cw_io_submit(c->volume, &f->io);
    if (sim_chance(&sim->rnd_ack, 1) && sim->n_memory_lost++ < 3)
        sim_fault_memory(sim);
    if (c->lib == NULL && sim_chance(&sim->rnd_ack, 5)) /* the policy changes */
        cw_volume_set_ack(c->volume, sim_chance(&sim->rnd_ack, 70));
}

static void
op_submit(struct sim_client *c, enum sim_op_kind kind, uint32_t first, uint32_t n, bool trim)
{
    struct sim *sim = c->proc.sim;
    struct sim_op *op = calloc(1, sizeof(*op));
    uint32_t lba = sim_block_lba(sim, first), end = sim_block_lba(sim, first + n - 1) + 1;

    cw_assert(op != NULL);
    if (sim_lba_shard(lba) != sim_lba_shard(end - 1))
        sim_mark(sim, SIM_MARK_ASTRIDE);
    op->client = c;
    op->kind = kind;
    op->first = first;
    op->n = n;
    op->value = kind == SIM_WRITE ? ++sim->history.next_value : 0;
    for (uint32_t i = 0; i < n; i++)
        op->hop[i] = sim_history_begin(sim, first + i, kind, op->value, c->epoch);
    if (kind == SIM_WRITE)
        for (uint32_t i = 0; i < n; i++)
            sim_block_fill(op->data + (size_t)i * CW_BLOCK_SIZE, op->value, lba + i);
    op->iov = (struct iovec){ .iov_base = op->data, .iov_len = (size_t)n * CW_BLOCK_SIZE };
    op->io = (struct cw_io){
        .op = kind == SIM_READ    ? CW_IO_READ
              : kind == SIM_WRITE ? CW_IO_WRITE
              : trim              ? CW_IO_TRIM
                                  : CW_IO_ZERO,
        .off = (uint64_t)lba * CW_BLOCK_SIZE,
        .len = (uint64_t)(end - lba) * CW_BLOCK_SIZE,
        .iov = kind == SIM_ZERO ? NULL : &op->iov,
        .n_iov = kind != SIM_ZERO,
        .done = op_done,
    };
    op->late = op_is_late(op);
    if (op->late)
        sim_mark(sim, SIM_MARK_TWO_OWNERS);
    cw_list_push_back(&c->ops, &op->node);
    c->n_pending++;
    op_count(op, 1);
    cw_io_submit(c->volume, &op->io);
}

/* Some run of blocks around a chunk border. */
struct run {
    uint32_t first, n;
};

/* Into the volume as large as it is now. */
static bool
fits(const struct sim_client *c, uint32_t first, uint32_t n)
{
    return sim_block_lba(c->proc.sim, first + n - 1) < c->size_blocks;
}

static struct run
client_pick(struct sim_client *c, bool read)
{
    struct cw_prng *p = &c->proc.sim->rnd_load;
    uint32_t group = (uint32_t)cw_prng_below(p, SIM_GROUPS);
    uint32_t at = (uint32_t)cw_prng_below(p, SIM_GROUP);
    uint32_t n = (uint32_t)sim_between(p, 1, cw_min_u64(OP_BLOCKS_MAX, SIM_GROUP - at));

    if (c->proc.sim->apart)
        group = read ? SIM_GROUPS / 2 + group / 2 : group / 2;
    if (!fits(c, group * SIM_GROUP + at, n))
        group = 0;
    return (struct run){ group * SIM_GROUP + at, n };
}

static bool
run_is_being_written(const struct sim_client *c, struct run r)
{
    for (uint32_t i = 0; i < r.n; i++)
        if (c->writing[r.first + i] > 0)
            return true;
    return false;
}

/* Mostly of blocks that no write of ours holds up: else an owner whose writes wait reads nothing,
 * which is what hides a stale read. */
static void
client_read(struct sim_client *c, uint32_t n_reads)
{
    struct run r = client_pick(c, true);

    for (uint32_t i = 0; i < 8 && run_is_being_written(c, r); i++)
        r = client_pick(c, true);
    if (!run_is_being_written(c, r) || n_reads <= c->proc.sim->depth / 8)
        op_submit(c, SIM_READ, r.first, r.n, false);
}

static void
client_change(struct sim_client *c)
{
    struct sim *sim = c->proc.sim;
    struct cw_prng *p = &sim->rnd_load;
    uint32_t dice = (uint32_t)cw_prng_below(p, 100), group, n;
    struct run r = client_pick(c, false);

    if (dice < 3 && !sim->apart) { /* over several chunks, or all of it */
        group = r.first / SIM_GROUP;
        n = (uint32_t)sim_between(p, 1, SIM_GROUPS - group);
        while (n > 1 && (sim->borders[group + n - 1] - sim->borders[group] > SIM_GROUPS ||
                         !fits(c, group * SIM_GROUP, n * SIM_GROUP))) /* almost a shard; too far */
            n--;
        group = fits(c, group * SIM_GROUP, n * SIM_GROUP) ? group : 0;
        op_submit(c, SIM_ZERO, group * SIM_GROUP, SIM_GROUP * n, dice == 0);
    } else if (dice < 3 + sim->zero_percent * 3 / 2) {
        op_submit(c, SIM_ZERO, r.first, r.n, dice & 1);
    } else {
        op_submit(c, SIM_WRITE, r.first, r.n, false);
    }
}

static void
client_issue(struct sim_client *c)
{
    bool reads = cw_prng_below(&c->proc.sim->rnd_load, 100) < 35;
    uint32_t half = c->proc.sim->depth / 2 + 1, n_reads = c->n_pending - c->n_writes;

    if (c->n_writes >= half)
        reads = true;
    if (reads && n_reads < half)
        client_read(c, n_reads);
    else if (!reads)
        client_change(c);
}

static void
client_on_next(struct cw_timer *t)
{
    struct sim_client *c = cw_container_of(t, struct sim_client, next);
    struct sim *sim = c->proc.sim;

    if (c->volume != NULL && c->ready && !c->leaving && !c->lost && sim->load)
        client_issue(c);
    if (sim->replicated && c->volume != NULL && !c->leaving && !c->lost && sim->load &&
        sim_chance(&sim->rnd_ack, 8)) /* also before the takeover is over */
        client_flush(c);
    cw_timer_set(&c->proc.env, t,
                 cw_now_ns(&c->proc.env) + cw_prng_below(&sim->rnd_load, 2 * sim->think_ns + 1));
}

/* ---- events of the volume ---- */

static void
client_audited(struct sim_audit *a)
{
    struct sim_client *c = a->arg;

    if (c->proc.up && c->epoch == a->epoch && !c->lost)
        c->ready = true;
}

static void
on_ready(struct cw_volume *v, void *user)
{
    struct sim_client *c = user;
    struct sim *sim = c->proc.sim;

    sim_mark(sim, SIM_MARK_ACTIVE);
    sim_log(sim, "%s is active, epoch %u", c->proc.name, c->epoch);
    sim_history_active(sim, c->epoch);
    sim_audit_start(sim, c->epoch, client_audited, c);
}

static void
on_open_failed(struct cw_volume *v, void *user, int res, const char *text)
{
    struct sim_client *c = user;

    c->lost = true;
    if (res != -ESHUTDOWN && !sim_control_is_behind(c->proc.sim))
        sim_fail(c->proc.sim, "requests: %s: open failed: %d %s", c->proc.name, res, text);
}

static void
on_fenced(struct cw_volume *v, void *user)
{
    struct sim_client *c = user;

    sim_mark(c->proc.sim, SIM_MARK_FENCED);
    if (c->proc.sim->reg.gen == c->gen && !sim_control_is_behind(c->proc.sim))
        sim_fail(c->proc.sim, "fencing: %s was fenced though it is the newest owner", c->proc.name);
    c->lost = true;
}

static void
on_released(struct cw_volume *v, void *user, bool clean)
{
    struct sim_client *c = user;

    if (clean)
        sim_mark(c->proc.sim, SIM_MARK_RELEASED);
    sim_log(c->proc.sim, "%s released, %s", c->proc.name, clean ? "clean" : "not confirmed");
    c->lost = true;
    if (c->lib != NULL)
        sim_lib_let_go(c, clean ? SIM_LET_GO_CLEAN : SIM_LET_GO_UNCLEAN);
}

static void
on_kept(struct cw_volume *v, void *user)
{
    struct sim_client *c = user;

    sim_mark(c->proc.sim, SIM_MARK_KEPT);
    sim_log(c->proc.sim, "%s keeps the volume", c->proc.name);
    c->leaving = false;
    if (c->lib != NULL)
        sim_lib_let_go(c, SIM_LET_GO_KEPT);
}

static void
on_resized(struct cw_volume *v, void *user, uint64_t size_bytes)
{
    struct sim_client *c = user;

    if (size_bytes > c->n_shards * CW_SHARD_BLOCKS * CW_BLOCK_SIZE)
        sim_mark(c->proc.sim, SIM_MARK_SHARD_ADDED);
    c->size_blocks = (uint32_t)(size_bytes / CW_BLOCK_SIZE);
    c->n_shards = (uint32_t)cw_div_up(c->size_blocks, CW_SHARD_BLOCKS);
    sim_lib_resized(c);
}

static const struct cw_volume_events volume_events = {
    .on_ready = on_ready,
    .on_open_failed = on_open_failed,
    .on_fenced = on_fenced,
    .on_released = on_released,
    .on_kept = on_kept,
    .on_resized = on_resized,
};

/* ---- the owner's world ---- */

static void
disk_up(struct sim_proc *from, void *arg, struct cw_link *link)
{
    const struct sim_disk *d = arg;

    cw_owner_on_link_up(client_of(from)->owner, &d->uuid, d->format_id, link);
}

static void
disk_failed(struct sim_proc *from, void *arg, int why)
{
    const struct sim_disk *d = arg;

    cw_owner_on_connect_failed(client_of(from)->owner, &d->uuid, d->format_id, why);
}

static void
world_connect(void *world, const struct cw_disk_location *to)
{
    struct sim_client *c = world;
    const struct sim_disk *disk = sim_disk_find(c->proc.sim, &to->disk_uuid, to->format_id);

    sim_net_dial((struct sim_dial){ .from = &c->proc,
                                    .disk = disk,
                                    .peer_id = c->id,
                                    .pool = c->pool,
                                    .up = disk_up,
                                    .failed = disk_failed,
                                    .arg = (void *)(uintptr_t)disk });
}

static void
world_change(void *world, struct cw_change *ch)
{
    struct sim_client *c = world;

    if (c->lib != NULL)
        sim_lib_change(c, ch);
    else
        sim_reg_change(c, ch);
}

static void
world_get_volume(void *world, struct cw_volume_get *g)
{
    struct sim_client *c = world;

    if (c->lib != NULL)
        sim_lib_get(c, g);
    else
        sim_reg_get(c, g);
}

static void
world_release(void *world, struct cw_volume_give_up *g)
{
    struct sim_client *c = world;

    if (c->lib != NULL)
        sim_lib_release(c, g);
    else
        sim_reg_release(c, g);
}

static const struct cw_owner_ops owner_ops = {
    .connect = world_connect,
    .change = world_change,
    .get_volume = world_get_volume,
    .release = world_release,
};

/* ---- life ---- */

static void
client_turn_end(struct sim_proc *p)
{
    struct sim_client *c = client_of(p);

    if (c->owner == NULL)
        return;
    cw_owner_turn_end(c->owner);
    if (cw_owner_pending(c->owner))
        sim_proc_touch(p);
}

static void
client_start(struct sim_client *c)
{
    c->proc.up = true;
    c->proc.life++;
    c->proc.paused = false;
    c->ready = c->lost = c->leaving = false;
    c->n_pending = c->n_writes = 0;
    memset(c->writing, 0, sizeof(c->writing));
    c->n_reads_done = c->n_writes_done = 0;
    c->id = sim_uuid(&c->proc.prng);
    c->pool = cw_buf_pool_new(POOL_BYTES);
    cw_assert(c->pool != NULL);
    c->owner = cw_owner_new(&(struct cw_owner_opts){
        .env = &c->proc.env,
        .pool = c->pool,
        .client_id = c->id,
        .ops = &owner_ops,
        .world = c,
        .tuning = { .flap_min_ns = c->proc.sim->flap_min_ns,
                    .flap_max_ns = c->proc.sim->flap_max_ns,
                    .resync_bytes_per_s = c->proc.sim->resync_bytes_per_s },
    });
    cw_assert(c->owner != NULL);
    cw_timer_set(&c->proc.env, &c->next, cw_now_ns(&c->proc.env));
    sim_lib_start(c);
}

void
sim_client_kill(struct sim_client *c)
{
    struct sim *sim = c->proc.sim;
    struct cw_list *node;

    if (!c->proc.up)
        return;
    sim_net_proc_died(&c->proc);
    sim_lib_stop(c);
    cw_timer_cancel(&c->proc.env, &c->next);
    cw_owner_free(c->owner);
    c->owner = NULL;
    c->volume = NULL;
    while ((node = cw_list_pop_front(&c->ops)) != NULL) {
        struct sim_op *op = cw_list_entry(node, struct sim_op, node);

        if (op->kind != SIM_READ)
            sim_mark(sim, SIM_MARK_UNKNOWN);
        free(op);
    }
    while ((node = cw_list_pop_front(&c->flushes)) != NULL)
        free(cw_list_entry(node, struct sim_flush, node));
    if (cw_buf_pool_used(c->pool) != 0)
        sim_fail(sim, "accounting: %s: %llu bytes of buffers leaked", c->proc.name,
                 (unsigned long long)cw_buf_pool_used(c->pool));
    else
        cw_buf_pool_free(c->pool);
    c->pool = NULL;
    cw_timerheap_cancel(&sim->heap, &c->proc.turn);
    if (cw_timerheap_next(&c->proc.heap) != CW_NEVER)
        sim_fail(sim, "accounting: %s: a timer outlives its owner", c->proc.name);
    c->proc.up = false;
    c->proc.paused = false;
    c->ready = false;
    if (sim->present == c)
        sim->present = NULL;
}

struct attach_task {
    struct sim_task task;
    struct sim_client *client;
    uint32_t life, epoch;
    bool granted, released;
    struct cw_volume_desc desc;
    struct cw_shard_rec recs[SIM_SHARDS_MAX];
    struct cw_disk_location disks[SIM_DAEMONS_MAX];
};

void
sim_client_open(struct sim_client *c, const struct cw_volume_desc *desc, uint32_t epoch)
{
    struct cw_volume_opts opts = { .ev = &volume_events, .user = c };

    c->gen = desc->gen;
    c->epoch = epoch;
    c->size_blocks = (uint32_t)(desc->size_bytes / CW_BLOCK_SIZE);
    c->n_shards = desc->n_shards;
    c->volume = cw_volume_open(c->owner, desc, &opts);
    cw_assert(c->volume != NULL);
    sim_proc_touch(&c->proc);
}

static void
attach_open(struct attach_task *a)
{
    a->desc.shards = a->recs;
    a->desc.disks = a->disks;
    a->desc.released = a->released;
    sim_client_open(a->client, &a->desc, a->epoch);
}

static void
attach_step(struct sim_task *t)
{
    struct attach_task *a = cw_container_of(t, struct attach_task, task), *copy;
    struct sim *sim = t->sim;

    if (!a->client->proc.up || a->client->proc.life != a->life)
        return;
    if (a->granted && !a->client->proc.paused) {
        attach_open(a);
        return;
    }
    if (!a->granted && sim->now_ns >= sim->reg.away_until_ns) {
        a->granted = true;
        sim_reg_attach(sim, &a->released);
        sim_reg_desc(sim, &a->desc, a->disks);
        memcpy(a->recs, sim->reg.recs, sizeof(a->recs));
        a->epoch = ++sim->epoch;
        sim->present = a->client;
        sim_log(sim, "%s attaches with gen %u%s", a->client->proc.name, a->desc.gen,
                a->released ? ", released before" : "");
    }
    copy = malloc(sizeof(*copy));
    cw_assert(copy != NULL);
    *copy = *a;
    cw_list_init(&copy->task.node);
    sim_after(sim, &copy->task, sim_between(&sim->rnd_reg, 300000, 10 * CW_NS_PER_MS), attach_step);
}

void
sim_client_attach(struct sim_client *c)
{
    struct attach_task *a;

    cw_assert(!c->proc.up);
    client_start(c);
    if (c->lib != NULL) {
        sim_lib_attach(c);
        return;
    }
    a = calloc(1, sizeof(*a));
    cw_assert(a != NULL);
    a->client = c;
    a->life = c->proc.life;
    sim_after(c->proc.sim, &a->task, CW_NS_PER_MS, attach_step);
}

void
sim_client_take(struct sim_client *c)
{
    cw_assert(!c->proc.up && c->lib != NULL);
    client_start(c);
    sim_lib_take(c);
}

void
sim_client_release(struct sim_client *c)
{
    c->leaving = true;
    cw_volume_release(c->volume);
    sim_proc_touch(&c->proc);
}

void
sim_client_init(struct sim *sim, struct sim_client *c, uint32_t index)
{
    char name[8];

    snprintf(name, sizeof(name), "c%u", index);
    sim_proc_init(sim, &c->proc, name);
    c->proc.turn_end = client_turn_end;
    c->next.fn = client_on_next;
    cw_list_init(&c->ops);
    cw_list_init(&c->flushes);
}

void
sim_client_fini(struct sim_client *c)
{
    sim_client_kill(c);
    sim_lib_fini(c);
    sim_proc_fini(&c->proc);
}
