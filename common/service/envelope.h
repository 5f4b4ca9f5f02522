/* service/envelope.h - protobuf in and out, within limits; for the files of this room. */
#pragma once

#include <stddef.h>

#include "common/service/rpc.h"

/* NULL if the bytes are not an Envelope, or would take more than CW_RPC_UNPACKED_MAX. */
cw_envelope *cw_envelope_unpack(const void *bytes, size_t len);

/* A reply that carries nothing but an error; borrows every pointer. `e` is the caller's memory. */
cw_envelope cw_envelope_error(Causeway__Control__Error *e, Causeway__Control__ErrorCode code,
                              const char *message);
