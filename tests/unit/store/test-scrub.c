#include <errno.h>

#include "common/base/bits.h"
#include "daemon/store/format.h"
#include "tests/lib/storeworld.h"

#define SHARD_ID (UINT64_C(7) << 16)
#define CLONE_ID (UINT64_C(8) << 16)
#define CHUNKS 40u
#define SHARED (5 * CW_CHUNK_BLOCKS + 2)

static struct cw_store_scrub_stats
scrub(const struct storeworld *w)
{
    struct cw_store_stats st;

    cw_store_stats(w->store, &st);
    return st.scrub;
}

/* A copy with four blocks in each of so many chunks, checkpointed by a clean restart. */
static struct cw_store_shard *
world(struct storeworld *w, uint64_t seed, uint64_t scrub_ns)
{
    struct cw_store_shard *sh;

    storeworld_init(w, seed, 512 * CW_MIB, CW_MIB);
    w->scrub_ns = scrub_ns;
    sh = storeworld_begin(w, SHARD_ID);
    for (uint32_t i = 0; i < CHUNKS; i++)
        assert_int_equal(storeworld_write(w, sh, (uint64_t)i * CW_CHUNK_BLOCKS, 4), 0);
    storeworld_wait_durable(w, sh, CHUNKS);
    cw_store_set_stable(sh, CHUNKS);
    assert_int_equal(storeworld_close(w), 0);
    assert_int_equal(storeworld_open(w), 0);
    return cw_store_shard_find(w->store, SHARD_ID);
}

static bool
scrub_runs(void *arg)
{
    return scrub(arg).running;
}

/* A pass at full speed, to its end. */
static struct cw_store_scrub_stats
full_pass(struct storeworld *w)
{
    uint64_t before = scrub(w).pass;

    cw_store_scrub_start(w->store);
    assert_true(scrub(w).running && scrub(w).hurried);
    assert_true(cw_simenv_run_while(&w->sim, scrub_runs, w, 600 * WORLD_S));
    assert_true(scrub(w).pass > before);
    assert_int_equal(scrub(w).last_pass, scrub(w).pass);
    return scrub(w);
}

/* ---- rot ---- */

/* Every 4 KiB of the disk for which `is` holds gets a flipped bit; returns how many did. */
static uint32_t
rot_where(struct storeworld *w, bool (*is)(const uint8_t *page, const void *arg), const void *arg)
{
    static uint8_t buf[CW_MIB];
    uint32_t n = 0;

    for (uint64_t off = 0; off < w->bytes; off += sizeof(buf)) {
        cw_ramdisk_peek(w->disk, off, buf, sizeof(buf));
        for (uint32_t i = 0; i < sizeof(buf); i += CW_BLOCK_SIZE) {
            if (!is(buf + i, arg))
                continue;
            cw_ramdisk_flip(w->disk, off + i + 2000, 0x10);
            n++;
        }
    }
    return n;
}

static bool
is_same(const uint8_t *page, const void *arg)
{
    return memcmp(page, arg, CW_BLOCK_SIZE) == 0;
}

static void
rot_block(struct storeworld *w, uint64_t lba, uint64_t seq)
{
    uint8_t block[CW_BLOCK_SIZE];

    storeworld_fill(block, SHARD_ID, lba, seq);
    assert_true(rot_where(w, is_same, block) > 0);
}

static bool
begins_with(const uint8_t *page, const void *arg)
{
    return memcmp(page, arg, 8) == 0;
}

/* A map page begins with the checksum of its chunk's first block. */
static void
rot_map_page(struct storeworld *w, uint32_t chunk, uint64_t seq)
{
    uint8_t block[CW_BLOCK_SIZE];
    uint64_t csum;

    storeworld_fill(block, SHARD_ID, (uint64_t)chunk * CW_CHUNK_BLOCKS, seq);
    csum = cw_hash_block(block);
    assert_true(rot_where(w, begins_with, &csum) > 0);
}

static bool
was_told_of(const struct storeworld *w, uint64_t shard, uint64_t snap, uint64_t lba)
{
    for (uint64_t i = 0; i < w->n_bad && i < CW_LEN(w->bad); i++) {
        const struct cw_store_bad *b = &w->bad[i];

        if (b->snap == snap && cw_store_shard_info(b->shard)->rec.shard == shard && lba >= b->lba &&
            lba < b->lba + b->nblk && cw_bit_get(b->bad, lba - b->lba))
            return true;
    }
    return false;
}

