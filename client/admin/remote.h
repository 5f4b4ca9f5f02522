/* admin/remote.h - asks the manager one thing and waits; failures are printed here, once. */
#pragma once

#include <stdint.h>

#include "client/admin/cli.h"
#include "common/service/rpc.h"

/* `status` and every `ls` answer within 2 s; what changes something may take longer. */
#define CW_REMOTE_LS_MS 1900
#define CW_REMOTE_DO_MS 20000

/* After so long it is said who is waited for: silence looks like a program that hangs. */
#define CW_REMOTE_SLOW_MS 1000

struct cw_remote;

/* Connects on the first call. NULL: no or bad address, *ret_status is the exit status, printed. */
struct cw_remote *cw_remote_new(struct cw_cli *cli, int *ret_status);
void cw_remote_free(struct cw_remote *r); /* NULL is fine */

/* What waits by design, for an event, does not say after a second that it waits. */
void cw_remote_quiet(struct cw_remote *r);

/* Says on err that the manager is waited for, left_ms more at most. */
void cw_remote_say_waiting(struct cw_cli *cli, uint64_t left_ms);

/* The reply, to be freed with cw_envelope_free; its body is `want` (or empty if want is
 * CAUSEWAY__CONTROL__ENVELOPE__BODY__NOT_SET). NULL: failed and printed, exit status 1. */
cw_envelope *cw_remote_call(struct cw_remote *r, const cw_envelope *ask,
                            Causeway__Control__Envelope__BodyCase want, uint64_t timeout_ms);

/* One question: new, call, free. NULL: *ret_status is the exit status. */
cw_envelope *cw_remote_ask(struct cw_cli *cli, const cw_envelope *ask,
                           Causeway__Control__Envelope__BodyCase want, uint64_t timeout_ms,
                           int *ret_status);

/* The same for what answers nothing: the exit status. */
int cw_remote_do(struct cw_cli *cli, const cw_envelope *ask);

/* Does not print; NULL if the manager at addrs did not answer so. For polling. */
cw_envelope *cw_remote_try(const char *addrs, const cw_envelope *ask, uint64_t timeout_ms);

/* An envelope that asks: CW_ASK(VOLUME_LS, volume_ls, &body). */
#define CW_ASK(CASE, field, body_ptr) \
    (&(cw_envelope){ .base = PROTOBUF_C_MESSAGE_INIT(&causeway__control__envelope__descriptor), \
                     .body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_##CASE, \
                     .field = (body_ptr) })
#define CW_WANT(CASE) CAUSEWAY__CONTROL__ENVELOPE__BODY_##CASE
#define CW_WANT_EMPTY CAUSEWAY__CONTROL__ENVELOPE__BODY__NOT_SET
