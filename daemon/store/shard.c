/* store/shard.c - copies on this disk: found by id and by layer, changed by records. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/store/inspect.h"
#include "daemon/store/store-internal.h"

static struct cw_list *
bucket(const struct cw_list *table, uint64_t key)
{
    const struct cw_list *l = &table[cw_mix64(key) % STORE_BUCKETS];

    return (struct cw_list *)(uintptr_t)l;
}

struct cw_store_shard *
cw_store_shard_find(struct cw_store *s, uint64_t shard)
{
    CW_LIST_EACH (it, bucket(s->by_id, shard)) {
        struct cw_store_shard *sh = cw_list_entry(it, struct cw_store_shard, id_link);

        if (sh->id == shard)
            return sh;
    }
    return NULL;
}

struct cw_store_shard *
shard_by_layer(const struct cw_store *s, uint64_t layer)
{
    CW_LIST_EACH (it, bucket(s->by_layer, layer)) {
        struct cw_store_shard *sh = cw_list_entry(it, struct cw_store_shard, layer_link);

        if (sh->layer == layer)
            return sh;
    }
    return NULL;
}

struct cw_store_shard *
cw_store_shard_next(struct cw_store *s, const struct cw_store_shard *after)
{
    const struct cw_list *at = after == NULL ? &s->shards : &after->link;

    if (at->next == &s->shards)
        return NULL;
    return cw_list_entry(at->next, struct cw_store_shard, link);
}

struct cw_store_shard_info *
cw_store_shard_info(struct cw_store_shard *sh)
{
    return &sh->info;
}

/* ---- life ---- */

static void
shard_link_sorted(struct cw_store *s, struct cw_store_shard *sh)
{
    struct cw_list *at = s->shards.prev;

    while (at != &s->shards && cw_list_entry(at, struct cw_store_shard, link)->id > sh->id)
        at = at->prev;
    cw_list_insert_before(at->next, &sh->link);
}

struct cw_store_shard *
shard_make(struct cw_store *s, const struct cw_shard_rec *rec, uint64_t layer)
{
    struct cw_store_shard *sh = store_alloc(sizeof(*sh));

    sh->s = s;
    sh->id = rec->shard;
    sh->layer = layer;
    sh->info.rec = *rec;
    cw_list_init(&sh->touched);
    shard_link_sorted(s, sh);
    cw_list_push_back(bucket(s->by_id, sh->id), &sh->id_link);
    cw_list_push_back(bucket(s->by_layer, layer), &sh->layer_link);
    s->n_shards++;
    return sh;
}

/* Its layers stay until reclaim.c has given them back. */
void
shard_make_gone(struct cw_store_shard *sh)
{
    struct cw_store *s = sh->s;

    sh->gone = true;
    tail_clear(sh);
    cw_list_remove(&sh->touched);
    cw_list_remove(&sh->id_link);
    cw_list_remove(&sh->link);
    cw_list_push_back(&s->zombies, &sh->link);
    s->n_shards--;
}

void
shard_gone_applied(struct cw_store_shard *sh)
{
    struct cw_store *s = sh->s;

    if (sh->gone_applied)
        return;
    sh->gone_applied = true;
    for (struct layer *l = NULL; (l = layer_next(s, sh->layer, l)) != NULL;) {
        if (l->sh != sh || l->gone)
            continue;
        l->gone = true;
        s->n_gone++;
    }
    store_kick(s);
}

/* Its layers were freed before. */
void
shard_free(struct cw_store_shard *sh)
{
    cw_assert(sh->n_layers == 0);
    cw_list_remove(&sh->touched);
    cw_list_remove(&sh->id_link);
    cw_list_remove(&sh->layer_link);
    cw_list_remove(&sh->link);
    free(sh->tail.ring);
    free(sh->hist);
    free(sh);
}

/* ---- history ---- */

void
shard_hist_push(struct cw_store_shard *sh, uint32_t gen, uint64_t start_seq)
{
    if (sh->info.n_hist == CW_HIST_MAX) {
        memmove(sh->hist, sh->hist + 1, (CW_HIST_MAX - 1) * sizeof(*sh->hist));
        sh->info.n_hist--;
    }
    if (sh->info.n_hist == sh->hist_cap) {
        sh->hist_cap = sh->hist_cap == 0 ? 8 : sh->hist_cap * 2;
        sh->hist = realloc(sh->hist, sh->hist_cap * sizeof(*sh->hist));
        cw_assert(sh->hist != NULL);
    }
    sh->hist[sh->info.n_hist++] = (struct cw_store_hist){ .start_seq = start_seq, .gen = gen };
    sh->info.hist = sh->hist;
}

