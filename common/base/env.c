#include "common/base/env.h"

#include <stdio.h>

void
cw_log(struct cw_env *env, enum cw_log_level level, const char *fmt, ...)
{
    char line[1024];
    va_list args;

    if (level > env->log_level)
        return;
    va_start(args, fmt);
    vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    env->ops->log(env, level, line);
}
