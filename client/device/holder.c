#include "client/device/holder.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/device/attachment.h"
#include "client/device/descriptors.h"
#include "client/device/inuse.h"
#include "client/device/slots.h"
#include "client/lib/serve.h"
#include "common/base/bits.h"
#include "common/obs/log.h"
#include "common/obs/notify.h"

#define AGAIN_MS 1000 /* between two back ends that failed */
#define BUSY_MS 1000  /* between two looks at a device that is to be let go */
#define STOP_MS 20000 /* for a back end that lets go of its volume; its own end is at 12 s */

enum phase {
    HOLDER_OPENING, /* the first back end attaches the volume */
    HOLDER_MAKING,  /* .. serves; the loop device is being made */
    HOLDER_UP,
    HOLDER_LETTING, /* the loop device is to let go */
    HOLDER_ENDING,  /* the back end is to end */
};

/* What may wait for the back end. */
enum job { JOB_NONE, JOB_MAKE, JOB_RESIZE, JOB_LET };

struct job_result {
    int res;
    char device[CW_LOOP_NAME_SIZE];
    char why[CW_ATTACHMENT_WHY_SIZE];
};

struct holder {
    const struct cw_holder_opts *opts;
    struct cw_log_sink log;
    struct cw_attachment att;
    char disk[PATH_MAX], program[PATH_MAX];
    int lock_fd, signal_fd, fuse_fd, slots_fd;
    int ready_fd; /* of who waits for a device in the background; -1: nobody does */
    enum phase phase;
    bool adopted, stopping, failed, fenced;

    pid_t back_end;
    int tell_fd; /* of its messages; -1: none */
    bool back_end_serves, replacing;
    uint64_t start_at_ms, kill_at_ms, look_at_ms; /* 0: not now */

    enum job job;
    pid_t job_pid;
    int job_fd;
    uint64_t size_bytes, size_told_bytes;
};

static uint64_t
now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static const char *
volume_of(const struct holder *h)
{
    return h->opts->backend.volume;
}

/* What a user sees who waits for the device, and the log afterwards. */
static void
complain(struct holder *h, const char *why)
{
    if (h->phase == HOLDER_UP)
        cw_log_sink_printf(&h->log, CW_LOG_ERROR, "volume %s: %s", volume_of(h), why);
    else
        fprintf(stderr, "causeway-device: volume %s: %s\n", volume_of(h), why);
}

static void
fail(struct holder *h, const char *why)
{
    complain(h, why);
    h->failed = true;
}

static void
state_write(struct holder *h)
{
    int res;

    cw_attachment_process_of(getpid(), &h->att.holder);
    if (h->back_end > 0)
        cw_attachment_process_of(h->back_end, &h->att.back_end);
    res = cw_attachment_write(&h->att);
    if (res != 0)
        cw_log_sink_printf(&h->log, CW_LOG_ERROR, "volume %s: its state cannot be written: %s",
                           volume_of(h), strerror(-res));
}

/* ---- processes ---- */

