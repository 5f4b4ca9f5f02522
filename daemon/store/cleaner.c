/* store/cleaner.c - wins free segments back: a sealed segment's survivors move to COLD or WARM.
 *
 *   IDLE --space low--> SCAN (records of the victim) --> CHECK (against the map, page by page,
 *   sorted by shard and block) --> READ --> WRITE (GC_MOVE, by compare-and-swap) --> CHECK ...
 *
 * On behalf of the packer (packer.c) only what gets smaller is moved. META is not its business
 * (mover.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/codec/hash.h"
#include "daemon/store/store-internal.h"

/* small against a segment, whose last batch leaves a gap; 63 records of one block fill one header
 */
#define LOAD_BLOCKS 63u

#define LOAD_PIECES_MAX 255u /* blocks of packed places: a buffer of 1 MiB */

enum cleaner_state { CLEAN_IDLE, CLEAN_SCAN, CLEAN_CHECK, CLEAN_READ, CLEAN_WRITE };

struct survivor {
    uint64_t layer, lba, csum, loc; /* layer: of the record; its family may refer to the place */
};

struct cleaner {
    struct cw_store *s;
    enum cleaner_state state;
    bool packs, unpacked; /* for the packer; and something was left for lack of memory */
    uint32_t victim;
    uint32_t live; /* of the victim at first */
    struct scan scan;
    struct survivor *v; /* candidates of the victim, then checked one by one */
    uint32_t n, cap, at;
    uint32_t found;  /* of them alive */
    uint32_t n_warm; /* put aside at the beginning of v, for the second pass */
    uint8_t cls;     /* where this pass moves to */
    struct page_waiter w;
    bool waiting;
    struct survivor load[LOAD_BLOCKS];
    uint32_t n_load, n_pages;
    struct store_run runs[LOAD_BLOCKS];
    uint64_t bad[1 + LOAD_BLOCKS / 64];
    struct extent ext[LOAD_BLOCKS];
    uint32_t n_ext, n_pieces;
    uint64_t packed_bad[LOAD_PIECES_MAX / 64 + 1];
    struct store_fetch fetch;
    struct cw_buf *buf, *packed;
    struct comp_pack pack;
    uint32_t written; /* of load */
    uint32_t tickets_out;
    struct cw_store_ticket ticket;
};

static void cleaner_step(struct cleaner *c);
static void victim_on_scan(struct scan *sc);

bool
cleaner_busy(const struct cw_store *s)
{
    return s->cleaner != NULL && s->cleaner->state != CLEAN_IDLE;
}

bool
cleaner_packs(const struct cw_store *s)
{
    return cleaner_busy(s) && s->cleaner->packs;
}

uint64_t
cleaner_gain(const struct cw_store *s)
{
    const struct cleaner *c = s->cleaner;
    const struct seg *g;

    if (c == NULL || c->state == CLEAN_IDLE || c->packs)
        return 0;
    g = &s->segs[c->victim];
    if (g->live == 0 || g->live >= c->live)
        return 0;
    return (uint64_t)(c->live - g->live) * (s->seg_bytes / CW_BLOCK_SIZE) / c->live;
}

/* Held while it is looked at: neither freed nor reused, so that what was read of it stays true. */
static void
cleaner_take(struct cleaner *c, uint32_t victim)
{
    c->victim = victim;
    c->live = c->s->segs[victim].live;
    c->s->segs[victim].read_pins++;
    c->state = CLEAN_SCAN;
    memset(&c->scan, 0, sizeof(c->scan));
    c->scan.done = victim_on_scan;
    scan_start(c->s, &c->scan, victim);
}

static void
load_drop_bufs(struct cleaner *c)
{
    cw_buf_unref(c->buf);
    cw_buf_unref(c->packed);
    c->buf = c->packed = NULL;
}

