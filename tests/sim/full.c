/* sim/full.c - stores that are nearly full: cleaners work, and owners wait for space.
 *
 * In some seeds one or two of the members have a disk of the least size on which another volume's
 * copy leaves room for some MiB. The present owner is made to write large blocks beside the
 * workload, and to trim them, now and then: what is live goes up to the end of credit and back.
 * Nothing may be lost by it, no write for which there was credit may be refused (I17), and what the
 * copies hold stays equal (I9). In the end all of it is trimmed, so that there is room, and from
 * then on the run must end as any other.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "common/codec/hash.h"
#include "tests/sim/scenario.h"

#define FILL_CHUNKS SIM_FULL_CHUNKS
#define SIM_FULL_POOL (48 * CW_MIB)
#define FILL_OUT 2u /* writes under way at most */

struct full_io {
    struct cw_io io;
    struct cw_list node; /* to the end of the run: an owner that dies forgets it */
    struct sim *sim;
    struct iovec iov;
    uint32_t epoch;
    bool last; /* one of the trims in the end */
    uint8_t data[];
};

void
sim_full_choose(struct sim *sim)
{
    struct cw_prng *p = &sim->rnd_full;
    bool drawn = sim_chance(p, 8) && sim->control == NULL;

    cw_list_init(&sim->full.ios);
    sim->full.on = sim->opts.scenario != NULL ? sim->opts.scenario->full : drawn;
    if (sim->full.on)
        sim->full.n_disks = sim_chance(p, 75) ? 1 : 2;
}

/* ---- the other volume ---- */

#define OTHER CW_SHARD_ID(SIM_VOLUME + 1, 0)

struct filling {
    struct sim_daemon *d;
    struct cw_store *store;
    struct cw_store_shard *sh;
    uint64_t blocks; /* in it */
    bool done;
    int res;
};

static void
filling_opened(void *user, int res)
{
    struct filling *f = user;

    f->done = true;
    f->res = res;
}

static void
filling_ticket(struct cw_store_ticket *t, int res)
{
    cw_assert(res == 0);
}

static void
no_shard(void *user, struct cw_store_shard *sh)
{
}

static void
no_health(void *user)
{
}

static void
no_bad(void *user, const struct cw_store_bad *bad)
{
}

static const struct cw_store_events no_events = {
    .on_durable = no_shard,
    .on_health = no_health,
    .on_bad = no_bad,
};

static void
filling_step(struct filling *f)
{
    struct cw_timer *t = cw_timerheap_pop(&f->d->proc.heap, CW_NEVER - 1);

    cw_assert(t != NULL);
    f->d->proc.sim->now_ns += 100000; /* the store waits for some things by the clock */
    t->fn(t);
    cw_store_turn_end(f->store);
}

static void
filling_wait(struct filling *f)
{
    cw_store_turn_end(f->store);
    while (!f->done)
        filling_step(f);
    f->done = false;
    cw_assert(f->res == 0);
}

/* False: there is no room. */
static bool
filling_append(struct filling *f)
{
    static uint8_t data[CW_IO_BLOCKS_MAX * CW_BLOCK_SIZE];
    static uint64_t csums[CW_IO_BLOCKS_MAX];
    struct cw_store_rec rec = {
        .type = CW_FT_WRITE,
        .gen = 1,
        .seq = cw_store_shard_info(f->sh)->last_seq + 1,
        .lba = f->blocks,
        .nblk = CW_IO_BLOCKS_MAX,
        .csums = csums,
        .data = data,
    };
    int err;

    for (uint32_t i = 0; i < CW_IO_BLOCKS_MAX && csums[0] == 0; i++)
        sim_block_fill(data + (size_t)i * CW_BLOCK_SIZE, 1, 1);
    for (uint32_t i = CW_IO_BLOCKS_MAX; i > 0 && csums[0] == 0; i--)
        csums[i - 1] = cw_hash_block(data + (size_t)(i - 1) * CW_BLOCK_SIZE);
    for (uint32_t i = 0; (err = cw_store_append(f->sh, &rec)) == -EAGAIN && i < 20000; i++)
        filling_step(f);
    if (err != 0)
        return false;
    cw_store_turn_end(f->store);
    cw_store_set_stable(f->sh, rec.seq);
    f->blocks += CW_IO_BLOCKS_MAX;
    return true;
}

