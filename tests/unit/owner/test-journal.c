/* Journal members (replication.md 1.9): writes that would wait go on, and what they wrote is not
 * lost with the last copy. Disks 0 and 1 hold the volume, disk 2 is the spare. */
#include <errno.h>
#include <stdlib.h>

#include "tests/unit/owner/fake.h"

static struct world *
two_copies(void)
{
    struct world *w = malloc(sizeof(*w));

    world_init(w);
    w->rec.n_members = 2;
    world_open(w);
    assert_true(world_wait(w, &w->ready, 1000));
    return w;
}

static void
disk_lose(struct disk *d)
{
    d->refuse_connect = true;
    disk_cut(d);
}

static void
add_journal(struct world *w)
{
    w->rec.members[2] = (struct cw_member){ .disk_uuid = w->disks[2].loc.disk_uuid,
                                            .format_id = w->disks[2].loc.format_id,
                                            .state = CW_MEMBER_JOURNAL };
    w->rec.n_members = 3;
    w->rec.cfg++;
    cw_volume_reread(w->v);
}

static void
write_now(struct world *w, uint64_t block, uint8_t fill)
{
    struct req r;

    req_write(w, &r, block * 4096, 4096, fill);
    world_run(w, 20);
    assert_true(r.done && r.res == 0);
}

/* Four blocks written; then disk 1 is lost and out, and a fifth write waits. */
static struct world *
one_lost(struct req *waits)
{
    struct world *w = two_copies();

    for (uint32_t i = 0; i < 4; i++)
        write_now(w, i, (uint8_t)(i + 1));
    disk_lose(&w->disks[1]);
    req_write(w, waits, 4 * 4096, 4096, 5);
    world_run(w, 4000);
    assert_int_equal(world_state(w, 1), CW_MEMBER_OUT);
    assert_false(waits->done);
    return w;
}

static struct world *
with_journal(void)
{
    struct req r;
    struct world *w = one_lost(&r);

    add_journal(w);
    world_run(w, 200);
    assert_true(r.done);
    assert_true(w->rec.members[2].since_seq != 0);
    return w;
}

/* It holds what was written since the lost copy's end, and with it writes go on. */
static void
row_17_writes_go_on_with_a_journal(void **state)
{
    struct req r;
    struct world *w = one_lost(&r);
    const struct cw_member *m;

    add_journal(w);
    world_run(w, 200);
    assert_true(r.done && r.res == 0);
    m = world_member(w, 2);
    assert_int_equal(m->state, CW_MEMBER_JOURNAL);
    assert_true(m->since_seq > 0 && m->since_seq <= w->disks[1].last + 1);
    assert_int_equal(w->disks[2].fill[4], 5);
    write_now(w, 9, 9);
    assert_int_equal(w->disks[2].fill[9], 9);
    world_closed(w);
}

/* What it has is durable twice or not acknowledged, and it is not read. */
static void
acks_wait_for_it_and_reads_do_not_go_there(void **state)
{
    struct world *w = with_journal();
    struct req r;

    w->disks[2].hold_acks = true;
    req_write(w, &r, 0, 4096, 7);
    world_run(w, 500);
    assert_false(r.done);
    disk_release(&w->disks[2]);
    assert_true(r.done);
    for (uint32_t i = 0; i < 8; i++) {
        req_read(w, &r, 0, 4096);
        world_turn(w);
        assert_true(r.done);
    }
    assert_int_equal(w->disks[2].n_reads, 0);
    world_closed(w);
}

/* The lease needs it as well: another owner may have sealed it. */
static void
lease_depends_on_it(void **state)
{
    struct world *w = with_journal();
    struct req r;

    w->disks[2].no_hb = true;
    world_run(w, 2500);
    req_read(w, &r, 0, 4096);
    world_run(w, 20);
    assert_false(r.done);
    w->disks[2].no_hb = false;
    world_run(w, 600);
    assert_true(r.done);
    world_closed(w);
}

