/* The vhost-user state machine against a volume in memory and a guest's real memfd, without
 * sockets. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/lib/cw-test.h"
#include "tests/unit/vhost/world.h"

static void
fill(uint8_t *p, size_t len, uint64_t seed)
{
    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)(1 + (seed + i * 7) % 251);
}

static uint32_t
n_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    uint32_t n = 0;

    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

static uint64_t
was_signalled(struct world *w)
{
    uint64_t n = 0;

    return read(w->call_fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

/* ---- data ---- */

static void
what_is_written_is_read(void **state)
{
    static const uint32_t lens[] = { 512, 1536, 4096, 65536, 1 << 20, (1 << 20) + 512, 5 << 20 };
    struct world *w = world_new((struct world_opts){ 0 });

    for (size_t i = 0; i < CW_LEN(lens); i++) {
        uint8_t *data = w->mem + WORLD_DATA;

        fill(data, lens[i], i);
        assert_int_equal(world_do(w, CW_BLK_T_OUT, 3 + i, lens[i], false), CW_BLK_S_OK);
        assert_memory_equal(w->disk + (3 + i) * 512, data, lens[i]);
        memset(data, 0, lens[i]);
        assert_int_equal(world_do(w, CW_BLK_T_IN, 3 + i, lens[i], true), CW_BLK_S_OK);
        assert_memory_equal(w->disk + (3 + i) * 512, data, lens[i]);
        assert_true(was_signalled(w));
    }
    assert_int_equal(world_do(w, CW_BLK_T_FLUSH, 0, 0, false), CW_BLK_S_OK);
    assert_int_equal(w->n_flushes, 1);
    assert_int_equal(world_do(w, CW_BLK_T_GET_ID, 0, 20, true), CW_BLK_S_OK);
    assert_string_equal((char *)w->mem + WORLD_DATA, "vm1");
    world_free(w);
}

/* What the guest does to its buffer once the request was taken changes nothing. */
static void
a_write_is_copied_once(void **state)
{
    struct world *w = world_new((struct world_opts){ 0 });
    uint8_t *data = w->mem + WORLD_DATA;

    fill(data, 4096, 1);
    world_request(w, 0, CW_BLK_T_OUT, 0, WORLD_DATA, 4096, false);
    world_kick(w);
    memset(data, 0xff, 4096);
    ((struct cw_blk_header *)(void *)(w->mem + WORLD_HEADS))->sector = 77;
    world_run(w);
    fill(data, 4096, 1);
    assert_memory_equal(w->disk, data, 4096);
    assert_true(w->disk[77 * 512] == 0);
    world_free(w);
}

static void
bad_requests_are_refused(void **state)
{
    struct world *w = world_new((struct world_opts){ 0 });
    uint64_t end = WORLD_DISK / 512;

    assert_int_equal(world_do(w, CW_BLK_T_IN, end, 512, true), CW_BLK_S_IOERR);
    assert_int_equal(world_do(w, CW_BLK_T_IN, end - 1, 1024, true), CW_BLK_S_IOERR);
    assert_int_equal(world_do(w, CW_BLK_T_OUT, UINT64_MAX, 512, false), CW_BLK_S_IOERR);
    assert_int_equal(world_do(w, CW_BLK_T_OUT, UINT64_MAX / 512 + 1, 512, false), CW_BLK_S_IOERR);
    assert_int_equal(world_do(w, CW_BLK_T_OUT, 0, 511, false), CW_BLK_S_IOERR);
    assert_int_equal(world_do(w, CW_BLK_T_OUT, 0, (32u << 20) + 512, false), CW_BLK_S_IOERR);
    assert_int_equal(world_do(w, 99, 0, 512, false), CW_BLK_S_UNSUPP);
    assert_int_equal(world_do(w, CW_BLK_T_DISCARD, 0, 17, false), CW_BLK_S_IOERR);
    assert_int_equal(world_do(w, CW_BLK_T_DISCARD, 0, 33 * 16, false), CW_BLK_S_IOERR);
    assert_int_equal(w->n_submitted, 0);
    world_request(w, 0, CW_BLK_T_OUT, 0, WORLD_MEM - 512, 1024, false); /* half outside */
    world_kick(w);
    world_run(w);
    assert_int_equal(world_reap(w), 0);
    assert_int_equal(world_status(w, 0), CW_BLK_S_IOERR);
    w->fail = -EIO;
    assert_int_equal(world_do(w, CW_BLK_T_IN, 0, 512, true), CW_BLK_S_IOERR);
    assert_int_equal(world_do(w, CW_BLK_T_FLUSH, 0, 0, false), CW_BLK_S_IOERR);
    w->fail = 0;
    assert_int_equal(world_do(w, CW_BLK_T_IN, 0, 512, true), CW_BLK_S_OK);
    world_free(w);
}

