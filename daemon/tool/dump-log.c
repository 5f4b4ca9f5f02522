/* tool/dump-log.c - superblocks, segments, batches, records. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/assert.h"
#include "common/base/bits.h"
#include "common/codec/hash.h"
#include "daemon/tool/dump.h"

static void
raw_put(struct cw_dump *d, const void *bytes, size_t n)
{
    if (!d->raw)
        return;
    d->bytes = realloc(d->bytes, d->n_bytes + n);
    cw_assert(d->bytes != NULL);
    memcpy(d->bytes + d->n_bytes, bytes, n);
    d->n_bytes += n;
}

/* ---- superblock ---- */

static json_t *
sb_json(const struct cw_sb *sb, uint32_t slot, const char *why)
{
    json_t *o = json_object();
    const struct cw_sb_ckpt *c = sb->ckpt;

    cw_dump_num(o, "slot", slot);
    cw_dump_wrong(o, why);
    cw_dump_hex(o, "magic", sb->magic);
    cw_dump_num(o, "version", sb->version);
    cw_dump_num(o, "feature_incompat", sb->feature_incompat);
    cw_dump_uuid(o, "disk", sb->disk_uuid);
    cw_dump_hex(o, "format_id", sb->format_id);
    cw_dump_uuid(o, "cluster", sb->cluster_id);
    cw_dump_num(o, "incarnation", sb->incarnation);
    cw_dump_num(o, "sb_seq", sb->sb_seq);
    cw_dump_num(o, "dev_bytes", sb->dev_bytes);
    cw_dump_num(o, "seg_bytes", sb->seg_bytes);
    cw_dump_num(o, "seg_count", sb->seg_count);
    cw_dump_flags(o, CW_WORDS_SB, sb->flags);
    for (uint32_t i = 0; i < 2; i++) {
        json_t *k = json_object();

        cw_dump_num(k, "number", c[i].number);
        cw_dump_loc(k, "root", c[i].loc);
        cw_dump_num(k, "len", c[i].len);
        cw_dump_hex(k, "csum", c[i].csum);
        cw_dump_num(k, "replay_batch", c[i].replay_batch);
        cw_dump_num(k, "replay_seg_seq", c[i].replay_seg_seq);
        json_object_set_new(o, i == 0 ? "newest" : "older", k);
    }
    cw_dump_hex(o, "csum", sb->csum);
    return o;
}

int
cw_dump_superblock(struct cw_dump *d)
{
    const struct cw_stand_slots *s = &d->st->slots;
    uint64_t one = d->argc == 1 ? d->arg[0] : CW_SB_SLOTS;
    json_t *list = json_array();

    json_object_set_new(d->o, "superblock", list);
    if (d->argc == 1 && one >= CW_SB_SLOTS)
        return cw_dump_missing(d, NULL, "slots are 0 to 3, %s is none", d->argv[0]);
    for (uint32_t i = 0; i < CW_SB_SLOTS; i++) {
        if (one != CW_SB_SLOTS && one != i)
            continue;
        json_array_append_new(list, sb_json(&s->slot[i], i, s->why[i]));
        raw_put(d, &s->slot[i], sizeof(s->slot[i]));
    }
    if (s->best != NULL)
        cw_dump_num(d->o, "in_force", (uint64_t)(s->best - s->slot));
    return CW_TOOL_OK;
}

/* ---- places in the log ---- */

static int
segment_take(struct cw_dump *d, uint64_t seg, uint8_t **ret)
{
    const struct cw_sb *sb = d->st->slots.best;
    uint64_t base, failed = 0;

    if (seg >= sb->seg_count)
        return cw_dump_missing(d, NULL, "it has segments 0 to %u", sb->seg_count - 1);
    base = cw_inspect_seg_off(sb, (uint32_t)seg);
    *ret = cw_tool_alloc_aligned(sb->seg_bytes);
    for (uint64_t at = 0; at < sb->seg_bytes; at += CW_MIB) {
        if (cw_stand_read_one(d->st, CW_STAND_DISK, base + at, *ret + at, CW_MIB) == 0)
            continue;
        for (uint64_t k = 0; k < CW_MIB; k += 4096)
            failed +=
                cw_stand_read_one(d->st, CW_STAND_DISK, base + at + k, *ret + at + k, 4096) != 0;
    }
    if (failed > 0)
        cw_dump_num(d->o, "unreadable_4k", failed);
    return CW_TOOL_OK;
}