void
sim_full_fill(struct sim_daemon *d)
{
    /* after a clean stop there are some 1200 more */
    uint64_t room_blocks = cw_prng_below(&d->proc.sim->rnd_full, 500);
    struct cw_shard_rec rec = { .shard = OTHER,
                                .gen = 1,
                                .cfg = 1,
                                .lineage = 1,
                                .n_blocks = CW_SHARD_CHUNKS * CW_CHUNK_BLOCKS,
                                .n_members = 1 };
    struct cw_store_ticket t = { .done = filling_ticket };
    struct filling f = { .d = d };
    int err;

    rec.members[0] = (struct cw_member){ .disk_uuid = d->disk_uuid,
                                         .format_id = d->format_id,
                                         .state = CW_MEMBER_INSYNC };
    d->pool = cw_buf_pool_new(SIM_FULL_POOL);
    cw_assert(d->pool != NULL);
    f.store = cw_store_new((struct cw_store_opts){ .env = &d->proc.env,
                                                   .disk = cw_ramdisk_disk(d->disk),
                                                   .pool = d->pool,
                                                   .map_cache_bytes = 4 * CW_MIB,
                                                   .ev = &no_events,
                                                   .user = &f });
    cw_assert(f.store != NULL);
    cw_store_open(f.store, filling_opened, &f);
    filling_wait(&f);
    f.sh = cw_store_shard_create(f.store, &rec, &t, &err);
    cw_assert(f.sh != NULL);
    while (cw_store_credit(f.sh) > room_blocks && filling_append(&f))
        ;
    cw_store_close(f.store, filling_opened, &f);
    filling_wait(&f);
    cw_store_free(f.store);
    cw_buf_pool_free(d->pool);
    d->pool = NULL;
}

/* ---- requests ---- */

void
sim_full_fini(struct sim *sim)
{
    struct cw_list *node;

    while ((node = cw_list_pop_front(&sim->full.ios)) != NULL)
        free(cw_list_entry(node, struct full_io, node));
}

static void
full_done(struct cw_io *io, int res)
{
    struct full_io *f = cw_container_of(io, struct full_io, io);
    struct sim *sim = f->sim;

    if (res != 0 && res != -ESHUTDOWN)
        sim_fail(sim, "requests: one that fills the disks ended with %d", res);
    if (f->epoch == sim->full.epoch && io->op == CW_IO_WRITE)
        sim->full.n_out--;
    sim->full.n_emptied += f->last && res == 0 && f->epoch == sim->full.epoch;
    cw_list_remove(&f->node);
    free(f);
}

/* Blocks of the play's region (SIM_GUEST_OFF), of one chunk if it is a write. */
static void
full_submit(struct sim *sim, enum cw_io_op op, uint32_t first, uint32_t n, bool last)
{
    size_t len = op == CW_IO_WRITE ? (size_t)n * CW_BLOCK_SIZE : 0;
    struct full_io *f = calloc(1, sizeof(*f) + len);
    uint64_t value = cw_prng_next(&sim->rnd_full) | 1;

    cw_assert(f != NULL);
    for (uint32_t i = 0; len > 0 && i < n; i++)
        sim_block_fill(f->data + (size_t)i * CW_BLOCK_SIZE, value, first + i);
    f->sim = sim;
    f->epoch = sim->full.epoch;
    f->last = last;
    f->iov = (struct iovec){ .iov_base = f->data, .iov_len = len };
    f->io = (struct cw_io){
        .op = op,
        .off = SIM_GUEST_OFF + (uint64_t)first * CW_BLOCK_SIZE,
        .len = (uint64_t)n * CW_BLOCK_SIZE,
        .iov = len > 0 ? &f->iov : NULL,
        .n_iov = len > 0,
        .done = full_done,
    };
    cw_list_push_back(&sim->full.ios, &f->node);
    sim->full.n_out += op == CW_IO_WRITE;
    cw_io_submit(sim->present->volume, &f->io);
    sim_proc_touch(&sim->present->proc);
}

