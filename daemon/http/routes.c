#include <string.h>

#include "daemon/http/internal.h"

#define TRASH_DELAY_S (24 * 3600)
#define POLICY_FIELDS \
    "copies spread sites min_insync degrade_seconds=degrade_s journal ack async compression " \
    "iops_limit bandwidth_limit_bytes=bandwidth_limit repair_delay_seconds=repair_delay_s " \
    "rpo_seconds=rpo_s " \
    "quorum_loss space_full"
#define LIMIT_FIELD "limit_bytes_per_second"

/* ---- the JSON of each reply ---- */

#define SHAPE(NAME, CALL) \
    static json_t *NAME(const struct http_ask *a, const cw_envelope *r) \
    { \
        return CALL; \
    }

SHAPE(shape_status, cw_payload_status(r->status_reply))
SHAPE(shape_metadata, cw_payload_metadata(r->metadata_show_reply))
SHAPE(shape_volumes, cw_payload_volumes(r->volume_ls_reply))
SHAPE(shape_volume, cw_payload_volume(r->volume_info))
SHAPE(shape_recover, cw_payload_recover(r->recover_reply))
SHAPE(shape_hosts, cw_payload_hosts(r->host_ls_reply))
SHAPE(shape_disks, cw_payload_disks(r->host_ls_reply))
SHAPE(shape_scrubs, cw_payload_scrubs(r->host_ls_reply))
SHAPE(shape_scrub_started, cw_payload_scrub_started(r->scrub_start_reply))
SHAPE(shape_policies, cw_payload_policies(r->policy_ls_reply))
SHAPE(shape_policy_put, cw_payload_policy(r->policy))
SHAPE(shape_jobs, cw_payload_jobs(r->job_ls_reply))
SHAPE(shape_job, cw_payload_job(r->job))
SHAPE(shape_events, cw_payload_events(r->event_ls_reply))
SHAPE(shape_policy_check, cw_payload_policy_check(r->policy_check_reply))
SHAPE(shape_gone, cw_payload_removed(r->remove_reply))
SHAPE(shape_maintain,
      cw_http_flag(a, "plan", false)
          ? cw_payload_plans(r->host_maintain_reply, "host")
          : cw_payload_maintenance(r->host_maintain_reply, cw_http_text(a, "mode", ""),
                                   r->host_maintain_reply->ready))
SHAPE(shape_drain, cw_http_flag(a, "plan", false)
                       ? cw_payload_plans(r->host_maintain_reply, "disk")
                       : cw_payload_drain(r->host_maintain_reply, cw_http_flag(a, "cancel", false),
                                          r->host_maintain_reply->ready))
SHAPE(shape_repairs, cw_payload_repairs(r->repair_ls_reply))
SHAPE(shape_paused, cw_payload_done("repair", "paused"))
SHAPE(shape_resumed, cw_payload_done("repair", "resumed"))
SHAPE(shape_limited,
      cw_payload_done("repair",
                      cw_http_number(a, LIMIT_FIELD, 0) > 0 ? "limited" : "limited by load alone"))
SHAPE(shape_whatif, cw_payload_whatif(r->whatif_reply))
SHAPE(shape_removed, cw_payload_done("removed", a->object))
SHAPE(shape_returned, cw_payload_done("returned", a->object))
SHAPE(shape_allowed, cw_payload_done("allowed", a->object))
SHAPE(shape_ended, cw_payload_done("ended", a->object))
SHAPE(shape_added, cw_payload_done("added", a->object))
SHAPE(shape_restored, cw_payload_done("restored", cw_http_text(a, "new_name", a->object)))
SHAPE(shape_volume_removed,
      cw_payload_volume_removed(a->object, cw_http_flag(a, "now", false),
                                cw_http_number(a, "delay_seconds", TRASH_DELAY_S)))

static json_t *
shape_explain(const struct http_ask *a, const cw_envelope *r)
{
    const cw_pb_volume *v = a->kept->volume_info;

    return cw_payload_explain(v, cw_shape_find_policy(r->policy_ls_reply, v->policy),
                              a->kept_too->volume_explain_reply);
}

