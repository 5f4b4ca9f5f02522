/* Volumes whose policy changes while they are in use, and an owner that does as it is told. */
#include <stdio.h>
#include <string.h>

#include "common/base/bits.h"
#include "tests/lib/cw-test.h"
#include "tests/unit/manager/world.h"

static void
put(struct world *w, struct cw_mgr_policy p, bool create, bool force, enum cw_mgr_code want)
{
    assert_int_equal(world_put_policy(w, p, create, force), want);
}

static uint32_t n_evicted; /* wishes that the owner has fulfilled */

/* Two hosts in dc1, n_aws in aws. */
static void
begin(struct world *w, int n_aws)
{
    static const char *const aws[] = { "aws-1", "aws-2", "aws-3", "aws-4" };

    n_evicted = 0;
    world_init(w);
    assert_int_equal(world_up(w, 0, "dc1-1", "dc1"), CW_MGR_OK);
    assert_int_equal(world_up(w, 1, "dc1-2", "dc1"), CW_MGR_OK);
    for (int i = 0; i < n_aws; i++)
        assert_int_equal(world_up(w, 2 + i, aws[i], "aws"), CW_MGR_OK);
    put(w, (struct cw_mgr_policy){ .name = "p", .copies = 2, .sites = "only:dc1" }, true, false,
        CW_MGR_OK);
    world_client(w, 0);
}

static void
attach(struct world *w, const char *policy)
{
    assert_int_equal(world_create(w, "v", CW_GIB, policy), CW_MGR_OK);
    assert_int_equal(world_attach(w, 0, "v", false), CW_MGR_OK);
    world_report(w, w->c[0].session, 1, 1);
}

static void
look(struct world *w)
{
    struct cw_mgr_call call = { .kind = CW_MGR_GET_VOLUME, .req.id = 1 };

    assert_int_equal(world_call(w, NULL, &call), CW_MGR_OK);
}

static uint32_t
n_insync(const struct world *w)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < w->shards[0].n_members; i++)
        n += w->shards[0].members[i].state == CW_MEMBER_INSYNC;
    return n;
}

static void
move(struct world *w, uint32_t i, enum cw_member_state state)
{
    assert_int_equal(world_change(w, 0, w->attach.gen, w->shards[0].cfg, (int)i, state), CW_MGR_OK);
    assert_true(w->change.applied);
}

/* One thing that is due: a copy is let go, joins, or is in sync. */
static void
owner_step(struct world *w)
{
    look(w);
    for (uint32_t i = 0; i < w->shards[0].n_members; i++) {
        const struct cw_member *mb = &w->shards[0].members[i];

        if (w->c[0].n_evict > n_evicted && cw_uuid_equal(&mb->disk_uuid, &w->c[0].evict) &&
            (mb->state == CW_MEMBER_JOURNAL || n_insync(w) > w->attach.policy.min_insync)) {
            n_evicted = w->c[0].n_evict;
            move(w, i, CW_MEMBER_DEAD);
            return;
        }
        if (w->d[world_daemon_of(w, (int)i)].session == NULL)
            continue;
        if (mb->state == CW_MEMBER_OUT || mb->state == CW_MEMBER_IN_RESYNC) {
            move(w, i, mb->state == CW_MEMBER_OUT ? CW_MEMBER_IN_RESYNC : CW_MEMBER_INSYNC);
            return;
        }
    }
}

/* For so many seconds; never fewer copies in sync than least. */
static void
owner_runs(struct world *w, int seconds, uint32_t least)
{
    for (int i = 0; i < seconds; i++) {
        owner_step(w);
        look(w);
        assert_true(n_insync(w) >= least);
        assert_true(n_insync(w) >= w->attach.policy.min_insync);
        world_report(w, w->c[0].session, 1, w->attach.gen);
        world_run(w, 1000);
    }
    look(w);
}

static uint32_t
n_in_site(struct world *w, const char *site)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < w->shards[0].n_members; i++)
        n += strcmp(w->d[world_daemon_of(w, (int)i)].site, site) == 0;
    return n;
}