static void
child_signals(void)
{
    sigset_t none;

    sigemptyset(&none);
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Where a device in the background says what happens to it. */
static int
log_open(const struct holder *h)
{
    char path[PATH_MAX];

    return open(cw_attachment_path(volume_of(h), CW_ATTACHMENT_LOG, path),
                O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

/* In the child: the three descriptors at their places, the log on stderr, nothing else. */
static void
back_end_exec(struct holder *h, int tell)
{
    const struct cw_backend_opts *b = &h->opts->backend;
    char memory[32];
    char *argv[16] = { (char *)"causeway-device", (char *)"--back-end", (char *)"--volume",
                       (char *)b->volume,         (char *)"--cluster",  (char *)b->cluster };
    int n = 6, null = open("/dev/null", O_RDWR), high[3];

    high[0] = fcntl(h->fuse_fd, F_DUPFD, 16);
    high[1] = fcntl(h->slots_fd, F_DUPFD, 16);
    high[2] = fcntl(tell, F_DUPFD, 16);
    dup2(null, 0);
    dup2(null, 1);
    if (h->opts->background)
        dup2(log_open(h), 2);
    for (int i = 0; i < 3; i++)
        dup2(high[i], 3 + i);
    closefrom(6);
    if (b->domain != NULL) {
        argv[n++] = (char *)"--domain";
        argv[n++] = (char *)b->domain;
    }
    if (b->memory_bytes != 0) {
        snprintf(memory, sizeof(memory), "%llu", (unsigned long long)b->memory_bytes);
        argv[n++] = (char *)"--memory";
        argv[n++] = memory;
    }
    argv[n++] = (char *)"--log-level";
    argv[n++] = (char *)cw_log_level_name(b->level);
    if (b->read_only)
        argv[n++] = (char *)"--read-only";
    if (b->force)
        argv[n++] = (char *)"--force";
    setpgid(0, 0); /* a terminal's signals are the holder's */
    child_signals();
    execv(h->program, argv);
    fprintf(stderr, "causeway-device: cannot start %s: %s\n", h->program, strerror(errno));
    _exit(CW_SERVE_FAILED);
}

static void
back_end_start(struct holder *h)
{
    int pair[2] = { -1, -1 };

    h->start_at_ms = 0;
    h->back_end_serves = h->replacing = false;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0)
        h->back_end = fork();
    if (h->back_end == 0)
        back_end_exec(h, pair[1]);
    close(pair[1]);
    if (h->back_end < 0 || pair[0] < 0) {
        cw_log_sink_printf(&h->log, CW_LOG_ERROR, "volume %s: cannot start a back end: %s",
                           volume_of(h), strerror(errno));
        close(pair[0]);
        h->back_end = 0;
        h->start_at_ms = now_ms() + AGAIN_MS;
        return;
    }
    h->tell_fd = pair[0];
    state_write(h);
}

static void
back_end_stop(struct holder *h)
{
    if (h->back_end > 0 && h->kill_at_ms == 0) {
        kill(h->back_end, SIGTERM);
        h->kill_at_ms = now_ms() + STOP_MS;
    }
}

/* Runs fn in a process of its own; its result comes over a pipe. */
static void
job_start(struct holder *h, enum job job, void (*fn)(const struct holder *h, struct job_result *r))
{
    int pipe_fd[2];

    if (pipe2(pipe_fd, O_CLOEXEC) != 0)
        return;
    h->job_pid = fork();
    if (h->job_pid == 0) {
        struct job_result r = { 0 };

        close(h->lock_fd); /* a job that hangs does not keep the device */
        if (h->tell_fd >= 0)
            close(h->tell_fd);
        close(h->fuse_fd); /* nor the mount */
        child_signals();
        fn(h, &r);
        (void)!write(pipe_fd[1], &r, sizeof(r));
        _exit(0);
    }
    close(pipe_fd[1]);
    if (h->job_pid < 0) {
        h->job_pid = 0;
        close(pipe_fd[0]);
        return;
    }
    h->job = job;
    h->job_fd = pipe_fd[0];
}

/* ---- jobs ---- */

static void
job_make(const struct holder *h, struct job_result *r)
{
    struct cw_loop_opts o = { .file = h->disk,
                              .block_bytes = h->opts->block_bytes,
                              .read_only = h->opts->backend.read_only };

    r->res = cw_loop_attach(&o, r->device, r->why);
}

static void
job_resize(const struct holder *h, struct job_result *r)
{
    r->res = cw_loop_resize(h->att.device, h->disk, h->size_bytes, r->why);
}

static void
job_let(const struct holder *h, struct job_result *r)
{
    r->res = cw_loop_detach(h->att.device, h->disk, r->why);
}

static void
resize_maybe(struct holder *h)
{
    if (h->phase != HOLDER_UP || h->job != JOB_NONE || h->size_bytes == h->size_told_bytes)
        return;
    h->size_told_bytes = h->size_bytes;
    job_start(h, JOB_RESIZE, job_resize);
}

/* ---- phases ---- */

/* From here on nobody waits: what is to be said goes to the log. */
static void
holder_detach_terminal(struct holder *h)
{
    int null, fd;

    if (h->ready_fd < 0)
        return;
    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    fd = log_open(h);
    dup2(null, 0);
    dup2(null, 1);
    dup2(fd >= 0 ? fd : null, 2);
    close(null);
    if (fd >= 0)
        close(fd);
    (void)!write(h->ready_fd, "", 1);
    close(h->ready_fd);
    h->ready_fd = -1;
}

static void
holder_up(struct holder *h)
{
    h->phase = HOLDER_UP;
    cw_attachment_link(&h->att);
    state_write(h);
    printf("%s\n", h->att.device);
    fflush(stdout);
    cw_notify("READY=1\nSTATUS=serving");
    holder_detach_terminal(h);
    cw_log_sink_printf(&h->log, CW_LOG_NOTICE, "volume %s: is %s", volume_of(h), h->att.device);
    resize_maybe(h);
}

static void
holder_make(struct holder *h)
{
    if (h->att.device[0] != 0) {
        holder_up(h);
        return;
    }
    h->phase = HOLDER_MAKING;
    job_start(h, JOB_MAKE, job_make);
}

/* The kernel lets a device go that is in use once it is not: that is waited for. */
static void
holder_let_go(struct holder *h)
{
    char who[CW_INUSE_SIZE];

    h->look_at_ms = 0;
    if (h->phase == HOLDER_ENDING || h->job != JOB_NONE)
        return;
    if (h->att.device[0] != 0 && cw_loop_is_over(h->att.device, h->disk)) {
        if (h->phase != HOLDER_LETTING) {
            h->phase = HOLDER_LETTING;
            job_start(h, JOB_LET, job_let);
            if (cw_inuse_device(h->att.device, who))
                cw_log_sink_printf(&h->log, CW_LOG_WARNING,
                                   "volume %s: %s is in use, it ends once it is not: %s",
                                   volume_of(h), h->att.device, who);
        }
        h->look_at_ms = now_ms() + (h->job == JOB_NONE ? BUSY_MS : 0);
        return;
    }
    h->phase = HOLDER_ENDING;
    back_end_stop(h);
}

static void
job_done(struct holder *h)
{
    enum job job = h->job;
    struct job_result r = { .res = -EIO, .why = "a helper process ended early" };
    struct job_result got;

    if (read(h->job_fd, &got, sizeof(got)) == sizeof(got))
        r = got;
    close(h->job_fd);
    h->job = JOB_NONE;
    h->job_fd = -1;
    if (r.res != 0)
        complain(h, r.why);
    if (job == JOB_MAKE && r.res != 0) {
        h->failed = true;
    } else if (job == JOB_MAKE) {
        snprintf(h->att.device, sizeof(h->att.device), "%s", r.device);
        if (!h->stopping)
            holder_up(h);
    }
    if (h->stopping || h->failed)
        holder_let_go(h);
    else
        resize_maybe(h);
}

/* ---- the back end says something, or ends ---- */

static void
on_message(struct holder *h, const struct cw_backend_message *m)
{
    switch (m->word) {
    case CW_BACKEND_SERVING:
        h->back_end_serves = true;
        h->size_bytes = m->size_bytes;
        if (h->phase == HOLDER_OPENING)
            h->size_told_bytes = h->adopted ? 0 : m->size_bytes;
        else
            cw_log_sink_printf(&h->log, CW_LOG_NOTICE,
                               "volume %s: its back end serves again, %u requests were made again",
                               volume_of(h), m->n);
        if (h->phase == HOLDER_OPENING && !h->stopping)
            holder_make(h);
        resize_maybe(h);
        return;
    case CW_BACKEND_RESIZED:
        h->size_bytes = m->size_bytes;
        resize_maybe(h);
        return;
    case CW_BACKEND_FENCED:
        h->fenced = true;
        cw_log_sink_printf(&h->log, CW_LOG_ERROR, "volume %s: %s gives errors: %s", volume_of(h),
                           h->att.device, m->text);
        cw_notify("STATUS=gives errors: the volume was taken over");
        return;
    case CW_BACKEND_FAILED:
        if (h->phase == HOLDER_OPENING && !h->adopted)
            fail(h, m->text);
        else
            complain(h, m->text);
        return;
    default:
        return;
    }
}

/* False: it has closed its end. */
static bool
message_read(struct holder *h)
{
    struct cw_backend_message m;
    ssize_t n = recv(h->tell_fd, &m, sizeof(m), MSG_DONTWAIT);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    if (n != sizeof(m))
        return false;
    m.text[sizeof(m.text) - 1] = 0;
    on_message(h, &m);
    return true;
}

static void
tell_close(struct holder *h)
{
    close(h->tell_fd);
    h->tell_fd = -1;
}

static void
back_end_ended(struct holder *h, int status)
{
    bool wanted = h->replacing || h->phase == HOLDER_ENDING;

    while (h->tell_fd >= 0 && message_read(h)) { /* its last words */
        struct pollfd p = { .fd = h->tell_fd, .events = POLLIN };

        if (poll(&p, 1, 0) != 1 || (p.revents & POLLIN) == 0)
            break;
    }
    if (h->tell_fd >= 0)
        tell_close(h);
    h->back_end = 0;
    h->kill_at_ms = 0;
    h->att.back_end.pid = 0;
    if (h->phase == HOLDER_ENDING)
        return;
    if (!wanted)
        cw_log_sink_printf(&h->log, CW_LOG_WARNING,
                           "volume %s: its back end ended (%s %d); another is started",
                           volume_of(h), WIFSIGNALED(status) ? "signal" : "status",
                           WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    if (h->phase == HOLDER_OPENING && !h->adopted && !h->failed && !h->stopping && !wanted)
        fail(h, "its back end ended before it served");
    if (h->failed || (h->stopping && h->phase == HOLDER_OPENING)) {
        holder_let_go(h);
        return;
    }
    h->start_at_ms = now_ms() + (h->back_end_serves || wanted ? 0 : AGAIN_MS);
    if (h->start_at_ms <= now_ms())
        back_end_start(h);
}

static void
reap(struct holder *h)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == h->back_end)
            back_end_ended(h, status);
    }
}

