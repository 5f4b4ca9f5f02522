/* A read that met bad blocks: put it together from several copies, give EIO only for a block that
 * no in-sync copy can give, and write what was found back to those that lacked it (I14). */
#include "common/codec/hash.h"
#include "common/owner/room.h"

#include <errno.h>
#include <stdlib.h>

void
cw_own_salvage_free(struct part *p)
{
    if (p->salvage == NULL)
        return;
    cw_buf_unref(p->salvage->buf);
    free(p->salvage);
    p->salvage = NULL;
}

static struct copy_bad *
salvage_of(struct salvage *sv, const struct copy *c)
{
    for (uint32_t i = 0; i < sv->n; i++) {
        if (sv->of[i].copy == c)
            return &sv->of[i];
    }
    return NULL;
}

/* Bits are of the range [lba, lba + nblk), which lies within the part's. */
void
cw_own_salvage_note(struct part *p, struct copy *c, uint64_t lba, uint32_t nblk,
                    const uint64_t *bad)
{
    struct copy_bad *b;

    if (p->salvage == NULL)
        p->salvage = calloc(1, sizeof(*p->salvage));
    if (p->salvage == NULL)
        return;
    b = salvage_of(p->salvage, c);
    if (b == NULL) {
        if (p->salvage->n == CW_MEMBERS_MAX)
            return;
        b = &p->salvage->of[p->salvage->n++];
        *b = (struct copy_bad){ .copy = c };
    }
    for (uint32_t i = 0; i < nblk; i++) {
        if (cw_bit_get(bad, i))
            cw_bit_set(b->bad, lba - p->lba + i);
    }
}

/* A copy that may still hold the block: not asked for it yet, or asked and fine. */
static struct copy *
salvage_source(struct part *p, uint32_t block, bool *ret_may_come)
{
    struct shard *s = p->s;

    *ret_may_come = false;
    for (uint32_t i = 0; i < s->n_copies; i++) {
        struct copy *c = s->copies[i];
        const struct copy_bad *b = salvage_of(p->salvage, c);

        if (!(c->maybe & CW_BIT(CW_MEMBER_INSYNC)) || (b != NULL && cw_bit_get(b->bad, block)))
            continue; /* in doubt it is not read, but may be in sync and have it */
        if (cw_own_in_read(c) && c->session == SESSION_OPEN && !c->faulty)
            return c;
        *ret_may_come = true; /* not there now: it comes back, or is ejected */
    }
    return NULL;
}

static void
salvage_failed(struct part *p)
{
    if (p->noted) {
        p->lost = true;
        cw_own_salvage_free(p);
        cw_own_part_done(p, -EIO);
        return;
    }
    p->v->error_blocks++;
    cw_log(p->o->env, CW_LOG_ERROR,
           "shard %llx: a block in [%llu, +%u) cannot be read from any copy",
           (unsigned long long)p->s->rec.shard, (unsigned long long)p->lba, p->nblk);
    cw_own_salvage_free(p);
    cw_own_part_done(p, -EIO);
}

static bool
salvage_buffer(struct part *p)
{
    struct salvage *sv = p->salvage;

    if (sv->buf == NULL)
        sv->buf = cw_buf_get(p->o->pool, (size_t)p->nblk * CW_BLOCK_SIZE);
    return sv->buf != NULL;
}

/* Asks for the first run of blocks that are still missing; completes when there is none. */
void
cw_own_salvage_run(struct part *p)
{
    struct salvage *sv = p->salvage;
    uint32_t first = 0, end;
    struct copy *c;
    bool may_come;

    if (sv == NULL || !salvage_buffer(p)) {
        cw_own_salvage_free(p);
        cw_own_read_wait(p); /* no memory: from the beginning */
        return;
    }
    while (first < p->nblk && cw_bit_get(sv->have, first))
        first++;
    if (first == p->nblk) {
        struct cw_buf *buf = cw_buf_ref(sv->buf);

        cw_own_salvage_repair(p, buf->data, sv->csums);
        cw_own_salvage_free(p);
        cw_own_read_hold(p, buf, buf->data);
        return;
    }
    c = salvage_source(p, first, &may_come);
    if (c == NULL && !may_come) {
        salvage_failed(p);
        return;
    }
    for (end = first + 1; c != NULL && end < p->nblk; end++) {
        const struct copy_bad *b = salvage_of(sv, c);

        if (cw_bit_get(sv->have, end) || (b != NULL && cw_bit_get(b->bad, end)))
            break;
    }
    if (c == NULL || !cw_own_read_ask(p, c, p->lba + first, end - first))
        cw_own_read_wait(p);
}

/* A verified run. */
void
cw_own_salvage_took(struct part *p, const struct rcall *rc, const struct cw_frame *f)
{
    struct salvage *sv = p->salvage;
    uint32_t at = (uint32_t)(rc->lba - p->lba);

    if (!salvage_buffer(p) || at + rc->nblk > p->nblk) {
        cw_own_read_wait(p);
        return;
    }
    for (uint32_t i = 0; i < rc->nblk; i++) {
        bool zero = (f->hdr->flags & CW_F_ZEROES) != 0;
        uint8_t *to = sv->buf->data + (size_t)(at + i) * CW_BLOCK_SIZE;

        if (zero)
            memset(to, 0, CW_BLOCK_SIZE);
        else
            memcpy(to, f->data + (size_t)i * CW_BLOCK_SIZE, CW_BLOCK_SIZE);
        sv->csums[at + i] = zero ? CW_HASH_ZERO_BLOCK : f->csums[i];
        cw_bit_set(sv->have, at + i);
    }
    cw_own_salvage_run(p);
}

