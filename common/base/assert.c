#include "common/base/assert.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void
cw_assert_fail(const char *expr, const char *file, int line, const char *func)
{
    fprintf(stderr, "causeway: assertion failed: %s at %s:%d in %s\n", expr, file, line, func);
    abort();
}
