/* manager/quarantine.c - a disk on which too many blocks went bad takes no new copies and is
 * emptied, copy by copy (moves.c); one whose link flaps (flaps.c), too.
 *
 * A copy on such a disk is as good as its blocks verify: it stays until another is in its place.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/manager/internal.h"

bool
cw_mgr_member_quarantined(const struct cw_manager *m, const struct cw_member *mb)
{
    const struct mgr_disk *d = cw_mgr_find_copy_disk(&m->t, mb);

    return d != NULL && (d->o.rec.disk.quarantined || cw_mgr_disk_leaves(m, d));
}

/* ---- into quarantine, and out of it ---- */

const char *
cw_mgr_quarantine_why(const struct cw_disk_rec *r)
{
    if (!r->quarantined)
        return "";
    switch (r->quarantined_by) {
    case CW_QUARANTINE_BLOCKS:
        return "more than 10 bad blocks were found on it within 24 h";
    case CW_QUARANTINE_LINK:
        return "its link flaps: owners lost it 5 times within an hour";
    }
    cw_unreachable();
}

void
cw_mgr_quarantine_begin(struct mgr_txn *t, const struct mgr_disk *d, struct cw_rec *rec,
                        enum cw_quarantine by)
{
    char path[CW_OBJECT_SIZE];

    rec->disk.quarantined = true;
    rec->disk.quarantined_by = by;
    rec->disk.quarantined_s = cw_mgr_wall_s(t->m);
    cw_mgr_disk_path(t->m, d, path);
    cw_mgr_txn_event(t, "DISK_QUARANTINED", path, "%s; its copies move elsewhere",
                     cw_mgr_quarantine_why(&rec->disk));
}

struct note_op {
    struct mgr_op op;
    struct cw_uuid uuid;
};

static enum mgr_build
note_build(struct mgr_op *op, struct mgr_txn *t)
{
    struct note_op *n = cw_container_of(op, struct note_op, op);
    struct mgr_disk *d = cw_mgr_find_disk(&op->m->t, &n->uuid);
    struct cw_rec rec;
    bool storm;

    if (d == NULL || d->now.scrub.storms == d->o.rec.disk.storms)
        return MGR_BUILD_NONE;
    rec = d->o.rec;
    storm = d->now.scrub.storms > rec.disk.storms; /* else the store went back to an older state */
    rec.disk.storms = d->now.scrub.storms;
    if (storm && !rec.disk.quarantined)
        cw_mgr_quarantine_begin(t, d, &rec, CW_QUARANTINE_BLOCKS);
    cw_mgr_txn_put(t, &rec);
    return MGR_BUILD_COMMIT;
}

static void
note_end(struct mgr_op *op, enum cw_mgr_code code, const char *why)
{
    struct note_op *n = cw_container_of(op, struct note_op, op);
    struct mgr_disk *d = cw_mgr_find_disk(&op->m->t, &n->uuid);

    if (d != NULL)
        d->noting = false; /* if it is not in force, the next beat says it again */
    free(n);
}

void
cw_mgr_quarantine_note(struct cw_manager *m, struct mgr_disk *d)
{
    struct note_op *n;

    if (d->noting)
        return;
    n = calloc(1, sizeof(*n));
    cw_assert(n != NULL);
    n->uuid = d->o.rec.disk.uuid;
    n->op.build = note_build;
    n->op.end = note_end;
    d->noting = true;
    cw_mgr_op_queue(m, &n->op);
}

static enum mgr_build
return_build(struct mgr_call_op *c, struct mgr_txn *t)
{
    const char *name = c->call->req.name;
    struct mgr_disk *d = cw_mgr_disk_named(t->m, name);
    char path[CW_OBJECT_SIZE];
    struct cw_rec rec;

    if (d == NULL) {
        cw_mgr_fail(c->call, CW_MGR_NOT_FOUND, name, "there is no disk %.120s", name);
        cw_mgr_error_hint(&c->call->error, "a disk is HOST/DISK; see: causeway scrub ls");
        return cw_mgr_refused(c);
    }
    if (!d->o.rec.disk.quarantined && d->o.rec.disk.draining_s == 0)
        return cw_mgr_refuse(c, CW_MGR_BAD_REQUEST, name,
                             "disk %.120s is not quarantined, nor drained", name);
    rec = d->o.rec;
    cw_mgr_txn_undrain(t, d, &rec);
    rec.disk.quarantined = false;
    rec.disk.quarantined_s = 0;
    rec.disk.quarantined_by = CW_QUARANTINE_BLOCKS;
    if (d->reported) /* else the store counts at least those on record */
        rec.disk.storms = d->now.scrub.storms;
    cw_mgr_txn_put(t, &rec);
    cw_mgr_disk_path(t->m, d, path);
    cw_mgr_txn_event(t, "DISK_RETURNED", path, "by an operator's word: it takes copies again");
    return MGR_BUILD_COMMIT;
}

static void
return_ok(struct mgr_call_op *c)
{
}

void
cw_mgr_call_disk_return(struct cw_manager *m, struct cw_mgr_call *call)
{
    cw_mgr_call_op(m, call, return_build, return_ok);
}
