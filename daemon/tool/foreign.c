#include "daemon/tool/foreign.h"

#include <blkid/blkid.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/bits.h"

/* What a program that makes one of them would look for, also with a checksum that is wrong: it may
 * be the last sign of something that can be saved. */
static blkid_probe
foreign_probe(int fd)
{
    blkid_probe p = blkid_new_probe();

    if (p == NULL)
        return NULL;
    if (blkid_probe_set_device(p, fd, 0, 0) == 0 && blkid_probe_enable_superblocks(p, 1) == 0 &&
        blkid_probe_set_superblocks_flags(p, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE |
                                                 BLKID_SUBLKS_BADCSUM) == 0 &&
        blkid_probe_enable_partitions(p, 1) == 0)
        return p;
    blkid_free_probe(p);
    return NULL;
}

/* NULL: it has none. */
static const char *
foreign_value(blkid_probe p, const char *name)
{
    const char *value;

    return blkid_probe_lookup_value(p, name, &value, NULL) == 0 ? value : NULL;
}

static const char *
foreign_usage(const char *usage)
{
    static const struct {
        const char *usage, *text;
    } words[] = {
        { "filesystem", "a file system" },
        { "raid", "a member of a RAID or volume group" },
        { "crypto", "an encrypted volume" },
    };

    for (size_t i = 0; usage != NULL && i < CW_LEN(words); i++) {
        if (strcmp(words[i].usage, usage) == 0)
            return words[i].text;
    }
    return "what others use";
}

static void
foreign_name(blkid_probe p, char what[static CW_FOREIGN_SIZE])
{
    const char *type = foreign_value(p, "TYPE"), *table = foreign_value(p, "PTTYPE");
    int n = 0;

    if (type != NULL)
        n = snprintf(what, CW_FOREIGN_SIZE, "%s (%s)", foreign_usage(foreign_value(p, "USAGE")),
                     type);
    if (table != NULL && n < CW_FOREIGN_SIZE)
        snprintf(what + n, CW_FOREIGN_SIZE - (size_t)n, "%sa partition table (%s)",
                 n > 0 ? " and " : "", table);
}

static int
foreign_look(int fd, char what[static CW_FOREIGN_SIZE])
{
    blkid_probe p;
    int found, err;

    errno = 0;
    p = foreign_probe(fd);
    found = p != NULL ? blkid_do_safeprobe(p) : -1;
    err = errno != 0 ? -errno : -EIO;
    if (found == 0)
        foreign_name(p, what);
    else if (found == -2)
        snprintf(what, CW_FOREIGN_SIZE, "several signatures of others (see: wipefs)");
    blkid_free_probe(p);
    return found == -1 ? err : 0;
}

int
cw_foreign_find(const char *path, char what[static CW_FOREIGN_SIZE])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), res;

    what[0] = '\0';
    if (fd < 0)
        return -errno;
    res = foreign_look(fd, what);
    close(fd);
    return res;
}
