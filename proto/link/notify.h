/* notify.h - tell the service manager how we are (sd_notify(3)'s protocol, without libsystemd)
 *
 * One datagram of NAME=value lines to the socket named by $NOTIFY_SOCKET, a path or, with a leading
 * '@', an abstract name.
 */
#ifndef SLUIS_PROTO_LINK_NOTIFY_H
#define SLUIS_PROTO_LINK_NOTIFY_H

#include <stdint.h>

#include "proto/base/err.h"

/* Send e.g. "READY=1\nSTATUS=serving". 0, also when nobody asked for notices ($NOTIFY_SOCKET is
 * not set); ERR_INVAL for a socket name that is none; ERR_SYS. */
int notify_send(const char *state, struct err *err) NODISCARD;

/* How often the manager wants "WATCHDOG=1" at the latest, in ms, from $WATCHDOG_USEC; 0 when it does
 * not watch this process. Feed at half of it. */
int64_t notify_watchdog_ms(void);

#endif
