#include "tests/unit/service/harness.h"

#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct tick {
    struct cw_timer timer;
    struct cw_env *env;
    unsigned n, order;
    unsigned *counter;
};

static void
tick_fn(struct cw_timer *t)
{
    struct tick *k = cw_container_of(t, struct tick, timer);

    k->n++;
    k->order = ++*k->counter;
}

static bool
tick_fired(void *arg)
{
    return ((struct tick *)arg)->n > 0;
}

/* Timers fire in the order of their times, not of their setting; a cancelled one never does. */
static void
service_timers_fire_in_time_order(void **state)
{
    unsigned counter = 0;
    struct tick k[3];
    struct loop l;
    uint64_t now;

    loop_init(&l);
    now = cw_now_ns(l.env);
    for (unsigned i = 0; i < 3; i++)
        k[i] = (struct tick){ .timer.fn = tick_fn, .env = l.env, .counter = &counter };
    cw_timer_set(l.env, &k[0].timer, now + 20 * CW_NS_PER_MS);
    cw_timer_set(l.env, &k[1].timer, now + 5 * CW_NS_PER_MS);
    cw_timer_set(l.env, &k[2].timer, now + 1 * CW_NS_PER_MS);
    cw_timer_cancel(l.env, &k[2].timer);
    assert_true(loop_until(&l, tick_fired, &k[0]));
    assert_int_equal(k[1].order, 1);
    assert_int_equal(k[0].order, 2);
    assert_int_equal(k[2].n, 0);
    assert_true(cw_now_ns(l.env) >= now + 20 * CW_NS_PER_MS);
    cw_service_free(l.s);
}

struct again {
    struct cw_timer timer;
    struct cw_env *env;
    unsigned n;
};

static void
again_fn(struct cw_timer *t)
{
    struct again *a = cw_container_of(t, struct again, timer);

    if (++a->n < 1000)
        cw_timer_set(a->env, t, 0);
}

static bool
again_done(void *arg)
{
    return ((struct again *)arg)->n == 1000;
}

/* A timer that sets itself in the past again and again does not keep others from running. */
static void
service_past_timer_leaves_turns_to_others(void **state)
{
    struct again a = { .timer.fn = again_fn };
    struct loop l;

    loop_init(&l);
    a.env = l.env;
    cw_timer_set(l.env, &a.timer, 0);
    assert_true(loop_until(&l, again_done, &a));
    cw_service_free(l.s);
}

#define POSTS 2000

struct post_item {
    struct cw_work work;
    struct post_state *st;
};

struct post_state {
    struct cw_service *s;
    struct post_item items[POSTS];
    unsigned ran;
};

static void
post_fn(struct cw_work *w)
{
    cw_container_of(w, struct post_item, work)->st->ran++;
}

static void *
post_thread(void *arg)
{
    struct post_state *st = arg;

    for (unsigned i = 0; i < POSTS; i++)
        cw_service_post(st->s, &st->items[i].work);
    return NULL;
}

static bool
post_all_ran(void *arg)
{
    return ((struct post_state *)arg)->ran == POSTS;
}

/* Each work posted by another thread runs exactly once on the loop's thread. */
static void
service_posts_from_other_threads_run_once(void **state)
{
    static struct post_state st;
    pthread_t thread;
    struct loop l;

    loop_init(&l);
    st.s = l.s;
    for (unsigned i = 0; i < POSTS; i++)
        st.items[i] = (struct post_item){ .work.fn = post_fn, .st = &st };
    assert_int_equal(pthread_create(&thread, NULL, post_thread, &st), 0);
    assert_true(loop_until(&l, post_all_ran, &st));
    assert_int_equal(pthread_join(thread, NULL), 0);
    loop_for_ms(&l, 5);
    assert_int_equal(st.ran, POSTS);
    cw_service_free(l.s);
}

/* A work that waits in the queue is not queued a second time. */
static void
service_post_of_queued_work_is_one_call(void **state)
{
    static struct post_state st;
    struct loop l;

    loop_init(&l);
    st.ran = 0;
    st.items[0] = (struct post_item){ .work.fn = post_fn, .st = &st };
    assert_true(cw_service_post(l.s, &st.items[0].work));
    assert_false(cw_service_post(l.s, &st.items[0].work));
    loop_for_ms(&l, 5);
    assert_int_equal(st.ran, 1);
    assert_true(cw_service_post(l.s, &st.items[0].work));
    loop_for_ms(&l, 5);
    assert_int_equal(st.ran, 2);
    cw_service_free(l.s);
}

static void
set_flag_signal(void *user, int signo)
{
    *(bool *)user = signo == SIGUSR1;
}

/* A signal becomes a call on the loop. */
static void
service_signal_becomes_a_call(void **state)
{
    bool seen = false;
    struct loop l;

    loop_init(&l);
    assert_int_equal(cw_service_on_signal(l.s, SIGUSR1, set_flag_signal, &seen), 0);
    kill(getpid(), SIGUSR1);
    assert_true(loop_until(&l, loop_is_set, &seen));
    cw_service_free(l.s);
}

static void
set_flag(void *user)
{
    *(bool *)user = true;
}

/* A foreign eventfd wakes the loop and is cleared; after the watch is gone it does not. */
static void
service_watches_a_foreign_eventfd(void **state)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    bool seen = false;
    struct cw_watch *w;
    struct loop l;
    uint64_t count;

    loop_init(&l);
    w = cw_watch_new(l.s, fd, CW_WATCH_EVENTFD, set_flag, &seen);
    assert_non_null(w);
    assert_int_equal(eventfd_write(fd, 3), 0);
    assert_true(loop_until(&l, loop_is_set, &seen));
    assert_int_equal(eventfd_read(fd, &count), -1);
    cw_watch_free(w);
    seen = false;
    assert_int_equal(eventfd_write(fd, 1), 0);
    loop_for_ms(&l, 10);
    assert_false(seen);
    cw_service_free(l.s);
    close(fd);
}

/* A stop asked for before run makes run return at once, and only that run. */
static void
service_stop_before_run_counts(void **state)
{
    unsigned counter = 0;
    struct tick k = { .timer.fn = tick_fn, .counter = &counter };
    struct loop l;

    loop_init(&l);
    cw_service_stop(l.s);
    cw_service_run(l.s);
    cw_timer_set(l.env, &k.timer, 0);
    assert_true(loop_until(&l, tick_fired, &k));
    cw_service_free(l.s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(service_timers_fire_in_time_order),
        cmocka_unit_test(service_past_timer_leaves_turns_to_others),
        cmocka_unit_test(service_posts_from_other_threads_run_once),
        cmocka_unit_test(service_post_of_queued_work_is_one_call),
        cmocka_unit_test(service_signal_becomes_a_call),
        cmocka_unit_test(service_watches_a_foreign_eventfd),
        cmocka_unit_test(service_stop_before_run_counts),
    };

    return cmocka_run_group_tests_name("service", tests, NULL, NULL);
}
