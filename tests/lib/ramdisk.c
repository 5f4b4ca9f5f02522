#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/codec/hash.h"
#include "tests/lib/ramdisk-internal.h"

static struct cw_ramdisk *
ramdisk_of(struct cw_disk *disk)
{
    return cw_container_of(disk, struct cw_ramdisk, disk);
}

/* ---- latent read errors ---- */

static void
ramdisk_unlatent(struct cw_ramdisk *d, uint64_t off, uint64_t len)
{
    for (uint32_t i = 0; i < d->n_latent;) {
        uint64_t a = d->latent[i].off, end = a + d->latent[i].len;

        if (!cw_ranges_overlap(a, end - a, off, len)) {
            i++;
            continue;
        }
        d->latent[i] = d->latent[--d->n_latent];
        if (a < off)
            cw_ramdisk_latent(d, a, off - a);
        if (end > off + len)
            cw_ramdisk_latent(d, off + len, end - off - len);
    }
}

static bool
ramdisk_is_latent(const struct cw_ramdisk *d, uint64_t off, uint64_t len)
{
    for (uint32_t i = 0; i < d->n_latent; i++) {
        if (cw_ranges_overlap(d->latent[i].off, d->latent[i].len, off, len))
            return true;
    }
    return false;
}

/* ---- I/O ---- */

static uint64_t
io_hash(const struct cw_disk_io *io)
{
    uint64_t h = 0;

    for (uint32_t i = 0; i < io->n_iov; i++)
        h = cw_mix64(h ^ cw_hash(io->iov[i].iov_base, io->iov[i].iov_len));
    return h;
}

void
ramdisk_each_sector(const struct cw_disk_io *io, uint64_t off, sector_fn *fn, void *user)
{
    for (uint32_t i = 0; i < io->n_iov; i++) {
        for (size_t at = 0; at < io->iov[i].iov_len; at += SECTOR, off += SECTOR)
            fn(user, off / SECTOR, (uint8_t *)io->iov[i].iov_base + at);
    }
}

static void
io_read_sector(void *user, uint64_t sector, uint8_t *data)
{
    uint8_t scratch[SECTOR] __attribute__((aligned(64)));
    struct cw_ramdisk *d = user;

    memcpy(data, page_bytes(ramdisk_slot(d, sector).seen, scratch), SECTOR);
}

static void
io_write_cached(void *user, uint64_t sector, uint8_t *data)
{
    ramdisk_store_cached(user, sector, data);
}

static void
io_write_stable(void *user, uint64_t sector, uint8_t *data)
{
    ramdisk_store_stable(user, sector, data);
}

static void
io_write_some(void *user, uint64_t sector, uint8_t *data)
{
    struct cw_ramdisk *d = user;

    if (cw_prng_next(&d->prng) & 1)
        ramdisk_store_cached(d, sector, data);
}

static void
ramdisk_write(struct cw_ramdisk *d, struct cw_disk_io *io, uint64_t off)
{
    cw_assert(io->priv[IO_HASH] == io_hash(io));
    if (off + io->len > d->disk.bytes)
        return; /* misdirected over the end */
    ramdisk_unlatent(d, off, io->len);
    if (io->op == CW_DISK_WRITE || d->lie) {
        ramdisk_each_sector(io, off, io_write_cached, d);
    } else {
        ramdisk_forget_dirty(d, off / SECTOR, io->len / SECTOR);
        ramdisk_each_sector(io, off, io_write_stable, d);
    }
}

static int
ramdisk_fail(struct cw_ramdisk *d, struct cw_disk_io *io)
{
    if (!d->unplugged && (io->op == CW_DISK_WRITE || io->op == CW_DISK_WRITE_SYNC))
        ramdisk_each_sector(io, io->off, io_write_some, d);
    return -EIO;
}

