/* store/apply.c - what a durable record does to the state: the same for live batches and replay.
 *
 * A record waits until the map pages that it changes are in RAM; nothing overtakes it. ZERO and
 * TRIM of many chunks go chunk by chunk, and reads that overlap them wait until they are through.
 */
#include <string.h>

#include "common/base/mutation.h"
#include "common/codec/hash.h"
#include "daemon/store/store-internal.h"

static void
apply_on_page(struct page_waiter *w)
{
    struct apply *a = cw_container_of(w, struct apply, w);

    a->waiting = false;
    a->resume(a->s);
}

void
apply_begin(struct cw_store *s, struct batch *b, const uint8_t *hdr, uint32_t used, uint32_t seg,
            uint32_t off)
{
    struct apply *a = &s->apply;

    memset(a, 0, sizeof(*a));
    a->s = s;
    a->w.fn = apply_on_page;
    a->batch = b;
    a->hdr = hdr;
    memcpy(&a->h, hdr, sizeof(a->h));
    a->at = hdr + sizeof(a->h);
    a->end = hdr + used;
    a->seg = seg;
    a->off = off;
    a->active = true;
}

/* False: waits. Without a page it stays NULL in *ret. */
static bool
apply_page(struct apply *a, struct layer *l, uint32_t chunk, struct page **ret)
{
    *ret = NULL;
    if (!map_has_page(l, chunk))
        return true;
    *ret = map_page_get(l, chunk, &a->w);
    a->waiting = *ret == NULL;
    return !a->waiting;
}

/* The page that the layer showed becomes its own: entries that hold something are shared. */
static void
apply_copy_page(struct layer *l, uint32_t chunk, const struct page *from)
{
    struct page *p = map_page_make(l, chunk);

    p->pins++;
    map_page_dirty(l->s, p);
    for (uint32_t i = 0; i < CW_CHUNK_BLOCKS; i++) {
        struct cw_map_entry e = from->data->e[i];

        if (map_kind_is_mapped(cw_loc_kind(e.loc)))
            e.loc |= CW_LOC_SHARED;
        map_entry_set(p, i, e);
    }
    map_page_unpin(p);
}

/* Before a layer's chunk changes: it is the layer's own, its page (if it has one) in RAM. */
static bool
apply_own(struct apply *a, struct layer *l, uint32_t chunk, struct page **ret)
{
    struct layer *from = l;
    struct cw_chunk_entry *see, *own;
    struct page *p;

    if (chunk_is_own(l, chunk))
        return apply_page(a, l, chunk, ret);
    see = chunk_see(&from, chunk);
    if (!apply_page(a, from, chunk, &p))
        return false;
    own = chunk_change(l, chunk);
    own->state = CW_CHUNK_OWN;
    if (see != NULL)
        chunk_set_ver(l, chunk, see->gen, see->seq);
    if (p != NULL) {
        p->pins++;
        apply_copy_page(l, chunk, p);
        map_page_unpin(p);
    }
    *ret = map_page_resident(l, chunk);
    return true;
}

static uint64_t
apply_payload_loc(const struct apply *a, const struct rec_view *v)
{
    struct rec_places p = record_places(v, a->seg, a->off + a->h.hdr_bytes);

    return record_place_next(&p);
}

static struct rec_places
apply_places(const struct apply *a, const struct rec_view *v)
{
    return record_places(v, a->seg, a->off + a->h.hdr_bytes);
}

/* What becomes of the i-th chunk that the record touches. */
static enum cw_store_apply
apply_mode(const struct cw_store_shard *sh, const struct rec_view *v, uint32_t i)
{
    if (sh->info.journal)
        return CW_STORE_APPLY_KEEP; /* none of its chunks is CURRENT: they are VOID (I9) */
    if (v->d.flags & CW_RF_MODES)
        return v->body[i] == CW_STORE_DROP    ? CW_STORE_DROP
               : v->body[i] == CW_STORE_APPLY ? CW_STORE_APPLY
                                              : CW_STORE_APPLY_KEEP;
    if (v->d.flags & CW_RF_DROP)
        return CW_STORE_DROP;
    return v->d.flags & CW_RF_KEEP ? CW_STORE_APPLY_KEEP : CW_STORE_APPLY;
}