/* ---- signals ---- */

static void
on_signal(struct holder *h)
{
    struct signalfd_siginfo si;

    if (read(h->signal_fd, &si, sizeof(si)) != sizeof(si))
        return;
    switch (si.ssi_signo) {
    case SIGCHLD:
        reap(h);
        return;
    case SIGHUP:
        if (h->phase == HOLDER_UP && h->back_end > 0 && !h->replacing) {
            cw_log_sink_printf(&h->log, CW_LOG_NOTICE, "volume %s: its back end is replaced",
                               volume_of(h));
            h->replacing = true;
            back_end_stop(h);
        }
        return;
    default: /* SIGTERM, SIGINT */
        if (h->stopping)
            return;
        h->stopping = true;
        cw_notify("STOPPING=1");
        holder_let_go(h);
        return;
    }
}

/* ---- the loop ---- */

static void
earlier(uint64_t *at, uint64_t ms)
{
    if (ms != 0 && (*at == 0 || ms < *at))
        *at = ms;
}

static int
wait_ms(const struct holder *h)
{
    uint64_t at = 0, now = now_ms();

    earlier(&at, h->start_at_ms);
    earlier(&at, h->kill_at_ms);
    earlier(&at, h->look_at_ms);
    if (at == 0)
        return -1;
    return at > now ? (int)(at - now) : 0;
}

