/* manager/maintain.c - hosts and disks that are to go down or to leave, and what must hold before.
 *
 *   host maintain --> preparing --what its mode promises holds--> ready --host return--> as before
 *   disk drain ----------------- its copies move ---------------> empty --disk return--^
 *
 * accessible: every shard keeps as many in-sync copies elsewhere as its policy needs to take
 *     writes; one that would not gets one more copy for the time being.
 * full: no copy is left there (quarantine.c moves them).
 * none: nothing is promised.
 *
 * A host that is ready takes no new copies, and its absence is as it should be: nothing is rebuilt.
 * Before it is ready it is a host like any other, but for new copies.
 */
#include <stdio.h>
#include <string.h>

#include "daemon/manager/internal.h"

const char *
cw_mgr_maintain_name(enum cw_maintain mode)
{
    static const char *const names[] = {
        [CW_MAINTAIN_OFF] = "",
        [CW_MAINTAIN_ACCESSIBLE] = "accessible",
        [CW_MAINTAIN_FULL] = "full",
        [CW_MAINTAIN_NONE] = "none",
    };

    return names[mode];
}

bool
cw_mgr_host_maintained(const struct mgr_host *h)
{
    return h->o.rec.host.maintain != CW_MAINTAIN_OFF && h->o.rec.host.maintain_ready;
}

bool
cw_mgr_host_closed(const struct mgr_host *h)
{
    return h->o.rec.host.maintain != CW_MAINTAIN_OFF;
}

uint64_t
cw_mgr_absent_ns(const struct mgr_host *h)
{
    return cw_max_u64(h->ok_ns, h->returned_ns);
}

bool
cw_mgr_disk_leaves(const struct cw_manager *m, const struct mgr_disk *d)
{
    const struct mgr_host *h;

    if (d->o.rec.disk.draining_s != 0)
        return true;
    if (m->n_maintain[CW_MAINTAIN_FULL] == 0)
        return false;
    h = cw_mgr_disk_host(m, d);
    return h != NULL && h->o.rec.host.maintain == CW_MAINTAIN_FULL;
}

const char *
cw_mgr_leaves_what(const struct cw_manager *m, const struct cw_member *mb)
{
    const struct mgr_disk *d = cw_mgr_find_copy_disk(&m->t, mb);

    if (d != NULL && d->o.rec.disk.draining_s != 0)
        return "a disk that is drained";
    if (d != NULL && !d->o.rec.disk.quarantined && cw_mgr_disk_leaves(m, d))
        return "a host that is emptied";
    return "a quarantined disk";
}

/* ---- which copies are to go down ---- */

static const struct mgr_host *
member_host(const struct cw_manager *m, const struct cw_member *mb)
{
    return cw_mgr_disk_host(m, cw_mgr_find_copy_disk(&m->t, mb));
}

static bool
member_goes(const struct cw_manager *m, const struct cw_member *mb)
{
    const struct mgr_host *h;

    if (mb->state == CW_MEMBER_DEAD || !cw_mgr_member_counts(mb))
        return false;
    h = member_host(m, mb);
    return h != NULL && h->o.rec.host.maintain == CW_MAINTAIN_ACCESSIBLE;
}

uint32_t
cw_mgr_member_to_go(const struct cw_manager *m, const struct cw_shard_rec *r)
{
    for (uint32_t i = 0; m->n_maintain[CW_MAINTAIN_ACCESSIBLE] > 0 && i < r->n_members; i++) {
        if (member_goes(m, &r->members[i]))
            return i;
    }
    return CW_MEMBERS_MAX;
}

uint32_t
cw_mgr_copies_wanted(const struct cw_manager *m, const struct mgr_volume *v,
                     const struct cw_shard_rec *r)
{
    const struct cw_policy_rec *p = cw_mgr_volume_policy(m, &v->o.rec.volume);
    uint32_t go = 0, need = cw_mgr_volume_min_insync(m, v);

    if (m->n_maintain[CW_MAINTAIN_ACCESSIBLE] == 0)
        return p->copies;
    for (uint32_t i = 0; i < r->n_members; i++)
        go += member_goes(m, &r->members[i]);
    return go + need > p->copies && go > 0 ? go + need : p->copies;
}

