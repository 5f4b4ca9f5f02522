/* The N-th I/O of a whole life fails, for every N: open, records, cleaning, checkpoints, close, and
 * the start after it. Each kind of I/O in each way: -EIO once, -EIO from then on, a write lost, one
 * put elsewhere, one that never ends. Whatever happens, nothing that was acknowledged is lost and
 * nothing is acknowledged any more once the store has gone out of service; it says why; it neither
 * spins nor grows; and no failed write is ever tried again at its place.
 *
 *   CW_TEST_LONG=1   every N (minutes); else a sample of them, another for each kind
 *   an argument      only the cases that match it
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "daemon/store/store-internal.h"
#include "tests/lib/storelife.h"

#define READS CW_RAMDISK_OP(CW_DISK_READ)
#define SYNCS CW_RAMDISK_OP(CW_DISK_WRITE_SYNC)
#define PLAINS CW_RAMDISK_OP(CW_DISK_WRITE)
#define DISCARDS CW_RAMDISK_OP(CW_DISK_DISCARD)
/* discards may take long */
#define WATCHED (READS | SYNCS | PLAINS | CW_RAMDISK_OP(CW_DISK_FLUSH))
#define FOR_EVER UINT64_MAX
#define STUCK_NS (2500 * CW_NS_PER_MS)

struct plan {
    enum cw_ramdisk_fault fault;
    uint32_t ops;
    uint64_t n, count;
    int64_t arg;
    uint32_t lax; /* of what is found after the disk is well again */
    bool fresh;   /* on a store that was only formatted */
    bool unstick; /* a stuck one comes back after 3 s */
    bool cut;     /* the life is not closed; it rests before the power is cut */
};

struct try_read {
    struct cw_store_read r;
    bool done;
};

struct run {
    struct storelife life;
    struct try_read reads[16]; /* each used once: those that never end stay with the store */
    uint32_t n_reads;
    struct storeworld w;
    struct plan plan;
    bool failed; /* the store went out of service */
    uint64_t failed_acked[LIFE_SHARDS];
    uint64_t fault_ns; /* of the first */
    bool saw_stuck;
    bool opened, closed;
    struct cw_store_stats last; /* of the store when it was last seen */
};

/* A tight store, made once; each run has a clone of it. */
static struct storelife base_life, fresh_life;
static struct storeworld base_world, fresh_world;

static int
base_setup(void **state)
{
    storeworld_init(&base_world, 70, 512 * CW_MIB, CW_MIB / 2);
    storelife_init(&base_life, &base_world, 70);
    storelife_tighten(&base_life);
    assert_int_equal(storeworld_close(&base_world), 0);
    storelife_leave(&base_life);

    storeworld_init(&fresh_world, 69, 512 * CW_MIB, CW_MIB / 2);
    storelife_init(&fresh_life, &fresh_world, 69);
    assert_int_equal(storeworld_format(&fresh_world, false), 0);
    assert_int_equal(storeworld_open(&fresh_world), 0);
    storelife_open(&fresh_life);
    assert_int_equal(storeworld_close(&fresh_world), 0);
    storelife_leave(&fresh_life);
    return 0;
}

static int
base_teardown(void **state)
{
    storeworld_fini(&base_world);
    storeworld_fini(&fresh_world);
    return 0;
}

/* ---- watching ---- */

static void
watch_failure(struct run *r)
{
    storelife_note(&r->life);
    for (uint32_t i = 0; i < LIFE_SHARDS; i++) {
        if (!r->failed)
            r->failed_acked[i] = r->life.copy[i].acked;
        /* no more is acknowledged */
        assert_int_equal(r->life.copy[i].acked, r->failed_acked[i]);
    }
    r->failed = true;
    assert_non_null(r->last.why);
}