static int
range_do(struct world *w, uint32_t type, uint64_t sector, uint32_t n, uint32_t flags)
{
    struct cw_blk_range r = { sector, n, flags };

    memcpy(w->mem + WORLD_DATA, &r, sizeof(r));
    return world_do(w, type, 0, sizeof(r), false);
}

static void
zeroing_chooses_its_operation(void **state)
{
    struct world *w = world_new((struct world_opts){ 0 });

    memset(w->disk, 1, 1 << 20);
    assert_int_equal(range_do(w, CW_BLK_T_WRITE_ZEROES, 8, 16, 1), CW_BLK_S_OK);
    assert_int_equal(w->n_trims, 1);
    assert_int_equal(range_do(w, CW_BLK_T_WRITE_ZEROES, 32, 16, 0), CW_BLK_S_OK);
    assert_int_equal(range_do(w, CW_BLK_T_WRITE_ZEROES, 65, 3, 1), CW_BLK_S_OK);
    assert_int_equal(w->n_zeroes, 2);
    assert_int_equal(range_do(w, CW_BLK_T_DISCARD, 80, 8, 0), CW_BLK_S_OK);
    assert_int_equal(w->n_trims, 2);
    assert_int_equal(range_do(w, CW_BLK_T_DISCARD, 80, 8, 1), CW_BLK_S_UNSUPP);
    assert_int_equal(range_do(w, CW_BLK_T_WRITE_ZEROES, 80, 8, 2), CW_BLK_S_UNSUPP);
    assert_int_equal(range_do(w, CW_BLK_T_WRITE_ZEROES, WORLD_DISK / 512 - 1, 2, 0),
                     CW_BLK_S_IOERR);
    assert_int_equal(range_do(w, CW_BLK_T_DISCARD, UINT64_MAX - 3, UINT32_MAX, 0), CW_BLK_S_IOERR);
    assert_int_equal(w->disk[8 * 512], 0);
    assert_int_equal(w->disk[64 * 512], 1);
    assert_int_equal(w->disk[65 * 512], 0);
    world_free(w);
}

static void
a_read_only_disk_is_not_written(void **state)
{
    struct world *w = world_new((struct world_opts){ .read_only = true });

    assert_true((w->features & CW_BIT(CW_BLK_F_RO)) != 0);
    assert_int_equal(world_do(w, CW_BLK_T_OUT, 0, 512, false), CW_BLK_S_IOERR);
    assert_int_equal(range_do(w, CW_BLK_T_WRITE_ZEROES, 0, 8, 0), CW_BLK_S_IOERR);
    assert_int_equal(w->n_submitted, 0);
    assert_int_equal(world_do(w, CW_BLK_T_IN, 0, 512, true), CW_BLK_S_OK);
    world_free(w);
}

/* A driver that does not know FLUSH is answered once its write is durable. */
static void
without_flush_writes_are_flushed(void **state)
{
    struct world *w = world_new((struct world_opts){ .without = CW_BIT(CW_BLK_F_FLUSH) });

    assert_int_equal(world_do(w, CW_BLK_T_OUT, 0, 512, false), CW_BLK_S_OK);
    assert_int_equal(w->n_flushes, 1);
    assert_int_equal(world_do(w, CW_BLK_T_IN, 0, 512, true), CW_BLK_S_OK);
    assert_int_equal(w->n_flushes, 1);
    world_free(w);
}

