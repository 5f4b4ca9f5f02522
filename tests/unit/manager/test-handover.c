/* Who may take a volume from an owner that is well: docs/replication.md, Hand-over. */
#include <string.h>

#include "common/base/bits.h"
#include "tests/lib/cw-test.h"
#include "tests/unit/manager/world.h"

static enum cw_mgr_code
allow(struct world *w, const char *volume, uint64_t seconds)
{
    struct cw_mgr_call call = { .kind = CW_MGR_HANDOVER_ALLOW,
                                .req.handover_allow = { volume, seconds } };

    return world_call(w, NULL, &call);
}

static enum cw_mgr_code
cancel(struct world *w, const char *volume)
{
    struct cw_mgr_call call = { .kind = CW_MGR_HANDOVER_CANCEL,
                                .req.handover_allow = { volume, 0 } };

    return world_call(w, NULL, &call);
}

static enum cw_mgr_code
attach_as(struct world *w, int client, enum cw_mgr_intent intent)
{
    struct cw_mgr_call call = { .kind = CW_MGR_ATTACH,
                                .req.attach = { .volume = "v", .intent = intent } };

    return world_call(w, w->c[client].session, &call);
}

static enum cw_mgr_code
take(struct world *w, int client)
{
    return attach_as(w, client, CW_MGR_INTENT_TAKE);
}

static enum cw_mgr_code
stand_by(struct world *w, int client)
{
    return attach_as(w, client, CW_MGR_INTENT_STANDBY);
}

/* Client 0 owns v with generation 1, a copy hears it. */
static void
begin(struct world *w)
{
    world_init(w);
    world_three(w);
    assert_int_equal(world_create(w, "v", CW_GIB, ""), CW_MGR_OK);
    world_client(w, 0);
    world_client(w, 1);
    world_client(w, 2);
    assert_int_equal(world_attach(w, 0, "v", false), CW_MGR_OK);
    world_run(w, 4000); /* before, no daemon could say that an owner is gone */
    world_report(w, w->c[0].session, 1, 1);
    w->d[1].seen = true;
    w->d[1].silent_ms = 300;
}

static uint64_t
elapsed_ms(const struct world *w, uint64_t since_ns)
{
    return (w->env.now_ns - since_ns) / CW_NS_PER_MS;
}

static struct cw_volume_rec
record(struct world *w)
{
    struct cw_rec rec;

    assert_true(fakekv_get(&w->kv, "/vol/0000000000000001", &rec));
    return rec.volume;
}

/* The owner lets go, the target gets the next generation as of a released volume, at once. */
static void
target_takes_what_is_released(void **state)
{
    static struct world w;
    uint64_t before;

    begin(&w);
    assert_int_equal(allow(&w, "v", 30), CW_MGR_OK);
    before = w.env.now_ns;
    assert_int_equal(take(&w, 1), CW_MGR_OK);
    assert_int_equal(w.attach.gen, 2);
    assert_true(w.attach.released);
    assert_int_equal(w.attach.n_shards, 1);
    assert_int_equal(w.c[0].n_let_go, 1);
    assert_in_range(elapsed_ms(&w, before), 0, 50);
    assert_int_equal(record(&w).hold, CW_HOLD_OWNED);
    assert_string_equal(record(&w).owner_name, "client-1");
    world_fini(&w);
}

/* Without a window nobody is asked, and the hint says what is missing. */
static void
nobody_is_asked_outside_the_window(void **state)
{
    static struct world w;

    begin(&w);
    assert_int_equal(take(&w, 1), CW_MGR_VOLUME_IN_USE);
    assert_non_null(strstr(w.error.hint, "allow the hand-over"));
    assert_int_equal(stand_by(&w, 1), CW_MGR_VOLUME_IN_USE);
    assert_non_null(strstr(w.error.message, "client-0"));
    assert_int_equal(allow(&w, "v", 5), CW_MGR_OK);
    world_run(&w, 5100);
    assert_int_equal(take(&w, 1), CW_MGR_VOLUME_IN_USE);
    assert_int_equal(allow(&w, "v", 5), CW_MGR_OK);
    assert_int_equal(cancel(&w, "v"), CW_MGR_OK);
    assert_int_equal(take(&w, 1), CW_MGR_VOLUME_IN_USE);
    assert_int_equal(w.c[0].n_let_go, 0);
    assert_int_equal(record(&w).gen, 1);
    world_fini(&w);
}

