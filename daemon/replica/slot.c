/* replica/slot.c - one chunk under way from the source to us (1.10 step 4), beside the stream.
 *
 *   BEHIND --chunk_void--> VOIDING --> READING our checksums --> READY --CHUNK_GET--> ASKED
 *     ASKED --CHUNK_DATA at position q--> FULL --one atomic record--> SETTING --> CURRENT
 *     ASKED --lost, refused, other source--> READY;  FULL --our block changed meanwhile--> READY
 *     CURRENT, q ahead of our stream --> SKIPPING until the stream has passed q
 *
 * COPYING begins when VOID enters the log, in front of every record that is applied under it. From
 * then on `seq` and `now` follow each block, so that what the source says of position q can be
 * compared with what we hold at this very moment.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "common/base/mutation.h"
#include "common/codec/hash.h"
#include "daemon/replica/internal.h"

#define ASK_GIVE_UP_NS (5 * CW_NS_PER_S)
#define NO_ROOM_NS (50 * CW_NS_PER_MS)

static void
slot_move(struct cw_slot *sl, enum cw_slot_state next)
{
    static const uint8_t moves[] = {
        [CW_SLOT_VOIDING] = CW_BIT(CW_SLOT_READING),
        [CW_SLOT_READING] = CW_BIT(CW_SLOT_READY),
        [CW_SLOT_READY] = CW_BIT(CW_SLOT_ASKED),
        [CW_SLOT_ASKED] = CW_BIT(CW_SLOT_READY) | CW_BIT(CW_SLOT_FULL),
        [CW_SLOT_FULL] = CW_BIT(CW_SLOT_READY) | CW_BIT(CW_SLOT_SETTING),
        [CW_SLOT_SETTING] = CW_BIT(CW_SLOT_SKIPPING),
        [CW_SLOT_SKIPPING] = 0,
    };

    cw_assert(moves[sl->state] & CW_BIT(next));
    sl->state = next;
}

void
cw_slot_free(struct cw_slot *sl)
{
    cw_assert(!sl->under_way);
    cw_list_remove(&sl->in_sync);
    sl->sync->n_slots--;
    sl->sync->r->n_slots--;
    cw_buf_unref(sl->buf);
    free(sl);
}

/* ---- what the store does for a slot ---- */

static void
slot_forget(struct cw_op *op)
{
    struct cw_slot *sl = cw_container_of(op, struct cw_slot, op);
    struct cw_sync *s = sl->sync;

    sl->under_way = false;
    if (s->dead)
        cw_slot_free(sl);
    cw_sync_unref(s);
}

static void
slot_begin_op(struct cw_slot *sl, void (*fn)(struct cw_op *, int))
{
    sl->under_way = true;
    sl->sync->refs++;
    cw_op_begin(sl->sync->copy, &sl->op, fn, slot_forget);
}

/* False: the sync is over and the slot gone with it. The caller's reference stays the caller's. */
static bool
slot_end_op(struct cw_slot *sl)
{
    sl->under_way = false;
    if (!sl->sync->dead)
        return true;
    cw_slot_free(sl);
    return false;
}

/* The chunk is BEHIND again; its VOID makes that honest whatever was applied here. */
static void
slot_give_back(struct cw_slot *sl)
{
    struct cw_sync *s = sl->sync;

    cw_bit_set(s->behind, sl->chunk);
    s->n_behind++;
    s->cursor = (uint32_t)cw_min_u64(s->cursor, sl->chunk);
    cw_slot_free(sl);
}

static void
slot_read_done(struct cw_store_read *read)
{
    struct cw_slot *sl = cw_container_of(read, struct cw_slot, read);
    struct cw_sync *s = sl->sync;
    struct cw_copy *c = sl->op.copy;

    cw_op_cancel(&sl->op);
    if (slot_end_op(sl)) {
        for (uint32_t i = 0; i < CW_CHUNK_BLOCKS; i++)
            if (sl->seq[i] == 0) /* 0 is no checksum that we expect: a bad block is sent to us */
                sl->now[i] = cw_bit_get(read->bad, i) ? 0 : read->csums[i];
        slot_move(sl, CW_SLOT_READY);
        if (read->res != 0)
            slot_give_back(sl);
        cw_sync_pump(s);
    }
    cw_sync_unref(s);
    cw_copy_idle(c);
}

