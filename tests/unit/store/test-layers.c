/* Snapshots and clones: each shows what was there at its place in the log order, whatever happens
 * to the others; and space is counted to the sector. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "daemon/store/cleaner.h"
#include "tests/lib/storeworld.h"

#define SHARD_ID (UINT64_C(5) << 16)
#define CLONE_ID (UINT64_C(6) << 16)
#define SPAN 1200u
#define SNAPS_MAX 64u
#define OPS_MAX 2000u

/* Per block the seq of the write that it shows; 0: zeroes. */
struct image {
    uint64_t seq[SPAN];
};

struct op {
    uint64_t seq;
    uint32_t lba, nblk;
    bool clears;
};

struct model {
    struct image head, snap[SNAPS_MAX]; /* snapshot i has the name i + 1 */
    bool there[SNAPS_MAX];
    struct op ops[OPS_MAX]; /* all of the head's log: what any prefix of it shows */
    uint32_t n_ops;
};

static void
model_apply(struct model *m, const struct op *op)
{
    for (uint32_t i = 0; i < op->nblk; i++)
        m->head.seq[op->lba + i] = op->clears ? 0 : op->seq;
}

static void
model_write(struct storeworld *w, struct cw_store_shard *sh, struct model *m, struct cw_prng *rnd)
{
    uint32_t nblk = 1 + (uint32_t)cw_prng_below(rnd, cw_prng_below(rnd, 10) == 0 ? 256 : 12);
    uint32_t lba = (uint32_t)cw_prng_below(rnd, SPAN - nblk);
    uint64_t dice = cw_prng_below(rnd, 12), seq = cw_store_shard_info(sh)->last_seq + 1;
    struct op *op = &m->ops[m->n_ops++];

    assert_true(m->n_ops < OPS_MAX);
    *op = (struct op){ .seq = seq, .lba = lba, .nblk = nblk, .clears = dice <= 1 };
    if (dice > 1)
        assert_int_equal(storeworld_write(w, sh, lba, nblk), 0);
    else
        assert_int_equal(storeworld_clear(w, sh, dice == 0 ? CW_FT_ZERO : CW_FT_TRIM, lba, nblk),
                         0);
    model_apply(m, op);
}

/* The head after a crash is a prefix of its log with all that was durable. */
static void
model_crashed(struct model *m, struct cw_store_shard *sh, uint64_t durable)
{
    uint64_t upto = cw_store_shard_info(sh)->durable_seq;

    assert_true(upto >= durable && upto == cw_store_shard_info(sh)->last_seq);
    while (m->n_ops > 0 && m->ops[m->n_ops - 1].seq > upto)
        m->n_ops--;
    m->head = (struct image){ 0 };
    for (uint32_t i = 0; i < m->n_ops; i++)
        model_apply(m, &m->ops[i]);
}

static void
check_image(struct storeworld *w, struct cw_store_shard *sh, uint64_t snap, uint64_t content_of,
            const struct image *im)
{
    uint8_t want[CW_BLOCK_SIZE];

    for (uint32_t lba = 0; lba < SPAN; lba += 240) {
        struct cw_store_read r = { .shard = sh, .lba = lba, .nblk = 240, .snap = snap };

        assert_int_equal(storeworld_read(w, &r), 0);
        for (uint32_t i = 0; i < 240; i++) {
            storeworld_fill(want, content_of, lba + i, im->seq[lba + i]);
            assert_false(cw_bit_get(r.bad, i));
            assert_int_equal(r.csums[i], cw_hash_block(want));
            if (!r.zeroes)
                assert_memory_equal(r.buf->data + (size_t)i * CW_BLOCK_SIZE, want, CW_BLOCK_SIZE);
        }
        cw_buf_unref(r.buf);
    }
}

static void
check_all(struct storeworld *w, struct cw_store_shard *sh, const struct model *m)
{
    check_image(w, sh, 0, SHARD_ID, &m->head);
    for (uint32_t i = 0; i < SNAPS_MAX; i++) {
        if (m->there[i])
            check_image(w, sh, i + 1, SHARD_ID, &m->snap[i]);
    }
    cw_store_check(w->store);
}

static void
take_snap(struct storeworld *w, struct cw_store_shard *sh, struct model *m, uint32_t i)
{
    struct storeworld_ticket t;

    assert_int_equal(cw_store_snap_create(sh, i + 1, storeworld_ticket(&t)), 0);
    m->snap[i] = m->head;
    m->there[i] = true;
    assert_int_equal(storeworld_ticket_wait(w, &t), 0);
}

static void
drop_snap(struct storeworld *w, struct cw_store_shard *sh, struct model *m, uint32_t i)
{
    struct storeworld_ticket t;

    assert_int_equal(cw_store_snap_delete(sh, i + 1, storeworld_ticket(&t)), 0);
    m->there[i] = false;
    assert_int_equal(storeworld_ticket_wait(w, &t), 0);
}

static struct cw_store_shard *
world_start(struct storeworld *w, uint64_t seed, enum cw_compression comp)
{
    storeworld_init(w, seed, 512 * CW_MIB, CW_MIB);
    w->compression = comp;
    return storeworld_begin(w, SHARD_ID);
}

static bool
space_is_to_come(void *arg)
{
    struct cw_store_stats st;

    cw_store_stats(arg, &st);
    return st.layers_gone > 0;
}

static void
wait_reclaimed(struct storeworld *w)
{
    assert_true(cw_simenv_run_while(&w->sim, space_is_to_come, w->store, 60 * WORLD_S));
}

