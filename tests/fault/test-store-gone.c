/* A disk that is away for a while, while its store is opened. What it did not say is not known to
 * be nothing. */
#include <errno.h>

#include "daemon/store/inspect.h"
#include "daemon/store/store-internal.h"
#include "tests/lib/storeworld.h"

#define SHARD_ID (UINT64_C(9) << 16)
#define SPAN 40u
#define READS CW_RAMDISK_OP(CW_DISK_READ)

/* Several lives, so that all slots and both checkpoints are in use, and a log behind them. */
static void
world_lived(struct storeworld *w, uint64_t *ret_seq)
{
    struct cw_store_shard *sh;
    uint64_t seq = 0;

    storeworld_init(w, 77, 512 * CW_MIB, CW_MIB);
    sh = storeworld_begin(w, SHARD_ID);
    for (uint32_t life = 0; life < 5; life++) {
        for (uint32_t i = 0; i < SPAN; i++)
            assert_int_equal(storeworld_write(w, sh, ++seq % SPAN, 1), 0);
        storeworld_settle(w, sh);
        if (life % 2)
            assert_int_equal(storeworld_close(w), 0);
        else
            storeworld_crash(w, (struct cw_ramdisk_crash){ .seed = life, .keep = 128 });
        assert_int_equal(storeworld_open(w), 0);
        sh = cw_store_shard_find(w->store, SHARD_ID);
    }
    for (uint32_t i = 0; i < SPAN; i++)
        assert_int_equal(storeworld_write(w, sh, ++seq % SPAN, 1), 0);
    storeworld_settle(w, sh);
    storeworld_crash(w, (struct cw_ramdisk_crash){ .seed = 9, .keep = 128 });
    *ret_seq = seq;
}

static void
all_is_there(struct storeworld *w, uint64_t seq)
{
    struct cw_store_shard *sh = cw_store_shard_find(w->store, SHARD_ID);

    assert_false(cw_store_shard_info(sh)->damaged);
    assert_int_equal(cw_store_shard_info(sh)->durable_seq, seq);
    for (uint64_t s = seq - SPAN + 1; s <= seq; s += 7)
        assert_true(storeworld_block_is(w, sh, s % SPAN, s));
    cw_store_check(w->store);
}

/* How many reads an open makes. */
static uint64_t
reads_of_an_open(void)
{
    struct storeworld w;
    uint64_t seq, n;

    world_lived(&w, &seq);
    n = cw_ramdisk_count(w.disk, READS);
    assert_int_equal(storeworld_open(&w), 0);
    n = cw_ramdisk_count(w.disk, READS) - n;
    all_is_there(&w, seq);
    storeworld_fini(&w);
    return n;
}

/* From the read number `at` on it is away for so long. */
static int
open_with_an_absence(struct storeworld *w, uint64_t at, uint64_t ns)
{
    uint64_t before = cw_ramdisk_count(w->disk, READS);

    storeworld_open_begin(w);
    for (uint64_t i = 0; i < 1000000 && cw_ramdisk_count(w->disk, READS) < before + at; i++)
        cw_simenv_run_for(&w->sim, CW_NS_PER_US);
    cw_ramdisk_unplug(w->disk);
    cw_simenv_run_for(&w->sim, ns);
    cw_ramdisk_replug(w->disk);
    storeworld_wait(w, &w->done);
    return w->res;
}

/* The disk is away from any read on, shortly or long: the store opens with all that was durable, or
 * does not open, and with the disk back it does. */
static void
an_absence_loses_nothing(void **state)
{
    uint64_t n_reads = reads_of_an_open(), n_refused = 0;
    static const uint64_t us[] = { 30, 200, 700, 1500, 4000, 10000, 500000 };

    for (uint64_t at = 1; at <= n_reads; at += at < 16 ? 1 : n_reads / 8 + 1) {
        for (uint32_t k = 0; k < CW_LEN(us); k++) {
            struct storeworld w;
            uint64_t seq;
            int res;

            world_lived(&w, &seq);
            res = open_with_an_absence(&w, at, us[k] * CW_NS_PER_US);
            if (res != 0) {
                assert_int_equal(res, -EIO);
                n_refused++;
                cw_store_free(w.store);
                w.store = NULL;
                assert_int_equal(storeworld_open(&w), 0);
            }
            all_is_there(&w, seq);
            storeworld_fini(&w);
        }
    }
    assert_true(n_refused > 10);
}

/* Places that stay unreadable on a disk that answers are bad: another slot, or the other
 * checkpoint, serves. */
static void
bad_superblocks_do_not_stop_it(void **state)
{
    for (uint32_t n = 1; n <= 2; n++) {
        struct storeworld w;
        struct cw_sb sb;
        uint64_t seq, last = 0;

        world_lived(&w, &seq);
        for (uint32_t slot = 0; slot < CW_SB_SLOTS; slot++) {
            cw_ramdisk_peek(w.disk, cw_inspect_sb_off(w.bytes, slot), &sb, sizeof(sb));
            last = sb.sb_seq > last ? sb.sb_seq : last;
        }
        for (uint32_t i = 0; i < n; i++)
            cw_ramdisk_latent(w.disk, cw_inspect_sb_off(w.bytes, (last - i) % CW_SB_SLOTS), 4096);
        assert_int_equal(storeworld_open(&w), 0);
        all_is_there(&w, seq);
        storeworld_fini(&w);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_absence_loses_nothing),
        cmocka_unit_test(bad_superblocks_do_not_stop_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
