/* lib/engine.c - the two threads, their beginning and their end. */
#include "client/lib/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "client/lib/engine-internal.h"
#include "client/lib/plain.h"
#include "common/codec/shardrec.h"

#define TICK_NS CW_NS_PER_S
#define MEMORY_DEFAULT (256 * CW_MIB)
#define MEMORY_MIN (32 * CW_MIB)
#define LIST_MS 5000

/* ---- the owner and its world ---- */

struct cw_ctl_call *
engine_ask_new(struct cw_engine *e, enum cw_ctl_kind kind, void (*done)(struct cw_ctl_call *),
               void *user)
{
    struct cw_ctl_call *call = calloc(1, sizeof(*call));

    if (call == NULL)
        return NULL;
    call->kind = kind;
    call->timeout_ms = 3000;
    call->done = done;
    call->user = user;
    call->priv = e;
    return call;
}

static void
change_done(struct cw_ctl_call *call)
{
    struct cw_change *ch = call->change;
    struct cw_disk_location *disks = (struct cw_disk_location *)(uintptr_t)ch->disks;

    ch->res = call->call;
    ch->done(ch);
    free(disks);
    free(call);
}

static void
world_change(void *world, struct cw_change *ch)
{
    struct cw_engine *e = world;
    struct cw_ctl_call *call = engine_ask_new(e, CW_CTL_CHANGE, change_done, NULL);

    ch->has_rec = false;
    ch->disks = NULL;
    ch->n_disks = 0;
    if (call == NULL) {
        cw_list_push_back(&e->late_changes, &ch->link);
        return;
    }
    call->change = ch;
    cw_control_call(e->control, call);
}

static void
get_done(struct cw_ctl_call *call)
{
    struct cw_volume_get *get = call->user;

    get->res = call->call;
    get->desc = call->vol != NULL ? &call->vol->desc : NULL;
    if (get->desc != NULL)
        engine_policy(call->priv, get->desc);
    get->done(get);
    free(call->vol);
    free(call);
}

static void
world_get(void *world, struct cw_volume_get *get)
{
    struct cw_engine *e = world;
    struct cw_ctl_call *call = engine_ask_new(e, CW_CTL_GET, get_done, get);

    if (call == NULL) {
        cw_list_push_back(&e->late_gets, &get->link);
        return;
    }
    call->volume = get->volume;
    cw_control_call(e->control, call);
}

static void
release_done(struct cw_ctl_call *call)
{
    struct cw_volume_give_up *g = call->user;

    g->res = call->call;
    g->done(g);
    free(call);
}

static void
world_release(void *world, struct cw_volume_give_up *g)
{
    struct cw_engine *e = world;
    struct cw_ctl_call *call = engine_ask_new(e, CW_CTL_RELEASE, release_done, g);

    if (call == NULL) {
        cw_list_push_back(&e->late_releases, &g->link);
        return;
    }
    call->volume = g->volume;
    call->gen = g->gen;
    cw_control_call(e->control, call);
}

static const struct cw_owner_ops owner_world = {
    .connect = engine_connect,
    .change = world_change,
    .get_volume = world_get,
    .release = world_release,
};

struct cw_owner *
engine_owner(struct cw_engine *e, const struct cw_ctl_call *attached)
{
    struct cw_owner_opts opts = {
        .env = cw_reactor_env(e->reactor),
        .pool = cw_reactor_pool(e->reactor),
        .client_id = e->client_id,
        .self = attached->self,
        .ops = &owner_world,
        .world = e,
    };

    if (e->owner != NULL)
        return e->owner;
    e->cluster_id = attached->cluster_id;
    opts.self.boot_id = e->boot_id;
    opts.tuning.retain_bytes = cw_min_u64(64 * CW_MIB, cw_buf_pool_limit(opts.pool) / 4);
    e->owner = cw_owner_new(&opts);
    return e->owner;
}

/* ---- each turn, each second ---- */

static void
owner_turn(struct cw_hook *h)
{
    struct cw_engine *e = cw_container_of(h, struct cw_engine, hook);

    if (e->owner == NULL)
        return;
    cw_owner_turn_end(e->owner);
    if (cw_owner_pending(e->owner))
        cw_reactor_defer(e->reactor, &e->awake);
}

