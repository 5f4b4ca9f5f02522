#include "common/service/envelope.h"

#include <stdlib.h>

/* A few bytes on the wire may ask for much memory (a repeated field of empty messages), so
 * unpacking is charged. What is given back during unpacking is not counted: the sum is what is
 * bounded. */
struct charge {
    size_t left;
};

static void *
charge_alloc(void *data, size_t size)
{
    struct charge *c = data;

    if (size > c->left)
        return NULL;
    c->left -= size;
    return malloc(size);
}

static void
charge_free(void *data, void *p)
{
    free(p);
}

cw_envelope *
cw_envelope_unpack(const void *bytes, size_t len)
{
    struct charge charge = { .left = CW_RPC_UNPACKED_MAX };
    ProtobufCAllocator allocator = { charge_alloc, charge_free, &charge };

    return causeway__control__envelope__unpack(&allocator, len, bytes);
}

cw_envelope
cw_envelope_error(Causeway__Control__Error *e, Causeway__Control__ErrorCode code,
                  const char *message)
{
    cw_envelope m = CAUSEWAY__CONTROL__ENVELOPE__INIT;

    causeway__control__error__init(e);
    e->code = code;
    e->message = (char *)message;
    m.reply = true;
    m.error = e;
    return m;
}

cw_envelope *
cw_envelope_copy(const cw_envelope *m)
{
    size_t len = causeway__control__envelope__get_packed_size(m);
    uint8_t *bytes = malloc(len + 1);
    cw_envelope *copy;

    if (bytes == NULL)
        return NULL;
    causeway__control__envelope__pack(m, bytes);
    copy = causeway__control__envelope__unpack(NULL, len, bytes);
    free(bytes);
    return copy;
}

void
cw_envelope_free(cw_envelope *m)
{
    if (m != NULL)
        causeway__control__envelope__free_unpacked(m, NULL);
}

const char *
cw_rpc_code_name(Causeway__Control__ErrorCode code)
{
    const ProtobufCEnumValue *v =
        protobuf_c_enum_descriptor_get_value(&causeway__control__error_code__descriptor, (int)code);

    return v != NULL ? v->name : "UNKNOWN";
}
