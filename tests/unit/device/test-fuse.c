/* What the kernel's requests on a mounted volume mean. */
#include <errno.h>
#include <linux/falloc.h>
#include <linux/fuse.h>
#include <string.h>
#include <sys/stat.h>

#include "client/device/fuse.h"
#include "common/base/bits.h"
#include "common/base/prng.h"
#include "tests/lib/cw-test.h"

#define SIZE (64 * CW_MIB)

static const struct cw_fuse_disk disk = { .size_bytes = SIZE, .depth = 128 };

struct call {
    _Alignas(8) uint8_t bytes[sizeof(struct fuse_in_header) + 16384];
    size_t len;
    struct cw_fuse_todo todo;
};

static void
decode(struct call *c, const struct cw_fuse_disk *d, uint32_t opcode, const void *body, size_t len)
{
    struct fuse_in_header h = { .opcode = opcode, .unique = 77, .nodeid = FUSE_ROOT_ID };

    c->len = sizeof(h) + len;
    assert_true(c->len <= sizeof(c->bytes));
    h.len = (uint32_t)c->len;
    memcpy(c->bytes, &h, sizeof(h));
    if (len > 0)
        memcpy(c->bytes + sizeof(h), body, len);
    cw_fuse_decode(d, c->bytes, c->len, &c->todo);
    if (c->todo.kind != CW_FUSE_DROP)
        assert_int_equal(c->todo.unique, 77);
}

static void
assert_refused(const struct call *c, int error)
{
    assert_int_equal(c->todo.kind, CW_FUSE_ANSWER);
    assert_int_equal(c->todo.error, error);
    assert_int_equal(c->todo.answer_len, 0);
}

static void
assert_io(const struct call *c, enum cw_io_op op, uint64_t off, uint64_t len)
{
    assert_int_equal(c->todo.kind, CW_FUSE_IO);
    assert_int_equal(c->todo.op, op);
    assert_int_equal(c->todo.off, off);
    assert_int_equal(c->todo.len, len);
}

static void
do_write(struct call *c, const struct cw_fuse_disk *d, uint64_t off, uint32_t len, size_t sent)
{
    uint8_t body[sizeof(struct fuse_write_in) + 8192] = { 0 };
    struct fuse_write_in in = { .offset = off, .size = len };

    memcpy(body, &in, sizeof(in));
    memset(body + sizeof(in), 0xa5, sent);
    decode(c, d, FUSE_WRITE, body, sizeof(in) + sent);
}

/* ---- the file ---- */

static void
the_kernel_gets_what_it_knows(void **state)
{
    struct call c;
    struct fuse_init_in in = { .major = 7, .minor = 39, .flags = FUSE_ASYNC_DIO | FUSE_MAX_PAGES };
    struct fuse_init_out out;

    decode(&c, &disk, FUSE_INIT, &in, 16); /* as before 7.36: without what was added */
    assert_int_equal(c.todo.kind, CW_FUSE_ANSWER);
    assert_int_equal(c.todo.error, 0);
    assert_int_equal(c.todo.answer_len, sizeof(out));
    memcpy(&out, c.todo.answer, sizeof(out));
    assert_int_equal(out.major, 7);
    assert_int_equal(out.max_write, CW_FUSE_DATA_MAX);
    assert_int_equal(out.max_pages, CW_FUSE_DATA_MAX / 4096);
    assert_int_equal(out.max_background, 128);
    assert_true((out.flags & FUSE_ASYNC_DIO) != 0);
    assert_int_equal(out.flags & FUSE_ASYNC_READ, 0);      /* it did not offer that */
    assert_int_equal(out.flags & FUSE_WRITEBACK_CACHE, 0); /* the cache is above the device */
    in.minor = 12;
    decode(&c, &disk, FUSE_INIT, &in, 16);
    assert_refused(&c, -EPROTO);
}

static void
the_file_is_as_large_as_the_volume_and_stays_so(void **state)
{
    struct call c;
    struct fuse_getattr_in get = { 0 };
    struct fuse_setattr_in set = { .valid = FATTR_SIZE, .size = SIZE - 4096 };
    struct fuse_attr_out out;
    struct fuse_statfs_out fs;

    decode(&c, &disk, FUSE_GETATTR, &get, sizeof(get));
    memcpy(&out, c.todo.answer, sizeof(out));
    assert_int_equal(out.attr.size, SIZE);
    assert_true(S_ISREG(out.attr.mode));
    assert_int_equal(out.attr_valid, 0); /* asked for again: it may have grown */
    decode(&c, &disk, FUSE_SETATTR, &set, sizeof(set));
    assert_refused(&c, -EPERM);
    decode(&c, &disk, FUSE_STATFS, NULL, 0);
    memcpy(&fs, c.todo.answer, sizeof(fs));
    assert_int_equal(fs.st.bsize, 4096); /* the grain of a discard */
}