static void
apply_touch(struct cw_store *s, struct cw_store_shard *sh)
{
    if (cw_list_empty(&sh->touched) && !sh->gone)
        cw_list_push_back(&s->touched, &sh->touched);
}

/* ---- block ranges: at most two chunks, all or nothing ---- */

/* Pins the pages of the range's chunks; those without a page stay NULL. */
static bool
apply_pin_range(struct apply *a, struct layer *l, uint64_t lba, uint32_t nblk)
{
    uint32_t n = record_chunk_count(lba, nblk), first = (uint32_t)(lba / CW_CHUNK_BLOCKS);

    for (uint32_t i = 0; i < n; i++) {
        if (a->pinned[i] != NULL)
            continue;
        if (!apply_own(a, l, first + i, &a->pinned[i]))
            return false;
        if (a->pinned[i] != NULL)
            a->pinned[i]->pins++;
    }
    return true;
}

static void
apply_unpin(struct apply *a)
{
    for (uint32_t i = 0; i < 2; i++) {
        if (a->pinned[i] != NULL)
            map_page_unpin(a->pinned[i]);
        a->pinned[i] = NULL;
    }
}

/* The page to change entries of, made if there was none. */
static struct page *
apply_writable(struct apply *a, struct layer *l, uint32_t i, uint32_t chunk)
{
    if (a->pinned[i] == NULL) {
        a->pinned[i] = map_page_make(l, chunk);
        a->pinned[i]->pins++;
    }
    map_page_dirty(a->s, a->pinned[i]);
    return a->pinned[i];
}

/* A journal's chunk before its first record. */
static bool
apply_is_fresh(const struct cw_store_shard *sh, uint32_t chunk)
{
    const struct cw_chunk_entry *e = chunk_find(sh->head, chunk);

    return sh->info.journal && (e == NULL || (e->gen == 0 && e->seq == 0));
}

static void
apply_all_unknown(struct cw_store_shard *sh, uint32_t chunk, struct page *p)
{
    struct cw_map_entry e = { .xxh3 = CW_HASH_UNKNOWN, .loc = cw_loc_make(0, 0, 0, CW_MAP_BAD) };

    for (uint32_t i = 0; i < CW_CHUNK_BLOCKS; i++)
        map_entry_set(p, i, e);
    chunk_set_ver(sh->head, chunk, 0, CW_VER_VOID);
}

static struct cw_map_entry
apply_entry(const struct rec_view *v, uint32_t i, struct rec_places *at)
{
    if (record_left_out(v, i))
        return (struct cw_map_entry){
            .xxh3 = CW_HASH_ZERO_BLOCK,
            .loc = cw_loc_make(0, 0, 0, CW_MAP_ZERO),
        };
    return (struct cw_map_entry){ .xxh3 = v->csums[i], .loc = record_place_next(at) };
}

/* A block that is overwritten where it was written, or where the cleaner keeps what it expects
 * back, is hot; each move, and an overwrite out of COLD, cools it down. */
static uint64_t
heat_written(const struct cw_store *s, uint64_t was)
{
    uint64_t heat = was & CW_LOC_HEAT;
    uint8_t cls;

    if (!map_kind_is_data(cw_loc_kind(was)))
        return 0;
    cls = s->segs[cw_loc_seg(was)].cls;
    if (cls != CW_SEG_HOT && cls != CW_SEG_WARM)
        return heat / 2;
    return heat < CW_LOC_HEAT ? heat + 1 : heat;
}

static uint64_t
heat_moved(uint64_t was)
{
    return (was & CW_LOC_HEAT) == 0 ? 0 : (was & CW_LOC_HEAT) - 1;
}

