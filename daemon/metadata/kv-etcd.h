/* metadata/kv-etcd.h - the manager's records in etcd 3.4+, and who of the daemons leads.
 *
 *   URL,URL.. --JSON gateway (/v3/kv/range, /v3/kv/txn, /v3/lease/.., /v3/watch)--> etcd
 *
 *   FOLLOWING --no leader key, campaign won--> LEADING --lease lost, key gone, resigned-->
 * FOLLOWING
 *
 * Keys lie under PREFIX ("/causeway" unless said otherwise). Reads are linearizable. Each
 * transaction also compares the create_revision of this daemon's leader key, so that one that was
 * deposed commits nothing; the lease only decides when others may try, never who may write. The
 * leader key holds the address that others are told.
 *
 * One request at a time goes to one endpoint; an endpoint that fails is left for the next.
 * Everything on the service's thread. Events come on turns of their own, never from inside a call;
 * from inside one, or a done, everything may be called but cw_etcd_free.
 *
 * A transaction has some 1.4 MiB of keys and values (etcd's own limit on requests) in at most 70000
 * operations; a larger one is UNAVAILABLE, and cw_kv.refused and the log say why.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/service/service.h"
#include "daemon/manager/kv.h"

#define CW_ETCD_WHY_SIZE 512
#define CW_ETCD_LEASE_S 3u

struct cw_etcd;

struct cw_etcd_events {
    /* From now on transactions may succeed. */
    void (*elected)(void *user);
    /* Nothing commits any more; the requests under way are answered (UNAVAILABLE, UNKNOWN) before
     * this. It campaigns again by itself. */
    void (*deposed)(void *user, const char *why);
    /* Who leads now: the value of the leader key, our own too; NULL: nobody, or unknown. */
    void (*leader)(void *user, const char *addr);
    /* etcd answers, or does not (why); for logs and status. Changes only. */
    void (*reachable)(void *user, bool is, const char *why);
};

struct cw_etcd_opts {
    struct cw_service *service;
    const char *urls;                      /* "http://127.0.0.1:2379,https://.." */
    const char *prefix;                    /* NULL: "/causeway" */
    const char *value;                     /* of the leader key: ADDR:PORT */
    const char *user_name, *password_file; /* NULL: none */
    /* PEM, for https://. Without a CA file the system's CAs are believed; the other two, of a
     * client certificate, come together. Where etcd asks for certificates and passwords, its
     * gateway takes no certificate with a common name. */
    const char *ca_file, *cert_file, *key_file;
    const struct cw_etcd_events *ev; /* leader and reachable may be NULL */
    void *user;
};

/* 0, or -errno with one line in why (a URL that is none, a file that cannot be read). Reaches for
 * etcd on later loop turns; names in the URLs are looked up here, which may block. SIGPIPE is
 * blocked in the calling thread, the service's. */
int cw_etcd_new(const struct cw_etcd_opts *opts, struct cw_etcd **ret,
                char why[static CW_ETCD_WHY_SIZE]);

/* Begins, and ends, to campaign. A leader that ends it resigns: no transaction begins any more, the
 * key goes at once, and then, at the latest when the lease is over, it is deposed. */
void cw_etcd_campaign(struct cw_etcd *e, bool yes);

/* Resigns and stays away for so long: this daemon cannot lead now. */
void cw_etcd_resign(struct cw_etcd *e, uint64_t away_ms);

/* Requests under way are forgotten; a leader's key is left to its lease (resign first). */
void cw_etcd_free(struct cw_etcd *e);

/* Whoever waits for reads and transactions is gone: none of them is answered. One that was sent may
 * still take effect. */
void cw_etcd_forget(struct cw_etcd *e);

/* Lives as long as e. Its name is "etcd URL,URL..". Without leadership every transaction is
 * UNAVAILABLE; reads work. */
struct cw_kv *cw_etcd_kv(struct cw_etcd *e);
