/* manager/compression.c - copies compress as their volume's policy says.
 *
 * A shard's record carries the choice to its copies. When the policy of a volume, or the volume's
 * choice of one, says something else by now, the records follow: a raised cfg, which an owner reads
 * again and shows to every copy (CFG), and which the next owner shows with SEAL. INSYNC stays as it
 * is, so nobody needs to be asked (I3), and an owner whose own change loses the compare meanwhile
 * sees a newer record in the answer (I4). Until a copy has heard of it, it compresses as before:
 * that is no difference in content.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/manager/internal.h"

#define FOLLOW_MAX 16 /* volumes under way at once */

struct follow_op {
    struct mgr_op op;
    uint64_t volume_id;
};

enum cw_compression
cw_mgr_policy_compression(const struct cw_policy_rec *p)
{
    enum cw_compression c = CW_COMPRESSION_OFF;

    cw_compression_parse(p->compression, &c); /* what is stored was checked when it was put */
    return c;
}

/* Records of metadata that went back are not made newer than those that copies know. */
static bool
shard_follows(const struct cw_manager *m, const struct mgr_shard *s, enum cw_compression want)
{
    return s != NULL && s->o.rec.shard.compression != want && s->o.rec.shard.cfg != UINT32_MAX &&
           !cw_mgr_shard_ahead(m, s);
}

static enum mgr_build
follow_build(struct mgr_op *op, struct mgr_txn *t)
{
    const struct follow_op *f = cw_container_of(op, struct follow_op, op);
    const struct mgr_volume *v = cw_mgr_find_volume(&t->m->t, f->volume_id);
    enum cw_compression want;

    if (v == NULL || v->o.rec.volume.purge_at_s != 0)
        return MGR_BUILD_NONE;
    want = cw_mgr_policy_compression(cw_mgr_volume_policy(t->m, &v->o.rec.volume));
    for (uint32_t i = 0; i < cw_mgr_volume_shards(v); i++) {
        const struct mgr_shard *s = cw_mgr_shard_of(t->m, v, i);
        struct cw_rec rec;

        if (!shard_follows(t->m, s, want))
            continue;
        rec = s->o.rec;
        rec.shard.compression = want;
        rec.shard.cfg++;
        cw_mgr_txn_put(t, &rec);
    }
    if (t->n_items == 0)
        return MGR_BUILD_NONE;
    cw_mgr_txn_event(t, "VOLUME_COMPRESSION", v->o.rec.volume.name, "%s from now on",
                     cw_compression_name(want));
    return MGR_BUILD_COMMIT;
}

static void
follow_end(struct mgr_op *op, enum cw_mgr_code code, const char *why)
{
    struct follow_op *f = cw_container_of(op, struct follow_op, op);
    struct mgr_volume *v = cw_mgr_find_volume(&op->m->t, f->volume_id);

    op->m->n_following--;
    if (v != NULL) {
        v->following = false; /* not in force: the next tick tries again */
        if (code == CW_MGR_OK)
            cw_mgr_hint_volume(op->m, v);
    }
    free(f);
}

static bool
volume_follows(const struct cw_manager *m, const struct mgr_volume *v)
{
    enum cw_compression want = cw_mgr_policy_compression(cw_mgr_volume_policy(m, &v->o.rec.volume));

    for (uint32_t i = 0; i < cw_mgr_volume_shards(v); i++) {
        if (shard_follows(m, cw_mgr_shard_of(m, v, i), want))
            return true;
    }
    return false;
}

void
cw_mgr_compression_tick(struct cw_manager *m)
{
    MGR_EACH(&m->t, CW_REC_VOLUME, struct mgr_volume, v)
    {
        struct follow_op *f;

        if (m->n_following >= FOLLOW_MAX)
            return;
        if (v->following || v->o.rec.volume.purge_at_s != 0 || !volume_follows(m, v))
            continue;
        f = calloc(1, sizeof(*f));
        cw_assert(f != NULL);
        f->volume_id = v->o.rec.volume.id;
        f->op.build = follow_build;
        f->op.end = follow_end;
        v->following = true;
        m->n_following++;
        cw_mgr_op_queue(m, &f->op);
    }
}
