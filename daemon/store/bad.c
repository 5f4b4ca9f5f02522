/* store/bad.c - blocks that did not verify: told to the store's user, and counted.
 *
 *   found --> known (counted once, until it reads well again) --> told, in a bounded queue
 *
 * What counts against the disk is places of its media, not blocks: more than ten within a day are a
 * storm, after which the count begins anew. All memory here is fixed; what finds no room is met
 * again by the next read of it, or by the next scrub.
 */
#include <string.h>

#include "daemon/store/store-internal.h"

#define KNOWN_MAX 256u
#define TOLD_MAX 64u
#define STORM_NS (24 * 3600 * CW_NS_PER_S)

struct bad_known {
    uint64_t shard, snap;
    uint64_t bits[4];
    uint32_t chunk;
    bool used;
};

struct bad_told {
    uint64_t shard, snap, lba;
    uint32_t nblk;
    uint64_t bits[4];
};

struct bads {
    struct bad_known known[KNOWN_MAX];
    uint32_t n_known, next; /* next: the place that is given up when all are used */
    struct bad_told told[TOLD_MAX];
    uint32_t n_told;
    uint64_t recent_ns[CW_SCRUB_RECENT]; /* oldest first */
    uint32_t n_recent;
    uint64_t storms;
};

struct bads *
bads_new(void)
{
    return store_alloc(sizeof(struct bads));
}

/* ---- places of the media ---- */

static void
recent_trim(struct bads *b, uint64_t now_ns)
{
    uint32_t old = 0;

    while (old < b->n_recent && now_ns - b->recent_ns[old] > STORM_NS)
        old++;
    b->n_recent -= old;
    memmove(b->recent_ns, b->recent_ns + old, b->n_recent * sizeof(b->recent_ns[0]));
}

static void
recent_add(struct cw_store *s)
{
    struct bads *b = s->bads;

    recent_trim(b, cw_now_ns(s->env));
    b->recent_ns[b->n_recent++] = cw_now_ns(s->env);
    if (b->n_recent < CW_SCRUB_RECENT)
        return;
    b->n_recent = 0;
    b->storms++;
    s->health_due = true;
    store_log(s, CW_LOG_ERROR, "%u bad places were found within 24 h: the disk is failing",
              CW_SCRUB_RECENT);
    store_kick(s);
}

/* ---- known ---- */

static struct bad_known *
known_find(struct bads *b, uint64_t shard, uint64_t snap, uint32_t chunk)
{
    for (uint32_t i = 0; b->n_known > 0 && i < KNOWN_MAX; i++) {
        struct bad_known *k = &b->known[i];

        if (k->used && k->shard == shard && k->snap == snap && k->chunk == chunk)
            return k;
    }
    return NULL;
}

static struct bad_known *
known_add(struct bads *b, uint64_t shard, uint64_t snap, uint32_t chunk)
{
    struct bad_known *k = NULL;

    for (uint32_t i = 0; b->n_known < KNOWN_MAX && i < KNOWN_MAX && k == NULL; i++)
        k = b->known[i].used ? NULL : &b->known[i];
    if (k == NULL)
        k = &b->known[b->next++ % KNOWN_MAX];
    b->n_known += !k->used;
    *k = (struct bad_known){ .shard = shard, .snap = snap, .chunk = chunk, .used = true };
    return k;
}

/* True: it was not known. */
static bool
known_set(struct bads *b, uint64_t shard, uint64_t snap, uint64_t lba)
{
    uint32_t chunk = (uint32_t)(lba / CW_CHUNK_BLOCKS), bit = (uint32_t)(lba % CW_CHUNK_BLOCKS);
    struct bad_known *k = known_find(b, shard, snap, chunk);

    if (k == NULL)
        k = known_add(b, shard, snap, chunk);
    if (cw_bit_get(k->bits, bit))
        return false;
    cw_bit_set(k->bits, bit);
    return true;
}

void
bad_forget(struct cw_store_shard *sh, uint64_t snap, uint64_t lba, uint32_t nblk,
           const uint64_t not [4])
{
    struct bads *b = sh->s->bads;
    struct bad_known *k = NULL;

    for (uint32_t i = 0; b->n_known > 0 && i < nblk; i++) {
        uint32_t chunk = (uint32_t)((lba + i) / CW_CHUNK_BLOCKS);

        if (k == NULL || k->chunk != chunk || !k->used)
            k = known_find(b, sh->id, snap, chunk);
        if (k == NULL) {
            i += CW_CHUNK_BLOCKS - 1 - (uint32_t)((lba + i) % CW_CHUNK_BLOCKS);
            continue;
        }
        if (cw_bit_get(not, i))
            continue;
        cw_bit_clear(k->bits, (lba + i) % CW_CHUNK_BLOCKS);
        if ((k->bits[0] | k->bits[1] | k->bits[2] | k->bits[3]) == 0) {
            k->used = false;
            b->n_known--;
        }
    }
}

/* ---- telling ---- */

