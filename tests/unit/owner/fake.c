#include "tests/unit/owner/fake.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- queues ---- */

static void
queue_push(struct fake_queue *q, struct cw_msg *m)
{
    assert_true(m != NULL);
    assert_true(q->n < QUEUE_MAX);
    q->at[(q->first + q->n++) % QUEUE_MAX] = m;
}

static struct cw_msg *
queue_pop(struct fake_queue *q)
{
    struct cw_msg *m;

    if (q->n == 0)
        return NULL;
    m = q->at[q->first];
    q->first = (q->first + 1) % QUEUE_MAX;
    q->n--;
    return m;
}

static void
queue_drop(struct fake_queue *q)
{
    struct cw_msg *m;

    while ((m = queue_pop(q)) != NULL)
        cw_msg_unref(m);
}

static struct cw_frame
frame_of(const struct cw_msg *m)
{
    const struct cw_wire_hdr *h = (const void *)m->head;
    const uint64_t *csums = (const void *)(m->head + sizeof(*h));
    uint32_t n = cw_hdr_n_csums(h);

    assert_int_equal(cw_frame_check_hdr(h), 0);
    assert_int_equal(cw_frame_check_csums(h, csums), 0);
    return (struct cw_frame){
        .hdr = h,
        .csums = csums,
        .n_csums = n,
        .data_len = h->payload_len,
        .data = m->body_len > 0 ? m->body : (const uint8_t *)(csums + n),
    };
}

/* ---- the replica ---- */

static void
reply(struct disk *d, struct cw_wire_hdr h, const void *payload, uint32_t len)
{
    struct cw_msg *m = len > 0 ? cw_frame_opaque(d->w->pool, h, NULL, payload, len)
                               : cw_frame_plain(d->w->pool, h);

    if (d->silent)
        cw_msg_unref(m);
    else
        queue_push(&d->out, m);
}

static void
reply_nack(struct disk *d, const struct cw_wire_hdr *to, uint32_t code, uint64_t seq)
{
    struct cw_wire_nack n = { .code = code };

    reply(d,
          (struct cw_wire_hdr){ .type = CW_FT_NACK,
                                .tag = to->tag,
                                .shard = to->shard,
                                .gen = d->promised,
                                .seq = seq },
          &n, sizeof(n));
}

static struct cw_wire_ack
ack_of(const struct disk *d)
{
    return (struct cw_wire_ack){ .shard = CW_SHARD_ID(d->w->id, 0),
                                 .durable_seq = d->last,
                                 .gen = d->promised,
                                 .credit_blocks = (uint32_t)d->credit,
                                 .in_memory = (uint32_t)(d->received - d->last) };
}

static void
send_ack(struct disk *d)
{
    struct cw_wire_ack a = ack_of(d);

    reply(d, (struct cw_wire_hdr){ .type = CW_FT_ACK }, &a, sizeof(a));
}

static void
make_durable(struct disk *d)
{
    if (d->received == d->last || d->hold_acks)
        return;
    d->last = d->received;
    d->last_gen = d->received_gen;
    send_ack(d);
}

static struct fake_rec *
log_find(struct disk *d, uint64_t seq)
{
    for (uint32_t i = 0; i < d->n_log; i++) {
        if (d->log[i].seq == seq)
            return &d->log[i];
    }
    return NULL;
}

static void
log_add(struct disk *d, struct fake_rec r)
{
    assert_true(d->n_log < LOG_MAX);
    d->log[d->n_log++] = r;
    d->received = r.seq;
    d->received_gen = r.gen;
    if (r.type == CW_FT_GEN_START && (d->n_hist == 0 || d->hist[d->n_hist - 1].gen != r.gen))
        d->hist[d->n_hist++] = (struct cw_wire_hist){ .start_seq = r.seq, .gen = r.gen };
    for (uint32_t i = 0; i < r.nblk; i++) {
        d->fill[r.lba + i] = r.type == CW_FT_WRITE ? r.fill[i] : 0;
        memset(d->blocks[r.lba + i], d->fill[r.lba + i], 4096);
    }
}

static uint32_t
health_of(const struct disk *d)
{
    return (d->syncing ? CW_MEMBER_SYNCING : 0) |
           (d->syncing && d->overlay ? CW_MEMBER_OVERLAY : 0) | (d->journal ? CW_MEMBER_LOG : 0);
}

