/* manager/remove.c - hosts and disks that are gone for good.
 *
 * Their records go at once, whatever lies on them: nothing there will ever answer. Copies that were
 * there stay members of their shards, on a disk that nobody knows: MGR_COPY_GONE. Owners and
 * caretakers declare them OUT (INSYNC is theirs to change, I3), repair.c replaces them. What was to
 * be dropped there is forgotten by drops.c.
 */
#include <stdio.h>
#include <string.h>

#include "daemon/manager/internal.h"

struct removal {
    const struct cw_manager *m;
    const struct mgr_host *host; /* all of its disks */
    const struct mgr_disk *disk; /* or this one */
    uint64_t copies;
    const char **lost; /* volumes: their last in-sync copy is there */
    size_t n_lost;
    uint64_t last_lost; /* volume */
    bool trashed;       /* one of them is in the trash */
};

static bool
disk_goes(const struct removal *r, const struct mgr_disk *d)
{
    return d != NULL && (r->disk != NULL ? d == r->disk : cw_mgr_disk_host(r->m, d) == r->host);
}

/* Is every in-sync copy there, or gone already? */
static bool
shard_goes(const struct removal *r, const struct mgr_shard *s)
{
    bool there = false;

    for (uint32_t i = 0; i < s->o.rec.shard.n_members; i++) {
        const struct cw_member *mb = &s->o.rec.shard.members[i];

        if (mb->state != CW_MEMBER_INSYNC)
            continue;
        if (disk_goes(r, cw_mgr_find_copy_disk(&r->m->t, mb)))
            there = true;
        else if (cw_mgr_copy_state(r->m, mb, UINT32_MAX) != MGR_COPY_GONE)
            return false;
    }
    return there;
}

static void
removal_look(struct removal *r, struct cw_mgr_arena *a)
{
    r->lost = cw_mgr_arena_get(a, r->m->t.of[CW_REC_VOLUME].n + 1, sizeof(const char *));
    MGR_EACH(&r->m->t, CW_REC_SHARD, struct mgr_shard, s)
    {
        uint64_t id = CW_SHARD_VOLUME(s->o.rec.shard.shard);
        const struct mgr_volume *v = cw_mgr_find_volume(&r->m->t, id);

        for (uint32_t i = 0; i < s->o.rec.shard.n_members; i++)
            r->copies += disk_goes(r, cw_mgr_find_copy_disk(&r->m->t, &s->o.rec.shard.members[i]));
        if (v == NULL || v->o.rec.volume.gen == 0 || id == r->last_lost || !shard_goes(r, s))
            continue; /* what nobody ever wrote has nothing to lose */
        r->last_lost = id;
        r->trashed |= v->o.rec.volume.purge_at_s != 0;
        r->lost[r->n_lost++] = cw_mgr_arena_text(a, v->o.rec.volume.name);
    }
}

static void
lost_names(const struct removal *r, char *text, size_t size)
{
    size_t len = 0;

    text[0] = '\0';
    for (size_t i = 0; i < r->n_lost && len + 4 < size; i++)
        len += (size_t)snprintf(text + len, size - len, "%s%s", i > 0 ? ", " : "", r->lost[i]);
    if (len >= size)
        memcpy(text + size - 4, "...", 4);
}

static enum mgr_build
removal_refuse(struct mgr_call_op *c, const struct removal *r, const char *what, const char *name)
{
    char names[120];

    lost_names(r, names, sizeof(names));
    cw_mgr_fail(
        c->call, CW_MGR_LAST_COPY, name,
        "the last in-sync copy of volume%s %s%s is on %s %.63s: without it that data is lost",
        r->n_lost == 1 ? "" : "s", names, r->trashed ? " (some in the trash)" : "", what, name);
    cw_mgr_error_hint(
        &c->call->error,
        "bring it back if there is any way to; else, to give that data up: causeway %s rm "
        "%.80s --accept-loss",
        what, name);
    return cw_mgr_refused(c);
}

static void
removal_reply(struct mgr_call_op *c, const struct removal *r, const char *name)
{
    c->call->reply.removed = (struct cw_mgr_remove_reply){
        .object = cw_mgr_arena_text(cw_mgr_reply_arena(c->call), name),
        .copies = r->copies,
        .lost = r->lost,
        .n_lost = r->n_lost,
    };
}