static void
holder_turn(struct holder *h)
{
    struct pollfd p[3] = {
        { .fd = h->signal_fd, .events = POLLIN },
        { .fd = h->tell_fd, .events = POLLIN },
        { .fd = h->job_fd, .events = POLLIN },
    };
    uint64_t now;

    if (poll(p, 3, wait_ms(h)) < 0)
        return;
    if (p[1].revents != 0 && !message_read(h))
        tell_close(h);
    if (p[2].revents != 0)
        job_done(h);
    if (p[0].revents != 0)
        on_signal(h);
    now = now_ms();
    if (h->start_at_ms != 0 && now >= h->start_at_ms)
        back_end_start(h);
    if (h->kill_at_ms != 0 && now >= h->kill_at_ms && h->back_end > 0)
        kill(h->back_end, SIGKILL);
    if ((h->look_at_ms != 0 && now >= h->look_at_ms) || (h->failed && h->phase < HOLDER_LETTING))
        holder_let_go(h);
}

static int
holder_loop(struct holder *h)
{
    char why[CW_ATTACHMENT_WHY_SIZE];

    back_end_start(h);
    while (h->phase != HOLDER_ENDING || h->back_end > 0)
        holder_turn(h);
    if (cw_attachment_remove(volume_of(h), why) != 0) {
        complain(h, why);
        return CW_SERVE_FAILED;
    }
    return h->failed || h->fenced ? CW_SERVE_FAILED : CW_SERVE_CLEAN;
}

