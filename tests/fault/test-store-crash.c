/* Power cuts at any moment: what recovers is a prefix that holds everything reported durable. */
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "daemon/store/store-internal.h"
#include "tests/lib/storeworld.h"

#define SPAN 1500u
#define OPS_MAX 8000u
#define SHARD_ID (UINT64_C(7) << 16)

struct op {
    uint8_t type;
    uint32_t lba, nblk;
};

struct history {
    struct op op[OPS_MAX + 1]; /* by seq */
    uint64_t n;
};

/* The seq whose content each block has after the first `upto` records. */
static void
history_at(const struct history *h, uint64_t upto, uint64_t *seq_of)
{
    memset(seq_of, 0, SPAN * sizeof(*seq_of));
    for (uint64_t s = 1; s <= upto; s++) {
        for (uint32_t i = 0; i < h->op[s].nblk; i++)
            seq_of[h->op[s].lba + i] = h->op[s].type == CW_FT_WRITE ? s : 0;
    }
}

static void
history_step(struct storeworld *w, struct history *h, struct cw_store_shard *sh,
             struct cw_prng *rnd)
{
    struct op o = { .type = CW_FT_WRITE };
    uint64_t dice = cw_prng_below(rnd, 20);

    o.nblk = 1 + (uint32_t)cw_prng_below(rnd, dice == 0 ? 256 : 6);
    o.lba = (uint32_t)cw_prng_below(rnd, SPAN - o.nblk);
    if (dice == 1 || dice == 2)
        o.type = dice == 1 ? CW_FT_ZERO : CW_FT_TRIM;
    h->op[++h->n] = o;
    if (o.type == CW_FT_WRITE)
        assert_int_equal(storeworld_write(w, sh, o.lba, o.nblk), 0);
    else
        assert_int_equal(storeworld_clear(w, sh, o.type, o.lba, o.nblk), 0);
}

static void
check_content(struct storeworld *w, struct cw_store_shard *sh, const struct history *h)
{
    static uint64_t seq_of[SPAN];
    uint8_t want[CW_BLOCK_SIZE];

    history_at(h, cw_store_shard_info(sh)->durable_seq, seq_of);
    for (uint32_t lba = 0; lba < SPAN; lba += 250) {
        struct cw_store_read r = { .shard = sh, .lba = lba, .nblk = 250 };

        assert_int_equal(storeworld_read(w, &r), 0);
        for (uint32_t i = 0; i < 250; i++) {
            storeworld_fill(want, SHARD_ID, lba + i, seq_of[lba + i]);
            assert_false(cw_bit_get(r.bad, i));
            assert_int_equal(r.csums[i], cw_hash_block(want));
            if (!r.zeroes)
                assert_memory_equal(r.buf->data + (size_t)i * CW_BLOCK_SIZE, want, CW_BLOCK_SIZE);
        }
        cw_buf_unref(r.buf);
    }
}

/* Opens what a cut now would leave, in a world of its own; older: the newest checkpoint cannot be
 * read, so that the one before it counts. */
static struct cw_store_shard *
open_cut(struct storeworld *w, const struct storeworld *from, struct cw_ramdisk_crash how,
         bool older)
{
    static const uint8_t nothing[CW_BLOCK_SIZE] = { 1 };
    struct cw_store_shard *sh;

    storeworld_init(w, how.seed, from->bytes, from->map_cache);
    cw_ramdisk_free(w->disk);
    w->disk = cw_ramdisk_clone_crashed(from->disk, &w->sim.env, how);
    if (older)
        cw_ramdisk_poke(w->disk, loc_off(from->store, from->store->sb.ckpt[0].loc), nothing,
                        sizeof(nothing));
    assert_int_equal(storeworld_open(w), 0);
    sh = cw_store_shard_find(w->store, SHARD_ID);
    assert_non_null(sh);
    return sh;
}