/* It may go down at any time, with all that is there. */
static bool
host_may_go(const struct mgr_host *h)
{
    return h->o.rec.host.maintain == CW_MAINTAIN_ACCESSIBLE ||
           h->o.rec.host.maintain == CW_MAINTAIN_NONE;
}

uint32_t
cw_mgr_insync_without(const struct cw_manager *m, const struct mgr_shard *s,
                      const struct mgr_host *h, bool *ret_there)
{
    uint32_t n = 0;

    *ret_there = false;
    for (uint32_t i = 0; i < s->o.rec.shard.n_members; i++) {
        const struct cw_member *mb = &s->o.rec.shard.members[i];
        const struct mgr_host *at = member_host(m, mb);

        *ret_there |= at == h && mb->state == CW_MEMBER_INSYNC;
        n += at != NULL && at != h && !host_may_go(at) && cw_mgr_member_holds(m, s, i);
    }
    return n;
}

/* ---- what is left to do ---- */

static const struct mgr_volume *
volume_of(const struct cw_manager *m, const struct mgr_shard *s)
{
    const struct mgr_volume *v = cw_mgr_find_volume(&m->t, CW_SHARD_VOLUME(s->o.rec.shard.shard));

    return v != NULL && v->o.rec.volume.purge_at_s == 0 ? v : NULL;
}

/* What a copy of it must get, less what the one under way has. */
static uint64_t
bytes_to_copy(const struct mgr_shard *s)
{
    const struct cw_shard_rec *r = &s->o.rec.shard;
    uint64_t blocks = 0, done = 0;

    for (uint32_t i = 0; i < r->n_members; i++) {
        blocks = cw_max_u64(blocks, s->mapped_blocks[i]);
        if (r->members[i].state == CW_MEMBER_IN_RESYNC &&
            s->now[i].chunks_total > s->now[i].chunks_left)
            done = cw_max_u64(done, (s->now[i].chunks_total - s->now[i].chunks_left) * CW_MIB);
    }
    return blocks * 4096 > done ? blocks * 4096 - done : 0;
}

uint64_t
cw_mgr_bytes_to_copy(const struct mgr_shard *s)
{
    return bytes_to_copy(s);
}

static void
left_why(struct mgr_left *l, bool blocked, const struct mgr_volume *v, const char *why)
{
    if (l->why[0] != '\0' && (l->blocked || !blocked))
        return; /* the first that blocks, else the first */
    l->blocked = blocked;
    snprintf(l->why, sizeof(l->why), "volume %.63s: %.200s", v->o.rec.volume.name, why);
}

static bool
shard_has_source(const struct cw_manager *m, const struct mgr_shard *s)
{
    for (uint32_t i = 0; i < s->o.rec.shard.n_members; i++) {
        if (cw_mgr_member_holds(m, s, i))
            return true;
    }
    return false;
}

static bool
shard_fills(const struct mgr_shard *s)
{
    for (uint32_t i = 0; i < s->o.rec.shard.n_members; i++) {
        if (s->o.rec.shard.members[i].state == CW_MEMBER_IN_RESYNC)
            return true;
    }
    return false;
}

/* One more copy is wanted: what keeps it? member: in whose stead. */
static void
left_look(const struct cw_manager *m, const struct mgr_volume *v, const struct mgr_shard *s,
          uint32_t member, bool placed, struct mgr_left *l)
{
    const struct cw_shard_rec *r = &s->o.rec.shard;
    struct cw_member fresh;
    char why[CW_MGR_WHY_SIZE];

    if (cw_mgr_repair_paused(m))
        left_why(l, true, v, "repair is paused");
    else if (cw_mgr_many_absent(m))
        left_why(l, true, v, "nothing is rebuilt while many hosts are absent at once");
    else if (!shard_has_source(m, s))
        left_why(l, true, v, "no in-sync copy is reachable");
    else if (!placed && !cw_mgr_repair_target(m, v, r, member, &fresh, why))
        left_why(l, true, v, why);
    else
        left_why(l, false, v,
                 shard_fills(s) ? "a copy is made elsewhere"
                                : "a copy is about to be made elsewhere");
}

