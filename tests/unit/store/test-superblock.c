#include <errno.h>
#include <string.h>

#include "common/base/bits.h"
#include "daemon/store/inspect.h"
#include "tests/lib/storeworld.h"

/* Every wrong disk has its own answer, and a formatted one is not formatted again by accident. */
static void
wrong_disks_are_told_apart(void **state)
{
    struct storeworld w;
    struct cw_ramdisk *whole, *cut;
    uint8_t sb[4096];

    storeworld_init(&w, 51, 256 * CW_MIB, 0);
    assert_int_equal(storeworld_format(&w, false), CW_STORE_E_TOO_SMALL);
    storeworld_fini(&w);

    storeworld_init(&w, 52, 512 * CW_MIB, 0);
    assert_int_equal(storeworld_open(&w), CW_STORE_E_NOT_FORMATTED);
    assert_int_equal(storeworld_format(&w, false), 0);
    assert_int_equal(storeworld_format(&w, false), CW_STORE_E_FORMATTED);
    assert_int_equal(storeworld_format(&w, true), 0);
    assert_int_equal(storeworld_open(&w), 0);
    assert_int_equal(storeworld_close(&w), 0);

    cut = cw_ramdisk_new((struct cw_ramdisk_opts){ .env = &w.sim.env, .bytes = 300 * CW_MIB });
    for (uint64_t off = 0; off < 2 * 4096; off += 4096) {
        cw_ramdisk_peek(w.disk, off, sb, sizeof(sb));
        cw_ramdisk_poke(cut, off, sb, sizeof(sb));
    }
    whole = w.disk;
    w.disk = cut;
    assert_int_equal(storeworld_open(&w), CW_STORE_E_TRUNCATED);
    cw_ramdisk_free(cut);
    w.disk = whole;

    cw_ramdisk_unplug(w.disk);
    assert_int_equal(storeworld_open(&w), -EIO);
    storeworld_fini(&w);
}

/* Has segments, and no superblock; it is closed. */
static void
lost_start(struct storeworld *w, uint64_t bytes)
{
    static const uint8_t none[4096];

    storeworld_init(w, 60, bytes, CW_MIB);
    assert_int_equal(storeworld_write(w, storeworld_begin(w, 1 << 16), 0, 8), 0);
    assert_int_equal(storeworld_close(w), 0);
    for (uint32_t slot = 0; slot < CW_SB_SLOTS; slot++)
        cw_ramdisk_poke(w->disk, cw_inspect_sb_off(bytes, slot), none, sizeof(none));
}

/* Segments are found whatever their size, and the first of them may have rotted. */
static void
a_store_without_superblocks_is_not_formatted(void **state)
{
    static const uint64_t sizes[] = { 512 * CW_MIB, 8 * CW_GIB, 16 * CW_GIB, 64 * CW_GIB };

    for (size_t i = 0; i < CW_LEN(sizes); i++) {
        struct storeworld w;

        lost_start(&w, sizes[i]);
        assert_int_equal(storeworld_open(&w), CW_STORE_E_LOST);
        assert_int_equal(storeworld_format(&w, false), CW_STORE_E_LOST);
        cw_ramdisk_flip(w.disk, CW_SEG_BASE, 1);
        assert_int_equal(storeworld_open(&w), CW_STORE_E_LOST);
        assert_int_equal(storeworld_format(&w, false), CW_STORE_E_LOST);
        assert_int_equal(storeworld_format(&w, true), 0);
        assert_int_equal(storeworld_open(&w), 0);
        assert_null(cw_store_shard_find(w.store, 1 << 16));
        storeworld_fini(&w);
    }
}

