/* manager/work.c - jobs that the records know: maintain, drain, repair; of a verify, that it is.
 *
 *   /job/<id> OPEN --nothing is left to do--> DONE
 *                \--cancelled, or what it is about has gone--> CANCELLED, FAILED
 *
 * A job says what somebody waits for. The work is done by those who always do it, which look at the
 * records and not at jobs: a host in maintenance, a disk that is drained. So a manager that begins
 * goes on where the one before stopped. The repair job is the exception: while it is open, the
 * copies that it is about are not waited for. How a verify goes on stands in jobs.c.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/manager/internal.h"

#define LOOK_NS CW_NS_PER_S
#define ENDED_MAX 64u /* that are kept */

/* A repair job whose copies all have no place ends after so long: while it is open, a host that is
 * away for a moment would be replaced. */
#define STUCK_NS (60 * CW_NS_PER_S)

/* ---- records ---- */

/* As this transaction has it. */
static struct cw_job_rec *
txn_job(struct mgr_txn *t, uint64_t id)
{
    for (struct mgr_txn_item *i = t->items; i != NULL; i = i->next) {
        if (i->rec.kind == CW_REC_JOB && !i->del && i->rec.job.id == id)
            return &i->rec.job;
    }
    cw_unreachable();
}

struct cw_job_rec *
cw_mgr_txn_job(struct mgr_txn *t, enum cw_job_kind kind, const char *object, const char *code,
               const char *why)
{
    struct cw_rec rec = { .kind = CW_REC_JOB, .job = { .kind = kind, .state = CW_JOB_OPEN } };

    rec.job.id = cw_mgr_txn_event(t, code, object, "%s", why);
    rec.job.started_s = cw_mgr_wall_s(t->m);
    cw_mgr_text_clip(rec.job.object, sizeof(rec.job.object), object);
    cw_mgr_txn_put(t, &rec);
    return txn_job(t, rec.job.id);
}

static void
jobs_prune(struct mgr_txn *t)
{
    struct mgr_work *oldest = NULL;
    uint32_t n = 0;

    MGR_EACH(&t->m->t, CW_REC_JOB, struct mgr_work, w)
    {
        if (w->o.rec.job.state == CW_JOB_OPEN)
            continue;
        oldest = oldest == NULL ? w : oldest;
        n++;
    }
    if (n >= ENDED_MAX)
        cw_mgr_txn_del(t, &oldest->o);
}

struct cw_job_rec *
cw_mgr_txn_work_end(struct mgr_txn *t, const struct mgr_work *w, enum cw_job_end end,
                    const char *why)
{
    struct cw_rec rec = w->o.rec;

    jobs_prune(t);
    rec.job.state = end;
    rec.job.ended_s = cw_mgr_wall_s(t->m);
    cw_mgr_text_clip(rec.job.why, sizeof(rec.job.why), why);
    cw_mgr_txn_put(t, &rec);
    return txn_job(t, rec.job.id);
}

struct mgr_work *
cw_mgr_work_open(const struct cw_manager *m, enum cw_job_kind kind, const char *object)
{
    MGR_EACH(&m->t, CW_REC_JOB, struct mgr_work, w)
    {
        if (w->o.rec.job.kind == kind && w->o.rec.job.state == CW_JOB_OPEN &&
            strcmp(w->o.rec.job.object, object) == 0)
            return w;
    }
    return NULL;
}

struct mgr_work *
cw_mgr_work_find(const struct cw_manager *m, uint64_t id)
{
    struct cw_rec like = { .kind = CW_REC_JOB, .job.id = id };
    char key[CW_KV_KEY_SIZE];

    return (struct mgr_work *)cw_mgr_find_key(&m->t, CW_REC_JOB, cw_rec_key(&like, key));
}

void
cw_mgr_txn_job_end(struct mgr_txn *t, enum cw_job_kind kind, const char *object,
                   enum cw_job_end end, const char *why)
{
    struct mgr_work *w = cw_mgr_work_open(t->m, kind, object);

    if (w != NULL)
        cw_mgr_txn_work_end(t, w, end, why);
}

/* ---- what each waits for ---- */

static struct mgr_host *
work_host(const struct cw_manager *m, const struct cw_job_rec *j)
{
    return cw_mgr_find_host(&m->t, j->object);
}