static json_t *
shape_host(const struct http_ask *a, const cw_envelope *r)
{
    const cw_pb_host *h = cw_shape_find_host(r->host_ls_reply, a->object);

    return h != NULL ? cw_payload_host(h) : NULL;
}

static json_t *
shape_disk(const struct http_ask *a, const cw_envelope *r)
{
    const cw_pb_host *h;
    const cw_pb_disk *d = cw_shape_find_disk(r->host_ls_reply, a->object, &h);

    return d != NULL ? cw_payload_disk(h, d) : NULL;
}

static json_t *
shape_policy(const struct http_ask *a, const cw_envelope *r)
{
    const cw_pb_policy *p = cw_shape_find_policy(r->policy_ls_reply, a->object);

    return p != NULL ? cw_payload_policy(p) : NULL;
}

static json_t *
shape_job_found(const struct http_ask *a, const cw_envelope *r)
{
    const cw_pb_jobs *ls = r->job_ls_reply;

    return ls->n_jobs == 1 ? cw_payload_job(ls->jobs[0]) : NULL;
}

static json_t *
shape_cancelled(const struct http_ask *a, const cw_envelope *r)
{
    return cw_payload_cancelled(strtoull(a->object, NULL, 10));
}

/* False: it has failed. */
static bool
explain_keep(struct http_ask *a, const cw_envelope *reply, int want, cw_envelope **to)
{
    if (reply->error != NULL)
        cw_http_fail_error(a, reply->error);
    else if ((int)reply->body_case != want || (*to = cw_envelope_copy(reply)) == NULL)
        cw_http_fail(a, 500, "INTERNAL", a->object, NULL, "the manager answered something else");
    else
        return true;
    return false;
}

static void
explain_on_reasons(struct cw_rpc_call *call, const cw_envelope *reply)
{
    struct http_ask *a = cw_container_of(call, struct http_ask, call);

    if (explain_keep(a, reply, HTTP_BODY(VOLUME_EXPLAIN_REPLY), &a->kept_too))
        cw_http_ask(a);
}

/* The volume first, then the reasons, then its policy. */
static void
explain_on_volume(struct cw_rpc_call *call, const cw_envelope *reply)
{
    struct http_ask *a = cw_container_of(call, struct http_ask, call);
    Causeway__Control__VolumeExplain m = CAUSEWAY__CONTROL__VOLUME_EXPLAIN__INIT;

    m.name = a->object;
    if (explain_keep(a, reply, HTTP_BODY(VOLUME_INFO), &a->kept))
        cw_http_call(a, HTTP_BODY(VOLUME_EXPLAIN), &m.base, HTTP_READ_MS, explain_on_reasons);
}

static void
run_explain(struct http_ask *a)
{
    Causeway__Control__VolumeShow m = CAUSEWAY__CONTROL__VOLUME_SHOW__INIT;

    m.name = a->object;
    cw_http_call(a, HTTP_BODY(VOLUME_SHOW), &m.base, HTTP_READ_MS, explain_on_volume);
}

/* A limit that is forgotten does not lift the one that there is. */
static void
run_limit(struct http_ask *a)
{
    if (json_object_get(a->body, LIMIT_FIELD) != NULL)
        cw_http_ask(a);
    else
        cw_http_fail(a, 400, "BAD_REQUEST", a->object, "0: as clients leave room",
                     "'" LIMIT_FIELD "' is missing");
}

/* ---- the table ---- */

#define GET .method = "GET"
#define POST .method = "POST"
#define PATCH .method = "PATCH"
#define DELETE .method = "DELETE"
#define ASK(CASE, WANT) .ask = HTTP_BODY(CASE), .want = HTTP_BODY(WANT)
#define DO(CASE) .ask = HTTP_BODY(CASE)
#define REPAIR(WHAT) \
    DO(REPAIR_SET), .set = "what", .set_to = CAUSEWAY__CONTROL__REPAIR_SET__WHAT__##WHAT