static void
watch_stuck(struct run *r)
{
    uint64_t age_ns = r->w.sim.now_ns - r->fault_ns;

    r->saw_stuck = r->saw_stuck || r->last.stuck;
    if (r->plan.fault != CW_RAMDISK_STICK || r->plan.ops == DISCARDS || r->fault_ns == 0)
        return;
    assert_true(!r->last.stuck || age_ns > 2 * CW_NS_PER_S);
    assert_true(r->saw_stuck || age_ns <= STUCK_NS);
    if (r->plan.unstick && age_ns > 3 * CW_NS_PER_S) {
        r->plan.unstick = false;
        cw_ramdisk_unstick(r->w.disk);
    }
}

/* After every event. */
static void
on_turn(void *user)
{
    struct run *r = user;

    if (r->w.store == NULL)
        return;
    cw_store_turn_end(r->w.store);
    if (r->fault_ns == 0 && cw_ramdisk_faults(r->w.disk) > 0)
        r->fault_ns = r->w.sim.now_ns;
    cw_store_stats(r->w.store, &r->last);
    if (r->last.failed)
        watch_failure(r);
    watch_stuck(r);
}

static bool
done_within(struct run *r, const bool *done, uint64_t for_ns)
{
    on_turn(r);
    return cw_simenv_run_until(&r->w.sim, done, for_ns);
}

/* ---- a life ---- */

static void
read_on_done(struct cw_store_read *r)
{
    cw_container_of(r, struct try_read, r)->done = true;
}

/* Whatever is read is right as of the instant it says, bad, or not answered at all. */
static void
life_read(struct run *r)
{
    uint32_t copy = (uint32_t)cw_prng_below(&r->life.rnd, LIFE_SHARDS);
    uint32_t lba = (uint32_t)cw_prng_below(&r->life.rnd, LIFE_SPAN - 40);
    struct try_read *t = &r->reads[r->n_reads++];

    assert_true(r->n_reads <= CW_LEN(r->reads));
    *t = (struct try_read){ .r = { .shard = r->life.copy[copy].sh, .lba = lba, .nblk = 40 } };
    t->r.done = read_on_done;
    cw_store_read(&t->r);
    if (!done_within(r, &t->done, 10 * WORLD_S)) {
        assert_true(r->last.stuck);
        return;
    }
    if (t->r.res == 0)
        storelife_check_read(&r->life, copy, &t->r, LIFE_BAD_OK);
    else
        assert_true(t->r.res == -EIO && r->failed);
    cw_buf_unref(t->r.buf);
}

static void
life_records(struct run *r)
{
    for (uint32_t i = 0; i < 40; i++) {
        int err = storelife_some(&r->life, 5);

        if (err != 0) {
            assert_true(err == -EIO ? r->last.failed : err == -ETIMEDOUT && r->last.stuck);
            return;
        }
        on_turn(r);
        for (uint64_t k = cw_prng_below(&r->life.rnd, 6); k > 0; k--)
            cw_simenv_step(&r->w.sim);
        if (i % 4 == 3)
            life_read(r);
        if (i % 6 == 5)
            storelife_stable(&r->life, 3);
        if (i % 10 == 9)
            cw_simenv_run_for(&r->w.sim, 2 * CW_NS_PER_MS);
        if (i % 12 == 11)
            ckpt_want(r->w.store);
    }
}

/* A store that is out of service answers everything, at once, and does nothing any more. */
static void
life_out_of_service(struct run *r)
{
    uint64_t turns, used;
    uint32_t ios;

    cw_simenv_run_for(&r->w.sim, WORLD_S);
    for (size_t i = 0; i < CW_LEN(r->life.step); i++)
        assert_false(r->life.step[i].busy);
    assert_true(r->w.n_health > 0);
    assert_int_equal(cw_store_credit(r->life.copy[0].sh), 0);
    assert_int_equal(storelife_write(&r->life, 0, 0, 1), -EIO);
    life_read(r);
    storelife_promise(&r->life, 0);
    cw_simenv_run_for(&r->w.sim, WORLD_S);
    turns = r->w.sim.turns;
    used = cw_buf_pool_used(r->w.pool);
    ios = (uint32_t)cw_ramdisk_count(r->w.disk, CW_RAMDISK_ANY_OP);
    cw_simenv_run_for(&r->w.sim, 600 * WORLD_S);
    assert_int_equal(cw_ramdisk_count(r->w.disk, CW_RAMDISK_ANY_OP), ios);
    assert_true(cw_buf_pool_used(r->w.pool) <= used);
    /* none, or those of the watchdog over an I/O that never ends */
    assert_true(r->w.sim.turns - turns <= (r->last.stuck ? 2500 : 5));
}