static bool
apply_write(struct apply *a, struct cw_store_shard *sh, const struct rec_view *v)
{
    uint32_t first = (uint32_t)(v->d.lba / CW_CHUNK_BLOCKS);
    struct rec_places places = apply_places(a, v);
    struct page *p = NULL;

    if (v->n_csums == 0)
        return true;
    if (!apply_pin_range(a, sh->head, v->d.lba, v->d.nblk))
        return false;
    for (uint32_t i = 0; i < v->d.nblk; i++) {
        uint64_t lba = v->d.lba + i;
        uint32_t chunk = (uint32_t)(lba / CW_CHUNK_BLOCKS);
        struct cw_map_entry e = apply_entry(v, i, &places);
        enum cw_store_apply mode = apply_mode(sh, v, chunk - first);

        if (mode == CW_STORE_DROP)
            continue;
        if (i == 0 || lba % CW_CHUNK_BLOCKS == 0) {
            p = apply_writable(a, sh->head, chunk - first, chunk);
            if (apply_is_fresh(sh, chunk))
                apply_all_unknown(sh, chunk, p);
            if (mode == CW_STORE_APPLY && !cw_mutated(CW_MUTATION_VER_STAYS))
                chunk_set_ver(sh->head, chunk, v->d.gen, v->d.seq);
        }
        if (map_kind_is_data(cw_loc_kind(e.loc)))
            e.loc |= heat_written(a->s, p->data->e[lba % CW_CHUNK_BLOCKS].loc);
        map_entry_set(p, (uint32_t)(lba % CW_CHUNK_BLOCKS), e);
    }
    apply_unpin(a);
    return true;
}

static bool
apply_chunk_current(struct apply *a, struct cw_store_shard *sh, const struct rec_view *v)
{
    uint32_t n = 0, chunk = (uint32_t)(v->d.lba / CW_CHUNK_BLOCKS);
    struct rec_places places = apply_places(a, v);
    struct cw_rec_chunk_set set;
    struct page *p;

    memcpy(&set, v->body, sizeof(set));
    if (!apply_pin_range(a, sh->head, v->d.lba, 1))
        return false;
    p = apply_writable(a, sh->head, 0, chunk);
    for (uint32_t i = 0; i < CW_CHUNK_BLOCKS; i++) {
        if (cw_bit_get(set.set, i)) {
            if (n < v->n_csums)
                map_entry_set(p, i, apply_entry(v, n, &places));
            n++;
        } else if (cw_bit_get(set.bad, i)) {
            map_entry_set(p, i, (struct cw_map_entry){ .loc = cw_loc_make(0, 0, 0, CW_MAP_BAD) });
        }
    }
    chunk_set_ver(sh->head, chunk, v->d.gen, v->d.seq);
    apply_unpin(a);
    return true;
}

/* ---- GC_MOVE, BADBLK, REPAIR: only where an entry still is what it was ---- */

static bool
move_is_of(const struct move *m, uint32_t i, uint64_t now)
{
    return m->was[i] != 0 && cw_loc_place(now) == m->was[i];
}

static bool
layer_inherits(const struct layer *l, const struct layer *from)
{
    while (l != NULL && l != from)
        l = l->parent;
    return l != NULL;
}

/* Parents come before their children. */
static void
move_look(struct apply *a, struct layer *l, const struct page *p, const struct rec_view *v)
{
    struct move *m = &a->move;

    for (uint32_t i = 0; i < v->d.nblk; i++) {
        uint64_t now = p->data->e[(v->d.lba + i) % CW_CHUNK_BLOCKS].loc;

        if (!move_is_of(m, i, now))
            continue;
        if (!(now & CW_LOC_SHARED))
            cw_bit_set(m->owned, i);
        else if (m->heir[i] == NULL)
            m->heir[i] = l;
        else if (!layer_inherits(l, m->heir[i]))
            cw_bit_set(m->kept, i);
    }
}

static struct cw_map_entry
move_entry(const struct rec_view *v, uint32_t i, struct rec_places *at)
{
    if (v->d.type == CW_REC_REPAIR)
        return apply_entry(v, i, at);
    return (struct cw_map_entry){
        .xxh3 = v->csums[i],
        .loc =
            v->d.type == CW_REC_GC_MOVE ? record_place_next(at) : cw_loc_make(0, 0, 0, CW_MAP_BAD),
    };
}

