/* metadata/etcd-url.h - where etcd is: "http://127.0.0.1:2379,https://[::1]:2379". */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/base/addr.h"

#define CW_ETCD_ENDPOINTS_MAX 16u
#define CW_ETCD_ADDRESSES_MAX 8u

struct cw_etcd_endpoint {
    struct cw_addr addr;
    bool tls;
    bool numeric;                 /* an address, so nothing is to be looked up */
    char text[CW_ADDR_TEXT_SIZE]; /* "127.0.0.1:2379" */

    /* Of a name: tried in turn. */
    char addresses[CW_ETCD_ADDRESSES_MAX][48];
    unsigned n_addresses, address;
};

/* Fills ret, returns how many; 0 with one line in why (of why_size bytes) if the text is no such
 * list. */
size_t cw_etcd_urls_parse(const char *urls, struct cw_etcd_endpoint ret[CW_ETCD_ENDPOINTS_MAX],
                          char *why, size_t why_size);
