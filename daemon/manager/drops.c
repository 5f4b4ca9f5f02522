/* manager/drops.c - copies to be forgotten, remembered until their host says that it has.
 *
 * A drop cannot be taken back, and no transaction stands in its way. So a host is asked only after
 * a transaction of ours that was begun while it was here: a manager that was deposed and does not
 * know, whose successor may have filled that very place again, learns it from that. The host talks
 * to one manager at a time; one that has been elsewhere since has registered here anew.
 */
#include <stdlib.h>
#include <string.h>

#include "common/base/mutation.h"
#include "daemon/manager/internal.h"

#define DROP_BATCH 256u
#define DROP_MS 10000u
#define DROP_AGAIN_NS (15 * CW_NS_PER_S)
#define STRAY_NS (8 * CW_NS_PER_S)
#define STRAY_AGAIN_NS (60 * CW_NS_PER_S)

void
cw_mgr_txn_drop(struct mgr_txn *t, const struct cw_member *mb, uint64_t shard)
{
    struct cw_rec rec = { .kind = CW_REC_DROP,
                          .drop = { .shard = shard, .disk_uuid = mb->disk_uuid } };

    if (cw_mgr_find_copy_disk(&t->m->t, mb) != NULL) /* else that disk holds nothing of it */
        cw_mgr_txn_put(t, &rec);
}

bool
cw_mgr_drop_pending(const struct cw_manager *m, uint64_t shard, const struct cw_uuid *disk)
{
    struct cw_rec like = { .kind = CW_REC_DROP, .drop = { .shard = shard, .disk_uuid = *disk } };
    char key[CW_KV_KEY_SIZE];

    return cw_mgr_find_key(&m->t, CW_REC_DROP, cw_rec_key(&like, key)) != NULL;
}

struct dropped_op {
    struct mgr_op op;
    struct cw_uuid disk_uuid;
    size_t n;
    uint64_t shards[];
};

static enum mgr_build
dropped_build(struct mgr_op *op, struct mgr_txn *t)
{
    struct dropped_op *d = cw_container_of(op, struct dropped_op, op);

    for (size_t i = 0; i < d->n; i++) {
        struct cw_rec like = { .kind = CW_REC_DROP,
                               .drop = { .shard = d->shards[i], .disk_uuid = d->disk_uuid } };
        char key[CW_KV_KEY_SIZE];
        struct mgr_obj *o = cw_mgr_find_key(&t->m->t, CW_REC_DROP, cw_rec_key(&like, key));

        if (o != NULL)
            cw_mgr_txn_del(t, o);
    }
    t->quiet = true;
    return MGR_BUILD_COMMIT;
}

static void
dropped_end(struct mgr_op *op, enum cw_mgr_code code, const char *why)
{
    free(cw_container_of(op, struct dropped_op, op)); /* not in force: it is asked again */
}

static void
drops_answered(struct cw_manager *m, struct mgr_ask *a, const struct cw_mgr_answer *answer)
{
    struct dropped_op *d;

    if (answer->code != CW_MGR_OK)
        return; /* asked again after DROP_AGAIN_NS, or when the host registers */
    d = calloc(1, sizeof(*d) + a->ask.n_shards * sizeof(d->shards[0]));
    cw_assert(d != NULL);
    d->disk_uuid = a->ask.disk_uuid;
    d->n = a->ask.n_shards;
    memcpy(d->shards, a->ask.shards, d->n * sizeof(d->shards[0]));
    d->op.build = dropped_build;
    d->op.end = dropped_end;
    cw_mgr_op_queue(m, &d->op);
}

static bool
drop_due(const struct cw_manager *m, const struct mgr_drop *drop, const struct cw_uuid *disk)
{
    const struct mgr_shard *s = cw_mgr_find_shard(&m->t, drop->o.rec.drop.shard);

    if (s != NULL && cw_mgr_shard_ahead(m, s))
        return false; /* by newer metadata it may be a copy in sync */
    return cw_uuid_equal(&drop->o.rec.drop.disk_uuid, disk) &&
           (drop->asked_ns == 0 || cw_now_ns(m->env) - drop->asked_ns >= DROP_AGAIN_NS);
}

