#include "common/reactor/sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/addr.h"

/* A peer that acknowledges nothing for this long is gone; the lease is much shorter. */
#define SILENT_MS_MAX 10000

static int
unix_parse(const char *path, struct cw_sock_addr *ret)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    size_t n = strlen(path);

    if (n == 0 || n >= sizeof(un.sun_path))
        return -EINVAL;
    memcpy(un.sun_path, path, n + 1);
    memcpy(&ret->ss, &un, sizeof(un));
    ret->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
    return 0;
}

static int
inet_resolve(const char *text, bool any_port, int flags, struct cw_sock_addr *ret)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV };
    struct addrinfo *found;
    struct cw_addr a;
    char port[8];

    if (!cw_addr_parse(text, any_port, &a))
        return -EINVAL;
    snprintf(port, sizeof(port), "%u", a.port);
    if (getaddrinfo(a.host, port, &hints, &found) != 0)
        return flags & AI_NUMERICHOST ? -EAGAIN : -EADDRNOTAVAIL;
    memcpy(&ret->ss, found->ai_addr, found->ai_addrlen);
    ret->len = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

int
cw_sock_addr_parse(const char *text, bool any_port, struct cw_sock_addr *ret)
{
    if (strncmp(text, CW_SOCK_UNIX, strlen(CW_SOCK_UNIX)) == 0)
        return unix_parse(text + strlen(CW_SOCK_UNIX), ret);
    return inet_resolve(text, any_port, AI_NUMERICHOST, ret);
}

int
cw_sock_addr_resolve(const char *text, struct cw_sock_addr *ret)
{
    return inet_resolve(text, false, AI_ADDRCONFIG, ret);
}

static void
inet_name(const struct cw_sock_addr *a, char name[static CW_SOCK_NAME_SIZE])
{
    char host[64], port[8];

    if (getnameinfo((const struct sockaddr *)&a->ss, a->len, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        snprintf(name, CW_SOCK_NAME_SIZE, "unknown");
    else
        snprintf(name, CW_SOCK_NAME_SIZE, a->ss.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host,
                 port);
}

void
cw_sock_addr_name(const struct cw_sock_addr *a, char name[static CW_SOCK_NAME_SIZE])
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)(const void *)&a->ss;

    if (a->ss.ss_family != AF_UNIX)
        inet_name(a, name);
    else if (a->len > offsetof(struct sockaddr_un, sun_path) && un->sun_path[0] != '\0')
        snprintf(name, CW_SOCK_NAME_SIZE, CW_SOCK_UNIX "%s", un->sun_path);
    else
        snprintf(name, CW_SOCK_NAME_SIZE, CW_SOCK_UNIX "?");
}

int
cw_sock_open(const struct cw_sock_addr *a)
{
    int fd = socket(a->ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    return fd >= 0 ? fd : -errno;
}

static void
tcp_tune(int fd)
{
    static const struct {
        int level, name, value;
    } opts[] = {
        { IPPROTO_TCP, TCP_NODELAY, 1 },  { SOL_SOCKET, SO_KEEPALIVE, 1 },
        { IPPROTO_TCP, TCP_KEEPIDLE, 5 }, { IPPROTO_TCP, TCP_KEEPINTVL, 2 },
        { IPPROTO_TCP, TCP_KEEPCNT, 3 },  { IPPROTO_TCP, TCP_USER_TIMEOUT, SILENT_MS_MAX },
    };

    for (size_t i = 0; i < sizeof(opts) / sizeof(opts[0]); i++)
        (void)setsockopt(fd, opts[i].level, opts[i].name, &opts[i].value, sizeof(int));
}

void
cw_sock_tune(int fd)
{
    int family = AF_UNSPEC, flags = fcntl(fd, F_GETFL);
    socklen_t len = sizeof(family);

    if (flags >= 0 && (flags & O_NONBLOCK)) /* with it io_uring would answer EAGAIN, not wait */
        (void)fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len) == 0 && family != AF_UNIX)
        tcp_tune(fd);
}

void
cw_sock_peer_name(int fd, char name[static CW_SOCK_NAME_SIZE], bool *ret_local)
{
    struct cw_sock_addr a = { .len = sizeof(a.ss) };
    struct ucred cred;
    socklen_t len = sizeof(cred);

    *ret_local = false;
    if (getpeername(fd, (struct sockaddr *)&a.ss, &a.len) != 0) {
        snprintf(name, CW_SOCK_NAME_SIZE, "unknown");
        return;
    }
    *ret_local = a.ss.ss_family == AF_UNIX;
    cw_sock_addr_name(&a, name);
    if (*ret_local && a.len <= offsetof(struct sockaddr_un, sun_path) &&
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0)
        snprintf(name, CW_SOCK_NAME_SIZE, CW_SOCK_UNIX "pid=%d", (int)cred.pid);
}