/* What is in flight when a snapshot is taken is in it, what comes after is not. */
static void
a_snapshot_is_a_place_in_the_log(void **state)
{
    static struct model m;
    struct cw_store_snap_info list[4];
    struct cw_store_shard *sh;
    struct storeworld_ticket t;
    struct storeworld w;

    memset(&m, 0, sizeof(m));
    sh = world_start(&w, 1, CW_COMPRESSION_OFF);
    assert_int_equal(storeworld_write(&w, sh, 0, 4), 0);
    assert_int_equal(cw_store_snap_create(sh, 7, storeworld_ticket(&t)), 0);
    assert_int_equal(storeworld_write(&w, sh, 2, 4), 0);
    assert_int_equal(storeworld_ticket_wait(&w, &t), 0);
    storeworld_settle(&w, sh);
    for (uint32_t i = 0; i < 6; i++) {
        m.snap[6].seq[i] = i < 4;
        m.head.seq[i] = i < 2 ? 1 : 2;
    }
    m.there[6] = true;
    check_all(&w, sh, &m);
    assert_int_equal(cw_store_snap_create(sh, 7, storeworld_ticket(&t)), -EEXIST);
    assert_int_equal(cw_store_snap_delete(sh, 8, storeworld_ticket(&t)), -ENOENT);
    assert_int_equal(cw_store_snap_list(sh, list, 4), 2);
    assert_int_equal(list[0].snap, 7);
    assert_int_equal(list[0].own_blocks, 4);
    assert_int_equal(list[1].snap, 0);
    assert_int_equal(list[1].own_blocks, 4);
    assert_int_equal(cw_store_shard_info(sh)->mapped_blocks, 8);

    /* only what the head does not share comes back */
    assert_int_equal(cw_store_snap_delete(sh, 7, storeworld_ticket(&t)), 0);
    assert_int_equal(storeworld_ticket_wait(&w, &t), 0);
    m.there[6] = false;
    wait_reclaimed(&w);
    assert_int_equal(cw_store_shard_info(sh)->mapped_blocks, 6);
    check_all(&w, sh, &m);
    storeworld_fini(&w);
}

/* A chunk that was trimmed, zeroed or voided in the head keeps its content in the snapshot, and
 * does not come back in the head. */
static void
emptiness_is_not_inherited(void **state)
{
    static struct model m;
    struct cw_store_shard *sh;
    struct storeworld_ticket t;
    struct cw_store_read r;
    struct storeworld w;

    memset(&m, 0, sizeof(m));
    sh = world_start(&w, 2, CW_COMPRESSION_OFF);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(storeworld_write(&w, sh, i * 256, 256), 0);
        for (uint32_t k = 0; k < 256; k++)
            m.head.seq[i * 256 + k] = i + 1;
    }
    take_snap(&w, sh, &m, 0);
    assert_int_equal(storeworld_clear(&w, sh, CW_FT_TRIM, 0, 512), 0);
    assert_int_equal(storeworld_clear(&w, sh, CW_FT_ZERO, 600, 10), 0);
    memset(m.head.seq, 0, 512 * sizeof(m.head.seq[0]));
    memset(m.head.seq + 600, 0, 10 * sizeof(m.head.seq[0]));
    cw_store_chunk_void(sh, 3, storeworld_ticket(&t));
    assert_int_equal(storeworld_ticket_wait(&w, &t), 0);
    check_all(&w, sh, &m);
    for (uint32_t life = 0; life < 2; life++) {
        if (life == 0) {
            assert_int_equal(storeworld_close(&w), 0);
        } else {
            storeworld_crash(&w, (struct cw_ramdisk_crash){ .seed = 1, .keep = 0 });
        }
        assert_int_equal(storeworld_open(&w), 0);
        sh = cw_store_shard_find(w.store, SHARD_ID);
        check_all(&w, sh, &m);
        r = (struct cw_store_read){ .shard = sh, .lba = 3 * 256, .nblk = 1 };
        assert_int_equal(storeworld_read(&w, &r), 0);
        assert_int_equal(r.ver_seq, CW_VER_VOID);
        cw_buf_unref(r.buf);
        r = (struct cw_store_read){ .shard = sh, .lba = 3 * 256, .nblk = 1, .snap = 1 };
        assert_int_equal(storeworld_read(&w, &r), 0);
        assert_int_equal(r.ver_seq, 4);
        cw_buf_unref(r.buf);
    }
    drop_snap(&w, sh, &m, 0);
    wait_reclaimed(&w);
    check_all(&w, sh, &m);
    storeworld_fini(&w);
}

/* Fifty snapshots are taken under load and deleted in random order, with crashes in between: what
 * each shows never changes, and counts equal a recount. (Row 50 of the acceptance catalogue.) */
static void
fifty_layers(uint64_t seed, enum cw_compression comp)
{
    static struct model m;
    struct cw_store_snap_info info;
    struct cw_store_shard *sh;
    struct cw_prng rnd;
    struct storeworld w;
    uint32_t left = 50;

    memset(&m, 0, sizeof(m));
    cw_prng_init(&rnd, seed);
    sh = world_start(&w, seed, comp);
    for (uint32_t i = 0; i < 50; i++) {
        for (uint32_t k = 0; k < 4; k++)
            model_write(&w, sh, &m, &rnd);
        take_snap(&w, sh, &m, i);
        storeworld_settle(&w, sh);
    }
    check_all(&w, sh, &m);
    while (left > 0) {
        uint32_t i = (uint32_t)cw_prng_below(&rnd, 50);

        if (!m.there[i])
            continue;
        drop_snap(&w, sh, &m, i);
        left--;
        for (uint32_t k = 0; k < 3; k++)
            model_write(&w, sh, &m, &rnd);
        storeworld_settle(&w, sh);
        if (left % 5 == 0) { /* at any moment of giving back */
            for (uint64_t k = cw_prng_below(&rnd, 60); k > 0; k--)
                cw_simenv_step(&w.sim);
            storeworld_crash(&w, (struct cw_ramdisk_crash){ .seed = left, .keep = 100 });
            assert_int_equal(storeworld_open(&w), 0);
            sh = cw_store_shard_find(w.store, SHARD_ID);
        }
        if (left % 7 == 0)
            check_all(&w, sh, &m);
    }
    wait_reclaimed(&w);
    check_all(&w, sh, &m);
    assert_int_equal(cw_store_snap_list(sh, &info, 1), 1);
    assert_true(info.own_bytes <= info.own_blocks * CW_BLOCK_SIZE);
    assert_int_equal(info.own_bytes == info.own_blocks * CW_BLOCK_SIZE, comp == CW_COMPRESSION_OFF);
    left = 0;
    for (uint32_t i = 0; i < SPAN; i++)
        left += m.head.seq[i] != 0;
    assert_int_equal(cw_store_shard_info(sh)->mapped_blocks, left);
    assert_int_equal(storeworld_close(&w), 0);
    storeworld_fini(&w);
}

