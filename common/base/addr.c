#include "common/base/addr.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

bool
cw_addr_parse(const char *text, bool allow_any_port, struct cw_addr *ret)
{
    struct cw_addr a = { .port = 0 };
    const char *colon = strrchr(text, ':');
    const char *host = text;
    size_t host_len;
    uint32_t port = 0;

    if (colon == NULL || !isdigit((unsigned char)colon[1]))
        return false;
    host_len = (size_t)(colon - text);
    if (host_len >= 2 && text[0] == '[' && colon[-1] == ']') {
        host++;
        host_len -= 2;
    } else if (memchr(text, ':', host_len) != NULL) {
        return false;
    }
    if (host_len == 0 || host_len >= sizeof(a.host))
        return false;
    for (const char *at = colon + 1; *at != '\0'; at++) {
        if (!isdigit((unsigned char)*at))
            return false;
        port = port * 10 + (uint32_t)(*at - '0');
        if (port > 65535)
            return false;
    }
    if (port == 0 && !allow_any_port)
        return false;
    memcpy(a.host, host, host_len);
    a.port = (uint16_t)port;
    *ret = a;
    return true;
}

char *
cw_addr_format(const struct cw_addr *a, char text[static CW_ADDR_TEXT_SIZE])
{
    snprintf(text, CW_ADDR_TEXT_SIZE, strchr(a->host, ':') ? "[%s]:%u" : "%s:%u", a->host, a->port);
    return text;
}

bool
cw_addr_join(char *const *list, size_t n, char *to, size_t size)
{
    size_t used = 0;

    for (size_t i = 0; i < n && used < size; i++)
        used += (size_t)snprintf(to + used, size - used, "%s%s", i > 0 ? "," : "", list[i]);
    return used > 0 && used < size;
}