static void
life_open(struct run *r)
{
    storeworld_open_begin(&r->w);
    if (!done_within(r, &r->w.done, 20 * WORLD_S)) {
        assert_true(r->last.stuck);
        return;
    }
    if (r->w.res != 0) {
        cw_store_free(r->w.store);
        r->w.store = NULL;
        return;
    }
    r->opened = true;
    storelife_open(&r->life);
}

static void
life_close(struct run *r)
{
    storeworld_close_begin(&r->w);
    if (!done_within(r, &r->w.done, 20 * WORLD_S)) {
        assert_true(r->last.stuck);
        return;
    }
    assert_int_equal(r->w.res, r->failed ? -EIO : 0);
    r->closed = r->w.res == 0;
    cw_store_free(r->w.store);
    r->w.store = NULL;
}

static void
life_whole(struct run *r)
{
    life_open(r);
    if (!r->opened)
        return;
    life_records(r);
    if (!storelife_settle(&r->life, 10 * WORLD_S))
        assert_true(r->failed || r->last.stuck);
    cw_simenv_run_for(&r->w.sim, 150 * CW_NS_PER_MS);
    if (r->failed)
        life_out_of_service(r);
    if (!r->plan.cut)
        life_close(r);
}

/* ---- before and after ---- */

static void
run_init(struct run *r, const struct plan *p, bool fails)
{
    const struct storelife *from = p->fresh ? &fresh_life : &base_life;

    memset(r, 0, sizeof(*r));
    r->plan.cut = p->cut;
    memcpy(&r->life, from, sizeof(*from));
    r->life.w = &r->w;
    storeworld_init(&r->w, 71, from->w->bytes, from->w->map_cache);
    cw_ramdisk_free(r->w.disk);
    r->w.disk = cw_ramdisk_clone_crashed(from->w->disk, &r->w.sim.env,
                                         (struct cw_ramdisk_crash){ .seed = 72, .keep = 256 });
    r->w.discard = true;
    r->w.sim.on_turn = on_turn;
    r->w.sim.user = r;
    cw_ramdisk_trace(r->w.disk, true);
    if (!fails)
        return;
    r->plan = *p;
    cw_ramdisk_plan(r->w.disk, p->fault, p->ops, p->n, p->count, p->arg);
}

/* A write that failed is not tried again at its place: the same bytes may well be there and not be
 * stable. Nor is a flush. */
static void
check_no_retry(const struct run *r)
{
    uint32_t n;
    const struct cw_ramdisk_io *io = cw_ramdisk_traced(r->w.disk, &n);

    for (uint32_t i = 0; i < n; i++) {
        if (!io[i].done || io[i].res == 0 || io[i].op == CW_DISK_READ ||
            io[i].op == CW_DISK_DISCARD)
            continue;
        for (uint32_t k = i + 1; k < n; k++) {
            if (io[k].submitted_ns < io[i].done_ns || io[k].op != io[i].op)
                continue;
            assert_true(io[k].op != CW_DISK_FLUSH);
            assert_true(io[k].off != io[i].off || io[k].hash != io[i].hash);
        }
    }
}

/* Of a write that was lost only what came after it can tell: what was submitted when it was thought
 * to be there, and reached the disk. */
