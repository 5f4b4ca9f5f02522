/* metadata/etcd-internal.h - the parts of the etcd client and what they share.
 *
 *   etcd-ask    one call of the gateway: token, fail-over, what its end means
 *   etcd-view   who leads, as etcd says it: a watch, and a look now and then
 *   etcd-lead   our lease, campaigning, resigning
 *   etcd-kv     the queue of requests; etcd-read and etcd-txn do one each
 *
 * Each part has a connection of its own, so that a call that hangs delays no other.
 */
#pragma once

#include "common/base/bits.h"
#include "daemon/metadata/etcd-http.h"
#include "daemon/metadata/etcd-json.h"
#include "daemon/metadata/etcd-names.h"
#include "daemon/metadata/etcd-url.h"
#include "daemon/metadata/kv-etcd.h"

#define ETCD_PREFIX_SIZE 64
#define ETCD_KEY_SIZE (ETCD_PREFIX_SIZE + CW_KV_KEY_SIZE)
#define ETCD_VALUE_SIZE 128 /* of the leader key */
#define ETCD_WHY_SIZE 256
#define ETCD_ANSWER_MAX (16 * CW_MIB)

#define ETCD_KV_MS 2000u  /* for one endpoint to answer a read or a transaction */
#define ETCD_LEAD_MS 700u /* the same for what a lease hangs on */

/* Ours, beside the manager's records; reads leave them out. */
#define ETCD_OWN_KEYS "/mgr/"
#define ETCD_LEADER_KEY "/mgr/leader"
#define ETCD_MARK_KEY "/mgr/txn" /* put by each transaction */

/* ---- one call ---- */

enum etcd_outcome {
    ETCD_ANSWERED, /* root is the answer */
    ETCD_REFUSED,  /* for good: code, why; it took no effect */
    ETCD_UNSENT,   /* no endpoint took it */
    ETCD_DOUBT,    /* it was sent */
};

struct etcd_end {
    enum etcd_outcome outcome;
    json_t *root; /* borrowed for the call */
    enum cw_etcd_code code;
    uint64_t sent_ns; /* before this the other side did not have it */
    const char *why;
};

enum etcd_step {
    ETCD_CALL,
    ETCD_AUTH,  /* a token first */
    ETCD_PROBE, /* is it our etcd? Before what may be made once only */
};

struct etcd_ask {
    struct cw_etcd *e;
    void (*done)(struct etcd_ask *, const struct etcd_end *);

    struct cw_etcd_http *http; /* to endpoint; NULL: none yet */
    size_t endpoint;
    bool busy;
    enum etcd_step step;
    const char *path;
    char *body;
    uint32_t timeout_ms;
    bool repeatable;
    bool doubt; /* an earlier try was sent */
    unsigned tries, auths;
    uint64_t sent_ns;
};

void cw_etcd_ask_init(struct etcd_ask *a, struct cw_etcd *e,
                      void (*done)(struct etcd_ask *, const struct etcd_end *));

/* Takes body. timeout_ms is for each endpoint; a repeatable call that had no answer is made again
 * at the next one, others only if they were not sent. done comes on a later turn. */
void cw_etcd_ask(struct etcd_ask *a, const char *path, json_t *body, uint32_t timeout_ms,
                 bool repeatable);

/* Forgets what is under way; true if it may have been sent. */
bool cw_etcd_ask_drop(struct etcd_ask *a);

/* ---- who leads ---- */

struct etcd_view {
    struct etcd_ask look;
    struct cw_timer timer; /* the next look */
    uint64_t look_after;   /* the revision known when the look was sent */

    struct cw_etcd_http *watch;
    size_t watch_endpoint;
    char *line; /* of the watch, not whole yet */
    size_t line_len;

    bool known;
    uint64_t revision; /* of etcd, when this was so */
    bool held;
    uint64_t create_revision, lease;
    char value[ETCD_VALUE_SIZE];
    char told[ETCD_VALUE_SIZE]; /* to whom this belongs; empty: nobody */
};

void cw_etcd_view_init(struct cw_etcd *e);
void cw_etcd_view_fini(struct cw_etcd *e);
void cw_etcd_view_look(struct cw_etcd *e, uint64_t in_ms);
void cw_etcd_view_tell(struct cw_etcd *e);
/* We have just been elected. */
void cw_etcd_view_own(struct cw_etcd *e, uint64_t revision, uint64_t lease);
/* That endpoint does not answer: a watch there says nothing. */
void cw_etcd_view_left(struct cw_etcd *e, size_t endpoint);

/* ---- our lease ---- */

