/* mem/buf.c - buffers by size class, the warm ones first.
 *
 *   small (4, 16, 64 KiB):  slices of extents of 1 MiB, which stay mapped until the pool ends; the
 *                           pages of a slice that is trimmed are given back
 *   large:                  one allocation each; freed when trimmed
 *
 * So what is handed out and cached is what is resident: an aligned allocation of 4 KiB of its own
 * would touch two pages, and freed ones between those in use would stay resident.
 */
#include "common/mem/buf.h"

#include <stdlib.h>

#include "common/base/bits.h"

#define EXTENT_BYTES CW_MIB
#define N_SMALL 3u

static const uint32_t class_size[] = {
    4 * CW_KIB, 16 * CW_KIB, 64 * CW_KIB, 256 * CW_KIB, CW_MIB + 64 * CW_KIB, 2 * CW_MIB,
};

struct extent {
    struct cw_list link;
    uint8_t *mem;
    struct cw_buf slices[];
};

struct cw_buf_pool {
    uint64_t limit, used, cached; /* bytes */
    void (*give_back)(void *mem, size_t len);
    struct cw_list warm[CW_LEN(class_size)]; /* free and resident */
    struct cw_list cold[N_SMALL];            /* free slices whose pages were given back */
    struct cw_list extents;
};

static size_t
pool_class(size_t len)
{
    size_t c = 0;

    cw_assert(len > 0 && len <= CW_BUF_SIZE_MAX);
    while (class_size[c] < len)
        c++;
    return c;
}

/* ---- making and ending ---- */

static void
buf_init(struct cw_buf *b, struct cw_buf_pool *p, uint8_t *data, uint32_t size)
{
    *b = (struct cw_buf){ .data = data, .size = size, .pool = p };
    cw_list_init(&b->link);
}

static struct cw_buf *
large_new(struct cw_buf_pool *p, size_t c)
{
    struct cw_buf *b = malloc(sizeof(*b));
    uint8_t *data = b != NULL ? aligned_alloc(4096, class_size[c]) : NULL;

    if (data == NULL) {
        free(b);
        return NULL;
    }
    buf_init(b, p, data, class_size[c]);
    return b;
}

/* Its slices are cold. */
static bool
extent_new(struct cw_buf_pool *p, size_t c)
{
    size_t n = EXTENT_BYTES / class_size[c];
    struct extent *e = malloc(sizeof(*e) + n * sizeof(e->slices[0]));

    if (e == NULL)
        return false;
    e->mem = aligned_alloc(4096, EXTENT_BYTES);
    if (e->mem == NULL) {
        free(e);
        return false;
    }
    for (size_t i = n; i-- > 0;) {
        buf_init(&e->slices[i], p, e->mem + i * class_size[c], class_size[c]);
        cw_list_push_back(&p->cold[c], &e->slices[i].link);
    }
    cw_list_push_back(&p->extents, &e->link);
    return true;
}

static struct cw_buf *
small_new(struct cw_buf_pool *p, size_t c)
{
    struct cw_buf *b;

    if (cw_list_empty(&p->cold[c]) && !extent_new(p, c))
        return NULL;
    b = cw_list_entry(p->cold[c].prev, struct cw_buf, link);
    cw_list_remove(&b->link);
    return b;
}

static void
pool_cool(struct cw_buf_pool *p, size_t c, struct cw_buf *b)
{
    p->cached -= class_size[c];
    if (c >= N_SMALL) {
        free(b->data);
        free(b);
        return;
    }
    if (p->give_back != NULL)
        p->give_back(b->data, b->size);
    cw_list_push_back(&p->cold[c], &b->link);
}

/* Lets cached buffers of any class go until `need` more bytes fit; the coldest of a class first. */
static void
pool_trim(struct cw_buf_pool *p, uint64_t need)
{
    for (size_t c = CW_LEN(class_size); c-- > 0 && p->used + p->cached + need > p->limit;) {
        struct cw_list *node;

        while (p->used + p->cached + need > p->limit &&
               (node = cw_list_pop_front(&p->warm[c])) != NULL)
            pool_cool(p, c, cw_list_entry(node, struct cw_buf, link));
    }
}

/* ---- the pool ---- */

struct cw_buf_pool *
cw_buf_pool_new(uint64_t limit_bytes)
{
    struct cw_buf_pool *p = calloc(1, sizeof(*p));

    if (p == NULL)
        return NULL;
    p->limit = limit_bytes;
    cw_list_init(&p->extents);
    for (size_t c = 0; c < CW_LEN(class_size); c++)
        cw_list_init(&p->warm[c]);
    for (size_t c = 0; c < N_SMALL; c++)
        cw_list_init(&p->cold[c]);
    return p;
}

void
cw_buf_pool_free(struct cw_buf_pool *p)
{
    struct cw_list *node;

    if (p == NULL)
        return;
    cw_assert(p->used == 0);
    for (size_t c = N_SMALL; c < CW_LEN(class_size); c++) {
        while ((node = cw_list_pop_front(&p->warm[c])) != NULL)
            pool_cool(p, c, cw_list_entry(node, struct cw_buf, link));
    }
    while ((node = cw_list_pop_front(&p->extents)) != NULL) {
        struct extent *e = cw_list_entry(node, struct extent, link);

        free(e->mem);
        free(e);
    }
    free(p);
}

void
cw_buf_pool_set_give_back(struct cw_buf_pool *p, void (*give_back)(void *mem, size_t len))
{
    p->give_back = give_back;
}

uint64_t
cw_buf_pool_used(const struct cw_buf_pool *p)
{
    return p->used;
}

uint64_t
cw_buf_pool_resident(const struct cw_buf_pool *p)
{
    return p->used + p->cached;
}

uint64_t
cw_buf_pool_limit(const struct cw_buf_pool *p)
{
    return p->limit;
}

void
cw_buf_pool_charge(struct cw_buf_pool *p, uint64_t bytes)
{
    pool_trim(p, bytes);
    p->used += bytes;
}

void
cw_buf_pool_uncharge(struct cw_buf_pool *p, uint64_t bytes)
{
    cw_assert(p->used >= bytes);
    p->used -= bytes;
}

/* ---- buffers ---- */

struct cw_buf *
cw_buf_get(struct cw_buf_pool *p, size_t len)
{
    size_t c = pool_class(len);
    struct cw_buf *b;

    if (p->used + class_size[c] > p->limit)
        return NULL;
    if (!cw_list_empty(&p->warm[c])) {
        /* last in, first out: the warm one */
        b = cw_list_entry(p->warm[c].prev, struct cw_buf, link);
        cw_list_remove(&b->link);
        p->cached -= class_size[c];
    } else {
        pool_trim(p, class_size[c]);
        b = c < N_SMALL ? small_new(p, c) : large_new(p, c);
    }
    if (b == NULL)
        return NULL;
    b->refs = 1;
    p->used += class_size[c];
    return b;
}

struct cw_buf *
cw_buf_ref(struct cw_buf *b)
{
    cw_assert(b->refs > 0);
    b->refs++;
    return b;
}

void
cw_buf_unref(struct cw_buf *b)
{
    if (b == NULL)
        return;
    cw_assert(b->refs > 0);
    if (--b->refs > 0)
        return;
    cw_assert(cw_list_empty(&b->link));
    b->pool->used -= b->size;
    b->pool->cached += b->size;
    cw_list_push_back(&b->pool->warm[pool_class(b->size)], &b->link);
}
