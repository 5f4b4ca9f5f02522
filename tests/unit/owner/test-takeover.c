/* Takeover, replication.md 1.8: which tails survive, who is ejected, when it waits. */
#include <errno.h>
#include <stdlib.h>

#include "tests/unit/owner/fake.h"

/* Copies that an owner of gen 1 left: GEN_START and n records each, fill = seq, block = seq. */
static struct world *
left_behind(uint32_t a, uint32_t b, uint32_t c)
{
    struct world *w = malloc(sizeof(*w));
    uint32_t n[N_DISKS] = { a, b, c };

    world_init(w);
    w->vol_gen = 2;
    for (int i = 0; i < N_DISKS; i++) {
        w->disks[i].promised = 1;
        disk_gen_start(&w->disks[i], 1, 1);
        for (uint32_t s = 2; s < 2 + n[i]; s++)
            disk_append(&w->disks[i], 1, s, s, (uint8_t)s);
    }
    return w;
}

/* A new volume opens in one round trip per step, with empty copies, and writes begin after
 * GEN_START. */
static void
new_volume_opens(void **state)
{
    struct world *w = malloc(sizeof(*w));
    struct req r;

    world_init(w);
    world_open(w);
    assert_true(w->ready); /* without any time passing */
    assert_int_equal(w->n_begins, 1);
    req_write(w, &r, 0, 4096, 1);
    world_turn(w);
    assert_true(r.done);
    for (int i = 0; i < N_DISKS; i++) {
        assert_int_equal(w->disks[i].log[0].type, CW_FT_GEN_START);
        assert_int_equal(w->disks[i].last, 2);
    }
    world_closed(w);
}

/* Nothing is acknowledged before the record says that the copies are not new any more (I18). */
static void
begins_only_once_the_record_says_so(void **state)
{
    struct world *w = malloc(sizeof(*w));

    world_init(w);
    w->mode = MGR_DOWN;
    world_open(w);
    world_run(w, 5000);
    assert_false(w->ready);
    assert_int_equal(w->disks[0].log[0].type, CW_FT_GEN_START);
    assert_int_equal(w->rec.members[0].since_seq, CW_SINCE_NEW);
    w->mode = MGR_OK;
    assert_true(world_wait(w, &w->ready, 5000));
    for (int i = 0; i < N_DISKS; i++)
        assert_int_equal(w->rec.members[i].since_seq, 0);
    world_closed(w);
}

/* Different tails: the longest prefix wins, the others get its records as they were written. */
static void
tails_are_equalised(void **state)
{
    struct world *w = left_behind(3, 40, 0);

    world_open(w);
    assert_true(w->ready);
    for (int i = 0; i < N_DISKS; i++) {
        struct disk *d = &w->disks[i];

        assert_int_equal(d->last, 42); /* 1 + 40 + GEN_START(2) */
        assert_int_equal(d->last_gen, 2);
        assert_int_equal(d->log[40].gen, 1);
        assert_int_equal(d->fill[41], 41);
    }
    assert_int_equal(w->n_changes, 0);
    world_closed(w);
}

/* A copy whose tail is full (it forgot in a restart what was stable) could append nothing: before
 * any record it is told what the others know, and GEN_START says that all before it is stable. */
static void
full_tails_are_told_what_is_stable(void **state)
{
    struct world *w = left_behind(35, 40, 32);

    w->disks[1].stable = 30;
    world_open(w);
    assert_true(w->ready);
    for (int i = 0; i < N_DISKS; i++) {
        assert_int_equal(w->disks[i].last_stable_seen, 30);
        assert_int_equal(w->disks[i].gen_start_stable, 41);
    }
    world_closed(w);
}

