/* enter.h - from root to the shim of one task, one way */
#ifndef SLUIS_AGENT_EXECD_ENTER_H
#define SLUIS_AGENT_EXECD_ENTER_H

#include <sys/types.h>

#include "proto/base/err.h"

/* Both users exist, and neither they nor their first groups are root. ERR_NOTFOUND, ERR_DENIED. */
int enter_check(uid_t uid, uid_t agent, struct err *err) NODISCARD;

/* Execute `shim --service task` with lock and listen as stdin and stdout, real user `uid` with its groups,
 * effective and saved user `agent`. Does not return, or returns a code and leaves a process that must end. */
int enter(uid_t uid, uid_t agent, int lock, int listen, const char *shim, const char *task, struct err *err) NODISCARD;

#endif
