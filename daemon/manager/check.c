/* manager/check.c - what must hold between any two calls. */
#include <string.h>

#include "daemon/manager/internal.h"

static void
check_tables(const struct cw_manager *m)
{
    for (int k = 0; k < MGR_N_KINDS; k++) {
        const struct mgr_table *t = &m->t.of[k];

        for (size_t i = 0; i < t->n; i++) {
            char key[CW_KV_KEY_SIZE];

            cw_assert((int)t->at[i]->rec.kind == k);
            cw_assert(t->at[i]->version != 0);
            cw_assert(strcmp(cw_rec_key(&t->at[i]->rec, key), t->at[i]->key) == 0);
            cw_assert(i == 0 || strcmp(t->at[i - 1]->key, t->at[i]->key) < 0);
        }
    }
}

static void
check_shard(const struct mgr_shard *s)
{
    const struct cw_shard_rec *r = &s->o.rec.shard;
    uint32_t insync = 0;

    cw_assert(r->n_members >= 1 && r->n_members <= CW_MEMBERS_MAX);
    for (uint32_t i = 0; i < r->n_members; i++) {
        insync += r->members[i].state == CW_MEMBER_INSYNC;
        for (uint32_t k = 0; k < i; k++)
            cw_assert((r->members[i].state != CW_MEMBER_JOURNAL ||
                       r->members[k].state != CW_MEMBER_JOURNAL) &&
                      !cw_uuid_equal(&r->members[i].disk_uuid, &r->members[k].disk_uuid));
    }
    cw_assert(insync > 0); /* I12 */
    cw_assert(r->cfg > 0 && r->n_blocks > 0);
}

/* What is to be dropped is nobody's copy: the disk is told the shard's name only. */
static void
check_drop(const struct cw_manager *m, const struct cw_drop_rec *d)
{
    const struct mgr_shard *s = cw_mgr_find_shard(&m->t, d->shard);

    for (uint32_t i = 0; s != NULL && i < s->o.rec.shard.n_members; i++)
        cw_assert(!cw_uuid_equal(&s->o.rec.shard.members[i].disk_uuid, &d->disk_uuid));
}

static void
check_volume(const struct cw_manager *m, const struct mgr_volume *v)
{
    const struct cw_volume_rec *r = &v->o.rec.volume;

    cw_assert(r->id < cw_mgr_cluster(m)->next_volume_id);
    cw_assert(r->hold == CW_HOLD_RELEASED || r->gen > 0);
    cw_assert(!r->caretaker || r->hold == CW_HOLD_OWNED);
    for (uint32_t i = 0; i < cw_mgr_volume_shards(v); i++) {
        const struct mgr_shard *s = cw_mgr_shard_of(m, v, i);

        cw_assert(s != NULL && s->o.rec.shard.gen <= r->gen);
        cw_assert(s->o.rec.shard.n_blocks == cw_mgr_shard_blocks(r->size_bytes, i));
    }
    if (r->purge_at_s == 0)
        cw_assert(cw_mgr_find_volume_named(&m->t, r->name) == v);
}

void
cw_manager_check(const struct cw_manager *m)
{
    check_tables(m);
    if (m->phase != MGR_SERVING)
        return;
    MGR_EACH(&m->t, CW_REC_SHARD, struct mgr_shard, s)
    {
        cw_assert(cw_mgr_find_volume(&m->t, CW_SHARD_VOLUME(s->o.rec.shard.shard)) != NULL);
        check_shard(s);
    }
    MGR_EACH(&m->t, CW_REC_DROP, struct mgr_drop, d)
    check_drop(m, &d->o.rec.drop);
    MGR_EACH(&m->t, CW_REC_VOLUME, struct mgr_volume, v)
    check_volume(m, v);
    MGR_EACH(&m->t, CW_REC_HOST, struct mgr_host, h)
    cw_assert(h->session == NULL || h->session->host == h);
}