static void
row_50_snapshots_deleted_in_random_order(void **state)
{
    for (uint64_t seed = 50; seed < 53; seed++)
        fifty_layers(seed, CW_COMPRESSION_OFF);
    fifty_layers(53, CW_COMPRESSION_INLINE);
}

/* ---- deletes, writes and cleaning at once ---- */

#define LOAD_SNAPS 50u

struct loaded {
    struct storeworld w;
    struct model m;
    struct cw_store_shard *sh, *ballast;
    struct cw_prng rnd;
    struct storeworld_ticket t[LOAD_SNAPS]; /* of the deletes */
    uint32_t left;
    uint32_t n_waiting,
        n_reclaiming; /* steps of a cleaner beside a delete; beside its giving back */
    uint64_t cleaned;
};

static void
loaded_step(struct loaded *x)
{
    struct cw_store_stats st;
    bool waiting = false;

    cw_store_stats(x->w.store, &st);
    for (uint32_t i = 0; i < LOAD_SNAPS; i++)
        waiting |= !x->m.there[i] && !x->t[i].done;
    x->n_waiting += waiting && cleaner_busy(x->w.store);
    x->n_reclaiming += st.layers_gone > 0 && cleaner_busy(x->w.store);
    cw_simenv_step(&x->w.sim);
    cw_store_set_stable(x->sh, cw_store_shard_info(x->sh)->durable_seq);
    cw_store_set_stable(x->ballast, cw_store_shard_info(x->ballast)->durable_seq);
}

/* A little of everything; nothing is waited for. */
static void
loaded_write(struct loaded *x)
{
    uint64_t lba = cw_prng_below(&x->rnd, 330) * 256 + cw_prng_below(&x->rnd, 100);

    assert_int_equal(storeworld_write(&x->w, x->ballast, lba, 150), 0);
    model_write(&x->w, x->sh, &x->m, &x->rnd);
    for (uint64_t k = cw_prng_below(&x->rnd, 30); k > 0; k--)
        loaded_step(x);
}

static void
loaded_delete(struct loaded *x)
{
    uint32_t i;

    do {
        i = (uint32_t)cw_prng_below(&x->rnd, LOAD_SNAPS);
    } while (!x->m.there[i]);
    assert_int_equal(cw_store_snap_delete(x->sh, i + 1, storeworld_ticket(&x->t[i])), 0);
    x->m.there[i] = false;
    x->left--;
}

/* A delete that was not answered happened or did not: then it is still whole. */
static void
loaded_crash(struct loaded *x)
{
    uint64_t durable = cw_store_shard_info(x->sh)->durable_seq;
    struct cw_store_stats st;

    cw_store_stats(x->w.store, &st);
    x->cleaned += st.bytes_cleaned;
    storeworld_crash(&x->w, (struct cw_ramdisk_crash){ .seed = x->left, .keep = 128 });
    assert_int_equal(storeworld_open(&x->w), 0);
    x->sh = cw_store_shard_find(x->w.store, SHARD_ID);
    x->ballast = cw_store_shard_find(x->w.store, SHARD_ID + 1);
    model_crashed(&x->m, x->sh, durable);
    for (uint32_t i = 0; i < LOAD_SNAPS; i++) {
        bool there = layer_of_snap(x->sh, i + 1) != NULL;

        assert_false(x->m.there[i] && !there);
        assert_false(there && !x->m.there[i] && x->t[i].done);
        x->left += there && !x->m.there[i];
        x->m.there[i] = there;
        x->t[i].done = true;
    }
    check_all(&x->w, x->sh, &x->m);
}

static void
loaded_end(struct loaded *x)
{
    struct cw_store_snap_info info;
    struct cw_store_stats st;
    uint32_t n = 0;

    storeworld_settle(&x->w, x->sh);
    storeworld_settle(&x->w, x->ballast);
    wait_reclaimed(&x->w);
    check_all(&x->w, x->sh, &x->m);
    assert_int_equal(cw_store_snap_list(x->sh, &info, 1), 1);
    for (uint32_t i = 0; i < SPAN; i++)
        n += x->m.head.seq[i] != 0;
    assert_int_equal(cw_store_shard_info(x->sh)->mapped_blocks, n);
    cw_store_stats(x->w.store, &st);
    x->cleaned += st.bytes_cleaned;
    assert_int_equal(storeworld_close(&x->w), 0);
    assert_int_equal(storeworld_open(&x->w), 0);
    check_all(&x->w, cw_store_shard_find(x->w.store, SHARD_ID), &x->m);
    storeworld_fini(&x->w);
}

/* The same with nobody waiting for anybody: a delete is on its way and its space is given back
 * while others write and several cleaners move what the layers share; crashes cut into the middle
 * of it.
 */
static void
row_50_snapshots_deleted_under_load(void **state)
{
    for (uint32_t comp = CW_COMPRESSION_OFF; comp <= CW_COMPRESSION_INLINE; comp++) {
        struct loaded *x = calloc(1, sizeof(*x));

        cw_prng_init(&x->rnd, 150);
        storeworld_init(&x->w, 150 + comp, 512 * CW_MIB, 4 * CW_MIB);
        x->w.compression = comp;
        x->sh = storeworld_begin(&x->w, SHARD_ID);
        x->w.compression = CW_COMPRESSION_OFF;
        x->ballast = storeworld_shard(&x->w, SHARD_ID + 1);
        for (; x->left < LOAD_SNAPS; x->left++) {
            for (uint32_t k = 0; k < 10; k++)
                loaded_write(x);
            take_snap(&x->w, x->sh, &x->m, x->left);
            x->t[x->left].done = true;
        }
        while (x->left > 0) {
            loaded_delete(x);
            for (uint64_t k = cw_prng_below(&x->rnd, 16); k > 0; k--)
                loaded_write(x);
            if (x->left % 12 == 6)
                loaded_crash(x);
        }
        loaded_end(x);
        print_message("a cleaner at work in %u steps beside a delete, %u beside its giving back\n",
                      x->n_waiting, x->n_reclaiming);
        assert_true(x->cleaned > 0 && x->n_waiting > 20 && x->n_reclaiming > 20);
        free(x);
    }
}

