#include <stdio.h>
#include <string.h>

#include "common/base/bits.h"
#include "tests/lib/cw-test.h"
#include "tests/unit/manager/world.h"

static void
begin(struct world *w)
{
    world_init(w);
    world_three(w);
    world_client(w, 0);
}

static void
set_percent(struct world *w, int daemon, uint32_t percent)
{
    w->d[daemon].percent = percent;
    world_run(w, 3000); /* a beat, and a look at the findings */
}

static void
keep_near(struct world *w, const union cw_mgr_reply *r)
{
    w->text[0][0] = w->text[1][0] = w->text[5][0] = '\0';
    for (size_t i = 0; i < r->status.n_findings; i++) {
        const struct cw_mgr_finding *f = &r->status.findings[i];

        if (strcmp(f->code, "DISK_NEARFULL") != 0)
            continue;
        snprintf(w->text[0], sizeof(w->text[0]), "%s", f->cause);
        snprintf(w->text[1], sizeof(w->text[1]), "%s; %s; %s", f->effect, f->next, f->command);
        snprintf(w->text[5], sizeof(w->text[5]), "%s", f->severity);
    }
}

/* From 75 % on a disk takes no copy of a new shard, and the refusal says so; what lies there stays,
 * and a forced volume does without that copy. */
static void
three_quarters_full_takes_nothing_new(void **state)
{
    static struct world w;
    struct cw_mgr_call force = { .kind = CW_MGR_VOLUME_CREATE,
                                 .req.volume_create = { "w", CW_GIB, "", true } };

    begin(&w);
    set_percent(&w, 1, 74);
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_OK);
    set_percent(&w, 1, 75);
    assert_int_equal(world_create(&w, "w", CW_GIB, ""), CW_MGR_POLICY_UNSATISFIABLE);
    assert_non_null(strstr(w.error.message, "only 2 hosts can take one"));
    assert_non_null(strstr(w.error.hint, "1 store: above 75 % full"));
    assert_string_equal(world_word(&w, "v"), "full");
    assert_int_equal(world_call(&w, NULL, &force), CW_MGR_OK);
    set_percent(&w, 1, 20);
    assert_int_equal(world_create(&w, "x", CW_GIB, ""), CW_MGR_OK);
    world_fini(&w);
}

/* The finding begins at 80 %, says what comes next, gives way to DISK_FULL, and ends below 78 %. */
static void
nearfull_is_a_finding(void **state)
{
    static struct world w;
    struct cw_mgr_call status = { .kind = CW_MGR_STATUS };

    begin(&w);
    set_percent(&w, 1, 79);
    assert_false(world_finding(&w, "DISK_NEARFULL", NULL));
    set_percent(&w, 1, 80);
    assert_true(world_finding(&w, "DISK_NEARFULL", "dc1/dc1-2/store-0"));
    w.keep = keep_near;
    assert_int_equal(world_call(&w, NULL, &status), CW_MGR_OK);
    assert_string_equal(w.text[5], "warning");
    assert_non_null(strstr(w.text[0], "80 %"));
    assert_non_null(strstr(w.text[1], "no new copies; at 90 % no copy is rebuilt there, at 95 %"));
    assert_non_null(strstr(w.text[1], "causeway volume ls"));
    set_percent(&w, 1, 91);
    w.keep = keep_near;
    assert_int_equal(world_call(&w, NULL, &status), CW_MGR_OK);
    assert_non_null(strstr(w.text[1], "none is rebuilt there; at 95 %"));
    w.keep = NULL;
    w.d[1].full = true;
    set_percent(&w, 1, 96);
    assert_true(world_finding(&w, "DISK_FULL", "dc1/dc1-2/store-0"));
    assert_false(world_finding(&w, "DISK_NEARFULL", NULL));
    w.d[1].full = false;
    set_percent(&w, 1, 80);
    set_percent(&w, 1, 78);
    assert_true(world_finding(&w, "DISK_NEARFULL", NULL));
    set_percent(&w, 1, 77);
    assert_false(world_finding(&w, "DISK_NEARFULL", NULL));
    assert_false(world_finding(&w, "DISK_FULL", NULL));
    world_fini(&w);
}

