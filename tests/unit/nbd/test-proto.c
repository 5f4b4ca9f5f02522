/* The NBD state machine against a volume in memory, without sockets. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "client/nbd/conn.h"
#include "tests/unit/nbd/world.h"

static void
fill(uint8_t *p, size_t len, uint64_t seed)
{
    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)(1 + (seed + i * 7) % 251);
}

/* A GO tells size, flags and block sizes, and the session begins. */
static void
go_begins_a_session(void **state)
{
    struct world *w = world_new();
    struct option_reply r;
    bool saw_export = false, saw_blocks = false;

    world_handshake(w, 3);
    world_go(w, CW_NBD_OPT_GO, "vm1");
    assert_true(w->wants_attach);
    w->wants_attach = false;
    cw_nbd_on_export(w->c, CW_NBD_RES_OK, w->size, NULL);
    while ((r = world_option_reply(w)).type == CW_NBD_REP_INFO) {
        if (cw_be16_get(r.data) == CW_NBD_INFO_EXPORT) {
            saw_export = true;
            assert_int_equal(cw_be64_get(r.data + 2), w->size);
            assert_int_equal(cw_be16_get(r.data + 10), 0xd6d & ~CW_NBD_SEND_DF & 0xffff);
        } else if (cw_be16_get(r.data) == CW_NBD_INFO_BLOCK_SIZE) {
            saw_blocks = true;
            assert_int_equal(cw_be32_get(r.data + 2), 512);
            assert_int_equal(cw_be32_get(r.data + 6), 4096);
            assert_int_equal(cw_be32_get(r.data + 10), 32 << 20);
        }
    }
    assert_int_equal(r.type, CW_NBD_REP_ACK);
    assert_true(saw_export && saw_blocks);
    world_request(w, CW_NBD_CMD_FLUSH, 0, 7, 0, 0, NULL);
    world_complete(w);
    assert_int_equal(world_simple(w, 7), 0);
    world_free(w);
}

/* EXPORT_NAME answers with ten bytes, and 124 zeroes unless the client declined them. */
static void
export_name_has_no_header(void **state)
{
    for (uint32_t flags = 1; flags <= 3; flags += 2) {
        struct world *w = world_new();
        const uint8_t *p;

        world_handshake(w, flags);
        world_option(w, CW_NBD_OPT_EXPORT_NAME, "vm1", 3);
        assert_true(w->wants_attach);
        w->wants_attach = false;
        cw_nbd_on_export(w->c, CW_NBD_RES_OK, w->size, NULL);
        p = world_take(w, flags == 1 ? 134 : 10);
        assert_int_equal(cw_be64_get(p), w->size);
        assert_true(world_is_silent(w));
        world_free(w);
    }
}

/* An export that cannot be had ends an EXPORT_NAME session, and is a text for GO, which may try
 * again. */
static void
refusals_are_told(void **state)
{
    struct world *w = world_new();
    struct option_reply r;

    world_handshake(w, 3);
    for (int i = 0; i < 3; i++) {
        static const enum cw_nbd_res res[] = { CW_NBD_RES_UNKNOWN, CW_NBD_RES_REFUSED,
                                               CW_NBD_RES_SHUTDOWN };
        static const uint32_t type[] = { CW_NBD_REP_ERR_UNKNOWN, CW_NBD_REP_ERR_POLICY,
                                         CW_NBD_REP_ERR_SHUTDOWN };

        world_go(w, CW_NBD_OPT_GO, "vm1");
        w->wants_attach = false;
        cw_nbd_on_export(w->c, res[i], 0, "VOLUME_IN_USE");
        r = world_option_reply(w);
        assert_int_equal(r.type, type[i]);
        assert_memory_equal(r.data, "VOLUME_IN_USE", r.len);
    }
    world_option(w, CW_NBD_OPT_EXPORT_NAME, "vm1", 3);
    w->wants_attach = false;
    cw_nbd_on_export(w->c, CW_NBD_RES_UNKNOWN, 0, "no such volume");
    assert_true(cw_nbd_over(w->c));
    assert_true(world_is_silent(w));
    world_free(w);
}