static bool
was_told(const struct storeworld *w, uint64_t lba)
{
    return was_told_of(w, SHARD_ID, 0, lba);
}

static void
repair(struct storeworld *w, struct cw_store_shard *sh, uint64_t lba, uint64_t seq)
{
    uint8_t block[CW_BLOCK_SIZE];
    struct storeworld_ticket t;
    uint64_t csum;
    uint32_t n;

    storeworld_fill(block, SHARD_ID, lba, seq);
    csum = cw_hash_block(block);
    assert_int_equal(cw_store_block_repair(sh, lba, 1, &csum, block, &n, storeworld_ticket(&t)), 0);
    assert_int_equal(storeworld_ticket_wait(w, &t), 0);
    assert_int_equal(n, 1);
}

/* ---- tests ---- */

/* A pass reads all that is live, tells the blocks that are bad and only those, and the pass after
 * their repair is clean. */
static void
rot_is_found_told_and_gone_after_repair(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh = world(&w, 61, 0);
    struct cw_store_scrub_stats st = full_pass(&w);

    assert_int_equal(st.found, 0);
    assert_int_equal(st.done_bytes, CHUNKS * 4 * CW_BLOCK_SIZE);
    assert_int_equal(st.total_bytes, st.done_bytes);
    assert_int_equal(w.n_bad, 0);
    rot_block(&w, 5 * CW_CHUNK_BLOCKS + 2, 6);
    rot_block(&w, 33 * CW_CHUNK_BLOCKS, 34);
    st = full_pass(&w);
    assert_int_equal(st.found, 2);
    assert_int_equal(st.repaired, 0);
    assert_int_equal(st.recent, 2);
    storeworld_run(&w, WORLD_S);
    assert_int_equal(w.n_bad, 2);
    assert_true(was_told(&w, 5 * CW_CHUNK_BLOCKS + 2) && was_told(&w, 33 * CW_CHUNK_BLOCKS));

    st = full_pass(&w); /* still there: told again, counted once */
    assert_int_equal(st.found, 2);
    assert_int_equal(st.recent, 2);
    repair(&w, sh, 5 * CW_CHUNK_BLOCKS + 2, 6);
    repair(&w, sh, 33 * CW_CHUNK_BLOCKS, 34);
    assert_int_equal(scrub(&w).repaired, 2);
    st = full_pass(&w);
    assert_int_equal(st.found, 0);
    rot_block(&w, 5 * CW_CHUNK_BLOCKS + 2, 6); /* at its new place: that counts anew */
    assert_int_equal(full_pass(&w).recent, 3);
    storeworld_fini(&w);
}

/* What an ordinary read meets is told as well. */
static void
reads_tell_too(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh = world(&w, 62, 0);
    struct cw_store_read r = { .shard = sh, .lba = 254, .nblk = 4 };

    rot_block(&w, 257, 2);
    assert_int_equal(storeworld_read(&w, &r), 0);
    cw_buf_unref(r.buf);
    storeworld_run(&w, CW_NS_PER_MS);
    assert_int_equal(w.n_bad, 1);
    assert_true(was_told(&w, 257));
    storeworld_fini(&w);
}

/* Snapshot 1 of the copy, and a clone above it. */
static struct cw_store_shard *
snap_and_clone(struct storeworld *w, struct cw_store_shard *sh)
{
    struct cw_shard_rec rec = storeworld_rec(w, CLONE_ID);
    struct cw_store_shard *clone;
    struct storeworld_ticket t;
    int err;

    assert_int_equal(cw_store_snap_create(sh, 1, storeworld_ticket(&t)), 0);
    assert_int_equal(storeworld_ticket_wait(w, &t), 0);
    clone = cw_store_shard_clone(w->store, &rec, sh, 1, storeworld_ticket(&t), &err);
    assert_non_null(clone);
    assert_int_equal(storeworld_ticket_wait(w, &t), 0);
    return clone;
}

/* As storeworld_block_is, of any copy's layer, with content of the first copy's. */
static bool
layer_block_is(struct storeworld *w, uint64_t shard, uint64_t snap, uint64_t lba, uint64_t seq)
{
    struct cw_store_read r = { .snap = snap, .lba = lba, .nblk = 1 };
    uint8_t want[CW_BLOCK_SIZE];
    bool same;

    r.shard = cw_store_shard_find(w->store, shard);
    storeworld_fill(want, SHARD_ID, lba, seq);
    assert_int_equal(storeworld_read(w, &r), 0);
    same = !cw_bit_get(r.bad, 0) && r.buf != NULL && memcmp(r.buf->data, want, sizeof(want)) == 0;
    cw_buf_unref(r.buf);
    return same;
}

