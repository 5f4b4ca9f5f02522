/* store/recovery.c - open: the best superblock, its checkpoint, the log behind it.
 *
 *   SB -> ROOT -> PARTS -> TABS -> (previous checkpoint on any failure) -> HEADERS -> SCAN
 *      -> REPLAY -> checkpoint and incarnation -> open
 *
 * Whether the first missing batch is the torn end of the log or damage in its middle, the later
 * batches say: durable_upto.
 */
#include <stdlib.h>
#include <string.h>

#include "common/base/mutation.h"
#include "common/codec/hash.h"
#include "daemon/store/recovery.h"

static void recovery_scan(struct recovery *r);

void
recovery_free(struct cw_store *s)
{
    struct recovery *r = s->recovery;

    if (r == NULL)
        return;
    scan_fini(&r->scan);
    suspects_fini(&r->suspects);
    for (uint32_t i = 0; i < r->n; i++)
        free(r->b[i].bytes);
    for (size_t i = 0; i < CW_LEN(r->content); i++)
        free(r->content[i]);
    free(r->b);
    free(r->cuts);
    free(r->root);
    free(r->mem);
    free(r->runs);
    free(r->bad);
    free(r->scan_it);
    free(r->ref_end);
    free(r);
    s->recovery = NULL;
}

void
recovery_fail(struct recovery *r, int res)
{
    struct cw_store *s = r->s;

    s->state = STORE_DOWN;
    recovery_free(s);
    store_finish(s, res);
}

void
recovery_fetch(struct recovery *r, uint32_t n, void (*done)(struct store_fetch *))
{
    r->fetch.runs = r->runs;
    r->fetch.n_runs = n;
    r->fetch.bad = r->bad;
    r->fetch.done = done;
    store_fetch_start(r->s, &r->fetch);
}

void
recovery_fetch_memory(struct recovery *r, uint32_t n)
{
    free(r->mem);
    free(r->runs);
    free(r->bad);
    r->mem = store_alloc_aligned((size_t)n * CW_BLOCK_SIZE);
    r->runs = store_alloc(n * sizeof(*r->runs));
    r->bad = store_alloc((n / 64 + 1) * 8);
}

/* ---- segments that may hold batches to be replayed ---- */

/* Opened after the freeze, or told by the checkpoint to hold batches behind it? */
static bool
header_is_due(const struct recovery *r, uint32_t no, const struct cw_seg_hdr *h)
{
    const struct cw_segtab_entry *e = (const void *)r->content[CW_PART_SEGMENTS];

    if (r->root == NULL || h->seg_seq >= r->root->next_seg_seq)
        return true;
    return (e[no].flags & CW_SEG_REPLAY) && e[no].seg_seq == h->seg_seq;
}

/* What the checkpoint knows of that very life of the segment. */
static bool
header_fits(const struct recovery *r, uint32_t no, const struct cw_seg_hdr *h)
{
    const struct cw_segtab_entry *e = (const void *)r->content[CW_PART_SEGMENTS];

    return r->root == NULL || e[no].seg_seq != h->seg_seq || e[no].state == CW_SEG_FREE ||
           e[no].cls == h->cls;
}

static void
header_take(struct recovery *r, uint32_t no, const struct cw_seg_hdr *h)
{
    struct cw_store *s = r->s;
    struct seg *g = &s->segs[no];

    s->next_seg_seq = cw_max_u64(s->next_seg_seq, h->seg_seq + 1);
    g->flags |= CW_SEG_WRITTEN;
    if (!header_is_due(r, no, h))
        return;
    /* If it was opened after the freeze, what the checkpoint refers to in it, of its former life,
     * stays counted until the replay says what became of it: all of it died before the segment was
     * opened, and if the log is cut before that, nobody may take it. */
    g->seq = h->seg_seq;
    g->cls = h->cls;
    s->n_state[g->state]--;
    g->state = CW_SEG_SEALED;
    s->n_state[g->state]++;
    r->scan_it[no] = true;
    if (h->seg_seq > s->open[h->cls].prev_seq)
        s->open[h->cls].prev_seq = h->seg_seq;
}