static int
ramdisk_apply(struct cw_ramdisk *d, struct cw_disk_io *io)
{
    uint64_t fault = io->priv[IO_FAULT];

    if (d->unplugged || fault == CW_RAMDISK_EIO)
        return ramdisk_fail(d, io);
    switch (io->op) {
    case CW_DISK_READ:
        if (ramdisk_is_latent(d, io->off, io->len))
            return -EIO;
        ramdisk_each_sector(io, io->off, io_read_sector, d);
        return 0;
    case CW_DISK_WRITE:
    case CW_DISK_WRITE_SYNC:
        if (fault == CW_RAMDISK_LOSE)
            return 0;
        ramdisk_write(d, io,
                      fault == CW_RAMDISK_MISDIRECT ? io->off + (uint64_t)d->fault_arg : io->off);
        return 0;
    case CW_DISK_FLUSH:
        if (!d->lie)
            ramdisk_flush(d, io->priv[IO_ORDER]);
        return 0;
    case CW_DISK_DISCARD:
        for (uint64_t at = io->off; at < io->off + io->len; at += SECTOR) {
            if (ramdisk_slot(d, at / SECTOR).seen != NULL)
                ramdisk_store_cached(d, at / SECTOR, ramdisk_zeroes);
        }
        return 0;
    }
    cw_unreachable();
}

static void
ramdisk_arm(struct cw_ramdisk *d)
{
    uint64_t at_ns = CW_NEVER;

    CW_LIST_EACH (it, &d->under_way)
        at_ns = cw_min_u64(at_ns, cw_list_entry(it, struct cw_disk_io, link)->priv[IO_DUE]);
    if (at_ns != CW_NEVER)
        cw_timer_set(d->opts.env, &d->timer, at_ns);
}

/* ---- trace ---- */

static void
trace_submit(struct cw_ramdisk *d, const struct cw_disk_io *io)
{
    if (!d->tracing)
        return;
    if (d->n_trace == d->cap_trace) {
        d->cap_trace = d->cap_trace == 0 ? 1024 : 2 * d->cap_trace;
        d->trace = realloc(d->trace, d->cap_trace * sizeof(*d->trace));
        cw_assert(d->trace != NULL);
    }
    d->trace[d->n_trace++] = (struct cw_ramdisk_io){
        .op = io->op,
        .off = io->off,
        .len = io->len,
        .hash = io->priv[IO_HASH],
        .submitted_ns = cw_now_ns(d->opts.env),
        .order = io->priv[IO_ORDER],
    };
}

static void
trace_done(struct cw_ramdisk *d, const struct cw_disk_io *io, int res)
{
    for (uint32_t i = d->n_trace; d->tracing && i > 0; i--) {
        struct cw_ramdisk_io *t = &d->trace[i - 1];

        if (t->order != io->priv[IO_ORDER])
            continue;
        t->done = true;
        t->res = res;
        t->done_ns = cw_now_ns(d->opts.env);
        return;
    }
}

void
cw_ramdisk_trace(struct cw_ramdisk *d, bool on)
{
    d->tracing = on;
    d->n_trace = 0;
}

const struct cw_ramdisk_io *
cw_ramdisk_traced(const struct cw_ramdisk *d, uint32_t *ret_n)
{
    *ret_n = d->n_trace;
    return d->trace;
}

/* One completion per turn, so that every order of completions and turns can be met. */
static void
ramdisk_on_timer(struct cw_timer *t)
{
    struct cw_ramdisk *d = cw_container_of(t, struct cw_ramdisk, timer);
    struct cw_disk_io *first = NULL;
    int res;

    CW_LIST_EACH (it, &d->under_way) {
        struct cw_disk_io *io = cw_list_entry(it, struct cw_disk_io, link);

        if (first == NULL || io->priv[IO_DUE] < first->priv[IO_DUE])
            first = io;
    }
    if (first == NULL)
        return;
    cw_list_remove(&first->link);
    res = ramdisk_apply(d, first);
    trace_done(d, first, res);
    ramdisk_arm(d);
    first->done(first, res);
}

static uint64_t
ramdisk_latency(struct cw_ramdisk *d)
{
    uint64_t min = d->opts.latency_min_ns, max = d->opts.latency_max_ns;

    return min + cw_prng_below(&d->prng, max - min + 1);
}

/* The device moves the bytes of one after another, and then it takes its latency. */
static uint64_t
ramdisk_due(struct cw_ramdisk *d, const struct cw_disk_io *io)
{
    uint64_t now_ns = cw_now_ns(d->opts.env), move_ns = 0;

    if (d->opts.bytes_per_s > 0 && io->op != CW_DISK_FLUSH && io->op != CW_DISK_DISCARD)
        move_ns = io->len * CW_NS_PER_S / d->opts.bytes_per_s;
    d->busy_until_ns = cw_max_u64(d->busy_until_ns, now_ns) + move_ns;
    return d->busy_until_ns + ramdisk_latency(d) + d->slow_ns;
}

