/* How far sites are from each other: who measures it, what is kept, who makes use of it. */
#include <stdio.h>
#include <string.h>

#include "common/base/bits.h"
#include "daemon/manager/internal.h"
#include "tests/lib/cw-test.h"
#include "tests/unit/manager/world.h"

#define MS CW_NS_PER_MS

static struct {
    char site[16], to[16];
    uint64_t rtt_ns, bytes_per_s;
} seen[64];
static size_t n_seen;
static uint64_t far_ns = 34 * MS; /* between aws and others */

static uint64_t
rtt(const struct wdaemon *from, const char *to)
{
    return (strncmp(from->name, "aws", 3) == 0) != (strncmp(to, "aws", 3) == 0) ? far_ns : MS / 3;
}

static void
keep_links(struct world *w, const union cw_mgr_reply *r)
{
    n_seen = 0;
    for (size_t i = 0; i < r->status.n_sites; i++) {
        const struct cw_mgr_site_info *s = &r->status.sites[i];

        for (size_t k = 0; k < s->n_links && n_seen < CW_LEN(seen); k++, n_seen++) {
            snprintf(seen[n_seen].site, sizeof(seen[0].site), "%s", s->name);
            snprintf(seen[n_seen].to, sizeof(seen[0].to), "%s", s->links[k].site);
            seen[n_seen].rtt_ns = s->links[k].rtt_ns;
            seen[n_seen].bytes_per_s = s->links[k].bytes_per_s;
        }
    }
}

static void
look(struct world *w)
{
    struct cw_mgr_call call = { .kind = CW_MGR_STATUS };

    w->keep = keep_links;
    assert_int_equal(world_call(w, NULL, &call), CW_MGR_OK);
    w->keep = NULL;
}

static size_t
link_at(const char *site, const char *to)
{
    for (size_t i = 0; i < n_seen; i++) {
        if (strcmp(seen[i].site, site) == 0 && strcmp(seen[i].to, to) == 0)
            return i;
    }
    return CW_LEN(seen);
}

static uint64_t
rtt_of(struct world *w, const char *site, const char *to)
{
    look(w);
    return link_at(site, to) < n_seen ? seen[link_at(site, to)].rtt_ns : 0;
}

static void
begin(struct world *w)
{
    world_init(w);
    for (int i = 0; i < WORLD_DAEMONS; i++)
        w->d[i].rtt = rtt;
    far_ns = 34 * MS;
    world_three(w);
}

/* Both ways of a pair of sites, and within a site that has two hosts. */
static void
what_daemons_measure_is_told(void **state)
{
    static struct world w;

    begin(&w);
    assert_int_equal(rtt_of(&w, "dc1", "aws"), 0);
    world_run(&w, 15000);
    assert_int_equal(rtt_of(&w, "dc1", "aws"), 34 * MS);
    assert_int_equal(rtt_of(&w, "aws", "dc1"), 34 * MS);
    assert_int_equal(rtt_of(&w, "dc1", "dc1"), MS / 3);
    assert_int_equal(rtt_of(&w, "aws", "aws"), 0); /* there is one host */
    world_fini(&w);
}

/* However many hosts a site has, the way between two sites is measured once in 10 s; and all
 * hosts take part in it. */
static void
work_grows_with_sites_not_with_hosts(void **state)
{
    static struct world w;
    uint32_t n = 0, who = 0;

    begin(&w);
    assert_int_equal(world_up(&w, 3, "dc1-3", "dc1"), CW_MGR_OK);
    assert_int_equal(world_up(&w, 4, "dc1-4", "dc1"), CW_MGR_OK);
    assert_int_equal(world_up(&w, 5, "aws-2", "aws"), CW_MGR_OK);
    world_run(&w, 600 * 1000);
    for (int i = 0; i < 6; i++) {
        n += w.d[i].n_probes;
        who += w.d[i].n_probes > 0;
    }
    assert_in_range(n, 3 * 40, 3 * 61); /* three pairs, each every 10 to 15 s */
    assert_int_equal(who, 6);
    world_fini(&w);
}

/* A longer way is believed when it lasts, a shorter one at once; nonsense never. */
static void
changes_are_followed(void **state)
{
    static struct world w;

    begin(&w);
    world_run(&w, 15000);
    far_ns = 100 * MS;
    world_run(&w, 20000);
    assert_in_range(rtt_of(&w, "dc1", "aws"), 35 * MS, 90 * MS);
    world_run(&w, 200000);
    assert_in_range(rtt_of(&w, "dc1", "aws"), 95 * MS, 100 * MS);
    far_ns = 10 * MS;
    world_run(&w, 16000);
    assert_int_equal(rtt_of(&w, "dc1", "aws"), 10 * MS);
    far_ns = UINT64_MAX;
    world_run(&w, 30000);
    far_ns = 0;
    world_run(&w, 30000);
    assert_int_equal(rtt_of(&w, "dc1", "aws"), 10 * MS);
    world_fini(&w);
}

