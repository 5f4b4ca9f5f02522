#include "tests/unit/service/harness.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/addr.h"
#include "common/codec/frame.h"

/* A server that counts, and a plain socket that sends it whatever it likes. */
struct host {
    struct cw_rpc_server *server;
    struct cw_rpc_conn *conn;
    unsigned n_open, n_down, n_messages, n_data;
    size_t data_bytes;
    struct cw_wire_hello data_hello;
};

static void
host_on_open(void *user, struct cw_rpc_conn *c)
{
    ((struct host *)user)->n_open++;
    ((struct host *)user)->conn = c;
}

static void
host_on_message(void *user, struct cw_rpc_conn *c, const cw_envelope *m, struct cw_rpc_req *req)
{
    ((struct host *)user)->n_messages++;
    if (req != NULL)
        cw_rpc_req_empty(req);
}

static void
host_on_down(void *user, struct cw_rpc_conn *c, const char *why)
{
    ((struct host *)user)->n_down++;
}

static void
host_on_data(void *user, int take_fd, const struct cw_wire_hello *hello, const void *bytes,
             size_t n_bytes)
{
    struct host *h = user;

    h->n_data++;
    h->data_hello = *hello;
    h->data_bytes = n_bytes;
    close(take_fd);
}

static const struct cw_rpc_server_events host_events = {
    .on_open = host_on_open,
    .on_message = host_on_message,
    .on_down = host_on_down,
    .on_data = host_on_data,
};

static void
host_listen(struct loop *l, struct host *h, uint32_t greet_ms, uint32_t conns_max)
{
    struct cw_rpc_server_opts opts = {
        .listen = "127.0.0.1:0",
        .ev = &host_events,
        .user = h,
        .greet_ms = greet_ms,
        .conns_max = conns_max,
    };
    char why[CW_RPC_WHY_SIZE];

    *h = (struct host){ 0 };
    if (cw_rpc_server_new(l->s, &opts, &h->server, why) != 0)
        fail_msg("%s", why);
}