/* While the change that lets it begin is in doubt it does not count, and acks need it. */
static void
counts_only_when_the_record_says_so(void **state)
{
    struct req r;
    struct world *w = one_lost(&r);

    w->disks[2].hold_acks = true;
    add_journal(w);
    world_run(w, 100);
    assert_int_equal(w->rec.members[2].since_seq, 0); /* it lacks what is before p */
    w->mode = MGR_LOSE_REPLY;
    disk_release(&w->disks[2]);
    world_run(w, 1000);
    assert_true(w->rec.members[2].since_seq != 0); /* it was applied, and we do not know it */
    assert_false(r.done);
    w->mode = MGR_OK;
    world_run(w, 3000);
    assert_true(r.done);
    world_closed(w);
}

/* In doubt about its beginning, a lost link does not make acks go without it. */
static void
doubt_outlasts_a_lost_link(void **state)
{
    struct req r, later;
    struct world *w = one_lost(&r);

    w->disks[2].hold_acks = true;
    add_journal(w);
    world_run(w, 100);
    w->mode = MGR_LOSE_REPLY;
    disk_release(&w->disks[2]);
    world_run(w, 300);
    assert_true(w->rec.members[2].since_seq != 0);
    assert_false(r.done);
    cw_volume_set_policy(w->v, 1, -1, false, false); /* one copy would do */
    world_run(w, 100);
    assert_true(r.done);
    disk_lose(&w->disks[2]);
    req_write(w, &later, 0, 4096, 8);
    world_run(w, 1000);
    assert_false(later.done);
    world_closed(w);
}

/* When enough copies are in sync again it goes, by the owner's change. */
static void
goes_when_copies_are_back(void **state)
{
    struct world *w = with_journal();
    struct req r;

    w->disks[1].refuse_connect = false;
    world_run(w, 3000);
    assert_int_equal(world_state(w, 1), CW_MEMBER_IN_RESYNC);
    assert_int_equal(w->disks[1].n_joins, 1);
    assert_true(w->disks[1].overlay); /* whatever happens now, the two have everything */
    disk_sync_done(&w->disks[1]);
    world_run(w, 500);
    assert_int_equal(world_state(w, 1), CW_MEMBER_INSYNC);
    assert_null(world_member(w, 2));
    w->disks[2].hold_acks = true;
    write_now(w, 0, 3);
    req_read(w, &r, 0, 4096);
    world_run(w, 5000);
    assert_true(r.done);
    world_closed(w);
}

/* Where the very beginning of this generation is still kept, it begins behind that: its number
 * tells journals of two generations apart. */
static void
begins_behind_the_generation(void **state)
{
    struct world *w = two_copies();
    struct req r;

    disk_lose(&w->disks[1]);
    req_write(w, &r, 0, 4096, 1);
    world_run(w, 4000);
    add_journal(w);
    world_run(w, 200);
    assert_true(r.done);
    assert_int_equal(world_member(w, 2)->since_seq, 2);
    assert_int_equal(w->disks[2].hist[0].start_seq, 1);
    world_closed(w);
}

/* One that is lost goes too: writes wait, as they did before it came. */
static void
lost_journal_is_given_up(void **state)
{
    struct world *w = with_journal();
    struct req r;

    disk_lose(&w->disks[2]);
    world_run(w, 4000);
    assert_null(world_member(w, 2));
    req_write(w, &r, 0, 4096, 7);
    world_run(w, 500);
    assert_false(r.done);
    req_read(w, &r, 0, 4096);
    world_run(w, 100);
    assert_true(r.done);
    world_closed(w);
}

/* A spare that is not empty, or whose daemon knows no journals, is no journal. */
static void
begins_only_where_it_can(void **state)
{
    for (int old = 0; old < 2; old++) {
        struct req r;
        struct world *w = one_lost(&r);

        w->disks[2].old = old;
        if (!old)
            disk_append(&w->disks[2], 1, 1, 1, 1);
        add_journal(w);
        world_run(w, 500);
        assert_null(world_member(w, 2));
        assert_int_equal(w->disks[2].n_joins, 0);
        assert_false(r.done);
        world_closed(w);
    }
}

/* A short break of its link costs nothing: it goes on where it was. */
static void
survives_a_broken_link(void **state)
{
    struct world *w = with_journal();

    disk_cut(&w->disks[2]);
    world_run(w, 200);
    write_now(w, 7, 7);
    assert_int_equal(w->disks[2].n_joins, 1);
    assert_int_equal(w->disks[2].fill[7], 7);
    assert_non_null(world_member(w, 2));
    world_closed(w);
}