static void
all_show(struct storeworld *w, uint64_t lba, uint64_t seq)
{
    assert_true(layer_block_is(w, SHARD_ID, 0, lba, seq));
    assert_true(layer_block_is(w, SHARD_ID, 1, lba, seq));
    assert_true(layer_block_is(w, CLONE_ID, 0, lba, seq));
    cw_store_check(w->store);
}

/* What a snapshot, its copy and a clone share is read once, and told of all three: a repair of one
 * mends it for all. */
static void
what_layers_share_is_told_of_each(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh = world(&w, 78, 0), *clone = snap_and_clone(&w, sh);
    struct cw_store_scrub_stats st;

    rot_block(&w, SHARED, 6);
    st = full_pass(&w);
    assert_int_equal(st.found, 1);
    assert_int_equal(st.recent, 1);
    assert_int_equal(st.done_bytes, CHUNKS * 4 * CW_BLOCK_SIZE);
    storeworld_run(&w, WORLD_S);
    assert_true(was_told_of(&w, SHARD_ID, 0, SHARED));
    assert_true(was_told_of(&w, SHARD_ID, 1, SHARED));
    assert_true(was_told_of(&w, CLONE_ID, 0, SHARED));
    repair(&w, sh, SHARED, 6);
    assert_true(storeworld_block_is(&w, sh, SHARED, 6));

    w.n_bad = 0;
    assert_int_equal(full_pass(&w).found, 0);
    storeworld_run(&w, WORLD_S);
    assert_int_equal(w.n_bad, 0);
    all_show(&w, SHARED, 6);
    repair(&w, clone, SHARED, 6);
    all_show(&w, SHARED, 6);
    storeworld_fini(&w);
}

/* Whether or not they have pages of their own for the chunk, over crashes and checkpoints, and when
 * layers end: the new place counts once and stays as long as anybody shows it. */
static void
a_repair_mends_all_who_share_the_place(void **state)
{
    for (uint32_t own = 0; own < 4; own++) {
        struct cw_store_shard *sh, *clone;
        struct storeworld_ticket t;
        struct storeworld w;
        uint64_t lba;

        sh = world(&w, 80 + own, STOREWORLD_NO_SCRUB);
        clone = snap_and_clone(&w, sh);
        lba = SHARED;
        if (own & 1)
            assert_int_equal(storeworld_write(&w, sh, lba + 10, 1), 0);
        if (own & 2)
            assert_int_equal(storeworld_write(&w, clone, lba + 20, 1), 0);
        storeworld_settle(&w, sh);
        storeworld_settle(&w, clone);
        rot_block(&w, lba, 6);
        repair(&w, own == 3 ? clone : sh, lba, 6);
        all_show(&w, lba, 6);
        storeworld_crash(&w, (struct cw_ramdisk_crash){ .seed = own, .keep = 0 });
        assert_int_equal(storeworld_open(&w), 0);
        all_show(&w, lba, 6);
        assert_int_equal(storeworld_close(&w), 0);
        assert_int_equal(storeworld_open(&w), 0);
        all_show(&w, lba, 6);

        sh = cw_store_shard_find(w.store, SHARD_ID);
        assert_int_equal(storeworld_write(&w, sh, lba, 1), 0);
        storeworld_settle(&w, sh);
        assert_true(layer_block_is(&w, SHARD_ID, 1, lba, 6));
        cw_store_shard_drop(sh, storeworld_ticket(&t));
        assert_int_equal(storeworld_ticket_wait(&w, &t), 0);
        storeworld_run(&w, 10 * WORLD_S);
        assert_true(layer_block_is(&w, CLONE_ID, 0, lba, 6));
        cw_store_check(w.store);
        assert_int_equal(cw_store_shard_info(cw_store_shard_find(w.store, CLONE_ID))->mapped_blocks,
                         CHUNKS * 4 + (own & 2) / 2);
        storeworld_fini(&w);
    }
}

/* Blocks of two chunks, one of which the copy has changed since: that one is the head's alone, and
 * what the snapshot shows there stays bad. Nobody else has what only a snapshot shows. */