static int
dial(const struct host *h)
{
    struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct cw_addr a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(cw_addr_parse(cw_rpc_server_addr(h->server), false, &a));
    sin.sin_port = htons(a.port);
    assert_int_equal(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
    return fd;
}

static void
push(int fd, const void *bytes, size_t n)
{
    assert_int_equal(send(fd, bytes, n, MSG_NOSIGNAL), n);
}

static void
push_frame(int fd, uint8_t type, const void *payload, uint32_t len)
{
    struct cw_buf_pool *pool = cw_buf_pool_new(4 * CW_MIB);
    struct cw_msg *m =
        cw_frame_opaque(pool, (struct cw_wire_hdr){ .type = type }, NULL, payload, len);

    assert_non_null(m);
    push(fd, m->head, m->head_len);
    cw_msg_unref(m);
    cw_buf_pool_free(pool);
}

static void
push_hello(int fd, uint32_t kind, uint16_t version)
{
    struct cw_wire_hello h = { .kind = kind, .version_min = version, .version_max = version };

    push_frame(fd, CW_FT_HELLO, &h, sizeof(h));
}

static bool
hung_up(void *arg)
{
    char byte;
    ssize_t n;

    do {
        n = recv(*(int *)arg, &byte, 1, MSG_DONTWAIT);
    } while (n > 0);
    return n == 0 || errno == ECONNRESET;
}

/* Sends bytes, expects to be dropped with exactly one line that has `said` in it. */
static void
expect_dropped(struct loop *l, int fd, const char *said)
{
    unsigned before = l->n_warnings;

    assert_true(loop_until(l, hung_up, &fd));
    assert_int_equal(l->n_warnings, before + 1);
    if (strstr(l->last_warning, said) == NULL)
        fail_msg("'%s' does not say '%s'", l->last_warning, said);
    close(fd);
}

/* Bytes that are no frame end a connection at once, however they are cut. */
static void
hostile_garbage_is_dropped(void **state)
{
    static const char http[] =
        "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/html, text/plain\r\n\r\n";
    struct host h;
    struct loop l;
    int fd;

    loop_init(&l);
    host_listen(&l, &h, 0, 0);
    fd = dial(&h);
    push(fd, http, sizeof(http) - 1);
    expect_dropped(&l, fd, "not a Causeway frame");
    fd = dial(&h);
    push_hello(fd, 7, CW_WIRE_VERSION);
    expect_dropped(&l, fd, "HELLO of unknown kind 7");
    fd = dial(&h);
    push_hello(fd, CW_HELLO_CONTROL, 9);
    expect_dropped(&l, fd, "protocol versions 9 to 9, here 1");
    fd = dial(&h);
    push_frame(fd, CW_FT_CONTROL, "early", 5);
    expect_dropped(&l, fd, "frame CONTROL instead of HELLO");
    assert_int_equal(h.n_open, 0);
    cw_rpc_server_free(h.server);
    cw_service_free(l.s);
}

/* A length above the limit is not believed, a flipped bit anywhere is noticed. */
static void
hostile_frames_are_checked_before_use(void **state)
{
    struct cw_wire_hdr big = {
        .magic = CW_WIRE_MAGIC,
        .version = CW_WIRE_VERSION,
        .type = CW_FT_CONTROL,
        .payload_len = 2 * 1024 * 1024,
    };
    uint8_t junk[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
    struct host h;
    struct loop l;
    int fd;

    loop_init(&l);
    host_listen(&l, &h, 0, 0);
    fd = dial(&h);
    push_hello(fd, CW_HELLO_CONTROL, CW_WIRE_VERSION);
    push(fd, &big, sizeof(big));
    expect_dropped(&l, fd, "frame length out of bounds");
    fd = dial(&h);
    push_hello(fd, CW_HELLO_CONTROL, CW_WIRE_VERSION);
    big.payload_len = 64 * 1024; /* within the limit, but the hash is wrong */
    push(fd, &big, sizeof(big));
    push(fd, junk, 8);
    expect_dropped(&l, fd, "frame checksum mismatch");
    fd = dial(&h);
    push_hello(fd, CW_HELLO_CONTROL, CW_WIRE_VERSION);
    push_frame(fd, CW_FT_CONTROL, junk, sizeof(junk));
    expect_dropped(&l, fd, "message cannot be read");
    fd = dial(&h);
    push_hello(fd, CW_HELLO_CONTROL, CW_WIRE_VERSION);
    push_hello(fd, CW_HELLO_CONTROL, CW_WIRE_VERSION);
    expect_dropped(&l, fd, "frame HELLO instead of CONTROL");
    assert_int_equal(h.n_messages, 0);
    assert_int_equal(h.n_open, 4);
    assert_int_equal(h.n_down, 4);
    cw_rpc_server_free(h.server);
    cw_service_free(l.s);
}

static bool
host_warned(void *arg)
{
    return ((struct loop *)arg)->n_warnings > 0;
}

/* Whoever leaves in the middle of a frame is named; between frames nobody is. */
static void
hostile_disconnect_in_mid_frame(void **state)
{
    struct host h;
    struct loop l;
    int fd;

    loop_init(&l);
    host_listen(&l, &h, 0, 0);
    fd = dial(&h);
    push_hello(fd, CW_HELLO_CONTROL, CW_WIRE_VERSION);
    close(fd);
    loop_for_ms(&l, 20);
    assert_int_equal(l.n_warnings, 0);
    fd = dial(&h);
    push_hello(fd, CW_HELLO_CONTROL, CW_WIRE_VERSION);
    push(fd, "CWW1....", 8);
    close(fd);
    assert_true(loop_until(&l, host_warned, &l));
    assert_non_null(strstr(l.last_warning, "closed in mid-frame"));
    assert_int_equal(h.n_down, h.n_open);
    cw_rpc_server_free(h.server);
    cw_service_free(l.s);
}

/* Who connects and says nothing is dropped when its time is over. */
static void
hostile_silence_is_dropped(void **state)
{
    struct host h;
    struct loop l;
    int fd;

    loop_init(&l);
    host_listen(&l, &h, 100, 0);
    fd = dial(&h);
    push(fd, "CW", 2);
    expect_dropped(&l, fd, "no HELLO in time");
    cw_rpc_server_free(h.server);
    cw_service_free(l.s);
}

/* Connections above the limit are refused, and taken again when others have gone. */
static void
hostile_connections_are_limited(void **state)
{
    struct host h;
    struct loop l;
    int a, b;

    loop_init(&l);
    host_listen(&l, &h, 0, 1);
    a = dial(&h);
    push_hello(a, CW_HELLO_CONTROL, CW_WIRE_VERSION);
    loop_for_ms(&l, 20);
    b = dial(&h);
    expect_dropped(&l, b, "1 are open");
    close(a);
    loop_for_ms(&l, 20);
    b = dial(&h);
    push_hello(b, CW_HELLO_CONTROL, CW_WIRE_VERSION);
    loop_for_ms(&l, 20);
    assert_int_equal(h.n_open, 2);
    close(b);
    cw_rpc_server_free(h.server);
    cw_service_free(l.s);
}

/* A message whose fields would unpack to far more than it weighs is refused. */
static void
hostile_bomb_is_refused(void **state)
{
    enum { N = 500 * 1024 };
    uint8_t *m = malloc(N + 16);
    size_t len = 0;
    struct host h;
    struct loop l;
    int fd;

    assert_non_null(m);
    /* volume_ls_reply (52) with empty VolumeInfos: two bytes each here, over 200 in memory. */
    m[len++] = 0x08, m[len++] = 1;    /* id */
    m[len++] = 0xa2, m[len++] = 0x03; /* field 52, bytes */
    m[len++] = (N & 0x7f) | 0x80, m[len++] = (N >> 7 & 0x7f) | 0x80, m[len++] = N >> 14;
    for (size_t i = 0; i < N; i += 2)
        m[len++] = 0x0a, m[len++] = 0;
    loop_init(&l);
    host_listen(&l, &h, 0, 0);
    fd = dial(&h);
    push_hello(fd, CW_HELLO_CONTROL, CW_WIRE_VERSION);
    loop_for_ms(&l, 10);
    push_frame(fd, CW_FT_CONTROL, m, (uint32_t)len);
    expect_dropped(&l, fd, "message cannot be read");
    free(m);
    cw_rpc_server_free(h.server);
    cw_service_free(l.s);
}

static bool
host_has_data(void *arg)
{
    return ((struct host *)arg)->n_data == 1;
}

/* A data connection is handed away with its whole HELLO and does not count as ours any more. */
static void
hostile_data_connections_are_handed_over(void **state)
{
    struct host h;
    struct loop l;
    int fd;

    loop_init(&l);
    host_listen(&l, &h, 0, 1);
    for (int i = 0; i < 3; i++) {
        h.n_data = 0;
        fd = dial(&h);
        push_hello(fd, CW_HELLO_DATA, CW_WIRE_VERSION);
        assert_true(loop_until(&l, host_has_data, &h));
        assert_int_equal(h.data_bytes, 64 + 8 + sizeof(struct cw_wire_hello));
        assert_int_equal(h.data_hello.kind, CW_HELLO_DATA);
        close(fd);
    }
    assert_int_equal(l.n_warnings, 0);
    assert_int_equal(h.n_open, 0);
    cw_rpc_server_free(h.server);
    cw_service_free(l.s);
}

static bool
host_was_opened(void *arg)
{
    return ((struct host *)arg)->n_open == 1;
}

static bool
host_is_alone(void *arg)
{
    struct host *h = arg;

    return h->n_open == 1 && h->n_down == 1;
}

/* A peer that never reads what it is sent is dropped instead of filling memory. */
static void
hostile_reader_that_does_not_read(void **state)
{
    static char text[200 * 1024];
    Causeway__Control__VolumeShow show = CAUSEWAY__CONTROL__VOLUME_SHOW__INIT;
    cw_envelope m = CAUSEWAY__CONTROL__ENVELOPE__INIT;
    struct host h;
    struct loop l;
    int fd;

    memset(text, 'x', sizeof(text) - 1);
    show.name = text;
    m.body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_VOLUME_SHOW;
    m.volume_show = &show;
    loop_init(&l);
    host_listen(&l, &h, 0, 0);
    fd = dial(&h);
    push_hello(fd, CW_HELLO_CONTROL, CW_WIRE_VERSION);
    assert_true(loop_until(&l, host_was_opened, &h));
    for (int i = 0; i < 200; i++)
        cw_rpc_conn_send(h.conn, &m);
    assert_true(loop_until(&l, host_is_alone, &h));
    assert_non_null(strstr(l.last_warning, "does not read what it is sent"));
    close(fd);
    cw_rpc_server_free(h.server);
    cw_service_free(l.s);
}

/* Two hundred connections with random bytes behind a good HELLO: none gets a message through, none
 * stays. */
static void
hostile_random_bytes(void **state)
{
    struct host h;
    struct loop l;

    loop_init(&l);
    host_listen(&l, &h, 0, 0);
    srandom(7);
    for (int i = 0; i < 200; i++) {
        uint8_t bytes[300];
        int fd = dial(&h);

        for (size_t k = 0; k < sizeof(bytes); k++)
            bytes[k] = (uint8_t)random();
        if (i % 2)
            push_hello(fd, CW_HELLO_CONTROL, CW_WIRE_VERSION);
        if (i % 4 >= 2)
            memcpy(bytes, "CWW1\x01\x02\x00\x00", 8);
        push(fd, bytes, sizeof(bytes));
        assert_true(loop_until(&l, hung_up, &fd));
        close(fd);
    }
    assert_int_equal(h.n_messages, 0);
    assert_int_equal(h.n_open, h.n_down);
    cw_rpc_server_free(h.server);
    cw_service_free(l.s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_garbage_is_dropped),
        cmocka_unit_test(hostile_frames_are_checked_before_use),
        cmocka_unit_test(hostile_disconnect_in_mid_frame),
        cmocka_unit_test(hostile_silence_is_dropped),
        cmocka_unit_test(hostile_connections_are_limited),
        cmocka_unit_test(hostile_bomb_is_refused),
        cmocka_unit_test(hostile_data_connections_are_handed_over),
        cmocka_unit_test(hostile_reader_that_does_not_read),
        cmocka_unit_test(hostile_random_bytes),
    };

    return cmocka_run_group_tests_name("hostile", tests, NULL, NULL);
}
