#include "common/obs/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/bits.h"

/* fd < 0: none. */
static void
notify_send(const char *text, int fd)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = { 0 };
    struct iovec iov = { .iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text) };
    struct msghdr h = { .msg_name = &un, .msg_iov = &iov, .msg_iovlen = 1 };
    size_t n = path != NULL ? strlen(path) : 0;
    int sock;

    if (n < 2 || n >= sizeof(un.sun_path) || (path[0] != '/' && path[0] != '@'))
        return;
    memcpy(un.sun_path, path, n);
    if (path[0] == '@') /* the abstract name space */
        un.sun_path[0] = '\0';
    h.msg_namelen = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
    if (fd >= 0) {
        h.msg_control = control;
        h.msg_controllen = sizeof(control);
        *CMSG_FIRSTHDR(&h) = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(fd)),
                                               .cmsg_level = SOL_SOCKET,
                                               .cmsg_type = SCM_RIGHTS };
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&h)), &fd, sizeof(fd));
    }
    sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (sock < 0)
        return;
    /* Nobody listening is nobody's fault. */
    (void)!sendmsg(sock, &h, MSG_NOSIGNAL | MSG_DONTWAIT);
    close(sock);
}

void
cw_notify(const char *text)
{
    notify_send(text, -1);
}

void
cw_notify_fd(const char *text, int fd)
{
    notify_send(text, fd);
}

uint64_t
cw_notify_watchdog_ns(void)
{
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");

    if (usec == NULL || (pid != NULL && strtol(pid, NULL, 10) != (long)getpid()))
        return 0;
    return strtoull(usec, NULL, 10) * CW_NS_PER_US / 2;
}
