#include "client/admin/load.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/uio.h>

#include "client/admin/progress.h"
#include "client/lib/latch.h"
#include "common/base/bits.h"
#include "common/base/prng.h"
#include "common/owner/owner.h"

#define DRAIN_NS (10 * CW_NS_PER_S)
#define POLL_MS 100

struct load_job {
    struct cw_prng prng;
    uint64_t next, begin, end; /* sequential: in requests */
};

struct load_op {
    struct cw_io io;
    struct iovec iov;
    struct load *load;
    struct load_job *job;
    uint64_t begun_ns;
};

/* Everything but the mutex's part belongs to the reactor thread while the load runs. */
struct load {
    struct cw_volio *vio;
    struct cw_load_opts opts;
    struct cw_engine_task start, stop;
    struct load_job *jobs;
    struct load_op *ops;
    uint8_t *data; /* a piece per op */
    uint64_t n_ops, n_busy, n_slots, submitted_bytes, begun_ns, stamp;
    bool stopping;
    struct cw_load_result *result;

    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool over, stop_posted;
    uint64_t done_bytes; /* __atomic, for the progress line */
};

bool
cw_load_parse_rw(const char *text, enum cw_load_kind *ret_kind, bool *ret_random)
{
    static const struct {
        const char *name;
        enum cw_load_kind kind;
        bool random;
    } rws[] = {
        { "read", CW_LOAD_READ, false },    { "write", CW_LOAD_WRITE, false },
        { "rw", CW_LOAD_MIXED, false },     { "readwrite", CW_LOAD_MIXED, false },
        { "randread", CW_LOAD_READ, true }, { "randwrite", CW_LOAD_WRITE, true },
        { "randrw", CW_LOAD_MIXED, true },
    };

    for (size_t i = 0; i < CW_LEN(rws); i++) {
        if (strcmp(text, rws[i].name) == 0) {
            *ret_kind = rws[i].kind;
            *ret_random = rws[i].random;
            return true;
        }
    }
    return false;
}

