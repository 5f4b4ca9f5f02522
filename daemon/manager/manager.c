#include "daemon/manager/manager.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/manager/internal.h"

uint64_t
cw_mgr_wall_s(const struct cw_manager *m)
{
    return m->opts.ops->wall_s(m->opts.world);
}

const struct cw_cluster_rec *
cw_mgr_cluster(const struct cw_manager *m)
{
    cw_assert(m->t.of[CW_REC_CLUSTER].n == 1);
    return &m->t.of[CW_REC_CLUSTER].at[0]->rec.cluster;
}

/* ---- answering ---- */

struct cw_mgr_arena *
cw_mgr_reply_arena(struct cw_mgr_call *call)
{
    if (call->arena == NULL)
        call->arena = cw_mgr_arena_new();
    return call->arena;
}

void
cw_mgr_done(struct cw_mgr_call *call)
{
    struct cw_mgr_arena *arena = call->arena;

    if (call->session != NULL)
        call->session->n_calls--;
    cw_list_remove(&call->open_link);
    cw_list_remove(&call->link);
    call->arena = NULL;
    call->done(call); /* may free the call */
    cw_mgr_arena_free(arena);
}

void
cw_mgr_fail(struct cw_mgr_call *call, enum cw_mgr_code code, const char *object, const char *fmt,
            ...)
{
    char why[CW_MGR_WHY_SIZE];
    va_list args;

    va_start(args, fmt);
    vsnprintf(why, sizeof(why), fmt, args);
    va_end(args);
    cw_mgr_error_set(&call->error, code, object, "%s", why);
}

enum cw_mgr_code
cw_mgr_not_begun(const struct cw_manager *m)
{
    return m->opts.any_host ? CW_MGR_NOT_MANAGER : CW_MGR_UNAVAILABLE;
}

/* ---- dispatch ---- */

static mgr_call_fn *
call_fn(enum cw_mgr_call_kind kind)
{
    switch (kind) {
    case CW_MGR_REGISTER:
        return cw_mgr_call_register;
    case CW_MGR_BEAT:
        return cw_mgr_call_beat;
    case CW_MGR_CLIENT_HELLO:
        return cw_mgr_call_client_hello;
    case CW_MGR_ATTACH:
        return cw_mgr_call_attach;
    case CW_MGR_RELEASE:
        return cw_mgr_call_release;
    case CW_MGR_CHANGE:
        return cw_mgr_call_change;
    case CW_MGR_GET_VOLUME:
        return cw_mgr_call_get_volume;
    case CW_MGR_VOLUME_CREATE:
        return cw_mgr_call_volume_create;
    case CW_MGR_VOLUME_LS:
        return cw_mgr_call_volume_ls;
    case CW_MGR_VOLUME_SHOW:
        return cw_mgr_call_volume_show;
    case CW_MGR_VOLUME_RM:
        return cw_mgr_call_volume_rm;
    case CW_MGR_VOLUME_RESTORE:
        return cw_mgr_call_volume_restore;
    case CW_MGR_VOLUME_RESIZE:
        return cw_mgr_call_volume_resize;
    case CW_MGR_VOLUME_SET:
        return cw_mgr_call_volume_set;
    case CW_MGR_VOLUME_RECOVER:
        return cw_mgr_call_volume_recover;
    case CW_MGR_VOLUME_VERIFY:
        return cw_mgr_call_volume_verify;
    case CW_MGR_POLICY_PUT:
        return cw_mgr_call_policy_put;
    case CW_MGR_POLICY_LS:
        return cw_mgr_call_policy_ls;
    case CW_MGR_POLICY_CHECK:
        return cw_mgr_call_policy_check;
    case CW_MGR_VOLUME_EXPLAIN:
        return cw_mgr_call_volume_explain;
    case CW_MGR_POLICY_RM:
        return cw_mgr_call_policy_rm;
    case CW_MGR_HOST_LS:
        return cw_mgr_call_host_ls;
    case CW_MGR_HOST_RM:
        return cw_mgr_call_host_rm;
    case CW_MGR_STATUS:
        return cw_mgr_call_status;
    case CW_MGR_JOB_LS:
        return cw_mgr_call_job_ls;
    case CW_MGR_JOB_CANCEL:
        return cw_mgr_call_job_cancel;
    case CW_MGR_EVENT_LS:
        return cw_mgr_call_event_ls;
    case CW_MGR_SCRUB_START:
        return cw_mgr_call_scrub_start;
    case CW_MGR_DISK_RETURN:
        return cw_mgr_call_disk_return;
    case CW_MGR_HANDOVER_ALLOW:
        return cw_mgr_call_handover_allow;
    case CW_MGR_HANDOVER_CANCEL:
        return cw_mgr_call_handover_cancel;
    case CW_MGR_OWNER_READ:
        return cw_mgr_call_owner_read;
    case CW_MGR_HOST_MAINTAIN:
        return cw_mgr_call_host_maintain;
    case CW_MGR_HOST_RETURN:
        return cw_mgr_call_host_return;
    case CW_MGR_DISK_DRAIN:
        return cw_mgr_call_disk_drain;
    case CW_MGR_DISK_RM:
        return cw_mgr_call_disk_rm;
    case CW_MGR_DISK_ADD:
        return cw_mgr_call_disk_add;
    case CW_MGR_REPAIR_LS:
        return cw_mgr_call_repair_ls;
    case CW_MGR_REPAIR_NOW:
        return cw_mgr_call_repair_now;
    case CW_MGR_REPAIR_SET:
        return cw_mgr_call_repair_set;
    case CW_MGR_WHATIF:
        return cw_mgr_call_whatif;
    case CW_MGR_METADATA_READ:
        return cw_mgr_call_metadata_read;
    case CW_MGR_METADATA_SHOW:
        return cw_mgr_call_metadata_show;
    }
    cw_unreachable();
}