static void
left_rate(const struct cw_manager *m, const struct mgr_volume *v, const struct mgr_volume **last,
          struct mgr_left *l)
{
    if (v != *last && cw_mgr_report_fresh(m, v))
        l->bytes_per_s += v->report.repair_bytes_per_s;
    *last = v;
}

void
cw_mgr_left_on(const struct cw_manager *m, const struct mgr_host *h, const struct mgr_disk *d,
               struct mgr_left *ret)
{
    const struct mgr_volume *last = NULL;

    *ret = (struct mgr_left){ 0 };
    MGR_EACH(&m->t, CW_REC_SHARD, struct mgr_shard, s)
    {
        const struct cw_shard_rec *r = &s->o.rec.shard;
        const struct mgr_volume *v = volume_of(m, s);

        for (uint32_t i = 0; v != NULL && i < r->n_members; i++) {
            const struct mgr_disk *at = cw_mgr_find_copy_disk(&m->t, &r->members[i]);
            bool placed = cw_mgr_member_surplus(m, v, r, i);

            if (at == NULL || (d != NULL ? at != d : cw_mgr_disk_host(m, at) != h))
                continue;
            ret->copies++;
            ret->bytes += bytes_to_copy(s);
            left_rate(m, v, &last, ret);
            left_look(m, v, s, i, placed, ret);
        }
    }
}

void
cw_mgr_left_accessible(const struct cw_manager *m, const struct mgr_host *h, struct mgr_left *ret)
{
    const struct mgr_volume *last = NULL;

    *ret = (struct mgr_left){ 0 };
    MGR_EACH(&m->t, CW_REC_SHARD, struct mgr_shard, s)
    {
        const struct cw_shard_rec *r = &s->o.rec.shard;
        const struct mgr_volume *v = volume_of(m, s);
        uint32_t n, need, go;
        bool there;

        if (v == NULL)
            continue;
        n = cw_mgr_insync_without(m, s, h, &there);
        need = cw_mgr_volume_min_insync(m, v);
        if (!there || n >= need)
            continue;
        ret->copies++;
        ret->bytes += bytes_to_copy(s);
        left_rate(m, v, &last, ret);
        go = cw_mgr_member_to_go(m, r);
        left_look(m, v, s, go, cw_mgr_count_copies(r) >= cw_mgr_copies_wanted(m, v, r), ret);
    }
}

/* ---- host maintain ---- */

static bool
mode_parse(const char *text, enum cw_maintain *ret)
{
    for (int i = CW_MAINTAIN_ACCESSIBLE; i <= CW_MAINTAIN_NONE; i++) {
        if (strcmp(text, cw_mgr_maintain_name((enum cw_maintain)i)) == 0) {
            *ret = (enum cw_maintain)i;
            return true;
        }
    }
    return false;
}

/* Another host that may go down and has a copy of it; NULL: none. */
static const struct mgr_host *
other_that_goes(const struct cw_manager *m, const struct mgr_shard *s, const struct mgr_host *h)
{
    for (uint32_t i = 0; i < s->o.rec.shard.n_members; i++) {
        const struct mgr_host *at = member_host(m, &s->o.rec.shard.members[i]);

        if (at != NULL && at != h && host_may_go(at))
            return at;
    }
    return NULL;
}

bool
cw_mgr_maintain_clash(const struct cw_manager *m, const struct mgr_host *h, enum cw_maintain mode,
                      char why[static CW_MGR_WHY_SIZE])
{
    why[0] = '\0';
    if (mode == CW_MAINTAIN_FULL)
        return false; /* nothing goes down before its copies are elsewhere */
    MGR_EACH(&m->t, CW_REC_SHARD, struct mgr_shard, s)
    {
        const struct mgr_volume *v = volume_of(m, s);
        const struct mgr_host *other;
        uint32_t n, need;
        bool there;

        if (v == NULL || (other = other_that_goes(m, s, h)) == NULL)
            continue;
        n = cw_mgr_insync_without(m, s, h, &there);
        need = cw_mgr_volume_min_insync(m, v);
        if (!there || n >= need)
            continue;
        snprintf(why, CW_MGR_WHY_SIZE,
                 "host %.50s is in maintenance: with %.50s away too, volume %.50s would %s (%u "
                 "in-sync cop%s, it needs %u)",
                 other->o.rec.host.name, h->o.rec.host.name, v->o.rec.volume.name,
                 n == 0 ? "be unavailable" : "take no writes", n, n == 1 ? "y" : "ies", need);
        return true;
    }
    return false;
}