static void
full_issue(struct sim *sim)
{
    struct cw_prng *p = &sim->rnd_full;
    uint32_t chunk = (uint32_t)cw_prng_below(p, FILL_CHUNKS), n = (uint32_t)sim_between(p, 32, 256);
    bool waits = sim->full.n_out >= FILL_OUT;

    if (sim_chance(p, waits ? 10 : 2))
        full_submit(sim, CW_IO_TRIM, chunk * CW_CHUNK_BLOCKS, CW_CHUNK_BLOCKS, false);
    else if (!waits)
        full_submit(sim, CW_IO_WRITE,
                    chunk * CW_CHUNK_BLOCKS + (uint32_t)cw_prng_below(p, CW_CHUNK_BLOCKS - n + 1),
                    n, false);
}

static void
full_look(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->full.n_disks; i++) {
        struct cw_store_stats st;

        if (!sim->daemons[i].serving)
            continue;
        cw_store_stats(cw_replica_store(sim->daemons[i].replica), &st);
        if (st.full)
            sim_mark(sim, SIM_MARK_FULL);
        if (st.bytes_cleaned > 0)
            sim_mark(sim, SIM_MARK_CLEANED);
    }
}

static void
full_tick(struct sim_task *t)
{
    struct sim *sim = t->sim;
    struct sim_client *c = sim->present;
    struct sim_task *again = calloc(1, sizeof(*again));

    cw_assert(again != NULL);
    sim_after(sim, again, sim_between(&sim->rnd_full, 20, 100) * CW_NS_PER_MS, full_tick);
    full_look(sim);
    if (c == NULL || !c->proc.up || c->proc.paused || !c->ready || c->lost || c->leaving)
        return;
    if (c->epoch != sim->full.epoch) {
        sim->full.epoch = c->epoch;
        sim->full.n_out = sim->full.n_emptied = 0;
        sim->full.emptying = false;
    }
    if (!sim->calm) {
        full_issue(sim);
    } else if (!sim->full.emptying) {
        sim->full.emptying = true;
        for (uint32_t i = 0; i < FILL_CHUNKS; i++) /* in one piece it would wait for the writes */
            full_submit(sim, CW_IO_TRIM, i * CW_CHUNK_BLOCKS, CW_CHUNK_BLOCKS, true);
    }
}

void
sim_full_start(struct sim *sim)
{
    struct sim_task *t = calloc(1, sizeof(*t));

    cw_assert(t != NULL);
    sim_after(sim, t, CW_NS_PER_S, full_tick);
}

static void
room_is_made(struct cw_replica_drop *drop, int res)
{
}

void
sim_full_make_room(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->full.n_disks; i++) {
        struct sim_daemon *d = &sim->daemons[i];

        if (!d->serving)
            continue;
        sim_log(sim, "%s drops what filled its disk", d->proc.name);
        sim->full.drops[i] = (struct cw_replica_drop){ .shard = OTHER, .done = room_is_made };
        cw_replica_drop(d->replica, &sim->full.drops[i]);
        sim_proc_touch(&d->proc);
    }
}

bool
sim_full_is_over(struct sim *sim)
{
    return !sim->full.on || sim->full.n_emptied == FILL_CHUNKS;
}

static bool
starved(struct sim *sim)
{
    return sim->result.marks[SIM_MARK_STARVED] > 0;
}

static bool
fed(struct sim *sim)
{
    return sim->result.marks[SIM_MARK_FED] > 0;
}

/* A copy is away meanwhile, or not; the owner changes, or not. */
void
sim_fill_play(struct sim *sim)
{
    bool away = sim_chance(&sim->rnd_fault, 40);

    sim_full_start(sim);
    if (away)
        sim_daemon_kill(&sim->daemons[2], true);
    sim_expect(sim, starved, 60000, "an owner waits for space");
    if (away)
        sim_daemon_start(&sim->daemons[2]);
    sim_expect(sim, fed, 60000, "a trim makes room, and it goes on");
    if (sim_chance(&sim->rnd_fault, 40)) {
        sim_client_kill(sim->present);
        sim_attach_next(sim);
        sim_pass(sim, 10000);
    }
    sim_pass(sim, 5000);
    sim_demand(sim, sim->result.marks[SIM_MARK_CLEANED] > 0, "cleaners had work");
}