/* Those that change nothing outside of their op, or look at dry_run themselves. */
static bool
call_can_dry_run(enum cw_mgr_call_kind kind)
{
    switch ((int)kind) {
    case CW_MGR_VOLUME_CREATE:
    case CW_MGR_VOLUME_RM:
    case CW_MGR_VOLUME_RESTORE:
    case CW_MGR_VOLUME_RESIZE:
    case CW_MGR_VOLUME_SET:
    case CW_MGR_VOLUME_VERIFY:
    case CW_MGR_HANDOVER_ALLOW:
    case CW_MGR_HANDOVER_CANCEL:
    case CW_MGR_POLICY_PUT:
    case CW_MGR_POLICY_RM:
    case CW_MGR_HOST_RM:
    case CW_MGR_JOB_CANCEL:
    case CW_MGR_SCRUB_START:
    case CW_MGR_DISK_RETURN:
    case CW_MGR_HOST_MAINTAIN:
    case CW_MGR_HOST_RETURN:
    case CW_MGR_DISK_DRAIN:
    case CW_MGR_DISK_RM:
    case CW_MGR_DISK_ADD:
    case CW_MGR_REPAIR_NOW:
    case CW_MGR_REPAIR_SET:
        return true;
    default:
        return false;
    }
}

static bool
call_may_run(const struct cw_manager *m, struct cw_mgr_call *call)
{
    if (call->dry_run && !call_can_dry_run(call->kind)) {
        cw_mgr_fail(call, CW_MGR_BAD_REQUEST, "", "this request has no dry run");
        return false;
    }
    if (m->phase == MGR_REFUSED || m->stopping) {
        cw_mgr_fail(call, cw_mgr_not_begun(m), "", "the manager does not serve");
        return false;
    }
    if (call->session != NULL && call->session->n_calls > MGR_SESSION_CALLS_MAX) {
        cw_mgr_fail(call, CW_MGR_LIMIT, "", "more than %u calls of one connection under way",
                    MGR_SESSION_CALLS_MAX);
        return false;
    }
    return true;
}