static void
on_seal(struct disk *d, const struct cw_frame *f)
{
    struct {
        struct cw_wire_seal_ok ok;
        struct cw_wire_hist hist[16];
    } s = { 0 };
    uint8_t all[sizeof(s) + 256 * sizeof(struct cw_wire_tail)];
    uint32_t len, n_tail = 0;

    d->n_seals++;
    assert_true(cw_shard_rec_decode(f->data, f->data_len, &d->shown));
    if (d->broken) {
        reply_nack(d, f->hdr, CW_NACK_IO, 0);
        return;
    }
    if (f->hdr->gen < d->promised) {
        reply_nack(d, f->hdr, CW_NACK_STALE_GEN, 0);
        return;
    }
    if (!d->exists && !(f->hdr->flags & CW_F_CREATE)) {
        reply_nack(d, f->hdr, CW_NACK_NO_SHARD, 0);
        return;
    }
    s.ok.flags =
        (d->exists ? 0 : CW_MEMBER_NEW) | (d->damaged ? CW_MEMBER_DAMAGED : 0) | health_of(d);
    d->exists = true;
    d->promised = f->hdr->gen;
    s.ok.last_gen = d->last_gen;
    s.ok.last_seq = d->last;
    s.ok.stable = d->stable;
    s.ok.format_id = d->loc.format_id + d->formatted;
    memcpy(s.ok.disk_uuid, d->loc.disk_uuid.b, 16);
    s.ok.n_hist = d->n_hist;
    s.ok.credit_blocks = (uint32_t)d->credit;
    memcpy(all, &s.ok, sizeof(s.ok));
    memcpy(all + sizeof(s.ok), d->hist, d->n_hist * sizeof(d->hist[0]));
    len = (uint32_t)(sizeof(s.ok) + d->n_hist * sizeof(d->hist[0]));
    for (uint32_t i = 0; i < d->n_log && n_tail < 256; i++) {
        struct cw_wire_tail t = { .seq = d->log[i].seq,
                                  .gen = d->log[i].gen,
                                  .type = d->log[i].type };

        if (d->log[i].seq <= d->stable)
            continue;
        memcpy(all + len, &t, sizeof(t));
        len += sizeof(t);
        n_tail++;
    }
    s.ok.n_tail = n_tail;
    memcpy(all, &s.ok, sizeof(s.ok));
    reply(
        d,
        (struct cw_wire_hdr){
            .type = CW_FT_SEAL_OK, .tag = f->hdr->tag, .shard = f->hdr->shard, .gen = d->promised },
        all, len);
}

static void
on_open(struct disk *d, const struct cw_frame *f)
{
    struct cw_wire_ack a = ack_of(d);

    d->n_opens++;
    if (d->broken) {
        reply_nack(d, f->hdr, CW_NACK_IO, 0);
        return;
    }
    if (f->hdr->gen != d->promised) {
        reply_nack(d, f->hdr, f->hdr->gen < d->promised ? CW_NACK_STALE_GEN : CW_NACK_NO_SESSION,
                   0);
        return;
    }
    d->session = true;
    d->received = d->last; /* what was not durable is lost with the old session */
    a.health = health_of(d) | (d->damaged ? CW_MEMBER_DAMAGED : 0);
    reply(d,
          (struct cw_wire_hdr){ .type = CW_FT_OPEN_OK,
                                .tag = f->hdr->tag,
                                .shard = f->hdr->shard,
                                .gen = d->promised,
                                .seq = d->last },
          &a, sizeof(a));
}

static void
on_record(struct disk *d, const struct cw_frame *f)
{
    const struct cw_wire_hdr *h = f->hdr;
    bool repair = h->type == CW_FT_REPAIR_APPEND;
    struct fake_rec r = { .seq = h->seq,
                          .lba = cw_hdr_lba(h),
                          .nblk = cw_hdr_nblk(h),
                          .gen = repair ? (uint32_t)h->stable : h->gen,
                          .type = repair ? (uint8_t)(h->stable >> 32) : h->type };

    if (h->gen < d->promised || !d->session) {
        reply_nack(d, h, h->gen < d->promised ? CW_NACK_STALE_GEN : CW_NACK_NO_SESSION, 0);
        return;
    }
    if (!repair && h->stable > d->stable)
        d->stable = h->stable;
    d->n_writes += h->type == CW_FT_WRITE;
    if (h->seq <= d->received) {
        d->n_resent++;
        send_ack(d);
        return;
    }
    if (h->seq != d->received + 1) {
        reply_nack(d, h, CW_NACK_SEQ_GAP, d->received + 1);
        return;
    }
    for (uint32_t i = 0; i < r.nblk && r.type == CW_FT_WRITE; i++) {
        assert_true(cw_hash_block(f->data + i * 4096) == f->csums[i]);
        r.fill[i] = f->data[i * 4096];
    }
    log_add(d, r);
    if (d->receipts)
        send_ack(d);
    if (r.type == CW_FT_WRITE)
        memcpy(d->blocks[r.lba], f->data, (size_t)r.nblk * 4096);
}