void
cw_mgr_maintain_left(const struct cw_manager *m, const struct mgr_host *h, enum cw_maintain mode,
                     struct mgr_left *ret)
{
    *ret = (struct mgr_left){ 0 };
    if (mode == CW_MAINTAIN_ACCESSIBLE)
        cw_mgr_left_accessible(m, h, ret);
    else if (mode == CW_MAINTAIN_FULL)
        cw_mgr_left_on(m, h, NULL, ret);
}

static enum mgr_build
maintain_refuse(struct mgr_call_op *c, const struct cw_manager *m, struct mgr_host *h,
                enum cw_maintain *ret_mode)
{
    const struct cw_mgr_host_maintain *q = &c->call->req.host_maintain;
    char why[CW_MGR_WHY_SIZE];

    if (h == NULL) {
        cw_mgr_fail(c->call, CW_MGR_NOT_FOUND, q->name, "there is no host %.63s", q->name);
        cw_mgr_error_hint(&c->call->error, "see: causeway host ls");
        return cw_mgr_refused(c);
    }
    if (!mode_parse(q->mode, ret_mode))
        return cw_mgr_refuse(c, CW_MGR_BAD_REQUEST, q->name,
                             "a mode of maintenance is accessible, full or none");
    if (cw_mgr_maintain_clash(m, h, *ret_mode, why) &&
        !(*ret_mode == CW_MAINTAIN_NONE && q->force)) {
        cw_mgr_fail(c->call, CW_MGR_CONFLICT, q->name, "%s", why);
        cw_mgr_error_hint(
            &c->call->error,
            "return the other host first; or --mode full, which moves the copies away; or "
            "--mode none --force");
        return cw_mgr_refused(c);
    }
    return MGR_BUILD_COMMIT;
}

static enum mgr_build
maintain_build(struct mgr_call_op *c, struct mgr_txn *t)
{
    const struct cw_mgr_host_maintain *q = &c->call->req.host_maintain;
    struct mgr_host *h = cw_mgr_find_host(&t->m->t, q->name);
    enum cw_maintain mode = CW_MAINTAIN_OFF;
    enum mgr_build b = maintain_refuse(c, t->m, h, &mode);
    struct mgr_left left;
    struct cw_rec rec;

    if (b != MGR_BUILD_COMMIT)
        return b;
    rec = h->o.rec;
    if (rec.host.maintain == mode)
        return MGR_BUILD_NONE;
    cw_mgr_maintain_left(t->m, h, mode, &left);
    rec.host.maintain = mode;
    rec.host.maintain_s = cw_mgr_wall_s(t->m);
    rec.host.maintain_ready = left.copies == 0;
    cw_mgr_txn_put(t, &rec);
    cw_mgr_txn_job_end(t, CW_JOB_MAINTAIN, q->name, CW_JOB_CANCELLED, "another mode was asked for");
    if (left.copies > 0) {
        struct cw_job_rec *j =
            cw_mgr_txn_job(t, CW_JOB_MAINTAIN, q->name, "HOST_MAINTENANCE", q->mode);

        j->scope = CW_JOB_HOST;
        j->total_bytes = left.bytes;
    } else {
        cw_mgr_txn_event(t, "HOST_MAINTENANCE", q->name, "mode %s: it may go down", q->mode);
    }
    return MGR_BUILD_COMMIT;
}

static void
maintain_ok(struct mgr_call_op *c)
{
    struct cw_manager *m = c->op.m;
    const struct cw_mgr_host_maintain *q = &c->call->req.host_maintain;
    struct cw_mgr_maintain_reply *r = &c->call->reply.maintain;
    const struct mgr_host *h = cw_mgr_find_host(&m->t, q->name);
    const struct mgr_work *w = cw_mgr_work_open(m, CW_JOB_MAINTAIN, q->name);
    struct mgr_left left;

    if (h == NULL) {
        cw_mgr_fail(c->call, CW_MGR_NOT_FOUND, q->name, "the host is gone again");
        return;
    }
    cw_mgr_maintain_left(m, h, h->o.rec.host.maintain, &left);
    *r = (struct cw_mgr_maintain_reply){
        .object = q->name,
        .ready = h->o.rec.host.maintain_ready,
        .job = w != NULL ? w->o.rec.job.id : 0,
        .why = h->o.rec.host.maintain_ready
                   ? ""
                   : cw_mgr_arena_text(cw_mgr_reply_arena(c->call), left.why),
    };
}

