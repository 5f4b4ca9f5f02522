/* The ring of slots is Dmitry Vyukov's bounded queue: a slot's turn says whether it is free for the
 * poster (turn == position) or full for the receiver (turn == position + 1).
 *
 * `told` is true while a wake-up is under way or not needed: who turns it from false to true writes
 * the eventfd. The receiver clears it before it looks for the last time. */
#include "common/reactor/inbox.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/base/bits.h"

struct slot {
    _Atomic uint32_t turn;
    struct cw_inbox_item *item;
};

struct cw_inbox {
    _Alignas(64) _Atomic uint32_t tail; /* posters */
    _Alignas(64) _Atomic bool told;
    _Alignas(64) uint32_t head; /* the receiver's */
    uint32_t n;
    int fd;
    struct slot *slots;
};

struct cw_inbox *
cw_inbox_new(uint32_t n_items)
{
    struct cw_inbox *b = aligned_alloc(64, cw_align_up(sizeof(*b), 64));

    cw_assert(cw_is_pow2(n_items) && n_items >= 2 && n_items <= 1u << 30);
    if (b == NULL)
        return NULL;
    *b = (struct cw_inbox){ .n = n_items, .fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC) };
    b->slots = calloc(n_items, sizeof(*b->slots));
    if (b->fd < 0 || b->slots == NULL) {
        cw_inbox_free(b);
        return NULL;
    }
    for (uint32_t i = 0; i < n_items; i++)
        atomic_init(&b->slots[i].turn, i);
    return b;
}

void
cw_inbox_free(struct cw_inbox *b)
{
    if (b == NULL)
        return;
    if (b->fd >= 0)
        close(b->fd);
    free(b->slots);
    free(b);
}

static void
inbox_tell(struct cw_inbox *b)
{
    uint64_t one = 1;
    ssize_t n;

    if (atomic_exchange_explicit(&b->told, true, memory_order_acq_rel))
        return;
    do
        n = write(b->fd, &one, sizeof(one));
    while (n < 0 && errno == EINTR);
    cw_assert(n == sizeof(one) || errno == EAGAIN); /* EAGAIN: readable already */
}

bool
cw_inbox_post(struct cw_inbox *b, struct cw_inbox_item *item)
{
    uint32_t at = atomic_load_explicit(&b->tail, memory_order_relaxed);

    for (;;) {
        struct slot *s = &b->slots[at & (b->n - 1)];
        int32_t ahead = (int32_t)(atomic_load_explicit(&s->turn, memory_order_acquire) - at);

        if (ahead < 0)
            return false;
        if (ahead > 0) {
            at = atomic_load_explicit(&b->tail, memory_order_relaxed);
        } else if (atomic_compare_exchange_weak_explicit(
                       &b->tail, &at, at + 1, memory_order_relaxed, memory_order_relaxed)) {
            s->item = item;
            atomic_store_explicit(&s->turn, at + 1, memory_order_release);
            inbox_tell(b);
            return true;
        }
    }
}

int
cw_inbox_fd(const struct cw_inbox *b)
{
    return b->fd;
}

static bool
inbox_has(struct cw_inbox *b)
{
    const struct slot *s = &b->slots[b->head & (b->n - 1)];

    return atomic_load_explicit(&s->turn, memory_order_acquire) == b->head + 1;
}

static struct cw_inbox_item *
inbox_take(struct cw_inbox *b)
{
    struct slot *s = &b->slots[b->head & (b->n - 1)];
    struct cw_inbox_item *item;

    if (!inbox_has(b))
        return NULL;
    item = s->item;
    atomic_store_explicit(&s->turn, b->head + b->n, memory_order_release);
    b->head++;
    return item;
}

void
cw_inbox_hush(struct cw_inbox *b)
{
    uint64_t count;
    ssize_t n = read(b->fd, &count, sizeof(count));

    cw_assert(n == sizeof(count) || errno == EAGAIN || errno == EINTR);
}

uint32_t
cw_inbox_run(struct cw_inbox *b, uint32_t n_max)
{
    struct cw_inbox_item *item;
    uint32_t n = 0;

    cw_inbox_hush(b);
    atomic_exchange_explicit(&b->told, false, memory_order_acq_rel);
    if (n_max == 0)
        n_max = b->n;
    while (n < n_max && (item = inbox_take(b)) != NULL) {
        item->fn(item);
        n++;
    }
    if (inbox_has(b))
        inbox_tell(b);
    return n;
}

uint32_t
cw_inbox_run_awake(struct cw_inbox *b)
{
    struct cw_inbox_item *item;
    uint32_t n = 0;

    while (n < b->n && (item = inbox_take(b)) != NULL) {
        item->fn(item);
        n++;
    }
    return n;
}

void
cw_inbox_awake(struct cw_inbox *b)
{
    atomic_exchange_explicit(&b->told, true, memory_order_acq_rel);
}

bool
cw_inbox_sleep(struct cw_inbox *b)
{
    atomic_exchange_explicit(&b->told, false, memory_order_acq_rel);
    if (!inbox_has(b))
        return true;
    cw_inbox_awake(b);
    return false;
}