static void
reply_data(struct disk *d, struct cw_wire_hdr h, const uint8_t *blocks, const uint8_t *fill)
{
    uint32_t nblk = cw_hdr_nblk(&h);
    struct cw_buf *b = cw_buf_get(d->w->pool, (size_t)nblk * 4096);
    uint64_t csums[CW_IO_BLOCKS_MAX];

    for (uint32_t i = 0; i < nblk; i++) {
        if (blocks != NULL)
            memcpy(b->data + (size_t)i * 4096, blocks + (size_t)i * 4096, 4096);
        else
            memset(b->data + (size_t)i * 4096, fill[i], 4096);
        csums[i] = cw_hash_block(b->data + (size_t)i * 4096);
    }
    queue_push(&d->out, cw_frame_data(d->w->pool, h, csums, b, b->data));
}

static void
do_read(struct disk *d, const struct cw_wire_hdr *q)
{
    uint64_t lba = cw_hdr_lba(q);
    struct cw_wire_hdr h = { .type = CW_FT_READ_OK,
                             .tag = q->tag,
                             .shard = q->shard,
                             .gen = q->gen,
                             .lba_nblk = q->lba_nblk };

    d->n_reads++;
    if (q->gen != d->promised || !d->session) {
        struct cw_wire_read_err e = { .code = CW_NACK_STATE };

        h.type = CW_FT_READ_ERR;
        reply(d, h, &e, sizeof(e));
    } else if (d->bad_reads && d->bad_block >= lba && d->bad_block < lba + cw_hdr_nblk(q)) {
        struct cw_wire_read_err e = { .code = 0 };

        cw_bit_set(e.bad, d->bad_block - lba);
        h.type = CW_FT_READ_ERR;
        reply(d, h, &e, sizeof(e));
    } else if (!d->silent) {
        reply_data(d, h, d->blocks[lba], NULL);
    }
}

static void
on_tail(struct disk *d, const struct cw_frame *f)
{
    struct fake_rec *r = log_find(d, f->hdr->seq);
    struct cw_wire_hdr h = { .type = CW_FT_TAIL_DATA,
                             .tag = f->hdr->tag,
                             .shard = f->hdr->shard,
                             .gen = f->hdr->gen,
                             .seq = f->hdr->seq };

    if (r == NULL || d->tail_unreadable) {
        struct cw_wire_read_err e = { .code = 0, .bad = { 1 } };

        h.type = CW_FT_READ_ERR;
        reply(d, h, &e, sizeof(e));
        return;
    }
    h.lba_nblk = cw_lba_nblk(r->lba, r->nblk);
    h.stable = (uint64_t)r->type << 32 | r->gen;
    if (r->type == CW_FT_WRITE)
        reply_data(d, h, NULL, r->fill);
    else
        reply(d, h, NULL, 0);
}

static void
on_join(struct disk *d, const struct cw_frame *f)
{
    d->n_joins++;
    assert_true(f->hdr->seq != 0 && f->hdr->stable != 0);
    if (!(d->journal && d->join_id == f->hdr->stable)) {
        d->join_id = f->hdr->stable;
        d->journal = CW_JOIN_KIND(d->join_id) == CW_JOIN_JOURNAL;
        d->overlay = CW_JOIN_KIND(d->join_id) == CW_JOIN_OVERLAY;
        d->syncing = !d->journal;
        assert_true(!d->journal || d->last == 0);
        d->last = d->received = f->hdr->seq - 1;
        d->last_gen = d->received_gen = f->hdr->gen;
        d->n_log = 0;
        d->n_hist = 0;
        if (d->journal)
            d->hist[d->n_hist++] =
                (struct cw_wire_hist){ .start_seq = d->last, .gen = f->hdr->gen };
    }
    reply(d,
          (struct cw_wire_hdr){ .type = CW_FT_JOIN_OK,
                                .tag = f->hdr->tag,
                                .shard = f->hdr->shard,
                                .gen = f->hdr->gen,
                                .stable = d->join_id },
          NULL, 0);
}