/* Can a batch begin at d->place? */
static int
place_check(struct cw_dump *d)
{
    const struct cw_sb *sb = d->st->slots.best;

    if (d->place[0] >= sb->seg_count || d->place[1] >= sb->seg_bytes || d->place[1] % 4096 != 0)
        return cw_dump_missing(
            d, NULL,
            "%s is no place where a batch can begin: segments are 0 to %u, bytes "
            "in them multiples of 4096 below %u",
            d->argv[0], sb->seg_count - 1, sb->seg_bytes);
    return CW_TOOL_OK;
}

/* ---- segment ---- */

static json_t *
header_json(const struct cw_sb *sb, const struct cw_seg_hdr *h, uint32_t no)
{
    json_t *o = json_object();

    cw_dump_wrong(o, cw_inspect_seg_hdr(sb, h, no));
    cw_dump_num(o, "seg_no", h->seg_no);
    cw_dump_text(o, "class", cw_words_class(h->cls));
    cw_dump_num(o, "seg_seq", h->seg_seq);
    cw_dump_num(o, "prev_open_seg_seq", h->prev_open_seg_seq);
    cw_dump_num(o, "created_batch_seq", h->created_batch_seq);
    cw_dump_hex(o, "format_id", h->format_id);
    return o;
}

static json_t *
summary_json(const struct cw_sb *sb, const uint8_t *bytes, const struct cw_seg_hdr *h, uint32_t no)
{
    json_t *o = json_object();
    struct cw_sum_footer f;
    uint32_t room;

    if (!cw_inspect_summary_there(sb, bytes + sb->seg_bytes - 4096, no, h->seg_seq, &room)) {
        cw_dump_text(o, "there", "none of this opening of the segment");
        return o;
    }
    memcpy(&f, bytes + sb->seg_bytes - sizeof(f), sizeof(f));
    cw_dump_wrong(o, cw_inspect_summary(sb, bytes + sb->seg_bytes - room, room, no, h->seg_seq));
    cw_dump_num(o, "batches", f.n_batches);
    cw_dump_num(o, "bytes", f.bytes);
    cw_dump_num(o, "live_sectors_at_seal", f.live);
    return o;
}

static json_t *
batch_json(const struct cw_batch_hdr *h, uint32_t off)
{
    json_t *o = json_object();

    cw_dump_num(o, "off", off);
    cw_dump_num(o, "batch_seq", h->batch_seq);
    cw_dump_num(o, "version", h->ver);
    cw_dump_num(o, "records", h->nrec);
    cw_dump_num(o, "hdr_bytes", h->hdr_bytes);
    cw_dump_num(o, "payload_bytes", h->payload_bytes);
    cw_dump_num(o, "durable_upto", h->durable_upto);
    cw_dump_num(o, "seg_seq", h->seg_seq);
    cw_dump_hex(o, "prev_hdr_csum", h->prev_hdr_csum);
    cw_dump_hex(o, "format_id", h->format_id);
    return o;
}

static json_t *
batches_json(const struct cw_sb *sb, const uint8_t *bytes)
{
    json_t *list = json_array();

    for (uint32_t off = 4096; off < sb->seg_bytes;) {
        struct cw_batch_hdr h;
        uint32_t used;

        if (cw_inspect_batch(sb, bytes + off, sb->seg_bytes - off, off, &used) != NULL) {
            off += 4096;
            continue;
        }
        memcpy(&h, bytes + off, sizeof(h));
        json_array_append_new(list, batch_json(&h, off));
        off += h.hdr_bytes + h.payload_bytes;
    }
    return list;
}

