/* metadata/fake-etcd.h - a small etcd on a test's loop: one member, its gateway, and what goes
 * wrong when.
 *
 * It holds keys with their revisions and leases that end only when revoked. Before each request
 * `fault` is asked what becomes of it.
 */
#pragma once

#include "tests/unit/service/harness.h"

#include <jansson.h>

#include "common/base/list.h"

#define FAKE_KEYS_MAX 2048

enum fake_fault {
    FAKE_SERVE,
    FAKE_CLOSE, /* without doing it */
    FAKE_LOSE,  /* does it, and closes without an answer */
    FAKE_HALF,  /* does it, and closes within the answer */
    FAKE_HANG,  /* neither does it nor answers */
    FAKE_SAY,   /* answers say_status and say instead */
};

struct fake_key {
    char key[160];
    char *value64; /* NULL: empty */
    uint64_t create, mod, lease;
};

struct fake {
    struct loop *l;
    struct evconnlistener *listener;
    struct ssl_ctx_st *tls; /* NULL: plain; borrowed */
    uint16_t port;
    char url[64];
    struct cw_list links;

    /* NULL: FAKE_SERVE. n: how many requests for that path there were before. */
    enum fake_fault (*fault)(struct fake *, const char *path, unsigned n);
    int say_status;
    const char *say;
    void *user;

    uint64_t cluster_id, revision, compacted, next_lease;
    bool leases_end; /* a keepalive finds none */
    bool deaf;       /* watches tell nothing */
    unsigned page;   /* keys in an answer at most; 0: as asked */
    char token[32];  /* empty: everybody may */
    char password[32];
    struct fake_key *keys[FAKE_KEYS_MAX]; /* in order */
    size_t n_keys;
    struct {
        char path[40];
        unsigned n;
    } counts[12];
};

void fake_init(struct fake *f, struct loop *l, struct ssl_ctx_st *tls);
void fake_fini(struct fake *f);

/* Nobody listens any more, and what is connected is closed; or again. */
void fake_down(struct fake *f);
void fake_up(struct fake *f);
void fake_reset(struct fake *f); /* what is connected, as a host does that knows of nothing */

unsigned fake_count(const struct fake *f, const char *path);

/* As somebody else's transaction would; value NULL deletes. */
void fake_put(struct fake *f, const char *key, const char *value);
bool fake_has(const struct fake *f, const char *key);
/* To every watch. */
void fake_watch_say(struct fake *f, const char *line);
void fake_watch_close(struct fake *f);