static void
sync_done_tell(struct disk *d)
{
    d->syncing = d->overlay = false;
    reply(d,
          (struct cw_wire_hdr){ .type = CW_FT_SYNC_DONE,
                                .shard = CW_SHARD_ID(d->w->id, 0),
                                .gen = d->promised,
                                .stable = d->join_id,
                                .seq = d->last },
          NULL, 0);
}

/* What the journal has, over what is here. */
static void
overlay_done(struct disk *d)
{
    const struct disk *j = NULL;

    for (uint32_t i = 0; i < N_DISKS; i++) {
        if (d->w->disks[i].journal)
            j = &d->w->disks[i];
    }
    assert_non_null(j);
    for (uint32_t k = 0; k < j->n_log; k++) {
        const struct fake_rec *r = &j->log[k];

        for (uint32_t i = 0; i < r->nblk; i++) {
            d->fill[r->lba + i] = r->type == CW_FT_WRITE ? r->fill[i] : 0;
            memset(d->blocks[r->lba + i], d->fill[r->lba + i], 4096);
        }
    }
    d->hist[0] = (struct cw_wire_hist){ .start_seq = d->last, .gen = d->promised };
    d->n_hist = 1;
    sync_done_tell(d);
}

void
disk_sync_done(struct disk *d)
{
    const struct disk *from = NULL;

    if (d->overlay) {
        overlay_done(d);
        return;
    }

    for (uint32_t i = 0; i < N_DISKS; i++) {
        if (&d->w->disks[i] != d && d->w->disks[i].session)
            from = &d->w->disks[i];
    }
    memcpy(d->fill, from->fill, sizeof(d->fill));
    memcpy(d->blocks, from->blocks, sizeof(d->blocks));
    memcpy(d->hist, from->hist, sizeof(d->hist));
    d->n_hist = from->n_hist;
    sync_done_tell(d);
}

void
disk_note(struct disk *d, uint64_t lba, uint32_t nblk, const uint64_t bad[4])
{
    struct cw_wire_bad b = { .lba_nblk = cw_lba_nblk(lba, nblk) };

    memcpy(b.bad, bad, sizeof(b.bad));
    reply(d,
          (struct cw_wire_hdr){
              .type = CW_FT_BAD_NOTE, .shard = CW_SHARD_ID(d->w->id, 0), .gen = d->promised },
          &b, sizeof(b));
}

static void
on_repair(struct disk *d, const struct cw_frame *f)
{
    d->n_repairs++;
    d->bad_reads = false;
    for (uint32_t i = 0; i < cw_hdr_nblk(f->hdr); i++)
        d->mended[cw_hdr_lba(f->hdr) + i]++;
    assert_int_equal(f->data_len, cw_hdr_nblk(f->hdr) * 4096);
    memcpy(d->blocks[cw_hdr_lba(f->hdr)], f->data, f->data_len);
    reply(d,
          (struct cw_wire_hdr){ .type = CW_FT_BLOCK_REPAIR_OK,
                                .tag = f->hdr->tag,
                                .shard = f->hdr->shard,
                                .gen = f->hdr->gen,
                                .lba_nblk = f->hdr->lba_nblk },
          NULL, 0);
}

static void
on_frame(struct disk *d, struct cw_msg *m)
{
    struct cw_frame f = frame_of(m);
    struct cw_wire_hb_ack hb = { 0 };
    uint32_t flags;

    switch (f.hdr->type) {
    case CW_FT_SEAL:
        on_seal(d, &f);
        break;
    case CW_FT_CFG:
        assert_true(cw_shard_rec_decode(f.data, f.data_len, &d->shown));
        break;
    case CW_FT_OPEN:
        if (!d->hold_open) {
            on_open(d, &f);
            break;
        }
        if (d->held_open != NULL) /* its owner closed and opened anew */
            cw_msg_unref(d->held_open);
        d->held_open = cw_msg_ref(m);
        break;
    case CW_FT_HEARTBEAT:
        if (!d->no_hb)
            reply(d, (struct cw_wire_hdr){ .type = CW_FT_HB_ACK, .tag = f.hdr->tag }, &hb,
                  sizeof(hb));
        break;
    case CW_FT_CLOSE:
        d->n_closes++;
        d->session = false;
        break;
    case CW_FT_STABLE:
        memcpy(&d->last_stable_seen, f.data + offsetof(struct cw_wire_stable, stable), 8);
        memcpy(&flags, f.data + offsetof(struct cw_wire_stable, flags), 4);
        d->receipts = (flags & CW_STABLE_RECEIPTS) != 0;
        break;
    case CW_FT_GEN_START:
        d->gen_start_stable = f.hdr->stable;
        on_record(d, &f);
        break;
    case CW_FT_WRITE:
    case CW_FT_ZERO:
    case CW_FT_TRIM:
    case CW_FT_REPAIR_APPEND:
        on_record(d, &f);
        break;
    case CW_FT_READ:
        if (d->hold_reads && d->n_held_reads < 16)
            d->held_reads[d->n_held_reads++] = cw_msg_ref(m);
        else
            do_read(d, f.hdr);
        break;
    case CW_FT_TAIL_QUERY:
        on_tail(d, &f);
        break;
    case CW_FT_JOIN:
        on_join(d, &f);
        break;
    case CW_FT_SYNC_FROM:
        d->n_sync_from++;
        d->sync_rate = ((const struct cw_wire_sync_from *)f.data)->rate_bytes;
        d->sync_since = ((const struct cw_wire_sync_from *)f.data)->since_seq;
        break;
    case CW_FT_BLOCK_REPAIR:
        on_repair(d, &f);
        break;
    default:
        break;
    }
}