/* However much is asked for, memory is bounded and everything is answered. */
static void
an_empty_pool_is_waited_for(void **state)
{
    struct world *w = world_new((struct world_opts){ .memory = 4u << 20 });
    uint32_t done = 0;

    for (uint16_t i = 0; i < 20; i++)
        world_request(w, i * 3, i % 2 ? CW_BLK_T_IN : CW_BLK_T_OUT, i * 6144, WORLD_DATA, 3u << 20,
                      i % 2);
    world_kick(w);
    while (!cw_list_empty(&w->ios)) {
        assert_true(cw_buf_pool_used(w->pool) <= 4u << 20);
        world_run(w);
    }
    for (int head; (head = world_reap(w)) >= 0; done++)
        assert_int_equal(world_status(w, (uint16_t)head), CW_BLK_S_OK);
    assert_int_equal(done, 20);
    world_free(w);
}

/* ---- rings and memory while requests are under way ---- */

static void
a_stop_waits_for_what_is_under_way(void **state)
{
    struct world *w = world_new((struct world_opts){ .keep = true });
    struct cw_vu_state s = { 0 };

    world_request(w, 0, CW_BLK_T_OUT, 0, WORLD_DATA, 512, false);
    world_kick(w);
    assert_null(world_ask(w, CW_VU_GET_VRING_BASE, &s, sizeof(s)));
    world_turn(w);
    assert_int_equal(w->n_reply, 0);
    assert_false(cw_vhost_ready(w->d));
    world_request(w, 3, CW_BLK_T_OUT, 0, WORLD_DATA, 512, false); /* is not taken any more */
    world_kick(w);
    world_run(w);
    assert_int_equal(w->n_reply, sizeof(struct cw_vu_header) + sizeof(s));
    memcpy(&s, w->reply + sizeof(struct cw_vu_header), sizeof(s));
    assert_int_equal(s.num, 1);
    assert_int_equal(world_reap(w), 0);
    assert_int_equal(world_reap(w), -1);
    assert_true(cw_vhost_ready(w->d));
    world_free(w);
}

static void
a_reset_ends_all_rings(void **state)
{
    struct world *w = world_new((struct world_opts){ 0 });

    world_request(w, 0, CW_BLK_T_OUT, 0, WORLD_DATA, 512, false);
    world_kick(w);
    assert_null(world_ask(w, CW_VU_RESET_DEVICE, "", 0));
    world_run(w);
    assert_true(cw_vhost_ready(w->d));
    assert_int_equal(world_reap(w), 0);
    world_request(w, 3, CW_BLK_T_OUT, 0, WORLD_DATA, 512, false);
    world_kick(w);
    assert_int_equal(w->n_submitted, 1);
    world_free(w);
}

/* Regions may come and go beside a ring that runs; without the ring's own it is over. Results do
 * not go to memory that is not the guest's any more. */
static void
memory_may_go_while_requests_are_under_way(void **state)
{
    struct world *w = world_new((struct world_opts){ 0 });
    struct cw_vu_table t = { .n_regions = 1,
                             .region[0] = { WORLD_GUEST, WORLD_DATA, WORLD_USER, 0 } };

    world_request(w, 0, CW_BLK_T_IN, 0, WORLD_DATA, 512, true);
    world_request(w, 3, CW_BLK_T_OUT, 0, WORLD_DATA, 512, false);
    world_kick(w);
    assert_true(world_tell(w, CW_VU_SET_MEM_TABLE, &t, sizeof(t), w->mem_fd));
    world_run(w);
    assert_int_equal(world_reap(w), 0);
    assert_int_equal(world_status(w, 0), CW_BLK_S_IOERR); /* its data has nowhere to go */
    assert_int_equal(world_reap(w), 3);
    assert_int_equal(world_status(w, 3), CW_BLK_S_OK);
    world_request(w, 0, CW_BLK_T_IN, 0, WORLD_HEADS + 4096, 512, true);
    world_kick(w);
    t.n_regions = 0;
    assert_true(world_tell(w, CW_VU_SET_MEM_TABLE, &t, 8, -1));
    assert_true(cw_vhost_broken(w->d));
    world_run(w);
    assert_int_equal(world_reap(w), -1);
    assert_int_equal(world_status(w, 0), 0xee);
    world_free(w);
}

