#include "daemon/metadata/etcd-url.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define URL_SIZE 128

static bool
host_numeric(const char *host)
{
    uint8_t bytes[16];

    return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

static bool
url_parse(const char *url, struct cw_etcd_endpoint *ep)
{
    const char *at = url, *colon;
    char addr[URL_SIZE + 8];
    size_t len;

    *ep = (struct cw_etcd_endpoint){ 0 };
    ep->tls = strncmp(url, "https://", 8) == 0;
    if (!ep->tls && strncmp(url, "http://", 7) != 0)
        return false;
    at += ep->tls ? 8 : 7;
    len = strcspn(at, "/");
    if (at[len] == '/' && at[len + 1] != '\0')
        return false;
    snprintf(addr, sizeof(addr), "%.*s", (int)len, at);
    if (strpbrk(addr, "@?#% ") != NULL)
        return false;
    colon = strrchr(addr, ':');
    if (colon == NULL || strchr(colon, ']') != NULL)
        strcat(addr, ":2379");
    if (!cw_addr_parse(addr, false, &ep->addr))
        return false;
    ep->numeric = host_numeric(ep->addr.host);
    cw_addr_format(&ep->addr, ep->text);
    return true;
}

size_t
cw_etcd_urls_parse(const char *urls, struct cw_etcd_endpoint ret[CW_ETCD_ENDPOINTS_MAX], char *why,
                   size_t why_size)
{
    size_t n = 0;

    for (const char *at = urls;; at++) {
        size_t len = strcspn(at, ",");
        char url[URL_SIZE];

        if (n == CW_ETCD_ENDPOINTS_MAX) {
            snprintf(why, why_size, "etcd: at most %u URLs", CW_ETCD_ENDPOINTS_MAX);
            return 0;
        }
        snprintf(url, sizeof(url), "%.*s", (int)len, at);
        if (len >= sizeof(url) || !url_parse(url, &ret[n])) {
            snprintf(why, why_size,
                     "etcd: '%.100s' is no URL like http://HOST:2379 or https://HOST:2379", url);
            return 0;
        }
        n++;
        at += len;
        if (*at == '\0')
            return n;
    }
}