static bool
volume_on_host(const struct cw_manager *m, const struct mgr_volume *v, const char *host)
{
    for (uint32_t i = 0; i < cw_mgr_volume_shards(v); i++) {
        const struct mgr_shard *s = cw_mgr_shard_of(m, v, i);

        for (uint32_t k = 0; s != NULL && k < s->o.rec.shard.n_members; k++) {
            const struct mgr_disk *d = cw_mgr_find_copy_disk(&m->t, &s->o.rec.shard.members[k]);

            if (d != NULL && strcmp(d->o.rec.disk.host, host) == 0)
                return true;
        }
    }
    return false;
}

static bool
repair_about(const struct cw_manager *m, const struct cw_job_rec *j, const struct mgr_volume *v)
{
    if (v->o.rec.volume.purge_at_s != 0)
        return false;
    switch (j->scope) {
    case CW_JOB_ALL:
        return true;
    case CW_JOB_VOLUME:
        return j->volume_id == v->o.rec.volume.id;
    case CW_JOB_HOST:
        return volume_on_host(m, v, j->object);
    case CW_JOB_DISK:
        break;
    }
    return false;
}

/* blocked: all that are left are stuck. */
static void
repair_left(const struct cw_manager *m, const struct cw_job_rec *j, struct mgr_left *ret)
{
    uint32_t stuck = 0;

    MGR_EACH(&m->t, CW_REC_VOLUME, struct mgr_volume, v)
    {
        struct mgr_health health;

        if (!repair_about(m, j, v))
            continue;
        cw_mgr_volume_health(m, v, &health);
        if (health.word == MGR_FULL)
            continue;
        ret->copies++;
        ret->bytes += v->report.chunks_left * CW_MIB;
        if (cw_mgr_report_fresh(m, v))
            ret->bytes_per_s += v->report.repair_bytes_per_s;
        stuck += health.word == MGR_REDUCED_STUCK || health.word >= MGR_UNAVAILABLE;
        if (ret->why[0] == '\0')
            snprintf(ret->why, sizeof(ret->why), "volume %.63s: %.200s", v->o.rec.volume.name,
                     health.why);
    }
    ret->blocked = stuck > 0 && stuck == ret->copies;
}

enum work_verdict { WORK_GOES_ON, WORK_DONE, WORK_VOID };

/* ret_why: of a job that is void. */
static enum work_verdict
work_judge(const struct cw_manager *m, const struct cw_job_rec *j, struct mgr_left *ret,
           const char **ret_why)
{
    const struct mgr_host *h = work_host(m, j);
    const struct mgr_disk *d = cw_mgr_find_disk(&m->t, &j->disk_uuid);

    *ret = (struct mgr_left){ 0 };
    *ret_why = "";
    switch (j->kind) {
    case CW_JOB_VERIFY:
        return WORK_GOES_ON; /* jobs.c */
    case CW_JOB_MAINTAIN:
        *ret_why = "the host is not in maintenance any more";
        if (h == NULL || h->o.rec.host.maintain == CW_MAINTAIN_OFF)
            return WORK_VOID;
        cw_mgr_maintain_left(m, h, h->o.rec.host.maintain, ret);
        break;
    case CW_JOB_DRAIN:
        *ret_why = "the disk is not drained any more";
        if (d == NULL || d->o.rec.disk.draining_s == 0)
            return WORK_VOID;
        cw_mgr_left_on(m, NULL, d, ret);
        break;
    case CW_JOB_REPAIR:
        *ret_why = "what it was about is gone";
        if ((j->scope == CW_JOB_HOST && h == NULL) ||
            (j->scope == CW_JOB_VOLUME && cw_mgr_find_volume(&m->t, j->volume_id) == NULL))
            return WORK_VOID;
        repair_left(m, j, ret);
        break;
    }
    return ret->copies == 0 ? WORK_DONE : WORK_GOES_ON;
}

/* ---- the end ---- */

struct work_op {
    struct mgr_op op;
    uint64_t id;
    bool give_up; /* what is left is stuck, and has been */
};

static void
work_done(struct mgr_txn *t, const struct mgr_work *w)
{
    const struct cw_job_rec *j = &w->o.rec.job;
    struct mgr_host *h = work_host(t->m, j);
    struct cw_rec rec;

    if (j->kind == CW_JOB_MAINTAIN) {
        rec = h->o.rec;
        rec.host.maintain_ready = true;
        cw_mgr_txn_put(t, &rec);
        cw_mgr_txn_event(t, "HOST_MAINTENANCE", j->object, "mode %s: it may go down",
                         cw_mgr_maintain_name(rec.host.maintain));
    } else if (j->kind == CW_JOB_DRAIN) {
        cw_mgr_txn_event(t, "DISK_DRAINED", j->object, "no copy is left on it");
    } else {
        cw_mgr_txn_event(t, "REPAIR_DONE", j->object, "job %llu: every copy is there",
                         (unsigned long long)j->id);
    }
    cw_mgr_txn_work_end(t, w, CW_JOB_DONE, "");
}

