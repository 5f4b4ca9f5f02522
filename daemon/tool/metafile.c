#include "daemon/tool/metafile.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/assert.h"
#include "common/base/bits.h"
#include "common/codec/hash.h"
#include "daemon/metadata/records.h"

#define MAGIC "CWMETA\n\1"
#define MAGIC_SIZE 8
#define HEAD_SIZE (MAGIC_SIZE + sizeof(uint32_t))
#define REC_HEAD_SIZE (sizeof(uint16_t) + sizeof(uint32_t))
#define FILE_MAX (4 * CW_GIB)

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

static uint8_t *
file_encode(const struct cw_metafile *m, size_t *ret_len)
{
    size_t len = HEAD_SIZE + sizeof(uint64_t), n = 0;
    uint32_t count = htole32((uint32_t)m->n);
    uint64_t hash;
    uint8_t *bytes;

    for (size_t i = 0; i < m->n; i++)
        len += REC_HEAD_SIZE + strlen(m->at[i].key) + m->at[i].len;
    bytes = malloc(len);
    cw_assert(bytes != NULL);
    memcpy(bytes, MAGIC, MAGIC_SIZE);
    memcpy(bytes + MAGIC_SIZE, &count, sizeof(count));
    n = HEAD_SIZE;
    for (size_t i = 0; i < m->n; i++) {
        const struct cw_metafile_rec *r = &m->at[i];
        size_t key_bytes = strlen(r->key);
        uint16_t key_len = htole16((uint16_t)key_bytes);
        uint32_t value_len = htole32((uint32_t)r->len);

        memcpy(bytes + n, &key_len, sizeof(key_len));
        memcpy(bytes + n + sizeof(key_len), &value_len, sizeof(value_len));
        memcpy(bytes + n + REC_HEAD_SIZE, r->key, key_bytes);
        memcpy(bytes + n + REC_HEAD_SIZE + key_bytes, r->value, r->len);
        n += REC_HEAD_SIZE + key_bytes + r->len;
    }
    hash = htole64(cw_hash(bytes, n));
    memcpy(bytes + n, &hash, sizeof(hash));
    cw_assert(n + sizeof(hash) == len);
    *ret_len = len;
    return bytes;
}

/* The checksum holds; still nothing may reach beyond len. */
static bool
file_decode(const uint8_t *bytes, size_t len, struct cw_metafile *m)
{
    uint32_t count;
    size_t n = HEAD_SIZE;

    memcpy(&count, bytes + MAGIC_SIZE, sizeof(count));
    for (uint32_t i = 0; i < le32toh(count); i++) {
        char key[CW_KV_KEY_SIZE];
        uint16_t key_len;
        uint32_t value_len;

        if (len - n < REC_HEAD_SIZE)
            return false;
        memcpy(&key_len, bytes + n, sizeof(key_len));
        memcpy(&value_len, bytes + n + sizeof(key_len), sizeof(value_len));
        n += REC_HEAD_SIZE;
        key_len = le16toh(key_len);
        value_len = le32toh(value_len);
        if (key_len >= sizeof(key) || key_len > len - n || value_len > len - n - key_len)
            return false;
        memcpy(key, bytes + n, key_len);
        key[key_len] = '\0';
        if (strlen(key) != key_len)
            return false;
        cw_metafile_add(m, key, bytes + n + key_len, value_len);
        n += key_len + value_len;
    }
    return n == len;
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
cw_metafile_write(const struct cw_metafile *m, const char *path, bool replace)
{
    size_t len, part_size = strlen(path) + 8;
    char *part = malloc(part_size);
    uint8_t *bytes;
    int fd, err;

    cw_assert(part != NULL);
    if (!replace && access(path, F_OK) == 0) {
        free(part);
        return -EEXIST;
    }
    snprintf(part, part_size, "%s.part", path);
    fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        err = -errno;
        free(part);
        return err;
    }
    bytes = file_encode(m, &len);
    err = write_all(fd, bytes, len);
    close(fd);
    free(bytes);
    if (err == 0)
        err = rename(part, path) == 0 ? 0 : -errno;
    if (err != 0)
        unlink(part);
    free(part);
    return err == 0 ? sync_parent(path) : err;
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

static int
file_check(const uint8_t *bytes, size_t len, struct cw_metafile *m)
{
    uint64_t hash;

    memcpy(&hash, bytes + len - sizeof(hash), sizeof(hash));
    len -= sizeof(hash);
    if (memcmp(bytes, MAGIC, MAGIC_SIZE) != 0 || cw_hash(bytes, len) != le64toh(hash))
        return -EBADMSG;
    return file_decode(bytes, len, m) ? 0 : -EBADMSG;
}

int
cw_metafile_read(const char *path, struct cw_metafile *m)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), err = 0;
    struct stat st;
    uint8_t *bytes;

    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) != 0)
        err = -errno;
    else if (!S_ISREG(st.st_mode) || st.st_size < (off_t)(HEAD_SIZE + sizeof(uint64_t)) ||
             st.st_size > (off_t)FILE_MAX)
        err = -EBADMSG;
    if (err != 0) {
        close(fd);
        return err;
    }
    bytes = malloc((size_t)st.st_size);
    cw_assert(bytes != NULL);
    err = read_all(fd, bytes, (size_t)st.st_size);
    close(fd);
    if (err == 0)
        err = file_check(bytes, (size_t)st.st_size, m);
    free(bytes);
    return err;
}
