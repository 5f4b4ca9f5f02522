/* store/segment.c - the segment table and the open segment of each class.
 *
 *   FREE --opened--> OPEN --full, error, restart--> SEALED --ripe--> FREE
 *                                                     |               ^
 *             checkpoint k needs nothing of it        v               | checkpoint k + 1 is durable
 *                                                 SOON_FREE ----------'
 *
 * A superblock names two checkpoints, and whichever of them is read after a crash must find all
 * that it replays, and all that it refers to unless the replay says that it died or moved. So a
 * segment of data that neither of them replays is ripe as soon as the log has emptied it
 * (docs/decisions/0007). What the log does not tell of, map pages and what deleted layers gave
 * back, waits for two checkpoints.
 */
#include <stdlib.h>
#include <string.h>

#include "common/codec/hash.h"
#include "daemon/store/inspect.h"
#include "daemon/store/store-internal.h"

uint64_t
seg_off(const struct cw_store *s, uint32_t no)
{
    return CW_SEG_BASE + (uint64_t)no * s->seg_bytes;
}

uint64_t
loc_off(const struct cw_store *s, uint64_t loc)
{
    return seg_off(s, cw_loc_seg(loc)) + cw_loc_off(loc);
}

bool
loc_valid(const struct cw_store *s, uint64_t loc, uint32_t n_blocks)
{
    return cw_inspect_loc(&s->sb, loc, n_blocks) == NULL;
}

bool
loc_data_valid(const struct cw_store *s, uint64_t loc)
{
    return cw_inspect_data_loc(&s->sb, loc) == NULL;
}

static void
segment_set_state(struct cw_store *s, struct seg *g, enum cw_seg_state state)
{
    s->n_state[g->state]--;
    g->state = (uint8_t)state;
    s->n_state[g->state]++;
    discard_note(s, g);
    segindex_update(s, (uint32_t)(g - s->segs));
}

uint32_t
segment_count(const struct cw_store *s, uint8_t state)
{
    return s->n_state[state];
}

bool
segment_is_pinned(const struct seg *g)
{
    return g->tail_pins > 0 || g->io_pins > 0;
}

uint32_t
segment_live_max(const struct cw_store *s)
{
    return s->seg_bytes / CW_SECTOR;
}

void
segment_live_sectors(struct cw_store *s, uint64_t loc, int32_t n)
{
    struct seg *g = &s->segs[cw_loc_seg(loc)];

    /* after damage the counts may only be too high, never too low */
    if (n < 0 && g->live < (uint32_t)-n)
        n = -(int32_t)g->live;
    g->live += (uint32_t)n;
    *(g->cls == CW_SEG_META ? &s->meta_live : &s->data_live) += (uint64_t)(int64_t)n;
    segindex_update(s, cw_loc_seg(loc));
}

void
segment_dies_next(struct cw_store *s, uint64_t loc)
{
    s->segs[cw_loc_seg(loc)].dead_next += CW_BLOCK_SECTORS;
    segindex_update(s, cw_loc_seg(loc));
}

void
segment_live_add(struct cw_store *s, uint64_t loc, int32_t n)
{
    segment_live_sectors(s, loc, n * (int32_t)CW_BLOCK_SECTORS);
}

void
segment_freeze(struct cw_store *s, struct seg *g)
{
    uint32_t gone = (uint32_t)cw_min_u64(g->dead_next, g->live);

    g->live -= gone;
    *(g->cls == CW_SEG_META ? &s->meta_live : &s->data_live) -= gone;
    g->dead_next = 0;
    g->live_ckpt = g->live;
}

void
segment_soon_free(struct cw_store *s, uint32_t no)
{
    segment_set_state(s, &s->segs[no], CW_SEG_SOON_FREE);
}

void
segment_set_moving(struct cw_store *s, uint32_t no)
{
    s->segs[no].moving = ckpt_running(s) ? 2 : 1;
    segindex_update(s, no);
}

/* A checkpoint is done: whatever stayed in those that it moved was not dirty after all. */
static void
moving_done(struct cw_store *s)
{
    uint32_t no = s->index.moving.first;

    for (uint32_t n = s->index.moving.n; n > 0; n--) {
        uint32_t next = s->segs[no].next;

        s->segs[no].moving--;
        segindex_update(s, no);
        no = next;
    }
}

static bool
segment_may_go(const struct cw_store *s, const struct seg *g, uint64_t replay_batch)
{
    if (segment_is_pinned(g) || g->live > 0 || g->unlogged_until >= s->ckpt.number)
        return false;
    return g->state == CW_SEG_SOON_FREE ||
           (g->last_batch < replay_batch && (g->cls == CW_SEG_META || g->live_ckpt == 0));
}