static void
keep_compliance(struct world *w, const union cw_mgr_reply *r)
{
    snprintf(w->text[2], sizeof(w->text[2]), "%s",
             r->volume.compliant ? "" : r->volume.compliant_why);
    snprintf(w->text[3], sizeof(w->text[3]), "%s", r->volume.warning);
}

/* "": it complies; else why not. */
static const char *
why_not(struct world *w)
{
    struct cw_mgr_call call = { .kind = CW_MGR_VOLUME_SHOW, .req.name = "v" };

    w->keep = keep_compliance;
    assert_int_equal(world_call(w, NULL, &call), CW_MGR_OK);
    w->keep = NULL;
    return w->text[2];
}

static enum cw_mgr_code
set(struct world *w, const char *policy, bool force)
{
    struct cw_mgr_call call = { .kind = CW_MGR_VOLUME_SET,
                                .req.volume_set = { "v", policy, force } };
    enum cw_mgr_code code;

    w->keep = keep_compliance;
    code = world_call(w, NULL, &call);
    w->keep = NULL;
    return code;
}

/* From two copies to three and back: one more is made, then one is let go, in sync all the while.
 */
static void
copies_are_added_and_let_go(void **state)
{
    static struct world w;

    begin(&w, 2);
    put(&w, (struct cw_mgr_policy){ .name = "two", .copies = 2 }, true, false, CW_MGR_OK);
    attach(&w, "two");
    owner_runs(&w, 3, 2);
    assert_int_equal(w.shards[0].n_members, 2);
    assert_string_equal(why_not(&w), "");
    assert_int_equal(set(&w, "default", false), CW_MGR_OK);
    assert_non_null(strstr(why_not(&w), "2 of 3 copies; "));
    owner_runs(&w, 10, 2);
    assert_int_equal(w.shards[0].n_members, 3);
    assert_int_equal(n_insync(&w), 3);
    assert_string_equal(why_not(&w), "");
    assert_string_equal(world_word(&w, "v"), "full");
    assert_int_equal(w.c[0].n_evict, 0);
    assert_int_equal(set(&w, "two", false), CW_MGR_OK);
    owner_runs(&w, 20, 2);
    assert_int_equal(w.shards[0].n_members, 2);
    assert_string_equal(why_not(&w), "");
    assert_string_equal(world_word(&w, "v"), "full");
    assert_int_equal(w.d[0].n_dropped + w.d[1].n_dropped + w.d[2].n_dropped + w.d[3].n_dropped, 1);
    world_fini(&w);
}

/* To another site and back, by the policy that it has: every copy is in its new place before one of
 * the old leaves. */
static void
a_volume_moves_to_another_site(void **state)
{
    static struct world w;

    begin(&w, 2);
    attach(&w, "p");
    for (int round = 0; round < 3; round++) {
        const char *site = round % 2 == 0 ? "aws" : "dc1";

        put(&w,
            (struct cw_mgr_policy){ .name = "p",
                                    .sites = round % 2 == 0 ? "only:aws" : "only:dc1" },
            false, false, CW_MGR_OK);
        assert_non_null(strstr(why_not(&w), "outside"));
        owner_runs(&w, 30, 2);
        assert_int_equal(w.shards[0].n_members, 2);
        assert_int_equal(n_insync(&w), 2);
        assert_int_equal(n_in_site(&w, site), 2);
        assert_string_equal(why_not(&w), "");
    }
    world_fini(&w);
}

/* Only the copy that has to move moves. */
static void
a_stretched_volume_moves_one_copy(void **state)
{
    static struct world w;
    struct cw_uuid was[2];

    begin(&w, 2);
    attach(&w, "p");
    for (int i = 0; i < 2; i++)
        was[i] = w.shards[0].members[i].disk_uuid;
    put(&w, (struct cw_mgr_policy){ .name = "p", .sites = "each:1 dc1,aws" }, false, false,
        CW_MGR_OK);
    owner_runs(&w, 20, 2);
    assert_int_equal(w.shards[0].n_members, 2);
    assert_int_equal(n_in_site(&w, "aws"), 1);
    assert_true(cw_uuid_equal(&w.shards[0].members[0].disk_uuid, &was[0]) ||
                cw_uuid_equal(&w.shards[0].members[0].disk_uuid, &was[1]));
    world_fini(&w);
}