static void
check_cut_with(const struct storeworld *from, const struct history *h, uint64_t durable,
               struct cw_ramdisk_crash how, bool older)
{
    struct storeworld w;
    struct cw_store_shard *sh = open_cut(&w, from, how, older);

    assert_true(cw_store_shard_info(sh)->durable_seq >= durable);
    assert_true(cw_store_shard_info(sh)->durable_seq <= h->n);
    assert_false(cw_store_shard_info(sh)->damaged);
    check_content(&w, sh, h);
    cw_store_check(w.store);
    storeworld_fini(&w);
}

static void
check_cut(const struct storeworld *from, const struct history *h, uint64_t durable,
          struct cw_ramdisk_crash how)
{
    check_cut_with(from, h, durable, how, false);
}

/* A cut between any two events of a mixed workload, whatever subset of sectors survives, leaves a
 * prefix with everything that was reported durable. */
static void
a_cut_anywhere_leaves_a_durable_prefix(void **state)
{
    static struct history h;
    struct storeworld w;
    struct cw_store_shard *sh;
    struct cw_prng rnd;

    h.n = 0;
    cw_prng_init(&rnd, 11);
    storeworld_init(&w, 11, 512 * CW_MIB, CW_MIB);
    sh = storeworld_begin(&w, SHARD_ID);
    for (uint32_t i = 0; i < 60; i++) {
        uint32_t n = 1 + (uint32_t)cw_prng_below(&rnd, 12);

        for (uint32_t k = 0; k < n; k++)
            history_step(&w, &h, sh, &rnd);
        cw_store_turn_end(w.store);
        if (i % 7 == 0)
            cw_store_set_stable(sh, cw_store_shard_info(sh)->durable_seq);
        n = (uint32_t)cw_prng_below(&rnd, 9);
        for (uint32_t k = 0; k < n; k++)
            cw_simenv_step(&w.sim);
        check_cut(&w, &h, cw_store_shard_info(sh)->durable_seq,
                  (struct cw_ramdisk_crash){ .seed = i, .keep = (i % 5) * 64, .torn = i % 3 == 0 });
    }
    storeworld_fini(&w);
}

static void
ignore_done(void *user, int res)
{
}

/* The same store crashes again and again, also in the middle of recovering, and goes on. */
static void
row_49_crashes_in_recovery_change_nothing(void **state)
{
    static struct history h;
    struct storeworld w;
    struct cw_prng rnd;
    uint64_t durable = 0;

    h.n = 0;
    cw_prng_init(&rnd, 12);
    storeworld_init(&w, 12, 512 * CW_MIB, CW_MIB);
    assert_int_equal(storeworld_format(&w, false), 0);
    for (uint32_t i = 0; i < 40; i++) {
        struct cw_ramdisk_crash how = { .seed = i, .keep = (i % 3) * 128, .torn = i % 2 };
        struct cw_store_shard *sh;

        assert_int_equal(storeworld_open(&w), 0);
        sh = storeworld_shard(&w, SHARD_ID);
        assert_true(cw_store_shard_info(sh)->durable_seq >= durable);
        h.n = cw_store_shard_info(sh)->durable_seq;
        check_content(&w, sh, &h);
        for (uint32_t k = 0; k < 20; k++)
            history_step(&w, &h, sh, &rnd);
        cw_store_turn_end(w.store);
        for (uint64_t k = cw_prng_below(&rnd, 30); k > 0; k--)
            cw_simenv_step(&w.sim);
        durable = cw_store_shard_info(sh)->durable_seq;
        storeworld_crash(&w, how);

        /* and now a recovery that does not get to its end */
        w.store = cw_store_new((struct cw_store_opts){ .env = &w.sim.env,
                                                       .disk = cw_ramdisk_disk(w.disk),
                                                       .pool = w.pool,
                                                       .map_cache_bytes = CW_MIB });
        cw_store_open(w.store, ignore_done, NULL);
        for (uint64_t k = cw_prng_below(&rnd, 150 + i * 2); k > 0; k--)
            cw_simenv_step(&w.sim);
        how.seed += 1000;
        storeworld_crash(&w, how);
    }
    storeworld_fini(&w);
}