static void
cleaner_idle(struct cleaner *c)
{
    if (c->state != CLEAN_IDLE)
        c->s->segs[c->victim].read_pins--;
    c->state = CLEAN_IDLE;
    c->packs = c->unpacked = false;
    scan_fini(&c->scan);
    free(c->v);
    c->v = NULL;
    c->n = c->cap = c->at = 0;
    load_drop_bufs(c);
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
victim_take_record(struct cleaner *c, const struct scan_batch *b, const struct rec_view *v)
{
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

    for (uint32_t i = 0; i < sc->n; i++) {
        const struct scan_batch *b = &sc->b[i];
        const uint8_t *at = b->bytes + sizeof(b->h), *end = b->bytes + b->used;
        struct rec_view v;

        for (uint32_t k = 0; k < b->h.nrec; k++) {
            if (!record_parse(at, end, b->h.payload_bytes, &v))
                break;
            victim_take_record(c, b, &v);
            at = v.next;
        }
    }
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

        if ((l->sh->gone && l->n_children == 0) || !map_has_page(l, chunk))
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

static bool
is_packed(const struct survivor *v)
{
    return cw_loc_kind(v->loc) == CW_MAP_COMP;
}

/* The place that the last of the load was read from, if this one lies there too. */
static struct extent *
load_extent(struct cleaner *c, const struct survivor *v)
{
    struct extent *last = c->n_ext == 0 ? NULL : &c->ext[c->n_ext - 1];

    return last != NULL && last->first + last->n == c->n_load &&
                   cw_loc_extent(c->load[last->first].loc) == cw_loc_extent(v->loc)
               ? last
               : NULL;
}

static bool
load_is_full(struct cleaner *c, const struct survivor *v)
{
    const struct survivor *last = c->n_load == 0 ? NULL : &c->load[c->n_load - 1];
    bool other = last == NULL || last->layer != v->layer ||
                 last->lba / CW_CHUNK_BLOCKS != v->lba / CW_CHUNK_BLOCKS;

    if (is_packed(v) && load_extent(c, v) == NULL &&
        c->n_pieces + EXTENT_BLOCKS_MAX > LOAD_PIECES_MAX)
        return true;
    return c->n_load == LOAD_BLOCKS ||
           (other && c->n_pages + 1 > c->s->map_budget / sizeof(struct cw_map_page) / 8);
}

static void
load_add(struct cleaner *c, const struct survivor *v)
{
    const struct survivor *last = c->n_load == 0 ? NULL : &c->load[c->n_load - 1];

    if (last == NULL || last->layer != v->layer ||
        last->lba / CW_CHUNK_BLOCKS != v->lba / CW_CHUNK_BLOCKS)
        c->n_pages++;
    if (is_packed(v)) {
        struct extent *e = load_extent(c, v);

        if (e != NULL) {
            e->n++;
        } else {
            c->ext[c->n_ext] = extent_make(c->s, v->loc, c->n_load, c->n_pieces);
            c->n_pieces += c->ext[c->n_ext++].n_pieces;
        }
    }
    c->load[c->n_load++] = *v;
    c->found++;
}

static void load_on_fetched(struct store_fetch *f);
static void load_on_unpacked(struct store_fetch *f);

static bool
load_get_bufs(struct cleaner *c)
{
    struct cw_store *s = c->s;

    c->buf = cw_buf_get(s->pool, (size_t)c->n_load * CW_BLOCK_SIZE);
    if (c->buf != NULL && c->n_pieces > 0)
        c->packed = cw_buf_get(s->pool, (size_t)c->n_pieces * CW_BLOCK_SIZE);
    if (c->buf != NULL && (c->n_pieces == 0 || c->packed != NULL))
        return true;
    load_drop_bufs(c);
    return false;
}

/* Runs of plain blocks. */
static uint32_t
load_runs(struct cleaner *c)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < c->n_load; i++) {
        struct store_run *last = n == 0 ? NULL : &c->runs[n - 1];
        uint64_t off = loc_off(c->s, c->load[i].loc);

        if (is_packed(&c->load[i]))
            continue;
        if (last != NULL && last->first + last->n_blocks == i &&
            last->off + (uint64_t)last->n_blocks * CW_BLOCK_SIZE == off) {
            last->n_blocks++;
            continue;
        }
        c->runs[n++] = (struct store_run){
            .off = off,
            .to = c->buf->data + (size_t)i * CW_BLOCK_SIZE,
            .n_blocks = 1,
            .first = i,
        };
    }
    return n;
}

