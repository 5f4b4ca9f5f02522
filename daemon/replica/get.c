/* replica/get.c - the source's side of a resync: versions and chunks for a target that pulls.
 *
 *   VER_LIST, CHUNK_GET --> WAITING until our applied seq has reached the one asked for --> READY
 *     --> (chunks only) READING from a pinned map snapshot --> answered
 *
 * Answered only if the generation asked for is the promised one, when the request comes and when
 * the answer leaves: positions of two generations cannot be compared.
 *
 * A journal answers only those that have all it has not (CW_JOIN_OVERLAY): the chunks that it lists
 * are those it knows something of, and of them it sends the blocks that it holds.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "common/base/mutation.h"
#include "common/codec/hash.h"
#include "daemon/replica/internal.h"

struct cw_get {
    struct cw_list in_queue; /* copy->gets, replica->serving, or none while READING */
    struct cw_list in_peer;
    struct cw_peer *peer; /* a reference */
    struct cw_copy *copy;
    bool list; /* VER_LIST, else CHUNK_GET */
    bool reading;
    uint32_t gen, tag, nblk;
    uint64_t join_id, lba, min_seq;
    struct cw_op op; /* tracks the read */
    struct cw_store_read read;
    uint64_t csums[CW_CHUNK_BLOCKS];
};

static void get_serve_next(struct cw_replica *r);

static void
get_free(struct cw_get *g)
{
    cw_list_remove(&g->in_queue);
    cw_list_remove(&g->in_peer);
    cw_buf_unref(g->read.buf);
    g->peer->n_gets--;
    cw_peer_unref(g->peer);
    free(g);
}

static void
get_refuse(struct cw_get *g, enum cw_nack_code code)
{
    cw_peer_nack_copy(g->peer, g->copy, g->tag, code, g->copy->info->durable_seq);
    get_free(g);
}

static int
get_code(const struct cw_copy *c, uint32_t gen, uint64_t join_id)
{
    bool overlay = CW_JOIN_KIND(join_id) == CW_JOIN_OVERLAY;
    int code = cw_copy_gen_code(c, gen);

    if (code == CW_NACK_STALE_GEN || code == CW_NACK_NO_SESSION)
        return CW_NACK_GONE;
    if (code == 0 &&
        (c->info->damaged || c->info->syncing != overlay || c->info->journal != overlay))
        return CW_NACK_STATE;
    return code;
}

/* The first record of the journal that we are, 0: we are none. It tells journals of a shard apart:
 * another one may have begun here since the target was told of the one before. */
static uint64_t
get_since(const struct cw_copy *c)
{
    return c->info->journal ? c->info->hist[0].start_seq + 1 : 0;
}

/* ---- VER_LIST ---- */

static void
get_answer_list(struct cw_get *g)
{
    struct cw_replica *r = g->copy->r;
    struct cw_wire_hdr h = { .type = CW_FT_VER_DATA,
                             .shard = g->copy->shard,
                             .seq = get_since(g->copy),
                             .tag = g->tag,
                             .stable = g->join_id };
    struct cw_buf *b = cw_buf_get(r->pool, CW_LIST_CHUNKS * sizeof(struct cw_wire_ver));
    struct cw_msg *m = NULL;
    uint32_t n, next = 0;

    if (b == NULL) {
        get_refuse(g, CW_NACK_NO_SPACE);
        return;
    }
    n = cw_store_versions(g->copy->sh, (uint32_t)g->lba, g->nblk,
                          (struct cw_wire_ver *)(void *)b->data, CW_LIST_CHUNKS, &next);
    cw_assert(next > g->lba && next <= g->lba + g->nblk);
    h.lba_nblk = cw_lba_nblk(g->lba, next - (uint32_t)g->lba);
    m = cw_frame_opaque(r->pool, h, NULL, b->data, n * (uint32_t)sizeof(struct cw_wire_ver));
    cw_buf_unref(b);
    if (m == NULL) {
        get_refuse(g, CW_NACK_NO_SPACE);
        return;
    }
    cw_peer_send(g->peer, m);
    get_free(g);
}

/* ---- CHUNK_GET ---- */

/* What the chunk's blocks are; false: it is nothing to be served. */
static bool
get_look(struct cw_get *g)
{
    struct cw_store_read *read = &g->read;

    /* A copy in sync has no VOID chunk; one that has is no source. */
    if (!g->copy->info->journal)
        return read->ver_seq != CW_VER_VOID;
    if (read->ver_seq != CW_VER_VOID) /* no record touched it */
        memset(read->unknown, 0xff, sizeof(read->unknown));
    for (uint32_t i = 0; i < CW_CHUNK_BLOCKS; i++) {
        if (!cw_bit_get(read->unknown, i))
            continue;
        cw_bit_set(read->bad, i);
        read->csums[i] = CW_HASH_UNKNOWN;
    }
    return true;
}

