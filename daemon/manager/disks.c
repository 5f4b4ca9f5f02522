/* manager/disks.c - stores: where each is, how it is, and what its copies are worth. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/manager/internal.h"

struct mgr_host *
cw_mgr_disk_host(const struct cw_manager *m, const struct mgr_disk *d)
{
    return d != NULL ? cw_mgr_find_host(&m->t, d->o.rec.disk.host) : NULL;
}

bool
cw_mgr_disk_serves(const struct cw_manager *m, const struct mgr_disk *d)
{
    return d != NULL && d->reported && !d->now.stuck && !d->now.failed &&
           cw_mgr_host_serves(m, cw_mgr_disk_host(m, d));
}

uint32_t
cw_mgr_disk_percent(const struct mgr_disk *d)
{
    uint64_t used = d->now.used_bytes / 4096, all = used + d->now.free_bytes / 4096;

    return all == 0 ? 0 : (uint32_t)(used * 100 / all);
}

bool
cw_mgr_disk_crowded(const struct mgr_disk *d)
{
    return d->now.full || cw_mgr_disk_percent(d) >= MGR_CROWDED_PERCENT;
}

void
cw_mgr_disk_path(const struct cw_manager *m, const struct mgr_disk *d,
                 char path[static CW_OBJECT_SIZE])
{
    const struct mgr_host *h = cw_mgr_disk_host(m, d);

    snprintf(path, CW_OBJECT_SIZE, "%s/%s/%s", h != NULL ? h->o.rec.host.site : "",
             d->o.rec.disk.host, d->o.rec.disk.name);
}

const char *
cw_mgr_copy_path(const struct cw_manager *m, const struct cw_member *mb,
                 char path[static CW_OBJECT_SIZE])
{
    const struct mgr_disk *d = cw_mgr_find_disk(&m->t, &mb->disk_uuid);

    path[0] = '\0';
    if (d != NULL)
        cw_mgr_disk_path(m, d, path);
    return path;
}

void
cw_mgr_location_fill(const struct cw_manager *m, const struct cw_uuid *uuid, uint64_t format_id,
                     struct cw_mgr_location *ret)
{
    const struct mgr_disk *d = cw_mgr_find_disk(&m->t, uuid);
    const struct mgr_host *h = cw_mgr_disk_host(m, d);

    *ret = (struct cw_mgr_location){
        .uuid = *uuid,
        .format_id = format_id,
        .host = d != NULL ? d->o.rec.disk.host : "",
        .name = d != NULL ? d->o.rec.disk.name : "",
        .domain = { "", "", "", "" },
        .addr = "",
        .unix_path = "",
    };
    if (h == NULL)
        return;
    ret->domain = (struct cw_mgr_domain){ h->o.rec.host.region, h->o.rec.host.site,
                                          h->o.rec.host.rack, h->o.rec.host.name };
    ret->addr = h->o.rec.host.advertise;
    ret->unix_path = h->o.rec.host.unix_path;
    ret->boot_id = h->o.rec.host.boot_id;
    ret->up = d->o.rec.disk.format_id == format_id && cw_mgr_disk_serves(m, d);
    ret->crowded = cw_mgr_disk_crowded(d);
}

/* ---- what hosts say of their disks ---- */

struct failed_op {
    struct mgr_op op;
    struct cw_uuid uuid;
};

static enum mgr_build
failed_build(struct mgr_op *op, struct mgr_txn *t)
{
    struct failed_op *f = cw_container_of(op, struct failed_op, op);
    struct mgr_disk *d = cw_mgr_find_disk(&op->m->t, &f->uuid);
    char path[CW_OBJECT_SIZE];
    struct cw_rec rec;

    if (d == NULL || d->o.rec.disk.failed || !d->now.failed)
        return MGR_BUILD_NONE;
    rec = d->o.rec;
    rec.disk.failed = true;
    cw_mgr_txn_put(t, &rec);
    cw_mgr_disk_path(op->m, d, path);
    cw_mgr_txn_event(t, "DISK_FAILED", path, "%s", d->why);
    return MGR_BUILD_COMMIT;
}

static void
failed_end(struct mgr_op *op, enum cw_mgr_code code, const char *why)
{
    free(cw_container_of(op, struct failed_op, op)); /* not in force: the next beat says it again */
}