static void
told_push(struct cw_store *s, const struct bad_told *one)
{
    struct bads *b = s->bads;

    for (uint32_t i = 0; i < b->n_told; i++) {
        struct bad_told *t = &b->told[i];

        if (t->shard != one->shard || t->snap != one->snap || t->lba != one->lba ||
            t->nblk != one->nblk)
            continue;
        for (uint32_t k = 0; k < 4; k++)
            t->bits[k] |= one->bits[k];
        return;
    }
    if (b->n_told == TOLD_MAX)
        return;
    b->told[b->n_told++] = *one;
    store_kick(s);
}

void
bads_deliver(struct cw_store *s)
{
    struct bads *b = s->bads;

    for (uint32_t i = 0; i < b->n_told; i++) {
        const struct bad_told *t = &b->told[i];
        struct cw_store_bad bad = { .snap = t->snap, .lba = t->lba, .nblk = t->nblk };

        bad.shard = cw_store_shard_find(s, t->shard);
        memcpy(bad.bad, t->bits, sizeof(bad.bad));
        if (bad.shard != NULL && s->ev != NULL && s->ev->on_bad != NULL)
            s->ev->on_bad(s->user, &bad);
    }
    b->n_told = 0;
}

/* ---- finding ---- */

void
bad_found(struct cw_store_shard *sh, uint64_t snap, uint64_t lba, uint32_t nblk,
          const uint64_t bad[4], const uint64_t *locs)
{
    struct cw_store *s = sh->s;
    struct bad_told told = { .shard = sh->id, .snap = snap, .lba = lba, .nblk = nblk };
    uint64_t last = 0;
    uint32_t n_new = 0;

    memcpy(told.bits, bad, sizeof(told.bits));
    for (uint32_t i = 0; i < nblk; i++) {
        if (!cw_bit_get(bad, i) || !known_set(s->bads, sh->id, snap, lba + i))
            continue;
        n_new++;
        /* blocks of one extent lie one behind the other: its place, without the index in it */
        if (locs != NULL && locs[i] != 0 && locs[i] >> 24 != last) {
            last = locs[i] >> 24;
            recent_add(s);
        }
    }
    if (n_new > 0)
        store_log(s, CW_LOG_ERROR, "shard %llx: %u blocks in [%llu, +%u) are bad",
                  (unsigned long long)sh->id, n_new, (unsigned long long)lba, nblk);
    told_push(s, &told);
}

void
bad_heads(struct layer *owner, const struct layer *but, uint64_t lba, uint32_t nblk,
          const uint64_t bad[4])
{
    uint32_t chunk = (uint32_t)(lba / CW_CHUNK_BLOCKS);

    for (struct layer *l = NULL; (l = layer_next(owner->s, owner->id, l)) != NULL;) {
        struct layer *shown = l;

        if (l->snap != 0 || l == but || l->gone || l->sh->gone)
            continue;
        chunk_see(&shown, chunk);
        if (shown == owner)
            bad_found(l->sh, 0, lba, nblk, bad, NULL);
    }
}

void
bad_layer(struct layer *l, uint64_t lba, uint32_t nblk, const uint64_t bad[4], const uint64_t *locs)
{
    if (!l->gone && !l->sh->gone)
        bad_found(l->sh, l->snap, lba, nblk, bad, locs);
    bad_heads(l, l, lba, nblk, bad);
}

void
bad_page(struct layer *l, uint32_t chunk)
{
    static const uint64_t all[4] = { UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX };

    recent_add(l->s);
    bad_layer(l, (uint64_t)chunk * CW_CHUNK_BLOCKS, CW_CHUNK_BLOCKS, all, NULL);
}

void
bad_meta(struct cw_store *s, const char *what)
{
    s->stats.csum_errors++;
    store_log(s, CW_LOG_ERROR, "%s is unreadable on the media: it is written anew", what);
    recent_add(s);
}

/* ---- numbers, and what lasts ---- */

void
bads_stats(const struct cw_store *s, struct cw_store_scrub_stats *ret)
{
    const struct bads *b = s->bads;
    uint64_t now_ns = cw_now_ns(s->env);

    ret->storms = b->storms;
    for (uint32_t i = 0; i < b->n_recent; i++)
        ret->recent += now_ns - b->recent_ns[i] <= STORM_NS;
}

void
bads_encode(const struct cw_store *s, struct cw_scrub_bytes *to)
{
    const struct bads *b = s->bads;

    to->storms = b->storms;
    to->n_recent = (uint16_t)b->n_recent;
    for (uint32_t i = 0; i < b->n_recent; i++)
        to->recent_ago_ns[i] = cw_now_ns(s->env) - b->recent_ns[i];
}

/* Times before the clock began wrap around, and so do the differences to them. */
void
bads_decode(struct cw_store *s, const struct cw_scrub_bytes *from)
{
    struct bads *b = s->bads;

    b->storms = from->storms;
    b->n_recent = from->n_recent;
    for (uint32_t i = 0; i < b->n_recent; i++)
        b->recent_ns[i] = cw_now_ns(s->env) - from->recent_ago_ns[i];
}
