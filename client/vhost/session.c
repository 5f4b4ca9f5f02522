/* vhost/session.c - one connection of a front end: messages with descriptors, kicks, replies.
 *
 * Messages are few and short; they are received and answered without waiting. A front end that does
 * not read its replies is hung up on.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/vhost/server-internal.h"

static struct cw_env *
env_of(const struct vhost_session *ss)
{
    return cw_reactor_env(ss->server->reactor);
}

static struct vhost_session *
session_of(const struct cw_vhost *d)
{
    return cw_vhost_user(d);
}

/* ---- the end ---- */

static void
session_free(struct vhost_session *ss)
{
    struct cw_vhost_server *s = ss->server;

    cw_vhost_free(ss->dev);
    cw_list_remove(&ss->link);
    free(ss);
    vhost_server_check(s);
}

void
vhost_session_end(struct vhost_session *ss)
{
    if (ss->watch == NULL)
        return;
    cw_log(env_of(ss), CW_LOG_NOTICE, "front end pid %d: disconnected", ss->pid);
    cw_fdwatch_close(ss->watch);
    ss->watch = NULL;
    cw_vhost_msg_drop(&ss->msg);
    cw_vhost_dead(ss->dev);
    if (ss->server->current == ss)
        ss->server->current = NULL;
    ss->dirty = true;
    vhost_server_check(ss->server);
}

bool
vhost_session_is_gone(const struct vhost_session *ss)
{
    struct pollfd p = { .fd = cw_fdwatch_fd(ss->watch), .events = POLLRDHUP };

    return poll(&p, 1, 0) == 1 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

/* ---- messages in ---- */

/* Takes the descriptors out of what was received. False: there are too many. */
static bool
fds_take(struct cw_vhost_msg *m, struct msghdr *h)
{
    bool fit = (h->msg_flags & MSG_CTRUNC) == 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c != NULL; c = CMSG_NXTHDR(h, c)) {
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
            if (m->n_fds < CW_VHOST_FDS_MAX) {
                m->fds[m->n_fds++] = fd;
            } else {
                close(fd);
                fit = false;
            }
        }
    }
    return fit;
}

/* Bytes, 0 at the end, negative errno. */
static ssize_t
bytes_receive(struct vhost_session *ss, void *to, size_t len)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(CW_VHOST_FDS_MAX * sizeof(int))];
    struct iovec iov = { .iov_base = to, .iov_len = len };
    struct msghdr h = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
    };
    ssize_t n = recvmsg(cw_fdwatch_fd(ss->watch), &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    if (n < 0)
        return -errno;
    return fds_take(&ss->msg, &h) ? n : -EPROTO;
}

static ssize_t
message_receive(struct vhost_session *ss)
{
    struct cw_vhost_msg *m = &ss->msg;
    uint32_t head = sizeof(m->head);
    ssize_t n;

    if (ss->got < head)
        n = bytes_receive(ss, (uint8_t *)&m->head + ss->got, head - ss->got);
    else
        n = bytes_receive(ss, m->payload + (ss->got - head), head + m->head.size - ss->got);
    if (n > 0)
        ss->got += (uint32_t)n;
    if (n > 0 && ss->got >= head && m->head.size > sizeof(m->payload))
        return -EPROTO;
    return n;
}

static void
session_read(struct vhost_session *ss)
{
    while (cw_vhost_ready(ss->dev)) {
        ssize_t n = message_receive(ss);

        if (n == -EAGAIN || n == -EINTR)
            return;
        if (n <= 0) {
            if (n == -EPROTO)
                cw_log(env_of(ss), CW_LOG_WARNING, "front end pid %d: sent no message", ss->pid);
            vhost_session_end(ss);
            return;
        }
        if (ss->got < sizeof(ss->msg.head) || ss->got < sizeof(ss->msg.head) + ss->msg.head.size)
            continue;
        ss->got = 0;
        cw_vhost_message(ss->dev, &ss->msg);
    }
}

static void
session_arm(struct vhost_session *ss)
{
    if (ss->watch == NULL || ss->reading || !cw_vhost_ready(ss->dev))
        return;
    ss->reading = true;
    cw_fdwatch_arm(ss->watch);
}

static void
on_readable(void *user)
{
    struct vhost_session *ss = user;

    ss->reading = false;
    session_read(ss);
    ss->dirty = true;
}

/* ---- turns ---- */

void
vhost_session_visit(struct vhost_session *ss)
{
    if (!ss->dirty && !ss->stalled)
        return;
    ss->dirty = false;
    ss->stalled = cw_vhost_turn(ss->dev);
    if (cw_vhost_broken(ss->dev) || (ss->server->stopping && !cw_vhost_busy(ss->dev)))
        vhost_session_end(ss);
    session_arm(ss);
    if (ss->watch == NULL && !cw_vhost_busy(ss->dev))
        session_free(ss);
}

/* ---- what the state machine wants ---- */

static void
op_submit(struct cw_vhost *d, struct cw_io *io)
{
    struct vhost_session *ss = session_of(d);

    cw_assert(ss->server->vol != NULL);
    cw_engine_submit(ss->server->vol, io);
}

