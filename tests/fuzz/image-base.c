/* The base: two lives of a store of 24 segments with every kind of record, as a crash leaves it.
 *
 * Life 1 ends clean while a dropped copy still waits to be purged, so that both checkpoints hold
 * one. Life 2 fills and cleans segments, so that summaries, moves and bad blocks are there; what
 * comes behind its last checkpoint is replayed by whoever opens the image.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/store/inspect.h"
#include "tests/fuzz/image.h"
#include "tests/lib/storeworld.h"

#define SEGS 24u
#define LOW 14u /* free segments at which the cleaner begins */
#define SHARD(n) ((uint64_t)(n) << 16)

/* Without this every open would begin to write zeroes into segments (prewrite.c). */
static void
base_mark_written(struct storeworld *w)
{
    struct cw_store *s = w->store;

    for (uint32_t i = 0; i < s->n_segs; i++)
        s->segs[i].flags |= CW_SEG_WRITTEN;
}

static void
base_sb(struct storeworld *w, struct cw_sb *sb)
{
    cw_ramdisk_peek(w->disk, 0, sb, sizeof(*sb));
}

/* A store that format makes is too large to be opened a thousand times in a second. */
static void
base_shrink(struct storeworld *w)
{
    struct cw_sb sb;

    base_sb(w, &sb);
    sb.seg_count = SEGS;
    sb.dev_bytes = CW_SEG_BASE + (uint64_t)SEGS * sb.seg_bytes + 2 * 4096;
    sb.csum = cw_hash(&sb, offsetof(struct cw_sb, csum));
    cw_ramdisk_poke(w->disk, 0, &sb, sizeof(sb));
}

static void
base_settle(struct storeworld *w, struct cw_store_shard *sh)
{
    storeworld_wait_durable(w, sh, cw_store_shard_info(sh)->last_seq);
}

static void
base_write(struct storeworld *w, struct cw_store_shard *sh, uint64_t lba, uint32_t nblk)
{
    assert_int_equal(storeworld_write(w, sh, lba, nblk), 0);
    base_settle(w, sh);
}

static void
base_clear(struct storeworld *w, struct cw_store_shard *sh, uint8_t type, uint64_t lba,
           uint32_t nblk)
{
    assert_int_equal(storeworld_clear(w, sh, type, lba, nblk), 0);
    base_settle(w, sh);
}

/* Text packs well; half of its blocks, for runs that are packed and runs that are not. */
static void
base_write_text(struct storeworld *w, struct cw_store_shard *sh, uint64_t lba)
{
    static uint8_t data[24 * CW_BLOCK_SIZE] __attribute__((aligned(4096)));
    struct cw_shard_rec shard = cw_store_shard_info(sh)->rec;
    uint64_t csums[24];
    struct cw_store_rec rec = {
        .type = CW_FT_WRITE,
        .gen = 1,
        .seq = cw_store_shard_info(sh)->last_seq + 1,
        .lba = lba,
        .nblk = 24,
        .csums = csums,
        .data = data,
    };
    struct storeworld_ticket t;

    for (uint32_t i = 0; i < 24; i++) {
        uint8_t *block = data + (size_t)i * CW_BLOCK_SIZE;

        if (i < 18)
            memset(block, 'a' + (int)i, CW_BLOCK_SIZE);
        else
            storeworld_fill(block, shard.shard, lba + i, rec.seq);
        csums[i] = cw_hash_block(block);
    }
    shard.compression = CW_COMPRESSION_INLINE;
    cw_store_set_rec(sh, &shard, storeworld_ticket(&t));
    assert_int_equal(storeworld_ticket_wait(w, &t), 0);
    assert_int_equal(storeworld_append(w, sh, &rec), 0);
    base_settle(w, sh);
}

static void
base_snap(struct storeworld *w, struct cw_store_shard *sh, uint64_t snap)
{
    struct storeworld_ticket t;

    assert_int_equal(cw_store_snap_create(sh, snap, storeworld_ticket(&t)), 0);
    assert_int_equal(storeworld_ticket_wait(w, &t), 0);
}

static void
base_clone(struct storeworld *w, struct cw_store_shard *of, uint64_t snap, uint64_t id)
{
    struct cw_shard_rec rec = cw_store_shard_info(of)->rec;
    struct storeworld_ticket t;
    int err;

    rec.shard = id;
    assert_non_null(cw_store_shard_clone(w->store, &rec, of, snap, storeworld_ticket(&t), &err));
    assert_int_equal(storeworld_ticket_wait(w, &t), 0);
}

/* ---- the first life ---- */

