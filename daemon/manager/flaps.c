/* manager/flaps.c - disks whose links come and go.
 *
 *   an owner tells of a flap --> counted, once for all who tell of it --> five within an hour:
 *     quarantine (quarantine.c), or an event that says why not
 *
 * An owner tells only of losses during which others answered it. That is no proof yet: where
 * several owners use the disk, two have to say so, since the way from one of them may be bad.
 * Losses before the disk's daemon began anew were its restart. One disk an hour is given up so, and
 * only if each copy on it has a place elsewhere: a switch that fails does not empty a cluster. The
 * count is this manager's, the quarantine is durable.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/manager/internal.h"

#define SAME_NS (2 * CW_NS_PER_S) /* what owners tell within that is one flap */
#define WITHIN_NS (3600 * CW_NS_PER_S)
#define AGAIN_S 3600u

static void
flaps_clear(struct mgr_disk *d)
{
    memset(d->flaps, 0, sizeof(d->flaps));
}

void
cw_mgr_flaps_forget(struct cw_manager *m, const struct mgr_host *h)
{
    MGR_EACH(&m->t, CW_REC_DISK, struct mgr_disk, d)
    {
        if (strcmp(d->o.rec.disk.host, h->o.rec.host.name) == 0)
            flaps_clear(d);
    }
}

/* ---- is it the disk's link? ---- */

static bool
several_tell(const struct mgr_disk *d)
{
    bool several = false;

    for (uint32_t i = 0; i < MGR_FLAPS_MANY; i++)
        several |= d->flaps[i].shared || !cw_uuid_equal(&d->flaps[i].owner, &d->flaps[0].owner);
    return several;
}

static bool
uses_it_too(const struct cw_manager *m, const struct mgr_volume *v, const struct mgr_disk *d)
{
    return v->o.rec.volume.hold == CW_HOLD_OWNED && cw_mgr_report_fresh(m, v) &&
           !cw_uuid_equal(&v->o.rec.volume.owner_id, &d->flaps[0].owner);
}

static bool
quarantined_lately(const struct cw_manager *m)
{
    uint64_t now_s = cw_mgr_wall_s(m);

    MGR_EACH(&m->t, CW_REC_DISK, struct mgr_disk, d)
    {
        const struct cw_disk_rec *r = &d->o.rec.disk;

        if (r->quarantined && r->quarantined_by == CW_QUARANTINE_LINK &&
            now_s < r->quarantined_s + AGAIN_S)
            return true;
    }
    return false;
}

/* NULL: nothing is to be said against it. */
static const char *
why_not(const struct cw_manager *m, const struct mgr_disk *d)
{
    if (quarantined_lately(m))
        return "another disk was given up for that within the hour";
    MGR_EACH(&m->t, CW_REC_SHARD, struct mgr_shard, s)
    {
        const struct cw_shard_rec *r = &s->o.rec.shard;
        const struct mgr_volume *v = cw_mgr_find_volume(&m->t, CW_SHARD_VOLUME(r->shard));

        for (uint32_t i = 0; v != NULL && i < r->n_members; i++) {
            if (cw_mgr_find_copy_disk(&m->t, &r->members[i]) != d)
                continue;
            if (uses_it_too(m, v, d) && !several_tell(d))
                return "only one of the owners that use it says so";
            if (cw_mgr_member_counts(&r->members[i]) && !cw_mgr_repair_may_move(m, v, r, i))
                return "a copy there has no place elsewhere";
        }
    }
    return NULL;
}

/* ---- the verdict ---- */

struct flap_op {
    struct mgr_op op;
    struct cw_uuid uuid;
};

static enum mgr_build
flap_build(struct mgr_op *op, struct mgr_txn *t)
{
    struct flap_op *f = cw_container_of(op, struct flap_op, op);
    struct mgr_disk *d = cw_mgr_find_disk(&op->m->t, &f->uuid);
    struct cw_rec rec;

    if (d == NULL || d->o.rec.disk.quarantined || why_not(op->m, d) != NULL)
        return MGR_BUILD_NONE;
    rec = d->o.rec;
    cw_mgr_quarantine_begin(t, d, &rec, CW_QUARANTINE_LINK);
    cw_mgr_txn_put(t, &rec);
    return MGR_BUILD_COMMIT;
}

static void
flap_end(struct mgr_op *op, enum cw_mgr_code code, const char *why)
{
    struct flap_op *f = cw_container_of(op, struct flap_op, op);
    struct mgr_disk *d = cw_mgr_find_disk(&op->m->t, &f->uuid);

    if (d != NULL) {
        d->noting = false;
        flaps_clear(d); /* if it is not in force, five more say it again */
    }
    free(f);
}

static void
flap_queue(struct cw_manager *m, struct mgr_disk *d)
{
    struct flap_op *f = calloc(1, sizeof(*f));

    cw_assert(f != NULL);
    f->uuid = d->o.rec.disk.uuid;
    f->op.build = flap_build;
    f->op.end = flap_end;
    d->noting = true;
    cw_mgr_op_queue(m, &f->op);
}

/* It stays where it is; an operator hears of it, once an hour. */
static void
flap_tell(struct cw_manager *m, struct mgr_disk *d, const char *why)
{
    uint64_t now = cw_now_ns(m->env);
    char path[CW_OBJECT_SIZE];

    flaps_clear(d);
    if (d->flaps_told_ns != 0 && now - d->flaps_told_ns < WITHIN_NS)
        return;
    d->flaps_told_ns = now;
    cw_mgr_disk_path(m, d, path);
    cw_mgr_event(m, "DISK_FLAPS", path, "its link was lost %u times within an hour; it stays: %s",
                 MGR_FLAPS_MANY, why);
}

void
cw_mgr_flaps_told(struct cw_manager *m, struct mgr_disk *d, const struct cw_uuid *owner)
{
    uint64_t now = cw_now_ns(m->env);
    const char *why;

    if (d == NULL || d->o.rec.disk.quarantined || d->noting)
        return;
    if (d->flaps[0].at_ns != 0 && now - d->flaps[0].at_ns < SAME_NS) {
        d->flaps[0].shared |= !cw_uuid_equal(owner, &d->flaps[0].owner);
        return;
    }
    memmove(&d->flaps[1], &d->flaps[0], (MGR_FLAPS_MANY - 1) * sizeof(d->flaps[0]));
    d->flaps[0] = (struct mgr_flap){ .at_ns = now, .owner = *owner };
    if (d->flaps[MGR_FLAPS_MANY - 1].at_ns == 0 ||
        now - d->flaps[MGR_FLAPS_MANY - 1].at_ns >= WITHIN_NS)
        return;
    why = why_not(m, d);
    if (why == NULL)
        flap_queue(m, d);
    else
        flap_tell(m, d, why);
}