/* ---- takeover ---- */

/* What an owner of gen 1 left: disk 0 in sync with n0 records after GEN_START, disk 1 out with n1,
 * disk 2 a journal since record `since` up to 1 + n2. Record s writes s to block s. */
static struct world *
left_behind(uint32_t n0, uint32_t n1, uint64_t since, uint32_t n2)
{
    struct world *w = malloc(sizeof(*w));
    struct disk *j;

    world_init(w);
    w->vol_gen = 2;
    w->rec.members[1].state = CW_MEMBER_OUT;
    w->rec.members[2].state = CW_MEMBER_JOURNAL;
    w->rec.members[2].since_seq = since;
    for (uint32_t i = 0; i < 2; i++) {
        w->disks[i].promised = 1;
        disk_gen_start(&w->disks[i], 1, 1);
        for (uint32_t s = 2; s < 2 + (i == 0 ? n0 : n1); s++)
            disk_append(&w->disks[i], 1, s, s, (uint8_t)s);
    }
    j = &w->disks[2];
    j->promised = 1;
    j->journal = true;
    j->hist[j->n_hist++] = (struct cw_wire_hist){ .start_seq = since - 1, .gen = 1 };
    for (uint32_t s = (uint32_t)since; s < 2 + n2; s++)
        disk_append(j, 1, s, s, (uint8_t)s);
    return w;
}

static void
expect_block(struct world *w, uint64_t block, uint8_t fill)
{
    struct req r;

    req_read(w, &r, block * 4096, 4096);
    world_run(w, 100);
    assert_true(r.done && r.res == 0);
    assert_int_equal(r.data[0], fill);
}

/* Ahead or behind, it is made equal like a copy in sync, without a change of members. */
static void
takeover_equalises_it(void **state)
{
    for (int ahead = 0; ahead < 2; ahead++) {
        struct world *w = ahead ? left_behind(5, 2, 4, 9) : left_behind(9, 2, 4, 5);

        w->disks[1].refuse_connect = true;
        world_open(w);
        world_run(w, 100);
        assert_true(w->ready);
        assert_int_equal(w->n_changes, 0);
        for (int i = 0; i < 3; i += 2) {
            assert_int_equal(w->disks[i].last, 11); /* 1 + 9 + GEN_START */
            assert_int_equal(w->disks[i].fill[10], 10);
        }
        write_now(w, 0, 1);
        assert_int_equal(w->disks[2].fill[0], 1);
        world_closed(w);
    }
}

/* One that does not answer is ejected, after the lease that may depend on it. */
static void
takeover_ejects_a_lost_one(void **state)
{
    struct world *w = left_behind(5, 2, 4, 5);

    w->disks[1].refuse_connect = w->disks[2].refuse_connect = true;
    world_open(w);
    world_run(w, 2000);
    assert_false(w->ready);
    assert_int_equal(w->n_changes, 0);
    world_run(w, 300);
    assert_true(w->ready);
    assert_null(world_member(w, 2));
    world_closed(w);
}

/* One that an earlier owner left behind is not continued. */
static void
takeover_ejects_one_that_fell_behind(void **state)
{
    struct world *w = left_behind(5, 2, 4, 5);

    w->vol_gen = 3;
    w->disks[1].refuse_connect = true;
    w->disks[0].stable = 6;
    disk_gen_start(&w->disks[0], 2, 7);
    disk_append(&w->disks[2], 1, 7, 7, 7); /* it was never adopted */
    world_open(w);
    world_run(w, 3000);
    assert_true(w->ready);
    assert_null(world_member(w, 2));
    world_closed(w);
}

/* An owner went on from it alone, and died before a copy was whole: nothing was acknowledged that
 * the copy in sync lacks, which may have ended otherwise. */
