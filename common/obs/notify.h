/* obs/notify.h - tells the service manager, if there is one (NOTIFY_SOCKET), how things are. */
#pragma once

#include <stdint.h>

/* "READY=1" .. */
void cw_notify(const char *text);

/* Gives it a descriptor for the next process of this service, which gets it as LISTEN_FDS: text is
 * "FDSTORE=1\nFDNAME=..". fd stays the caller's. */
void cw_notify_fd(const char *text, int fd);

/* Half of what WATCHDOG_USEC asks for; 0: no watchdog. */
uint64_t cw_notify_watchdog_ns(void);