static uint64_t
ramdisk_pick_fault(struct cw_ramdisk *d, const struct cw_disk_io *io)
{
    if ((d->hold_ops & CW_RAMDISK_OP(io->op)) != 0 && d->hold_len > 0 &&
        cw_ranges_overlap(io->off, io->len, d->hold_off, d->hold_len))
        return CW_RAMDISK_STICK;
    if (d->fault_in == 0 || (d->fault_ops & CW_RAMDISK_OP(io->op)) == 0)
        return IO_NO_FAULT;
    if (d->fault_in > 1) {
        d->fault_in--;
        return IO_NO_FAULT;
    }
    if (--d->fault_count == 0)
        d->fault_in = 0;
    d->n_faults++;
    return d->fault;
}

static void
io_check(const struct cw_ramdisk *d, const struct cw_disk_io *io)
{
    uint64_t len = 0;

    if (io->op == CW_DISK_FLUSH)
        return;
    cw_assert(io->off % SECTOR == 0 && io->len % SECTOR == 0 && io->len > 0);
    cw_assert(io->off <= d->disk.bytes && io->len <= d->disk.bytes - io->off);
    if (io->op == CW_DISK_DISCARD)
        return;
    cw_assert(io->n_iov >= 1 && io->n_iov <= 64);
    for (uint32_t i = 0; i < io->n_iov; i++) {
        cw_assert((uintptr_t)io->iov[i].iov_base % SECTOR == 0);
        cw_assert(io->iov[i].iov_len % SECTOR == 0 && io->iov[i].iov_len > 0);
        len += io->iov[i].iov_len;
    }
    cw_assert(len == io->len);
}

static void
ramdisk_submit(struct cw_disk *disk, struct cw_disk_io *io)
{
    struct cw_ramdisk *d = ramdisk_of(disk);

    io_check(d, io);
    d->count[io->op]++;
    io->priv[IO_DUE] = ramdisk_due(d, io);
    io->priv[IO_ORDER] = d->order++;
    io->priv[IO_FAULT] = ramdisk_pick_fault(d, io);
    io->priv[IO_HASH] = 0;
    if (io->op == CW_DISK_WRITE || io->op == CW_DISK_WRITE_SYNC)
        io->priv[IO_HASH] = io_hash(io);
    trace_submit(d, io);
    if (io->priv[IO_FAULT] == CW_RAMDISK_STICK) {
        cw_list_push_back(&d->stuck, &io->link);
        return;
    }
    cw_list_push_back(&d->under_way, &io->link);
    ramdisk_arm(d);
}

static const struct cw_disk_ops ramdisk_ops = { .submit = ramdisk_submit };

struct cw_ramdisk *
cw_ramdisk_new(struct cw_ramdisk_opts opts)
{
    struct cw_ramdisk *d = calloc(1, sizeof(*d));

    cw_assert(d != NULL && opts.bytes % SECTOR == 0);
    if (opts.latency_max_ns == 0) {
        opts.latency_min_ns = 20 * CW_NS_PER_US;
        opts.latency_max_ns = 200 * CW_NS_PER_US;
    }
    d->disk = (struct cw_disk){ .ops = &ramdisk_ops, .bytes = opts.bytes };
    d->opts = opts;
    d->timer.fn = ramdisk_on_timer;
    cw_prng_init(&d->prng, opts.seed);
    cw_list_init(&d->under_way);
    cw_list_init(&d->stuck);
    d->leafs = calloc(ramdisk_leafs(d), sizeof(*d->leafs));
    cw_assert(d->leafs != NULL);
    return d;
}

void
cw_ramdisk_free(struct cw_ramdisk *d)
{
    if (d == NULL)
        return;
    cw_timer_cancel(d->opts.env, &d->timer);
    for (uint64_t i = 0; i < ramdisk_leafs(d); i++) {
        for (uint32_t k = 0; d->leafs[i] != NULL && k < LEAF_SECTORS; k++) {
            page_unref(d->leafs[i][k].seen);
            page_unref(d->leafs[i][k].stable);
        }
        free(d->leafs[i]);
    }
    for (size_t i = 0; i < d->n_dirty; i++)
        page_unref(d->dirty[i].page);
    free(d->dirty);
    free(d->leafs);
    free(d->trace);
    free(d);
}

