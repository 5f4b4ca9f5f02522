/* Requests that outlive who took them. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/device/fuse.h"
#include "client/device/slots.h"
#include "tests/lib/cw-test.h"

static void
slot_fill(const struct cw_slots *s, uint32_t index, uint64_t unique)
{
    struct fuse_in_header h = { .len = sizeof(h), .unique = unique };

    memcpy(cw_slots_at(s, index), &h, sizeof(h));
}

static void
what_a_killed_process_took_is_found_in_order(void **state)
{
    char why[CW_SLOTS_WHY_SIZE];
    uint32_t left[CW_SLOTS_N];
    struct cw_slots s;
    int fd, status;
    pid_t pid;

    assert_int_equal(cw_slots_create(&fd), 0);
    pid = fork();
    if (pid == 0) {
        struct cw_slots_past past = { .gen = 7, .tries = 1, .size_bytes = 4096 };

        if (cw_slots_map(fd, &s, why) != 0)
            _exit(1);
        slot_fill(&s, 3, 50);
        slot_fill(&s, 127, 20);
        slot_fill(&s, 0, 40);
        slot_fill(&s, 9, 30);
        cw_slots_clear(&s, 9);
        cw_slots_set_past(&s, &past);
        raise(SIGKILL);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(cw_slots_map(fd, &s, why), 0);
    assert_int_equal(cw_slots_left(&s, left), 3);
    assert_int_equal(left[0], 127);
    assert_int_equal(left[1], 0);
    assert_int_equal(left[2], 3);
    {
        struct cw_slots_past past;

        cw_slots_past(&s, &past);
        assert_int_equal(past.gen, 7);
        assert_int_equal(past.tries, 1);
        assert_int_equal(past.size_bytes, 4096);
        assert_false(past.fenced);
    }
    cw_slots_unmap(&s);
    close(fd);
}

static void
another_version_is_refused(void **state)
{
    char why[CW_SLOTS_WHY_SIZE];
    struct cw_slots s;
    uint64_t magic = 1;
    int fd;

    assert_int_equal(cw_slots_create(&fd), 0);
    assert_int_equal(pwrite(fd, &magic, sizeof(magic), 0), sizeof(magic));
    assert_int_equal(cw_slots_map(fd, &s, why), -EPROTO);
    assert_int_equal(ftruncate(fd, 4096), 0);
    assert_int_equal(cw_slots_map(fd, &s, why), -EPROTO);
    close(fd);
}

/* Each attach has the next gen; those of tries that were killed on the way are ours, too. */
static void
a_gen_that_was_anothers_does_not_fit(void **state)
{
    struct cw_slots_past past = { .gen = 10, .tries = 1 };

    assert_true(cw_slots_gen_fits(&past, 11));
    assert_false(cw_slots_gen_fits(&past, 12));
    assert_false(cw_slots_gen_fits(&past, 10));
    assert_false(cw_slots_gen_fits(&past, 9));
    past.tries = 3;
    assert_true(cw_slots_gen_fits(&past, 11));
    assert_true(cw_slots_gen_fits(&past, 13));
    assert_false(cw_slots_gen_fits(&past, 14));
    past.fenced = true;
    assert_false(cw_slots_gen_fits(&past, 11));
    past = (struct cw_slots_past){ .tries = 1 }; /* never attached */
    assert_true(cw_slots_gen_fits(&past, 99));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_killed_process_took_is_found_in_order),
        cmocka_unit_test(another_version_is_refused),
        cmocka_unit_test(a_gen_that_was_anothers_does_not_fit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
