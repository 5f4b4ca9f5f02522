/* store/inspect-seg.c - a whole segment: header, summary, every batch, every block of payload.
 *
 * What somebody refers to must be whole. What nobody refers to may be anything: a crash cuts
 * writes, and batches that were cut off lie there for ever. So the same damage is a finding in the
 * one place and a note in the other.
 */
#include <stdlib.h>
#include <string.h>

#include "common/codec/hash.h"
#include "daemon/store/inspect.h"
#include "daemon/store/store-internal.h"

struct walk {
    struct cw_inspect_seg *g;
    uint64_t chain, seq; /* of the batch before; seq 0: none */
    uint8_t *sum;        /* the summary that the batches found should have */
    uint32_t sum_len, sum_cap;
    uint8_t *scratch; /* CW_INSPECT_RUN_BYTES */
};

static void
seg_found(const struct cw_inspect_seg *g, struct cw_inspect_found f)
{
    f.level = f.level == CW_INSPECT_FOUND && g->is_live(g->user, f.off, f.len) ? CW_INSPECT_FOUND
                                                                               : CW_INSPECT_NOTE;
    g->found(g->user, &f);
}

static bool
seg_unreadable(const struct cw_inspect_seg *g, uint32_t off, uint32_t len)
{
    for (uint32_t at = off / 4096; at < cw_div_up((uint64_t)off + len, 4096); at++) {
        if (cw_bit_get(g->unreadable, at))
            return true;
    }
    return false;
}

/* ---- header, summary: needed as long as anything in the segment is ---- */

static void
seg_found_whole(const struct cw_inspect_seg *g, bool note, const char *what, uint32_t off,
                uint32_t len)
{
    struct cw_inspect_found f = { .what = what, .off = off, .len = len };

    f.level =
        !note && g->is_live(g->user, 0, g->sb->seg_bytes) ? CW_INSPECT_FOUND : CW_INSPECT_NOTE;
    g->found(g->user, &f);
}

static void
seg_header(const struct cw_inspect_seg *g)
{
    struct cw_seg_hdr h;
    const char *why;

    memcpy(&h, g->bytes, sizeof(h));
    why = seg_unreadable(g, 0, sizeof(h)) ? "it cannot be read"
                                          : cw_inspect_seg_hdr(g->sb, &h, g->no);
    if (why == NULL && h.seg_seq != g->seg_seq)
        why = "it is of another opening of the segment";
    if (why != NULL)
        seg_found_whole(g, false, why, 0, sizeof(h));
}

/* ---- a batch ---- */

/* What is wrong with the place at `off` of the segment, which holds the blocks of csums[first..]
 * that have payload. */
static const char *
place_why(const struct cw_inspect_seg *g, const struct cw_inspect_rec *r, uint32_t first,
          uint32_t off, uint32_t len, uint8_t *scratch)
{
    uint64_t loc = r->places[first];
    uint32_t n = cw_loc_kind(loc) == CW_MAP_COMP ? cw_loc_n(loc) : 1;
    const uint8_t *plain;

    if (seg_unreadable(g, off, len))
        return "it cannot be read";
    plain = cw_inspect_plain(g->c, loc, g->bytes + off, scratch);
    if (plain == NULL)
        return "it is not what was packed";
    for (uint32_t i = first; n > 0; i++) {
        if (r->places[i] == 0)
            continue;
        if (cw_hash_block(plain) != r->csums[i])
            return "it does not match its checksum";
        plain += CW_BLOCK_SIZE;
        n--;
    }
    return NULL;
}

static void
rec_payload(const struct walk *w, const struct cw_batch_hdr *h, uint32_t off, uint32_t rec,
            const struct cw_inspect_rec *r)
{
    for (uint32_t i = 0; i < r->n_csums; i++) {
        uint64_t loc = r->places[i];
        struct cw_inspect_found f = {
            .off = off + h->hdr_bytes + cw_loc_off(loc),
            .len = cw_loc_len512(loc) * CW_SECTOR,
            .batch_seq = h->batch_seq,
            .d = &r->d,
            .rec = rec,
        };

        if (loc == 0 || (cw_loc_kind(loc) == CW_MAP_COMP && cw_loc_idx(loc) > 0))
            continue;
        f.what = place_why(w->g, r, i, f.off, f.len, w->scratch);
        f.lba = cw_inspect_rec_lba(r, i);
        if (f.what != NULL)
            seg_found(w->g, f);
    }
}