/* ---- links ---- */

static void
link_send(struct cw_link *l, struct cw_msg *m)
{
    struct disk *d = cw_container_of(l, struct disk, link);

    if (d->up)
        queue_push(&d->in, m);
    else
        cw_msg_unref(m);
}

static void
link_close(struct cw_link *l)
{
    struct disk *d = cw_container_of(l, struct disk, link);

    d->up = false; /* on_down comes with the next turn */
}

static const struct cw_link_ops link_ops = { .send = link_send, .close = link_close };

void
disk_cut(struct disk *d)
{
    d->up = false;
}

static void
link_down(struct disk *d)
{
    queue_drop(&d->in);
    queue_drop(&d->out);
    while (d->n_held_reads > 0)
        cw_msg_unref(d->held_reads[--d->n_held_reads]);
    if (d->held_open != NULL)
        cw_msg_unref(d->held_open);
    d->held_open = NULL;
    d->session = false;
    d->received = d->last;
    for (uint32_t i = d->n_log; i-- > 0 && d->log[i].seq > d->last;)
        d->n_log = i;
    d->link.ops = NULL;
    d->link.ev->on_down(&d->link, -ECONNRESET);
}

void
disk_release(struct disk *d)
{
    d->hold_acks = d->hold_reads = false;
    make_durable(d);
    for (uint32_t i = 0; i < d->n_held_reads; i++) {
        do_read(d, frame_of(d->held_reads[i]).hdr);
        cw_msg_unref(d->held_reads[i]);
    }
    d->n_held_reads = 0;
    world_turn(d->w);
}

void
disk_ack(struct disk *d)
{
    d->hold_acks = false;
    make_durable(d);
    d->hold_acks = true;
    world_turn(d->w);
}

static bool
disk_turn(struct disk *d)
{
    struct cw_msg *m;
    bool did = false;

    if (d->connecting) {
        d->connecting = false;
        did = true;
        if (d->refuse_connect || d->silent) {
            cw_owner_on_connect_failed(d->w->owner, &d->loc.disk_uuid, d->loc.format_id,
                                       -ECONNREFUSED);
        } else {
            d->up = true;
            d->link = (struct cw_link){ .ops = &link_ops,
                                        .peer_id = d->loc.disk_uuid,
                                        .features = d->old ? 0 : CW_WIRE_FEATURES };
            cw_owner_on_link_up(d->w->owner, &d->loc.disk_uuid, d->loc.format_id, &d->link);
        }
    }
    if (!d->up && d->link.ops != NULL) {
        link_down(d);
        return true;
    }
    if (!d->hold_open && d->held_open != NULL) {
        struct cw_frame f = frame_of(d->held_open);

        on_open(d, &f);
        cw_msg_unref(d->held_open);
        d->held_open = NULL;
        did = true;
    }
    while (!d->silent && (m = queue_pop(&d->in)) != NULL) {
        on_frame(d, m);
        cw_msg_unref(m);
        did = true;
    }
    make_durable(d);
    while (d->up && (m = queue_pop(&d->out)) != NULL) {
        struct cw_frame f = frame_of(m);

        d->link.ev->on_frame(&d->link, &f);
        cw_msg_unref(m);
        did = true;
    }
    return did;
}

