#include "client/device/backend.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/device/server.h"
#include "client/lib/serve.h"
#include "common/base/bits.h"
#include "common/reactor/fdwatch.h"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

struct backend {
    struct cw_serve serve;
    const struct cw_backend_opts *opts;
    struct cw_device_server *server;
    struct cw_fdwatch *watch; /* of the holder's end */
    bool failed;              /* the reactor thread's until it has ended */
};

/* ---- what the holder is told ---- */

static void
tell(enum cw_backend_word word, uint64_t size_bytes, uint32_t n, const char *text)
{
    struct cw_backend_message m = { .word = word, .n = n, .size_bytes = size_bytes };

    if (text != NULL)
        snprintf(m.text, sizeof(m.text), "%s", text);
    /* Without a holder nobody wants to know. */
    (void)!send(CW_BACKEND_TELL_FD, &m, sizeof(m), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void
on_serving(void *user, uint64_t size_bytes, uint32_t n_again)
{
    tell(CW_BACKEND_SERVING, size_bytes, n_again, NULL);
}

static void
on_resized(void *user, uint64_t size_bytes)
{
    tell(CW_BACKEND_RESIZED, size_bytes, 0, NULL);
}

static void
on_fenced(void *user, const char *why)
{
    tell(CW_BACKEND_FENCED, 0, 0, why);
}

static void
on_failed(void *user, const char *why)
{
    struct backend *b = user;

    tell(CW_BACKEND_FAILED, 0, 0, why);
    b->failed = true;
    cw_serve_end(&b->serve);
}

/* The device goes on, but nobody would start it again. */
static void
on_holder(void *user)
{
    struct backend *b = user;

    cw_log_sink_printf(&b->serve.log, CW_LOG_WARNING,
                       "volume %s: the process that keeps its device has ended; served until this "
                       "one ends. Now: causeway volume attach %s --device",
                       b->opts->volume, b->opts->volume);
}

/* ---- life ---- */

static struct backend *
backend_of(struct cw_serve *s)
{
    return cw_container_of(s, struct backend, serve);
}

static int
backend_begin(struct cw_serve *s)
{
    struct backend *b = backend_of(s);
    struct cw_device_server_opts opts = {
        .engine = s->engine,
        .volume = b->opts->volume,
        .take_fuse_fd = CW_BACKEND_FUSE_FD,
        .slots_fd = CW_BACKEND_SLOTS_FD,
        .read_only = b->opts->read_only,
        .force = b->opts->force,
        .serving = on_serving,
        .resized = on_resized,
        .fenced = on_fenced,
        .failed = on_failed,
        .user = b,
    };
    int res;

    res = cw_device_server_new(&opts, &b->server, s->why);
    if (res != 0) {
        tell(CW_BACKEND_FAILED, 0, 0, s->why);
        return res;
    }
    b->watch = cw_fdwatch_new(cw_engine_reactor(s->engine), dup(CW_BACKEND_TELL_FD), on_holder, b);
    if (b->watch != NULL)
        cw_fdwatch_arm(b->watch);
    return 0;
}

static void
backend_stop(struct cw_serve *s)
{
    cw_device_server_stop(backend_of(s)->server, cw_serve_stopped, s);
}

static void
backend_free(struct cw_serve *s)
{
    struct backend *b = backend_of(s);

    cw_fdwatch_close(b->watch);
    cw_device_server_free(b->server);
}

static const struct cw_serve_ops ops = { backend_begin, backend_stop, backend_free };

/* The kernel waits for this process when it writes back what is dirty on the device, also to find
 * memory for this process: such memory must be found without that, and nothing of ours be paged
 * out. Neither is refused to root; without them the device works until memory is short. */
static void
stay_in_memory(const char *volume)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    if (fd >= 0) {
        (void)!write(fd, "-1000", 5);
        close(fd);
    }
    if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) != 0)
        fprintf(stderr, "causeway-device: volume %s: memory may be short for it: IO_FLUSHER: %s\n",
                volume, strerror(errno));
    if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0)
        fprintf(stderr, "causeway-device: volume %s: it may be paged out: mlockall: %s\n", volume,
                strerror(errno));
}

int
cw_backend_run(const struct cw_backend_opts *o)
{
    struct backend b = { .serve = { .ops = &ops,
                                    .program = "causeway-device",
                                    .volume = o->volume,
                                    .ends_itself = true },
                         .opts = o };
    int status;

    stay_in_memory(o->volume);
    status = cw_serve_run(&b.serve,
                          &(struct cw_engine_opts){ .cluster = o->cluster,
                                                    .domain = o->domain,
                                                    .memory_bytes = o->memory_bytes },
                          o->level);
    return b.failed ? CW_SERVE_FAILED : status;
}
