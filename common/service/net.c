#include "common/service/net.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/addr.h"
#include "common/base/bits.h"

#define BACKLOG 256

static int
net_fail(int err, char *why, const char *what, const char *addr)
{
    snprintf(why, CW_RPC_WHY_SIZE, "%s %s: %s", what, addr, strerror(-err));
    return err;
}

/* Numeric first, so that only real host names ask a resolver. */
static int
net_resolve(const struct cw_addr *a, int flags, struct addrinfo **ret, char *why)
{
    struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
    char port[8];
    int err;

    snprintf(port, sizeof(port), "%u", a->port);
    hints.ai_flags = flags | AI_NUMERICHOST | AI_NUMERICSERV;
    err = getaddrinfo(a->host, port, &hints, ret);
    if (err == EAI_NONAME) {
        hints.ai_flags = flags | AI_NUMERICSERV;
        err = getaddrinfo(a->host, port, &hints, ret);
    }
    if (err == 0)
        return 0;
    snprintf(why, CW_RPC_WHY_SIZE, "host %s: %s", a->host, gai_strerror(err));
    return -EHOSTUNREACH;
}

static void
net_format(const struct sockaddr_storage *ss, socklen_t len, char *text)
{
    char host[64], port[8];
    bool v6 = ss->ss_family == AF_INET6;

    if (ss->ss_family == AF_UNIX ||
        getnameinfo((const struct sockaddr *)ss, len, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        snprintf(text, CW_NET_ADDR_SIZE, "unix");
    else
        snprintf(text, CW_NET_ADDR_SIZE, v6 ? "[%s]:%s" : "%s:%s", host, port);
}

void
cw_net_peer(int fd, char text[static CW_NET_ADDR_SIZE])
{
    struct sockaddr_storage ss = { 0 };
    socklen_t len = sizeof(ss);

    if (getpeername(fd, (struct sockaddr *)&ss, &len) != 0)
        ss.ss_family = AF_UNIX;
    net_format(&ss, len, text);
}

/* ---- unix ---- */

static int
unix_addr(const char *path, struct sockaddr_un *ret, char *why)
{
    *ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
    if (path[0] == '\0' || strlen(path) >= sizeof(ret->sun_path)) {
        snprintf(why, CW_RPC_WHY_SIZE, "socket path %.160s: empty or over %zu bytes", path,
                 sizeof(ret->sun_path) - 1);
        return -EINVAL;
    }
    strcpy(ret->sun_path, path);
    return 0;
}

/* A socket file that nobody listens on is left from a process that died. */
static int
unix_clear(const struct sockaddr_un *a, char *why)
{
    struct stat st;
    int fd, res;

    if (lstat(a->sun_path, &st) != 0)
        return 0;
    if (!S_ISSOCK(st.st_mode)) {
        snprintf(why, CW_RPC_WHY_SIZE, "%s exists and is not a socket", a->sun_path);
        return -EEXIST;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return net_fail(-errno, why, "socket", a->sun_path);
    res = connect(fd, (const struct sockaddr *)a, sizeof(*a)) == 0 ? 0 : errno;
    close(fd);
    if (res != ECONNREFUSED && res != ENOENT) {
        snprintf(why, CW_RPC_WHY_SIZE, "socket %s is in use", a->sun_path);
        return -EADDRINUSE;
    }
    if (unlink(a->sun_path) != 0 && errno != ENOENT)
        return net_fail(-errno, why, "unlink", a->sun_path);
    return 0;
}

static int
unix_listen(const char *path, int *ret_fd, char *why)
{
    struct sockaddr_un a;
    int err = unix_addr(path, &a, why);
    int fd;

    if (err == 0)
        err = unix_clear(&a, why);
    if (err != 0)
        return err;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return net_fail(-errno, why, "socket", path);
    if (bind(fd, (const struct sockaddr *)&a, sizeof(a)) != 0 || listen(fd, BACKLOG) != 0) {
        err = net_fail(-errno, why, "listen on", path);
        close(fd);
        return err;
    }
    *ret_fd = fd;
    return 0;
}

static int
unix_connect(const char *path, int *ret_fd, char *why)
{
    struct sockaddr_un a;
    int err = unix_addr(path, &a, why);
    int fd;

    if (err != 0)
        return err;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return net_fail(-errno, why, "socket", path);
    if (connect(fd, (const struct sockaddr *)&a, sizeof(a)) != 0) {
        err = net_fail(-errno, why, "connect to", path);
        close(fd);
        return err;
    }
    *ret_fd = fd;
    return 0;
}

/* ---- TCP ---- */

static int
tcp_bind(const struct addrinfo *ai, int *ret_fd)
{
    int one = 1, err;
    int fd = socket(ai->ai_family, ai->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, ai->ai_protocol);

    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0) {
        *ret_fd = fd;
        return 0;
    }
    err = -errno;
    close(fd);
    return err;
}

static int
tcp_listen_error(int err, const struct cw_addr *a, char *why)
{
    if (err == -EADDRINUSE)
        snprintf(why, CW_RPC_WHY_SIZE, "port %u on %s is in use", a->port, a->host);
    else if (err == -EADDRNOTAVAIL)
        snprintf(why, CW_RPC_WHY_SIZE, "%s is not an address of this machine", a->host);
    else if (err == -EACCES)
        snprintf(why, CW_RPC_WHY_SIZE, "port %u on %s needs privileges", a->port, a->host);
    else
        snprintf(why, CW_RPC_WHY_SIZE, "listen on %s port %u: %s", a->host, a->port,
                 strerror(-err));
    return err;
}

static int
tcp_listen(const struct cw_addr *a, int *ret_fd, char *real, char *why)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    struct addrinfo *list;
    int err = net_resolve(a, AI_PASSIVE, &list, why);

    if (err != 0)
        return err;
    err = tcp_bind(list, ret_fd);
    freeaddrinfo(list);
    if (err != 0)
        return tcp_listen_error(err, a, why);
    if (getsockname(*ret_fd, (struct sockaddr *)&ss, &len) != 0) {
        err = net_fail(-errno, why, "address of", a->host);
        close(*ret_fd);
        return err;
    }
    net_format(&ss, len, real);
    return 0;
}

int
cw_net_listen(const char *addr, int *ret_fd, char real[static CW_NET_ADDR_SIZE],
              char why[static CW_RPC_WHY_SIZE])
{
    struct cw_addr a;

    if (strncmp(addr, "unix:", 5) == 0) {
        snprintf(real, CW_NET_ADDR_SIZE, "%s", addr);
        return unix_listen(addr + 5, ret_fd, why);
    }
    if (cw_addr_parse(addr, true, &a))
        return tcp_listen(&a, ret_fd, real, why);
    snprintf(why, CW_RPC_WHY_SIZE, "'%.100s' is not an address: want ADDR:PORT", addr);
    return -EINVAL;
}

static int
tcp_connect(const struct cw_addr *a, int *ret_fd, char *why)
{
    struct addrinfo *list;
    int fd, err = net_resolve(a, 0, &list, why);

    if (err != 0)
        return err;
    fd = socket(list->ai_family, list->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
                list->ai_protocol);
    if (fd < 0)
        err = -errno;
    else if (connect(fd, list->ai_addr, list->ai_addrlen) != 0 && errno != EINPROGRESS)
        err = -errno;
    freeaddrinfo(list);
    if (err != 0) {
        if (fd >= 0)
            close(fd);
        return net_fail(err, why, "connect to", a->host);
    }
    cw_net_tune(fd);
    *ret_fd = fd;
    return 0;
}

int
cw_net_connect(const char *addr, int *ret_fd, char why[static CW_RPC_WHY_SIZE])
{
    struct cw_addr a;

    if (strncmp(addr, "unix:", 5) == 0)
        return unix_connect(addr + 5, ret_fd, why);
    if (cw_addr_parse(addr, false, &a))
        return tcp_connect(&a, ret_fd, why);
    snprintf(why, CW_RPC_WHY_SIZE, "'%.100s' is not an address: want ADDR:PORT", addr);
    return -EINVAL;
}

int
cw_net_connect_result(int fd)
{
    int err = 0;
    socklen_t len = sizeof(err);

    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0)
        return -errno;
    return -err;
}

void
cw_net_tune(int fd)
{
    static const struct {
        int level, name, value;
    } options[] = {
        { IPPROTO_TCP, TCP_NODELAY, 1 },  { SOL_SOCKET, SO_KEEPALIVE, 1 },
        { IPPROTO_TCP, TCP_KEEPIDLE, 2 }, { IPPROTO_TCP, TCP_KEEPINTVL, 1 },
        { IPPROTO_TCP, TCP_KEEPCNT, 3 },  { IPPROTO_TCP, TCP_USER_TIMEOUT, 5000 },
    };

    for (size_t i = 0; i < CW_LEN(options); i++)
        setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(int));
}
