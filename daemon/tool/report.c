#include "daemon/tool/report.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/assert.h"
#include "common/codec/hash.h"
#include "common/codec/shardrec.h"
#include "daemon/tool/stand.h"
#include "daemon/tool/words.h"

#define TEXT_SIZE 512

struct kind {
    const char *name, *means;
};

static const struct kind kinds[CW_REPORT_KINDS] = {
    [CW_REPORT_SUPERBLOCK] = { "superblock", "the store opens from the best of the other slots" },
    [CW_REPORT_CHECKPOINT] = { "checkpoint", "the store opens from the other checkpoint; without "
                                             "both it is refused" },
    [CW_REPORT_START] = { "start", "the daemon refuses this store as it is" },
    [CW_REPORT_LOG] = { "log", "copies may lack acknowledged writes: the cluster treats them as "
                               "out and brings them up to date again" },
    [CW_REPORT_MAP_PAGE] = { "map-page",
                             "this copy cannot say where 1 MiB lies: it is fetched from "
                             "another copy" },
    [CW_REPORT_BLOCK] = { "block", "this copy cannot read the block: it is repaired from another "
                                   "copy, by a scrub or when it is read" },
    [CW_REPORT_MARKED_BAD] = { "marked-bad", "known to be lost here: read from another copy until "
                                             "repaired or overwritten" },
    [CW_REPORT_OWNER] = { "owner", "the place may be given back while something still refers to "
                                   "it, or never" },
    [CW_REPORT_SEGMENT_COUNT] = { "segment-count", "a segment is freed too early if it counts too "
                                                   "little, too late if too much" },
    [CW_REPORT_SHORT_RUN] = { "short-run",
                              "an older program packed them; once nothing else is left in the "
                              "segment it is taken for empty and they are lost: write them again" },
    [CW_REPORT_LAYER_COUNT] = { "layer-count", "what a copy or snapshot is said to hold is wrong" },
    [CW_REPORT_CHUNK_COUNT] = { "chunk-count",
                                "a chunk may count as empty, or be kept when it is" },
    [CW_REPORT_SEGMENT] = { "segment", "the cleaner or a recovery may not find what lies there" },
    [CW_REPORT_TAIL] = { "tail", "a takeover that asks for this record gets it from another copy" },
};

struct cw_report {
    struct cw_tool *t;
    json_t *faults, *notes;
    uint64_t n_faults, n_notes;
    uint64_t *seen; /* hashes of texts; 0: empty */
    uint64_t seen_cap, n_seen;
};

struct cw_report *
cw_report_new(struct cw_tool *t)
{
    struct cw_report *r = cw_tool_alloc(sizeof(*r));

    r->t = t;
    r->faults = json_array();
    r->notes = json_array();
    r->seen_cap = 1024;
    r->seen = cw_tool_alloc(r->seen_cap * sizeof(*r->seen));
    return r;
}

void
cw_report_free(struct cw_report *r)
{
    json_decref(r->faults);
    json_decref(r->notes);
    free(r->seen);
    free(r);
}

static bool
seen_put(uint64_t *seen, uint64_t cap, uint64_t key)
{
    for (uint64_t i = key % cap;; i = (i + 1) % cap) {
        if (seen[i] == key)
            return false;
        if (seen[i] == 0) {
            seen[i] = key;
            return true;
        }
    }
}

static bool
report_is_new(struct cw_report *r, uint64_t key)
{
    key = key == 0 ? 1 : key;
    if (r->n_seen >= r->seen_cap / 2) {
        uint64_t *more = cw_tool_alloc(r->seen_cap * 2 * sizeof(*more));

        for (uint64_t i = 0; i < r->seen_cap; i++) {
            if (r->seen[i] != 0)
                (void)seen_put(more, r->seen_cap * 2, r->seen[i]);
        }
        free(r->seen);
        r->seen = more;
        r->seen_cap *= 2;
    }
    if (!seen_put(r->seen, r->seen_cap, key))
        return false;
    r->n_seen++;
    return true;
}

static void
place_text(const struct cw_report_item *i, char *to, size_t size)
{
    char shard[CW_WORDS_SHARD_SIZE];
    int n = 0;

    to[0] = '\0';
    if (i->seg != CW_REPORT_NOWHERE)
        n = snprintf(to, size, "segment %u + %u", i->seg, i->off);
    if (i->shard != 0)
        snprintf(to + n, size - (size_t)n, "%s%s", n > 0 ? ", " : "",
                 cw_words_shard(i->shard, shard));
}

static void
report_json(json_t *to, const struct cw_report_item *i, const char *text)
{
    json_t *o = json_pack("{s:s,s:s,s:s}", "kind", kinds[i->kind].name, "what", text, "means",
                          kinds[i->kind].means);

    if (i->seg != CW_REPORT_NOWHERE) {
        json_object_set_new(o, "segment", json_integer(i->seg));
        json_object_set_new(o, "offset", json_integer(i->off));
    }
    if (i->shard != 0) {
        json_object_set_new(o, "volume", json_integer((json_int_t)CW_SHARD_VOLUME(i->shard)));
        json_object_set_new(o, "shard", json_integer(CW_SHARD_INDEX(i->shard)));
    }
    json_array_append_new(to, o);
}

void
cw_report_add(struct cw_report *r, struct cw_report_item item, const char *fmt, ...)
{
    char text[TEXT_SIZE], place[128];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    place_text(&item, place, sizeof(place));
    if (!report_is_new(r, cw_hash2(text, strlen(text), place, strlen(place))))
        return;
    *(item.note ? &r->n_notes : &r->n_faults) += 1;
    if (r->t->json) {
        report_json(item.note ? r->notes : r->faults, &item, text);
        return;
    }
    cw_tool_progress_end(r->t);
    fprintf(r->t->out, "%-5s %s: %s%s%s", item.note ? "note" : "found", kinds[item.kind].name,
            place, place[0] != '\0' ? ": " : "", text);
    if (!item.note)
        fprintf(r->t->out, "\n      (%s)", kinds[item.kind].means);
    fputc('\n', r->t->out);
}

uint64_t
cw_report_faults(const struct cw_report *r)
{
    return r->n_faults;
}

uint64_t
cw_report_notes(const struct cw_report *r)
{
    return r->n_notes;
}

void
cw_report_take(struct cw_report *r, json_t **ret_faults, json_t **ret_notes)
{
    *ret_faults = json_incref(r->faults);
    *ret_notes = json_incref(r->notes);
}
