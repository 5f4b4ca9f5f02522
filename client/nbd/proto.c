/* nbd/proto.c - taking the client's bytes: which of them belong where. */
#include "client/nbd/proto.h"

#include <stdlib.h>

#include "client/nbd/conn.h"

struct cw_nbd_conn *
cw_nbd_conn_new(struct cw_nbd_shared *shared, const struct cw_nbd_ops *ops, void *user)
{
    struct cw_nbd_conn *c = calloc(1, sizeof(*c));

    if (c == NULL)
        return NULL;
    c->shared = shared;
    c->ops = ops;
    c->user = user;
    cw_list_init(&c->reqs);
    cw_list_init(&c->todo);
    nbd_expect(c, NBD_CLIENT_FLAGS, 4);
    nbd_greet(c);
    return c;
}

void
cw_nbd_conn_free(struct cw_nbd_conn *c)
{
    if (c == NULL)
        return;
    cw_assert(!cw_nbd_busy(c));
    nbd_drop_unsubmitted(c);
    cw_assert(c->n_reqs == 0 && c->held_bytes == 0);
    cw_nbd_train_free(c->train);
    free(c);
}

void *
cw_nbd_user(const struct cw_nbd_conn *c)
{
    return c->user;
}

static uint32_t
conn_collect(struct cw_nbd_conn *c, const uint8_t *data, size_t len)
{
    uint32_t n = (uint32_t)cw_min_u64(len, c->need - c->got);

    memcpy(c->in + c->got, data, n);
    c->got += n;
    return n;
}

static uint32_t
conn_skip(struct cw_nbd_conn *c, size_t len)
{
    uint32_t n = (uint32_t)cw_min_u64(len, c->skip);

    c->skip -= n;
    return n;
}

static uint32_t
conn_fill(struct cw_nbd_conn *c, const uint8_t *data, size_t len)
{
    uint32_t n = (uint32_t)cw_min_u64(len, c->filling->len - c->filled);

    memcpy(c->filling->buf->data + c->filled, data, n);
    nbd_write_filled(c, n);
    return n;
}

/* Takes some bytes and says how many; 0 means that none can be taken now. */
static size_t
conn_take(struct cw_nbd_conn *c, const uint8_t *data, size_t len)
{
    size_t n;

    switch (c->phase) {
    case NBD_CLIENT_FLAGS:
    case NBD_OPT_HEAD:
    case NBD_OPT_DATA:
    case NBD_REQUEST:
        n = conn_collect(c, data, len);
        if (c->got < c->need)
            return n;
        if (c->phase == NBD_CLIENT_FLAGS)
            nbd_client_flags(c);
        else if (c->phase == NBD_OPT_HEAD)
            nbd_option_head(c);
        else if (c->phase == NBD_OPT_DATA)
            nbd_option_data(c);
        else
            nbd_request(c);
        return n;
    case NBD_OPT_SKIP:
        n = conn_skip(c, len);
        if (c->skip == 0)
            nbd_option_skipped(c);
        return n;
    case NBD_SKIP:
        n = conn_skip(c, len);
        if (c->skip == 0)
            nbd_expect(c, NBD_REQUEST, CW_NBD_REQUEST_SIZE);
        return n;
    case NBD_PAYLOAD:
        return conn_fill(c, data, len);
    case NBD_OPT_WAIT:
    case NBD_CLOSING:
    case NBD_DEAD:
        return 0;
    }
    cw_unreachable();
}

bool
cw_nbd_ready(struct cw_nbd_conn *c)
{
    if (c->phase == NBD_PAYLOAD && c->filling == NULL)
        nbd_write_next(c);
    nbd_todo(c);
    if (c->broken)
        return false;
    switch (c->phase) {
    case NBD_CLIENT_FLAGS:
    case NBD_OPT_SKIP:
    case NBD_SKIP:
        return true;
    case NBD_OPT_HEAD:
    case NBD_OPT_DATA: /* a client that does not read what it asked for stops here */
        return nbd_unsent(c) < c->shared->window_bytes;
    case NBD_REQUEST:
        return nbd_may_take(c);
    case NBD_PAYLOAD:
        return c->filling != NULL;
    case NBD_OPT_WAIT:
    case NBD_CLOSING:
    case NBD_DEAD:
        return false;
    }
    cw_unreachable();
}

size_t
cw_nbd_feed(struct cw_nbd_conn *c, const uint8_t *data, size_t len)
{
    size_t n = 0;

    while (n < len && cw_nbd_ready(c))
        n += conn_take(c, data + n, len - n);
    return n;
}

bool
cw_nbd_payload(struct cw_nbd_conn *c, uint8_t **ret_to, uint32_t *ret_len)
{
    if (c->phase != NBD_PAYLOAD || !cw_nbd_ready(c))
        return false;
    *ret_to = c->filling->buf->data + c->filled;
    *ret_len = c->filling->len - c->filled;
    return true;
}

void
cw_nbd_payload_got(struct cw_nbd_conn *c, uint32_t len)
{
    if (c->phase == NBD_PAYLOAD) /* else it died meanwhile */
        nbd_write_filled(c, len);
}

void
cw_nbd_dead(struct cw_nbd_conn *c)
{
    c->phase = NBD_DEAD;
    c->broken = true;
    nbd_drop_unsubmitted(c);
    cw_nbd_train_free(c->train);
    c->train = NULL;
}

void
cw_nbd_shutdown(struct cw_nbd_conn *c)
{
    c->shutting_down = true;
}

bool
cw_nbd_over(const struct cw_nbd_conn *c)
{
    return c->broken || c->phase == NBD_DEAD ||
           (c->phase == NBD_CLOSING && c->n_reqs == 0 && c->train == NULL);
}

bool
cw_nbd_busy(const struct cw_nbd_conn *c)
{
    return c->waiting || c->n_ios > 0;
}

bool
cw_nbd_negotiated(const struct cw_nbd_conn *c)
{
    return c->negotiated;
}

uint32_t
cw_nbd_n_reqs(const struct cw_nbd_conn *c)
{
    return c->n_reqs;
}

void
cw_nbd_set_size(struct cw_nbd_conn *c, uint64_t size_bytes)
{
    c->size = size_bytes;
}