/* What placement sees does not flutter with a time near the edge of two ranks. */
static void
ranks_are_held(void **state)
{
    static struct world w;
    const struct mgr_way *way;
    uint8_t rank;

    begin(&w);
    far_ns = 17 * MS; /* 16 is an edge */
    world_run(&w, 15000);
    way = cw_mgr_way(w.m, "aws", "dc1");
    rank = way->rank;
    assert_ptr_equal(way, cw_mgr_way(w.m, "dc1", "aws"));
    for (int i = 0; i < 20; i++) {
        far_ns = (i % 2 == 0 ? 14 : 19) * MS;
        world_run(&w, 16000);
        assert_int_equal(way->rank, rank);
    }
    far_ns = 10 * MS;
    world_run(&w, 16000);
    assert_int_equal(way->rank, rank - 1);
    far_ns = 17 * MS;
    world_run(&w, 300000);
    assert_int_equal(way->rank, rank - 1);
    far_ns = 33 * MS;
    world_run(&w, 600000);
    assert_int_equal(way->rank, rank);
    far_ns = 45 * MS;
    world_run(&w, 600000);
    assert_int_equal(way->rank, rank + 1);
    world_fini(&w);
}

static struct cw_mgr_policy_check_reply checked;
static char check_text[CW_MGR_WHY_SIZE], check_from[16], check_for[16];

static void
keep_check(struct world *w, const union cw_mgr_reply *r)
{
    checked = r->policy_check;
    snprintf(check_text, sizeof(check_text), "%s", r->policy_check.round_trips_text);
    snprintf(check_from, sizeof(check_from), "%s", r->policy_check.wait_from);
    snprintf(check_for, sizeof(check_for), "%s", r->policy_check.wait_site);
}

static void
check(struct world *w, uint32_t copies, const char *sites)
{
    struct cw_mgr_call call = { .kind = CW_MGR_POLICY_CHECK };

    call.req.policy_put.policy =
        world_policy((struct cw_mgr_policy){ .copies = copies, .sites = sites });
    w->keep = keep_check;
    assert_int_equal(world_call(w, NULL, &call), CW_MGR_OK);
    w->keep = NULL;
}

/* What a policy costs: the round trip to its farthest copy, from where that is least. */
static void
policy_check_tells_what_a_write_waits_for(void **state)
{
    static struct world w;

    begin(&w);
    check(&w, 3, "any");
    assert_int_equal(checked.write_wait_ns, 0);
    assert_non_null(strstr(check_text, "not measured yet"));
    world_run(&w, 15000);
    check(&w, 3, "any");
    assert_int_equal(checked.write_wait_ns, 34 * MS);
    assert_non_null(strstr(check_text, "each write waits for "));
    assert_non_null(strstr(check_text, ": 34 ms"));
    assert_true(strcmp(check_from, check_for) != 0);
    check(&w, 2, "only:dc1");
    assert_int_equal(checked.write_wait_ns, MS / 3);
    assert_string_equal(check_for, "dc1");
    assert_non_null(strstr(check_text, "within site dc1: 0.3 ms"));
    check(&w, 1, "only:aws");
    assert_int_equal(checked.write_wait_ns, 0);
    world_fini(&w);
}

/* ---- throughput ---- */

static void
report_moved(struct world *w, const struct cw_uuid *from, const struct cw_uuid *to, uint64_t bytes)
{
    struct cw_mgr_member_report mr = { .disk_uuid = *to,
                                       .source_uuid = *from,
                                       .chunks_total = 100,
                                       .chunks_left = 50,
                                       .bytes_moved = bytes,
                                       .connected = true };
    struct cw_mgr_shard_report sr = {
        .shard = CW_SHARD_ID(1, 0), .why = "", .members = &mr, .n_members = 1
    };
    struct cw_mgr_volume_report r = {
        .volume_id = 1, .gen = w->attach.gen, .shards = &sr, .n_shards = 1
    };

    cw_manager_report(w->m, w->c[0].session, &r);
}

static uint64_t
speed_of(struct world *w, const char *site, const char *to)
{
    look(w);
    return link_at(site, to) < n_seen ? seen[link_at(site, to)].bytes_per_s : 0;
}

/* Of a resync between two sites: the rate that it reached; a slow moment hardly counts, and what
 * was moved before a manager looked not at all. */
static void
throughput_is_what_resyncs_reached(void **state)
{
    static struct world w;
    const struct cw_uuid *from = &w.d[0].disk_uuid, *to = &w.d[2].disk_uuid;
    uint64_t bytes = 1000 * CW_MIB;

    begin(&w);
    world_client(&w, 0);
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_OK);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    report_moved(&w, from, to, bytes);
    for (int i = 0; i < 6; i++) {
        world_run(&w, 1000);
        report_moved(&w, from, to, bytes += 20 * CW_MIB);
    }
    assert_in_range(speed_of(&w, "dc1", "aws"), 19 * CW_MIB, 21 * CW_MIB);
    assert_int_equal(speed_of(&w, "aws", "dc1"), speed_of(&w, "dc1", "aws"));
    assert_int_equal(speed_of(&w, "dc1", "dc1"), 0);
    for (int i = 0; i < 2; i++) {
        world_run(&w, 1000);
        report_moved(&w, from, to, bytes += CW_MIB);
    }
    assert_in_range(speed_of(&w, "dc1", "aws"), 17 * CW_MIB, 21 * CW_MIB);
    world_run(&w, 60000);
    assert_in_range(speed_of(&w, "dc1", "aws"), 17 * CW_MIB, 21 * CW_MIB);
    report_moved(&w, from, &(struct cw_uuid){ { 5 } }, bytes); /* of a disk that nobody knows */
    world_fini(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_daemons_measure_is_told),
        cmocka_unit_test(work_grows_with_sites_not_with_hosts),
        cmocka_unit_test(changes_are_followed),
        cmocka_unit_test(ranks_are_held),
        cmocka_unit_test(policy_check_tells_what_a_write_waits_for),
        cmocka_unit_test(throughput_is_what_resyncs_reached),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
