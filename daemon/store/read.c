/* store/read.c - reads: the map at one instant, then the disk, then every block verified. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mutation.h"
#include "common/codec/hash.h"
#include "daemon/store/store-internal.h"

#define EXTENTS_AT_ONCE 15u /* of EXTENT_BLOCKS_MAX: they fit a buffer of 1 MiB */

struct read_ctx {
    struct cw_list all;  /* s->reads, or s->reads_spare */
    struct cw_list wait; /* s->reads_held, s->reads_done */
    struct cw_store *s;
    struct cw_store_read *r;
    struct page_waiter w;
    struct page *pinned[2];
    uint64_t locs[CW_IO_BLOCKS_MAX]; /* 0: not read */
    struct store_run runs[CW_IO_BLOCKS_MAX];
    struct store_fetch f;
    uint64_t unread[4];
    /* blocks that lie packed: after all others, some at once */
    struct extent ext[EXTENTS_AT_ONCE]; /* first: a block of the read */
    uint32_t n_ext, ext_at;             /* the next block to look at */
    struct cw_buf *ext_buf;
    uint64_t ext_unread[4];
    /* READ_TAIL */
    struct tail_entry tail;
    uint8_t *hdr;
    uint32_t hdr_len;
    struct store_io io;
};

static void read_map(struct read_ctx *c);

/* What is bad in it is told beside the answer; what was read and is fine may be forgotten. */
static void
read_tell(struct read_ctx *c)
{
    const struct cw_store_read *r = c->r;
    bool map_only = r->flags & CW_STORE_READ_CSUMS;
    uint64_t unknown[4];

    if ((r->bad[0] | r->bad[1] | r->bad[2] | r->bad[3]) != 0)
        bad_found(r->shard, r->snap, r->lba, r->nblk, r->bad, map_only ? NULL : c->locs);
    for (uint32_t i = 0; i < 4; i++)
        unknown[i] = r->bad[i] | r->skipped[i];
    if (!map_only)
        bad_forget(r->shard, r->snap, r->lba, r->nblk, unknown);
}

static void
read_finish(struct read_ctx *c, int res)
{
    c->r->res = res;
    if (res == 0 && !(c->r->flags & CW_STORE_READ_TAIL))
        read_tell(c);
    if (res != 0) {
        cw_buf_unref(c->r->buf);
        c->r->buf = NULL;
    }
    cw_list_push_back(&c->s->reads_done, &c->wait);
}

static void
read_finish_later(struct read_ctx *c, int res)
{
    read_finish(c, res);
    store_kick(c->s);
}

void
read_deliver(struct cw_store *s)
{
    struct cw_list *node;

    while ((node = cw_list_pop_front(&s->reads_done)) != NULL) {
        struct read_ctx *c = cw_list_entry(node, struct read_ctx, wait);
        struct cw_store_read *r = c->r;

        cw_list_remove(&c->all);
        cw_list_push_front(&s->reads_spare, &c->all);
        s->n_reads--;
        r->priv = NULL;
        r->done(r);
    }
}

/* ---- the disk ---- */

static void
read_unpin_segments(struct read_ctx *c)
{
    for (uint32_t i = 0; i < c->r->nblk && i < CW_IO_BLOCKS_MAX; i++) {
        if (c->locs[i] != 0)
            segment_unpin(c->s, cw_loc_seg(c->locs[i]));
    }
}

static void
read_verify(struct read_ctx *c)
{
    struct cw_store_read *r = c->r;

    for (uint32_t i = 0; i < r->nblk; i++) {
        if (c->locs[i] == 0)
            continue;
        c->s->stats.read_blocks++;
        if (!cw_bit_get(c->unread, i) &&
            (cw_hash_block(r->buf->data + (size_t)i * CW_BLOCK_SIZE) == r->csums[i] ||
             cw_mutated(CW_MUTATION_STORE_BLIND)))
            continue;
        cw_bit_set(r->bad, i);
        c->s->stats.csum_errors++;
    }
}

static void
read_all_there(struct read_ctx *c, int res)
{
    struct cw_store *s = c->s;

    if (res == 0)
        read_verify(c);
    read_unpin_segments(c);
    read_finish(c, s->stats.failed ? -EIO : res);
    read_deliver(s);
    store_close_step(s);
}

/* ---- packed blocks ---- */

