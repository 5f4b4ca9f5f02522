/* What a disk finds to be bad is told to the owner, until it is mended. */
#include <string.h>

#include "common/base/bits.h"
#include "tests/unit/replica/rig.h"

static struct cw_wire_bad
entry(const struct rig_frame *f, uint32_t i)
{
    struct cw_wire_bad b;

    assert_true((i + 1) * sizeof(b) <= f->len);
    memcpy(&b, f->data + i * sizeof(b), sizeof(b));
    return b;
}

/* One note of one block. */
static void
expect_note(struct rig_link *l, uint64_t lba)
{
    struct rig_frame *f = rig_expect(l, CW_FT_BAD_NOTE);
    struct cw_wire_bad b = entry(f, 0);
    struct cw_wire_hdr h = { .lba_nblk = b.lba_nblk };
    uint64_t bits[4] = { 0 };

    assert_int_equal(f->len, sizeof(b));
    assert_true(f->hdr.shard == RIG_SHARD);
    assert_true(lba >= cw_hdr_lba(&h) && lba < cw_hdr_lba(&h) + cw_hdr_nblk(&h));
    cw_bit_set(bits, lba - cw_hdr_lba(&h));
    assert_memory_equal(b.bad, bits, sizeof(bits));
}

static uint64_t
bad_blocks(struct rig_disk *d)
{
    struct cw_replica_copy c;

    assert_true(cw_replica_copy_next(d->replica, 0, &c));
    return c.bad_blocks;
}

static void
repair(struct rig_link *l, uint32_t gen, uint64_t lba, uint8_t fill)
{
    static uint8_t block[CW_BLOCK_SIZE] __attribute__((aligned(4096)));
    struct cw_wire_hdr h = { .type = CW_FT_BLOCK_REPAIR,
                             .flags = CW_F_CSUMS | CW_F_DATA,
                             .shard = RIG_SHARD,
                             .gen = gen,
                             .tag = 5,
                             .lba_nblk = cw_lba_nblk(lba, 1) };
    uint64_t csum;

    memset(block, fill, sizeof(block));
    csum = cw_hash_block(block);
    rig_send(l, h, &csum, block, sizeof(block));
}

static void
run_scrub(struct rig_disk *d)
{
    cw_store_scrub_start(cw_replica_store(d->replica));
    rig_run(d->rig, 2000);
}

/* Found by the scrub, told at once, told again while nothing happens, silent after the repair. */
static void
told_until_repaired(void **state)
{
    struct rig r;
    struct rig_link *l;

    rig_init(&r);
    l = rig_owner(&r.disk[0], 5);
    rig_write(l, 5, 1, 300, 'a');
    rig_write(l, 5, 2, 301, 'b');
    rig_expect_acked(l, 2);
    rig_rot(&r.disk[0], 'b');
    rig_expect_none(l, CW_FT_BAD_NOTE); /* nobody has looked */
    run_scrub(&r.disk[0]);
    expect_note(l, 301);
    assert_int_equal(bad_blocks(&r.disk[0]), 1);
    rig_expect_none(l, CW_FT_BAD_NOTE);
    expect_note(l, 301); /* within ten seconds */
    cw_replica_check(r.disk[0].replica);
    repair(l, 5, 301, 'b');
    rig_expect(l, CW_FT_BLOCK_REPAIR_OK);
    assert_int_equal(bad_blocks(&r.disk[0]), 0);
    rig_run(&r, 60000);
    rig_expect_none(l, CW_FT_BAD_NOTE);
    run_scrub(&r.disk[0]);
    rig_expect_none(l, CW_FT_BAD_NOTE);
    rig_fini(&r);
}

/* A read that meets the block tells it too; overwriting ends it without a word. */
static void
told_until_overwritten(void **state)
{
    struct rig r;
    struct rig_link *l;

    rig_init(&r);
    l = rig_owner(&r.disk[0], 5);
    rig_write(l, 5, 1, 300, 'a');
    rig_expect_acked(l, 1);
    rig_rot(&r.disk[0], 'a');
    rig_read(l, 5, 290, 20, 7);
    rig_expect(l, CW_FT_READ_ERR);
    expect_note(l, 300);
    rig_write(l, 5, 2, 300, 'c');
    rig_expect_acked(l, 2);
    rig_run(&r, 60000);
    rig_expect_none(l, CW_FT_BAD_NOTE);
    assert_int_equal(bad_blocks(&r.disk[0]), 0);
    rig_fini(&r);
}

/* Without an owner notes wait for one; the next one is told when it opens, whoever it is. */
static void
told_to_the_next_owner(void **state)
{
    struct rig r;
    struct rig_link *l;

    rig_init(&r);
    l = rig_owner(&r.disk[0], 5);
    rig_write(l, 5, 1, 300, 'a');
    rig_expect_acked(l, 1);
    rig_down(l);
    rig_rot(&r.disk[0], 'a');
    run_scrub(&r.disk[0]);
    assert_int_equal(bad_blocks(&r.disk[0]), 1);
    l = rig_owner(&r.disk[0], 6);
    expect_note(l, 300);
    rig_down(l);
    l = rig_owner(&r.disk[0], 7);
    expect_note(l, 300);
    rig_fini(&r);
}

/* A peer that does not know such notes gets none. */
static void
old_peers_are_not_told(void **state)
{
    struct rig r;
    struct rig_link *l;

    rig_init(&r);
    r.old_peers = true;
    l = rig_owner(&r.disk[0], 5);
    rig_write(l, 5, 1, 300, 'a');
    rig_expect_acked(l, 1);
    rig_rot(&r.disk[0], 'a');
    run_scrub(&r.disk[0]);
    rig_run(&r, 60000);
    rig_expect_none(l, CW_FT_BAD_NOTE);
    assert_int_equal(bad_blocks(&r.disk[0]), 1);
    rig_down(l);
    r.old_peers = false;
    l = rig_owner(&r.disk[0], 6);
    expect_note(l, 300);
    rig_fini(&r);
}

/* Closing and dropping end it in the middle of a look. */
static void
notes_go_with_their_copy(void **state)
{
    struct rig r;
    struct rig_link *l;

    rig_init(&r);
    l = rig_owner(&r.disk[0], 5);
    rig_write(l, 5, 1, 300, 'a');
    rig_expect_acked(l, 1);
    rig_rot(&r.disk[0], 'a');
    run_scrub(&r.disk[0]);
    expect_note(l, 300);
    for (uint32_t i = 0; i < 20000; i++) /* until the second look is under way, or over */
        cw_simenv_step(&r.env);
    rig_close(&r.disk[0]);
    rig_open(&r.disk[0]);
    assert_int_equal(bad_blocks(&r.disk[0]), 0); /* in memory only: the next scrub tells again */
    run_scrub(&r.disk[0]);
    assert_int_equal(bad_blocks(&r.disk[0]), 1);
    rig_fini(&r);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(told_until_repaired),      cmocka_unit_test(told_until_overwritten),
        cmocka_unit_test(told_to_the_next_owner),   cmocka_unit_test(old_peers_are_not_told),
        cmocka_unit_test(notes_go_with_their_copy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