/* What cannot be read may be a store. */
static void
what_cannot_be_read_is_not_formatted(void **state)
{
    for (uint32_t i = 0; i < CW_SB_SLOTS + 2; i++) {
        struct storeworld w;
        uint64_t off = i < CW_SB_SLOTS ? cw_inspect_sb_off(512 * CW_MIB, i) : 0;

        if (i >= CW_SB_SLOTS)
            assert_true(cw_inspect_trace(512 * CW_MIB, i - CW_SB_SLOTS, &off));
        storeworld_init(&w, 61, 512 * CW_MIB, 0);
        cw_ramdisk_latent(w.disk, off, 4096);
        assert_int_equal(storeworld_format(&w, false), CW_STORE_E_UNSEEN);
        assert_int_equal(cw_ramdisk_count(w.disk, CW_RAMDISK_WRITES), 0);
        assert_int_equal(storeworld_format(&w, true), 0);
        assert_int_equal(storeworld_format(&w, false), CW_STORE_E_FORMATTED);
        storeworld_fini(&w);
    }
}

/* Any three of the four slots may rot. */
static void
one_good_slot_is_enough(void **state)
{
    for (uint32_t keep = 0; keep < 4; keep++) {
        struct storeworld w;
        uint32_t opened = 0;

        storeworld_init(&w, 53 + keep, 512 * CW_MIB, 0);
        assert_int_equal(storeworld_format(&w, false), 0);
        for (uint32_t i = 0; i < 3; i++) {
            assert_int_equal(storeworld_open(&w), 0);
            storeworld_shard(&w, 1 << 16);
            assert_int_equal(storeworld_close(&w), 0);
        }
        for (uint32_t slot = 0; slot < 4; slot++) {
            if (slot != keep)
                cw_ramdisk_flip(w.disk,
                                (slot < 2 ? slot * 4096 : w.bytes - (4 - slot) * 4096) + 100, 1);
        }
        opened = storeworld_open(&w) == 0;
        assert_int_equal(opened, 1);
        assert_non_null(cw_store_shard_find(w.store, 1 << 16));
        storeworld_fini(&w);
    }
}

struct answer {
    bool done;
    int res;
};

static void
on_answer(void *user, int res)
{
    *(struct answer *)user = (struct answer){ true, res };
}

/* An unclaimed store takes a cluster once and keeps it; identify writes nothing. */
static void
a_store_is_claimed_once(void **state)
{
    struct storeworld w;
    struct cw_uuid a = cw_uuid_from_random(1, 2), b = cw_uuid_from_random(3, 4);
    struct answer ans = { 0 };
    uint64_t writes;

    storeworld_init(&w, 57, 512 * CW_MIB, 0);
    assert_int_equal(storeworld_format(&w, false), 0);
    writes = cw_ramdisk_count(w.disk, CW_RAMDISK_WRITES);
    w.store = cw_store_new((struct cw_store_opts){
        .env = &w.sim.env, .disk = cw_ramdisk_disk(w.disk), .pool = w.pool });
    cw_store_identify(w.store, on_answer, &ans);
    storeworld_wait(&w, &ans.done);
    assert_int_equal(ans.res, 0);
    assert_true(cw_uuid_is_nil(&cw_store_identity(w.store)->cluster_id));
    assert_int_equal(cw_ramdisk_count(w.disk, CW_RAMDISK_WRITES), writes);
    for (int i = 0; i < 3; i++) {
        ans.done = false;
        cw_store_claim(w.store, i == 2 ? b : a, on_answer, &ans);
        storeworld_wait(&w, &ans.done);
        assert_int_equal(ans.res, i == 2 ? -EEXIST : 0);
    }
    storeworld_crash(&w, (struct cw_ramdisk_crash){ .seed = 1, .keep = 0 });
    assert_int_equal(storeworld_open(&w), 0);
    assert_true(cw_uuid_equal(&cw_store_identity(w.store)->cluster_id, &a));
    assert_false(cw_store_recovery(w.store)->damaged_copies > 0);
    storeworld_fini(&w);
}

