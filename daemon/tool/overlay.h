/* tool/overlay.h - a disk whose writes stay in memory, over one that is only read.
 *
 * The store's own recovery runs over it, so that a store can be looked at as its daemon would find
 * it without a byte of it being changed.
 */
#pragma once

#include <stdint.h>

#include "common/base/disk.h"
#include "common/base/env.h"

struct cw_overlay;

/* base is borrowed. NULL if out of memory. */
struct cw_overlay *cw_overlay_new(struct cw_env *env, struct cw_disk *base);

/* No I/O may be under way. NULL is fine. */
void cw_overlay_free(struct cw_overlay *o);

struct cw_disk *cw_overlay_disk(struct cw_overlay *o);
