#include "common/reactor/fdwatch.h"

#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/bits.h"
#include "common/reactor/internal.h"

struct cw_fdwatch {
    struct cw_reactor *r;
    struct cw_op op;
    int fd;
    bool armed, closing;
    void (*ready)(void *user);
    void *user;
};

static void
watch_free(struct cw_fdwatch *w)
{
    close(w->fd);
    free(w);
}

static void
watch_on_ready(struct cw_op *op, int res, uint32_t flags)
{
    struct cw_fdwatch *w = cw_container_of(op, struct cw_fdwatch, op);

    w->armed = false;
    if (w->closing)
        watch_free(w);
    else
        w->ready(w->user);
}

struct cw_fdwatch *
cw_fdwatch_new(struct cw_reactor *r, int take_fd, void (*ready)(void *user), void *user)
{
    struct cw_fdwatch *w = calloc(1, sizeof(*w));

    if (w == NULL) {
        close(take_fd);
        return NULL;
    }
    w->r = r;
    w->fd = take_fd;
    w->op.fn = watch_on_ready;
    w->ready = ready;
    w->user = user;
    return w;
}

void
cw_fdwatch_arm(struct cw_fdwatch *w)
{
    struct io_uring_sqe *sqe = cw_ring_sqe(&w->r->ring, &w->op);

    cw_assert(!w->armed);
    io_uring_prep_poll_add(sqe, w->fd, POLLIN);
    io_uring_sqe_set_data(sqe, &w->op);
    w->armed = true;
}

void
cw_fdwatch_close(struct cw_fdwatch *w)
{
    if (w == NULL)
        return;
    w->closing = true;
    if (w->armed)
        cw_ring_cancel(&w->r->ring, &w->op);
    else
        watch_free(w);
}

int
cw_fdwatch_fd(const struct cw_fdwatch *w)
{
    return w->fd;
}