/* ---- data ---- */

static void
reads_end_where_the_file_ends(void **state)
{
    struct call c;
    struct fuse_read_in in = { .offset = 8192, .size = 65536 };

    decode(&c, &disk, FUSE_READ, &in, sizeof(in));
    assert_io(&c, CW_IO_READ, 8192, 65536);
    in.offset = SIZE - 4096;
    decode(&c, &disk, FUSE_READ, &in, sizeof(in));
    assert_io(&c, CW_IO_READ, SIZE - 4096, 4096);
    in.offset = SIZE;
    decode(&c, &disk, FUSE_READ, &in, sizeof(in));
    assert_int_equal(c.todo.kind, CW_FUSE_ANSWER);
    assert_int_equal(c.todo.error, 0);
    assert_int_equal(c.todo.answer_len, 0);
    in.offset = UINT64_MAX;
    decode(&c, &disk, FUSE_READ, &in, sizeof(in));
    assert_int_equal(c.todo.kind, CW_FUSE_ANSWER);
    in.offset = 0;
    in.size = CW_FUSE_DATA_MAX + 1;
    decode(&c, &disk, FUSE_READ, &in, sizeof(in));
    assert_refused(&c, -EINVAL);
}

static void
writes_stay_within_the_file_and_what_was_sent(void **state)
{
    struct call c;
    struct fuse_write_out out;

    do_write(&c, &disk, 512, 1024, 1024);
    assert_io(&c, CW_IO_WRITE, 512, 1024);
    assert_int_equal(c.todo.data[0], 0xa5);
    assert_ptr_equal(c.todo.data + 1024, c.bytes + c.len);
    memcpy(&out, c.todo.answer, sizeof(out));
    assert_int_equal(out.size, 1024);
    do_write(&c, &disk, 0, 4096, 1024); /* it says more than it has */
    assert_refused(&c, -EINVAL);
    do_write(&c, &disk, 0, 1024, 4096);
    assert_refused(&c, -EINVAL);
    do_write(&c, &disk, SIZE - 512, 1024, 1024); /* it was larger when this was sent */
    assert_refused(&c, -EIO);
    do_write(&c, &disk, UINT64_MAX - 511, 1024, 1024);
    assert_refused(&c, -EIO);
    do_write(&c, &disk, 0, 0, 0);
    assert_int_equal(c.todo.kind, CW_FUSE_ANSWER);
    assert_int_equal(c.todo.error, 0);
}

static void
discards_give_whole_blocks_back(void **state)
{
    struct call c;
    struct fuse_fallocate_in in = { .offset = 4096,
                                    .length = 1 * CW_MIB,
                                    .mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE };

    decode(&c, &disk, FUSE_FALLOCATE, &in, sizeof(in));
    assert_io(&c, CW_IO_TRIM, 4096, 1 * CW_MIB);
    in.offset = 512; /* what a hole reads as holds for parts of blocks, too */
    decode(&c, &disk, FUSE_FALLOCATE, &in, sizeof(in));
    assert_io(&c, CW_IO_ZERO, 512, 1 * CW_MIB);
    in.offset = 4096;
    in.mode = FALLOC_FL_ZERO_RANGE;
    decode(&c, &disk, FUSE_FALLOCATE, &in, sizeof(in));
    assert_io(&c, CW_IO_ZERO, 4096, 1 * CW_MIB);
    in.mode = 0; /* space is not promised */
    decode(&c, &disk, FUSE_FALLOCATE, &in, sizeof(in));
    assert_refused(&c, -EOPNOTSUPP);
    in.mode = FALLOC_FL_COLLAPSE_RANGE;
    decode(&c, &disk, FUSE_FALLOCATE, &in, sizeof(in));
    assert_refused(&c, -EOPNOTSUPP);
    in.mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    in.length = SIZE;
    decode(&c, &disk, FUSE_FALLOCATE, &in, sizeof(in));
    assert_refused(&c, -EIO);
}

static void
fsync_is_a_flush_of_the_volume(void **state)
{
    struct call c;
    struct fuse_fsync_in in = { .fsync_flags = 1 };

    decode(&c, &disk, FUSE_FSYNC, &in, sizeof(in));
    assert_io(&c, CW_IO_FLUSH, 0, 0);
}