static void
takeover_ejects_one_that_was_gone_on_from_alone(void **state)
{
    struct world *w = left_behind(5, 2, 4, 4);

    w->vol_gen = 3;
    disk_gen_start(&w->disks[2], 2, 6); /* where disk 0 has the old owner's last write */
    world_open(w);
    world_run(w, 3000);
    assert_true(w->ready);
    assert_int_equal(world_state(w, 0), CW_MEMBER_INSYNC);
    assert_null(world_member(w, 2));
    expect_block(w, 6, 6);
    world_closed(w);
}

/* It alone is not a copy: without one that has the rest, nothing is asked of the manager. */
static void
alone_it_is_not_enough(void **state)
{
    struct world *w = left_behind(5, 2, 4, 5);

    w->disks[0].refuse_connect = w->disks[1].refuse_connect = true;
    world_open(w);
    world_run(w, 10000);
    assert_false(w->ready);
    assert_int_equal(w->n_changes, 0);
    w->disks[0].refuse_connect = false;
    world_run(w, 3000);
    assert_true(w->ready);
    world_closed(w);
}

/* ---- a copy is made whole ---- */

static void
expect_made_whole(struct world *w)
{
    struct disk *b = &w->disks[1];

    for (uint32_t i = 0; i < 100 && !(b->syncing && b->n_sync_from > 0); i++)
        world_run(w, 100);
    assert_true(b->overlay);
    assert_int_equal(world_member(w, 1)->state, CW_MEMBER_IN_RESYNC);
    assert_int_equal(world_member(w, 1)->since_seq, world_member(w, 2)->since_seq);
    assert_int_equal(b->sync_since, world_member(w, 2)->since_seq);
    assert_int_equal(world_state(w, 0), CW_MEMBER_INSYNC); /* I12 */
    disk_sync_done(b);
    world_run(w, 1000);
    assert_int_equal(world_state(w, 0), CW_MEMBER_OUT);
    assert_int_equal(world_member(w, 1)->state, CW_MEMBER_INSYNC);
    assert_int_equal(world_member(w, 1)->since_seq, 0);
}

/* The last full copy dies under the owner, the older one returns: whole by the journal it takes the
 * dead one's place, and writes that waited are done. */
static void
older_copy_is_made_whole(void **state)
{
    struct world *w = with_journal();
    struct req r;

    write_now(w, 1, 77);
    disk_lose(&w->disks[0]);
    req_write(w, &r, 2 * 4096, 4096, 88);
    world_run(w, 4000);
    assert_false(r.done);
    w->disks[1].refuse_connect = false;
    expect_made_whole(w);
    assert_true(r.done && r.res == 0);
    expect_block(w, 0, 1);
    expect_block(w, 1, 77);
    expect_block(w, 2, 88);
    expect_block(w, 4, 5);
    write_now(w, 3, 99);
    world_closed(w);
}

/* The same when the owner died with it. */
static void
takeover_makes_an_older_copy_whole(void **state)
{
    struct world *w = left_behind(9, 3, 5, 9);

    w->disks[0].refuse_connect = true;
    w->disks[2].stable = 4;
    world_open(w);
    assert_true(world_wait(w, &w->ready, 6000));
    assert_int_equal(w->disks[2].gen_start_stable, 4); /* disk 0 may lack the rest */
    assert_int_equal(w->disks[2].stable, 4);
    expect_made_whole(w);
    for (uint32_t s = 2; s <= 10; s++)
        expect_block(w, s, (uint8_t)s);
    write_now(w, 3, 99);
    world_closed(w);
}

/* Not one that lacks records from before the journal, or has gaps, or a tail that nobody adopted.
 */
static void
others_are_not(void **state)
{
    for (int how = 0; how < 4; how++) {
        struct world *w = left_behind(9, how == 0 ? 2 : 3, 5, 9);

        if (how == 1)
            w->disks[1].syncing = true;
        if (how == 2)
            w->disks[1].damaged = true;
        if (how == 3) { /* gen 2 began at 5 where it has a record of gen 1 */
            w->vol_gen = 3;
            w->rec.members[2].since_seq = 6;
            w->disks[2].n_log = w->disks[2].n_hist = 0;
            w->disks[2].last = w->disks[2].received = 5;
            w->disks[2].hist[w->disks[2].n_hist++] =
                (struct cw_wire_hist){ .start_seq = 5, .gen = 2 };
            disk_append(&w->disks[2], 2, 6, 6, 6);
            disk_append(&w->disks[1], 1, 5, 5, 5);
        }
        w->disks[0].refuse_connect = true;
        world_open(w);
        world_run(w, 15000);
        assert_false(w->ready);
        assert_int_equal(w->n_changes, 0);
        assert_int_equal(w->disks[1].n_joins, 0);
        world_closed(w);
    }
}