static void
a_killed_back_end_makes_requests_again(void **state)
{
    struct world_opts o = { .keep = true };
    struct world *w = world_new(o);

    for (uint16_t i = 0; i < 5; i++)
        world_request(w, i * 3, CW_BLK_T_OUT, i, WORLD_DATA, 512, false);
    world_kick(w);
    assert_int_equal(w->n_submitted, 5);
    world_request(w, 15, CW_BLK_T_IN, 0, WORLD_DATA, 512, true);
    world_reconnect(w, o);
    assert_int_equal(world_reap(w), -1);
    world_run(w);
    assert_int_equal(w->n_submitted, 11);
    for (int i = 0; i < 6; i++)
        assert_int_equal(world_reap(w), i * 3);
    assert_int_equal(world_reap(w), -1);
    world_free(w);
}

/* Somebody else has the volume: the guest is told, and must not go on later as if nothing were. */
static void
the_fenced_fail(void **state)
{
    struct world_opts o = { .keep = true };
    struct world *w = world_new(o);

    w->fail = -ESHUTDOWN;
    assert_int_equal(world_do(w, CW_BLK_T_OUT, 0, 512, false), CW_BLK_S_IOERR);
    w->fail = 0;
    world_reconnect(w, o);
    world_run(w);
    assert_int_equal(w->n_submitted, 1);
    world_free(w);
}

/* ---- messages ---- */

/* ---- what was written is noted, for who sends the memory elsewhere ---- */

#define LOG_BYTES ((WORLD_GUEST + WORLD_MEM) / CW_VU_LOG_PAGE / 8)

static uint32_t
log_count(const uint8_t *log)
{
    uint32_t n = 0;

    for (size_t i = 0; i < LOG_BYTES; i++)
        n += (uint32_t)__builtin_popcount(log[i]);
    return n;
}

static bool
log_has(const uint8_t *log, uint64_t offset)
{
    return cw_bit_get((const uint64_t *)(const void *)log, (WORLD_GUEST + offset) / CW_VU_LOG_PAGE);
}

