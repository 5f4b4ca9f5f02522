/* admin/copy.c - what the dispatcher knows of import and export. */
#include "client/admin/dispatch.h"
#include "client/admin/export.h"
#include "client/admin/import.h"

const struct cw_cmd cw_cmds_copy[] = {
    { "volume import", "NAME FILE [--policy P] [--overwrite] [--force]",
      "a raw image into a new volume",
      "NAME is created with the file's size, rounded up to 4 KiB. Holes and zeroes take no space.\n"
      "With --overwrite an existing volume is written; what the image leaves out reads as zeroes\n"
      "afterwards; --force takes it from a client that uses it. If it fails, a volume that it\n"
      "created is removed again.\n\n"
      "  causeway volume import vm1 debian.raw\n"
      "  qemu-img convert -O raw vm.qcow2 /tmp/vm.raw && causeway volume import vm1 /tmp/vm.raw\n",
      cw_import_run },
    { "volume export", "NAME FILE [--force]", "a volume into a sparse raw file",
      "The volume must not be in use, or --force takes it from the client that uses it. FILE\n"
      "appears, or is replaced, only when it is whole and on the media.\n",
      cw_export_run },
    { 0 },
};