/* A clone shows its snapshot, goes its own way, and outlives the copy that it came from. */
static void
a_clone_outlives_its_origin(void **state)
{
    static struct model m;
    static struct image clone;
    struct cw_store_shard *sh, *c;
    struct storeworld_ticket t;
    struct cw_shard_rec rec;
    struct storeworld w;
    int err;

    memset(&m, 0, sizeof(m));
    sh = world_start(&w, 3, CW_COMPRESSION_OFF);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(storeworld_write(&w, sh, i * 300, 200), 0);
        for (uint32_t k = 0; k < 200; k++)
            m.head.seq[i * 300 + k] = i + 1;
    }
    take_snap(&w, sh, &m, 0);
    clone = m.head;
    rec = storeworld_rec(&w, CLONE_ID);
    assert_null(cw_store_shard_clone(w.store, &rec, sh, 2, storeworld_ticket(&t), &err));
    assert_int_equal(err, -ENOENT);
    c = cw_store_shard_clone(w.store, &rec, sh, 1, storeworld_ticket(&t), &err);
    assert_non_null(c);
    assert_int_equal(storeworld_ticket_wait(&w, &t), 0);
    check_image(&w, c, 0, SHARD_ID, &clone);
    assert_int_equal(storeworld_clear(&w, c, CW_FT_TRIM, 100, 50), 0);
    memset(clone.seq + 100, 0, 50 * sizeof(clone.seq[0]));
    assert_int_equal(storeworld_write(&w, sh, 0, 100), 0);
    for (uint32_t k = 0; k < 100; k++)
        m.head.seq[k] = 5;
    storeworld_settle(&w, sh);
    storeworld_settle(&w, c);
    check_image(&w, c, 0, SHARD_ID, &clone);
    check_all(&w, sh, &m);

    /* the snapshot has two children: it waits until one is gone */
    drop_snap(&w, sh, &m, 0);
    storeworld_run(&w, WORLD_S);
    check_image(&w, c, 0, SHARD_ID, &clone);
    check_all(&w, sh, &m);
    cw_store_shard_drop(sh, storeworld_ticket(&t));
    assert_int_equal(storeworld_ticket_wait(&w, &t), 0);
    storeworld_crash(&w, (struct cw_ramdisk_crash){ .seed = 9, .keep = 128 });
    assert_int_equal(storeworld_open(&w), 0);
    c = cw_store_shard_find(w.store, CLONE_ID);
    assert_null(cw_store_shard_find(w.store, SHARD_ID));
    wait_reclaimed(&w);
    check_image(&w, c, 0, SHARD_ID, &clone);
    cw_store_check(w.store);
    assert_int_equal(cw_store_shard_info(c)->mapped_blocks, 750);
    assert_int_equal(storeworld_close(&w), 0);
    assert_int_equal(storeworld_open(&w), 0);
    c = cw_store_shard_find(w.store, CLONE_ID);
    check_image(&w, c, 0, SHARD_ID, &clone);
    storeworld_fini(&w);
}

/* How many checkpoints overwriting another copy takes, with a deleted snapshot that has to wait, as
 * a head and a clone both show it. */
static uint64_t
checkpoints_with(bool waiting)
{
    enum { CHUNKS = 330, WRITES = 4000 };
    struct cw_store_shard *sh, *other;
    struct storeworld_ticket t;
    struct cw_shard_rec rec;
    struct storeworld w;
    struct cw_prng rnd;
    uint64_t was;
    int err = 0;

    cw_prng_init(&rnd, 6);
    storeworld_init(&w, 94, 512 * CW_MIB, 4 * CW_MIB);
    w.scrub_ns = STOREWORLD_NO_SCRUB;
    sh = storeworld_begin(&w, SHARD_ID);
    other = storeworld_shard(&w, SHARD_ID + (UINT64_C(1) << 20));
    assert_int_equal(storeworld_write(&w, sh, 0, 100), 0);
    storeworld_settle(&w, sh);
    assert_int_equal(cw_store_snap_create(sh, 1, storeworld_ticket(&t)), 0);
    assert_int_equal(storeworld_ticket_wait(&w, &t), 0);
    rec = storeworld_rec(&w, CLONE_ID);
    assert_non_null(cw_store_shard_clone(w.store, &rec, sh, 1, storeworld_ticket(&t), &err));
    assert_int_equal(storeworld_ticket_wait(&w, &t), 0);
    if (waiting) {
        assert_int_equal(cw_store_snap_delete(sh, 1, storeworld_ticket(&t)), 0);
        assert_int_equal(storeworld_ticket_wait(&w, &t), 0);
    }
    for (uint64_t lba = 0; lba < CHUNKS * 256; lba += 256) {
        assert_int_equal(storeworld_write(&w, other, lba, 256), 0);
        cw_store_set_stable(other, cw_store_shard_info(other)->durable_seq);
    }
    was = w.store->ckpt.number;
    for (uint32_t i = 0; i < WRITES; i++) {
        uint64_t lba = cw_prng_below(&rnd, CHUNKS) * 256 + cw_prng_below(&rnd, 192);

        assert_int_equal(storeworld_write(&w, other, lba, 64), 0);
        cw_store_set_stable(other, cw_store_shard_info(other)->durable_seq);
    }
    storeworld_settle(&w, other);
    assert_int_equal(w.store->n_gone, waiting);
    was = w.store->ckpt.number - was;
    storeworld_fini(&w);
    return was;
}

/* It costs the others nothing: what they empty is used again at once, not only after checkpoints.
 */