static void
read_only_refuses_every_change(void **state)
{
    struct cw_fuse_disk d = disk;
    struct call c;
    struct fuse_fallocate_in hole = { .length = 4096,
                                      .mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE };
    struct fuse_read_in in = { .size = 4096 };

    d.read_only = true;
    do_write(&c, &d, 0, 512, 512);
    assert_refused(&c, -EROFS);
    decode(&c, &d, FUSE_FALLOCATE, &hole, sizeof(hole));
    assert_refused(&c, -EROFS);
    decode(&c, &d, FUSE_READ, &in, sizeof(in));
    assert_io(&c, CW_IO_READ, 0, 4096);
}

/* Nothing is read any more either: it may be another content than the device's user knows. */
static void
a_fenced_device_gives_errors_and_still_answers(void **state)
{
    struct cw_fuse_disk d = disk;
    struct call c;
    struct fuse_read_in in = { .size = 4096 };
    struct fuse_getattr_in get = { 0 };

    d.failed = true;
    decode(&c, &d, FUSE_READ, &in, sizeof(in));
    assert_refused(&c, -EIO);
    do_write(&c, &d, 0, 512, 512);
    assert_refused(&c, -EIO);
    decode(&c, &d, FUSE_FSYNC, NULL, 0);
    assert_refused(&c, -EIO);
    decode(&c, &d, FUSE_GETATTR, &get, sizeof(get));
    assert_int_equal(c.todo.error, 0);
}

static void
what_awaits_no_answer_gets_none(void **state)
{
    struct call c;

    decode(&c, &disk, FUSE_FORGET, "12345678", 8);
    assert_int_equal(c.todo.kind, CW_FUSE_DROP);
    decode(&c, &disk, FUSE_INTERRUPT, "12345678", 8);
    assert_int_equal(c.todo.kind, CW_FUSE_DROP);
    decode(&c, &disk, FUSE_LOOKUP, "x", 2);
    assert_refused(&c, -ENOSYS);
    cw_fuse_decode(&disk, c.bytes, sizeof(struct fuse_in_header) - 1, &c.todo);
    assert_int_equal(c.todo.kind, CW_FUSE_DROP);
}

/* Whatever the bytes are, nothing beyond them is looked at (ASan), no request leaves the file, and
 * an answer fits. */
static void
nonsense_is_survived(void **state)
{
    struct cw_prng rng;

    cw_prng_init(&rng, 5);
    for (int i = 0; i < 200000; i++) {
        struct call c;
        struct fuse_in_header h;
        size_t len = cw_prng_below(&rng, sizeof(h) + 200);
        uint8_t *exact = test_malloc(len > 0 ? len : 1);

        for (size_t k = 0; k < len; k++)
            exact[k] = (uint8_t)cw_prng_next(&rng);
        if (len >= sizeof(h)) {
            memcpy(&h, exact, sizeof(h));
            h.opcode = (uint32_t)cw_prng_below(&rng, 50);
            if (cw_prng_below(&rng, 4) != 0)
                h.len = (uint32_t)len;
            memcpy(exact, &h, sizeof(h));
        }
        cw_fuse_decode(&disk, exact, len, &c.todo);
        if (c.todo.kind == CW_FUSE_IO && c.todo.op != CW_IO_FLUSH) {
            assert_true(c.todo.len > 0 && c.todo.off <= SIZE && c.todo.len <= SIZE - c.todo.off);
            if (c.todo.op == CW_IO_WRITE)
                assert_true(c.todo.data >= exact && c.todo.data + c.todo.len <= exact + len);
        }
        assert_true(c.todo.answer_len <= CW_FUSE_ANSWER_MAX);
        test_free(exact);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_kernel_gets_what_it_knows),
        cmocka_unit_test(the_file_is_as_large_as_the_volume_and_stays_so),
        cmocka_unit_test(reads_end_where_the_file_ends),
        cmocka_unit_test(writes_stay_within_the_file_and_what_was_sent),
        cmocka_unit_test(discards_give_whole_blocks_back),
        cmocka_unit_test(fsync_is_a_flush_of_the_volume),
        cmocka_unit_test(read_only_refuses_every_change),
        cmocka_unit_test(a_fenced_device_gives_errors_and_still_answers),
        cmocka_unit_test(what_awaits_no_answer_gets_none),
        cmocka_unit_test(nonsense_is_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
