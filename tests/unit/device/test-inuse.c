/* Who uses a mount or a device, and what is kept of an attachment, without any device. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/device/attachment.h"
#include "client/device/inuse.h"
#include "tests/lib/cw-test.h"

static char dir[64];

static int
dir_make(void **state)
{
    snprintf(dir, sizeof(dir), "/tmp/causeway-test-XXXXXX");
    if (mkdtemp(dir) == NULL)
        return -1;
    return setenv("CAUSEWAY_DEVICE_DIR", dir, 1);
}

static int
dir_remove(void **state)
{
    return rmdir(dir);
}

static void
a_process_with_a_file_there_is_named(void **state)
{
    char who[CW_INUSE_SIZE], want[64];
    int ready[2];
    pid_t pid;
    char c;

    assert_int_equal(pipe(ready), 0);
    pid = fork();
    if (pid == 0) {
        (void)!chdir("/proc");
        (void)!write(ready[1], "", 1);
        pause();
        _exit(0);
    }
    assert_int_equal(read(ready[0], &c, 1), 1);
    assert_true(cw_inuse_mount("/proc", who));
    snprintf(want, sizeof(want), "(pid %d)", (int)pid);
    assert_non_null(strstr(who, want));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(ready[0]);
    close(ready[1]);
    assert_false(cw_inuse_device("/dev/loop-that-is-not-there", who));
}

static void
the_state_is_read_as_it_was_written(void **state)
{
    struct cw_attachment a = { .volume = "v.1",
                               .cluster = "127.0.0.1:7000",
                               .device = "/dev/loop9",
                               .read_only = true },
                         b;
    char why[CW_ATTACHMENT_WHY_SIZE];
    int fd, second;

    assert_int_equal(cw_attachment_read("v.1", &b), -ENOENT);
    assert_int_equal(cw_attachment_lock("v.1", &fd), 0);
    assert_int_equal(cw_attachment_lock("v.1", &second), -EBUSY);
    assert_true(cw_attachment_is_kept("v.1"));
    cw_attachment_process_of(getpid(), &a.holder);
    assert_int_equal(cw_attachment_write(&a), 0);
    assert_int_equal(cw_attachment_read("v.1", &b), 0);
    assert_string_equal(b.device, a.device);
    assert_string_equal(b.cluster, a.cluster);
    assert_true(b.read_only);
    assert_true(cw_attachment_process_lives(&b.holder));
    b.holder.start--;
    assert_false(cw_attachment_process_lives(&b.holder)); /* another with its number */
    assert_false(cw_attachment_process_lives(&b.back_end));
    assert_false(cw_attachment_is_mounted("v.1"));
    assert_int_equal(cw_attachment_remove("v.1", why), 0);
    close(fd);
    assert_int_equal(cw_attachment_read("v.1", &b), -ENOENT);
    assert_false(cw_attachment_is_kept("v.1"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_process_with_a_file_there_is_named),
        cmocka_unit_test(the_state_is_read_as_it_was_written),
    };

    return cmocka_run_group_tests(tests, dir_make, dir_remove);
}