static void
a_repair_is_of_what_the_head_shows(void **state)
{
    uint64_t csums[2], lba = 6 * CW_CHUNK_BLOCKS - 1;
    static uint8_t data[2 * CW_BLOCK_SIZE];
    struct cw_store_shard *sh;
    struct storeworld_ticket t;
    struct storeworld w;
    uint32_t n;

    sh = world(&w, 84, STOREWORLD_NO_SCRUB);
    assert_int_equal(storeworld_write(&w, sh, lba, 2), 0); /* seq 41 */
    storeworld_settle(&w, sh);
    snap_and_clone(&w, sh);
    assert_int_equal(storeworld_write(&w, sh, lba, 1), 0);
    storeworld_settle(&w, sh);
    for (uint32_t i = 0; i < 2; i++) {
        rot_block(&w, lba + i, CHUNKS + 1);
        storeworld_fill(data + i * CW_BLOCK_SIZE, SHARD_ID, lba + i, CHUNKS + (i == 0 ? 2 : 1));
        csums[i] = cw_hash_block(data + i * CW_BLOCK_SIZE);
    }
    rot_block(&w, lba, CHUNKS + 2);
    assert_int_equal(cw_store_block_repair(sh, lba, 2, csums, data, &n, storeworld_ticket(&t)), 0);
    assert_int_equal(storeworld_ticket_wait(&w, &t), 0);
    assert_int_equal(n, 2);
    for (uint32_t life = 0; life < 2; life++) {
        all_show(&w, lba + 1, CHUNKS + 1);
        assert_true(layer_block_is(&w, SHARD_ID, 0, lba, CHUNKS + 2));
        assert_false(layer_block_is(&w, SHARD_ID, 1, lba, CHUNKS + 1));
        assert_false(layer_block_is(&w, CLONE_ID, 0, lba, CHUNKS + 1));
        storeworld_crash(&w, (struct cw_ramdisk_crash){ .seed = life, .keep = 0 });
        assert_int_equal(storeworld_open(&w), 0);
    }
    /* the clone's owner can */
    repair(&w, cw_store_shard_find(w.store, CLONE_ID), lba, CHUNKS + 1);
    assert_true(layer_block_is(&w, SHARD_ID, 1, lba, CHUNKS + 1));
    assert_true(layer_block_is(&w, SHARD_ID, 0, lba, CHUNKS + 2));
    cw_store_check(w.store);
    storeworld_fini(&w);
}

/* The page that the head shows is lost, and was the snapshot's: what is mended of it is so for all.
 */
static void
a_repair_mends_a_page_that_was_lost_for_all(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh = world(&w, 85, 0);

    snap_and_clone(&w, sh);
    rot_map_page(&w, 12, 13);
    full_pass(&w);
    assert_false(layer_block_is(&w, SHARD_ID, 1, 12 * CW_CHUNK_BLOCKS, 13));
    repair(&w, sh, 12 * CW_CHUNK_BLOCKS, 13);
    all_show(&w, 12 * CW_CHUNK_BLOCKS, 13);
    storeworld_crash(&w, (struct cw_ramdisk_crash){ .seed = 1, .keep = 0 });
    assert_int_equal(storeworld_open(&w), 0);
    all_show(&w, 12 * CW_CHUNK_BLOCKS, 13);
    storeworld_fini(&w);
}

/* A repair is of the block as it was found: another content, of before or since, is not let in, bad
 * as the block may be, and one that changed on the way keeps what it has. (Row 52.) */
static void
row_52_a_repair_of_another_content_does_not_apply(void **state)
{
    struct cw_store_shard *sh;
    struct storeworld_ticket t;
    uint8_t block[CW_BLOCK_SIZE];
    struct storeworld w;
    uint64_t csum;
    uint32_t n = 7;

    sh = world(&w, 86, STOREWORLD_NO_SCRUB);
    rot_block(&w, SHARED, 6);
    for (uint64_t seq = 5; seq <= 7; seq += 2) {
        storeworld_fill(block, SHARD_ID, SHARED, seq);
        csum = cw_hash_block(block);
        assert_int_equal(
            cw_store_block_repair(sh, SHARED, 1, &csum, block, &n, storeworld_ticket(&t)), 0);
        assert_int_equal(storeworld_ticket_wait(&w, &t), 0);
        assert_int_equal(n, 0);
        assert_false(storeworld_block_is(&w, sh, SHARED, 6));
        assert_false(storeworld_block_is(&w, sh, SHARED, seq));
    }
    cw_store_check(w.store);
    storeworld_fill(block, SHARD_ID, SHARED, 6);
    csum = cw_hash_block(block);
    assert_int_equal(storeworld_write(&w, sh, SHARED, 1), 0); /* before it in the log */
    assert_int_equal(cw_store_block_repair(sh, SHARED, 1, &csum, block, &n, storeworld_ticket(&t)),
                     0);
    assert_int_equal(storeworld_ticket_wait(&w, &t), 0);
    assert_int_equal(n, 0);
    assert_true(storeworld_block_is(&w, sh, SHARED, CHUNKS + 1));
    storeworld_crash(&w, (struct cw_ramdisk_crash){ .seed = 1, .keep = 0 });
    assert_int_equal(storeworld_open(&w), 0);
    sh = cw_store_shard_find(w.store, SHARD_ID);
    assert_true(storeworld_block_is(&w, sh, SHARED, CHUNKS + 1));
    cw_store_check(w.store);
    storeworld_fini(&w);
}