/* LIST and INFO never attach. */
static void
list_and_info_do_not_attach(void **state)
{
    static const char *const names[] = { "a", "vm1" };
    struct world *w = world_new();
    struct option_reply r;

    world_handshake(w, 3);
    world_option(w, CW_NBD_OPT_LIST, NULL, 0);
    assert_true(w->wants_list);
    w->wants_list = false;
    cw_nbd_on_list(w->c, CW_NBD_RES_OK, names, 2, NULL);
    r = world_option_reply(w);
    assert_int_equal(r.type, CW_NBD_REP_SERVER);
    assert_int_equal(cw_be32_get(r.data), 1);
    r = world_option_reply(w);
    assert_memory_equal(r.data + 4, "vm1", 3);
    assert_int_equal(world_option_reply(w).type, CW_NBD_REP_ACK);

    world_go(w, CW_NBD_OPT_INFO, "vm1");
    assert_true(w->wants_info);
    w->wants_info = false;
    cw_nbd_on_export(w->c, CW_NBD_RES_OK, 4096, NULL);
    while (world_option_reply(w).type != CW_NBD_REP_ACK)
        ;
    assert_false(w->wants_attach);
    assert_false(cw_nbd_negotiated(w->c));
    world_option(w, CW_NBD_OPT_ABORT, NULL, 0);
    assert_int_equal(world_option_reply(w).type, CW_NBD_REP_ACK);
    assert_true(cw_nbd_over(w->c));
    world_free(w);
}

/* TLS, contexts of others, unknown and malformed options are declined and the session goes on. */
static void
odd_options_are_declined(void **state)
{
    static const uint8_t meta[] = { 0, 0, 0, 3, 'v', 'm', '1', 0,   0,   0,
                                    1, 0, 0, 0, 5,   'b', 'a', 's', 'e', ':' };
    struct world *w = world_new();
    uint8_t *big = calloc(1, 100000);

    world_handshake(w, 3);
    world_option(w, CW_NBD_OPT_STARTTLS, NULL, 0);
    assert_int_equal(world_option_reply(w).type, CW_NBD_REP_ERR_UNSUP);
    world_option(w, 77, big, 99999);
    assert_int_equal(world_option_reply(w).type, CW_NBD_REP_ERR_UNSUP);
    world_option(w, 78, big, 0);
    assert_int_equal(world_option_reply(w).type, CW_NBD_REP_ERR_UNSUP);
    world_option(w, CW_NBD_OPT_GO, big, 20000);
    assert_int_equal(world_option_reply(w).type, CW_NBD_REP_ERR_TOO_BIG);
    world_option(w, CW_NBD_OPT_GO, "\377\377\377\377\0\0", 6);
    assert_int_equal(world_option_reply(w).type, CW_NBD_REP_ERR_INVALID);
    world_option(w, CW_NBD_OPT_GO, "", 0);
    assert_int_equal(world_option_reply(w).type, CW_NBD_REP_ERR_INVALID);
    world_option(w, CW_NBD_OPT_LIST, big, 1);
    assert_int_equal(world_option_reply(w).type, CW_NBD_REP_ERR_INVALID);
    world_option(w, CW_NBD_OPT_SET_META_CONTEXT, meta, sizeof(meta));
    assert_int_equal(world_option_reply(w).type, CW_NBD_REP_ERR_INVALID);
    world_option(w, CW_NBD_OPT_STRUCTURED_REPLY, NULL, 0);
    assert_int_equal(world_option_reply(w).type, CW_NBD_REP_ACK);
    world_option(w, CW_NBD_OPT_SET_META_CONTEXT, meta, sizeof(meta));
    assert_int_equal(world_option_reply(w).type, CW_NBD_REP_ACK);
    world_option(w, CW_NBD_OPT_LIST_META_CONTEXT, meta, sizeof(meta) - 1);
    assert_int_equal(world_option_reply(w).type, CW_NBD_REP_ERR_INVALID);
    assert_true(world_is_silent(w));
    world_go(w, CW_NBD_OPT_GO, "vm1");
    assert_true(w->wants_attach);
    free(big);
    world_free(w);
}

/* ---- block status ---- */

static void
ask_contexts(struct world *w, uint32_t opt, const char *name, const char *query)
{
    uint8_t data[512];
    uint32_t n = (uint32_t)strlen(name);
    uint8_t *p = cw_be32_put(data, n);

    memcpy(p, name, n);
    p = cw_be32_put(p + n, query != NULL);
    if (query != NULL) {
        p = cw_be32_put(p, (uint32_t)strlen(query));
        memcpy(p, query, strlen(query));
        p += strlen(query);
    }
    world_option(w, opt, data, (uint32_t)(p - data));
}

static void
expect_context(struct world *w, uint32_t id)
{
    struct option_reply r = world_option_reply(w);

    assert_int_equal(r.type, CW_NBD_REP_META_CONTEXT);
    assert_int_equal(r.len, 4 + 15);
    assert_int_equal(cw_be32_get(r.data), id);
    assert_memory_equal(r.data + 4, "base:allocation", 15);
}

static void
expect_ack(struct world *w)
{
    assert_int_equal(world_option_reply(w).type, CW_NBD_REP_ACK);
    assert_true(world_is_silent(w));
}

