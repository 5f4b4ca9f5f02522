#include "common/reactor/blkdiscard.h"

#include <errno.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "common/base/bits.h"
#include "common/reactor/helper.h"

struct blkdiscard {
    struct cw_inbox_item item;
    struct cw_defer defer; /* when there is no thread */
    struct cw_reactor *r;
    struct cw_op *op;
    int fd, res;
    uint64_t range[2]; /* as the ioctl wants it: first byte, bytes */
};

static void
blkdiscard_finish(struct blkdiscard *b)
{
    struct cw_op *op = b->op;
    int res = b->res;

    free(b);
    op->fn(op, res, 0);
}

static void
blkdiscard_on_done(struct cw_inbox_item *item)
{
    struct blkdiscard *b = cw_container_of(item, struct blkdiscard, item);

    cw_helper_done(b->r);
    blkdiscard_finish(b);
}

static void
blkdiscard_on_failed(struct cw_defer *w)
{
    blkdiscard_finish(cw_container_of(w, struct blkdiscard, defer));
}

static void *
blkdiscard_main(void *arg)
{
    struct blkdiscard *b = arg;

    b->res = ioctl(b->fd, BLKDISCARD, b->range) == 0 ? 0 : -errno;
    cw_helper_post(b->r, &b->item);
    return NULL;
}

void
cw_blkdiscard_start(struct cw_reactor *r, int fd, uint64_t off, uint64_t len, struct cw_op *op)
{
    struct blkdiscard *b = malloc(sizeof(*b));
    int err;

    cw_assert(b != NULL);
    *b = (struct blkdiscard){
        .item.fn = blkdiscard_on_done,
        .defer.fn = blkdiscard_on_failed,
        .r = r,
        .op = op,
        .fd = fd,
        .range = { off, len },
    };
    err = cw_helper_start(r, blkdiscard_main, b);
    if (err != 0) { /* else it is the thread's */
        b->res = err;
        cw_reactor_defer(r, &b->defer);
    }
}
