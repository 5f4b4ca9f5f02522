/* manager/jobs.c - long work that somebody asked for: verify.
 *
 *   waiting --an owner or caretaker has begun--> running --finished--> done | failed
 *      ^------its owner went away-----------------/  \----cancel----> cancelled
 *
 * How far a job is lives in memory, that it is in its record (work.c): a manager that begins takes
 * up those that are open, from the next progress report of the owner or from the start. Ids are
 * event numbers, so that none is given twice.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/manager/internal.h"

#define KEPT_MAX 256u
#define VERIFY_MS 5000u
#define RETRY_NS (2 * CW_NS_PER_S)
#define SILENT_NS (15 * CW_NS_PER_S)
#define REFUSALS_MAX 10u

enum job_state { JOB_WAITING, JOB_ASKED, JOB_RUNNING, JOB_DONE, JOB_FAILED, JOB_CANCELLED };

struct mgr_job {
    struct cw_list link;
    uint64_t id, volume_id, started_s, ended_s;
    char object[CW_NAME_SIZE];
    enum job_state state;
    struct cw_uuid runner; /* the session that was asked */
    uint32_t gen, refusals;
    uint64_t heard_ns, next_ns;
    char why[MGR_WHY_SIZE];
    struct cw_mgr_verify at; /* failed points at why */
};

static const char *
job_state_name(enum job_state s)
{
    static const char *const names[] = {
        [JOB_WAITING] = "waiting", [JOB_ASKED] = "waiting", [JOB_RUNNING] = "running",
        [JOB_DONE] = "done",       [JOB_FAILED] = "failed", [JOB_CANCELLED] = "cancelled",
    };

    return names[s];
}

static bool
job_over(const struct mgr_job *j)
{
    return j->state >= JOB_DONE;
}

static struct mgr_job *
job_find(const struct cw_manager *m, uint64_t id)
{
    CW_LIST_EACH (it, &m->jobs) {
        struct mgr_job *j = cw_list_entry(it, struct mgr_job, link);

        if (j->id == id)
            return j;
    }
    return NULL;
}

static struct mgr_job *
job_of_volume(const struct cw_manager *m, uint64_t volume_id)
{
    CW_LIST_EACH (it, &m->jobs) {
        struct mgr_job *j = cw_list_entry(it, struct mgr_job, link);

        if (j->volume_id == volume_id && !job_over(j))
            return j;
    }
    return NULL;
}

bool
cw_mgr_jobs_want(const struct cw_manager *m, uint64_t volume_id)
{
    return job_of_volume(m, volume_id) != NULL;
}

static void
jobs_trim(struct cw_manager *m)
{
    uint32_t n = 0;

    CW_LIST_EACH (it, &m->jobs)
        n++;
    CW_LIST_EACH_SAFE (it, &m->jobs) {
        struct mgr_job *j = cw_list_entry(it, struct mgr_job, link);

        if (n <= KEPT_MAX)
            return;
        if (!job_over(j))
            continue;
        cw_list_remove(&j->link);
        free(j);
        n--;
    }
}

static struct mgr_job *
job_new(struct cw_manager *m, uint64_t id, uint64_t volume_id, const char *volume)
{
    struct mgr_job *j = calloc(1, sizeof(*j));

    cw_assert(j != NULL);
    j->id = j->at.job = id;
    j->volume_id = j->at.volume_id = volume_id;
    j->started_s = cw_mgr_wall_s(m);
    j->heard_ns = cw_now_ns(m->env);
    j->at.failed = "";
    cw_mgr_text_clip(j->object, sizeof(j->object), volume);
    cw_mgr_text_clip(j->why, sizeof(j->why), "waits for an owner or a caretaker");
    cw_list_push_back(&m->jobs, &j->link);
    jobs_trim(m);
    return j;
}

struct ended_op {
    struct mgr_op op;
    uint64_t id;
    enum cw_job_end end;
    struct cw_mgr_verify at;
    char why[MGR_WHY_SIZE];
};

static enum mgr_build
ended_build(struct mgr_op *op, struct mgr_txn *t)
{
    struct ended_op *e = cw_container_of(op, struct ended_op, op);
    struct mgr_work *w = cw_mgr_work_find(t->m, e->id);

    struct cw_job_rec *r;

    if (w == NULL || w->o.rec.job.state != CW_JOB_OPEN)
        return MGR_BUILD_NONE;
    r = cw_mgr_txn_work_end(t, w, e->end, e->why);
    r->total_bytes = e->at.total_bytes;
    r->verify.done_bytes = e->at.done_bytes;
    r->verify.copies = e->at.copies;
    r->verify.found = e->at.found;
    r->verify.repaired = e->at.repaired;
    r->verify.unrepairable = e->at.unrepairable;
    r->verify.differing = e->at.differing;
    t->quiet = true;
    return MGR_BUILD_COMMIT;
}