static void
move_in_page(struct apply *a, struct layer *l, struct page *p, const struct rec_view *v)
{
    const struct move *m = &a->move;
    struct rec_places places = apply_places(a, v);

    for (uint32_t i = 0; i < v->d.nblk; i++) {
        uint32_t at = (uint32_t)((v->d.lba + i) % CW_CHUNK_BLOCKS);
        struct cw_map_entry e = move_entry(v, i, &places);
        uint64_t now = p->data->e[at].loc, shared = now & CW_LOC_SHARED;
        bool owned = cw_bit_get(m->owned, i), kept = !owned && cw_bit_get(m->kept, i);

        if (!move_is_of(m, i, now) || (kept && l != m->shown))
            continue;
        if (kept || (!owned && m->heir[i] == l))
            shared = 0;
        if (map_kind_is_mapped(cw_loc_kind(e.loc)))
            e.loc |= shared | heat_moved(now);
        map_page_dirty(a->s, p);
        map_entry_set(p, at, e);
    }
}

/* Every layer of the family that has the chunk; after a wait it goes on where it was. */
static bool
move_each_layer(struct apply *a, const struct rec_view *v, uint32_t chunk)
{
    struct layer *l;

    while ((l = layer_next(a->s, v->d.layer, a->layer)) != NULL) {
        struct page *p;

        if (!apply_page(a, l, chunk, &p))
            return false;
        if (p != NULL && !a->move.known) {
            move_look(a, l, p, v);
        } else if (p != NULL) {
            p->pins++;
            move_in_page(a, l, p, v);
            map_page_unpin(p);
        }
        a->layer = l;
    }
    a->layer = NULL;
    return true;
}

static bool
move_in_chunk(struct apply *a, const struct rec_view *v, uint32_t chunk)
{
    if (!a->move.known && !move_each_layer(a, v, chunk))
        return false;
    a->move.known = true;
    if (!move_each_layer(a, v, chunk))
        return false;
    memset(&a->move, 0, sizeof(a->move));
    return true;
}

static bool
apply_move(struct apply *a, const struct rec_view *v)
{
    for (uint32_t i = 0; i < v->d.nblk; i++) {
        uint64_t was;

        memcpy(&was, v->body + i * 8, 8);
        a->move.was[i] = cw_loc_place(was);
    }
    return move_in_chunk(a, v, (uint32_t)(v->d.lba / CW_CHUNK_BLOCKS));
}

static bool
repair_fits(const struct cw_map_entry *e, uint64_t csum)
{
    switch (cw_loc_kind(e->loc)) {
    case CW_MAP_RAW:
    case CW_MAP_COMP:
        return e->xxh3 == csum;
    case CW_MAP_BAD: /* 0: its map page was lost, what it was is not known any more */
        return e->xxh3 == csum || e->xxh3 == 0;
    case CW_MAP_NONE:
    case CW_MAP_ZERO:
    case CW_MAP_KINDS:
        return false;
    }
    return false;
}

/* Places that the head shows are left by all who share them. A BAD block has none any more: it is
 * mended where the head sees it. */
static bool
repair_look(struct apply *a, struct cw_store_shard *sh, const struct rec_view *v, uint32_t chunk)
{
    struct rec_places places = apply_places(a, v);
    struct layer *l = sh->head;
    struct page *p;

    chunk_see(&l, chunk);
    if (!apply_page(a, l, chunk, &p))
        return false;
    a->move.shown = l;
    if (p == NULL)
        return true;
    p->pins++;
    for (uint32_t i = 0; i < v->d.nblk; i++) {
        struct cw_map_entry e = apply_entry(v, i, &places);
        uint32_t at = (uint32_t)((v->d.lba + i) % CW_CHUNK_BLOCKS);
        const struct cw_map_entry *now = &p->data->e[at];
        bool fits = repair_fits(now, v->csums[i]);

        if ((v->d.lba + i) / CW_CHUNK_BLOCKS != chunk ||
            (!fits && !cw_mutated(CW_MUTATION_REPAIR_STALE)))
            continue;
        a->n_repaired++;
        if (cw_loc_kind(now->loc) != CW_MAP_BAD && fits) {
            a->move.was[i] = cw_loc_place(now->loc);
            continue;
        }
        map_page_dirty(a->s, p);
        map_entry_set(p, at, e);
    }
    map_page_unpin(p);
    return true;
}

