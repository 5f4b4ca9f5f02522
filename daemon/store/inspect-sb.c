/* store/inspect-sb.c - superblocks: valid, or why not; where they are looked for, and which counts.
 */
#include "daemon/store/inspect.h"

#include <errno.h>
#include <string.h>

#include "common/codec/hash.h"
#include "daemon/store/store-internal.h"

/* ---- superblock ---- */

uint64_t
cw_inspect_sb_off(uint64_t bytes, uint32_t slot)
{
    return slot < 2 ? slot * UINT64_C(4096) : bytes - (CW_SB_SLOTS - slot) * UINT64_C(4096);
}

const char *
cw_inspect_sb_whole(const struct cw_sb *sb)
{
    if (sb->magic != CW_SB_MAGIC)
        return cw_block_is_zero(sb) ? "never written" : "no superblock (magic)";
    if (sb->csum != cw_hash(sb, offsetof(struct cw_sb, csum)))
        return "its checksum does not match";
    if (sb->format_id == 0)
        return "its format id is 0";
    for (size_t i = 0; i < CW_LEN(sb->ckpt); i++) {
        if (sb->ckpt[i].number > STORE_SEQ_MAX || sb->ckpt[i].replay_batch > STORE_SEQ_MAX)
            return "the numbers of a checkpoint are none";
    }
    return sb->sb_seq > STORE_SEQ_MAX ? "its sequence number is none" : NULL;
}

/* Fields that later arithmetic relies on. */
static const char *
sb_geometry(const struct cw_sb *sb)
{
    if (sb->version < CW_STORE_VERSION_MIN || sb->version > CW_STORE_VERSION)
        return "its version is not one that this program knows";
    if (sb->feature_incompat != 0)
        return "it has a feature that this program does not know";
    if (sb->blk != CW_BLOCK_SIZE)
        return "its block size is not 4096";
    if (!cw_is_pow2(sb->seg_bytes) || sb->seg_bytes < CW_SEG_BYTES_MIN ||
        sb->seg_bytes > CW_SEG_BYTES_MAX)
        return "its segment size is none";
    if (sb->seg_count < 16 || sb->seg_count > CW_SEG_COUNT_MAX)
        return "its number of segments is none";
    if (sb->dev_bytes % 4096 != 0)
        return "its size is none";
    return NULL;
}

const char *
cw_inspect_sb_opens(const struct cw_sb *sb, uint64_t disk_bytes, int *ret_outcome)
{
    uint64_t end = CW_SEG_BASE + (uint64_t)sb->seg_count * sb->seg_bytes + 2 * 4096;
    const char *why = sb_geometry(sb);

    *ret_outcome = CW_STORE_E_VERSION;
    if (why != NULL)
        return why;
    if (sb->dev_bytes > disk_bytes) {
        *ret_outcome = CW_STORE_E_TRUNCATED;
        return "it is of a larger disk: this one was cut";
    }
    return end > sb->dev_bytes ? "its segments do not fit its size" : NULL;
}

const char *
cw_inspect_sb(const struct cw_sb *sb, uint64_t disk_bytes)
{
    const char *why = cw_inspect_sb_whole(sb);
    int outcome;

    return why != NULL ? why : cw_inspect_sb_opens(sb, disk_bytes, &outcome);
}

/* ---- where superblocks are looked for ---- */

static bool
place_is_whole(const struct cw_inspect_places *p, uint32_t i)
{
    return p->res[i] == 0 && cw_inspect_sb_whole(&p->sb[i]) == NULL;
}

/* The higher sb_seq; a may be NULL. */
static const struct cw_sb *
sb_newer(const struct cw_sb *a, const struct cw_sb *b)
{
    return a == NULL || b->sb_seq > a->sb_seq ? b : a;
}

static const struct cw_sb *
places_front(const struct cw_inspect_places *p)
{
    const struct cw_sb *best = NULL;

    for (uint32_t i = 0; i < 2; i++) {
        if (place_is_whole(p, i))
            best = sb_newer(best, &p->sb[i]);
    }
    return best;
}

/* Where the store ends by what it says itself. Else, behind a store that ends before its disk, it
 * must at least be its turn. */
static bool
place_is_own(const struct cw_inspect_places *p, uint32_t i)
{
    return i < 2 || i >= CW_SB_SLOTS || p->sb[i].dev_bytes == p->disk_bytes ||
           p->sb[i].sb_seq % CW_SB_SLOTS == i;
}