/* ---- the beginning ---- */

static int
holder_mount(struct holder *h)
{
    char why[CW_ATTACHMENT_WHY_SIZE];
    int res;

    h->fuse_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (h->fuse_fd < 0) {
        snprintf(why, sizeof(why), "cannot open /dev/fuse: %s%s", strerror(errno),
                 errno == ENOENT || errno == ENODEV || errno == ENXIO
                     ? "; load the kernel's module: modprobe fuse"
                     : "");
        fail(h, why);
        return -1;
    }
    res = cw_slots_create(&h->slots_fd);
    if (res != 0) {
        snprintf(why, sizeof(why), "cannot have memory for requests under way: %s", strerror(-res));
        fail(h, why);
        return -1;
    }
    if (cw_attachment_mount(volume_of(h), h->fuse_fd, h->opts->backend.read_only, why) != 0) {
        fail(h, why);
        return -1;
    }
    return 0;
}

/* A device whose holder was killed goes on, if its descriptors are to be had. */
static bool
holder_adopt(struct holder *h)
{
    struct cw_attachment old;
    bool given;

    given = cw_descriptors_given(&h->fuse_fd, &h->slots_fd);
    if (cw_attachment_read(volume_of(h), &old) != 0 || !cw_attachment_is_mounted(volume_of(h)))
        goto no;
    if (!given && !cw_descriptors_take(&old.back_end, &h->fuse_fd, &h->slots_fd))
        goto no;
    cw_descriptors_kill(&old.back_end); /* its requests are made again by another */
    h->adopted = true;
    if (cw_loop_find(h->disk, h->att.device))
        cw_log_sink_printf(&h->log, CW_LOG_NOTICE,
                           "volume %s: %s goes on, its last process was killed", volume_of(h),
                           h->att.device);
    else
        h->att.device[0] = 0;
    return true;
no:
    if (given) {
        close(h->fuse_fd);
        close(h->slots_fd);
    }
    return false;
}

/* Only what somebody uses still is in the way. */
static int
holder_tidy(struct holder *h)
{
    char why[CW_ATTACHMENT_WHY_SIZE], text[CW_ATTACHMENT_WHY_SIZE + 128];
    struct cw_attachment old;
    int res;

    if (cw_attachment_read(volume_of(h), &old) == 0)
        cw_descriptors_kill(&old.back_end); /* without its mount it is of no use */
    res = cw_attachment_remove(volume_of(h), why);
    if (res == 0)
        return 0;
    snprintf(text, sizeof(text),
             "what is left of its last device, whose processes were killed, is in the way: %s; end "
             "that, then try again",
             why);
    fail(h, text);
    return res;
}

