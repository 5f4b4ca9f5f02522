/* store/comp.c - runs of blocks packed into less room, and back.
 *
 * A run is up to 16 blocks that lie next to each other in one chunk. What does not get smaller by
 * an eighth stays plain; a record whose payload does not shrink by a block at least is not packed.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/store/store-internal.h"

#define RUN_BYTES ((size_t)CW_RUN_BLOCKS_MAX * CW_BLOCK_SIZE)

static struct cw_compressor *
comp_get(struct cw_store *s)
{
    if (s->compressor == NULL) {
        s->compressor = cw_compressor_new();
        cw_assert(s->compressor != NULL);
        s->comp_mem = store_alloc_aligned(RUN_BYTES);
    }
    return s->compressor;
}

void
comp_free(struct cw_store *s)
{
    cw_compressor_free(s->compressor);
    free(s->comp_mem);
}

uint64_t
comp_bytes(const struct cw_store *s)
{
    return s->compressor == NULL ? 0 : cw_compressor_bytes(s->compressor) + RUN_BYTES;
}

/* The plain blocks of the place whose bytes are at `from`: there or in the scratch buffer. */
static const uint8_t *
comp_unpack(struct cw_store *s, uint64_t loc, const uint8_t *from)
{
    size_t plain = (size_t)cw_loc_n(loc) * CW_BLOCK_SIZE;
    size_t len = (size_t)cw_loc_len512(loc) * CW_SECTOR;
    struct cw_compressor *c = comp_get(s); /* makes comp_mem */

    if (len >= plain)
        return from;
    return cw_decompress(c, s->comp_mem, plain, from, len) ? s->comp_mem : NULL;
}

struct extent
extent_make(const struct cw_store *s, uint64_t loc, uint32_t first, uint32_t piece)
{
    struct extent e = {
        .first = first,
        .n = 1,
        .piece = piece,
        .skip = (uint32_t)(loc_off(s, loc) % CW_BLOCK_SIZE),
    };

    e.n_pieces =
        (uint32_t)cw_div_up(e.skip + cw_loc_len512(loc) * (uint64_t)CW_SECTOR, CW_BLOCK_SIZE);
    cw_assert(e.n_pieces <= EXTENT_BLOCKS_MAX);
    return e;
}

struct store_run
extent_run(const struct cw_store *s, const struct extent *e, uint64_t loc, uint8_t *buf)
{
    return (struct store_run){
        .off = loc_off(s, loc) - e->skip,
        .to = buf + (size_t)e->piece * CW_BLOCK_SIZE,
        .n_blocks = e->n_pieces,
        .first = e->piece,
    };
}

const uint8_t *
extent_plain(struct cw_store *s, const struct extent *e, uint64_t loc, const uint8_t *buf,
             const uint64_t *unread)
{
    for (uint32_t i = e->piece; i < e->piece + e->n_pieces; i++) {
        if (cw_bit_get(unread, i))
            return NULL;
    }
    return comp_unpack(s, loc, buf + (size_t)e->piece * CW_BLOCK_SIZE + e->skip);
}

/* One run at the end of what is packed. */
static void
pack_run(struct cw_store *s, struct comp_pack *p, const uint8_t *data, uint32_t n)
{
    uint8_t *to = p->to + p->sectors * (size_t)CW_SECTOR;
    size_t plain = (size_t)n * CW_BLOCK_SIZE, max = plain - plain / 8;
    size_t got = cw_compress(comp_get(s), to, max, data, plain);
    uint32_t len512 = n * CW_BLOCK_SECTORS;

    if (got == 0) {
        memcpy(to, data, plain);
    } else {
        /* a share of nothing would not keep its place: cw_loc_sectors */
        len512 = (uint32_t)cw_max_u64(cw_div_up(got, CW_SECTOR), n);
        memset(to + got, 0, len512 * (size_t)CW_SECTOR - got);
    }
    p->runs[p->n_runs++] = (struct cw_rec_run){ (uint8_t)n, (uint8_t)len512 };
    p->sectors += len512;
    p->n_blocks += n;
}

void
comp_pack_blocks(struct cw_store *s, struct comp_pack *p, uint64_t lba, const uint8_t *data,
                 uint32_t n)
{
    while (n > 0) {
        uint32_t in_chunk = (uint32_t)(CW_CHUNK_BLOCKS - lba % CW_CHUNK_BLOCKS);
        uint32_t k = (uint32_t)cw_min_u64(cw_min_u64(n, in_chunk), CW_RUN_BLOCKS_MAX);

        pack_run(s, p, data, k);
        lba += k;
        data += (size_t)k * CW_BLOCK_SIZE;
        n -= k;
    }
}

uint32_t
comp_pack_blocks_out(const struct comp_pack *p)
{
    uint32_t n = (uint32_t)cw_div_up(p->sectors, CW_BLOCK_SECTORS);

    return n < p->n_blocks ? n : 0;
}

uint32_t
comp_pack_end(struct cw_store *s, struct comp_pack *p)
{
    size_t bytes = p->sectors * (size_t)CW_SECTOR;
    uint32_t n = comp_pack_blocks_out(p);

    if (n == 0)
        return 0;
    memset(p->to + bytes, 0, n * (size_t)CW_BLOCK_SIZE - bytes);
    s->stats.packed_in += p->n_blocks * (uint64_t)CW_BLOCK_SIZE;
    s->stats.packed_out += bytes;
    return n;
}
