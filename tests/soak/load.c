/* What the foreground does: phases of writes, clears, snapshots, copies, as an owner would send
 * them.
 *
 * Like an owner it sends no more than the credit of a copy allows, tells `stable` now and then, and
 * tries again what the store has no room for. When there is no credit it gives space back.
 */
#include <stdlib.h>

#include "common/base/bits.h"
#include "tests/soak/child.h"

#define BLOCKS_MAX 1024u /* under way at once: 4 MiB, as an owner's window on a small store */

const char *const phase_names[PHASES] = {
    [PHASE_FILL] = "fill",   [PHASE_UNIFORM] = "uniform", [PHASE_SKEWED] = "skewed",
    [PHASE_TRIM] = "trim",   [PHASE_SNAPS] = "snaps",     [PHASE_COPIES] = "copies",
    [PHASE_MIXED] = "mixed", [PHASE_IDLE] = "idle",
};

static uint32_t
slot_of(const struct child *c, struct cw_store_shard *sh)
{
    return (uint32_t)((struct slot *)cw_store_shard_info(sh)->user - c->m->slot);
}

/* ---- done ---- */

void
load_on_op(void *user, const struct op *o)
{
    struct child *c = user;
    uint64_t took_ns = cw_reactor_clock_ns() - o->begun_ns;
    struct soak *k = c->k;

    k->ops[o->kind]++;
    k->blocks_written += o->kind == OP_WRITE ? o->n : 0;
    k->progress++;
    c->load.in_flight[o->slot]--;
    c->load.blocks -= o->kind == OP_WRITE ? o->n : 0;
    cw_histogram_add(&k->ack, took_ns);
    if (took_ns > STALL_NS) {
        struct stall s = {
            .at_ns = o->begun_ns,
            .took_ns = took_ns,
            .refused_ns = o->taken_ns - o->begun_ns,
            .kind = o->kind,
            .phase = (uint8_t)k->phase,
        };

        stall_look(k, &s);
        stall_note(k, s);
    }
}

void
load_on_durable(struct child *c, struct cw_store_shard *sh)
{
    const struct cw_store_shard_info *info = cw_store_shard_info(sh);

    model_durable(c->m, slot_of(c, sh), info->durable_seq, load_on_op, c);
}

void
load_set_stable(struct child *c)
{
    for (uint32_t i = 0; i < SLOTS; i++) {
        struct cw_store_shard *sh = slot_find(c, i);
        uint64_t seq = sh == NULL ? 0 : cw_store_shard_info(sh)->durable_seq, keep;

        /* the last records stay in the tail for a while; when idle, none */
        keep = c->load.in_flight[i] == 0 ? 0 : child_random(c, 64);
        if (seq > keep)
            cw_store_set_stable(sh, seq - keep);
    }
}

/* ---- reads under load ---- */

static bool
range_is_busy(const struct child *c, const struct peek *p, uint64_t from)
{
    for (uint64_t i = from; i < c->m->head; i++) {
        const struct op *o = model_op(c->m, i);

        if (o->slot == p->slot &&
            (o->kind > OP_GEN || cw_ranges_overlap(o->at, o->n, p->at, p->r.nblk)))
            return true;
    }
    return false;
}

static void
peek_on_read(struct cw_store_read *r)
{
    struct peek *p = cw_container_of(r, struct peek, r);
    struct child *c = p->c;

    c->k->reads++;
    c->k->read_blocks += r->nblk;
    if (p->settled && c->m->head - p->journal < OPS_MAX / 2 &&
        (p->layer > 0 || !range_is_busy(c, p, p->journal)))
        verify_answer(c, r, p->slot, model_ids(c->m, p->slot, p->layer) + p->at, p->at);
    cw_buf_unref(r->buf);
    p->busy = false;
    c->load.reading[p->slot]--;
}

static void
load_read(struct child *c, struct peek *p)
{
    struct op o = { 0 };

    if (!pick_slot(c, &o))
        return;
    pick_range(c, &o, c->m->blocks, 32);
    *p = (struct peek){ .c = c, .slot = o.slot, .at = o.at, .busy = true, .journal = c->m->head };
    p->layer = (uint32_t)child_random(c, 1 + SNAPS);
    if (p->layer > 0 && (c->m->slot[p->slot].snap[p->layer - 1] == 0 ||
                         snap_is_pending(c, p->slot, c->m->slot[p->slot].snap[p->layer - 1])))
        p->layer = 0;
    p->r = (struct cw_store_read){
        .shard = slot_find(c, p->slot),
        .lba = model_lba(p->slot, p->at),
        .nblk = o.n,
        .snap = p->layer == 0 ? 0 : c->m->slot[p->slot].snap[p->layer - 1],
        .done = peek_on_read,
    };
    p->settled = p->layer > 0 || !range_is_busy(c, p, c->m->tail);
    c->load.reading[p->slot]++;
    cw_store_read(&p->r);
}

/* ---- turns ---- */

static void
load_phase(struct child *c)
{
    static const uint32_t depths[] = { 1, 4, 32, 96 };
    uint64_t now_ns = child_now_ns(c);

    if (now_ns < c->load.phase_end_ns)
        return;
    c->k->phase = (enum phase)child_random(c, PHASES);
    if (c->k->life.brim && !c->k->brimful)
        c->k->phase = c->k->phase % 2 == 0 ? PHASE_FILL : PHASE_UNIFORM;
    c->load.depth = depths[child_random(c, CW_LEN(depths))];
    c->load.phase_end_ns = now_ns + (c->k->phase == PHASE_IDLE ? 300 + child_random(c, 500)
                                                               : 500 + child_random(c, 3000)) *
                                        CW_NS_PER_MS;
}

void
load_start(struct child *c)
{
    for (uint32_t i = 0; i < SLOTS; i++)
        c->load.fill_at[i] = (uint32_t)(child_random(c, c->m->blocks) & ~UINT64_C(63));
    load_phase(c);
}

void
load_turn(struct child *c)
{
    struct load *l = &c->load;

    if (!l->stopping)
        load_phase(c);
    for (uint32_t i = 0; i < 64 && model_in_flight(c->m) < l->depth && l->blocks < BLOCKS_MAX;
         i++) {
        if (l->next.kind == OP_NONE && (l->stopping || !load_pick(c)))
            break;
        if (!load_try(c))
            break;
        l->next.kind = OP_NONE;
    }
    for (uint32_t i = 0; i < READS_MAX && !l->stopping && c->k->phase != PHASE_IDLE; i++) {
        if (!l->peek[i].busy && chance(c, 10))
            load_read(c, &l->peek[i]);
    }
}

bool
load_is_over(const struct child *c)
{
    const struct load *l = &c->load;

    for (uint32_t i = 0; i < READS_MAX; i++) {
        if (l->peek[i].busy)
            return false;
    }
    for (uint32_t i = 0; i < STEPS_MAX; i++) {
        if (l->step[i].busy)
            return false;
    }
    return l->stopping && l->next.kind == OP_NONE && model_in_flight(c->m) == 0;
}
