/* One operation, as an owner would send it to the store. */
#include <errno.h>

#include "common/base/bits.h"
#include "common/codec/hash.h"
#include "tests/soak/child.h"

struct cw_store_shard *
slot_find(struct child *c, uint32_t slot)
{
    return cw_store_shard_find(c->store, slot_shard(slot));
}

/* ---- tickets ---- */

static void
step_on_done(struct cw_store_ticket *t, int res)
{
    struct step *s = cw_container_of(t, struct step, t);

    s->busy = false;
    if (res != 0)
        child_fail(s->c, "a durable step ended with %d", res);
    if (s->number != 0)
        model_step_durable(s->c->m, s->number, load_on_op, s->c);
}

struct step *
step_get(struct child *c, uint64_t number)
{
    for (uint32_t i = 0; i < STEPS_MAX; i++) {
        struct step *s = &c->load.step[i];

        if (s->busy)
            continue;
        *s = (struct step){ .t.done = step_on_done, .c = c, .number = number, .busy = true };
        return s;
    }
    return NULL;
}

/* ---- trying an operation: 0, or what the store says ---- */

static int
try_write(struct child *c, struct cw_store_shard *sh, struct cw_store_rec *rec, const struct op *o)
{
    struct cw_buf *buf = cw_buf_get(cw_reactor_pool(c->r), (size_t)o->n * CW_BLOCK_SIZE);
    uint64_t csums[CW_IO_BLOCKS_MAX];
    int err;

    if (buf == NULL)
        return -EAGAIN;
    for (uint32_t i = 0; i < o->n; i++) {
        uint8_t *block = buf->data + (size_t)i * CW_BLOCK_SIZE;

        content_fill(block, rec->lba + i, (uint32_t)o->number);
        csums[i] = cw_hash_block(block);
    }
    rec->csums = csums;
    rec->data = buf->data;
    rec->buf = buf;
    err = cw_store_append(sh, rec);
    cw_buf_unref(buf);
    return err;
}

static int
try_stream(struct child *c, const struct op *o)
{
    static const uint8_t types[OP_KINDS] = {
        [OP_WRITE] = CW_FT_WRITE,
        [OP_ZERO] = CW_FT_ZERO,
        [OP_TRIM] = CW_FT_TRIM,
        [OP_GEN] = CW_FT_GEN_START,
    };
    struct cw_store_shard *sh = slot_find(c, o->slot);
    struct cw_store_rec rec = {
        .type = types[o->kind],
        .gen = (uint32_t)cw_max_u64(cw_store_shard_info(sh)->last_gen, 1) + (o->kind == OP_GEN),
        .seq = o->seq,
        .lba = model_lba(o->slot, o->at),
        .nblk = o->n,
    };

    if (o->kind == OP_WRITE)
        return try_write(c, sh, &rec, o);
    if (o->kind == OP_GEN)
        rec.lba = 0;
    return cw_store_append(sh, &rec);
}

static struct cw_shard_rec
slot_rec(const struct child *c, const struct op *o)
{
    struct cw_shard_rec rec = {
        .shard = slot_shard(o->slot),
        .gen = 1,
        .cfg = 1,
        .lineage = o->number,
        .n_blocks = (uint32_t)CW_SHARD_BLOCKS,
        .compression = (enum cw_compression)(o->number % 3),
        .n_members = 1,
    };

    rec.members[0] = (struct cw_member){
        .disk_uuid = cw_store_identity(c->store)->disk_uuid,
        .format_id = cw_store_identity(c->store)->format_id,
        .state = CW_MEMBER_INSYNC,
    };
    return rec;
}

static int
try_make(struct child *c, const struct op *o, struct step *s)
{
    struct cw_shard_rec rec = slot_rec(c, o);
    struct cw_store_shard *sh;
    int err = 0;

    if (o->kind == OP_CLONE)
        sh = cw_store_shard_clone(c->store, &rec, slot_find(c, o->from), o->name, &s->t, &err);
    else
        sh = cw_store_shard_create(c->store, &rec, &s->t, &err);
    if (sh == NULL)
        return err;
    cw_store_shard_info(sh)->user = &c->m->slot[o->slot];
    return 0;
}

static int
try_step(struct child *c, const struct op *o)
{
    struct cw_store_shard *sh = slot_find(c, o->slot);
    struct step *s = step_get(c, o->number);
    int err = 0;

    if (s == NULL)
        return -EAGAIN;
    switch ((enum op_kind)o->kind) {
    case OP_CREATE:
    case OP_CLONE:
        err = try_make(c, o, s);
        break;
    case OP_DROP:
        cw_store_shard_drop(sh, &s->t);
        break;
    case OP_SNAP:
        err = cw_store_snap_create(sh, o->name, &s->t);
        break;
    case OP_UNSNAP:
        err = cw_store_snap_delete(sh, o->name, &s->t);
        break;
    case OP_NONE:
    case OP_WRITE:
    case OP_ZERO:
    case OP_TRIM:
    case OP_GEN:
    case OP_KINDS:
        cw_unreachable();
    }
    s->busy = err == 0;
    return err;
}

/* Nobody may use what goes. */
static bool
op_is_off(const struct child *c, const struct op *o)
{
    const struct load *l = &c->load;

    return (o->kind == OP_DROP && (l->in_flight[o->slot] > 0 || l->reading[o->slot] > 0)) ||
           (o->kind == OP_UNSNAP && l->reading[o->slot] > 0);
}

bool
load_try(struct child *c)
{
    struct op *next = &c->load.next;
    bool stream = next->kind <= OP_GEN;
    struct op *o;
    int err;

    if (op_is_off(c, next))
        return true;
    if (stream)
        next->seq = cw_store_shard_info(slot_find(c, next->slot))->last_seq + 1;
    o = model_issue(c->m, next);
    if (o == NULL)
        return false;
    err = stream ? try_stream(c, o) : try_step(c, o);
    if (err == 0) {
        o->taken_ns = cw_reactor_clock_ns();
        c->load.in_flight[o->slot]++;
        c->load.blocks += o->kind == OP_WRITE ? o->n : 0;
        return true;
    }
    model_take_back(c->m);
    if (err == -EAGAIN) {
        c->k->refused++;
        return false;
    }
    if (err != -ENOSPC && err != -EMLINK)
        child_fail(c, "operation %u of copy %u: result %d", next->kind, next->slot, err);
    return true;
}