/* header | blocks that differ, in order */
static struct cw_msg *
get_build_chunk(struct cw_get *g)
{
    struct cw_replica *r = g->copy->r;
    struct cw_store_read *read = &g->read;
    struct cw_wire_hdr h = { .type = CW_FT_CHUNK_DATA,
                             .flags = CW_F_CSUMS,
                             .shard = g->copy->shard,
                             .seq = read->at_seq,
                             .tag = g->tag,
                             .lba_nblk = cw_lba_nblk(g->lba, CW_CHUNK_BLOCKS),
                             .stable = g->join_id };
    struct cw_buf *b = cw_buf_get(r->pool, sizeof(struct cw_wire_chunk_data) + CW_MIB);
    struct cw_wire_chunk_data *cd;
    struct cw_msg *m;
    uint8_t *to;

    if (b == NULL)
        return NULL;
    cd = (struct cw_wire_chunk_data *)(void *)b->data;
    *cd = (struct cw_wire_chunk_data){ .ver_seq = read->ver_seq, .ver_gen = read->ver_gen };
    if (g->copy->info->journal)
        *cd = (struct cw_wire_chunk_data){ .ver_seq = get_since(g->copy) };
    memcpy(cd->bad, read->bad, sizeof(cd->bad));
    to = b->data + sizeof(*cd);
    for (uint32_t i = 0; i < CW_CHUNK_BLOCKS; i++) {
        if (cw_bit_get(read->bad, i) || read->csums[i] == g->csums[i])
            continue;
        cw_bit_set(cd->sent, i);
        cd->n_sent++;
        if (read->buf != NULL)
            memcpy(to, read->buf->data + (size_t)i * CW_BLOCK_SIZE, CW_BLOCK_SIZE);
        else
            memset(to, 0, CW_BLOCK_SIZE);
        to += CW_BLOCK_SIZE;
    }
    m = cw_frame_opaque(r->pool, h, read->csums, b->data, (uint32_t)(to - b->data));
    if (m != NULL)
        r->stats.bytes_served += (uint64_t)cd->n_sent * CW_BLOCK_SIZE;
    cw_buf_unref(b);
    return m;
}

static void
get_finish_chunk(struct cw_get *g)
{
    int code = get_code(g->copy, g->gen, g->join_id);
    struct cw_msg *m;

    if (code == 0 && g->read.res != 0)
        code = g->read.res == -ENOMEM ? CW_NACK_NO_SPACE : CW_NACK_IO;
    if (code == 0 && !get_look(g))
        code = CW_NACK_STATE;
    if (code != 0) {
        get_refuse(g, (enum cw_nack_code)code);
        return;
    }
    m = get_build_chunk(g);
    if (m == NULL) {
        get_refuse(g, CW_NACK_NO_SPACE);
        return;
    }
    g->copy->r->stats.chunks_served++;
    cw_peer_send(g->peer, m);
    get_free(g);
}

static void
get_read_done(struct cw_store_read *read)
{
    struct cw_get *g = cw_container_of(read, struct cw_get, read);
    struct cw_copy *c = g->copy;
    struct cw_replica *r = c->r;

    g->reading = false;
    cw_op_cancel(&g->op);
    r->n_serving--;
    get_finish_chunk(g);
    get_serve_next(r);
    cw_copy_idle(c);
}

static void
get_forget(struct cw_op *op)
{
    struct cw_get *g = cw_container_of(op, struct cw_get, op);

    free(g);
}

static void
get_read(struct cw_get *g)
{
    struct cw_replica *r = g->copy->r;

    g->reading = true;
    r->n_serving++;
    cw_op_begin(g->copy, &g->op, NULL, get_forget);
    g->read = (struct cw_store_read){
        .shard = g->copy->sh,
        .lba = g->lba,
        .nblk = CW_CHUNK_BLOCKS,
        .skip_csums = g->csums,
        .done = get_read_done,
    };
    cw_list_init(&g->read.link);
    cw_store_read(&g->read);
}

/* ---- order ---- */

static void
get_serve_next(struct cw_replica *r)
{
    while (r->n_serving < r->n_serving_max && !cw_list_empty(&r->serving)) {
        struct cw_get *g = cw_list_first(&r->serving, struct cw_get, in_queue);
        int code = get_code(g->copy, g->gen, g->join_id);

        cw_list_remove(&g->in_queue);
        if (code != 0)
            get_refuse(g, (enum cw_nack_code)code);
        else if (g->list)
            get_answer_list(g);
        else
            get_read(g);
    }
}

static bool
get_may_be_served(const struct cw_get *g)
{
    if (g->list && cw_mutated(CW_MUTATION_LIST_EARLY))
        return true;
    return g->copy->info->durable_seq >= g->min_seq;
}