/* May it have been opened since the freeze, or hold batches behind it? */
static void
header_suspect(struct recovery *r, uint32_t no, bool unreadable)
{
    const struct cw_segtab_entry *e = (const void *)r->content[CW_PART_SEGMENTS];
    struct suspect one = { .no = no, .unreadable = unreadable, .from_seq = 1 };

    if (r->root != NULL) {
        /* of META what is in use is not opened again so soon */
        if (e[no].state != CW_SEG_FREE && e[no].cls == CW_SEG_META &&
            !(e[no].flags & CW_SEG_REPLAY))
            return;
        one.from_seq = r->root->next_seg_seq;
        one.seq = e[no].flags & CW_SEG_REPLAY ? e[no].seg_seq : 0;
    }
    suspects_add(&r->suspects, one);
}

/* One that is all zeroes belongs to a segment that was never opened, unless the checkpoint knows
 * better. */
static bool
header_was_there(const struct recovery *r, uint32_t no)
{
    const struct cw_segtab_entry *e = (const void *)r->content[CW_PART_SEGMENTS];

    return r->root != NULL && (e[no].flags & CW_SEG_REPLAY);
}

static void
headers_on_fetched(struct store_fetch *f)
{
    struct recovery *r = cw_container_of(f, struct recovery, fetch);

    for (uint32_t i = 0; i < f->n_runs; i++) {
        const uint8_t *at = r->mem + (size_t)i * CW_BLOCK_SIZE;
        const struct cw_seg_hdr *h = (const void *)at;
        uint32_t no = r->header_no[i];

        if (cw_bit_get(r->bad, i)) {
            recovery_missed(r->s, r->runs[i].off, CW_BLOCK_SIZE);
            header_suspect(r, no, true);
        } else if (segment_hdr_valid(r->s, h, no) && header_fits(r, no, h))
            header_take(r, no, h);
        else if (!cw_block_is_zero(at) || header_was_there(r, no))
            header_suspect(r, no, false);
    }
    recovery_headers(r);
}

static void
suspects_done(struct suspects *x)
{
    struct recovery *r = cw_container_of(x, struct recovery, suspects);

    r->covered = cw_max_u64(r->covered, x->covered);
    r->s->next_seg_seq = cw_max_u64(r->s->next_seg_seq, x->last_seg_seq + 1);
    recovery_scan(r);
}

/* A segment that was free at the freeze, took pages of the checkpoint itself since and has lost its
 * header is not to be opened again: it holds what the checkpoint refers to. */
static void
headers_keep_referred(struct cw_store *s)
{
    for (uint32_t i = 0; i < s->n_segs; i++) {
        struct seg *g = &s->segs[i];

        if (g->state != CW_SEG_FREE || g->live == 0)
            continue;
        s->n_state[CW_SEG_FREE]--;
        s->n_state[CW_SEG_SEALED]++;
        g->state = CW_SEG_SEALED;
        g->cls = CW_SEG_META;
    }
}

/* What the checkpoint neither refers to nor replays only the one before it can need, and that is
 * forgotten with the checkpoint that ends this recovery. What a tail holds is not: no checkpoint
 * would free it, and they would be taken one after the other for it. Once all is replayed, what the
 * replay emptied is not needed either (segment_is_ripe). */
static void
recovery_free_unneeded(struct recovery *r)
{
    const struct cw_segtab_entry *e = (const void *)r->content[CW_PART_SEGMENTS];
    struct cw_store *s = r->s;

    for (uint32_t i = 0; e != NULL && i < s->n_segs; i++) {
        const struct seg *g = &s->segs[i];

        if (g->state == CW_SEG_SEALED && g->live == 0 && !segment_is_pinned(g) && !r->scan_it[i] &&
            !(e[i].flags & CW_SEG_REPLAY))
            segment_soon_free(s, i);
    }
}

