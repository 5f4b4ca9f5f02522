/* store/batch.c - batches: filled, written once per turn, released in order.
 *
 *   OPEN --turn end, full--> READY --segment room, slots--> IN_FLIGHT --done--> DURABLE --> applied
 *
 * The number of a batch is given at submission, so a batch that waits for space holds up nobody
 * else's. One number counts all classes; whatever was acknowledged is a prefix of that count.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mutation.h"
#include "common/codec/hash.h"
#include "daemon/store/store-internal.h"

/* ---- filling ---- */

static struct batch *
batch_new(struct cw_store *s)
{
    struct cw_list *node = cw_list_pop_front(&s->spare);
    struct batch *b;

    if (node != NULL)
        return cw_list_entry(node, struct batch, link);
    b = store_alloc(sizeof(*b));
    b->mem = store_alloc_aligned(4096 + CW_BATCH_HDR_MAX);
    b->hdr = b->mem + 4096;
    cw_list_init(&b->link);
    cw_list_init(&b->tickets);
    cw_list_init(&b->repairs);
    return b;
}

static void
batch_reset(struct batch *b, uint8_t cls)
{
    b->state = BATCH_OPEN;
    b->cls = cls;
    b->urgent = b->failed_once = b->written = b->opens = b->lost = false;
    b->nrec = b->payload_bytes = b->touches = b->blocks = 0;
    b->used = sizeof(struct cw_batch_hdr);
    b->n_iov = 1;
    b->own = NULL;
    b->own_at = 0;
    b->seq = 0;
}

static void
batch_drop_bufs(struct batch *b)
{
    for (uint32_t i = 1; i < b->n_iov; i++)
        cw_buf_unref(b->bufs[i]);
    b->n_iov = 1;
    cw_buf_unref(b->own);
    b->own = NULL;
}

static void
batch_close_open(struct cw_store *s, uint8_t cls)
{
    struct batch *b = s->batch_open[cls];

    b->state = BATCH_READY;
    cw_list_push_back(&s->ready[cls], &b->link);
    s->batch_open[cls] = NULL;
}

struct batch *
batch_room(struct cw_store *s, uint8_t cls, uint32_t hdr_len, uint32_t n_blocks, uint32_t pieces)
{
    uint32_t max = cls == CW_SEG_HOT ? STORE_HOT_BATCHES : 4;
    struct batch *b = s->batch_open[cls];

    if (b != NULL) {
        /* in a small segment large batches would leave large gaps */
        uint32_t soft = b->nrec == 0 ? CW_BATCH_PAYLOAD_MAX : s->seg_bytes / 8;

        if (b->used + hdr_len <= CW_BATCH_HDR_MAX && b->nrec < UINT16_MAX &&
            b->payload_bytes + n_blocks * CW_BLOCK_SIZE <= cw_min_u64(soft, CW_BATCH_PAYLOAD_MAX) &&
            b->n_iov + pieces <= STORE_BATCH_IOV)
            return b;
        if (s->n_batches[cls] >= max)
            return NULL;
        batch_close_open(s, cls);
        batch_submit_class(s, cls, false);
    }
    if (s->n_batches[cls] >= max)
        return NULL;
    b = batch_new(s);
    batch_reset(b, cls);
    s->n_batches[cls]++;
    s->batch_open[cls] = b;
    return b;
}

bool
batch_reserve(struct cw_store *s, struct batch *b, uint32_t n_blocks)
{
    static const uint32_t sizes[] = { 256 * CW_KIB, 64 * CW_KIB };
    uint32_t need = n_blocks * CW_BLOCK_SIZE;
    struct cw_buf *own = NULL;

    if (need == 0 || (b->own != NULL && b->own->size - b->own_at >= need))
        return true;
    for (size_t i = 0; i < CW_LEN(sizes) && own == NULL; i++)
        own = sizes[i] >= need ? cw_buf_get(s->pool, sizes[i]) : NULL;
    if (own == NULL)
        own = cw_buf_get(s->pool, need);
    if (own == NULL)
        return false;
    cw_buf_unref(b->own);
    b->own = own;
    b->own_at = 0;
    return true;
}