static bool
lost_last(const struct run *r)
{
    const struct cw_ramdisk_io *lost = NULL;
    uint32_t n;
    uint64_t nth = 0;
    const struct cw_ramdisk_io *io = cw_ramdisk_traced(r->w.disk, &n);

    for (uint32_t i = 0; i < n; i++) {
        if (io[i].op != CW_DISK_WRITE_SYNC)
            continue;
        if (++nth == r->plan.n)
            lost = &io[i];
        if (lost != NULL && lost->done && io[i].done && io[i].submitted_ns >= lost->done_ns)
            return false;
    }
    return true;
}

/* The disk is well again; the power was cut meanwhile, but for a clean close. False: a write that
 * was lost had what both checkpoints refer to, and the store says so. */
static bool
run_check(struct run *r)
{
    int res;
    bool lost = r->plan.fault == CW_RAMDISK_LOSE || r->plan.fault == CW_RAMDISK_MISDIRECT;

    if (lost && lost_last(r))
        r->plan.lax |= LIFE_BEHIND_OK;
    check_no_retry(r);
    cw_ramdisk_trace(r->w.disk, false);
    cw_ramdisk_plan(r->w.disk, CW_RAMDISK_EIO, 0, 0, 0, 0);
    r->plan.fault = CW_RAMDISK_EIO;
    storelife_leave(&r->life);
    storeworld_crash(&r->w, (struct cw_ramdisk_crash){ .seed = 73 });
    r->w.sim.on_turn = NULL;
    res = storeworld_open(&r->w);
    if (lost && res == CW_STORE_E_UNREADABLE)
        return false;
    assert_int_equal(res, 0);
    if (r->opened && !lost && !(r->plan.lax & LIFE_BEHIND_OK))
        assert_int_equal(cw_store_recovery(r->w.store)->clean, r->closed);
    storelife_check(&r->life, &r->w, r->plan.lax);
    assert_int_equal(storeworld_close(&r->w), 0);
    assert_int_equal(storeworld_open(&r->w), 0);
    storelife_check(&r->life, &r->w, r->plan.lax);
    return true;
}

static void
run_fini(struct run *r)
{
    assert_int_equal(cw_ramdisk_under_way(r->w.disk), 0);
    storeworld_fini(&r->w);
}

/* How many I/Os of the kind a life has when nothing fails. */
static uint64_t
life_count(const struct plan *p)
{
    static struct run r;
    uint64_t n;

    run_init(&r, p, false);
    life_whole(&r);
    assert_true(r.closed || p->cut);
    n = cw_ramdisk_count(r.w.disk, p->ops);
    assert_true(p->fresh || (r.last.bytes_cleaned > 0 && r.last.checkpoints > 2));
    assert_true(run_check(&r));
    run_fini(&r);
    return n;
}

/* The plan with every N (or a sample); how often the store went out of service. */
static uint32_t
every_n(struct plan p)
{
    static struct run r;
    static uint64_t sample = 0;
    bool lost = p.fault == CW_RAMDISK_LOSE || p.fault == CW_RAMDISK_MISDIRECT;
    uint64_t count = life_count(&p);
    uint64_t step = lost || getenv("CW_TEST_LONG") != NULL ? 1 : 1 + count / 10;
    uint32_t n_failed = 0, n_met = 0, n_lives = 0, n_excused = 0, n_unreadable = 0;

    for (p.n = 1 + sample++ % step; p.n <= count; p.n += step) {
        run_init(&r, &p, true);
        life_whole(&r);
        n_met += cw_ramdisk_faults(r.w.disk) > 0;
        n_failed += r.failed;
        n_lives++;
        n_unreadable += !run_check(&r);
        n_excused += lost && (r.plan.lax & LIFE_BEHIND_OK);
        run_fini(&r);
    }
    assert_true(n_excused <= 4);               /* batches in flight at the very end */
    assert_true(n_unreadable <= n_lives / 32); /* a table page, or none */
    print_message("# %u lives of %llu I/Os of the kind, %u met the fault, %u went out of service, "
                  "%u were unreadable\n",
                  n_lives, (unsigned long long)count, n_met, n_failed, n_unreadable);
    assert_true(count > 0 && n_met + n_lives / 8 + 1 >= n_lives);
    return n_failed;
}