static void
repair_answer(struct apply *a)
{
    struct cw_list *node = cw_list_pop_front(&a->batch->repairs);
    struct cw_store_ticket *t = cw_list_entry(node, struct cw_store_ticket, link);

    cw_assert(node != NULL);
    if (t->batch != 0)
        *(uint32_t *)(uintptr_t)t->batch = a->n_repaired;
    store_answer(a->s, t, 0);
    scrub_repaired(a->s, a->n_repaired);
}

static bool
apply_repair(struct apply *a, struct cw_store_shard *sh, const struct rec_view *v)
{
    uint32_t n = record_chunk_count(v->d.lba, v->d.nblk);

    for (; a->chunk < n; a->chunk++) {
        uint32_t chunk = (uint32_t)(v->d.lba / CW_CHUNK_BLOCKS) + a->chunk;

        if (a->move.shown == NULL && !repair_look(a, sh, v, chunk))
            return false;
        if (!move_in_chunk(a, v, chunk))
            return false;
    }
    if (a->batch != NULL)
        repair_answer(a);
    a->chunk = a->n_repaired = 0;
    return true;
}

/* ---- ZERO, TRIM ---- */

static bool
apply_clear_chunk(struct apply *a, struct cw_store_shard *sh, uint32_t chunk, uint32_t from,
                  uint32_t to, enum cw_map_kind kind)
{
    struct cw_map_entry e = { 0 };
    struct page *p;

    if (!apply_own(a, sh->head, chunk, &p))
        return false;
    if (apply_is_fresh(sh, chunk) && to - from < CW_CHUNK_BLOCKS) {
        p = map_page_make(sh->head, chunk);
        map_page_dirty(a->s, p);
        apply_all_unknown(sh, chunk, p);
    } else if (apply_is_fresh(sh, chunk)) {
        chunk_set_ver(sh->head, chunk, 0, CW_VER_VOID); /* all of it is known to be zeroes */
    }
    if (p == NULL)
        return true;
    if (kind == CW_MAP_ZERO)
        e = (struct cw_map_entry){ .xxh3 = CW_HASH_ZERO_BLOCK,
                                   .loc = cw_loc_make(0, 0, 0, CW_MAP_ZERO) };
    map_page_dirty(a->s, p);
    for (uint32_t i = from; i < to; i++)
        map_entry_set(p, i, e);
    map_page_settle(p);
    return true;
}

static bool
apply_clear(struct apply *a, struct cw_store_shard *sh, const struct rec_view *v)
{
    bool forget = cw_mutated(CW_MUTATION_TRIM_FORGOTTEN) && a->batch == NULL;
    enum cw_map_kind kind = v->d.type == CW_REC_ZERO ? CW_MAP_ZERO : CW_MAP_NONE;
    uint64_t lba = v->d.lba, end = lba + v->d.nblk;
    uint32_t n = record_chunk_count(lba, v->d.nblk);

    for (; a->chunk < n; a->chunk++) {
        uint32_t chunk = (uint32_t)(lba / CW_CHUNK_BLOCKS) + a->chunk;
        uint64_t base = (uint64_t)chunk * CW_CHUNK_BLOCKS;
        uint32_t from = (uint32_t)(cw_max_u64(lba, base) - base);
        uint32_t to = (uint32_t)(cw_min_u64(end, base + CW_CHUNK_BLOCKS) - base);
        enum cw_store_apply mode = apply_mode(sh, v, a->chunk);

        if (mode == CW_STORE_DROP || forget)
            continue;
        if (!apply_clear_chunk(a, sh, chunk, from, to, kind)) {
            a->mid = sh;
            a->mid_lba = lba;
            a->mid_nblk = v->d.nblk;
            return false;
        }
        if (mode == CW_STORE_APPLY)
            chunk_set_ver(sh->head, chunk, v->d.gen, v->d.seq);
    }
    a->chunk = 0;
    a->mid = NULL;
    return true;
}

/* ---- shard state ---- */