static enum mgr_build
work_build(struct mgr_op *op, struct mgr_txn *t)
{
    const struct work_op *wo = cw_container_of(op, struct work_op, op);
    struct mgr_work *w = cw_mgr_work_find(t->m, wo->id);
    struct mgr_left left;
    const char *why;

    if (w == NULL || w->o.rec.job.state != CW_JOB_OPEN)
        return MGR_BUILD_NONE;
    switch (work_judge(t->m, &w->o.rec.job, &left, &why)) {
    case WORK_GOES_ON:
        if (!wo->give_up || !left.blocked)
            return MGR_BUILD_NONE;
        cw_mgr_txn_event(t, "REPAIR_BLOCKED", w->o.rec.job.object, "%s", left.why);
        cw_mgr_txn_work_end(t, w, CW_JOB_FAILED, left.why);
        break;
    case WORK_DONE:
        work_done(t, w);
        break;
    case WORK_VOID:
        cw_mgr_txn_work_end(t, w, CW_JOB_CANCELLED, why);
        break;
    }
    return MGR_BUILD_COMMIT;
}

static void
work_ended(struct mgr_op *op, enum cw_mgr_code code, const char *why)
{
    struct work_op *wo = cw_container_of(op, struct work_op, op);
    struct mgr_work *w = cw_mgr_work_find(op->m, wo->id);

    if (w != NULL)
        w->ending = false; /* not in force: the next look says it again */
    free(wo);
}

static void
work_queue(struct cw_manager *m, struct mgr_work *w, bool give_up)
{
    struct work_op *wo = calloc(1, sizeof(*wo));

    cw_assert(wo != NULL);
    wo->id = w->o.rec.job.id;
    wo->give_up = give_up;
    wo->op.build = work_build;
    wo->op.end = work_ended;
    w->ending = true;
    cw_mgr_op_queue(m, &wo->op);
}

/* ---- the look ---- */

static void
work_look(struct cw_manager *m, struct mgr_work *w)
{
    struct mgr_left left;
    const char *why;
    enum work_verdict verdict = work_judge(m, &w->o.rec.job, &left, &why);
    bool give_up;

    if (w->moved_ns == 0 || left.bytes != w->left_bytes || left.copies != w->left)
        w->moved_ns = cw_max_u64(cw_now_ns(m->env), 1);
    w->blocked = left.blocked;
    w->left_bytes = left.bytes;
    w->left = left.copies;
    w->eta_s = left.bytes_per_s > 0 ? cw_div_up(left.bytes, left.bytes_per_s) : 0;
    cw_mgr_text_clip(w->why, sizeof(w->why), left.why);
    give_up = w->o.rec.job.kind == CW_JOB_REPAIR && left.blocked &&
              cw_now_ns(m->env) - w->moved_ns >= STUCK_NS;
    if ((verdict != WORK_GOES_ON || give_up) && !w->ending)
        work_queue(m, w, give_up);
}

static bool
host_waits_for(const struct cw_manager *m, const struct mgr_volume *v)
{
    MGR_EACH(&m->t, CW_REC_HOST, struct mgr_host, h)
    {
        if (h->o.rec.host.maintain == CW_MAINTAIN_ACCESSIBLE && !h->o.rec.host.maintain_ready &&
            volume_on_host(m, v, h->o.rec.host.name))
            return true;
    }
    return false;
}

static bool
volume_hurries(const struct cw_manager *m, const struct mgr_volume *v)
{
    MGR_EACH(&m->t, CW_REC_JOB, struct mgr_work, w)
    {
        const struct cw_job_rec *j = &w->o.rec.job;

        if (j->kind == CW_JOB_REPAIR && j->state == CW_JOB_OPEN && repair_about(m, j, v))
            return true;
    }
    return m->n_maintain[CW_MAINTAIN_ACCESSIBLE] > 0 && host_waits_for(m, v);
}

void
cw_mgr_work_tick(struct cw_manager *m)
{
    if (m->worked_ns != 0 && cw_now_ns(m->env) - m->worked_ns < LOOK_NS)
        return;
    m->worked_ns = cw_now_ns(m->env);
    MGR_EACH(&m->t, CW_REC_VOLUME, struct mgr_volume, v)
    {
        bool hurry = volume_hurries(m, v);

        m->news |= v->hurry != hurry;
        v->hurry = hurry;
    }
    MGR_EACH(&m->t, CW_REC_JOB, struct mgr_work, w)
    {
        if (w->o.rec.job.state == CW_JOB_OPEN && w->o.rec.job.kind != CW_JOB_VERIFY)
            work_look(m, w);
    }
}