static void
payload_piece(struct batch *b, uint8_t *data, uint32_t len, struct cw_buf *ref)
{
    struct iovec *last = &b->iov[b->n_iov - 1];

    b->payload_bytes += len;
    if (b->n_iov > 1 && b->bufs[b->n_iov - 1] == ref &&
        (uint8_t *)last->iov_base + last->iov_len == data) {
        last->iov_len += len;
        return;
    }
    cw_assert(b->n_iov < STORE_BATCH_IOV);
    b->bufs[b->n_iov] = cw_buf_ref(ref);
    b->iov[b->n_iov++] = (struct iovec){ .iov_base = data, .iov_len = len };
}

void
batch_payload(struct batch *b, const uint8_t *data, uint32_t n_blocks, struct cw_buf *ref)
{
    uint32_t len = n_blocks * CW_BLOCK_SIZE;

    if (ref != NULL) {
        payload_piece(b, ref->data + (data - ref->data), len, ref);
        return;
    }
    memcpy(batch_own_at(b), data, len);
    batch_payload_own(b, n_blocks);
}

uint8_t *
batch_own_at(struct batch *b)
{
    return b->own->data + b->own_at;
}

void
batch_payload_own(struct batch *b, uint32_t n_blocks)
{
    uint32_t len = n_blocks * CW_BLOCK_SIZE;

    payload_piece(b, batch_own_at(b), len, b->own);
    b->own_at += len;
}

uint32_t
batch_rec_len(const struct rec_out *r)
{
    return (uint32_t)(sizeof(r->d) + r->n_csums * 8 + cw_align_up(r->d.clen, 8));
}

void
batch_add(struct batch *b, const struct rec_out *r)
{
    uint8_t *to = b->hdr + b->used;
    uint32_t csum_bytes = r->n_csums * 8, pad = (uint32_t)(cw_align_up(r->d.clen, 8) - r->d.clen);

    cw_assert(b->used + batch_rec_len(r) <= CW_BATCH_HDR_MAX);
    memcpy(to, &r->d, sizeof(r->d));
    to += sizeof(r->d);
    if (csum_bytes > 0)
        memcpy(to, r->csums, csum_bytes);
    to += csum_bytes;
    if (r->d.clen > 0)
        memcpy(to, r->body, r->d.clen);
    memset(to + r->d.clen, 0, pad);
    b->used += batch_rec_len(r);
    b->nrec++;
}

void
batch_ticket(struct cw_store *s, struct batch *b, struct cw_store_ticket *t)
{
    t->batch = 0;
    cw_list_push_back(&b->tickets, &t->link);
}

/* ---- control records ---- */

static bool
control_put(struct cw_store *s, const struct rec_out *r, struct cw_store_ticket *t)
{
    struct batch *b = batch_room(s, CW_SEG_HOT, batch_rec_len(r), 0, 0);

    if (b == NULL)
        return false;
    batch_add(b, r);
    if (!b->urgent) {
        b->urgent = true;
        s->n_urgent++;
    }
    if (t != NULL)
        batch_ticket(s, b, t);
    return true;
}

void
batch_control(struct cw_store *s, const struct rec_out *r, struct cw_store_ticket *t)
{
    struct control *c;

    if (s->stats.failed) {
        if (t != NULL)
            store_answer(s, t, -EIO);
        return;
    }
    if (cw_list_empty(&s->control) && control_put(s, r, t))
        return;
    c = store_alloc(sizeof(*c) + r->d.clen);
    c->r = *r;
    c->t = t;
    if (r->d.clen > 0)
        memcpy(c->body, r->body, r->d.clen);
    c->r.body = c->body;
    cw_list_push_back(&s->control, &c->link);
}

void
batch_control_flush(struct cw_store *s)
{
    while (!cw_list_empty(&s->control)) {
        struct control *c = cw_list_first(&s->control, struct control, link);

        if (!control_put(s, &c->r, c->t))
            return;
        cw_list_remove(&c->link);
        free(c);
    }
}

/* ---- writing ---- */

uint64_t
batch_chain(uint64_t seq, const uint8_t *hdr, uint32_t used)
{
    size_t skip = sizeof(struct cw_batch_hdr);

    return cw_mix64(seq) ^ cw_hash(hdr + skip, used - skip);
}