static void
stay_awake(struct cw_defer *w)
{
}

/* What could not be asked for want of memory has an answer: nobody knows. */
static void
answer_late(struct cw_engine *e)
{
    struct cw_list *node;

    while ((node = cw_list_pop_front(&e->late_changes)) != NULL) {
        struct cw_change *ch = cw_list_entry(node, struct cw_change, link);

        ch->res = CW_CALL_UNKNOWN;
        ch->done(ch);
    }
    while ((node = cw_list_pop_front(&e->late_gets)) != NULL) {
        struct cw_volume_get *get = cw_list_entry(node, struct cw_volume_get, link);

        get->res = CW_CALL_UNKNOWN;
        get->desc = NULL;
        get->done(get);
    }
    while ((node = cw_list_pop_front(&e->late_releases)) != NULL) {
        struct cw_volume_give_up *g = cw_list_entry(node, struct cw_volume_give_up, link);

        g->res = CW_CALL_UNKNOWN;
        g->done(g);
    }
}

static void
engine_tick(struct cw_timer *t)
{
    struct cw_engine *e = cw_container_of(t, struct cw_engine, tick);
    struct cw_env *env = cw_reactor_env(e->reactor);

    answer_late(e);
    engine_volumes_report(e);
    if (!cw_list_empty(&e->volumes)) /* an idle client sleeps */
        cw_timer_set(env, t, cw_now_ns(env) + TICK_NS);
}

/* ---- tasks ---- */

static void
engine_drain(struct cw_inbox_item *i)
{
    cw_mailbox_run(&cw_container_of(i, struct cw_engine, drain)->inbox);
}

static void
engine_wake(void *arg)
{
    struct cw_engine *e = arg;
    bool posted = cw_reactor_post(e->reactor, &e->drain);

    cw_assert(posted); /* the only item there is */
}

void
cw_engine_post(struct cw_engine *e, struct cw_engine_task *t)
{
    cw_mailbox_post(&e->inbox, t);
}