void
shard_hist_set(struct cw_store_shard *sh, const struct cw_wire_hist *h, uint32_t n)
{
    sh->info.n_hist = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct cw_wire_hist one;

        memcpy(&one, (const uint8_t *)h + i * sizeof(one), sizeof(one));
        shard_hist_push(sh, one.gen, one.start_seq);
    }
}

/* ---- durable steps ---- */

static void
shard_put_rec(struct cw_store_shard *sh, const struct cw_shard_rec *rec, uint16_t flags,
              uint64_t parent, struct cw_store_ticket *t)
{
    uint8_t bytes[CW_SHARD_REC_BYTES_MAX];
    struct rec_out r = {
        .d = { .type = CW_REC_SHARDREC, .flags = flags, .layer = sh->layer, .lba = parent },
        .body = bytes,
    };

    if (rec != NULL)
        r.d.clen = (uint32_t)cw_shard_rec_encode(rec, bytes);
    batch_control(sh->s, &r, t);
}

static int
shard_create_check(struct cw_store *s, const struct cw_shard_rec *rec)
{
    if (s->stats.failed || s->state != STORE_OPEN)
        return -EIO;
    if (cw_store_shard_find(s, rec->shard) != NULL)
        return -EEXIST;
    return !space_takes_copy(s) || s->next_layer > CW_LAYER_FAMILY ? -ENOSPC : 0;
}

/* May the family of `of` have one layer more? Its id. */
static int
snap_room(struct layer *of, uint64_t *ret_id)
{
    uint32_t n = 0;

    for (struct layer *l = NULL; (l = layer_next(of->s, of->id, l)) != NULL;)
        n++;
    if (n >= CW_STORE_LAYERS_MAX)
        return -EMLINK;
    *ret_id = layer_new_id(of);
    return *ret_id == 0 ? -EMLINK : 0;
}

struct cw_store_shard *
cw_store_shard_create(struct cw_store *s, const struct cw_shard_rec *rec, struct cw_store_ticket *t,
                      int *ret_err)
{
    struct cw_store_shard *sh;

    *ret_err = shard_create_check(s, rec);
    if (*ret_err != 0)
        return NULL;
    sh = shard_make(s, rec, s->next_layer++);
    sh->head = layer_make(sh, sh->layer, NULL, 0);
    sh->info.promised_gen = rec->gen;
    shard_put_rec(sh, rec, CW_RF_CREATE, 0, t);
    space_copy_added(s);
    return sh;
}

struct cw_store_shard *
cw_store_shard_clone(struct cw_store *s, const struct cw_shard_rec *rec,
                     struct cw_store_shard *from, uint64_t snap, struct cw_store_ticket *t,
                     int *ret_err)
{
    struct layer *parent = layer_of_snap(from, snap);
    struct cw_store_shard *sh;
    uint64_t id = 0;

    *ret_err = shard_create_check(s, rec);
    if (*ret_err == 0 && (parent == NULL || snap == 0 || from->gone))
        *ret_err = -ENOENT;
    if (*ret_err == 0)
        *ret_err = snap_room(parent, &id);
    if (*ret_err != 0)
        return NULL;
    sh = shard_make(s, rec, id);
    sh->head = layer_make(sh, id, parent, 0);
    sh->info.promised_gen = rec->gen;
    shard_put_rec(sh, rec, CW_RF_CREATE, parent->id, t);
    space_copy_added(s);
    return sh;
}

void
cw_store_shard_drop(struct cw_store_shard *sh, struct cw_store_ticket *t)
{
    shard_put_rec(sh, NULL, CW_RF_GONE, 0, t);
    shard_make_gone(sh);
}

void
cw_store_set_rec(struct cw_store_shard *sh, const struct cw_shard_rec *rec,
                 struct cw_store_ticket *t)
{
    cw_assert(rec->shard == sh->id);
    shard_put_rec(sh, rec, 0, 0, t);
}

void
cw_store_promise(struct cw_store_shard *sh, uint32_t gen, struct cw_store_ticket *t)
{
    struct rec_out r = { .d = { .type = CW_REC_PROMISE, .layer = sh->layer, .gen = gen } };

    cw_assert(gen > sh->info.promised_gen);
    batch_control(sh->s, &r, t);
}

