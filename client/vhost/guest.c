#include "client/vhost/guest.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "client/vhost/spec.h"
#include "common/base/bits.h"

/* ---- files that become shorter ---- */

#define MAPS_MAX (4 * CW_GUEST_REGIONS_MAX)

/* What the fault handler, which can be told nothing, has to know. */
static struct map {
    _Atomic(uintptr_t) begin; /* 0: free */
    _Atomic(size_t) len;
} maps[MAPS_MAX];
static atomic_bool lost;

bool
cw_guest_lost(void)
{
    return atomic_load_explicit(&lost, memory_order_relaxed);
}

/* Async-signal-safe. The whole mapping becomes empty memory of our own, which nobody shares. */
static void
on_sigbus(int signo, siginfo_t *info, void *context)
{
    uintptr_t at = (uintptr_t)info->si_addr;

    for (size_t i = 0; i < MAPS_MAX; i++) {
        uintptr_t begin = atomic_load(&maps[i].begin);
        size_t len = atomic_load(&maps[i].len);

        if (begin == 0 || at < begin || at - begin >= len)
            continue;
        if (mmap((void *)begin, len, PROT_READ | PROT_WRITE,
                 MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) == MAP_FAILED)
            break;
        atomic_store(&lost, true);
        return;
    }
    signal(signo, SIG_DFL); /* not ours: die of it */
}

static bool
map_watch(void *map, size_t len)
{
    struct sigaction sa = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_RESTART };
    sigset_t faults;

    sigaction(SIGBUS, &sa, NULL);
    sigemptyset(&faults);
    sigaddset(&faults, SIGBUS);
    pthread_sigmask(SIG_UNBLOCK, &faults, NULL); /* threads of the engine block all signals */
    for (size_t i = 0; i < MAPS_MAX; i++) {
        if (atomic_load(&maps[i].begin) != 0)
            continue;
        atomic_store(&maps[i].len, len);
        atomic_store(&maps[i].begin, (uintptr_t)map);
        return true;
    }
    return false;
}

void
cw_shared_unmap(void *map, size_t map_len)
{
    for (size_t i = 0; i < MAPS_MAX; i++) {
        if (atomic_load(&maps[i].begin) == (uintptr_t)map)
            atomic_store(&maps[i].begin, 0);
    }
    (void)munmap(map, map_len);
}

/* Huge pages are unmapped whole, and begin at whole ones: the mapping begins at the file's start
 * and ends at a page of the file's own size. */
static int
file_check(int fd, uint64_t offset, uint64_t len, size_t *ret_map_len)
{
    struct stat st;
    uint64_t page;

    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return -EBADF;
    if (len == 0 || offset > INT64_MAX - len || len > INT64_MAX / 2)
        return -EINVAL;
    if ((uint64_t)st.st_size < offset + len)
        return -ERANGE;
    page = cw_is_pow2((uint64_t)st.st_blksize) ? (uint64_t)st.st_blksize : 4096;
    *ret_map_len = cw_align_up(offset + len, cw_max_u64(page, 4096));
    return 0;
}