/* ---- calls ---- */

static const char *
kind_name(enum cw_job_kind k)
{
    static const char *const names[] = {
        [CW_JOB_VERIFY] = "verify",
        [CW_JOB_MAINTAIN] = "maintain",
        [CW_JOB_DRAIN] = "drain",
        [CW_JOB_REPAIR] = "repair",
    };

    return names[k];
}

static const char *
state_name(const struct mgr_work *w)
{
    switch (w->o.rec.job.state) {
    case CW_JOB_OPEN:
        return w->blocked ? "waiting" : "running";
    case CW_JOB_DONE:
        return "done";
    case CW_JOB_FAILED:
        return "failed";
    case CW_JOB_CANCELLED:
        return "cancelled";
    }
    cw_unreachable();
}

static void
fill_verify(const struct cw_job_rec *j, struct cw_mgr_job_info *ret)
{
    ret->done_bytes = j->verify.done_bytes;
    ret->verify = (struct cw_mgr_verify){
        .job = j->id,
        .volume_id = j->volume_id,
        .done_bytes = j->verify.done_bytes,
        .total_bytes = j->total_bytes,
        .found = j->verify.found,
        .repaired = j->verify.repaired,
        .unrepairable = j->verify.unrepairable,
        .copies = j->verify.copies,
        .differing = j->verify.differing,
        .finished = true,
        .failed = j->state == CW_JOB_FAILED ? ret->why : "",
    };
}

void
cw_mgr_work_fill(const struct mgr_work *w, struct cw_mgr_arena *a, struct cw_mgr_job_info *ret)
{
    const struct cw_job_rec *j = &w->o.rec.job;
    bool open = j->state == CW_JOB_OPEN;
    uint64_t total = cw_max_u64(j->total_bytes, open ? w->left_bytes : 0);
    char t[CW_MGR_TIME_SIZE];

    *ret = (struct cw_mgr_job_info){
        .id = j->id,
        .kind = kind_name(j->kind),
        .object = cw_mgr_arena_text(a, j->object),
        .state = state_name(w),
        .why = cw_mgr_arena_text(a, open ? w->why : j->why),
        .started = cw_mgr_arena_text(a, cw_mgr_time_format(j->started_s, t)),
        .ended = cw_mgr_arena_text(a, cw_mgr_time_format(j->ended_s, t)),
        .done_bytes = j->state == CW_JOB_DONE ? total
                      : open                  ? total - w->left_bytes
                                              : 0,
        .total_bytes = total,
        .verify.failed = "",
        .eta_s = open ? w->eta_s : 0,
    };
    if (j->kind == CW_JOB_VERIFY)
        fill_verify(j, ret);
}

/* What was done stays done; what was asked for is taken back. */
static void
work_undo(struct mgr_txn *t, const struct mgr_work *w)
{
    const struct cw_job_rec *j = &w->o.rec.job;
    struct mgr_host *h = work_host(t->m, j);
    struct mgr_disk *d = cw_mgr_find_disk(&t->m->t, &j->disk_uuid);
    struct cw_rec rec;

    if (j->kind == CW_JOB_MAINTAIN && h != NULL)
        cw_mgr_txn_return(t, h);
    if (j->kind == CW_JOB_DRAIN && d != NULL) {
        rec = d->o.rec;
        rec.disk.draining_s = 0;
        cw_mgr_txn_put(t, &rec);
    }
    cw_mgr_txn_event(t, "JOB_CANCELLED", j->object, "job %llu: %s", (unsigned long long)j->id,
                     kind_name(j->kind));
}

static enum mgr_build
cancel_build(struct mgr_call_op *c, struct mgr_txn *t)
{
    struct mgr_work *w = cw_mgr_work_find(t->m, c->call->req.id);

    if (w == NULL || w->o.rec.job.state != CW_JOB_OPEN)
        return MGR_BUILD_NONE;
    work_undo(t, w);
    cw_mgr_txn_work_end(t, w, CW_JOB_CANCELLED, "by an operator's word");
    return MGR_BUILD_COMMIT;
}

static void
cancel_ok(struct mgr_call_op *c)
{
}

void
cw_mgr_work_cancel(struct cw_manager *m, struct cw_mgr_call *call)
{
    cw_mgr_call_op(m, call, cancel_build, cancel_ok);
}
