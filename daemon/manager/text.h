/* manager/text.h - names, times and bounded text. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/manager/manager.h"

/* Copies text and its NUL; false (and *to empty) if it does not fit. */
bool cw_mgr_text_set(char *to, size_t size, const char *text);

/* Copies as much as fits. For what is only shown. */
void cw_mgr_text_clip(char *to, size_t size, const char *text);

/* "" for 0. Returns text. */
char *cw_mgr_time_format(uint64_t unix_s, char text[static CW_MGR_TIME_SIZE]);

/* "41m12s", "18s", "3h5m". Returns text. */
char *cw_mgr_span_format(uint64_t seconds, char text[static CW_MGR_TIME_SIZE]);

void cw_mgr_error_set(struct cw_mgr_error *e, enum cw_mgr_code code, const char *object,
                      const char *fmt, ...) __attribute__((format(printf, 4, 5)));
void cw_mgr_error_hint(struct cw_mgr_error *e, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
