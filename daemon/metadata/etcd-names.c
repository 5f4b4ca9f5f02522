#include "daemon/metadata/etcd-names.h"

#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/assert.h"
#include "common/service/service.h"

/* What the loop and the thread share; it goes with the last of them. */
struct shared {
    atomic_uint refs;
    int fd; /* written to when `found` is whole */
    struct cw_etcd_endpoint found;
};

struct cw_etcd_lookup {
    struct shared *shared;
    struct cw_watch *watch;
    struct cw_etcd_endpoint *ep;
    void (*done)(void *user);
    void *user;
};

void
cw_etcd_lookup_now(struct cw_etcd_endpoint *ep)
{
    const struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
    struct addrinfo *list;
    unsigned n = 0;

    if (getaddrinfo(ep->addr.host, NULL, &hints, &list) != 0)
        return;
    for (const struct addrinfo *a = list; a != NULL && n < CW_ETCD_ADDRESSES_MAX; a = a->ai_next) {
        if (getnameinfo(a->ai_addr, a->ai_addrlen, ep->addresses[n], sizeof(ep->addresses[n]), NULL,
                        0, NI_NUMERICHOST) == 0)
            n++;
    }
    freeaddrinfo(list);
    if (n > 0)
        ep->n_addresses = n;
}

static void
shared_unref(struct shared *s)
{
    if (atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    close(s->fd);
    free(s);
}

static void *
lookup_main(void *arg)
{
    struct shared *s = arg;
    uint64_t one = 1;

    cw_etcd_lookup_now(&s->found);
    if (write(s->fd, &one, sizeof(one)) != sizeof(one))
        cw_unreachable();
    shared_unref(s);
    return NULL;
}

static void
lookup_on_done(void *user)
{
    struct cw_etcd_lookup *l = user;
    const struct cw_etcd_endpoint *found = &l->shared->found;

    if (found->n_addresses > 0) {
        memcpy(l->ep->addresses, found->addresses, sizeof(found->addresses));
        l->ep->n_addresses = found->n_addresses;
    }
    l->done(l->user);
}

static bool
lookup_start(struct shared *s)
{
    pthread_attr_t attr;
    pthread_t t;
    int err;

    atomic_fetch_add(&s->refs, 1);
    cw_assert(pthread_attr_init(&attr) == 0);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    err = pthread_create(&t, &attr, lookup_main, s);
    pthread_attr_destroy(&attr);
    if (err != 0)
        shared_unref(s);
    return err == 0;
}

struct cw_etcd_lookup *
cw_etcd_lookup_new(struct cw_service *service, struct cw_etcd_endpoint *ep,
                   void (*done)(void *user), void *user)
{
    struct cw_etcd_lookup *l = calloc(1, sizeof(*l));
    struct shared *s = calloc(1, sizeof(*s));

    cw_assert(l != NULL && s != NULL);
    atomic_init(&s->refs, 1);
    s->found = *ep;
    s->found.n_addresses = 0;
    s->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    *l = (struct cw_etcd_lookup){ .shared = s, .ep = ep, .done = done, .user = user };
    if (s->fd >= 0)
        l->watch = cw_watch_new(service, s->fd, CW_WATCH_EVENTFD, lookup_on_done, l);
    if (l->watch != NULL && lookup_start(s))
        return l;
    cw_etcd_lookup_free(l);
    return NULL;
}

void
cw_etcd_lookup_free(struct cw_etcd_lookup *l)
{
    if (l == NULL)
        return;
    cw_watch_free(l->watch);
    shared_unref(l->shared);
    free(l);
}
