#include "common/obs/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/base/bits.h"

#define LINE_MAX_BYTES 1024

static const char *const level_names[] = {
    [CW_LOG_ERROR] = "error", [CW_LOG_WARNING] = "warning", [CW_LOG_NOTICE] = "notice",
    [CW_LOG_INFO] = "info",   [CW_LOG_DEBUG] = "debug",
};

const char *
cw_log_level_name(enum cw_log_level level)
{
    return level_names[level];
}

bool
cw_log_level_parse(const char *text, enum cw_log_level *ret)
{
    for (size_t i = 0; i < CW_LEN(level_names); i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *ret = (enum cw_log_level)i;
            return true;
        }
    }
    return false;
}

void
cw_log_sink_init(struct cw_log_sink *k, const char *program, enum cw_log_level level)
{
    *k = (struct cw_log_sink){ .fd = STDERR_FILENO, .level = level };
    snprintf(k->program, sizeof(k->program), "%s", program);
}

int
cw_log_sink_open(struct cw_log_sink *k, const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

    if (fd < 0)
        return -errno;
    cw_log_sink_fini(k);
    k->fd = fd;
    k->own_fd = true;
    return 0;
}

void
cw_log_sink_fini(struct cw_log_sink *k)
{
    if (k->own_fd)
        close(k->fd);
    k->fd = STDERR_FILENO;
    k->own_fd = false;
}

/* What peers and users named must not fake a line or move a terminal's cursor. */
static void
log_clean(char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            text[i] = '?';
}

void
cw_log_sink_write(struct cw_log_sink *k, enum cw_log_level level, const char *line)
{
    char text[LINE_MAX_BYTES + 128];
    struct timespec now;
    struct tm tm;
    size_t head, len;

    if (level > k->level)
        return;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    head = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    head +=
        (size_t)snprintf(text + head, sizeof(text) - head, ".%03ldZ %s %s: ", now.tv_nsec / 1000000,
                         level_names[level], k->program);
    len = strnlen(line, LINE_MAX_BYTES);
    memcpy(text + head, line, len);
    log_clean(text + head, len);
    text[head + len] = '\n';
    /* A log that cannot be written has nowhere to say so. */
    if (write(k->fd, text, head + len + 1) < 0)
        return;
}

void
cw_log_sink_printf(struct cw_log_sink *k, enum cw_log_level level, const char *fmt, ...)
{
    char line[LINE_MAX_BYTES];
    va_list args;

    if (level > k->level)
        return;
    va_start(args, fmt);
    vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    cw_log_sink_write(k, level, line);
}

void
cw_log_sink_fn(void *sink, enum cw_log_level level, const char *line)
{
    cw_log_sink_write(sink, level, line);
}