static void
headers_done(struct recovery *r)
{
    struct cw_store *s = r->s;

    headers_keep_referred(s);
    recovery_free_unneeded(r);
    r->suspects.done = suspects_done;
    suspects_look(s, &r->suspects);
}

/* A superblock that says SETTLED is believed only beside three valid ones: if the newest were lost,
 * that of the stop before would be the best. */
static bool
recovery_is_settled(const struct recovery *r)
{
    return r->which == 0 && r->root != NULL && (r->s->sb.flags & CW_SB_SETTLED) && r->s->sb_whole;
}

/* After a clean stop only what was open at the freeze can hold batches behind it, and what took
 * pages of the checkpoint itself. */
static bool
header_is_wanted(const struct recovery *r, uint32_t no)
{
    const struct cw_segtab_entry *e = (const void *)r->content[CW_PART_SEGMENTS];

    return !r->settled || (e[no].flags & CW_SEG_REPLAY) ||
           (e[no].state == CW_SEG_FREE && r->ref_end[no] > 0);
}

void
recovery_headers(struct recovery *r)
{
    struct cw_store *s = r->s;
    uint32_t n = 0;

    if (r->header_at == 0) {
        r->scan_it = store_alloc(s->n_segs * sizeof(*r->scan_it));
        r->settled = recovery_is_settled(r);
    }
    for (; r->header_at < s->n_segs && n < RECOVERY_HEADERS_MAX; r->header_at++) {
        if (header_is_wanted(r, r->header_at))
            r->header_no[n++] = r->header_at;
    }
    if (n == 0) {
        headers_done(r);
        return;
    }
    recovery_fetch_memory(r, n);
    for (uint32_t i = 0; i < n; i++)
        r->runs[i] = (struct store_run){
            .off = seg_off(s, r->header_no[i]),
            .to = r->mem + (size_t)i * CW_BLOCK_SIZE,
            .n_blocks = 1,
            .first = i,
        };
    recovery_fetch(r, n, headers_on_fetched);
}

/* ---- batches ---- */

/* Pages of the map and what they lead to are never in one segment. */
static void
record_is_foreign(void *user, const struct scan_batch *b, const struct rec_view *v)
{
    struct recovery *r = user;
    bool meta = r->s->segs[b->seg].cls == CW_SEG_META;

    r->foreign |= cw_rec_is_meta(v->d.type) ? !meta : meta && v->n_payload > 0;
}

/* One that cannot have been written into that segment is taken for missing. */
static bool
batch_is_foreign(struct recovery *r, const struct scan *sc, uint32_t i)
{
    const struct scan one = { .b = &sc->b[i], .n = 1 };

    r->foreign = false;
    scan_each_record(&one, record_is_foreign, r);
    return r->foreign;
}

static void
scan_take(struct scan *sc)
{
    struct recovery *r = cw_container_of(sc, struct recovery, scan);
    struct seg *g = &r->s->segs[sc->seg];

    if (r->n + sc->n > r->cap) {
        r->cap = (r->n + sc->n) * 2;
        r->b = realloc(r->b, r->cap * sizeof(*r->b));
        cw_assert(r->b != NULL);
    }
    for (uint32_t i = 0; i < sc->n; i++) {
        g->last_batch = cw_max_u64(g->last_batch, sc->b[i].h.batch_seq);
        r->covered = cw_max_u64(r->covered, sc->b[i].h.durable_upto);
        if (batch_is_foreign(r, sc, i)) {
            sc->holes++;
            free(sc->b[i].bytes);
        } else {
            r->b[r->n++] = sc->b[i];
        }
    }
    resume_note_scan(r, sc);
    sc->n = 0; /* their bytes are ours now */
    r->lost = r->lost || sc->lost > 0;
    r->lost_end = r->lost_end || sc->lost_end > 0;
    scan_fini(sc);
    r->scan_seg++;
    recovery_scan(r);
}