/* ---- the manager ---- */

static struct world *
world_of(struct world *w, uint64_t volume)
{
    while (w->id != volume)
        w = w->also;
    return w;
}

static void
op_connect(void *world, const struct cw_disk_location *to)
{
    for (struct world *w = world; w != NULL; w = w->also) {
        for (uint32_t i = 0; i < N_DISKS; i++) {
            if (cw_uuid_equal(&w->disks[i].loc.disk_uuid, &to->disk_uuid)) {
                assert_false(w->disks[i].connecting);
                w->disks[i].connecting = true;
            }
        }
    }
}

static void
apply_change(struct world *w, struct cw_change *c)
{
    struct cw_shard_rec next = w->rec;
    bool any = false;

    w->change_applied = false;
    if (c->gen != w->vol_gen || c->cfg != w->rec.cfg)
        return;
    for (uint32_t i = 0; i < c->n_want; i++) {
        if (w->refuse_lagging && c->want[i].state == CW_MEMBER_LAGGING)
            return;
        for (uint32_t k = 0; k < next.n_members; k++) {
            if (!cw_uuid_equal(&next.members[k].disk_uuid, &c->want[i].disk_uuid))
                continue;
            if (next.members[k].state == CW_MEMBER_JOURNAL &&
                c->want[i].state == CW_MEMBER_DEAD) { /* nothing is remembered of it */
                assert_int_equal(k + 1, next.n_members);
                next.n_members--;
                continue;
            }
            next.members[k].state = c->want[i].state;
            next.members[k].since_seq = c->want[i].since_seq;
        }
    }
    for (uint32_t k = 0; k < next.n_members; k++)
        any |= next.members[k].state == CW_MEMBER_INSYNC;
    assert_true(any); /* I12: the owner never asks for that */
    next.cfg++;
    next.gen = c->gen;
    w->rec = next;
    w->change_applied = true;
}

static void
op_change(void *world, struct cw_change *c)
{
    struct world *w = world_of(world, c->volume);

    assert_null(w->change);
    if (strcmp(c->why, "begins") == 0)
        w->n_begins++;
    else
        w->n_changes++;
    w->change = c;
    if (w->mode == MGR_OK || w->mode == MGR_LOSE_REPLY)
        apply_change(w, c);
}

void
world_answer_change(struct world *w)
{
    struct cw_change *c = w->change;

    if (c == NULL)
        return;
    w->change = NULL;
    c->res = w->mode != MGR_OK ? CW_CALL_UNKNOWN : w->change_applied ? CW_CALL_OK : CW_CALL_REFUSED;
    c->has_rec = w->mode == MGR_OK;
    c->rec = w->rec;
    c->volume_gen = w->vol_gen;
    c->done(c);
}

static void
op_get(void *world, struct cw_volume_get *g)
{
    world_of(world, g->volume)->get = g;
}

static void
op_release(void *world, struct cw_volume_give_up *g)
{
    struct world *w = world_of(world, g->volume);

    w->n_releases++;
    w->give_up = g;
}

static const struct cw_owner_ops owner_ops = {
    .connect = op_connect, .change = op_change, .get_volume = op_get, .release = op_release
};

static struct cw_volume_desc
desc_of(struct world *w, struct cw_disk_location *locs)
{
    for (uint32_t i = 0; i < N_DISKS; i++)
        locs[i] = w->disks[i].loc;
    return (struct cw_volume_desc){
        .id = w->id,
        .name = "vm1",
        .size_bytes = (uint64_t)N_BLOCKS * 4096,
        .gen = w->vol_gen,
        .released = w->was_released,
        .min_insync = w->min_insync,
        .degrade_s = -1,
        .quorum_loss_error = w->quorum_loss_error,
        .ack_replicated = w->ack_replicated,
        .space_full_error = w->space_full_error,
        .resync_limit = w->resync_limit,
        .resync_paused = w->resync_paused,
        .shards = &w->rec,
        .n_shards = 1,
        .disks = locs,
        .n_disks = N_DISKS,
    };
}

static bool
manager_turn(struct world *w)
{
    bool did = false;

    if (w->change != NULL && w->mode != MGR_HOLD) {
        world_answer_change(w);
        did = true;
    }
    if (w->get != NULL) {
        struct cw_disk_location locs[N_DISKS];
        struct cw_volume_desc d = desc_of(w, locs);
        struct cw_volume_get *g = w->get;

        w->get = NULL;
        g->res = w->mode == MGR_OK ? CW_CALL_OK : CW_CALL_UNKNOWN;
        g->desc = &d;
        g->done(g);
        did = true;
    }
    if (w->give_up != NULL && !w->hold_release) {
        struct cw_volume_give_up *g = w->give_up;

        w->give_up = NULL;
        g->res = w->mode == MGR_OK ? CW_CALL_OK : CW_CALL_UNKNOWN;
        g->done(g);
        did = true;
    }
    return did;
}

