/* store/cleaner.c - wins free segments back: a sealed segment's survivors move to COLD or WARM.
 *
 *   IDLE --space low--> SCAN (records of the victim) --> CHECK (against the map, page by page,
 *   sorted by shard and block) --> READ --> WRITE (GC_MOVE, by compare-and-swap) --> CHECK ...
 *
 * On behalf of the packer (packer.c) only what gets smaller is moved. META is not its business
 * (mover.c).
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/store/cleaner.h"

static void victim_on_scan(struct scan *sc);

/* Its victim waits until more of it is wanted. */
static bool
cleaner_waits(const struct cleaner *c)
{
    return c->state == CLEAN_CHECK && !c->waiting && c->n_load == 0;
}

static uint32_t
cleaners_at_work(const struct cw_store *s)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->n_cleaners; i++)
        n += s->cleaners[i].state != CLEAN_IDLE && !cleaner_waits(&s->cleaners[i]);
    return n;
}

bool
cleaner_busy(const struct cw_store *s)
{
    for (uint32_t i = 0; i < s->n_cleaners; i++) {
        if (s->cleaners[i].state != CLEAN_IDLE)
            return true;
    }
    return false;
}

bool
cleaner_packs(const struct cw_store *s)
{
    return s->n_cleaners > 0 && s->cleaners->packs;
}

static uint64_t
victim_gain(const struct cleaner *c)
{
    const struct seg *g = &c->s->segs[c->victim];

    if (c->state == CLEAN_IDLE || c->packs || g->live == 0 || g->live >= c->live)
        return 0;
    return (uint64_t)(c->live - g->live) * (c->s->seg_bytes / CW_BLOCK_SIZE) / c->live;
}

uint64_t
cleaner_gain(const struct cw_store *s)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < s->n_cleaners; i++)
        n += victim_gain(&s->cleaners[i]);
    return n;
}

/* Held while it is looked at: neither freed nor reused, so that what was read of it stays true. */
static void
cleaner_take(struct cleaner *c, uint32_t victim)
{
    c->victim = victim;
    c->live = c->s->segs[victim].live;
    c->s->segs[victim].io_pins++;
    c->s->segs[victim].is_victim = true;
    c->state = CLEAN_SCAN;
    memset(&c->scan, 0, sizeof(c->scan));
    c->scan.done = victim_on_scan;
    scan_start(c->s, &c->scan, victim);
}

void
cleaner_idle(struct cleaner *c)
{
    if (c->state != CLEAN_IDLE) {
        c->s->segs[c->victim].is_victim = false;
        segment_unpin(c->s, c->victim);
    }
    c->packs = c->unpacked = false;
    scan_fini(&c->scan);
    free(c->v);
    c->v = NULL;
    c->n = c->cap = c->at = 0;
    load_drop(c);
    c->state = CLEAN_IDLE;
}

/* ---- the victim ---- */

static void
survivor_add(struct cleaner *c, const struct rec_view *v, uint32_t i, uint64_t lba, uint64_t loc)
{
    if (c->n == c->cap) {
        c->cap = c->cap == 0 ? 1024 : c->cap * 2;
        c->v = realloc(c->v, c->cap * sizeof(*c->v));
        cw_assert(c->v != NULL);
    }
    c->v[c->n++] = (struct survivor){
        .layer = v->d.layer,
        .lba = lba,
        .csum = v->csums[i],
        .loc = loc,
    };
}

static void
victim_take_record(void *user, const struct scan_batch *b, const struct rec_view *v)
{
    struct cleaner *c = user;
    struct rec_places places = record_places(v, b->seg, b->off + b->h.hdr_bytes);
    struct cw_rec_chunk_set set;
    uint32_t bit = 0;

    if (v->n_payload == 0)
        return;
    if (v->d.type == CW_REC_CHUNK_CURRENT)
        memcpy(&set, v->body, sizeof(set));
    for (uint32_t i = 0; i < v->n_csums; i++) {
        uint64_t lba = v->d.lba + i;

        if (v->d.type == CW_REC_CHUNK_CURRENT) {
            while (bit < CW_CHUNK_BLOCKS && !cw_bit_get(set.set, bit))
                bit++;
            lba = v->d.lba + bit++;
        }
        if (!record_left_out(v, i))
            survivor_add(c, v, i, lba, record_place_next(&places));
    }
}

