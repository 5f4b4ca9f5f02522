/* What is done next: by the phase, by what is there, and by chance. */
#include <string.h>

#include "common/base/bits.h"
#include "tests/soak/child.h"

#define CLONE_SLOT (SLOTS - 1)
#define CLEAR_MAX 512u

bool
chance(struct child *c, uint32_t percent)
{
    return child_random(c, 100) < percent;
}

/* One that exists and is not about to go. */
static bool
slot_is_usable(struct child *c, uint32_t slot)
{
    return slot_find(c, slot) != NULL;
}

bool
pick_slot(struct child *c, struct op *o)
{
    for (uint32_t i = 0; i < 8; i++) {
        o->slot = (uint8_t)child_random(c, SLOTS);
        if (slot_is_usable(c, o->slot))
            return true;
    }
    return false;
}

void
pick_range(struct child *c, struct op *o, uint32_t below, uint32_t max)
{
    o->at = (uint32_t)child_random(c, below);
    o->n = 1 + (uint32_t)child_random(c, max);
    o->n = (uint32_t)cw_min_u64(o->n, c->m->blocks - o->at);
    o->n = model_run(o->slot, o->at, o->n);
}

static bool
pick_write(struct child *c, struct op *o)
{
    uint32_t below = c->m->blocks, max = chance(c, 5) ? CW_IO_BLOCKS_MAX : 8;

    if (!pick_slot(c, o))
        return false;
    if (c->k->phase == PHASE_SKEWED && chance(c, 80))
        below /= 5;
    pick_range(c, o, below, max);
    o->kind = OP_WRITE;
    return true;
}

/* What nobody has written yet, in order. */
static bool
pick_fill(struct child *c, struct op *o)
{
    struct load *l = &c->load;

    o->slot = (uint8_t)(l->fill_slot++ % CLONE_SLOT);
    if (!slot_is_usable(c, o->slot))
        return false;
    for (uint32_t i = 0; i < 64; i++) {
        uint32_t at = l->fill_at[o->slot];

        l->fill_at[o->slot] = at + 64 < c->m->blocks ? at + 64 : 0;
        if (model_ids(c->m, o->slot, 0)[at] != 0)
            continue;
        o->at = at;
        o->n = model_run(o->slot, at, (uint32_t)cw_min_u64(64, c->m->blocks - at));
        o->kind = OP_WRITE;
        return true;
    }
    return false;
}

static bool
pick_clear(struct child *c, struct op *o)
{
    if (!pick_slot(c, o))
        return false;
    pick_range(c, o, c->m->blocks, CLEAR_MAX);
    o->kind = chance(c, 70) ? OP_TRIM : OP_ZERO;
    return true;
}

bool
snap_is_pending(const struct child *c, uint32_t slot, uint64_t name)
{
    for (uint64_t i = c->m->tail; i < c->m->head; i++) {
        const struct op *o = model_op(c->m, i);

        if (o->name == name && (o->slot == slot || o->kind == OP_CLONE))
            return true;
    }
    return false;
}

static bool
pick_unsnap(struct child *c, struct op *o)
{
    if (!pick_slot(c, o))
        return false;
    o->name = c->m->slot[o->slot].snap[child_random(c, SNAPS)];
    o->kind = OP_UNSNAP;
    return o->name != 0 && !snap_is_pending(c, o->slot, o->name);
}

static bool
pick_snap(struct child *c, struct op *o)
{
    uint32_t n = 0, coming = 0;

    if (!pick_slot(c, o))
        return false;
    for (uint32_t i = 0; i < SNAPS; i++)
        n += c->m->slot[o->slot].snap[i] != 0;
    for (uint64_t i = c->m->tail; i < c->m->head; i++)
        coming += model_op(c->m, i)->slot == o->slot && model_op(c->m, i)->kind == OP_SNAP;
    if (n + coming >= SNAPS)
        return pick_unsnap(c, o);
    o->name = c->m->next_name++;
    o->kind = OP_SNAP;
    return true;
}

/* A copy is dropped when nothing of it is under way, and made again later. */
static bool
pick_copy(struct child *c, struct op *o)
{
    o->slot = (uint8_t)child_random(c, SLOTS);
    if (c->load.in_flight[o->slot] > 0 || c->load.reading[o->slot] > 0)
        return false;
    if (slot_is_usable(c, o->slot)) {
        o->kind = OP_DROP;
        return o->slot == CLONE_SLOT || chance(c, 20);
    }
    o->kind = OP_CREATE;
    if (o->slot != CLONE_SLOT)
        return true;
    o->kind = OP_CLONE;
    o->from = chance(c, 50) ? 0 : 3; /* those that lie as the clone does */
    o->name = c->m->slot[o->from].snap[child_random(c, SNAPS)];
    return slot_is_usable(c, o->from) && o->name != 0 && !snap_is_pending(c, o->from, o->name);
}

static bool
pick_gen(struct child *c, struct op *o)
{
    struct cw_store_shard *sh;
    struct step *s;

    if (!pick_slot(c, o))
        return false;
    sh = slot_find(c, o->slot);
    s = c->load.in_flight[o->slot] > 0 ? NULL : step_get(c, 0);
    if (s == NULL)
        return false;
    cw_store_promise(sh, cw_store_shard_info(sh)->promised_gen + 1, &s->t);
    o->kind = OP_GEN;
    return true;
}

static bool
pick_mixed(struct child *c, struct op *o)
{
    uint64_t dice = child_random(c, 1000);

    if (dice < 4)
        return pick_snap(c, o);
    if (dice < 6)
        return pick_unsnap(c, o);
    if (dice < 8)
        return pick_copy(c, o);
    if (dice < 10)
        return pick_gen(c, o);
    return dice < 80 ? pick_clear(c, o) : dice < 200 ? pick_fill(c, o) : pick_write(c, o);
}

static bool
pick_of_phase(struct child *c, struct op *o)
{
    switch (c->k->phase) {
    case PHASE_FILL:
        return pick_fill(c, o);
    case PHASE_UNIFORM:
    case PHASE_SKEWED:
        return pick_write(c, o);
    case PHASE_TRIM:
        return chance(c, 50) ? pick_clear(c, o) : pick_write(c, o);
    case PHASE_SNAPS:
        return chance(c, 3) ? pick_snap(c, o) : chance(c, 2) ? pick_unsnap(c, o) : pick_write(c, o);
    case PHASE_COPIES:
        return chance(c, 5) ? pick_copy(c, o) : chance(c, 1) ? pick_snap(c, o) : pick_write(c, o);
    case PHASE_MIXED:
        return pick_mixed(c, o);
    case PHASE_IDLE:
    case PHASES:
        return false;
    }
    return false;
}

/* A full store is emptied a little: by trims, and where those give nothing, by its snapshots. */
static bool
pick_room(struct child *c, struct op *o)
{
    if (c->k->phase == PHASE_FILL || chance(c, 90))
        return c->k->phase != PHASE_FILL && chance(c, 30) && pick_clear(c, o);
    return pick_unsnap(c, o) || pick_copy(c, o);
}

bool
load_pick(struct child *c)
{
    struct op o = { 0 };

    if (!pick_of_phase(c, &o))
        return false;
    if (o.kind == OP_WRITE && cw_store_credit(slot_find(c, o.slot)) < o.n) {
        c->k->n_full++;
        o = (struct op){ 0 };
        if (!pick_room(c, &o))
            return false;
    }
    o.begun_ns = cw_reactor_clock_ns();
    c->load.next = o;
    return true;
}