/* A lost map page is lost to all who share it. */
static void
a_lost_page_is_told_of_each_head(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh = world(&w, 79, 0);
    struct storeworld_ticket t;

    assert_int_equal(cw_store_snap_create(sh, 1, storeworld_ticket(&t)), 0);
    assert_int_equal(storeworld_ticket_wait(&w, &t), 0);
    rot_map_page(&w, 12, 13);
    assert_int_equal(full_pass(&w).recent, 1);
    storeworld_run(&w, WORLD_S);
    assert_true(was_told(&w, 12 * CW_CHUNK_BLOCKS) && was_told(&w, 13 * CW_CHUNK_BLOCKS - 1));
    storeworld_fini(&w);
}

/* A map page that is in memory heals itself: after the next crash nothing is missing. */
static void
a_rotten_page_in_memory_heals(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh = world(&w, 63, 0);
    struct cw_store_scrub_stats st;

    assert_true(storeworld_block_is(&w, sh, 9 * CW_CHUNK_BLOCKS, 10));
    rot_map_page(&w, 9, 10);
    st = full_pass(&w);
    assert_int_equal(st.found, 1);
    assert_int_equal(st.repaired, 1);
    storeworld_run(&w, 10 * WORLD_S); /* the checkpoint that it asked for */
    assert_int_equal(w.n_bad, 0);
    cw_store_check(w.store);
    storeworld_crash(&w, (struct cw_ramdisk_crash){ .seed = 1, .keep = 0 });
    assert_int_equal(storeworld_open(&w), 0);
    sh = cw_store_shard_find(w.store, SHARD_ID);
    for (uint32_t i = 0; i < CHUNKS; i++)
        assert_true(storeworld_block_is(&w, sh, (uint64_t)i * CW_CHUNK_BLOCKS + 3, i + 1));
    assert_int_equal(full_pass(&w).found, 0);
    storeworld_fini(&w);
}

/* One that is not in memory is lost: its blocks are told before anybody asks for them. It is one
 * place of the media. */
static void
a_rotten_page_on_the_media_only_is_told(void **state)
{
    struct storeworld w;
    struct cw_store_scrub_stats st;

    world(&w, 64, 0);
    rot_map_page(&w, 12, 13);
    st = full_pass(&w);
    assert_int_equal(st.found, CW_CHUNK_BLOCKS);
    assert_int_equal(st.recent, 1);
    storeworld_run(&w, WORLD_S);
    assert_true(was_told(&w, 12 * CW_CHUNK_BLOCKS) && was_told(&w, 13 * CW_CHUNK_BLOCKS - 1));
    assert_false(was_told(&w, 13 * CW_CHUNK_BLOCKS));
    storeworld_fini(&w);
}

/* And what the cleaner meets when it moves a block that nobody has read for long. */
static void
the_cleaner_tells_too(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh;
    struct cw_store_stats st;
    uint64_t runs = 0;

    storeworld_init(&w, 77, 512 * CW_MIB, 4 * CW_MIB);
    sh = storeworld_begin(&w, SHARD_ID);
    for (; cw_store_credit(sh) >= 64; runs++) {
        assert_int_equal(storeworld_write(&w, sh, runs * 64, 64), 0);
        cw_store_set_stable(sh, cw_store_shard_info(sh)->durable_seq);
    }
    storeworld_wait_durable(&w, sh, runs);
    rot_block(&w, 8 * 64 + 5, 9);
    for (uint64_t i = 0; !was_told(&w, 8 * 64 + 5) && i < 4 * runs; i++) {
        uint64_t run =
            i * 2 % runs | 1; /* the even ones stay where they are, until they are moved */

        assert_int_equal(storeworld_write(&w, sh, cw_min_u64(run, runs - 1) * 64, 64), 0);
        cw_store_set_stable(sh, cw_store_shard_info(sh)->durable_seq);
    }
    cw_store_stats(w.store, &st);
    assert_true(st.bytes_cleaned > 0);
    assert_true(was_told(&w, 8 * 64 + 5));
    assert_int_equal(scrub(&w).recent, 1);
    storeworld_fini(&w);
}