static void
plan_call(struct cw_manager *m, struct cw_mgr_call *call)
{
    const struct cw_mgr_host_maintain *q = &call->req.host_maintain;
    const struct mgr_host *h = cw_mgr_find_host(&m->t, q->name);
    struct cw_mgr_arena *a = cw_mgr_reply_arena(call);
    struct cw_mgr_plan *plans = cw_mgr_arena_get(a, 3, sizeof(*plans));
    struct cw_mgr_maintain_reply *r = &call->reply.maintain;
    enum cw_maintain mode;

    *r = (struct cw_mgr_maintain_reply){ .object = q->name, .plans = plans, .why = "" };
    if (h == NULL) {
        cw_mgr_fail(call, CW_MGR_NOT_FOUND, q->name, "there is no host %.63s", q->name);
    } else if (q->mode[0] == '\0') {
        for (int i = CW_MAINTAIN_ACCESSIBLE; i <= CW_MAINTAIN_NONE; i++)
            cw_mgr_plan_host(m, h, (enum cw_maintain)i, a, &plans[r->n_plans++]);
    } else if (mode_parse(q->mode, &mode)) {
        cw_mgr_plan_host(m, h, mode, a, &plans[r->n_plans++]);
    } else {
        cw_mgr_fail(call, CW_MGR_BAD_REQUEST, q->name,
                    "a mode of maintenance is accessible, full or none");
    }
    cw_mgr_done(call);
}

void
cw_mgr_call_host_maintain(struct cw_manager *m, struct cw_mgr_call *call)
{
    if (call->req.host_maintain.plan)
        plan_call(m, call);
    else
        cw_mgr_call_op(m, call, maintain_build, maintain_ok);
}

/* ---- host return ---- */

static enum mgr_build
return_build(struct mgr_call_op *c, struct mgr_txn *t)
{
    const char *name = c->call->req.name;
    struct mgr_host *h = cw_mgr_find_host(&t->m->t, name);

    if (h == NULL)
        return cw_mgr_refuse(c, CW_MGR_NOT_FOUND, name, "there is no host %.63s", name);
    if (h->o.rec.host.maintain == CW_MAINTAIN_OFF)
        return cw_mgr_refuse(c, CW_MGR_BAD_REQUEST, name, "host %s is not in maintenance", name);
    cw_mgr_txn_return(t, h);
    cw_mgr_txn_job_end(t, CW_JOB_MAINTAIN, name, CW_JOB_CANCELLED, "the host was returned");
    return MGR_BUILD_COMMIT;
}

void
cw_mgr_txn_return(struct mgr_txn *t, const struct mgr_host *h)
{
    struct cw_rec rec = h->o.rec;

    rec.host.maintain = CW_MAINTAIN_OFF;
    rec.host.maintain_s = 0;
    rec.host.maintain_ready = false;
    cw_mgr_txn_put(t, &rec);
    cw_mgr_txn_event(t, "HOST_RETURNED", rec.host.name, "%s",
                     h->absent ? "it is absent: its copies are waited for from now on"
                               : "it takes copies again");
}

static void
call_ok(struct mgr_call_op *c)
{
}

void
cw_mgr_call_host_return(struct cw_manager *m, struct cw_mgr_call *call)
{
    cw_mgr_call_op(m, call, return_build, call_ok);
}

/* ---- disk drain ---- */

static enum mgr_build
drain_begin(struct mgr_txn *t, struct mgr_disk *d, const char *name)
{
    char path[CW_OBJECT_SIZE];
    struct cw_rec rec = d->o.rec;
    struct mgr_left left;
    struct cw_job_rec *j;

    cw_mgr_left_on(t->m, NULL, d, &left);
    rec.disk.draining_s = cw_mgr_wall_s(t->m);
    cw_mgr_txn_put(t, &rec);
    cw_mgr_disk_path(t->m, d, path);
    if (left.copies == 0) {
        cw_mgr_txn_event(t, "DISK_DRAINED", path, "there is no copy on it");
        return MGR_BUILD_COMMIT;
    }
    j = cw_mgr_txn_job(t, CW_JOB_DRAIN, path, "DISK_DRAIN", "its copies move elsewhere");
    j->scope = CW_JOB_DISK;
    j->disk_uuid = rec.disk.uuid;
    j->total_bytes = left.bytes;
    return MGR_BUILD_COMMIT;
}