static void
disk_note_failed(struct cw_manager *m, const struct mgr_disk *d)
{
    struct failed_op *f = calloc(1, sizeof(*f));

    cw_assert(f != NULL);
    f->uuid = d->o.rec.disk.uuid;
    f->op.build = failed_build;
    f->op.end = failed_end;
    cw_mgr_op_queue(m, &f->op);
}

static void
disk_see(struct cw_manager *m, struct mgr_disk *d, const struct cw_mgr_disk_state *ds)
{
    if (ds->csum_errors > (d->reported ? d->now.csum_errors : 0))
        d->csum_at_ns = cw_now_ns(m->env);
    m->news |= !d->reported || ds->full != d->now.full || ds->stuck != d->now.stuck ||
               ds->failed != d->now.failed;
    d->reported = true;
    d->missing = d->replaced = false;
    d->now = *ds;
    if (ds->scrub.bad_blocks == 0)
        d->bad_at_ns = 0;
    else if (d->bad_at_ns == 0)
        d->bad_at_ns = cw_max_u64(cw_now_ns(m->env), 1);
    if (ds->scrub.storms != d->o.rec.disk.storms)
        cw_mgr_quarantine_note(m, d);
    d->now.name = d->now.why = NULL; /* theirs, not ours to keep */
    cw_mgr_text_clip(d->why, sizeof(d->why), ds->why);
    if (ds->failed && !d->o.rec.disk.failed)
        disk_note_failed(m, d);
}

static struct mgr_disk *
disk_of_host(struct cw_manager *m, const struct mgr_host *h, const struct cw_mgr_disk_state *ds)
{
    struct mgr_disk *d = cw_mgr_find_disk(&m->t, &ds->uuid);

    return d != NULL && d->o.rec.disk.format_id == ds->format_id &&
                   strcmp(d->o.rec.disk.host, h->o.rec.host.name) == 0
               ? d
               : NULL;
}

void
cw_mgr_disks_seen(struct cw_manager *m, struct mgr_host *h, const struct cw_mgr_disk_state *disks,
                  size_t n)
{
    bool changed = false;

    for (size_t i = 0; i < n; i++) {
        struct mgr_disk *d = disk_of_host(m, h, &disks[i]);
        bool crowded = d != NULL && cw_mgr_disk_crowded(d);

        if (d == NULL)
            continue;
        disk_see(m, d, &disks[i]);
        changed |= crowded != cw_mgr_disk_crowded(d);
    }
    if (changed) /* owners may or must not rebuild there */
        cw_mgr_hint_host(m, h, true);
}

/* Has another disk that is there its name? */
static bool
name_listed(struct cw_manager *m, const struct mgr_host *h, const struct cw_mgr_disk_state *disks,
            size_t n, const struct mgr_disk *d)
{
    for (size_t i = 0; i < n; i++) {
        const struct mgr_disk *other = disk_of_host(m, h, &disks[i]);

        if (other != NULL && other != d && strcmp(other->o.rec.disk.name, d->o.rec.disk.name) == 0)
            return true;
    }
    return false;
}

void
cw_mgr_disks_registered(struct cw_manager *m, struct mgr_host *h,
                        const struct cw_mgr_disk_state *disks, size_t n)
{
    MGR_EACH(&m->t, CW_REC_DISK, struct mgr_disk, d)
    {
        if (strcmp(d->o.rec.disk.host, h->o.rec.host.name) != 0)
            continue;
        d->reported = false;
        if (!d->missing)
            d->missing_ns = cw_now_ns(m->env);
        d->missing = true;
        d->replaced = name_listed(m, h, disks, n, d);
    }
    cw_mgr_disks_seen(m, h, disks, n);
}

/* ---- copies ---- */