static void
what_is_written_is_noted(void **state)
{
    struct world *w = world_new((struct world_opts){ 0 });
    struct cw_vu_log base = { .mmap_size = LOG_BYTES };
    int fd = memfd_create("log", MFD_CLOEXEC);
    uint64_t features = w->features | CW_BIT(CW_VU_F_LOG_ALL);
    uint8_t *log;

    assert_int_equal(w->n_starts, 1);
    assert_int_equal(ftruncate(fd, LOG_BYTES), 0);
    log = mmap(NULL, LOG_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(log != MAP_FAILED);
    assert_true(world_tell(w, CW_VU_SET_LOG_BASE, &base, sizeof(base), fd));
    assert_int_equal(world_do(w, CW_BLK_T_IN, 0, 8192, true), CW_BLK_S_OK);
    assert_int_equal(log_count(log), 0);                              /* it was not asked for yet */
    assert_true(world_tell(w, CW_VU_SET_FEATURES, &features, 8, -1)); /* while the ring runs */
    assert_int_equal(world_do(w, CW_BLK_T_OUT, 0, 8192, false), CW_BLK_S_OK);
    assert_true(log_has(log, WORLD_HEADS)); /* the status */
    assert_false(log_has(log, WORLD_DATA));
    assert_int_equal(log_count(log), 2); /* .. and the used ring */
    assert_int_equal(world_do(w, CW_BLK_T_IN, 0, 8192 + 512, true), CW_BLK_S_OK);
    for (uint32_t page = 0; page < 4; page++)
        assert_int_equal(log_has(log, WORLD_DATA + page * CW_VU_LOG_PAGE), page < 3);
    assert_int_equal(log_count(log), 5);
    memset(log, 0, LOG_BYTES);
    assert_true(world_tell(w, CW_VU_SET_FEATURES, &w->features, 8, -1));
    assert_int_equal(world_do(w, CW_BLK_T_IN, 0, 8192, true), CW_BLK_S_OK);
    assert_int_equal(log_count(log), 0);
    base.mmap_size = LOG_BYTES / 2; /* the guest's memory lies behind its end */
    assert_true(world_tell(w, CW_VU_SET_LOG_BASE, &base, sizeof(base), fd));
    assert_true(world_tell(w, CW_VU_SET_FEATURES, &features, 8, -1));
    assert_int_equal(world_do(w, CW_BLK_T_IN, 0, 8192, true), CW_BLK_S_OK);
    assert_int_equal(log_count(log), 0);
    munmap(log, LOG_BYTES);
    close(fd);
    world_free(w);
}

/* Nothing is written that could not be noted. */
static void
a_log_that_cannot_be_mapped_hangs_up(void **state)
{
    struct cw_vu_log base[] = { { .mmap_size = LOG_BYTES + 1 },
                                { .mmap_size = 0 },
                                { .mmap_size = 8, .mmap_offset = UINT64_MAX - 4 } };

    for (size_t i = 0; i <= CW_LEN(base); i++) {
        struct world *w = world_new((struct world_opts){ 0 });
        int fd = i < CW_LEN(base) ? memfd_create("log", MFD_CLOEXEC) : -1;

        assert_true(fd < 0 || ftruncate(fd, LOG_BYTES) == 0);
        assert_false(
            world_tell(w, CW_VU_SET_LOG_BASE, &base[i % CW_LEN(base)], sizeof(base[0]), fd));
        assert_true(cw_vhost_broken(w->d));
        if (fd >= 0)
            close(fd);
        world_free(w);
    }
}

static void
config_tells_the_disk(void **state)
{
    struct world *w = world_new((struct world_opts){ 0 });
    struct cw_vu_config ask = { 0, 60, 0 };
    struct cw_blk_config c = { 0 };
    uint8_t payload[12 + 60] = { 0 };

    memcpy(payload, &ask, sizeof(ask));
    memcpy(&c, (const uint8_t *)world_ask(w, CW_VU_GET_CONFIG, payload, sizeof(payload)) + 12, 60);
    assert_int_equal(c.capacity, WORLD_DISK / 512);
    assert_int_equal(c.blk_size, 512);
    assert_int_equal(c.physical_block_exp, 3);
    assert_int_equal(c.num_queues, 1);
    assert_int_equal(c.seg_max, 126);
    ask.offset = UINT32_MAX;
    memcpy(payload, &ask, sizeof(ask));
    (void)world_ask(w, CW_VU_GET_CONFIG, payload, sizeof(payload));
    assert_int_equal(w->n_reply, sizeof(struct cw_vu_header));
    assert_false(world_tell(w, CW_VU_SET_CONFIG, payload, sizeof(payload), -1));
    cw_vhost_set_size(w->d, 2 * WORLD_DISK);
    assert_int_equal(w->n_config_changes, 1);
    world_free(w);
}

/* Whatever a message says, the descriptors that came with it are closed, and nothing breaks. */
static void
descriptors_are_closed(void **state)
{
    struct world *w = world_new((struct world_opts){ .keep = true });
    uint32_t before = n_fds();
    uint64_t seed = 7;

    for (uint32_t n = 0; n < 20000; n++) {
        struct cw_vhost_msg m = { .head = { .request = n % 45, .flags = CW_VU_VERSION } };

        seed = cw_mix64(seed + n);
        m.head.flags |= CW_VU_NEED_REPLY;
        m.head.size = seed % 64;
        for (uint32_t i = 0; i < m.head.size; i++)
            m.payload[i] =
                seed >> 60 ? (uint8_t)(cw_mix64(seed + i) % 3) : (uint8_t)(seed >> i % 56);
        for (m.n_fds = 0; m.n_fds < (seed >> 8) % 4; m.n_fds++)
            m.fds[m.n_fds] = dup(seed >> 12 & 1 ? w->mem_fd : w->call_fd);
        w->n_reply = 0;
        if (!cw_vhost_ready(w->d))
            break;
        cw_vhost_message(w->d, &m);
        assert_int_equal(m.n_fds, 0);
        world_run(w);
    }
    cw_vhost_dead(w->d);
    assert_true(n_fds() <= before);
    world_free(w);
}

static void
files_that_are_too_short_are_not_mapped(void **state)
{
    struct world *w = world_new((struct world_opts){ 0 });
    struct cw_vu_one_region one = { .region = { WORLD_GUEST + WORLD_MEM, 4096,
                                                WORLD_USER + WORLD_MEM, WORLD_MEM } };

    assert_false(world_tell(w, CW_VU_ADD_MEM_REG, &one, sizeof(one), w->mem_fd));
    one.region.mmap_offset = UINT64_MAX - 4095;
    assert_false(world_tell(w, CW_VU_ADD_MEM_REG, &one, sizeof(one), w->mem_fd));
    one.region.mmap_offset = 0;
    assert_false(world_tell(w, CW_VU_ADD_MEM_REG, &one, sizeof(one), w->call_fd));
    assert_true(world_tell(w, CW_VU_ADD_MEM_REG, &one, sizeof(one), w->mem_fd));
    assert_false(world_tell(w, CW_VU_ADD_MEM_REG, &one, sizeof(one), w->mem_fd));
    assert_true(world_tell(w, CW_VU_REM_MEM_REG, &one, sizeof(one), -1));
    assert_false(world_tell(w, CW_VU_REM_MEM_REG, &one, sizeof(one), -1));
    assert_int_equal(world_do(w, CW_BLK_T_IN, 0, 512, true), CW_BLK_S_OK);
    world_free(w);
}

/* The machine's memory is cut off under us: we hang up, and live. */
static void
memory_that_becomes_shorter_is_survived(void **state)
{
    struct world *w = world_new((struct world_opts){ 0 });

    world_request(w, 0, CW_BLK_T_OUT, 0, WORLD_DATA, 4096, false);
    assert_int_equal(ftruncate(w->mem_fd, WORLD_DATA), 0);
    world_kick(w);
    assert_int_equal(w->n_submitted, 0); /* zeroes are not what the guest wrote */
    world_turn(w);
    assert_true(cw_vhost_broken(w->d));
    world_free(w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(a_write_is_copied_once),
        cmocka_unit_test(bad_requests_are_refused),
        cmocka_unit_test(zeroing_chooses_its_operation),
        cmocka_unit_test(a_read_only_disk_is_not_written),
        cmocka_unit_test(without_flush_writes_are_flushed),
        cmocka_unit_test(an_empty_pool_is_waited_for),
        cmocka_unit_test(a_stop_waits_for_what_is_under_way),
        cmocka_unit_test(a_reset_ends_all_rings),
        cmocka_unit_test(memory_may_go_while_requests_are_under_way),
        cmocka_unit_test(a_killed_back_end_makes_requests_again),
        cmocka_unit_test(the_fenced_fail),
        cmocka_unit_test(what_is_written_is_noted),
        cmocka_unit_test(a_log_that_cannot_be_mapped_hangs_up),
        cmocka_unit_test(config_tells_the_disk),
        cmocka_unit_test(descriptors_are_closed),
        cmocka_unit_test(files_that_are_too_short_are_not_mapped),
        cmocka_unit_test(memory_that_becomes_shorter_is_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