/* A min-insync that rises waits for the copies that it asks for; one that falls comes before a copy
 * is let go. Across a restart of the manager. */
static void
min_insync_follows_in_a_safe_order(void **state)
{
    static struct world w;
    uint32_t seen = 0;

    begin(&w, 2);
    put(&w, (struct cw_mgr_policy){ .name = "one", .copies = 1 }, true, false, CW_MGR_OK);
    attach(&w, "one");
    assert_int_equal(w.attach.policy.min_insync, 1);
    assert_int_equal(set(&w, "default", false), CW_MGR_OK);
    look(&w);
    assert_int_equal(w.attach.policy.min_insync, 1);
    for (int i = 0; i < 20; i++) {
        owner_runs(&w, 1, 1);
        seen += n_insync(&w) >= 2 && w.attach.policy.min_insync == 2;
    }
    assert_int_equal(n_insync(&w), 3);
    assert_int_equal(w.attach.policy.min_insync, 2);
    assert_true(seen > 15);
    move(&w, 1, CW_MEMBER_OUT); /* a copy that fails later does not lower it */
    move(&w, 2, CW_MEMBER_OUT);
    world_run(&w, 2000);
    look(&w);
    assert_int_equal(w.attach.policy.min_insync, 2);
    assert_int_equal(set(&w, "one", false), CW_MGR_OK);
    look(&w);
    assert_int_equal(w.attach.policy.min_insync, 1);
    owner_runs(&w, 10, 1);
    assert_int_equal(w.shards[0].n_members, 1);
    world_fini(&w);
}

/* What the cluster cannot give is refused with the reason and the smallest change; forced, it is
 * done as far as it can be, the volume says so, and the rest follows when it can. */
static void
what_cannot_be_met_is_refused(void **state)
{
    static struct world w;

    begin(&w, 1);
    attach(&w, "p");
    put(&w, (struct cw_mgr_policy){ .name = "p", .sites = "only:aws" }, false, false,
        CW_MGR_POLICY_UNSATISFIABLE);
    assert_non_null(strstr(w.error.message, "volume v cannot have it"));
    assert_non_null(strstr(w.error.message, "only 1 host in site aws"));
    assert_non_null(strstr(w.error.hint, "add 1 host"));
    assert_non_null(strstr(w.error.hint, "--force"));
    put(&w, (struct cw_mgr_policy){ .name = "far", .copies = 2, .sites = "only:aws" }, true, false,
        CW_MGR_OK);
    assert_int_equal(set(&w, "far", false), CW_MGR_POLICY_UNSATISFIABLE);
    assert_non_null(strstr(w.error.message, "only 1 host in site aws"));
    assert_int_equal(world_create(&w, "u", CW_GIB, "far"), CW_MGR_POLICY_UNSATISFIABLE);
    assert_non_null(strstr(w.error.message, "only 1 host in site aws"));
    assert_non_null(strstr(w.error.hint, "add 1 host with a store in site aws"));
    assert_int_equal(set(&w, "far", true), CW_MGR_OK);
    assert_non_null(strstr(w.text[3], "cannot be met now"));
    owner_runs(&w, 20, 2);
    assert_int_equal(w.shards[0].n_members, 2);
    assert_int_equal(n_in_site(&w, "aws"), 1);
    assert_non_null(strstr(why_not(&w), "outside aws"));
    assert_non_null(strstr(w.text[2], "it waits for a place: add 1 host"));
    assert_string_equal(world_word(&w, "v"), "full"); /* two copies in sync, in the wrong place */
    assert_true(world_finding(&w, "VOLUME_NONCOMPLIANT", "v"));
    assert_int_equal(world_up(&w, 3, "aws-2", "aws"), CW_MGR_OK);
    owner_runs(&w, 20, 2);
    assert_int_equal(n_in_site(&w, "aws"), 2);
    assert_string_equal(why_not(&w), "");
    assert_false(world_finding(&w, "VOLUME_NONCOMPLIANT", NULL));
    world_fini(&w);
}