/* A copy half made whole belongs to that journal alone, and its record says which. */
static void
broken_off_it_begins_again(void **state)
{
    for (int bound = 0; bound < 2; bound++) {
        struct world *w = left_behind(9, 3, 5, 9);

        w->rec.members[1].state = CW_MEMBER_IN_RESYNC;
        w->rec.members[1].since_seq = bound ? 5 : 0;
        w->disks[1].syncing = w->disks[1].overlay = true;
        w->disks[1].last = w->disks[1].received = 9;
        w->disks[0].refuse_connect = true;
        world_open(w);
        world_run(w, 8000);
        assert_int_equal(w->ready, bound);
        if (bound)
            expect_made_whole(w);
        world_closed(w);
    }
}

/* The copy goes away in the middle: it stays what its record says, and is joined again. */
static void
it_may_go_away_meanwhile(void **state)
{
    struct world *w = with_journal();
    uint32_t n;

    disk_lose(&w->disks[0]);
    world_run(w, 4000);
    w->disks[1].refuse_connect = false;
    for (uint32_t i = 0; i < 100 && w->disks[1].n_sync_from == 0; i++)
        world_run(w, 100);
    disk_lose(&w->disks[1]);
    world_run(w, 20000);
    assert_int_equal(world_member(w, 1)->state, CW_MEMBER_IN_RESYNC);
    assert_true(world_member(w, 1)->since_seq != 0);
    n = w->disks[1].n_sync_from;
    w->disks[1].refuse_connect = false;
    for (uint32_t i = 0; i < 100 && w->disks[1].n_sync_from == n; i++)
        world_run(w, 100);
    expect_made_whole(w);
    expect_block(w, 4, 5);
    world_closed(w);
}

/* What it was sent must lie in the journal, or the next takeover would not find its place there:
 * its stream stays behind what is durable there. */
static void
its_stream_stays_behind_the_journal(void **state)
{
    struct world *w = with_journal();
    struct disk *b = &w->disks[1];
    struct req r;

    b->refuse_connect = false;
    world_run(w, 3000);
    assert_true(b->overlay);
    w->disks[2].hold_acks = true;
    req_write(w, &r, 0, 4096, 7);
    world_run(w, 200);
    assert_true(b->received <= w->disks[2].last);
    disk_sync_done(b);
    world_run(w, 200);
    assert_true(b->received <= w->disks[2].last);
    disk_release(&w->disks[2]);
    world_run(w, 500);
    assert_true(r.done);
    assert_int_equal(world_state(w, 1), CW_MEMBER_INSYNC);
    assert_int_equal(b->last, w->disks[0].last);
    world_closed(w);
}

/* One whose resync began before the journal did goes on as it began. */
static void
a_resync_under_way_goes_on(void **state)
{
    struct req r;
    struct world *w = one_lost(&r);
    struct disk *b = &w->disks[1];

    w->disks[2].hold_acks = true;
    add_journal(w);
    world_run(w, 100);
    b->hold_open = true;
    b->refuse_connect = false;
    for (uint32_t i = 0; i < 100 && world_state(w, 1) != CW_MEMBER_IN_RESYNC; i++)
        world_run(w, 50);
    assert_int_equal(world_state(w, 1), CW_MEMBER_IN_RESYNC);
    disk_release(&w->disks[2]);
    world_run(w, 300);
    assert_true(world_member(w, 2)->since_seq != 0);
    b->hold_open = false;
    world_run(w, 2000);
    assert_true(b->syncing && !b->overlay && b->n_sync_from > 0);
    disk_sync_done(b);
    world_run(w, 500);
    assert_int_equal(world_state(w, 1), CW_MEMBER_INSYNC);
    world_closed(w);
}

