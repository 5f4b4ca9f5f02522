/* service/httphead.h - the head of an HTTP/1.1 request: bytes to fields, strictly. No I/O.
 *
 * Refused, with the status to answer: what is no HTTP/1.x (400, 505), a folded or nameless header,
 * a byte that is not printable, two lengths (400), a body in pieces (501), too many headers (431).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CW_HTTP_HEADERS_MAX 48u
#define CW_HTTP_SEGMENTS_MAX 8u
#define CW_HTTP_PARAMS_MAX 16u

/* Points into the text that was parsed. */
struct cw_http_head {
    char *method, *target;
    struct {
        char *name, *value;
    } headers[CW_HTTP_HEADERS_MAX];
    uint32_t n_headers;
    uint64_t content_length;
    bool has_length, http10, keep_alive, expects_continue;
};

/* text: a head with its blank line, len bytes and then a NUL; changed in place. 0, or the status to
 * refuse it with. */
int cw_http_head_parse(char *text, size_t len, struct cw_http_head *ret);

/* The value of a header, whatever its case; NULL: absent. */
const char *cw_http_head_find(const struct cw_http_head *h, const char *name);

/* What a target names: segments of its path and parameters of its query, percent-decoded. */
struct cw_http_target {
    char *segments[CW_HTTP_SEGMENTS_MAX];
    uint32_t n_segments;
    struct {
        char *name, *value; /* "a" and "a=" have an empty value */
    } params[CW_HTTP_PARAMS_MAX];
    uint32_t n_params;
};

/* target is changed in place and lives as long as ret. False: too many parts, or one that is not
 * decodable or has a control character in it. */
bool cw_http_target_parse(char *target, struct cw_http_target *ret);

/* NULL: absent. */
const char *cw_http_target_param(const struct cw_http_target *t, const char *name);