/* Opens until its n-th write is under way, which a torn crash ends. False: it has fewer. */
static bool
open_until_write(struct storeworld *w, uint64_t n, uint64_t seed)
{
    uint64_t before = cw_ramdisk_count(w->disk, CW_RAMDISK_WRITES);
    bool reached;

    storeworld_open_begin(w);
    do {
        assert_true(cw_simenv_step(&w->sim));
        reached = cw_ramdisk_count(w->disk, CW_RAMDISK_WRITES) >= before + n;
    } while (!reached && !w->done);
    storeworld_crash(w, (struct cw_ramdisk_crash){ .seed = seed, .keep = 128, .torn = true });
    return reached;
}

/* Each write of the checkpoint and the superblock that end a recovery, twice in a row. */
static void
row_49_each_write_of_a_recovery_twice(void **state)
{
    static struct history h;
    struct storeworld w;
    struct cw_prng rnd;
    bool more = true;
    uint64_t n;

    h.n = 0;
    cw_prng_init(&rnd, 13);
    storeworld_init(&w, 13, 512 * CW_MIB, CW_MIB);
    assert_int_equal(storeworld_format(&w, false), 0);
    for (n = 1; more; n++) {
        struct cw_store_shard *sh;
        uint64_t durable;

        assert_int_equal(storeworld_open(&w), 0);
        sh = storeworld_shard(&w, SHARD_ID);
        for (uint32_t k = 0; k < 30; k++)
            history_step(&w, &h, sh, &rnd);
        cw_store_turn_end(w.store);
        for (uint64_t k = cw_prng_below(&rnd, 60); k > 0; k--)
            cw_simenv_step(&w.sim);
        durable = cw_store_shard_info(sh)->durable_seq;
        storeworld_crash(&w, (struct cw_ramdisk_crash){ .seed = n, .keep = 128, .torn = true });
        more = open_until_write(&w, n, 2 * n);
        open_until_write(&w, n, 2 * n + 1);
        assert_int_equal(storeworld_open(&w), 0);
        sh = storeworld_shard(&w, SHARD_ID);
        assert_true(cw_store_shard_info(sh)->durable_seq >= durable);
        assert_false(cw_store_shard_info(sh)->damaged);
        h.n = cw_store_shard_info(sh)->durable_seq;
        check_content(&w, sh, &h);
        cw_store_check(w.store);
        storeworld_crash(&w, (struct cw_ramdisk_crash){ .seed = n, .keep = 128 });
    }
    assert_true(n > 5);
    storeworld_fini(&w);
}

/* ---- what a store in service writes besides its log ---- */

#define TORN_WAYS 6u

enum writer { WRITER_CHECKPOINT, WRITER_CLOSE, WRITER_CLAIM, WRITERS };

struct writing {
    struct storeworld w;
    struct history h;
    struct cw_prng rnd;
    struct cw_store_shard *sh;
    uint64_t durable; /* when the power was cut */
};

/* After whatever cut: a prefix with all that was durable, and the counts are right. */
static void
writing_open(struct writing *x)
{
    assert_int_equal(storeworld_open(&x->w), 0);
    x->sh = storeworld_shard(&x->w, SHARD_ID);
    assert_true(cw_store_shard_info(x->sh)->durable_seq >= x->durable);
    assert_true(cw_store_shard_info(x->sh)->durable_seq <= x->h.n);
    assert_false(cw_store_shard_info(x->sh)->damaged);
    x->h.n = cw_store_shard_info(x->sh)->durable_seq;
    check_content(&x->w, x->sh, &x->h);
    cw_store_check(x->w.store);
    cw_store_set_stable(x->sh, x->h.n); /* or no segment would ever be free again */
}