static uint64_t
load_cpu_ns(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * CW_NS_PER_S +
           (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * CW_NS_PER_US;
}

static uint64_t
load_next_off(struct load *l, struct load_job *j)
{
    uint64_t slot;

    if (l->opts.random)
        return cw_prng_below(&j->prng, l->n_slots) * l->opts.bs_bytes;
    slot = j->next++;
    if (j->next == j->end)
        j->next = j->begin;
    return slot * l->opts.bs_bytes;
}

static enum cw_io_op
load_next_op(struct load *l, struct load_job *j)
{
    switch (l->opts.kind) {
    case CW_LOAD_READ:
        return CW_IO_READ;
    case CW_LOAD_WRITE:
        return CW_IO_WRITE;
    case CW_LOAD_MIXED:
        return cw_prng_below(&j->prng, 100) < l->opts.read_percent ? CW_IO_READ : CW_IO_WRITE;
    }
    cw_unreachable();
}

/* No two writes carry the same blocks, so that nothing on the way may take them for equal. */
static void
load_stamp(struct load *l, uint8_t *data, uint64_t len)
{
    for (uint64_t at = 0; at + sizeof(uint64_t) <= len; at += CW_BLOCK_SIZE) {
        uint64_t stamp = ++l->stamp;

        memcpy(data + at, &stamp, sizeof(stamp));
    }
}

static void load_on_done(struct cw_io *io, int res);

static void
load_submit(struct load *l, struct load_op *op, uint64_t now_ns)
{
    uint64_t len = l->opts.bs_bytes;

    op->io = (struct cw_io){ .op = load_next_op(l, op->job),
                             .off = load_next_off(l, op->job),
                             .len = len,
                             .iov = &op->iov,
                             .n_iov = 1,
                             .done = load_on_done,
                             .user = op };
    if (op->io.op == CW_IO_READ)
        op->io.flags = CW_IO_TAKE_BUF;
    else
        load_stamp(l, op->iov.iov_base, len);
    op->begun_ns = now_ns;
    l->submitted_bytes += len;
    cw_engine_submit(l->vio->volume, &op->io);
}

static bool
load_goes_on(const struct load *l, uint64_t now_ns)
{
    return !l->stopping && l->submitted_bytes < l->opts.size_bytes &&
           now_ns - l->begun_ns < l->opts.runtime_ns;
}

static void
load_end(struct load *l, uint64_t now_ns)
{
    l->result->took_ns = now_ns - l->begun_ns;
    l->result->cpu_ns = load_cpu_ns() - l->result->cpu_ns;
    pthread_mutex_lock(&l->mutex);
    l->over = true;
    pthread_cond_signal(&l->cond);
    pthread_mutex_unlock(&l->mutex);
}

static void
load_on_done(struct cw_io *io, int res)
{
    struct load_op *op = io->user;
    struct load *l = op->load;
    struct cw_load_side *side = io->op == CW_IO_READ ? &l->result->read : &l->result->write;
    uint64_t now_ns = cw_progress_now_ns();

    cw_buf_unref(io->buf); /* NULL unless a read gave its buffer */
    if (res == 0) {
        side->ops++;
        side->bytes += io->len;
        cw_histogram_add(&side->latency, now_ns - op->begun_ns);
        __atomic_fetch_add(&l->done_bytes, io->len, __ATOMIC_RELAXED);
    } else if (l->result->res == 0) {
        l->result->res = res;
        l->result->fail_off = io->off;
        l->stopping = true;
    }
    if (load_goes_on(l, now_ns))
        load_submit(l, op, now_ns);
    else if (--l->n_busy == 0)
        load_end(l, now_ns);
}

static void
load_do_start(struct cw_engine_task *t)
{
    struct load *l = cw_container_of(t, struct load, start);

    l->begun_ns = cw_progress_now_ns();
    l->result->cpu_ns = load_cpu_ns();
    for (uint64_t i = 0; i < l->n_ops && load_goes_on(l, l->begun_ns); i++) {
        l->n_busy++;
        load_submit(l, &l->ops[i], l->begun_ns);
    }
}

static void
load_do_stop(struct cw_engine_task *t)
{
    struct load *l = cw_container_of(t, struct load, stop);

    l->stopping = true;
    pthread_mutex_lock(&l->mutex);
    l->stop_posted = false;
    pthread_cond_signal(&l->cond);
    pthread_mutex_unlock(&l->mutex);
}

static uint64_t
load_total(const struct cw_load_opts *o, uint64_t done_bytes, uint64_t elapsed_ns)
{
    if (o->size_bytes != CW_NEVER)
        return o->size_bytes;
    return (uint64_t)((double)done_bytes * (double)o->runtime_ns / (double)(elapsed_ns + 1));
}

/* Until it is over; false if requests are still under way DRAIN_NS after it was to end. */
static bool
load_wait(struct load *l, struct cw_progress *p)
{
    uint64_t until =
        l->opts.runtime_ns == CW_NEVER ? CW_NEVER : p->begun_ns + l->opts.runtime_ns + DRAIN_NS;
    bool asked = false;

    while (!l->over) {
        struct timespec t;
        uint64_t now = cw_progress_now_ns(), done;

        if (cw_cli_interrupted() && !asked) {
            asked = l->stop_posted = true;
            cw_engine_post(l->vio->engine, &l->stop);
            until = now + DRAIN_NS;
        }
        if (now > until && !l->stop_posted)
            return false;
        done = __atomic_load_n(&l->done_bytes, __ATOMIC_RELAXED);
        cw_progress_step(p, done, load_total(&l->opts, done, now - p->begun_ns), now);
        t = cw_latch_until(POLL_MS);
        pthread_cond_timedwait(&l->cond, &l->mutex, &t);
    }
    return true;
}

static void
load_init_jobs(struct load *l)
{
    uint64_t per_job = l->n_slots / l->opts.jobs;

    for (uint64_t j = 0; j < l->opts.jobs; j++) {
        struct load_job *job = &l->jobs[j];

        cw_prng_init(&job->prng, l->opts.seed + j);
        job->begin = job->next = j * per_job;
        job->end = j + 1 == l->opts.jobs ? l->n_slots : job->begin + per_job;
    }
}

static void
load_init_ops(struct load *l)
{
    struct cw_prng prng;

    cw_prng_init(&prng, l->opts.seed ^ UINT64_C(0x6c6f6164));
    for (uint64_t at = 0; at < l->n_ops * l->opts.bs_bytes; at += sizeof(uint64_t)) {
        uint64_t x = cw_prng_next(&prng);

        memcpy(l->data + at, &x, sizeof(x));
    }
    l->stamp = l->opts.seed << 32;
    for (uint64_t i = 0; i < l->n_ops; i++) {
        struct load_op *op = &l->ops[i];

        op->load = l;
        op->job = &l->jobs[i % l->opts.jobs];
        op->iov = (struct iovec){ .iov_base = l->data + i * l->opts.bs_bytes,
                                  .iov_len = l->opts.bs_bytes };
    }
}

static struct load *
load_new(struct cw_volio *vio, const struct cw_load_opts *opts, struct cw_load_result *ret)
{
    struct load *l = calloc(1, sizeof(*l));

    if (l == NULL)
        abort();
    l->vio = vio;
    l->opts = *opts;
    l->result = ret;
    l->n_ops = opts->depth * opts->jobs;
    l->n_slots = vio->size_bytes / opts->bs_bytes;
    l->start.fn = load_do_start;
    l->stop.fn = load_do_stop;
    l->jobs = calloc(opts->jobs, sizeof(*l->jobs));
    l->ops = calloc(l->n_ops, sizeof(*l->ops));
    l->data = aligned_alloc(CW_BLOCK_SIZE, cw_align_up(l->n_ops * opts->bs_bytes, CW_BLOCK_SIZE));
    if (l->jobs == NULL || l->ops == NULL || l->data == NULL)
        abort();
    pthread_mutex_init(&l->mutex, NULL);
    cw_latch_cond_init(&l->cond);
    load_init_jobs(l);
    load_init_ops(l);
    return l;
}

static void
load_free(struct load *l)
{
    pthread_mutex_destroy(&l->mutex);
    pthread_cond_destroy(&l->cond);
    free(l->data);
    free(l->ops);
    free(l->jobs);
    free(l);
}

bool
cw_load_run(struct cw_volio *vio, const struct cw_load_opts *opts, struct cw_load_result *ret)
{
    struct cw_progress p;
    struct load *l;
    bool over;

    memset(ret, 0, sizeof(*ret));
    l = load_new(vio, opts, ret);
    cw_progress_init(&p, vio->cli, opts->what, cw_progress_now_ns());
    cw_engine_post(vio->engine, &l->start);
    pthread_mutex_lock(&l->mutex);
    over = load_wait(l, &p);
    pthread_mutex_unlock(&l->mutex);
    cw_progress_fini(&p);
    if (over)
        load_free(l); /* else its requests are still the owner's: the program ends soon */
    else
        ret->res = -ETIMEDOUT;
    return over;
}
