#include "daemon/metadata/metafile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/assert.h"
#include "daemon/manager/metaimage.h"
#include "daemon/metadata/records.h"

void
cw_metafile_add(struct cw_metafile *m, const char *key, const void *value, size_t len)
{
    struct cw_metafile_rec *r;

    if (m->n == m->cap) {
        m->cap = m->cap == 0 ? 256 : m->cap * 2;
        m->at = realloc(m->at, m->cap * sizeof(*m->at));
        cw_assert(m->at != NULL);
    }
    r = &m->at[m->n++];
    cw_assert(strlen(key) < sizeof(r->key));
    strcpy(r->key, key);
    r->len = len;
    r->value = malloc(len + 1);
    cw_assert(r->value != NULL);
    memcpy(r->value, value, len);
}

void
cw_metafile_fini(struct cw_metafile *m)
{
    for (size_t i = 0; i < m->n; i++)
        free(m->at[i].value);
    free(m->at);
    *m = (struct cw_metafile){ 0 };
}

bool
cw_metafile_check(struct cw_metafile *m, char why[static CW_METAFILE_WHY_SIZE])
{
    bool cluster = false;

    m->n_volumes = 0;
    for (size_t i = 0; i < m->n; i++) {
        const struct cw_metafile_rec *r = &m->at[i];
        struct cw_rec rec = { 0 };

        if (i > 0 && strcmp(m->at[i - 1].key, r->key) >= 0) {
            snprintf(why, CW_METAFILE_WHY_SIZE, "the record %s is not in order", r->key);
            return false;
        }
        if (!cw_rec_kind_of_key(r->key, &rec.kind) ||
            !cw_metadata_codec()->decode(r->value, r->len, &rec)) {
            snprintf(why, CW_METAFILE_WHY_SIZE,
                     "the record %s cannot be read by this version of Causeway", r->key);
            return false;
        }
        m->n_volumes += rec.kind == CW_REC_VOLUME;
        if (rec.kind == CW_REC_CLUSTER) {
            cluster = true;
            m->cluster = rec.cluster;
        }
    }
    if (!cluster)
        snprintf(why, CW_METAFILE_WHY_SIZE, "it holds no cluster");
    return cluster;
}

/* ---- bytes ---- */

bool
cw_metafile_take(struct cw_metafile *m, const uint8_t *bytes, size_t len)
{
    struct cw_metaimage_walk w;

    cw_metaimage_walk(&w, bytes, len);
    while (cw_metaimage_next(&w))
        cw_metafile_add(m, w.key, w.value, w.value_len);
    return !w.bad;
}

/* ---- files ---- */

static int
write_all(int fd, const uint8_t *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);

        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0) {
            bytes += n;
            len -= (size_t)n;
        }
    }
    return fsync(fd) == 0 ? 0 : -errno;
}

static int
sync_parent(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash != NULL ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    int fd, err;

    cw_assert(dir != NULL);
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    err = fd < 0 || fsync(fd) != 0 ? -errno : 0;
    if (fd >= 0)
        close(fd);
    free(dir);
    return err;
}

int
cw_metafile_put(const char *path, const uint8_t *bytes, size_t len, bool replace)
{
    size_t part_size = strlen(path) + 8;
    char *part;
    int fd, err;

    if (!replace && access(path, F_OK) == 0)
        return -EEXIST;
    part = malloc(part_size);
    cw_assert(part != NULL);
    snprintf(part, part_size, "%s.part", path);
    fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        err = -errno;
        free(part);
        return err;
    }
    err = write_all(fd, bytes, len);
    close(fd);
    if (err == 0)
        err = rename(part, path) == 0 ? 0 : -errno;
    if (err != 0)
        unlink(part);
    free(part);
    return err == 0 ? sync_parent(path) : err;
}

int
cw_metafile_write(const struct cw_metafile *m, const char *path, bool replace)
{
    struct cw_metaimage im = { 0 };
    int err;

    for (size_t i = 0; i < m->n; i++)
        cw_metaimage_add(&im, m->at[i].key, m->at[i].value, m->at[i].len);
    cw_metaimage_end(&im);
    err = cw_metafile_put(path, im.bytes, im.len, replace);
    cw_metaimage_fini(&im);
    return err;
}

static int
read_all(int fd, uint8_t *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = read(fd, bytes, len);

        if (n == 0)
            return -EBADMSG;
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0) {
            bytes += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

int
cw_metafile_get(const char *path, uint8_t **ret_bytes, size_t *ret_len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), err = 0;
    uint8_t *bytes = NULL;
    struct stat st;

    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) != 0)
        err = -errno;
    else if (!S_ISREG(st.st_mode) || st.st_size < (off_t)CW_METAIMAGE_MIN ||
             st.st_size > (off_t)CW_METAIMAGE_MAX)
        err = -EBADMSG;
    if (err == 0) {
        bytes = malloc((size_t)st.st_size);
        cw_assert(bytes != NULL);
        err = read_all(fd, bytes, (size_t)st.st_size);
    }
    close(fd);
    if (err == 0 && !cw_metaimage_sound(bytes, (size_t)st.st_size))
        err = -EBADMSG;
    if (err != 0) {
        free(bytes);
        return err;
    }
    *ret_bytes = bytes;
    *ret_len = (size_t)st.st_size;
    return 0;
}

int
cw_metafile_read(const char *path, struct cw_metafile *m)
{
    uint8_t *bytes;
    size_t len;
    int err = cw_metafile_get(path, &bytes, &len);

    if (err != 0)
        return err;
    err = cw_metafile_take(m, bytes, len) ? 0 : -EBADMSG;
    free(bytes);
    return err;
}
