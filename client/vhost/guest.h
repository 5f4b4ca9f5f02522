/* vhost/guest.h - the guest's memory: regions that the front end shares with us.
 *
 * Three kinds of addresses name one byte: the guest's own (in descriptors), the front end's (of
 * rings) and ours. Nothing that comes from outside is trusted: regions do not overlap and do not
 * wrap, an address is looked up with its length, and what lies in no region is refused.
 *
 * A file that its front end makes shorter takes pages away under us. The fault is caught: that
 * mapping becomes empty memory of our own and cw_guest_lost says so from then on.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CW_GUEST_REGIONS_MAX 32u

struct cw_guest_region {
    uint64_t guest_addr, user_addr, size;
    uint8_t *host;
    void *map; /* what to unmap; NULL: somebody else's */
    size_t map_len;
};

/* Which of its pages were written, for a front end that sends them elsewhere meanwhile. */
struct cw_dirty_log {
    void *map; /* NULL: there is none */
    size_t map_len;
    uint8_t *at;
    uint64_t len;
    bool on;
};

struct cw_guest {
    uint32_t n;
    struct cw_dirty_log log;
    struct cw_guest_region region[CW_GUEST_REGIONS_MAX];
};

/* 0; -EINVAL: empty, wraps, or overlaps another; -ENOSPC: one too many. */
int cw_guest_add(struct cw_guest *g, const struct cw_guest_region *r);

/* Maps size bytes from offset of fd, which stays the caller's, and adds them. Also -EBADF: not a
 * regular file; -ERANGE: the file ends before; or as mmap says. r: the addresses and the size. */
int cw_guest_map(struct cw_guest *g, const struct cw_guest_region *r, int fd, uint64_t offset);

/* -ENOENT: there is none with these addresses and this size. */
int cw_guest_remove(struct cw_guest *g, const struct cw_guest_region *r);
void cw_guest_clear(struct cw_guest *g);

/* Ours, if all of it lies in one region; else NULL. */
uint8_t *cw_guest_user(const struct cw_guest *g, uint64_t user_addr, uint64_t len);

/* Copies; false: not all of it is the guest's (then some of it may have been copied). */
bool cw_guest_read(const struct cw_guest *g, uint64_t guest_addr, void *to, uint64_t len);
bool cw_guest_write(const struct cw_guest *g, uint64_t guest_addr, const void *from, uint64_t len);

/* ---- what was written ---- */

/* len bytes from offset of fd, which stays the caller's, hold a bit for each page from now on, in
 * the place of any before. Errors as in cw_guest_map; then there is none. */
int cw_guest_log(struct cw_guest *g, int fd, uint64_t offset, uint64_t len);
void cw_guest_log_drop(struct cw_guest *g);

/* cw_guest_write notes what it wrote by itself. This is for what was written in another way, after
 * it was: by the front end's address. Nothing, if the log is off. */
void cw_guest_dirty(const struct cw_guest *g, uint64_t user_addr, uint64_t len);

/* A file became shorter while it was mapped, anywhere in this process; until the next clear. */
bool cw_guest_lost(void);

/* ---- shared files ---- */

/* Maps len bytes from offset of fd for reading and writing, watched for faults. Errors as in
 * cw_guest_map. */
int cw_shared_map(int fd, uint64_t offset, uint64_t len, void **ret_map, size_t *ret_map_len,
                  uint8_t **ret_at);
void cw_shared_unmap(void *map, size_t map_len);