/* ---- the world ---- */

void
world_turn(struct world *w)
{
    bool did = true;

    for (int i = 0; i < 10000 && did; i++) {
        did = false;
        for (struct world *x = w; x != NULL; x = x->also) {
            for (uint32_t k = 0; k < N_DISKS; k++)
                did |= disk_turn(&x->disks[k]);
            did |= manager_turn(x);
        }
        did |= cw_owner_pending(w->owner);
        cw_owner_turn_end(w->owner);
        cw_owner_check(w->owner);
    }
    assert_false(did); /* it comes to rest */
}

static void
on_turn(void *user)
{
    world_turn(user);
}

void
world_init(struct world *w)
{
    memset(w, 0, sizeof(*w));
    cw_simenv_init(&w->sim, 1);
    w->sim.on_turn = on_turn;
    w->sim.user = w;
    w->pool = cw_buf_pool_new(64 * CW_MIB);
    w->min_insync = MIN_INSYNC;
    w->vol_gen = 1;
    w->id = VOLUME_ID;
    w->rec = (struct cw_shard_rec){ .shard = CW_SHARD_ID(w->id, 0),
                                    .gen = 1,
                                    .cfg = 1,
                                    .n_blocks = N_BLOCKS,
                                    .n_members = N_DISKS };
    for (uint32_t i = 0; i < N_DISKS; i++) {
        struct disk *d = &w->disks[i];

        d->w = w;
        d->credit = 1000000;
        d->loc.disk_uuid.b[0] = (uint8_t)(i + 1);
        d->loc.format_id = 100 + i;
        d->loc.up = true;
        snprintf(d->loc.at.site, sizeof(d->loc.at.site), "s");
        snprintf(d->loc.at.host, sizeof(d->loc.at.host), "h%u", i);
        snprintf(d->loc.addr, sizeof(d->loc.addr), "127.0.0.1:%u", 1000 + i);
        w->rec.members[i] = (struct cw_member){ .disk_uuid = d->loc.disk_uuid,
                                                .format_id = d->loc.format_id,
                                                .state = CW_MEMBER_INSYNC };
    }
}

static void
ev_ready(struct cw_volume *v, void *user)
{
    ((struct world *)user)->ready = true;
}

static void
ev_failed(struct cw_volume *v, void *user, int res, const char *text)
{
    ((struct world *)user)->failed = true;
    ((struct world *)user)->fail_res = res;
}

static void
ev_fenced(struct cw_volume *v, void *user)
{
    ((struct world *)user)->fenced = true;
}

static void
ev_released(struct cw_volume *v, void *user, bool clean)
{
    ((struct world *)user)->released = true;
    ((struct world *)user)->release_clean = clean;
}

static void
ev_kept(struct cw_volume *v, void *user)
{
    ((struct world *)user)->kept = true;
}

static const struct cw_volume_events events = { .on_ready = ev_ready,
                                                .on_open_failed = ev_failed,
                                                .on_fenced = ev_fenced,
                                                .on_released = ev_released,
                                                .on_kept = ev_kept };

void
world_open(struct world *w)
{
    struct cw_disk_location locs[N_DISKS];
    struct cw_volume_desc d;
    struct cw_owner_opts o = { .env = &w->sim.env,
                               .pool = w->pool,
                               .ops = &owner_ops,
                               .world = w,
                               .tuning = { .resync_max = w->resync_max } };
    struct cw_volume_opts vo = { .ev = &events, .user = w };

    for (uint32_t i = 0; i < w->rec.n_members && w->vol_gen == 1; i++) {
        if (w->rec.members[i].state == CW_MEMBER_INSYNC && !w->disks[i].exists)
            w->rec.members[i].since_seq = CW_SINCE_NEW;
    }
    d = desc_of(w, locs);
    snprintf(o.self.site, sizeof(o.self.site), "s");
    snprintf(o.self.host, sizeof(o.self.host), "h0");
    if (w->owner == NULL)
        w->owner = cw_owner_new(&o);
    w->v = cw_volume_open(w->owner, &d, &vo);
    assert_non_null(w->v);
    world_turn(w->first != NULL ? w->first : w);
}