static uint64_t
sb_slot_off(const struct storeworld *w, uint32_t slot)
{
    return slot < 2 ? slot * UINT64_C(4096) : w->bytes - (4 - slot) * UINT64_C(4096);
}

/* The newest superblock; the store must be idle. */
static struct cw_sb
newest_sb(const struct storeworld *w)
{
    struct cw_sb best = { 0 }, sb;

    for (uint32_t slot = 0; slot < CW_SB_SLOTS; slot++) {
        cw_ramdisk_peek(w->disk, sb_slot_off(w, slot), &sb, sizeof(sb));
        if (sb.csum == cw_hash(&sb, offsetof(struct cw_sb, csum)) && sb.sb_seq > best.sb_seq)
            best = sb;
    }
    return best;
}

static uint32_t
valid_slots(const struct storeworld *w)
{
    uint32_t n = 0;
    struct cw_sb sb;

    for (uint32_t slot = 0; slot < CW_SB_SLOTS; slot++) {
        cw_ramdisk_peek(w->disk, sb_slot_off(w, slot), &sb, sizeof(sb));
        n += sb.magic == CW_SB_MAGIC && sb.csum == cw_hash(&sb, offsetof(struct cw_sb, csum));
    }
    return n;
}

/* Each slot in turn rots, or is stale because its last write was lost: it is written anew. */
static void
a_rotten_superblock_heals(void **state)
{
    struct storeworld w;
    struct cw_sb stale;

    world(&w, 65, 0);
    full_pass(&w);
    full_pass(&w); /* by now every slot was used */
    for (uint32_t slot = 0; slot < CW_SB_SLOTS; slot++) {
        storeworld_run(&w, 10 * WORLD_S);
        assert_int_equal(valid_slots(&w), CW_SB_SLOTS);
        cw_ramdisk_flip(w.disk, sb_slot_off(&w, slot) + 40, 1);
        assert_int_equal(full_pass(&w).found, 1);
        assert_int_equal(scrub(&w).repaired, 1);
        storeworld_run(&w, 10 * WORLD_S);
        assert_int_equal(valid_slots(&w), CW_SB_SLOTS);
        cw_ramdisk_peek(w.disk, sb_slot_off(&w, slot), &stale, sizeof(stale));
        stale.sb_seq -= CW_SB_SLOTS;
        stale.csum = cw_hash(&stale, offsetof(struct cw_sb, csum));
        cw_ramdisk_poke(w.disk, sb_slot_off(&w, slot), &stale, sizeof(stale));
        assert_int_equal(full_pass(&w).found, 1);
    }
    assert_int_equal(full_pass(&w).found, 0);
    storeworld_fini(&w);
}

static bool
is_table(const uint8_t *page, const void *arg)
{
    uint64_t magic = CW_TAB_MAGIC;

    return memcmp(page, &magic, 8) == 0;
}

/* A checkpoint whose root or tables rot while the store runs is replaced before it is needed; both
 * of a superblock's two are. */
static void
a_rotten_checkpoint_heals(void **state)
{
    for (uint32_t kind = 0; kind < 3; kind++) { /* newest root, older root, every table page */
        struct storeworld w;
        struct cw_store_shard *sh;
        struct cw_sb sb;

        world(&w, 66 + kind, 0);
        storeworld_run(&w, WORLD_S);
        sb = newest_sb(&w);
        if (kind < 2)
            cw_ramdisk_flip(w.disk,
                            CW_SEG_BASE + cw_loc_seg(sb.ckpt[kind].loc) * (uint64_t)sb.seg_bytes +
                                cw_loc_off(sb.ckpt[kind].loc) + 50,
                            2);
        else
            assert_true(rot_where(&w, is_table, NULL) > 0);
        assert_true(full_pass(&w).found >= 1);
        storeworld_run(&w, 10 * WORLD_S);
        assert_int_equal(full_pass(&w).found, 0);
        storeworld_crash(&w, (struct cw_ramdisk_crash){ .seed = 1, .keep = 0 });
        assert_int_equal(storeworld_open(&w), 0);
        assert_false(cw_simenv_logged(&w.sim, "is unreadable: "));
        sh = cw_store_shard_find(w.store, SHARD_ID);
        for (uint32_t i = 0; i < CHUNKS; i++)
            assert_true(storeworld_block_is(&w, sh, (uint64_t)i * CW_CHUNK_BLOCKS + 1, i + 1));
        storeworld_fini(&w);
    }
}

