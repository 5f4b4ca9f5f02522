/* How long one 4 KiB request at a time takes through causeway-vhost, as a driver sees it: chain
 * available, kick, sleep until told. Beside it: `causeway bench V --bs 4K --iodepth 1`, in process.
 *
 *   vhost-latency SOCKET read|write N      the volume's first 64 MiB are used
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "client/vhost/spec.h"
#include "common/base/bits.h"

#define MEM (1u << 20)
#define SIZE 64
#define AVAIL 0x1000u
#define USED 0x2000u
#define HEAD 0x3000u
#define DATA 0x10000u
#define BLOCKS (64u << 8)

static uint8_t *mem;
static int sock, kick_fd, call_fd;
static uint16_t avail, used;

static void
die(const char *what)
{
    perror(what);
    exit(1);
}

/* ---- messages ---- */

static void
tell(uint32_t request, const void *payload, uint32_t len, int fd)
{
    struct cw_vu_header h = { request, CW_VU_VERSION, len };
    struct iovec iov[2] = { { &h, sizeof(h) }, { (void *)(uintptr_t)payload, len } };
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = { 0 };
    struct msghdr m = { .msg_iov = iov, .msg_iovlen = 2 };

    if (fd >= 0) {
        m.msg_control = control;
        m.msg_controllen = sizeof(control);
        *CMSG_FIRSTHDR(&m) = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(fd)),
                                               .cmsg_level = SOL_SOCKET,
                                               .cmsg_type = SCM_RIGHTS };
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), &fd, sizeof(fd));
    }
    if (sendmsg(sock, &m, 0) != (ssize_t)(sizeof(h) + len))
        die("sendmsg");
}

static uint64_t
ask(uint32_t request)
{
    struct {
        struct cw_vu_header h;
        uint8_t value[8];
    } r;
    uint64_t value;

    tell(request, "", 0, -1);
    if (recv(sock, &r, sizeof(r), MSG_WAITALL) != sizeof(r))
        die("recv");
    memcpy(&value, r.value, sizeof(value));
    return value;
}

static void
begin(const char *path, int mem_fd)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    struct cw_vu_table t = { .n_regions = 1, .region[0] = { 0, MEM, 0, 0 } };
    struct cw_vu_addr a = { .desc = 0, .avail = AVAIL, .used = USED };
    struct cw_vu_state num = { 0, SIZE }, base = { 0, 0 }, on = { 0, 1 };
    uint64_t features, index = 0;

    snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
    sock = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(sock, (struct sockaddr *)&un, sizeof(un)) != 0)
        die(path);
    features =
        ask(CW_VU_GET_FEATURES) & ~CW_BIT(CW_VIRTIO_F_RING_PACKED) & ~CW_BIT(CW_VIRTIO_F_EVENT_IDX);
    tell(CW_VU_SET_FEATURES, &features, sizeof(features), -1);
    tell(CW_VU_SET_MEM_TABLE, &t, sizeof(t), mem_fd);
    tell(CW_VU_SET_VRING_NUM, &num, sizeof(num), -1);
    tell(CW_VU_SET_VRING_BASE, &base, sizeof(base), -1);
    tell(CW_VU_SET_VRING_ADDR, &a, sizeof(a), -1);
    tell(CW_VU_SET_VRING_KICK, &index, sizeof(index), kick_fd);
    tell(CW_VU_SET_VRING_CALL, &index, sizeof(index), call_fd);
    tell(CW_VU_SET_VRING_ENABLE, &on, sizeof(on), -1);
    (void)ask(CW_VU_GET_FEATURES); /* all of it has been done */
}

/* ---- requests ---- */

static void
request(uint32_t type, uint64_t block)
{
    struct cw_virtq_desc *d = (struct cw_virtq_desc *)(void *)mem;
    struct cw_virtq_avail *a = (struct cw_virtq_avail *)(void *)(mem + AVAIL);
    struct cw_virtq_used *u = (struct cw_virtq_used *)(void *)(mem + USED);
    struct cw_blk_header h = { .type = type, .sector = block * 8 };
    uint16_t data_flags = CW_VIRTQ_NEXT | (type == CW_BLK_T_IN ? CW_VIRTQ_WRITE : 0);
    uint64_t n = 1;

    memcpy(mem + HEAD, &h, sizeof(h));
    d[0] = (struct cw_virtq_desc){ HEAD, sizeof(h), CW_VIRTQ_NEXT, 1 };
    d[1] = (struct cw_virtq_desc){ DATA, 4096, data_flags, 2 };
    d[2] = (struct cw_virtq_desc){ HEAD + 64, 1, CW_VIRTQ_WRITE, 0 };
    a->ring[avail % SIZE] = 0;
    __atomic_store_n(&a->idx, ++avail, __ATOMIC_RELEASE);
    if (write(kick_fd, &n, sizeof(n)) != sizeof(n))
        die("kick");
    while (__atomic_load_n(&u->idx, __ATOMIC_ACQUIRE) == used) {
        if (read(call_fd, &n, sizeof(n)) != sizeof(n))
            die("call");
    }
    used++;
    if (mem[HEAD + 64] != CW_BLK_S_OK) {
        fprintf(stderr, "a request failed\n");
        exit(1);
    }
}

static uint64_t
now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * CW_NS_PER_S + (uint64_t)t.tv_nsec;
}

static int
compare(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

int
main(int argc, char **argv)
{
    uint32_t type = argc > 2 && strcmp(argv[2], "write") == 0 ? CW_BLK_T_OUT : CW_BLK_T_IN;
    size_t n = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;
    uint64_t *took = calloc(n + 1, sizeof(*took)), sum = 0;
    int mem_fd = memfd_create("guest", 0);

    if (n == 0 || took == NULL || mem_fd < 0 || ftruncate(mem_fd, MEM) != 0) {
        fprintf(stderr, "usage: vhost-latency SOCKET read|write N\n");
        return 2;
    }
    mem = mmap(NULL, MEM, PROT_READ | PROT_WRITE, MAP_SHARED, mem_fd, 0);
    kick_fd = eventfd(0, 0);
    call_fd = eventfd(0, 0);
    begin(argv[1], dup(mem_fd));
    /* ours wait; the back end made the shared descriptions non-blocking */
    (void)fcntl(call_fd, F_SETFL, 0);
    for (size_t i = 0; i < n; i++) {
        uint64_t at = now_ns();

        memset(mem + DATA, (int)i | 1, 64);
        request(type, cw_mix64(i) % BLOCKS);
        took[i] = now_ns() - at;
        sum += took[i];
    }
    qsort(took, n, sizeof(*took), compare);
    printf("%s: mean %.1f us, p50 %.1f us, p99 %.1f us\n", argv[2], (double)sum / (double)n / 1e3,
           (double)took[n / 2] / 1e3, (double)took[n * 99 / 100] / 1e3);
    return 0;
}