/* A higher generation beats a longer log of an older one. */
static void
generation_beats_length(void **state)
{
    struct world *w = left_behind(2, 2, 9);
    struct req r;

    w->vol_gen = 3;
    disk_gen_start(&w->disks[0], 2, 4);
    disk_gen_start(&w->disks[1], 2, 4);
    world_open(w);
    world_run(w, 5000);
    assert_true(w->ready);
    assert_int_equal(w->disks[0].last, 5);
    /* the third copy holds records that gen 2 did not adopt: it cannot be continued */
    assert_int_not_equal(world_state(w, 2), CW_MEMBER_INSYNC);
    req_write(w, &r, 0, 4096, 1);
    world_run(w, 10);
    assert_true(r.done);
    world_closed(w);
}

/* An in-sync copy that cannot be reached: lease wait of L(1+rho) + 50 ms after the first seal, then
 * the eject, then ACTIVE (I11). */
static void
unreachable_copy_costs_the_lease(void **state)
{
    struct world *w = left_behind(1, 1, 1);

    w->disks[2].refuse_connect = true;
    world_open(w);
    world_run(w, 2050);
    assert_false(w->ready);
    assert_int_equal(w->n_changes, 0);
    world_run(w, 100);
    assert_true(w->ready);
    assert_int_equal(world_state(w, 2), CW_MEMBER_OUT);
    world_closed(w);
}

/* After a clean release there is no lease to wait for, only T_seal. */
static void
released_volume_needs_no_wait(void **state)
{
    struct world *w = left_behind(1, 1, 1);

    w->was_released = true;
    w->disks[2].refuse_connect = true;
    world_open(w);
    world_run(w, 900);
    assert_false(w->ready);
    world_run(w, 200);
    assert_true(w->ready);
    world_closed(w);
}

/* Nobody reachable: the open waits and nothing is asked of the manager; then it goes on. */
static void
nobody_there_waits(void **state)
{
    struct world *w = left_behind(1, 1, 1);
    const char *why;

    for (int i = 0; i < N_DISKS; i++)
        w->disks[i].refuse_connect = true;
    world_open(w);
    world_run(w, 10000);
    assert_false(w->ready);
    assert_int_equal(w->n_changes, 0);
    assert_true(cw_volume_suspended(w->v, &why));
    for (int i = 0; i < N_DISKS; i++)
        w->disks[i].refuse_connect = false;
    world_run(w, 3000);
    assert_true(w->ready);
    world_closed(w);
}

/* A copy that has promised a higher generation aborts the takeover. */
static void
newer_promise_aborts(void **state)
{
    struct world *w = left_behind(1, 1, 1);

    w->disks[1].promised = 9;
    world_open(w);
    assert_true(w->failed);
    assert_int_equal(w->fail_res, -ESHUTDOWN);
    assert_int_equal(cw_volume_state(w->v), CW_VOLUME_FAILED);
    world_closed(w);
}

/* I15: a copy whose last is below what any peer knows to be stable is not in sync, whatever the
 * metadata says. */
static void
row_42_a_copy_below_stable_is_ejected(void **state)
{
    struct world *w = left_behind(5, 5, 2);

    w->disks[0].stable = 5;
    world_open(w);
    world_run(w, 2200);
    assert_true(w->ready);
    assert_int_not_equal(world_state(w, 2), CW_MEMBER_INSYNC);
    world_closed(w);
}

/* The seal reply of a LAGGING copy: continued when it lies in the history, else OUT (1.8 step 4).
 */
static void
lagging_copy_is_tested(void **state)
{
    for (int diverged = 0; diverged < 2; diverged++) {
        struct world *w = left_behind(2, 2, diverged ? 6 : 1);

        w->rec.members[2].state = CW_MEMBER_LAGGING;
        if (diverged) { /* it holds more of the old stream than anybody in sync */
            w->vol_gen = 3;
            disk_gen_start(&w->disks[0], 2, 4);
            disk_gen_start(&w->disks[1], 2, 4);
        }
        world_open(w);
        world_run(w, 50);
        assert_true(w->ready);
        assert_int_equal(world_state(w, 2) == CW_MEMBER_LAGGING, !diverged);
        if (!diverged)
            assert_int_equal(w->disks[2].last, w->disks[0].last);
        world_closed(w);
    }
}

/* A copy that comes back without the GEN_START that it had made durable carries nobody into
 * activity: the others go on once it is out (I1, I15). With the same again it is one of them. */
