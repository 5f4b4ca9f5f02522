#include <pthread.h>

#include "tests/unit/reactor/harness.h"

struct tick {
    struct cw_timer t;
    int *order, *n;
    int id;
};

static void
tick_fn(struct cw_timer *t)
{
    struct tick *k = cw_container_of(t, struct tick, t);

    k->order[(*k->n)++] = k->id;
}

static bool
three_ticks(void *arg)
{
    return *(int *)arg >= 3;
}

/* Timers fire in the order of their times, not before them, and not after they were cancelled. */
static void
timers_fire_in_order(void **state)
{
    static const uint64_t delay_ms[] = { 30, 10, 20, 15 };
    struct harness h;
    struct cw_env *env;
    struct tick ticks[4];
    int order[4], n = 0;
    uint64_t begin;

    harness_start(&h, state);
    env = cw_reactor_env(h.r);
    begin = cw_reactor_clock_ns();
    for (int i = 0; i < 4; i++) {
        ticks[i] = (struct tick){ .t.fn = tick_fn, .order = order, .n = &n, .id = i };
        cw_timer_set(env, &ticks[i].t, begin + delay_ms[i] * CW_NS_PER_MS);
    }
    cw_timer_cancel(env, &ticks[3].t);
    harness_until(&h, three_ticks, &n);
    assert_true(cw_reactor_clock_ns() >= begin + 30 * CW_NS_PER_MS);
    assert_int_equal(order[0], 1);
    assert_int_equal(order[1], 2);
    assert_int_equal(order[2], 0);
    assert_int_equal(n, 3);
    harness_stop(&h);
}

struct marks {
    char text[16];
    struct cw_reactor *r;
    struct cw_defer work;
    struct cw_hook first, second, third;
};

static void
mark(struct marks *m, char c)
{
    size_t n = strlen(m->text);

    assert_true(n + 1 < sizeof(m->text));
    m->text[n] = c;
    m->text[n + 1] = '\0';
}

static void
marks_work(struct cw_defer *w)
{
    mark(cw_container_of(w, struct marks, work), 'w');
}

static void
marks_first(struct cw_hook *k)
{
    mark(cw_container_of(k, struct marks, first), '1');
}

static void
marks_second(struct cw_hook *k)
{
    mark(cw_container_of(k, struct marks, second), '2');
}

static void
marks_third(struct cw_hook *k)
{
    mark(cw_container_of(k, struct marks, third), '3');
}

/* Deferred work runs once, before the hooks of its turn; hooks run by order, then by age. */
static void
work_precedes_hooks(void **state)
{
    struct harness h;
    struct marks m = { .work.fn = marks_work,
                       .first = { .fn = marks_first, .order = CW_HOOK_DECIDER },
                       .second = { .fn = marks_second, .order = CW_HOOK_DECIDER },
                       .third = { .fn = marks_third, .order = CW_HOOK_STORE } };

    harness_start(&h, state);
    cw_reactor_hook_add(h.r, &m.third);
    cw_reactor_hook_add(h.r, &m.first);
    cw_reactor_hook_add(h.r, &m.second);
    cw_reactor_defer(h.r, &m.work);
    cw_reactor_defer(h.r, &m.work);
    assert_int_equal(cw_reactor_turn(h.r, CW_NEVER), 0);
    assert_string_equal(m.text, "w123");
    cw_reactor_hook_remove(h.r, &m.second);
    cw_reactor_defer(h.r, &m.work);
    cw_reactor_defer_cancel(h.r, &m.work);
    assert_int_equal(cw_reactor_turn(h.r, 0), 0);
    assert_string_equal(m.text, "w12313");
    cw_reactor_hook_remove(h.r, &m.first);
    cw_reactor_hook_remove(h.r, &m.third);
    harness_stop(&h);
}

struct call {
    struct cw_inbox_item item;
    pthread_t on;
    int n;
};

static void
call_fn(struct cw_inbox_item *item)
{
    struct call *c = cw_container_of(item, struct call, item);

    c->on = pthread_self();
    __atomic_add_fetch(&c->n, 1, __ATOMIC_RELEASE);
}

static void *
loop_main(void *arg)
{
    return (void *)(intptr_t)cw_reactor_run(arg);
}

/* A reactor made here and run on another thread executes there what is posted, sleeps without using
 * the processor in between, and ends when it is told to. */
static void
posts_run_on_the_loop(void **state)
{
    struct harness h;
    struct call c = { .item.fn = call_fn };
    pthread_t t;
    void *res;

    harness_start(&h, state);
    assert_int_equal(pthread_create(&t, NULL, loop_main, h.r), 0);
    for (int i = 1; i <= 100; i++) {
        uint64_t end = cw_reactor_clock_ns() + HARNESS_DEADLINE_NS;

        assert_true(cw_reactor_post(h.r, &c.item));
        while (__atomic_load_n(&c.n, __ATOMIC_ACQUIRE) < i)
            assert_true(cw_reactor_clock_ns() < end);
    }
    assert_true(pthread_equal(c.on, t));
    cw_reactor_stop(h.r);
    pthread_join(t, &res);
    assert_null(res);
    cw_reactor_free(h.r); /* the ring's thread is gone; nothing is under way */
    rmdir(h.dir);
}

/* Nothing to do means no turns: the loop sleeps until its time is over. */
static void
idle_loop_sleeps(void **state)
{
    struct cw_reactor_stats a, b;
    struct harness h;

    harness_start(&h, state);
    assert_int_equal(cw_reactor_turn(h.r, 0), 0);
    cw_reactor_stats(h.r, &a);
    assert_int_equal(cw_reactor_turn(h.r, 50 * CW_NS_PER_MS), 0);
    cw_reactor_stats(h.r, &b);
    assert_int_equal(b.turns - a.turns, 1);
    assert_int_equal(b.completions, a.completions);
    harness_stop(&h);
}

/* Lines reach the sink; those above the level do not. */
static void
log_reaches_the_sink(void **state)
{
    struct harness h;

    harness_start(&h, state);
    cw_reactor_env(h.r)->log_level = CW_LOG_INFO;
    cw_log(cw_reactor_env(h.r), CW_LOG_INFO, "disk %d: fine", 7);
    cw_log(cw_reactor_env(h.r), CW_LOG_DEBUG, "noise");
    assert_string_equal(h.log, "disk 7: fine\n");
    harness_stop(&h);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        HARNESS_BOTH(timers_fire_in_order),     HARNESS_BOTH(work_precedes_hooks),
        HARNESS_BOTH(posts_run_on_the_loop),    HARNESS_BOTH(idle_loop_sleeps),
        cmocka_unit_test(log_reaches_the_sink),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
