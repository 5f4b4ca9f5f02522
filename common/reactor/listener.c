#include "common/reactor/listener.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "common/base/bits.h"
#include "common/reactor/internal.h"
#include "common/reactor/sock.h"

#define BACKLOG 512
#define RETRY_NS (100 * CW_NS_PER_MS) /* after running out of file descriptors */
#define IN_USE_TRIES 20
#define IN_USE_PAUSE_NS (50 * CW_NS_PER_MS)

struct cw_listener {
    struct cw_reactor *r;
    struct cw_op op;
    struct cw_timer retry;
    int fd;
    bool closing, under_way;
    char name[CW_SOCK_NAME_SIZE];
    dev_t dev; /* of the unix socket's path, to remove only our own */
    ino_t ino;
    void (*on_accept)(void *user, int take_fd);
    void *user;
};

static const char *
listener_path(const struct cw_listener *l)
{
    size_t n = strlen(CW_SOCK_UNIX);

    return strncmp(l->name, CW_SOCK_UNIX, n) == 0 ? l->name + n : NULL;
}

/* ---- accepting ---- */

static void
listener_arm(struct cw_listener *l)
{
    struct io_uring_sqe *sqe = cw_ring_sqe(&l->r->ring, &l->op);

    io_uring_prep_accept(sqe, l->fd, NULL, NULL, SOCK_CLOEXEC);
    io_uring_sqe_set_data(sqe, &l->op);
    l->under_way = true;
}

static void
listener_on_retry(struct cw_timer *t)
{
    listener_arm(cw_container_of(t, struct cw_listener, retry));
}

static void
listener_on_accept(struct cw_op *op, int res, uint32_t flags)
{
    struct cw_listener *l = cw_container_of(op, struct cw_listener, op);

    l->under_way = false;
    if (l->closing) {
        if (res >= 0)
            close(res);
        close(l->fd);
        free(l);
        return;
    }
    if (res >= 0) {
        listener_arm(l); /* first: on_accept may close us */
        l->on_accept(l->user, res);
        return;
    }
    if (res != -ECONNABORTED && res != -EAGAIN && res != -EINTR) {
        cw_log(&l->r->env, CW_LOG_WARNING, "%s: cannot accept: %s", l->name, strerror(-res));
        cw_timer_set(&l->r->env, &l->retry, l->r->now_ns + RETRY_NS);
        return;
    }
    listener_arm(l);
}

/* ---- opening ---- */

static bool
unix_is_live(const struct cw_sock_addr *a)
{
    int fd = cw_sock_open(a);
    bool live;

    if (fd < 0)
        return false;
    live = connect(fd, (const struct sockaddr *)&a->ss, a->len) == 0 || errno == EAGAIN;
    close(fd);
    return live;
}

static int
inet_listen(int fd, const struct cw_sock_addr *a)
{
    int one = 1;

    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (const struct sockaddr *)&a->ss, a->len) != 0 || listen(fd, BACKLOG) != 0)
        return -errno;
    return 0;
}

/* Binds beside the path and renames, so that whoever sees the path can connect. */
static int
unix_listen(int fd, const struct cw_sock_addr *a, uint32_t mode)
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)(const void *)&a->ss;
    struct sockaddr_un tmp = { .sun_family = AF_UNIX };
    int n = snprintf(tmp.sun_path, sizeof(tmp.sun_path), "%s~", un->sun_path);
    struct stat st;

    if (n < 0 || (size_t)n >= sizeof(tmp.sun_path))
        return -ENAMETOOLONG;
    if (lstat(un->sun_path, &st) == 0 && !S_ISSOCK(st.st_mode))
        return -EEXIST;
    if (unix_is_live(a))
        return -EADDRINUSE;
    (void)unlink(tmp.sun_path);
    if (bind(fd, (const struct sockaddr *)&tmp, sizeof(tmp)) != 0)
        return -errno;
    if (chmod(tmp.sun_path, mode) != 0 || listen(fd, BACKLOG) != 0 ||
        rename(tmp.sun_path, un->sun_path) != 0) {
        int err = errno;

        (void)unlink(tmp.sun_path);
        return -err;
    }
    return 0;
}