static bool
read_is_packed(const struct read_ctx *c, uint32_t i)
{
    return c->locs[i] != 0 && cw_loc_kind(c->locs[i]) == CW_MAP_COMP;
}

static void
extent_unpack(struct read_ctx *c, const struct extent *e)
{
    const uint8_t *plain =
        extent_plain(c->s, e, c->locs[e->first], c->ext_buf->data, c->ext_unread);

    for (uint32_t i = e->first; i < e->first + e->n; i++) {
        if (plain == NULL)
            cw_bit_set(c->unread, i);
        else
            memcpy(c->r->buf->data + (size_t)i * CW_BLOCK_SIZE,
                   plain + (size_t)cw_loc_idx(c->locs[i]) * CW_BLOCK_SIZE, CW_BLOCK_SIZE);
    }
}

static void extents_fetch(struct read_ctx *c);

static void
extents_on_fetched(struct store_fetch *f)
{
    struct read_ctx *c = cw_container_of(f, struct read_ctx, f);

    for (uint32_t i = 0; i < c->n_ext; i++)
        extent_unpack(c, &c->ext[i]);
    cw_buf_unref(c->ext_buf);
    c->ext_buf = NULL;
    extents_fetch(c);
}

/* The next ones, and how many blocks of buffer they take. */
static uint32_t
extents_collect(struct read_ctx *c)
{
    uint32_t pieces = 0;

    c->n_ext = 0;
    for (; c->ext_at < c->r->nblk; c->ext_at++) {
        struct extent *last = c->n_ext == 0 ? NULL : &c->ext[c->n_ext - 1];
        uint64_t loc = c->locs[c->ext_at];

        if (!read_is_packed(c, c->ext_at))
            continue;
        if (last != NULL && last->first + last->n == c->ext_at &&
            cw_loc_extent(c->locs[last->first]) == cw_loc_extent(loc)) {
            last->n++;
            continue;
        }
        if (c->n_ext == EXTENTS_AT_ONCE)
            break;
        c->ext[c->n_ext] = extent_make(c->s, loc, c->ext_at, pieces);
        pieces += c->ext[c->n_ext++].n_pieces;
    }
    return pieces;
}

static void
extents_fetch(struct read_ctx *c)
{
    uint32_t pieces = extents_collect(c);

    if (pieces == 0) {
        read_all_there(c, 0);
        return;
    }
    c->ext_buf = cw_buf_get(c->s->pool, (size_t)pieces * CW_BLOCK_SIZE);
    if (c->ext_buf == NULL) {
        read_all_there(c, -ENOMEM);
        return;
    }
    for (uint32_t i = 0; i < c->n_ext; i++)
        c->runs[i] = extent_run(c->s, &c->ext[i], c->locs[c->ext[i].first], c->ext_buf->data);
    memset(c->ext_unread, 0, sizeof(c->ext_unread));
    c->f.n_runs = c->n_ext;
    c->f.bad = c->ext_unread;
    c->f.done = extents_on_fetched;
    store_fetch_start(c->s, &c->f);
}

/* ---- plain blocks ---- */

static void
read_on_fetched(struct store_fetch *f)
{
    extents_fetch(cw_container_of(f, struct read_ctx, f));
}

/* Runs of plain blocks; every segment that is read is pinned. */
static uint32_t
read_collect(struct read_ctx *c, bool *ret_packed)
{
    struct cw_store_read *r = c->r;
    uint32_t n = 0;

    for (uint32_t i = 0; i < r->nblk; i++) {
        struct store_run *last = n == 0 ? NULL : &c->runs[n - 1];

        if (c->locs[i] == 0)
            continue;
        c->s->segs[cw_loc_seg(c->locs[i])].io_pins++;
        if (read_is_packed(c, i)) {
            *ret_packed = true;
            continue;
        }
        if (last != NULL && last->first + last->n_blocks == i &&
            last->off + (uint64_t)last->n_blocks * CW_BLOCK_SIZE == loc_off(c->s, c->locs[i])) {
            last->n_blocks++;
            continue;
        }
        c->runs[n++] = (struct store_run){
            .off = loc_off(c->s, c->locs[i]),
            .to = r->buf->data + (size_t)i * CW_BLOCK_SIZE,
            .n_blocks = 1,
            .first = i,
        };
    }
    return n;
}