static void
calls_run(struct cw_manager *m)
{
    struct cw_list *node, now;

    if (m->phase != MGR_SERVING && m->phase != MGR_REFUSED && !m->stopping)
        return;
    cw_list_init(&now); /* what a reply asks next waits for the next turn */
    cw_list_splice_back(&now, &m->calls);
    while ((node = cw_list_pop_front(&now)) != NULL) {
        struct cw_mgr_call *call = cw_list_entry(node, struct cw_mgr_call, link);

        if (call_may_run(m, call))
            call_fn(call->kind)(m, call);
        else
            cw_mgr_done(call);
    }
}

void
cw_manager_call(struct cw_manager *m, struct cw_mgr_session *s, struct cw_mgr_call *call)
{
    call->error = (struct cw_mgr_error){ 0 };
    call->reply = (union cw_mgr_reply){ 0 };
    call->session = s;
    call->arena = NULL;
    call->work = NULL;
    call->at_ns = cw_now_ns(m->env);
    call->tries = 0;
    s->n_calls++;
    cw_manager_session_alive(m, s);
    cw_list_push_back(&m->calls, &call->link);
    cw_list_push_back(&m->calls_open, &call->open_link);
    cw_mgr_kick(m);
}

/* ---- the loop ---- */

void
cw_mgr_kick(struct cw_manager *m)
{
    if (!m->stopping && !cw_timer_armed(&m->kick))
        cw_timer_set(m->env, &m->kick, cw_now_ns(m->env));
}

static void
manager_kicked(struct cw_timer *t)
{
    struct cw_manager *m = cw_container_of(t, struct cw_manager, kick);

    calls_run(m);
    cw_mgr_ops_run(m);
}

/* Looks at all volumes for work. What gives work says so (news), but for time: delays and pauses
 * are in seconds. So a cluster that is as it should be costs little, however many volumes it has.
 */
static void
manager_sweep(struct cw_manager *m)
{
    if (!m->news && cw_now_ns(m->env) - m->swept_ns < MGR_SWEEP_NS)
        return;
    m->news = false;
    m->swept_ns = cw_now_ns(m->env);
    cw_mgr_care_tick(m);
    cw_mgr_unborn_tick(m);
    if (!cw_mgr_repair_paused(m)) {
        cw_mgr_repair_tick(m);
        cw_mgr_rebalance_tick(m);
        cw_mgr_moves_tick(m);
    }
    cw_mgr_journal_tick(m);
    cw_mgr_async_tick(m);
    cw_mgr_compression_tick(m);
    cw_mgr_minsync_tick(m);
    cw_mgr_trash_tick(m);
    cw_mgr_drops_tick(m);
}

static void
manager_ticked(struct cw_timer *t)
{
    struct cw_manager *m = cw_container_of(t, struct cw_manager, tick);

    cw_timer_set(m->env, &m->tick, cw_now_ns(m->env) + MGR_TICK_NS);
    if (m->phase != MGR_SERVING || m->doubt)
        return;
    cw_mgr_hosts_tick(m);
    cw_mgr_claims_tick(m);
    cw_mgr_jobs_tick(m);
    cw_mgr_work_tick(m);
    manager_sweep(m);
    cw_mgr_backup_tick(m);
    cw_mgr_findings_tick(m);
    cw_mgr_events_tick(m);
    cw_mgr_ops_run(m);
}

/* ---- records that change ---- */

static void
maintain_count(struct cw_manager *m)
{
    memset(m->n_maintain, 0, sizeof(m->n_maintain));
    MGR_EACH(&m->t, CW_REC_HOST, struct mgr_host, h)
    m->n_maintain[h->o.rec.host.maintain]++;
}