static void
slot_read(struct cw_slot *sl)
{
    slot_move(sl, CW_SLOT_READING);
    slot_begin_op(sl, NULL);
    sl->read = (struct cw_store_read){
        .shard = sl->sync->copy->sh,
        .lba = (uint64_t)sl->chunk * CW_CHUNK_BLOCKS,
        .nblk = CW_CHUNK_BLOCKS,
        .flags = CW_STORE_READ_CSUMS,
        .done = slot_read_done,
    };
    cw_list_init(&sl->read.link);
    cw_store_read(&sl->read);
}

static void
slot_voided(struct cw_op *op, int res)
{
    struct cw_slot *sl = cw_container_of(op, struct cw_slot, op);
    struct cw_sync *s = sl->sync;

    if (slot_end_op(sl)) {
        if (res == 0)
            slot_read(sl);
        else
            slot_give_back(sl);
    }
    cw_sync_unref(s);
}

/* ---- choosing ---- */

static bool
sync_take_chunk(struct cw_sync *s, uint32_t *ret)
{
    while (s->n_hot > 0) {
        *ret = s->hot[--s->n_hot];
        if (cw_bit_get(s->behind, *ret))
            return true;
    }
    while (s->cursor < CW_SHARD_CHUNKS) {
        uint64_t word = s->behind[s->cursor / 64] >> (s->cursor % 64);

        if (word == 0) {
            s->cursor = (s->cursor / 64 + 1) * 64;
            continue;
        }
        *ret = s->cursor + (uint32_t)__builtin_ctzll(word);
        return true;
    }
    return false;
}

static void
sync_note_hot(struct cw_sync *s, uint32_t chunk)
{
    for (uint32_t i = 0; i < s->n_hot; i++)
        if (s->hot[i] == chunk)
            return;
    if (s->n_hot < CW_SYNC_HOT_MAX)
        s->hot[s->n_hot++] = chunk;
}

bool
cw_slot_begin(struct cw_sync *s)
{
    struct cw_replica *r = s->r;
    struct cw_slot *sl;
    uint32_t chunk;

    if (r->n_slots >= r->n_slots_max || s->n_behind == 0 || (r->health & CW_MEMBER_FAILED))
        return false;
    sl = calloc(1, sizeof(*sl));
    if (sl == NULL)
        return false;
    if (!sync_take_chunk(s, &chunk)) {
        free(sl);
        return false;
    }
    sl->sync = s;
    sl->chunk = chunk;
    cw_bit_clear(s->behind, chunk);
    s->n_behind--;
    s->n_slots++;
    r->n_slots++;
    cw_list_push_back(&s->slots, &sl->in_sync);
    if (cw_mutated(CW_MUTATION_NO_VOID)) {
        slot_read(sl);
        return true;
    }
    slot_begin_op(sl, slot_voided);
    cw_store_chunk_void(s->copy->sh, chunk, &sl->op.ticket);
    return true;
}

/* ---- asking ---- */

static void
slot_ask(struct cw_slot *sl)
{
    struct cw_sync *s = sl->sync;
    uint64_t now = cw_now_ns(s->r->env);
    struct cw_wire_hdr h = { .type = CW_FT_CHUNK_GET,
                             .flags = CW_F_CSUMS,
                             .shard = s->copy->shard,
                             .gen = s->gen,
                             .stable = s->join_id };

    if (s->source == NULL || s->source->link == NULL || now < sl->retry_ns || now < s->ask_ns)
        return;
    sl->pos = cw_mutated(CW_MUTATION_NO_MIN_SEQ) ? 0 : s->copy->info->last_seq;
    sl->tag = cw_replica_tag(s->r);
    sl->retry_ns = now + ASK_GIVE_UP_NS;
    h.seq = sl->pos;
    h.tag = sl->tag;
    h.lba_nblk = cw_lba_nblk((uint64_t)sl->chunk * CW_CHUNK_BLOCKS, CW_CHUNK_BLOCKS);
    if (cw_source_send(s->source, cw_frame_opaque(s->r->pool, h, sl->now, NULL, 0)))
        slot_move(sl, CW_SLOT_ASKED);
    else
        sl->retry_ns = now + NO_ROOM_NS;
}

void
cw_slot_ask_again(struct cw_slot *sl, uint64_t after_ns)
{
    cw_buf_unref(sl->buf);
    sl->buf = NULL;
    slot_move(sl, CW_SLOT_READY);
    sl->retry_ns = cw_now_ns(sl->sync->r->env) + after_ns;
}

/* ---- the answer ---- */

