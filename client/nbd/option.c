/* nbd/option.c - the handshake: fixed newstyle negotiation. */
#include "client/nbd/conn.h"

#include <stdio.h>

#define TRANSMISSION_FLAGS \
    (CW_NBD_HAS_FLAGS | CW_NBD_SEND_FLUSH | CW_NBD_SEND_FUA | CW_NBD_SEND_TRIM | \
     CW_NBD_SEND_WRITE_ZEROES | CW_NBD_CAN_MULTI_CONN | CW_NBD_SEND_CACHE | CW_NBD_SEND_FAST_ZERO)

void
nbd_greet(struct cw_nbd_conn *c)
{
    uint8_t bytes[CW_NBD_GREETING_SIZE];
    uint8_t *p = cw_be64_put(bytes, CW_NBD_MAGIC);

    p = cw_be64_put(p, CW_NBD_OPT_MAGIC);
    cw_be16_put(p, CW_NBD_FIXED_NEWSTYLE | CW_NBD_NO_ZEROES);
    nbd_put(c, bytes, sizeof(bytes));
}

void
nbd_client_flags(struct cw_nbd_conn *c)
{
    uint32_t flags = cw_be32_get(c->in);

    if ((flags & ~(uint32_t)(CW_NBD_FIXED_NEWSTYLE | CW_NBD_NO_ZEROES)) != 0) {
        nbd_break(c, "not an NBD client, or one with handshake flags of the future");
        return;
    }
    c->fixed = (flags & CW_NBD_FIXED_NEWSTYLE) != 0;
    c->no_zeroes = (flags & CW_NBD_NO_ZEROES) != 0;
    nbd_expect(c, NBD_OPT_HEAD, CW_NBD_OPT_SIZE);
}

static void
put_rep(struct cw_nbd_conn *c, uint32_t type, const void *data, uint32_t len)
{
    uint8_t head[CW_NBD_REP_SIZE];
    uint8_t *p = cw_be64_put(head, CW_NBD_REP_MAGIC);

    p = cw_be32_put(p, c->opt);
    p = cw_be32_put(p, type);
    cw_be32_put(p, len);
    nbd_put(c, head, sizeof(head));
    nbd_put(c, data, len);
}

static void
put_rep_text(struct cw_nbd_conn *c, uint32_t type, const char *text)
{
    put_rep(c, type, text, (uint32_t)strnlen(text, CW_NBD_TEXT_MAX));
}

static void
next_option(struct cw_nbd_conn *c)
{
    nbd_expect(c, NBD_OPT_HEAD, CW_NBD_OPT_SIZE);
}

static void
answer(struct cw_nbd_conn *c, uint32_t type, const char *text)
{
    put_rep_text(c, type, text);
    next_option(c);
}

static bool
option_is_known(uint32_t opt)
{
    return opt >= CW_NBD_OPT_EXPORT_NAME && opt <= CW_NBD_OPT_SET_META_CONTEXT && opt != 4;
}

void
nbd_option_head(struct cw_nbd_conn *c)
{
    if (cw_be64_get(c->in) != CW_NBD_OPT_MAGIC) {
        nbd_break(c, "garbage instead of an option");
        return;
    }
    c->opt = cw_be32_get(c->in + 8);
    c->opt_len = cw_be32_get(c->in + 12);
    if (!c->fixed && c->opt != CW_NBD_OPT_EXPORT_NAME) {
        nbd_break(c, "an option that needs fixed newstyle, from a client that did not ask for it");
        return;
    }
    if (c->opt_len > CW_NBD_OPT_SKIP_MAX ||
        (c->opt == CW_NBD_OPT_EXPORT_NAME && c->opt_len > CW_NBD_NAME_MAX)) {
        nbd_break(c, "an oversize option");
        return;
    }
    if (c->opt_len > CW_NBD_OPT_DATA_MAX || (!option_is_known(c->opt) && c->opt_len > 0)) {
        c->phase = NBD_OPT_SKIP;
        c->skip = c->opt_len;
        return;
    }
    nbd_expect(c, NBD_OPT_DATA, c->opt_len);
    if (c->opt_len == 0)
        nbd_option_data(c);
}

