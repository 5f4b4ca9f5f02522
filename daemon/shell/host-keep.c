/* A backup of the cluster's metadata, kept for its manager.
 *
 *   parts --in order--> whole, sound, of our cluster, not older than ours --thread--> PATH.metadata
 *
 * Beside the first store, as the host's key; the one before it is PATH.metadata.1. The file is what
 * `causeway-store metadata import` takes, and the port hands it out (`causeway metadata fetch`). A
 * disk that hangs holds up the thread alone.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/base/bits.h"
#include "daemon/manager/manager.h"
#include "daemon/manager/metaimage.h"
#include "daemon/metadata/metafile.h"
#include "daemon/metadata/records.h"
#include "daemon/shell/host-parts.h"
#include "daemon/shell/host.h"
#include "daemon/shell/manager-parts.h"

#define STOP_WAIT_S 2

struct bytes {
    uint8_t *at;
    size_t len;
};

struct cw_host_keep {
    struct cw_host *h;
    char path[CW_HOST_PATH_SIZE], before[CW_HOST_PATH_SIZE + 4];
    struct cw_mgr_kept kept; /* in the file; all zero: there is none */

    /* what comes in */
    struct bytes in;
    size_t in_total;
    uint64_t in_serial;

    /* what is written: the thread's while it runs */
    bool writing;
    pthread_t thread;
    struct cw_work written;
    struct bytes out;
    int out_err;
    struct cw_mgr_kept out_of;
    struct cw_rpc_req *req; /* answered when it is durable */

    /* what is read, by one at a time */
    struct bytes read;
    uint64_t read_serial;
    struct cw_mgr_kept read_of;
};

static void
bytes_free(struct bytes *b)
{
    free(b->at);
    *b = (struct bytes){ 0 };
}

/* ---- what an image is of ---- */

/* Of a sound one. False: it is no metadata. */
static bool
image_look(const struct bytes *b, struct cw_cluster_rec *ret)
{
    struct cw_metafile m = { 0 };
    char why[CW_METAFILE_WHY_SIZE];
    bool ok = cw_metafile_take(&m, b->at, b->len) && cw_metafile_check(&m, why);

    *ret = m.cluster;
    cw_metafile_fini(&m);
    return ok;
}

static struct cw_mgr_kept
kept_of(const struct cw_cluster_rec *c)
{
    return (struct cw_mgr_kept){ .epoch = c->epoch,
                                 .next_event = c->next_event,
                                 .restored_s = c->restored_s,
                                 .saved_s = c->saved_s };
}

static bool
file_load(struct cw_host_keep *k, const char *path, struct bytes *b, struct cw_mgr_kept *ret)
{
    struct cw_cluster_rec c;
    int err = cw_metafile_get(path, &b->at, &b->len);

    if (err == 0 && !image_look(b, &c)) {
        bytes_free(b);
        err = -EBADMSG;
    }
    if (err != 0 && err != -ENOENT)
        cw_log(k->h->env, CW_LOG_WARNING, "%s: the backup of the metadata: %s", path,
               err == -EBADMSG ? "damaged" : strerror(-err));
    if (err != 0)
        return false;
    *ret = kept_of(&c);
    return true;
}

/* The newest that is whole. */
static bool
keep_load(struct cw_host_keep *k, struct bytes *b, struct cw_mgr_kept *ret)
{
    return file_load(k, k->path, b, ret) || file_load(k, k->before, b, ret);
}

/* ---- writing ---- */

/* The file is there at every moment: the one before gets a second name first. */
static void *
keep_main(void *arg)
{
    struct cw_host_keep *k = arg;

    (void)unlink(k->before);
    (void)link(k->path, k->before); /* the first has none before it */
    k->out_err = cw_metafile_put(k->path, k->out.at, k->out.len, true);
    cw_service_post(k->h->service, &k->written);
    return NULL;
}