void
cw_own_salvage_repair(struct part *p, const uint8_t *data, const uint64_t *csums)
{
    for (uint32_t i = 0; i < p->salvage->n; i++) {
        const struct copy_bad *b = &p->salvage->of[i];

        cw_own_repair_blocks(b->copy, p->lba, b->bad, p->nblk, csums, data, p->count);
    }
}

/* ---- BLOCK_REPAIR ---- */

struct repair {
    struct call call;
    struct cw_list node; /* v->repairs */
    struct cw_volume *v;
    struct cw_verify *count; /* of the verify that asked; NULL if none, or if it has ended */
    uint32_t nblk;
};

static void
repair_on_answer(struct call *call, const struct cw_frame *f)
{
    struct repair *r = cw_container_of(call, struct repair, call);
    uint32_t n = f != NULL && f->hdr->type == CW_FT_BLOCK_REPAIR_OK ? cw_hdr_nblk(f->hdr) : 0;

    n = n < r->nblk ? n : r->nblk;
    r->v->repaired_blocks += n;
    cw_list_remove(&r->node);
    if (r->count != NULL && r->v->verify == r->count)
        cw_own_verify_repaired(r->count, n, r->nblk);
    free(r);
}

void
cw_own_repairs_forget(struct cw_volume *v)
{
    while (!cw_list_empty(&v->repairs)) {
        struct repair *r = cw_list_entry(v->repairs.next, struct repair, node);

        cw_own_call_forget(&r->call);
        cw_list_remove(&r->node);
        free(r);
    }
}

static bool
repair_send(struct copy *to, uint64_t lba, uint32_t nblk, const uint64_t *csums,
            const uint8_t *data, struct cw_verify *count)
{
    struct cw_volume *v = to->s->v;
    struct cw_wire_hdr h = { .type = CW_FT_BLOCK_REPAIR,
                             .shard = to->s->rec.shard,
                             .gen = v->gen,
                             .cfg = to->s->rec.cfg,
                             .lba_nblk = cw_lba_nblk(lba, nblk) };
    struct repair *r = calloc(1, sizeof(*r));
    struct cw_buf *buf = cw_buf_get(v->o->pool, (size_t)nblk * CW_BLOCK_SIZE);
    struct cw_msg *m = NULL;

    if (r == NULL || buf == NULL || !cw_own_call_tag(to->peer, &r->call, &h.tag)) {
        free(r);
        cw_buf_unref(buf);
        return false; /* the next read of these blocks tries again */
    }
    memcpy(buf->data, data, (size_t)nblk * CW_BLOCK_SIZE);
    m = cw_frame_data(v->o->pool, h, csums, buf, buf->data);
    if (m == NULL) {
        cw_own_call_forget(&r->call);
        cw_buf_unref(buf);
        free(r);
        return false;
    }
    r->call.answer = repair_on_answer;
    r->v = v;
    r->nblk = nblk;
    r->count = count;
    cw_list_push_back(&v->repairs, &r->node);
    cw_own_call_sent(&r->call, cw_msg_bytes(m));
    cw_link_send(to->peer->link, m);
    return true;
}

/* What an unacknowledged write may be in already is left alone: should the write come to nothing,
 * the copy must not hold it, and if not, it brings the block itself. */
static bool
repair_wants(const struct copy *to, uint64_t lba, const uint64_t *bad, uint32_t i,
             struct cw_verify *count)
{
    if (!cw_bit_get(bad, i))
        return false;
    if (cw_own_spans_max(to->s, lba + i, 1) <= to->s->acked || cw_mutated(CW_MUTATION_REPAIR_BLIND))
        return true;
    if (count != NULL)
        cw_own_verify_repaired(count, 0, 1);
    return false;
}

void
cw_own_repair_blocks(struct copy *to, uint64_t lba, const uint64_t *bad, uint32_t nblk,
                     const uint64_t *csums, const uint8_t *data, struct cw_verify *count)
{
    uint64_t want[4] = { 0 };

    for (uint32_t i = 0; i < nblk; i++) {
        if (repair_wants(to, lba, bad, i, count))
            cw_bit_set(want, i);
    }
    for (uint32_t i = 0, n; i < nblk; i += n) {
        for (n = 1; i + n < nblk && cw_bit_get(want, i + n) == cw_bit_get(want, i); n++)
            ;
        if (!cw_bit_get(want, i))
            continue;
        if (to->session != SESSION_OPEN ||
            !repair_send(to, lba + i, n, csums + i, data + (size_t)i * CW_BLOCK_SIZE, count)) {
            if (count != NULL)
                cw_own_verify_repaired(count, 0, n);
        }
    }
}