void
nbd_option_skipped(struct cw_nbd_conn *c)
{
    if (option_is_known(c->opt))
        answer(c, CW_NBD_REP_ERR_TOO_BIG, "the option's data is too long");
    else
        answer(c, CW_NBD_REP_ERR_UNSUP, "this server does not know that option");
}

/* ---- which export ---- */

/* False: it cannot be the name of a volume. */
static bool
take_name(struct cw_nbd_conn *c, const uint8_t *name, uint32_t len)
{
    if (len > CW_NBD_NAME_MAX || memchr(name, 0, len) != NULL)
        return false;
    memcpy(c->name, name, len);
    c->name[len] = 0;
    return true;
}

static void
wait_for_world(struct cw_nbd_conn *c)
{
    c->phase = NBD_OPT_WAIT;
    c->waiting = true;
}

static void
option_export_name(struct cw_nbd_conn *c)
{
    if (!take_name(c, c->in, c->opt_len) || c->shutting_down) {
        nbd_break(c, "NBD_OPT_EXPORT_NAME of something that cannot be served");
        return;
    }
    wait_for_world(c);
    c->ops->attach(c, c->name);
}

static void
option_info_or_go(struct cw_nbd_conn *c)
{
    uint32_t n_name = c->opt_len >= 6 ? cw_be32_get(c->in) : 0, n_infos;
    const uint8_t *p;

    if (c->opt_len < 6 || n_name > c->opt_len - 6) {
        answer(c, CW_NBD_REP_ERR_INVALID, "malformed option");
        return;
    }
    p = c->in + 4 + n_name;
    n_infos = cw_be16_get(p);
    if (c->opt_len != 6 + n_name + 2 * n_infos) {
        answer(c, CW_NBD_REP_ERR_INVALID, "malformed option");
        return;
    }
    c->opt_infos = 0;
    for (uint32_t i = 0; i < n_infos; i++) {
        uint16_t info = cw_be16_get(p + 2 + (size_t)2 * i);

        if (info < 16)
            c->opt_infos |= (uint16_t)CW_BIT(info);
    }
    if (c->shutting_down) {
        answer(c, CW_NBD_REP_ERR_SHUTDOWN, "the server is stopping");
        return;
    }
    if (!take_name(c, c->in + 4, n_name)) {
        answer(c, CW_NBD_REP_ERR_UNKNOWN, "no volume can have that name");
        return;
    }
    wait_for_world(c);
    if (c->opt == CW_NBD_OPT_GO)
        c->ops->attach(c, c->name);
    else
        c->ops->info(c, c->name);
}

static void
begin_transmission(struct cw_nbd_conn *c)
{
    c->negotiated = true;
    c->allocation = c->allocation && strcmp(c->name, c->meta_name) == 0;
    nbd_expect(c, NBD_REQUEST, CW_NBD_REQUEST_SIZE);
}

static uint16_t
transmission_flags(const struct cw_nbd_conn *c)
{
    return (uint16_t)(TRANSMISSION_FLAGS | (c->structured ? CW_NBD_SEND_DF : 0));
}

static void
put_export_infos(struct cw_nbd_conn *c)
{
    uint8_t bytes[2 + CW_NBD_NAME_MAX];
    uint8_t *p = cw_be16_put(bytes, CW_NBD_INFO_EXPORT);

    p = cw_be64_put(p, c->size);
    p = cw_be16_put(p, transmission_flags(c));
    put_rep(c, CW_NBD_REP_INFO, bytes, (uint32_t)(p - bytes));

    p = cw_be16_put(bytes, CW_NBD_INFO_BLOCK_SIZE);
    p = cw_be32_put(p, CW_NBD_BLOCK_MIN);
    p = cw_be32_put(p, CW_NBD_BLOCK_PREFERRED);
    p = cw_be32_put(p, CW_NBD_BLOCK_MAX);
    put_rep(c, CW_NBD_REP_INFO, bytes, (uint32_t)(p - bytes));

    if ((c->opt_infos & CW_BIT(CW_NBD_INFO_NAME)) != 0) {
        size_t n = strlen(c->name);

        p = cw_be16_put(bytes, CW_NBD_INFO_NAME);
        memcpy(p, c->name, n);
        put_rep(c, CW_NBD_REP_INFO, bytes, (uint32_t)(2 + n));
    }
}