struct engine_run {
    struct cw_engine_task task;
    int (*fn)(void *arg);
    void *arg;
    int res;
    bool done;
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

static void
run_arrived(struct cw_engine_task *t)
{
    struct engine_run *r = cw_container_of(t, struct engine_run, task);
    int res = r->fn(r->arg);

    pthread_mutex_lock(&r->lock);
    r->res = res;
    r->done = true;
    pthread_cond_signal(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

int
cw_engine_run(struct cw_engine *e, int (*fn)(void *arg), void *arg)
{
    struct engine_run r = { .task.fn = run_arrived,
                            .fn = fn,
                            .arg = arg,
                            .lock = PTHREAD_MUTEX_INITIALIZER,
                            .changed = PTHREAD_COND_INITIALIZER };

    cw_engine_post(e, &r.task);
    pthread_mutex_lock(&r.lock);
    while (!r.done)
        pthread_cond_wait(&r.changed, &r.lock);
    pthread_mutex_unlock(&r.lock);
    pthread_cond_destroy(&r.changed);
    pthread_mutex_destroy(&r.lock);
    return r.res;
}

struct cw_reactor *
cw_engine_reactor(struct cw_engine *e)
{
    return e->reactor;
}

struct cw_env *
cw_engine_env(struct cw_engine *e)
{
    return cw_reactor_env(e->reactor);
}

struct cw_buf_pool *
cw_engine_pool(struct cw_engine *e)
{
    return cw_reactor_pool(e->reactor);
}

bool
cw_engine_is_reactor(const struct cw_engine *e)
{
    return pthread_equal(pthread_self(), e->thread);
}

/* ---- what volumes exist ---- */

static void
list_done(struct cw_ctl_call *call)
{
    struct cw_engine_list *l = call->user;
    int res = call->res;

    if (res == 0 && l->name != NULL && call->n_list == 0) {
        res = -ENOENT;
        snprintf(call->error, sizeof(call->error), "volume %s: there is no such volume", l->name);
    }
    l->done(l, res, call->list, call->n_list, call->error);
    free(call->list);
    free(call);
}

static void
list_failed(struct cw_engine_task *t)
{
    struct cw_engine_list *l = cw_container_of(t, struct cw_engine_list, task);

    l->done(l, -EIO, NULL, 0, "out of memory");
}

void
cw_engine_list(struct cw_engine *e, struct cw_engine_list *l)
{
    struct cw_ctl_call *call = engine_ask_new(e, CW_CTL_LIST, list_done, l);

    if (call == NULL) {
        l->task.fn = list_failed;
        cw_engine_post(e, &l->task);
        return;
    }
    call->timeout_ms = l->timeout_ms != 0 ? l->timeout_ms : LIST_MS;
    if (l->name != NULL)
        snprintf(call->name, sizeof(call->name), "%s", l->name);
    cw_control_call(e->control, call);
}

int
cw_engine_wait_cluster(struct cw_engine *e, uint64_t timeout_ms,
                       char error[static CW_ENGINE_ERROR_SIZE])
{
    return cw_control_wait(e->control, timeout_ms, error);
}

/* ---- beginning ---- */

static void
log_to_stderr(void *user, enum cw_log_level level, const char *line)
{
    static const char *const name[] = { "error", "warning", "notice", "info", "debug" };

    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, name[level], line);
}

static void
on_control_event(void *user, struct cw_ctl_event *take_ev)
{
    engine_on_event(user, take_ev);
}

static struct cw_uuid
machine_boot_id(void)
{
    char text[64] = "";
    struct cw_uuid id = { { 0 } };
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return id;
    n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n >= CW_UUID_TEXT_SIZE - 1) {
        text[CW_UUID_TEXT_SIZE - 1] = 0;
        cw_uuid_parse(text, &id);
    }
    return id;
}

static void
reactor_started(struct cw_engine *e, int res)
{
    pthread_mutex_lock(&e->lock);
    e->start_res = res;
    e->started = true;
    pthread_cond_signal(&e->changed);
    pthread_mutex_unlock(&e->lock);
}

/* The ring is made and freed on this thread: the kernel interrupts system calls of whoever made it
 * when it goes, and that must not be the user's thread. */
static void *
reactor_main(void *arg)
{
    struct cw_engine *e = arg;
    int res = cw_reactor_new(&e->reactor_opts, &e->reactor);

    if (res == 0)
        cw_reactor_hook_add(e->reactor, &e->hook);
    reactor_started(e, res);
    if (res != 0)
        return NULL;
    res = cw_reactor_run(e->reactor);
    if (res != 0)
        cw_log(cw_reactor_env(e->reactor), CW_LOG_ERROR, "the data loop broke: %s", strerror(-res));
    cw_assert(res == 0);
    pthread_mutex_lock(&e->lock);
    while (!e->leaving) /* the last poster may still be inside its post */
        pthread_cond_wait(&e->changed, &e->lock);
    pthread_mutex_unlock(&e->lock);
    cw_reactor_free(e->reactor);
    return NULL;
}

static int
engine_start_thread(struct cw_engine *e)
{
    sigset_t all, before;
    int res;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    res = -pthread_create(&e->thread, NULL, reactor_main, e);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (res != 0)
        return res;
    pthread_mutex_lock(&e->lock);
    while (!e->started)
        pthread_cond_wait(&e->changed, &e->lock);
    pthread_mutex_unlock(&e->lock);
    if (e->start_res != 0)
        pthread_join(e->thread, NULL);
    return e->start_res;
}

static int
engine_open_reactor(struct cw_engine *e, const struct cw_engine_opts *opts,
                    char error[static CW_ENGINE_ERROR_SIZE])
{
    uint64_t memory = opts->memory_bytes != 0 ? opts->memory_bytes : MEMORY_DEFAULT;
    int res;

    e->reactor_opts = (struct cw_reactor_opts){
        .log_level = opts->log_level,
        .log = e->log,
        .log_user = e->log_user,
        .memory_bytes = cw_max_u64(memory, MEMORY_MIN),
    };
    res = engine_start_thread(e);
    if (res != 0)
        snprintf(
            error, CW_ENGINE_ERROR_SIZE, "cannot start io_uring: %s%s", strerror(-res),
            res == -EPERM || res == -ENOSYS
                ? "; the kernel or this container forbids it (kernel.io_uring_disabled, seccomp)"
                : "");
    return res;
}

static int
engine_open_control(struct cw_engine *e, const struct cw_engine_opts *opts,
                    char error[static CW_ENGINE_ERROR_SIZE])
{
    struct cw_engine_opts own = *opts;
    struct cw_control_opts c = {
        .engine = &own,
        .client_id = e->client_id,
        .boot_id = e->boot_id,
        .to_reactor = &e->inbox,
        .on_event = on_control_event,
        .user = e,
    };

    own.log = e->log;
    own.log_user = e->log_user;
    return cw_control_new(&c, error, &e->control);
}

static struct cw_engine *
engine_alloc(const struct cw_engine_opts *opts)
{
    struct cw_engine *e = calloc(1, sizeof(*e));
    uint64_t chance[2];

    if (e == NULL || getrandom(chance, sizeof(chance), 0) != sizeof(chance)) {
        free(e);
        return NULL;
    }
    e->client_id = cw_uuid_from_random(chance[0], chance[1]);
    e->boot_id = machine_boot_id();
    e->log = opts->log != NULL ? opts->log : log_to_stderr;
    e->log_user = opts->log_user;
    e->inbox = (struct cw_mailbox){ .wake = engine_wake, .arg = e };
    e->drain.fn = engine_drain;
    e->hook = (struct cw_hook){ .fn = owner_turn, .order = CW_HOOK_DECIDER };
    e->awake.fn = stay_awake;
    e->tick.fn = engine_tick;
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->changed, NULL);
    cw_list_init(&e->volumes);
    cw_list_init(&e->links);
    cw_list_init(&e->connects);
    cw_list_init(&e->late_changes);
    cw_list_init(&e->late_gets);
    cw_list_init(&e->late_releases);
    return e;
}

