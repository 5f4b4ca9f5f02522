/* shell/manager-rpc-status.c - status, jobs (verify among them), events. */
#include "daemon/shell/manager-rpc.h"

/* ---- status ---- */

static void
finding_out(struct cw_mgr_arena *a, const struct cw_mgr_finding *from, CW_PB(Finding) *to)
{
    to->code = cw_pb_text(from->code);
    to->severity = cw_pb_text(from->severity);
    to->object = cw_pb_text(from->object);
    to->since = cw_pb_text(from->since);
    to->cause = cw_pb_text(from->cause);
    to->effect = cw_pb_text(from->effect);
    to->next = cw_pb_text(from->next);
    to->command = cw_pb_text(from->command);
}

CW_PB_LIST(findings_out, Finding, finding, struct cw_mgr_finding, finding_out)

static void
word_out(struct cw_mgr_arena *a, const struct cw_mgr_word_count *from,
         CW_PB(StatusReply__ProtectionEntry) *to)
{
    to->key = cw_pb_text(from->word);
    to->value = from->n;
}

CW_PB_LIST(words_out, StatusReply__ProtectionEntry, status_reply__protection_entry,
           struct cw_mgr_word_count, word_out)

static void
site_out(struct cw_mgr_arena *a, const struct cw_mgr_site_info *from, CW_PB(SiteInfo) *to)
{
    to->name = cw_pb_text(from->name);
    to->kind = (CW_PB(SiteKind))from->kind;
    to->hosts_up = from->hosts_up;
    to->hosts = from->hosts;
    to->hosts_maintained = from->hosts_maintained;
    to->size_bytes = from->size_bytes;
    to->used_bytes = from->used_bytes;
    to->region = cw_pb_text(from->region);
    to->attributes = cw_pb_attributes(a, &from->attributes);
    to->n_links = from->n_links;
    to->links = cw_pb_links(a, from->links, from->n_links);
    to->size_without_worst_bytes = from->size_without_worst_bytes;
}

CW_PB_LIST(sites_out, SiteInfo, site_info, struct cw_mgr_site_info, site_out)

static void
status_lists(struct cw_mgr_arena *a, const struct cw_mgr_status *f, CW_PB(StatusReply) *to)
{
    to->n_findings = f->n_findings;
    to->findings = findings_out(a, f->findings, f->n_findings);
    to->n_protection = f->n_protection;
    to->protection = words_out(a, f->protection, f->n_protection);
    to->n_sites = f->n_sites;
    to->sites = sites_out(a, f->sites, f->n_sites);
}

static void
status_answer(struct cw_manager_req *r, cw_envelope *out)
{
    const struct cw_mgr_status *f = &r->call.reply.status;
    CW_PB(StatusReply) *to = CW_PB_NEW(r->arena, StatusReply, status_reply);

    to->cluster = cw_pb_text(f->cluster);
    to->cluster_id = cw_pb_uuid(&f->cluster_id);
    to->health = cw_pb_text(f->health);
    status_lists(r->arena, f, to);
    to->n_backups = f->n_places;
    to->backups = cw_manager_places(r->arena, f->places, f->n_places);
    to->volumes = f->volumes;
    to->volumes_serving = f->volumes_serving;
    to->epoch = f->epoch;
    to->reads_per_s = f->reads_per_s;
    to->writes_per_s = f->writes_per_s;
    to->read_p99_ns = f->read_p99_ns;
    to->write_p99_ns = f->write_p99_ns;
    to->repair_bytes_per_s = f->repair_bytes_per_s;
    to->manager = cw_pb_text(f->manager);
    to->metadata = cw_pb_text(f->metadata);
    to->uptime_s = f->uptime_s;
    out->body_case = CW_PB_BODY(STATUS_REPLY);
    out->status_reply = to;
}

static bool
status_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    return true;
}

/* ---- jobs ---- */

static CW_PB(VerifyProgress) *
verify_out(struct cw_mgr_arena *a, const struct cw_mgr_verify *from)
{
    CW_PB(VerifyProgress) *to = CW_PB_NEW(a, VerifyProgress, verify_progress);

    to->job = from->job;
    to->volume_id = from->volume_id;
    to->done_bytes = from->done_bytes;
    to->total_bytes = from->total_bytes;
    to->found = from->found;
    to->repaired = from->repaired;
    to->unrepairable = from->unrepairable;
    to->copies = from->copies;
    to->differing = from->differing;
    to->finished = from->finished;
    to->failed = cw_pb_text(from->failed);
    return to;
}