int
cw_dump_segment(struct cw_dump *d)
{
    const struct cw_sb *sb = d->st->slots.best;
    struct cw_seg_hdr h;
    uint64_t no = d->arg[0];
    uint8_t *bytes;
    int status = segment_take(d, no, &bytes);

    if (status != CW_TOOL_OK)
        return status;
    memcpy(&h, bytes, sizeof(h));
    cw_dump_num(d->o, "segment", no);
    cw_dump_num(d->o, "at", cw_inspect_seg_off(sb, (uint32_t)no));
    json_object_set_new(d->o, "header", header_json(sb, &h, (uint32_t)no));
    json_object_set_new(d->o, "summary", summary_json(sb, bytes, &h, (uint32_t)no));
    json_object_set_new(d->o, "batch", batches_json(sb, bytes));
    raw_put(d, bytes, sb->seg_bytes);
    free(bytes);
    return CW_TOOL_OK;
}

/* ---- batch, record ---- */

static json_t *
record_json(const struct cw_inspect_rec *r, uint32_t i, const char *why)
{
    json_t *o = json_object();

    cw_dump_num(o, "index", i);
    cw_dump_wrong(o, why);
    cw_dump_text(o, "type", cw_inspect_rec_name(r->d.type));
    cw_dump_flags(o, CW_WORDS_REC, r->d.flags);
    cw_dump_hex(o, "layer", r->d.layer);
    cw_dump_num(o, "gen", r->d.gen);
    cw_dump_num(o, "seq", r->d.seq);
    cw_dump_num(o, "lba", r->d.lba);
    cw_dump_num(o, "nblk", r->d.nblk);
    cw_dump_num(o, "body_bytes", r->d.clen);
    cw_dump_num(o, "payload_off", r->d.payload_off * CW_SECTOR);
    cw_dump_num(o, "blocks_with_payload", r->n_payload);
    cw_dump_num(o, "packed_runs", r->n_runs);
    return o;
}

/* Up to the record with that index, or one that is not right; into `list` too if there is one. */
static const char *
records_walk(const uint8_t *hdr, uint64_t index, json_t *list, struct cw_inspect_rec *ret)
{
    struct cw_batch_hdr h;
    const uint8_t *at = hdr + sizeof(h);
    const char *why = NULL;

    memcpy(&h, hdr, sizeof(h));
    for (uint32_t i = 0; i < h.nrec && i <= index; i++) {
        why = cw_inspect_rec(at, hdr + h.hdr_bytes, h.payload_bytes, ret);
        if (list != NULL)
            json_array_append_new(list, record_json(ret, i, why));
        if (why != NULL && i < index && list == NULL) {
            memset(ret, 0, sizeof(*ret)); /* where it begins is not known */
            return "a record before it is not right";
        }
        if (why != NULL)
            return why;
        at += ret->bytes;
    }
    return NULL;
}

/* Bytes of the segment and the batch in it; the header is big enough to be walked. */
static int
batch_take(struct cw_dump *d, uint8_t **ret_bytes, struct cw_batch_hdr *ret)
{
    const struct cw_sb *sb = d->st->slots.best;
    uint32_t off = (uint32_t)d->place[1], used = 0;
    const char *why;
    int status = place_check(d);

    if (status == CW_TOOL_OK)
        status = segment_take(d, d->place[0], ret_bytes);
    if (status != CW_TOOL_OK)
        return status;
    memcpy(ret, *ret_bytes + off, sizeof(*ret));
    why = cw_inspect_batch(sb, *ret_bytes + off, sb->seg_bytes - off, off, &used);
    cw_dump_num(d->o, "segment", d->place[0]);
    cw_dump_wrong(d->o, why);
    if (ret->magic == CW_BATCH_MAGIC && ret->hdr_bytes >= sizeof(*ret) &&
        ret->hdr_bytes <= CW_BATCH_HDR_MAX && ret->payload_bytes <= CW_BATCH_PAYLOAD_MAX &&
        (uint64_t)off + ret->hdr_bytes + ret->payload_bytes <= sb->seg_bytes)
        return CW_TOOL_OK;
    free(*ret_bytes);
    return cw_dump_missing(d, cw_dump_see(d, "dump", "segment %" PRIu64, d->place[0]),
                           "at segment %" PRIu64 " + %" PRIu64 " is no batch: %s", d->place[0],
                           d->place[1], why != NULL ? why : "its lengths are none");
}