static int
batch_order(const void *a, const void *b)
{
    const struct scan_batch *x = a, *y = b;

    if (x->h.batch_seq != y->h.batch_seq)
        return x->h.batch_seq < y->h.batch_seq ? -1 : 1;
    /* the later copy of a batch that had to be written twice comes first */
    return x->h.seg_seq > y->h.seg_seq ? -1 : x->h.seg_seq < y->h.seg_seq;
}

static void
recovery_scan(struct recovery *r)
{
    while (r->scan_seg < r->s->n_segs && !r->scan_it[r->scan_seg])
        r->scan_seg++;
    if (r->scan_seg < r->s->n_segs) {
        memset(&r->scan, 0, sizeof(r->scan));
        r->scan.done = scan_take;
        scan_start(r->s, &r->scan, r->scan_seg);
        return;
    }
    if (r->n > 0)
        qsort(r->b, r->n, sizeof(*r->b), batch_order);
    if (r->n > 0 && cw_mutated(CW_MUTATION_REPLAY_SHORT))
        free(r->b[--r->n].bytes);
    recovery_find_cuts(r);
    memcpy(r->s->chain_csum, r->s->chain_csum_applied, sizeof(r->s->chain_csum));
    recovery_replay(r->s);
}

/* ---- the end ---- */

static void
recovery_on_checkpoint(struct cw_store *s, int res)
{
    struct recovery *r = s->recovery;

    if (res != 0) {
        recovery_fail(r, res);
        return;
    }
    s->recovered.took_ns = cw_now_ns(s->env) - r->began_ns;
    recovery_free(s);
    s->state = STORE_OPEN;
    s->was_full = s->stats.full = space_is_full(s);
    store_finish(s, 0);
}

static void
recovery_end_checkpoint(struct cw_store *s)
{
    s->ckpt.wanted = true;
    s->ckpt.done = recovery_on_checkpoint;
    ckpt_step(s);
}

static void
unsettle_change(struct cw_store *s, struct cw_sb *sb, void *arg)
{
    sb->flags &= ~(uint32_t)CW_SB_SETTLED;
}

static void
unsettle_done(struct cw_store *s, void *arg, int res)
{
    if (res != 0)
        recovery_fail(s->recovery, res);
    else
        recovery_end_checkpoint(s);
}

/* What this recovery writes, the next one must find if this one does not come to its end. */
static void
recovery_unsettle(struct recovery *r)
{
    r->unsettle.change = unsettle_change;
    r->unsettle.done = unsettle_done;
    sb_write(r->s, &r->unsettle);
}

/* Batches [next, ..) do not exist from now on. */
static void
recovery_cut(struct recovery *r, bool damaged)
{
    struct cw_store *s = r->s;
    struct rec_out note = {
        .d = { .type = CW_REC_NOTE, .flags = CW_RF_RESUME, .seq = r->next },
    };
    uint64_t last = cw_max_u64(cw_max_u64(r->covered, r->suspects.last_batch), r->next);
    struct batch *b;

    if (r->n > 0)
        last = cw_max_u64(last, r->b[r->n - 1].h.batch_seq);
    s->next_batch = last + 1;
    s->applied_upto = s->noted_upto = last;
    s->durable_upto = r->next - 1; /* whoever misses our first batch must not look for the others */
    if (damaged)
        note.d.flags |= CW_RF_DAMAGED;
    memcpy(s->chain_csum, s->chain_csum_applied, sizeof(s->chain_csum));
    b = batch_room(s, CW_SEG_META, batch_rec_len(&note), 0, 0);
    batch_add(b, &note);
}

