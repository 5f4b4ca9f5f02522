/* libcauseway over volumes in memory: what a program sees of the API. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/lib/causeway.h"

static struct causeway *
connect_one(void)
{
    struct causeway *c;

    assert_int_equal(causeway_connect("127.0.0.1:1", NULL, &c), 0);
    return c;
}

static struct causeway_volume *
open_one(struct causeway *c, int flags)
{
    struct causeway_volume *v;

    assert_int_equal(causeway_open(c, "mem", flags, &v), 0);
    return v;
}

/* What was written is read, at any alignment and length; trim and zero read as zeroes. */
static void
sync_forms_do_what_they_say(void **state)
{
    struct causeway *c = connect_one();
    struct causeway_volume *v = open_one(c, 0);
    struct causeway_info info;
    size_t len = (40 << 20) + 77;
    uint8_t *out = malloc(len), *in = malloc(len);

    assert_int_equal(causeway_stat(v, &info), 0);
    assert_int_equal(info.size_bytes, 64 << 20);
    assert_int_equal(info.block_bytes, 4096);
    assert_int_equal(info.io_bytes_max, 1 << 20);
    assert_true(info.gen > 0 && !info.readonly);
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)(i * 31 + i / 4096);
    assert_int_equal(causeway_pwrite(v, out, len, 513), 0);
    assert_int_equal(causeway_flush(v), 0);
    assert_int_equal(causeway_pread(v, in, len, 513), 0);
    assert_memory_equal(in, out, len);
    assert_int_equal(causeway_trim(v, 4096, 8192), 0);
    assert_int_equal(causeway_zero(v, 20000, 5), 0);
    assert_int_equal(causeway_pread(v, in, 8192, 4096), 0);
    assert_true(in[0] == 0 && in[8191] == 0);
    assert_int_equal(causeway_pread(v, in, 0, 0), 0);
    assert_int_equal(causeway_close(v), 0);
    causeway_disconnect(c);
    free(out);
    free(in);
}

/* A volume that somebody uses opens by force, and only by force. */
static void
force_takes_a_volume_over(void **state)
{
    struct causeway *c = connect_one();
    struct causeway_volume *v;

    assert_int_equal(causeway_open(c, "busy", CAUSEWAY_OPEN_READONLY, &v), -EBUSY);
    assert_int_equal(causeway_open(c, "busy", CAUSEWAY_OPEN_FORCE, &v), 0);
    assert_int_equal(causeway_close(v), 0);
    causeway_disconnect(c);
}

/* Every refusal has its errno and one line that names the object. */
static void
errors_name_the_object(void **state)
{
    struct causeway *c = connect_one();
    struct causeway_volume *v;
    struct causeway_req req = { .op = CAUSEWAY_READ, .len = 10 };
    struct causeway *none = NULL;
    char byte = 1;

    assert_int_equal(causeway_connect("", NULL, &none), -EINVAL);
    assert_int_equal(causeway_open(c, "nosuch", 0, &v), -ENOENT);
    assert_non_null(strstr(causeway_last_error(), "nosuch"));
    assert_int_equal(causeway_open(c, "busy", 0, &v), -EBUSY);
    assert_non_null(strstr(causeway_last_error(), "VOLUME_IN_USE"));
    assert_int_equal(causeway_open(c, "mem", 1 << 20, &v), -EINVAL);
    v = open_one(c, CAUSEWAY_OPEN_READONLY);
    assert_int_equal(causeway_pread(v, &byte, 1, 64 << 20), -EINVAL);
    assert_non_null(strstr(causeway_last_error(), "mem"));
    assert_int_equal(causeway_trim(v, UINT64_MAX, 2), -EINVAL);
    assert_int_equal(causeway_submit(v, &req), -EINVAL);
    assert_int_equal(causeway_pwrite(v, &byte, 1, 0), -EROFS);
    assert_int_equal(causeway_zero(v, 0, 4096), -EROFS);
    assert_int_equal(causeway_pread(v, &byte, 1, 0), 0);
    assert_int_equal(causeway_close(v), 0);
    causeway_disconnect(c);
}

#define N_THREADS 4
#define N_EACH 5000

struct counting {
    struct causeway_volume *v;
    atomic_int n_done, n_failed;
};

struct counted {
    struct causeway_req req;
    struct counting *all;
    uint8_t block[512];
};

static void
count_done(struct causeway_req *req, int res)
{
    struct counted *one = req->user;

    one->all->n_failed += res != 0;
    one->all->n_done++;
    free(one);
}

static void *
submit_many(void *arg)
{
    struct counting *all = arg;

    for (uint64_t i = 0; i < N_EACH; i++) {
        struct counted *one = calloc(1, sizeof(*one));

        one->all = all;
        one->req = (struct causeway_req){
            .op = i % 3 == 0 ? CAUSEWAY_WRITE : CAUSEWAY_READ,
            .buf = one->block,
            .offset = i * 512,
            .len = 512,
            .done = count_done,
            .user = one,
        };
        if (causeway_submit(all->v, &one->req) != 0) {
            all->n_failed++;
            free(one);
        }
    }
    return NULL;
}

/* Threads submit more than the queue holds at once: each request is done exactly once, and close
 * waits for all of them. */
static void
many_threads_may_submit(void **state)
{
    struct causeway *c = connect_one();
    struct counting all = { .v = open_one(c, 0) };
    pthread_t thread[N_THREADS];

    for (int i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, submit_many, &all), 0);
    for (int i = 0; i < N_THREADS; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(causeway_close(all.v), 0);
    assert_int_equal(all.n_done, N_THREADS * N_EACH);
    assert_int_equal(all.n_failed, 0);
    causeway_disconnect(c);
}

struct chain {
    struct causeway_req req;
    struct causeway_volume *v;
    uint8_t block[4096];
    int n_left;
    int sync_res;
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

static void
chain_next(struct causeway_req *req, int res)
{
    struct chain *ch = req->user;

    assert_int_equal(res, 0);
    ch->sync_res = causeway_flush(ch->v); /* must refuse, not hang */
    pthread_mutex_lock(&ch->lock);
    ch->n_left--;
    pthread_cond_signal(&ch->changed);
    pthread_mutex_unlock(&ch->lock);
    if (ch->n_left > 0)
        assert_int_equal(causeway_submit(ch->v, req), 0);
}

/* A completion may submit the next request; the synchronous forms refuse there. */
static void
completions_may_submit(void **state)
{
    struct causeway *c = connect_one();
    struct chain ch = { .v = open_one(c, 0),
                        .n_left = 100,
                        .lock = PTHREAD_MUTEX_INITIALIZER,
                        .changed = PTHREAD_COND_INITIALIZER };

    ch.req = (struct causeway_req){
        .op = CAUSEWAY_READ, .buf = ch.block, .len = 4096, .done = chain_next, .user = &ch
    };
    assert_int_equal(causeway_submit(ch.v, &ch.req), 0);
    pthread_mutex_lock(&ch.lock);
    while (ch.n_left > 0)
        pthread_cond_wait(&ch.changed, &ch.lock);
    pthread_mutex_unlock(&ch.lock);
    assert_int_equal(ch.sync_res, -EDEADLK);
    assert_int_equal(causeway_close(ch.v), 0);
    causeway_disconnect(c);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sync_forms_do_what_they_say), cmocka_unit_test(errors_name_the_object),
        cmocka_unit_test(force_takes_a_volume_over),   cmocka_unit_test(many_threads_may_submit),
        cmocka_unit_test(completions_may_submit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