static void
life_one(struct storeworld *w)
{
    static const uint32_t chunks[] = { 0, 1, 2, 90, 300 };
    struct cw_store_shard *sh[4];
    struct storeworld_ticket t;

    assert_int_equal(storeworld_open(w), 0);
    base_mark_written(w);
    for (uint32_t i = 1; i < 4; i++)
        sh[i] = storeworld_shard(w, SHARD(i));
    for (size_t i = 0; i < CW_LEN(chunks); i++)
        base_write(w, sh[1], (uint64_t)chunks[i] * CW_CHUNK_BLOCKS + i, 3);
    base_write(w, sh[1], CW_CHUNK_BLOCKS - 2, 4);
    base_clear(w, sh[1], CW_FT_TRIM, 1, 1);
    base_clear(w, sh[1], CW_FT_ZERO, 3, 2);
    base_snap(w, sh[1], 11);
    base_write(w, sh[1], 2, 2);
    base_clone(w, sh[1], 11, SHARD(7));
    base_write(w, storeworld_shard(w, SHARD(7)), CW_CHUNK_BLOCKS + 1, 2);
    base_snap(w, sh[1], 12);
    base_write_text(w, sh[2], 7);
    base_write(w, sh[3], 0, 2);
    base_write(w, sh[3], 200 * CW_CHUNK_BLOCKS, 2);
    cw_store_set_stable(sh[1], 4);
    cw_store_shard_drop(sh[3], storeworld_ticket(&t));
    assert_int_equal(storeworld_close(w), 0);
}

/* ---- the second ---- */

/* Everything that a stream record can say of its chunks. */
static void
life_modes(struct storeworld *w, struct cw_store_shard *sh)
{
    static const uint8_t modes[][2] = {
        { CW_STORE_APPLY, CW_STORE_APPLY_KEEP },
        { CW_STORE_DROP, CW_STORE_APPLY },
        { CW_STORE_DROP, CW_STORE_DROP },
        { CW_STORE_APPLY_KEEP, CW_STORE_APPLY_KEEP },
    };
    static uint8_t data[2 * CW_BLOCK_SIZE] __attribute__((aligned(4096)));
    uint64_t csums[2];

    storeworld_fill(data, SHARD(1), 1, 1);
    for (uint32_t i = 0; i < 2; i++)
        csums[i] = cw_hash_block(data + (size_t)i * CW_BLOCK_SIZE);
    for (size_t i = 0; i < CW_LEN(modes); i++) {
        struct cw_store_rec rec = {
            .type = i % 2 == 0 ? CW_FT_WRITE : CW_FT_ZERO,
            .gen = 1,
            .seq = cw_store_shard_info(sh)->last_seq + 1,
            .lba = CW_CHUNK_BLOCKS - 1,
            .nblk = 2,
            .csums = csums,
            .data = data,
            .apply = modes[i],
        };

        assert_int_equal(storeworld_append(w, sh, &rec), 0);
    }
    base_settle(w, sh);
}

static void
life_steps(struct storeworld *w, struct cw_store_shard *sh)
{
    struct cw_store_hist hist[] = { { .start_seq = 1, .gen = 1 }, { .start_seq = 9, .gen = 2 } };
    struct cw_store_rec start = { .type = CW_FT_GEN_START,
                                  .gen = 2,
                                  .seq = cw_store_shard_info(sh)->last_seq + 1 };
    struct cw_shard_rec rec = cw_store_shard_info(sh)->rec;
    struct storeworld_ticket t;

    cw_store_promise(sh, 2, storeworld_ticket(&t));
    assert_int_equal(storeworld_ticket_wait(w, &t), 0);
    assert_int_equal(storeworld_append(w, sh, &start), 0);
    base_settle(w, sh);
    cw_store_chunk_void(sh, 3, storeworld_ticket(&t));
    assert_int_equal(storeworld_ticket_wait(w, &t), 0);
    rec.cfg = 2;
    cw_store_set_rec(sh, &rec, storeworld_ticket(&t));
    assert_int_equal(storeworld_ticket_wait(w, &t), 0);
    cw_store_join(sh, 3, 20, 77, storeworld_ticket(&t));
    assert_int_equal(storeworld_ticket_wait(w, &t), 0);
    cw_store_sync_done(sh, hist, CW_LEN(hist), storeworld_ticket(&t));
    assert_int_equal(storeworld_ticket_wait(w, &t), 0);
}

static void
life_resync(struct storeworld *w, struct cw_store_shard *sh)
{
    static uint8_t data[2 * CW_BLOCK_SIZE] __attribute__((aligned(4096)));
    uint64_t csums[2] = { CW_HASH_ZERO_BLOCK };
    struct cw_store_chunk_set set = {
        .chunk = 4,
        .ver_gen = 1,
        .ver_seq = 5,
        .set = { 0x11 },
        .bad = { 0x22 },
        .csums = csums,
        .data = data,
    };
    struct storeworld_ticket t;
    uint32_t n;

    storeworld_fill(data + CW_BLOCK_SIZE, SHARD(2), 4, 5);
    csums[1] = cw_hash_block(data + CW_BLOCK_SIZE);
    assert_int_equal(cw_store_chunk_current(sh, &set, storeworld_ticket(&t)), 0);
    assert_int_equal(storeworld_ticket_wait(w, &t), 0);
    assert_int_equal(cw_store_block_repair(sh, UINT64_C(4) * CW_CHUNK_BLOCKS + 1, 1, &csums[1],
                                           data + CW_BLOCK_SIZE, &n, storeworld_ticket(&t)),
                     0);
    assert_int_equal(storeworld_ticket_wait(w, &t), 0);
}