static const char *
answer_nonsense(const struct cw_slot *sl, const struct cw_frame *f,
                const struct cw_wire_chunk_data *cd)
{
    const struct cw_wire_hdr *h = f->hdr;
    uint32_t n = 0;

    if (cw_hdr_lba(h) != (uint64_t)sl->chunk * CW_CHUNK_BLOCKS || !(h->flags & CW_F_CSUMS) ||
        cw_hdr_nblk(h) != CW_CHUNK_BLOCKS)
        return "another chunk";
    for (size_t i = 0; i < CW_LEN(cd->sent); i++) {
        n += cw_popcount(cd->sent[i]);
        if (cd->sent[i] & cd->bad[i])
            return "blocks both sent and bad";
    }
    if (n != cd->n_sent || f->data_len != sizeof(*cd) + (uint64_t)n * CW_BLOCK_SIZE)
        return "not the blocks that it names";
    if (h->seq < sl->pos)
        return "older than what was asked for";
    if (cd->ver_gen > sl->sync->gen || (cd->ver_gen == sl->sync->gen && cd->ver_seq > h->seq))
        return "a version from the future";
    return NULL;
}

/* The blocks sent, verified against the source's checksums; false: one does not match. */
static bool
answer_verify(const struct cw_frame *f, const struct cw_wire_chunk_data *cd)
{
    const uint8_t *at = f->data + sizeof(*cd);

    for (uint32_t i = 0; i < CW_CHUNK_BLOCKS; i++) {
        if (!cw_bit_get(cd->sent, i))
            continue;
        if (cw_hash_block(at) != f->csums[i])
            return false;
        at += CW_BLOCK_SIZE;
    }
    return true;
}

static bool
slot_keep_answer(struct cw_slot *sl, const struct cw_frame *f, const struct cw_wire_chunk_data *cd)
{
    if (cd->n_sent > 0) {
        sl->buf = cw_buf_get(sl->sync->r->pool, (size_t)cd->n_sent * CW_BLOCK_SIZE);
        if (sl->buf == NULL)
            return false;
        memcpy(sl->buf->data, f->data + sizeof(*cd), (size_t)cd->n_sent * CW_BLOCK_SIZE);
    }
    memcpy(sl->theirs, f->csums, sizeof(sl->theirs));
    memcpy(sl->sent, cd->sent, sizeof(sl->sent));
    memcpy(sl->bad, cd->bad, sizeof(sl->bad));
    memset(sl->ours, 0, sizeof(sl->ours));
    for (uint32_t i = 0; cw_sync_is_overlay(sl->sync) && i < CW_CHUNK_BLOCKS; i++) {
        if (!cw_bit_get(sl->bad, i) || sl->theirs[i] != CW_HASH_UNKNOWN)
            continue;
        cw_bit_clear(sl->bad, i);
        cw_bit_set(sl->ours, i);
    }
    sl->q = f->hdr->seq;
    sl->ver_seq = cd->ver_seq;
    sl->ver_gen = cd->ver_gen;
    return true;
}

void
cw_slot_on_data(struct cw_slot *sl, const struct cw_frame *f)
{
    struct cw_sync *s = sl->sync;
    struct cw_wire_chunk_data cd = { 0 };
    const char *nonsense = "too short";
    uint64_t bytes, now = cw_now_ns(s->r->env);

    if (f->data_len >= sizeof(cd)) {
        memcpy(&cd, f->data, sizeof(cd));
        nonsense = answer_nonsense(sl, f, &cd);
    }
    if (nonsense == NULL && !answer_verify(f, &cd))
        nonsense = "a block does not match its checksum";
    if (nonsense != NULL) {
        cw_log(s->r->env, CW_LOG_WARNING, "shard %llx: chunk %u of the source refused: %s",
               (unsigned long long)s->copy->shard, sl->chunk, nonsense);
        s->r->stats.protocol_errors++;
        cw_sync_refused(s, CW_NACK_BAD_CSUM);
        cw_slot_ask_again(sl, CW_NS_PER_S);
        return;
    }
    if (cw_sync_is_overlay(s) && (cd.ver_seq != s->since_seq || cd.ver_gen != 0)) {
        /* the journal that we were told of is no more: this one may lack what we lack */
        cw_sync_refused(s, CW_NACK_STATE);
        cw_slot_ask_again(sl, CW_NS_PER_S);
        return;
    }
    bytes = (uint64_t)cd.n_sent * CW_BLOCK_SIZE;
    s->answers++;
    s->why = 0;
    s->bytes_moved += bytes;
    s->r->stats.bytes_pulled += bytes;
    if (s->rate_bytes > 0)
        s->ask_ns = cw_max_u64(s->ask_ns, now) + bytes * CW_NS_PER_S / s->rate_bytes;
    if (slot_keep_answer(sl, f, &cd))
        slot_move(sl, CW_SLOT_FULL);
    else
        cw_slot_ask_again(sl, NO_ROOM_NS);
}

