/* store/packer.c - blocks that were left alone are packed, where their volume's policy asks for it,
 * also on a store that never has to clean (docs/store.md, Compression).
 *
 *   a checkpoint, a policy --> LOOK through the segments --cold one--> the cleaner moves what gets
 *   smaller, some loads at a time while nobody else uses the disk --> marked --> LOOK ...
 *
 * A segment is taken once in its life: what does not get smaller stays where it is, and what was
 * packed leaves its old place dead, to be won back like any other.
 */
#include "daemon/store/store-internal.h"

#define LOOKS 4096u
#define LOADS 8u /* between two looks at what others do */

static void
packer_wait(struct cw_store *s)
{
    if (!cw_timer_armed(&s->packer.timer))
        cw_timer_set(s->env, &s->packer.timer, cw_now_ns(s->env) + IDLE_LOOK_NS);
}

static bool
packer_is_wanted(struct cw_store *s)
{
    CW_LIST_EACH (it, &s->shards) {
        if (cw_list_entry(it, struct cw_store_shard, link)->info.rec.compression !=
            CW_COMPRESSION_OFF)
            return true;
    }
    return false;
}

void
packer_look(struct cw_store *s)
{
    s->packer.at = 0;
    s->packer.more = s->state == STORE_OPEN && packer_is_wanted(s);
    if (s->packer.more)
        packer_wait(s);
}

void
packer_look_anew(struct cw_store *s)
{
    for (uint32_t i = 0; i < s->n_segs; i++)
        s->segs[i].flags &= (uint8_t)~CW_SEG_PACKED;
    packer_look(s);
}

/* false: none, or not yet */
static bool
packer_pick(struct cw_store *s, uint32_t *ret_no)
{
    struct packer *p = &s->packer;

    for (uint32_t n = 0; n < LOOKS && p->at < s->n_segs; n++) {
        uint32_t no = p->at++;

        if (!(s->segs[no].flags & CW_SEG_PACKED) && segindex_is_cold(s, no)) {
            *ret_no = no;
            return true;
        }
    }
    p->more = p->at < s->n_segs;
    return false;
}

/* Space comes first; what it takes ends in a checkpoint, and so back here. */
static void
packer_on_timer(struct cw_timer *t)
{
    struct cw_store *s = cw_container_of(t, struct cw_store, packer.timer);
    struct packer *p = &s->packer;
    uint32_t no;

    if (s->state != STORE_OPEN || s->stats.failed || (!p->more && !cleaner_packs(s)))
        return;
    if (pace_wants_cleaning(s)) {
        p->more = false;
    } else if (store_is_idle(s, &p->look)) {
        p->loads = LOADS;
        cleaner_rest(s);
        if (!cleaner_busy(s) && packer_pick(s, &no))
            cleaner_pack(s, no);
    }
    cleaner_kick(s);
    if (p->more || cleaner_packs(s))
        packer_wait(s);
}

bool
packer_may_load(struct cw_store *s)
{
    if (s->packer.loads > 0) {
        s->packer.loads--;
        return true;
    }
    packer_wait(s);
    return false;
}

void
packer_init(struct cw_store *s)
{
    s->packer.timer.fn = packer_on_timer;
}

void
packer_fini(struct cw_store *s)
{
    cw_timer_cancel(s->env, &s->packer.timer);
}
