#include "common/service/service.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "common/base/timerheap.h"
#include "common/mem/buf.h"
#include "common/service/signals.h"

#define BUDGET_DEFAULT (64 * CW_MIB)

struct cw_service {
    struct cw_env env;
    struct cw_service_opts opts;
    struct event_base *base;
    struct cw_buf_pool *pool;
    uint64_t now_ns, next_id;
    bool running;

    int timer_fd;
    struct event *timer_event;
    uint64_t timer_armed_ns; /* what timer_fd is set to, CW_NEVER if off */
    struct cw_timerheap timers;
    bool firing; /* timer_fd is set once all that is due has run */

    int wake_fd;
    struct event *wake_event;
    atomic_bool stop;
    pthread_mutex_t work_lock;
    struct cw_list work; /* under work_lock, with the `queued` of each */

    struct cw_signals signals;
};

struct cw_watch {
    struct event *event;
    int fd;
    enum cw_watch_kind kind;
    struct cw_service *s;
    void (*fn)(void *user);
    void *user;
};

static struct cw_service *
service_of(struct cw_env *env)
{
    return cw_container_of(env, struct cw_service, env);
}

void
cw_service_tick(struct cw_service *s)
{
    struct timespec t;

    clock_gettime(CLOCK_BOOTTIME, &t);
    s->now_ns = (uint64_t)t.tv_sec * CW_NS_PER_S + (uint64_t)t.tv_nsec;
}

static uint64_t
service_now_ns(struct cw_env *env)
{
    struct cw_service *s = service_of(env);

    if (!s->running)
        cw_service_tick(s);
    return s->now_ns;
}

static uint64_t
service_random(struct cw_env *env)
{
    uint64_t x;

    while (getrandom(&x, sizeof(x), 0) != (ssize_t)sizeof(x))
        cw_assert(errno == EINTR);
    return x;
}

static void
service_timer_arm(struct cw_service *s)
{
    uint64_t at = cw_timerheap_next(&s->timers);
    struct itimerspec spec = { 0 };

    if (s->firing || at >= s->timer_armed_ns)
        return; /* a wake-up that comes too early arms it again */
    spec.it_value.tv_sec = (time_t)(at / CW_NS_PER_S);
    spec.it_value.tv_nsec = (long)(at % CW_NS_PER_S);
    if (at == 0)
        spec.it_value.tv_nsec = 1; /* zero would disarm */
    cw_assert(timerfd_settime(s->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL) == 0);
    s->timer_armed_ns = at;
}

static void
service_timer_set(struct cw_env *env, struct cw_timer *t, uint64_t at_ns)
{
    struct cw_service *s = service_of(env);

    cw_timerheap_set(&s->timers, t, at_ns);
    service_timer_arm(s);
}

static void
service_timer_cancel(struct cw_env *env, struct cw_timer *t)
{
    cw_timerheap_cancel(&service_of(env)->timers, t);
}

static void
service_log(struct cw_env *env, enum cw_log_level level, const char *line)
{
    struct cw_service *s = service_of(env);

    if (s->opts.log != NULL)
        s->opts.log(s->opts.log_user, level, line);
    else
        fprintf(stderr, "%s\n", line);
}

static const struct cw_env_ops service_env_ops = {
    .now_ns = service_now_ns,
    .random = service_random,
    .timer_set = service_timer_set,
    .timer_cancel = service_timer_cancel,
    .log = service_log,
};

static void
service_on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct cw_service *s = arg;
    uint32_t budget = s->timers.n; /* a timer set again in the past waits for the next turn */
    struct cw_timer *t;
    uint64_t expirations;

    cw_service_tick(s);
    if (read(s->timer_fd, &expirations, sizeof(expirations)) < 0 && errno != EAGAIN)
        cw_unreachable();
    s->timer_armed_ns = CW_NEVER;
    s->firing = true;
    while (budget-- > 0 && (t = cw_timerheap_pop(&s->timers, s->now_ns)) != NULL)
        t->fn(t);
    s->firing = false;
    service_timer_arm(s);
}

static void
service_run_work(struct cw_service *s)
{
    struct cw_list batch;
    struct cw_work *w;

    cw_list_init(&batch);
    pthread_mutex_lock(&s->work_lock);
    cw_list_splice_back(&batch, &s->work);
    while ((w = cw_list_first(&batch, struct cw_work, link)) != NULL) {
        cw_list_remove(&w->link);
        w->queued = false;
        pthread_mutex_unlock(&s->work_lock);
        w->fn(w);
        pthread_mutex_lock(&s->work_lock);
    }
    pthread_mutex_unlock(&s->work_lock);
}

