#include "tests/lib/cw-test.h"

#include <string.h>

#include "client/admin/out.h"
#include "client/admin/status.h"
#include "common/base/bits.h"
#include "common/shape/shape.h"
#include "tests/unit/admin/stream.h"

struct streams {
    struct stream out, err;
    struct cw_cli cli;
};

static void
streams_init(struct streams *s, bool json)
{
    stream_init(&s->out);
    stream_init(&s->err);
    s->cli = (struct cw_cli){ .out = s->out.f, .err = s->err.f, .json = json };
}

static void
streams_fini(struct streams *s)
{
    stream_fini(&s->out);
    stream_fini(&s->err);
}

static const char *const columns[] = { "NAME", ">SIZE", "NOTE.." };

/* Columns line up, numbers to the right; long cells stay whole where no terminal is. */
static void
tables_line_up(void **state)
{
    struct streams s;
    struct cw_table *t;
    char note[301];

    memset(note, 'x', 300);
    note[300] = '\0';
    streams_init(&s, false);
    t = cw_table_new(&s.cli, columns, CW_LEN(columns));
    cw_table_row(t, (const char *[]){ "a", "1", note });
    cw_table_row(t, (const char *[]){ "longer", "1000", NULL });
    cw_table_print(t);
    assert_int_equal(strncmp(stream_text(&s.out), "NAME   SIZE NOTE\na         1 xxx", 31), 0);
    assert_non_null(strstr(stream_text(&s.out), note));
    streams_fini(&s);
}

/* A table without rows still says what it would hold. */
static void
empty_tables_have_headings(void **state)
{
    struct streams s;

    streams_init(&s, false);
    cw_table_print(cw_table_new(&s.cli, columns, CW_LEN(columns)));
    assert_string_equal(stream_text(&s.out), "NAME SIZE NOTE\n");
    streams_fini(&s);
}

/* An error is one line with its hint, or one object on out with --json; the first one counts. */
static void
errors_have_two_forms(void **state)
{
    struct cw_fail why = { .code = "NOT_FOUND", .object = "vm1", .hint = "look elsewhere" };
    json_t *all, *error;
    struct streams s;

    streams_init(&s, false);
    assert_int_equal(cw_cli_fail(&s.cli, why, "volume %s: no such volume", "vm1"), 1);
    cw_cli_fail(&s.cli, why, "a consequence");
    assert_string_equal(stream_text(&s.err),
                        "causeway: volume vm1: no such volume; look elsewhere\n");
    streams_fini(&s);

    streams_init(&s, true);
    cw_cli_fail(&s.cli, why, "volume %s: no such volume", "vm1");
    cw_cli_note(&s.cli, "not shown");
    all = json_loads(stream_text(&s.out), 0, NULL);
    assert_non_null(all);
    error = json_object_get(all, "error");
    assert_int_equal(json_integer_value(json_object_get(all, "schema")), 1);
    assert_string_equal(json_string_value(json_object_get(error, "code")), "NOT_FOUND");
    assert_string_equal(json_string_value(json_object_get(error, "object")), "vm1");
    assert_string_equal(json_string_value(json_object_get(error, "hint")), "look elsewhere");
    assert_non_null(json_object_get(error, "message"));
    assert_string_equal(stream_text(&s.err), "");
    json_decref(all);
    streams_fini(&s);
}

/* volume show has the keys of the contract, and bad UTF-8 does not break them. */
static void
volumes_have_their_shape(void **state)
{
    cw_pb_member member = CAUSEWAY__CONTROL__MEMBER_INFO__INIT, *members[] = { &member };
    cw_pb_shard shard = CAUSEWAY__CONTROL__SHARD_INFO__INIT, *shards[] = { &shard };
    cw_pb_volume v = CAUSEWAY__CONTROL__VOLUME_INFO__INIT;
    const char *name, *policy, *protection, *owner, *host, *disk, *member_state;
    json_int_t size;
    int compliant;
    json_t *o;

    v.name = (char *)"vm1";
    v.size_bytes = 1 << 30;
    v.policy = (char *)"default";
    v.protection = (char *)"full";
    v.owner = (char *)"\xff\xfe";
    v.n_shards = shard.n_members = 1;
    v.shards = shards;
    shard.shard = (UINT64_C(7) << 16) + 3;
    shard.members = members;
    member.host = (char *)"aws-1";
    member.disk = (char *)"store-0";
    member.state = CAUSEWAY__CONTROL__MEMBER_STATE__INSYNC;
    o = cw_shape_volume(&v);
    assert_int_equal(json_unpack(o, "{s:s,s:I,s:s,s:s,s:b,s:s,s:[{s:[{s:s,s:s,s:s}]}]}", "name",
                                 &name, "size_bytes", &size, "policy", &policy, "protection",
                                 &protection, "compliant", &compliant, "owner", &owner, "shards",
                                 "members", "host", &host, "disk", &disk, "state", &member_state),
                     0);
    assert_int_equal(size, 1 << 30);
    assert_string_equal(owner, "?");
    assert_string_equal(host, "aws-1");
    assert_string_equal(member_state, "INSYNC");
    assert_int_equal(json_integer_value(
                         json_object_get(json_array_get(json_object_get(o, "shards"), 0), "index")),
                     3);
    json_decref(o);
}

