/* http/fields.c - what a request says, put into the message by the fields' own descriptions. */
#include <stdlib.h>
#include <string.h>

#include "daemon/http/internal.h"

#define FIELD_NAME_SIZE 64

/* ---- the words of `fields` ---- */

/* The next "json=proto" (or "name") of a list. An empty proto name: for the route alone. */
static bool
field_next(const char **list, char json[static FIELD_NAME_SIZE], char proto[static FIELD_NAME_SIZE])
{
    const char *at = *list + strspn(*list, " "), *eq;
    size_t len = strcspn(at, " "), n;

    if (len == 0)
        return false;
    *list = at + len;
    eq = memchr(at, '=', len);
    n = eq != NULL ? (size_t)(eq - at) : len;
    cw_assert(len < FIELD_NAME_SIZE);
    memcpy(json, at, n);
    json[n] = '\0';
    if (eq == NULL) {
        memcpy(proto, json, n + 1);
    } else {
        memcpy(proto, eq + 1, len - n - 1);
        proto[len - n - 1] = '\0';
    }
    return true;
}

static bool
field_known(const struct http_route *r, const char *name, char proto[static FIELD_NAME_SIZE])
{
    const char *list = r->fields != NULL ? r->fields : "";
    char json[FIELD_NAME_SIZE];

    while (field_next(&list, json, proto)) {
        if (strcmp(json, name) == 0)
            return true;
    }
    return false;
}

/* ---- values ---- */

static void *
field_at(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    return (char *)m + f->offset;
}

static bool
set_number(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, uint64_t n)
{
    if (f->type == PROTOBUF_C_TYPE_UINT64)
        *(uint64_t *)field_at(m, f) = n;
    else if (f->type == PROTOBUF_C_TYPE_UINT32 && n <= UINT32_MAX)
        *(uint32_t *)field_at(m, f) = (uint32_t)n;
    else if (f->type == PROTOBUF_C_TYPE_INT32 && n <= INT32_MAX)
        *(int32_t *)field_at(m, f) = (int32_t)n;
    else
        return false;
    return true;
}

/* Texts; the array is of the message, they are borrowed. */
static bool
set_array(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, const json_t *v)
{
    size_t n = json_array_size(v);
    char **to;

    if (f->type != PROTOBUF_C_TYPE_STRING || !json_is_array(v))
        return false;
    if (n == 0)
        return true;
    to = calloc(n, sizeof(*to));
    cw_assert(to != NULL);
    *(char ***)field_at(m, f) = to;
    *(size_t *)((char *)m + f->quantifier_offset) = n;
    for (size_t i = 0; i < n; i++) {
        const json_t *text = json_array_get(v, i);

        to[i] = (char *)json_string_value(text);
        if (to[i] == NULL || strlen(to[i]) != json_string_length(text))
            return false;
    }
    return true;
}

static bool
set_json(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, const json_t *v)
{
    if (f->label == PROTOBUF_C_LABEL_REPEATED)
        return set_array(m, f, v);
    if (f->type == PROTOBUF_C_TYPE_STRING && json_is_string(v)) {
        if (strlen(json_string_value(v)) != json_string_length(v))
            return false;
        *(char **)field_at(m, f) = (char *)json_string_value(v);
        return true;
    }
    if (f->type == PROTOBUF_C_TYPE_BOOL && json_is_boolean(v)) {
        *(protobuf_c_boolean *)field_at(m, f) = json_is_true(v);
        return true;
    }
    if (f->type == PROTOBUF_C_TYPE_INT32 && json_is_null(v)) { /* as it is told: null is off */
        *(int32_t *)field_at(m, f) = -1;
        return true;
    }
    return json_is_integer(v) && json_integer_value(v) >= 0 &&
           set_number(m, f, (uint64_t)json_integer_value(v));
}

static bool
text_number(const char *text, uint64_t *ret)
{
    char *end;

    if (text[0] < '0' || text[0] > '9' || strlen(text) > 19)
        return false;
    *ret = strtoull(text, &end, 10);
    return *end == '\0' && *ret <= INT64_MAX;
}

static bool
set_text(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, const char *text)
{
    uint64_t n;

    if (f->label == PROTOBUF_C_LABEL_REPEATED)
        return false;
    if (f->type == PROTOBUF_C_TYPE_STRING) {
        *(char **)field_at(m, f) = (char *)text;
        return true;
    }
    if (f->type == PROTOBUF_C_TYPE_BOOL) {
        bool yes = strcmp(text, "true") == 0 || strcmp(text, "1") == 0 || text[0] == '\0';

        *(protobuf_c_boolean *)field_at(m, f) = yes;
        return yes || strcmp(text, "false") == 0 || strcmp(text, "0") == 0;
    }
    return text_number(text, &n) && set_number(m, f, n);
}

/* ---- the message ---- */

static ProtobufCMessage *
message_new(const ProtobufCMessageDescriptor *d)
{
    ProtobufCMessage *m = calloc(1, d->sizeof_message);

    cw_assert(m != NULL);
    d->message_init(m);
    return m;
}

/* The part that `in` names, made here. */
static ProtobufCMessage *
message_part(ProtobufCMessage *m, const char *in)
{
    const ProtobufCFieldDescriptor *f;
    ProtobufCMessage *part;

    if (in == NULL)
        return m;
    f = protobuf_c_message_descriptor_get_field_by_name(m->descriptor, in);
    cw_assert(f != NULL && f->type == PROTOBUF_C_TYPE_MESSAGE);
    part = message_new(f->descriptor);
    *(ProtobufCMessage **)field_at(m, f) = part;
    return part;
}