static struct world *
status_world(const char *chosen_for)
{
    struct world *w = world_new();

    world_handshake(w, 3);
    world_option(w, CW_NBD_OPT_STRUCTURED_REPLY, NULL, 0);
    expect_ack(w);
    ask_contexts(w, CW_NBD_OPT_SET_META_CONTEXT, chosen_for, "base:allocation");
    expect_context(w, CW_NBD_META_ID);
    expect_ack(w);
    world_go(w, CW_NBD_OPT_GO, "vm1");
    w->wants_attach = false;
    cw_nbd_on_export(w->c, CW_NBD_RES_OK, w->size, NULL);
    while (world_option_reply(w).type != CW_NBD_REP_ACK)
        ;
    return w;
}

/* Asks; returns the number of runs, or minus the error. */
static int
ask_status(struct world *w, uint16_t flags, uint64_t off, uint32_t len, struct nbd_run *runs)
{
    const uint8_t *h, *p;
    uint32_t n;

    world_request(w, CW_NBD_CMD_BLOCK_STATUS, flags, 7, off, len, NULL);
    world_complete(w);
    h = world_take(w, CW_NBD_CHUNK_SIZE);
    n = cw_be32_get(h + 16);
    p = world_take(w, n);
    assert_true(world_is_silent(w));
    assert_int_equal(cw_be32_get(h), CW_NBD_STRUCTURED_MAGIC);
    assert_int_equal(cw_be16_get(h + 4), CW_NBD_CHUNK_DONE);
    assert_int_equal(cw_be64_get(h + 8), 7);
    if (cw_be16_get(h + 6) == CW_NBD_CHUNK_ERROR)
        return -(int)cw_be32_get(p);
    assert_int_equal(cw_be16_get(h + 6), CW_NBD_CHUNK_BLOCK_STATUS);
    assert_int_equal(cw_be32_get(p), CW_NBD_META_ID);
    assert_true(n >= 12 && (n - 4) % 8 == 0);
    n = (n - 4) / 8;
    assert_true(n <= NBD_STATUS_RUNS_MAX);
    for (uint32_t i = 0; i < n; i++)
        runs[i] = (struct nbd_run){ cw_be32_get(p + 4 + 8 * i), cw_be32_get(p + 8 + 8 * i) };
    return (int)n;
}

/* Listing takes the namespace or nothing for everything, choosing takes names only; the last choice
 * counts, and for its export only. */
static void
contexts_are_listed_and_chosen(void **state)
{
    struct nbd_run runs[NBD_STATUS_RUNS_MAX];
    struct world *w = world_new();

    world_handshake(w, 3);
    ask_contexts(w, CW_NBD_OPT_LIST_META_CONTEXT, "vm1", NULL);
    assert_int_equal(world_option_reply(w).type, CW_NBD_REP_ERR_INVALID);
    world_option(w, CW_NBD_OPT_STRUCTURED_REPLY, NULL, 0);
    expect_ack(w);
    ask_contexts(w, CW_NBD_OPT_LIST_META_CONTEXT, "vm1", NULL);
    expect_context(w, 0);
    expect_ack(w);
    ask_contexts(w, CW_NBD_OPT_LIST_META_CONTEXT, "", "base:");
    expect_context(w, 0);
    expect_ack(w);
    ask_contexts(w, CW_NBD_OPT_LIST_META_CONTEXT, "", "qemu:");
    expect_ack(w);
    ask_contexts(w, CW_NBD_OPT_SET_META_CONTEXT, "vm1", "base:allocation");
    expect_context(w, CW_NBD_META_ID);
    expect_ack(w);
    ask_contexts(w, CW_NBD_OPT_SET_META_CONTEXT, "vm1", "base:");
    expect_ack(w); /* nothing is chosen any more */
    world_go(w, CW_NBD_OPT_GO, "vm1");
    w->wants_attach = false;
    cw_nbd_on_export(w->c, CW_NBD_RES_OK, w->size, NULL);
    while (world_option_reply(w).type != CW_NBD_REP_ACK)
        ;
    assert_int_equal(ask_status(w, 0, 0, 4096, runs), -CW_NBD_EINVAL);
    world_free(w);

    w = status_world("vm2");
    assert_int_equal(ask_status(w, 0, 0, 4096, runs), -CW_NBD_EINVAL);
    world_free(w);
}

static void
expect_run(const struct nbd_run *r, uint32_t len, bool hole)
{
    assert_int_equal(r->len, len);
    assert_int_equal(r->state, hole ? CW_NBD_STATE_HOLE | CW_NBD_STATE_ZERO : 0);
}

