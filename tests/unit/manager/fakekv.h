/* tests/unit/manager/fakekv.h - a metadata store in memory that loses replies when told to.
 *
 * Survives the manager under test: a second one may be started on it. Answers come from a timer,
 * never from inside the call. Its codec copies the structs as they are.
 */
#pragma once

#include "daemon/manager/kv.h"
#include "daemon/manager/records.h"
#include "tests/lib/simenv.h"

enum fakekv_fault {
    FAKEKV_OK,
    FAKEKV_LOSE_REPLY,   /* the next commit takes effect and answers UNKNOWN */
    FAKEKV_LOSE_REQUEST, /* the next commit answers UNKNOWN and never takes effect */
    FAKEKV_DOWN,         /* every commit and read answers UNAVAILABLE, until told otherwise */
};

struct fakekv_row {
    struct fakekv_row *next;
    char key[CW_KV_KEY_SIZE];
    uint64_t version;
    size_t len;
    uint8_t value[];
};

struct fakekv {
    struct cw_kv kv; /* hand out &f->kv */
    struct cw_simenv *env;
    struct fakekv_row *rows; /* ascending by key */
    uint64_t version;
    enum fakekv_fault fault;
    uint64_t commits;
    size_t ops_max; /* larger ones are refused for good; 0: none is */
    struct cw_kv_txn *txn;
    struct cw_kv_read *read;
    struct cw_timer timer;
};

extern const struct cw_rec_codec fakekv_codec;

void fakekv_init(struct fakekv *f, struct cw_simenv *env);
void fakekv_fini(struct fakekv *f);

/* What lies under key, decoded; false if nothing does. */
bool fakekv_get(const struct fakekv *f, const char *key, struct cw_rec *ret);

/* Changes a record behind the manager's back, as another manager would. */
void fakekv_put(struct fakekv *f, const struct cw_rec *rec);
void fakekv_put_at(struct fakekv *f, const char *key, const struct cw_rec *rec);
void fakekv_del(struct fakekv *f, const struct cw_rec *rec);