/* Nothing is plain: the first of the packed ones; may be inside the caller's call. */
static void
read_start_packed(struct read_ctx *c)
{
    if (cw_buf_pool_used(c->s->pool) + EXTENTS_AT_ONCE * EXTENT_BLOCKS_MAX * CW_BLOCK_SIZE >
        cw_buf_pool_limit(c->s->pool)) {
        read_unpin_segments(c);
        read_finish_later(c, -ENOMEM);
        return;
    }
    extents_fetch(c);
}

/* locs, csums and buf are set; blocks without loc are done. */
static void
read_fetch(struct read_ctx *c)
{
    bool packed = false;
    uint32_t n = read_collect(c, &packed);

    if (n == 0 && !packed) {
        read_finish_later(c, 0);
        return;
    }
    memset(c->unread, 0, sizeof(c->unread));
    c->ext_at = 0;
    c->f.runs = c->runs;
    if (n == 0 && packed) {
        read_start_packed(c);
        return;
    }
    c->f.n_runs = n;
    c->f.bad = c->unread;
    c->f.done = read_on_fetched;
    store_fetch_start(c->s, &c->f);
}

/* ---- the map ---- */

static struct layer *
read_layer(const struct cw_store_read *r)
{
    return r->snap == 0 ? r->shard->head : layer_of_snap(r->shard, r->snap);
}

static bool
read_is_held(const struct cw_store *s, const struct cw_store_read *r)
{
    return r->snap == 0 && s->apply.mid == r->shard &&
           cw_ranges_overlap(r->lba, r->nblk, s->apply.mid_lba, s->apply.mid_nblk);
}

/* The page that shows the chunk now, pinned. After a wait it may be another than before: a write
 * gave the head one of its own, or emptied it. False: waits. */
static bool
read_pin_page(struct read_ctx *c, uint32_t chunk, struct page **pinned)
{
    struct layer *l = read_layer(c->r);

    chunk_see(&l, chunk);
    if (*pinned != NULL && *pinned == map_page_resident(l, chunk))
        return true;
    if (*pinned != NULL)
        map_page_unpin(*pinned);
    *pinned = NULL;
    if (!map_has_page(l, chunk))
        return true;
    *pinned = map_page_get(l, chunk, &c->w);
    if (*pinned == NULL)
        return false;
    (*pinned)->pins++;
    return true;
}

/* All of them at one instant. A page is waited for anew only if what the chunk shows was changed
 * and its new page has left the cache since: so writes do not keep a read from its end. */
static bool
read_pin_pages(struct read_ctx *c)
{
    const struct cw_store_read *r = c->r;
    uint32_t first = (uint32_t)(r->lba / CW_CHUNK_BLOCKS);

    for (uint32_t i = 0; i < record_chunk_count(r->lba, r->nblk); i++) {
        if (!read_pin_page(c, first + i, &c->pinned[i]))
            return false;
    }
    return true;
}

static void
read_unpin_pages(struct read_ctx *c)
{
    for (uint32_t i = 0; i < 2; i++) {
        if (c->pinned[i] != NULL)
            map_page_unpin(c->pinned[i]);
        c->pinned[i] = NULL;
    }
}

/* Takes the answer from the map; returns whether all of it is zeroes. */
static bool
read_take_entries(struct read_ctx *c)
{
    struct cw_store_read *r = c->r;
    uint32_t first = (uint32_t)(r->lba / CW_CHUNK_BLOCKS);
    bool zeroes = true;

    for (uint32_t i = 0; i < r->nblk; i++) {
        uint64_t lba = r->lba + i;
        const struct page *p = c->pinned[lba / CW_CHUNK_BLOCKS - first];
        struct cw_map_entry e = { 0 };
        enum cw_map_kind kind;

        if (p != NULL)
            e = p->data->e[lba % CW_CHUNK_BLOCKS];
        kind = cw_loc_kind(e.loc);
        c->locs[i] = 0;
        r->csums[i] = map_kind_is_mapped(kind) ? e.xxh3 : CW_HASH_ZERO_BLOCK;
        if (kind == CW_MAP_BAD)
            cw_bit_set(e.xxh3 == CW_HASH_UNKNOWN ? r->unknown : r->bad, i);
        else if (r->skip_csums != NULL && r->skip_csums[i] == r->csums[i])
            cw_bit_set(r->skipped, i);
        else if (map_kind_is_data(kind))
            c->locs[i] = e.loc;
        zeroes = zeroes && !map_kind_is_mapped(kind);
    }
    return zeroes;
}