void
cw_get_on_durable(struct cw_copy *c)
{
    if (cw_list_empty(&c->gets))
        return;
    CW_LIST_EACH_SAFE (it, &c->gets) {
        struct cw_get *g = cw_list_entry(it, struct cw_get, in_queue);

        if (!get_may_be_served(g))
            continue;
        cw_list_remove(&g->in_queue);
        cw_list_push_back(&c->r->serving, &g->in_queue);
    }
    get_serve_next(c->r);
}

void
cw_get_refuse_all(struct cw_copy *c, enum cw_nack_code code)
{
    while (!cw_list_empty(&c->gets))
        get_refuse(cw_list_first(&c->gets, struct cw_get, in_queue), code);
    CW_LIST_EACH_SAFE (it, &c->r->serving) {
        struct cw_get *g = cw_list_entry(it, struct cw_get, in_queue);

        if (g->copy == c)
            get_refuse(g, code);
    }
}

/* A target that asks again for a chunk has given the earlier request up. */
static void
peer_drop_same(struct cw_peer *p, const struct cw_copy *c, const struct cw_frame *f)
{
    bool list = f->hdr->type == CW_FT_VER_LIST;

    CW_LIST_EACH_SAFE (it, &p->gets) {
        struct cw_get *g = cw_list_entry(it, struct cw_get, in_peer);

        if (!g->reading && g->copy == c && g->list == list && g->lba == cw_hdr_lba(f->hdr))
            get_free(g);
    }
}

static const char *
get_nonsense(const struct cw_frame *f)
{
    uint64_t lba = cw_hdr_lba(f->hdr);
    uint32_t nblk = cw_hdr_nblk(f->hdr);

    if (f->hdr->type == CW_FT_VER_LIST)
        return nblk == 0 || lba >= CW_SHARD_CHUNKS || nblk > CW_SHARD_CHUNKS - lba
                   ? "chunks out of bounds"
                   : NULL;
    if (lba % CW_CHUNK_BLOCKS != 0 || nblk != CW_CHUNK_BLOCKS)
        return "not a chunk";
    return f->hdr->flags & CW_F_CSUMS ? NULL : "no checksums";
}

static struct cw_get *
get_new(struct cw_peer *p, struct cw_copy *c, const struct cw_frame *f)
{
    struct cw_get *g = calloc(1, sizeof(*g));

    if (g == NULL)
        return NULL;
    g->peer = cw_peer_ref(p);
    g->copy = c;
    g->list = f->hdr->type == CW_FT_VER_LIST;
    g->gen = f->hdr->gen;
    g->tag = f->hdr->tag;
    g->join_id = f->hdr->stable;
    g->lba = cw_hdr_lba(f->hdr);
    g->nblk = cw_hdr_nblk(f->hdr);
    /* s0 is the first seq of the stream to the target, min_seq the last one it has seen */
    g->min_seq = f->hdr->seq - (g->list && f->hdr->seq > 0);
    if (!g->list)
        memcpy(g->csums, f->csums, sizeof(g->csums));
    p->n_gets++;
    cw_list_push_back(&p->gets, &g->in_peer);
    cw_list_push_back(&c->gets, &g->in_queue);
    return g;
}

static void
get_begin(struct cw_copy *c)
{
    const struct cw_get *g = cw_container_of(c->gets.prev, struct cw_get, in_queue);

    c->r->stats.gets_waited += !get_may_be_served(g);
    cw_get_on_durable(c);
}

void
cw_get_on_frame(struct cw_peer *p, const struct cw_frame *f)
{
    const struct cw_wire_hdr *h = f->hdr;
    struct cw_copy *c = cw_copy_find(p->r, h->shard);
    const char *nonsense = get_nonsense(f);
    int code;

    if (nonsense != NULL) {
        cw_peer_offend(p, f, nonsense);
        return;
    }
    if (c == NULL) {
        cw_peer_nack(p, h->shard, h->tag, CW_NACK_NO_SHARD, 0, 0);
        return;
    }
    peer_drop_same(p, c, f);
    code = get_code(c, h->gen, h->stable);
    if (code == 0 && (p->n_gets >= CW_PEER_GETS_MAX || get_new(p, c, f) == NULL))
        code = CW_NACK_NO_SPACE;
    if (code != 0)
        cw_peer_nack_copy(p, c, h->tag, (enum cw_nack_code)code, 0);
    else
        get_begin(c);
}

void
cw_get_on_peer_down(struct cw_peer *p)
{
    CW_LIST_EACH_SAFE (it, &p->gets) {
        struct cw_get *g = cw_list_entry(it, struct cw_get, in_peer);

        if (!g->reading)
            get_free(g);
        else
            cw_list_remove(&g->in_peer); /* the read goes on; its answer goes nowhere */
    }
}

void
cw_get_forget_all(struct cw_replica *r)
{
    CW_LIST_EACH (it, &r->peers)
        cw_get_on_peer_down(cw_list_entry(it, struct cw_peer, in_replica));
}
