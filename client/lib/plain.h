/* lib/plain.h - control.proto to the owner's plain C. Generated types stop here. */
#pragma once

#include <stdbool.h>

#include "common/owner/owner.h"
#include "proto/control.pb-c.h"

/* A volume as AttachReply tells it, one allocation: free(). */
struct cw_plain_volume {
    struct cw_volume_desc desc; /* points behind itself */
};

/* NULL: out of memory, or the manager sent nonsense. */
struct cw_plain_volume *cw_plain_volume_new(const Causeway__Control__AttachReply *m);

/* False: not a sane record. */
bool cw_plain_shard(const Causeway__Control__ShardRec *m, struct cw_shard_rec *ret);

/* A malloc'ed array of *ret_n; NULL with *ret_n 0 if there are none, or out of memory. */
struct cw_disk_location *cw_plain_disks(Causeway__Control__DiskLocation *const *m, size_t n,
                                        uint32_t *ret_n);

void cw_plain_domain(const Causeway__Control__Domain *m, struct cw_locality *ret);
bool cw_plain_uuid(const ProtobufCBinaryData *m, struct cw_uuid *ret);
