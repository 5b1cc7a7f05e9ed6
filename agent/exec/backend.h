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
	char *cgroup_root; /* NULL with plain */
	unsigned caps;     /* of enum exec_cap */
};

/* What a unit's files say about where its processes may be; borrowed. */
struct exec_trace {
	const char *name;
	const char *key; /* what SLUIS_UNIT_KEY is in its environment */
	const char *cgroup; /* NULL with plain */
	pid_t shim;         /* the pid its shim had; 0 if unknown */
};

struct exec_ops {
	const char *name; /* as the `task` file spells it */
	/* Check that it can work here; fill caps. */
	int (*open)(struct exec_site *site, struct err *err);
	/* Make the place of one task and add records for the shim. */
	int (*prepare)(struct exec_site *site, const struct exec_task *task, struct buf *records,
			struct err *err);
	/* For a unit without shim: is any process of it left? */
	bool (*alive)(const struct exec_trace *trace);
	/* The same case: SIGKILL to all of them. */
	void (*kill)(const struct exec_trace *trace);
	/* Remove the place of an empty unit; ERR_BUSY if it is not. Fine if there is none. */
	int (*forget)(const struct exec_trace *trace, struct err *err);
};

extern const struct exec_ops exec_plain_ops;
extern const struct exec_ops exec_cgroup2_ops;

#endif
