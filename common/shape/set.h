/* shape/set.h - members of JSON objects from fields of messages. Private to this room. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/control.pb-c.h"

/* NULL is "", and what is not UTF-8 "?". */
json_t *shape_text(const char *text);

void shape_set_text(json_t *o, const char *key, const char *text);
void shape_set_number(json_t *o, const char *key, uint64_t n);
void shape_set_bool(json_t *o, const char *key, bool b);
void shape_set_uuid(json_t *o, const char *key, ProtobufCBinaryData b); /* "": it is none */