static bool
segment_is_ripe(const struct cw_store *s, const struct seg *g)
{
    const struct cw_sb_ckpt *older = &s->sb.ckpt[1];

    return g->state == CW_SEG_SEALED && g->cls != CW_SEG_META && g->live == 0 &&
           !segment_is_pinned(g) && g->last_batch < older->replay_batch &&
           g->unlogged_until < older->number && s->state == STORE_OPEN;
}

static void
segment_free_if_ripe(struct cw_store *s, uint32_t no)
{
    if (segment_is_ripe(s, &s->segs[no]))
        segment_set_state(s, &s->segs[no], CW_SEG_FREE);
}

void
segment_free_ripe(struct cw_store *s)
{
    uint32_t n = (uint32_t)cw_min_u64(s->index.n_emptied, s->index.empty.n);
    uint32_t no = s->index.empty.last;

    s->index.n_emptied = 0;
    for (; n > 0; n--) {
        uint32_t prev = s->segs[no].prev;

        segment_free_if_ripe(s, no);
        no = prev;
    }
}

void
segment_unpin(struct cw_store *s, uint32_t no)
{
    cw_assert(s->segs[no].io_pins > 0);
    if (--s->segs[no].io_pins == 0)
        segment_free_if_ripe(s, no);
}

static void
free_those(struct cw_store *s, const struct seg_list *l, uint64_t replay_batch,
           enum cw_seg_state to)
{
    uint32_t no = l->first;

    for (uint32_t n = l->n; n > 0; n--) {
        uint32_t next = s->segs[no].next;

        if (segment_may_go(s, &s->segs[no], replay_batch))
            segment_set_state(s, &s->segs[no], to);
        no = next;
    }
}

void
segment_free_unneeded(struct cw_store *s, uint64_t replay_batch)
{
    free_those(s, &s->index.soon_free, replay_batch, CW_SEG_FREE);
    free_those(s, &s->index.empty, replay_batch, CW_SEG_SOON_FREE);
    moving_done(s);
}

/* ---- sealing ---- */

struct sum_write {
    struct store_own own;
    struct store_io io;
    struct cw_store *s;
    uint32_t no; /* pinned: what is written there next must not be overtaken by this */
};

static void
summary_on_done(struct store_io *io, int res)
{
    struct sum_write *w = cw_container_of(io, struct sum_write, io);
    struct cw_store *s = w->s;

    /* without it the headers of the batches are read */
    if (res != 0)
        store_log(s, CW_LOG_WARNING, "a segment summary could not be written: %d", res);
    segment_unpin(s, w->no);
    store_own_free(&w->own);
    store_close_step(s);
}

static void
summary_write(struct cw_store *s, const struct open_seg *o)
{
    uint32_t room = (uint32_t)cw_align_up(o->sum_len + sizeof(struct cw_sum_footer), 4096);
    struct sum_write *w = store_own_new(s, sizeof(*w));
    struct cw_sum_footer *f;
    uint8_t *mem = w->own.mem = store_alloc_aligned(room);

    memcpy(mem, o->sum, o->sum_len);
    memset(mem + o->sum_len, 0, room - o->sum_len);
    f = (void *)(mem + room - sizeof(*f));
    *f = (struct cw_sum_footer){
        .magic = CW_SUM_MAGIC,
        .format_id = s->sb.format_id,
        .seg_seq = s->segs[o->no].seq,
        .seg_no = o->no,
        .n_batches = o->n_batches,
        .bytes = o->sum_len,
        .live = s->segs[o->no].live,
    };
    f->csum = cw_hash2(mem, o->sum_len, f, offsetof(struct cw_sum_footer, csum));
    w->s = s;
    w->no = o->no;
    s->segs[w->no].io_pins++;
    w->io.done = summary_on_done;
    store_io_start(s, &w->io, CW_DISK_WRITE_SYNC, seg_off(s, o->no) + s->seg_bytes - room, mem,
                   room);
}

void
segment_seal(struct cw_store *s, uint8_t cls, bool summary)
{
    struct open_seg *o = &s->open[cls];

    if (!o->open)
        return;
    o->open = false;
    o->prev_seq = s->segs[o->no].seq;
    s->unfilled += cls == CW_SEG_META ? 0 : s->seg_bytes - o->off;
    segment_set_state(s, &s->segs[o->no], CW_SEG_SEALED);
    if (summary && o->n_batches > 0)
        summary_write(s, o);
}

