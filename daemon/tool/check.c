/* tool/check.c - reads everything that a store holds and believes nothing.
 *
 *   superblocks -> both checkpoints, their map pages and counts -> a recovery in memory
 *      -> the same for what it leads to -> every segment and every block
 */
#include "daemon/tool/check.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void
check_on_disk(struct cw_check *c)
{
    for (uint32_t which = 0; which < 2; which++) {
        struct cw_ckpt k;

        /* the pages of a checkpoint whose tables are damaged count as far as they are there */
        if (cw_ckpt_load(c->st, CW_STAND_DISK, which, c->rep, &k) && !k.empty)
            (void)cw_check_map(c, &k, CW_STAND_DISK, NULL, &(bool){ 0 });
        cw_ckpt_free(&k);
    }
}

static struct cw_report_item
log_item(bool note)
{
    return (struct cw_report_item){ .kind = CW_REPORT_LOG, .seg = CW_REPORT_NOWHERE, .note = note };
}

static void
recovery_lines(struct cw_check *c)
{
    uint32_t n = c->t->n_lines < CW_TOOL_LINES ? c->t->n_lines : CW_TOOL_LINES;

    for (uint32_t i = 0; i < n; i++)
        cw_report_add(c->rep, log_item(true), "the recovery said: %s",
                      c->t->lines[(c->t->n_lines - n + i) % CW_TOOL_LINES]);
}

/* What the daemon would find. Without it, the newest checkpoint is all there is. */
static void
check_recovery(struct cw_check *c)
{
    int res = cw_stand_recover(c->st);
    const struct cw_store_recovery *r = cw_store_recovery(c->st->store);

    recovery_lines(c);
    if (res != 0) {
        cw_report_add(c->rep,
                      (struct cw_report_item){ .kind = CW_REPORT_START, .seg = CW_REPORT_NOWHERE },
                      "a start of the daemon would fail: %s; %s", cw_stand_outcome(res),
                      cw_stand_advice(res));
        return;
    }
    if (r->damaged_copies > 0)
        cw_report_add(c->rep, log_item(false),
                      "%" PRIu64 " copies end before what was durable on this disk",
                      r->damaged_copies);
    if (r->dropped_batches > 0)
        cw_report_add(c->rep, log_item(true),
                      "%" PRIu64 " batches at its end were never acknowledged and are dropped",
                      r->dropped_batches);
    c->side = CW_STAND_CLOSED;
}

static void
check_now(struct cw_check *c)
{
    c->has_now = cw_ckpt_load(c->st, c->side, 0, c->rep, &c->now);
    if (!c->has_now || c->now.empty)
        return;
    c->refs = cw_tool_alloc(c->now.sb->seg_count * sizeof(*c->refs));
    c->n_copies = c->now.n_shards;
    c->n_layers = c->now.n_layers;
    c->n_pages = cw_check_map(c, &c->now, c->side, c->refs, &c->map_whole);
    cw_check_segments(c);
}

/* ---- what it says ---- */

/* What is counted: a recovery and its close write too, in memory. */
static const char *
check_state(const struct cw_check *c)
{
    return c->side == CW_STAND_CLOSED
               ? "as a start and a stop of its daemon would leave it (in memory)"
               : "as its newest checkpoint on the disk has it";
}

static void
say_text(const struct cw_check *c)
{
    uint64_t faults = cw_report_faults(c->rep), notes = cw_report_notes(c->rep);

    fprintf(c->t->out,
            "%s: %s: %" PRIu64 " segments, %" PRIu64 " batches, %" PRIu64 " records, %" PRIu64
            " copies, %" PRIu64 " map pages, %" PRIu64 " blocks read\n",
            c->st->path, check_state(c), c->n_segments, c->n_batches, c->n_records, c->n_copies,
            c->n_pages, c->n_blocks);
    if (faults == 0)
        fprintf(c->t->out, "%s: no faults", c->st->path);
    else
        fprintf(c->t->out, "%s: %" PRIu64 " %s", c->st->path, faults,
                faults == 1 ? "fault" : "faults");
    fprintf(c->t->out, ", %" PRIu64 " %s\n", notes, notes == 1 ? "note" : "notes");
}

static void
say_json(const struct cw_check *c)
{
    json_t *faults, *notes;

    cw_report_take(c->rep, &faults, &notes);
    cw_tool_json(c->t,
                 json_pack("{s:s,s:b,s:b,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o,s:o}", "path",
                           c->st->path, "ok", cw_report_faults(c->rep) == 0, "clean",
                           (c->st->slots.best->flags & CW_SB_CLEAN) != 0, "counted",
                           c->side == CW_STAND_CLOSED ? "recovered" : "on_disk", "segments",
                           (json_int_t)c->n_segments, "batches", (json_int_t)c->n_batches,
                           "records", (json_int_t)c->n_records, "copies", (json_int_t)c->n_copies,
                           "layers", (json_int_t)c->n_layers, "map_pages", (json_int_t)c->n_pages,
                           "blocks", (json_int_t)c->n_blocks, "faults", faults, "notes", notes));
}

static int
check_store(struct cw_check *c)
{
    cw_check_superblocks(c);
    check_on_disk(c);
    check_recovery(c);
    check_now(c);
    cw_tool_progress_end(c->t);
    if (c->t->json)
        say_json(c);
    else
        say_text(c);
    return cw_report_faults(c->rep) == 0 ? CW_TOOL_OK : CW_TOOL_FOUND;
}

static int
check_run(struct cw_tool *t, const struct cw_tool_cmd *cmd, int argc, char **argv)
{
    struct cw_check c = { .t = t };
    int n, status = cw_tool_args(t, cmd, NULL, argc, argv, &n);

    if (status == CW_TOOL_GO)
        status = cw_tool_one_path(t, cmd, n, argv);
    if (status != CW_TOOL_GO)
        return status;
    status = cw_stand_open(t, argv[0], true, &c.st);
    if (status != 0)
        return status;
    c.rep = cw_report_new(t);
    status = check_store(&c);
    cw_report_free(c.rep);
    cw_ckpt_free(&c.now);
    free(c.refs);
    cw_stand_close(c.st);
    return status;
}

const struct cw_tool_cmd cw_tool_check_cmd = {
    .word = "check",
    .args = "PATH [--json]",
    .brief = "Read everything, verify every checksum and every count.",
    .about =
        "Superblocks, both checkpoints, every map page, a recovery (in memory), every count of "
        "live\n"
        "data against the map, every segment with its batches, every block against its checksum.\n"
        "`found` lines name damage and wrong counts, with their place and what they mean; `note`\n"
        "lines name what nothing refers to, mostly the end of a write that a crash cut. Nothing "
        "is\n"
        "written. It takes as long as reading all that the store holds.\n\n"
        "Example: causeway-store check /dev/nvme1n1\n",
    .run = check_run,
};
