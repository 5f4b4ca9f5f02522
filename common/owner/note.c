/* Notes: a copy says which of its blocks do not verify, and they are mended before anybody reads
 * them (1.9).
 *
 *   BAD_NOTE --> note --> a salvaging read of each run of bad blocks, from the other in-sync copies
 *     --> BLOCK_REPAIR;  a run that fails is tried block by block;  what no copy has is lost
 *
 * A note is dropped rather than kept for better times: its copy says it again until it is mended,
 * or overwritten. So nothing here waits, and lost blocks that are not spoken of any more are
 * forgotten.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/owner/room.h"

#define LOST_NS (1500 * CW_NS_PER_S) /* copies repeat their notes every ten minutes at least */

static bool
bits_any(const uint64_t bits[4])
{
    return (bits[0] | bits[1] | bits[2] | bits[3]) != 0;
}

/* ---- lost blocks ---- */

static struct lost_block *
lost_find(struct cw_volume *v, uint64_t shard, uint64_t lba)
{
    for (uint32_t i = 0; i < v->n_lost; i++) {
        if (v->lost[i].shard == shard && v->lost[i].lba == lba)
            return &v->lost[i];
    }
    return NULL;
}

static void
lost_add(struct shard *s, uint64_t lba)
{
    struct cw_volume *v = s->v;
    struct lost_block *l = lost_find(v, s->rec.shard, lba);

    if (l == NULL && v->n_lost < LOST_MAX) {
        l = &v->lost[v->n_lost++];
        *l = (struct lost_block){ .shard = s->rec.shard, .lba = lba };
        cw_log(v->o->env, CW_LOG_ERROR, "shard %llx: block %llu cannot be read from any copy",
               (unsigned long long)s->rec.shard, (unsigned long long)lba);
    }
    if (l != NULL)
        l->seen_ns = cw_own_now(v->o);
}

static void
lost_remove(struct shard *s, uint64_t lba, uint32_t nblk)
{
    struct cw_volume *v = s->v;

    for (uint32_t i = v->n_lost; i-- > 0;) {
        const struct lost_block *l = &v->lost[i];

        if (l->shard == s->rec.shard && l->lba >= lba && l->lba < lba + nblk)
            v->lost[i] = v->lost[--v->n_lost];
    }
}

void
cw_own_notes_tick(struct cw_volume *v)
{
    uint64_t now = cw_own_now(v->o);

    for (uint32_t i = v->n_lost; i-- > 0;) {
        if (now - v->lost[i].seen_ns > LOST_NS)
            v->lost[i] = v->lost[--v->n_lost];
    }
}

/* ---- notes ---- */

static void
note_free(struct note *n)
{
    n->s->v->n_notes--;
    cw_list_remove(&n->node);
    free(n);
}

static struct note *
note_find(struct copy *c, uint64_t lba, uint32_t nblk)
{
    CW_LIST_EACH (it, &c->s->notes) {
        struct note *n = cw_list_entry(it, struct note, node);

        if (n->copy == c && n->lba == lba && n->nblk == nblk)
            return n;
    }
    return NULL;
}

static struct note *
note_get(struct copy *c, uint64_t lba, uint32_t nblk)
{
    struct note *n = note_find(c, lba, nblk);
    struct cw_volume *v = c->s->v;

    if (n != NULL || v->n_notes == NOTES_MAX)
        return n;
    n = calloc(1, sizeof(*n));
    if (n == NULL)
        return NULL;
    *n = (struct note){ .s = c->s, .copy = c, .lba = lba, .nblk = nblk };
    v->n_notes++;
    cw_list_push_back(&c->s->notes, &n->node);
    return n;
}

/* What follows is nobody's to read, but whole it should be: a repair names the checksum that the
 * copy's map has, so it matters not how far behind it is. */
static bool
copy_follows(const struct copy *c)
{
    return c->async && c->state == CW_MEMBER_LAGGING && c->streaming;
}

/* Copies tell what they know when their session opens, before the takeover is over. */
static bool
copy_is_heard(const struct copy *c)
{
    const struct cw_volume *v = c->s->v;

    return c->s->state != SHARD_CLOSED &&
           (v->state == CW_VOLUME_READY || v->state == CW_VOLUME_OPENING) &&
           (c->state == CW_MEMBER_INSYNC || copy_follows(c));
}

