/* backend.h - what a way of containing tasks has to offer (private to agent/exec)
 *
 * The shim does most: it starts, signals, kills and watches its own descendants. A backend adds a place
 * for them to live in, and can find them when the shim is gone.
 */
#ifndef SLUIS_AGENT_EXEC_BACKEND_H
#define SLUIS_AGENT_EXEC_BACKEND_H

#include "agent/exec/exec.h"
#include "proto/base/buf.h"

/* Where the backend works; owned by struct exec. */
struct exec_site {
	char *cgroup_root; /* NULL with plain; with systemd the cgroup of the slice */
	char *execd_socket;
	struct service_bus *bus; /* systemd only */
	char *suffix;      /* behind a unit's name, of its cgroup: "" or ".service"; NULL with plain */
	bool shim_inside;  /* cgroup2 on behalf of execd: the shim lives in the cgroup, so it may not die of oom.group */
	unsigned caps;     /* of enum exec_cap */
};

/* What starts a shim elsewhere than below the agent; borrowed. */
struct exec_launch {
	const struct exec_task *task;
	const char *shim_path, *task_path;
	int lock_fd, listen_fd;
};

/* What a unit's files say about where its processes may be; borrowed. */
struct exec_trace {
	const char *name;
	const char *key; /* what SLUIS_UNIT_KEY is in its environment */
	const char *cgroup; /* NULL with plain */
	const char *execd;  /* socket of the execd that made it, or NULL */
	pid_t shim;         /* the pid its shim had; 0 if unknown */
};

struct exec_ops {
	const char *name; /* as the `task` file spells it */
	/* Check that it can work here; fill caps. */
	int (*open)(struct exec_site *site, struct err *err);
	/* Make the place of one task and add records for the shim. */
	int (*prepare)(struct exec_site *site, const struct exec_task *task, struct buf *records,
			struct err *err);
	/* NULL: the shim is spawned. Otherwise start it so that it finds its lock and its socket, by whoever
	 * may; the two descriptors are dup'ed. ERR_EXISTS if a unit of this name is there already. */
	int (*launch)(struct exec_site *site, const struct exec_launch *launch, struct err *err);
	/* For a unit without shim: is any process of it left? */
	bool (*alive)(struct exec_site *site, const struct exec_trace *trace);
	/* The same case: SIGKILL to all of them. */
	void (*kill)(struct exec_site *site, const struct exec_trace *trace);
	/* Remove the place of an empty unit; ERR_BUSY if it is not. Fine if there is none. */
	int (*forget)(struct exec_site *site, const struct exec_trace *trace, struct err *err);
};

/* Is any process in this cgroup or below? Not if there is no such cgroup; unreadable counts as yes. */
bool exec_cgroup_alive(const char *cgroup);
/* Write `value` to a file of a cgroup; -1 and errno. */
int exec_cgroup_write(const char *cgroup, const char *file, const char *value);
/* enum exec_cap of a list as in cgroup.controllers. */
unsigned exec_cgroup_caps(const char *controllers);

extern const struct exec_ops exec_plain_ops;
extern const struct exec_ops exec_cgroup2_ops;
extern const struct exec_ops exec_systemd_ops;
extern const struct exec_ops exec_execd_ops;

#endif
