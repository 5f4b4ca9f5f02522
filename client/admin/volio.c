#include "client/admin/volio.h"

#include <errno.h>
#include <string.h>

#include "client/admin/args.h"
#include "client/admin/remote.h"
#include "client/lib/latch.h"
#include "common/base/bits.h"

#define CLUSTER_WAIT_MS 5000
#define CLOSE_TIMEOUT_MS 10000
#define POLL_MS 100

struct volio_open {
    struct cw_engine_task task, cancel;
    struct cw_engine_open open;
    struct cw_engine *engine;
    struct cw_latch over, cancelled;
    int res;
    bool done; /* reactor thread only */
    struct cw_engine_volume *volume;
    char error[CW_ENGINE_ERROR_SIZE];
};

static void
volio_on_open(struct cw_engine_open *o, int res, struct cw_engine_volume *v, const char *error)
{
    struct volio_open *w = cw_container_of(o, struct volio_open, open);

    w->res = res;
    w->volume = res == 0 ? v : NULL;
    w->done = true;
    if (res != 0)
        snprintf(w->error, sizeof(w->error), "%s", error);
    cw_latch_open(&w->over);
}

static void
volio_do_open(struct cw_engine_task *t)
{
    struct volio_open *w = cw_container_of(t, struct volio_open, task);

    cw_engine_open(w->engine, &w->open);
}

static void
volio_do_cancel(struct cw_engine_task *t)
{
    struct volio_open *w = cw_container_of(t, struct volio_open, cancel);

    if (!w->done)
        cw_engine_open_cancel(&w->open);
    cw_latch_open(&w->cancelled);
}

/* False if a signal asked to end first. */
static bool
volio_wait_or_signal(struct cw_latch *over)
{
    while (!cw_cli_interrupted())
        if (cw_latch_wait_ms(over, POLL_MS))
            return true;
    return false;
}

static const char *
volio_open_code(int res)
{
    switch (res) {
    case -ENOENT:
        return "NOT_FOUND";
    case -EBUSY:
        return "VOLUME_IN_USE";
    case -ECANCELED:
        return "INTERRUPTED";
    case -ETIMEDOUT:
    case -EHOSTUNREACH:
        return "UNAVAILABLE";
    default:
        return "FAILED";
    }
}

/* The engine's errors begin with the manager's code, which cw_cli_fail is given apart. */
static const char *
volio_without_code(const char *error, const char *code)
{
    size_t n = strlen(code);

    return strncmp(error, code, n) == 0 && strncmp(error + n, ": ", 2) == 0 ? error + n + 2 : error;
}

static int
volio_attach(struct cw_volio *vio, bool force)
{
    struct volio_open w = {
        .task.fn = volio_do_open,
        .cancel.fn = volio_do_cancel,
        .open = { .volume = vio->name, .force = force, .done = volio_on_open },
        .engine = vio->engine,
    };
    const char *code;

    cw_latch_init(&w.over);
    cw_latch_init(&w.cancelled);
    cw_engine_post(vio->engine, &w.task);
    if (!volio_wait_or_signal(&w.over)) {
        cw_engine_post(vio->engine, &w.cancel);
        cw_latch_wait(&w.cancelled);
        cw_latch_wait(&w.over);
    }
    cw_latch_fini(&w.over);
    cw_latch_fini(&w.cancelled);
    vio->volume = w.volume;
    if (w.res == 0)
        return CW_ARGS_GO;
    code = volio_open_code(w.res);
    return cw_cli_fail(vio->cli, (struct cw_fail){ .code = code, .object = vio->name }, "%s",
                       volio_without_code(w.error, code));
}

static int
volio_read_size(void *arg)
{
    struct cw_volio *vio = arg;

    vio->size_bytes = cw_engine_volume_size(vio->volume);
    vio->acks_replicated = cw_engine_volume_acks_replicated(vio->volume);
    return 0;
}

static int
volio_wait_cluster(struct cw_volio *vio, char error[static CW_ENGINE_ERROR_SIZE])
{
    uint64_t left_ms = CLUSTER_WAIT_MS - CW_REMOTE_SLOW_MS;

    if (cw_engine_wait_cluster(vio->engine, CW_REMOTE_SLOW_MS, error) == 0)
        return 0;
    cw_remote_say_waiting(vio->cli, left_ms);
    return cw_engine_wait_cluster(vio->engine, left_ms, error);
}

int
cw_volio_open(struct cw_volio *vio, struct cw_cli *cli, const char *name, bool force)
{
    struct cw_engine_opts opts = { .cluster = cli->cluster,
                                   .name = "causeway",
                                   .log_level = CW_LOG_WARNING };
    char error[CW_ENGINE_ERROR_SIZE];
    int status;

    *vio = (struct cw_volio){ .cli = cli, .name = name };
    if (cw_engine_new(&opts, error, &vio->engine) != 0)
        return cw_cli_fail(cli, (struct cw_fail){ .code = "FAILED", .object = name }, "%s", error);
    if (volio_wait_cluster(vio, error) != 0)
        status = cw_cli_fail(cli, (struct cw_fail){ .code = "UNAVAILABLE", .object = cli->cluster },
                             "%s", error);
    else
        status = volio_attach(vio, force);
    if (status == CW_ARGS_GO)
        cw_engine_run(vio->engine, volio_read_size, vio);
    else
        cw_engine_free(vio->engine);
    return status;
}

/* ---- close ---- */

struct volio_close {
    struct cw_engine_task task;
    struct cw_engine_close close;
    struct cw_engine_volume *volume;
    struct cw_latch over;
    int res;
};

static void
volio_on_close(struct cw_engine_close *c, int res)
{
    struct volio_close *w = cw_container_of(c, struct volio_close, close);

    w->res = res;
    cw_latch_open(&w->over);
}

static void
volio_do_close(struct cw_engine_task *t)
{
    struct volio_close *w = cw_container_of(t, struct volio_close, task);

    cw_engine_close(w->volume, &w->close);
}

void
cw_volio_close(struct cw_volio *vio)
{
    struct volio_close w = {
        .task.fn = volio_do_close,
        .close = { .timeout_ms = CLOSE_TIMEOUT_MS, .done = volio_on_close },
        .volume = vio->volume,
    };

    cw_latch_init(&w.over);
    cw_engine_post(vio->engine, &w.task);
    cw_latch_wait(&w.over);
    cw_latch_fini(&w.over);
    if (w.res != 0)
        cw_cli_note(vio->cli,
                    "volume %s: its release was not confirmed; it can be attached "
                    "again within seconds",
                    vio->name);
    cw_engine_free(vio->engine);
}

const char *
cw_volio_error(int res)
{
    switch (res) {
    case -EIO:
        return "no copy can serve these blocks";
    case -ENOSPC:
        return "no space is left in the stores";
    case -ESHUTDOWN:
        return "somebody else took the volume over";
    case -EINVAL:
        return "beyond the end of the volume";
    default:
        return strerror(-res);
    }
}