static void
export_name_answer(struct cw_nbd_conn *c, enum cw_nbd_res res, const char *text)
{
    static const uint8_t zeroes[124];
    uint8_t bytes[10];

    if (res != CW_NBD_RES_OK) {
        nbd_break(c, text);
        return;
    }
    cw_be16_put(cw_be64_put(bytes, c->size), transmission_flags(c));
    nbd_put(c, bytes, sizeof(bytes));
    if (!c->no_zeroes)
        nbd_put(c, zeroes, sizeof(zeroes));
    begin_transmission(c);
}

static uint32_t
rep_error_of(enum cw_nbd_res res)
{
    switch (res) {
    case CW_NBD_RES_UNKNOWN:
        return CW_NBD_REP_ERR_UNKNOWN;
    case CW_NBD_RES_SHUTDOWN:
        return CW_NBD_REP_ERR_SHUTDOWN;
    case CW_NBD_RES_OK:
    case CW_NBD_RES_REFUSED:
        break;
    }
    return CW_NBD_REP_ERR_POLICY;
}

void
cw_nbd_on_export(struct cw_nbd_conn *c, enum cw_nbd_res res, uint64_t size_bytes, const char *text)
{
    cw_assert(c->waiting);
    c->waiting = false;
    c->ops->kick(c);
    if (c->phase != NBD_OPT_WAIT) /* died meanwhile */
        return;
    c->size = size_bytes;
    if (c->opt == CW_NBD_OPT_EXPORT_NAME) {
        export_name_answer(c, res, text);
        return;
    }
    if (res != CW_NBD_RES_OK) {
        answer(c, rep_error_of(res), text);
        return;
    }
    put_export_infos(c);
    put_rep(c, CW_NBD_REP_ACK, NULL, 0);
    if (c->opt == CW_NBD_OPT_GO)
        begin_transmission(c);
    else
        next_option(c);
}

/* ---- the other options ---- */

static void
option_list(struct cw_nbd_conn *c)
{
    if (c->opt_len != 0) {
        answer(c, CW_NBD_REP_ERR_INVALID, "malformed option");
    } else if (c->shutting_down) {
        answer(c, CW_NBD_REP_ERR_SHUTDOWN, "the server is stopping");
    } else {
        wait_for_world(c);
        c->ops->list(c);
    }
}

void
cw_nbd_on_list(struct cw_nbd_conn *c, enum cw_nbd_res res, const char *const *names, size_t n,
               const char *text)
{
    uint8_t bytes[4 + 256];

    cw_assert(c->waiting);
    c->waiting = false;
    c->ops->kick(c);
    if (c->phase != NBD_OPT_WAIT)
        return;
    if (res != CW_NBD_RES_OK) {
        answer(c, rep_error_of(res), text);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        uint32_t len = (uint32_t)strnlen(names[i], sizeof(bytes) - 4);

        memcpy(cw_be32_put(bytes, len), names[i], len);
        put_rep(c, CW_NBD_REP_SERVER, bytes, 4 + len);
    }
    put_rep(c, CW_NBD_REP_ACK, NULL, 0);
    next_option(c);
}

/* export name, number of queries, queries: does it have this form? */
static bool
meta_query_is_sane(const uint8_t *p, uint32_t len)
{
    uint32_t n, n_queries;

    if (len < 8 || (n = cw_be32_get(p)) > len - 8)
        return false;
    n_queries = cw_be32_get(p + 4 + n);
    p += 8 + n;
    len -= 8 + n;
    for (; n_queries > 0; n_queries--) {
        if (len < 4 || (n = cw_be32_get(p)) > len - 4)
            return false;
        p += 4 + n;
        len -= 4 + n;
    }
    return len == 0;
}

