#include "common/mem/buf.h"

#include <stdlib.h>

#include "common/base/bits.h"

static const uint32_t class_size[] = {
    4 * CW_KIB, 16 * CW_KIB, 64 * CW_KIB, 256 * CW_KIB, CW_MIB + 64 * CW_KIB, 2 * CW_MIB,
};

struct cw_buf_pool {
    uint64_t limit, used, cached; /* bytes */
    struct cw_list free[CW_LEN(class_size)];
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

static void
pool_destroy(struct cw_buf *b)
{
    free(b->data);
    free(b);
}

/* Gives cached buffers of any class back to the system until `need` more bytes fit. */
static void
pool_trim(struct cw_buf_pool *p, uint64_t need)
{
    for (size_t c = CW_LEN(class_size); c-- > 0 && p->used + p->cached + need > p->limit;) {
        struct cw_list *node;

        while (p->used + p->cached + need > p->limit &&
               (node = cw_list_pop_front(&p->free[c])) != NULL) {
            p->cached -= class_size[c];
            pool_destroy(cw_list_entry(node, struct cw_buf, link));
        }
    }
}

struct cw_buf_pool *
cw_buf_pool_new(uint64_t limit_bytes)
{
    struct cw_buf_pool *p = calloc(1, sizeof(*p));

    if (p == NULL)
        return NULL;
    p->limit = limit_bytes;
    for (size_t c = 0; c < CW_LEN(class_size); c++)
        cw_list_init(&p->free[c]);
    return p;
}

void
cw_buf_pool_free(struct cw_buf_pool *p)
{
    if (p == NULL)
        return;
    cw_assert(p->used == 0);
    for (size_t c = 0; c < CW_LEN(class_size); c++) {
        struct cw_list *node;

        while ((node = cw_list_pop_front(&p->free[c])) != NULL)
            pool_destroy(cw_list_entry(node, struct cw_buf, link));
    }
    free(p);
}

uint64_t
cw_buf_pool_used(const struct cw_buf_pool *p)
{
    return p->used;
}

uint64_t
cw_buf_pool_limit(const struct cw_buf_pool *p)
{
    return p->limit;
}

struct cw_buf *
cw_buf_get(struct cw_buf_pool *p, size_t len)
{
    size_t c = pool_class(len);
    struct cw_buf *b;

    if (p->used + class_size[c] > p->limit)
        return NULL;
    if (!cw_list_empty(&p->free[c])) {
        /* last in, first out: the warm one */
        b = cw_list_entry(p->free[c].prev, struct cw_buf, link);
        cw_list_remove(&b->link);
        p->cached -= class_size[c];
    } else {
        pool_trim(p, class_size[c]);
        b = malloc(sizeof(*b));
        if (b == NULL)
            return NULL;
        b->data = aligned_alloc(4096, class_size[c]);
        if (b->data == NULL) {
            free(b);
            return NULL;
        }
        b->size = class_size[c];
        b->pool = p;
        cw_list_init(&b->link);
    }
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
    cw_list_push_back(&b->pool->free[pool_class(b->size)], &b->link);
}