void
cw_http_message_free(ProtobufCMessage *m)
{
    if (m == NULL)
        return;
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];

        if (f->label == PROTOBUF_C_LABEL_REPEATED)
            free(*(void **)field_at(m, f));
        else if (f->type == PROTOBUF_C_TYPE_MESSAGE)
            cw_http_message_free(*(ProtobufCMessage **)field_at(m, f));
    }
    free(m);
}

/* NULL: for the route alone, not of the message. */
static const ProtobufCFieldDescriptor *
part_field(const ProtobufCMessage *part, const char *proto)
{
    const ProtobufCFieldDescriptor *f;

    if (proto[0] == '\0')
        return NULL;
    f = protobuf_c_message_descriptor_get_field_by_name(part->descriptor, proto);
    cw_assert(f != NULL); /* the table is ours */
    return f;
}

static bool
take_body(const struct http_ask *a, ProtobufCMessage *part, char why[static CW_RPC_WHY_SIZE])
{
    char proto[FIELD_NAME_SIZE];
    const char *key;
    json_t *v;

    json_object_foreach(a->body, key, v)
    {
        const ProtobufCFieldDescriptor *f;

        if (!field_known(a->route, key, proto)) {
            snprintf(why, CW_RPC_WHY_SIZE, "'%.60s' is not known here", key);
            return false;
        }
        f = part_field(part, proto);
        if (f != NULL && !set_json(part, f, v)) {
            snprintf(why, CW_RPC_WHY_SIZE, "'%.60s' has a wrong type or range", key);
            return false;
        }
    }
    return true;
}

static bool
take_params(const struct http_ask *a, ProtobufCMessage *part, char why[static CW_RPC_WHY_SIZE])
{
    const struct cw_http_target *t = cw_http_req_target(a->req);
    char proto[FIELD_NAME_SIZE];

    for (uint32_t i = 0; i < t->n_params; i++) {
        const char *name = t->params[i].name;
        const ProtobufCFieldDescriptor *f;

        if (a->mutates && strcmp(name, "dry-run") == 0)
            continue;
        if ((a->mutates && strcmp(a->route->method, "DELETE") != 0) ||
            !field_known(a->route, name, proto)) {
            snprintf(why, CW_RPC_WHY_SIZE, "'%.60s' in the query is not known here", name);
            return false;
        }
        f = part != NULL ? part_field(part, proto) : NULL;
        if (f != NULL && !set_text(part, f, t->params[i].value)) {
            snprintf(why, CW_RPC_WHY_SIZE, "'%.60s' in the query: '%.60s' is no such value", name,
                     t->params[i].value);
            return false;
        }
    }
    return true;
}

bool
cw_http_params_ok(const struct http_ask *a, char why[static CW_RPC_WHY_SIZE])
{
    return take_params(a, NULL, why);
}

static const ProtobufCMessageDescriptor *
body_descriptor(http_body_case body)
{
    const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field(
        &causeway__control__envelope__descriptor, (unsigned)body);

    cw_assert(f != NULL && f->type == PROTOBUF_C_TYPE_MESSAGE);
    return f->descriptor;
}

static void
set_fixed(const struct http_route *r, ProtobufCMessage *m)
{
    const ProtobufCFieldDescriptor *f;

    if (r->set == NULL)
        return;
    f = protobuf_c_message_descriptor_get_field_by_name(m->descriptor, r->set);
    cw_assert(f != NULL && (f->type == PROTOBUF_C_TYPE_BOOL || f->type == PROTOBUF_C_TYPE_ENUM));
    if (f->type == PROTOBUF_C_TYPE_BOOL)
        *(protobuf_c_boolean *)field_at(m, f) = true;
    else
        *(int *)field_at(m, f) = r->set_to;
}

ProtobufCMessage *
cw_http_message(const struct http_ask *a, char why[static CW_RPC_WHY_SIZE])
{
    ProtobufCMessage *m = message_new(body_descriptor(a->route->ask));
    ProtobufCMessage *part = message_part(m, a->route->in);
    const char *object = a->route->object;
    bool ok = take_body(a, part, why) && take_params(a, part, why);

    if (ok && object != NULL && !set_text(part, part_field(part, object), a->object)) {
        snprintf(why, CW_RPC_WHY_SIZE, "'%.100s' is no %s", a->object, object);
        ok = false;
    }
    set_fixed(a->route, m);
    if (ok)
        return m;
    cw_http_message_free(m);
    return NULL;
}

/* ---- for the routes ---- */

bool
cw_http_flag(const struct http_ask *a, const char *name, bool other)
{
    const char *p = cw_http_target_param(cw_http_req_target(a->req), name);
    json_t *v = json_object_get(a->body, name);

    if (v != NULL)
        return json_is_true(v);
    return p != NULL ? strcmp(p, "false") != 0 && strcmp(p, "0") != 0 : other;
}

uint64_t
cw_http_number(const struct http_ask *a, const char *name, uint64_t other)
{
    const char *p = cw_http_target_param(cw_http_req_target(a->req), name);
    json_t *v = json_object_get(a->body, name);
    uint64_t n;

    if (json_is_integer(v) && json_integer_value(v) >= 0)
        return (uint64_t)json_integer_value(v);
    return p != NULL && text_number(p, &n) ? n : other;
}

const char *
cw_http_text(const struct http_ask *a, const char *name, const char *other)
{
    const char *p = cw_http_target_param(cw_http_req_target(a->req), name);
    const char *v = json_string_value(json_object_get(a->body, name));

    if (v == NULL)
        v = p;
    return v != NULL && v[0] != '\0' ? v : other;
}