static void
job_out(struct cw_mgr_arena *a, const struct cw_mgr_job_info *from, CW_PB(Job) *to)
{
    to->id = from->id;
    to->kind = cw_pb_text(from->kind);
    to->object = cw_pb_text(from->object);
    to->state = cw_pb_text(from->state);
    to->why = cw_pb_text(from->why);
    to->started = cw_pb_text(from->started);
    to->ended = cw_pb_text(from->ended);
    to->done_bytes = from->done_bytes;
    to->total_bytes = from->total_bytes;
    if (from->verify.job != 0)
        to->verify = verify_out(a, &from->verify);
    to->eta_s = from->eta_s;
}

CW_PB_LIST(jobs_out, Job, job, struct cw_mgr_job_info, job_out)

static bool
verify_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    r->call.req.name = m->volume_verify->name;
    return true;
}

void
cw_manager_job_answer(struct cw_manager_req *r, cw_envelope *out)
{
    out->body_case = CW_PB_BODY(JOB);
    out->job = jobs_out(r->arena, &r->call.reply.job, 1)[0];
}

static bool
job_ls_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    r->call.req.id = m->job_ls->id;
    return true;
}

static void
job_ls_answer(struct cw_manager_req *r, cw_envelope *out)
{
    const struct cw_mgr_job_list *f = &r->call.reply.jobs;
    CW_PB(JobLsReply) *to = CW_PB_NEW(r->arena, JobLsReply, job_ls_reply);

    to->n_jobs = f->n_jobs;
    to->jobs = jobs_out(r->arena, f->jobs, f->n_jobs);
    out->body_case = CW_PB_BODY(JOB_LS_REPLY);
    out->job_ls_reply = to;
}

static bool
job_cancel_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    r->call.req.id = m->job_cancel->id;
    return true;
}

/* ---- events ---- */

static bool
event_ls_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    r->call.req.event_ls = (struct cw_mgr_event_ls){
        .after = m->event_ls->after,
        .max = m->event_ls->max,
        .wait = m->event_ls->wait,
        .newest = m->event_ls->newest,
        .wait_ms =
            m->deadline_ms * 3 / 4, /* so that the empty answer comes before the asker leaves */
    };
    return m->deadline_ms < UINT32_MAX;
}

static void
event_out(struct cw_mgr_arena *a, const struct cw_mgr_event_info *from, CW_PB(Event) *to)
{
    to->number = from->number;
    to->at = cw_pb_text(from->at);
    to->code = cw_pb_text(from->code);
    to->object = cw_pb_text(from->object);
    to->text = cw_pb_text(from->text);
}

CW_PB_LIST(events_out, Event, event, struct cw_mgr_event_info, event_out)

static void
event_ls_answer(struct cw_manager_req *r, cw_envelope *out)
{
    const struct cw_mgr_event_list *f = &r->call.reply.events;
    CW_PB(EventLsReply) *to = CW_PB_NEW(r->arena, EventLsReply, event_ls_reply);

    to->n_events = f->n_events;
    to->events = events_out(r->arena, f->events, f->n_events);
    out->body_case = CW_PB_BODY(EVENT_LS_REPLY);
    out->event_ls_reply = to;
}

const struct cw_manager_route cw_manager_routes_status[] = {
    { CW_PB_BODY(STATUS), CW_MGR_STATUS, status_ask, status_answer },
    { CW_PB_BODY(VOLUME_VERIFY), CW_MGR_VOLUME_VERIFY, verify_ask, cw_manager_job_answer },
    { CW_PB_BODY(JOB_LS), CW_MGR_JOB_LS, job_ls_ask, job_ls_answer },
    { CW_PB_BODY(JOB_CANCEL), CW_MGR_JOB_CANCEL, job_cancel_ask, NULL },
    { CW_PB_BODY(EVENT_LS), CW_MGR_EVENT_LS, event_ls_ask, event_ls_answer },
    { CW_PB_BODY(_NOT_SET), 0, NULL, NULL },
};