/* A volume that nobody has ever had moves at once: there is nothing to copy. */
static void
a_blank_volume_moves_at_once(void **state)
{
    static struct world w;

    begin(&w, 2);
    assert_int_equal(world_create(&w, "v", CW_GIB, "p"), CW_MGR_OK);
    put(&w, (struct cw_mgr_policy){ .name = "p", .sites = "only:aws" }, false, false, CW_MGR_OK);
    world_run(&w, 5000);
    look(&w);
    assert_int_equal(w.shards[0].n_members, 2);
    assert_int_equal(n_insync(&w), 2);
    assert_int_equal(n_in_site(&w, "aws"), 2);
    assert_int_equal(w.shards[0].members[0].since_seq, CW_SINCE_NEW);
    world_fini(&w);
}

/* A copy that is away when the policy changes is not taken for one that can be spared, nor for one
 * that is enough. */
static void
a_missing_copy_is_counted_on_by_nobody(void **state)
{
    static struct world w;
    int away;

    begin(&w, 3);
    attach(&w, "");
    owner_runs(&w, 3, 3);
    away = world_daemon_of(&w, 0);
    world_down(&w, away);
    world_run(&w, 6000);
    move(&w, 0, CW_MEMBER_OUT);
    put(&w, (struct cw_mgr_policy){ .name = "default", .copies = 2 }, false, false, CW_MGR_OK);
    owner_runs(&w, 15, 2);
    assert_int_equal(w.shards[0].n_members, 2);
    for (int i = 0; i < 2; i++)
        assert_true(world_daemon_of(&w, i) != away);
    assert_string_equal(world_word(&w, "v"), "full");
    world_fini(&w);
}

/* The copy on daemon i holds so many percent of its disk. */
static void
copy_holds(struct world *w, int i, uint32_t percent)
{
    struct cw_mgr_copy_use use = { CW_SHARD_ID(1, 0), w->d[i].disk_uuid, w->d[i].format_id,
                                   percent * (4 * CW_GIB / 100) / 4096 };
    struct cw_mgr_call beat = { .kind = CW_MGR_BEAT, .req.beat = { .uses = &use, .n_uses = 1 } };

    assert_int_equal(world_call(w, w->d[i].session, &beat), CW_MGR_OK);
}

/* A copy leaves a disk that is much fuller than another of its site, once; not while others are
 * being made, not to another site, and not back. */
static void
copies_leave_full_disks(void **state)
{
    static struct world w;
    int from;

    begin(&w, 3);
    put(&w, (struct cw_mgr_policy){ .name = "one", .copies = 1, .sites = "only:aws" }, true, false,
        CW_MGR_OK);
    attach(&w, "one");
    owner_runs(&w, 3, 1);
    from = world_daemon_of(&w, 0);
    w.d[from].percent = 60;
    copy_holds(&w, from, 20);
    w.d[2 + (from - 2 + 1) % 3].percent = 35;
    w.d[2 + (from - 2 + 2) % 3].percent = 31;
    owner_runs(&w, 30, 1);
    assert_int_equal(world_daemon_of(&w, 0), from); /* they differ by less than 30 */
    assert_int_equal(w.shards[0].n_members, 1);
    w.d[2 + (from - 2 + 2) % 3].percent = 10;
    owner_runs(&w, 20, 1);
    assert_int_equal(w.shards[0].n_members, 1);
    assert_int_equal(world_daemon_of(&w, 0), 2 + (from - 2 + 2) % 3);
    w.d[from].percent = 40;
    w.d[2 + (from - 2 + 2) % 3].percent = 30;
    owner_runs(&w, 120, 1);
    assert_int_equal(world_daemon_of(&w, 0), 2 + (from - 2 + 2) % 3);
    assert_int_equal(w.shards[0].n_members, 1);
    world_fini(&w);
}

static void
keep_check(struct world *w, const union cw_mgr_reply *r)
{
    const struct cw_mgr_policy_check_reply *c = &r->policy_check;

    snprintf(w->text[4], sizeof(w->text[4]), "%d %u %zu", c->met, c->factor, c->n_losses);
    snprintf(w->text[5], sizeof(w->text[5]), "%s", c->why);
    snprintf(w->text[8], sizeof(w->text[8]), "%s", c->warning);
    for (size_t i = 0; i < c->n_losses && i < 2; i++)
        snprintf(w->text[6 + i], sizeof(w->text[6 + i]), "%s %s %u %d %s", c->losses[i].kind,
                 c->losses[i].name, c->losses[i].copies_left, c->losses[i].met, c->losses[i].then);
}