static void
status_tells_holes_from_data(void **state)
{
    const uint32_t mib = 1 << 20;
    struct nbd_run runs[NBD_STATUS_RUNS_MAX];
    struct world *w = status_world("vm1");

    assert_int_equal(ask_status(w, 0, 0, (uint32_t)w->size, runs), 1);
    expect_run(&runs[0], CW_NBD_STATUS_MAX, true); /* no further, over piece borders */
    w->disk[3 * mib + 5] = 1;
    w->disk[8 * mib - 1] = 1;
    assert_int_equal(ask_status(w, 0, 0, 10 * mib, runs), 5);
    expect_run(&runs[0], 3 * mib, true);
    expect_run(&runs[1], 4096, false);
    expect_run(&runs[2], 5 * mib - 8192, true);
    expect_run(&runs[3], 4096, false);
    expect_run(&runs[4], 2 * mib, true);
    assert_int_equal(ask_status(w, CW_NBD_CMD_REQ_ONE, mib, 10 * mib, runs), 1);
    expect_run(&runs[0], 2 * mib, true);
    assert_int_equal(ask_status(w, 0, 3 * mib + 512, 512, runs), 1);
    expect_run(&runs[0], 512, true);
    assert_int_equal(ask_status(w, 0, w->size - 512, 512, runs), 1);
    expect_run(&runs[0], 512, true);

    memset(w->disk + 16 * mib, 1, 16 * mib); /* an answer ends soon after data was found */
    assert_int_equal(ask_status(w, 0, 15 * mib, 17 * mib, runs), 2);
    expect_run(&runs[0], mib, true);
    expect_run(&runs[1], CW_NBD_STATUS_DATA_MAX, false);

    /* what is discarded becomes a hole */
    world_request(w, CW_NBD_CMD_TRIM, 0, 9, 16 * mib, mib, NULL);
    world_complete(w);
    assert_int_equal(world_simple(w, 9), CW_NBD_OK);
    assert_int_equal(ask_status(w, 0, 16 * mib, 2 * mib, runs), 2);
    expect_run(&runs[0], mib, true);
    expect_run(&runs[1], mib, false);
    world_free(w);
}

/* As many runs as there can be: the answer stays bounded and the client gets on. */
static void
status_of_a_patchwork_is_bounded(void **state)
{
    struct nbd_run runs[NBD_STATUS_RUNS_MAX];
    struct world *w = status_world("vm1");
    uint64_t size = 8 << 20, n_data = 0;

    for (uint64_t at = 0; at < size; at += 36864)
        w->disk[at] = 1;
    for (uint64_t at = 0; at < size;) {
        int n = ask_status(w, 0, at, (uint32_t)(size - at), runs);

        assert_true(n > 0);
        for (int i = 0; i < n; i++) {
            if (runs[i].state == 0)
                n_data += runs[i].len;
            for (uint64_t b = at; runs[i].state != 0 && b < at + runs[i].len; b += 4096)
                assert_int_equal(w->disk[b], 0);
            at += runs[i].len;
        }
        assert_true(at <= size);
    }
    assert_in_range(n_data, 4096 * (size / 36864), size / 4);
    world_free(w);
}

static void
odd_status_requests_are_refused(void **state)
{
    struct nbd_run runs[NBD_STATUS_RUNS_MAX];
    struct world *w = status_world("vm1");

    assert_int_equal(ask_status(w, 0, 0, 0, runs), -CW_NBD_EINVAL);
    assert_int_equal(ask_status(w, 0, w->size, 512, runs), -CW_NBD_EINVAL);
    assert_int_equal(ask_status(w, CW_NBD_CMD_DF, 0, 512, runs), -CW_NBD_EINVAL);
    w->fail = -EIO;
    assert_int_equal(ask_status(w, 0, 0, 4096, runs), -CW_NBD_EIO);
    w->fail_off = (2 << 20) + 4096; /* what came before is told */
    assert_int_equal(ask_status(w, 0, 0, 4 << 20, runs), 1);
    expect_run(&runs[0], 2 << 20, true);
    w->fail = 0;
    /* gone in the middle: world_free sees that nothing leaks */
    world_request(w, CW_NBD_CMD_BLOCK_STATUS, 0, 8, 0, 8 << 20, NULL);
    assert_int_equal(w->n_submitted > 0, 1);
    world_free(w);
}

/* Whoever does not speak NBD is hung up on. */
static void
strangers_are_hung_up_on(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
    } strange[] = {
        { "GET / HTTP/1.1\r\n\r\n", 18 },
        { "\0\0\0\3IHAVEOPT\0\0\0\1\0\0\x20\0", 20 },       /* a name of 8192 bytes */
        { "\0\0\0\3IHAVEOPT\0\0\0\7\177\377\377\377", 20 }, /* an option of 2 GiB */
        { "\0\0\0\2IHAVEOPT\0\0\0\7\0\0\0\0", 20 },         /* GO without fixed newstyle */
        { "\0\0\0\3IHAVEOPTION, or so I say", 28 },
    };

    for (size_t i = 0; i < CW_LEN(strange); i++) {
        struct world *w = world_new();

        world_send(w, strange[i].bytes, strange[i].len, 0);
        assert_true(cw_nbd_over(w->c));
        assert_int_equal(w->n_logs, 1);
        world_free(w);
    }
}

