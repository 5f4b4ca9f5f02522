/* store/replay.c - the batches behind the checkpoint, in the order of their numbers, up to the
 * first that is missing.
 *
 * A batch that no other says was durable is replayed only if its payload is whole.
 */
#include <stdlib.h>
#include <string.h>

#include "common/codec/hash.h"
#include "daemon/store/recovery.h"

/* ---- cuts ---- */

static int
cut_order(const void *a, const void *b)
{
    const struct cut *x = a, *y = b;

    return x->from < y->from ? -1 : x->from > y->from;
}

/* RESUME notes of earlier recoveries: batches that were dropped then never come back. */
void
recovery_find_cuts(struct recovery *r)
{
    uint32_t cap = 0;

    for (uint32_t i = 0; i < r->n; i++) {
        const struct scan_batch *b = &r->b[i];
        struct rec_view v;

        if (b->h.nrec == 0 ||
            !record_parse(b->bytes + sizeof(b->h), b->bytes + b->used, b->h.payload_bytes, &v) ||
            v.d.type != CW_REC_NOTE || !(v.d.flags & CW_RF_RESUME))
            continue;
        if (r->n_cuts == cap) {
            cap = cap == 0 ? 16 : cap * 2;
            r->cuts = realloc(r->cuts, cap * sizeof(*r->cuts));
            cw_assert(r->cuts != NULL);
        }
        r->cuts[r->n_cuts++] = (struct cut){ .from = v.d.seq, .to = b->h.batch_seq };
    }
    if (r->n_cuts > 0)
        qsort(r->cuts, r->n_cuts, sizeof(*r->cuts), cut_order);
    for (uint32_t i = 1; i < r->n_cuts; i++)
        r->cuts[i].to = cw_max_u64(r->cuts[i].to, r->cuts[i - 1].to);
}

/* Where the log goes on after a cut that this number lies in; 0: it lies in none. */
static uint64_t
cut_end(const struct recovery *r, uint64_t seq)
{
    uint32_t lo = 0, hi = r->n_cuts;

    while (lo < hi) { /* the first that begins behind it */
        uint32_t mid = lo + (hi - lo) / 2;

        if (r->cuts[mid].from <= seq)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo > 0 && r->cuts[lo - 1].to > seq ? r->cuts[lo - 1].to : 0;
}

bool
recovery_is_void(const struct recovery *r, uint64_t seq)
{
    return cut_end(r, seq) > 0;
}

/* ---- payload ---- */

/* The plain blocks that lie in one place, against their checksums. */
static bool
place_matches(struct cw_store *s, const struct rec_view *v, uint64_t loc, const uint8_t *payload,
              uint32_t *csum)
{
    uint32_t n = cw_loc_kind(loc) == CW_MAP_COMP ? cw_loc_n(loc) : 1;
    const uint64_t none[1] = { 0 };
    const uint8_t *plain = payload;

    if (cw_loc_kind(loc) == CW_MAP_COMP) {
        struct extent whole = { .n = n };

        plain = extent_plain(s, &whole, loc, payload, none);
        if (plain == NULL)
            return false;
    }
    for (uint32_t i = 0; i < n; i++) {
        while (record_left_out(v, *csum))
            (*csum)++;
        if (cw_hash_block(plain + (size_t)i * CW_BLOCK_SIZE) != v->csums[(*csum)++])
            return false;
    }
    return true;
}

static bool
payload_matches(struct cw_store *s, const struct scan_batch *b, const uint8_t *payload)
{
    const uint8_t *at = b->bytes + sizeof(b->h), *end = b->bytes + b->used;
    struct rec_view v;

    for (uint32_t i = 0; i < b->h.nrec; i++) {
        struct rec_places places;
        uint32_t csum = 0;

        if (!record_parse(at, end, b->h.payload_bytes, &v))
            return false;
        places = record_places(&v, 0, 0);
        for (uint32_t k = 0; k < v.n_payload; k++) {
            uint64_t loc = record_place_next(&places);

            if (cw_loc_idx(loc) == 0 &&
                !place_matches(s, &v, loc, payload + cw_loc_off(loc), &csum))
                return false;
        }
        at = v.next;
    }
    return true;
}

static void
payload_on_read(struct store_io *io, int res)
{
    struct recovery *r = cw_container_of(io, struct recovery, io);
    const struct scan_batch *b = &r->b[r->at];

    if (res != 0) {
        recovery_missed(r->s, io->io.off, io->io.len);
        r->unreadable = b->h.batch_seq;
    }
    /* the header too: a summary may tell of a batch that never got to its place */
    if (res == 0 && memcmp(r->mem, b->bytes, b->used) == 0 &&
        payload_matches(r->s, b, r->mem + b->h.hdr_bytes)) {
        r->payload_ok = true;
    } else {
        r->at++; /* a second copy of the batch may follow; else it is missing */
        r->s->recovered.dropped_batches++;
    }
    recovery_replay(r->s);
}

static void
payload_check(struct recovery *r)
{
    const struct scan_batch *b = &r->b[r->at];

    free(r->mem);
    r->mem = store_alloc_aligned((size_t)b->h.hdr_bytes + b->h.payload_bytes);
    r->io.done = payload_on_read;
    r->io.twice = true;
    store_io_start(r->s, &r->io, CW_DISK_READ, seg_off(r->s, b->seg) + b->off, r->mem,
                   (uint64_t)b->h.hdr_bytes + b->h.payload_bytes);
}

/* ---- one after the other ---- */

static void
batch_replayed(struct recovery *r)
{
    struct cw_store *s = r->s;
    const struct scan_batch *b = &r->b[r->at];
    uint8_t cls = s->segs[b->seg].cls;

    s->chain_csum_applied[cls] = batch_chain(b->h.batch_seq, b->bytes, b->used);
    s->applied_upto = b->h.batch_seq;
    s->recovered.replayed_batches++;
    s->recovered.replayed_records += b->h.nrec;
    r->next = b->h.batch_seq + 1;
    r->payload_ok = false;
}

/* The next batch to be looked at, NULL at a gap that no cut explains. */
static const struct scan_batch *
replay_find(struct recovery *r)
{
    for (;;) {
        const struct scan_batch *b;
        uint64_t resume;

        while (r->at < r->n &&
               (r->b[r->at].h.batch_seq < r->next || recovery_is_void(r, r->b[r->at].h.batch_seq)))
            r->at++;
        b = r->at < r->n ? &r->b[r->at] : NULL;
        if (b != NULL && b->h.batch_seq == r->next) {
            if (b->h.prev_hdr_csum == r->s->chain_csum_applied[r->s->segs[b->seg].cls])
                return b;
            r->at++; /* not the successor of what was replayed */
            continue;
        }
        resume = cut_end(r, r->next);
        if (resume == 0)
            return NULL;
        r->next = resume;
    }
}

void
recovery_replay(struct cw_store *s)
{
    struct recovery *r = s->recovery;

    for (;;) {
        const struct scan_batch *b;

        if (s->apply.active) {
            if (!apply_run(s))
                return;
            batch_replayed(r);
            r->at++;
            continue;
        }
        b = replay_find(r);
        if (b == NULL) {
            recovery_end(r);
            return;
        }
        if (!r->payload_ok && b->h.batch_seq > r->covered) {
            payload_check(r);
            return;
        }
        apply_begin(s, NULL, b->bytes, b->used, b->seg, b->off);
        s->apply.resume = recovery_replay;
    }
}
