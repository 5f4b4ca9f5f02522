#include "bench/load.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "common/base/prng.h"
#include "common/codec/hash.h"
#include "common/mem/buf.h"

#define SCATTER UINT64_C(2654435761) /* a prime: spreads neighbours over the volume */
#define SAMPLE_NS (10 * CW_NS_PER_MS)
#define STUCK_NS (60 * CW_NS_PER_S)
#define TURN_NS (5 * CW_NS_PER_MS)

struct load_op {
    struct cw_list link; /* idle, or the shard's under way in order of seq */
    struct bench_load *l;
    struct cw_buf *buf; /* of a write: its data */
    uint64_t lba;       /* in the volume */
    uint64_t seq, begun_ns;
    bool chosen; /* lba, data and begun_ns stand; it waits to be taken */
    uint64_t csums[CW_IO_BLOCKS_MAX];
    struct cw_store_read read;
};

struct bench_load {
    struct bench_subject *b;
    struct bench_job job;
    struct bench_result *res;
    struct cw_prng prng;
    struct load_op *ops;
    struct cw_list idle;
    struct cw_list *waiting;             /* by shard */
    uint64_t n_begun, n_units, n_wanted; /* n_wanted: CW_NEVER if time ends it */
    uint64_t cursor, stamp, begun_ns, moved_ns, sampled_ns;
    uint32_t n_busy;
    bool blocked, over, failed;
};

/* ---- which, and what ---- */

static uint64_t
unit_choose(struct bench_load *l)
{
    uint64_t hot = l->n_units / 5, i;

    if (!l->job.random)
        return l->cursor++ % l->n_units;
    if (!l->job.skewed)
        return cw_prng_below(&l->prng, l->n_units);
    i = cw_prng_below(&l->prng, 5) < 4 ? cw_prng_below(&l->prng, hot)
                                       : hot + cw_prng_below(&l->prng, l->n_units - hot);
    return i * SCATTER % l->n_units;
}

/* A number that no other block has makes every block's content its own. */
static void
op_stamp(struct load_op *op)
{
    for (uint32_t i = 0; i < op->l->job.nblk; i++) {
        uint8_t *block = op->buf->data + (size_t)i * CW_BLOCK_SIZE;
        uint64_t stamp[2] = { op->lba + i, ++op->l->stamp };

        memcpy(block, stamp, sizeof(stamp));
        op->csums[i] = cw_hash_block(block);
    }
}

static void
op_choose(struct load_op *op)
{
    op->lba = unit_choose(op->l) * op->l->job.nblk;
    if (op->l->job.write)
        op_stamp(op);
    op->chosen = true;
    op->begun_ns = cw_reactor_clock_ns();
}

static void
op_fill(struct load_op *op, uint32_t compressible_pct)
{
    uint32_t words = CW_BLOCK_SIZE / 8, random = words * (100 - compressible_pct) / 100;

    for (uint32_t i = 0; i < op->l->job.nblk; i++) {
        uint8_t *block = op->buf->data + (size_t)i * CW_BLOCK_SIZE;

        memset(block, 0, CW_BLOCK_SIZE);
        for (uint32_t w = 0; w < random; w++) {
            uint64_t x = cw_prng_next(&op->l->prng);

            memcpy(block + (size_t)w * 8, &x, sizeof(x));
        }
    }
}

/* ---- completions ---- */

static void
op_done(struct load_op *op)
{
    struct bench_load *l = op->l;
    uint64_t now_ns = cw_reactor_clock_ns();

    cw_histogram_add(&l->res->latency, now_ns - op->begun_ns);
    l->moved_ns = now_ns;
    l->res->ops++;
    l->n_busy--;
    op->chosen = false;
    cw_list_push_back(&l->idle, &op->link);
}

void
bench_load_on_durable(struct bench_load *l, struct cw_store_shard *sh)
{
    const struct cw_store_shard_info *info = cw_store_shard_info(sh);
    struct cw_list *waiting = &l->waiting[(uintptr_t)info->user];

    while (!cw_list_empty(waiting)) {
        struct load_op *op = cw_list_first(waiting, struct load_op, link);

        if (op->seq > info->durable_seq)
            break;
        cw_list_remove(&op->link);
        op_done(op);
    }
    cw_store_set_stable(sh, info->durable_seq);
}

/* The store compared the data with the map's checksums; here those are compared with what was
 * written last. */