static void
a_snapshot_that_waits_holds_up_nobody(void **state)
{
    uint64_t without = checkpoints_with(false), with = checkpoints_with(true);

    print_message("checkpoints: %llu, and %llu beside a snapshot that waits\n",
                  (unsigned long long)without, (unsigned long long)with);
    assert_true(with <= without + without / 4 + 1);
}

/* The cleaner moves what several layers show: all of them see the new place, after each crash too.
 * (Row 45.) */
static void
row_45_cleaning_moves_what_layers_share(void **state)
{
    static struct model m;
    struct cw_store_shard *sh, *ballast;
    struct cw_store_stats st;
    struct cw_prng rnd;
    struct storeworld w;
    uint32_t n_open = 0; /* crashes with writes that were not durable */
    uint64_t cleaned;

    for (uint32_t comp = CW_COMPRESSION_OFF; comp <= CW_COMPRESSION_INLINE; comp++) {
        memset(&m, 0, sizeof(m));
        cw_prng_init(&rnd, 45);
        sh = world_start(&w, 45 + comp, comp);
        w.compression = CW_COMPRESSION_OFF;
        ballast = storeworld_shard(&w, SHARD_ID + 1);
        cleaned = 0;
        for (uint32_t i = 0; i < 900; i++) {
            uint64_t lba = cw_prng_below(&rnd, 330) * 256 + cw_prng_below(&rnd, 100);

            assert_int_equal(storeworld_write(&w, ballast, lba, 150), 0);
            model_write(&w, sh, &m, &rnd);
            if (i % 40 == 0 && i / 40 < SNAPS_MAX)
                take_snap(&w, sh, &m, i / 40);
            if (i % 130 == 129)
                drop_snap(&w, sh, &m, i / 130 * 3);
            if (i % 20 == 0) {
                storeworld_settle(&w, sh);
                storeworld_settle(&w, ballast);
            }
            if (i % 100 == 99) {
                uint64_t durable = cw_store_shard_info(sh)->durable_seq;

                n_open += cw_store_shard_info(sh)->last_seq > durable;
                cw_store_stats(w.store, &st);
                cleaned += st.bytes_cleaned;
                storeworld_crash(&w, (struct cw_ramdisk_crash){ .seed = i, .keep = 128 });
                assert_int_equal(storeworld_open(&w), 0);
                sh = storeworld_shard(&w, SHARD_ID);
                ballast = storeworld_shard(&w, SHARD_ID + 1);
                model_crashed(&m, sh, durable);
                check_all(&w, sh, &m);
            }
        }
        storeworld_settle(&w, sh);
        cw_store_stats(w.store, &st);
        assert_true(cleaned + st.bytes_cleaned > 0);
        check_all(&w, sh, &m);
        assert_int_equal(storeworld_close(&w), 0);
        assert_int_equal(storeworld_open(&w), 0);
        check_all(&w, cw_store_shard_find(w.store, SHARD_ID), &m);
        storeworld_fini(&w);
    }
    assert_true(n_open > 5);
}

/* There is an end to how many hang together, and it is said. */
static void
layers_are_limited(void **state)
{
    struct storeworld_ticket t;
    struct cw_store_shard *sh;
    struct storeworld w;

    sh = world_start(&w, 4, CW_COMPRESSION_OFF);
    for (uint32_t i = 1; i < CW_STORE_LAYERS_MAX; i++) {
        assert_int_equal(cw_store_snap_create(sh, i, storeworld_ticket(&t)), 0);
        assert_int_equal(storeworld_ticket_wait(&w, &t), 0);
    }
    assert_int_equal(cw_store_snap_create(sh, 1000, storeworld_ticket(&t)), -EMLINK);
    assert_int_equal(cw_store_snap_delete(sh, 100, storeworld_ticket(&t)), 0);
    assert_int_equal(storeworld_ticket_wait(&w, &t), 0);
    wait_reclaimed(&w);
    assert_int_equal(cw_store_snap_create(sh, 1000, storeworld_ticket(&t)), 0);
    assert_int_equal(storeworld_ticket_wait(&w, &t), 0);
    storeworld_fini(&w);
}

/* ---- owners that are lost ---- */

/* A page that is lost takes the owners in it with it. What others still show of them is moved by
 * the cleaner, and counts where it is then: its place is not used again. */
static void
a_lost_page_loses_no_block_of_others(void **state)
{
    enum { SHARED = 200, BALLAST = 300 };
    struct cw_store_read r = { .snap = 1, .nblk = SHARED };
    struct cw_store_shard *sh, *other;
    const struct cw_chunk_entry *e;
    struct storeworld_ticket t;
    struct storeworld w;
    struct cw_prng rnd;

    cw_prng_init(&rnd, 3);
    storeworld_init(&w, 91, 512 * CW_MIB, 4 * CW_MIB);
    w.scrub_ns = STOREWORLD_NO_SCRUB;
    sh = storeworld_begin(&w, SHARD_ID);
    other = storeworld_shard(&w, CLONE_ID);
    for (uint32_t i = 0; i < SHARED; i++) { /* strewn among what will be overwritten */
        assert_int_equal(storeworld_write(&w, sh, i, 1), 0);
        assert_int_equal(storeworld_write(&w, other, i * 256, 64), 0);
        storeworld_settle(&w, sh);
        storeworld_settle(&w, other);
    }
    assert_int_equal(cw_store_snap_create(sh, 1, storeworld_ticket(&t)), 0);
    assert_int_equal(storeworld_ticket_wait(&w, &t), 0);
    assert_int_equal(storeworld_write(&w, sh, 255, 1), 0); /* a page of the head's own */
    storeworld_settle(&w, sh);
    assert_int_equal(storeworld_close(&w), 0);
    assert_int_equal(storeworld_open(&w), 0);
    r.shard = sh = cw_store_shard_find(w.store, SHARD_ID);
    other = cw_store_shard_find(w.store, CLONE_ID);
    e = chunk_find(layer_of_snap(sh, 1), 0);
    assert_true(e->page_loc != 0 && e->ram == 0);
    cw_ramdisk_flip(w.disk, loc_off(w.store, e->page_loc) + 100, 1);
    assert_int_equal(storeworld_read(&w, &r), 0);
    assert_true(cw_bit_get(r.bad, 0) && cw_bit_get(r.bad, SHARED - 1));
    cw_buf_unref(r.buf);
    for (uint32_t i = 0; i < 4000; i++) {
        uint64_t lba = cw_prng_below(&rnd, BALLAST) * 256 + cw_prng_below(&rnd, 156);

        assert_int_equal(storeworld_write(&w, other, lba, 100), 0);
        cw_store_set_stable(other, cw_store_shard_info(other)->durable_seq);
    }
    storeworld_settle(&w, other);
    assert_true(w.store->stats.bytes_cleaned > 0);
    assert_int_equal(storeworld_clear(&w, other, CW_FT_TRIM, 0, BALLAST * 256), 0);
    storeworld_settle(&w, other);
    for (uint32_t i = 0; i < 1000; i++) { /* more than once round the disk */
        assert_int_equal(storeworld_write(&w, other, i % 200 * 256, 256), 0);
        cw_store_set_stable(other, cw_store_shard_info(other)->durable_seq);
    }
    storeworld_settle(&w, other);
    for (uint32_t i = 0; i < SHARED; i++)
        assert_true(storeworld_block_is(&w, sh, i, i + 1));
    cw_store_check(w.store);
    storeworld_fini(&w);
}

