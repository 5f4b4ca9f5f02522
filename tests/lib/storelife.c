#include "tests/lib/storelife.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "daemon/store/store-internal.h"

uint64_t
storelife_shard_id(uint32_t copy)
{
    return (UINT64_C(0x77) << 16) + copy;
}

void
storelife_init(struct storelife *l, struct storeworld *w, uint64_t seed)
{
    l->w = w;
    cw_prng_init(&l->rnd, seed);
    l->n_failed = 0;
    for (uint32_t i = 0; i < LIFE_SHARDS; i++) {
        struct storelife_copy *c = &l->copy[i];

        c->sh = NULL;
        c->made = false;
        c->n = c->acked = 0;
        c->promised = c->promised_acked = c->cfg = c->cfg_acked = 1;
    }
    memset(l->step, 0, sizeof(l->step));
}

void
storelife_open(struct storelife *l)
{
    memset(l->step, 0, sizeof(l->step));
    for (uint32_t i = 0; i < LIFE_SHARDS; i++) {
        struct storelife_copy *c = &l->copy[i];
        const struct cw_store_shard_info *info;

        c->sh = storeworld_shard(l->w, storelife_shard_id(i));
        info = cw_store_shard_info(c->sh);
        c->made = true;
        c->n = info->last_seq;
        c->promised = info->promised_gen;
        c->cfg = info->rec.cfg;
    }
    storelife_note(l);
}

void
storelife_leave(struct storelife *l)
{
    for (uint32_t i = 0; i < LIFE_SHARDS; i++)
        l->copy[i].sh = NULL;
}

/* ---- asking ---- */

static bool
life_step(struct storelife *l, uint64_t until_ns)
{
    if (l->w->store != NULL)
        cw_store_turn_end(l->w->store);
    return l->w->sim.now_ns < until_ns && cw_simenv_step(&l->w->sim);
}

static int
life_append(struct storelife *l, struct storelife_copy *c, struct cw_store_rec *rec)
{
    uint64_t until_ns = l->w->sim.now_ns + 10 * WORLD_S;
    int err;

    cw_assert(c->n < LIFE_OPS);
    rec->gen = 1;
    rec->seq = cw_store_shard_info(c->sh)->last_seq + 1;
    while ((err = cw_store_append(c->sh, rec)) == -EAGAIN) {
        if (!life_step(l, until_ns))
            return -ETIMEDOUT;
    }
    if (err == 0)
        c->op[++c->n] = (struct storelife_op){ rec->type, (uint32_t)rec->lba, rec->nblk };
    cw_assert(err != 0 || c->n == rec->seq);
    return err;
}

int
storelife_write(struct storelife *l, uint32_t copy, uint32_t lba, uint32_t nblk)
{
    struct storelife_copy *c = &l->copy[copy];
    struct cw_buf *buf = cw_buf_get(l->w->pool, (size_t)nblk * CW_BLOCK_SIZE);
    uint64_t csums[CW_IO_BLOCKS_MAX];
    struct cw_store_rec rec = {
        .type = CW_FT_WRITE,
        .lba = lba,
        .nblk = nblk,
        .csums = csums,
    };
    int err;

    assert_non_null(buf);
    rec.data = buf->data;
    rec.buf = nblk >= 16 ? buf : NULL;
    for (uint32_t i = 0; i < nblk; i++) {
        uint8_t *block = buf->data + (size_t)i * CW_BLOCK_SIZE;

        storeworld_fill(block, storelife_shard_id(copy), lba + i, c->n + 1);
        csums[i] = cw_hash_block(block);
    }
    err = life_append(l, c, &rec);
    cw_buf_unref(buf);
    return err;
}

int
storelife_clear(struct storelife *l, uint32_t copy, uint8_t type, uint32_t lba, uint32_t nblk)
{
    struct cw_store_rec rec = { .type = type, .lba = lba, .nblk = nblk };

    return life_append(l, &l->copy[copy], &rec);
}

