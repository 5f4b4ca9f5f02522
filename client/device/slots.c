#include "client/device/slots.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/device/fuse.h"
#include "common/base/assert.h"

#define MAGIC UINT64_C(0x314f4c5353574143) /* "CAWSSLO1" */
#define HEAD_BYTES 4096u

struct cw_slots_head {
    uint64_t magic;
    uint32_t n_slots, slot_bytes;
    uint32_t gen, tries, fenced, unused;
    uint64_t size_bytes;
};

CW_STATIC_ASSERT(sizeof(struct cw_slots_head) <= HEAD_BYTES);
CW_STATIC_ASSERT(CW_FUSE_REQUEST_MAX % 4096 == 0);

static size_t
slots_bytes(void)
{
    return HEAD_BYTES + (size_t)CW_SLOTS_N * CW_FUSE_REQUEST_MAX;
}

int
cw_slots_create(int *ret_fd)
{
    struct cw_slots_head h = { .magic = MAGIC,
                               .n_slots = CW_SLOTS_N,
                               .slot_bytes = CW_FUSE_REQUEST_MAX };
    int fd = memfd_create("causeway-device", MFD_CLOEXEC);
    int res;

    if (fd < 0)
        return -errno;
    if (ftruncate(fd, (off_t)slots_bytes()) == 0 && pwrite(fd, &h, sizeof(h), 0) == sizeof(h)) {
        *ret_fd = fd;
        return 0;
    }
    res = -errno;
    close(fd);
    return res;
}

int
cw_slots_map(int fd, struct cw_slots *ret, char why[static CW_SLOTS_WHY_SIZE])
{
    struct stat st;
    void *map;
    int res;

    if (fstat(fd, &st) != 0 || (size_t)st.st_size != slots_bytes()) {
        snprintf(why, CW_SLOTS_WHY_SIZE, "the requests under way are another version's");
        return -EPROTO;
    }
    map = mmap(NULL, slots_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (map == MAP_FAILED || mlock(map, slots_bytes()) != 0) {
        res = -errno;
        snprintf(why, CW_SLOTS_WHY_SIZE, "cannot lock %zu bytes of memory: %s", slots_bytes(),
                 strerror(-res));
        if (map != MAP_FAILED)
            munmap(map, slots_bytes());
        return res;
    }
    *ret = (struct cw_slots){ .head = map, .map_len = slots_bytes() };
    if (ret->head->magic == MAGIC && ret->head->n_slots == CW_SLOTS_N &&
        ret->head->slot_bytes == CW_FUSE_REQUEST_MAX)
        return 0;
    snprintf(why, CW_SLOTS_WHY_SIZE, "the requests under way are another version's");
    cw_slots_unmap(ret);
    return -EPROTO;
}

void
cw_slots_unmap(struct cw_slots *s)
{
    if (s->head != NULL)
        munmap(s->head, s->map_len);
    s->head = NULL;
}

void *
cw_slots_at(const struct cw_slots *s, uint32_t index)
{
    cw_assert(index < CW_SLOTS_N);
    return (uint8_t *)s->head + HEAD_BYTES + (size_t)index * CW_FUSE_REQUEST_MAX;
}

static uint64_t *
slot_unique(const struct cw_slots *s, uint32_t index)
{
    struct fuse_in_header *h = cw_slots_at(s, index);

    return (uint64_t *)&h->unique;
}

uint64_t
cw_slots_unique(const struct cw_slots *s, uint32_t index)
{
    return __atomic_load_n(slot_unique(s, index), __ATOMIC_ACQUIRE);
}

void
cw_slots_clear(const struct cw_slots *s, uint32_t index)
{
    __atomic_store_n(slot_unique(s, index), 0, __ATOMIC_RELEASE);
}

struct left {
    uint64_t unique;
    uint32_t slot;
};

static int
left_compare(const void *a, const void *b)
{
    const struct left *x = a, *y = b;

    return (x->unique > y->unique) - (x->unique < y->unique);
}

uint32_t
cw_slots_left(const struct cw_slots *s, uint32_t ret[static CW_SLOTS_N])
{
    struct left left[CW_SLOTS_N];
    uint32_t n = 0;

    for (uint32_t i = 0; i < CW_SLOTS_N; i++) {
        uint64_t unique = cw_slots_unique(s, i);

        if (unique != 0)
            left[n++] = (struct left){ .unique = unique, .slot = i };
    }
    qsort(left, n, sizeof(left[0]), left_compare);
    for (uint32_t i = 0; i < n; i++)
        ret[i] = left[i].slot;
    return n;
}

void
cw_slots_past(const struct cw_slots *s, struct cw_slots_past *ret)
{
    *ret = (struct cw_slots_past){ .gen = s->head->gen,
                                   .tries = s->head->tries,
                                   .size_bytes = s->head->size_bytes,
                                   .fenced = s->head->fenced != 0 };
}

/* Each order of these stores is safe: a gen with the tries of before allows more, for an instant in
 * which the volume is ours. */
void
cw_slots_set_past(const struct cw_slots *s, const struct cw_slots_past *past)
{
    __atomic_store_n(&s->head->fenced, past->fenced, __ATOMIC_RELEASE);
    __atomic_store_n(&s->head->size_bytes, past->size_bytes, __ATOMIC_RELEASE);
    __atomic_store_n(&s->head->gen, past->gen, __ATOMIC_RELEASE);
    __atomic_store_n(&s->head->tries, past->tries, __ATOMIC_RELEASE);
}

bool
cw_slots_gen_fits(const struct cw_slots_past *past, uint32_t gen)
{
    return !past->fenced && (past->gen == 0 || (gen > past->gen && gen - past->gen <= past->tries));
}
