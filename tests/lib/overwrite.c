#include "tests/lib/overwrite.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"

#define SHARD_ID (UINT64_C(11) << 16)

void
overwrite_init(struct overwrite *o, struct overwrite_opts opts)
{
    const struct cw_store_identity *id;

    memset(o, 0, sizeof(*o));
    opts.window_ns = opts.window_ns == 0 ? 20 * CW_NS_PER_MS : opts.window_ns;
    opts.map_cache = opts.map_cache == 0 ? opts.bytes / 64 : opts.map_cache;
    o->opts = opts;
    cw_prng_init(&o->rnd, opts.seed);
    storeworld_init(&o->w, opts.seed, opts.bytes, opts.map_cache);
    o->w.scrub_ns = STOREWORLD_NO_SCRUB;
    cw_ramdisk_free(o->w.disk);
    o->w.disk = cw_ramdisk_new((struct cw_ramdisk_opts){
        .env = &o->w.sim.env,
        .bytes = opts.bytes,
        .seed = opts.seed,
        .bytes_per_s = opts.bytes_per_s,
    });
    o->sh = storeworld_begin(&o->w, SHARD_ID);
    id = cw_store_identity(o->w.store);
    o->n = (uint32_t)((uint64_t)id->segment_count * (id->segment_bytes / CW_BLOCK_SIZE) *
                      opts.live_percent / 100 / 64 * 64);
    assert_true(o->n > 0 && o->n <= CW_SHARD_BLOCKS);
    o->seq_of = calloc(o->n, sizeof(*o->seq_of));
    assert_non_null(o->seq_of);
}

void
overwrite_fini(struct overwrite *o)
{
    storeworld_fini(&o->w);
    free(o->seq_of);
}

/* ---- looking ---- */

static uint64_t
durable_of(const struct overwrite *o)
{
    return cw_store_shard_info(o->sh)->durable_seq;
}

static void
count_segments(struct overwrite *o)
{
    const struct cw_store *s = o->w.store;

    for (uint32_t i = 0; i < s->n_segs; i++) {
        const struct seg *g = &s->segs[i];
        bool used = g->state == CW_SEG_OPEN || (g->state == CW_SEG_SEALED && g->live > 0);

        if (used)
            *(g->cls == CW_SEG_META ? &o->meta_segs : &o->data_segs) += 1;
    }
}

/* Map pages written per checkpoint: of C chunks those that D blocks of log met. */
static double
formula_pages(double chunks, double between)
{
    return chunks * (1 - exp(-between / chunks));
}

static void
window_end(struct overwrite *o, uint64_t now_ns, uint64_t durable)
{
    if (o->n_windows < OVERWRITE_WINDOWS_MAX) {
        o->windows[o->n_windows++] = (uint32_t)(durable - o->window_durable);
        count_segments(o);
    }
    o->window_from_ns += o->opts.window_ns;
    o->window_durable = durable;
    if (now_ns > o->window_from_ns + o->opts.window_ns)
        window_end(o, now_ns, durable);
}

static void
look(struct overwrite *o)
{
    uint64_t now_ns = o->w.sim.now_ns, durable = durable_of(o);
    uint64_t log = o->w.store->ckpt.last_bytes;

    if (log != o->ckpt_log) {
        o->map_pages += formula_pages(o->n / 256.0, (double)(log - o->ckpt_log) / CW_BLOCK_SIZE);
        o->ckpt_log = log;
    }
    if (now_ns >= o->window_from_ns + o->opts.window_ns)
        window_end(o, now_ns, o->last_durable);
    if (durable == o->last_durable)
        return;
    o->gap_ns = cw_max_u64(o->gap_ns, now_ns - o->last_ack_ns);
    o->last_ack_ns = now_ns;
    o->last_durable = durable;
    cw_store_set_stable(o->sh, durable);
}

static void
step(struct overwrite *o)
{
    cw_store_turn_end(o->w.store);
    assert_true(cw_simenv_step(&o->w.sim));
    look(o);
    assert_true(o->w.sim.now_ns - o->last_ack_ns < 60 * WORLD_S);
}

/* ---- writing ---- */

static void
put(struct overwrite *o, uint32_t lba, uint32_t nblk)
{
    struct cw_store_shard_info *info = cw_store_shard_info(o->sh);
    uint8_t data[64 * CW_BLOCK_SIZE] __attribute__((aligned(4096)));
    uint64_t csums[64];
    struct cw_store_rec rec = {
        .type = CW_FT_WRITE,
        .gen = 1,
        .seq = info->last_seq + 1,
        .lba = lba,
        .nblk = nblk,
        .csums = csums,
        .data = data,
    };
    int err;

    for (uint32_t i = 0; i < nblk; i++) {
        storeworld_fill(data + (size_t)i * CW_BLOCK_SIZE, SHARD_ID, lba + i, rec.seq);
        csums[i] = cw_hash_block(data + (size_t)i * CW_BLOCK_SIZE);
        o->seq_of[lba + i] = (uint32_t)rec.seq;
    }
    while ((err = cw_store_append(o->sh, &rec)) == -EAGAIN)
        step(o);
    assert_int_equal(err, 0);
}

static void
drain(struct overwrite *o)
{
    while (durable_of(o) < cw_store_shard_info(o->sh)->last_seq)
        step(o);
}

void
overwrite_fill(struct overwrite *o)
{
    o->last_ack_ns = o->w.sim.now_ns;
    for (uint32_t lba = 0; lba < o->n; lba += 64) {
        put(o, lba, 64);
        while (cw_store_shard_info(o->sh)->last_seq - durable_of(o) > 8)
            step(o);
    }
    drain(o);
}

