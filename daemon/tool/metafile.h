/* tool/metafile.h - the metadata of one cluster as one file that checks itself.
 *
 *   "CWMETA\n\1"   u32 records   { u16 key bytes, u32 value bytes, key, value } ..   u64 XXH3-64
 *
 * Little endian; the checksum is over all before it. Records lie in the order of their keys, each
 * key once, and exactly one is /cluster. Versions are the store's that held them, and are not kept.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/manager/records.h"

#define CW_METAFILE_WHY_SIZE 256

struct cw_metafile_rec {
    char key[CW_KV_KEY_SIZE];
    uint8_t *value;
    size_t len;
};

struct cw_metafile {
    struct cw_metafile_rec *at;
    size_t n, cap;

    /* Of cw_metafile_check. */
    struct cw_cluster_rec cluster;
    size_t n_volumes;
};

/* Copies both; in the order of the keys. */
void cw_metafile_add(struct cw_metafile *m, const char *key, const void *value, size_t len);
void cw_metafile_fini(struct cw_metafile *m);

/* One cluster, in order, every record readable by this program; else why in one line. */
bool cw_metafile_check(struct cw_metafile *m, char why[static CW_METAFILE_WHY_SIZE]);

/* 0 or -errno. The file appears whole and durable, or not at all. Without replace one that is there
 * is -EEXIST. */
int cw_metafile_write(const struct cw_metafile *m, const char *path, bool replace);

/* 0, -errno of reading, or -EBADMSG: it is damaged, cut or no such file. m is to be ended anyway.
 */
int cw_metafile_read(const char *path, struct cw_metafile *m);
