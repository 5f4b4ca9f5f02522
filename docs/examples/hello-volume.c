/* hello-volume.c - writes to a volume and reads it back, first waiting, then with many at once.
 *
 *     cc hello-volume.c $(pkg-config --cflags --libs causeway) -o hello-volume
 *     ./hello-volume 127.0.0.1:7000 vm1
 */
#include <causeway.h>
#include <stdio.h>
#include <string.h>

#define N_REQS 32
#define BLOCK 4096

static unsigned char blocks[N_REQS][BLOCK];

/* On the library's thread: count, and let the main thread's flush wait for the rest. */
static void
written(struct causeway_req *req, int res)
{
    int *n_failed = req->user;

    if (res != 0)
        ++*n_failed;
}

static int
write_many(struct causeway_volume *v)
{
    static struct causeway_req reqs[N_REQS];
    int n_failed = 0;

    for (int i = 0; i < N_REQS; i++) {
        memset(blocks[i], 'a' + i % 26, BLOCK);
        reqs[i] = (struct causeway_req){
            .op = CAUSEWAY_WRITE,
            .buf = blocks[i],
            .offset = (uint64_t)i * BLOCK,
            .len = BLOCK,
            .done = written,
            .user = &n_failed,
        };
        if (causeway_submit(v, &reqs[i]) != 0)
            return -1;
    }
    if (causeway_close(v) != 0) /* waits for all of them */
        fprintf(stderr, "%s\n", causeway_last_error());
    return n_failed;
}

static int
hello(struct causeway *c, const char *name)
{
    struct causeway_volume *v;
    struct causeway_info info;
    char text[32] = "hello, volume", back[32];

    if (causeway_open(c, name, 0, &v) != 0)
        return -1;
    causeway_stat(v, &info);
    printf("%s: %llu bytes\n", name, (unsigned long long)info.size_bytes);
    if (causeway_pwrite(v, text, sizeof(text), 512) != 0 ||
        causeway_pread(v, back, sizeof(back), 512) != 0) {
        causeway_close(v);
        return -1;
    }
    printf("read back: %s\n", back);
    return write_many(v);
}

int
main(int argc, char **argv)
{
    struct causeway *c;
    int res;

    if (argc != 3) {
        fprintf(stderr, "usage: hello-volume CLUSTER VOLUME\n");
        return 2;
    }
    if (causeway_connect(argv[1], NULL, &c) != 0) {
        fprintf(stderr, "%s\n", causeway_last_error());
        return 1;
    }
    res = hello(c, argv[2]);
    if (res != 0)
        fprintf(stderr, "%s\n", causeway_last_error());
    causeway_disconnect(c);
    return res != 0;
}