static void
batch_fill_hdr(struct cw_store *s, struct batch *b)
{
    struct cw_batch_hdr *h = (void *)b->hdr;
    size_t before = offsetof(struct cw_batch_hdr, hdr_csum);

    *h = (struct cw_batch_hdr){
        .magic = CW_BATCH_MAGIC,
        .ver = CW_STORE_VERSION,
        .nrec = (uint16_t)b->nrec,
        .hdr_bytes = b->hdr_bytes,
        .payload_bytes = b->payload_bytes,
        .batch_seq = b->seq,
        .durable_upto = s->durable_upto,
        .seg_seq = s->segs[b->seg].seq,
        .prev_hdr_csum = b->written ? h->prev_hdr_csum : s->chain_csum[b->cls],
        .format_id = s->sb.format_id,
    };
    memset(b->hdr + b->used, 0, b->hdr_bytes - b->used);
    h->hdr_csum =
        cw_hash2(b->hdr, before, b->hdr + sizeof(*h), b->hdr_bytes - (uint32_t)sizeof(*h));
}

static void batch_on_done(struct store_io *io, int res);

/* The batch has its number and room in the open segment. */
static void
batch_write(struct cw_store *s, struct batch *b)
{
    struct open_seg *o = &s->open[b->cls];
    uint64_t off;

    b->seg = o->no;
    b->off = o->off;
    o->off += b->hdr_bytes + b->payload_bytes;
    s->segs[b->seg].last_batch = cw_max_u64(s->segs[b->seg].last_batch, b->seq);
    batch_fill_hdr(s, b);
    b->written = true;
    b->lost = false;
    b->opens = o->fresh;
    segment_add_summary(s, b->cls, b->off, b->hdr, b->used);
    off = seg_off(s, b->seg) + b->off;
    b->iov[0] = (struct iovec){ .iov_base = b->hdr, .iov_len = b->hdr_bytes };
    if (o->fresh) {
        o->fresh = false;
        segment_fill_hdr(s, b->cls, (struct cw_seg_hdr *)(void *)b->mem, b->seq);
        b->iov[0] = (struct iovec){ .iov_base = b->mem, .iov_len = 4096 + b->hdr_bytes };
        off -= 4096;
    }
    b->io.io.iov = b->iov;
    b->io.io.n_iov = b->n_iov;
    b->io.io.len = b->payload_bytes;
    b->io.io.len += b->iov[0].iov_len;
    b->io.done = batch_on_done;
    b->state = BATCH_IN_FLIGHT;
    s->in_flight[b->cls]++;
    s->stats.bytes_logged += b->io.io.len;
    s->logged[b->cls] += b->io.io.len;
    s->batches_of[b->cls]++;
    s->logged_hdr += b->used;
    store_io_start_iov(s, &b->io,
                       cw_mutated(CW_MUTATION_NO_SYNC) ? CW_DISK_WRITE : CW_DISK_WRITE_SYNC, off);
}

static bool
batch_start(struct cw_store *s, struct batch *b)
{
    uint32_t keep = space_keep_free(s, b->cls, s->n_urgent > 0);

    if (b->cls == CW_SEG_HOT && s->n_urgent == 0 && pace_holds(s))
        return false;
    b->hdr_bytes = (uint32_t)cw_align_up(b->used, 4096);
    if (!segment_room(s, b->cls, b->hdr_bytes + b->payload_bytes, b->used, keep))
        return false;
    b->seq = s->next_batch++;
    cw_list_remove(&b->link);
    cw_list_push_back(&s->batches, &b->link);
    batch_write(s, b);
    s->chain_csum[b->cls] = batch_chain(b->seq, b->hdr, b->used);
    s->stats.batches++;
    s->noted_upto = cw_max_u64(s->noted_upto, s->durable_upto);
    return true;
}

static uint32_t
batch_max_in_flight(const struct cw_store *s, uint8_t cls)
{
    if (cls == CW_SEG_HOT)
        return STORE_HOT_IN_FLIGHT;
    return cls == CW_SEG_META ? STORE_BG_IN_FLIGHT : cleaner_batches_max(s);
}

