/* plain.c - tasks as ordinary descendants of their shim: no privilege, no cgroup
 *
 * While the shim lives it is the subreaper of all of them. If it was killed, two traces remain: the
 * variable SLUIS_UNIT_KEY in the environment a process was executed with (the shim itself was started with
 * it, so even a child that has not executed yet carries it), and the session of the shim. A process
 * that cleared its environment *and* made its own session is not found then; cgroup2 has no such hole.
 */
#include "agent/exec/backend.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/exec/procfs.h"
#include "proto/base/ensure.h"

static int plain_open(struct exec_site *site, struct err *err)
{
	(void)err;
	site->caps = 0;
	return 0;
}

static int plain_prepare(struct exec_site *site, const struct exec_task *task, struct buf *records,
		struct err *err)
{
	(void)site, (void)task, (void)records, (void)err;
	return 0;
}

/* Processes of the unit; the caller frees *ret. */
static size_t find(const struct exec_trace *trace, struct proc **ret)
{
	char mark[64];
	bool session_is_ours = trace->shim > 0;
	size_t n = proc_all(ret);
	size_t kept = 0;

	ENSURE(trace->key); /* no key, no shim: never asked about */
	(void)snprintf(mark, sizeof(mark), "SLUIS_UNIT_KEY=%s", trace->key);
	/* The kernel does not reuse the number of a session while it has members: a process with the
	 * number of our dead shim means that its session is gone too, and this one is a stranger's. */
	for (size_t i = 0; i < n; i++)
		if ((*ret)[i].pid == trace->shim)
			session_is_ours = false;
	for (size_t i = 0; i < n; i++) {
		const struct proc *p = &(*ret)[i];

		if (p->state == 'Z' || p->state == 'X')
			continue;
		if ((session_is_ours && p->session == trace->shim) || proc_has_env(p->pid, mark))
			(*ret)[kept++] = *p;
	}
	return kept;
}

static bool plain_alive(struct exec_site *site, const struct exec_trace *trace)
{
	struct proc *found = NULL;
	size_t n = find(trace, &found);

	(void)site;
	free(found);
	return n > 0;
}

static void plain_kill(struct exec_site *site, const struct exec_trace *trace)
{
	(void)site;
	/* All are stopped before any dies, so none can fork while we look. */
	for (int pass = 0; pass < 8; pass++) {
		struct proc *found = NULL;
		size_t n = find(trace, &found);

		for (size_t i = 0; i < n; i++)
			(void)proc_kill(&found[i], SIGSTOP);
		for (size_t i = 0; i < n && pass; i++)
			(void)proc_kill(&found[i], SIGKILL);
		free(found);
		if (!n)
			return;
	}
}

static int plain_forget(struct exec_site *site, const struct exec_trace *trace, struct err *err)
{
	(void)site, (void)trace, (void)err;
	return 0;
}

const struct exec_ops exec_plain_ops = {
	.name = "plain",
	.open = plain_open,
	.prepare = plain_prepare,
	.alive = plain_alive,
	.kill = plain_kill,
	.forget = plain_forget,
};