static void
ended_end(struct mgr_op *op, enum cw_mgr_code code, const char *why)
{
    free(cw_container_of(op, struct ended_op, op)); /* not in force: the next manager begins anew */
}

static void
job_record_end(struct cw_manager *m, const struct mgr_job *j, const char *why)
{
    struct ended_op *e = calloc(1, sizeof(*e));

    cw_assert(e != NULL);
    e->id = j->id;
    e->end = j->state == JOB_DONE     ? CW_JOB_DONE
             : j->state == JOB_FAILED ? CW_JOB_FAILED
                                      : CW_JOB_CANCELLED;
    e->at = j->at;
    cw_mgr_text_clip(e->why, sizeof(e->why), why);
    e->op.build = ended_build;
    e->op.end = ended_end;
    cw_mgr_op_queue(m, &e->op);
}

static void
job_end(struct cw_manager *m, struct mgr_job *j, enum job_state state, const char *why)
{
    j->state = state;
    j->ended_s = cw_mgr_wall_s(m);
    cw_mgr_text_clip(j->why, sizeof(j->why), why);
    cw_mgr_event(m,
                 state == JOB_DONE     ? "VERIFY_DONE"
                 : state == JOB_FAILED ? "VERIFY_FAILED"
                                       : "VERIFY_CANCELLED",
                 j->object, "job %llu: found %llu, repaired %llu, unrepairable %llu%s%.80s",
                 (unsigned long long)j->id, (unsigned long long)j->at.found,
                 (unsigned long long)j->at.repaired, (unsigned long long)j->at.unrepairable,
                 why[0] != '\0' ? ": " : "", why);
    job_record_end(m, j, why);
}

void
cw_mgr_jobs_resume(struct cw_manager *m)
{
    MGR_EACH(&m->t, CW_REC_JOB, struct mgr_work, w)
    {
        const struct cw_job_rec *r = &w->o.rec.job;
        struct mgr_volume *v = cw_mgr_find_volume(&m->t, r->volume_id);
        struct mgr_job *j;

        if (r->kind != CW_JOB_VERIFY || r->state != CW_JOB_OPEN)
            continue;
        j = job_new(m, r->id, r->volume_id, r->object);
        j->started_s = r->started_s;
        if (v == NULL)
            job_end(m, j, JOB_FAILED, "the volume was removed");
    }
}

/* ---- running ---- */

static void
job_wait(struct cw_manager *m, struct mgr_job *j, const char *why)
{
    j->state = JOB_WAITING;
    j->next_ns = cw_now_ns(m->env) + RETRY_NS;
    cw_mgr_text_clip(j->why, sizeof(j->why), why);
}

static void
verify_answered(struct cw_manager *m, struct mgr_ask *a, const struct cw_mgr_answer *answer)
{
    struct mgr_job *j = job_find(m, a->ask.job);

    if (j == NULL || j->state != JOB_ASKED || a->ask.cancel)
        return;
    if (answer->code == CW_MGR_OK) {
        j->state = JOB_RUNNING;
        j->heard_ns = cw_now_ns(m->env);
        j->why[0] = '\0';
    } else if (++j->refusals >= REFUSALS_MAX) {
        job_end(m, j, JOB_FAILED, answer->message);
    } else {
        job_wait(m, j, answer->message);
    }
}

static void
verify_ask(struct cw_mgr_session *s, const struct mgr_job *j, bool cancel)
{
    struct mgr_ask *a = cw_mgr_ask_new(CW_MGR_ASK_VERIFY_RUN, VERIFY_MS);

    a->ask.volume_id = j->volume_id;
    a->ask.job = j->id;
    a->ask.cancel = cancel;
    a->done = verify_answered;
    cw_mgr_ask_send(s, a);
}

static void
job_begin(struct cw_manager *m, struct mgr_job *j, const struct mgr_volume *v)
{
    struct cw_mgr_session *s = cw_mgr_owner_session(m, v);

    if (s == NULL || !v->report.have || cw_now_ns(m->env) < j->next_ns ||
        v->care.state == MGR_CARE_LEAVING)
        return; /* the caretaker comes by itself: cw_mgr_care_need */
    j->state = JOB_ASKED;
    j->runner = s->id;
    j->gen = v->o.rec.volume.gen;
    verify_ask(s, j, false);
}