/* ---- cases ---- */

/* An append goes elsewhere; nothing but the superblock is worth the service. */
static void
row_41_a_sync_write_fails_once(void **state)
{
    every_n((struct plan){ .fault = CW_RAMDISK_EIO, .ops = SYNCS, .count = 1 });
}

static void
row_41_sync_writes_fail_from_then_on(void **state)
{
    every_n((struct plan){ .fault = CW_RAMDISK_EIO, .ops = SYNCS, .count = FOR_EVER });
}

/* Those of prewriting: nobody depends on them. */
static void
a_plain_write_fails(void **state)
{
    struct plan p = { .fault = CW_RAMDISK_EIO, .ops = PLAINS, .count = 1, .fresh = true };

    assert_int_equal(every_n(p), 0);
    p.count = FOR_EVER;
    assert_int_equal(every_n(p), 0);
}

/* A store can do without: nothing is made of it but a note. */
static void
a_discard_fails(void **state)
{
    assert_int_equal(every_n((struct plan){ .fault = CW_RAMDISK_EIO, .ops = DISCARDS, .count = 1 }),
                     0);
    assert_int_equal(
        every_n((struct plan){ .fault = CW_RAMDISK_EIO, .ops = DISCARDS, .count = FOR_EVER }), 0);
    assert_int_equal(
        every_n((struct plan){ .fault = CW_RAMDISK_STICK, .ops = DISCARDS, .count = FOR_EVER }), 0);
}

static void
a_read_fails_once(void **state)
{
    assert_int_equal(every_n((struct plan){ .fault = CW_RAMDISK_EIO, .ops = READS, .count = 1 }),
                     0);
}

/* What cannot be read is bad; what cannot be read in an open ends it. */
static void
reads_fail_from_then_on(void **state)
{
    every_n((struct plan){
        .fault = CW_RAMDISK_EIO, .ops = READS, .count = FOR_EVER, .lax = LIFE_BAD_OK });
}

/* Everything fails: the disk is gone. */
static void
row_51_the_disk_vanishes(void **state)
{
    every_n((struct plan){ .fault = CW_RAMDISK_EIO, .ops = CW_RAMDISK_ANY_OP, .count = FOR_EVER });
}

/* A write that was acknowledged and never done: bad blocks, or fewer records of a copy that says it
 * is damaged, nothing wrong; never a log that just ends earlier, unless it was the very last. */
static void
row_42_a_write_is_lost(void **state)
{
    struct plan p = { .fault = CW_RAMDISK_LOSE, .ops = SYNCS, .count = 1, .lax = LIFE_BAD_OK };

    every_n(p);
    p.cut = true;
    every_n(p);
}

/* The same, and what it hit besides. */
static void
row_40_a_write_lands_elsewhere(void **state)
{
    struct plan p = { .fault = CW_RAMDISK_MISDIRECT,
                      .ops = SYNCS,
                      .count = 1,
                      .arg = -(int64_t)(37 * CW_BLOCK_SIZE),
                      .lax = LIFE_BAD_OK };

    every_n(p);
    p.cut = true;
    every_n(p);
}

/* It comes back after three seconds: told both times, and all goes on. */
static void
an_io_is_stuck_for_a_while(void **state)
{
    assert_int_equal(every_n((struct plan){
                         .fault = CW_RAMDISK_STICK, .ops = WATCHED, .count = 1, .unstick = true }),
                     0);
}

static void
an_io_is_stuck_for_ever(void **state)
{
    every_n((struct plan){ .fault = CW_RAMDISK_STICK, .ops = WATCHED, .count = 1 });
    every_n((struct plan){ .fault = CW_RAMDISK_STICK, .ops = WATCHED, .count = FOR_EVER });
}

