#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/reactor/disk.h"
#include "tests/unit/reactor/harness.h"

#define FILE_BYTES (8 * CW_MIB)

struct io {
    struct cw_disk_io io;
    int res, n_done;
    bool *inside;
};

struct fix {
    struct harness h;
    char path[96];
    struct cw_disk *d;
    bool inside; /* a submit call is running */
};

static void
fix_start(struct fix *f, void **state)
{
    char why[CW_WHY_SIZE];
    int err;

    *f = (struct fix){ 0 };
    harness_start(&f->h, state);
    snprintf(f->path, sizeof(f->path), "%s/store", f->h.dir);
    assert_int_equal(cw_disk_create_file(f->path, FILE_BYTES, why), 0);
    err = cw_disk_open(f->h.r, &(struct cw_disk_opts){ .path = f->path }, &f->d, why);
    if (err == -EINVAL) { /* a file system without direct I/O */
        unlink(f->path);
        harness_stop(&f->h);
        skip();
    }
    assert_int_equal(err, 0);
    assert_int_equal(f->d->bytes, FILE_BYTES);
}

static void
fix_stop(struct fix *f)
{
    cw_disk_close(f->d);
    unlink(f->path);
    harness_stop(&f->h);
}

static void
io_done(struct cw_disk_io *d, int res)
{
    struct io *io = cw_container_of(d, struct io, io);

    assert_false(*io->inside);
    io->res = res;
    io->n_done++;
}

static bool
io_is_done(void *arg)
{
    return ((struct io *)arg)->n_done > 0;
}

static void
io_submit(struct fix *f, struct io *io)
{
    io->inside = &f->inside;
    io->n_done = 0;
    io->io.done = io_done;
    f->inside = true;
    cw_disk_submit(f->d, &io->io);
    f->inside = false;
}

static int
io_run(struct fix *f, struct io *io)
{
    io_submit(f, io);
    harness_until(&f->h, io_is_done, io);
    assert_int_equal(io->n_done, 1);
    assert_int_equal(cw_disk_busy(f->d), 0);
    return io->res;
}

static int
transfer(struct fix *f, enum cw_disk_op op, uint64_t off, struct iovec *iov, uint32_t n)
{
    struct io io = { .io = { .op = op, .off = off, .iov = iov, .n_iov = n } };

    for (uint32_t i = 0; i < n; i++)
        io.io.len += iov[i].iov_len;
    return io_run(f, &io);
}

static uint8_t *
pages(size_t n, int fill)
{
    uint8_t *p = aligned_alloc(4096, n * 4096);

    assert_non_null(p);
    memset(p, fill, n * 4096);
    return p;
}

/* What is written, plainly or synchronously, from one buffer or many, is read back. */
static void
writes_are_read_back(void **state)
{
    struct fix f;
    uint8_t *a = pages(8, 1), *b = pages(8, 2), *c = pages(16, 0);
    struct iovec two[] = { { a, 8 * 4096 }, { b, 4096 } };
    struct iovec back[] = { { c, 4096 }, { c + 4096, 8 * 4096 } };

    fix_start(&f, state);
    assert_int_equal(transfer(&f, CW_DISK_WRITE_SYNC, 4096, two, 2), 0);
    assert_int_equal(transfer(&f, CW_DISK_READ, 4096, back, 2), 0);
    assert_memory_equal(c, a, 8 * 4096);
    assert_memory_equal(c + 8 * 4096, b, 4096);
    assert_int_equal(transfer(&f, CW_DISK_WRITE, 0, &two[1], 1), 0);
    assert_int_equal(io_run(&f, &(struct io){ .io.op = CW_DISK_FLUSH }), 0);
    assert_int_equal(transfer(&f, CW_DISK_READ, 0, back, 1), 0);
    assert_memory_equal(c, b, 4096);
    fix_stop(&f);
    free(a);
    free(b);
    free(c);
}

#define N_MANY 500

static bool
all_done(void *arg)
{
    struct io *io = arg;

    for (int i = 0; i < N_MANY; i++)
        if (io[i].n_done == 0)
            return false;
    return true;
}

