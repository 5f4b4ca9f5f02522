/* Large pieces of memory without a system call for each: under ASan every aligned_alloc from 256
 * KiB on is an mmap and its free a munmap, which take most of the time of a run.
 *
 * Linked with --wrap=aligned_alloc,--wrap=free. What is beyond the size asked for, and all of it
 * after free, is poisoned; the piece freed first is used again first. bigalloc_count is 0 if
 * nothing leaked: these do not show in LeakSanitizer's report.
 */
#include "tests/lib/bigalloc.h"

#include <sanitizer/asan_interface.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/base/bits.h"
#include "common/base/list.h"

#define BIG_MIN (64 * CW_KIB)
#define AREA (UINT64_C(1) << 30)
#define CLASSES 7u /* 128 KiB .. 8 MiB, a guard of 4 KiB at each end included */

struct big {
    struct cw_list link;
    uint8_t *at;
    uint32_t cls;
    bool used;
};

static struct {
    uint8_t *area;
    uint64_t end;
    struct cw_list free[CLASSES];
    struct big piece[AREA / (128 * CW_KIB)];
    struct big *of[AREA / (128 * CW_KIB)]; /* by its first 128 KiB */
    uint32_t n, n_used;
} all;

void *__real_aligned_alloc(size_t align, size_t size);
void __real_free(void *p);
void *__wrap_aligned_alloc(size_t align, size_t size);
void __wrap_free(void *p);

static uint64_t
class_bytes(uint32_t cls)
{
    return 128 * CW_KIB << cls;
}

static struct big *
big_new(uint32_t cls)
{
    struct big *b = &all.piece[all.n];

    if (all.n == CW_LEN(all.piece) || all.end + class_bytes(cls) > AREA)
        return NULL;
    all.n++;
    b->at = all.area + all.end;
    b->cls = cls;
    all.of[all.end / class_bytes(0)] = b;
    all.end += class_bytes(cls);
    cw_list_init(&b->link);
    return b;
}

static void
big_start(void)
{
    all.area = mmap(NULL, AREA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                    -1, 0);
    cw_assert(all.area != MAP_FAILED);
    for (uint32_t i = 0; i < CLASSES; i++)
        cw_list_init(&all.free[i]);
}

void *
__wrap_aligned_alloc(size_t align, size_t size)
{
    struct cw_list *node;
    struct big *b;
    uint32_t cls = 0;

    if (size < BIG_MIN || size + 2 * 4096 > class_bytes(CLASSES - 1) || align > 4096)
        return __real_aligned_alloc(align, size);
    if (all.area == NULL)
        big_start();
    while (class_bytes(cls) < size + 2 * 4096)
        cls++;
    node = cw_list_pop_front(&all.free[cls]);
    b = node != NULL ? cw_list_entry(node, struct big, link) : big_new(cls);
    if (b == NULL)
        return __real_aligned_alloc(align, size);
    b->used = true;
    all.n_used++;
    ASAN_POISON_MEMORY_REGION(b->at, class_bytes(cls));
    ASAN_UNPOISON_MEMORY_REGION(b->at + 4096, size);
    memset(b->at + 4096, 0xbe, 4096);
    return b->at + 4096;
}

void
__wrap_free(void *p)
{
    struct big *b;

    if (all.area == NULL || (uint8_t *)p < all.area || (uint8_t *)p >= all.area + AREA) {
        __real_free(p);
        return;
    }
    b = all.of[(uint64_t)((uint8_t *)p - all.area) / class_bytes(0)];
    cw_assert(b != NULL && (uint8_t *)p == b->at + 4096 && b->used);
    b->used = false;
    all.n_used--;
    ASAN_POISON_MEMORY_REGION(b->at, class_bytes(b->cls));
    cw_list_push_back(&all.free[b->cls], &b->link);
}

uint32_t
bigalloc_count(void)
{
    return all.n_used;
}

const char *
__asan_default_options(void)
{
    return "quarantine_size_mb=8:allocator_release_to_os_interval_ms=-1";
}
