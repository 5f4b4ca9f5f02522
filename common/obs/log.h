/* obs/log.h - where log lines go: stderr or a file, one line each, UTC.
 *
 *   2026-01-02T03:04:05.678Z warning causewayd: aws-1/store-0: took 2.3 s
 *
 * Any thread: a line is one write(2) on an O_APPEND descriptor, so lines never mix.
 */
#pragma once

#include <stdbool.h>

#include "common/base/env.h"

struct cw_log_sink {
    int fd;
    bool own_fd;
    enum cw_log_level level; /* lines above it are dropped */
    char program[32];
};

/* To stderr. */
void cw_log_sink_init(struct cw_log_sink *k, const char *program, enum cw_log_level level);

/* Opens (creates, appends to) path for further lines. 0 or -errno: then nothing changed. */
int cw_log_sink_open(struct cw_log_sink *k, const char *path);
void cw_log_sink_fini(struct cw_log_sink *k);

/* Control characters in line become '?'; a line over 1 KiB is cut. */
void cw_log_sink_write(struct cw_log_sink *k, enum cw_log_level level, const char *line);
void cw_log_sink_printf(struct cw_log_sink *k, enum cw_log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The same with the sink as first argument of type void *: for struct cw_service_opts.log. */
void cw_log_sink_fn(void *sink, enum cw_log_level level, const char *line);

/* "error", "warning", "notice", "info", "debug"; false leaves *ret unchanged. */
bool cw_log_level_parse(const char *text, enum cw_log_level *ret);
const char *cw_log_level_name(enum cw_log_level level);