void
cw_store_join(struct cw_store_shard *sh, uint32_t gen, uint64_t s0, uint64_t join_id,
              struct cw_store_ticket *t)
{
    struct rec_out r = {
        .d = { .type = CW_REC_JOIN, .layer = sh->layer, .gen = gen, .seq = s0 - 1, .clen = 8 },
        .body = &join_id,
    };

    cw_assert(s0 > 0);
    sh->info.last_gen = gen;
    sh->info.last_seq = s0 - 1;
    /* what came before cannot be asked for any more; the window of the stream starts here */
    tail_clear(sh);
    sh->info.stable = s0 - 1;
    batch_control(sh->s, &r, t);
}

void
cw_store_sync_done(struct cw_store_shard *sh, const struct cw_store_hist *hist, uint32_t n_hist,
                   struct cw_store_ticket *t)
{
    struct rec_out r = { .d = { .type = CW_REC_SYNC_DONE, .layer = sh->layer } };
    struct cw_wire_hist *body;

    if (n_hist > CW_HIST_MAX) {
        hist += n_hist - CW_HIST_MAX;
        n_hist = CW_HIST_MAX;
    }
    body = store_alloc(n_hist * sizeof(*body) + 1);
    for (uint32_t i = 0; i < n_hist; i++)
        body[i] = (struct cw_wire_hist){ .start_seq = hist[i].start_seq, .gen = hist[i].gen };
    r.body = body;
    r.d.clen = n_hist * (uint32_t)sizeof(*body);
    batch_control(sh->s, &r, t);
    free(body);
}

void
cw_store_set_stable(struct cw_store_shard *sh, uint64_t stable)
{
    tail_trim(sh, stable);
}

/* ---- snapshots ---- */

int
cw_store_snap_create(struct cw_store_shard *sh, uint64_t snap, struct cw_store_ticket *t)
{
    struct rec_out r = { .d = { .type = CW_REC_SNAP, .layer = sh->layer, .seq = snap } };
    int err;

    cw_assert(!sh->gone && snap != 0);
    if (sh->s->stats.failed || sh->s->state != STORE_OPEN)
        return -EIO;
    if (layer_of_snap(sh, snap) != NULL)
        return -EEXIST;
    err = snap_room(sh->head, &r.d.lba);
    if (err == 0)
        batch_control(sh->s, &r, t);
    return err;
}

int
cw_store_snap_delete(struct cw_store_shard *sh, uint64_t snap, struct cw_store_ticket *t)
{
    struct rec_out r = {
        .d = { .type = CW_REC_SNAP, .flags = CW_RF_GONE, .layer = sh->layer, .seq = snap },
    };

    cw_assert(!sh->gone);
    if (sh->s->stats.failed || sh->s->state != STORE_OPEN)
        return -EIO;
    if (snap == 0 || layer_of_snap(sh, snap) == NULL)
        return -ENOENT;
    batch_control(sh->s, &r, t);
    return 0;
}

uint32_t
cw_store_snap_list(struct cw_store_shard *sh, struct cw_store_snap_info *to, uint32_t max)
{
    uint32_t n = 0;

    for (struct layer *l = NULL; (l = layer_next(sh->s, sh->layer, l)) != NULL;) {
        if (l->sh != sh || l->gone)
            continue;
        if (n < max)
            to[n] = (struct cw_store_snap_info){
                .snap = l->snap,
                .own_blocks = l->mapped,
                .own_bytes = l->sectors * CW_SECTOR,
            };
        n++;
    }
    return n;
}

/* ---- versions ---- */

uint32_t
cw_store_versions(struct cw_store_shard *sh, uint32_t first, uint32_t n, struct cw_wire_ver *to,
                  uint32_t max, uint32_t *ret_next)
{
    uint64_t end = cw_min_u64((uint64_t)first + n, CW_SHARD_CHUNKS);
    uint32_t got = 0;
    uint64_t chunk = first;

    while (chunk < end && got < max) {
        struct layer *l = sh->head;
        const struct cw_chunk_entry *e;

        if (l->parent == NULL && tab_of(l, (uint32_t)chunk) == NULL) {
            chunk = (chunk / CW_TAB_CHUNKS + 1) * CW_TAB_CHUNKS;
            continue;
        }
        e = chunk_see(&l, (uint32_t)chunk);
        if (e != NULL && (e->gen != 0 || e->seq != 0))
            to[got++] =
                (struct cw_wire_ver){ .chunk = (uint32_t)chunk, .gen = e->gen, .seq = e->seq };
        chunk++;
    }
    *ret_next = (uint32_t)cw_min_u64(chunk, end > first ? end : first);
    return got;
}