/* A lost copy is built anew on a disk above 75 % if there is no other, but not on one above 90 %;
 * then the volume says what it waits for. */
static void
lost_copies_go_below_90_percent(void **state)
{
    static struct world w;

    begin(&w);
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_OK);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    assert_int_equal(world_up(&w, 3, "aws-2", "aws"), CW_MGR_OK);
    set_percent(&w, 3, 90);
    w.d[world_daemon_of(&w, 0)].failed = true;
    assert_int_equal(world_change(&w, 0, 1, 1, 0, CW_MEMBER_OUT), CW_MGR_OK);
    world_run(&w, 5000);
    assert_string_equal(world_word(&w, "v"), "reduced-stuck");
    assert_int_equal(world_daemon_of(&w, 0) == 3, false);
    set_percent(&w, 3, 85);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    assert_int_equal(world_daemon_of(&w, 0), 3);
    world_fini(&w);
}

/* A copy on a disk above 90 % is not brought back: its owner is told not to, the word says why, no
 * caretaker is asked; when space was freed the owner hears of it and goes on. */
static void
crowded_disk_gets_no_resync(void **state)
{
    static struct world w;
    int d;

    begin(&w);
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_OK);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    world_report(&w, w.c[0].session, 1, 1);
    d = world_daemon_of(&w, 0);
    set_percent(&w, d, 89);
    assert_int_equal(w.c[0].n_hints_up, 0);
    set_percent(&w, d, 90);
    assert_int_equal(w.c[0].n_hints_up, 1);
    assert_int_equal(w.c[0].n_crowded, 1);
    assert_string_equal(world_word(&w, "v"), "full");
    assert_int_equal(world_change(&w, 0, 1, 1, 0, CW_MEMBER_OUT), CW_MGR_OK);
    assert_string_equal(world_word(&w, "v"), "reduced-stuck");
    assert_true(world_finding(&w, "VOLUME_REDUCED", "v"));
    assert_int_equal(world_release(&w, 0, 1, 1), CW_MGR_OK);
    for (int i = 0; i < 3; i++)
        w.d[i].willing = true;
    world_run(&w, 30 * 1000);
    assert_int_equal(w.d[0].n_caretakes + w.d[1].n_caretakes + w.d[2].n_caretakes, 0);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    set_percent(&w, d, 60);
    assert_int_equal(w.c[0].n_crowded, 0);
    assert_string_equal(world_word(&w, "v"), "reduced-rebuilding");
    assert_int_equal(world_release(&w, 0, 1, 2), CW_MGR_OK);
    world_run(&w, 10 * 1000);
    assert_int_equal(w.d[0].n_caretakes + w.d[1].n_caretakes + w.d[2].n_caretakes, 1);
    world_fini(&w);
}

/* Tables that take more than their part of --memory are told of, until they do not. */
static void
short_memory_is_a_finding(void **state)
{
    static struct world w;

    begin(&w);
    w.d[1].memory = (struct cw_mgr_memory){ .limit_bytes = CW_GIB,
                                            .metadata_bytes = 64 * CW_MIB,
                                            .metadata_used_bytes = 64 * CW_MIB };
    world_run(&w, 3000);
    assert_false(world_finding(&w, "MEMORY_SHORT", NULL));
    w.d[1].memory.metadata_used_bytes += 4096;
    world_run(&w, 3000);
    assert_true(world_finding(&w, "MEMORY_SHORT", "dc1/dc1-2"));
    world_down(&w, 1);
    world_run(&w, 5000);
    assert_false(world_finding(&w, "MEMORY_SHORT", NULL));
    world_fini(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_quarters_full_takes_nothing_new),
        cmocka_unit_test(nearfull_is_a_finding),
        cmocka_unit_test(lost_copies_go_below_90_percent),
        cmocka_unit_test(crowded_disk_gets_no_resync),
        cmocka_unit_test(short_memory_is_a_finding),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