static void
removal_event(struct mgr_txn *t, const struct removal *r, const char *code, const char *name)
{
    char names[120] = "";

    if (r->n_lost > 0)
        lost_names(r, names, sizeof(names));
    cw_mgr_txn_event(t, code, name, "%llu cop%s given up%s%s", (unsigned long long)r->copies,
                     r->copies == 1 ? "y is" : "ies are",
                     r->n_lost > 0 ? "; the last in-sync one of " : "", names);
}

static void
txn_disk_del(struct mgr_txn *t, const struct mgr_disk *d)
{
    char path[CW_OBJECT_SIZE];

    cw_mgr_disk_path(t->m, d, path);
    cw_mgr_txn_job_end(t, CW_JOB_DRAIN, path, CW_JOB_CANCELLED, "the disk was removed");
    cw_mgr_txn_del(t, &d->o);
}

/* ---- host rm ---- */

static enum mgr_build
host_rm_build(struct mgr_call_op *c, struct mgr_txn *t)
{
    const struct cw_mgr_host_rm *q = &c->call->req.host_rm;
    struct mgr_host *h = cw_mgr_find_host(&t->m->t, q->name);
    struct removal r = { .m = t->m, .host = h };

    if (h == NULL)
        return cw_mgr_refuse(c, CW_MGR_NOT_FOUND, q->name, "there is no host %.63s", q->name);
    if (cw_mgr_host_serves(t->m, h))
        return cw_mgr_refuse(c, CW_MGR_BUSY, q->name, "host %s is up: stop its daemon first",
                             q->name);
    removal_look(&r, cw_mgr_reply_arena(c->call));
    if (r.n_lost > 0 && !q->accept_loss)
        return removal_refuse(c, &r, "host", q->name);
    MGR_EACH(&t->m->t, CW_REC_DISK, struct mgr_disk, d)
    {
        if (disk_goes(&r, d))
            txn_disk_del(t, d);
    }
    cw_mgr_txn_job_end(t, CW_JOB_MAINTAIN, q->name, CW_JOB_CANCELLED, "the host was removed");
    cw_mgr_txn_del(t, &h->o);
    removal_event(t, &r, "HOST_REMOVED", q->name);
    removal_reply(c, &r, q->name);
    return MGR_BUILD_COMMIT;
}

static void
removed_ok(struct mgr_call_op *c)
{
    cw_mgr_hint_owners(c->op.m, NULL); /* whose members it had */
}

void
cw_mgr_call_host_rm(struct cw_manager *m, struct cw_mgr_call *call)
{
    cw_mgr_call_op(m, call, host_rm_build, removed_ok);
}

/* ---- disk rm ---- */

static enum mgr_build
disk_rm_build(struct mgr_call_op *c, struct mgr_txn *t)
{
    const struct cw_mgr_disk_rm *q = &c->call->req.disk_rm;
    struct mgr_disk *d = cw_mgr_disk_named(t->m, q->disk);
    struct removal r = { .m = t->m, .disk = d };
    char path[CW_OBJECT_SIZE];

    if (d == NULL) {
        cw_mgr_fail(c->call, CW_MGR_NOT_FOUND, q->disk, "there is no disk %.120s", q->disk);
        cw_mgr_error_hint(&c->call->error, "a disk is HOST/DISK; see: causeway disk ls");
        return cw_mgr_refused(c);
    }
    removal_look(&r, cw_mgr_reply_arena(c->call));
    if (cw_mgr_disk_serves(t->m, d) && r.copies > 0) {
        cw_mgr_fail(c->call, CW_MGR_BUSY, q->disk, "%llu copies live on disk %.120s",
                    (unsigned long long)r.copies, q->disk);
        cw_mgr_error_hint(&c->call->error, "move them away first: causeway disk drain %.120s",
                          q->disk);
        return cw_mgr_refused(c);
    }
    if (r.n_lost > 0 && !q->accept_loss)
        return removal_refuse(c, &r, "disk", q->disk);
    cw_mgr_disk_path(t->m, d, path);
    txn_disk_del(t, d);
    cw_mgr_txn_removed(t, d);
    removal_event(t, &r, "DISK_REMOVED", path);
    removal_reply(c, &r, path);
    return MGR_BUILD_COMMIT;
}

void
cw_mgr_call_disk_rm(struct cw_manager *m, struct cw_mgr_call *call)
{
    cw_mgr_call_op(m, call, disk_rm_build, removed_ok);
}