/* Simple and structured clients read what was written, whatever the cuts. */
static void
what_is_written_is_read(void **state)
{
    static const struct {
        uint64_t off;
        uint32_t len;
    } range[] = {
        { 0, 4096 },
        { 512, 512 },
        { 1, 3 },
        { 4096, 1 << 20 },
        { 5000, (1 << 20) - 1 },
        { 123456, 3 << 20 },
        { 1 << 20, 32 << 20 },
        { 77, (32 << 20) - 9 },
        { 8192, 65536 },
    };

    for (int structured = 0; structured < 2; structured++) {
        struct world *w = world_new();
        uint8_t *data = malloc(32 << 20), *got = malloc(32 << 20);

        w->seed = (uint64_t)structured;
        world_negotiate(w, structured);
        for (size_t i = 0; i < CW_LEN(range); i++) {
            uint64_t off = range[i].off;
            uint32_t len = range[i].len;

            fill(data, len, i);
            world_request(w, CW_NBD_CMD_WRITE, i % 2 ? CW_NBD_CMD_FUA : 0, i, off, len, data);
            world_complete(w);
            assert_int_equal(world_simple(w, i), 0);
            assert_memory_equal(w->disk + off, data, len);
            world_request(w, CW_NBD_CMD_READ, i % 3 == 0 && structured ? CW_NBD_CMD_DF : 0, i, off,
                          len, NULL);
            world_complete(w);
            if (structured) {
                struct read_result r = world_structured(w, i, off, len, got);

                assert_int_equal(r.error, 0);
                assert_true(r.none_left_out);
                assert_true(i % 3 != 0 || r.n_data + r.n_holes == 1);
                assert_memory_equal(got, data, len);
            } else {
                assert_int_equal(world_simple(w, i), 0);
                assert_memory_equal(world_take(w, len), data, len);
            }
            assert_true(world_is_silent(w));
        }
        assert_true(w->n_flushes > 0);
        free(data);
        free(got);
        world_free(w);
    }
}

/* Zeroes travel as holes, short runs as data, and DF forbids the mixture. */
static void
zeroes_are_holes(void **state)
{
    struct world *w = world_new();
    uint8_t *got = malloc(1 << 20);
    struct read_result r;

    world_negotiate(w, true);
    world_request(w, CW_NBD_CMD_READ, 0, 1, 0, 1 << 20, NULL);
    world_complete(w);
    r = world_structured(w, 1, 0, 1 << 20, got);
    assert_true(r.n_holes == 1 && r.n_data == 0 && r.none_left_out);

    fill(w->disk + 4096, 8192, 1);
    fill(w->disk + 16384, 4096, 2);
    fill(w->disk + (1 << 20) - 100, 100, 3);
    world_request(w, CW_NBD_CMD_READ, 0, 2, 0, 1 << 20, NULL);
    world_complete(w);
    r = world_structured(w, 2, 0, 1 << 20, got);
    assert_true(r.n_data == 2 && r.n_holes == 1 && r.none_left_out);
    assert_memory_equal(got, w->disk, 1 << 20);

    world_request(w, CW_NBD_CMD_READ, CW_NBD_CMD_DF, 3, 0, 1 << 20, NULL);
    world_complete(w);
    r = world_structured(w, 3, 0, 1 << 20, got);
    assert_true(r.n_data == 1 && r.n_holes == 0 && r.none_left_out);
    assert_memory_equal(got, w->disk, 1 << 20);

    world_request(w, CW_NBD_CMD_READ, CW_NBD_CMD_DF, 4, 65536, 4095, NULL);
    world_complete(w);
    r = world_structured(w, 4, 65536, 4095, got);
    assert_true(r.n_data == 0 && r.n_holes == 1 && r.none_left_out);
    free(got);
    world_free(w);
}

/* A read that fails in its middle names the place, and the rest still comes. */
static void
errors_have_offsets(void **state)
{
    struct world *w = world_new();
    uint8_t *got = malloc(4 << 20);
    struct read_result r;

    world_negotiate(w, true);
    w->fail = -EIO;
    w->fail_off = 2 << 20;
    world_request(w, CW_NBD_CMD_READ, 0, 1, 0, 4 << 20, NULL);
    world_complete(w);
    r = world_structured(w, 1, 0, 4 << 20, got);
    assert_int_equal(r.error, CW_NBD_EIO);
    assert_int_equal(r.error_off, 2 << 20);
    assert_true(r.n_errors == 1 && r.n_data + r.n_holes == 3);

    world_request(w, CW_NBD_CMD_READ, CW_NBD_CMD_DF, 2, 0, 4 << 20, NULL);
    world_complete(w);
    r = world_structured(w, 2, 0, 4 << 20, got);
    assert_true(r.error == CW_NBD_EIO && r.n_data + r.n_holes == 0);
    free(got);
    world_free(w);
}