static void
load_tell_bad(struct cleaner *c, const struct survivor *v)
{
    uint32_t chunk = (uint32_t)(v->lba / CW_CHUNK_BLOCKS);
    const uint64_t one[4] = { 1 }, *counted = &v->loc; /* it is one place */

    for (struct layer *l = NULL; (l = layer_next(c->s, v->layer, l)) != NULL;) {
        const struct page *p = map_page_resident(l, chunk);

        if (p == NULL || cw_loc_place(p->data->e[v->lba % CW_CHUNK_BLOCKS].loc) != v->loc)
            continue;
        bad_layer(l, v->lba, 1, one, counted);
        counted = NULL;
    }
}

static void
load_fetch(struct cleaner *c, uint32_t n, uint64_t *bad, void (*done)(struct store_fetch *))
{
    c->fetch.runs = c->runs;
    c->fetch.n_runs = n;
    c->fetch.bad = bad;
    c->fetch.done = done;
    store_fetch_start(c->s, &c->fetch);
}

static void
load_read_packed(struct cleaner *c)
{
    for (uint32_t i = 0; i < c->n_ext; i++)
        c->runs[i] = extent_run(c->s, &c->ext[i], c->load[c->ext[i].first].loc, c->packed->data);
    memset(c->packed_bad, 0, sizeof(c->packed_bad));
    load_fetch(c, c->n_ext, c->packed_bad, load_on_unpacked);
}

static void
load_read(struct cleaner *c)
{
    uint32_t n;

    if (!load_get_bufs(c)) {
        store_kick_later(c->s);
        return;
    }
    n = load_runs(c);
    memset(c->bad, 0, sizeof(c->bad));
    c->s->segs[c->victim].read_pins++;
    c->state = CLEAN_READ;
    if (n > 0)
        load_fetch(c, n, c->bad, load_on_fetched);
    else
        load_read_packed(c);
}

/* The volume's policy. */
static bool
wants_pack(const struct cleaner *c, const struct survivor *v)
{
    const struct layer *l = layer_next(c->s, v->layer, NULL);

    return l != NULL && l->sh->info.rec.compression != CW_COMPRESSION_OFF;
}

/* How many of the load from i on make one record: neighbours in one chunk, all good or all bad. */
static uint32_t
load_run(const struct cleaner *c, uint32_t i)
{
    uint32_t n = 1;

    while (i + n < c->n_load && c->load[i + n].layer == c->load[i].layer &&
           c->load[i + n].lba == c->load[i].lba + n &&
           (c->load[i].lba + n) % CW_CHUNK_BLOCKS != 0 &&
           cw_bit_get(c->bad, i + n) == cw_bit_get(c->bad, i))
        n++;
    return n;
}

/* What does not get smaller is left where it is. */
static void
load_keep_packable(struct cleaner *c)
{
    struct cw_buf *to = cw_buf_get(c->s->pool, (size_t)c->n_load * CW_BLOCK_SIZE);
    uint32_t kept = 0;

    c->unpacked = c->unpacked || to == NULL;
    for (uint32_t i = 0, n; to != NULL && i < c->n_load; i += n) {
        uint8_t *data = c->buf->data + (size_t)i * CW_BLOCK_SIZE;

        n = load_run(c, i);
        c->pack.to = to->data;
        c->pack.n_runs = c->pack.n_blocks = c->pack.sectors = 0;
        if (n > 1 && !cw_bit_get(c->bad, i))
            comp_pack_blocks(c->s, &c->pack, c->load[i].lba, data, n);
        if (comp_pack_blocks_out(&c->pack) == 0)
            continue;
        memmove(&c->load[kept], &c->load[i], n * sizeof(c->load[0]));
        memmove(c->buf->data + (size_t)kept * CW_BLOCK_SIZE, data, n * CW_BLOCK_SIZE);
        kept += n;
    }
    cw_buf_unref(to);
    memset(c->bad, 0, sizeof(c->bad)); /* the bad ones were told of */
    c->n_load = kept;
}

