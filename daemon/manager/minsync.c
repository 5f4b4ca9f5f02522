/* manager/minsync.c - the min-insync that owners are told follows the policy's in a safe order.
 *
 * A lower one counts at once: before a copy is let go that the old one needed. A higher one counts
 * once every shard has that many copies in sync: a volume that gets more copies does not wait for
 * them. What is in force lies in the volume's record, so that copies that fail later do not lower
 * it.
 */
#include <stdlib.h>

#include "daemon/manager/internal.h"

#define UNDER_WAY_MAX 16u

uint32_t
cw_mgr_volume_min_insync(const struct cw_manager *m, const struct mgr_volume *v)
{
    const struct cw_volume_rec *r = &v->o.rec.volume;
    uint32_t want = cw_mgr_min_insync(cw_mgr_volume_policy(m, r));

    return r->min_insync != 0 && r->min_insync < want ? r->min_insync : want;
}

static bool
volume_has(const struct cw_manager *m, const struct mgr_volume *v, uint32_t n_insync)
{
    for (uint32_t i = 0; i < cw_mgr_volume_shards(v); i++) {
        const struct mgr_shard *s = cw_mgr_shard_of(m, v, i);
        uint32_t n = 0;

        for (uint32_t k = 0; s != NULL && k < s->o.rec.shard.n_members; k++)
            n += s->o.rec.shard.members[k].state == CW_MEMBER_INSYNC;
        if (n < n_insync)
            return false;
    }
    return true;
}

/* What the record should say now. */
static uint32_t
volume_next(const struct cw_manager *m, const struct mgr_volume *v)
{
    const struct cw_volume_rec *r = &v->o.rec.volume;
    uint32_t want = cw_mgr_min_insync(cw_mgr_volume_policy(m, r));

    if (r->min_insync == 0 || r->min_insync >= want || volume_has(m, v, want))
        return want;
    return r->min_insync;
}

struct minsync_op {
    struct mgr_op op;
    uint64_t volume_id;
};

static enum mgr_build
minsync_build(struct mgr_op *op, struct mgr_txn *t)
{
    const struct minsync_op *o = cw_container_of(op, struct minsync_op, op);
    const struct mgr_volume *v = cw_mgr_find_volume(&t->m->t, o->volume_id);
    struct cw_rec rec;

    if (v == NULL || volume_next(t->m, v) == v->o.rec.volume.min_insync)
        return MGR_BUILD_NONE;
    rec = v->o.rec;
    rec.volume.min_insync = volume_next(t->m, v);
    cw_mgr_txn_put(t, &rec);
    if (v->o.rec.volume.min_insync == 0)
        t->quiet = true; /* the first note of what is in force anyway */
    else
        cw_mgr_txn_event(t, "VOLUME_MIN_INSYNC", rec.volume.name, "%u from now on",
                         rec.volume.min_insync);
    return MGR_BUILD_COMMIT;
}

static void
minsync_end(struct mgr_op *op, enum cw_mgr_code code, const char *why)
{
    struct minsync_op *o = cw_container_of(op, struct minsync_op, op);
    struct mgr_volume *v = cw_mgr_find_volume(&op->m->t, o->volume_id);

    op->m->n_minsync--;
    if (v != NULL) {
        v->minsyncing = false; /* not in force: the next tick tries again */
        if (code == CW_MGR_OK)
            cw_mgr_hint_volume(op->m, v);
    }
    free(o);
}

void
cw_mgr_minsync_tick(struct cw_manager *m)
{
    MGR_EACH(&m->t, CW_REC_VOLUME, struct mgr_volume, v)
    {
        struct minsync_op *o;

        if (m->n_minsync >= UNDER_WAY_MAX)
            return;
        if (v->minsyncing || v->o.rec.volume.purge_at_s != 0 ||
            volume_next(m, v) == v->o.rec.volume.min_insync)
            continue;
        o = calloc(1, sizeof(*o));
        cw_assert(o != NULL);
        o->volume_id = v->o.rec.volume.id;
        o->op.build = minsync_build;
        o->op.end = minsync_end;
        v->minsyncing = true;
        m->n_minsync++;
        cw_mgr_op_queue(m, &o->op);
    }
}