/* Every result of the owner has its NBD number. */
static void
results_are_mapped(void **state)
{
    static const struct {
        int res;
        uint32_t error;
    } map[] = {
        { -EIO, CW_NBD_EIO },
        { -ENOSPC, CW_NBD_ENOSPC },
        { -ESHUTDOWN, CW_NBD_ESHUTDOWN },
        { -EROFS, CW_NBD_EPERM },
        { -EINVAL, CW_NBD_EINVAL },
        { -ENOMEM, CW_NBD_ENOMEM },
        { -ETIMEDOUT, CW_NBD_EIO },
        { -EOPNOTSUPP, CW_NBD_ENOTSUP },
    };
    struct world *w = world_new();
    uint8_t block[512] = { 1 };

    world_negotiate(w, false);
    for (size_t i = 0; i < CW_LEN(map); i++) {
        w->fail = map[i].res;
        world_request(w, CW_NBD_CMD_WRITE, CW_NBD_CMD_FUA, i, 0, 512, block);
        world_complete(w);
        assert_int_equal(world_simple(w, i), map[i].error);
        world_request(w, CW_NBD_CMD_WRITE_ZEROES, CW_NBD_CMD_FAST_ZERO, i, 0, 512, NULL);
        world_complete(w);
        assert_int_equal(world_simple(w, i), map[i].error);
    }
    world_free(w);
}

/* Requests outside the volume, unknown ones and unknown flags get an error, their payload is
 * skipped, and the session goes on. */
static void
bad_requests_are_refused(void **state)
{
    struct world *w = world_new();
    uint8_t *big = calloc(1, 40 << 20);
    const uint64_t size = w->size;

    world_negotiate(w, false);
    world_request(w, CW_NBD_CMD_READ, 0, 1, size, 1, NULL);
    assert_int_equal(world_simple(w, 1), CW_NBD_EINVAL);
    world_request(w, CW_NBD_CMD_READ, 0, 2, UINT64_MAX - 5, 100, NULL);
    assert_int_equal(world_simple(w, 2), CW_NBD_EINVAL);
    world_request(w, CW_NBD_CMD_WRITE, 0, 3, size - 10, 512, big);
    assert_int_equal(world_simple(w, 3), CW_NBD_ENOSPC);
    world_request(w, CW_NBD_CMD_WRITE, 0, 4, 0, 40 << 20, big);
    assert_int_equal(world_simple(w, 4), CW_NBD_EINVAL);
    world_request(w, CW_NBD_CMD_READ, 0, 5, 0, 40 << 20, NULL);
    assert_int_equal(world_simple(w, 5), CW_NBD_EINVAL);
    world_request(w, CW_NBD_CMD_READ, CW_NBD_CMD_DF, 6, 0, 512, NULL);
    assert_int_equal(world_simple(w, 6), CW_NBD_EINVAL);
    world_request(w, CW_NBD_CMD_TRIM, CW_NBD_CMD_NO_HOLE, 7, 0, 512, NULL);
    assert_int_equal(world_simple(w, 7), CW_NBD_EINVAL);
    world_request(w, CW_NBD_CMD_BLOCK_STATUS, 0, 8, 0, 512, NULL);
    assert_int_equal(world_simple(w, 8), CW_NBD_EINVAL);
    world_request(w, 4711, 0, 9, 0, 512, NULL);
    assert_int_equal(world_simple(w, 9), CW_NBD_EINVAL);
    world_request(w, CW_NBD_CMD_FLUSH, 0, 10, 0, 512, NULL);
    assert_int_equal(world_simple(w, 10), CW_NBD_EINVAL);
    world_request(w, CW_NBD_CMD_WRITE, 0x8000, 11, 0, 512, big);
    assert_int_equal(world_simple(w, 11), CW_NBD_EINVAL);
    assert_int_equal(w->n_submitted, 0);
    world_request(w, CW_NBD_CMD_CACHE, 0, 12, 0, 512, NULL);
    assert_int_equal(world_simple(w, 12), 0);
    world_request(w, CW_NBD_CMD_READ, 0, 13, 0, 0, NULL);
    assert_int_equal(world_simple(w, 13), 0);
    assert_true(world_is_silent(w));
    assert_int_equal(world_send(w, "garbage is not a request...", 28, 0), 0);
    assert_true(cw_nbd_over(w->c));
    free(big);
    world_free(w);
}