void
batch_submit_class(struct cw_store *s, uint8_t cls, bool open_too)
{
    uint32_t max = batch_max_in_flight(s, cls);

    if (s->stats.failed)
        return;
    while (s->in_flight[cls] < max) {
        struct batch *b = cw_list_first(&s->ready[cls], struct batch, link);

        if (b == NULL) {
            if (!open_too || s->batch_open[cls] == NULL || s->batch_open[cls]->nrec == 0)
                return;
            batch_close_open(s, cls);
            continue;
        }
        if (!batch_start(s, b)) {
            if (s->state == STORE_OPENING) {
                store_fail(s, "no free segment to recover into", -ENOSPC);
                return;
            }
            /* for the cleaner and the checkpoint; once, they come back by themselves */
            if (!s->pressed[cls])
                store_kick(s);
            s->pressed[cls] = true;
            /* nobody comes back for a cleaner's; HOT grows until the end of a turn */
            if (open_too && cls != CW_SEG_HOT && s->batch_open[cls] != NULL &&
                s->batch_open[cls]->nrec > 0)
                batch_close_open(s, cls);
            return;
        }
        s->pressed[cls] = false;
    }
}

bool
batch_idle(const struct cw_store *s)
{
    for (uint8_t cls = CW_SEG_HOT; cls < CW_SEG_CLASSES; cls++) {
        if (s->n_batches[cls] > 0)
            return false;
    }
    return cw_list_empty(&s->control);
}

/* ---- done ---- */

static void
batch_rewrite(struct cw_store *s, struct batch *b)
{
    if (!segment_room(s, b->cls, b->hdr_bytes + b->payload_bytes, b->used, 0)) {
        store_fail(s, "an append failed and no segment is free", -ENOSPC);
        return;
    }
    batch_write(s, b);
}

/* Without its header nothing in the segment would be found again. */
static void
batch_lose_segment(struct cw_store *s, uint32_t seg)
{
    CW_LIST_EACH (it, &s->batches) {
        struct batch *b = cw_list_entry(it, struct batch, link);

        if (b->seg != seg)
            continue;
        if (b->state == BATCH_IN_FLIGHT)
            b->lost = true;
        else if (b->state == BATCH_DURABLE && !s->stats.failed)
            batch_rewrite(s, b);
    }
}

static void
batch_failed(struct cw_store *s, struct batch *b, int res)
{
    struct open_seg *o = &s->open[b->cls];
    uint32_t seg = b->seg;

    if (b->failed_once) {
        store_fail(s, "an append failed twice", res);
        return;
    }
    store_log(s, CW_LOG_WARNING, "append to segment %u failed: %s; written elsewhere", seg,
              strerror(-res));
    if (o->open && o->no == seg)
        segment_seal(s, b->cls, false);
    b->failed_once = true;
    b->state = BATCH_READY; /* not one of those found below */
    if (b->opens)
        batch_lose_segment(s, seg);
    if (!s->stats.failed)
        batch_rewrite(s, b);
}

/* One that was written again may lie behind a later one, which opens the segment. */
static bool
batch_is_durable(const struct cw_store *s, const struct batch *b)
{
    return b->state == BATCH_DURABLE && !s->segs[b->seg].headless;
}

static void
batch_on_done(struct store_io *io, int res)
{
    struct batch *b = cw_container_of(io, struct batch, io);
    struct cw_store *s = io->s;

    s->in_flight[b->cls]--;
    if (s->stats.failed) {
        store_close_step(s);
        return;
    }
    if (res != 0) {
        batch_failed(s, b, res);
        return;
    }
    if (b->lost) {
        batch_rewrite(s, b);
        return;
    }
    b->state = BATCH_DURABLE;
    if (b->opens)
        s->segs[b->seg].headless = false;
    CW_LIST_EACH (it, &s->batches) {
        struct batch *d = cw_list_entry(it, struct batch, link);

        if (!batch_is_durable(s, d))
            break;
        s->durable_upto = d->seq;
        s->durable_data = d->cls == CW_SEG_META ? s->durable_data : d->seq;
    }
    batch_release(s);
}

static void
batch_recycle(struct cw_store *s, struct batch *b)
{
    cw_list_remove(&b->link);
    batch_drop_bufs(b);
    s->n_batches[b->cls]--;
    s->pend_touches -= b->touches;
    s->pend_blocks -= b->blocks;
    if (b->urgent)
        s->n_urgent--;
    b->state = BATCH_IDLE;
    cw_list_push_front(&s->spare, &b->link);
}