static void
load_drop(struct cleaner *c)
{
    load_drop_bufs(c);
    c->n_load = c->n_pages = c->n_ext = c->n_pieces = 0;
    c->state = CLEAN_CHECK;
}

static void
load_verify(struct cleaner *c)
{
    c->s->segs[c->victim].read_pins--;
    for (uint32_t i = 0; i < c->n_load; i++) {
        if (!cw_bit_get(c->bad, i) &&
            cw_hash_block(c->buf->data + (size_t)i * CW_BLOCK_SIZE) == c->load[i].csum)
            continue;
        cw_bit_set(c->bad, i);
        c->s->stats.csum_errors++;
        load_tell_bad(c, &c->load[i]);
    }
    c->written = 0;
    c->state = CLEAN_WRITE;
    if (c->packs)
        load_keep_packable(c);
    if (c->n_load == 0)
        load_drop(c);
    cleaner_step(c);
}

static void
load_on_fetched(struct store_fetch *f)
{
    struct cleaner *c = cw_container_of(f, struct cleaner, fetch);

    if (c->n_ext > 0)
        load_read_packed(c);
    else
        load_verify(c);
}

static void
load_on_unpacked(struct store_fetch *f)
{
    struct cleaner *c = cw_container_of(f, struct cleaner, fetch);

    for (uint32_t i = 0; i < c->n_ext; i++) {
        const struct extent *e = &c->ext[i];
        const uint8_t *plain =
            extent_plain(c->s, e, c->load[e->first].loc, c->packed->data, c->packed_bad);

        for (uint32_t k = e->first; k < e->first + e->n; k++) {
            if (plain == NULL)
                cw_bit_set(c->bad, k);
            else
                memcpy(c->buf->data + (size_t)k * CW_BLOCK_SIZE,
                       plain + (size_t)cw_loc_idx(c->load[k].loc) * CW_BLOCK_SIZE, CW_BLOCK_SIZE);
        }
    }
    load_verify(c);
}

/* The volume's policy; 0: stays plain. Blocks of payload when packed at the end of b's own buffer.
 */
static uint32_t
load_pack(struct cleaner *c, struct batch *b, uint32_t i, uint32_t n)
{
    if (n < 2 || !wants_pack(c, &c->load[i]))
        return 0;
    c->pack.to = batch_own_at(b);
    c->pack.n_runs = c->pack.n_blocks = c->pack.sectors = 0;
    comp_pack_blocks(c->s, &c->pack, c->load[i].lba, c->buf->data + (size_t)i * CW_BLOCK_SIZE, n);
    return comp_pack_end(c->s, &c->pack);
}

static bool
load_put(struct cleaner *c, uint32_t i, uint32_t n)
{
    struct cw_store *s = c->s;
    bool bad = cw_bit_get(c->bad, i);
    uint64_t csums[LOAD_BLOCKS];
    uint8_t body[LOAD_BLOCKS * (8 + sizeof(struct cw_rec_run))];
    struct rec_out r = {
        .d = { .type = bad ? CW_REC_BADBLK : CW_REC_GC_MOVE,
               .nblk = n,
               .clen = n * 8,
               .layer = c->load[i].layer & CW_LAYER_FAMILY,
               .lba = c->load[i].lba },
        .csums = csums,
        .n_csums = n,
        .body = body,
    };
    uint32_t n_out = bad ? 0 : n, packed;
    struct batch *b = batch_room(
        s, c->cls, batch_rec_len(&r) + LOAD_BLOCKS * sizeof(struct cw_rec_run), n_out, 2);

    if (b == NULL || !batch_reserve(s, b, n_out))
        return false;
    for (uint32_t k = 0; k < n; k++) {
        csums[k] = c->load[i + k].csum;
        memcpy(body + (size_t)k * 8, &c->load[i + k].loc, 8);
    }
    r.d.payload_off = b->payload_bytes / CW_SECTOR;
    packed = bad ? 0 : load_pack(c, b, i, n);
    if (packed > 0) {
        r.d.comp = 1;
        memcpy(body + r.d.clen, c->pack.runs, c->pack.n_runs * sizeof(c->pack.runs[0]));
        r.d.clen += c->pack.n_runs * (uint32_t)sizeof(c->pack.runs[0]);
        batch_payload_own(b, packed);
    } else if (!bad) {
        batch_payload(b, c->buf->data + (size_t)i * CW_BLOCK_SIZE, n, NULL);
    }
    s->stats.bytes_cleaned += (uint64_t)(packed > 0 ? packed : n_out) * CW_BLOCK_SIZE;
    batch_add(b, &r);
    c->written = i + n;
    if (c->written == c->n_load)
        batch_ticket(s, b, &c->ticket);
    return true;
}

