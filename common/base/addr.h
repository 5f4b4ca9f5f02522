/* base/addr.h - where a daemon listens, as the manager records it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/uuid.h"

#define CW_ADDR_TEXT_SIZE 80

/* "127.0.0.1:4711", "[::1]:4711", "host.example:4711": the text before the last colon is the host.
 */
struct cw_addr {
    char host[64]; /* without brackets, NUL-terminated */
    uint16_t port;
};

/* False leaves *ret unchanged: empty host, host too long, port not 1..65535 (0 if allow_any_port).
 */
bool cw_addr_parse(const char *text, bool allow_any_port, struct cw_addr *ret);

/* "A,B,..": false if there is none, or if they do not fit; then *to is of no use. */
bool cw_addr_join(char *const *list, size_t n, char *to, size_t size);

/* Brackets a host that has a colon. */
char *cw_addr_format(const struct cw_addr *a, char text[static CW_ADDR_TEXT_SIZE]);