static uint8_t read_data[16];
static size_t read_n;

static void
keep_read(struct world *w, const union cw_mgr_reply *r)
{
    read_n = r->owner_data.n;
    if (read_n > 0)
        memcpy(read_data, r->owner_data.data, cw_min_u64(read_n, sizeof(read_data)));
}

static enum cw_mgr_code
owner_read(struct world *w, uint64_t offset, uint32_t length)
{
    struct cw_mgr_call call = { .kind = CW_MGR_OWNER_READ,
                                .req.owner_read = { 1, offset, length } };
    enum cw_mgr_code code;

    read_n = 0;
    w->keep = keep_read;
    code = world_call(w, w->c[1].session, &call);
    w->keep = NULL;
    return code;
}

/* Who stands by is told what the owner reads, while it may stand by. */
static void
owner_reads_for_who_stands_by(void **state)
{
    static struct world w;

    begin(&w);
    assert_int_equal(owner_read(&w, 0, 4096), CW_MGR_CONFLICT);
    assert_non_null(strstr(w.error.hint, "volume migrate v --allow"));
    assert_int_equal(allow(&w, "v", 30), CW_MGR_OK);
    assert_int_equal(owner_read(&w, 4099, 300), CW_MGR_OK);
    assert_int_equal(read_n, 300);
    assert_int_equal(read_data[0], 3);
    assert_int_equal(read_data[15], 18);
    assert_int_equal(owner_read(&w, 0, CW_MGR_OWNER_READ_MAX), CW_MGR_OK);
    assert_int_equal(owner_read(&w, 0, CW_MGR_OWNER_READ_MAX + 1), CW_MGR_BAD_REQUEST);
    assert_int_equal(owner_read(&w, 0, 0), CW_MGR_BAD_REQUEST);
    assert_int_equal(owner_read(&w, CW_GIB - 4, 8), CW_MGR_BAD_REQUEST);
    assert_int_equal(owner_read(&w, UINT64_MAX - 3, 8), CW_MGR_BAD_REQUEST);
    w.c[0].reads_short = 4; /* nonsense from it is not passed on */
    assert_int_equal(owner_read(&w, 0, 8), CW_MGR_INTERNAL);
    assert_int_equal(read_n, 0);
    w.c[0].reads_short = 8; /* nothing: zeroes */
    assert_int_equal(owner_read(&w, 0, 8), CW_MGR_OK);
    assert_int_equal(read_n, 0);
    assert_int_equal(take(&w, 1), CW_MGR_OK);
    assert_int_equal(owner_read(&w, 0, 8), CW_MGR_CONFLICT); /* the permission was for once */
    world_fini(&w);
}

struct one_read {
    struct cw_mgr_call call;
    enum cw_mgr_code code;
    bool done;
};

static void
one_read_done(struct cw_mgr_call *call)
{
    struct one_read *r = cw_container_of(call, struct one_read, call);

    r->code = call->error.code;
    r->done = true;
}

/* A few at a time; an owner that goes away leaves none of them open. */
static void
reads_of_an_owner_are_few(void **state)
{
    static struct world w;
    struct one_read r[9];

    begin(&w);
    assert_int_equal(allow(&w, "v", 30), CW_MGR_OK);
    w.c[0].holds_reads = true;
    for (size_t i = 0; i < CW_LEN(r); i++) {
        r[i] = (struct one_read){ .call = { .kind = CW_MGR_OWNER_READ,
                                            .req.owner_read = { 1, 0, 4096 },
                                            .done = one_read_done } };
        cw_manager_call(w.m, w.c[1].session, &r[i].call);
    }
    world_run(&w, 100);
    assert_true(r[8].done && !r[7].done);
    assert_int_equal(r[8].code, CW_MGR_BUSY);
    world_client_down(&w, 0);
    world_run(&w, 100);
    for (size_t i = 0; i < 8; i++)
        assert_true(r[i].done && r[i].code != CW_MGR_OK);
    world_fini(&w);
}

/* An ordinary attach is not let in by it. */
static void
window_is_not_for_everybody(void **state)
{
    static struct world w;

    begin(&w);
    assert_int_equal(allow(&w, "v", 30), CW_MGR_OK);
    assert_int_equal(world_attach(&w, 1, "v", false), CW_MGR_VOLUME_IN_USE);
    assert_int_equal(w.c[0].n_let_go, 0);
    world_fini(&w);
}

