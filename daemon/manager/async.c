/* manager/async.c - the copy that follows in a site of its own, and is never waited for.
 *
 *   policy async=SITE, a disk there --> a member, OUT --the owner's changes--> SYNCING --> LAGGING
 *     its disk is to be emptied, the policy wants it elsewhere or not at all --> the owner is asked
 *     to let it go (EVICT) --> DEAD --> it is removed, and another is added
 *
 * It is no copy that `copies` counts: it holds up no write, is read by nobody, and makes no volume
 * reduced or full. What it is worth is that it has everything but the last moments, elsewhere
 * (docs/decisions/0013-async-copies.md).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/name.h"
#include "common/base/size.h"
#include "daemon/manager/internal.h"

bool
cw_mgr_member_counts(const struct cw_member *mb)
{
    return mb->state != CW_MEMBER_JOURNAL && !mb->async;
}

uint32_t
cw_mgr_count_copies(const struct cw_shard_rec *r)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < r->n_members; i++)
        n += cw_mgr_member_counts(&r->members[i]);
    return n;
}

uint32_t
cw_mgr_async_of(const struct cw_shard_rec *r)
{
    for (uint32_t i = 0; i < r->n_members; i++) {
        if (r->members[i].async)
            return i;
    }
    return CW_MEMBERS_MAX;
}

/* ---- what the policy says ---- */

#define RPO_S 60u
#define RPO_MAX_S 86400u

/* "none", "SITE", "SITE rpo=SECONDS" */
bool
cw_mgr_async_parse(const char *text, char site[static CW_NAME_SIZE], uint32_t *ret_rpo_s)
{
    size_t len = strcspn(text, " ");
    char *end;
    unsigned long s;

    *ret_rpo_s = RPO_S;
    site[0] = '\0';
    if (strcmp(text, "none") == 0)
        return true;
    if (len == 0 || len >= CW_NAME_SIZE)
        return false;
    memcpy(site, text, len);
    site[len] = '\0';
    if (!cw_name_ok(site) || text[len] == '\0')
        return text[len] == '\0' && cw_name_ok(site);
    if (strncmp(text + len, " rpo=", 5) != 0 || text[len + 5] < '0' || text[len + 5] > '9')
        return false;
    s = strtoul(text + len + 5, &end, 10);
    if (*end == 's')
        end++;
    *ret_rpo_s = (uint32_t)s;
    return *end == '\0' && s >= 1 && s <= RPO_MAX_S;
}

/* "": none */
static void
site_wanted(const struct cw_manager *m, const struct mgr_volume *v, char site[static CW_NAME_SIZE])
{
    uint32_t rpo_s;

    if (!cw_mgr_async_parse(cw_mgr_volume_policy(m, &v->o.rec.volume)->async, site, &rpo_s))
        site[0] = '\0';
}

uint64_t
cw_mgr_async_rpo_ns(const struct cw_manager *m, const struct mgr_volume *v)
{
    char site[CW_NAME_SIZE];
    uint32_t rpo_s;

    cw_mgr_async_parse(cw_mgr_volume_policy(m, &v->o.rec.volume)->async, site, &rpo_s);
    return rpo_s * CW_NS_PER_S;
}

/* ---- where ---- */

static bool
host_is_taken(const struct cw_manager *m, const struct cw_shard_rec *r, const char *host)
{
    for (uint32_t i = 0; i < r->n_members; i++) {
        const struct mgr_disk *d = cw_mgr_find_copy_disk(&m->t, &r->members[i]);

        if (d != NULL && strcmp(d->o.rec.disk.host, host) == 0)
            return true;
    }
    return false;
}

/* On a host of that site that has no other copy of the shard; r NULL: on any. */
bool
cw_mgr_async_target(const struct cw_manager *m, const char *site, const struct cw_shard_rec *r,
                    struct cw_member *ret, char why[static CW_MGR_WHY_SIZE])
{
    struct cw_mgr_arena *a = cw_mgr_arena_new();
    struct cw_place_rule rule = {
        .copies = 1, .spread = CW_PLACE_HOST, .sites = CW_PLACE_ONLY, .n_sites = 1
    };
    struct cw_place_answer got = { 0 };
    size_t n;
    struct cw_place_disk *disks = cw_mgr_place_disks(m, a, MGR_PLACE_LOST, &n);

    cw_mgr_text_clip(rule.site[0], sizeof(rule.site[0]), site);
    for (size_t i = 0; i < n && r != NULL; i++)
        disks[i].usable &= !host_is_taken(m, r, disks[i].host) &&
                           !cw_mgr_drop_pending(m, r->shard, &disks[i].uuid);
    cw_place(&rule, disks, n, NULL, 0, r != NULL ? r->shard : 0, &got);
    if (got.n == 1) {
        const struct mgr_disk *d = cw_mgr_find_disk(&m->t, &disks[got.at[0]].uuid);

        *ret = (struct cw_member){ .disk_uuid = d->o.rec.disk.uuid,
                                   .format_id = d->o.rec.disk.format_id,
                                   .state = CW_MEMBER_OUT,
                                   .async = true };
    } else {
        snprintf(why, CW_MGR_WHY_SIZE, "no host in site %s can take the copy that follows", site);
    }
    cw_mgr_arena_free(a);
    return got.n == 1;
}