static void
load_on_written(struct cw_store_ticket *t, int res)
{
    struct cleaner *c = cw_container_of(t, struct cleaner, ticket);

    c->tickets_out = 0;
    load_drop(c);
    if (res != 0 || c->s->state != STORE_OPEN) {
        cleaner_idle(c);
        store_close_step(c->s);
        return;
    }
    cleaner_step(c);
}

/* ---- steps ---- */

static void
victim_done(struct cleaner *c)
{
    struct seg *g = &c->s->segs[c->victim];

    if (c->packs) {
        g->flags |= c->unpacked ? 0 : CW_SEG_PACKED;
    } else if (c->scan.lost > 0 || c->n == 0) {
        g->unscannable = true;
        store_log(c->s, CW_LOG_WARNING, "segment %u cannot be read as a whole, kept", c->victim);
    } else if (c->found == 0 && c->s->n_gone == 0) {
        /* all its records were looked at and none is referred to: the count was too high */
        segment_live_sectors(c->s, cw_loc_make(c->victim, 0, 0, CW_MAP_RAW), -(int32_t)g->live);
    } else if (c->found == 0) {
        g->unscannable = true; /* only what dies by itself; looked at again after a restart */
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
        if (c->packs && (alive == ALIVE_WARM || is_packed(v) || !wants_pack(c, v)))
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

static void
cleaner_write(struct cleaner *c)
{
    while (c->written < c->n_load) {
        if (!load_put(c, c->written, load_run(c, c->written))) {
            batch_submit_class(c->s, c->cls, true);
            store_kick_later(c->s);
            return;
        }
    }
    if (c->tickets_out == 0) {
        c->tickets_out = 1;
        batch_submit_class(c->s, c->cls, true);
    }
}

/* Between two loads: only if it is wanted yet. The victim waits, or is given up for a better one.
 */
static bool
cleaner_goes_on(struct cleaner *c)
{
    bool space_first = pace_wants_cleaning(c->s);

    if (!c->packs)
        return space_first || c->s->segs[c->victim].live == 0;
    if (space_first)
        cleaner_idle(c);
    return !space_first && packer_may_load(c->s);
}

static void
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
        cleaner_write(c);
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

static struct cleaner *
cleaner_get(struct cw_store *s)
{
    struct cleaner *c = s->cleaner;

    if (c == NULL) {
        c = s->cleaner = store_alloc(sizeof(*c));
        c->s = s;
        c->w.fn = cleaner_on_page;
        c->ticket.done = load_on_written;
    }
    return c;
}

void
cleaner_pack(struct cw_store *s, uint32_t no)
{
    cw_assert(!cleaner_busy(s));
    cleaner_get(s)->packs = true;
    cleaner_take(s->cleaner, no);
}

void
cleaner_kick(struct cw_store *s)
{
    uint32_t victim;

    if (cleaner_busy(s))
        cleaner_step(s->cleaner);
    if (!cleaner_busy(s) && s->state == STORE_OPEN && !s->stats.failed && pace_wants_cleaning(s) &&
        segindex_victim(s, pace_is_low(s), &victim))
        cleaner_take(cleaner_get(s), victim);
}

void
cleaner_free(struct cw_store *s)
{
    if (s->cleaner == NULL)
        return;
    cleaner_idle(s->cleaner);
    free(s->cleaner);
    s->cleaner = NULL;
}