static void
step_on_done(struct cw_store_ticket *t, int res)
{
    struct storelife_step *s = cw_container_of(t, struct storelife_step, t);

    assert_true(s->busy);
    s->busy = false;
    s->life->n_failed += res != 0;
    for (uint32_t i = 0; res == 0 && i < LIFE_SHARDS; i++) {
        struct storelife_copy *c = &s->life->copy[i];

        if (s->promised[i] > c->promised_acked)
            c->promised_acked = s->promised[i];
        if (s->cfg[i] > c->cfg_acked)
            c->cfg_acked = s->cfg[i];
    }
}

/* One that is free, or NULL. */
static struct storelife_step *
step_new(struct storelife *l)
{
    for (size_t i = 0; i < CW_LEN(l->step); i++) {
        struct storelife_step *s = &l->step[i];

        if (s->busy)
            continue;
        *s = (struct storelife_step){ .t.done = step_on_done, .life = l, .busy = true };
        return s;
    }
    return NULL;
}

void
storelife_promise(struct storelife *l, uint32_t copy)
{
    struct storelife_step *s = step_new(l);

    if (s == NULL)
        return;
    s->promised[copy] = ++l->copy[copy].promised;
    cw_store_promise(l->copy[copy].sh, s->promised[copy], &s->t);
}

void
storelife_set_cfg(struct storelife *l, uint32_t copy)
{
    struct storelife_step *s = step_new(l);
    struct cw_shard_rec rec;

    if (s == NULL)
        return;
    rec = cw_store_shard_info(l->copy[copy].sh)->rec;
    rec.cfg = s->cfg[copy] = ++l->copy[copy].cfg;
    cw_store_set_rec(l->copy[copy].sh, &rec, &s->t);
}

int
storelife_some(struct storelife *l, uint32_t nblk_max)
{
    uint32_t dice = (uint32_t)cw_prng_below(&l->rnd, 24);
    uint32_t copy = (uint32_t)cw_prng_below(&l->rnd, LIFE_SHARDS);
    uint32_t nblk = 1 + (uint32_t)cw_prng_below(&l->rnd, dice == 0 ? 4 * nblk_max : nblk_max);
    uint32_t lba;

    nblk = (uint32_t)cw_min_u64(nblk, CW_IO_BLOCKS_MAX);
    lba = (uint32_t)cw_prng_below(&l->rnd, LIFE_SPAN - nblk);
    switch (dice) {
    case 1:
        return storelife_clear(l, copy, CW_FT_ZERO, lba, nblk);
    case 2:
        return storelife_clear(l, copy, CW_FT_TRIM, lba, nblk);
    case 3:
        storelife_promise(l, copy);
        return 0;
    case 4:
        storelife_set_cfg(l, copy);
        return 0;
    default:
        return storelife_write(l, copy, lba, nblk);
    }
}

void
storelife_stable(struct storelife *l, uint32_t keep)
{
    for (uint32_t i = 0; i < LIFE_SHARDS; i++) {
        uint64_t seq = cw_store_shard_info(l->copy[i].sh)->durable_seq;

        if (seq > keep)
            cw_store_set_stable(l->copy[i].sh, seq - keep);
    }
}

/* ---- a tight store ---- */

static bool
life_is_tight(const struct storelife *l)
{
    struct cw_store_stats st;

    cw_store_stats(l->w->store, &st);
    return st.segments_free <= st.segments / 10;
}

void
storelife_tighten(struct storelife *l)
{
    assert_int_equal(storeworld_format(l->w, false), 0);
    assert_int_equal(storeworld_open(l->w), 0);
    storelife_open(l);
    for (uint32_t i = 0; i < 400 && !life_is_tight(l); i++) {
        struct open_seg *hot = &l->w->store->open[CW_SEG_HOT];

        for (uint32_t k = 0; k < 4; k++)
            assert_int_equal(storelife_write(l, k % LIFE_SHARDS, (i * 11 + k) % LIFE_SPAN, 1), 0);
        assert_true(storelife_settle(l, 10 * WORLD_S));
        storelife_stable(l, 0);
        hot->off = hot->open ? l->w->store->seg_bytes : 0;
    }
    assert_true(life_is_tight(l));
}

/* ---- acknowledged ---- */

