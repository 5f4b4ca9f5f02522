#include "tests/soak/model.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "common/base/bits.h"
#include "common/codec/hash.h"

/* A kill stops a process, not its memory, so it is the compiler alone that must keep the order. */
#define STORE(to, value) __atomic_store_n(&(to), value, __ATOMIC_SEQ_CST)

struct model *
model_new(uint32_t blocks)
{
    size_t bytes = sizeof(struct model) + (size_t)SLOTS * (1 + SNAPS) * blocks * sizeof(uint32_t);
    struct model *m = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    cw_assert(m != MAP_FAILED);
    m->blocks = blocks;
    m->next_number = m->next_name = 1;
    return m;
}

uint32_t *
model_ids(struct model *m, uint32_t slot, uint32_t layer)
{
    cw_assert(slot < SLOTS && layer <= SNAPS);
    return m->ids + ((size_t)slot * (1 + SNAPS) + layer) * m->blocks;
}

/* ---- places and content ---- */

/* Chunks of a slot are so far apart: from all in a row to two per page of the chunk table. */
static const uint32_t strides[SLOTS] = { 1, 5, 40, 1, 1 };

/* A clone shows its parent's blocks where the parent has them. */
uint64_t
model_lba(uint32_t slot, uint32_t at)
{
    return (uint64_t)(at / CW_CHUNK_BLOCKS) * strides[slot] * CW_CHUNK_BLOCKS +
           at % CW_CHUNK_BLOCKS;
}

uint32_t
model_run(uint32_t slot, uint32_t at, uint32_t n)
{
    uint32_t left = CW_CHUNK_BLOCKS - at % CW_CHUNK_BLOCKS;

    return strides[slot] == 1 || n < left ? n : left;
}

/* Some blocks are zeroes, some pack well, most do not. */
void
content_fill(uint8_t *block, uint64_t lba, uint32_t id)
{
    uint64_t x = cw_mix64(lba ^ cw_mix64(id));
    uint64_t step = id % 4 == 0 ? 0 : UINT64_C(0x9e3779b97f4a7c15);

    if (id == 0 || x % 32 == 0) {
        memset(block, 0, CW_BLOCK_SIZE);
        return;
    }
    for (size_t i = 0; i < CW_BLOCK_SIZE; i += 8, x += step)
        memcpy(block + i, &x, 8);
}

uint64_t
content_csum(uint64_t lba, uint32_t id)
{
    uint8_t block[CW_BLOCK_SIZE];

    if (id == 0)
        return CW_HASH_ZERO_BLOCK;
    content_fill(block, lba, id);
    return cw_hash_block(block);
}

uint64_t
slot_shard(uint32_t slot)
{
    return (uint64_t)(slot + 1) << 16;
}

/* ---- the journal ---- */

uint32_t
model_in_flight(const struct model *m)
{
    return (uint32_t)(m->head - m->tail);
}

struct op *
model_op(struct model *m, uint64_t i)
{
    return &m->op[i % OPS_MAX];
}

struct op *
model_issue(struct model *m, const struct op *op)
{
    struct op *o = model_op(m, m->head);

    if (m->head - m->tail == OPS_MAX)
        return NULL;
    *o = *op;
    o->number = m->next_number++;
    o->applied = false;
    STORE(m->head, m->head + 1);
    return o;
}

void
model_take_back(struct model *m)
{
    cw_assert(m->head > m->tail);
    STORE(m->head, m->head - 1);
}

/* ---- applying ---- */

static uint32_t
snap_at(const struct slot *s, uint64_t name)
{
    uint32_t i = 0;

    while (i < SNAPS && s->snap[i] != name)
        i++;
    cw_assert(i < SNAPS);
    return i;
}

static void
ids_copy(struct model *m, uint32_t to_slot, uint32_t to, uint32_t slot, uint32_t layer)
{
    memcpy(model_ids(m, to_slot, to), model_ids(m, slot, layer), m->blocks * sizeof(uint32_t));
}

static void
slot_begin(struct model *m, const struct op *o)
{
    struct slot *s = &m->slot[o->slot];

    memset(s, 0, sizeof(*s));
    s->incarnation = o->number;
    if (o->kind == OP_CLONE)
        ids_copy(m, o->slot, 0, o->from, 1 + snap_at(&m->slot[o->from], o->name));
    else
        memset(model_ids(m, o->slot, 0), 0, m->blocks * sizeof(uint32_t));
    STORE(s->exists, true);
}

static void
apply_stream(struct model *m, const struct op *o)
{
    uint32_t *ids = model_ids(m, o->slot, 0);
    uint32_t id = o->kind == OP_WRITE ? (uint32_t)o->number : 0;

    for (uint32_t i = 0; i < o->n; i++)
        ids[o->at + i] = id;
    m->slot[o->slot].recent[o->seq % RECENT] = (struct recent){
        .seq = o->seq, .number = o->number, .at = o->at, .n = o->n, .kind = o->kind
    };
}

/* To do one twice is to do it once: nothing behind it was done in between. */
static void
op_apply(struct model *m, struct op *o)
{
    struct slot *s = &m->slot[o->slot];

    switch ((enum op_kind)o->kind) {
    case OP_WRITE:
    case OP_ZERO:
    case OP_TRIM:
    case OP_GEN:
        apply_stream(m, o);
        break;
    case OP_CREATE:
    case OP_CLONE:
        slot_begin(m, o);
        break;
    case OP_DROP:
        STORE(s->exists, false);
        memset(s->snap, 0, sizeof(s->snap));
        break;
    case OP_SNAP: {
        uint32_t i = 0;

        while (i < SNAPS && s->snap[i] != 0 && s->snap[i] != o->name)
            i++;
        cw_assert(i < SNAPS);
        ids_copy(m, o->slot, 1 + i, o->slot, 0);
        STORE(s->snap[i], o->name);
        break;
    }
    case OP_UNSNAP:
        for (uint32_t i = 0; i < SNAPS; i++) {
            if (s->snap[i] == o->name)
                STORE(s->snap[i], 0);
        }
        break;
    case OP_NONE:
    case OP_KINDS:
        cw_unreachable();
    }
    STORE(o->applied, true);
}