/* A clean stop is told from a crash. */
static void
clean_stops_are_known(void **state)
{
    struct storeworld w;

    storeworld_init(&w, 58, 512 * CW_MIB, 0);
    assert_int_equal(storeworld_format(&w, false), 0);
    assert_int_equal(storeworld_open(&w), 0);
    storeworld_shard(&w, 1 << 16);
    assert_int_equal(storeworld_close(&w), 0);
    assert_int_equal(storeworld_open(&w), 0);
    assert_true(cw_store_recovery(w.store)->clean);
    storeworld_crash(&w, (struct cw_ramdisk_crash){ .seed = 1, .keep = 0 });
    assert_int_equal(storeworld_open(&w), 0);
    assert_false(cw_store_recovery(w.store)->clean);
    storeworld_fini(&w);
}

/* ---- disks that grow ---- */

#define SMALL (512 * CW_MIB)
#define GROWN (700 * CW_MIB)
#define SHARD (UINT64_C(1) << 16)

static uint64_t
slot_off(uint64_t bytes, uint32_t slot)
{
    return slot < 2 ? slot * 4096 : bytes - (4 - slot) * 4096;
}

static struct cw_sb
slot_peek(struct storeworld *w, uint64_t bytes, uint32_t slot)
{
    struct cw_sb sb;

    cw_ramdisk_peek(w->disk, slot_off(bytes, slot), &sb, sizeof(sb));
    return sb;
}

static void
slot_poke(struct storeworld *w, uint64_t bytes, uint32_t slot, struct cw_sb sb)
{
    sb.csum = cw_hash(&sb, offsetof(struct cw_sb, csum));
    cw_ramdisk_poke(w->disk, slot_off(bytes, slot), &sb, sizeof(sb));
}

static uint32_t
slot_newest(struct storeworld *w, uint64_t bytes)
{
    uint32_t newest = 0;

    for (uint32_t i = 1; i < 4; i++) {
        struct cw_sb sb = slot_peek(w, bytes, i), best = slot_peek(w, bytes, newest);

        if (sb.magic == CW_SB_MAGIC && sb.sb_seq > best.sb_seq)
            newest = i;
    }
    return newest;
}

static void
claim(struct storeworld *w)
{
    struct answer ans = { 0 };

    cw_store_claim(w->store, cw_uuid_from_random(1, 2), on_answer, &ans);
    storeworld_wait(w, &ans.done);
    assert_int_equal(ans.res, 0);
}

/* A store whose newest superblock, as `phase` goes from 0 to 3, is in each slot once. It is down;
 * block 3 is of seq 2. */
static void
grown_start(struct storeworld *w, uint32_t phase, bool crash)
{
    struct cw_store_shard *sh;

    storeworld_init(w, 60 + phase, SMALL, 0);
    sh = storeworld_begin(w, SHARD);
    assert_int_equal(storeworld_write(w, sh, 3, 1), 0);
    storeworld_wait_durable(w, sh, 1);
    if (phase & 1)
        claim(w);
    assert_int_equal(storeworld_close(w), 0);
    for (uint32_t i = 0; i < 1 + phase / 2; i++) {
        assert_int_equal(storeworld_open(w), 0);
        assert_int_equal(storeworld_close(w), 0);
    }
    assert_int_equal(storeworld_open(w), 0);
    sh = cw_store_shard_find(w->store, SHARD);
    assert_int_equal(storeworld_write(w, sh, 3, 1), 0);
    storeworld_wait_durable(w, sh, 2);
    if (crash)
        storeworld_crash(w, (struct cw_ramdisk_crash){ .seed = 1, .keep = 0 });
    else
        assert_int_equal(storeworld_close(w), 0);
}

/* It opens from the superblock given, and all is there. */
static void
grown_opens(struct storeworld *w, struct cw_sb from)
{
    struct cw_store_shard *sh;

    assert_int_equal(storeworld_open(w), 0);
    assert_int_equal(cw_store_identity(w->store)->incarnation, from.incarnation + 1);
    assert_int_equal(cw_store_identity(w->store)->bytes, SMALL);
    assert_int_equal(cw_store_recovery(w->store)->clean, (from.flags & CW_SB_CLEAN) != 0);
    assert_int_equal(cw_store_recovery(w->store)->damaged_copies, 0);
    sh = cw_store_shard_find(w->store, SHARD);
    assert_non_null(sh);
    assert_true(storeworld_block_is(w, sh, 3, cw_store_shard_info(sh)->last_seq));
}