/* ---- what is to be done ---- */

static bool
is_misplaced(const struct cw_manager *m, const struct cw_member *mb, const char *site)
{
    const struct mgr_host *h = cw_mgr_disk_host(m, cw_mgr_find_copy_disk(&m->t, mb));

    return site[0] == '\0' || h == NULL || strcmp(h->o.rec.host.site, site) != 0;
}

bool
cw_mgr_async_wanted(const struct cw_manager *m, const struct cw_member *mb, const char *async)
{
    char site[CW_NAME_SIZE];
    uint32_t rpo_s;

    return cw_mgr_async_parse(async, site, &rpo_s) && !is_misplaced(m, mb, site);
}

/* It should not be where it is. */
static bool
is_to_go(const struct cw_manager *m, const struct mgr_volume *v, const struct mgr_shard *s,
         uint32_t i)
{
    const struct cw_member *mb = &s->o.rec.shard.members[i];
    enum mgr_copy copy = cw_mgr_copy_state(m, mb, cw_mgr_repair_delay_s(m, v));
    char site[CW_NAME_SIZE], why[CW_MGR_WHY_SIZE];
    struct cw_member fresh;

    site_wanted(m, v, site);
    if (is_misplaced(m, mb, site) || copy == MGR_COPY_GONE || mb->state == CW_MEMBER_DEAD)
        return true;
    return (cw_mgr_member_leaves(m, mb) || copy == MGR_COPY_OVERDUE) &&
           cw_mgr_async_target(m, site, &s->o.rec.shard, &fresh, why);
}

bool
cw_mgr_async_leaves(const struct cw_manager *m, const struct mgr_volume *v,
                    const struct mgr_shard *s)
{
    uint32_t i = cw_mgr_async_of(&s->o.rec.shard);

    return i < CW_MEMBERS_MAX &&
           (s->o.rec.shard.members[i].state == CW_MEMBER_LAGGING ||
            s->o.rec.shard.members[i].state == CW_MEMBER_IN_RESYNC) &&
           is_to_go(m, v, s, i);
}

enum async_step { ASYNC_NONE, ASYNC_ADD, ASYNC_REMOVE, ASYNC_EVICT };

static enum async_step
step_of(const struct cw_manager *m, const struct mgr_volume *v, const struct mgr_shard *s,
        struct cw_member *ret)
{
    const struct cw_shard_rec *r = &s->o.rec.shard;
    uint32_t i = cw_mgr_async_of(r);
    char site[CW_NAME_SIZE], why[CW_MGR_WHY_SIZE];

    if (i < CW_MEMBERS_MAX) {
        if (!is_to_go(m, v, s, i))
            return ASYNC_NONE;
        *ret = r->members[i];
        return ret->state == CW_MEMBER_OUT || ret->state == CW_MEMBER_DEAD ? ASYNC_REMOVE
                                                                           : ASYNC_EVICT;
    }
    site_wanted(m, v, site);
    if (site[0] == '\0' || cw_mgr_volume_unborn(v) || r->n_members == CW_MEMBERS_MAX ||
        !cw_mgr_async_target(m, site, r, ret, why))
        return ASYNC_NONE;
    return ASYNC_ADD;
}

struct async_op {
    struct mgr_op op;
    uint64_t shard;
};

static enum mgr_build
async_build(struct mgr_op *op, struct mgr_txn *t)
{
    struct async_op *ao = cw_container_of(op, struct async_op, op);
    struct mgr_shard *s = cw_mgr_find_shard(&t->m->t, ao->shard);
    struct mgr_volume *v = cw_mgr_find_volume(&t->m->t, CW_SHARD_VOLUME(ao->shard));
    uint32_t index = CW_SHARD_INDEX(ao->shard);
    struct cw_member mb;
    char path[CW_OBJECT_SIZE];
    struct cw_rec rec;

    if (s == NULL || v == NULL || v->o.rec.volume.purge_at_s != 0 || cw_mgr_shard_ahead(t->m, s))
        return MGR_BUILD_NONE;
    rec = s->o.rec;
    switch (step_of(t->m, v, s, &mb)) {
    case ASYNC_NONE:
    case ASYNC_EVICT:
        return MGR_BUILD_NONE;
    case ASYNC_ADD:
        rec.shard.members[rec.shard.n_members++] = mb;
        cw_mgr_txn_event(t, "COPY_ADDED", v->o.rec.volume.name,
                         "shard %u: one that follows, on %.100s", index,
                         cw_mgr_copy_path(t->m, &mb, path));
        break;
    case ASYNC_REMOVE:
        cw_mgr_txn_drop(t, &mb, ao->shard);
        cw_mgr_txn_event(t, "COPY_REMOVED", v->o.rec.volume.name,
                         "shard %u: one that followed, from %.100s", index,
                         cw_mgr_copy_path(t->m, &mb, path));
        cw_mgr_member_remove(&rec.shard, cw_mgr_async_of(&rec.shard));
        break;
    }
    rec.shard.cfg++;
    cw_mgr_txn_put(t, &rec);
    return MGR_BUILD_COMMIT;
}

