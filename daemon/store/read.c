/* store/read.c - reads: the map at one instant, then the disk, then every block verified. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/codec/hash.h"
#include "daemon/store/store-internal.h"

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
    /* READ_TAIL */
    struct tail_entry tail;
    uint8_t *hdr;
    uint32_t hdr_len;
    struct store_io io;
};

static void read_map(struct read_ctx *c);

static void
read_finish(struct read_ctx *c, int res)
{
    c->r->res = res;
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
            c->s->segs[cw_loc_seg(c->locs[i])].read_pins--;
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
            cw_hash_block(r->buf->data + (size_t)i * CW_BLOCK_SIZE) == r->csums[i])
            continue;
        cw_bit_set(r->bad, i);
        c->s->stats.csum_errors++;
    }
}

static void
read_on_fetched(struct store_fetch *f)
{
    struct read_ctx *c = cw_container_of(f, struct read_ctx, f);
    struct cw_store *s = c->s;

    read_verify(c);
    read_unpin_segments(c);
    read_finish(c, s->stats.failed ? -EIO : 0);
    read_deliver(s);
    store_close_step(s);
}

/* locs, csums and buf are set; blocks without loc are done. */
static void
read_fetch(struct read_ctx *c)
{
    struct cw_store_read *r = c->r;
    uint32_t n = 0;

    for (uint32_t i = 0; i < r->nblk; i++) {
        struct store_run *last = n == 0 ? NULL : &c->runs[n - 1];

        if (c->locs[i] == 0)
            continue;
        c->s->segs[cw_loc_seg(c->locs[i])].read_pins++;
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
    if (n == 0) {
        read_finish_later(c, 0);
        return;
    }
    memset(c->unread, 0, sizeof(c->unread));
    c->f.runs = c->runs;
    c->f.n_runs = n;
    c->f.bad = c->unread;
    c->f.done = read_on_fetched;
    store_fetch_start(c->s, &c->f);
}

/* ---- the map ---- */

static bool
read_is_held(const struct cw_store *s, const struct cw_store_read *r)
{
    return s->apply.mid == r->shard &&
           cw_ranges_overlap(r->lba, r->nblk, s->apply.mid_lba, s->apply.mid_nblk);
}

static bool
read_pin_pages(struct read_ctx *c)
{
    struct cw_store_read *r = c->r;
    uint32_t first = (uint32_t)(r->lba / CW_CHUNK_BLOCKS);

    for (uint32_t i = 0; i < record_chunk_count(r->lba, r->nblk); i++) {
        if (c->pinned[i] != NULL || !map_has_page(r->shard, first + i))
            continue;
        c->pinned[i] = map_page_get(r->shard, first + i, &c->w);
        if (c->pinned[i] == NULL)
            return false;
        c->pinned[i]->pins++;
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
        r->csums[i] = kind == CW_MAP_RAW || kind == CW_MAP_BAD ? e.xxh3 : CW_HASH_ZERO_BLOCK;
        if (kind == CW_MAP_BAD)
            cw_bit_set(r->bad, i);
        else if (r->skip_csums != NULL && r->skip_csums[i] == r->csums[i])
            cw_bit_set(r->skipped, i);
        else if (kind == CW_MAP_RAW)
            c->locs[i] = e.loc;
        zeroes = zeroes && kind != CW_MAP_RAW && kind != CW_MAP_BAD;
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

    if (c->s->stats.failed) {
        read_unpin_pages(c);
        read_finish_later(c, -EIO);
        return;
    }
    if (!read_pin_pages(c))
        return;
    if (read_is_held(c->s, r)) {
        read_unpin_pages(c);
        cw_list_push_back(&c->s->reads_held, &c->wait);
        return;
    }
    e = chunk_find(r->shard, (uint32_t)(r->lba / CW_CHUNK_BLOCKS));
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
           v->d.layer == c->r->shard->layer;
}

static void
tail_write_locs(struct read_ctx *c, const struct cw_batch_hdr *h, const struct rec_view *v)
{
    struct cw_store_read *r = c->r;
    uint64_t off512 = (c->tail.off + h->hdr_bytes) / 512 + v->d.payload_off;

    r->zeroes = v->n_payload == 0;
    for (uint32_t i = 0; i < v->d.nblk; i++) {
        bool left_out = v->csums[i] == CW_HASH_ZERO_BLOCK && !(v->d.flags & CW_RF_ALL_DATA);

        r->csums[i] = v->csums[i];
        c->locs[i] = left_out ? 0 : cw_loc_make(c->tail.seg, (uint32_t)off512, 8, CW_MAP_RAW);
        off512 += left_out ? 0 : 8;
    }
}

static void
tail_on_hdr(struct store_io *io, int res)
{
    struct read_ctx *c = cw_container_of(io, struct read_ctx, io);
    struct cw_store_read *r = c->r;
    struct cw_batch_hdr h;
    struct rec_view v;
    bool ok = res == 0 && tail_parse(c, &h, &v);

    c->s->segs[c->tail.seg].read_pins--;
    r->lba = c->tail.e.lba;
    r->nblk = c->tail.e.nblk;
    if (!ok) {
        /* every block of it is unreadable */
        c->s->stats.csum_errors++;
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
    free(c->hdr);
    c->hdr = NULL;
    read_deliver(c->s);
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
    s->segs[e->seg].read_pins++;
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
            free(c->hdr);
            free(c);
        }
    }
}