static void
service_on_wake(evutil_socket_t fd, short what, void *arg)
{
    struct cw_service *s = arg;
    uint64_t count;

    cw_service_tick(s);
    if (read(s->wake_fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
        cw_unreachable();
    service_run_work(s);
    if (atomic_exchange(&s->stop, false))
        event_base_loopbreak(s->base);
}

static void
service_wake(struct cw_service *s)
{
    uint64_t one = 1;

    /* EAGAIN: the counter is full, so the loop wakes anyway. */
    if (write(s->wake_fd, &one, sizeof(one)) < 0)
        cw_assert(errno == EAGAIN);
}

static int
service_open(struct cw_service *s)
{
    struct event_config *config = event_config_new();

    if (config == NULL)
        return -ENOMEM;
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    s->base = event_base_new_with_config(config);
    event_config_free(config);
    s->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    s->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (s->timer_fd < 0 || s->wake_fd < 0)
        return -errno;
    s->pool = cw_buf_pool_new(s->opts.budget_bytes);
    if (s->base == NULL || s->pool == NULL)
        return -ENOMEM;
    s->timer_event = event_new(s->base, s->timer_fd, EV_READ | EV_PERSIST, service_on_timer, s);
    s->wake_event = event_new(s->base, s->wake_fd, EV_READ | EV_PERSIST, service_on_wake, s);
    if (s->timer_event == NULL || s->wake_event == NULL)
        return -ENOMEM;
    if (event_add(s->timer_event, NULL) != 0 || event_add(s->wake_event, NULL) != 0)
        return -ENOMEM;
    return 0;
}

struct cw_service *
cw_service_new(const struct cw_service_opts *opts, int *ret_error)
{
    struct cw_service *s = calloc(1, sizeof(*s));
    int err;

    if (s == NULL) {
        *ret_error = -ENOMEM;
        return NULL;
    }
    if (opts != NULL)
        s->opts = *opts;
    if (s->opts.budget_bytes == 0)
        s->opts.budget_bytes = BUDGET_DEFAULT;
    s->env = (struct cw_env){ .ops = &service_env_ops, .log_level = s->opts.log_level };
    s->timer_fd = s->wake_fd = -1;
    s->timer_armed_ns = CW_NEVER;
    s->next_id = 1;
    cw_timerheap_init(&s->timers);
    cw_list_init(&s->work);
    pthread_mutex_init(&s->work_lock, NULL);
    cw_signals_init(&s->signals);
    cw_service_tick(s);
    err = service_open(s);
    if (err != 0) {
        cw_service_free(s);
        *ret_error = err;
        return NULL;
    }
    return s;
}

void
cw_service_free(struct cw_service *s)
{
    if (s == NULL)
        return;
    cw_signals_fini(&s->signals);
    if (s->timer_event != NULL)
        event_free(s->timer_event);
    if (s->wake_event != NULL)
        event_free(s->wake_event);
    if (s->base != NULL)
        event_base_free(s->base);
    if (s->timer_fd >= 0)
        close(s->timer_fd);
    if (s->wake_fd >= 0)
        close(s->wake_fd);
    cw_timerheap_fini(&s->timers);
    cw_buf_pool_free(s->pool);
    pthread_mutex_destroy(&s->work_lock);
    free(s);
}

struct cw_env *
cw_service_env(struct cw_service *s)
{
    return &s->env;
}

struct event_base *
cw_service_base(struct cw_service *s)
{
    return s->base;
}

struct cw_buf_pool *
cw_service_pool(struct cw_service *s)
{
    return s->pool;
}

uint64_t
cw_service_next_id(struct cw_service *s)
{
    return s->next_id++;
}

void
cw_service_run(struct cw_service *s)
{
    cw_assert(!s->running);
    cw_service_tick(s);
    s->running = true;
    event_base_loop(s->base, EVLOOP_NO_EXIT_ON_EMPTY);
    s->running = false;
}

void
cw_service_stop(struct cw_service *s)
{
    atomic_store(&s->stop, true);
    service_wake(s);
}

bool
cw_service_post(struct cw_service *s, struct cw_work *w)
{
    bool fresh;

    pthread_mutex_lock(&s->work_lock);
    fresh = !w->queued;
    if (fresh) {
        w->queued = true;
        cw_list_push_back(&s->work, &w->link);
        service_wake(s); /* under the lock: afterwards fn may already have freed w, and s with it */
    }
    pthread_mutex_unlock(&s->work_lock);
    return fresh;
}

int
cw_service_on_signal(struct cw_service *s, int signo, void (*fn)(void *user, int signo), void *user)
{
    return cw_signals_add(&s->signals, s, signo, fn, user);
}

static void
watch_on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct cw_watch *w = arg;
    uint64_t count;

    cw_service_tick(w->s);
    if (w->kind == CW_WATCH_EVENTFD && read(w->fd, &count, sizeof(count)) < 0)
        return; /* somebody else cleared it */
    w->fn(w->user);
}

struct cw_watch *
cw_watch_new(struct cw_service *s, int fd, enum cw_watch_kind kind, void (*fn)(void *user),
             void *user)
{
    struct cw_watch *w = malloc(sizeof(*w));

    if (w == NULL)
        return NULL;
    *w = (struct cw_watch){ .fd = fd, .kind = kind, .s = s, .fn = fn, .user = user };
    w->event = event_new(s->base, fd, EV_READ | EV_PERSIST, watch_on_readable, w);
    if (w->event == NULL || event_add(w->event, NULL) != 0) {
        cw_watch_free(w);
        return NULL;
    }
    return w;
}

void
cw_watch_free(struct cw_watch *w)
{
    if (w == NULL)
        return;
    if (w->event != NULL)
        event_free(w->event);
    free(w);
}
