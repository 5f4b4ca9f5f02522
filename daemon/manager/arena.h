/* manager/arena.h - memory that dies together: a reply, a transaction, a push.
 *
 * Sizes are bounded by what the records hold and by the largest control frame; an arena that cannot
 * grow is the machine out of memory, which nothing above could handle better than a restart: the
 * records are safe, everything else is learned again.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>

struct cw_mgr_arena;

struct cw_mgr_arena *cw_mgr_arena_new(void);
void cw_mgr_arena_free(struct cw_mgr_arena *a); /* NULL is fine */

/* Zeroed, aligned for anything, never NULL; n * size must not overflow. */
void *cw_mgr_arena_get(struct cw_mgr_arena *a, size_t n, size_t size);
const char *cw_mgr_arena_text(struct cw_mgr_arena *a, const char *text);
const char *cw_mgr_arena_printf(struct cw_mgr_arena *a, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