static void
gen_start_does_not_rest_on_what_a_copy_forgot(void **state)
{
    for (int again = 0; again < 2; again++) {
        struct world *w = left_behind(2, 2, 2);
        struct disk *x = &w->disks[1];

        w->disks[2].hold_acks = true;
        world_open(w);
        world_run(w, 100);
        assert_false(w->ready);
        assert_int_equal(x->last, 4);
        w->mode = MGR_HOLD;
        if (!again) {
            x->last = x->received = 3;
            x->last_gen = 1;
        }
        x->hold_open = true;
        disk_cut(x);
        world_run(w, 200);
        disk_release(&w->disks[2]);
        world_run(w, 10);
        assert_false(w->ready);
        x->hold_open = false; /* all that is missing */
        world_run(w, 200);
        assert_int_equal(w->ready, again);
        w->mode = MGR_OK;
        world_answer_change(w);
        assert_true(world_wait(w, &w->ready, 10000));
        assert_true(again || world_state(w, 1) != CW_MEMBER_INSYNC || x->last >= 4);
        world_closed(w);
    }
}

/* A record that its only holder cannot read was never acked: the holder goes, the others continue.
 */
static void
unreadable_record_ejects_its_holder(void **state)
{
    struct world *w = left_behind(2, 2, 5);

    w->disks[2].tail_unreadable = true;
    world_open(w);
    world_run(w, 2500);
    assert_true(w->ready);
    assert_int_not_equal(world_state(w, 2), CW_MEMBER_INSYNC);
    assert_int_equal(w->disks[0].last, 4); /* 1 + 2 + GEN_START(2) */
    world_closed(w);
}

/* One that only a LAGGING copy lacks may have been acknowledged: that copy goes, and nobody who has
 * it, be it the last in sync. */
static void
unreadable_record_ejects_who_lags(void **state)
{
    for (int alone = 0; alone < 2; alone++) {
        struct world *w = left_behind(5, 5, 2);

        w->min_insync = 1;
        w->rec.members[2].state = CW_MEMBER_LAGGING;
        w->rec.members[1].state = alone ? CW_MEMBER_OUT : CW_MEMBER_INSYNC;
        w->disks[0].tail_unreadable = w->disks[1].tail_unreadable = true;
        world_open(w);
        world_run(w, 2500);
        assert_true(w->ready);
        assert_int_equal(world_state(w, 0), CW_MEMBER_INSYNC);
        assert_true(alone || world_state(w, 1) == CW_MEMBER_INSYNC);
        assert_int_not_equal(world_state(w, 2), CW_MEMBER_LAGGING);
        assert_true(w->disks[0].last >= 7); /* 1 + 5 + GEN_START(2) */
        world_closed(w);
    }
}

/* A copy lost in the middle of equalising: the takeover begins again without it. */
static void
copy_lost_on_the_way(void **state)
{
    struct world *w = left_behind(2, 2, 30);
    struct req r;

    w->disks[0].hold_acks = true; /* it stops the equalising half way */
    world_open(w);
    world_run(w, 100);
    assert_false(w->ready);
    w->disks[2].refuse_connect = true;
    disk_cut(&w->disks[2]);
    w->disks[0].hold_acks = false;
    world_run(w, 4000);
    assert_true(w->ready);
    assert_int_equal(world_state(w, 2), CW_MEMBER_OUT);
    assert_int_equal(w->disks[0].last, w->disks[1].last);
    req_write(w, &r, 0, 4096, 1);
    world_run(w, 10);
    assert_true(r.done);
    world_closed(w);
}

/* The reply to the ejecting change is lost: the takeover goes on once the record is seen. */
static void
lost_reply_at_takeover(void **state)
{
    struct world *w = left_behind(1, 1, 1);

    w->disks[2].refuse_connect = true;
    w->mode = MGR_LOSE_REPLY;
    world_open(w);
    world_run(w, 4000);
    assert_false(w->ready);
    w->mode = MGR_OK;
    world_run(w, 3000);
    assert_true(w->ready);
    world_closed(w);
}