/* TRIM and WRITE_ZEROES read as zeroes; NO_HOLE and unaligned ranges never become a TRIM. */
static void
zeroing_chooses_its_operation(void **state)
{
    static const struct {
        uint64_t off;
        uint32_t len;
        uint16_t flags;
        enum cw_io_op op;
    } zero[] = {
        { 0, 8192, 0, CW_IO_TRIM },
        { 0, 8192, CW_NBD_CMD_NO_HOLE, CW_IO_ZERO },
        { 100, 8192, CW_NBD_CMD_FAST_ZERO, CW_IO_ZERO },
        { 0, 64 << 20, 0, CW_IO_TRIM },
    };
    struct world *w = world_new();

    world_negotiate(w, false);
    for (size_t i = 0; i < CW_LEN(zero); i++) {
        memset(w->disk, 1, 128 << 10);
        world_request(w, CW_NBD_CMD_WRITE_ZEROES, zero[i].flags, i, zero[i].off, zero[i].len, NULL);
        assert_int_equal(cw_list_first(&w->ios, struct cw_io, link)->op, zero[i].op);
        world_complete(w);
        assert_int_equal(world_simple(w, i), 0);
        assert_int_equal(w->disk[zero[i].off], 0);
    }
    world_free(w);
}

/* FUA answers only after a flush that came after the data. */
static void
fua_waits_for_a_flush(void **state)
{
    struct world *w = world_new();
    uint8_t block[4096] = { 1 };

    world_negotiate(w, false);
    world_request(w, CW_NBD_CMD_WRITE, CW_NBD_CMD_FUA, 1, 0, 4096, block);
    assert_int_equal(w->n_submitted, 1);
    assert_int_equal(w->n_flushes, 0);
    world_complete(w);
    assert_int_equal(w->n_submitted, 2);
    assert_int_equal(w->n_flushes, 1);
    assert_int_equal(world_simple(w, 1), 0);
    world_free(w);
}

/* DISC answers what was asked before, then the connection is over. */
static void
disc_waits_for_replies(void **state)
{
    struct world *w = world_new();

    world_negotiate(w, false);
    world_request(w, CW_NBD_CMD_READ, 0, 1, 0, 4096, NULL);
    world_request(w, CW_NBD_CMD_DISC, 0, 2, 0, 0, NULL);
    assert_false(cw_nbd_over(w->c));
    world_complete(w);
    assert_true(cw_nbd_over(w->c));
    assert_int_equal(world_simple(w, 1), 0);
    world_take(w, 4096);
    assert_true(world_is_silent(w));
    world_free(w);
}

/* A server that stops answers what it took and refuses the rest. */
static void
shutdown_refuses_new_requests(void **state)
{
    struct world *w = world_new();

    world_negotiate(w, false);
    world_request(w, CW_NBD_CMD_FLUSH, 0, 1, 0, 0, NULL);
    cw_nbd_shutdown(w->c);
    world_request(w, CW_NBD_CMD_FLUSH, 0, 2, 0, 0, NULL);
    world_complete(w);
    assert_int_equal(world_simple(w, 2), CW_NBD_ESHUTDOWN);
    assert_int_equal(world_simple(w, 1), 0);
    world_free(w);
}

/* A client that vanishes at any byte leaves nothing behind; what the owner has is awaited, what it
 * has not is dropped. */
static void
a_client_may_vanish_at_any_byte(void **state)
{
    uint8_t bytes[4 + 16 + 9 + 3 * (28 + 8192)];
    uint8_t *p = cw_be32_put(bytes, 3);

    p = cw_be32_put(cw_be32_put(cw_be64_put(p, CW_NBD_OPT_MAGIC), CW_NBD_OPT_GO), 9);
    memcpy(p, "\0\0\0\3vm1\0\0", 9);
    p += 9;
    for (uint16_t i = 0; i < 3; i++) {
        p = cw_be16_put(cw_be16_put(cw_be32_put(p, CW_NBD_REQUEST_MAGIC), 0), i % 2);
        p = cw_be32_put(cw_be64_put(cw_be64_put(p, i), i * 8192u), 8192);
        if (i % 2)
            p += 8192;
    }
    for (size_t cut = 0; cut < (size_t)(p - bytes); cut += cut < 100 ? 1 : 97) {
        struct world *w = world_new();
        size_t n = cw_min_u64(cut, 29);
        uint32_t n_submitted;

        world_send(w, bytes, n, 1);
        if (n == 29 && w->wants_attach) {
            w->wants_attach = false;
            cw_nbd_on_export(w->c, CW_NBD_RES_OK, w->size, NULL);
        }
        cw_nbd_feed(w->c, bytes + n, cut - n);
        n_submitted = w->n_submitted;
        cw_nbd_dead(w->c);
        world_complete(w);
        assert_int_equal(w->n_submitted, n_submitted);
        world_free(w);
    }
}

