/* metadata/etcd-names.h - the addresses behind an endpoint's name.
 *
 * They are looked up once at the start, which may block, and then whenever the endpoint fails, in a
 * thread of its own. (libevent's own lookups do not end with the connection that wanted them.)
 */
#pragma once

#include "daemon/metadata/etcd-url.h"

struct cw_etcd_lookup;
struct cw_service;

/* Fills the addresses of an endpoint that is a name; those it had stay if none is found. */
void cw_etcd_lookup_now(struct cw_etcd_endpoint *ep);

/* The same in a thread: done comes on the loop, once, before or after which the lookup is to be
 * freed. NULL: no thread to be had. ep is borrowed until freed. */
struct cw_etcd_lookup *cw_etcd_lookup_new(struct cw_service *s, struct cw_etcd_endpoint *ep,
                                          void (*done)(void *user), void *user);

/* The thread may go on; nobody hears of it. NULL is fine. */
void cw_etcd_lookup_free(struct cw_etcd_lookup *l);
