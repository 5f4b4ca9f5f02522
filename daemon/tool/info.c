/* tool/info.c - what a store is, what a start of its daemon would find, and the copies on it. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/size.h"
#include "daemon/tool/ckpt.h"
#include "daemon/tool/words.h"

struct info {
    struct cw_tool *t;
    struct cw_stand *st;
    int recovered; /* outcome */
    struct cw_ckpt k;
    uint32_t by_state[CW_SEG_SOON_FREE + 1];
    uint64_t live_bytes;
};

static void
info_count(struct info *i)
{
    for (uint32_t n = 0; i->k.segs != NULL && n < i->k.sb->seg_count; n++) {
        i->by_state[i->k.segs[n].state]++;
        if (i->k.segs[n].cls != CW_SEG_META)
            i->live_bytes += (uint64_t)i->k.segs[n].live * i->k.unit * CW_SECTOR;
    }
}

static const struct cw_uuid *
uuid_at(const uint8_t *bytes, struct cw_uuid *to)
{
    memcpy(to->b, bytes, sizeof(to->b));
    return to;
}

static const char *
member_state(const struct info *i, const struct cw_shard_rec *rec)
{
    struct cw_uuid uuid;
    const struct cw_member *m = cw_shard_rec_find(rec, uuid_at(i->st->slots.best->disk_uuid, &uuid),
                                                  i->st->slots.best->format_id);

    return m == NULL ? "no member" : cw_member_state_name(m->state);
}

static uint64_t
copy_mapped(const struct info *i, const struct cw_inspect_shard *sh, uint32_t *ret_snaps)
{
    uint64_t n = 0;

    *ret_snaps = 0;
    for (uint32_t k = 0; k < i->k.n_layers; k++) {
        if (i->k.layers[k].shard != sh->h.layer)
            continue;
        n += i->k.layers[k].mapped;
        *ret_snaps += i->k.layers[k].snap != 0 && !(i->k.layers[k].flags & CW_LAYER_GONE);
    }
    return n;
}

/* ---- for people ---- */

/* Number 0 is the empty store: there is nothing to be read. */
static void
text_checkpoint(FILE *o, const struct cw_sb_ckpt *ckpt, uint32_t n)
{
    if (ckpt[n].number != 0)
        fprintf(o, "checkpoint   %" PRIu64 ", replay from batch %" PRIu64 "\n", ckpt[n].number,
                ckpt[n].replay_batch);
    else if (n == 0)
        fprintf(o, "checkpoint   none yet\n");
    else if (ckpt[0].number != 0)
        fprintf(o, "checkpoint   none before it\n");
}

static void
text_store(const struct info *i)
{
    const struct cw_sb *sb = i->st->slots.best;
    char id[CW_UUID_TEXT_SIZE], size[CW_SIZE_TEXT_SIZE];
    struct cw_uuid u;
    FILE *o = i->t->out;

    fprintf(o, "store        %s, format version %u\n", i->st->path, sb->version);
    cw_uuid_format(uuid_at(sb->disk_uuid, &u), id);
    fprintf(o, "disk         %s, format id 0x%016" PRIx64 "\n", id, sb->format_id);
    cw_uuid_format(uuid_at(sb->cluster_id, &u), id);
    fprintf(o, "cluster      %s\n", cw_uuid_is_nil(&u) ? "none: unclaimed" : id);
    fprintf(o, "incarnation  %" PRIu64 "%s%s\n", sb->incarnation,
            sb->flags & CW_SB_CLEAN ? ", closed cleanly" : ", not closed cleanly",
            sb->flags & CW_SB_DAMAGED ? ", a copy is damaged" : "");
    fprintf(o, "size         %s in %u segments of %u MiB\n", cw_size_format(sb->dev_bytes, size),
            sb->seg_count, sb->seg_bytes >> 20);
    if (i->st->disk->bytes > sb->dev_bytes)
        fprintf(
            o,
            "disk size    %s: it has grown, and the rest is not used; only a new store in place "
            "of this one would use it, with its copies built anew from others\n",
            cw_size_format(i->st->disk->bytes, size));
    for (uint32_t n = 0; n < 2; n++)
        text_checkpoint(o, sb->ckpt, n);
}

static void
text_recovery(const struct info *i)
{
    const struct cw_store_recovery *r = cw_store_recovery(i->st->store);
    char size[CW_SIZE_TEXT_SIZE];

    if (i->recovered != 0) {
        fprintf(i->t->out, "a start      would fail: %s; %s\n", cw_stand_outcome(i->recovered),
                cw_stand_advice(i->recovered));
        return;
    }
    fprintf(i->t->out,
            "a start      would replay %" PRIu64 " batches with %" PRIu64 " records, drop %" PRIu64
            ", find %" PRIu64 " damaged copies\n",
            r->replayed_batches, r->replayed_records, r->dropped_batches, r->damaged_copies);
    fprintf(i->t->out, "segments     %u free, %u in use; live data %s\n", i->by_state[CW_SEG_FREE],
            i->by_state[CW_SEG_OPEN] + i->by_state[CW_SEG_SEALED],
            cw_size_format(i->live_bytes, size));
}