static int
survivor_order(const void *a, const void *b)
{
    const struct survivor *x = a, *y = b;

    if (x->layer != y->layer)
        return x->layer < y->layer ? -1 : 1;
    return x->lba < y->lba ? -1 : x->lba > y->lba;
}

static void
victim_on_scan(struct scan *sc)
{
    struct cleaner *c = cw_container_of(sc, struct cleaner, scan);

    scan_each_record(sc, victim_take_record, c);
    if (c->n > 0)
        qsort(c->v, c->n, sizeof(*c->v), survivor_order);
    scan_fini(sc);
    c->at = c->found = c->n_load = c->n_pages = c->n_ext = c->n_pieces = c->n_warm = 0;
    c->cls = CW_SEG_COLD;
    c->state = CLEAN_CHECK;
    cleaner_step(c);
}

/* ---- data ---- */

enum alive { DEAD, ALIVE, ALIVE_WARM, WAITS_FOR_PAGE };

/* Does any layer show it? */
static enum alive
data_check(struct cleaner *c, const struct survivor *v)
{
    uint32_t chunk = (uint32_t)(v->lba / CW_CHUNK_BLOCKS);

    if (v->lba >= CW_SHARD_BLOCKS)
        return DEAD;
    for (struct layer *l = NULL; (l = layer_next(c->s, v->layer, l)) != NULL;) {
        const struct page *p;
        uint64_t loc;

        if (layer_is_given_back(l) || !map_has_page(l, chunk))
            continue;
        p = map_page_get(l, chunk, &c->w);
        if (p == NULL) {
            c->waiting = true;
            return WAITS_FOR_PAGE;
        }
        loc = p->data->e[v->lba % CW_CHUNK_BLOCKS].loc;
        if (cw_loc_place(loc) == v->loc)
            return (loc & CW_LOC_HEAT) > 0 ? ALIVE_WARM : ALIVE;
    }
    return DEAD;
}

/* ---- steps ---- */

static void
victim_done(struct cleaner *c)
{
    struct seg *g = &c->s->segs[c->victim];

    if (c->packs) {
        g->flags |= c->unpacked ? 0 : CW_SEG_PACKED;
    } else if (c->scan.lost > 0 || c->n == 0 || (c->found == 0 && !c->scan.from_summary)) {
        /* without a summary, a header that has rotted hides its records */
        g->unscannable = true;
        store_log(c->s, CW_LOG_WARNING, "segment %u cannot be read as a whole, kept", c->victim);
    } else if (c->found == 0 && layers_are_given_back(c->s)) {
        g->postponed = true; /* what is counted may be theirs */
        g->layers_ended = c->s->layers_ended;
    } else if (c->found == 0) {
        /* all its records were looked at and none is referred to: the count was too high */
        g->unlogged_until = c->s->ckpt.number;
        segment_live_sectors(c->s, cw_loc_make(c->victim, 0, 0, CW_MAP_RAW), -(int32_t)g->live);
    } else if (g->live >= c->live) {
        /* only what dies by itself, or what cannot be moved; looked at again after a restart */
        g->unscannable = true;
    }
    cleaner_idle(c);
    store_kick(c->s);
}

static void
cleaner_check(struct cleaner *c)
{
    for (; c->at < c->n; c->at++) {
        const struct survivor *v = &c->v[c->at];
        enum alive alive;

        alive = data_check(c, v);
        if (alive == WAITS_FOR_PAGE)
            return;
        if (alive == DEAD)
            continue;
        if (c->packs &&
            (alive == ALIVE_WARM || survivor_is_packed(v) || !survivor_wants_pack(c, v)))
            continue;
        if (alive == ALIVE_WARM && c->cls == CW_SEG_COLD) {
            c->v[c->n_warm++] = *v;
            c->found++;
            continue;
        }
        if (load_is_full(c, v))
            break;
        load_add(c, v);
    }
    if (c->n_load > 0) {
        load_read(c);
    } else if (c->cls == CW_SEG_COLD && c->n_warm > 0) {
        c->cls = CW_SEG_WARM;
        c->n = c->n_warm;
        c->at = 0;
        cleaner_check(c);
    } else {
        victim_done(c);
    }
}