static uint64_t
base_free(struct storeworld *w)
{
    struct cw_store_stats st;

    cw_store_stats(w->store, &st);
    return st.segments_free;
}

/* Some blocks of every segment stay alive, the rest is overwritten: work for the cleaner, which
 * begins as soon as less than `until` are free. */
static void
life_churn(struct storeworld *w, struct cw_store_shard *sh, uint64_t until)
{
    for (uint64_t i = 0; base_free(w) > until; i++) {
        base_write(w, sh, 0, 200);
        base_write(w, sh, 4096 + base_free(w) * CW_CHUNK_BLOCKS + i % 16, 1);
        cw_store_set_stable(sh, cw_store_shard_info(sh)->durable_seq);
    }
}

/* Until the first blocks are moved, and no further: their records are to be replayed. */
static void
life_clean(struct storeworld *w)
{
    struct cw_store_stats st = { 0 };

    while (st.bytes_cleaned == 0) {
        assert_true(cw_simenv_step(&w->sim));
        cw_store_stats(w->store, &st);
    }
    storeworld_run(w, CW_NS_PER_MS);
}

/* The slots as they are when the second life begins. Put back at its end they lead to a replay of
 * all of it: what they refer to and was used again since is data that the replayed log moved or
 * overwrote. */
static void
base_slots(struct storeworld *w, struct cw_sb sb[CW_SB_SLOTS], bool put)
{
    struct cw_sb front;

    base_sb(w, &front);
    for (uint32_t i = 0; i < CW_SB_SLOTS; i++) {
        uint64_t off = cw_inspect_sb_off(front.dev_bytes, i);

        if (put)
            cw_ramdisk_poke(w->disk, off, &sb[i], sizeof(sb[i]));
        else
            cw_ramdisk_peek(w->disk, off, &sb[i], sizeof(sb[i]));
    }
}

static void
life_two(struct storeworld *w)
{
    struct storeworld_ticket t;
    struct cw_store_shard *sh[7];

    base_mark_written(w);
    for (uint32_t i = 1; i < 7; i++)
        sh[i] = i == 3 ? NULL : storeworld_shard(w, SHARD(i));
    life_churn(w, sh[4], LOW + 1);
    life_modes(w, sh[1]);
    life_resync(w, sh[2]);
    life_steps(w, sh[5]);
    base_clear(w, sh[1], CW_FT_TRIM, 90 * CW_CHUNK_BLOCKS, 300);
    base_clear(w, sh[4], CW_FT_ZERO, 10, 20);
    base_snap(w, sh[1], 13);
    base_write(w, sh[1], CW_CHUNK_BLOCKS - 1, 2);
    base_clone(w, sh[1], 13, SHARD(8));
    base_write_text(w, sh[2], 300);
    assert_int_equal(cw_store_snap_delete(sh[1], 12, storeworld_ticket(&t)), 0);
    assert_int_equal(storeworld_ticket_wait(w, &t), 0);
    cw_store_shard_drop(sh[6], storeworld_ticket(&t));
    assert_int_equal(storeworld_ticket_wait(w, &t), 0);
    life_churn(w, sh[4], LOW);
    life_clean(w);
    cw_store_check(w->store);
}

/* Sectors of zeroes take no memory. */
static void
base_take(struct image *im, const struct storeworld *w, uint64_t at)
{
    uint8_t sector[4096];

    cw_ramdisk_peek(w->disk, at, sector, sizeof(sector));
    if (!cw_block_is_zero(sector))
        memcpy(im->now + at, sector, sizeof(sector));
}

void
image_base_make(struct image *im)
{
    struct cw_ramdisk_crash keep_all = { .seed = 1, .keep = 256 };
    struct cw_sb slots[CW_SB_SLOTS];
    struct storeworld w;
    struct cw_sb sb;

    storeworld_init(&w, 77, 512 * CW_MIB, CW_MIB);
    assert_int_equal(storeworld_format(&w, false), 0);
    base_shrink(&w);
    life_one(&w);
    assert_int_equal(storeworld_open(&w), 0);
    base_slots(&w, slots, false);
    life_two(&w);
    storeworld_crash(&w, keep_all);
    base_slots(&w, slots, true);
    base_sb(&w, &sb);
    im->seg_bytes = sb.seg_bytes;
    im->n_segs = sb.seg_count;
    im->disk.bytes = sb.dev_bytes;
    im->now = image_memory(im->disk.bytes);
    for (uint64_t at = 0; at < im->disk.bytes; at += 4096)
        base_take(im, &w, at);
    storeworld_fini(&w);
}