static void
text_copies(const struct info *i)
{
    for (uint32_t n = 0; n < i->k.n_shards; n++) {
        const struct cw_inspect_shard *sh = &i->k.shards[n];
        char name[CW_WORDS_SHARD_SIZE];
        uint32_t snaps;
        uint64_t mapped = copy_mapped(i, sh, &snaps);

        fprintf(i->t->out,
                "copy         %s: %s, gen %u cfg %u, last %u.%" PRIu64 ", %" PRIu64
                " blocks, %u snapshots%s%s%s\n",
                cw_words_shard(sh->rec.shard, name), member_state(i, &sh->rec), sh->rec.gen,
                sh->rec.cfg, sh->h.last_gen, sh->h.last_seq, mapped, snaps,
                sh->h.flags & CW_SHARD_SYNCING ? ", syncing" : "",
                sh->h.flags & CW_SHARD_DAMAGED ? ", damaged" : "",
                sh->h.flags & CW_SHARD_GONE ? ", dropped" : "");
    }
}

/* ---- for programs ---- */

static json_t *
copy_json(const struct info *i, const struct cw_inspect_shard *sh)
{
    uint32_t snaps;
    uint64_t mapped = copy_mapped(i, sh, &snaps);

    return json_pack(
        "{s:I,s:i,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:b,s:b,s:b}", "volume",
        (json_int_t)CW_SHARD_VOLUME(sh->rec.shard), "shard", (int)CW_SHARD_INDEX(sh->rec.shard),
        "state", member_state(i, &sh->rec), "gen", (json_int_t)sh->rec.gen, "cfg",
        (json_int_t)sh->rec.cfg, "last_gen", (json_int_t)sh->h.last_gen, "last_seq",
        (json_int_t)sh->h.last_seq, "mapped_blocks", (json_int_t)mapped, "snapshots",
        (json_int_t)snaps, "syncing", (sh->h.flags & CW_SHARD_SYNCING) != 0, "damaged",
        (sh->h.flags & CW_SHARD_DAMAGED) != 0, "dropped", (sh->h.flags & CW_SHARD_GONE) != 0);
}

static json_t *
store_json(const struct info *i)
{
    const struct cw_sb *sb = i->st->slots.best;
    char disk[CW_UUID_TEXT_SIZE], cluster[CW_UUID_TEXT_SIZE], format[24];
    struct cw_uuid u;

    cw_uuid_format(uuid_at(sb->disk_uuid, &u), disk);
    cw_uuid_format(uuid_at(sb->cluster_id, &u), cluster);
    snprintf(format, sizeof(format), "0x%016" PRIx64, sb->format_id);
    return json_pack("{s:s,s:i,s:s,s:s,s:s?,s:I,s:b,s:I,s:I,s:I,s:I,s:[I,I]}", "path", i->st->path,
                     "version", (int)sb->version, "disk", disk, "format_id", format, "cluster",
                     cw_uuid_is_nil(&u) ? NULL : cluster, "incarnation",
                     (json_int_t)sb->incarnation, "clean", (sb->flags & CW_SB_CLEAN) != 0, "bytes",
                     (json_int_t)sb->dev_bytes, "disk_bytes", (json_int_t)i->st->disk->bytes,
                     "segment_bytes", (json_int_t)sb->seg_bytes, "segments",
                     (json_int_t)sb->seg_count, "checkpoints", (json_int_t)sb->ckpt[0].number,
                     (json_int_t)sb->ckpt[1].number);
}

static void
say_json(const struct info *i)
{
    const struct cw_store_recovery *r = cw_store_recovery(i->st->store);
    json_t *o = store_json(i), *copies = json_array();

    for (uint32_t n = 0; n < i->k.n_shards; n++)
        json_array_append_new(copies, copy_json(i, &i->k.shards[n]));
    json_object_set_new(o, "recovery",
                        json_pack("{s:b,s:s,s:I,s:I,s:I,s:I}", "opens", i->recovered == 0,
                                  "outcome", cw_stand_outcome(i->recovered), "replayed_batches",
                                  (json_int_t)r->replayed_batches, "replayed_records",
                                  (json_int_t)r->replayed_records, "dropped_batches",
                                  (json_int_t)r->dropped_batches, "damaged_copies",
                                  (json_int_t)r->damaged_copies));
    json_object_set_new(o, "segments_free", json_integer(i->by_state[CW_SEG_FREE]));
    json_object_set_new(o, "live_bytes", json_integer((json_int_t)i->live_bytes));
    json_object_set_new(o, "copies", copies);
    cw_tool_json(i->t, o);
}

static int
info_store(struct info *i)
{
    i->recovered = cw_stand_recover(i->st);
    if (i->recovered == 0) {
        (void)cw_ckpt_load(i->st, CW_STAND_CLOSED, 0, NULL, &i->k);
        info_count(i);
    }
    if (i->t->json) {
        say_json(i);
    } else {
        text_store(i);
        text_recovery(i);
        text_copies(i);
    }
    return i->recovered == 0 ? CW_TOOL_OK : CW_TOOL_FOUND;
}

static int
info_run(struct cw_tool *t, const struct cw_tool_cmd *cmd, int argc, char **argv)
{
    struct info i = { .t = t };
    int n, status = cw_tool_args(t, cmd, NULL, argc, argv, &n);

    if (status == CW_TOOL_GO)
        status = cw_tool_one_path(t, cmd, n, argv);
    if (status != CW_TOOL_GO)
        return status;
    status = cw_stand_open(t, argv[0], true, &i.st);
    if (status != 0)
        return status;
    status = info_store(&i);
    cw_ckpt_free(&i.k);
    cw_stand_close(i.st);
    return status;
}

const struct cw_tool_cmd cw_tool_info_cmd = {
    .word = "info",
    .args = "PATH [--json]",
    .brief = "What a store is, what a start would find, and the copies on it.",
    .about =
        "The store is recovered in memory, as its daemon would do it; nothing is written. A store\n"
        "keeps the size of its format: what a disk has grown by since is not used.\n\n"
        "Example: causeway-store info /dev/nvme1n1\n",
    .run = info_run,
};
