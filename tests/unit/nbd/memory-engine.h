/* nbd/memory-engine.h - the engine's interface over volumes in memory, for tests of the server.
 *
 * Volumes: "mem" (64 MiB), "big" (4 GiB, sparse), "busy" (in use, unless forced), "slow" (8 MiB;
 * its requests wait until memory_engine_let_go). Any other name does not exist.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "client/lib/engine.h"

struct memory_engine_stats {
    uint32_t n_opens, n_closes, n_lists, n_open_now, n_waiting, n_forced;
};

/* Any thread. */
void memory_engine_stats(struct cw_engine *e, struct memory_engine_stats *ret);
void memory_engine_let_go(struct cw_engine *e);
/* As if another client took over every open volume. */
void memory_engine_fence(struct cw_engine *e);
uint8_t *memory_engine_disk(struct cw_engine *e, const char *name);
