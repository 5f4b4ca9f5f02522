/* metadata/etcd-json.h - what the gateway's JSON holds: 64-bit numbers as text, bytes as base64,
 * fields left out where they are zero.
 *
 * Nothing that came back is trusted: a field of another kind, a number or a text that is none, and
 * bytes that do not fit are errors; a field that is absent is 0, "" or NULL.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* gRPC's codes, as far as they say something. */
enum cw_etcd_code {
    CW_ETCD_CODE_NONE = 0, /* no such error object */
    CW_ETCD_CODE_INVALID = 3,
    CW_ETCD_CODE_NOT_FOUND = 5,
    CW_ETCD_CODE_DENIED = 7,
    CW_ETCD_CODE_EXHAUSTED = 8,
    CW_ETCD_CODE_PRECONDITION = 9,
    CW_ETCD_CODE_RANGE = 11, /* a revision that was compacted */
    CW_ETCD_CODE_UNAUTHENTICATED = 16,
};

struct cw_etcd_kv_json {
    const char *key64, *value64; /* borrowed from the object; value64 NULL: empty */
    uint64_t create_revision, mod_revision, lease;
};

/* New references; the process ends where memory does. */
json_t *cw_etcd_json_bytes(const void *bytes, size_t len);
json_t *cw_etcd_json_number(uint64_t n);

/* False: it is there and no number below 2^64. */
bool cw_etcd_json_get(const json_t *o, const char *name, uint64_t *ret);

/* NULL: absent or null, or of another kind. Borrowed. */
json_t *cw_etcd_json_object(const json_t *o, const char *name);
json_t *cw_etcd_json_array(const json_t *o, const char *name);
const char *cw_etcd_json_text(const json_t *o, const char *name);

/* Strict base64 (NULL: no bytes) into at most cap bytes. */
bool cw_etcd_base64(const char *text, void *to, size_t cap, size_t *ret_len);

bool cw_etcd_json_kv(const json_t *o, struct cw_etcd_kv_json *ret);

/* The code and the message (borrowed, never NULL) of {"error": ..} as both kinds of calls write it.
 */
enum cw_etcd_code cw_etcd_json_error(const json_t *root, const char **ret_message);
