/* replica/sync_list.c - which chunks of a joined copy are BEHIND (1.10 step 3).
 *
 * The source's versions come in pages; a chunk is BEHIND if its version differs from ours in either
 * direction or is VOID on one of the sides, or if the stream touched it since the JOIN. Only a list
 * that was read to its end counts. From a journal it is all chunks that the journal names, and no
 * others.
 */
#include <string.h>

#include "common/base/bits.h"
#include "common/base/mutation.h"
#include "daemon/replica/internal.h"

#define LIST_GIVE_UP_NS (5 * CW_NS_PER_S)

void
cw_sync_list_pump(struct cw_sync *s)
{
    struct cw_replica *r = s->r;
    uint64_t now = cw_now_ns(r->env);
    struct cw_wire_hdr h = { .type = CW_FT_VER_LIST,
                             .shard = s->copy->shard,
                             .gen = s->gen,
                             .seq = s->s0,
                             .stable = s->join_id };

    if (s->source == NULL || s->source->link == NULL || now < s->list_retry_ns)
        return;
    s->list_tag = cw_replica_tag(r); /* of an earlier request nothing is taken any more */
    s->list_retry_ns = now + LIST_GIVE_UP_NS;
    h.tag = s->list_tag;
    h.lba_nblk = cw_lba_nblk(s->list_next,
                             (uint32_t)cw_min_u64(CW_SHARD_CHUNKS - s->list_next, CW_LIST_CHUNKS));
    cw_source_send(s->source, cw_frame_plain(r->pool, h));
}

static bool
ver_equal(const struct cw_wire_ver *a, const struct cw_wire_ver *b)
{
    return a->chunk == b->chunk && a->gen == b->gen && a->seq == b->seq && a->seq != CW_VER_VOID;
}

/* Sorted by chunk, inside the range. */
static bool
list_is_sane(const struct cw_wire_ver *v, uint32_t n, uint32_t first, uint32_t n_chunks)
{
    for (uint32_t i = 0; i < n; i++)
        if (v[i].chunk < first || v[i].chunk >= first + n_chunks ||
            (i > 0 && v[i].chunk <= v[i - 1].chunk))
            return false;
    return true;
}

/* Merges two sorted lists: what is not the same in both is BEHIND. */
static void
list_compare(struct cw_sync *s, const struct cw_wire_ver *a, uint32_t na,
             const struct cw_wire_ver *b, uint32_t nb)
{
    uint32_t i = 0, j = 0;

    while (i < na || j < nb) {
        if (i < na && j < nb && ver_equal(&a[i], &b[j])) {
            i++;
            j++;
        } else if (j == nb || (i < na && a[i].chunk <= b[j].chunk)) {
            cw_bit_set(s->behind, a[i++].chunk);
        } else {
            cw_bit_set(s->behind, b[j++].chunk);
        }
    }
}

static void
list_take_all(struct cw_sync *s, const struct cw_wire_ver *v, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        cw_bit_set(s->behind, v[i].chunk);
}

static void
list_end(struct cw_sync *s)
{
    s->n_behind = 0;
    for (size_t i = 0; i < CW_LEN(s->behind); i++)
        s->n_behind += cw_popcount(s->behind[i]);
    s->chunks_total = s->n_behind;
    s->step = CW_SYNC_COPY;
}

/* Ours for the same range; UINT32_MAX: no memory now. */
static uint32_t
list_own(struct cw_sync *s, uint32_t first, uint32_t n_chunks, struct cw_buf **ret)
{
    uint32_t next, n;
    struct cw_buf *b = cw_buf_get(s->r->pool, CW_LIST_CHUNKS * sizeof(struct cw_wire_ver));

    *ret = b;
    if (b == NULL)
        return UINT32_MAX;
    n = cw_store_versions(s->copy->sh, first, n_chunks, (struct cw_wire_ver *)(void *)b->data,
                          CW_LIST_CHUNKS, &next);
    cw_assert(next == first + n_chunks);
    return n;
}

void
cw_sync_list_on_data(struct cw_sync *s, const struct cw_frame *f)
{
    const struct cw_wire_ver *theirs = (const struct cw_wire_ver *)(const void *)f->data;
    uint32_t n = f->data_len / sizeof(*theirs), n_own;
    uint32_t n_chunks = cw_hdr_nblk(f->hdr);
    struct cw_buf *own;

    s->list_tag = 0;
    if (f->hdr->seq != s->since_seq) { /* the journal that we were told of is no more */
        cw_sync_refused(s, CW_NACK_STATE);
        return;
    }
    if (s->step != CW_SYNC_LIST || cw_hdr_lba(f->hdr) != s->list_next || n_chunks == 0 ||
        n_chunks > CW_LIST_CHUNKS || n_chunks > CW_SHARD_CHUNKS - s->list_next ||
        f->data_len % sizeof(*theirs) != 0 || !list_is_sane(theirs, n, s->list_next, n_chunks)) {
        s->r->stats.protocol_errors++;
        cw_sync_refused(s, CW_NACK_STATE); /* asked again when the request is given up */
        return;
    }
    n_own = list_own(s, s->list_next, n_chunks, &own);
    if (n_own == UINT32_MAX)
        return;
    if (cw_sync_is_overlay(s))
        list_take_all(s, theirs, n);
    else
        list_compare(s, (const struct cw_wire_ver *)(void *)own->data, n_own, theirs, n);
    cw_buf_unref(own);
    s->answers++;
    s->why = 0;
    s->list_next += n_chunks;
    s->list_retry_ns = 0;
    if (s->list_next == CW_SHARD_CHUNKS || cw_mutated(CW_MUTATION_LIST_PART))
        list_end(s);
}