static void
writing_cut(struct writing *x, uint64_t seed)
{
    if (x->w.store->state == STORE_OPEN)
        x->durable = cw_store_shard_info(x->sh)->durable_seq;
    storeworld_crash(&x->w, (struct cw_ramdisk_crash){ .seed = seed, .keep = 128, .torn = true });
}

static void
writing_on_done(void *user, int res)
{
    ((struct writing *)user)->w.done = true;
}

static void
writing_start(struct writing *x, enum writer what, uint64_t n)
{
    x->w.done = false;
    switch (what) {
    case WRITER_CHECKPOINT:
        ckpt_want(x->w.store);
        break;
    case WRITER_CLOSE:
        x->durable = cw_store_shard_info(x->sh)->durable_seq;
        storeworld_close_begin(&x->w);
        break;
    case WRITER_CLAIM:
        cw_store_claim(x->w.store, cw_uuid_from_random(n, 7), writing_on_done, x);
        break;
    case WRITERS:
        break;
    }
}

/* More dirty map pages than one batch holds; and the log goes round the store, so that no
 * checkpoint but the last two would be of use. */
static void
writing_strew(struct writing *x, enum writer what)
{
    struct cw_store_shard *other = storeworld_shard(&x->w, SHARD_ID + 1);

    for (uint32_t i = 0; what != WRITER_CLAIM && i < 300; i++) {
        struct open_seg *hot = &x->w.store->open[CW_SEG_HOT];

        assert_int_equal(storeworld_write(&x->w, other, i * CW_CHUNK_BLOCKS, 1), 0);
        if (i % 25 != 24)
            continue;
        storeworld_settle(&x->w, other);
        hot->off = hot->open ? x->w.store->seg_bytes : 0;
    }
    storeworld_settle(&x->w, other);
}

/* Records go on beside a checkpoint. Until its n-th write is under way, which a torn cut ends;
 * false: it has fewer. */
static bool
writing_until(struct writing *x, enum writer what, uint64_t n, uint64_t seed)
{
    uint64_t checkpoints = x->w.store->stats.checkpoints, before;
    bool reached = false, over = false;

    for (uint32_t k = 0; k < 15; k++)
        history_step(&x->w, &x->h, x->sh, &x->rnd);
    writing_strew(x, what);
    if (what != WRITER_CHECKPOINT)
        storeworld_settle(&x->w, x->sh);
    before = cw_ramdisk_count(x->w.disk, CW_RAMDISK_WRITES);
    writing_start(x, what, n);
    for (uint32_t i = 0; !reached && !over; i++) {
        if (what == WRITER_CHECKPOINT && i % 8 == 0 && i < 64)
            history_step(&x->w, &x->h, x->sh, &x->rnd);
        cw_store_turn_end(x->w.store);
        reached = cw_ramdisk_count(x->w.disk, CW_RAMDISK_WRITES) >= before + n;
        over = what == WRITER_CHECKPOINT ? x->w.store->stats.checkpoints > checkpoints : x->w.done;
        assert_true(reached || over || cw_simenv_step(&x->w.sim));
    }
    writing_cut(x, seed);
    return reached;
}

/* And a write of the recovery after it. A start that does nothing changes nothing. */
static bool
writing_twice(struct writing *x, enum writer what, uint64_t n, uint64_t seed)
{
    bool more = false;
    uint64_t seq;

    for (uint64_t i = 0; i < 2; i++) {
        writing_open(x);
        more = writing_until(x, what, n, seed + i) || more;
    }
    open_until_write(&x->w, 1 + seed % 6, seed + 2);
    writing_open(x);
    seq = cw_store_shard_info(x->sh)->durable_seq;
    writing_cut(x, seed + 3);
    writing_open(x);
    assert_int_equal(cw_store_shard_info(x->sh)->durable_seq, seq);
    writing_cut(x, seed + 4);
    return more;
}

/* Each write of a checkpoint beside records, of a clean stop, of a claim, is cut off, twice in a
 * row, in several ways. */