/* Compares the answer at q with what is here now. False: a block that was not sent, because it was
 * equal when we asked, has changed under records that the source's position covers: ask again. Of
 * the blocks sent those are dropped that a record above q has overwritten here. */
static bool
slot_settle(struct cw_slot *sl)
{
    uint32_t from = 0, to = 0;

    for (uint32_t i = 0; i < CW_CHUNK_BLOCKS; i++) {
        bool sent = cw_bit_get(sl->sent, i);
        bool newer = sl->seq[i] > sl->q && !cw_mutated(CW_MUTATION_NO_ARRAY);
        uint8_t *data = sl->buf != NULL ? sl->buf->data : NULL;

        if (newer)
            cw_bit_clear(sl->bad, i);
        if (!newer && !sent && !cw_bit_get(sl->bad, i) && !cw_bit_get(sl->ours, i) &&
            sl->now[i] != sl->theirs[i] && !cw_mutated(CW_MUTATION_NO_RECHECK))
            return false;
        if (!sent)
            continue;
        if (newer)
            cw_bit_clear(sl->sent, i);
        else if (from != to)
            memcpy(data + (size_t)to * CW_BLOCK_SIZE, data + (size_t)from * CW_BLOCK_SIZE,
                   CW_BLOCK_SIZE);
        from++;
        to += !newer;
    }
    return true;
}

static void
slot_list_csums(struct cw_slot *sl)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < CW_CHUNK_BLOCKS; i++)
        if (cw_bit_get(sl->sent, i))
            sl->set_csums[n++] = sl->theirs[i];
}

static void
slot_is_set(struct cw_op *op, int res)
{
    struct cw_slot *sl = cw_container_of(op, struct cw_slot, op);
    struct cw_sync *s = sl->sync;

    if (slot_end_op(sl)) {
        cw_buf_unref(sl->buf);
        sl->buf = NULL;
        if (res == 0)
            s->r->stats.chunks_copied++;
        slot_move(sl, CW_SLOT_SKIPPING);
        if (res != 0)
            slot_give_back(sl);
        else
            cw_slot_pos_moved(s);
        cw_sync_pump(s);
    }
    cw_sync_unref(s);
}

static void
slot_refused_by_store(struct cw_slot *sl, int res)
{
    if (res == -EAGAIN)
        return; /* FULL: tried again when the store has room */
    cw_sync_refused(sl->sync, res == -ENOSPC ? CW_NACK_NO_SPACE : CW_NACK_IO);
    cw_slot_ask_again(sl, CW_NS_PER_S);
}

/* A journal's chunks have no version. At its position q in our stream this chunk is what (gen, q)
 * makes it on every copy that has all records: if that record is of this chunk it wrote the same
 * there, and if it is not, no chunk but such a one bears its number. */
static void
slot_version(const struct cw_slot *sl, struct cw_store_chunk_set *set)
{
    const struct cw_sync *s = sl->sync;

    set->ver_gen = s->gen;
    if (sl->hi_seq > sl->q) {
        set->ver_seq = sl->hi_seq;
    } else if (cw_sync_is_overlay(s)) {
        set->ver_seq = sl->q;
    } else {
        set->ver_gen = sl->ver_gen;
        set->ver_seq = sl->ver_seq;
    }
}

static void
slot_set(struct cw_slot *sl)
{
    struct cw_store_chunk_set set = { .chunk = sl->chunk, .csums = sl->set_csums };
    int res;

    if (!slot_settle(sl)) {
        sl->sync->r->stats.rechecks++;
        cw_slot_ask_again(sl, 0);
        return;
    }
    slot_list_csums(sl);
    memcpy(set.set, sl->sent, sizeof(set.set));
    memcpy(set.bad, sl->bad, sizeof(set.bad));
    set.buf = sl->buf;
    set.data = sl->buf != NULL ? sl->buf->data : NULL;
    slot_version(sl, &set);
    slot_begin_op(sl, slot_is_set);
    res = cw_store_chunk_current(sl->sync->copy->sh, &set, &sl->op.ticket);
    if (res == 0) {
        slot_move(sl, CW_SLOT_SETTING);
        return;
    }
    cw_op_cancel(&sl->op);
    sl->under_way = false;
    sl->sync->refs--;
    slot_refused_by_store(sl, res);
}

void
cw_slot_pump(struct cw_slot *sl)
{
    uint64_t now = cw_now_ns(sl->sync->r->env);

    if (sl->state == CW_SLOT_ASKED && now >= sl->retry_ns)
        cw_slot_ask_again(sl, 0);
    if (sl->state == CW_SLOT_FULL)
        slot_set(sl);
    if (sl->state == CW_SLOT_READY)
        slot_ask(sl);
}