/* There is a window only for what a client has attached, and for an hour at most. */
static void
allow_is_refused(void **state)
{
    static struct world w;

    begin(&w);
    assert_int_equal(allow(&w, "w", 30), CW_MGR_NOT_FOUND);
    assert_int_equal(cancel(&w, "w"), CW_MGR_NOT_FOUND);
    assert_int_equal(allow(&w, "v", 3601), CW_MGR_BAD_REQUEST);
    assert_int_equal(cancel(&w, "v"), CW_MGR_OK); /* there is none: as wanted */
    assert_int_equal(world_release(&w, 0, 1, 1), CW_MGR_OK);
    assert_int_equal(allow(&w, "v", 30), CW_MGR_CONFLICT);
    assert_int_equal(stand_by(&w, 1), CW_MGR_CONFLICT);
    world_fini(&w);
}

/* A hand-over is never forced. */
static void
force_is_something_else(void **state)
{
    static struct world w;
    struct cw_mgr_call call = { .kind = CW_MGR_ATTACH,
                                .req.attach = {
                                    .volume = "v", .force = true, .intent = CW_MGR_INTENT_TAKE } };

    begin(&w);
    assert_int_equal(allow(&w, "v", 30), CW_MGR_OK);
    assert_int_equal(world_call(&w, w.c[1].session, &call), CW_MGR_BAD_REQUEST);
    assert_int_equal(record(&w).gen, 1);
    world_fini(&w);
}

/* Standing by shows the records and grants nothing, however often. */
static void
standby_hears_the_records(void **state)
{
    static struct world w;

    begin(&w);
    assert_int_equal(allow(&w, "v", 30), CW_MGR_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(stand_by(&w, 1), CW_MGR_OK);
        assert_int_equal(w.attach.gen, 0);
        assert_false(w.attach.released);
        assert_int_equal(w.shards[0].n_members, 3);
        assert_int_equal(w.attach.n_disks, 3);
    }
    assert_int_equal(record(&w).gen, 1);
    assert_string_equal(record(&w).owner_name, "client-0");
    assert_int_equal(w.c[0].n_let_go, 0);
    world_fini(&w);
}

/* The window ends with the hand-over: the next one must be allowed by itself. */
static void
window_closes_with_the_hand_over(void **state)
{
    static struct world w;

    begin(&w);
    assert_int_equal(allow(&w, "v", 30), CW_MGR_OK);
    assert_int_equal(take(&w, 1), CW_MGR_OK);
    world_report(&w, w.c[1].session, 1, 2);
    assert_int_equal(take(&w, 2), CW_MGR_VOLUME_IN_USE);
    assert_int_equal(w.c[1].n_let_go, 0);
    assert_int_equal(allow(&w, "v", 30), CW_MGR_OK);
    assert_int_equal(take(&w, 0), CW_MGR_OK);
    assert_int_equal(w.attach.gen, 3);
    assert_true(w.attach.released);
    world_fini(&w);
}

/* An owner that cannot drain keeps the volume; the window stays for another try. */
static void
what_is_kept_is_in_use(void **state)
{
    static struct world w;

    begin(&w);
    w.c[0].let_go = KEEPS;
    assert_int_equal(allow(&w, "v", 30), CW_MGR_OK);
    assert_int_equal(take(&w, 1), CW_MGR_VOLUME_IN_USE);
    assert_non_null(strstr(w.error.hint, "try again"));
    assert_int_equal(record(&w).gen, 1);
    w.c[0].let_go = LETS_GO;
    assert_int_equal(take(&w, 1), CW_MGR_OK);
    assert_true(w.attach.released);
    assert_int_equal(w.c[0].n_let_go, 2);
    world_fini(&w);
}

/* "I do not hold it" is no release: the ordinary rules decide. */
static void
not_held_is_no_release(void **state)
{
    static struct world w;

    begin(&w);
    w.c[0].let_go = HOLDS_NOTHING;
    assert_int_equal(allow(&w, "v", 30), CW_MGR_OK);
    assert_int_equal(take(&w, 1), CW_MGR_VOLUME_IN_USE);
    w.d[1].seen = false;
    assert_int_equal(take(&w, 1), CW_MGR_OK);
    assert_int_equal(w.attach.gen, 2);
    assert_false(w.attach.released);
    world_fini(&w);
}