static bool
copy_can_be_mended(const struct copy *c)
{
    return copy_is_heard(c) && (cw_own_in_read(c) || copy_follows(c)) &&
           c->session == SESSION_OPEN && !c->faulty;
}

static void
note_take(struct copy *c, const struct cw_wire_bad *b)
{
    struct cw_wire_hdr h = { .lba_nblk = b->lba_nblk };
    uint64_t lba = cw_hdr_lba(&h), bits[4];
    uint32_t nblk = cw_hdr_nblk(&h);
    struct note *n;

    if (nblk == 0 || nblk > CW_IO_BLOCKS_MAX || lba >= c->s->rec.n_blocks)
        return;
    nblk = (uint32_t)cw_min_u64(nblk, c->s->rec.n_blocks - lba);
    memcpy(bits, b->bad, sizeof(bits));
    for (uint32_t i = nblk; i < CW_IO_BLOCKS_MAX; i++)
        cw_bit_clear(bits, i);
    n = bits_any(bits) ? note_get(c, lba, nblk) : NULL;
    for (uint32_t i = 0; n != NULL && i < CW_LEN(bits); i++)
        n->bad[i] |= bits[i];
}

void
cw_own_note_on_frame(struct copy *c, const struct cw_frame *f)
{
    struct cw_wire_bad b;

    for (uint32_t at = 0; copy_is_heard(c) && at + sizeof(b) <= f->data_len; at += sizeof(b)) {
        memcpy(&b, f->data + at, sizeof(b));
        note_take(c, &b);
    }
    cw_own_mark_dirty(c->s);
}

void
cw_own_notes_forget_copy(struct shard *s, const struct copy *c)
{
    CW_LIST_EACH_SAFE (it, &s->notes) {
        struct note *n = cw_list_entry(it, struct note, node);

        if (n->copy != c)
            continue;
        n->copy = NULL;
        if (!n->busy)
            note_free(n);
    }
}

/* No read of theirs is out any more. */
void
cw_own_notes_free(struct shard *s)
{
    while (!cw_list_empty(&s->notes))
        note_free(cw_list_first(&s->notes, struct note, node));
}

/* ---- mending ---- */

static void
run_over(struct note *n, const struct part *p, int res)
{
    n->busy = false;
    if (p->lost && p->nblk > 1) {
        n->single = true; /* which of them? */
        return;
    }
    for (uint32_t i = 0; i < p->nblk; i++)
        cw_bit_clear(n->bad, p->lba - n->lba + i);
    if (p->lost)
        lost_add(n->s, p->lba);
    else if (res == 0)
        lost_remove(n->s, p->lba, p->nblk);
}

static void
run_on_done(struct part *p, int res)
{
    struct note *n = p->ctx;

    p->v->n_note_fixes--;
    run_over(n, p, res);
    if (n->copy == NULL || !bits_any(n->bad) || res == -ESHUTDOWN)
        note_free(n);
    if (p->s->state != SHARD_CLOSED)
        cw_own_mark_dirty(p->s);
    cw_own_part_free(p);
}

/* The first run of bad blocks of the note. */
static void
note_run(struct note *n)
{
    static const uint64_t all[4] = { UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX };
    struct part *p = cw_own_part_new(n->s->v);
    uint32_t first = 0, nblk = 1;

    if (p == NULL)
        return; /* the next tick */
    while (!cw_bit_get(n->bad, first))
        first++;
    while (!n->single && first + nblk < n->nblk && cw_bit_get(n->bad, first + nblk))
        nblk++;
    p->s = n->s;
    p->kind = PART_READ;
    p->lba = n->lba + first;
    p->nblk = nblk;
    p->done_fn = run_on_done;
    p->ctx = n;
    p->noted = true;
    n->busy = true;
    n->s->v->n_note_fixes++;
    cw_own_salvage_note(p, n->copy, p->lba, nblk, all);
    cw_own_part_start(p);
}

void
cw_own_notes_run(struct shard *s)
{
    if (s->v->state == CW_VOLUME_OPENING)
        return; /* other shards are still taken over */
    CW_LIST_EACH_SAFE (it, &s->notes) {
        struct note *n = cw_list_entry(it, struct note, node);

        if (n->busy)
            continue;
        if (!copy_can_be_mended(n->copy)) {
            note_free(n);
            continue;
        }
        if (s->v->n_note_fixes >= NOTE_FIXES_MAX)
            return;
        note_run(n);
    }
}