static void
async_end(struct mgr_op *op, enum cw_mgr_code code, const char *why)
{
    struct async_op *ao = cw_container_of(op, struct async_op, op);
    struct mgr_volume *v = cw_mgr_find_volume(&op->m->t, CW_SHARD_VOLUME(ao->shard));
    struct mgr_shard *s = cw_mgr_find_shard(&op->m->t, ao->shard);

    if (s != NULL)
        s->repairing = false;
    if (v != NULL && code == CW_MGR_OK)
        cw_mgr_hint_volume(op->m, v);
    free(ao);
}

static void
async_queue(struct cw_manager *m, struct mgr_shard *s)
{
    struct async_op *ao = calloc(1, sizeof(*ao));

    cw_assert(ao != NULL);
    ao->shard = s->o.rec.shard.shard;
    ao->op.scope = CW_SHARD_VOLUME(ao->shard);
    ao->op.build = async_build;
    ao->op.end = async_end;
    s->repairing = true;
    cw_mgr_op_queue(m, &ao->op);
}

void
cw_mgr_async_tick(struct cw_manager *m)
{
    MGR_EACH(&m->t, CW_REC_SHARD, struct mgr_shard, s)
    {
        const struct cw_shard_rec *r = &s->o.rec.shard;
        const struct mgr_volume *v = cw_mgr_find_volume(&m->t, CW_SHARD_VOLUME(r->shard));
        struct cw_member mb;

        if (v == NULL || v->o.rec.volume.purge_at_s != 0 || s->repairing ||
            cw_mgr_shard_ahead(m, s) ||
            (cw_mgr_async_of(r) == CW_MEMBERS_MAX &&
             strcmp(cw_mgr_volume_policy(m, &v->o.rec.volume)->async, "none") == 0))
            continue;
        switch (step_of(m, v, s, &mb)) {
        case ASYNC_NONE:
            break;
        case ASYNC_ADD:
        case ASYNC_REMOVE:
            async_queue(m, s);
            break;
        case ASYNC_EVICT:
            cw_mgr_evict_ask(m, v, s, cw_mgr_async_of(r));
            break;
        }
    }
}

/* ---- how it stands ---- */

bool
cw_mgr_async_met(const struct cw_manager *m, const struct mgr_volume *v,
                 char why[static CW_MGR_WHY_SIZE])
{
    char site[CW_NAME_SIZE];

    site_wanted(m, v, site);
    for (uint32_t i = 0; site[0] != '\0' && i < cw_mgr_volume_shards(v); i++) {
        const struct mgr_shard *s = cw_mgr_shard_of(m, v, i);
        uint32_t k = s != NULL ? cw_mgr_async_of(&s->o.rec.shard) : CW_MEMBERS_MAX;

        if (!cw_mgr_volume_unborn(v) &&
            (k == CW_MEMBERS_MAX || is_misplaced(m, &s->o.rec.shard.members[k], site))) {
            snprintf(why, CW_MGR_WHY_SIZE, "no copy follows in site %s", site);
            return false;
        }
    }
    return true;
}

/* How far it is behind, by its owner's last word; false: it follows, near enough. */
bool
cw_mgr_async_behind(const struct cw_manager *m, const struct mgr_volume *v,
                    const struct mgr_shard *s, char why[static CW_MGR_WHY_SIZE])
{
    uint32_t i = cw_mgr_async_of(&s->o.rec.shard);
    uint64_t lag;
    char path[CW_OBJECT_SIZE], t[CW_MGR_TIME_SIZE], size[CW_SIZE_TEXT_SIZE];

    if (i == CW_MEMBERS_MAX || cw_mgr_volume_unborn(v))
        return false;
    cw_mgr_copy_path(m, &s->o.rec.shard.members[i], path);
    if (s->o.rec.shard.members[i].state != CW_MEMBER_LAGGING) {
        snprintf(why, CW_MGR_WHY_SIZE, "the copy that follows, on %.120s, does not: it is %s", path,
                 cw_member_state_name(s->o.rec.shard.members[i].state));
        return true;
    }
    lag = cw_mgr_report_fresh(m, v) ? s->now[i].lag_ns : 0;
    if (lag < cw_mgr_async_rpo_ns(m, v))
        return false;
    snprintf(why, CW_MGR_WHY_SIZE, "the copy that follows, on %.120s, is %s and %s behind", path,
             cw_mgr_span_format(lag / CW_NS_PER_S, t), cw_size_format(s->now[i].lag_bytes, size));
    return true;
}