void
segment_add_summary(struct cw_store *s, uint8_t cls, uint32_t off, const uint8_t *hdr,
                    uint32_t used)
{
    struct open_seg *o = &s->open[cls];
    struct cw_sum_entry e = { .off = off, .used = used };
    uint32_t need = o->sum_len + (uint32_t)sizeof(e) + used;

    if (need > o->sum_cap) {
        o->sum_cap = need * 2 < 65536 ? 65536 : need * 2;
        o->sum = realloc(o->sum, o->sum_cap);
        cw_assert(o->sum != NULL);
    }
    memcpy(o->sum + o->sum_len, &e, sizeof(e));
    memcpy(o->sum + o->sum_len + sizeof(e), hdr, used);
    o->sum_len = need;
    o->n_batches++;
}

/* ---- opening ---- */

static bool
open_fits(const struct cw_store *s, const struct open_seg *o, uint32_t batch_bytes, uint32_t used)
{
    uint64_t sum = (uint64_t)o->sum_len + sizeof(struct cw_sum_entry) + used;

    return (uint64_t)o->off + batch_bytes + cw_align_up(sum + sizeof(struct cw_sum_footer), 4096) <=
           s->seg_bytes;
}

static bool
segment_find(struct cw_store *s, const struct seg_list *l, uint32_t *ret_no)
{
    uint32_t no = l->first;

    for (uint32_t n = l->n; n > 0; n--, no = s->segs[no].next) {
        if (!segment_is_pinned(&s->segs[no]) && !(s->zero_busy && s->zero_seg == no) &&
            !discard_holds(s, no)) {
            *ret_no = no;
            return true;
        }
    }
    return false;
}

static void
segment_open(struct cw_store *s, uint8_t cls, uint32_t no)
{
    struct open_seg *o = &s->open[cls];
    struct seg *g = &s->segs[no];

    segment_set_state(s, g, CW_SEG_OPEN);
    g->seq = s->next_seg_seq++;
    g->cls = cls;
    g->live = g->live_ckpt = g->dead_next = 0;
    g->unlogged_until = 0;
    g->flags = (uint8_t)((g->flags | CW_SEG_WRITTEN) & ~CW_SEG_PACKED);
    g->unscannable = g->postponed = false;
    g->headless = true;
    g->moving = 0;
    o->no = no;
    o->off = 4096;
    o->open = o->fresh = true;
    o->sum_len = o->n_batches = 0;
    store_kick(s); /* others are to be written ahead */
}

void
segment_resume(struct cw_store *s, uint8_t cls, uint32_t no, uint32_t off)
{
    struct open_seg *o = &s->open[cls];

    cw_assert(!o->open && s->segs[no].state == CW_SEG_SEALED && s->segs[no].cls == cls);
    segment_set_state(s, &s->segs[no], CW_SEG_OPEN);
    o->no = no;
    o->off = off;
    o->open = true;
    o->fresh = false;
    o->sum_len = o->n_batches = 0;
}

bool
segment_room(struct cw_store *s, uint8_t cls, uint32_t batch_bytes, uint32_t used,
             uint32_t keep_free)
{
    struct open_seg *o = &s->open[cls];
    const struct seg_list *from = &s->index.free;
    uint32_t no;

    if (o->open && open_fits(s, o, batch_bytes, used))
        return true;
    /* a recovery without a free one does without the older checkpoint */
    if (s->state == STORE_OPENING && s->n_state[CW_SEG_FREE] == 0)
        from = &s->index.soon_free;
    if (from->n <= keep_free || !segment_find(s, from, &no))
        return false;
    segment_seal(s, cls, true);
    segment_open(s, cls, no);
    return true;
}

/* ---- headers ---- */

static uint64_t
uuid_lo(const uint8_t b[16])
{
    uint64_t lo;

    memcpy(&lo, b + 8, 8);
    return lo;
}

void
segment_fill_hdr(struct cw_store *s, uint8_t cls, struct cw_seg_hdr *h, uint64_t batch_seq)
{
    const struct open_seg *o = &s->open[cls];

    memset(h, 0, sizeof(*h));
    h->magic = CW_SEG_MAGIC;
    h->disk_uuid_lo = uuid_lo(s->sb.disk_uuid);
    h->format_id = s->sb.format_id;
    h->seg_no = o->no;
    h->cls = cls;
    h->seg_seq = s->segs[o->no].seq;
    h->prev_open_seg_seq = o->prev_seq;
    h->created_batch_seq = batch_seq;
    h->csum = cw_hash(h, offsetof(struct cw_seg_hdr, csum));
}

bool
segment_hdr_valid(const struct cw_store *s, const struct cw_seg_hdr *h, uint32_t no)
{
    return cw_inspect_seg_hdr(&s->sb, h, no) == NULL;
}
