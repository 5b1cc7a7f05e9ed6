/* logfile.h - the store's log as a file of its own (proto/logfile/logfile.h) */
#ifndef SLUIS_DAEMON_STORE_LOGFILE_H
#define SLUIS_DAEMON_STORE_LOGFILE_H

#include "daemon/store/store.h"
#include "proto/logfile/logfile.h"

/* Write records from..to (`to` UINT64_MAX: up to the head) into the new file `path`, synced,
 * verified, renamed into place. `ret` may be NULL. ERR_EXISTS; ERR_GONE: trimmed; ERR_RANGE: no
 * such records. */
int logfile_export(struct store *s, uint64_t from, uint64_t to, const char *path,
		   struct logfile_summary *ret, struct err *err) NODISCARD;

#endif