static void
host_applied(struct cw_manager *m, struct mgr_host *h, const struct cw_host_rec *old)
{
    if (old != NULL) {
        if (old->maintain != CW_MAINTAIN_OFF && h->o.rec.host.maintain == CW_MAINTAIN_OFF)
            h->returned_ns = cw_now_ns(m->env);
        return;
    }
    h->ok_ns = cw_now_ns(m->env);
    h->since_s = cw_mgr_wall_s(m);
}

static void
volume_applied(struct cw_manager *m, struct mgr_volume *v, const struct cw_volume_rec *old)
{
    cw_mgr_trash_applied(m, v, old);
    if (old == NULL) {
        v->word_since_s = cw_mgr_wall_s(m);
        if (v->o.rec.volume.caretaker && v->o.rec.volume.hold == CW_HOLD_OWNED)
            v->care =
                (struct mgr_care){ .state = MGR_CARE_HELD, .daemon = v->o.rec.volume.owner_id };
        return;
    }
    if (old->gen != v->o.rec.volume.gen || old->hold != v->o.rec.volume.hold) {
        v->granted_ns = cw_now_ns(m->env);
        v->orphan_ns = 0;
        v->report = (struct mgr_report){ 0 };
    }
}

/* A resync that begins makes holes in a copy until the record says that it is over. */
static void
known_applied(const struct cw_manager *m, struct mgr_copy_known *k, enum cw_member_state from,
              enum cw_member_state to)
{
    if (to == CW_MEMBER_IN_RESYNC)
        k->holes = true;
    else if (from == CW_MEMBER_IN_RESYNC && (to == CW_MEMBER_INSYNC || to == CW_MEMBER_LAGGING))
        k->holes = false;
    if (from == CW_MEMBER_INSYNC && to != CW_MEMBER_INSYNC)
        k->left_s = cw_mgr_wall_s(m);
}

/* What is known of a member goes with its identity, not with its place. That it registered damaged
 * says nothing of a state that it was put in since. */
static void
shard_applied(const struct cw_manager *m, struct mgr_shard *s, const struct cw_shard_rec *old)
{
    const struct cw_shard_rec *now = &s->o.rec.shard;
    struct mgr_shard was = *s;

    s->bad = 0;
    for (uint32_t i = 0; i < CW_MEMBERS_MAX; i++) {
        const struct cw_member *mb = i < now->n_members ? &now->members[i] : NULL;
        const struct cw_member *at =
            mb != NULL ? cw_shard_rec_find(old, &mb->disk_uuid, mb->format_id) : NULL;
        size_t k = at != NULL ? (size_t)(at - old->members) : 0;

        if (at != NULL && at->state == mb->state && (was.bad & CW_BIT(k)))
            s->bad |= (uint32_t)CW_BIT(i);
        s->mapped_blocks[i] = at != NULL ? was.mapped_blocks[k] : 0;
        s->bad_blocks[i] = at != NULL ? was.bad_blocks[k] : 0;
        s->now[i] = at != NULL ? was.now[k] : (struct mgr_member_now){ 0 };
        s->known[i] = at != NULL ? was.known[k] : (struct mgr_copy_known){ 0 };
        if (at != NULL)
            known_applied(m, &s->known[i], at->state, mb->state);
    }
}

void
cw_mgr_apply_put(struct cw_manager *m, const char *key, uint64_t version, const struct cw_rec *rec)
{
    struct mgr_obj *o = cw_mgr_find_key(&m->t, rec->kind, key);
    struct cw_rec old = o != NULL ? o->rec : (struct cw_rec){ .kind = rec->kind };
    bool fresh = o == NULL;

    o = cw_mgr_table_put(&m->t, key, version, rec);
    m->news |= rec->kind != CW_REC_EVENT;
    if (rec->kind == CW_REC_HOST)
        host_applied(m, (struct mgr_host *)o, fresh ? NULL : &old.host);
    if (rec->kind == CW_REC_HOST)
        maintain_count(m);
    if (rec->kind == CW_REC_VOLUME)
        volume_applied(m, (struct mgr_volume *)o, fresh ? NULL : &old.volume);
    if (rec->kind == CW_REC_SHARD && !fresh)
        shard_applied(m, (struct mgr_shard *)o, &old.shard);
    if (rec->kind == CW_REC_REMOVED && fresh)
        cw_mgr_removed_applied(m, (struct mgr_removed *)o);
}