/* Every in-sync copy that should be on this host counts as bad until it is named. */
static void
copies_expect(struct cw_manager *m, const struct mgr_host *h)
{
    MGR_EACH(&m->t, CW_REC_SHARD, struct mgr_shard, s)
    {
        const struct cw_shard_rec *r = &s->o.rec.shard;
        const struct mgr_volume *v = cw_mgr_find_volume(&m->t, CW_SHARD_VOLUME(r->shard));

        for (uint32_t i = 0; i < r->n_members; i++) {
            const struct mgr_disk *d = cw_mgr_find_copy_disk(&m->t, &r->members[i]);

            if (d == NULL || strcmp(d->o.rec.disk.host, h->o.rec.host.name) != 0)
                continue;
            s->bad &= ~(uint32_t)CW_BIT(i);
            s->known[i] = (struct mgr_copy_known){ .left_s = s->known[i].left_s };
            if (d->reported && v != NULL && v->o.rec.volume.gen > 0 &&
                r->members[i].state == CW_MEMBER_INSYNC)
                s->bad |= (uint32_t)CW_BIT(i);
        }
    }
}

static void
copy_named(struct mgr_shard *s, const struct cw_mgr_copy_state *c)
{
    const struct cw_shard_rec *r = &s->o.rec.shard;
    const struct cw_member *mb = cw_shard_rec_find(r, &c->disk_uuid, c->format_id);
    struct mgr_copy_known *known;

    if (c->gen > s->seen_gen)
        s->seen_gen = c->gen;
    if (c->cfg > s->seen_cfg)
        s->seen_cfg = c->cfg;
    if (mb == NULL)
        return;
    known = &s->known[mb - r->members];
    known->held = known->named = true;
    known->damaged = c->damaged;
    known->holes = c->syncing || mb->state == CW_MEMBER_IN_RESYNC;
    known->last_gen = c->last_gen;
    known->last_seq = c->last_seq;
    s->mapped_blocks[mb - r->members] = c->mapped_blocks;
    s->bad &= ~(uint32_t)CW_BIT(mb - r->members);
    if (mb->state == CW_MEMBER_INSYNC && (c->damaged || c->syncing))
        s->bad |= (uint32_t)CW_BIT(mb - r->members);
}

void
cw_mgr_copies_registered(struct cw_manager *m, const struct mgr_host *h,
                         const struct cw_mgr_copy_state *copies, size_t n)
{
    copies_expect(m, h);
    for (size_t i = 0; i < n; i++) {
        struct mgr_shard *s = cw_mgr_find_shard(&m->t, copies[i].shard);

        if (s != NULL)
            copy_named(s, &copies[i]);
    }
}

void
cw_mgr_copies_used(struct cw_manager *m, const struct mgr_host *h,
                   const struct cw_mgr_copy_use *uses, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct mgr_shard *s = cw_mgr_find_shard(&m->t, uses[i].shard);
        const struct cw_shard_rec *r = s != NULL ? &s->o.rec.shard : NULL;
        const struct cw_member *mb =
            r != NULL ? cw_shard_rec_find(r, &uses[i].disk_uuid, uses[i].format_id) : NULL;
        struct mgr_disk *d = cw_mgr_find_disk(&m->t, &uses[i].disk_uuid);

        if (d == NULL || d->o.rec.disk.format_id != uses[i].format_id ||
            cw_mgr_disk_host(m, d) != h)
            continue;
        if (mb == NULL) {
            cw_mgr_drops_told(m, d, uses[i].shard);
            continue;
        }
        s->mapped_blocks[mb - r->members] = uses[i].mapped_blocks;
        s->known[mb - r->members].held = true;
    }
}

/* Its beats name all that there are: what is not named any more is mended. */
static void
copies_bad_reset(struct cw_manager *m, const struct mgr_host *h)
{
    MGR_EACH(&m->t, CW_REC_SHARD, struct mgr_shard, s)
    {
        for (uint32_t i = 0; i < s->o.rec.shard.n_members; i++) {
            const struct mgr_disk *d = cw_mgr_find_copy_disk(&m->t, &s->o.rec.shard.members[i]);

            if (d != NULL && cw_mgr_disk_host(m, d) == h)
                s->bad_blocks[i] = 0;
        }
    }
}

void
cw_mgr_copies_bad(struct cw_manager *m, struct mgr_host *h, const struct cw_mgr_copy_bad *bads,
                  size_t n)
{
    if (h->bads)
        copies_bad_reset(m, h);
    h->bads = n > 0;
    for (size_t i = 0; i < n; i++) {
        struct mgr_shard *s = cw_mgr_find_shard(&m->t, bads[i].shard);
        const struct cw_shard_rec *r = s != NULL ? &s->o.rec.shard : NULL;
        const struct cw_member *mb =
            r != NULL ? cw_shard_rec_find(r, &bads[i].disk_uuid, bads[i].format_id) : NULL;
        const struct mgr_disk *d = mb != NULL ? cw_mgr_find_copy_disk(&m->t, mb) : NULL;

        if (d != NULL && cw_mgr_disk_host(m, d) == h)
            s->bad_blocks[mb - r->members] = bads[i].blocks;
    }
}

