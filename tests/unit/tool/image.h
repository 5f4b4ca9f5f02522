/* tests/unit/tool/image.h - a store as a file, and causeway-store on it. */
#pragma once

#include "daemon/tool/ckpt.h"
#include "tests/lib/storeworld.h"

struct image {
    char dir[96], path[128];
    int fd;
};

/* The disk of w, byte for byte, in a file of its own; skips the case where the file system has no
 * direct I/O. */
void image_make(struct image *im, const struct storeworld *w);
void image_remove(struct image *im);

uint64_t image_hash(const struct image *im); /* of every byte */
void image_flip(const struct image *im, uint64_t at);

/* causeway-store with up to four arguments; its exit status. out (NULL: dropped) is to be freed and
 * holds what it printed, errors too. */
int image_tool(char **out, const char *a, const char *b, const char *c, const char *d);

/* Opens the stand and loads the newest checkpoint on the disk itself. */
struct image_look {
    struct cw_tool t;
    struct cw_stand *st;
    struct cw_ckpt k;
    struct cw_sb sb;
};
void image_look(const struct image *im, struct image_look *l);
void image_look_end(struct image_look *l);
uint64_t image_off(const struct image_look *l, uint64_t loc);

/* Every checksum from the part (index in the root) up to the superblock is made to fit its new
 * bytes, of which there are as many as before. */
void image_put_part(const struct image *im, struct image_look *l, uint32_t part, const void *bytes);