static void
keep_answer(struct cw_host_keep *k, const char *why)
{
    struct cw_rpc_req *req = k->req;

    k->req = NULL;
    if (req == NULL)
        return;
    if (why == NULL)
        cw_rpc_req_empty(req);
    else
        cw_rpc_req_error(req, CAUSEWAY__CONTROL__ERROR_CODE__INTERNAL, k->h->o->host, NULL,
                         "host %s: %s: %s", k->h->o->host, k->path, why);
}

static void
keep_on_written(struct cw_work *w)
{
    struct cw_host_keep *k = cw_container_of(w, struct cw_host_keep, written);

    pthread_join(k->thread, NULL);
    k->writing = false;
    bytes_free(&k->out);
    if (k->out_err == 0)
        k->kept = k->out_of;
    else
        cw_log(k->h->env, CW_LOG_WARNING, "%s: %s", k->path, strerror(-k->out_err));
    keep_answer(k, k->out_err == 0 ? NULL : strerror(-k->out_err));
}

static void
keep_write(struct cw_host_keep *k, struct cw_mgr_kept of, struct cw_rpc_req *take_req)
{
    int err;

    k->out = k->in;
    k->in = (struct bytes){ 0 };
    k->out_of = of;
    k->req = take_req;
    k->written.fn = keep_on_written;
    err = pthread_create(&k->thread, NULL, keep_main, k);
    k->writing = err == 0;
    if (err == 0)
        return;
    bytes_free(&k->out);
    keep_answer(k, strerror(err));
}

/* ---- what comes in ---- */

static void
keep_refuse(struct cw_host_keep *k, Causeway__Control__ErrorCode code, const char *why,
            struct cw_rpc_req *take_req)
{
    bytes_free(&k->in);
    cw_rpc_req_error(take_req, code, k->h->o->host, NULL, "host %s: %s", k->h->o->host, why);
}

static void
keep_whole(struct cw_host_keep *k, struct cw_rpc_req *take_req)
{
    struct cw_cluster_rec c;

    if (!cw_metaimage_sound(k->in.at, k->in.len) || !image_look(&k->in, &c))
        keep_refuse(k, CAUSEWAY__CONTROL__ERROR_CODE__BAD_REQUEST,
                    "the backup of the metadata came damaged", take_req);
    else if (!cw_uuid_equal(&c.cluster_id, &k->h->cluster_id))
        keep_refuse(k, CAUSEWAY__CONTROL__ERROR_CODE__FOREIGN_STORE,
                    "the backup is of another cluster", take_req);
    else if (cw_mgr_kept_is_newer(&k->kept, c.epoch, c.restored_s, c.restored_epoch))
        keep_refuse(k, CAUSEWAY__CONTROL__ERROR_CODE__CONFLICT,
                    "it keeps metadata that is newer than the manager's", take_req);
    else
        keep_write(k, kept_of(&c), take_req);
}

/* The total is believed only as far as bytes have come. */
static bool
keep_append(struct cw_host_keep *k, const Causeway__Control__MetadataKeep *m)
{
    if (m->offset == 0) {
        bytes_free(&k->in);
        k->in_total = m->total_bytes;
        k->in_serial = m->serial;
    }
    if (m->serial != k->in_serial || m->total_bytes != k->in_total || m->offset != k->in.len ||
        k->in_total > CW_METAIMAGE_KEPT_MAX || m->data.len == 0 ||
        m->data.len > k->in_total - k->in.len)
        return false;
    k->in.at = realloc(k->in.at, k->in.len + m->data.len);
    cw_assert(k->in.at != NULL);
    memcpy(k->in.at + k->in.len, m->data.data, m->data.len);
    k->in.len += m->data.len;
    return true;
}

void
cw_host_keep_part(struct cw_host *h, const Causeway__Control__MetadataKeep *m,
                  struct cw_rpc_req *take_req)
{
    struct cw_host_keep *k = h->keep;