/* A copy is dropped while the cleaner reads what a victim holds: as long as that is not durable its
 * blocks are alive. */
static void
what_a_drop_leaves_counts_until_it_is_durable(void **state)
{
    struct cw_store_shard *sh;
    struct storeworld_ticket t;
    struct storeworld w;
    struct cw_prng rnd;
    const struct cleaner *c = NULL;
    uint32_t live;

    cw_prng_init(&rnd, 5);
    storeworld_init(&w, 92, 512 * CW_MIB, 4 * CW_MIB);
    sh = storeworld_begin(&w, SHARD_ID);
    for (uint32_t i = 0; i < 300; i++) {
        assert_int_equal(storeworld_write(&w, sh, i * 256, 256), 0);
        cw_store_set_stable(sh, cw_store_shard_info(sh)->durable_seq);
    }
    storeworld_settle(&w, sh);
    for (uint32_t i = 0;; i++) {
        assert_true(i < 100000);
        if (i % 40 == 0)
            assert_int_equal(storeworld_write(&w, sh, cw_prng_below(&rnd, 300 * 256 - 8), 8), 0);
        assert_true(cw_simenv_step(&w.sim));
        cw_store_set_stable(sh, cw_store_shard_info(sh)->durable_seq);
        c = w.store->cleaners;
        if (c != NULL && c->state == CLEAN_SCAN && w.store->segs[c->victim].live > 100 &&
            cw_store_shard_info(sh)->durable_seq == cw_store_shard_info(sh)->last_seq)
            break;
    }
    live = w.store->segs[c->victim].live;
    cw_ramdisk_plan(w.disk, CW_RAMDISK_STICK, CW_RAMDISK_OP(CW_DISK_WRITE_SYNC), 1, 1, 0);
    cw_store_shard_drop(sh, storeworld_ticket(&t));
    cw_store_turn_end(w.store);
    for (uint32_t i = 0; i < 200 && c->state == CLEAN_SCAN; i++)
        assert_true(cw_simenv_step(&w.sim));
    assert_false(t.done);
    assert_true(c->state != CLEAN_SCAN && w.store->segs[c->victim].live == live);
    cw_store_check(w.store);
    cw_ramdisk_unstick(w.disk);
    assert_int_equal(storeworld_ticket_wait(&w, &t), 0);
    storeworld_run(&w, 10 * WORLD_S);
    assert_int_equal(w.store->data_live, 0);
    cw_store_check(w.store);
    storeworld_fini(&w);
}

/* The page that is lost says no more which of its entries were SHARED: what is counted may only be
 * too high, and what comes of it opens again. */
static void
a_lost_page_of_shared_entries_keeps_counts_sane(void **state)
{
    enum { BLOCKS = 256 };
    struct cw_store_read r = { .nblk = BLOCKS };
    struct cw_store_shard *sh;
    const struct cw_chunk_entry *e;
    struct storeworld_ticket t;
    struct storeworld w;

    storeworld_init(&w, 92, 512 * CW_MIB, 4 * CW_MIB);
    w.scrub_ns = STOREWORLD_NO_SCRUB;
    sh = storeworld_begin(&w, SHARD_ID);
    assert_int_equal(storeworld_write(&w, sh, 0, BLOCKS - 1), 0);
    storeworld_settle(&w, sh);
    assert_int_equal(cw_store_snap_create(sh, 1, storeworld_ticket(&t)), 0);
    assert_int_equal(storeworld_ticket_wait(&w, &t), 0);
    assert_int_equal(storeworld_write(&w, sh, BLOCKS - 1, 1), 0);
    storeworld_settle(&w, sh);
    assert_int_equal(storeworld_close(&w), 0);
    assert_int_equal(storeworld_open(&w), 0);
    r.shard = sh = cw_store_shard_find(w.store, SHARD_ID);
    e = chunk_find(sh->head, 0);
    assert_true(e->page_loc != 0 && e->ram == 0);
    cw_ramdisk_flip(w.disk, loc_off(w.store, e->page_loc) + 100, 1);
    assert_int_equal(storeworld_read(&w, &r), 0);
    assert_true(cw_bit_get(r.bad, 0) && cw_bit_get(r.bad, BLOCKS - 1));
    cw_buf_unref(r.buf);
    cw_store_check(w.store);
    assert_int_equal(storeworld_clear(&w, sh, CW_FT_TRIM, 0, BLOCKS), 0);
    storeworld_settle(&w, sh);
    cw_store_check(w.store);
    assert_in_range(cw_store_shard_info(sh)->mapped_blocks, BLOCKS - 1, 2 * BLOCKS);
    for (int life = 0; life < 3; life++) { /* each writes a checkpoint */
        assert_int_equal(storeworld_close(&w), 0);
        assert_int_equal(storeworld_open(&w), 0);
        sh = cw_store_shard_find(w.store, SHARD_ID);
        assert_in_range(cw_store_shard_info(sh)->mapped_blocks, BLOCKS - 1, 2 * BLOCKS);
    }
    storeworld_fini(&w);
}