static int
listener_start(struct cw_listener *l, const struct cw_sock_addr *a, uint32_t mode)
{
    struct cw_sock_addr real = { .len = sizeof(real.ss) };
    struct stat st;
    int err;

    if (a->ss.ss_family != AF_UNIX) {
        err = inet_listen(l->fd, a);
        if (err == 0 && getsockname(l->fd, (struct sockaddr *)&real.ss, &real.len) != 0)
            err = -errno;
        if (err == 0)
            cw_sock_addr_name(&real, l->name);
        return err;
    }
    cw_sock_addr_name(a, l->name);
    err = unix_listen(l->fd, a, mode != 0 ? mode : 0600);
    if (err == 0 && stat(listener_path(l), &st) == 0) {
        l->dev = st.st_dev;
        l->ino = st.st_ino;
    }
    return err;
}

static int
listener_try(struct cw_listener *l, const struct cw_sock_addr *a, uint32_t mode)
{
    int err;

    l->fd = cw_sock_open(a);
    if (l->fd < 0)
        return l->fd;
    err = listener_start(l, a, mode);
    if (err != 0)
        close(l->fd);
    return err;
}

/* io_uring lets go of a killed process's sockets a moment after its end was seen, so what looks in
 * use is tried for a second: a server that is started again at once takes its place back. */
static int
listener_insist(struct cw_listener *l, const struct cw_sock_addr *a, uint32_t mode)
{
    const struct timespec pause = { .tv_nsec = IN_USE_PAUSE_NS };
    int err = listener_try(l, a, mode);

    for (int i = 0; err == -EADDRINUSE && i < IN_USE_TRIES; i++) {
        (void)nanosleep(&pause, NULL);
        err = listener_try(l, a, mode);
    }
    return err;
}

static int
listener_create(struct cw_reactor *r, const struct cw_listener_opts *opts, struct cw_listener **ret)
{
    struct cw_sock_addr a;
    struct cw_listener *l;
    int err = cw_sock_addr_parse(opts->addr, true, &a);

    if (err != 0)
        return err == -EAGAIN ? -EADDRNOTAVAIL : err;
    l = calloc(1, sizeof(*l));
    if (l == NULL)
        return -ENOMEM;
    l->r = r;
    l->op.fn = listener_on_accept;
    l->retry.fn = listener_on_retry;
    l->on_accept = opts->on_accept;
    l->user = opts->user;
    err = listener_insist(l, &a, opts->unix_mode);
    if (err != 0) {
        free(l);
        return err;
    }
    *ret = l;
    return 0;
}

static const char *
listener_why(int err)
{
    switch (err) {
    case -EINVAL:
        return "not an address (ADDR:PORT, or unix:PATH of at most 106 bytes)";
    case -EEXIST:
        return "there is something that is no socket; remove it or choose another path";
    case -EADDRINUSE:
        return "Address already in use; stop the process that has it or choose another";
    default:
        return strerror(-err);
    }
}

int
cw_listener_open(struct cw_reactor *r, const struct cw_listener_opts *opts,
                 struct cw_listener **ret_l, char why[static CW_WHY_SIZE])
{
    int err = listener_create(r, opts, ret_l);

    if (err != 0)
        snprintf(why, CW_WHY_SIZE, "%s: cannot listen: %s", opts->addr, listener_why(err));
    else
        listener_arm(*ret_l);
    return err;
}

void
cw_listener_close(struct cw_listener *l)
{
    struct stat st;
    const char *path;

    if (l == NULL)
        return;
    path = listener_path(l);
    if (path != NULL && stat(path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
        (void)unlink(path);
    l->closing = true;
    cw_timer_cancel(&l->r->env, &l->retry);
    if (l->under_way) {
        cw_ring_cancel(&l->r->ring, &l->op);
        return;
    }
    close(l->fd);
    free(l);
}

const char *
cw_listener_addr(const struct cw_listener *l)
{
    return l->name;
}
