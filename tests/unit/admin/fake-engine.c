#include "tests/unit/admin/fake-engine.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/bits.h"
#include "common/owner/owner.h"

static uint8_t data[FAKE_VOLUME_BYTES];
static uint64_t size_bytes = FAKE_VOLUME_BYTES, fail_off = UINT64_MAX;
static bool gathers; /* the next request waits for another */
static struct fake_engine_count count;

struct cw_engine_volume {
    struct cw_engine *engine;
};

struct cw_engine {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    struct cw_engine_task *first, **last;
    bool stop;
    struct cw_list ios; /* reactor thread only */
    struct cw_engine_open *open;
    struct cw_engine_close *close;
    struct cw_engine_volume volume;
};

uint8_t *
fake_engine_data(void)
{
    return data;
}

void
fake_engine_set_size(uint64_t bytes)
{
    size_bytes = bytes;
}

void
fake_engine_fail_at(uint64_t off)
{
    fail_off = off;
}

void
fake_engine_gather(void)
{
    gathers = true;
}

struct fake_engine_count
fake_engine_count(void)
{
    return count;
}

void
fake_engine_reset(void)
{
    memset(data, 0, sizeof(data));
    count = (struct fake_engine_count){ 0 };
    fail_off = UINT64_MAX;
    size_bytes = FAKE_VOLUME_BYTES;
    gathers = false;
}

static int
fake_io(struct cw_io *io)
{
    if (io->op != CW_IO_FLUSH && io->off + io->len > size_bytes)
        return -EINVAL;
    if (fail_off >= io->off && fail_off < io->off + io->len)
        return -EIO;
    if (io->op == CW_IO_READ) {
        memcpy(io->iov[0].iov_base, data + io->off, io->len);
        count.reads++;
    } else if (io->op == CW_IO_WRITE) {
        memcpy(data + io->off, io->iov[0].iov_base, io->len);
        count.writes++;
        count.write_bytes += io->len;
    } else if (io->op != CW_IO_FLUSH) {
        memset(data + io->off, 0, io->len);
        count.trims++;
    }
    return 0;
}

/* Completions of a turn, which may submit for the next one; newest first, since any order is fine.
 */
static void
fake_turn_end(struct cw_engine *e)
{
    struct cw_list turn, *node;
    uint64_t n = 0;

    cw_list_init(&turn);
    cw_list_splice_back(&turn, &e->ios);
    CW_LIST_EACH (it, &turn)
        n++;
    count.in_flight_max = cw_max_u64(count.in_flight_max, n);
    while ((node = turn.prev) != &turn) {
        struct cw_io *io = cw_list_entry(node, struct cw_io, link);

        cw_list_remove(node);
        io->done(io, fake_io(io));
    }
    if (e->open != NULL) {
        struct cw_engine_open *o = e->open;

        e->open = NULL;
        o->done(o, strcmp(o->volume, "busy") == 0 && !o->force ? -EBUSY : 0, &e->volume,
                "VOLUME_IN_USE: volume busy is in use by qemu on h1");
    }
    if (e->close != NULL && cw_list_empty(&e->ios)) {
        struct cw_engine_close *c = e->close;

        e->close = NULL;
        c->done(c, 0);
    }
}

/* With the mutex. */
static void
fake_tasks(struct cw_engine *e)
{
    struct cw_engine_task *t;

    while ((t = e->first) != NULL) {
        e->first = t->next;
        e->last = e->first == NULL ? &e->first : e->last;
        pthread_mutex_unlock(&e->mutex);
        t->fn(t);
        pthread_mutex_lock(&e->mutex);
    }
}

/* Whoever asks for several at a time does so soon, however late his thread runs. */
static void
fake_gather(struct cw_engine *e)
{
    struct timespec until;

    if (!gathers || cw_list_empty(&e->ios))
        return;
    gathers = false;
    if (e->ios.next != e->ios.prev)
        return;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    while (e->first == NULL && !e->stop && pthread_cond_timedwait(&e->cond, &e->mutex, &until) == 0)
        ;
    fake_tasks(e);
}

static void *
fake_main(void *arg)
{
    struct cw_engine *e = arg;

    pthread_mutex_lock(&e->mutex);
    for (;;) {
        while (e->first == NULL && cw_list_empty(&e->ios) && e->open == NULL && e->close == NULL &&
               !e->stop)
            pthread_cond_wait(&e->cond, &e->mutex);
        if (e->stop)
            break;
        fake_tasks(e);
        fake_gather(e);
        pthread_mutex_unlock(&e->mutex);
        fake_turn_end(e);
        pthread_mutex_lock(&e->mutex);
    }
    pthread_mutex_unlock(&e->mutex);
    return NULL;
}

int
cw_engine_new(const struct cw_engine_opts *opts, char error[static CW_ENGINE_ERROR_SIZE],
              struct cw_engine **ret_e)
{
    struct cw_engine *e = calloc(1, sizeof(*e));

    pthread_mutex_init(&e->mutex, NULL);
    pthread_cond_init(&e->cond, NULL);
    cw_list_init(&e->ios);
    e->last = &e->first;
    e->volume.engine = e;
    pthread_create(&e->thread, NULL, fake_main, e);
    *ret_e = e;
    return 0;
}

void
cw_engine_free(struct cw_engine *e)
{
    pthread_mutex_lock(&e->mutex);
    e->stop = true;
    pthread_cond_signal(&e->cond);
    pthread_mutex_unlock(&e->mutex);
    pthread_join(e->thread, NULL);
    pthread_mutex_destroy(&e->mutex);
    pthread_cond_destroy(&e->cond);
    free(e);
}

int
cw_engine_wait_cluster(struct cw_engine *e, uint64_t timeout_ms,
                       char error[static CW_ENGINE_ERROR_SIZE])
{
    return 0;
}

void
cw_engine_post(struct cw_engine *e, struct cw_engine_task *t)
{
    t->next = NULL;
    pthread_mutex_lock(&e->mutex);
    *e->last = t;
    e->last = &t->next;
    pthread_cond_signal(&e->cond);
    pthread_mutex_unlock(&e->mutex);
}

int
cw_engine_run(struct cw_engine *e, int (*fn)(void *arg), void *arg)
{
    return fn(arg);
}

void
cw_engine_open(struct cw_engine *e, struct cw_engine_open *o)
{
    e->open = o;
}

void
cw_engine_open_cancel(struct cw_engine_open *o)
{
}

bool
cw_engine_volume_acks_replicated(const struct cw_engine_volume *v)
{
    return false;
}

uint64_t
cw_engine_volume_size(const struct cw_engine_volume *v)
{
    return size_bytes;
}

void
cw_engine_submit(struct cw_engine_volume *v, struct cw_io *io)
{
    cw_list_push_back(&v->engine->ios, &io->link);
}

void
cw_engine_close(struct cw_engine_volume *take_v, struct cw_engine_close *c)
{
    take_v->engine->close = c;
}
