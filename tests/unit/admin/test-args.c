#include "tests/lib/cw-test.h"

#include <string.h>

#include "client/admin/args.h"
#include "common/base/bits.h"
#include "tests/unit/admin/stream.h"

struct parsed {
    bool flag;
    const char *text;
    uint64_t size, number, seconds;
    struct cw_cli cli;
    struct cw_args args;
    int status;
    struct stream out, err;
};

static int
run_nothing(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    return CW_EXIT_OK;
}

static const struct cw_cmd cmd = { "volume test", "NAME FILE [--size SIZE]", "a test", "About.\n",
                                   run_nothing };

/* argv as getopt may permute it; the strings live as long as the test. */
static void
parse(struct parsed *p, int argc, char **argv)
{
    const struct cw_opt opts[] = {
        { "flag", 'f', CW_OPT_FLAG, &p->flag, NULL, "a flag" },
        { "text", 't', CW_OPT_TEXT, &p->text, "TEXT", "a text\nof two lines" },
        { "size", 0, CW_OPT_SIZE, &p->size, "SIZE", "a size" },
        { "number", 'n', CW_OPT_NUMBER, &p->number, "N", "a number" },
        { "time", 0, CW_OPT_SECONDS, &p->seconds, "TIME", "a time" },
        { 0 },
    };

    stream_init(&p->out);
    stream_init(&p->err);
    p->cli = (struct cw_cli){ .out = p->out.f, .err = p->err.f };
    p->args = (struct cw_args){ .opts = opts, .n_min = 1, .n_max = 2 };
    p->status = cw_args_parse(&p->cli, &cmd, &p->args, argc, argv);
}

static void
parsed_fini(struct parsed *p)
{
    stream_fini(&p->out);
    stream_fini(&p->err);
}

#define PARSE(p, ...) \
    do { \
        static const char *argv_[] = { "test", __VA_ARGS__, NULL }; \
\
        parse(p, (int)CW_LEN(argv_) - 1, (char **)argv_); \
    } while (0)

/* Options stand before, between and after operands, in every spelling, and fill their places. */
static void
options_may_stand_anywhere(void **state)
{
    struct parsed p = { 0 };

    PARSE(&p, "--size=64M", "vm1", "-f", "--number", "7", "disk.img", "-thello", "--time", "5m");
    assert_int_equal(p.status, CW_ARGS_GO);
    assert_int_equal(p.args.n, 2);
    assert_string_equal(p.args.operand[0], "vm1");
    assert_string_equal(p.args.operand[1], "disk.img");
    assert_true(p.flag);
    assert_string_equal(p.text, "hello");
    assert_int_equal(p.size, 64 * CW_MIB);
    assert_int_equal(p.number, 7);
    assert_int_equal(p.seconds, 300);
    parsed_fini(&p);
}

/* --json and --cluster are known to every command. */
static void
global_options_work_behind_the_command(void **state)
{
    struct parsed p = { 0 };

    PARSE(&p, "vm1", "--json", "--cluster", "127.0.0.1:1");
    assert_int_equal(p.status, CW_ARGS_GO);
    assert_true(p.cli.json);
    assert_string_equal(p.cli.cluster, "127.0.0.1:1");
    parsed_fini(&p);
}

/* What is wrong is named in one line, with status 2. */
static void
bad_usage_is_named(void **state)
{
    static const struct {
        const char *argv[4];
        const char *says;
    } cases[] = {
        { { "--nonsense", "vm1" }, "unknown option --nonsense" },
        { { "-x", "vm1" }, "unknown option -x" },
        { { "vm1", "--size" }, "option --size needs a value" },
        { { "vm1", "--size", "12Q" }, "--size 12Q: not a size" },
        { { "vm1", "--number", "-3" }, "--number -3: not a number" },
        { { "vm1", "--time", "5y" }, "--time 5y: not a time" },
        { { "vm1", "--flag=3" }, "takes no value" },
        { { "a", "b", "c" }, "'c' is one operand too many" },
        { { "--flag" }, "NAME is missing" },
    };

    for (size_t i = 0; i < CW_LEN(cases); i++) {
        char *argv[6] = { (char *)"test" };
        struct parsed p = { 0 };
        int argc = 1;

        while (argc <= 4 && cases[i].argv[argc - 1] != NULL) {
            argv[argc] = (char *)cases[i].argv[argc - 1];
            argc++;
        }
        parse(&p, argc, argv);
        assert_int_equal(p.status, CW_EXIT_USAGE);
        assert_non_null(strstr(stream_text(&p.err), cases[i].says));
        assert_ptr_equal(strchr(stream_text(&p.err), '\n') + 1,
                         stream_text(&p.err) + strlen(stream_text(&p.err)));
        parsed_fini(&p);
    }
}

/* --help prints the usage line, the text and every option, and ends well. */
static void
help_teaches(void **state)
{
    struct parsed p = { 0 };

    PARSE(&p, "--help");
    assert_int_equal(p.status, CW_EXIT_OK);
    assert_non_null(strstr(stream_text(&p.out), "usage: causeway volume test NAME FILE"));
    assert_non_null(strstr(stream_text(&p.out), "About."));
    assert_non_null(strstr(stream_text(&p.out), "-t, --text TEXT"));
    assert_non_null(strstr(stream_text(&p.out), "--cluster"));
    parsed_fini(&p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_may_stand_anywhere),
        cmocka_unit_test(global_options_work_behind_the_command),
        cmocka_unit_test(bad_usage_is_named),
        cmocka_unit_test(help_teaches),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