static void
drops_ask(struct cw_manager *m, const struct mgr_disk *d)
{
    const struct cw_uuid *uuid = &d->o.rec.disk.uuid;
    struct mgr_ask *a = cw_mgr_ask_new(CW_MGR_ASK_DROP_SHARDS, DROP_MS);
    uint64_t *shards = cw_mgr_arena_get(a->arena, DROP_BATCH, sizeof(*shards));

    MGR_EACH(&m->t, CW_REC_DROP, struct mgr_drop, drop)
    {
        if (a->ask.n_shards == DROP_BATCH)
            break;
        if (!drop_due(m, drop, uuid))
            continue;
        drop->asked_ns = cw_now_ns(m->env);
        shards[a->ask.n_shards++] = drop->o.rec.drop.shard;
    }
    a->ask.shards = shards;
    a->ask.disk_uuid = *uuid;
    a->done = drops_answered;
    cw_mgr_ask_send(cw_mgr_disk_host(m, d)->session, a);
}

/* ---- copies on disks that were removed ---- */

#define FORGET_BATCH 64u

static enum mgr_build
forget_build(struct mgr_op *op, struct mgr_txn *t)
{
    MGR_EACH(&t->m->t, CW_REC_DROP, struct mgr_drop, drop)
    {
        if (t->n_items < FORGET_BATCH &&
            cw_mgr_find_disk(&t->m->t, &drop->o.rec.drop.disk_uuid) == NULL)
            cw_mgr_txn_del(t, &drop->o);
    }
    t->quiet = true;
    return MGR_BUILD_COMMIT;
}

static void
forget_end(struct mgr_op *op, enum cw_mgr_code code, const char *why)
{
    op->m->forgetting = false;
    free(op);
}

static void
forget_queue(struct cw_manager *m)
{
    struct mgr_op *op;

    if (m->forgetting)
        return;
    op = calloc(1, sizeof(*op));
    cw_assert(op != NULL);
    op->build = forget_build;
    op->end = forget_end;
    m->forgetting = true;
    cw_mgr_op_queue(m, op);
}

/* ---- copies that no record names ---- */

/* An owner that was fenced and does not know it yet may make a member anew that was dropped: of the
 * record that it goes by, until a copy of the newer one tells it. What it left is dropped in its
 * turn, if every in-sync copy is held where the record says: one that went back to an older state
 * would call strangers what it depends on. */
static bool
is_stray(const struct cw_manager *m, uint64_t shard, const struct mgr_disk *d)
{
    const struct mgr_shard *s = cw_mgr_find_shard(&m->t, shard);
    const struct cw_shard_rec *r = s != NULL ? &s->o.rec.shard : NULL;
    uint32_t n_held = 0;

    if (r == NULL || d == NULL || cw_mgr_shard_ahead(m, s) ||
        cw_mgr_drop_pending(m, r->shard, &d->o.rec.disk.uuid))
        return false;
    for (uint32_t i = 0; i < r->n_members; i++) {
        if (cw_uuid_equal(&r->members[i].disk_uuid, &d->o.rec.disk.uuid))
            return false;
        if (r->members[i].state != CW_MEMBER_INSYNC)
            continue;
        if (!s->known[i].held)
            return false;
        n_held++;
    }
    return n_held > 0;
}

struct stray_op {
    struct mgr_op op;
    uint64_t shard;
    struct cw_uuid disk_uuid;
};

static enum mgr_build
stray_build(struct mgr_op *op, struct mgr_txn *t)
{
    struct stray_op *so = cw_container_of(op, struct stray_op, op);
    const struct mgr_disk *d = cw_mgr_find_disk(&t->m->t, &so->disk_uuid);
    struct cw_rec drop = { .kind = CW_REC_DROP,
                           .drop = { .shard = so->shard, .disk_uuid = so->disk_uuid } };
    const struct mgr_volume *v = cw_mgr_find_volume(&t->m->t, CW_SHARD_VOLUME(so->shard));
    char path[CW_OBJECT_SIZE];

    if (v == NULL || !is_stray(t->m, so->shard, d))
        return MGR_BUILD_NONE;
    cw_mgr_txn_put(t, &drop);
    cw_mgr_disk_path(t->m, d, path);
    cw_mgr_txn_event(t, "COPY_STRAY", v->o.rec.volume.name,
                     "shard %u: a copy on %s that belongs to it no longer is dropped",
                     CW_SHARD_INDEX(so->shard), path);
    return MGR_BUILD_COMMIT;
}