/* ---- a read waits for a page while what it reads changes ---- */

/* Chunks 0 and 1 are the snapshot's; the page of the first is in memory, that of the second is
 * held up by the disk. */
struct page_wait {
    struct storeworld w;
    struct cw_store_shard *sh;
    struct cw_store_read r;
    bool done;
};

static void
page_wait_on_read(struct cw_store_read *r)
{
    cw_container_of(r, struct page_wait, r)->done = true;
}

static void
page_wait_snap(struct page_wait *x, uint64_t snap, bool create)
{
    struct storeworld_ticket t;

    if (create)
        assert_int_equal(cw_store_snap_create(x->sh, snap, storeworld_ticket(&t)), 0);
    else
        assert_int_equal(cw_store_snap_delete(x->sh, snap, storeworld_ticket(&t)), 0);
    assert_int_equal(storeworld_ticket_wait(&x->w, &t), 0);
}

static void
page_wait_begin(struct page_wait *x)
{
    struct layer *l;

    memset(x, 0, sizeof(*x));
    storeworld_init(&x->w, 95, 512 * CW_MIB, 4 * CW_MIB);
    x->w.scrub_ns = STOREWORLD_NO_SCRUB;
    x->sh = storeworld_begin(&x->w, SHARD_ID);
    assert_int_equal(storeworld_write(&x->w, x->sh, 255, 1), 0);
    assert_int_equal(storeworld_write(&x->w, x->sh, 256, 1), 0);
    page_wait_snap(x, 1, true);
    assert_int_equal(storeworld_close(&x->w), 0);
    assert_int_equal(storeworld_open(&x->w), 0);
    x->sh = cw_store_shard_find(x->w.store, SHARD_ID);
    assert_true(storeworld_block_is(&x->w, x->sh, 255, 1));
    l = layer_of_snap(x->sh, 1);
    assert_true(map_page_resident(l, 0) != NULL && map_page_resident(l, 1) == NULL);
    cw_ramdisk_hold(x->w.disk, CW_RAMDISK_OP(CW_DISK_READ),
                    loc_off(x->w.store, chunk_find(l, 1)->page_loc), CW_BLOCK_SIZE);
    x->r = (struct cw_store_read){ .shard = x->sh, .lba = 255, .nblk = 2 };
    x->r.done = page_wait_on_read;
    cw_store_read(&x->r);
    assert_int_equal(cw_ramdisk_stuck(x->w.disk), 1);
}

/* Both blocks as they are at at_seq, the version too: seq0 wrote the first one, 0 if it is empty.
 */
static void
page_wait_end(struct page_wait *x, uint64_t at_seq, uint64_t seq0, uint64_t ver_seq)
{
    uint8_t want[CW_BLOCK_SIZE];

    assert_false(x->done);
    cw_ramdisk_hold(x->w.disk, 0, 0, 0);
    cw_ramdisk_unstick(x->w.disk);
    storeworld_wait(&x->w, &x->done);
    assert_int_equal(x->r.res, 0);
    assert_int_equal(x->r.at_seq, at_seq);
    assert_int_equal(x->r.ver_seq, ver_seq);
    storeworld_fill(want, SHARD_ID, 255, seq0);
    assert_int_equal(x->r.csums[0], cw_hash_block(want));
    assert_memory_equal(x->r.buf->data, want, CW_BLOCK_SIZE);
    storeworld_fill(want, SHARD_ID, 256, 2);
    assert_memory_equal(x->r.buf->data + CW_BLOCK_SIZE, want, CW_BLOCK_SIZE);
    cw_buf_unref(x->r.buf);
    storeworld_settle(&x->w, x->sh);
    wait_reclaimed(&x->w);
    assert_true(storeworld_block_is(&x->w, x->sh, 255, seq0));
    assert_true(storeworld_block_is(&x->w, x->sh, 256, 2));
    cw_store_check(x->w.store);
    storeworld_fini(&x->w);
}

static void
a_read_that_waits_shows_one_instant(void **state)
{
    struct page_wait x;

    page_wait_begin(&x); /* the head gets a page of its own */
    assert_int_equal(storeworld_write(&x.w, x.sh, 255, 1), 0);
    storeworld_settle(&x.w, x.sh);
    page_wait_end(&x, 3, 3, 3);

    page_wait_begin(&x); /* or its own emptiness */
    assert_int_equal(storeworld_clear(&x.w, x.sh, CW_FT_TRIM, 0, 256), 0);
    storeworld_settle(&x.w, x.sh);
    page_wait_end(&x, 3, 0, 3);

    page_wait_begin(&x); /* twice: under another snapshot */
    assert_int_equal(storeworld_write(&x.w, x.sh, 255, 1), 0);
    page_wait_snap(&x, 2, true);
    assert_int_equal(storeworld_write(&x.w, x.sh, 255, 1), 0);
    storeworld_settle(&x.w, x.sh);
    page_wait_end(&x, 4, 4, 4);

    page_wait_begin(&x); /* what it reads is about to become the head's */
    page_wait_snap(&x, 1, false);
    storeworld_run(&x.w, WORLD_S);
    page_wait_end(&x, 2, 1, 1);

    page_wait_begin(&x); /* and both */
    assert_int_equal(storeworld_write(&x.w, x.sh, 255, 1), 0);
    page_wait_snap(&x, 1, false);
    storeworld_run(&x.w, WORLD_S);
    page_wait_end(&x, 3, 3, 3);
}

