/* manager/removed.c - disks that were removed stay so, whoever reports their stores.
 *
 *   disk rm --> /removed/<uuid> --its daemon registers with the store--> told once, listed, not
 * used
 *     --disk add, or the store is formatted anew--> gone; its daemon registers again, and adds it
 *
 * A disk is known by its uuid and its format: what was formatted anew is another. The oldest of too
 * many are forgotten, so that what is remembered of disks that left for ever is bounded.
 */
#include <stdio.h>
#include <string.h>

#include "daemon/manager/internal.h"

#define REMOVED_MAX 256u

static struct mgr_removed *
removed_of(const struct cw_manager *m, const struct cw_uuid *uuid)
{
    struct cw_rec like = { .kind = CW_REC_REMOVED, .removed.uuid = *uuid };
    char key[CW_KV_KEY_SIZE];

    return (struct mgr_removed *)cw_mgr_find_key(&m->t, CW_REC_REMOVED, cw_rec_key(&like, key));
}

struct mgr_removed *
cw_mgr_find_removed(const struct cw_manager *m, const struct cw_uuid *uuid, uint64_t format_id)
{
    struct mgr_removed *x = removed_of(m, uuid);

    return x != NULL && x->o.rec.removed.format_id == format_id ? x : NULL;
}

static void
removed_trim(struct mgr_txn *t)
{
    const struct mgr_removed *oldest = NULL;

    if (t->m->t.of[CW_REC_REMOVED].n < REMOVED_MAX)
        return;
    MGR_EACH(&t->m->t, CW_REC_REMOVED, struct mgr_removed, x)
    {
        if (oldest == NULL || x->o.rec.removed.removed_s < oldest->o.rec.removed.removed_s)
            oldest = x;
    }
    cw_mgr_txn_del(t, &oldest->o);
}

void
cw_mgr_txn_removed(struct mgr_txn *t, const struct mgr_disk *d)
{
    struct cw_rec rec = { .kind = CW_REC_REMOVED };
    struct cw_removed_rec *to = &rec.removed;

    to->uuid = d->o.rec.disk.uuid;
    to->format_id = d->o.rec.disk.format_id;
    to->removed_s = cw_mgr_wall_s(t->m);
    cw_mgr_text_set(to->host, sizeof(to->host), d->o.rec.disk.host);
    cw_mgr_text_set(to->name, sizeof(to->name), d->o.rec.disk.name);
    if (removed_of(t->m, &to->uuid) == NULL)
        removed_trim(t);
    cw_mgr_txn_put(t, &rec);
}

/* ---- its daemon ---- */

bool
cw_mgr_txn_removed_seen(struct mgr_txn *t, const char *host, const struct cw_mgr_disk_state *ds)
{
    struct mgr_removed *x = removed_of(t->m, &ds->uuid);
    char since[CW_MGR_TIME_SIZE];
    struct cw_rec rec;

    if (x == NULL)
        return false;
    if (x->o.rec.removed.format_id != ds->format_id) {
        cw_mgr_txn_del(t, &x->o);
        return false;
    }
    rec = x->o.rec;
    if (rec.removed.told && strcmp(rec.removed.host, host) == 0)
        return true;
    cw_mgr_text_set(rec.removed.host, sizeof(rec.removed.host), host);
    rec.removed.told = true;
    cw_mgr_txn_put(t, &rec);
    cw_mgr_txn_event(t, "DISK_NOT_USED", host,
                     "%s was removed at %s and its daemon has its store open: take it out of the "
                     "daemon's configuration, or take it back: causeway disk add %s/%s",
                     rec.removed.name, cw_mgr_time_format(rec.removed.removed_s, since), host,
                     rec.removed.name);
    return true;
}

void
cw_mgr_removed_registered(struct cw_manager *m, const struct mgr_host *h,
                          const struct cw_mgr_disk_state *disks, size_t n)
{
    MGR_EACH(&m->t, CW_REC_REMOVED, struct mgr_removed, x)
    {
        if (strcmp(x->o.rec.removed.host, h->o.rec.host.name) == 0)
            x->reported = false;
    }
    for (size_t i = 0; i < n; i++) {
        struct mgr_removed *x = cw_mgr_find_removed(m, &disks[i].uuid, disks[i].format_id);

        if (x != NULL)
            x->reported = true;
    }
}

void
cw_mgr_removed_applied(struct cw_manager *m, const struct mgr_removed *x)
{
    struct mgr_host *h = cw_mgr_find_host(&m->t, x->o.rec.removed.host);

    if (h != NULL)
        h->anew = true;
}

size_t
cw_mgr_removed_fill(const struct cw_manager *m, const struct mgr_host *h, struct cw_mgr_arena *a,
                    struct cw_mgr_disk_state *to)
{
    char since[CW_MGR_TIME_SIZE];
    size_t n = 0;

    MGR_EACH(&m->t, CW_REC_REMOVED, struct mgr_removed, x)
    {
        const struct cw_removed_rec *r = &x->o.rec.removed;

        if (!x->reported || strcmp(r->host, h->o.rec.host.name) != 0)
            continue;
        to[n++] = (struct cw_mgr_disk_state){
            .uuid = r->uuid,
            .format_id = r->format_id,
            .name = r->name,
            .why = "",
            .removed = true,
            .removed_since = cw_mgr_arena_text(a, cw_mgr_time_format(r->removed_s, since)),
        };
    }
    return n;
}

/* ---- disk add ---- */

static bool
removed_is_named(const struct cw_manager *m, const struct mgr_removed *x, const char *name)
{
    const struct cw_removed_rec *r = &x->o.rec.removed;
    const struct mgr_host *h = cw_mgr_find_host(&m->t, r->host);
    char path[CW_OBJECT_SIZE];

    snprintf(path, sizeof(path), "%s/%s/%s", h != NULL ? h->o.rec.host.site : "", r->host, r->name);
    return strcmp(path, name) == 0 || strcmp(strchr(path, '/') + 1, name) == 0;
}

/* One that its daemon has open rather than another, then the one removed last. */
static struct mgr_removed *
removed_named(const struct cw_manager *m, const char *name)
{
    struct mgr_removed *best = NULL;

    MGR_EACH(&m->t, CW_REC_REMOVED, struct mgr_removed, x)
    {
        if (!removed_is_named(m, x, name))
            continue;
        if (best == NULL || x->reported > best->reported ||
            (x->reported == best->reported &&
             x->o.rec.removed.removed_s > best->o.rec.removed.removed_s))
            best = x;
    }
    return best;
}

static enum mgr_build
add_build(struct mgr_call_op *c, struct mgr_txn *t)
{
    const char *name = c->call->req.name;
    struct mgr_removed *x = removed_named(t->m, name);

    if (x == NULL) {
        cw_mgr_fail(c->call, CW_MGR_NOT_FOUND, name, "no disk %.120s was removed", name);
        cw_mgr_error_hint(&c->call->error,
                          "a new store is added by the daemon that starts with it (--store); see: "
                          "causeway disk ls");
        return cw_mgr_refused(c);
    }
    cw_mgr_txn_event(t, "DISK_TAKEN_BACK", x->o.rec.removed.host,
                     "%s, by an operator's word: it is used again", x->o.rec.removed.name);
    cw_mgr_txn_del(t, &x->o);
    return MGR_BUILD_COMMIT;
}

static void
add_ok(struct mgr_call_op *c)
{
}

void
cw_mgr_call_disk_add(struct cw_manager *m, struct cw_mgr_call *call)
{
    cw_mgr_call_op(m, call, add_build, add_ok);
}