static void
job_look(struct cw_manager *m, struct mgr_job *j)
{
    const struct mgr_volume *v = cw_mgr_find_volume(&m->t, j->volume_id);

    if (v == NULL || v->o.rec.volume.purge_at_s != 0) {
        job_end(m, j, JOB_FAILED, "the volume was removed");
        return;
    }
    switch (j->state) {
    case JOB_WAITING:
        job_begin(m, j, v);
        return;
    case JOB_ASKED:
        return; /* its answer comes, or its session goes */
    case JOB_RUNNING:
        if (v->o.rec.volume.gen != j->gen || v->o.rec.volume.hold != CW_HOLD_OWNED)
            job_wait(m, j, "its owner went away: it starts again with the next");
        else if (cw_now_ns(m->env) - j->heard_ns >= SILENT_NS && cw_mgr_owner_session(m, v) != NULL)
            job_wait(m, j, "its owner says nothing of it: it is asked again");
        return;
    case JOB_DONE:
    case JOB_FAILED:
    case JOB_CANCELLED:
        return;
    }
}

void
cw_mgr_jobs_tick(struct cw_manager *m)
{
    CW_LIST_EACH (it, &m->jobs) {
        struct mgr_job *j = cw_list_entry(it, struct mgr_job, link);

        if (!job_over(j))
            job_look(m, j);
    }
}

/* One that ended early, not cancelled here, lost its owner: that of a released volume says so while
 * it still holds it. */
static void
job_finished(struct cw_manager *m, struct mgr_job *j, const char *failed)
{
    if (failed[0] == '\0')
        job_end(m, j, JOB_DONE, failed);
    else if (++j->refusals >= REFUSALS_MAX)
        job_end(m, j, JOB_FAILED, failed);
    else
        job_wait(m, j, "its owner let go of the volume: it starts again with the next");
}

void
cw_manager_verify_progress(struct cw_manager *m, struct cw_mgr_session *s,
                           const struct cw_mgr_verify *p)
{
    struct mgr_volume *v = cw_mgr_find_volume(&m->t, p->volume_id);
    struct mgr_job *j = job_find(m, p->job);

    cw_manager_session_alive(m, s);
    if (v == NULL || m->phase != MGR_SERVING || cw_uuid_is_nil(&s->id) ||
        !cw_uuid_equal(&v->o.rec.volume.owner_id, &s->id))
        return;
    if (j == NULL && job_of_volume(m, p->volume_id) == NULL)
        j = job_new(m, p->job, p->volume_id,
                    v->o.rec.volume.name); /* begun before this manager was */
    if (j == NULL || job_over(j) || j->volume_id != p->volume_id)
        return;
    j->runner = s->id;
    j->gen = v->o.rec.volume.gen;
    j->heard_ns = cw_now_ns(m->env);
    j->state = JOB_RUNNING;
    j->why[0] = '\0';
    j->at = *p;
    j->at.failed = ""; /* theirs, not ours to keep */
    if (p->finished)
        job_finished(m, j, p->failed);
}

/* ---- calls ---- */

static void
job_fill(const struct mgr_job *j, struct cw_mgr_arena *a, struct cw_mgr_job_info *ret)
{
    char t[CW_MGR_TIME_SIZE];

    *ret = (struct cw_mgr_job_info){
        .id = j->id,
        .kind = "verify",
        .object = cw_mgr_arena_text(a, j->object),
        .state = job_state_name(j->state),
        .why = cw_mgr_arena_text(a, j->why),
        .started = cw_mgr_arena_text(a, cw_mgr_time_format(j->started_s, t)),
        .ended = cw_mgr_arena_text(a, cw_mgr_time_format(j->ended_s, t)),
        .done_bytes = j->at.done_bytes,
        .total_bytes = j->at.total_bytes,
        .verify = j->at,
    };
    ret->verify.finished = job_over(j);
    ret->verify.failed = j->state == JOB_FAILED ? ret->why : "";
}