static void
row_49_each_write_of_checkpoints_and_superblocks_twice(void **state)
{
    struct writing *x = calloc(1, sizeof(*x));

    for (enum writer what = 0; what < WRITERS; what++) {
        bool more = true;
        uint64_t n;

        x->h.n = x->durable = 0;
        cw_prng_init(&x->rnd, 15 + what);
        storeworld_init(&x->w, 15 + what, 512 * CW_MIB, 4 * CW_MIB);
        assert_int_equal(storeworld_format(&x->w, false), 0);
        for (n = 1; more; n++) {
            more = false;
            for (uint64_t i = 0; i < TORN_WAYS; i++)
                more = writing_twice(x, what, n, (TORN_WAYS * n + i) * 5) || more;
        }
        print_message("# %llu writes\n", (unsigned long long)n - 2);
        assert_true(n - 2 >= (what == WRITER_CLAIM ? 1 : 5));
        writing_open(x);
        assert_true(what == WRITER_CLAIM || x->w.store->next_seg_seq > x->w.store->n_segs);
        storeworld_fini(&x->w);
    }
    free(x);
}

/* Lives that end before the checkpoint after the one that freed segments, on a log that went round
 * the store long ago, always leave one to recover into. */
static void
short_lives_never_use_up_the_free_segments(void **state)
{
    struct cw_store_shard *sh;
    struct storeworld w;
    uint64_t lba = 0;

    storeworld_init(&w, 14, 512 * CW_MIB, CW_MIB);
    assert_int_equal(storeworld_format(&w, false), 0);
    for (uint32_t life = 0; life < 60; life++) {
        /* the first lives go round, the next make short work of what is free, the last do nothing
         */
        uint32_t n = life < 2 ? 600 : life < 40 ? 10 + life % 7 * 12 : 0;

        assert_int_equal(storeworld_open(&w), 0);
        sh = storeworld_shard(&w, SHARD_ID);
        for (uint32_t k = 0; k < n; k++, lba += 256) {
            assert_int_equal(storeworld_write(&w, sh, lba % 8192, 256), 0);
            cw_store_set_stable(sh, cw_store_shard_info(sh)->durable_seq);
        }
        storeworld_wait_durable(&w, sh, cw_store_shard_info(sh)->last_seq);
        storeworld_crash(&w, (struct cw_ramdisk_crash){ .seed = life });
    }
    assert_int_equal(storeworld_open(&w), 0);
    sh = storeworld_shard(&w, SHARD_ID);
    for (uint32_t k = 0; k < 32; k++)
        assert_true(storeworld_block_is(&w, sh, (lba - 256 * (k + 1)) % 8192,
                                        cw_store_shard_info(sh)->durable_seq - k));
    cw_store_check(w.store);
    storeworld_fini(&w);
}

/* Cuts while checkpoints, cleaning and overwriting run all at once on a store that is small and
 * full lose nothing either. */
static void
a_cut_while_cleaning_loses_nothing(void **state)
{
    static struct history h;
    struct storeworld w;
    struct cw_store_shard *sh, *ballast;
    struct cw_prng rnd;
    struct cw_store_stats st;

    h.n = 0;
    cw_prng_init(&rnd, 13);
    storeworld_init(&w, 13, 512 * CW_MIB, 4 * CW_MIB);
    sh = storeworld_begin(&w, SHARD_ID);
    ballast = storeworld_shard(&w, SHARD_ID + 1);
    for (uint32_t i = 0; i < 380; i++) {
        assert_int_equal(storeworld_write(&w, ballast, i * 256, 256), 0);
        cw_store_set_stable(ballast, cw_store_shard_info(ballast)->durable_seq);
    }
    for (uint32_t i = 0; i < 3; i++) {
        for (uint32_t k = 0; k < 200; k++) {
            uint64_t lba = cw_prng_below(&rnd, 380) * 256 + cw_prng_below(&rnd, 100);

            assert_int_equal(storeworld_write(&w, ballast, lba, 100), 0);
            if (k % 25 == 0)
                history_step(&w, &h, sh, &rnd);
            if (k % 50 == 0)
                ckpt_want(w.store);
        }
        cw_store_set_stable(sh, cw_store_shard_info(sh)->durable_seq);
        cw_store_set_stable(ballast, cw_store_shard_info(ballast)->durable_seq);
        for (uint32_t older = 0; older < 2; older++)
            check_cut_with(
                &w, &h, cw_store_shard_info(sh)->durable_seq,
                (struct cw_ramdisk_crash){ .seed = i, .keep = (i % 5) * 64, .torn = i % 2 }, older);
    }
    cw_store_stats(w.store, &st);
    assert_true(st.checkpoints > 5 && st.bytes_cleaned > 0);
    storeworld_fini(&w);
}