static void
batch_records(struct walk *w, const struct cw_batch_hdr *h, uint32_t off)
{
    struct cw_inspect_seg *g = w->g;
    const uint8_t *at = g->bytes + off + sizeof(*h), *end = g->bytes + off + h->hdr_bytes;

    for (uint32_t i = 0; i < h->nrec; i++) {
        struct cw_inspect_rec r;

        if (cw_inspect_rec(at, end, h->payload_bytes, &r) != NULL)
            return; /* not possible: the batch was looked at */
        rec_payload(w, h, off, i, &r);
        g->n_records++;
        g->n_blocks += r.n_payload;
        at += r.bytes;
    }
}

static void
batch_chain_check(struct walk *w, const struct cw_batch_hdr *h, uint32_t off, uint32_t used)
{
    if (w->seq != 0 && h->batch_seq > w->seq && h->prev_hdr_csum != w->chain)
        /* one that failed was written elsewhere, or a crash cut the log between them */
        w->g->found(w->g->user, &(struct cw_inspect_found){
                                    .level = CW_INSPECT_NOTE,
                                    .what = "it does not follow the batch before it",
                                    .off = off,
                                    .len = h->hdr_bytes,
                                    .batch_seq = h->batch_seq,
                                });
    w->chain = cw_inspect_chain(w->g->bytes + off, used);
    w->seq = h->batch_seq;
}

static void
walk_sum(struct walk *w, uint32_t off, uint32_t used)
{
    struct cw_sum_entry e = { .off = off, .used = used };
    uint32_t need = w->sum_len + (uint32_t)sizeof(e) + used;

    if (need > w->sum_cap) {
        w->sum_cap = need * 2;
        w->sum = realloc(w->sum, w->sum_cap);
        cw_assert(w->sum != NULL);
    }
    memcpy(w->sum + w->sum_len, &e, sizeof(e));
    memcpy(w->sum + w->sum_len + sizeof(e), w->g->bytes + off, used);
    w->sum_len = need;
}

/* A batch of this opening of the segment at off; its bytes, or 0. */
static uint32_t
walk_batch(struct walk *w, uint32_t off, bool look, const char **ret_why)
{
    struct cw_inspect_seg *g = w->g;
    struct cw_batch_hdr h;
    uint32_t used;

    *ret_why = seg_unreadable(g, off, 4096)
                   ? "it cannot be read"
                   : cw_inspect_batch(g->sb, g->bytes + off, w->g->sb->seg_bytes - off, off, &used);
    if (*ret_why != NULL)
        return 0;
    memcpy(&h, g->bytes + off, sizeof(h));
    if (h.seg_seq != g->seg_seq) {
        *ret_why = "it is of another opening of the segment";
        return 0;
    }
    if (look) {
        g->n_batches++;
        walk_sum(w, off, used);
        batch_chain_check(w, &h, off, used);
        batch_records(w, &h, off);
    }
    return h.hdr_bytes + h.payload_bytes;
}

/* No batch begins at off: returns where the next one does, or the end. */
static uint32_t
walk_gap(struct walk *w, uint32_t off, const char *why)
{
    struct cw_inspect_found f = { .what = why, .off = off };
    uint32_t next = off + 4096;
    const char *ignored;

    while (next < w->g->sb->seg_bytes && walk_batch(w, next, false, &ignored) == 0)
        next += 4096;
    f.len = next - off;
    /* behind the last batch there is nothing to be expected */
    if (next < w->g->sb->seg_bytes || w->g->is_live(w->g->user, off, f.len))
        seg_found(w->g, f);
    w->seq = 0;
    return next;
}

/* ---- summary ---- */

static uint32_t
bits_differ(const uint8_t *a, const uint8_t *b, uint32_t len)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < len; i++)
        n += cw_popcount((uint64_t)(a[i] ^ b[i]));
    return n;
}

