/* shape/payload.h - what --json prints and HTTP answers: the objects of shape.h under their names.
 *
 * Each function returns a new reference to an object without its `schema`, which cw_payload_dump
 * puts in front, and never NULL.
 */
#pragma once

#include <stdbool.h>

#include "common/shape/shape.h"

/* The version of docs/api/schema.json that all of it follows. */
#define CW_JSON_SCHEMA 1

typedef Causeway__Control__VolumeLsReply cw_pb_volumes;
typedef Causeway__Control__HostLsReply cw_pb_hosts;
typedef Causeway__Control__PolicyLsReply cw_pb_policies;
typedef Causeway__Control__JobLsReply cw_pb_jobs;
typedef Causeway__Control__EventLsReply cw_pb_events;
typedef Causeway__Control__ScrubStartReply cw_pb_scrub_started;
typedef Causeway__Control__RecoverReply cw_pb_recover;
typedef Causeway__Control__VolumeExplainReply cw_pb_reasons;
typedef Causeway__Control__PolicyCheckReply cw_pb_policy_check;
typedef Causeway__Control__HostMaintainReply cw_pb_maintain;
typedef Causeway__Control__RemoveReply cw_pb_removed;
typedef Causeway__Control__RepairLsReply cw_pb_repairs;
typedef Causeway__Control__WhatifReply cw_pb_whatif;
typedef Causeway__Control__MetadataShowReply cw_pb_metadata;

json_t *cw_payload_status(const cw_pb_status *s);
json_t *cw_payload_volumes(const cw_pb_volumes *ls);
json_t *cw_payload_volume(const cw_pb_volume *v);
json_t *cw_payload_explain(const cw_pb_volume *v, const cw_pb_policy *p, /* p may be NULL */
                           const cw_pb_reasons *r);
json_t *cw_payload_policy_check(const cw_pb_policy_check *c);
json_t *cw_payload_recover(const cw_pb_recover *r);
json_t *cw_payload_hosts(const cw_pb_hosts *ls);
json_t *cw_payload_host(const cw_pb_host *h);
json_t *cw_payload_disks(const cw_pb_hosts *ls);
json_t *cw_payload_disk(const cw_pb_host *h, const cw_pb_disk *d);
json_t *cw_payload_scrubs(const cw_pb_hosts *ls);
json_t *cw_payload_scrub_started(const cw_pb_scrub_started *r);
json_t *cw_payload_policies(const cw_pb_policies *ls);
json_t *cw_payload_policy(const cw_pb_policy *p);
json_t *cw_payload_jobs(const cw_pb_jobs *ls);
json_t *cw_payload_job(const cw_pb_job *j);
json_t *cw_payload_verify(const cw_pb_job *j); /* j->verify is not NULL */
json_t *cw_payload_cancelled(uint64_t job);
json_t *cw_payload_metadata(const cw_pb_metadata *m);
/* of: what was saved */
json_t *cw_payload_metadata_saved(const char *file, const char *from,
                                  const Causeway__Control__MetadataKept *of, uint64_t size_bytes);
json_t *cw_payload_events(const cw_pb_events *ls);
json_t *cw_payload_event(const cw_pb_event *e);

/* ---- maintenance, removal, repair, what-if ---- */

/* kind: "host", "disk" */
json_t *cw_payload_plans(const cw_pb_maintain *r, const char *kind);
json_t *cw_payload_maintenance(const cw_pb_maintain *r, const char *mode, bool ready);
json_t *cw_payload_drain(const cw_pb_maintain *r, bool cancelled, bool done);
json_t *cw_payload_removed(const cw_pb_removed *r);
json_t *cw_payload_host_joined(const cw_pb_host *h);
/* command: what to run there */
json_t *cw_payload_host_to_join(const char *name, const char *command);
json_t *cw_payload_repairs(const cw_pb_repairs *ls);
json_t *cw_payload_whatif(const cw_pb_whatif *r);

/* What a volume of that protection is to `status`: 0 ok, 1 a warning, 2 an error. */
int cw_shape_protection_health(const char *word);
/* .. the worst of them */
int cw_shape_whatif_health(const cw_pb_whatif *r);

/* {"removed": name} */
json_t *cw_payload_done(const char *what, const char *name);
json_t *cw_payload_volume_removed(const char *name, bool now, uint64_t delay_s);

/* {"error": {..}}; NULL is "". */
json_t *cw_payload_error(const char *code, const char *message, const char *object,
                         const char *hint);

/* Puts `schema` in front and frees payload. flags: of json_dumps. Malloc'ed text. */
char *cw_payload_dump(json_t *take_payload, size_t flags);

/* Nothing bad was found. */
bool cw_shape_verify_clean(const Causeway__Control__VerifyProgress *v);

/* ---- the one that was asked for; NULL: there is none ---- */

const cw_pb_host *cw_shape_find_host(const cw_pb_hosts *ls, const char *name);
/* path: "host/disk" or "site/host/disk" */
const cw_pb_disk *cw_shape_find_disk(const cw_pb_hosts *ls, const char *path,
                                     const cw_pb_host **ret_host);
const cw_pb_policy *cw_shape_find_policy(const cw_pb_policies *ls, const char *name);
const cw_pb_job *cw_shape_find_job(const cw_pb_jobs *ls, uint64_t id);
