/* admin/policy.h - policies as key=value. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/shape/shape.h"

#define CW_POLICY_WHY_SIZE 256

/* Is this a key of operations.md "Policy"? len bytes. */
bool cw_policy_is_key(const char *key, size_t len);

/* Takes over one "key=value". Text values are borrowed. False: why says what is wrong with it, or
 * that this version does not have it. */
bool cw_policy_take(cw_pb_policy *p, const char *assignment, char why[static CW_POLICY_WHY_SIZE]);

/* No key is given: the manager takes its default, or keeps what the policy has. */
void cw_policy_init(cw_pb_policy *p, const char *name);