/* What should lie at the end of the segment; what only the daemon knew is taken from what does. */
static uint8_t *
summary_wanted(const struct walk *w, const struct cw_sum_footer *is, uint32_t room)
{
    uint8_t *mem = store_alloc(room);
    struct cw_sum_footer f = {
        .magic = CW_SUM_MAGIC,
        .format_id = w->g->sb->format_id,
        .seg_seq = w->g->seg_seq,
        .seg_no = w->g->no,
        .n_batches = w->g->n_batches,
        .bytes = w->sum_len,
        .live = is->live,
        .csum = is->csum,
    };

    memcpy(mem, w->sum, w->sum_len);
    memcpy(mem + room - sizeof(f), &f, sizeof(f));
    return mem;
}

/* One that an earlier life of the segment left there, whole. */
static bool
summary_is_old(const struct cw_inspect_seg *g)
{
    uint32_t size = g->sb->seg_bytes, room;
    struct cw_sum_footer f;

    memcpy(&f, g->bytes + size - sizeof(f), sizeof(f));
    return f.seg_seq != g->seg_seq &&
           cw_inspect_summary_there(g->sb, g->bytes + size - 4096, g->no, f.seg_seq, &room) &&
           cw_inspect_summary(g->sb, g->bytes + size - room, room, g->no, f.seg_seq) == NULL;
}

/* A summary that is not valid: none was ever written (then its footer is something else), a crash
 * cut its write, or it has rotted. */
static void
summary_compare(const struct walk *w)
{
    const struct cw_inspect_seg *g = w->g;
    uint32_t room = (uint32_t)cw_align_up(w->sum_len + sizeof(struct cw_sum_footer), 4096);
    uint32_t off = g->sb->seg_bytes - room, n = 0, other = 0;
    struct cw_sum_footer is;
    uint8_t *want;

    if (w->sum_len == 0 || room > g->sb->seg_bytes / 2)
        return;
    memcpy(&is, g->bytes + g->sb->seg_bytes - sizeof(is), sizeof(is));
    want = summary_wanted(w, &is, room);
    for (uint32_t at = 0; at < room; at += CW_SECTOR) {
        n = bits_differ(want + at, g->bytes + off + at, CW_SECTOR);
        other += n > CW_INSPECT_ROT_BITS;
    }
    /* n: of the sector with the footer */
    if (n <= CW_INSPECT_ROT_BITS)
        seg_found_whole(g, other > 0,
                        other > 0 ? "its summary was cut by a crash: its batches are read instead"
                                  : "its summary does not match its checksum or its batches",
                        off, room);
    free(want);
}

static void
seg_summary(struct walk *w)
{
    struct cw_inspect_seg *g = w->g;
    uint32_t size = g->sb->seg_bytes, room;
    bool there;

    if (seg_unreadable(g, size - 4096, 4096)) {
        seg_found_whole(g, false, "its end, where a summary may be, cannot be read", size - 4096,
                        4096);
        return;
    }
    there = cw_inspect_summary_there(g->sb, g->bytes + size - 4096, g->no, g->seg_seq, &room);
    if (there && seg_unreadable(g, size - room, room))
        seg_found_whole(g, false, "its summary cannot be read", size - room, room);
    else if (there &&
             cw_inspect_summary(g->sb, g->bytes + size - room, room, g->no, g->seg_seq) == NULL)
        g->has_summary = true;
    else if (!summary_is_old(g))
        summary_compare(w);
}

void
cw_inspect_segment(struct cw_inspect_seg *g)
{
    struct walk w = { .g = g, .scratch = store_alloc(CW_INSPECT_RUN_BYTES) };

    g->n_batches = g->n_records = 0;
    g->n_blocks = 0;
    g->has_summary = false;
    seg_header(g);
    for (uint32_t off = 4096; off < g->sb->seg_bytes;) {
        const char *why;
        uint32_t bytes = walk_batch(&w, off, true, &why);

        off = bytes > 0 ? off + bytes : walk_gap(&w, off, why);
    }
    seg_summary(&w);
    free(w.sum);
    free(w.scratch);
}