void
storelife_note(struct storelife *l)
{
    for (uint32_t i = 0; i < LIFE_SHARDS; i++) {
        struct storelife_copy *c = &l->copy[i];

        if (c->sh != NULL)
            c->acked = cw_max_u64(c->acked, cw_store_shard_info(c->sh)->durable_seq);
    }
}

static bool
life_is_settled(const struct storelife *l)
{
    for (uint32_t i = 0; i < LIFE_SHARDS; i++) {
        if (cw_store_shard_info(l->copy[i].sh)->durable_seq < l->copy[i].n)
            return false;
    }
    for (size_t i = 0; i < CW_LEN(l->step); i++) {
        if (l->step[i].busy)
            return false;
    }
    return true;
}

bool
storelife_settle(struct storelife *l, uint64_t for_ns)
{
    uint64_t until_ns = l->w->sim.now_ns + for_ns;

    while (!life_is_settled(l)) {
        struct cw_store_stats st;

        cw_store_stats(l->w->store, &st);
        if (st.failed || !life_step(l, until_ns))
            break;
    }
    storelife_note(l);
    return life_is_settled(l);
}

/* ---- checking ---- */

/* The seq whose content each block has after the first `upto` records. */
static void
copy_at(const struct storelife_copy *c, uint64_t upto, uint32_t *seq_of)
{
    memset(seq_of, 0, LIFE_SPAN * sizeof(*seq_of));
    for (uint64_t s = 1; s <= upto; s++) {
        for (uint32_t i = 0; i < c->op[s].nblk; i++)
            seq_of[c->op[s].lba + i] = c->op[s].type == CW_FT_WRITE ? (uint32_t)s : 0;
    }
}

static void
check_read(const struct cw_store_read *r, uint64_t shard, const uint32_t *seq_of, bool bad_ok)
{
    uint8_t want[CW_BLOCK_SIZE];

    for (uint32_t i = 0; i < r->nblk; i++) {
        if (cw_bit_get(r->bad, i)) {
            assert_true(bad_ok);
            continue;
        }
        if (seq_of[i] == 0) {
            assert_true(r->csums[i] == CW_HASH_ZERO_BLOCK);
            continue;
        }
        assert_false(r->zeroes);
        storeworld_fill(want, shard, r->lba + i, seq_of[i]);
        assert_memory_equal(r->buf->data + (size_t)i * CW_BLOCK_SIZE, want, CW_BLOCK_SIZE);
    }
}

static void
check_range(struct storeworld *w, struct cw_store_shard *sh, uint32_t lba, const uint32_t *seq_of,
            bool bad_ok)
{
    struct cw_store_read r = { .shard = sh, .lba = lba, .nblk = 256 };

    assert_int_equal(storeworld_read(w, &r), 0);
    check_read(&r, cw_store_shard_info(sh)->rec.shard, seq_of, bad_ok);
    cw_buf_unref(r.buf);
}

void
storelife_check_read(const struct storelife *l, uint32_t copy, const struct cw_store_read *r,
                     uint32_t lax)
{
    static uint32_t seq_of[LIFE_SPAN];

    assert_true(r->at_seq <= l->copy[copy].n);
    copy_at(&l->copy[copy], r->at_seq, seq_of);
    check_read(r, storelife_shard_id(copy), seq_of + r->lba, lax & LIFE_BAD_OK);
}

static void
check_tail_record(struct storeworld *w, struct cw_store_shard *sh, const struct storelife_op *op,
                  const struct cw_store_tail_entry *e, bool bad_ok)
{
    struct cw_store_read r = { .shard = sh, .flags = CW_STORE_READ_TAIL, .tail_seq = e->seq };
    uint8_t want[CW_BLOCK_SIZE];

    assert_int_equal(e->type, op->type);
    assert_int_equal(e->lba, op->lba);
    assert_int_equal(e->nblk, op->nblk);
    assert_int_equal(storeworld_read(w, &r), 0);
    for (uint32_t i = 0; i < op->nblk; i++) {
        if (cw_bit_get(r.bad, i)) {
            assert_true(bad_ok);
        } else if (op->type == CW_FT_WRITE) {
            storeworld_fill(want, cw_store_shard_info(sh)->rec.shard, op->lba + i, e->seq);
            assert_memory_equal(r.buf->data + (size_t)i * CW_BLOCK_SIZE, want, CW_BLOCK_SIZE);
        } else {
            assert_true(r.zeroes);
        }
    }
    cw_buf_unref(r.buf);
}