static uint32_t
pick(struct overwrite *o)
{
    uint32_t hot = (uint32_t)((uint64_t)o->n * o->opts.hot_percent / 100);

    if (hot == 0)
        return (uint32_t)cw_prng_below(&o->rnd, o->n);
    if (cw_prng_below(&o->rnd, 100) < o->opts.hot_writes_percent)
        return (uint32_t)cw_prng_below(&o->rnd, hot);
    return hot + (uint32_t)cw_prng_below(&o->rnd, o->n - hot);
}

void
overwrite_begin(struct overwrite *o)
{
    const struct cw_store *s = o->w.store;

    o->began_ns = o->window_from_ns = o->last_ack_ns = o->w.sim.now_ns;
    o->last_durable = o->window_durable = durable_of(o);
    o->blocks = s->stats.blocks_written;
    o->moved = s->stats.bytes_cleaned;
    o->unfilled = s->unfilled;
    o->checkpoints = s->stats.checkpoints;
    memcpy(o->logged, s->logged, sizeof(o->logged));
    memcpy(o->batches, s->batches_of, sizeof(o->batches));
    o->gap_ns = 0;
    o->n_windows = 0;
    o->data_segs = o->meta_segs = o->map_pages = 0;
    o->ckpt_log = s->ckpt.last_bytes;
}

void
overwrite_run(struct overwrite *o, uint64_t n_blocks)
{
    for (uint64_t i = 0; i < n_blocks; i++) {
        put(o, pick(o), 1);
        while (cw_store_shard_info(o->sh)->last_seq - durable_of(o) >= o->opts.depth)
            step(o);
    }
    drain(o);
}

void
overwrite_verify(struct overwrite *o, uint32_t k)
{
    for (uint32_t lba = 0; lba < o->n; lba += k)
        assert_true(storeworld_block_is(&o->w, o->sh, lba, o->seq_of[lba]));
}

/* ---- formulas ---- */

double
overwrite_formula(double live_share)
{
    double lo = 0, hi = 1;

    for (int i = 0; i < 100; i++) {
        double u = (lo + hi) / 2;

        if ((u - 1) / log(u) < live_share)
            lo = u;
        else
            hi = u;
    }
    return 1 / (1 - lo);
}

double
overwrite_formula_skewed(double live_share, double hot, double hot_writes)
{
    double best = 1e9;

    for (int i = 1; i < 1000; i++) {
        double spare = (1 - live_share) * i / 1000, rest = 1 - live_share - spare;
        double h = live_share * hot, c = live_share - h;
        double wa = hot_writes * overwrite_formula(h / (h + spare)) +
                    (1 - hot_writes) * overwrite_formula(c / (c + rest));

        best = wa < best ? wa : best;
    }
    return best;
}

/* ---- the report ---- */

static void
report_windows(const struct overwrite *o, struct overwrite_report *r)
{
    double sum = 0, square = 0, min = 1e18, max = 0, mean;

    for (uint32_t i = 0; i < o->n_windows; i++) {
        sum += o->windows[i];
        square += (double)o->windows[i] * o->windows[i];
        min = o->windows[i] < min ? o->windows[i] : min;
        max = o->windows[i] > max ? o->windows[i] : max;
    }
    mean = sum / o->n_windows;
    r->window_min = min / mean;
    r->window_max = max / mean;
    r->window_spread = sqrt(square / o->n_windows - mean * mean) / mean;
}

struct overwrite_report
overwrite_report(const struct overwrite *o)
{
    const struct cw_store *s = o->w.store;
    double bytes = (double)(s->stats.blocks_written - o->blocks) * CW_BLOCK_SIZE, all = 0;
    double seg_blocks = s->seg_bytes / CW_BLOCK_SIZE, hot, gc, meta, efficiency;
    struct overwrite_report r = { 0 };

    r.seconds = (double)(o->w.sim.now_ns - o->began_ns) / 1e9;
    r.blocks_per_s = bytes / CW_BLOCK_SIZE / r.seconds;
    r.gap_ms = (double)o->gap_ns / 1e6;
    report_windows(o, &r);
    for (uint8_t cls = CW_SEG_HOT; cls < CW_SEG_CLASSES; cls++)
        all += (double)(s->logged[cls] - o->logged[cls]);
    hot = (double)(s->logged[CW_SEG_HOT] - o->logged[CW_SEG_HOT]);
    meta = (double)(s->logged[CW_SEG_META] - o->logged[CW_SEG_META]);
    gc = all - hot - meta;
    r.per_batch =
        bytes / CW_BLOCK_SIZE / (double)(s->batches_of[CW_SEG_HOT] - o->batches[CW_SEG_HOT]);
    r.wa_log = hot / bytes;
    r.wa_clean = gc / bytes;
    r.wa_map = meta / bytes;
    r.wa = all / bytes;
    r.checkpoints = (double)(s->stats.checkpoints - o->checkpoints);
    /* what headers, summaries and gaps take is not data: a segment holds that much less */
    efficiency = (bytes + (double)(s->stats.bytes_cleaned - o->moved)) /
                 (hot + gc + (double)(s->unfilled - o->unfilled));
    r.u_all = o->n / (s->n_segs * seg_blocks);
    r.u_data = o->n / (o->data_segs / o->n_windows * seg_blocks * efficiency);
    r.f_clean = o->opts.hot_percent == 0
                    ? overwrite_formula(r.u_data)
                    : overwrite_formula_skewed(r.u_data, o->opts.hot_percent / 100.0,
                                               o->opts.hot_writes_percent / 100.0);
    r.f_map = o->map_pages * CW_BLOCK_SIZE / bytes;
    r.data_share = o->data_segs / o->n_windows / s->n_segs;
    r.meta_share = o->meta_segs / o->n_windows / s->n_segs;
    r.f = r.wa_log * r.f_clean + r.f_map;
    return r;
}