static void
journal_trim(struct model *m)
{
    while (m->tail < m->head && model_op(m, m->tail)->applied)
        STORE(m->tail, m->tail + 1);
}

/* All of the slot up to journal place `last`. */
static void
journal_apply(struct model *m, uint32_t slot, uint64_t last, model_done_fn *done, void *user)
{
    for (uint64_t i = m->tail; i <= last; i++) {
        struct op *o = model_op(m, i);

        if (o->slot != slot || o->applied)
            continue;
        op_apply(m, o);
        if (done != NULL)
            done(user, o);
    }
    journal_trim(m);
}

static bool
op_has_seq(const struct op *o)
{
    return o->kind == OP_WRITE || o->kind == OP_ZERO || o->kind == OP_TRIM || o->kind == OP_GEN;
}

void
model_durable(struct model *m, uint32_t slot, uint64_t seq, model_done_fn *done, void *user)
{
    uint64_t last = UINT64_MAX;

    STORE(m->slot[slot].acked_seq, seq); /* from here on it must never be lost */
    for (uint64_t i = m->tail; i < m->head; i++) {
        const struct op *o = model_op(m, i);

        if (o->slot == slot && op_has_seq(o) && o->seq <= seq)
            last = i;
    }
    if (last != UINT64_MAX)
        journal_apply(m, slot, last, done, user);
}

void
model_step_durable(struct model *m, uint64_t number, model_done_fn *done, void *user)
{
    for (uint64_t i = m->tail; i < m->head; i++) {
        const struct op *o = model_op(m, i);

        if (o->number == number) {
            journal_apply(m, o->slot, i, done, user);
            return;
        }
    }
}

/* ---- after a crash ---- */

static bool
store_has_snap(struct cw_store_shard *sh, uint64_t name)
{
    struct cw_store_snap_info info[SNAPS + 8];
    uint32_t n = cw_store_snap_list(sh, info, CW_LEN(info));

    for (uint32_t i = 0; i < n && i < CW_LEN(info); i++) {
        if (info[i].snap == name)
            return true;
    }
    return false;
}

/* Did the store keep it? A copy is dropped only when nothing else of it is under way, and nothing
 * of it is issued until that is done; so what the store shows tells of each. */
static bool
op_is_kept(struct cw_store *s, const struct op *o)
{
    struct cw_store_shard *sh = cw_store_shard_find(s, slot_shard(o->slot));

    if (o->kind == OP_DROP || sh == NULL)
        return (o->kind == OP_DROP) == (sh == NULL);
    switch ((enum op_kind)o->kind) {
    case OP_WRITE:
    case OP_ZERO:
    case OP_TRIM:
    case OP_GEN:
        return cw_store_shard_info(sh)->durable_seq >= o->seq;
    case OP_CREATE:
    case OP_CLONE:
        return cw_store_shard_info(sh)->rec.lineage == o->number;
    case OP_SNAP:
        return store_has_snap(sh, o->name);
    case OP_UNSNAP:
        return !store_has_snap(sh, o->name);
    case OP_DROP:
    case OP_NONE:
    case OP_KINDS:
        break;
    }
    cw_unreachable();
}

static const char *
check_acked(struct model *m, struct cw_store *s)
{
    static char why[160];

    for (uint32_t i = 0; i < SLOTS; i++) {
        struct cw_store_shard *sh = cw_store_shard_find(s, slot_shard(i));
        const struct cw_store_shard_info *info = sh == NULL ? NULL : cw_store_shard_info(sh);

        if (m->slot[i].exists != (sh != NULL)) {
            snprintf(why, sizeof(why), "copy %u %s", i, sh == NULL ? "is gone" : "should be gone");
            return why;
        }
        if (sh == NULL)
            continue;
        if (info->rec.lineage == m->slot[i].incarnation &&
            info->durable_seq >= m->slot[i].acked_seq && !info->damaged)
            continue;
        snprintf(why, sizeof(why), "copy %u: at seq %llu, acknowledged %llu%s", i,
                 (unsigned long long)info->durable_seq, (unsigned long long)m->slot[i].acked_seq,
                 info->damaged ? ", damaged" : "");
        return why;
    }
    return NULL;
}

const char *
model_resolve(struct model *m, struct cw_store *s, struct resolved *ret)
{
    static char why[160];
    const struct op *lost = NULL;

    for (uint64_t i = m->tail; i < m->head; i++) {
        struct op *o = model_op(m, i);
        bool kept = o->applied || op_is_kept(s, o);

        if (kept && lost != NULL) {
            snprintf(why, sizeof(why),
                     "not a prefix: %llu (kind %u, copy %u) is there, %llu (%u, %u) is not",
                     (unsigned long long)o->number, o->kind, o->slot,
                     (unsigned long long)lost->number, lost->kind, lost->slot);
            return why;
        }
        if (!kept)
            lost = lost == NULL ? o : lost;
        else if (!o->applied)
            op_apply(m, o);
        ret->kept += kept;
        ret->lost += !kept;
    }
    STORE(m->tail, m->head);
    return check_acked(m, s);
}