const struct http_route cw_http_routes[] = {
    { GET, "/healthz", .run = cw_http_run_health },
    { GET, "/metrics", .fields = "scope", .run = cw_http_run_metrics },
    { GET, "/v1/status", ASK(STATUS, STATUS_REPLY), .shape = shape_status },
    { GET, "/v1/metadata", ASK(METADATA_SHOW, METADATA_SHOW_REPLY), .shape = shape_metadata },

    { GET, "/v1/volumes", ASK(VOLUME_LS, VOLUME_LS_REPLY), .fields = "trash",
      .shape = shape_volumes },
    { POST, "/v1/volumes", ASK(VOLUME_CREATE, VOLUME_INFO),
      .fields = "name size_bytes policy force", .shape = shape_volume, .status = 201 },
    { GET, "/v1/volumes/{name}", "name", ASK(VOLUME_SHOW, VOLUME_INFO), .shape = shape_volume },
    { PATCH, "/v1/volumes/{name}", "name", ASK(VOLUME_SET, VOLUME_INFO), .fields = "policy force",
      .shape = shape_volume },
    { DELETE, "/v1/volumes/{name}", "name", DO(VOLUME_RM), .fields = "delay_seconds=delay_s now",
      .shape = shape_volume_removed },
    { GET, "/v1/volumes/{name}/explain", ASK(POLICY_LS, POLICY_LS_REPLY), .shape = shape_explain,
      .run = run_explain },
    { POST, "/v1/volumes/{name}/resize", "name", ASK(VOLUME_RESIZE, VOLUME_INFO),
      .fields = "size_bytes", .shape = shape_volume },
    { POST, "/v1/volumes/{name}/restore", "name", DO(VOLUME_RESTORE),
      .fields = "id=volume_id new_name", .shape = shape_restored },
    { POST, "/v1/volumes/{name}/verify", "name", ASK(VOLUME_VERIFY, JOB), .shape = shape_job,
      .status = 202 },
    { POST, "/v1/volumes/{name}/migrate", "volume", DO(HANDOVER_ALLOW), .fields = "seconds",
      .shape = shape_allowed },
    { DELETE, "/v1/volumes/{name}/migrate", "volume", DO(HANDOVER_CANCEL), .shape = shape_ended },
    { POST, "/v1/volumes/{name}/recover", "name", ASK(VOLUME_RECOVER, RECOVER_REPLY),
      .fields = "copy accept_loss", .shape = shape_recover },

    { GET, "/v1/policies", ASK(POLICY_LS, POLICY_LS_REPLY), .shape = shape_policies },
    { POST, "/v1/policies", ASK(POLICY_PUT, POLICY), .in = "policy", .set = "create",
      .fields = "name " POLICY_FIELDS, .shape = shape_policy_put, .status = 201 },
    { GET, "/v1/policies/{name}", "name", ASK(POLICY_LS, POLICY_LS_REPLY), .shape = shape_policy },
    { PATCH, "/v1/policies/{name}", "name", ASK(POLICY_PUT, POLICY), .in = "policy",
      .fields = POLICY_FIELDS, .shape = shape_policy_put },
    { DELETE, "/v1/policies/{name}", "name", DO(POLICY_RM), .shape = shape_removed },
    { POST, "/v1/policies/check", ASK(POLICY_CHECK, POLICY_CHECK_REPLY), .in = "policy",
      .fields = POLICY_FIELDS, .shape = shape_policy_check },
    { POST, "/v1/policies/{name}/check", "name", ASK(POLICY_CHECK, POLICY_CHECK_REPLY),
      .in = "policy", .fields = POLICY_FIELDS, .shape = shape_policy_check },

    { GET, "/v1/hosts", ASK(HOST_LS, HOST_LS_REPLY), .shape = shape_hosts },
    { GET, "/v1/hosts/{name}", ASK(HOST_LS, HOST_LS_REPLY), .shape = shape_host },
    { DELETE, "/v1/hosts/{name}", "name", ASK(HOST_RM, REMOVE_REPLY), .fields = "accept_loss",
      .shape = shape_gone },
    { POST, "/v1/hosts/{name}/maintain", "name", ASK(HOST_MAINTAIN, HOST_MAINTAIN_REPLY),
      .fields = "mode plan force", .shape = shape_maintain },
    { POST, "/v1/hosts/{name}/return", "name", DO(HOST_RETURN), .shape = shape_returned },
    { GET, "/v1/disks", ASK(HOST_LS, HOST_LS_REPLY), .shape = shape_disks },
    { GET, "/v1/disks/{host}/{disk}", ASK(HOST_LS, HOST_LS_REPLY), .shape = shape_disk },
    { DELETE, "/v1/disks/{host}/{disk}", "disk", ASK(DISK_RM, REMOVE_REPLY),
      .fields = "accept_loss", .shape = shape_gone },
    { POST, "/v1/disks/{host}/{disk}/drain", "disk", ASK(DISK_DRAIN, HOST_MAINTAIN_REPLY),
      .fields = "plan cancel", .shape = shape_drain },
    { POST, "/v1/disks/{host}/{disk}/return", "disk", DO(DISK_RETURN), .shape = shape_returned },
    { POST, "/v1/disks/{host}/{disk}/add", "disk", DO(DISK_ADD), .shape = shape_added },
    { GET, "/v1/scrubs", ASK(HOST_LS, HOST_LS_REPLY), .shape = shape_scrubs },
    { POST, "/v1/scrubs", ASK(SCRUB_START, SCRUB_START_REPLY), .fields = "target",
      .shape = shape_scrub_started, .status = 202 },

    { GET, "/v1/repairs", ASK(REPAIR_LS, REPAIR_LS_REPLY), .shape = shape_repairs },
    { POST, "/v1/repairs/now", ASK(REPAIR_NOW, JOB), .fields = "host volume", .shape = shape_job,
      .status = 202 },
    { POST, "/v1/repairs/pause", REPAIR(PAUSE), .shape = shape_paused },
    { POST, "/v1/repairs/resume", REPAIR(RESUME), .shape = shape_resumed },
    { POST, "/v1/repairs/limit", REPAIR(LIMIT), .fields = LIMIT_FIELD "=bytes_per_s",
      .shape = shape_limited, .run = run_limit },
    { POST, "/v1/whatif", ASK(WHATIF, WHATIF_REPLY), .fields = "fail", .shape = shape_whatif },

    { GET, "/v1/jobs", ASK(JOB_LS, JOB_LS_REPLY), .shape = shape_jobs },
    { GET, "/v1/jobs/{id}", "id", ASK(JOB_LS, JOB_LS_REPLY), .shape = shape_job_found },
    { DELETE, "/v1/jobs/{id}", "id", DO(JOB_CANCEL), .shape = shape_cancelled },
    { GET, "/v1/events", ASK(EVENT_LS, EVENT_LS_REPLY),
      .fields = "after max wait follow=", .shape = shape_events, .run = cw_http_run_events },
    { 0 },
};