void
world_also(struct world *w, struct world *also)
{
    world_init(also);
    also->id = w->id + 1;
    also->rec.shard = CW_SHARD_ID(also->id, 0);
    for (uint32_t i = 0; i < N_DISKS; i++) {
        also->disks[i].loc.disk_uuid.b[1] = 1;
        also->rec.members[i].disk_uuid = also->disks[i].loc.disk_uuid;
    }
    also->owner = w->owner;
    also->first = w;
    w->also = also;
}

static void
disks_drop(struct world *w)
{
    for (uint32_t i = 0; i < N_DISKS; i++) {
        struct disk *d = &w->disks[i];

        queue_drop(&d->in);
        queue_drop(&d->out);
        while (d->n_held_reads > 0)
            cw_msg_unref(d->held_reads[--d->n_held_reads]);
        if (d->held_open != NULL)
            cw_msg_unref(d->held_open);
    }
}

void
world_fini(struct world *w)
{
    disks_drop(w);
    if (w->first == NULL)
        cw_owner_free(w->owner);
    if (w->also != NULL)
        world_fini(w->also);
    free(w->also);
    assert_int_equal(cw_buf_pool_used(w->pool), 0);
    cw_buf_pool_free(w->pool);
    cw_simenv_fini(&w->sim);
}

void
world_run(struct world *w, uint64_t ms)
{
    world_turn(w);
    cw_simenv_run_for(&w->sim, ms * CW_NS_PER_MS);
    world_turn(w);
}

bool
world_wait(struct world *w, const bool *flag, uint64_t ms)
{
    for (uint64_t t = 0; t < ms && !*flag; t += 10)
        world_run(w, 10);
    return *flag;
}

struct world *
world_opened(uint32_t min_insync)
{
    struct world *w = malloc(sizeof(*w));

    assert_non_null(w);
    world_init(w);
    w->min_insync = min_insync;
    world_open(w);
    assert_true(world_wait(w, &w->ready, 1000));
    return w;
}

void
world_closed(struct world *w)
{
    cw_owner_check(w->owner);
    world_fini(w);
    free(w);
}

const struct cw_member *
world_member(const struct world *w, uint32_t disk)
{
    return cw_shard_rec_find(&w->rec, &w->disks[disk].loc.disk_uuid, w->disks[disk].loc.format_id);
}

enum cw_member_state
world_state(const struct world *w, uint32_t disk)
{
    return w->rec.members[disk].state;
}

void
disk_append(struct disk *d, uint32_t gen, uint64_t seq, uint64_t lba, uint8_t fill)
{
    struct fake_rec r = { .seq = seq, .lba = lba, .nblk = 1, .gen = gen, .type = CW_FT_WRITE };

    r.fill[0] = fill;
    d->exists = true;
    log_add(d, r);
    d->last = d->received;
    d->last_gen = gen;
}

void
disk_gen_start(struct disk *d, uint32_t gen, uint64_t seq)
{
    d->exists = true;
    log_add(d, (struct fake_rec){ .seq = seq, .gen = gen, .type = CW_FT_GEN_START });
    d->last = d->received;
    d->last_gen = gen;
}

/* ---- requests ---- */

static void
req_done(struct cw_io *io, int res)
{
    struct req *r = cw_container_of(io, struct req, io);

    assert_false(r->done);
    r->done = true;
    r->res = res;
}

void
req_op(struct world *w, struct req *r, enum cw_io_op op, uint64_t off, uint64_t len)
{
    r->done = false;
    r->io = (struct cw_io){ .op = op, .off = off, .len = len, .done = req_done };
    r->iov = (struct iovec){ r->data, len < sizeof(r->data) ? len : sizeof(r->data) };
    if (op == CW_IO_READ || op == CW_IO_WRITE) {
        r->io.iov = &r->iov;
        r->io.n_iov = 1;
    }
    cw_io_submit(w->v, &r->io);
    assert_false(r->done); /* never from inside submit */
}

void
req_write(struct world *w, struct req *r, uint64_t off, uint64_t len, uint8_t fill)
{
    memset(r->data, fill, sizeof(r->data));
    req_op(w, r, CW_IO_WRITE, off, len);
}

void
req_read(struct world *w, struct req *r, uint64_t off, uint64_t len)
{
    memset(r->data, 0xee, sizeof(r->data));
    req_op(w, r, CW_IO_READ, off, len);
}
