/* service.h - transient systemd services, one per unit (used by agent/exec and sluis-execd)
 *
 *   unit "a42-p0-t3" ──▶ sluis-task-a42-p0-t3.service in sluis.slice ──▶ cgroup .../sluis.slice/sluis-task-a42-p0-t3.service
 *
 * No installed service is called so: whoever may have a unit killed, by whatever name, cannot have sluis-agent.service
 * or another one of the site killed.
 * The name of the service is the idempotency key: systemd refuses a second of the same name. The
 * service is the shim, with its lock as stdin and its socket as stdout (`sluis-shim --service`): systemd
 * holds both as long as the service exists, so the lock is free only once nothing can have begun.
 */
#ifndef SLUIS_AGENT_EXEC_SERVICE_H
#define SLUIS_AGENT_EXEC_SERVICE_H

#include <stdbool.h>

#include "agent/exec/backend.h"
#include "proto/base/err.h"

enum { SERVICE_NAME_BYTES = EXEC_NAME_BYTES + 24, SERVICE_ARGS_MAX = 16, SERVICE_START_MS = 10000 };

#define SERVICE_SLICE "sluis.slice"
#define SERVICE_PREFIX "sluis-task-"

struct service_bus;

/* Connect to the manager: root by its private socket, others by the system bus.
 * ERR_UNSUPPORTED if systemd does not run here or cannot be reached. */
int service_bus_open(struct service_bus **ret_bus, struct err *err) NODISCARD;
void service_bus_close(struct service_bus *bus); /* NULL is fine */

/* Fill cgroup_root (of the slice), suffix and caps of a site. */
int service_site(struct service_bus *bus, struct exec_site *site, struct err *err) NODISCARD;

/* Start the service of task->name with its limits. `argv` (NULL at the end, at most SERVICE_ARGS_MAX) is
 * executed with lock_fd and listen_fd as stdin and stdout. `as_root` leaves it the capabilities to become
 * task's user, and no more; otherwise it runs as the caller.
 * Returns 0 once it executes, or after SERVICE_START_MS without word; ERR_EXISTS; ERR_DENIED; ERR_SYS:
 * then nothing of it has run. */
int service_start(struct service_bus *bus, const struct exec_task *task, const char *const *argv, int lock_fd,
		int listen_fd, bool as_root, struct err *err) NODISCARD;
/* SIGKILL for all its processes. 0 also for one that does not exist. */
int service_kill(struct service_bus *bus, const char *name, struct err *err) NODISCARD;
/* Let systemd forget how it failed. 0 also for one that does not exist. */
int service_forget(struct service_bus *bus, const char *name, struct err *err) NODISCARD;

#endif
