#include "client/device/descriptors.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "client/device/backend.h"
#include "common/obs/notify.h"

#define LISTEN_FD 3
#define FUSE_NAME "causeway-fuse"
#define SLOTS_NAME "causeway-requests"

/* ---- the service manager ---- */

/* names: "a:b"; -1: the name is not among the first n. */
static int
name_index(const char *names, int n, const char *name)
{
    for (int i = 0; i < n; i++) {
        size_t len = strcspn(names, ":");

        if (len == strlen(name) && strncmp(names, name, len) == 0)
            return i;
        names += len;
        if (*names == ':')
            names++;
    }
    return -1;
}

bool
cw_descriptors_given(int *ret_fuse_fd, int *ret_slots_fd)
{
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
    const char *names = getenv("LISTEN_FDNAMES");
    int n, fuse, slots;

    if (pid == NULL || fds == NULL || names == NULL || atol(pid) != (long)getpid())
        return false;
    n = atoi(fds);
    if (n < 2 || n > 64)
        return false;
    for (int i = 0; i < n; i++)
        (void)fcntl(LISTEN_FD + i, F_SETFD, FD_CLOEXEC);
    fuse = name_index(names, n, FUSE_NAME);
    slots = name_index(names, n, SLOTS_NAME);
    if (fuse < 0 || slots < 0)
        return false;
    *ret_fuse_fd = LISTEN_FD + fuse;
    *ret_slots_fd = LISTEN_FD + slots;
    return true;
}

void
cw_descriptors_store(int fuse_fd, int slots_fd)
{
    cw_notify_fd("FDSTORE=1\nFDPOLL=0\nFDNAME=" FUSE_NAME, fuse_fd);
    cw_notify_fd("FDSTORE=1\nFDPOLL=0\nFDNAME=" SLOTS_NAME, slots_fd);
}

/* ---- a process ---- */

/* A number that was used again is noticed: it is looked at once more behind the descriptor. */
static int
process_open(const struct cw_attachment_process *p)
{
    int fd = p->pid > 0 ? (int)syscall(SYS_pidfd_open, p->pid, 0) : -1;

    if (fd >= 0 && !cw_attachment_process_lives(p)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

bool
cw_descriptors_take(const struct cw_attachment_process *back_end, int *ret_fuse_fd,
                    int *ret_slots_fd)
{
    int pidfd = process_open(back_end), fuse, slots;

    if (pidfd < 0)
        return false;
    fuse = (int)syscall(SYS_pidfd_getfd, pidfd, CW_BACKEND_FUSE_FD, 0);
    slots = (int)syscall(SYS_pidfd_getfd, pidfd, CW_BACKEND_SLOTS_FD, 0);
    close(pidfd);
    if (fuse >= 0 && slots >= 0) {
        *ret_fuse_fd = fuse;
        *ret_slots_fd = slots;
        return true;
    }
    if (fuse >= 0)
        close(fuse);
    return false;
}

static bool
process_signal(const struct cw_attachment_process *p, int signo, int timeout_ms)
{
    struct pollfd gone = { .fd = process_open(p), .events = POLLIN };
    bool ended = true;

    if (gone.fd < 0)
        return true;
    if (syscall(SYS_pidfd_send_signal, gone.fd, signo, NULL, 0) == 0)
        ended = poll(&gone, 1, timeout_ms) == 1;
    close(gone.fd);
    return ended;
}

void
cw_descriptors_kill(const struct cw_attachment_process *p)
{
    (void)process_signal(p, SIGKILL, -1);
}

bool
cw_descriptors_end(const struct cw_attachment_process *p, int timeout_ms)
{
    return process_signal(p, SIGTERM, timeout_ms);
}
