/* An engine whose one volume lies in memory, in place of client/lib's, for import, export, bench.
 */
#pragma once

#include <stdint.h>

#include "client/lib/engine.h"

#define FAKE_VOLUME_BYTES (UINT64_C(8) << 20)

/* What the volume holds; it outlives engines. The volume "busy" is another client's, unless the
 * open forces. */
uint8_t *fake_engine_data(void);

/* The size it says; at most FAKE_VOLUME_BYTES. */
void fake_engine_set_size(uint64_t size_bytes);

/* Requests that touch this offset fail with -EIO; UINT64_MAX: none. */
void fake_engine_fail_at(uint64_t off);

/* The next request is answered only when another is there too, or after 10 s. */
void fake_engine_gather(void);

/* Requests and bytes of each kind since the last call of reset. */
struct fake_engine_count {
    uint64_t reads, writes, trims, write_bytes, in_flight_max;
};
struct fake_engine_count fake_engine_count(void);
void fake_engine_reset(void);