void
cw_mgr_txn_undrain(struct mgr_txn *t, const struct mgr_disk *d, struct cw_rec *rec)
{
    char path[CW_OBJECT_SIZE];

    cw_mgr_disk_path(t->m, d, path);
    rec->disk.draining_s = 0;
    cw_mgr_txn_job_end(t, CW_JOB_DRAIN, path, CW_JOB_CANCELLED, "the disk is not drained any more");
}

static enum mgr_build
drain_build(struct mgr_call_op *c, struct mgr_txn *t)
{
    const struct cw_mgr_disk_drain *q = &c->call->req.disk_drain;
    struct mgr_disk *d = cw_mgr_disk_named(t->m, q->disk);
    char path[CW_OBJECT_SIZE];
    struct cw_rec rec;

    if (d == NULL) {
        cw_mgr_fail(c->call, CW_MGR_NOT_FOUND, q->disk, "there is no disk %.120s", q->disk);
        cw_mgr_error_hint(&c->call->error, "a disk is HOST/DISK; see: causeway disk ls");
        return cw_mgr_refused(c);
    }
    if (!q->cancel)
        return d->o.rec.disk.draining_s != 0 ? MGR_BUILD_NONE : drain_begin(t, d, q->disk);
    if (d->o.rec.disk.draining_s == 0)
        return cw_mgr_refuse(c, CW_MGR_BAD_REQUEST, q->disk, "disk %.120s is not drained", q->disk);
    rec = d->o.rec;
    cw_mgr_txn_undrain(t, d, &rec);
    cw_mgr_txn_put(t, &rec);
    cw_mgr_disk_path(t->m, d, path);
    cw_mgr_txn_event(t, "DISK_RETURNED", path, "by an operator's word: it takes copies again");
    return MGR_BUILD_COMMIT;
}

static void
drain_ok(struct mgr_call_op *c)
{
    struct cw_manager *m = c->op.m;
    const struct cw_mgr_disk_drain *q = &c->call->req.disk_drain;
    struct cw_mgr_maintain_reply *r = &c->call->reply.maintain;
    const struct mgr_disk *d = cw_mgr_disk_named(m, q->disk);
    char path[CW_OBJECT_SIZE] = "";
    const struct mgr_work *w;
    struct mgr_left left = { 0 };

    if (d != NULL) {
        cw_mgr_disk_path(m, d, path);
        cw_mgr_left_on(m, NULL, d, &left);
    }
    w = cw_mgr_work_open(m, CW_JOB_DRAIN, path);
    *r = (struct cw_mgr_maintain_reply){
        .object = cw_mgr_arena_text(cw_mgr_reply_arena(c->call), path),
        .ready = !q->cancel && left.copies == 0,
        .job = w != NULL ? w->o.rec.job.id : 0,
        .why = cw_mgr_arena_text(cw_mgr_reply_arena(c->call), q->cancel ? "" : left.why),
    };
}

void
cw_mgr_call_disk_drain(struct cw_manager *m, struct cw_mgr_call *call)
{
    const struct cw_mgr_disk_drain *q = &call->req.disk_drain;
    const struct mgr_disk *d = cw_mgr_disk_named(m, q->disk);
    struct cw_mgr_plan *plan;

    if (!q->plan || d == NULL) {
        cw_mgr_call_op(m, call, drain_build, drain_ok);
        return;
    }
    plan = cw_mgr_arena_get(cw_mgr_reply_arena(call), 1, sizeof(*plan));
    cw_mgr_plan_disk(m, d, cw_mgr_reply_arena(call), plan);
    call->reply.maintain =
        (struct cw_mgr_maintain_reply){ .object = q->disk, .plans = plan, .n_plans = 1, .why = "" };
    cw_mgr_done(call);
}