/* ---- finding ---- */

/* Writes what stands for the {..} into object, with slashes between. */
static bool
path_matches(const char *path, const struct cw_http_target *t, char object[static HTTP_OBJECT_SIZE])
{
    size_t used = 0;

    object[0] = '\0';
    for (uint32_t i = 0; i < t->n_segments; i++) {
        size_t len, n = strlen(t->segments[i]);

        if (*path++ != '/')
            return false;
        len = strcspn(path, "/");
        if (*path != '{') {
            if (n != len || memcmp(path, t->segments[i], len) != 0)
                return false;
        } else {
            if (n == 0 || used + n + 2 > HTTP_OBJECT_SIZE)
                return false;
            if (used > 0)
                object[used++] = '/';
            memcpy(object + used, t->segments[i], n + 1);
            used += n;
        }
        path += len;
    }
    return *path == '\0';
}

const struct http_route *
cw_http_route_find(const char *method, const struct cw_http_target *t,
                   char object[static HTTP_OBJECT_SIZE], char *allow, size_t allow_size)
{
    size_t used = 0;

    if (strcmp(method, "HEAD") == 0)
        method = "GET";
    allow[0] = '\0';
    for (const struct http_route *r = cw_http_routes; r->method != NULL; r++) {
        if (!path_matches(r->path, t, object))
            continue;
        if (strcmp(r->method, method) == 0)
            return r;
        if (used < allow_size)
            used += (size_t)snprintf(allow + used, allow_size - used, "%s%s", used > 0 ? ", " : "",
                                     r->method);
    }
    return NULL;
}