int
cw_dump_batch(struct cw_dump *d)
{
    struct cw_inspect_rec r;
    struct cw_batch_hdr h;
    uint8_t *bytes;
    json_t *list;
    int status = batch_take(d, &bytes, &h);

    if (status != CW_TOOL_OK)
        return status;
    json_object_set_new(d->o, "batch", batch_json(&h, (uint32_t)d->place[1]));
    list = json_array();
    json_object_set_new(d->o, "record", list);
    (void)records_walk(bytes + d->place[1], UINT64_MAX, list, &r);
    raw_put(d, bytes + d->place[1], (size_t)h.hdr_bytes + h.payload_bytes);
    free(bytes);
    return CW_TOOL_OK;
}

/* Each block: where it lies and whether it is what its checksum says. */
static json_t *
blocks_json(const struct cw_inspect_rec *r, const uint8_t *payload)
{
    struct cw_compressor *c = cw_compressor_new();
    uint8_t *scratch = cw_tool_alloc(CW_INSPECT_RUN_BYTES);
    json_t *list = json_array();

    for (uint32_t i = 0; i < r->n_csums; i++) {
        uint64_t loc = r->places[i];
        json_t *o = json_object();
        const uint8_t *plain = NULL;

        cw_dump_num(o, "lba", cw_inspect_rec_lba(r, i));
        cw_dump_hex(o, "csum", r->csums[i]);
        if (loc == 0) {
            cw_dump_text(o, "payload", "none");
        } else {
            plain = cw_inspect_plain(c, loc, payload + cw_loc_off(loc), scratch);
            cw_dump_num(o, "off", cw_loc_off(loc));
            cw_dump_num(o, "bytes", cw_loc_len512(loc) * CW_SECTOR);
            if (plain != NULL && cw_loc_kind(loc) == CW_MAP_COMP)
                plain += (size_t)cw_loc_idx(loc) * CW_BLOCK_SIZE;
            json_object_set_new(o, "matches",
                                json_boolean(plain != NULL && cw_hash_block(plain) == r->csums[i]));
        }
        json_array_append_new(list, o);
    }
    cw_compressor_free(c);
    free(scratch);
    return list;
}

static void
body_hex(json_t *o, const struct cw_inspect_rec *r)
{
    char *text = cw_tool_alloc((size_t)r->d.clen * 2 + 1);

    for (uint32_t i = 0; i < r->d.clen; i++)
        snprintf(text + (size_t)i * 2, 3, "%02x", r->body[i]);
    cw_dump_text(o, "body", text);
    free(text);
}

static void
record_body(json_t *o, const struct cw_inspect_rec *r)
{
    struct cw_shard_rec rec;

    if (r->d.type == CW_REC_SHARDREC && cw_shard_rec_decode(r->body, r->d.clen, &rec))
        json_object_set_new(o, "shard_record", cw_dump_shardrec(&rec));
    else if (r->d.clen > 0)
        body_hex(o, r);
}

int
cw_dump_record(struct cw_dump *d)
{
    struct cw_inspect_rec r = { 0 };
    struct cw_batch_hdr h;
    uint8_t *bytes;
    const char *why;
    int status = batch_take(d, &bytes, &h);

    if (status != CW_TOOL_OK)
        return status;
    if (d->place[2] >= h.nrec) {
        free(bytes);
        return cw_dump_missing(
            d, NULL, "the batch there has %u records, from 0 on; %" PRIu64 " is none of them",
            h.nrec, d->place[2]);
    }
    why = records_walk(bytes + d->place[1], d->place[2], NULL, &r);
    cw_dump_num(d->o, "batch_seq", h.batch_seq);
    json_object_set_new(d->o, "record", record_json(&r, (uint32_t)d->place[2], why));
    if (why == NULL) {
        record_body(d->o, &r);
        json_object_set_new(d->o, "block", blocks_json(&r, bytes + d->place[1] + h.hdr_bytes));
        raw_put(d, (const uint8_t *)r.csums - sizeof(r.d), r.bytes);
    }
    free(bytes);
    return CW_TOOL_OK;
}