/* ---- used again ---- */

#define AGAIN_BLOCKS (340u * CW_CHUNK_BLOCKS)

struct again {
    struct storeworld w;
    struct cw_store_shard *sh;
    uint64_t seq_of[AGAIN_BLOCKS], seq_in_snap[AGAIN_BLOCKS];
    uint64_t snap; /* 0: none */
    /* soon after a checkpoint, the number of which is .. */
    uint64_t checkpoints, seq[256];
    uint32_t live[256];
};

static void
again_write(struct again *a, uint32_t lba, uint32_t n)
{
    assert_int_equal(storeworld_write(&a->w, a->sh, lba, n), 0);
    for (uint32_t i = 0; i < n; i++)
        a->seq_of[lba + i] = cw_store_shard_info(a->sh)->last_seq;
    cw_store_set_stable(a->sh, cw_store_shard_info(a->sh)->durable_seq);
}

/* How many segments were opened since the last checkpoint that says that data lives in them. */
static uint32_t
again_look(struct again *a)
{
    const struct cw_store *s = a->w.store;
    uint32_t n = 0;

    assert_true(s->n_segs <= CW_LEN(a->seq));
    for (uint32_t i = 0; i < s->n_segs; i++) {
        if (s->stats.checkpoints == a->checkpoints) {
            n += s->segs[i].seq != a->seq[i] && a->live[i] > 0;
            continue;
        }
        a->seq[i] = s->segs[i].seq;
        a->live[i] = s->segs[i].live;
    }
    a->checkpoints = s->stats.checkpoints;
    return n;
}

static void
again_cut(const struct again *a, uint64_t seed, bool older)
{
    struct cw_ramdisk_crash how = { .seed = seed, .keep = 128, .torn = seed % 2 };
    struct storeworld w;
    struct cw_store_shard *sh = open_cut(&w, &a->w, how, older);

    assert_int_equal(cw_store_shard_info(sh)->durable_seq, cw_store_shard_info(a->sh)->last_seq);
    assert_false(cw_store_shard_info(sh)->damaged);
    for (uint32_t lba = (uint32_t)seed; lba < AGAIN_BLOCKS; lba += 61) {
        assert_true(storeworld_block_is(&w, sh, lba, a->seq_of[lba]));
        assert_true(a->snap == 0 ||
                    storeworld_snap_block_is(&w, sh, a->snap, lba, a->seq_in_snap[lba]));
    }
    cw_store_check(w.store);
    storeworld_fini(&w);
}

/* A new snapshot; the one before it goes. */
static void
again_snap(struct again *a)
{
    struct storeworld_ticket t;

    assert_int_equal(cw_store_snap_create(a->sh, a->snap + 1, storeworld_ticket(&t)), 0);
    assert_int_equal(storeworld_ticket_wait(&a->w, &t), 0);
    if (a->snap > 0) {
        assert_int_equal(cw_store_snap_delete(a->sh, a->snap, storeworld_ticket(&t)), 0);
        assert_int_equal(storeworld_ticket_wait(&a->w, &t), 0);
    }
    a->snap++;
    memcpy(a->seq_in_snap, a->seq_of, sizeof(a->seq_of));
}

