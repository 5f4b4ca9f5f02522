#include "common/reactor/blkdiscard.h"

#include <errno.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>

#include "common/base/bits.h"
#include "common/reactor/internal.h"

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

    b->r->n_helpers--;
    free(b);
    op->fn(op, res, 0);
}

static void
blkdiscard_on_done(struct cw_inbox_item *item)
{
    blkdiscard_finish(cw_container_of(item, struct blkdiscard, item));
}

static void
blkdiscard_on_failed(struct cw_defer *w)
{
    blkdiscard_finish(cw_container_of(w, struct blkdiscard, defer));
}

static void *
blkdiscard_main(void *arg)
{
    const struct timespec nap = { .tv_nsec = (long)CW_NS_PER_MS };
    struct blkdiscard *b = arg;

    b->res = ioctl(b->fd, BLKDISCARD, b->range) == 0 ? 0 : -errno;
    while (!cw_reactor_post(b->r, &b->item))
        nanosleep(&nap, NULL);
    return NULL;
}

static int
blkdiscard_thread(struct blkdiscard *b)
{
    pthread_attr_t attr;
    pthread_t t;
    int err;

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    err = pthread_create(&t, &attr, blkdiscard_main, b);
    pthread_attr_destroy(&attr);
    return -err;
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
    r->n_helpers++;
    r->stats.helpers++;
    err = blkdiscard_thread(b);
    if (err != 0) { /* else it is the thread's */
        b->res = err;
        cw_reactor_defer(r, &b->defer);
    }
}