/* Without being asked a pass takes its time, and the next one begins when it is due. */
static void
a_pass_takes_its_interval(void **state)
{
    struct storeworld w;
    uint64_t pass;

    world(&w, 70, 400 * WORLD_S);
    storeworld_run(&w, 100 * WORLD_S);
    pass = scrub(&w).pass;
    assert_true(scrub(&w).running && !scrub(&w).hurried);
    assert_in_range(scrub(&w).done_bytes, scrub(&w).total_bytes / 8, scrub(&w).total_bytes / 3);
    storeworld_run(&w, 260 * WORLD_S);
    assert_true(scrub(&w).done_bytes < scrub(&w).total_bytes);
    storeworld_run(&w, 100 * WORLD_S);
    assert_int_equal(scrub(&w).last_pass, pass);
    assert_int_equal(scrub(&w).last_bytes, CHUNKS * 4 * CW_BLOCK_SIZE);
    assert_true(scrub(&w).pass == pass + 1 && scrub(&w).running);
    storeworld_run(&w, 4000 * WORLD_S);
    assert_in_range(scrub(&w).pass, pass + 9, pass + 12);
    storeworld_fini(&w);
}

/* After a crash the pass goes on from the last checkpoint, with what it had found, and ends in its
 * time; after a clean stop from exactly where it was. */
static void
a_pass_survives_restarts(void **state)
{
    for (int crash = 0; crash < 2; crash++) {
        struct storeworld w;
        struct cw_store_scrub_stats at, st;

        world(&w, 71, 4000 * WORLD_S);
        rot_block(&w, 2 * CW_CHUNK_BLOCKS, 3);
        storeworld_run(&w, 2000 * WORLD_S); /* with checkpoints every ten minutes */
        at = scrub(&w);
        assert_true(at.running);
        assert_int_equal(at.found, 1);
        if (crash)
            storeworld_crash(&w, (struct cw_ramdisk_crash){ .seed = 2, .keep = 0 });
        else
            assert_int_equal(storeworld_close(&w), 0);
        assert_int_equal(storeworld_open(&w), 0);
        st = scrub(&w);
        assert_int_equal(st.pass, at.pass);
        assert_int_equal(st.found, 1);
        assert_true(st.running && st.done_bytes >= at.total_bytes / 4);
        if (!crash)
            assert_int_equal(st.done_bytes, at.done_bytes);
        storeworld_run(&w, 2800 * WORLD_S);
        st = scrub(&w);
        assert_int_equal(st.last_pass, at.pass);
        assert_int_equal(st.last_found, 1);
        /* every chunk was read, those before the cursor once */
        assert_in_range(st.last_bytes, at.total_bytes, at.total_bytes + 4 * CW_BLOCK_SIZE);
        storeworld_fini(&w);
    }
}

/* While others use the disk a pass waits; it does not wait for ever. */
static void
others_come_first(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh = world(&w, 73, 700 * WORLD_S);
    uint64_t done, lba = 0;

    storeworld_run(&w, 60 * WORLD_S);
    done = scrub(&w).done_bytes;
    for (uint32_t i = 0; i < 60 * 200; i++) { /* a write every 5 ms for a minute */
        assert_int_equal(storeworld_write(&w, sh, lba++ % 64, 1), 0);
        cw_store_set_stable(sh, cw_store_shard_info(sh)->durable_seq);
        storeworld_run(&w, 5 * CW_NS_PER_MS);
    }
    assert_true(scrub(&w).done_bytes <= done + 4 * CW_BLOCK_SIZE);
    storeworld_run(&w, 10 * WORLD_S);
    assert_true(scrub(&w).done_bytes > done + 4 * CW_BLOCK_SIZE);
    done = scrub(&w).done_bytes;
    for (uint32_t i = 0; i < 300 * 200; i++) {
        assert_int_equal(storeworld_write(&w, sh, lba++ % 64, 1), 0);
        cw_store_set_stable(sh, cw_store_shard_info(sh)->durable_seq);
        storeworld_run(&w, 5 * CW_NS_PER_MS);
    }
    assert_true(scrub(&w).done_bytes > done + 8 * CW_BLOCK_SIZE);
    storeworld_fini(&w);
}

