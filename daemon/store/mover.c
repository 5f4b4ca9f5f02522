/* store/mover.c - keeps META small: what little lives in an old segment of it moves with the next
 * checkpoint.
 *
 *   IDLE --META over its budget--> SCAN (records of the victim) --> TOUCH (page by page)
 *
 * Nothing is copied: the live pages and tables of the victim are made dirty. It is not the cleaner
 * that does this, for the cleaner may be waiting for the very segments that META holds: a
 * checkpoint needs no segment but META's own.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/store/store-internal.h"

enum mover_state { MOVER_IDLE, MOVER_SCAN, MOVER_TOUCH };

struct moved {
    uint64_t layer, lba, loc; /* lba: the chunk of a page, the index of a table */
    bool is_tab;
};

struct mover {
    struct cw_store *s;
    enum mover_state state;
    uint32_t victim;
    struct scan scan;
    struct moved *v;
    uint32_t n, cap, at;
    bool found, lost; /* something alive; a place that could not be read */
    bool waiting;
    struct page_waiter w;
};

static void mover_step(struct mover *m);

bool
mover_busy(const struct cw_store *s)
{
    return s->mover != NULL && s->mover->state != MOVER_IDLE;
}

static void
mover_idle(struct mover *m)
{
    if (m->state != MOVER_IDLE)
        segment_unpin(m->s, m->victim);
    m->state = MOVER_IDLE;
    scan_fini(&m->scan);
    free(m->v);
    m->v = NULL;
    m->n = m->cap = m->at = 0;
    m->found = m->lost = false;
}

/* ---- what lies in the victim ---- */

static void
moved_add(void *user, const struct scan_batch *b, const struct rec_view *v)
{
    struct mover *m = user;
    struct rec_places places = record_places(v, b->seg, b->off + b->h.hdr_bytes);

    if (v->d.type != CW_REC_MAPPAGE && v->d.type != CW_REC_TABPAGE)
        return;
    if (v->n_payload != 1)
        return;
    if (m->n == m->cap) {
        m->cap = m->cap == 0 ? 256 : m->cap * 2;
        m->v = realloc(m->v, m->cap * sizeof(*m->v));
        cw_assert(m->v != NULL);
    }
    m->v[m->n++] = (struct moved){
        .layer = v->d.layer,
        .lba = v->d.lba,
        .loc = record_place_next(&places),
        .is_tab = v->d.type == CW_REC_TABPAGE,
    };
}

static int
moved_order(const void *a, const void *b)
{
    const struct moved *x = a, *y = b;

    if (x->layer != y->layer)
        return x->layer < y->layer ? -1 : 1;
    return x->lba < y->lba ? -1 : x->lba > y->lba;
}

static void
mover_on_scan(struct scan *sc)
{
    struct mover *m = cw_container_of(sc, struct mover, scan);

    scan_each_record(sc, moved_add, m);
    if (m->n > 0)
        qsort(m->v, m->n, sizeof(*m->v), moved_order);
    m->lost = sc->lost > 0;
    scan_fini(sc);
    m->state = MOVER_TOUCH;
    mover_step(m);
}

/* ---- touching it ---- */

static void
touch_tab(struct mover *m, const struct layer *l, const struct moved *v)
{
    if (v->lba >= CW_SHARD_TABS || l->tabs[v->lba] == NULL || l->tabs[v->lba]->loc != v->loc)
        return;
    m->found = true;
    tab_dirty(m->s, l->tabs[v->lba]);
}

/* False: waits for the page. One that the running checkpoint writes moves anyway. */
static bool
touch_page(struct mover *m, struct layer *l, const struct moved *v)
{
    struct cw_chunk_entry *e = v->lba < CW_SHARD_CHUNKS ? chunk_find(l, (uint32_t)v->lba) : NULL;
    struct page *p;

    if (e == NULL || e->page_loc != v->loc)
        return true;
    p = map_page_get(l, (uint32_t)v->lba, &m->w);
    if (p == NULL) {
        m->waiting = true;
        return false;
    }
    m->found = true;
    if (!p->in_ckpt && !(e->flags & CHUNK_WRITING))
        map_page_dirty(m->s, p);
    return true;
}

/* In whichever layer of the family it is: a page may have become another's since. */
static bool
mover_touch(struct mover *m, const struct moved *v)
{
    for (struct layer *l = NULL; (l = layer_next(m->s, v->layer, l)) != NULL;) {
        if (v->is_tab)
            touch_tab(m, l, v);
        else if (!touch_page(m, l, v))
            return false;
    }
    return true;
}

/* ---- steps ---- */

static void
victim_done(struct mover *m)
{
    struct cw_store *s = m->s;
    struct seg *g = &s->segs[m->victim];

    if (m->lost) {
        g->unscannable = true;
        store_log(s, CW_LOG_WARNING, "segment %u cannot be read as a whole, kept", m->victim);
    } else if (m->found) {
        segment_set_moving(s, m->victim);
    } else {
        g->unscannable = true; /* a root and its parts: they die by themselves */
    }
    mover_idle(m);
    store_kick(s);
}

static void
mover_step(struct mover *m)
{
    struct cw_store *s = m->s;

    if (s->stats.failed || s->state != STORE_OPEN) {
        if (m->state == MOVER_TOUCH && !m->waiting)
            mover_idle(m);
        store_close_step(s);
        return;
    }
    if (m->state != MOVER_TOUCH || m->waiting)
        return;
    for (; m->at < m->n; m->at++) {
        if (map_is_crowded(s)) {
            ckpt_want(s);
            return;
        }
        if (!mover_touch(m, &m->v[m->at]))
            return;
    }
    victim_done(m);
}

static void
mover_on_page(struct page_waiter *w)
{
    struct mover *m = cw_container_of(w, struct mover, w);

    m->waiting = false;
    mover_step(m);
}

/* Held while it is looked at: neither freed nor reused. */
static void
mover_take(struct cw_store *s, uint32_t victim)
{
    struct mover *m = s->mover;

    if (m == NULL) {
        m = s->mover = store_alloc(sizeof(*m));
        m->s = s;
        m->w.fn = mover_on_page;
    }
    m->victim = victim;
    s->segs[victim].io_pins++;
    m->state = MOVER_SCAN;
    memset(&m->scan, 0, sizeof(m->scan));
    m->scan.done = mover_on_scan;
    scan_start(s, &m->scan, victim);
}

void
mover_kick(struct cw_store *s)
{
    uint32_t victim;

    if (mover_busy(s))
        mover_step(s->mover);
    if (!mover_busy(s) && s->state == STORE_OPEN && !s->stats.failed && pace_wants_moving(s) &&
        segindex_meta_victim(s, &victim))
        mover_take(s, victim);
}

void
mover_free(struct cw_store *s)
{
    if (s->mover == NULL)
        return;
    mover_idle(s->mover);
    free(s->mover);
    s->mover = NULL;
}