/* The journal is away for a moment when the copy is back: it is waited for. */
static void
the_journal_is_waited_for(void **state)
{
    struct world *w = with_journal();
    struct disk *b = &w->disks[1];

    b->refuse_connect = false;
    world_run(w, 3000);
    assert_true(b->overlay);
    disk_cut(&w->disks[2]);
    w->disks[2].refuse_connect = true;
    disk_cut(b);
    world_run(w, 1500);
    w->disks[2].refuse_connect = false;
    world_run(w, 2000);
    assert_true(b->syncing && b->overlay && b->n_joins == 2);
    disk_sync_done(b);
    world_run(w, 500);
    assert_int_equal(world_state(w, 1), CW_MEMBER_INSYNC);
    world_closed(w);
}

/* A copy that cannot be made whole is resynced from the one in sync, as ever. */
static void
one_with_gaps_is_resynced(void **state)
{
    struct world *w = with_journal();
    struct disk *b = &w->disks[1];

    b->syncing = true;
    b->refuse_connect = false;
    world_run(w, 3000);
    assert_int_equal(b->n_joins, 1);
    assert_false(b->overlay);
    assert_int_equal(world_member(w, 1)->since_seq, 0);
    disk_sync_done(b);
    world_run(w, 500);
    assert_int_equal(world_state(w, 1), CW_MEMBER_INSYNC);
    world_closed(w);
}

/* The journal is lost in the middle: the copy has gaps now, and is resynced from the one in sync.
 */
static void
a_lost_journal_makes_nobody_whole(void **state)
{
    struct world *w = with_journal();
    struct disk *b = &w->disks[1];

    b->refuse_connect = false;
    world_run(w, 3000);
    assert_true(b->overlay);
    disk_lose(&w->disks[2]);
    world_run(w, 6000);
    assert_null(world_member(w, 2));
    assert_true(b->syncing && !b->overlay && b->sync_since == 0);
    disk_sync_done(b);
    world_run(w, 500);
    assert_int_equal(world_state(w, 1), CW_MEMBER_INSYNC);
    world_closed(w);
}

/* The last full copy is back before that: it serves at once, and stays in sync. */
static void
the_full_copy_comes_back(void **state)
{
    struct world *w = with_journal();
    struct req r;

    disk_lose(&w->disks[0]);
    req_write(w, &r, 0, 4096, 66);
    world_run(w, 5000);
    assert_false(r.done);
    w->disks[0].refuse_connect = false;
    world_run(w, 2000);
    assert_true(r.done);
    w->disks[1].refuse_connect = false;
    world_run(w, 5000);
    assert_true(w->disks[1].syncing);
    disk_sync_done(&w->disks[1]);
    world_run(w, 500);
    assert_int_equal(world_state(w, 0), CW_MEMBER_INSYNC);
    assert_int_equal(world_state(w, 1), CW_MEMBER_INSYNC);
    assert_null(world_member(w, 2));
    world_closed(w);
}

/* One that a takeover left out, because a journal stood in for it, is looked at anew before it
 * serves: it goes on only if it ends where the journal did. */
static void
the_full_copy_is_tested(void **state)
{
    for (int behind = 0; behind < 2; behind++) {
        struct world *w = left_behind(behind ? 8 : 9, 3, 5, 9);
        struct req r;

        w->disks[0].refuse_connect = true;
        world_open(w);
        assert_true(world_wait(w, &w->ready, 6000));
        w->disks[1].refuse_connect = true;
        disk_cut(&w->disks[1]);
        w->disks[0].refuse_connect = false;
        world_run(w, 3000);
        req_read(w, &r, 10 * 4096, 4096);
        world_run(w, 100);
        assert_int_equal(r.done, !behind);
        if (!behind)
            assert_int_equal(r.data[0], 10);
        w->disks[1].refuse_connect = false;
        world_run(w, 3000);
        world_closed(w);
    }
}

/* A release says that all are equal, the journal too. */
static void
release_waits_for_it(void **state)
{
    struct world *w = with_journal();
    struct req r;

    w->disks[2].hold_acks = true;
    req_write(w, &r, 0, 4096, 1);
    world_turn(w);
    cw_volume_release(w->v);
    world_run(w, 500);
    assert_int_equal(w->n_releases, 0);
    disk_release(&w->disks[2]);
    world_run(w, 500);
    assert_true(w->released && w->release_clean);
    world_closed(w);
}