/* The buffers are others' first, and a copy may be dropped while it is read. */
static void
it_needs_little_and_holds_nothing_up(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh = world(&w, 74, 0);
    struct cw_buf *bufs[128];
    struct storeworld_ticket t;
    uint32_t n = 0;

    while (n < CW_LEN(bufs) && (bufs[n] = cw_buf_get(w.pool, CW_MIB)) != NULL)
        n++;
    cw_store_scrub_start(w.store);
    storeworld_run(&w, 10 * WORLD_S);
    assert_true(scrub(&w).running && scrub(&w).done_bytes == 0);
    while (n > 0)
        cw_buf_unref(bufs[--n]);
    for (uint32_t i = 0; i < 2000 && scrub(&w).done_bytes == 0; i++)
        assert_true(cw_simenv_step(&w.sim));
    assert_true(scrub(&w).running);
    cw_store_shard_drop(sh, storeworld_ticket(&t));
    assert_int_equal(storeworld_ticket_wait(&w, &t), 0);
    assert_true(cw_simenv_run_while(&w.sim, scrub_runs, &w, 60 * WORLD_S));
    storeworld_run(&w, 10 * WORLD_S);
    cw_store_check(w.store);
    assert_int_equal(scrub(&w).total_bytes, scrub(&w).done_bytes);
    storeworld_fini(&w);
}

/* Ten bad places within a day are bad luck, one more is a failing disk; a restart forgets none. */
static void
eleven_bad_places_in_a_day_are_a_storm(void **state)
{
    struct storeworld w;
    uint64_t health;

    world(&w, 75, 0);
    for (uint32_t i = 0; i < 10; i++)
        rot_block(&w, i * CW_CHUNK_BLOCKS, i + 1);
    assert_int_equal(full_pass(&w).recent, 10);
    assert_int_equal(scrub(&w).storms, 0);
    storeworld_run(&w, 20 * 3600 * WORLD_S);
    assert_int_equal(storeworld_close(&w), 0);
    assert_int_equal(storeworld_open(&w), 0);
    assert_int_equal(scrub(&w).recent, 10);
    storeworld_run(&w, 5 * 3600 * WORLD_S);
    assert_int_equal(scrub(&w).recent, 0);
    storeworld_fini(&w);

    world(&w, 76, 0);
    for (uint32_t i = 0; i < 10; i++)
        rot_block(&w, i * CW_CHUNK_BLOCKS, i + 1);
    full_pass(&w);
    assert_int_equal(storeworld_close(&w), 0);
    assert_int_equal(storeworld_open(&w), 0);
    rot_block(&w, 20 * CW_CHUNK_BLOCKS, 21);
    health = w.n_health;
    full_pass(&w);
    assert_int_equal(scrub(&w).storms, 1);
    storeworld_run(&w, WORLD_S);
    assert_true(w.n_health > health);
    assert_int_equal(storeworld_close(&w), 0);
    assert_int_equal(storeworld_open(&w), 0);
    assert_int_equal(scrub(&w).storms, 1);
    storeworld_fini(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rot_is_found_told_and_gone_after_repair),
        cmocka_unit_test(reads_tell_too),
        cmocka_unit_test(what_layers_share_is_told_of_each),
        cmocka_unit_test(a_repair_mends_all_who_share_the_place),
        cmocka_unit_test(a_repair_is_of_what_the_head_shows),
        cmocka_unit_test(a_repair_mends_a_page_that_was_lost_for_all),
        cmocka_unit_test(row_52_a_repair_of_another_content_does_not_apply),
        cmocka_unit_test(a_lost_page_is_told_of_each_head),
        cmocka_unit_test(the_cleaner_tells_too),
        cmocka_unit_test(a_rotten_page_in_memory_heals),
        cmocka_unit_test(a_rotten_page_on_the_media_only_is_told),
        cmocka_unit_test(a_rotten_superblock_heals),
        cmocka_unit_test(a_rotten_checkpoint_heals),
        cmocka_unit_test(a_pass_takes_its_interval),
        cmocka_unit_test(a_pass_survives_restarts),
        cmocka_unit_test(others_come_first),
        cmocka_unit_test(it_needs_little_and_holds_nothing_up),
        cmocka_unit_test(eleven_bad_places_in_a_day_are_a_storm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
