#include "common/obs/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/cw-test.h"

struct scratch {
    char dir[64], path[96], text[8192];
};

static void
scratch_init(struct scratch *s)
{
    snprintf(s->dir, sizeof(s->dir), "/tmp/cw-log-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    snprintf(s->path, sizeof(s->path), "%s/log", s->dir);
}

static const char *
scratch_read(struct scratch *s)
{
    FILE *f = fopen(s->path, "r");

    assert_non_null(f);
    s->text[fread(s->text, 1, sizeof(s->text) - 1, f)] = '\0';
    fclose(f);
    return s->text;
}

static void
scratch_fini(struct scratch *s)
{
    unlink(s->path);
    rmdir(s->dir);
}

/* A line carries UTC time, level, program and text, and ends once. */
static void
log_line_has_its_form(void **state)
{
    struct cw_log_sink k;
    struct scratch s;
    int year, ms;
    char rest[128];

    scratch_init(&s);
    cw_log_sink_init(&k, "causewayd", CW_LOG_INFO);
    assert_int_equal(cw_log_sink_open(&k, s.path), 0);
    cw_log_sink_printf(&k, CW_LOG_WARNING, "aws-1/store-%d: slow", 0);
    cw_log_sink_write(&k, CW_LOG_DEBUG, "not of interest");
    cw_log_sink_fini(&k);
    scratch_read(&s);
    assert_int_equal(
        sscanf(s.text, "%4d-%*2d-%*2dT%*2d:%*2d:%*2d.%3dZ %127[^\n]", &year, &ms, rest), 3);
    assert_true(year >= 2024 && ms >= 0);
    assert_string_equal(rest, "warning causewayd: aws-1/store-0: slow");
    assert_ptr_equal(strchr(s.text, '\n'), s.text + strlen(s.text) - 1);
    scratch_fini(&s);
}

/* Text from peers can neither fake a second line nor grow without end. */
static void
log_line_stays_one_line(void **state)
{
    struct cw_log_sink k;
    struct scratch s;
    char big[4000];

    memset(big, 'a', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    scratch_init(&s);
    cw_log_sink_init(&k, "p", CW_LOG_INFO);
    assert_int_equal(cw_log_sink_open(&k, s.path), 0);
    cw_log_sink_write(&k, CW_LOG_ERROR, "evil\nline\x1b[2J");
    cw_log_sink_write(&k, CW_LOG_ERROR, big);
    cw_log_sink_fini(&k);
    scratch_read(&s);
    assert_non_null(strstr(s.text, "evil?line?[2J\n"));
    assert_true(strlen(s.text) < 1300);
    scratch_fini(&s);
}

/* A directory that does not exist is an error and the sink stays what it was. */
static void
log_open_failure_changes_nothing(void **state)
{
    struct cw_log_sink k;

    cw_log_sink_init(&k, "p", CW_LOG_INFO);
    assert_int_equal(cw_log_sink_open(&k, "/nonexistent/log"), -2);
    assert_int_equal(k.fd, STDERR_FILENO);
}

/* Level names are read back, anything else is refused. */
static void
log_levels_have_names(void **state)
{
    enum cw_log_level level = CW_LOG_NOTICE;

    for (int i = CW_LOG_ERROR; i <= CW_LOG_DEBUG; i++) {
        assert_true(cw_log_level_parse(cw_log_level_name((enum cw_log_level)i), &level));
        assert_int_equal(level, i);
    }
    assert_false(cw_log_level_parse("loud", &level));
    assert_int_equal(level, CW_LOG_DEBUG);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(log_line_has_its_form),
        cmocka_unit_test(log_line_stays_one_line),
        cmocka_unit_test(log_open_failure_changes_nothing),
        cmocka_unit_test(log_levels_have_names),
    };

    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