static void
check_tail(struct storeworld *w, struct cw_store_shard *sh, const struct storelife_copy *c,
           bool bad_ok)
{
    struct cw_store_tail_entry e[LIFE_OPS / 10];
    const struct cw_store_shard_info *info = cw_store_shard_info(sh);
    uint32_t n = cw_store_tail_list(sh, e, CW_LEN(e));

    assert_int_equal(n, cw_min_u64(info->durable_seq - info->stable, CW_LEN(e)));
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(e[i].seq, info->stable + 1 + i);
        if (n < 64 || i % 16 == 0)
            check_tail_record(w, sh, &c->op[e[i].seq], &e[i], bad_ok);
    }
}

static void
check_copy(const struct storelife_copy *c, struct storeworld *w, struct cw_store_shard *sh,
           uint32_t lax)
{
    static uint32_t seq_of[LIFE_SPAN];
    const struct cw_store_shard_info *info = cw_store_shard_info(sh);
    bool behind_ok = (lax & LIFE_BEHIND_OK) || ((lax & LIFE_BAD_OK) && info->damaged);

    assert_true(info->durable_seq <= c->n);
    assert_true(info->promised_gen <= c->promised && info->rec.cfg <= c->cfg);
    assert_int_equal(info->last_seq, info->durable_seq);
    if (!behind_ok) {
        assert_true(info->durable_seq >= c->acked);
        assert_true(info->promised_gen >= c->promised_acked);
        assert_true(info->rec.cfg >= c->cfg_acked);
    }
    assert_true(!info->damaged || (lax & LIFE_BAD_OK));
    copy_at(c, info->durable_seq, seq_of);
    for (uint32_t lba = 0; lba < LIFE_SPAN; lba += 256)
        check_range(w, sh, lba, seq_of + lba, lax & LIFE_BAD_OK);
    check_tail(w, sh, c, lax & (LIFE_BAD_OK | LIFE_TAIL_OK));
}

void
storelife_check(const struct storelife *l, struct storeworld *w, uint32_t lax)
{
    for (uint32_t i = 0; i < LIFE_SHARDS; i++) {
        struct cw_store_shard *sh = cw_store_shard_find(w->store, storelife_shard_id(i));

        if (sh != NULL)
            check_copy(&l->copy[i], w, sh, lax);
        else
            assert_true(!l->copy[i].made || (lax & LIFE_BEHIND_OK));
    }
    /* what was lost with a map page stays counted */
    if (!(lax & LIFE_BAD_OK))
        cw_store_check(w->store);
}

static void
check_again(const struct storelife *l, struct storeworld *v, uint32_t lax)
{
    struct storelife *m = malloc(sizeof(*m));

    assert_non_null(m);
    memcpy(m, l, sizeof(*m));
    m->w = v;
    storelife_open(m);
    for (uint32_t i = 0; i < 6; i++)
        assert_int_equal(storelife_write(m, i % LIFE_SHARDS, i * 300, 1 + i), 0);
    assert_true(storelife_settle(m, 10 * WORLD_S));
    storeworld_crash(v, (struct cw_ramdisk_crash){ .seed = 1 });
    assert_int_equal(storeworld_open(v), 0);
    storelife_check(m, v, lax);
    free(m);
}

void
storelife_check_cut(const struct storelife *l, const struct storelife_cut *cut, uint32_t lax)
{
    struct storeworld v;

    storeworld_init(&v, l->w->seed + cut->how.seed + 1, l->w->bytes, l->w->map_cache);
    cw_ramdisk_free(v.disk);
    v.disk = cut->piece == 0
                 ? cw_ramdisk_clone_crashed(l->w->disk, &v.sim.env, cut->how)
                 : cw_ramdisk_clone_pieces(l->w->disk, &v.sim.env, cut->piece, cut->kept);
    assert_int_equal(storeworld_open(&v), 0);
    storelife_check(l, &v, lax);
    if (cut->again)
        check_again(l, &v, lax);
    storeworld_fini(&v);
}
