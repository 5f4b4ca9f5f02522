/* shell/instance.h - where is this cloud instance? Its provider's metadata service knows.
 *
 * AWS, Azure and GCP are asked at once, at one address that no router forwards; the first whose
 * answers make sense is believed. Blocks; for the start of a daemon.
 *
 *   region  that of the provider         eu-central-1, westeurope, europe-west3
 *   site    provider and region          aws-eu-central-1
 *   rack    the zone; "" if it has none  eu-central-1a, westeurope-2, europe-west3-a
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CW_INSTANCE_ADDR "169.254.169.254:80"
#define CW_INSTANCE_MS 2000u
#define CW_INSTANCE_WHY_SIZE 256
#define CW_INSTANCE_ANSWER_MAX 4096u /* bytes, with the head */

struct cw_instance {
    const char *provider; /* aws, azure, gcp */
    char region[64], site[64], rack[64];
};

/* addr: ADDR:PORT, in numbers. False: why is one line that names what each provider's way did. */
bool cw_instance_find(const char *addr, uint32_t timeout_ms, struct cw_instance *ret,
                      char why[static CW_INSTANCE_WHY_SIZE]);

/* ---- the reading of one answer; pure ---- */

struct cw_instance_answer {
    int status;
    bool google;                           /* it says that it is Google's */
    char body[CW_INSTANCE_ANSWER_MAX + 1]; /* without white space around it */
};

enum cw_instance_read {
    CW_INSTANCE_MORE, /* not all of it is here; at its end (eof): never */
    CW_INSTANCE_WHOLE,
    CW_INSTANCE_GARBAGE,
};

/* bytes: as they came, at most CW_INSTANCE_ANSWER_MAX. */
enum cw_instance_read cw_instance_read(const char *bytes, size_t len, bool eof,
                                       struct cw_instance_answer *ret);
