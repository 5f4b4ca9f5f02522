#include <errno.h>
#include <string.h>

#include "common/base/bits.h"
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

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_disks_are_told_apart),
        cmocka_unit_test(one_good_slot_is_enough),
        cmocka_unit_test(a_store_is_claimed_once),
        cmocka_unit_test(clean_stops_are_known),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