static bool
read_is_right(const struct load_op *op)
{
    const uint64_t *want = &op->l->b->want[op->lba];
    const struct cw_store_read *r = &op->read;

    if (r->res != 0)
        return bench_fail("read of block %" PRIu64 " failed: %s", op->lba, strerror(-r->res));
    for (uint32_t i = 0; i < r->nblk; i++) {
        uint64_t csum = want[i] == 0 ? CW_HASH_ZERO_BLOCK : want[i];

        if (cw_bit_get(r->bad, i))
            return bench_fail("block %" PRIu64 " is unreadable or corrupt", op->lba + i);
        if (r->csums[i] != csum)
            return bench_fail("block %" PRIu64 " is not what was written last", op->lba + i);
    }
    return true;
}

static void
op_on_read(struct cw_store_read *r)
{
    struct load_op *op = cw_container_of(r, struct load_op, read);

    if (!read_is_right(op))
        op->l->failed = true;
    cw_buf_unref(r->buf);
    op_done(op);
}

/* ---- beginning ---- */

static void
op_read(struct load_op *op)
{
    struct bench_subject *b = op->l->b;

    op->read = (struct cw_store_read){
        .shard = b->shard[op->lba / b->shard_blocks],
        .lba = op->lba % b->shard_blocks,
        .nblk = op->l->job.nblk,
        .done = op_on_read,
    };
    cw_store_read(&op->read);
}

static void
op_refused(struct load_op *op, int res)
{
    struct bench_load *l = op->l;

    if (res == -EAGAIN)
        l->res->refused_again++;
    else if (res == -ENOSPC)
        l->res->refused_space++;
    else
        l->failed = !bench_fail("write of block %" PRIu64 " failed: %s", op->lba, strerror(-res));
}

static bool
op_append(struct load_op *op)
{
    struct bench_load *l = op->l;
    struct bench_subject *b = l->b;
    uint32_t index = (uint32_t)(op->lba / b->shard_blocks);
    struct cw_store_shard *sh = b->shard[index];
    struct cw_store_rec rec = {
        .type = CW_FT_WRITE,
        .gen = 1,
        .seq = cw_store_shard_info(sh)->last_seq + 1,
        .lba = op->lba % b->shard_blocks,
        .nblk = l->job.nblk,
        .csums = op->csums,
        .data = op->buf->data,
        .buf = op->buf,
    };
    int res;

    if (cw_store_credit(sh) < rec.nblk) {
        l->res->waited_credit++;
        return false;
    }
    res = cw_store_append(sh, &rec);
    if (res != 0) {
        op_refused(op, res);
        return false;
    }
    op->seq = rec.seq;
    memcpy(&b->want[op->lba], op->csums, rec.nblk * sizeof(op->csums[0]));
    cw_list_push_back(&l->waiting[index], &op->link);
    return true;
}

static void
load_begin(struct bench_load *l)
{
    l->blocked = l->blocked && !l->b->poked;
    l->b->poked = false;
    while (!l->blocked && !l->over && !cw_list_empty(&l->idle)) {
        struct load_op *op = cw_list_first(&l->idle, struct load_op, link);

        if (!op->chosen)
            op_choose(op);
        cw_list_remove(&op->link);
        l->n_busy++;
        if (!l->job.write)
            op_read(op);
        else if (!op_append(op)) {
            l->n_busy--;
            cw_list_push_front(&l->idle, &op->link);
            l->blocked = true;
            break;
        }
        l->over = ++l->n_begun >= l->n_wanted;
    }
}

/* ---- the turn ---- */

static void
load_sample(struct bench_load *l, uint64_t now_ns)
{
    struct bench_result *r = l->res;
    struct cw_store_stats s;

    if (now_ns - l->sampled_ns < SAMPLE_NS)
        return;
    l->sampled_ns = now_ns;
    cw_store_stats(l->b->store, &s);
    r->free_min = r->n_samples == 0 ? s.segments_free : cw_min_u64(r->free_min, s.segments_free);
    r->free_sum += s.segments_free;
    r->n_samples++;
    r->dirty_peak = cw_max_u64(r->dirty_peak, s.map_pages_dirty);
    r->pool_peak = cw_max_u64(r->pool_peak, cw_buf_pool_used(cw_reactor_pool(l->b->r)));
}

/* What one needs to know to look further. */
static bool
load_stuck(const struct bench_load *l)
{
    const struct bench_result *r = l->res;
    struct cw_store_stats s;

    cw_store_stats(l->b->store, &s);
    return bench_fail("nothing was completed for 60 s after %" PRIu64 " operations: %u under way, "
                      "%" PRIu64 " times -EAGAIN, %" PRIu64 " -ENOSPC, %" PRIu64 " no credit "
                      "(now %u), %" PRIu64 " of %" PRIu64 " segments free, %" PRIu64 " of %" PRIu64
                      " bytes used, %" PRIu64 " of %" PRIu64 " map pages dirty, %" PRIu64
                      " checkpoints, %" PRIu64 " bytes cleaned%s%s",
                      r->ops, l->n_busy, r->refused_again, r->refused_space, r->waited_credit,
                      cw_store_credit(l->b->shard[0]), s.segments_free, s.segments, s.used_bytes,
                      s.bytes, s.map_pages_dirty, s.map_pages,
                      s.checkpoints - r->before.checkpoints,
                      s.bytes_cleaned - r->before.bytes_cleaned, s.failed ? ", failed: " : "",
                      s.failed ? s.why : "");
}