/* Between two loads: only if it is wanted yet. The victim waits, or is given up for a better one.
 */
static bool
cleaner_goes_on(struct cleaner *c)
{
    if (!c->packs)
        return cleaners_at_work(c->s) < pace_cleaners(c->s) || c->s->segs[c->victim].live == 0;
    if (!pace_wants_cleaning(c->s))
        return packer_may_load(c->s);
    cleaner_idle(c);
    return false;
}

void
cleaner_step(struct cleaner *c)
{
    struct cw_store *s = c->s;

    if (s->stats.failed || s->state != STORE_OPEN) {
        if (c->state == CLEAN_CHECK && !c->waiting)
            cleaner_idle(c);
        else if (c->state == CLEAN_WRITE && c->tickets_out == 0 && c->written < c->n_load)
            cleaner_idle(c);
        else if (c->state == CLEAN_WRITE && c->tickets_out == 0)
            batch_submit_class(s, c->cls, true);
        store_close_step(s);
        return;
    }
    switch (c->state) {
    case CLEAN_IDLE:
    case CLEAN_SCAN:
    case CLEAN_READ:
        return;
    case CLEAN_CHECK:
        if (c->waiting)
            return;
        /* pages that it makes dirty must leave room for those of others */
        if (map_is_crowded(s))
            ckpt_want(s);
        else if (c->n_load > 0 || cleaner_goes_on(c))
            cleaner_check(c);
        return;
    case CLEAN_WRITE:
        load_write(c);
        return;
    }
}

static void
cleaner_on_page(struct page_waiter *w)
{
    struct cleaner *c = cw_container_of(w, struct cleaner, w);

    c->waiting = false;
    cleaner_step(c);
}

/* One has a read or a write under way; several keep a disk busy. Each needs a victim of its own,
 * and map pages. */
void
cleaners_make(struct cw_store *s)
{
    uint64_t pages = s->map_budget / sizeof(struct cw_map_page);
    uint64_t n = cw_min_u64(s->n_segs / 64, pages / 256);

    s->n_cleaners = (uint32_t)cw_max_u64(cw_min_u64(n, STORE_CLEANERS_MAX), 1);
    s->cleaners = store_alloc(s->n_cleaners * sizeof(*s->cleaners));
    for (uint32_t i = 0; i < s->n_cleaners; i++) {
        s->cleaners[i].s = s;
        s->cleaners[i].w.fn = cleaner_on_page;
        s->cleaners[i].ticket.done = load_on_written;
    }
}

uint32_t
cleaner_batches_max(const struct cw_store *s)
{
    return 1 + s->n_cleaners;
}

void
cleaner_rest(struct cw_store *s)
{
    for (uint32_t i = 0; i < s->n_cleaners; i++) {
        if (cleaner_waits(&s->cleaners[i]) && !s->cleaners[i].packs && !pace_wants_cleaning(s))
            cleaner_idle(&s->cleaners[i]);
    }
}

void
cleaner_pack(struct cw_store *s, uint32_t no)
{
    struct cleaner *c = s->cleaners;

    cw_assert(!cleaner_busy(s));
    c->packs = true;
    cleaner_take(c, no);
}

/* Victims that wait go on before others are taken. */
void
cleaner_kick(struct cw_store *s)
{
    struct cleaner *c = s->cleaners;
    uint32_t victim;

    for (uint32_t i = 0; i < s->n_cleaners; i++) {
        if (c[i].state != CLEAN_IDLE)
            cleaner_step(&c[i]);
    }
    if (s->state != STORE_OPEN || s->stats.failed || !pace_wants_cleaning(s) || cleaner_packs(s))
        return;
    for (uint32_t i = 0; i < s->n_cleaners; i++) {
        if (c[i].state == CLEAN_IDLE && cleaners_at_work(s) < pace_cleaners(s) &&
            segindex_victim(s, pace_is_low(s), &victim))
            cleaner_take(&c[i], victim);
    }
}

void
cleaner_free(struct cw_store *s)
{
    for (uint32_t i = 0; i < s->n_cleaners; i++)
        cleaner_idle(&s->cleaners[i]);
    free(s->cleaners);
    s->cleaners = NULL;
    s->n_cleaners = 0;
}