static void
disk_empty(struct disk *d, bool exists)
{
    d->exists = exists;
    d->last = d->received = 0;
    d->last_gen = 0;
    d->n_log = d->n_hist = 0;
}

/* An in-sync copy that is empty, or not there at all, was lost: it is neither made nor believed,
 * whoever else is there. The others go on without it; alone it is waited for (I18). */
static void
lost_copy_is_not_made_again(void **state)
{
    for (int how = 0; how < 4; how++) {
        struct world *w = left_behind(1, 1, 0);
        bool exists = (how & 1) != 0, alone = (how & 2) != 0;

        disk_empty(&w->disks[2], exists);
        w->disks[0].refuse_connect = w->disks[1].refuse_connect = alone;
        world_open(w);
        world_run(w, 10000);
        assert_int_equal(w->ready, !alone);
        assert_int_equal(w->disks[2].exists, exists || !alone); /* made by its resync */
        assert_int_equal(w->n_changes != 0, !alone);
        if (alone) {
            w->disks[0].refuse_connect = w->disks[1].refuse_connect = false;
            assert_true(world_wait(w, &w->ready, 5000));
        }
        assert_int_not_equal(world_state(w, 2), CW_MEMBER_INSYNC);
        world_closed(w);
    }
}

/* All of them: the volume is not served from nothing. */
static void
nothing_is_served_from_nothing(void **state)
{
    struct world *w = left_behind(1, 1, 0);

    for (int i = 0; i < N_DISKS; i++)
        disk_empty(&w->disks[i], false);
    world_open(w);
    world_run(w, 10000);
    assert_false(w->ready);
    assert_int_equal(w->n_changes, 0);
    assert_false(w->disks[0].exists || w->disks[1].exists || w->disks[2].exists);
    world_closed(w);
}

/* A LAGGING copy that is sealed too late for the takeover is tested as soon as that is over, and
 * keeps its place. */
static void
lagging_copy_that_comes_late_is_tested(void **state)
{
    struct world *w = left_behind(3, 3, 3);

    w->rec.members[2].state = CW_MEMBER_LAGGING;
    w->disks[2].refuse_connect = true;
    w->disks[1].hold_acks = true;
    world_open(w);
    world_run(w, 1500);
    assert_false(w->ready);
    w->disks[2].refuse_connect = false; /* GEN_START is on its way to the others */
    world_run(w, 1500);
    assert_false(w->ready);
    w->disks[1].hold_acks = false;
    disk_release(&w->disks[1]);
    assert_true(world_wait(w, &w->ready, 1000));
    world_run(w, 6000);
    assert_int_equal(w->n_changes, 1); /* back in sync, and never out */
    assert_int_equal(world_state(w, 2), CW_MEMBER_INSYNC);
    world_closed(w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_volume_opens),
        cmocka_unit_test(begins_only_once_the_record_says_so),
        cmocka_unit_test(tails_are_equalised),
        cmocka_unit_test(full_tails_are_told_what_is_stable),
        cmocka_unit_test(generation_beats_length),
        cmocka_unit_test(unreachable_copy_costs_the_lease),
        cmocka_unit_test(released_volume_needs_no_wait),
        cmocka_unit_test(nobody_there_waits),
        cmocka_unit_test(newer_promise_aborts),
        cmocka_unit_test(row_42_a_copy_below_stable_is_ejected),
        cmocka_unit_test(lagging_copy_is_tested),
        cmocka_unit_test(gen_start_does_not_rest_on_what_a_copy_forgot),
        cmocka_unit_test(unreadable_record_ejects_its_holder),
        cmocka_unit_test(unreadable_record_ejects_who_lags),
        cmocka_unit_test(copy_lost_on_the_way),
        cmocka_unit_test(lost_reply_at_takeover),
        cmocka_unit_test(lagging_copy_that_comes_late_is_tested),
        cmocka_unit_test(lost_copy_is_not_made_again),
        cmocka_unit_test(nothing_is_served_from_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
