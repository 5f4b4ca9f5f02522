/* replica/note.c - what this disk found to be bad, told to the owners that can mend it.
 *
 *   on_bad --> note (one per copy and chunk) --session open--> BAD_NOTE --after a while--> another
 *     look at the blocks --still bad--> told again, later and later;  --fine--> gone
 *
 * A block is fine again when it was repaired, overwritten or trimmed, or when the disk reads it
 * after all: the look tells, so nothing here has to follow the stream. Notes live in memory and are
 * few; what finds no room is found again by the next scrub.
 */
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "daemon/replica/internal.h"

#define NOTES_MAX 1024u /* of a disk */
#define AGAIN_MIN_NS (5 * CW_NS_PER_S)
#define AGAIN_MAX_NS (600 * CW_NS_PER_S)

static bool
bits_any(const uint64_t bits[4])
{
    return (bits[0] | bits[1] | bits[2] | bits[3]) != 0;
}

/* ---- notes ---- */

/* The first one at this chunk or behind it; NULL: none. */
static struct cw_note *
note_at(const struct cw_copy *c, uint32_t chunk)
{
    CW_LIST_EACH (it, &c->notes) {
        struct cw_note *n = cw_list_entry(it, struct cw_note, in_copy);

        if (n->chunk >= chunk)
            return n;
    }
    return NULL;
}

static struct cw_note *
note_find(const struct cw_copy *c, uint32_t chunk)
{
    struct cw_note *n = note_at(c, chunk);

    return n != NULL && n->chunk == chunk ? n : NULL;
}

static struct cw_note *
note_get(struct cw_copy *c, uint32_t chunk)
{
    struct cw_note *at = note_at(c, chunk), *n;

    if (at != NULL && at->chunk == chunk)
        return at;
    n = c->r->n_notes < NOTES_MAX ? calloc(1, sizeof(*n)) : NULL;
    if (n == NULL) {
        c->r->stats.notes_dropped++;
        return NULL;
    }
    n->chunk = chunk;
    cw_list_insert_before(at != NULL ? &at->in_copy : &c->notes, &n->in_copy);
    c->r->n_notes++;
    return n;
}

static void
note_free(struct cw_copy *c, struct cw_note *n)
{
    cw_list_remove(&n->in_copy);
    c->r->n_notes--;
    free(n);
}

void
cw_note_drop_all(struct cw_copy *c)
{
    while (!cw_list_empty(&c->notes))
        note_free(c, cw_list_first(&c->notes, struct cw_note, in_copy));
}

uint64_t
cw_note_blocks(const struct cw_copy *c)
{
    uint64_t blocks = 0;

    CW_LIST_EACH (it, &c->notes) {
        const struct cw_note *n = cw_list_entry(it, struct cw_note, in_copy);

        for (uint32_t i = 0; i < CW_LEN(n->bits); i++)
            blocks += cw_popcount(n->bits[i]);
    }
    return blocks;
}

/* ---- telling ---- */

static void
note_wake(struct cw_replica *r, uint64_t at_ns)
{
    if (!cw_timer_armed(&r->note_timer) || r->note_timer.at_ns > at_ns)
        cw_timer_set(r->env, &r->note_timer, at_ns);
}

static bool
copy_may_tell(const struct cw_copy *c)
{
    return c->session != NULL && c->drop == NULL && !c->info->syncing && !c->info->damaged &&
           c->session->peer->link != NULL && !c->session->peer->closing &&
           (c->session->peer->link->features & CW_FEATURE_BAD_NOTE) != 0;
}

static void
note_send(struct cw_copy *c, const struct cw_wire_bad *bad, uint32_t n)
{
    struct cw_wire_hdr h = { .type = CW_FT_BAD_NOTE, .shard = c->shard, .gen = c->session->gen };
    struct cw_msg *m;

    m = n > 0 ? cw_frame_opaque(c->r->pool, h, NULL, bad, n * (uint32_t)sizeof(*bad)) : NULL;
    if (m == NULL)
        return; /* nothing to say, or no memory: it is said again */
    c->r->stats.notes_sent += n;
    cw_peer_send(c->session->peer, m);
}

static void
note_take(struct cw_note *n, struct cw_wire_bad *to, uint64_t now_ns)
{
    uint64_t again = AGAIN_MIN_NS << (n->n_told < 8 ? n->n_told : 8);

    *to = (struct cw_wire_bad){ .lba_nblk = cw_lba_nblk((uint64_t)n->chunk * CW_CHUNK_BLOCKS,
                                                        CW_CHUNK_BLOCKS) };
    memcpy(to->bad, n->bits, sizeof(to->bad));
    n->n_told++;
    n->due_ns = now_ns + cw_min_u64(again, AGAIN_MAX_NS);
}

/* All that is due and was not told in this state of it. */
static void
copy_tell(struct cw_copy *c)
{
    uint64_t now_ns = cw_now_ns(c->r->env);
    struct cw_wire_bad bad[CW_BAD_NOTES_MAX];
    uint32_t n_bad = 0;

    CW_LIST_EACH (it, &c->notes) {
        struct cw_note *n = cw_list_entry(it, struct cw_note, in_copy);

        if (n->n_told > 0)
            continue;
        if (n_bad == CW_LEN(bad)) {
            note_send(c, bad, n_bad);
            n_bad = 0;
        }
        note_take(n, &bad[n_bad++], now_ns);
        note_wake(c->r, n->due_ns);
    }
    note_send(c, bad, n_bad);
}