static bool
load_turn(struct bench_load *l)
{
    uint64_t now_ns;

    load_begin(l);
    cw_store_turn_end(l->b->store);
    if (!bench_turn(l->b, TURN_NS))
        return false;
    l->res->turns++;
    now_ns = cw_reactor_clock_ns();
    l->over = l->over || (l->job.time_ns != 0 && now_ns - l->begun_ns >= l->job.time_ns);
    load_sample(l, now_ns);
    if (now_ns - l->moved_ns > STUCK_NS)
        return load_stuck(l);
    return !l->failed;
}

/* ---- begin, end ---- */

static bool
load_init(struct bench_load *l)
{
    struct bench_subject *b = l->b;

    cw_prng_init(&l->prng, cw_mix64(b->opts.seed) + b->n_jobs++);
    cw_list_init(&l->idle);
    l->n_units = b->blocks / l->job.nblk;
    if (l->job.skewed && l->n_units < 5)
        return bench_fail("a fifth of this volume is less than one block of the job");
    l->n_wanted = l->job.bytes == 0 ? CW_NEVER : l->job.bytes / CW_BLOCK_SIZE / l->job.nblk;
    l->stamp = cw_prng_next(&l->prng);
    l->waiting = calloc(b->n_shards, sizeof(*l->waiting));
    l->ops = calloc(l->job.depth, sizeof(*l->ops));
    if (l->waiting == NULL || l->ops == NULL)
        return bench_fail("out of memory");
    for (uint32_t i = 0; i < b->n_shards; i++)
        cw_list_init(&l->waiting[i]);
    for (uint32_t i = 0; i < l->job.depth; i++) {
        struct load_op *op = &l->ops[i];

        op->l = l;
        op->buf =
            l->job.write ? cw_buf_get(cw_reactor_pool(b->r), l->job.nblk * CW_BLOCK_SIZE) : NULL;
        if (l->job.write && op->buf == NULL)
            return bench_fail("--memory is too small for this job");
        if (l->job.write)
            op_fill(op, b->opts.compressible_pct);
        cw_list_push_back(&l->idle, &op->link);
    }
    return true;
}

static uint64_t
cpu_us(const struct timeval *t)
{
    return (uint64_t)t->tv_sec * 1000000 + (uint64_t)t->tv_usec;
}

static void
counts_since(struct bench_counts *n, const struct bench_counts *before)
{
    uint64_t *to = (uint64_t *)n;
    const uint64_t *from = (const uint64_t *)before;

    CW_STATIC_ASSERT(sizeof(*n) % sizeof(*to) == 0); /* all of it is counters */
    for (size_t i = 0; i < sizeof(*n) / sizeof(*to); i++)
        to[i] -= from[i];
}

static bool
load_run(struct bench_load *l)
{
    struct bench_result *r = l->res;
    struct bench_counts before = l->b->counter.n;
    struct rusage from, to;

    if (!bench_subject_wake(l->b))
        return false;
    cw_store_stats(l->b->store, &r->before);
    getrusage(RUSAGE_SELF, &from);
    l->begun_ns = l->moved_ns = cw_reactor_clock_ns();
    while (!l->over || l->n_busy > 0) {
        if (!load_turn(l))
            return false;
    }
    r->elapsed_ns = l->moved_ns - l->begun_ns;
    getrusage(RUSAGE_SELF, &to);
    cw_store_stats(l->b->store, &r->after);
    r->cpu_user_us = cpu_us(&to.ru_utime) - cpu_us(&from.ru_utime);
    r->cpu_sys_us = cpu_us(&to.ru_stime) - cpu_us(&from.ru_stime);
    r->disk = l->b->counter.n;
    counts_since(&r->disk, &before);
    return true;
}

bool
bench_load_run(struct bench_subject *b, const struct bench_job *job, struct bench_result *ret)
{
    struct bench_load l = { .b = b, .job = *job, .res = ret };
    bool ok;

    memset(ret, 0, sizeof(*ret));
    ok = load_init(&l);
    b->load = &l;
    ok = ok && load_run(&l);
    b->load = NULL;
    if (!ok)
        return false; /* the process ends; what is under way still points here */
    for (uint32_t i = 0; i < job->depth; i++)
        cw_buf_unref(l.ops[i].buf);
    free(l.ops);
    free(l.waiting);
    return true;
}
