/* shape/shape.h - the objects of --json, made from the manager's answers.
 *
 * Their schema is docs/schema; byte counts end in _bytes, times in _seconds or _ns. Each function
 * returns a new reference and never NULL. Text from the manager that is not UTF-8 becomes "?".
 */
#pragma once

#include <jansson.h>

#include "proto/control.pb-c.h"

typedef Causeway__Control__VolumeInfo cw_pb_volume;
typedef Causeway__Control__ShardInfo cw_pb_shard;
typedef Causeway__Control__MemberInfo cw_pb_member;
typedef Causeway__Control__HostInfo cw_pb_host;
typedef Causeway__Control__DiskState cw_pb_disk;
typedef Causeway__Control__Policy cw_pb_policy;
typedef Causeway__Control__Job cw_pb_job;
typedef Causeway__Control__Event cw_pb_event;
typedef Causeway__Control__StatusReply cw_pb_status;
typedef Causeway__Control__Finding cw_pb_finding;
typedef Causeway__Control__SiteInfo cw_pb_site;

json_t *cw_shape_volume(const cw_pb_volume *v); /* with its shards */
json_t *cw_shape_host(const cw_pb_host *h);
json_t *cw_shape_scrub(const cw_pb_host *h, const cw_pb_disk *d); /* of `scrub ls` */
json_t *cw_shape_disk(const cw_pb_host *h, const cw_pb_disk *d);
json_t *cw_shape_policy(const cw_pb_policy *p);
json_t *cw_shape_job(const cw_pb_job *j);
json_t *cw_shape_event(const cw_pb_event *e);
json_t *cw_shape_status(const cw_pb_status *s); /* the whole payload of `status` */

json_t *cw_shape_metadata_places(Causeway__Control__MetadataPlace *const *at, size_t n);

/* "INSYNC", "SYNCING" .. */
const char *cw_shape_member_state(Causeway__Control__MemberState state);

/* What its scrub does: "full speed", "paced", "resting", "not begun", "unknown". */
const char *cw_shape_scrub_state(const cw_pb_disk *d);
/* "ok", "full", "stuck", "quarantined", "draining", "missing", "absent", "maintenance" (it is
 * down), "failed", "removed" (by an operator, but its daemon has it open). */
const char *cw_shape_disk_state(const cw_pb_host *h, const cw_pb_disk *d);

/* "on-premise", "cloud". */
const char *cw_shape_site_kind(Causeway__Control__SiteKind kind);

#define CW_SHAPE_PRICE_SIZE 32
/* "0.09" of millionths; "" for 0, which means that none is named. */
const char *cw_shape_price(uint64_t micros, char text[static CW_SHAPE_PRICE_SIZE]);

/* size, used, of all disks of a host that are not failed. */
void cw_shape_host_space(const cw_pb_host *h, uint64_t *ret_size, uint64_t *ret_used);

/* min-insync as it counts: the policy's, or the default for its copies. */
uint32_t cw_shape_min_insync(const cw_pb_policy *p);