static enum mgr_build
verify_build(struct mgr_call_op *c, struct mgr_txn *t)
{
    const char *name = c->call->req.name;
    struct mgr_volume *v = cw_mgr_find_volume_named(&t->m->t, name);
    struct mgr_job *j = v != NULL ? job_of_volume(t->m, v->o.rec.volume.id) : NULL;
    struct cw_job_rec *r;

    if (v == NULL)
        return cw_mgr_refuse(c, CW_MGR_NOT_FOUND, name, "there is no volume %.63s", name);
    if (v->o.rec.volume.gen == 0)
        return cw_mgr_refuse(c, CW_MGR_BAD_REQUEST, name,
                             "volume %s was never attached: there is nothing to verify", name);
    if (j != NULL) {
        cw_mgr_fail(c->call, CW_MGR_BUSY, name, "volume %s is verified already by job %llu", name,
                    (unsigned long long)j->id);
        cw_mgr_error_hint(&c->call->error, "causeway jobs show %llu", (unsigned long long)j->id);
        return cw_mgr_refused(c);
    }
    r = cw_mgr_txn_job(t, CW_JOB_VERIFY, name, "VERIFY_STARTED", "asked for");
    r->scope = CW_JOB_VOLUME;
    r->volume_id = v->o.rec.volume.id;
    c->id = r->id;
    return MGR_BUILD_COMMIT;
}

static void
verify_ok(struct mgr_call_op *c)
{
    struct cw_manager *m = c->op.m;
    struct mgr_volume *v = cw_mgr_find_volume_named(&m->t, c->call->req.name);

    if (v == NULL) {
        cw_mgr_fail(c->call, CW_MGR_NOT_FOUND, c->call->req.name, "the volume is gone again");
        return;
    }
    v->care.not_before_ns = 0; /* somebody waits for it */
    job_fill(job_new(m, c->id, v->o.rec.volume.id, v->o.rec.volume.name),
             cw_mgr_reply_arena(c->call), &c->call->reply.job);
}

void
cw_mgr_call_volume_verify(struct cw_manager *m, struct cw_mgr_call *call)
{
    cw_mgr_call_op(m, call, verify_build, verify_ok);
}

static int
job_order(const void *a, const void *b)
{
    const struct cw_mgr_job_info *x = a, *y = b;

    return x->id < y->id ? -1 : x->id > y->id;
}

void
cw_mgr_call_job_ls(struct cw_manager *m, struct cw_mgr_call *call)
{
    struct cw_mgr_arena *a = cw_mgr_reply_arena(call);
    struct cw_mgr_job_list *r = &call->reply.jobs;
    struct cw_mgr_job_info *to;
    size_t n = m->t.of[CW_REC_JOB].n;

    CW_LIST_EACH (it, &m->jobs)
        n++;
    to = cw_mgr_arena_get(a, n + 1, sizeof(*to));
    r->jobs = to;
    CW_LIST_EACH (it, &m->jobs) {
        const struct mgr_job *j = cw_list_entry(it, struct mgr_job, link);

        if (call->req.id == 0 || call->req.id == j->id)
            job_fill(j, a, &to[r->n_jobs++]);
    }
    MGR_EACH(&m->t, CW_REC_JOB, struct mgr_work, w)
    {
        uint64_t id = w->o.rec.job.id;

        if ((call->req.id == 0 || call->req.id == id) && job_find(m, id) == NULL)
            cw_mgr_work_fill(w, a, &to[r->n_jobs++]);
    }
    qsort(to, r->n_jobs, sizeof(*to), job_order);
    if (call->req.id != 0 && r->n_jobs == 0)
        cw_mgr_fail(call, CW_MGR_NOT_FOUND, "", "there is no job %llu",
                    (unsigned long long)call->req.id);
    cw_mgr_done(call);
}

void
cw_mgr_call_job_cancel(struct cw_manager *m, struct cw_mgr_call *call)
{
    struct mgr_job *j = job_find(m, call->req.id);
    struct cw_mgr_session *s = j != NULL ? cw_mgr_find_session(m, &j->runner) : NULL;

    if (j == NULL && cw_mgr_work_find(m, call->req.id) != NULL) {
        cw_mgr_work_cancel(m, call);
        return;
    }
    if (j == NULL) {
        cw_mgr_fail(call, CW_MGR_NOT_FOUND, "", "there is no job %llu",
                    (unsigned long long)call->req.id);
    } else if (!job_over(j) && !call->dry_run) {
        job_end(m, j, JOB_CANCELLED, "");
        if (s != NULL)
            verify_ask(s, j, true);
    }
    cw_mgr_done(call);
}

void
cw_mgr_jobs_fini(struct cw_manager *m)
{
    struct cw_list *node;

    while ((node = cw_list_pop_front(&m->jobs)) != NULL)
        free(cw_list_entry(node, struct mgr_job, link));
}