static void
stray_end(struct mgr_op *op, enum cw_mgr_code code, const char *why)
{
    op->m->straying = false; /* if it is not in force, it is told of again */
    free(cw_container_of(op, struct stray_op, op));
}

/* What a host says once may be older than what it answered last. */
void
cw_mgr_drops_told(struct cw_manager *m, struct mgr_disk *d, uint64_t shard)
{
    uint64_t now = cw_now_ns(m->env);
    struct stray_op *so;

    if (m->straying || !is_stray(m, shard, d))
        return;
    if (d->stray == 0 || (d->stray != shard && now - d->stray_ns >= STRAY_AGAIN_NS)) {
        d->stray = shard;
        d->stray_ns = now;
    }
    if (d->stray != shard || now - d->stray_ns < STRAY_NS)
        return;
    d->stray = 0;
    so = calloc(1, sizeof(*so));
    cw_assert(so != NULL);
    so->shard = shard;
    so->disk_uuid = d->o.rec.disk.uuid;
    so->op.scope = CW_SHARD_VOLUME(shard);
    so->op.build = stray_build;
    so->op.end = stray_end;
    m->straying = true;
    cw_mgr_op_queue(m, &so->op);
}

/* ---- is it still ours to say? ---- */

static enum mgr_build
vouch_build(struct mgr_op *op, struct mgr_txn *t)
{
    MGR_EACH(&op->m->t, CW_REC_HOST, struct mgr_host, h)
    h->vouching = h->session != NULL;
    cw_mgr_txn_cluster(t); /* as it is: that it is the newest is what is asked */
    t->quiet = true;
    return MGR_BUILD_COMMIT;
}

static void
vouch_end(struct mgr_op *op, enum cw_mgr_code code, const char *why)
{
    struct cw_manager *m = op->m;

    m->vouching = false;
    free(op);
    MGR_EACH(&m->t, CW_REC_HOST, struct mgr_host, h)
    {
        h->vouched |= h->vouching && code == CW_MGR_OK;
        h->vouching = false;
    }
}

static void
vouch_queue(struct cw_manager *m)
{
    struct mgr_op *op;

    if (m->vouching)
        return;
    op = calloc(1, sizeof(*op));
    cw_assert(op != NULL);
    op->build = vouch_build;
    op->end = vouch_end;
    m->vouching = true;
    cw_mgr_op_queue(m, op);
}

void
cw_mgr_drops_tick(struct cw_manager *m)
{
    bool unsure = false;

    MGR_EACH(&m->t, CW_REC_DROP, struct mgr_drop, drop)
    {
        const struct mgr_disk *d = cw_mgr_find_disk(&m->t, &drop->o.rec.drop.disk_uuid);

        if (d == NULL)
            forget_queue(m);
        if (!cw_mgr_disk_serves(m, d) || !drop_due(m, drop, &d->o.rec.disk.uuid))
            continue;
        if (cw_mgr_disk_host(m, d)->vouched || cw_mutated(CW_MUTATION_DROP_EARLY))
            drops_ask(m, d);
        else
            unsure = true;
    }
    if (unsure)
        vouch_queue(m);
}

void
cw_mgr_drops_again(struct cw_manager *m, const struct mgr_host *h)
{
    MGR_EACH(&m->t, CW_REC_DROP, struct mgr_drop, drop)
    {
        const struct mgr_disk *d = cw_mgr_find_disk(&m->t, &drop->o.rec.drop.disk_uuid);

        if (d != NULL && cw_mgr_disk_host(m, d) == h)
            drop->asked_ns = 0;
    }
}