/* Writes and snapshots without end while it waits do not keep it from its end. */
static void
a_read_that_waits_ends_under_load(void **state)
{
    struct page_wait x;

    page_wait_begin(&x);
    for (uint64_t i = 0; i < 40; i++) {
        assert_int_equal(storeworld_write(&x.w, x.sh, 255, 1), 0);
        page_wait_snap(&x, 2 + i, true);
        storeworld_settle(&x.w, x.sh);
    }
    assert_int_equal(storeworld_write(&x.w, x.sh, 255, 1), 0);
    storeworld_settle(&x.w, x.sh);
    page_wait_end(&x, 43, 43, 43);
}

/* ---- a count that is too high beside a copy that is given back ---- */

#define MISCOUNT_CHUNKS 300u

struct miscount {
    struct storeworld w;
    struct cw_store_shard *sh;
    struct cw_prng rnd;
    uint32_t seg, taken; /* how often a cleaner took it */
};

static struct seg *
miscount_seg(struct miscount *x)
{
    return &x->w.store->segs[x->seg];
}

/* A segment of which nothing is alive, though a block is counted; and a dropped copy with nothing
 * in it whose map page does not come. */
static void
miscount_begin(struct miscount *x)
{
    struct cw_store_shard *dropped;
    struct storeworld_ticket t;
    uint64_t page;

    memset(x, 0, sizeof(*x));
    cw_prng_init(&x->rnd, 8);
    storeworld_init(&x->w, 96, 512 * CW_MIB, 4 * CW_MIB);
    x->w.scrub_ns = STOREWORLD_NO_SCRUB;
    x->sh = storeworld_begin(&x->w, SHARD_ID);
    dropped = storeworld_shard(&x->w, CLONE_ID);
    assert_int_equal(storeworld_write(&x->w, dropped, 0, 1), 0);
    storeworld_settle(&x->w, dropped);
    for (uint64_t i = 0; i < MISCOUNT_CHUNKS; i++) {
        assert_int_equal(storeworld_write(&x->w, x->sh, i * 256, 256), 0);
        cw_store_set_stable(x->sh, cw_store_shard_info(x->sh)->durable_seq);
    }
    assert_int_equal(storeworld_close(&x->w), 0);
    assert_int_equal(storeworld_open(&x->w), 0);
    x->sh = cw_store_shard_find(x->w.store, SHARD_ID);
    dropped = cw_store_shard_find(x->w.store, CLONE_ID);
    assert_true(storeworld_block_is(&x->w, x->sh, 100 * 256, 101));
    x->seg = cw_loc_seg(map_page_resident(x->sh->head, 100)->data->e[0].loc);
    segment_live_sectors(x->w.store, cw_loc_make(x->seg, 0, 0, CW_MAP_RAW), 8);
    for (uint64_t i = 90; i < 110; i++)
        assert_int_equal(storeworld_write(&x->w, x->sh, i * 256, 256), 0);
    storeworld_settle(&x->w, x->sh);
    assert_int_equal(miscount_seg(x)->live, 8);
    assert_int_equal(miscount_seg(x)->state, CW_SEG_SEALED);
    page = loc_off(x->w.store, chunk_find(dropped->head, 0)->page_loc);
    cw_ramdisk_hold(x->w.disk, CW_RAMDISK_OP(CW_DISK_READ), page, CW_BLOCK_SIZE);
    cw_store_shard_drop(dropped, storeworld_ticket(&t));
    assert_int_equal(storeworld_ticket_wait(&x->w, &t), 0);
    storeworld_run(&x->w, CW_NS_PER_MS);
    assert_int_equal(cw_ramdisk_stuck(x->w.disk), 1);
}

/* Overwrites, for which space must be won. */
static void
miscount_load(struct miscount *x, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        bool was = miscount_seg(x)->is_victim;

        if (i % 40 == 0)
            assert_int_equal(storeworld_write(&x->w, x->sh,
                                              cw_prng_below(&x->rnd, MISCOUNT_CHUNKS * 256 - 64),
                                              64),
                             0);
        assert_true(cw_simenv_step(&x->w.sim));
        x->taken += !was && miscount_seg(x)->is_victim;
        cw_store_set_stable(x->sh, cw_store_shard_info(x->sh)->durable_seq);
    }
}

/* What is counted may be the copy's that is given back: it is looked at again once that is done,
 * and not all the time until then. */
static void
a_count_too_high_is_mended_after_a_drop(void **state)
{
    struct miscount x;

    miscount_begin(&x);
    for (uint32_t i = 0; x.taken == 0; i++) {
        assert_true(i < 1000);
        miscount_load(&x, 400);
    }
    miscount_load(&x, 20000);
    assert_int_equal(x.taken, 1);
    assert_int_equal(miscount_seg(&x)->live, 8);
    cw_ramdisk_hold(x.w.disk, 0, 0, 0);
    cw_ramdisk_unstick(x.w.disk);
    wait_reclaimed(&x.w);
    for (uint32_t i = 0; miscount_seg(&x)->live > 0; i++) {
        assert_true(i < 1000);
        miscount_load(&x, 400);
    }
    assert_int_equal(x.taken, 2);
    storeworld_settle(&x.w, x.sh);
    cw_store_check(x.w.store);
    storeworld_fini(&x.w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_snapshot_is_a_place_in_the_log),
        cmocka_unit_test(emptiness_is_not_inherited),
        cmocka_unit_test(row_50_snapshots_deleted_in_random_order),
        cmocka_unit_test(row_50_snapshots_deleted_under_load),
        cmocka_unit_test(a_clone_outlives_its_origin),
        cmocka_unit_test(row_45_cleaning_moves_what_layers_share),
        cmocka_unit_test(layers_are_limited),
        cmocka_unit_test(a_snapshot_that_waits_holds_up_nobody),
        cmocka_unit_test(a_lost_page_loses_no_block_of_others),
        cmocka_unit_test(a_lost_page_of_shared_entries_keeps_counts_sane),
        cmocka_unit_test(what_a_drop_leaves_counts_until_it_is_durable),
        cmocka_unit_test(a_count_too_high_is_mended_after_a_drop),
        cmocka_unit_test(a_read_that_waits_shows_one_instant),
        cmocka_unit_test(a_read_that_waits_ends_under_load),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