static void
status_fill(cw_pb_status *s, cw_pb_finding *f, cw_pb_site *site,
            Causeway__Control__StatusReply__ProtectionEntry *p)
{
    static cw_pb_finding *findings[2];
    static cw_pb_site *sites[1];
    static Causeway__Control__StatusReply__ProtectionEntry *protection[2];

    *s = (cw_pb_status)CAUSEWAY__CONTROL__STATUS_REPLY__INIT;
    for (size_t i = 0; i < 2; i++) {
        f[i] = (cw_pb_finding)CAUSEWAY__CONTROL__FINDING__INIT;
        p[i] = (Causeway__Control__StatusReply__ProtectionEntry)
            CAUSEWAY__CONTROL__STATUS_REPLY__PROTECTION_ENTRY__INIT;
        findings[i] = &f[i];
        protection[i] = &p[i];
    }
    *site = (cw_pb_site)CAUSEWAY__CONTROL__SITE_INFO__INIT;
    sites[0] = site;
    s->cluster = (char *)"hy1";
    s->health = (char *)"error";
    s->n_findings = s->n_protection = 2;
    s->findings = findings;
    s->protection = protection;
    s->n_sites = 1;
    s->sites = sites;
    f[0].code = (char *)"HOST_ABSENT";
    f[0].severity = (char *)"warning";
    f[0].object = (char *)"dc1/h7";
    f[0].since = (char *)"2026-01-02T03:04:05Z";
    f[1].code = (char *)"VOLUME_LOST";
    f[1].severity = (char *)"error";
    f[1].object = (char *)"vm1";
    p[0].key = (char *)"full";
    p[0].value = 39;
    p[1].key = (char *)"lost";
    p[1].value = 1;
    site->name = (char *)"dc1";
    site->hosts = 9;
    site->hosts_up = 8;
    site->size_bytes = 9000 * UINT64_C(1048576);
    site->used_bytes = 5490 * UINT64_C(1048576);
    site->size_without_worst_bytes = 7600 * UINT64_C(1048576);
}

/* The screen begins with the worst: errors before warnings, lost before full. */
static void
status_shows_the_worst_first(void **state)
{
    Causeway__Control__StatusReply__ProtectionEntry p[2];
    const char *text;
    cw_pb_finding f[2];
    struct streams s;
    cw_pb_site site;
    cw_pb_status reply;

    status_fill(&reply, f, &site, p);
    streams_init(&s, false);
    cw_status_print(s.out.f, &reply, 1767323045 + 18 * 60 + 48);
    text = stream_text(&s.out);
    assert_non_null(strstr(text, "cluster hy1   ERROR   2 findings"));
    assert_non_null(strstr(text, "1 lost | 39 full"));
    assert_non_null(strstr(text, "8/9 hosts  61% of "));
    assert_non_null(strstr(text, " used (72% after its worst host)\n"));
    assert_non_null(strstr(text, "dc1/h7 for 18m48s"));
    assert_true(strstr(text, "VOLUME_LOST") < strstr(text, "HOST_ABSENT"));
    streams_fini(&s);
}

/* health decides the exit status, and an unknown word is no good news. */
static void
health_is_the_exit_status(void **state)
{
    assert_int_equal(cw_status_exit("ok"), 0);
    assert_int_equal(cw_status_exit("warning"), 1);
    assert_int_equal(cw_status_exit("error"), 2);
    assert_int_equal(cw_status_exit("?"), 2);
}

/* status --json has the keys of the contract. */
static void
status_has_its_shape(void **state)
{
    Causeway__Control__StatusReply__ProtectionEntry p[2];
    const char *health, *code, *object, *since, *cause, *effect, *next, *command;
    json_int_t full;
    cw_pb_finding f[2];
    cw_pb_status reply;
    cw_pb_site site;
    json_t *o, *sites;

    status_fill(&reply, f, &site, p);
    o = cw_shape_status(&reply);
    assert_int_equal(json_unpack(o, "{s:s,s:{s:I},s:o}", "health", &health, "protection", "full",
                                 &full, "sites", &sites),
                     0);
    assert_int_equal(full, 39);
    assert_int_equal(json_unpack(json_array_get(json_object_get(o, "findings"), 0),
                                 "{s:s,s:s,s:s,s:s,s:s,s:s,s:s}", "code", &code, "object", &object,
                                 "since", &since, "cause", &cause, "effect", &effect, "next", &next,
                                 "command", &command),
                     0);
    assert_string_equal(code, "HOST_ABSENT");
    assert_string_equal(command, "");
    json_decref(o);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_line_up),
        cmocka_unit_test(empty_tables_have_headings),
        cmocka_unit_test(errors_have_two_forms),
        cmocka_unit_test(volumes_have_their_shape),
        cmocka_unit_test(status_shows_the_worst_first),
        cmocka_unit_test(health_is_the_exit_status),
        cmocka_unit_test(status_has_its_shape),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