static enum cw_mgr_code
check(struct world *w, struct cw_mgr_policy p)
{
    struct cw_mgr_call call = { .kind = CW_MGR_POLICY_CHECK };
    const char **texts[] = { &p.name,  &p.spread,      &p.sites,       &p.journal,   &p.ack,
                             &p.async, &p.compression, &p.quorum_loss, &p.space_full };

    for (size_t i = 0; i < CW_LEN(texts); i++)
        *texts[i] = *texts[i] != NULL ? *texts[i] : "";
    call.req.policy_put.policy = p;
    w->keep = keep_check;
    world_call(w, NULL, &call);
    w->keep = NULL;
    return w->error.code;
}

/* Where every copy would lie on stores that die with their instances, check warns; elsewhere one
 * copy is placed on stores that last. */
static void
one_copy_lasts(void **state)
{
    static struct world w;
    struct cw_mgr_policy p = { .copies = 2, .sites = "only:aws" };

    world_init(&w);
    for (int i = 0; i < 4; i++)
        w.d[i].is_volatile = i > 0;
    assert_int_equal(world_up(&w, 0, "dc1-1", "dc1"), CW_MGR_OK);
    assert_int_equal(world_up(&w, 1, "aws-1", "aws"), CW_MGR_OK);
    assert_int_equal(world_up(&w, 2, "aws-2", "aws"), CW_MGR_OK);
    assert_int_equal(world_up(&w, 3, "aws-3", "aws"), CW_MGR_OK);
    assert_int_equal(check(&w, p), CW_MGR_OK);
    assert_non_null(strstr(w.text[8], "every copy would lie on volatile stores (aws)"));
    p.sites = "prefer:aws";
    assert_int_equal(check(&w, p), CW_MGR_OK);
    assert_string_equal(w.text[8], "");
    world_fini(&w);
}

/* Can it be met, what does it cost, and what is left without the worst host and site? */
static void
a_policy_is_checked(void **state)
{
    static struct world w;

    begin(&w, 2);
    assert_int_equal(check(&w, (struct cw_mgr_policy){ .name = "no" }), CW_MGR_NOT_FOUND);
    assert_int_equal(check(&w, (struct cw_mgr_policy){ .name = "p", .copies = 9 }),
                     CW_MGR_BAD_REQUEST);
    assert_int_equal(check(&w, (struct cw_mgr_policy){ .name = "p" }), CW_MGR_OK);
    assert_string_equal(w.text[4], "1 2 2");
    assert_string_equal(w.text[6], "host dc1-1 1 0 reads and writes go on");
    assert_string_equal(w.text[7], "site dc1 0 0 the volume does not serve until it returns");
    assert_int_equal(check(&w, (struct cw_mgr_policy){ .copies = 3 }), CW_MGR_OK);
    assert_string_equal(w.text[4], "1 3 2");
    assert_non_null(strstr(w.text[6], " 2 1 reads and writes go on"));
    assert_non_null(strstr(w.text[7], " 1 0 reads go on, writes wait 60 s (degrade), then go on"));
    assert_int_equal(check(&w, (struct cw_mgr_policy){ .copies = 5 }), CW_MGR_OK);
    assert_string_equal(w.text[4], "0 5 0");
    assert_non_null(strstr(w.text[5], "only 4 hosts"));
    world_fini(&w);
}

static void
keep_reasons(struct world *w, const union cw_mgr_reply *r)
{
    for (size_t i = 0; i < r->reasons.n_reasons && i < 2; i++) {
        const struct cw_mgr_reason *c = &r->reasons.reasons[i];

        snprintf(w->text[4 + 3 * i], sizeof(w->text[0]), "%s: %s", c->copy, c->why);
        assert_int_equal(c->n_others, 2);
        for (size_t k = 0; k < 2; k++)
            snprintf(w->text[5 + 3 * i + k], sizeof(w->text[0]), "%s", c->others[k]);
    }
}

