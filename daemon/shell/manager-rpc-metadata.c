/* shell/manager-rpc-metadata.c - the records as bytes, and where copies of them are. */
#include "daemon/shell/manager-rpc.h"

static void
place_out(struct cw_mgr_arena *a, const struct cw_mgr_metadata_place *from,
          CW_PB(MetadataPlace) *to)
{
    to->host = cw_pb_text(from->host);
    to->site = cw_pb_text(from->site);
    to->current = from->current;
    to->epoch = from->epoch;
    to->age_s = from->age_s;
    to->why = cw_pb_text(from->why);
    to->up = from->up;
}

CW_PB_LIST(places_out, MetadataPlace, metadata_place, struct cw_mgr_metadata_place, place_out)

CW_PB(MetadataPlace) **
cw_manager_places(struct cw_mgr_arena *a, const struct cw_mgr_metadata_place *from, size_t n)
{
    return places_out(a, from, n);
}

static bool
read_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    r->call.req.metadata_read = (struct cw_mgr_metadata_read){ .serial = m->metadata_read->serial,
                                                               .offset = m->metadata_read->offset };
    return !m->metadata_read->kept; /* a manager keeps none */
}

static void
read_answer(struct cw_manager_req *r, cw_envelope *out)
{
    const struct cw_mgr_metadata_part *f = &r->call.reply.metadata_part;
    CW_PB(MetadataPart) *to = CW_PB_NEW(r->arena, MetadataPart, metadata_part);

    to->serial = f->serial;
    to->total_bytes = f->total_bytes;
    to->data = (ProtobufCBinaryData){ .len = f->len, .data = (uint8_t *)f->data };
    to->of = CW_PB_NEW(r->arena, MetadataKept, metadata_kept);
    cw_pb_kept(&f->of, to->of);
    out->body_case = CW_PB_BODY(METADATA_PART);
    out->metadata_part = to;
}

static bool
show_ask(struct cw_manager_req *r, const cw_envelope *m)
{
    return true;
}

static void
show_answer(struct cw_manager_req *r, cw_envelope *out)
{
    const struct cw_mgr_metadata_show *f = &r->call.reply.metadata_show;
    CW_PB(MetadataShowReply) *to = CW_PB_NEW(r->arena, MetadataShowReply, metadata_show_reply);

    to->cluster = cw_pb_text(f->cluster);
    to->cluster_id = cw_pb_uuid(&f->cluster_id);
    to->metadata = cw_pb_text(f->metadata);
    to->manager = cw_pb_text(f->manager);
    to->epoch = f->epoch;
    to->records = f->records;
    to->volumes = f->volumes;
    to->size_bytes = f->size_bytes;
    to->restored = cw_pb_text(f->restored);
    to->restored_epoch = f->restored_epoch;
    to->backed_up = f->backed_up;
    to->n_backups = f->n_places;
    to->backups = places_out(r->arena, f->places, f->n_places);
    out->body_case = CW_PB_BODY(METADATA_SHOW_REPLY);
    out->metadata_show_reply = to;
}

const struct cw_manager_route cw_manager_routes_metadata[] = {
    { CW_PB_BODY(METADATA_READ), CW_MGR_METADATA_READ, read_ask, read_answer },
    { CW_PB_BODY(METADATA_SHOW), CW_MGR_METADATA_SHOW, show_ask, show_answer },
    { CW_PB_BODY(_NOT_SET), 0, NULL, NULL },
};
