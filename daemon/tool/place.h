/* tool/place.h - a metadata store named on the command line, opened and asked in straight lines.
 *
 *   "lmdb:DIR" or "etcd:URL[,URL..]" --open--> a cw_kv, its loop run until each request has ended
 */
#pragma once

#include "daemon/manager/kv.h"
#include "daemon/metadata/metafile.h"
#include "daemon/tool/tool.h"

struct cw_service;

struct cw_place_opts {
    const char *text;
    bool write; /* lmdb: made if it is not there; etcd: lead, so that no daemon does */
    const char *etcd_prefix, *etcd_user, *etcd_password_file;
    const char *etcd_ca, *etcd_cert, *etcd_key;
};

struct cw_place;

/* False: it was said why not. */
bool cw_place_open(struct cw_tool *t, const struct cw_place_opts *opts, struct cw_place **ret);
void cw_place_close(struct cw_place *p); /* NULL is fine */

/* All records, with their versions in *ret_versions (of m->n, the caller's to free; may be NULL).
 */
bool cw_place_read(struct cw_place *p, struct cw_metafile *m, uint64_t **ret_versions);

/* False: nothing of it took effect, or that is not known. */
bool cw_place_commit(struct cw_place *p, const struct cw_kv_compare *compares,
                     const struct cw_kv_op *ops, size_t n);
