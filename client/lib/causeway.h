/* causeway.h - libcauseway: replicated volumes from C.
 *
 *     struct causeway *c;
 *     struct causeway_volume *v;
 *
 *     causeway_connect("127.0.0.1:7000", NULL, &c);
 *     causeway_open(c, "vm1", 0, &v);
 *     causeway_pwrite(v, buf, 4096, 0);
 *     causeway_close(v);
 *     causeway_disconnect(c);
 *
 * A process that opens a volume becomes its owner: it sequences writes, sends them to every copy
 * and reads from the nearest one. There is one owner at a time. Functions return 0 or a negative
 * errno; causeway_last_error() then gives one line that names the object, the cause and the next
 * step.
 *
 * Threads: every function may be called from any thread, but for one volume causeway_close must be
 * the last call. Completion callbacks run on the library's own thread: they may submit, they must
 * not block or call the synchronous forms, open or close.
 *
 * Offsets and lengths are bytes; any alignment is allowed, multiples of 4096 are fast (anything
 * else is one read-modify-write, still atomic within a request of up to 1 MiB).
 */
#ifndef CAUSEWAY_H
#define CAUSEWAY_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CAUSEWAY_API __attribute__((visibility("default")))

struct causeway;        /* a connection to a cluster */
struct causeway_volume; /* an open volume */

/* "0.1.0" */
CAUSEWAY_API const char *causeway_version(void);

struct causeway_opts {
    size_t struct_size;    /* sizeof(struct causeway_opts) */
    const char *domain;    /* "site=dc1,rack=r2,host=h3": reads prefer what is near; NULL: that of a
                            * daemon on this machine, else unknown */
    const char *name;      /* what `status` and VOLUME_IN_USE call this client; NULL: the program */
    uint64_t memory_bytes; /* budget for data in flight; 0: 256 MiB */
    void (*log)(void *user, int level,
                const char *line); /* level as in syslog; NULL: stderr from
                                    * warnings up; called on the library's thread */
    void *log_user;
};

/* cluster: "HOST:PORT[,HOST:PORT..]", tried in turn. Returns once one answered, -ETIMEDOUT after 10
 * s. opts may be NULL. *ret_c is set on 0 only. */
CAUSEWAY_API int causeway_connect(const char *cluster, const struct causeway_opts *opts,
                                  struct causeway **ret_c);

/* Every volume must be closed. NULL is fine. */
CAUSEWAY_API void causeway_disconnect(struct causeway *c);

/* The last error of this thread's calls; never NULL; valid until the next call on this thread. */
CAUSEWAY_API const char *causeway_last_error(void);

enum causeway_open_flag {
    CAUSEWAY_OPEN_FORCE = 1 << 0,    /* take over now, even if the owner was heard from */
    CAUSEWAY_OPEN_READONLY = 1 << 1, /* writes fail with -EROFS; ownership is taken all the same */
};

/* Attaches. -ENOENT: no such volume; -EBUSY: VOLUME_IN_USE, the error names the owner;
 * -EHOSTUNREACH: no in-sync copy can be reached. */
CAUSEWAY_API int causeway_open(struct causeway *c, const char *volume, int flags,
                               struct causeway_volume **ret_v);

/* Waits for all requests, releases the volume. v is freed whatever it returns; not 0 means that the
 * release was not confirmed (the next open may have to wait 2 s), acknowledged data is safe. */
CAUSEWAY_API int causeway_close(struct causeway_volume *v);

struct causeway_info {
    uint64_t size_bytes;
    uint32_t block_bytes;  /* 4096: what is atomic and fast */
    uint32_t io_bytes_max; /* 1 MiB: the largest request that is atomic; larger ones are split */
    uint32_t gen;
    int readonly;
};
CAUSEWAY_API int causeway_stat(struct causeway_volume *v, struct causeway_info *ret);

/* Called on the library's thread when the volume's size changed, until close. NULL ends it. */
CAUSEWAY_API void causeway_on_resize(struct causeway_volume *v,
                                     void (*fn)(void *user, uint64_t size_bytes), void *user);

/* ---- asynchronous requests ---- */

enum causeway_op {
    CAUSEWAY_READ,
    CAUSEWAY_WRITE,
    CAUSEWAY_FLUSH,
    CAUSEWAY_TRIM,
    CAUSEWAY_ZERO,
};

/* The caller's; its address and buf hold until done. `priv` is the library's. */
struct causeway_req {
    enum causeway_op op;
    void *buf; /* READ, WRITE */
    uint64_t offset;
    uint64_t len; /* READ, WRITE up to 32 MiB; TRIM, ZERO any; FLUSH ignored */

    /* Exactly once, on the library's thread, never from inside submit. res: 0, or -EIO (no copy
     * could give these blocks), -ESHUTDOWN (somebody else took the volume over: this owner is
     * fenced, every later request fails alike), -EROFS, -ENOSPC (policy space-full=error). A write
     * that failed with -ESHUTDOWN may or may not have happened. */
    void (*done)(struct causeway_req *req, int res);
    void *user;
    uint64_t priv[16];
};

/* -EINVAL: out of range or unknown op, done will not be called; blocks only while the library's
 * queue (1024 requests) is full, except on the library's own thread, where it returns -EAGAIN. */
CAUSEWAY_API int causeway_submit(struct causeway_volume *v, struct causeway_req *req);

/* ---- thin synchronous forms: submit and wait ---- */

CAUSEWAY_API int causeway_pread(struct causeway_volume *v, void *buf, size_t len, uint64_t offset);
CAUSEWAY_API int causeway_pwrite(struct causeway_volume *v, const void *buf, size_t len,
                                 uint64_t offset);
CAUSEWAY_API int causeway_flush(struct causeway_volume *v);
CAUSEWAY_API int causeway_trim(struct causeway_volume *v, uint64_t offset, uint64_t len);
CAUSEWAY_API int causeway_zero(struct causeway_volume *v, uint64_t offset, uint64_t len);

#ifdef __cplusplus
}
#endif
#endif