/* Nothing is written behind the store's own size. */
static void
grown_stays_inside(struct storeworld *w)
{
    const struct cw_ramdisk_io *io;
    uint32_t n;

    io = cw_ramdisk_traced(w->disk, &n);
    for (uint32_t i = 0; i < n; i++) {
        if (CW_RAMDISK_WRITES & CW_RAMDISK_OP(io[i].op))
            assert_true(io[i].off + io[i].len <= SMALL);
    }
}

/* Whichever slot is the newest, after a clean stop and after a crash; and back again. */
static void
a_grown_disk_opens_from_its_newest_superblock(void **state)
{
    for (int crash = 0; crash < 2; crash++) {
        uint32_t seen = 0;

        for (uint32_t phase = 0; phase < 4; phase++) {
            struct storeworld w;
            uint32_t newest;
            struct cw_sb sb;

            grown_start(&w, phase, crash);
            newest = slot_newest(&w, SMALL);
            seen |= 1u << newest;
            sb = slot_peek(&w, SMALL, newest);
            cw_ramdisk_resize(w.disk, GROWN);
            cw_ramdisk_trace(w.disk, true);
            grown_opens(&w, sb);
            for (uint64_t seq = 3; seq < 6; seq++) { /* each slot again */
                struct cw_store_shard *sh = cw_store_shard_find(w.store, SHARD);

                assert_int_equal(storeworld_write(&w, sh, 3, 1), 0);
                storeworld_wait_durable(&w, sh, seq);
                assert_int_equal(storeworld_close(&w), 0);
                grown_opens(&w, slot_peek(&w, SMALL, slot_newest(&w, SMALL)));
            }
            grown_stays_inside(&w);
            cw_ramdisk_trace(w.disk, false);
            storeworld_crash(&w, (struct cw_ramdisk_crash){ .seed = 1, .keep = 0 });
            sb = slot_peek(&w, SMALL, slot_newest(&w, SMALL));
            cw_ramdisk_resize(w.disk, SMALL);
            grown_opens(&w, sb);
            storeworld_fini(&w);
        }
        assert_int_equal(seen, 15);
    }
}

/* With one slot in front the others are found. With none, those at the end are not: the store is
 * not taken for none, and opens once its disk has its size again. */
static void
a_grown_disk_needs_a_front_slot(void **state)
{
    for (uint32_t phase = 0; phase < 4; phase++) {
        for (uint32_t keep = 0; keep < 3; keep++) {
            struct storeworld w;
            struct cw_sb sb;

            grown_start(&w, phase, false);
            for (uint32_t i = 0; i < 2; i++) {
                if (i != keep && phase % 2 == 0)
                    cw_ramdisk_flip(w.disk, i * 4096 + 100, 1);
                else if (i != keep)
                    cw_ramdisk_latent(w.disk, i * 4096, 4096);
            }
            sb = slot_peek(&w, SMALL, slot_newest(&w, SMALL));
            cw_ramdisk_resize(w.disk, GROWN);
            if (keep < 2) {
                assert_int_equal(storeworld_open(&w), 0);
                storeworld_fini(&w);
                continue;
            }
            assert_int_equal(storeworld_open(&w), CW_STORE_E_SUPERBLOCKS);
            cw_ramdisk_resize(w.disk, SMALL);
            assert_int_equal(storeworld_open(&w), 0);
            assert_in_range(cw_store_identity(w.store)->incarnation, sb.incarnation - 1,
                            sb.incarnation + 1);
            storeworld_fini(&w);
        }
    }
}