static void
batch_applied(struct cw_store *s, struct batch *b)
{
    struct cw_list *node;

    s->chain_csum_applied[b->cls] = batch_chain(b->seq, b->hdr, b->used);
    s->applied_upto = b->seq;
    s->last_append_ns = cw_now_ns(s->env);
    cw_assert(cw_list_empty(&b->repairs));
    while ((node = cw_list_pop_front(&b->tickets)) != NULL)
        store_answer(s, cw_list_entry(node, struct cw_store_ticket, link), 0);
    batch_recycle(s, b);
    while ((node = cw_list_pop_front(&s->touched)) != NULL) {
        s->starved = false;
        s->ev->on_durable(s->user, cw_list_entry(node, struct cw_store_shard, touched));
    }
    store_answers_deliver(s);
}

void
batch_release(struct cw_store *s)
{
    if (s->releasing)
        return;
    s->releasing = true;
    while (!s->stats.failed) {
        struct batch *b = cw_list_first(&s->batches, struct batch, link);

        if (b == NULL || !batch_is_durable(s, b))
            break;
        if (!s->apply.active) {
            apply_begin(s, b, b->hdr, b->used, b->seg, b->off);
            s->apply.resume = batch_release;
        }
        if (!apply_run(s))
            break;
        batch_applied(s, b);
    }
    s->releasing = false;
    if (s->stats.failed)
        return;
    segment_free_ripe(s);
    batch_control_flush(s);
    for (uint8_t cls = CW_SEG_HOT; cls < CW_SEG_CLASSES; cls++)
        batch_submit_class(s, cls, false);
    space_update(s);
    ckpt_consider(s);
    ckpt_step(s);
    store_close_step(s);
    if (!cw_timer_armed(&s->note_timer) && s->noted_upto < s->durable_data)
        cw_timer_set(s->env, &s->note_timer, cw_now_ns(s->env) + STORE_NOTE_NS);
}

/* ---- the end ---- */

static void
batch_fail(struct cw_store *s, struct batch *b)
{
    struct cw_list *node;

    while ((node = cw_list_pop_front(&b->tickets)) != NULL ||
           (node = cw_list_pop_front(&b->repairs)) != NULL)
        store_answer(s, cw_list_entry(node, struct cw_store_ticket, link), -EIO);
}

void
batch_fail_all(struct cw_store *s)
{
    CW_LIST_EACH (it, &s->batches)
        batch_fail(s, cw_list_entry(it, struct batch, link));
    for (uint8_t cls = CW_SEG_HOT; cls < CW_SEG_CLASSES; cls++) {
        CW_LIST_EACH (it, &s->ready[cls])
            batch_fail(s, cw_list_entry(it, struct batch, link));
        if (s->batch_open[cls] != NULL)
            batch_fail(s, s->batch_open[cls]);
    }
    CW_LIST_EACH_SAFE (it, &s->control) {
        struct control *c = cw_list_entry(it, struct control, link);

        if (c->t != NULL)
            store_answer(s, c->t, -EIO);
        cw_list_remove(&c->link);
        free(c);
    }
}

static void
batch_destroy(struct batch *b)
{
    cw_list_remove(&b->link);
    batch_drop_bufs(b);
    free(b->mem);
    free(b);
}

static void
batch_destroy_list(struct cw_list *l)
{
    while (!cw_list_empty(l))
        batch_destroy(cw_list_first(l, struct batch, link));
}

void
batch_free_all(struct cw_store *s)
{
    batch_destroy_list(&s->batches);
    batch_destroy_list(&s->spare);
    for (uint8_t cls = CW_SEG_HOT; cls < CW_SEG_CLASSES; cls++) {
        batch_destroy_list(&s->ready[cls]);
        if (s->batch_open[cls] != NULL)
            batch_destroy(s->batch_open[cls]);
        free(s->open[cls].sum);
    }
    while (!cw_list_empty(&s->control)) {
        struct control *c = cw_list_first(&s->control, struct control, link);

        cw_list_remove(&c->link);
        free(c);
    }
}
