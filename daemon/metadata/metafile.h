/* metadata/metafile.h - the metadata of one cluster in memory, and as one file: metaimage.h. */
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

/* The same of bytes that are an image already. */
int cw_metafile_put(const char *path, const uint8_t *bytes, size_t len, bool replace);

/* 0, -errno of reading, or -EBADMSG: it is damaged, cut or no such file. m is to be ended anyway.
 */
int cw_metafile_read(const char *path, struct cw_metafile *m);

/* The bytes of such a file, the caller's to free; results as of cw_metafile_read. */
int cw_metafile_get(const char *path, uint8_t **ret_bytes, size_t *ret_len);

/* Those of a sound image; false: they make no sense. */
bool cw_metafile_take(struct cw_metafile *m, const uint8_t *bytes, size_t len);
