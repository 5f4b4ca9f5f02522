/* Bytes from an NBD client: options, then requests, over a volume in memory. The first byte says
 * how far the session has come before them. */
#include <stdint.h>
#include <stdlib.h>

#include "tests/unit/nbd/world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
answer_what_is_asked(struct world *w)
{
    static const char *const names[] = { "vm1", "vm2" };

    if (w->wants_list)
        cw_nbd_on_list(w->c, CW_NBD_RES_OK, names, 2, NULL);
    if (w->wants_info || w->wants_attach)
        cw_nbd_on_export(w->c, CW_NBD_RES_OK, w->size, NULL);
    w->wants_list = w->wants_info = w->wants_attach = false;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world *w;

    if (size < 1)
        return 0;
    w = world_new();
    w->seed = data[0];
    if (data[0] % 4 == 1)
        world_handshake(w, 3);
    else if (data[0] % 4 > 1)
        world_negotiate(w, data[0] % 4 == 3);
    for (size_t at = 1; at < size && !cw_nbd_over(w->c);) {
        size_t left = world_send(w, data + at, size - at, 0);

        answer_what_is_asked(w);
        world_complete(w);
        if (left == size - at && !cw_nbd_ready(w->c))
            break;
        at = size - left;
    }
    world_free(w);
    return 0;
}
