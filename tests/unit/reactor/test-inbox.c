#include <poll.h>
#include <pthread.h>
#include <sched.h>

#include "common/reactor/inbox.h"
#include "tests/unit/reactor/harness.h"

#define N_POSTERS 4
#define N_EACH 20000

struct letter {
    struct cw_inbox_item item;
    uint32_t poster, number;
    struct tally *tally;
};

struct tally {
    uint32_t next[N_POSTERS];
    uint64_t n;
    bool disordered;
};

struct poster {
    struct cw_inbox *to;
    struct letter *letters;
    struct cw_reactor *r;
};

static void
letter_fn(struct cw_inbox_item *item)
{
    struct letter *l = cw_container_of(item, struct letter, item);

    if (l->number != l->tally->next[l->poster]++)
        l->tally->disordered = true;
    l->tally->n++;
}

static void *
poster_main(void *arg)
{
    struct poster *p = arg;

    for (uint32_t i = 0; i < N_EACH; i++)
        while (p->r != NULL ? !cw_reactor_post(p->r, &p->letters[i].item)
                            : !cw_inbox_post(p->to, &p->letters[i].item))
            sched_yield();
    return NULL;
}

static void
posters_start(struct poster *p, pthread_t *t, struct tally *tally, struct cw_inbox *b,
              struct cw_reactor *r)
{
    for (uint32_t i = 0; i < N_POSTERS; i++) {
        p[i] = (struct poster){ b, calloc(N_EACH, sizeof(struct letter)), r };
        assert_non_null(p[i].letters);
        for (uint32_t k = 0; k < N_EACH; k++)
            p[i].letters[k] =
                (struct letter){ .item.fn = letter_fn, .poster = i, .number = k, .tally = tally };
        assert_int_equal(pthread_create(&t[i], NULL, poster_main, &p[i]), 0);
    }
}

static void
posters_end(struct poster *p, pthread_t *t)
{
    for (uint32_t i = 0; i < N_POSTERS; i++) {
        pthread_join(t[i], NULL);
        free(p[i].letters);
    }
}

/* Four posters into a small inbox whose receiver sleeps on the descriptor: everything arrives once,
 * in each poster's order, and no wake-up is lost. */
static void
many_posters_lose_nothing(void **state)
{
    struct cw_inbox *b = cw_inbox_new(64);
    struct tally tally = { 0 };
    struct poster p[N_POSTERS];
    pthread_t t[N_POSTERS];

    posters_start(p, t, &tally, b, NULL);
    while (tally.n < N_POSTERS * N_EACH) {
        struct pollfd f = { .fd = cw_inbox_fd(b), .events = POLLIN };

        assert_int_equal(poll(&f, 1, 20000), 1);
        cw_inbox_run(b, 0);
    }
    posters_end(p, t);
    assert_false(tally.disordered);
    assert_int_equal(cw_inbox_run(b, 0), 0);
    cw_inbox_free(b);
}

static bool
tally_full(void *arg)
{
    return ((struct tally *)arg)->n == N_POSTERS * N_EACH;
}

/* The same into a reactor, whose posters skip the system call while it is awake. */
static void
many_posters_reach_a_reactor(void **state)
{
    struct harness h;
    struct tally tally = { 0 };
    struct poster p[N_POSTERS];
    pthread_t t[N_POSTERS];

    harness_start(&h, state);
    posters_start(p, t, &tally, NULL, h.r);
    while (!tally_full(&tally)) /* sleeps without limit: a lost wake-up would hang */
        assert_int_equal(cw_reactor_turn(h.r, CW_NEVER), 0);
    posters_end(p, t);
    assert_false(tally.disordered);
    harness_stop(&h);
}

/* A full inbox refuses and takes again once one item was run; the rest keeps it readable. */
static void
full_inbox_refuses(void **state)
{
    struct cw_inbox *b = cw_inbox_new(2);
    struct tally tally = { 0 };
    struct letter l[3];
    struct pollfd f = { .fd = cw_inbox_fd(b), .events = POLLIN };

    for (uint32_t i = 0; i < 3; i++)
        l[i] = (struct letter){ .item.fn = letter_fn, .number = i, .tally = &tally };
    assert_true(cw_inbox_post(b, &l[0].item));
    assert_true(cw_inbox_post(b, &l[1].item));
    assert_false(cw_inbox_post(b, &l[2].item));
    assert_int_equal(cw_inbox_run(b, 1), 1);
    assert_true(cw_inbox_post(b, &l[2].item));
    assert_int_equal(poll(&f, 1, 0), 1);
    assert_int_equal(cw_inbox_run(b, 0), 2);
    assert_int_equal(poll(&f, 1, 0), 0);
    assert_false(tally.disordered);
    cw_inbox_free(b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_inbox_refuses),
        cmocka_unit_test(many_posters_lose_nothing),
        HARNESS_BOTH(many_posters_reach_a_reactor),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
