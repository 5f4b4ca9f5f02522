/* The first SEAL of a new lineage: one copy takes it, once, and only from an owner that was granted
 * the volume after an operator chose that copy (replication.md 1.9). */
#include <string.h>

#include "common/base/bits.h"
#include "tests/unit/replica/rig.h"

static void
seal(struct rig_link *l, uint32_t gen, const struct cw_shard_rec *rec)
{
    uint8_t bytes[CW_SHARD_REC_BYTES_MAX];
    struct cw_wire_hdr h = {
        .type = CW_FT_SEAL, .flags = CW_F_CREATE, .shard = RIG_SHARD, .gen = gen, .tag = 9
    };

    rig_send(l, h, NULL, bytes, (uint32_t)cw_shard_rec_encode(rec, bytes));
}

static void
refused(struct rig_link *l, uint32_t gen, const struct cw_shard_rec *rec, uint32_t code)
{
    seal(l, gen, rec);
    assert_int_equal(rig_nack_code(rig_expect(l, CW_FT_NACK)), code);
}

static const struct cw_wire_seal_ok *
sealed(struct rig_link *l, uint32_t gen, const struct cw_shard_rec *rec)
{
    struct rig_frame *f;

    seal(l, gen, rec);
    f = rig_expect(l, CW_FT_SEAL_OK);
    assert_int_equal(f->hdr.gen, gen);
    return (const struct cw_wire_seal_ok *)(void *)f->data;
}

/* As the manager makes it for disk 0: gen 6, cfg 6, lineage 7. */
static struct cw_shard_rec
chosen(const struct rig *r)
{
    struct cw_shard_rec rec = rig_rec(r, 6, 6);

    rec.lineage = 7;
    rec.n_members = 1;
    return rec;
}

/* A copy with three records of gen 5, in lineage 5. */
static struct rig_link *
begin(struct rig *r)
{
    struct rig_link *a;

    rig_init(r);
    a = rig_owner(&r->disk[0], 5);
    for (uint64_t seq = 1; seq <= 3; seq++)
        rig_write(a, 5, seq, seq, (uint8_t)seq);
    rig_expect_acked(a, 3);
    return a;
}

/* It goes on with all that it has; who owned it before can neither write nor seal it any more, also
 * after a power cut, and whatever generation it claims. */
static void
chosen_copy_begins_a_lineage(void **state)
{
    struct rig r;
    struct rig_link *old = begin(&r), *now = rig_link(&r.disk[0]);
    struct cw_shard_rec rec = chosen(&r), before = rig_rec(&r, 5, 5);
    const struct cw_wire_seal_ok *ok = sealed(now, 7, &rec);

    assert_int_equal(ok->last_gen, 5);
    assert_int_equal(ok->last_seq, 3);
    assert_int_equal(ok->n_tail, 3);
    assert_int_equal(ok->cfg, 6);
    rig_expect(old, CW_FT_SEALED);
    rig_write(old, 5, 4, 9, 'x');
    assert_int_equal(rig_nack_code(rig_expect(old, CW_FT_NACK)), CW_NACK_STALE_GEN);
    refused(old, 5, &before, CW_NACK_STALE_GEN);
    refused(old, 8, &before, CW_NACK_STATE);
    rig_crash(&r.disk[0], 0);
    now = rig_link(&r.disk[0]);
    refused(now, 5, &before, CW_NACK_STALE_GEN);
    refused(now, 8, &before, CW_NACK_STATE);
    before.cfg = 9;
    refused(now, 8, &before, CW_NACK_STATE);
    rig_open_session(now, 7);
    rig_expect(now, CW_FT_OPEN_OK);
    ok = sealed(now, 7, &rec);
    assert_int_equal(ok->last_seq, 3);
    rec.gen = 7;
    rec.cfg = 7;
    sealed(now, 8, &rec);
    cw_replica_check(r.disk[0].replica);
    rig_fini(&r);
}

/* A record of another lineage that does not name it, and it alone, INSYNC, or is not later than its
 * own in both gen and cfg, is refused and leaves no trace. */
