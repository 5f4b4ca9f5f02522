/* replica/stream.c - the ordered stream of a shard into the log (I5, I6).
 *
 *   seq <= last   a duplicate: acknowledged again, not applied
 *   seq == last+1 checked and appended; the ACK follows when it is durable
 *   seq >  last+1 NACKed once with the seq expected; what follows is dropped until that one comes
 *
 * `last` counts what is held for want of a batch buffer, so that the order never changes.
 */
#include <errno.h>

#include "common/base/bits.h"
#include "common/base/mutation.h"
#include "common/codec/hash.h"
#include "daemon/replica/internal.h"

/* The ways in which a frame is no record at all. */
static const char *
record_nonsense(const struct cw_store_rec *rec, const struct cw_frame *f)
{
    bool has_data = (f->hdr->flags & CW_F_DATA) != 0;

    if (rec->seq == 0 || rec->gen == 0)
        return "no seq or generation";
    switch (rec->type) {
    case CW_FT_WRITE:
        return has_data ? NULL : "no data";
    case CW_FT_ZERO:
    case CW_FT_TRIM:
        if (has_data || f->hdr->payload_len != 0)
            return "unexpected data";
        return rec->nblk > 0 ? NULL : "empty range";
    case CW_FT_GEN_START:
        return rec->nblk == 0 && f->hdr->payload_len == 0 ? NULL : "unexpected range";
    default:
        return "unknown record type";
    }
}

static struct cw_store_rec
record_of(const struct cw_frame *f)
{
    return (struct cw_store_rec){
        .type = f->hdr->type,
        .gen = f->hdr->gen,
        .seq = f->hdr->seq,
        .lba = cw_hdr_lba(f->hdr),
        .nblk = cw_hdr_nblk(f->hdr),
        .csums = f->hdr->flags & CW_F_CSUMS ? f->csums : NULL,
        .data = f->hdr->flags & CW_F_DATA ? f->data : NULL,
        .buf = f->hdr->flags & CW_F_DATA ? f->buf : NULL,
    };
}

int
cw_stream_append(struct cw_copy *c, struct cw_store_rec *rec)
{
    struct cw_replica *r = c->r;
    int res;

    rec->apply = c->sync != NULL && cw_slot_apply(c->sync, rec) ? r->apply : NULL;
    res = cw_store_append(c->sh, rec);
    if (res != 0)
        return res;
    r->stats.records++;
    if (c->session != NULL && c->session->receipts)
        cw_ack_owe(c->session);
    if (c->sync != NULL)
        cw_slot_appended(c->sync, rec);
    return 0;
}

static void
stream_nack_once(struct cw_session *s, enum cw_nack_code code, uint64_t seq)
{
    if (s->told_seq == seq)
        return;
    s->told_seq = seq;
    cw_peer_nack_copy(s->peer, s->copy, 0, code, seq);
}

void
cw_stream_refuse(struct cw_copy *c, int res, uint64_t seq)
{
    bool room_comes = res == -ENOSPC || res == -EAGAIN || res == -ENOMEM;

    if (c->session == NULL)
        return;
    if (room_comes)
        c->starved = c->r->starving = true; /* asked for again when there is room */
    if (res == -EAGAIN || res == -ENOMEM)
        c->session->told_seq = seq; /* silent: the owner has nothing better to do than wait */
    else
        stream_nack_once(c->session, res == -ENOSPC ? CW_NACK_NO_SPACE : CW_NACK_IO, seq);
}

/* The copy's state lets the stream in. */
static bool
stream_state_ok(const struct cw_copy *c)
{
    if (c->info->syncing && !c->info->journal)
        return c->sync != NULL;
    return !c->info->damaged;
}

static void
stream_take(struct cw_session *s, struct cw_store_rec *rec)
{
    struct cw_copy *c = s->copy;
    int res = -EAGAIN;

    if (cw_list_empty(&c->held))
        res = cw_stream_append(c, rec);
    if (res == -EAGAIN)
        res = cw_hold_push(c, rec) ? 0 : -ENOMEM;
    if (res == 0)
        c->next_seq++;
    else
        cw_stream_refuse(c, res, rec->seq);
}

static void
stream_on_record(struct cw_session *s, struct cw_store_rec *rec)
{
    struct cw_copy *c = s->copy;

    if (rec->seq < c->next_seq) {
        c->r->stats.duplicates++;
        cw_ack_owe(s);
    } else if (!stream_state_ok(c)) {
        stream_nack_once(s, CW_NACK_STATE, c->next_seq);
    } else if (rec->seq > c->next_seq && !cw_mutated(CW_MUTATION_REORDER)) {
        stream_nack_once(s, CW_NACK_SEQ_GAP, c->next_seq);
    } else if (rec->lba + rec->nblk > c->n_blocks || rec->gen < c->info->last_gen) {
        stream_nack_once(s, CW_NACK_STATE, rec->seq);
    } else if (rec->data != NULL && cw_hash_verify(rec->data, rec->csums, rec->nblk) != rec->nblk) {
        s->told_seq = rec->seq;
        cw_peer_nack_copy(s->peer, c, 0, CW_NACK_BAD_CSUM, rec->seq);
    } else {
        stream_take(s, rec);
    }
}

void
cw_stream_on_frame(struct cw_peer *p, const struct cw_frame *f)
{
    struct cw_session *s = cw_peer_session(p, f);
    struct cw_store_rec rec = record_of(f);
    const char *nonsense;

    if (s == NULL)
        return;
    nonsense = record_nonsense(&rec, f);
    if (nonsense != NULL) {
        cw_peer_offend(p, f, nonsense);
        return;
    }
    /* first: it may be what makes room for this record in a tail that is full */
    cw_store_set_stable(s->copy->sh, cw_min_u64(f->hdr->stable, s->copy->info->last_seq));
    stream_on_record(s, &rec);
}

void
cw_stream_on_repair_append(struct cw_peer *p, const struct cw_frame *f)
{
    struct cw_session *s = cw_peer_session(p, f);
    struct cw_store_rec rec = record_of(f);
    const char *nonsense;

    if (s == NULL)
        return;
    rec.type = (uint8_t)(f->hdr->stable >> 32);
    rec.gen = (uint32_t)f->hdr->stable;
    nonsense = f->hdr->stable >> 40 != 0 || rec.gen > f->hdr->gen ? "its record is not an older one"
                                                                  : record_nonsense(&rec, f);
    if (nonsense != NULL) {
        cw_peer_offend(p, f, nonsense);
        return;
    }
    stream_on_record(s, &rec);
}