void
cw_ramdisk_resize(struct cw_ramdisk *d, uint64_t bytes)
{
    uint64_t n_leafs = ramdisk_leafs(d);

    cw_assert(cw_list_empty(&d->under_way) && cw_list_empty(&d->stuck) && bytes % SECTOR == 0);
    for (uint64_t at = bytes; at < d->disk.bytes; at += SECTOR) {
        struct slot was = ramdisk_slot(d, at / SECTOR);

        if (was.seen != NULL || was.stable != NULL)
            ramdisk_store_stable(d, at / SECTOR, ramdisk_zeroes);
    }
    ramdisk_forget_dirty(d, bytes / SECTOR, UINT64_MAX - bytes / SECTOR);
    d->disk.bytes = d->opts.bytes = bytes;
    for (uint64_t i = ramdisk_leafs(d); i < n_leafs; i++)
        free(d->leafs[i]);
    d->leafs = realloc(d->leafs, ramdisk_leafs(d) * sizeof(*d->leafs));
    cw_assert(d->leafs != NULL);
    for (uint64_t i = n_leafs; i < ramdisk_leafs(d); i++)
        d->leafs[i] = NULL;
}

struct cw_disk *
cw_ramdisk_disk(struct cw_ramdisk *d)
{
    return &d->disk;
}

/* ---- faults ---- */

void
cw_ramdisk_plan(struct cw_ramdisk *d, enum cw_ramdisk_fault fault, uint32_t ops, uint64_t n,
                uint64_t count, int64_t arg)
{
    d->fault = fault;
    d->fault_ops = ops;
    d->fault_in = count == 0 ? 0 : n;
    d->fault_count = count;
    d->fault_arg = arg;
}

uint64_t
cw_ramdisk_faults(const struct cw_ramdisk *d)
{
    return d->n_faults;
}

static void
io_unstick(struct cw_ramdisk *d, struct cw_list *node, uint64_t fault)
{
    struct cw_disk_io *io = cw_list_entry(node, struct cw_disk_io, link);

    io->priv[IO_DUE] = cw_now_ns(d->opts.env);
    io->priv[IO_FAULT] = fault;
    cw_list_push_back(&d->under_way, node);
}

void
cw_ramdisk_unstick_ops(struct cw_ramdisk *d, uint32_t ops)
{
    struct cw_list were;
    struct cw_list *node;

    cw_list_init(&were);
    cw_list_splice_back(&were, &d->stuck);
    while ((node = cw_list_pop_front(&were)) != NULL) {
        if (ops & CW_RAMDISK_OP(cw_list_entry(node, struct cw_disk_io, link)->op))
            io_unstick(d, node, IO_NO_FAULT);
        else
            cw_list_push_back(&d->stuck, node);
    }
    ramdisk_arm(d);
}

static void
unstick_one(struct cw_ramdisk *d, uint32_t i, uint64_t fault)
{
    struct cw_list *node = d->stuck.next;

    for (; i > 0 && node != &d->stuck; i--)
        node = node->next;
    cw_assert(node != &d->stuck);
    cw_list_remove(node);
    io_unstick(d, node, fault);
    ramdisk_arm(d);
}

void
cw_ramdisk_unstick_one(struct cw_ramdisk *d, uint32_t i)
{
    unstick_one(d, i, IO_NO_FAULT);
}

void
cw_ramdisk_fail_one(struct cw_ramdisk *d, uint32_t i)
{
    unstick_one(d, i, CW_RAMDISK_EIO);
}

void
cw_ramdisk_unstick(struct cw_ramdisk *d)
{
    cw_ramdisk_unstick_ops(d, CW_RAMDISK_ANY_OP);
}

uint32_t
cw_ramdisk_stuck(const struct cw_ramdisk *d)
{
    uint32_t n = 0;

    CW_LIST_EACH (it, &d->stuck)
        n++;
    return n;
}