static void
nobody_else_may(void **state)
{
    for (int how = 0; how < 7; how++) {
        struct rig r;
        struct rig_link *old = begin(&r), *now = rig_link(&r.disk[0]);
        struct cw_shard_rec rec = chosen(&r);

        switch (how) {
        case 0: /* an old copy: another was chosen */
            rec.members[0] = rig_rec(&r, 6, 6).members[1];
            break;
        case 1: /* .. and this disk has a new copy to come, which the old one is not */
            rec = rig_rec(&r, 6, 6);
            rec.lineage = 7;
            rec.members[0].state = CW_MEMBER_OUT;
            break;
        case 2:
            rec = rig_rec(&r, 6, 6);
            rec.lineage = 7;
            break;
        case 3:
            rec.members[0].format_id++;
            break;
        case 4:
            rec.gen = 1; /* as recorded: rig_seal's records are of gen 1 */
            break;
        case 5:
            rec.cfg = 5;
            break;
        case 6:
            rec.members[0].state = CW_MEMBER_LAGGING;
            break;
        }
        refused(now, 7, &rec, CW_NACK_STATE);
        rig_write(old, 5, 4, 4, 4);
        rig_expect_acked(old, 4);
        rig_fini(&r);
    }
}

/* Other members that are to be filled do no harm: repair may have added them before the first SEAL.
 */
static void
members_to_come_do_no_harm(void **state)
{
    struct rig r;
    struct rig_link *now;
    struct cw_shard_rec rec;

    begin(&r);
    now = rig_link(&r.disk[0]);
    rec = rig_rec(&r, 6, 8);
    rec.lineage = 7;
    rec.members[1].state = CW_MEMBER_OUT;
    sealed(now, 7, &rec);
    rig_fini(&r);
}

/* A promise of that very generation, without the record: a crash came between the two. */
static void
a_try_cut_off_comes_again(void **state)
{
    struct rig r;
    struct rig_link *now;
    struct cw_shard_rec rec, before;

    begin(&r);
    now = rig_link(&r.disk[0]);
    rec = chosen(&r);
    before = rig_rec(&r, 5, 5);
    sealed(now, 7, &before); /* leaves what such a crash leaves */
    sealed(now, 7, &rec);
    refused(now, 7, &before, CW_NACK_STATE);
    rig_fini(&r);
}

static void
send_cfg(struct rig_link *l, const struct cw_shard_rec *rec)
{
    uint8_t bytes[CW_SHARD_REC_BYTES_MAX];
    struct cw_wire_hdr h = { .type = CW_FT_CFG, .shard = RIG_SHARD, .gen = 5 };

    rig_send(l, h, NULL, bytes, (uint32_t)cw_shard_rec_encode(rec, bytes));
}

/* Of the session that ends one record is on its way to the log, and another waits for that: it does
 * not come after the new one, whatever was in the same batch. */
static void
records_of_before_do_not_come_after(void **state)
{
    for (int steps = 0; steps < 6; steps++) {
        struct rig r;
        struct rig_link *old = begin(&r), *now = rig_link(&r.disk[0]);
        struct cw_shard_rec rec = rig_rec(&r, 6, 8), before = rig_rec(&r, 1, 6);

        rig_run(&r, 100);
        send_cfg(old, &before);
        for (int i = 0; i < steps; i++)
            cw_simenv_step(&r.env);
        before.cfg = 7;
        send_cfg(old, &before);
        rec.lineage = 7;
        rec.n_members = 1;
        assert_int_equal(sealed(now, 7, &rec)->cfg, 8);
        rig_run(&r, 500);
        rig_crash(&r.disk[0], 0);
        now = rig_link(&r.disk[0]);
        assert_int_equal(sealed(now, 8, &rec)->cfg, 8);
        rig_fini(&r);
    }
}

/* A copy whose resync did not end has holes. */
static void
not_with_holes(void **state)
{
    struct rig r;
    struct rig_link *a = begin(&r), *now = rig_link(&r.disk[0]);
    struct cw_shard_rec rec = chosen(&r);
    struct cw_wire_hdr h = {
        .type = CW_FT_JOIN, .shard = RIG_SHARD, .gen = 5, .seq = 4, .tag = 3, .stable = 77
    };

    rig_send(a, h, NULL, NULL, 0);
    rig_expect(a, CW_FT_JOIN_OK);
    refused(now, 7, &rec, CW_NACK_STATE);
    rig_fini(&r);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chosen_copy_begins_a_lineage),
        cmocka_unit_test(nobody_else_may),
        cmocka_unit_test(members_to_come_do_no_harm),
        cmocka_unit_test(a_try_cut_off_comes_again),
        cmocka_unit_test(records_of_before_do_not_come_after),
        cmocka_unit_test(not_with_holes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
