/* device/detach.c - the end of a device, whether its processes live or not. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client/device/attachment.h"
#include "client/device/descriptors.h"
#include "client/device/holder.h"
#include "client/device/inuse.h"
#include "client/lib/serve.h"

#define BUSY_TRIES 40 /* of 50 ms: whoever watches devices opens a new one for an instant */
#define HOLDER_MS 60000
#define BACK_END_MS 15000

static int
detach_fail(const char *volume, const char *why)
{
    fprintf(stderr, "causeway-device: volume %s: %s\n", volume, why);
    return CW_SERVE_FAILED;
}

static bool
still_in_use(const char *device, char who[static CW_INUSE_SIZE])
{
    struct timespec pause = { .tv_nsec = 50 * 1000 * 1000 };

    for (int i = 0; i < BUSY_TRIES; i++) {
        if (!cw_inuse_device(device, who))
            return false;
        nanosleep(&pause, NULL);
    }
    return true;
}

/* Its holder is not there: what is left may have a back end, and may be in errors. */
static int
detach_orphan(const char *volume, const struct cw_attachment *a)
{
    char why[CW_ATTACHMENT_WHY_SIZE];
    int fd, res = cw_attachment_lock(volume, &fd);

    if (res != 0)
        return detach_fail(volume, "another process attaches or detaches it; try again");
    res = cw_attachment_remove(volume, why);
    close(fd);
    if (res != 0)
        return detach_fail(volume, why);
    if (!cw_descriptors_end(&a->back_end, BACK_END_MS))
        cw_descriptors_kill(&a->back_end);
    return CW_SERVE_CLEAN;
}

int
cw_holder_detach(const char *volume)
{
    struct cw_attachment a = { 0 };
    char device[CW_LOOP_NAME_SIZE], disk[PATH_MAX], who[CW_INUSE_SIZE], why[CW_INUSE_SIZE + 128];
    int res = cw_attachment_read(volume, &a);

    if (res == -ENOENT && !cw_attachment_is_mounted(volume))
        return detach_fail(volume, "is not attached to this host as a device");
    if (cw_loop_find(cw_attachment_path(volume, CW_ATTACHMENT_DISK, disk), device) &&
        still_in_use(device, who)) {
        snprintf(
            why, sizeof(why),
            "%s is in use: %s; end that first (causeway volume unmount %s for what is mounted)",
            device, who, volume);
        return detach_fail(volume, why);
    }
    if (!cw_attachment_is_kept(volume))
        return detach_orphan(volume, &a);
    if (cw_descriptors_end(&a.holder, HOLDER_MS))
        return cw_attachment_is_mounted(volume)
                   ? detach_fail(volume, "its device is still there; its log says why")
                   : CW_SERVE_CLEAN;
    snprintf(why, sizeof(why), "pid %d does not end within %d s; %.200s", (int)a.holder.pid,
             HOLDER_MS / 1000, device);
    return detach_fail(volume, why);
}
