/* base/disk.h - a disk as the store sees it: asynchronous, aligned, without order.
 *
 * The reactor implements it over a file or block device, the simulator over memory with faults.
 */
#pragma once

#include <stdint.h>
#include <sys/uio.h>

#include "common/base/list.h"

enum cw_disk_op {
    CW_DISK_READ,
    CW_DISK_WRITE,      /* in the disk's cache when done */
    CW_DISK_WRITE_SYNC, /* on stable media when done (O_DSYNC) */
    CW_DISK_FLUSH,      /* all writes that were done before it was submitted are on stable media */
    CW_DISK_DISCARD,    /* the range's content is undefined afterwards, also when it failed;
                         * -EOPNOTSUPP: this disk never does */
};

/* Embedded in the request that owns it; its address holds until `done`. Offset, every length and
 * every address are multiples of 4096. I/Os under way have no order among each other: it comes only
 * from submitting one after another was done. */
struct cw_disk_io {
    enum cw_disk_op op;
    uint32_t n_iov;          /* READ, WRITE, WRITE_SYNC: 1..64 */
    const struct iovec *iov; /* array and buffers are borrowed until done */
    uint64_t off, len;       /* bytes; len is the sum of iov, or the range of DISCARD */

    /* Exactly once, never from inside cw_disk_submit. res: 0 when the whole of len was done, else a
     * negative errno and nothing is known about any part of it. Short transfers and EAGAIN are
     * resubmitted below this interface and never seen. */
    void (*done)(struct cw_disk_io *io, int res);

    struct cw_list link; /* the disk's while under way */
    uint64_t priv[4];    /* the disk's while under way */
};

struct cw_disk;

struct cw_disk_ops {
    void (*submit)(struct cw_disk *, struct cw_disk_io *);
};

struct cw_disk {
    const struct cw_disk_ops *ops;
    uint64_t bytes; /* size, a multiple of 4096 */
};

static inline void
cw_disk_submit(struct cw_disk *d, struct cw_disk_io *io)
{
    d->ops->submit(d, io);
}