/* An owner that does not answer in time keeps what its copies hear, and loses what they do not: by
 * a takeover like any other, lease wait and all. */
static void
silence_takes_nothing_by_force(void **state)
{
    static struct world w;
    uint64_t before;

    begin(&w);
    w.c[0].let_go = IS_MUTE;
    w.c[0].tells_gen = 1;
    assert_int_equal(allow(&w, "v", 60), CW_MGR_OK);
    before = w.env.now_ns;
    assert_int_equal(take(&w, 1), CW_MGR_VOLUME_IN_USE);
    assert_in_range(elapsed_ms(&w, before), 7900, 9600);
    assert_int_equal(record(&w).gen, 1);
    w.d[1].silent_ms = 4500;
    assert_int_equal(take(&w, 1), CW_MGR_OK);
    assert_int_equal(w.attach.gen, 2);
    assert_false(w.attach.released);
    world_fini(&w);
}

static bool answered;
static enum cw_mgr_code answered_code;
static bool answered_released;

static void
take_done(struct cw_mgr_call *call)
{
    answered = true;
    answered_code = call->error.code;
    answered_released = call->error.code == CW_MGR_OK && call->reply.attach.released;
}

static void
take_begin(struct world *w, int client, struct cw_mgr_call *call)
{
    *call = (struct cw_mgr_call){ .kind = CW_MGR_ATTACH,
                                  .req.attach = { .volume = "v", .intent = CW_MGR_INTENT_TAKE },
                                  .done = take_done };
    answered = false;
    cw_manager_call(w->m, w->c[client].session, call);
    world_run(w, 100);
}

/* The owner's connection breaks while it lets go: dead if no copy hears it, else it stays. */
static void
lost_connection_falls_back_at_once(void **state)
{
    for (int dead = 0; dead < 2; dead++) {
        static struct world w;
        struct cw_mgr_call call;

        begin(&w);
        w.c[0].let_go = IS_MUTE;
        assert_int_equal(allow(&w, "v", 60), CW_MGR_OK);
        take_begin(&w, 1, &call);
        assert_false(answered);
        w.d[1].seen = !dead;
        world_client_down(&w, 0);
        world_run(&w, 1200);
        assert_true(answered);
        assert_int_equal(answered_code, dead ? CW_MGR_OK : CW_MGR_VOLUME_IN_USE);
        assert_false(answered_released);
        assert_int_equal(record(&w).gen, dead ? 2 : 1);
        world_fini(&w);
    }
}

/* The release is applied though its answer, and that to LET_GO, are lost: it counts. */
static void
applied_release_counts_without_an_answer(void **state)
{
    static struct world w;
    struct cw_mgr_call call;

    begin(&w);
    w.c[0].let_go = IS_MUTE;
    assert_int_equal(allow(&w, "v", 60), CW_MGR_OK);
    take_begin(&w, 1, &call);
    assert_int_equal(world_release(&w, 0, 1, 1), CW_MGR_OK);
    world_client_down(&w, 0);
    world_run(&w, 100);
    assert_true(answered);
    assert_int_equal(answered_code, CW_MGR_OK);
    assert_true(answered_released);
    world_fini(&w);
}

/* Of two that take it at once one gets it, and the other is told who. */
static void
two_takers_get_one_owner(void **state)
{
    static struct world w;
    struct cw_mgr_call call;

    begin(&w);
    assert_int_equal(allow(&w, "v", 60), CW_MGR_OK);
    call = (struct cw_mgr_call){ .kind = CW_MGR_ATTACH,
                                 .req.attach = { .volume = "v", .intent = CW_MGR_INTENT_TAKE },
                                 .done = take_done };
    answered = false;
    cw_manager_call(w.m, w.c[1].session, &call);
    assert_int_equal(take(&w, 2), CW_MGR_VOLUME_IN_USE);
    assert_true(answered);
    assert_int_equal(answered_code, CW_MGR_OK);
    assert_true(answered_released);
    assert_int_equal(record(&w).gen, 2);
    assert_string_equal(record(&w).owner_name, "client-1");
    world_fini(&w);
}