void
cw_note_on_open(struct cw_copy *c)
{
    CW_LIST_EACH (it, &c->notes)
        cw_list_entry(it, struct cw_note, in_copy)->n_told = 0;
    if (copy_may_tell(c))
        copy_tell(c);
}

/* ---- another look ---- */

static void
look_done(struct cw_store_read *read)
{
    struct cw_note_look *l = cw_container_of(read, struct cw_note_look, read);
    struct cw_copy *c = l->copy;
    struct cw_replica *r = c->r;
    struct cw_note *n = note_find(c, l->chunk);
    struct cw_wire_bad again;

    l->busy = false;
    cw_buf_unref(read->buf);
    read->buf = NULL;
    if (n != NULL && read->res == 0) {
        for (uint32_t i = 0; i < CW_LEN(n->bits); i++)
            n->bits[i] &= read->bad[i];
    }
    if (n != NULL && !bits_any(n->bits)) {
        note_free(c, n);
    } else if (n != NULL) {
        note_take(n, &again, cw_now_ns(r->env));
        if (copy_may_tell(c))
            note_send(c, &again, 1);
    }
    c->busy--;
    note_wake(r, cw_now_ns(r->env)); /* the next one that is due */
    cw_copy_idle(c);
}

static void
look_begin(struct cw_copy *c, const struct cw_note *n)
{
    struct cw_note_look *l = &c->r->look;

    l->busy = true;
    l->copy = c;
    l->chunk = n->chunk;
    l->read = (struct cw_store_read){ .shard = c->sh,
                                      .lba = (uint64_t)n->chunk * CW_CHUNK_BLOCKS,
                                      .nblk = CW_CHUNK_BLOCKS,
                                      .flags = CW_STORE_READ_MEDIA,
                                      .done = look_done };
    c->busy++;
    cw_store_read(&l->read);
}

/* The note that is due first, of those that can be told; *ret_copy is its copy. */
static struct cw_note *
note_first(struct cw_replica *r, struct cw_copy **ret_copy)
{
    struct cw_store_shard *sh = NULL;
    struct cw_note *best = NULL;

    while (r->n_notes > 0 && (sh = cw_store_shard_next(r->store, sh)) != NULL) {
        struct cw_copy *c = cw_store_shard_info(sh)->user;

        if (c == NULL || cw_list_empty(&c->notes) || !copy_may_tell(c))
            continue;
        CW_LIST_EACH (it, &c->notes) {
            struct cw_note *n = cw_list_entry(it, struct cw_note, in_copy);

            if (best != NULL && n->due_ns >= best->due_ns)
                continue;
            best = n;
            *ret_copy = c;
        }
    }
    return best;
}

static void
note_on_timer(struct cw_timer *t)
{
    struct cw_replica *r = cw_container_of(t, struct cw_replica, note_timer);
    struct cw_copy *c = NULL;
    struct cw_note *n;

    if (!r->serves || r->look.busy)
        return;
    while ((n = note_first(r, &c)) != NULL && n->n_told == 0)
        copy_tell(c);
    if (n != NULL && n->due_ns <= cw_now_ns(r->env))
        look_begin(c, n);
    else if (n != NULL)
        note_wake(r, n->due_ns);
}

/* ---- what the store and the owner say ---- */

static void
note_add(struct cw_copy *c, uint64_t lba)
{
    uint32_t bit = (uint32_t)(lba % CW_CHUNK_BLOCKS);
    struct cw_note *n = note_get(c, (uint32_t)(lba / CW_CHUNK_BLOCKS));

    if (n == NULL || cw_bit_get(n->bits, bit))
        return;
    cw_bit_set(n->bits, bit);
    n->n_told = 0;
    n->due_ns = 0;
    note_wake(c->r, cw_now_ns(c->r->env));
}

void
cw_note_on_bad(void *user, const struct cw_store_bad *bad)
{
    struct cw_copy *c = cw_store_shard_info(bad->shard)->user;

    if (c == NULL || c->drop != NULL || bad->snap != 0)
        return; /* of a snapshot: no frame says so yet; reads of it fail, and say it */
    for (uint32_t i = 0; i < bad->nblk; i++) {
        if (cw_bit_get(bad->bad, i) && bad->lba + i < c->n_blocks)
            note_add(c, bad->lba + i);
    }
}

void
cw_note_repaired(struct cw_copy *c, uint64_t lba, uint32_t nblk)
{
    for (uint32_t i = 0; i < nblk && !cw_list_empty(&c->notes); i++) {
        struct cw_note *n = note_find(c, (uint32_t)((lba + i) / CW_CHUNK_BLOCKS));

        if (n == NULL)
            continue;
        cw_bit_clear(n->bits, (lba + i) % CW_CHUNK_BLOCKS);
        if (!bits_any(n->bits))
            note_free(c, n);
    }
}

/* ---- life ---- */

void
cw_note_init(struct cw_replica *r)
{
    r->note_timer.fn = note_on_timer;
}

void
cw_note_check(const struct cw_replica *r)
{
    struct cw_store_shard *sh = NULL;
    uint32_t n = 0;

    while (r->serves && (sh = cw_store_shard_next(r->store, sh)) != NULL) {
        const struct cw_copy *c = cw_store_shard_info(sh)->user;

        if (c == NULL)
            continue;
        CW_LIST_EACH (it, &c->notes) {
            cw_assert(bits_any(cw_list_entry(it, struct cw_note, in_copy)->bits));
            n++;
        }
    }
    cw_assert(!r->serves || n == r->n_notes);
}