/* ---- in a checkpoint ---- */

size_t
shard_encode(const struct cw_store_shard *sh, uint8_t *to)
{
    uint8_t rec[CW_SHARD_REC_BYTES_MAX + 8] = { 0 };
    size_t rec_len = cw_shard_rec_encode(&sh->info.rec, rec);
    const struct tail *t = &sh->tail;
    struct cw_shard_bytes h = {
        .flags = (sh->info.syncing ? CW_SHARD_SYNCING : 0u) |
                 (sh->info.damaged ? CW_SHARD_DAMAGED : 0u) |
                 (sh->gone_applied ? CW_SHARD_GONE : 0u),
        .layer = sh->layer,
        .last_seq = sh->info.durable_seq,
        .stable = sh->info.stable,
        .join_id = sh->info.join_id,
        .last_gen = sh->info.durable_gen,
        .promised_gen = sh->info.promised_gen,
        .rec_bytes = (uint32_t)rec_len,
        .n_hist = sh->info.n_hist,
        .n_tail = t->n,
    };

    rec_len = cw_align_up(rec_len, 8);
    h.bytes = (uint32_t)(sizeof(h) + rec_len + h.n_hist * sizeof(struct cw_wire_hist) +
                         h.n_tail * sizeof(struct cw_tail_bytes));
    if (to == NULL)
        return h.bytes;
    memcpy(to, &h, sizeof(h));
    memcpy(to + sizeof(h), rec, rec_len);
    to += sizeof(h) + rec_len;
    for (uint32_t i = 0; i < h.n_hist; i++) {
        struct cw_wire_hist one = { .start_seq = sh->hist[i].start_seq, .gen = sh->hist[i].gen };

        memcpy(to, &one, sizeof(one));
        to += sizeof(one);
    }
    for (uint32_t i = 0; i < h.n_tail; i++) {
        const struct tail_entry *e = &t->ring[(t->head + i) & (t->cap - 1)];
        struct cw_tail_bytes one = {
            .seq = e->e.seq,
            .lba = e->e.lba,
            .csum0 = e->e.csum0,
            .batch_seq = e->batch_seq,
            .gen = e->e.gen,
            .nblk = e->e.nblk,
            .seg = e->seg,
            .off = e->off,
            .rec = e->rec,
            .type = e->e.type,
        };

        memcpy(to, &one, sizeof(one));
        to += sizeof(one);
    }
    return h.bytes;
}

static void
shard_decode_tail(struct cw_store_shard *sh, const uint8_t *from, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        struct cw_tail_bytes b;

        memcpy(&b, from + i * sizeof(b), sizeof(b));
        tail_push(sh, (struct tail_entry){
                          .e = { .seq = b.seq,
                                 .lba = b.lba,
                                 .csum0 = b.csum0,
                                 .gen = b.gen,
                                 .nblk = b.nblk,
                                 .type = b.type },
                          .batch_seq = b.batch_seq,
                          .seg = b.seg,
                          .off = b.off,
                          .rec = b.rec,
                      });
    }
}

bool
shard_decode(struct cw_store *s, const uint8_t *from, size_t len, size_t *ret_used)
{
    struct cw_inspect_shard b;
    struct cw_store_shard *sh;

    if (cw_inspect_shard(&s->sb, from, len, &b) != NULL || shard_by_layer(s, b.h.layer) != NULL)
        return false;
    if (!(b.h.flags & CW_SHARD_GONE) && cw_store_shard_find(s, b.rec.shard) != NULL)
        return false;
    sh = shard_make(s, &b.rec, b.h.layer);
    sh->info.syncing = b.h.flags & CW_SHARD_SYNCING;
    sh->info.damaged = b.h.flags & CW_SHARD_DAMAGED;
    sh->info.durable_seq = b.h.last_seq;
    sh->info.durable_gen = b.h.last_gen;
    sh->info.promised_gen = b.h.promised_gen;
    sh->info.stable = b.h.stable;
    sh->info.join_id = b.h.join_id;
    sh->info.journal = sh->info.syncing && CW_JOIN_KIND(b.h.join_id) == CW_JOIN_JOURNAL;
    shard_hist_set(sh, (const void *)b.hist, b.h.n_hist);
    shard_decode_tail(sh, b.tail, b.h.n_tail);
    if (b.h.flags & CW_SHARD_GONE) {
        shard_make_gone(sh);
        sh->gone_applied = true;
    }
    *ret_used = b.h.bytes;
    return true;
}