void
cw_ramdisk_hold(struct cw_ramdisk *d, uint32_t ops, uint64_t off, uint64_t len)
{
    d->hold_ops = ops;
    d->hold_off = off;
    d->hold_len = len;
}

void
cw_ramdisk_slow(struct cw_ramdisk *d, uint64_t extra_ns)
{
    d->slow_ns = extra_ns;
}

void
cw_ramdisk_unplug(struct cw_ramdisk *d)
{
    d->unplugged = true;
}

void
cw_ramdisk_replug(struct cw_ramdisk *d)
{
    d->unplugged = false;
}

void
cw_ramdisk_move(struct cw_ramdisk *d, struct cw_env *env)
{
    cw_assert(cw_list_empty(&d->under_way) && cw_list_empty(&d->stuck));
    cw_timer_cancel(d->opts.env, &d->timer);
    d->opts.env = env;
    d->busy_until_ns = 0;
}

void
cw_ramdisk_lie(struct cw_ramdisk *d, bool lie)
{
    d->lie = lie;
}

void
cw_ramdisk_latent(struct cw_ramdisk *d, uint64_t off, uint64_t len)
{
    uint64_t first = cw_align_down(off, SECTOR);

    cw_assert(d->n_latent < LATENT_MAX);
    d->latent[d->n_latent].off = first;
    d->latent[d->n_latent++].len = cw_align_up(off + len, SECTOR) - first;
}

uint32_t
cw_ramdisk_n_latent(const struct cw_ramdisk *d)
{
    return d->n_latent;
}

void
cw_ramdisk_flip(struct cw_ramdisk *d, uint64_t byte, uint8_t mask)
{
    uint8_t was;

    cw_ramdisk_peek(d, byte, &was, 1);
    was ^= mask;
    cw_ramdisk_poke(d, byte, &was, 1);
}

/* ---- looking ---- */

void
cw_ramdisk_peek(const struct cw_ramdisk *d, uint64_t off, void *to, uint64_t len)
{
    uint8_t scratch[SECTOR] __attribute__((aligned(64)));
    cw_assert(off <= d->disk.bytes && len <= d->disk.bytes - off);
    for (uint64_t at = 0; at < len;) {
        uint64_t in = (off + at) % SECTOR, n = cw_min_u64(SECTOR - in, len - at);

        memcpy((uint8_t *)to + at,
               page_bytes(ramdisk_slot(d, (off + at) / SECTOR).seen, scratch) + in, n);
        at += n;
    }
}

bool
cw_ramdisk_find(const struct cw_ramdisk *d, uint64_t from, const void *sector, uint64_t *ret_off)
{
    uint8_t scratch[SECTOR] __attribute__((aligned(64)));
    for (uint64_t i = from / SECTOR; i < d->disk.bytes / SECTOR; i++) {
        if (memcmp(page_bytes(ramdisk_slot(d, i).seen, scratch), sector, SECTOR) != 0)
            continue;
        *ret_off = i * SECTOR;
        return true;
    }
    return false;
}

void
cw_ramdisk_poke(struct cw_ramdisk *d, uint64_t off, const void *from, uint64_t len)
{
    uint8_t page[SECTOR] __attribute__((aligned(64)));

    cw_assert(off <= d->disk.bytes && len <= d->disk.bytes - off);
    for (uint64_t at = 0; at < len;) {
        uint64_t in = (off + at) % SECTOR, n = cw_min_u64(SECTOR - in, len - at);

        cw_ramdisk_peek(d, off + at - in, page, SECTOR);
        memcpy(page + in, (const uint8_t *)from + at, n);
        ramdisk_forget_dirty(d, (off + at) / SECTOR, 1);
        ramdisk_store_stable(d, (off + at) / SECTOR, page);
        at += n;
    }
}

uint64_t
cw_ramdisk_count(const struct cw_ramdisk *d, uint32_t ops)
{
    uint64_t n = 0;

    for (uint32_t op = 0; op < CW_LEN(d->count); op++)
        n += ops & CW_RAMDISK_OP(op) ? d->count[op] : 0;
    return n;
}

uint32_t
cw_ramdisk_under_way(const struct cw_ramdisk *d)
{
    uint32_t n = cw_ramdisk_stuck(d);

    CW_LIST_EACH (it, &d->under_way)
        n++;
    return n;
}
