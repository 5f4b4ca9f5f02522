#include "tests/lib/cw-test.h"

#include <stdlib.h>
#include <string.h>

#include "client/admin/dispatch.h"
#include "common/base/bits.h"
#include "tests/unit/admin/stream.h"

static const struct cw_cmd *const families[] = {
    cw_cmds_local,  cw_cmds_status, cw_cmds_host,       cw_cmds_volume,  cw_cmds_copy,
    cw_cmds_verify, cw_cmds_policy, cw_cmds_explain,    cw_cmds_events,  cw_cmds_jobs,
    cw_cmds_bench,  cw_cmds_scrub,  cw_cmds_quarantine, cw_cmds_recover,
};

/* Every command explains itself without a cluster, and is listed by --help. */
static void
every_command_has_help(void **state)
{
    struct run all;

    run_init(&all, "--help");
    assert_int_equal(all.status, 0);
    for (size_t f = 0; f < CW_LEN(families); f++) {
        for (const struct cw_cmd *c = families[f]; c->words != NULL; c++) {
            char words[128], usage[128];

            snprintf(words, sizeof(words), "%s --help", c->words);
            snprintf(usage, sizeof(usage), "usage: causeway %s", c->words);
            assert_true(run_says(words, 0, usage));
            assert_non_null(strstr(stream_text(&all.out), c->words));
        }
    }
    run_fini(&all);
}

/* Commands of later versions are refused as such, not as unknown ones. */
static void
later_commands_say_so(void **state)
{
    static const char *const later[] = {
        "volume snapshot vm1",
        "volume clone vm1 vm2",
    };

    for (size_t i = 0; i < CW_LEN(later); i++)
        assert_true(run_says(later[i], 2, "this version"));
    assert_true(run_says("--json volume snapshot vm1", 2, "NOT_AVAILABLE"));
}

/* Bad usage ends with 2 and names what is wrong. */
static void
bad_usage_ends_with_2(void **state)
{
    static const struct {
        const char *words, *says;
    } bad[] = {
        { "", "which command" },
        { "frobnicate", "unknown command 'frobnicate'" },
        { "volume", "which command" },
        { "volume frob", "unknown command 'volume frob'" },
        { "--frob", "unknown option --frob" },
        { "--cluster", "needs an address" },
        { "volume create", "NAME is missing" },
        { "volume create vm1", "--size is missing" },
        { "volume create vm1 --size 12X", "not a size" },
        { "volume create vm1 --size 0", "at least 4096" },
        { "volume create vm1 --size 99999999T", "too large" },
        { "volume resize vm1 99999999T", "too large" },
        { "volume create vm1 --size 5000", "the next one is 8192" },
        { "volume create -x --size 1G", "unknown option -x" },
        { "volume create a/b --size 1G", "is no name" },
        { "volume resize vm1", "SIZE is missing" },
        { "volume resize vm1 big", "is not a size" },
        { "volume set vm1", "--policy is missing" },
        { "volume set vm1 size=3", "only policy=NAME" },
        { "policy create p copies=9", "1 to 5" },
        { "policy create p copies=1 min-insync=2", "more than copies" },
        { "policy create p --async a,b", "SITE" },
        { "policy create p --spread=moon", "choose from" },
        { "policy create p --copies", "option --copies needs a value" },
        { "policy set p", "KEY=VALUE is missing" },
        { "jobs show zero", "no number of a job" },
        { "scrub", "which command" },
        { "scrub pause", "unknown command 'scrub pause'" },
        { "disk return", "HOST/DISK is missing" },
        { "disk drain", "HOST/DISK is missing" },
        { "disk drain h1/store-0 --plan --cancel", "do not go together" },
        { "disk rm", "HOST/DISK is missing" },
        { "host maintain", "NAME is missing" },
        { "host maintain h1 --mode soon", "choose from" },
        { "host maintain h1 --force", "--mode none" },
        { "host add a/b", "is no name" },
        { "whatif", "--fail is missing" },
        { "whatif --fail ,", "--fail is missing" },
        { "repair", "which command" },
        { "repair now --host h1 --volume v", "either" },
        { "repair limit fast", "at least 1M" },
        { "repair limit 10", "at least 1M" },
        { "volume recover --accept-loss", "NAME is missing" },
        { "bench v --rw randwrite", "--overwrite" },
        { "bench v --prefill", "--overwrite" },
        { "bench v --rw scribble", "choose from" },
        { "bench v --bs 100", "multiple of 512" },
        { "bench v --iodepth 0", "from 1 to" },
        { "bench v --bs 32M --iodepth 64", "above 128M" },
        { "bench v --runtime 0", "must not be 0" },
        { "events --max 0", "from 1 to" },
        { "local up", "--dir is missing" },
        { "local up --dir /tmp --metadata sqlite", "lmdb or etcd" },
        { "local up --dir /tmp --hosts dc1:0", "is not SITE:N" },
        { "local up --dir /tmp --store-size 1M", "at least 512M" },
        { "local kill all", "--dir is missing" },
        { "volume ls", "no cluster is named" },
        { "status --cluster nonsense", "nonsense" },
        { "bench v", "no cluster is named" },
    };

    for (size_t i = 0; i < CW_LEN(bad); i++)
        assert_true(run_says(bad[i].words, 2, bad[i].says));
}

/* What is asked of nobody fails with 1 within 2 s and names whom it asked. */
static void
an_absent_cluster_is_named(void **state)
{
    assert_true(run_says("--cluster 127.0.0.1:1 status", 1, "127.0.0.1:1"));
    assert_true(run_says("--cluster 127.0.0.1:1 --json volume ls", 1, "UNAVAILABLE"));
}

/* --version names the version. */
static void
version_is_told(void **state)
{
    assert_true(run_says("--version", 0, "causeway " CW_VERSION));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_command_has_help), cmocka_unit_test(later_commands_say_so),
        cmocka_unit_test(bad_usage_ends_with_2),  cmocka_unit_test(an_absent_cluster_is_named),
        cmocka_unit_test(version_is_told),
    };

    unsetenv("CAUSEWAY_CLUSTER");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
