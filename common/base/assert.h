/* base/assert.h - assertions that stay on in every build.
 *
 * They state what our own code guarantees. Bytes from a disk, a peer, a guest or a user are never
 * asserted: they are checked and become outcomes. A failed assertion prints where and aborts.
 */
#pragma once

#include <stddef.h>

_Noreturn void cw_assert_fail(const char *expr, const char *file, int line, const char *func);

#define cw_assert(expr) \
    (__builtin_expect(!!(expr), 1) ? (void)0 : cw_assert_fail(#expr, __FILE__, __LINE__, __func__))

#define cw_unreachable() cw_assert_fail("unreachable", __FILE__, __LINE__, __func__)

/* Size, offset and alignment facts of on-disk and wire structs. */
#define CW_STATIC_ASSERT(expr) _Static_assert(expr, #expr)
#define CW_AT(type, field, offset) CW_STATIC_ASSERT(offsetof(type, field) == (offset))