/* Many more requests than the ring has entries: each completes once, and each block is its own. */
static void
row_43_more_requests_than_entries(void **state)
{
    struct fix f;
    uint8_t *data = pages(N_MANY, 0);
    struct io *io = calloc(N_MANY, sizeof(*io));
    struct iovec *iov = calloc(N_MANY, sizeof(*iov));

    fix_start(&f, state);
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < N_MANY; i++) {
            uint8_t *p = data + (size_t)i * 4096;

            memset(p, pass == 0 ? i % 251 : 0, 4096);
            iov[i] = (struct iovec){ p, 4096 };
            io[i] = (struct io){ .io = { .op = pass == 0 ? CW_DISK_WRITE : CW_DISK_READ,
                                         .off = (uint64_t)i * 4096,
                                         .len = 4096,
                                         .iov = &iov[i],
                                         .n_iov = 1 } };
            io_submit(&f, &io[i]);
        }
        assert_true(cw_disk_oldest_ns(f.d) <= cw_reactor_clock_ns());
        harness_until(&f.h, all_done, io);
        for (int i = 0; i < N_MANY; i++)
            assert_int_equal(io[i].res, 0);
    }
    for (int i = 0; i < N_MANY; i++)
        assert_int_equal(data[(size_t)i * 4096 + 77], i % 251);
    assert_int_equal(cw_disk_oldest_ns(f.d), CW_NEVER);
    fix_stop(&f);
    free(data);
    free(io);
    free(iov);
}

/* A read that meets the end of a file somebody cut is resubmitted for the rest and then fails; what
 * the caller sees is one error. */
static void
row_43_a_short_read_goes_on_and_becomes_an_error(void **state)
{
    struct fix f;
    uint8_t *a = pages(8, 0);
    struct iovec v[] = { { a, 2 * 4096 }, { a + 2 * 4096, 6 * 4096 } };

    fix_start(&f, state);
    assert_int_equal(truncate(f.path, FILE_BYTES - 4096), 0);
    assert_int_equal(transfer(&f, CW_DISK_READ, FILE_BYTES - 8 * 4096, v, 2), -EIO);
    fix_stop(&f);
    free(a);
}

/* A write of which the kernel takes a part goes on with the rest; here the rest is refused. */
static void
row_43_a_short_write_goes_on_and_becomes_an_error(void **state)
{
    struct rlimit was, now;
    uint8_t *a = pages(8, 9), *b = pages(4, 0);
    struct iovec v[] = { { a, 2 * 4096 }, { a + 2 * 4096, 6 * 4096 } };
    struct iovec back = { b, 4 * 4096 };
    struct fix f;

    fix_start(&f, state);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &was);
    now = (struct rlimit){ .rlim_cur = 11 * 4096, .rlim_max = was.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &now), 0);
    assert_int_equal(transfer(&f, CW_DISK_WRITE_SYNC, 8 * 4096, v, 2), -EFBIG);
    setrlimit(RLIMIT_FSIZE, &was);
    assert_int_equal(transfer(&f, CW_DISK_READ, 8 * 4096, &back, 1), 0);
    assert_memory_equal(b, a, 3 * 4096); /* it was short */
    assert_int_equal(b[3 * 4096], 0);
    fix_stop(&f);
    free(a);
    free(b);
}

static uint64_t
allocated(const char *path)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

/* DISCARD gives space back to the file system; what lies beside it stays. */
static void
discard_gives_space_back(void **state)
{
    static const uint64_t at[] = { CW_MIB - 4096, CW_MIB, 3 * CW_MIB - 4096, 3 * CW_MIB };
    struct io io = { .io = { .op = CW_DISK_DISCARD, .off = CW_MIB, .len = 2 * CW_MIB } };
    uint8_t *a = pages(1, 'x');
    struct iovec v = { a, 4096 };
    struct fix f;
    int res;

    fix_start(&f, state);
    assert_false(cw_disk_is_device(f.d));
    for (size_t i = 0; i < CW_LEN(at); i++)
        assert_int_equal(transfer(&f, CW_DISK_WRITE_SYNC, at[i], &v, 1), 0);
    assert_true(allocated(f.path) >= FILE_BYTES);
    res = io_run(&f, &io);
    if (res == -EOPNOTSUPP) { /* this file system has no holes */
        fix_stop(&f);
        free(a);
        skip();
    }
    assert_int_equal(res, 0);
    assert_true(allocated(f.path) <= FILE_BYTES - 2 * CW_MIB + 64 * 1024);
    for (size_t i = 0; i < CW_LEN(at); i++) {
        memset(a, 'y', 4096);
        assert_int_equal(transfer(&f, CW_DISK_READ, at[i], &v, 1), 0);
        assert_int_equal(a[77], i == 0 || i == 3 ? 'x' : 0);
    }
    fix_stop(&f);
    free(a);
}