/* A client that never reads its replies stops itself: its memory stays within the window. */
static void
a_client_that_does_not_read_is_bounded(void **state)
{
    struct world *w = world_new();
    uint8_t head[CW_NBD_REQUEST_SIZE];
    uint32_t n_taken = 0;

    fill(w->disk, 8 << 20, 1);
    world_negotiate(w, true);
    w->keep_unsent = true;
    cw_be32_put(
        cw_be64_put(cw_be64_put(cw_be32_put(cw_be32_put(head, CW_NBD_REQUEST_MAGIC), 0), 1), 0),
        8 << 20);
    while (n_taken < 1000 && world_send(w, head, sizeof(head), 0) == 0)
        n_taken++;
    world_complete(w);
    assert_true(n_taken < 3);
    assert_true(w->unsent_max <= w->shared.window_bytes + 65536);
    assert_true(w->held_max <= 3 * w->shared.window_bytes);
    w->unsent = 0; /* it reads again: the next window comes */
    w->unsent_max = 0;
    cw_nbd_ready(w->c);
    world_complete(w);
    assert_true(w->unsent_max > 0);
    world_free(w);
}

/* An empty pool stops a connection and hurts nobody; memory that comes back moves it on. */
static void
an_empty_pool_is_waited_for(void **state)
{
    struct world *w = world_new();
    uint8_t block[4096];
    struct cw_buf *hog[64];
    uint32_t n_hogs = 0;

    fill(block, sizeof(block), 1);
    world_negotiate(w, false);
    while (n_hogs < 64 && (hog[n_hogs] = cw_buf_get(w->shared.pool, 2 << 20)) != NULL)
        n_hogs++;
    world_request(w, CW_NBD_CMD_WRITE, 0, 1, 0, 4096, NULL);
    assert_int_equal(world_send(w, block, 4096, 0), 4096);
    while (n_hogs > 0)
        cw_buf_unref(hog[--n_hogs]);
    assert_true(cw_nbd_ready(w->c));
    assert_int_equal(world_send(w, block, 4096, 0), 0);
    world_complete(w);
    assert_int_equal(world_simple(w, 1), 0);
    world_free(w);
}

/* A thousand sessions of noise, some of it almost valid: no crash, no leak. */
static void
noise_is_survived(void **state)
{
    for (uint64_t seed = 0; seed < 1000; seed++) {
        struct world *w = world_new();
        uint8_t noise[512];

        w->seed = seed << 32;
        if (seed % 4 != 0)
            world_negotiate(w, seed % 2);
        for (int i = 0; i < 50 && !cw_nbd_over(w->c); i++) {
            for (size_t k = 0; k < sizeof(noise); k++)
                noise[k] = (uint8_t)world_random(w, 256);
            if (seed % 4 != 0) {
                cw_be32_put(noise, CW_NBD_REQUEST_MAGIC);
                cw_be16_put(noise + 4, (uint16_t)world_random(w, 5));
                cw_be16_put(noise + 6, (uint16_t)world_random(w, 8));
                cw_be64_put(noise + 16, world_random(w, w->size));
                cw_be32_put(noise + 24, (uint32_t)world_random(w, 1 << world_random(w, 17)));
                world_send(w, noise, 28, 0);
                if (noise[7] == 1)
                    world_send(w, noise, world_random(w, sizeof(noise)), 0);
            } else {
                cw_be32_put(noise, 3);
                cw_be64_put(noise + 4, CW_NBD_OPT_MAGIC);
                cw_be32_put(noise + 12, (uint32_t)world_random(w, 12));
                cw_be32_put(noise + 16, (uint32_t)world_random(w, 600));
                world_send(w, noise, sizeof(noise), 0);
            }
            if (world_random(w, 3) == 0)
                world_complete(w);
        }
        world_free(w);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(go_begins_a_session),
        cmocka_unit_test(export_name_has_no_header),
        cmocka_unit_test(refusals_are_told),
        cmocka_unit_test(list_and_info_do_not_attach),
        cmocka_unit_test(odd_options_are_declined),
        cmocka_unit_test(contexts_are_listed_and_chosen),
        cmocka_unit_test(status_tells_holes_from_data),
        cmocka_unit_test(status_of_a_patchwork_is_bounded),
        cmocka_unit_test(odd_status_requests_are_refused),
        cmocka_unit_test(strangers_are_hung_up_on),
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(zeroes_are_holes),
        cmocka_unit_test(errors_have_offsets),
        cmocka_unit_test(results_are_mapped),
        cmocka_unit_test(bad_requests_are_refused),
        cmocka_unit_test(zeroing_chooses_its_operation),
        cmocka_unit_test(fua_waits_for_a_flush),
        cmocka_unit_test(disc_waits_for_replies),
        cmocka_unit_test(shutdown_refuses_new_requests),
        cmocka_unit_test(a_client_may_vanish_at_any_byte),
        cmocka_unit_test(a_client_that_does_not_read_is_bounded),
        cmocka_unit_test(an_empty_pool_is_waited_for),
        cmocka_unit_test(noise_is_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
