/* Snapshots that are asked for while others are under way. */
#include "tests/lib/storeworld.h"

#define SHARD_ID (UINT64_C(3) << 16)
#define CLONE_ID (UINT64_C(4) << 16)

static struct cw_store_shard *
world_start(struct storeworld *w, uint64_t seed)
{
    storeworld_init(w, seed, 512 * CW_MIB, CW_MIB);
    assert_int_equal(storeworld_format(w, false), 0);
    assert_int_equal(storeworld_open(w), 0);
    return storeworld_shard(w, SHARD_ID);
}

static struct cw_store_shard *
clone_start(struct storeworld *w, struct cw_store_shard *sh, uint64_t snap,
            struct storeworld_ticket *t)
{
    struct cw_shard_rec rec = cw_store_shard_info(sh)->rec;
    int err;

    rec.shard = CLONE_ID;
    return cw_store_shard_clone(w->store, &rec, sh, snap, storeworld_ticket(t), &err);
}

/* Block 0 as each snapshot has it is of that seq. */
static void
check_block(struct storeworld *w, struct cw_store_shard *sh, uint64_t snap, uint64_t seq)
{
    struct cw_store_read r = { .shard = sh, .nblk = 1, .snap = snap };
    uint8_t want[CW_BLOCK_SIZE];

    assert_int_equal(storeworld_read(w, &r), 0);
    storeworld_fill(want, SHARD_ID, 0, seq);
    assert_int_equal(r.csums[0], cw_hash_block(want));
    cw_buf_unref(r.buf);
}

/* Two of one copy, asked for before either is durable, are two. */
static void
snapshots_asked_for_at_once_are_all_made(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh = world_start(&w, 61);
    struct storeworld_ticket t[2];

    assert_int_equal(storeworld_write(&w, sh, 0, 1), 0);
    assert_int_equal(cw_store_snap_create(sh, 11, storeworld_ticket(&t[0])), 0);
    assert_int_equal(storeworld_write(&w, sh, 0, 1), 0);
    assert_int_equal(cw_store_snap_create(sh, 12, storeworld_ticket(&t[1])), 0);
    assert_int_equal(storeworld_write(&w, sh, 0, 1), 0);
    assert_int_equal(storeworld_ticket_wait(&w, &t[0]), 0);
    assert_int_equal(storeworld_ticket_wait(&w, &t[1]), 0);
    storeworld_wait_durable(&w, sh, 3);
    for (int again = 0; again < 2; again++) {
        check_block(&w, sh, 11, 1);
        check_block(&w, sh, 12, 2);
        check_block(&w, sh, 0, 3);
        assert_int_equal(storeworld_close(&w), 0);
        assert_int_equal(storeworld_open(&w), 0);
        sh = storeworld_shard(&w, SHARD_ID);
    }
    storeworld_fini(&w);
}

/* A clone made while a snapshot of the same family is under way takes nothing from it. */
static void
a_clone_beside_a_snapshot_keeps_both(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh = world_start(&w, 62), *clone;
    struct storeworld_ticket t[3];

    assert_int_equal(storeworld_write(&w, sh, 0, 1), 0);
    assert_int_equal(cw_store_snap_create(sh, 11, storeworld_ticket(&t[0])), 0);
    assert_int_equal(storeworld_ticket_wait(&w, &t[0]), 0);
    assert_int_equal(storeworld_write(&w, sh, 0, 1), 0);
    assert_int_equal(cw_store_snap_create(sh, 12, storeworld_ticket(&t[1])), 0);
    clone = clone_start(&w, sh, 11, &t[2]);
    assert_non_null(clone);
    assert_int_equal(storeworld_write(&w, sh, 0, 1), 0);
    assert_int_equal(storeworld_ticket_wait(&w, &t[1]), 0);
    assert_int_equal(storeworld_ticket_wait(&w, &t[2]), 0);
    storeworld_wait_durable(&w, sh, 3);
    check_block(&w, sh, 11, 1);
    check_block(&w, sh, 12, 2);
    check_block(&w, sh, 0, 3);
    check_block(&w, clone, 0, 1);
    storeworld_fini(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(snapshots_asked_for_at_once_are_all_made),
        cmocka_unit_test(a_clone_beside_a_snapshot_keeps_both),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