static void
apply_stream_done(struct apply *a, struct cw_store_shard *sh, const struct rec_view *v)
{
    struct tail_entry t = {
        .e = { .seq = v->d.seq, .lba = v->d.lba, .gen = v->d.gen, .nblk = v->d.nblk },
        .batch_seq = a->h.batch_seq,
        .seg = a->seg,
        .off = a->off,
        .rec = (uint16_t)a->rec,
    };

    t.e.type = tail_type(v);
    t.e.csum0 = v->n_csums > 0 ? v->csums[0] : 0;
    /* a journal may begin with the very record that began its generation */
    if (v->d.type == CW_REC_GEN_START &&
        (sh->info.n_hist == 0 || sh->hist[sh->info.n_hist - 1].gen != v->d.gen))
        shard_hist_push(sh, v->d.gen, v->d.seq);
    sh->info.durable_gen = v->d.gen;
    sh->info.durable_seq = v->d.seq;
    tail_push(sh, t);
    if (a->batch != NULL)
        apply_touch(a->s, sh);
}

static void
apply_join(struct cw_store_shard *sh, const struct rec_view *v)
{
    memcpy(&sh->info.join_id, v->body, 8);
    sh->info.syncing = true;
    sh->info.durable_gen = v->d.gen;
    sh->info.durable_seq = v->d.seq;
    sh->info.journal = CW_JOIN_KIND(sh->info.join_id) == CW_JOIN_JOURNAL;
    shard_hist_set(sh, NULL, 0);
    if (sh->info.journal)
        shard_hist_push(sh, v->d.gen, v->d.seq);
    tail_clear(sh);
    sh->info.stable = v->d.seq;
}

/* What no log of ours says. */
static bool
layer_may_be(struct cw_store *s, uint64_t id, const struct layer *parent)
{
    return (id & CW_LAYER_FAMILY) != 0 && layer_find(s, id) == NULL &&
           (parent == NULL || (parent->snap != 0 && ((id ^ parent->id) & CW_LAYER_FAMILY) == 0));
}

static void
apply_shardrec(struct apply *a, struct cw_store_shard *sh, const struct rec_view *v)
{
    struct cw_shard_rec rec;

    if (v->d.flags & CW_RF_GONE) {
        if (sh == NULL)
            return;
        if (!sh->gone)
            shard_make_gone(sh);
        shard_gone_applied(sh);
        return;
    }
    if (!cw_shard_rec_decode(v->body, v->d.clen, &rec))
        return;
    if (sh == NULL && (v->d.flags & CW_RF_CREATE)) {
        struct cw_store_shard *old = cw_store_shard_find(a->s, rec.shard);
        struct layer *parent = v->d.lba == 0 ? NULL : layer_find(a->s, v->d.lba);

        if (!layer_may_be(a->s, v->d.layer, parent))
            return;
        if (old != NULL) { /* one whose end was not seen: cannot be, but must not stay */
            shard_make_gone(old);
            shard_gone_applied(old);
        }
        sh = shard_make(a->s, &rec, v->d.layer);
        sh->head = layer_make(sh, v->d.layer, parent, 0);
        sh->info.promised_gen = rec.gen;
        a->s->next_layer = cw_max_u64(a->s->next_layer, (v->d.layer & CW_LAYER_FAMILY) + 1);
    }
    if (sh != NULL && rec.shard == sh->id) {
        bool packs =
            rec.compression != CW_COMPRESSION_OFF && sh->info.rec.compression == CW_COMPRESSION_OFF;

        sh->info.rec = rec;
        if (packs)
            packer_look_anew(a->s);
    }
}

/* The head freezes under a new one, or a snapshot ends. */
static void
apply_snap(struct cw_store_shard *sh, const struct rec_view *v)
{
    struct layer *l = layer_of_snap(sh, v->d.seq);

    if (v->d.flags & CW_RF_GONE) {
        if (l == NULL)
            return;
        l->gone = true;
        sh->s->n_gone++;
        store_kick(sh->s);
    } else if (l == NULL && ((v->d.lba ^ sh->layer) & CW_LAYER_FAMILY) == 0 &&
               layer_find(sh->s, v->d.lba) == NULL) {
        sh->head->snap = v->d.seq;
        sh->head = layer_make(sh, v->d.lba, sh->head, 0);
    }
}

