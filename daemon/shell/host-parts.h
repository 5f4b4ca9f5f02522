/* shell/host-parts.h - pieces of control.proto to the daemon's plain structs and back.
 *
 * In: malloc'ed, the caller frees. False or NULL: the message makes no sense.
 */
#pragma once

#include "common/owner/owner.h"
#include "common/service/rpc.h"
#include "daemon/shell/data.h"

bool cw_host_uuid_in(const ProtobufCBinaryData *from, struct cw_uuid *to);

/* Nil is empty; borrows u. */
ProtobufCBinaryData cw_host_uuid(const struct cw_uuid *u);

/* Generated structs are not const; packing only reads. */
char *cw_host_text(const char *text);

bool cw_host_shard_in(const Causeway__Control__ShardRec *from, struct cw_shard_rec *to);
struct cw_shard_rec *cw_host_shards_in(Causeway__Control__ShardRec *const *from, size_t n);
struct cw_disk_location *cw_host_disks_in(Causeway__Control__DiskLocation *const *from, size_t n,
                                          uint32_t *ret_n);

/* One allocation, arrays included. */
struct cw_volume_desc *cw_host_volume_in(const Causeway__Control__AttachReply *from);

/* A disk's messages, so that one array holds them all. */
struct cw_host_disk_out {
    Causeway__Control__DiskState disk;
    Causeway__Control__ScrubState scrub;
};

/* Both borrow from the look and the key. */
void cw_host_disk_state(const struct cw_data_disk *from, const struct cw_uuid *host_key,
                        struct cw_host_disk_out *to);
void cw_host_memory(const struct cw_data_look *from, uint64_t resident_bytes,
                    Causeway__Control__HostMemory *to);
void cw_host_copy_state(const struct cw_data_look *look, const struct cw_data_copy *from,
                        Causeway__Control__CopyState *to);