/* ---- another one ---- */

/* What was there is dropped, and it is placed there anew, before the owner hears of either. */
static void
placed_anew(struct world *w, uint32_t disk)
{
    struct disk *d = &w->disks[disk];

    disk_lose(d);
    d->promised = d->last_gen = d->received_gen = 0;
    d->last = d->received = d->stable = d->join_id = 0;
    d->n_log = d->n_hist = d->n_joins = 0;
    d->journal = false;
    w->rec.members[disk].state = CW_MEMBER_JOURNAL;
    w->rec.members[disk].since_seq = 0;
    w->rec.cfg += 2;
    d->refuse_connect = false;
    cw_volume_reread(w->v);
    world_run(w, 500);
}

static void
expect_begun(struct world *w, uint32_t disk)
{
    const struct cw_member *m = world_member(w, disk);

    assert_non_null(m);
    assert_int_equal(m->state, CW_MEMBER_JOURNAL);
    assert_true(m->since_seq != 0);
    assert_int_equal(w->disks[disk].n_joins, 1);
    assert_true(w->disks[disk].journal);
    write_now(w, 7, 77);
    assert_int_equal(w->disks[disk].fill[7], 77);
}

/* One that took the place of one that we began. */
static void
begins_anew_where_ours_was(void **state)
{
    struct world *w = with_journal();

    placed_anew(w, 2);
    expect_begun(w, 2);
    world_closed(w);
}

/* Of one that we took over: that we never sent a JOIN. */
static void
begins_anew_where_one_was_taken_over(void **state)
{
    struct world *w = left_behind(5, 2, 4, 5);

    w->disks[1].refuse_connect = true;
    world_open(w);
    assert_true(world_wait(w, &w->ready, 1000));
    placed_anew(w, 2);
    expect_begun(w, 2);
    world_closed(w);
}

/* Of a copy that was in sync. */
static void
begins_anew_where_a_copy_was(void **state)
{
    struct world *w = two_copies();

    write_now(w, 1, 1);
    placed_anew(w, 1);
    expect_begun(w, 1);
    world_closed(w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(row_17_writes_go_on_with_a_journal),
        cmocka_unit_test(acks_wait_for_it_and_reads_do_not_go_there),
        cmocka_unit_test(lease_depends_on_it),
        cmocka_unit_test(counts_only_when_the_record_says_so),
        cmocka_unit_test(doubt_outlasts_a_lost_link),
        cmocka_unit_test(goes_when_copies_are_back),
        cmocka_unit_test(begins_behind_the_generation),
        cmocka_unit_test(lost_journal_is_given_up),
        cmocka_unit_test(begins_only_where_it_can),
        cmocka_unit_test(survives_a_broken_link),
        cmocka_unit_test(takeover_equalises_it),
        cmocka_unit_test(takeover_ejects_a_lost_one),
        cmocka_unit_test(takeover_ejects_one_that_fell_behind),
        cmocka_unit_test(takeover_ejects_one_that_was_gone_on_from_alone),
        cmocka_unit_test(alone_it_is_not_enough),
        cmocka_unit_test(older_copy_is_made_whole),
        cmocka_unit_test(takeover_makes_an_older_copy_whole),
        cmocka_unit_test(others_are_not),
        cmocka_unit_test(broken_off_it_begins_again),
        cmocka_unit_test(it_may_go_away_meanwhile),
        cmocka_unit_test(its_stream_stays_behind_the_journal),
        cmocka_unit_test(a_resync_under_way_goes_on),
        cmocka_unit_test(the_journal_is_waited_for),
        cmocka_unit_test(one_with_gaps_is_resynced),
        cmocka_unit_test(a_lost_journal_makes_nobody_whole),
        cmocka_unit_test(the_full_copy_comes_back),
        cmocka_unit_test(the_full_copy_is_tested),
        cmocka_unit_test(release_waits_for_it),
        cmocka_unit_test(begins_anew_where_ours_was),
        cmocka_unit_test(begins_anew_where_one_was_taken_over),
        cmocka_unit_test(begins_anew_where_a_copy_was),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
