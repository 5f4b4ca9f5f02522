/* store/load.c - so many survivors of the cleaner's victim as are moved at once: read, verified,
 * packed where the volume's policy says so, and written as GC_MOVE, which applies only where the
 * map still says what the cleaner saw.
 */
#include <string.h>

#include "common/codec/hash.h"
#include "daemon/store/cleaner.h"

/* ---- gathering ---- */

static void
load_drop_bufs(struct cleaner *c)
{
    cw_buf_unref(c->buf);
    cw_buf_unref(c->packed);
    c->buf = c->packed = NULL;
}

bool
survivor_is_packed(const struct survivor *v)
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

bool
load_is_full(struct cleaner *c, const struct survivor *v)
{
    const struct survivor *last = c->n_load == 0 ? NULL : &c->load[c->n_load - 1];
    bool other = last == NULL || last->layer != v->layer ||
                 last->lba / CW_CHUNK_BLOCKS != v->lba / CW_CHUNK_BLOCKS;

    if (survivor_is_packed(v) && load_extent(c, v) == NULL &&
        c->n_pieces + EXTENT_BLOCKS_MAX > LOAD_PIECES_MAX)
        return true;
    return c->n_load == LOAD_BLOCKS ||
           (other &&
            c->n_pages + 1 > c->s->map_budget / sizeof(struct cw_map_page) / 8 / c->s->n_cleaners);
}

void
load_add(struct cleaner *c, const struct survivor *v)
{
    const struct survivor *last = c->n_load == 0 ? NULL : &c->load[c->n_load - 1];

    if (last == NULL || last->layer != v->layer ||
        last->lba / CW_CHUNK_BLOCKS != v->lba / CW_CHUNK_BLOCKS)
        c->n_pages++;
    if (survivor_is_packed(v)) {
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

        if (survivor_is_packed(&c->load[i]))
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
    c->fetch.patient = true;
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
load_read_bufs(struct cleaner *c)
{
    uint32_t n = load_runs(c);

    memset(c->bad, 0, sizeof(c->bad));
    if (n > 0)
        load_fetch(c, n, c->bad, load_on_fetched);
    else
        load_read_packed(c);
}

void
load_read(struct cleaner *c)
{
    if (!load_get_bufs(c)) {
        store_kick_later(c->s);
        return;
    }
    c->s->segs[c->victim].io_pins++;
    c->state = CLEAN_READ;
    c->reread = false;
    load_read_bufs(c);
}

/* The volume's policy. */
bool
survivor_wants_pack(const struct cleaner *c, const struct survivor *v)
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

void
load_drop(struct cleaner *c)
{
    load_drop_bufs(c);
    c->n_load = c->n_pages = c->n_ext = c->n_pieces = 0;
    c->state = CLEAN_CHECK;
}

/* How many are not what they should be; they are bad. */
static uint32_t
load_mark_bad(struct cleaner *c)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < c->n_load; i++) {
        if (cw_hash_block(c->buf->data + (size_t)i * CW_BLOCK_SIZE) != c->load[i].csum)
            cw_bit_set(c->bad, i);
        n += cw_bit_get(c->bad, i);
    }
    return n;
}

/* What is bad now is lost to this copy, so it is read once more first. */
static void
load_verify(struct cleaner *c)
{
    uint32_t n_bad = load_mark_bad(c);

    if (n_bad > 0 && !c->reread) {
        c->reread = true;
        load_read_bufs(c);
        return;
    }
    segment_unpin(c->s, c->victim);
    for (uint32_t i = 0; n_bad > 0 && i < c->n_load; i++) {
        if (!cw_bit_get(c->bad, i))
            continue;
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
    if (n < 2 || !survivor_wants_pack(c, &c->load[i]))
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
    struct batch *b =
        batch_room(s, c->cls, batch_rec_len(&r) + LOAD_BLOCKS * sizeof(struct cw_rec_run), n_out,
                   cleaner_batches_max(s));

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

void
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

void
load_write(struct cleaner *c)
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
