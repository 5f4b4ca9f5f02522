/* ack=replicated: a write is told once all in-sync copies have received it, a flush and a read wait
 * until it is durable. Disks 0 to 2 hold the volume. */
#include <errno.h>
#include <stdlib.h>

#include "tests/unit/owner/fake.h"

static void
hold_acks(struct world *w, bool hold)
{
    for (uint32_t i = 0; i < 3; i++) {
        w->disks[i].hold_acks = true;
        if (!hold)
            disk_release(&w->disks[i]);
    }
}

static struct world *
in_memory(bool replicated)
{
    struct world *w = malloc(sizeof(*w));

    world_init(w);
    w->ack_replicated = replicated;
    world_open(w);
    assert_true(world_wait(w, &w->ready, 1000));
    world_run(w, 10);
    hold_acks(w, true);
    return w;
}

static void
write_is_told_flush_and_read_wait(void **state)
{
    struct world *w = in_memory(true);
    struct req wr, fl, rd, other;

    req_write(w, &wr, 0, 4096, 7);
    world_run(w, 20);
    assert_true(wr.done && wr.res == 0);
    req_op(w, &fl, CW_IO_FLUSH, 0, 0);
    req_read(w, &rd, 0, 4096);
    req_read(w, &other, 8 * 4096, 4096);
    world_run(w, 100);
    assert_true(other.done);
    assert_false(fl.done);
    assert_false(rd.done);
    hold_acks(w, false);
    world_run(w, 20);
    assert_true(fl.done && fl.res == 0);
    assert_true(rd.done && rd.res == 0);
    req_op(w, &fl, CW_IO_FLUSH, 0, 0);
    world_run(w, 1);
    assert_true(fl.done); /* nothing to wait for */
    world_closed(w);
}

/* One copy that has not received it is enough. */
static void
every_copy_must_have_received_it(void **state)
{
    struct world *w = in_memory(true);
    struct req wr;

    w->disks[1].silent = true;
    req_write(w, &wr, 0, 4096, 7);
    world_run(w, 500);
    assert_false(wr.done);
    w->disks[1].silent = false;
    world_run(w, 50);
    assert_true(wr.done && wr.res == 0);
    hold_acks(w, false);
    world_closed(w);
}

/* A copy that dies with it gets it again, and the flush waits for that. */
static void
lost_memory_is_sent_again(void **state)
{
    struct world *w = in_memory(true);
    struct disk *d = &w->disks[2];
    uint32_t resent;
    struct req wr, fl;

    req_write(w, &wr, 0, 4096, 7);
    world_run(w, 20);
    assert_true(wr.done);
    req_op(w, &fl, CW_IO_FLUSH, 0, 0);
    resent = d->n_writes;
    disk_cut(d);
    d->n_log -= (uint32_t)(d->received - d->last);
    d->received = d->last;
    d->received_gen = d->last_gen;
    disk_release(&w->disks[0]);
    disk_release(&w->disks[1]);
    world_run(w, 10);
    assert_false(fl.done);
    world_run(w, 300);
    assert_int_equal(d->n_writes, resent + 1);
    assert_false(fl.done);
    disk_release(d);
    world_run(w, 20);
    assert_true(fl.done && fl.res == 0);
    assert_int_equal(world_state(w, 2), CW_MEMBER_INSYNC);
    world_closed(w);
}

static void
policy_changes_at_once(void **state)
{
    struct world *w = in_memory(false);
    struct req wr, fl;

    req_write(w, &wr, 0, 4096, 7);
    world_run(w, 50);
    assert_false(wr.done);
    cw_volume_set_ack(w->v, true);
    req_op(w, &fl, CW_IO_FLUSH, 0, 0);
    world_run(w, 50);
    assert_true(fl.done); /* of before it was told */
    req_write(w, &fl, 4096, 4096, 8);
    world_run(w, 50);
    assert_true(wr.done && fl.done);
    cw_volume_set_ack(w->v, false);
    req_write(w, &wr, 8192, 4096, 9);
    req_op(w, &fl, CW_IO_FLUSH, 0, 0);
    world_run(w, 50);
    assert_false(wr.done);
    assert_false(fl.done); /* what was told stays a promise */
    hold_acks(w, false);
    world_run(w, 20);
    assert_true(wr.done && fl.done);
    world_closed(w);
}

/* What the last owner told may be in memory only: a flush of before the takeover is over waits. */
static void
flush_waits_for_the_takeover(void **state)
{
    struct world *w = malloc(sizeof(*w));
    struct req fl;

    world_init(w);
    w->ack_replicated = true;
    for (uint32_t i = 0; i < 3; i++)
        w->disks[i].refuse_connect = true;
    world_open(w);
    req_op(w, &fl, CW_IO_FLUSH, 0, 0);
    world_run(w, 100);
    assert_false(fl.done);
    for (uint32_t i = 0; i < 3; i++)
        w->disks[i].refuse_connect = false;
    assert_true(world_wait(w, &fl.done, 3000));
    assert_int_equal(fl.res, 0);
    assert_true(w->ready);
    world_closed(w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(write_is_told_flush_and_read_wait),
        cmocka_unit_test(every_copy_must_have_received_it),
        cmocka_unit_test(lost_memory_is_sent_again),
        cmocka_unit_test(policy_changes_at_once),
        cmocka_unit_test(flush_waits_for_the_takeover),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