/* Cancelled while the owner lets go: what was begun goes on. */
static void
cancel_comes_too_late(void **state)
{
    static struct world w;
    struct cw_mgr_call call;

    begin(&w);
    w.c[0].let_go = IS_MUTE;
    assert_int_equal(allow(&w, "v", 60), CW_MGR_OK);
    take_begin(&w, 1, &call);
    assert_int_equal(cancel(&w, "v"), CW_MGR_OK);
    assert_int_equal(world_release(&w, 0, 1, 1), CW_MGR_OK);
    world_run(&w, 9000);
    assert_true(answered && answered_released);
    world_fini(&w);
}

/* A manager that fails over forgets the window, safely: the owner keeps the volume until it is
 * allowed again, and what it released before is the taker's. */
static void
window_is_forgotten_with_its_manager(void **state)
{
    static struct world w;

    begin(&w);
    assert_int_equal(allow(&w, "v", 60), CW_MGR_OK);
    world_stop_manager(&w);
    world_start_manager(&w, false);
    world_three(&w);
    w.d[1].seen = true;
    world_client(&w, 0);
    world_client(&w, 1);
    assert_int_equal(take(&w, 1), CW_MGR_VOLUME_IN_USE);
    assert_int_equal(stand_by(&w, 1), CW_MGR_VOLUME_IN_USE);
    assert_int_equal(w.c[0].n_let_go, 0);
    assert_int_equal(world_release(&w, 0, 1, 1), CW_MGR_OK);
    assert_int_equal(take(&w, 1), CW_MGR_OK);
    assert_int_equal(w.attach.gen, 2);
    assert_true(w.attach.released);
    world_fini(&w);
}

/* A grant whose reply is lost is the taker's all the same: it asks again and is not in its own
 * way. */
static void
lost_grant_is_granted_again(void **state)
{
    static struct world w;

    begin(&w);
    assert_int_equal(allow(&w, "v", 60), CW_MGR_OK);
    assert_int_equal(take(&w, 1), CW_MGR_OK);
    assert_int_equal(take(&w, 1), CW_MGR_OK);
    assert_int_equal(w.attach.gen, 3);
    assert_int_equal(w.c[1].n_let_go, 0);
    world_fini(&w);
}

/* Between the release and the grant nobody takes care of the volume, though a copy is out. */
static void
no_caretaker_steps_in(void **state)
{
    static struct world w;

    begin(&w);
    assert_int_equal(world_change(&w, 0, 1, 1, 2, CW_MEMBER_OUT), CW_MGR_OK);
    assert_int_equal(allow(&w, "v", 20), CW_MGR_OK);
    assert_int_equal(world_release(&w, 0, 1, 1), CW_MGR_OK);
    world_run(&w, 15000);
    assert_int_equal(w.d[0].n_caretakes + w.d[1].n_caretakes + w.d[2].n_caretakes, 0);
    world_run(&w, 10000); /* nobody came */
    assert_int_equal(w.d[0].n_caretakes + w.d[1].n_caretakes + w.d[2].n_caretakes, 1);
    assert_int_equal(allow(&w, "v", 30), CW_MGR_CONFLICT);
    assert_int_equal(take(&w, 1), CW_MGR_OK); /* it makes way for any client */
    assert_true(w.attach.released);
    world_fini(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(target_takes_what_is_released),
        cmocka_unit_test(nobody_is_asked_outside_the_window),
        cmocka_unit_test(window_is_not_for_everybody),
        cmocka_unit_test(owner_reads_for_who_stands_by),
        cmocka_unit_test(reads_of_an_owner_are_few),
        cmocka_unit_test(allow_is_refused),
        cmocka_unit_test(force_is_something_else),
        cmocka_unit_test(standby_hears_the_records),
        cmocka_unit_test(window_closes_with_the_hand_over),
        cmocka_unit_test(what_is_kept_is_in_use),
        cmocka_unit_test(not_held_is_no_release),
        cmocka_unit_test(silence_takes_nothing_by_force),
        cmocka_unit_test(lost_connection_falls_back_at_once),
        cmocka_unit_test(applied_release_counts_without_an_answer),
        cmocka_unit_test(two_takers_get_one_owner),
        cmocka_unit_test(cancel_comes_too_late),
        cmocka_unit_test(window_is_forgotten_with_its_manager),
        cmocka_unit_test(lost_grant_is_granted_again),
        cmocka_unit_test(no_caretaker_steps_in),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