static bool
read_get_buf(struct read_ctx *c)
{
    struct cw_store_read *r = c->r;

    r->buf = cw_buf_get(c->s->pool, (size_t)r->nblk * CW_BLOCK_SIZE);
    if (r->buf == NULL)
        return false;
    for (uint32_t i = 0; i < r->nblk; i++) {
        if (c->locs[i] == 0)
            memset(r->buf->data + (size_t)i * CW_BLOCK_SIZE, 0, CW_BLOCK_SIZE);
    }
    return true;
}

static void
read_map(struct read_ctx *c)
{
    struct cw_store_read *r = c->r;
    const struct cw_chunk_entry *e;
    struct layer *l = read_layer(r);

    if (c->s->stats.failed || l == NULL) {
        read_unpin_pages(c);
        read_finish_later(c, l == NULL ? -ENOENT : -EIO);
        return;
    }
    if (!read_pin_pages(c))
        return;
    if (read_is_held(c->s, r)) {
        read_unpin_pages(c);
        cw_list_push_back(&c->s->reads_held, &c->wait);
        return;
    }
    e = chunk_see(&l, (uint32_t)(r->lba / CW_CHUNK_BLOCKS));
    r->at_seq = r->shard->info.durable_seq;
    r->ver_seq = e == NULL ? 0 : e->seq;
    r->ver_gen = e == NULL ? 0 : e->gen;
    r->zeroes = read_take_entries(c);
    read_unpin_pages(c);
    if (r->zeroes || (r->flags & CW_STORE_READ_CSUMS))
        read_finish_later(c, 0);
    else if (!read_get_buf(c))
        read_finish_later(c, -ENOMEM);
    else
        read_fetch(c);
}

static void
read_on_page(struct page_waiter *w)
{
    read_map(cw_container_of(w, struct read_ctx, w));
}

void
read_retry_waiting(struct cw_store *s)
{
    struct cw_list held;
    struct cw_list *node;

    if (cw_list_empty(&s->reads_held))
        return;
    cw_list_init(&held);
    cw_list_splice_back(&held, &s->reads_held);
    while ((node = cw_list_pop_front(&held)) != NULL)
        read_map(cw_list_entry(node, struct read_ctx, wait));
}

void
read_fail_held(struct cw_store *s)
{
    s->apply.mid = NULL;
    read_retry_waiting(s);
}

/* ---- a record of the tail ---- */

/* Finds the record in its batch's header; everything from the disk is checked. */
static bool
tail_parse(struct read_ctx *c, struct cw_batch_hdr *h, struct rec_view *v)
{
    const uint8_t *at = c->hdr + sizeof(*h);

    memcpy(h, c->hdr, sizeof(*h));
    if (h->magic != CW_BATCH_MAGIC || h->format_id != c->s->sb.format_id ||
        h->batch_seq != c->tail.batch_seq || h->hdr_bytes > c->hdr_len || h->hdr_bytes < 4096 ||
        (uint64_t)c->tail.off + h->hdr_bytes + h->payload_bytes > c->s->seg_bytes ||
        h->hdr_csum != cw_hash2(c->hdr, offsetof(struct cw_batch_hdr, hdr_csum), at,
                                h->hdr_bytes - sizeof(*h)))
        return false;
    for (uint32_t i = 0; i <= c->tail.rec; i++) {
        if (i >= h->nrec || !record_parse(at, c->hdr + h->hdr_bytes, h->payload_bytes, v))
            return false;
        at = v->next;
    }
    return v->d.seq == c->tail.e.seq && v->d.gen == c->tail.e.gen &&
           v->d.layer == c->r->shard->layer && tail_type(v) == c->tail.e.type &&
           v->d.lba == c->tail.e.lba && v->d.nblk == c->tail.e.nblk;
}

static void
tail_write_locs(struct read_ctx *c, const struct cw_batch_hdr *h, const struct rec_view *v)
{
    struct rec_places places = record_places(v, c->tail.seg, c->tail.off + h->hdr_bytes);
    struct cw_store_read *r = c->r;

    r->zeroes = v->n_payload == 0;
    for (uint32_t i = 0; i < v->d.nblk; i++) {
        r->csums[i] = v->csums[i];
        c->locs[i] = record_left_out(v, i) ? 0 : record_place_next(&places);
    }
}