static bool
query_is(const uint8_t *query, uint32_t len, const char *text)
{
    return len == strlen(text) && memcmp(query, text, len) == 0;
}

/* Do the queries, which have the form above, ask for base:allocation? */
static bool
meta_wants_allocation(const uint8_t *p, bool listing)
{
    uint32_t n_queries, n = cw_be32_get(p);

    p += 4 + n;
    n_queries = cw_be32_get(p);
    p += 4;
    if (n_queries == 0)
        return listing;
    for (; n_queries > 0; n_queries--) {
        n = cw_be32_get(p);
        p += 4;
        if (query_is(p, n, CW_NBD_META_ALLOCATION) || (listing && query_is(p, n, "base:")))
            return true;
        p += n;
    }
    return false;
}

/* A later choice replaces an earlier one, also if it is refused. */
static void
meta_select(struct cw_nbd_conn *c, bool wanted)
{
    uint32_t n = cw_be32_get(c->in);

    c->allocation = wanted;
    memcpy(c->meta_name, c->in + 4, n);
    c->meta_name[n] = 0;
}

static void
put_meta_context(struct cw_nbd_conn *c, uint32_t id)
{
    uint8_t bytes[4 + sizeof(CW_NBD_META_ALLOCATION) - 1];

    memcpy(cw_be32_put(bytes, id), CW_NBD_META_ALLOCATION, sizeof(bytes) - 4);
    put_rep(c, CW_NBD_REP_META_CONTEXT, bytes, sizeof(bytes));
}

/* Whether there is such an export is told at GO. */
static void
option_meta_context(struct cw_nbd_conn *c)
{
    bool listing = c->opt == CW_NBD_OPT_LIST_META_CONTEXT, wanted;

    if (!listing)
        c->allocation = false;
    if (!c->structured) {
        answer(c, CW_NBD_REP_ERR_INVALID, "structured replies first");
    } else if (!meta_query_is_sane(c->in, c->opt_len)) {
        answer(c, CW_NBD_REP_ERR_INVALID, "malformed option");
    } else if (!take_name(c, c->in + 4, cw_be32_get(c->in))) {
        answer(c, CW_NBD_REP_ERR_UNKNOWN, "no volume can have that name");
    } else {
        wanted = meta_wants_allocation(c->in, listing);
        if (!listing)
            meta_select(c, wanted);
        if (wanted)
            put_meta_context(c, listing ? 0 : CW_NBD_META_ID);
        answer(c, CW_NBD_REP_ACK, "");
    }
}

static void
option_structured(struct cw_nbd_conn *c)
{
    if (c->opt_len != 0) {
        answer(c, CW_NBD_REP_ERR_INVALID, "malformed option");
        return;
    }
    c->structured = true;
    answer(c, CW_NBD_REP_ACK, "");
}

void
nbd_option_data(struct cw_nbd_conn *c)
{
    switch (c->opt) {
    case CW_NBD_OPT_EXPORT_NAME:
        option_export_name(c);
        break;
    case CW_NBD_OPT_ABORT:
        put_rep(c, CW_NBD_REP_ACK, NULL, 0);
        c->phase = NBD_CLOSING;
        c->ops->kick(c);
        break;
    case CW_NBD_OPT_LIST:
        option_list(c);
        break;
    case CW_NBD_OPT_STARTTLS:
        answer(c, CW_NBD_REP_ERR_UNSUP, "this server has no TLS");
        break;
    case CW_NBD_OPT_INFO:
    case CW_NBD_OPT_GO:
        option_info_or_go(c);
        break;
    case CW_NBD_OPT_STRUCTURED_REPLY:
        option_structured(c);
        break;
    case CW_NBD_OPT_LIST_META_CONTEXT:
    case CW_NBD_OPT_SET_META_CONTEXT:
        option_meta_context(c);
        break;
    default:
        nbd_option_skipped(c);
        break;
    }
}
