/* tool/dump.h - one record of a store shown. Each dump fills one object, printed as text or JSON.
 *
 * What lies on the disk is shown as it is there, right or not (`wrong` says what is the matter).
 * What belongs to a copy is what a start of the daemon would find.
 */
#pragma once

#include <jansson.h>

#include "daemon/tool/ckpt.h"
#include "daemon/tool/words.h"

struct cw_dump {
    struct cw_tool *t;
    struct cw_stand *st;
    bool raw;
    int argc; /* words behind what is to be shown */
    char **argv;
    uint64_t arg[3];   /* argv as numbers .. */
    uint64_t place[3]; /* .. or argv[0] as segment, offset, index */

    json_t *o;      /* the object */
    uint8_t *bytes; /* what --raw shows; malloc */
    size_t n_bytes;
    char hint[512];    /* of cw_dump_see */
    char damaged[256]; /* of a copy: what of it, and how; "": nothing */

    struct cw_ckpt k; /* of cw_dump_state */
    enum cw_stand_side side;
};

/* All of these: the exit status; when it is not 0 it was said why. */
int cw_dump_superblock(struct cw_dump *d);
int cw_dump_segment(struct cw_dump *d);
int cw_dump_batch(struct cw_dump *d);
int cw_dump_record(struct cw_dump *d);
int cw_dump_checkpoint(struct cw_dump *d);
int cw_dump_shard(struct cw_dump *d);
int cw_dump_layer(struct cw_dump *d);
int cw_dump_table(struct cw_dump *d);
int cw_dump_page(struct cw_dump *d);
int cw_dump_block(struct cw_dump *d);
int cw_dump_scrub(struct cw_dump *d);

/* Loads what a start would find into d->k; if it would fail, the newest checkpoint that is there.
 */
int cw_dump_state(struct cw_dump *d);

/* What was asked for is not there; hint: of cw_dump_see, or NULL. */
int cw_dump_missing(struct cw_dump *d, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* "see: causeway-store COMMAND PATH WORDS", of this store; lives until the next one. */
const char *cw_dump_see(struct cw_dump *d, const char *command, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Fields of an object. */
void cw_dump_num(json_t *o, const char *key, uint64_t n);
/* With its name as KEY_name; as text it stands in parentheses behind the number. */
void cw_dump_named(json_t *o, const char *key, uint64_t n, const char *name);
void cw_dump_flags(json_t *o, enum cw_words_flags which, uint64_t flags); /* as "flags" */
void cw_dump_hex(json_t *o, const char *key, uint64_t n);                 /* as "0x.." */
void cw_dump_text(json_t *o, const char *key, const char *text);
void cw_dump_uuid(json_t *o, const char *key, const uint8_t bytes[static 16]);
void cw_dump_loc(json_t *o, const char *key, uint64_t loc); /* in words */
void cw_dump_wrong(json_t *o, const char *why);             /* NULL: nothing */
json_t *cw_dump_shardrec(const struct cw_shard_rec *rec);
