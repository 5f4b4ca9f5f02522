#include "daemon/manager/records.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/bits.h"

static void
key_of_text(char key[static CW_KV_KEY_SIZE], const char *prefix, const char *name)
{
    int len = snprintf(key, CW_KV_KEY_SIZE, "%s%s", prefix, name);

    cw_assert(len > 0 && len < CW_KV_KEY_SIZE);
}

static void
key_of_number(char key[static CW_KV_KEY_SIZE], const char *prefix, uint64_t number)
{
    snprintf(key, CW_KV_KEY_SIZE, "%s%016" PRIx64, prefix, number);
}

char *
cw_rec_key(const struct cw_rec *r, char key[static CW_KV_KEY_SIZE])
{
    char uuid[CW_UUID_TEXT_SIZE];

    switch (r->kind) {
    case CW_REC_CLUSTER:
        key_of_text(key, "/cluster", "");
        break;
    case CW_REC_POLICY:
        key_of_text(key, "/policy/", r->policy.name);
        break;
    case CW_REC_HOST:
        key_of_text(key, "/node/", r->host.name);
        break;
    case CW_REC_DISK:
        key_of_text(key, "/disk/", cw_uuid_format(&r->disk.uuid, uuid));
        break;
    case CW_REC_VOLUME:
        key_of_number(key, "/vol/", r->volume.id);
        break;
    case CW_REC_SHARD:
        key_of_number(key, "/shard/", r->shard.shard);
        break;
    case CW_REC_DROP:
        snprintf(key, CW_KV_KEY_SIZE, "/drop/%s/%016" PRIx64,
                 cw_uuid_format(&r->drop.disk_uuid, uuid), r->drop.shard);
        break;
    case CW_REC_EVENT:
        key_of_number(key, "/event/", r->event.number);
        break;
    case CW_REC_JOB:
        key_of_number(key, "/job/", r->job.id);
        break;
    case CW_REC_REMOVED:
        key_of_text(key, "/removed/", cw_uuid_format(&r->removed.uuid, uuid));
        break;
    }
    return key;
}

bool
cw_rec_kind_of_key(const char *key, enum cw_rec_kind *ret)
{
    static const struct {
        const char *prefix;
        enum cw_rec_kind kind;
    } kinds[] = {
        { "/policy/", CW_REC_POLICY }, { "/node/", CW_REC_HOST },   { "/disk/", CW_REC_DISK },
        { "/vol/", CW_REC_VOLUME },    { "/shard/", CW_REC_SHARD }, { "/drop/", CW_REC_DROP },
        { "/event/", CW_REC_EVENT },   { "/job/", CW_REC_JOB },     { "/removed/", CW_REC_REMOVED },
    };

    if (strcmp(key, "/cluster") == 0) {
        *ret = CW_REC_CLUSTER;
        return true;
    }
    for (size_t i = 0; i < CW_LEN(kinds); i++) {
        if (strncmp(key, kinds[i].prefix, strlen(kinds[i].prefix)) == 0) {
            *ret = kinds[i].kind;
            return true;
        }
    }
    return false;
}