/* ---- the stream ---- */

static struct cw_slot *
sync_slot_of(const struct cw_sync *s, uint32_t chunk)
{
    CW_LIST_EACH (it, &s->slots) {
        struct cw_slot *sl = cw_list_entry(it, struct cw_slot, in_sync);

        if (sl->chunk == chunk)
            return sl;
    }
    return NULL;
}

static enum cw_store_apply
sync_apply_to(const struct cw_sync *s, uint32_t chunk, uint64_t seq)
{
    const struct cw_slot *sl;

    if (s->step == CW_SYNC_JOINING || s->step == CW_SYNC_LIST || cw_bit_get(s->behind, chunk))
        return cw_mutated(CW_MUTATION_BEHIND_APPLIES) ? CW_STORE_APPLY : CW_STORE_DROP;
    sl = sync_slot_of(s, chunk);
    if (sl == NULL)
        return CW_STORE_APPLY;
    if (sl->state == CW_SLOT_SETTING || sl->state == CW_SLOT_SKIPPING)
        return seq > sl->q ? CW_STORE_APPLY : CW_STORE_DROP; /* it came with the chunk */
    return cw_mutated(CW_MUTATION_COPY_ADVANCES) ? CW_STORE_APPLY : CW_STORE_APPLY_KEEP;
}

bool
cw_slot_apply(struct cw_sync *s, const struct cw_store_rec *rec)
{
    uint32_t first = (uint32_t)(rec->lba / CW_CHUNK_BLOCKS), n;
    bool special = false;

    if (rec->nblk == 0)
        return false;
    n = (uint32_t)((rec->lba + rec->nblk - 1) / CW_CHUNK_BLOCKS) - first + 1;
    for (uint32_t i = 0; i < n; i++) {
        s->r->apply[i] = (uint8_t)sync_apply_to(s, first + i, rec->seq);
        special = special || s->r->apply[i] != CW_STORE_APPLY;
    }
    return special;
}

/* The part of a record that lies in the slot's chunk. */
static void
slot_appended(struct cw_slot *sl, const struct cw_store_rec *rec)
{
    uint64_t base = (uint64_t)sl->chunk * CW_CHUNK_BLOCKS;
    uint64_t from = cw_max_u64(rec->lba, base);
    uint64_t end = cw_min_u64(rec->lba + rec->nblk, base + CW_CHUNK_BLOCKS);

    if (sl->state >= CW_SLOT_SETTING)
        return;
    for (uint64_t b = from; b < end; b++) {
        sl->seq[b - base] = rec->seq;
        sl->now[b - base] =
            rec->type == CW_FT_WRITE ? rec->csums[b - rec->lba] : CW_HASH_ZERO_BLOCK;
    }
    sl->hi_seq = rec->seq;
    sl->sync->r->stats.copy_hits++;
}

static void
sync_appended_to(struct cw_sync *s, const struct cw_store_rec *rec, uint32_t chunk)
{
    struct cw_slot *sl;

    if (s->step == CW_SYNC_JOINING || s->step == CW_SYNC_LIST) {
        if (!cw_mutated(CW_MUTATION_NO_TOUCHED))
            cw_bit_set(s->behind, chunk); /* touched */
    } else if (cw_bit_get(s->behind, chunk)) {
        sync_note_hot(s, chunk);
    } else {
        sl = sync_slot_of(s, chunk);
        if (sl != NULL)
            slot_appended(sl, rec);
    }
}

void
cw_slot_appended(struct cw_sync *s, const struct cw_store_rec *rec)
{
    if (rec->nblk > 0)
        for (uint64_t c = rec->lba / CW_CHUNK_BLOCKS;
             c <= (rec->lba + rec->nblk - 1) / CW_CHUNK_BLOCKS; c++)
            sync_appended_to(s, rec, (uint32_t)c);
    cw_slot_pos_moved(s);
}

void
cw_slot_pos_moved(struct cw_sync *s)
{
    bool moved = false;

    CW_LIST_EACH_SAFE (it, &s->slots) {
        struct cw_slot *sl = cw_list_entry(it, struct cw_slot, in_sync);

        if (sl->state == CW_SLOT_SKIPPING && sl->q <= s->copy->info->last_seq) {
            cw_slot_free(sl);
            moved = true;
        }
    }
    if (moved)
        s->r->room = true; /* a place is free: pumped at the end of the turn */
}