/* ---- a start after a cut ---- */

/* The tight store in the middle of a life: records, the last of them not yet covered by any later
 * batch, and no time to write a note. */
static void
cut_world_init(struct storeworld *w, struct storelife *l)
{
    struct storelife_copy *c = l->copy;

    memcpy(l, &base_life, sizeof(*l));
    l->w = w;
    storeworld_init(w, 74, base_world.bytes, base_world.map_cache);
    cw_ramdisk_free(w->disk);
    w->disk = cw_ramdisk_clone_crashed(base_world.disk, &w->sim.env,
                                       (struct cw_ramdisk_crash){ .seed = 75, .keep = 256 });
    assert_int_equal(storeworld_open(w), 0);
    storelife_open(l);
    for (uint32_t i = 0; i < 60; i++) {
        assert_int_equal(storelife_some(l, 20), 0);
        cw_store_turn_end(w->store);
        if (i % 7 == 0)
            cw_simenv_run_for(&w->sim, CW_NS_PER_MS);
    }
    assert_int_equal(storelife_write(l, 0, 5, 3), 0);
    assert_true(storelife_settle(l, 10 * WORLD_S));
    assert_true(c[0].acked == c[0].n && c[1].acked == c[1].n);
}

static bool
any_is_damaged(struct cw_store *s)
{
    for (struct cw_store_shard *sh = NULL; (sh = cw_store_shard_next(s, sh)) != NULL;) {
        if (cw_store_shard_info(sh)->damaged)
            return true;
    }
    return false;
}

/* The disk of l after a cut, with the N-th fault. */
typedef struct cw_ramdisk *make_fn(const struct storelife *l, struct cw_env *env, uint64_t n);

/* Nothing acknowledged is lost in silence: the start fails, or the copies are damaged, or all is
 * there. Then the disk is well again; returns whether all was there at once. */
static bool
try_start(const struct storelife *l, make_fn *make, uint64_t n)
{
    struct storeworld v;
    bool whole = false;

    storeworld_init(&v, 2000 + n, l->w->bytes, l->w->map_cache);
    cw_ramdisk_free(v.disk);
    v.disk = make(l, &v.sim.env, n);
    if (storeworld_open(&v) == 0) {
        whole = !any_is_damaged(v.store);
        storelife_check(l, &v, LIFE_BAD_OK);
    }
    storeworld_fini(&v);
    return whole;
}

static struct cw_ramdisk *
cut_disk(const struct storelife *l, struct cw_env *env)
{
    return cw_ramdisk_clone_crashed(l->w->disk, env, (struct cw_ramdisk_crash){ .seed = 76 });
}

static struct cw_ramdisk *
cut_disk_fails_once(const struct storelife *l, struct cw_env *env, uint64_t n)
{
    struct cw_ramdisk *d = cut_disk(l, env);

    cw_ramdisk_plan(d, CW_RAMDISK_EIO, READS, n, 1, 0);
    return d;
}

/* The sectors, not all zeroes, that a start reads. */
static struct {
    uint64_t off[8192];
    uint32_t n;
} start_reads;

static struct cw_ramdisk *
cut_disk_is_latent(const struct storelife *l, struct cw_env *env, uint64_t n)
{
    struct cw_ramdisk *d = cut_disk(l, env);

    cw_ramdisk_latent(d, start_reads.off[n - 1], CW_BLOCK_SIZE);
    return d;
}

static struct cw_ramdisk *
cut_disk_is_rotten(const struct storelife *l, struct cw_env *env, uint64_t n)
{
    struct cw_ramdisk *d = cut_disk(l, env);

    cw_ramdisk_flip(d, start_reads.off[n - 1] + n * 97 % CW_BLOCK_SIZE, (uint8_t)(1u << n % 8));
    return d;
}

