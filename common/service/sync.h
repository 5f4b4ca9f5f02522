/* service/sync.h - for command-line tools: ask the manager and wait.
 *
 * Its own loop on the calling thread, running only inside cw_rpc_call_sync. Connects on the first
 * call, keeps the connection for the next.
 */
#pragma once

#include "common/service/rpc.h"

struct cw_rpc_sync;

/* addrs: "ADDR:PORT[,ADDR:PORT..]". 0, or -errno with one line in why. */
int cw_rpc_sync_new(const char *addrs, struct cw_rpc_sync **ret, char why[static CW_RPC_WHY_SIZE]);
void cw_rpc_sync_free(struct cw_rpc_sync *c); /* NULL is fine */

/* From now on a call that takes longer than after_ms says so, once: slow is told how much longer it
 * may take. NULL: it does not. */
void cw_rpc_sync_on_slow(struct cw_rpc_sync *c, uint32_t after_ms,
                         void (*slow)(void *user, uint64_t left_ms), void *user);

/* Never NULL; ->error says what failed (UNAVAILABLE within timeout_ms if nobody answers). Free with
 * cw_envelope_free. Harmless requests (repeat) are sent again if the connection breaks. */
cw_envelope *cw_rpc_call_sync(struct cw_rpc_sync *c, const cw_envelope *body, uint64_t timeout_ms,
                              bool repeat);