/* One that tells which store this is. */
static const struct cw_sb *
places_guide(const struct cw_inspect_places *p)
{
    const struct cw_sb *best = places_front(p);

    if (best != NULL)
        return best;
    for (uint32_t i = 2; i < CW_SB_SLOTS; i++) {
        if (place_is_whole(p, i) && p->sb[i].dev_bytes == p->disk_bytes)
            best = sb_newer(best, &p->sb[i]);
    }
    return best;
}

static bool
place_counts(const struct cw_inspect_places *p, uint32_t i)
{
    const struct cw_sb *guide = places_guide(p);

    return guide != NULL && place_is_whole(p, i) && p->sb[i].format_id == guide->format_id &&
           place_is_own(p, i);
}

bool
cw_inspect_place(const struct cw_inspect_places *p, uint32_t place, uint64_t *ret_off)
{
    const struct cw_sb *front = place < CW_SB_SLOTS ? NULL : places_front(p);
    uint64_t bytes = p->disk_bytes;

    if (place >= CW_SB_SLOTS) {
        if (front == NULL || front->dev_bytes >= bytes || front->dev_bytes % 4096 != 0)
            return false;
        bytes = front->dev_bytes;
        place -= 2;
    }
    if (bytes < (place < 2 ? place + 1 : CW_SB_SLOTS) * UINT64_C(4096))
        return false;
    *ret_off = cw_inspect_sb_off(bytes, place);
    return true;
}

uint32_t
cw_inspect_place_of(const struct cw_inspect_places *p, uint32_t slot)
{
    uint32_t own = slot + 2;
    uint64_t off;

    if (slot < 2 || !cw_inspect_place(p, own, &off))
        return slot;
    if (!place_counts(p, slot))
        return own;
    return !place_counts(p, own) || p->sb[slot].sb_seq > p->sb[own].sb_seq ? slot : own;
}

const struct cw_sb *
cw_inspect_places_best(const struct cw_inspect_places *p)
{
    const struct cw_sb *best = NULL;

    for (uint32_t i = 0; i < CW_SB_PLACES; i++) {
        if (place_counts(p, i))
            best = sb_newer(best, &p->sb[i]);
    }
    return best;
}

bool
cw_inspect_places_whole(const struct cw_inspect_places *p)
{
    const struct cw_sb *best = cw_inspect_places_best(p);

    for (uint32_t slot = 0; slot < CW_SB_SLOTS; slot++) {
        uint32_t place = cw_inspect_place_of(p, slot);

        if (!place_counts(p, place) || p->sb[place].sb_seq + CW_SB_SLOTS <= best->sb_seq)
            return false;
    }
    return true;
}

/* None counts: was there one? */
static int
places_none(const struct cw_inspect_places *p)
{
    uint32_t n_read = 0;
    bool ours = false;

    for (uint32_t i = 0; i < CW_SB_PLACES; i++) {
        n_read += p->res[i] == 0;
        ours |= p->res[i] == 0 ? p->sb[i].magic == CW_SB_MAGIC : p->res[i] != -ENOENT;
    }
    if (n_read == 0)
        return ours ? -EIO : CW_STORE_E_NOT_FORMATTED;
    return ours ? CW_STORE_E_SUPERBLOCKS : CW_STORE_E_NOT_FORMATTED;
}

int
cw_inspect_places_outcome(const struct cw_inspect_places *p)
{
    const struct cw_sb *best = cw_inspect_places_best(p);
    int outcome;

    if (best == NULL)
        return places_none(p);
    return cw_inspect_sb_opens(best, p->disk_bytes, &outcome) == NULL ? 0 : outcome;
}

/* ---- a store whose superblocks are gone ---- */

bool
cw_inspect_trace(uint64_t disk_bytes, uint32_t i, uint64_t *ret_off)
{
    const uint32_t n = CW_SEG_BYTES_MAX / CW_SEG_BYTES_MIN;

    *ret_off = CW_SEG_BASE +
               (i < n ? (uint64_t)i * CW_SEG_BYTES_MIN : (uint64_t)(i - n + 1) * CW_SEG_BYTES_MAX);
    return *ret_off + sizeof(struct cw_seg_hdr) <= disk_bytes;
}

bool
cw_inspect_is_trace(const struct cw_seg_hdr *h)
{
    return h->magic == CW_SEG_MAGIC;
}