static int
holder_lock(struct holder *h)
{
    char why[CW_ATTACHMENT_WHY_SIZE], path[PATH_MAX];
    struct cw_attachment old = { 0 };
    int res = cw_attachment_lock(volume_of(h), &h->lock_fd);

    if (res == -EBUSY) {
        (void)cw_attachment_read(volume_of(h), &old);
        snprintf(why, sizeof(why),
                 "VOLUME_IN_USE: it is attached to this host already, as %s (pid %d); to end that: "
                 "causeway volume detach %s",
                 old.device[0] != 0 ? old.device : "a device that is being made",
                 (int)old.holder.pid, volume_of(h));
        fail(h, why);
    } else if (res != 0) {
        snprintf(why, sizeof(why), "cannot write to %.200s: %s",
                 cw_attachment_path(volume_of(h), CW_ATTACHMENT_TOP, path), strerror(-res));
        fail(h, why);
    }
    return res;
}

static void
holder_signals(struct holder *h)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    h->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
}

/* A link that an update replaces is followed to what is there then. */
static void
program_find(struct holder *h)
{
    ssize_t n = readlink("/proc/self/exe", h->program, sizeof(h->program) - 1);

    h->program[n > 0 ? n : 0] = 0;
}

static int
holder_main(const struct cw_holder_opts *opts, int ready_fd)
{
    struct holder h = { .opts = opts,
                        .lock_fd = -1,
                        .fuse_fd = -1,
                        .slots_fd = -1,
                        .ready_fd = ready_fd,
                        .tell_fd = -1,
                        .job_fd = -1 };
    char why[CW_ATTACHMENT_WHY_SIZE];

    cw_log_sink_init(&h.log, "causeway-device", opts->backend.level);
    if (holder_lock(&h) != 0)
        return CW_SERVE_FAILED;
    snprintf(h.att.volume, sizeof(h.att.volume), "%s", opts->backend.volume);
    snprintf(h.att.cluster, sizeof(h.att.cluster), "%s", opts->backend.cluster);
    h.att.read_only = opts->backend.read_only;
    cw_attachment_path(volume_of(&h), CW_ATTACHMENT_DISK, h.disk);
    program_find(&h);
    holder_signals(&h);
    if (!holder_adopt(&h)) {
        if (holder_tidy(&h) != 0)
            return CW_SERVE_FAILED;
        close(h.lock_fd); /* its file was taken away, too */
        if (holder_lock(&h) != 0)
            return CW_SERVE_FAILED;
        if (holder_mount(&h) != 0) {
            (void)cw_attachment_remove(volume_of(&h), why);
            return CW_SERVE_FAILED;
        }
    }
    cw_descriptors_store(h.fuse_fd, h.slots_fd);
    return holder_loop(&h);
}

/* The caller's process waits until the device is there, or that it cannot be. */
static int
holder_wait(pid_t pid, int ready_fd)
{
    char byte;
    int status;
    ssize_t n;

    do
        n = read(ready_fd, &byte, 1);
    while (n < 0 && errno == EINTR);
    if (n == 1)
        return CW_SERVE_CLEAN;
    if (waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) != 0)
        return WEXITSTATUS(status);
    return CW_SERVE_FAILED;
}

int
cw_holder_run(const struct cw_holder_opts *opts)
{
    int pipe_fd[2];
    pid_t pid;

    if (!opts->background)
        return holder_main(opts, -1);
    if (pipe2(pipe_fd, O_CLOEXEC) != 0 || (pid = fork()) < 0) {
        fprintf(stderr, "causeway-device: cannot start in the background: %s\n", strerror(errno));
        return CW_SERVE_FAILED;
    }
    if (pid > 0) {
        close(pipe_fd[1]);
        return holder_wait(pid, pipe_fd[0]);
    }
    close(pipe_fd[0]);
    setsid();
    (void)!chdir("/");
    _exit(holder_main(opts, pipe_fd[1]));
}
