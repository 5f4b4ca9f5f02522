#include "common/shape/set.h"

#include <string.h>

#include "common/base/uuid.h"

json_t *
shape_text(const char *text)
{
    json_t *j = json_string(text != NULL ? text : "");

    return j != NULL ? j : json_string("?");
}

void
shape_set_text(json_t *o, const char *key, const char *text)
{
    json_object_set_new(o, key, shape_text(text));
}

void
shape_set_number(json_t *o, const char *key, uint64_t n)
{
    json_object_set_new(o, key, json_integer((json_int_t)n));
}

void
shape_set_bool(json_t *o, const char *key, bool b)
{
    json_object_set_new(o, key, json_boolean(b));
}

void
shape_set_uuid(json_t *o, const char *key, ProtobufCBinaryData b)
{
    char text[CW_UUID_TEXT_SIZE] = "";
    struct cw_uuid u;

    if (b.len == sizeof(u.b)) {
        memcpy(u.b, b.data, sizeof(u.b));
        cw_uuid_format(&u, text);
    }
    shape_set_text(o, key, text);
}