static void
start_reads_add(const struct cw_ramdisk *d, uint64_t off)
{
    uint8_t sector[CW_BLOCK_SIZE] __attribute__((aligned(64)));

    cw_ramdisk_peek(d, off, sector, sizeof(sector));
    for (uint32_t i = 0; i < start_reads.n; i++) {
        if (start_reads.off[i] == off)
            return;
    }
    if (!cw_block_is_zero(sector) && start_reads.n < CW_LEN(start_reads.off))
        start_reads.off[start_reads.n++] = off;
}

/* Returns the number of reads. */
static uint32_t
start_reads_find(const struct storelife *l)
{
    const struct cw_ramdisk_io *io;
    struct storeworld v;
    uint32_t n, n_reads = 0;

    storeworld_init(&v, 77, l->w->bytes, l->w->map_cache);
    cw_ramdisk_free(v.disk);
    v.disk = cut_disk(l, &v.sim.env);
    cw_ramdisk_trace(v.disk, true);
    assert_int_equal(storeworld_open(&v), 0);
    io = cw_ramdisk_traced(v.disk, &n);
    start_reads.n = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (io[i].op != CW_DISK_READ)
            continue;
        n_reads++;
        for (uint64_t at = 0; at < io[i].len; at += CW_BLOCK_SIZE)
            start_reads_add(v.disk, io[i].off + at);
    }
    storeworld_fini(&v);
    return n_reads;
}

/* How many of a sample of all sectors read were `make` of, and how often all was there. */
static void
every_sector(const struct storelife *l, make_fn *make, const char *what)
{
    uint32_t step = getenv("CW_TEST_LONG") != NULL ? 1 : 1 + start_reads.n / 40, n = 0, whole = 0;

    for (uint64_t i = 1; i <= start_reads.n; i += step, n++)
        whole += try_start(l, make, i);
    print_message("# %u of %u sectors %s: all there %u times\n", n, start_reads.n, what, whole);
    assert_true(whole > n / 2); /* most are of no account; damage is not cried for them */
}

/* Right after the last record was acknowledged, when nothing covers it yet. */
static void
reads_of_a_start_fail(void **state)
{
    static struct storelife l;
    struct storeworld w;
    uint32_t n;

    cut_world_init(&w, &l);
    n = start_reads_find(&l);
    for (uint64_t i = 1; i <= n; i++)
        assert_true(try_start(&l, cut_disk_fails_once, i)); /* a passing error costs nothing */
    every_sector(&l, cut_disk_is_latent, "unreadable");
    storeworld_fini(&w);
}

/* Once a note covers the last record too, one flipped bit anywhere is found: damage, a bad block,
 * or of no account; never a log that ends earlier and says nothing. */
static void
row_39_any_sector_of_the_log_rots(void **state)
{
    static struct storelife l;
    struct storeworld w;

    cut_world_init(&w, &l);
    storeworld_run(&w, 300 * CW_NS_PER_MS);
    start_reads_find(&l);
    every_sector(&l, cut_disk_is_rotten, "rotten");
    every_sector(&l, cut_disk_is_latent, "unreadable");
    storeworld_fini(&w);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(row_41_a_sync_write_fails_once),
        cmocka_unit_test(row_41_sync_writes_fail_from_then_on),
        cmocka_unit_test(a_plain_write_fails),
        cmocka_unit_test(a_discard_fails),
        cmocka_unit_test(a_read_fails_once),
        cmocka_unit_test(reads_fail_from_then_on),
        cmocka_unit_test(reads_of_a_start_fail),
        cmocka_unit_test(row_39_any_sector_of_the_log_rots),
        cmocka_unit_test(row_51_the_disk_vanishes),
        cmocka_unit_test(row_42_a_write_is_lost),
        cmocka_unit_test(row_40_a_write_lands_elsewhere),
        cmocka_unit_test(an_io_is_stuck_for_a_while),
        cmocka_unit_test(an_io_is_stuck_for_ever),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, base_setup, base_teardown);
}