/* Its chunk is the head's own before its version changes. */
static bool
apply_chunk_void(struct apply *a, struct cw_store_shard *sh, const struct rec_view *v)
{
    uint32_t chunk = (uint32_t)(v->d.lba / CW_CHUNK_BLOCKS);
    struct page *p;

    if (cw_mutated(CW_MUTATION_VOID_VOLATILE) && a->batch == NULL)
        return true;
    if (!chunk_is_own(sh->head, chunk) && !apply_own(a, sh->head, chunk, &p))
        return false;
    chunk_set_ver(sh->head, chunk, 0, CW_VER_VOID);
    return true;
}

static void
apply_note(struct apply *a, const struct rec_view *v)
{
    if (!(v->d.flags & CW_RF_DAMAGED))
        return;
    CW_LIST_EACH (it, &a->s->shards)
        cw_list_entry(it, struct cw_store_shard, link)->info.damaged = true;
}

/* False: waits for a page and begins this record again. */
static bool
apply_record(struct apply *a, struct cw_store_shard *sh, const struct rec_view *v)
{
    bool done = true;

    switch ((enum cw_rec_type)v->d.type) {
    case CW_REC_WRITE:
        done = apply_write(a, sh, v);
        break;
    case CW_REC_ZERO:
    case CW_REC_TRIM:
        done = apply_clear(a, sh, v);
        break;
    case CW_REC_GEN_START:
        break;
    case CW_REC_CHUNK_CURRENT:
        return apply_chunk_current(a, sh, v);
    case CW_REC_REPAIR:
        return apply_repair(a, sh, v);
    case CW_REC_CHUNK_VOID:
        return apply_chunk_void(a, sh, v);
    case CW_REC_SNAP:
        apply_snap(sh, v);
        return true;
    case CW_REC_PROMISE:
        if (cw_mutated(CW_MUTATION_SEAL_VOLATILE) && a->batch == NULL)
            return true;
        sh->info.promised_gen = v->d.gen;
        return true;
    case CW_REC_JOIN:
        apply_join(sh, v);
        return true;
    case CW_REC_SYNC_DONE:
        sh->info.syncing = sh->info.damaged = sh->info.journal = false;
        shard_hist_set(sh, (const void *)v->body, v->d.clen / sizeof(struct cw_wire_hist));
        return true;
    case CW_REC_SHARDREC:
    case CW_REC_NOTE:
    case CW_REC_MAPPAGE:
    case CW_REC_TABPAGE:
    case CW_REC_ROOT:
    case CW_REC_GC_MOVE:
    case CW_REC_BADBLK:
    case CW_REC_TYPES:
        return true;
    }
    if (done)
        apply_stream_done(a, sh, v);
    return done;
}

static bool
apply_one(struct apply *a, const struct rec_view *v)
{
    struct cw_store *s = a->s;
    struct cw_store_shard *sh;

    if (cw_rec_is_meta(v->d.type)) {
        if (a->batch != NULL)
            ckpt_applied(s, v, apply_payload_loc(a, v));
        return true;
    }
    if (v->d.type == CW_REC_GC_MOVE || v->d.type == CW_REC_BADBLK)
        return apply_move(a, v);
    if (v->d.type == CW_REC_NOTE) {
        if (a->batch == NULL)
            apply_note(a, v);
        return true;
    }
    sh = shard_by_layer(s, v->d.layer);
    if (v->d.type == CW_REC_SHARDREC) {
        apply_shardrec(a, sh, v);
        return true;
    }
    /* a shard that is gone keeps its layers only until they are given back */
    if (sh == NULL || sh->gone_applied)
        return true;
    return apply_record(a, sh, v);
}

bool
apply_run(struct cw_store *s)
{
    struct apply *a = &s->apply;
    struct rec_view v;

    if (a->waiting)
        return false;
    for (; a->rec < a->h.nrec; a->rec++) {
        bool ok = record_parse(a->at, a->end, a->h.payload_bytes, &v);

        cw_assert(ok); /* checked when it was read, or written by us */
        if (!apply_one(a, &v))
            return false;
        a->at = v.next;
        s->stats.records++;
    }
    a->active = false;
    read_retry_waiting(s);
    return true;
}
