#include "client/lib/serve.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STOP_S 12

void
cw_serve_stopped(void *serve, bool clean)
{
    struct cw_serve *s = serve;

    s->clean = clean;
    cw_latch_open(&s->stopped);
}

void
cw_serve_end(struct cw_serve *s)
{
    pthread_kill(s->main, SIGUSR1); /* it waits for a signal */
}

/* ---- on the reactor thread ---- */

static int
begin(void *arg)
{
    struct cw_serve *s = arg;

    return s->ops->begin(s);
}

static int
stop(void *arg)
{
    struct cw_serve *s = arg;

    s->ops->stop(s);
    return 0;
}

static int
end(void *arg)
{
    struct cw_serve *s = arg;

    s->ops->free(s);
    return 0;
}

/* ---- on the main thread ---- */

static void
unsettled(const struct cw_serve *s)
{
    if (s->volume != NULL)
        fprintf(stderr, "%s: volume %s did not settle within %d s and was left as it is; ",
                s->program, s->volume, STOP_S);
    else
        fprintf(stderr, "%s: volumes did not settle within %d s and were left as they are; ",
                s->program, STOP_S);
    fprintf(stderr, "acknowledged data is safe, the next attach waits for the lease\n");
    _Exit(CW_SERVE_FAILED);
}

static int
serve(struct cw_serve *s, const sigset_t *signals)
{
    int signo;

    if (cw_engine_run(s->engine, begin, s) != 0) {
        fprintf(stderr, "%s: %s\n", s->program, s->why);
        cw_engine_free(s->engine);
        return CW_SERVE_FAILED;
    }
    sigwait(signals, &signo);
    if (signo != SIGUSR1)
        cw_log_sink_printf(&s->log, CW_LOG_NOTICE, "%s: stopping", strsignal(signo));
    cw_engine_run(s->engine, stop, s);
    if (!cw_latch_wait_ms(&s->stopped, STOP_S * 1000))
        unsettled(s);
    cw_engine_run(s->engine, end, s);
    cw_engine_free(s->engine);
    return s->clean ? CW_SERVE_CLEAN : CW_SERVE_FAILED;
}

int
cw_serve_run(struct cw_serve *s, const struct cw_engine_opts *opts, enum cw_log_level level)
{
    struct cw_engine_opts o = *opts;
    char error[CW_ENGINE_ERROR_SIZE];
    sigset_t signals;
    int res;

    cw_log_sink_init(&s->log, s->program, level);
    s->main = pthread_self();
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    if (s->ends_itself)
        sigaddset(&signals, SIGUSR1);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    cw_latch_init(&s->stopped);
    o.name = s->program;
    o.log_level = level;
    o.log = cw_log_sink_fn;
    o.log_user = &s->log;
    res = cw_engine_new(&o, error, &s->engine);
    if (res != 0) {
        fprintf(stderr, "%s: %s\n", s->program, error);
        return res == -EINVAL ? CW_SERVE_USAGE : CW_SERVE_FAILED;
    }
    return serve(s, &signals);
}