/* Programs before this one went on at the end of the disk that had grown. */
static void
slots_at_the_end_of_a_grown_disk_count(void **state)
{
    for (uint32_t phase = 0; phase < 4; phase++) {
        struct storeworld w;
        struct cw_sb sb;
        uint32_t newest;

        grown_start(&w, phase, true);
        newest = slot_newest(&w, SMALL);
        sb = slot_peek(&w, SMALL, newest);
        cw_ramdisk_resize(w.disk, GROWN);
        for (uint32_t i = 2; i < 4; i++) {
            slot_poke(&w, GROWN, i, slot_peek(&w, SMALL, i));
            cw_ramdisk_flip(w.disk, slot_off(SMALL, i) + 100, 1);
        }
        grown_opens(&w, sb);
        assert_int_equal(storeworld_close(&w), 0);
        grown_opens(&w, slot_peek(&w, SMALL, slot_newest(&w, SMALL)));
        storeworld_fini(&w);
    }
}

/* What the end of the disk held before it was added: a superblock of another store, of this one's
 * former format, or in a place that is not its own. */
static void
what_others_left_behind_a_store_does_not_count(void **state)
{
    for (uint32_t kind = 0; kind < 3; kind++) {
        struct storeworld w;
        struct cw_sb sb, other;

        grown_start(&w, 1, false);
        sb = other = slot_peek(&w, SMALL, slot_newest(&w, SMALL));
        cw_ramdisk_resize(w.disk, GROWN);
        other.incarnation += 100;
        other.sb_seq = 1002;
        other.dev_bytes = kind == 0 ? GROWN : SMALL;
        if (kind < 2)
            other.format_id++;
        slot_poke(&w, GROWN, kind == 2 ? 3 : 2, other);
        grown_opens(&w, sb);
        storeworld_fini(&w);
    }
}

/* Its checksum holds, and nobody believes its size. */
static void
a_size_that_cannot_be_is_refused(void **state)
{
    static const struct {
        uint64_t bytes;
        int want;
    } sizes[] = {
        { 0, CW_STORE_E_VERSION },          { 4096, CW_STORE_E_VERSION },
        { 12288, CW_STORE_E_VERSION },      { SMALL - 512, CW_STORE_E_VERSION },
        { SMALL / 2, CW_STORE_E_VERSION },  { GROWN + 4096, CW_STORE_E_TRUNCATED },
        { UINT64_MAX, CW_STORE_E_VERSION }, { UINT64_MAX - 4095, CW_STORE_E_TRUNCATED },
    };

    for (size_t i = 0; i < CW_LEN(sizes); i++) {
        struct storeworld w;
        struct cw_sb sb;

        grown_start(&w, 0, false);
        sb = slot_peek(&w, SMALL, slot_newest(&w, SMALL));
        sb.dev_bytes = sizes[i].bytes;
        cw_ramdisk_resize(w.disk, GROWN);
        for (uint32_t slot = 0; slot < 2; slot++) {
            sb.sb_seq = 1000 + slot;
            slot_poke(&w, SMALL, slot, sb);
        }
        assert_int_equal(storeworld_open(&w), sizes[i].want);
        storeworld_fini(&w);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_disks_are_told_apart),
        cmocka_unit_test(a_store_without_superblocks_is_not_formatted),
        cmocka_unit_test(what_cannot_be_read_is_not_formatted),
        cmocka_unit_test(one_good_slot_is_enough),
        cmocka_unit_test(a_store_is_claimed_once),
        cmocka_unit_test(clean_stops_are_known),
        cmocka_unit_test(a_grown_disk_opens_from_its_newest_superblock),
        cmocka_unit_test(a_grown_disk_needs_a_front_slot),
        cmocka_unit_test(slots_at_the_end_of_a_grown_disk_count),
        cmocka_unit_test(what_others_left_behind_a_store_does_not_count),
        cmocka_unit_test(a_size_that_cannot_be_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
