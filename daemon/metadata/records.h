/* metadata/records.h - the manager's records as bytes: proto/metadata.proto in and out. */
#pragma once

#include "daemon/manager/records.h"

/* Pure but for malloc. decode refuses what does not fit a field, an unknown state, and a record of
 * a newer version. */
const struct cw_rec_codec *cw_metadata_codec(void);