void
cw_mgr_apply_del(struct cw_manager *m, enum cw_rec_kind kind, const char *key)
{
    struct mgr_obj *o = cw_mgr_find_key(&m->t, kind, key);

    m->news |= kind != CW_REC_EVENT;
    if (o != NULL && kind == CW_REC_HOST) {
        struct mgr_host *h = (struct mgr_host *)o;

        if (h->session != NULL)
            h->session->host = NULL;
    }
    if (o != NULL && kind == CW_REC_REMOVED)
        cw_mgr_removed_applied(m, (struct mgr_removed *)o);
    cw_mgr_table_del(&m->t, kind, key);
    if (kind == CW_REC_HOST)
        maintain_count(m);
}

/* ---- life ---- */

void
cw_mgr_lists_init(struct cw_manager *m)
{
    cw_list_init(&m->sessions);
    cw_list_init(&m->calls);
    cw_list_init(&m->calls_open);
    cw_list_init(&m->ops);
    cw_list_init(&m->running);
    cw_list_init(&m->attaches);
    cw_list_init(&m->waiting);
    cw_list_init(&m->scrubs);
    cw_list_init(&m->jobs);
    cw_list_init(&m->findings);
}

struct cw_manager *
cw_manager_new(const struct cw_manager_opts *opts)
{
    struct cw_manager *m = calloc(1, sizeof(*m));

    if (m == NULL)
        return NULL;
    m->opts = *opts;
    m->env = opts->env;
    cw_mgr_lists_init(m);
    m->loaded_end = &m->loaded;
    m->kick.fn = manager_kicked;
    m->tick.fn = manager_ticked;
    m->retry.fn = cw_mgr_retry_fired;
    return m;
}

void
cw_manager_start(struct cw_manager *m)
{
    cw_assert(m->phase == MGR_NEW);
    m->phase = MGR_LOADING;
    cw_mgr_load(m);
}

void
cw_mgr_loaded(struct cw_manager *m, const char *why_not)
{
    m->started_ns = cw_now_ns(m->env);
    cw_mgr_cold_begin(m);
    m->phase = why_not == NULL ? MGR_SERVING : MGR_REFUSED;
    MGR_EACH(&m->t, CW_REC_HOST, struct mgr_host, h)
    h->ok_ns = m->started_ns;
    if (why_not == NULL)
        cw_mgr_backup_restored(m);
    if (why_not == NULL)
        cw_mgr_jobs_resume(m);
    if (why_not == NULL)
        cw_timer_set(m->env, &m->tick, m->started_ns + MGR_TICK_NS);
    m->opts.ops->started(m->opts.world, why_not);
    cw_mgr_kick(m);
}

void
cw_manager_free(struct cw_manager *m)
{
    if (m == NULL)
        return;
    m->stopping = true;
    cw_timer_cancel(m->env, &m->kick);
    cw_timer_cancel(m->env, &m->tick);
    cw_timer_cancel(m->env, &m->retry);
    calls_run(m);
    cw_mgr_claims_fail(m);
    cw_mgr_events_fail(m);
    cw_mgr_ops_fail(m);
    while (!cw_list_empty(&m->sessions))
        cw_manager_session_down(m, cw_list_first(&m->sessions, struct cw_mgr_session, link));
    cw_mgr_jobs_fini(m);
    cw_mgr_findings_fini(m);
    cw_mgr_load_forget(m);
    cw_mgr_backup_fini(m);
    cw_mgr_tables_fini(&m->t);
    cw_mgr_ways_fini(m);
    free(m);
}
