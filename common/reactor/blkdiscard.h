/* reactor/blkdiscard.h - inside the room: discards of a block device where io_uring has none.
 *
 * ioctl(BLKDISCARD) blocks for as long as the device takes, in a way that nothing interrupts, so
 * each call gets a thread of its own. Discards are few: a store has one under way at most.
 */
#pragma once

#include <stdint.h>

#include "common/reactor/reactor.h"
#include "common/reactor/ring.h"

/* Bytes of the device; fd stays open until op->fn was called, once and never from in here. res: 0
 * or a negative errno. */
void cw_blkdiscard_start(struct cw_reactor *r, int fd, uint64_t off, uint64_t len,
                         struct cw_op *op);
