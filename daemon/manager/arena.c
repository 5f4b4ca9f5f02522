#include "daemon/manager/arena.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"

#define CHUNK_BYTES 4096u

struct chunk {
    struct chunk *next;
    size_t used, size;
    _Alignas(16) uint8_t bytes[];
};

struct cw_mgr_arena {
    struct chunk *chunks;
};

struct cw_mgr_arena *
cw_mgr_arena_new(void)
{
    struct cw_mgr_arena *a = calloc(1, sizeof(*a));

    cw_assert(a != NULL);
    return a;
}

void
cw_mgr_arena_free(struct cw_mgr_arena *a)
{
    if (a == NULL)
        return;
    while (a->chunks != NULL) {
        struct chunk *c = a->chunks;

        a->chunks = c->next;
        free(c);
    }
    free(a);
}

static struct chunk *
arena_grow(struct cw_mgr_arena *a, size_t need)
{
    size_t size = need > CHUNK_BYTES ? need : CHUNK_BYTES;
    struct chunk *c = calloc(1, sizeof(*c) + size);

    cw_assert(c != NULL);
    c->size = size;
    c->next = a->chunks;
    a->chunks = c;
    return c;
}

void *
cw_mgr_arena_get(struct cw_mgr_arena *a, size_t n, size_t size)
{
    struct chunk *c = a->chunks;
    size_t need;
    void *at;

    cw_assert(!__builtin_mul_overflow(n, size, &need) && need < SIZE_MAX / 2);
    need = cw_align_up(need, 16);
    if (c == NULL || c->size - c->used < need)
        c = arena_grow(a, need);
    at = c->bytes + c->used;
    c->used += need;
    return at;
}

const char *
cw_mgr_arena_text(struct cw_mgr_arena *a, const char *text)
{
    size_t len = strlen(text) + 1;

    return memcpy(cw_mgr_arena_get(a, 1, len), text, len);
}

const char *
cw_mgr_arena_printf(struct cw_mgr_arena *a, const char *fmt, ...)
{
    char text[1024];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return cw_mgr_arena_text(a, text);
}