/* A store that is open cannot be opened again, by nobody, until it was closed. */
static void
open_disk_is_exclusive(void **state)
{
    char why[CW_WHY_SIZE] = "";
    struct cw_disk *second;
    struct fix f;

    fix_start(&f, state);
    assert_int_equal(cw_disk_open(f.h.r, &(struct cw_disk_opts){ .path = f.path }, &second, why),
                     -EBUSY);
    assert_non_null(strstr(why, f.path));
    assert_non_null(strstr(why, "another process"));
    cw_disk_close(f.d);
    assert_int_equal(cw_disk_open(f.h.r, &(struct cw_disk_opts){ .path = f.path }, &f.d, why), 0);
    fix_stop(&f);
}

/* Whoever only reads shares the disk with others that do, never with one that writes; and a write
 * through it fails. */
static void
reading_alone_is_shared(void **state)
{
    struct cw_disk_opts reads = { .read_only = true };
    struct cw_disk *second, *third;
    char why[CW_WHY_SIZE] = "";
    static uint8_t data[4096] __attribute__((aligned(4096)));
    struct iovec v = { data, sizeof(data) };
    struct io io = { .io = { .iov = &v, .n_iov = 1, .len = sizeof(data) } };
    struct cw_disk *writer;
    struct fix f;

    fix_start(&f, state);
    reads.path = f.path;
    assert_int_equal(cw_disk_open(f.h.r, &reads, &second, why), -EBUSY);
    cw_disk_close(f.d);
    assert_int_equal(cw_disk_open(f.h.r, &reads, &f.d, why), 0);
    assert_int_equal(cw_disk_open(f.h.r, &reads, &second, why), 0);
    assert_int_equal(cw_disk_open(f.h.r, &(struct cw_disk_opts){ .path = f.path }, &third, why),
                     -EBUSY);
    io.io.op = CW_DISK_READ;
    assert_int_equal(io_run(&f, &io), 0);
    io.io.op = CW_DISK_WRITE_SYNC;
    assert_true(io_run(&f, &io) < 0);
    cw_disk_close(second);
    cw_disk_close(f.d);
    assert_int_equal(cw_disk_open(f.h.r, &(struct cw_disk_opts){ .path = f.path }, &writer, why),
                     0);
    f.d = writer;
    fix_stop(&f);
}

static void *
close_soon(void *arg)
{
    struct timespec pause = { .tv_nsec = 100 * 1000000 };
    int *fd = arg;

    nanosleep(&pause, NULL);
    close(*fd);
    return NULL;
}

/* A lock that goes away within moments, as that of a process just killed does, is waited for. */
static void
lock_of_the_dead_is_waited_for(void **state)
{
    char why[CW_WHY_SIZE] = "";
    struct fix f;
    pthread_t t;
    int fd;

    fix_start(&f, state);
    cw_disk_close(f.d);
    fd = open(f.path, O_RDWR | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    assert_int_equal(pthread_create(&t, NULL, close_soon, &fd), 0);
    assert_int_equal(cw_disk_open(f.h.r, &(struct cw_disk_opts){ .path = f.path }, &f.d, why), 0);
    pthread_join(t, NULL);
    fix_stop(&f);
}

/* Errors name the path and the cause. */
static void
errors_name_the_path(void **state)
{
    char why[CW_WHY_SIZE], path[96];
    struct cw_disk *d;
    struct harness h;

    harness_start(&h, state);
    snprintf(path, sizeof(path), "%s/none", h.dir);
    assert_int_equal(cw_disk_open(h.r, &(struct cw_disk_opts){ .path = path }, &d, why), -ENOENT);
    assert_non_null(strstr(why, path));
    assert_int_equal(cw_disk_open(h.r, &(struct cw_disk_opts){ .path = h.dir }, &d, why), -EINVAL);
    assert_non_null(strstr(why, "neither"));
    assert_int_equal(cw_disk_create_file(path, 4096, why), 0);
    assert_int_equal(cw_disk_create_file(path, 4096, why), -EEXIST);
    unlink(path);
    harness_stop(&h);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        HARNESS_BOTH(writes_are_read_back),
        HARNESS_BOTH(row_43_more_requests_than_entries),
        cmocka_unit_test(row_43_a_short_read_goes_on_and_becomes_an_error),
        cmocka_unit_test(row_43_a_short_write_goes_on_and_becomes_an_error),
        cmocka_unit_test(discard_gives_space_back),
        cmocka_unit_test(open_disk_is_exclusive),
        cmocka_unit_test(reading_alone_is_shared),
        cmocka_unit_test(lock_of_the_dead_is_waited_for),
        cmocka_unit_test(errors_name_the_path),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