static void
recovery_damage(struct recovery *r)
{
    struct cw_store *s = r->s;

    store_log(s, CW_LOG_ERROR,
              "batch %llu is missing but was durable (up to %llu), or cannot be read: "
              "all copies are damaged",
              (unsigned long long)r->next, (unsigned long long)r->covered);
    CW_LIST_EACH (it, &s->shards)
        cw_list_entry(it, struct cw_store_shard, link)->info.damaged = true;
}

/* May the batch at which the log ends here have been acknowledged, and what tells of it, or the
 * batch itself, be in a place that cannot be read? A torn write is read, and is not right. After a
 * clean stop nothing was, if the superblock that says so is the newest. */
static bool
recovery_lost(const struct recovery *r, bool gap)
{
    if (r->which == 0 && (r->s->sb.flags & CW_SB_CLEAN) && r->s->sb_whole)
        return false;
    return r->unreadable == r->next || r->suspects.lost || r->lost_end || (r->lost && gap);
}

/* Is there room to count on? Else what is written now could not be read any more. */
static bool
recovery_numbers_ok(const struct cw_store *s)
{
    uint64_t max = cw_max_u64(s->next_batch, s->next_seg_seq);

    max = cw_max_u64(max, s->sb.sb_seq);
    for (size_t i = 0; i < CW_LEN(s->sb.ckpt); i++)
        max = cw_max_u64(max, s->sb.ckpt[i].number);
    return max < STORE_SEQ_MAX - STORE_SEQ_ROOM;
}

static void
recovery_finish(struct recovery *r)
{
    struct cw_store *s = r->s;
    uint64_t beyond = 0;
    bool damaged;

    for (uint32_t i = r->at; i < r->n; i++)
        beyond += r->b[i].h.batch_seq >= r->next && !recovery_is_void(r, r->b[i].h.batch_seq);
    s->recovered.dropped_batches += beyond;
    damaged = (r->covered >= r->next || recovery_lost(r, beyond > 0)) &&
              !cw_mutated(CW_MUTATION_TORN_IS_END);
    if (damaged)
        recovery_damage(r);
    CW_LIST_EACH (it, &s->shards) {
        struct cw_store_shard *sh = cw_list_entry(it, struct cw_store_shard, link);

        sh->info.last_gen = sh->info.durable_gen;
        sh->info.last_seq = sh->info.durable_seq;
        s->recovered.damaged_copies += sh->info.damaged;
    }
    s->recovered.clean = s->sb.flags & CW_SB_CLEAN;
    s->recovered.bad_blocks = s->stats.csum_errors;
    if (r->which == 0 && !damaged)
        resume_segments(r);
    recovery_free_unneeded(r);
    segindex_build(s);
    recovery_cut(r, damaged);
    if (!recovery_numbers_ok(s)) {
        store_log(s, CW_LOG_ERROR, "its numbers end here: it was not written by this program");
        recovery_fail(r, CW_STORE_E_UNREADABLE);
        return;
    }
    if (r->settled)
        recovery_unsettle(r);
    else
        recovery_end_checkpoint(s);
}

void
recovery_end(struct recovery *r)
{
    recovery_look_again(r, recovery_finish);
}

static void
recovery_on_sb(struct cw_store *s, int res)
{
    struct recovery *r = s->recovery;

    if (res != 0) {
        recovery_fail(r, res);
        return;
    }
    s->n_segs = s->sb.seg_count;
    s->seg_bytes = s->sb.seg_bytes;
    cleaners_make(s);
    s->ckpt.number = s->sb.ckpt[0].number; /* what the replay lets go, these may still list */
    s->segs = store_alloc(s->n_segs * sizeof(*s->segs));
    recovery_checkpoint(r);
}

void
recovery_start(struct cw_store *s)
{
    struct recovery *r = store_alloc(sizeof(*r));

    r->s = s;
    r->began_ns = cw_now_ns(s->env);
    s->recovery = r;
    sb_read(s, recovery_on_sb);
}