static void
op_reply(struct cw_vhost *d, const void *bytes, uint32_t len, int fd)
{
    struct vhost_session *ss = session_of(d);
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = { 0 };
    struct iovec iov = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = len };
    struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };

    if (fd >= 0) {
        h.msg_control = control;
        h.msg_controllen = sizeof(control);
        *CMSG_FIRSTHDR(&h) = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(fd)),
                                               .cmsg_level = SOL_SOCKET,
                                               .cmsg_type = SCM_RIGHTS };
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&h)), &fd, sizeof(fd));
    }
    if (sendmsg(cw_fdwatch_fd(ss->watch), &h, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)len)
        (void)shutdown(cw_fdwatch_fd(ss->watch), SHUT_RDWR); /* its end is read next */
}

static void
on_kick(void *user)
{
    struct vhost_kick *k = user;
    uint64_t n;

    if (read(cw_fdwatch_fd(k->watch), &n, sizeof(n)) < 0 && errno != EAGAIN && errno != EINTR) {
        cw_log(env_of(k->session), CW_LOG_WARNING, "front end pid %d: queue %u has no kicks: %s",
               k->session->pid, k->queue, strerror(errno));
        return;
    }
    cw_fdwatch_arm(k->watch);
    cw_vhost_kicked(k->session->dev, k->queue);
}

static bool
op_watch(struct cw_vhost *d, uint32_t queue, int take_fd)
{
    struct vhost_session *ss = session_of(d);
    struct vhost_kick *k = &ss->kick[queue];

    cw_fdwatch_close(k->watch);
    k->watch = NULL;
    if (take_fd < 0)
        return true;
    k->session = ss;
    k->queue = queue;
    k->watch = cw_fdwatch_new(ss->server->reactor, take_fd, on_kick, k);
    if (k->watch != NULL)
        cw_fdwatch_arm(k->watch);
    return k->watch != NULL;
}

static void
op_backend(struct cw_vhost *d, int take_fd)
{
    struct vhost_session *ss = session_of(d);

    if (ss->backend_fd >= 0)
        close(ss->backend_fd);
    ss->backend_fd = take_fd;
}

static void
op_config_changed(struct cw_vhost *d)
{
    struct vhost_session *ss = session_of(d);
    struct cw_vu_header h = { .request = CW_VU_BACKEND_CONFIG_CHANGE, .flags = CW_VU_VERSION };

    if (ss->backend_fd >= 0 &&
        send(ss->backend_fd, &h, sizeof(h), MSG_DONTWAIT | MSG_NOSIGNAL) != sizeof(h))
        cw_log(env_of(ss), CW_LOG_WARNING, "front end pid %d: was not told of the new size: %s",
               ss->pid, strerror(errno));
}

static void
op_started(struct cw_vhost *d)
{
    struct cw_vhost_server *s = session_of(d)->server;

    if (s->vol != NULL)
        cw_engine_take(s->vol);
}

static void
op_wake(struct cw_vhost *d)
{
    session_of(d)->dirty = true;
}

static void
op_log(struct cw_vhost *d, enum cw_log_level level, const char *line)
{
    struct vhost_session *ss = session_of(d);

    cw_log(env_of(ss), level, "front end pid %d: %s", ss->pid, line);
}

static const struct cw_vhost_ops ops = {
    .submit = op_submit,
    .reply = op_reply,
    .watch = op_watch,
    .backend = op_backend,
    .config_changed = op_config_changed,
    .started = op_started,
    .wake = op_wake,
    .log = op_log,
};

/* ---- birth ---- */

static int
peer_pid(int fd)
{
    struct ucred cred = { 0 };
    socklen_t len = sizeof(cred);

    (void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len);
    return cred.pid;
}

void
vhost_session_new(struct cw_vhost_server *s, int take_fd)
{
    struct vhost_session *ss = calloc(1, sizeof(*ss));
    struct cw_buf_pool *pool = cw_engine_pool(s->opts.engine);
    struct cw_vhost_opts o = {
        .pool = pool,
        .window_bytes = cw_buf_pool_limit(pool) / 2, /* the rest is for what replicas send */
        .size_bytes = cw_engine_volume_size(s->vol),
        .block_bytes = s->opts.block_bytes,
        .n_queues = s->opts.n_queues,
        .read_only = s->opts.read_only,
        .id = s->volume,
    };

    if (ss == NULL || (ss->dev = cw_vhost_new(&o, &ops, ss)) == NULL) {
        close(take_fd);
        free(ss);
        return;
    }
    ss->server = s;
    ss->backend_fd = -1;
    ss->pid = peer_pid(take_fd);
    ss->watch = cw_fdwatch_new(s->reactor, take_fd, on_readable, ss);
    if (ss->watch == NULL) {
        cw_vhost_dead(ss->dev);
        cw_vhost_free(ss->dev);
        free(ss);
        return;
    }
    cw_list_push_back(&s->sessions, &ss->link);
    s->current = ss;
    cw_log(env_of(ss), CW_LOG_NOTICE, "front end pid %d: connected", ss->pid);
    session_arm(ss);
}