static bool
said(const struct world *w, const char *text)
{
    for (int i = 4; i < 10; i++) {
        if (strcmp(w->text[i], text) == 0)
            return true;
    }
    return false;
}

/* Why a copy is where it is, and nowhere else: the rule, space, load. */
static void
places_are_explained(void **state)
{
    static struct world w;
    struct cw_mgr_call call = { .kind = CW_MGR_VOLUME_EXPLAIN, .req.name = "v" };

    begin(&w, 2);
    attach(&w, "p");
    w.d[3].percent = 95;
    world_run(&w, 2000);
    put(&w, (struct cw_mgr_policy){ .name = "p", .sites = "any" }, false, false, CW_MGR_OK);
    w.keep = keep_reasons;
    assert_int_equal(world_call(&w, NULL, &call), CW_MGR_OK);
    assert_true(said(&w, "dc1/dc1-1/store-0: the one copy in this host"));
    assert_true(said(&w, "aws/aws-1/store-0: farther from the others, which alone moves no copy"));
    assert_true(said(&w, "aws/aws-2/store-0: space: 95 % full"));
    w.keep = NULL;
    put(&w, (struct cw_mgr_policy){ .name = "p", .sites = "only:dc1" }, false, false, CW_MGR_OK);
    w.keep = keep_reasons;
    assert_int_equal(world_call(&w, NULL, &call), CW_MGR_OK);
    assert_true(said(&w, "aws/aws-1/store-0: rule: sites=only:dc1"));
    w.keep = NULL;
    call.req.name = "none";
    assert_int_equal(world_call(&w, NULL, &call), CW_MGR_NOT_FOUND);
    world_fini(&w);
}

/* Nobody ever attached it, so no owner would bring a new copy in sync: it is so from the start. */
static void
an_unborn_volume_follows_its_policy(void **state)
{
    static struct world w;

    begin(&w, 2);
    assert_int_equal(world_create(&w, "v", CW_GIB, "p"), CW_MGR_OK);
    put(&w, (struct cw_mgr_policy){ .name = "p", .copies = 3, .min_insync = 2, .sites = "any" },
        false, false, CW_MGR_OK);
    world_run(&w, 10000);
    look(&w);
    assert_int_equal(w.shards[0].n_members, 3);
    assert_int_equal(n_insync(&w), 3);
    assert_string_equal(world_word(&w, "v"), "full");
    world_fini(&w);
}

/* A host is removed, and no other has a place: its copy goes with it, and comes back elsewhere. */
static void
an_unborn_volume_loses_a_host(void **state)
{
    static struct world w;
    struct cw_mgr_call rm = { .kind = CW_MGR_HOST_RM, .req.host_rm = { "aws-1", true } };

    begin(&w, 1);
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_OK);
    world_down(&w, 2);
    world_run(&w, 5000);
    assert_int_equal(world_call(&w, NULL, &rm), CW_MGR_OK);
    world_run(&w, 5000);
    look(&w);
    assert_int_equal(w.shards[0].n_members, 2);
    assert_string_equal(world_word(&w, "v"), "reduced-stuck");
    assert_int_equal(world_up(&w, 3, "aws-2", "aws"), CW_MGR_OK);
    world_run(&w, 5000);
    look(&w);
    assert_int_equal(w.shards[0].n_members, 3);
    assert_string_equal(world_word(&w, "v"), "full");
    world_fini(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_are_added_and_let_go),
        cmocka_unit_test(a_volume_moves_to_another_site),
        cmocka_unit_test(a_stretched_volume_moves_one_copy),
        cmocka_unit_test(min_insync_follows_in_a_safe_order),
        cmocka_unit_test(what_cannot_be_met_is_refused),
        cmocka_unit_test(a_blank_volume_moves_at_once),
        cmocka_unit_test(a_missing_copy_is_counted_on_by_nobody),
        cmocka_unit_test(copies_leave_full_disks),
        cmocka_unit_test(one_copy_lasts),
        cmocka_unit_test(a_policy_is_checked),
        cmocka_unit_test(places_are_explained),
        cmocka_unit_test(an_unborn_volume_follows_its_policy),
        cmocka_unit_test(an_unborn_volume_loses_a_host),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