enum etcd_role {
    ETCD_FOLLOWING,
    ETCD_GRANTING,
    ETCD_CAMPAIGNING,
    ETCD_LEADING,
    ETCD_RESIGNING, /* nothing begins any more; the key is about to go */
};

struct etcd_lead {
    enum etcd_role role;
    struct etcd_ask ask;
    struct cw_timer timer;    /* the next step */
    struct cw_timer deadline; /* leading: the lease may be over */
    bool campaign;
    bool resign; /* asked for */
    bool revoking;
    uint64_t not_before_ns;
    uint64_t lease; /* 0: none that may live */
    uint64_t ttl_s, until_ns;
    uint64_t create_revision; /* of our key; leading */
};

void cw_etcd_lead_init(struct cw_etcd *e);
void cw_etcd_lead_fini(struct cw_etcd *e);
void cw_etcd_lead_step(struct cw_etcd *e); /* on a later turn */
/* The view changed. */
void cw_etcd_lead_viewed(struct cw_etcd *e);
/* Leading or resigning: nothing commits any more. */
void cw_etcd_lead_depose(struct cw_etcd *e, const char *why);

/* ---- reads and transactions ---- */

struct etcd_page_entry {
    char key[CW_KV_KEY_SIZE];
    uint64_t version;
    uint8_t *value;
    size_t len;
};

struct etcd_read {
    struct cw_kv_read *r; /* NULL: none under way */
    uint64_t revision;    /* pinned; 0: the first page */
    struct etcd_page_entry *at;
    size_t n, cap, bytes;
    char last[ETCD_KEY_SIZE];
    unsigned begun;
};

struct etcd_txn {
    struct cw_kv_txn *t; /* NULL: none under way */
    size_t checked;      /* compares that held when the mark was `mark` */
    bool checking;
    uint64_t mark;
};

struct etcd_kv {
    struct etcd_ask ask;
    struct cw_timer timer;
    struct cw_list reads, txns;
    struct etcd_read read;
    struct etcd_txn txn;
};

void cw_etcd_kv_init(struct cw_etcd *e);
void cw_etcd_kv_wake(struct cw_etcd *e);
/* Answers all that waits or is under way. */
void cw_etcd_kv_fail(struct cw_etcd *e);
bool cw_etcd_kv_committing(const struct cw_etcd *e);

void cw_etcd_read_begin(struct cw_etcd *e, struct cw_kv_read *r);
void cw_etcd_read_on_end(struct cw_etcd *e, const struct etcd_end *end);
void cw_etcd_read_fini(struct cw_etcd *e);
void cw_etcd_read_end(struct cw_etcd *e, enum cw_kv_result res);

void cw_etcd_txn_begin(struct cw_etcd *e, struct cw_kv_txn *t);
void cw_etcd_txn_on_end(struct cw_etcd *e, const struct etcd_end *end);
void cw_etcd_txn_end(struct cw_etcd *e, enum cw_kv_result res, uint64_t version);

/* ---- all together ---- */

struct cw_etcd {
    struct cw_kv kv;
    struct cw_etcd_opts opts; /* the texts are not kept, but for ours below */
    struct cw_env *env;
    char name[CW_ETCD_WHY_SIZE], refused[ETCD_WHY_SIZE];
    char prefix[ETCD_PREFIX_SIZE], value[ETCD_VALUE_SIZE];
    char user_name[128], password[256], token[1024];
    struct ssl_ctx_st *tls;

    struct cw_etcd_endpoint endpoints[CW_ETCD_ENDPOINTS_MAX];
    bool
        known[CW_ETCD_ENDPOINTS_MAX]; /* it has answered, as of our cluster, since it last failed */
    struct cw_etcd_lookup *lookup;    /* of looked_up; NULL: none under way */
    size_t looked_up;
    uint64_t lookup_ns; /* when the last one began */
    size_t n_endpoints, current;
    uint64_t cluster_id; /* 0: not known yet */

    bool told_reachable, reachable;
    uint64_t answered_ns;

    struct etcd_view view;
    struct etcd_lead lead;
    struct etcd_kv store;
};

/* That endpoint failed: the next one is tried from now on. */
void cw_etcd_leave(struct cw_etcd *e, size_t endpoint);
void cw_etcd_answers(struct cw_etcd *e);
void cw_etcd_silent(struct cw_etcd *e, const char *why);

/* {"key": ..} with the whole key as base64; new references. */
json_t *cw_etcd_key(const struct cw_etcd *e, const char *key);
json_t *cw_etcd_pack(const char *fmt, ...);    /* json_pack that cannot fail */
uint64_t cw_etcd_revision(const json_t *root); /* of its header; 0: none */