/* Segments that the cleaner emptied are used again before any checkpoint tells of it, those that
 * the newest and the one before it refer to as well: the log says where all of it went. */
static void
segments_used_again(bool snaps)
{
    struct again *a = calloc(1, sizeof(*a));
    struct cw_prng rnd;
    uint32_t again = 0, blocks = snaps ? AGAIN_BLOCKS / 7 * 6 : AGAIN_BLOCKS;

    cw_prng_init(&rnd, 21);
    storeworld_init(&a->w, 21, 512 * CW_MIB, 8 * CW_MIB);
    a->sh = storeworld_begin(&a->w, SHARD_ID);
    again_look(a);
    for (uint32_t lba = 0; lba < blocks; lba += CW_CHUNK_BLOCKS)
        again_write(a, lba, CW_CHUNK_BLOCKS);
    for (uint32_t i = 0; i < 60; i++) {
        if (snaps && i % 12 == 0)
            again_snap(a);
        for (uint32_t k = 0; k < 40; k++)
            again_write(a, (uint32_t)cw_prng_below(&rnd, blocks / 50) * 50, 50);
        /* what dies young: a recovery reads the log that it lies in */
        for (uint32_t k = 0; i >= 40 && k < 20; k++)
            again_write(a, k % 2 * CW_CHUNK_BLOCKS, CW_CHUNK_BLOCKS);
        storeworld_wait_durable(&a->w, a->sh, cw_store_shard_info(a->sh)->last_seq);
        cw_store_set_stable(a->sh, cw_store_shard_info(a->sh)->durable_seq);
        again = (uint32_t)cw_max_u64(again, again_look(a));
        if (i % 3 == 0) {
            again_cut(a, i, false);
            again_cut(a, i, true);
        }
    }
    print_message("# up to %u segments were used again before a checkpoint told of it\n", again);
    assert_true(again > (snaps ? 0 : 2));
    storeworld_fini(&a->w);
    free(a);
}

static void
a_cut_after_segments_were_used_again_loses_nothing(void **state)
{
    segments_used_again(false);
}

/* The log does not tell what deleted layers give back: who lost blocks by it has to wait. */
static void
a_cut_after_layers_gave_back_loses_nothing(void **state)
{
    segments_used_again(true);
}

static void
check_tail_readable(struct storeworld *w, struct cw_store_shard *sh)
{
    const struct cw_store_shard_info *info = cw_store_shard_info(sh);

    for (uint64_t seq = info->stable + 1; seq <= info->durable_seq; seq++) {
        struct cw_store_read r = { .shard = sh, .flags = CW_STORE_READ_TAIL, .tail_seq = seq };
        uint8_t want[CW_BLOCK_SIZE];

        assert_int_equal(storeworld_read(w, &r), 0);
        assert_int_equal(r.bad[0], 0);
        storeworld_fill(want, SHARD_ID, r.lba, seq);
        assert_memory_equal(r.buf->data, want, CW_BLOCK_SIZE);
        cw_buf_unref(r.buf);
    }
}

/* The records that the newest checkpoint lists in a tail stay where they are, however late stable
 * moved on: after a cut a takeover may ask for them, and what they pin cannot be recovered into. */
