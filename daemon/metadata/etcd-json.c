#include "daemon/metadata/etcd-json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/assert.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

json_t *
cw_etcd_json_bytes(const void *bytes, size_t len)
{
    size_t len64 = (len + 2) / 3 * 4, n = 0;
    const uint8_t *b = bytes;
    char *text = malloc(len64 + 1);
    json_t *s;

    cw_assert(text != NULL);
    for (size_t i = 0; i < len; i += 3) {
        size_t left = len - i;
        uint32_t v = (uint32_t)b[i] << 16;

        v |= left > 1 ? (uint32_t)b[i + 1] << 8 : 0;
        v |= left > 2 ? b[i + 2] : 0;
        text[n++] = digits[v >> 18];
        text[n++] = digits[v >> 12 & 63];
        text[n++] = left > 1 ? digits[v >> 6 & 63] : '=';
        text[n++] = left > 2 ? digits[v & 63] : '=';
    }
    s = json_stringn_nocheck(text, n);
    cw_assert(s != NULL);
    free(text);
    return s;
}

json_t *
cw_etcd_json_number(uint64_t n)
{
    char text[24];
    json_t *s;

    snprintf(text, sizeof(text), "%" PRIu64, n);
    s = json_string(text);
    cw_assert(s != NULL);
    return s;
}

bool
cw_etcd_json_get(const json_t *o, const char *name, uint64_t *ret)
{
    const json_t *v = json_object_get(o, name);
    const char *text;
    char *end;

    *ret = 0;
    if (v == NULL || json_is_null(v))
        return true;
    if (json_is_integer(v) && json_integer_value(v) >= 0) {
        *ret = (uint64_t)json_integer_value(v);
        return true;
    }
    text = json_string_value(v);
    if (text == NULL || text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    *ret = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0';
}

json_t *
cw_etcd_json_object(const json_t *o, const char *name)
{
    json_t *v = json_object_get(o, name);

    return json_is_object(v) ? v : NULL;
}

json_t *
cw_etcd_json_array(const json_t *o, const char *name)
{
    json_t *v = json_object_get(o, name);

    return json_is_array(v) ? v : NULL;
}

const char *
cw_etcd_json_text(const json_t *o, const char *name)
{
    return json_string_value(json_object_get(o, name));
}

static int
digit_value(char c)
{
    const char *at = c != '\0' ? strchr(digits, c) : NULL;

    return at != NULL ? (int)(at - digits) : -1;
}

bool
cw_etcd_base64(const char *text, void *to, size_t cap, size_t *ret_len)
{
    size_t len64 = text != NULL ? strlen(text) : 0, n = 0;
    uint8_t *bytes = to;

    if (len64 % 4 != 0)
        return false;
    for (size_t i = 0; i < len64; i += 4) {
        size_t pad = i + 4 < len64 ? 0 : (size_t)(text[i + 3] == '=') + (text[i + 2] == '=');
        uint32_t v = 0;

        for (size_t k = 0; k < 4; k++) {
            int d = k < 4 - pad ? digit_value(text[i + k]) : 0;

            if (d < 0)
                return false;
            v = v << 6 | (uint32_t)d;
        }
        if (n + 3 - pad > cap || (pad == 1 && (v & 0xff) != 0) || (pad == 2 && (v & 0xffff) != 0))
            return false;
        for (size_t k = 0; k < 3 - pad; k++)
            bytes[n++] = (uint8_t)(v >> (16 - 8 * k));
    }
    *ret_len = n;
    return true;
}

bool
cw_etcd_json_kv(const json_t *o, struct cw_etcd_kv_json *ret)
{
    *ret = (struct cw_etcd_kv_json){ 0 };
    if (!json_is_object(o))
        return false;
    ret->key64 = cw_etcd_json_text(o, "key");
    ret->value64 = cw_etcd_json_text(o, "value");
    return ret->key64 != NULL && cw_etcd_json_get(o, "create_revision", &ret->create_revision) &&
           cw_etcd_json_get(o, "mod_revision", &ret->mod_revision) &&
           cw_etcd_json_get(o, "lease", &ret->lease);
}

enum cw_etcd_code
cw_etcd_json_error(const json_t *root, const char **ret_message)
{
    const json_t *inner = cw_etcd_json_object(root, "error"), *o = inner != NULL ? inner : root;
    const char *text = cw_etcd_json_text(o, inner != NULL ? "message" : "error");
    uint64_t code = 0;

    *ret_message = text != NULL ? text : "an answer that is none of etcd's";
    if (!cw_etcd_json_get(o, inner != NULL ? "grpc_code" : "code", &code) || code > 16)
        return CW_ETCD_CODE_NONE;
    return (enum cw_etcd_code)code;
}