/* ---- the end ---- */

static int
engine_close_control(void *arg)
{
    struct cw_engine *e = arg;

    cw_control_close(e->control);
    return 0;
}

static int
engine_shut_down(void *arg)
{
    struct cw_engine *e = arg;

    cw_assert(cw_list_empty(&e->volumes));
    e->stopping = true;
    answer_late(e);
    engine_links_close(e);
    return 0;
}

void
engine_finish(struct cw_engine *e)
{
    struct cw_env *env = cw_reactor_env(e->reactor);

    if (!cw_list_empty(&e->links) || !cw_list_empty(&e->connects))
        return;
    cw_reactor_hook_remove(e->reactor, &e->hook);
    cw_reactor_defer_cancel(e->reactor, &e->awake);
    cw_timer_cancel(env, &e->tick);
    cw_owner_free(e->owner);
    e->owner = NULL;
    cw_reactor_stop(e->reactor);
}

/* The reactor thread ends; everything else is gone. */
static void
engine_end(struct cw_engine *e)
{
    cw_engine_run(e, engine_shut_down, e);
    pthread_mutex_lock(&e->lock);
    e->leaving = true;
    pthread_cond_signal(&e->changed);
    pthread_mutex_unlock(&e->lock);
    pthread_join(e->thread, NULL);
}

static void
engine_dealloc(struct cw_engine *e)
{
    pthread_cond_destroy(&e->changed);
    pthread_mutex_destroy(&e->lock);
    free(e);
}

void
cw_engine_free(struct cw_engine *e)
{
    if (e == NULL)
        return;
    cw_engine_run(e, engine_close_control, e);
    cw_control_stop(e->control);
    engine_end(e);
    cw_control_free(e->control);
    engine_dealloc(e);
}

/* ---- all of it ---- */

int
cw_engine_new(const struct cw_engine_opts *opts, char error[static CW_ENGINE_ERROR_SIZE],
              struct cw_engine **ret_e)
{
    struct cw_engine *e = engine_alloc(opts);
    int res;

    if (e == NULL) {
        snprintf(error, CW_ENGINE_ERROR_SIZE, "out of memory");
        return -ENOMEM;
    }
    res = engine_open_reactor(e, opts, error);
    if (res == 0) {
        res = engine_open_control(e, opts, error);
        if (res != 0)
            engine_end(e);
    }
    if (res != 0) {
        engine_dealloc(e);
        return res;
    }
    *ret_e = e;
    return 0;
}