    if (k == NULL || !h->registered)
        cw_rpc_req_error(take_req, CAUSEWAY__CONTROL__ERROR_CODE__UNAVAILABLE, h->o->host, NULL,
                         "host %s is not registered", h->o->host);
    else if (k->writing)
        keep_refuse(k, CAUSEWAY__CONTROL__ERROR_CODE__BUSY,
                    "the backup before this one is still being written", take_req);
    else if (!keep_append(k, m))
        keep_refuse(k, CAUSEWAY__CONTROL__ERROR_CODE__BAD_REQUEST,
                    "the parts of the backup do not fit together", take_req);
    else if (k->in.len < k->in_total)
        cw_rpc_req_empty(take_req);
    else
        keep_whole(k, take_req);
}

bool
cw_host_keep_kept(const struct cw_host *h, Causeway__Control__MetadataKept *ret)
{
    if (h->keep == NULL || h->keep->kept.epoch == 0)
        return false;
    cw_pb_kept(&h->keep->kept, ret);
    return true;
}

/* ---- what is asked for ---- */

static void
read_reply(struct cw_host_keep *k, uint64_t offset, struct cw_rpc_req *take_req)
{
    cw_envelope out = CAUSEWAY__CONTROL__ENVELOPE__INIT;
    Causeway__Control__MetadataPart m = CAUSEWAY__CONTROL__METADATA_PART__INIT;
    Causeway__Control__MetadataKept of;

    cw_pb_kept(&k->read_of, &of);
    m.serial = k->read_serial;
    m.total_bytes = k->read.len;
    m.data.data = k->read.at + offset;
    m.data.len = cw_min_u64(k->read.len - offset, CW_METAIMAGE_PART);
    m.of = &of;
    out.body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_METADATA_PART;
    out.metadata_part = &m;
    cw_rpc_req_reply(take_req, &out);
    if (offset + m.data.len == k->read.len)
        bytes_free(&k->read);
}

void
cw_host_keep_read(struct cw_host *h, const Causeway__Control__MetadataRead *m,
                  struct cw_rpc_req *take_req)
{
    struct cw_host_keep *k = h->keep;
    bool loaded = k != NULL;

    if (loaded && m->offset == 0) {
        bytes_free(&k->read);
        k->read_serial++;
        loaded = keep_load(k, &k->read, &k->read_of);
    }
    if (!loaded)
        cw_rpc_req_error(take_req, CAUSEWAY__CONTROL__ERROR_CODE__NOT_FOUND, h->o->host, NULL,
                         "host %s keeps no backup of the metadata", h->o->host);
    else if (m->offset >= k->read.len || (m->offset > 0 && m->serial != k->read_serial))
        cw_rpc_req_error(take_req, CAUSEWAY__CONTROL__ERROR_CODE__CONFLICT, h->o->host, "try again",
                         "host %s: somebody else reads the backup", h->o->host);
    else
        read_reply(k, m->offset, take_req);
}

/* ---- life ---- */

void
cw_host_keep_start(struct cw_host *h)
{
    struct cw_host_keep *k = calloc(1, sizeof(*k));
    struct bytes b = { 0 };

    cw_assert(k != NULL);
    k->h = h;
    cw_host_path(h->o, "metadata", k->path);
    snprintf(k->before, sizeof(k->before), "%s.1", k->path);
    if (keep_load(k, &b, &k->kept))
        bytes_free(&b);
    h->keep = k;
}

void
cw_host_keep_stop(struct cw_host *h)
{
    struct cw_host_keep *k = h->keep;
    struct timespec until;

    if (k == NULL)
        return;
    if (k->writing) {
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += STOP_WAIT_S;
        if (pthread_clockjoin_np(k->thread, NULL, CLOCK_MONOTONIC, &until) != 0)
            _exit(h->status); /* its disk hangs; what was kept before is whole */
    }
    keep_answer(k, "the daemon stops");
    bytes_free(&k->in);
    bytes_free(&k->out);
    bytes_free(&k->read);
    free(k);
    h->keep = NULL;
}