static void
a_recovered_tail_is_readable(void **state)
{
    struct storeworld base;
    uint64_t many = 340; /* all but a few segments */

    storeworld_init(&base, 15, 512 * CW_MIB, CW_MIB);
    assert_int_equal(storeworld_format(&base, false), 0);
    assert_int_equal(storeworld_open(&base), 0);
    for (uint32_t i = 0; i < many; i++)
        assert_int_equal(storeworld_write(&base, storeworld_shard(&base, SHARD_ID), 0, 256), 0);
    storeworld_wait_durable(&base, storeworld_shard(&base, SHARD_ID), many);
    for (uint32_t late = 0; late < 60; late += 2) {
        struct storeworld w;
        struct cw_store_shard *sh;

        storeworld_init(&w, late, base.bytes, base.map_cache);
        cw_ramdisk_free(w.disk);
        w.disk = cw_ramdisk_clone_crashed(base.disk, &w.sim.env,
                                          (struct cw_ramdisk_crash){ .seed = late });
        assert_int_equal(storeworld_open(&w), 0);
        sh = cw_store_shard_find(w.store, SHARD_ID);
        assert_int_equal(storeworld_write(&w, sh, 0, 1), 0);
        cw_store_turn_end(w.store);
        for (uint32_t i = 0; i < late; i++)
            cw_simenv_step(&w.sim);
        cw_store_set_stable(sh, many);
        for (uint32_t i = 0; i < 40; i++)
            assert_int_equal(storeworld_write(&w, sh, 0, 256), 0);
        storeworld_wait_durable(&w, sh, cw_store_shard_info(sh)->last_seq);
        storeworld_crash(&w, (struct cw_ramdisk_crash){ .seed = 2 });
        assert_int_equal(storeworld_open(&w), 0);
        check_tail_readable(&w, cw_store_shard_find(w.store, SHARD_ID));
        storeworld_fini(&w);
    }
    storeworld_fini(&base);
}

static void
every_subset_is_undamaged(const struct storeworld *from)
{
    uint32_t n = cw_ramdisk_pieces(from->disk, CW_BLOCK_SIZE);

    for (uint64_t kept = 0; n <= 8 && kept < UINT64_C(1) << n; kept++) {
        struct storeworld w;

        storeworld_init(&w, kept, from->bytes, from->map_cache);
        cw_ramdisk_free(w.disk);
        w.disk = cw_ramdisk_clone_pieces(from->disk, &w.sim.env, CW_BLOCK_SIZE, &kept);
        assert_int_equal(storeworld_open(&w), 0);
        assert_false(cw_simenv_logged(&w.sim, "damaged"));
        assert_int_equal(cw_store_recovery(w.store)->damaged_copies, 0);
        storeworld_fini(&w);
    }
}

/* Some batches of a recovery are on disk and the first of them, which says where the log was cut,
 * is not: that is a torn end as any other, not damage. */
static void
a_cut_in_recovery_is_no_damage(void **state)
{
    struct storeworld w;

    storeworld_init(&w, 16, 512 * CW_MIB, CW_MIB);
    assert_int_equal(storeworld_format(&w, false), 0);
    for (uint32_t life = 0; life < 2; life++) {
        struct cw_store_shard *sh;

        storeworld_open_begin(&w);
        while (!w.done) {
            uint64_t writes = cw_ramdisk_count(w.disk, CW_RAMDISK_WRITES);

            assert_true(cw_simenv_step(&w.sim));
            if (cw_ramdisk_count(w.disk, CW_RAMDISK_WRITES) != writes)
                every_subset_is_undamaged(&w);
        }
        sh = storeworld_shard(&w, SHARD_ID);
        for (uint32_t i = 0; i < 20; i++)
            assert_int_equal(storeworld_write(&w, sh, i, 1), 0);
        cw_store_turn_end(w.store);
        storeworld_crash(&w, (struct cw_ramdisk_crash){ .seed = 4, .keep = 128, .torn = true });
    }
    storeworld_fini(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cut_anywhere_leaves_a_durable_prefix),
        cmocka_unit_test(row_49_crashes_in_recovery_change_nothing),
        cmocka_unit_test(row_49_each_write_of_a_recovery_twice),
        cmocka_unit_test(row_49_each_write_of_checkpoints_and_superblocks_twice),
        cmocka_unit_test(short_lives_never_use_up_the_free_segments),
        cmocka_unit_test(a_cut_while_cleaning_loses_nothing),
        cmocka_unit_test(a_cut_after_segments_were_used_again_loses_nothing),
        cmocka_unit_test(a_cut_after_layers_gave_back_loses_nothing),
        cmocka_unit_test(a_recovered_tail_is_readable),
        cmocka_unit_test(a_cut_in_recovery_is_no_damage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