/* Of two with one name it is the one in use; the other was replaced, and is named by its UUID. */
struct mgr_disk *
cw_mgr_disk_named(const struct cw_manager *m, const char *name)
{
    struct mgr_disk *replaced = NULL;
    struct cw_uuid uuid;

    if (cw_uuid_parse(name, &uuid))
        return cw_mgr_find_disk(&m->t, &uuid);
    MGR_EACH(&m->t, CW_REC_DISK, struct mgr_disk, d)
    {
        char path[CW_OBJECT_SIZE];
        const char *slash;

        cw_mgr_disk_path(m, d, path);
        slash = strchr(path, '/');
        if (strcmp(path, name) != 0 && (slash == NULL || strcmp(slash + 1, name) != 0))
            continue;
        if (!d->replaced)
            return d;
        replaced = d;
    }
    return replaced;
}

bool
cw_mgr_shard_ahead(const struct cw_manager *m, const struct mgr_shard *s)
{
    const struct mgr_volume *v = cw_mgr_find_volume(&m->t, CW_SHARD_VOLUME(s->o.rec.shard.shard));

    return s->seen_cfg > s->o.rec.shard.cfg || (v != NULL && s->seen_gen > v->o.rec.volume.gen);
}

uint64_t
cw_mgr_disk_away_ns(const struct cw_manager *m, const struct mgr_disk *d)
{
    const struct mgr_host *h = cw_mgr_disk_host(m, d);
    uint64_t since;

    if (h == NULL)
        return 0;
    if (h->absent)
        since = cw_mgr_absent_ns(h);
    else if (d->missing && h->session != NULL)
        since = cw_max_u64(d->missing_ns, h->returned_ns);
    else
        return 0;
    return cw_max_u64(cw_now_ns(m->env) - since, 1);
}

enum mgr_copy
cw_mgr_copy_state(const struct cw_manager *m, const struct cw_member *mb, uint32_t repair_delay_s)
{
    const struct mgr_disk *d = cw_mgr_find_copy_disk(&m->t, mb);
    const struct mgr_host *h = cw_mgr_disk_host(m, d);
    uint64_t away = cw_mgr_disk_away_ns(m, d);

    if (mb->state == CW_MEMBER_DEAD || h == NULL || d->o.rec.disk.failed || d->now.failed ||
        d->replaced)
        return MGR_COPY_GONE;
    if (cw_mgr_member_leaves(m, mb) && mb->state == CW_MEMBER_OUT)
        return MGR_COPY_GONE; /* it is not brought back there if there is another place */
    if (away == 0)
        return d->now.stuck ? MGR_COPY_WAITING : MGR_COPY_OK;
    if (cw_mgr_host_maintained(h))
        return MGR_COPY_WAITING; /* it is as it should be */
    return away >= repair_delay_s * CW_NS_PER_S && !cw_mgr_many_absent(m) ? MGR_COPY_OVERDUE
                                                                          : MGR_COPY_WAITING;
}

/* May an in-sync copy still be on its way up, so that a takeover should wait for it? */
bool
cw_mgr_volume_cold(const struct cw_manager *m, const struct mgr_volume *v)
{
    if (cw_now_ns(m->env) >= m->cold_until_ns)
        return false;
    for (uint32_t i = 0; i < cw_mgr_volume_shards(v); i++) {
        const struct mgr_shard *s = cw_mgr_shard_of(m, v, i);

        for (uint32_t k = 0; s != NULL && k < s->o.rec.shard.n_members; k++) {
            const struct cw_member *mb = &s->o.rec.shard.members[k];
            const struct mgr_disk *d = cw_mgr_find_copy_disk(&m->t, mb);
            const struct mgr_host *h = cw_mgr_disk_host(m, d);

            if (mb->state == CW_MEMBER_INSYNC && h != NULL && !h->seen)
                return true;
        }
    }
    return false;
}