static void
tail_on_hdr(struct store_io *io, int res)
{
    struct read_ctx *c = cw_container_of(io, struct read_ctx, io);
    struct cw_store_read *r = c->r;
    struct cw_store *s = c->s;
    uint32_t seg = c->tail.seg;
    uint8_t *hdr = c->hdr;
    struct cw_batch_hdr h;
    struct rec_view v;
    bool ok = res == 0 && tail_parse(c, &h, &v);

    c->hdr = NULL; /* c may be another read's by the end */
    r->lba = c->tail.e.lba;
    r->nblk = c->tail.e.nblk;
    if (!ok) {
        /* every block of it is unreadable */
        s->stats.csum_errors++;
        memset(r->bad, 0xff, sizeof(r->bad));
        read_finish(c, 0);
    } else if (v.d.flags & CW_RF_DROP) {
        read_finish(c, -ENOENT);
    } else if (v.d.type != CW_REC_WRITE) {
        r->zeroes = true;
        read_finish(c, 0);
    } else {
        tail_write_locs(c, &h, &v);
        if (r->zeroes)
            read_finish(c, 0);
        else if (!read_get_buf(c))
            read_finish(c, -ENOMEM);
        else
            read_fetch(c);
    }
    /* the blocks that are read now hold the segment themselves: in between it was never free */
    segment_unpin(s, seg);
    free(hdr);
    read_deliver(s);
}

static void
tail_start(struct read_ctx *c)
{
    struct cw_store *s = c->s;
    const struct tail_entry *e = tail_find(c->r->shard, c->r->tail_seq);

    if (e == NULL) {
        read_finish_later(c, -ENOENT);
        return;
    }
    c->tail = *e;
    c->r->tail_type = e->e.type;
    c->r->tail_gen = e->e.gen;
    c->r->at_seq = c->r->shard->info.durable_seq;
    c->hdr_len = (uint32_t)cw_min_u64(CW_BATCH_HDR_MAX, s->seg_bytes - e->off);
    c->hdr = store_alloc_aligned(c->hdr_len);
    c->io.done = tail_on_hdr;
    s->segs[e->seg].io_pins++;
    store_io_start(s, &c->io, CW_DISK_READ, seg_off(s, e->seg) + e->off, c->hdr, c->hdr_len);
}

/* ---- begin, end ---- */

static struct read_ctx *
ctx_new(struct cw_store *s)
{
    struct cw_list *node = cw_list_pop_front(&s->reads_spare);
    struct read_ctx *c;

    if (node != NULL)
        return cw_list_entry(node, struct read_ctx, all);
    c = store_alloc(sizeof(*c));
    c->s = s;
    c->w.fn = read_on_page;
    cw_list_init(&c->all);
    cw_list_init(&c->wait);
    return c;
}

void
cw_store_read(struct cw_store_read *r)
{
    struct cw_store *s = r->shard->s;
    struct read_ctx *c = ctx_new(s);

    c->r = r;
    cw_list_push_back(&s->reads, &c->all);
    s->n_reads++;
    s->stats.reads++;
    r->priv = c;
    r->buf = NULL;
    r->zeroes = false;
    r->res = 0;
    memset(r->bad, 0, sizeof(r->bad));
    memset(r->unknown, 0, sizeof(r->unknown));
    memset(r->skipped, 0, sizeof(r->skipped));
    if (s->stats.failed || s->state != STORE_OPEN) {
        read_finish_later(c, -EIO);
    } else if (r->flags & CW_STORE_READ_TAIL) {
        tail_start(c);
    } else {
        cw_assert(r->nblk >= 1 && r->nblk <= CW_IO_BLOCKS_MAX);
        cw_assert(r->lba < CW_SHARD_BLOCKS && r->nblk <= CW_SHARD_BLOCKS - r->lba);
        read_map(c);
    }
}

void
read_free_all(struct cw_store *s)
{
    struct cw_list *lists[] = { &s->reads, &s->reads_spare };

    for (size_t i = 0; i < CW_LEN(lists); i++) {
        struct cw_list *node;

        while ((node = cw_list_pop_front(lists[i])) != NULL) {
            struct read_ctx *c = cw_list_entry(node, struct read_ctx, all);

            if (i == 0)
                cw_buf_unref(c->r->buf);
            if (i == 0)
                cw_buf_unref(c->ext_buf);
            free(c->hdr);
            free(c);
        }
    }
}