int
cw_shared_map(int fd, uint64_t offset, uint64_t len, void **ret_map, size_t *ret_map_len,
              uint8_t **ret_at)
{
    size_t map_len;
    void *map;
    int res = file_check(fd, offset, len, &map_len);

    if (res != 0)
        return res;
    map = mmap(NULL, map_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (map == MAP_FAILED)
        return -errno;
    if (!map_watch(map, map_len)) {
        (void)munmap(map, map_len);
        return -ENOSPC;
    }
    (void)madvise(map, map_len, MADV_DONTDUMP); /* a core is to hold our state, not the guest's */
    *ret_map = map;
    *ret_map_len = map_len;
    *ret_at = (uint8_t *)map + offset;
    return 0;
}

/* ---- what was written ---- */

void
cw_guest_log_drop(struct cw_guest *g)
{
    if (g->log.map != NULL)
        cw_shared_unmap(g->log.map, g->log.map_len);
    g->log = (struct cw_dirty_log){ .on = g->log.on };
}

int
cw_guest_log(struct cw_guest *g, int fd, uint64_t offset, uint64_t len)
{
    struct cw_dirty_log log = { .len = len, .on = g->log.on };
    int res = cw_shared_map(fd, offset, len, &log.map, &log.map_len, &log.at);

    cw_guest_log_drop(g);
    if (res == 0)
        g->log = log;
    return res;
}

/* After the data: who finds the bit finds the data. */
static void
log_pages(const struct cw_guest *g, uint64_t guest_addr, uint64_t len)
{
    const struct cw_dirty_log *log = &g->log;
    uint64_t end = (guest_addr + len - 1) / CW_VU_LOG_PAGE;

    if (!log->on || log->map == NULL || len == 0)
        return;
    for (uint64_t page = guest_addr / CW_VU_LOG_PAGE; page <= end && page / 8 < log->len; page++)
        __atomic_fetch_or(&log->at[page / 8], (uint8_t)(1u << page % 8), __ATOMIC_SEQ_CST);
}

/* ---- the table ---- */

static int
region_check(const struct cw_guest *g, const struct cw_guest_region *r)
{
    if (r->size == 0 || r->guest_addr > UINT64_MAX - r->size || r->user_addr > UINT64_MAX - r->size)
        return -EINVAL;
    for (uint32_t i = 0; i < g->n; i++) {
        const struct cw_guest_region *o = &g->region[i];

        if (cw_ranges_overlap(o->guest_addr, o->size, r->guest_addr, r->size) ||
            cw_ranges_overlap(o->user_addr, o->size, r->user_addr, r->size))
            return -EINVAL;
    }
    return g->n < CW_GUEST_REGIONS_MAX ? 0 : -ENOSPC;
}

int
cw_guest_add(struct cw_guest *g, const struct cw_guest_region *r)
{
    int res = region_check(g, r);

    if (res == 0)
        g->region[g->n++] = *r;
    return res;
}

int
cw_guest_map(struct cw_guest *g, const struct cw_guest_region *r, int fd, uint64_t offset)
{
    struct cw_guest_region mapped = *r;
    int res = region_check(g, r);

    if (res == 0)
        res = cw_shared_map(fd, offset, r->size, &mapped.map, &mapped.map_len, &mapped.host);
    if (res == 0)
        g->region[g->n++] = mapped;
    return res;
}

static void
region_unmap(const struct cw_guest_region *r)
{
    if (r->map != NULL)
        cw_shared_unmap(r->map, r->map_len);
}

int
cw_guest_remove(struct cw_guest *g, const struct cw_guest_region *r)
{
    for (uint32_t i = 0; i < g->n; i++) {
        const struct cw_guest_region *o = &g->region[i];

        if (o->guest_addr != r->guest_addr || o->user_addr != r->user_addr || o->size != r->size)
            continue;
        region_unmap(o);
        g->region[i] = g->region[--g->n];
        return 0;
    }
    return -ENOENT;
}

void
cw_guest_clear(struct cw_guest *g)
{
    for (uint32_t i = 0; i < g->n; i++)
        region_unmap(&g->region[i]);
    g->n = 0;
    atomic_store(&lost, false); /* what comes next is new */
}

/* ---- addresses ---- */

uint8_t *
cw_guest_user(const struct cw_guest *g, uint64_t user_addr, uint64_t len)
{
    for (uint32_t i = 0; i < g->n; i++) {
        const struct cw_guest_region *r = &g->region[i];
        uint64_t at = user_addr - r->user_addr;

        if (user_addr >= r->user_addr && at < r->size)
            return len <= r->size - at ? r->host + at : NULL;
    }
    return NULL;
}

void
cw_guest_dirty(const struct cw_guest *g, uint64_t user_addr, uint64_t len)
{
    for (uint32_t i = 0; g->log.on && i < g->n; i++) {
        const struct cw_guest_region *r = &g->region[i];
        uint64_t at = user_addr - r->user_addr;

        if (user_addr >= r->user_addr && at < r->size)
            log_pages(g, r->guest_addr + at, cw_min_u64(len, r->size - at));
    }
}

/* The bytes from guest_addr on that lie in one region, at most len; NULL: there are none. */
static uint8_t *
guest_run(const struct cw_guest *g, uint64_t guest_addr, uint64_t len, uint64_t *ret_n)
{
    for (uint32_t i = 0; i < g->n; i++) {
        const struct cw_guest_region *r = &g->region[i];
        uint64_t at = guest_addr - r->guest_addr;

        if (guest_addr < r->guest_addr || at >= r->size)
            continue;
        *ret_n = cw_min_u64(len, r->size - at);
        return r->host + at;
    }
    return NULL;
}

bool
cw_guest_read(const struct cw_guest *g, uint64_t guest_addr, void *to, uint64_t len)
{
    uint8_t *out = to;

    while (len > 0) {
        uint64_t n;
        const uint8_t *from = guest_run(g, guest_addr, len, &n);

        if (from == NULL)
            return false;
        memcpy(out, from, n);
        out += n;
        guest_addr += n; /* regions do not wrap, so neither does this before len is 0 */
        len -= n;
    }
    return true;
}

bool
cw_guest_write(const struct cw_guest *g, uint64_t guest_addr, const void *from, uint64_t len)
{
    const uint8_t *in = from;

    while (len > 0) {
        uint64_t n;
        uint8_t *to = guest_run(g, guest_addr, len, &n);

        if (to == NULL)
            return false;
        memcpy(to, in, n);
        log_pages(g, guest_addr, n);
        in += n;
        guest_addr += n;
        len -= n;
    }
    return true;
}
