/* confine.c - what a unit's tasks may be and use: account, devices, limits, memory nodes
 *
 * The grant says which devices, cores and memory; this file turns that into what the execution layer can
 * enforce, and says once, in the log and to sluisd, what it cannot. A limit that cannot be enforced is no
 * reason to refuse work; an account is: work that was to run as its submitter never runs as somebody else.
 *
 * An allow-list of devices always holds the same three groups: the granted devices' own nodes, their
 * vendors' control nodes (of no use without one of the first), and what the site gives to everybody.
 */
#include <errno.h>
#include <glob.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/exec/devices.h"
#include "agent/probe/nodes.h"
#include "agent/shell.h"
#include "proto/base/ensure.h"
#include "proto/link/log.h"
#include "proto/model/names.h"
#include "proto/model/node.h"

/* What every task may open unless the site says otherwise: RDMA verbs and FUSE. */
static const char *const usual_devices[] = {"/dev/infiniband/uverbs*", "/dev/infiniband/rdma_cm", "/dev/fuse"};

/* ---- once ------------------------------------------------------------------------------------------------ */

static uint32_t isolation_of(const struct shell *s)
{
	static const struct { unsigned cap; uint32_t bit; } map[] = {
		{EXEC_CAP_MEMORY, ISOLATION_MEMORY}, {EXEC_CAP_CPU, ISOLATION_CPU}, {EXEC_CAP_CPUSET, ISOLATION_CPUSET},
		{EXEC_CAP_PIDS, ISOLATION_TASKS}, {EXEC_CAP_DEVICES, ISOLATION_DEVICES}, {EXEC_CAP_TRACK, ISOLATION_TRACK},
	};
	unsigned caps = exec_caps(s->exec);
	uint32_t bits = s->run_as_user ? ISOLATION_USER : 0;

	for (size_t i = 0; i < ARRAY_LEN(map); i++)
		bits |= caps & map[i].cap ? map[i].bit : 0;
	return bits | ISOLATION_KNOWN;
}

static int check_devices(const struct shell *s, struct err *err)
{
	for (size_t i = 0; i < s->conf.exec.devices.count; i++) {
		const char *path = s->conf.exec.devices.items[i];
		struct stat st;

		if (stat(path, &st) != 0)
			return err_set_errno(err, ERR_CONFIG, "exec.devices: cannot find '%.120s'", path);
		if (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode))
			return err_set(err, ERR_CONFIG, "exec.devices: '%.120s' is no device node", path);
		if (s->conf.exec.execd && !device_allowed(path))
			return err_set(err, ERR_CONFIG, "exec.devices: sluis-execd opens '%.120s' to nobody", path);
	}
	return 0;
}

int confine_open(struct shell *s, struct err *err)
{
	CLEANUP(buf_done) struct buf with = BUF_INIT, without = BUF_INIT;
	bool can_switch = (exec_caps(s->exec) & EXEC_CAP_USER) != 0;

	if (s->conf.exec.run_as == RUN_AS_USER && !can_switch) {
		(void)err_set(err, ERR_CONFIG, "work is to run as its submitters, and this agent cannot switch users");
		return err_hint(err, "set exec.execd to the socket of sluis-execd, or exec.run_as to agent");
	}
	s->run_as_user = can_switch && s->conf.exec.run_as != RUN_AS_AGENT;
	s->isolation = isolation_of(s);
	isolation_names(s->isolation, true, &with);
	isolation_names(s->isolation, false, &without);
	log_event(LOG_INFO, "isolation", "enforced=%s not_enforced=%s", log_quote(with.len ? buf_cstr(&with) : "nothing"),
		  log_quote(without.len ? buf_cstr(&without) : "nothing"));
	if (!s->run_as_user && geteuid() == 0 && !s->inventory->emulated)
		log_event(LOG_WARNING, "work_runs_as_root", "hint=%s", log_quote("run the agent as sluis-agent, with exec.execd"));
	/* Tasks of other users find their notice and host file by path; everything in there has modes of its own. */
	if (s->run_as_user && (chmod(s->conf.state_dir, 0711) != 0 || chmod(s->hosts_dir, 0711) != 0))
		return err_set_errno(err, ERR_IO, "cannot let users pass '%.160s'", s->conf.state_dir);
	return check_devices(s, err);
}

/* ---- per unit --------------------------------------------------------------------------------------------- */

static int account(const struct shell *s, const struct unit *u, struct arena *arena, struct confine *ret, struct err *err)
{
	const char *name = u->user;
	const struct passwd *pw;

	ret->home = s->home;
	ret->uid = 0;
	if (!s->run_as_user)
		return 0;
	for (size_t i = 0; i < s->conf.exec.users.count; i++)
		if (!strcmp(s->conf.exec.users.items[i].key, name))
			name = s->conf.exec.users.items[i].value;
	errno = 0;
	pw = name[0] ? getpwnam(name) : NULL;
	/* Not the user's fault, and another node may know better: none of these is ERR_INVAL or ERR_NOTFOUND. */
	if (!pw && errno && errno != ENOENT && errno != ESRCH)
		return err_set_errno(err, ERR_SYS, "cannot look up the account '%.60s'", name);
	if (!pw)
		return err_set(err, ERR_DENIED, "user '%.40s' has no account '%.40s' on %s", u->user, name, s->node);
	/* Nor as the agent, who may have sluis-execd start anything as anybody; but for root's work under root, which may do so
	 * anyway. */
	if ((pw->pw_uid < (uid_t)s->conf.exec.uid_min || pw->pw_uid > (uid_t)s->conf.exec.uid_max) && (pw->pw_uid || geteuid()))
		return err_set(err, ERR_DENIED, "account '%.40s' (uid %u) is outside exec.uid_min..uid_max on %s", name,
			       (unsigned)pw->pw_uid, s->node);
	ret->account = true;
	ret->uid = pw->pw_uid;
	ret->home = arena_copy(arena, pw->pw_dir, strlen(pw->pw_dir) + 1);
	return 0;
}

struct paths { const char *items[DEVICES_MAX + 1]; size_t n; };

static int add_path(struct paths *p, const char *path, struct arena *arena, struct err *err)
{
	for (size_t i = 0; i < p->n; i++)
		if (!strcmp(p->items[i], path))
			return 0;
	if (p->n == DEVICES_MAX)
		return err_set(err, ERR_TOOBIG, "more than %d device nodes for one task", DEVICES_MAX);
	p->items[p->n++] = arena_copy(arena, path, strlen(path) + 1);
	return 0;
}

static int add_usual(struct paths *p, struct arena *arena, struct err *err)
{
	int code = 0;

	for (size_t i = 0; i < ARRAY_LEN(usual_devices) && !code; i++) {
		glob_t g = {0};

		if (glob(usual_devices[i], GLOB_NOSORT, NULL, &g) == 0)
			for (size_t k = 0; k < g.gl_pathc && !code; k++)
				code = add_path(p, g.gl_pathv[k], arena, err);
		globfree(&g);
	}
	return code;
}

int confine_device(const struct shell *s, const struct unit_device *d, struct probe_nodes *ret, struct err *err)
{
	for (unsigned i = 0; i < s->inventory->device_count; i++) {
		const struct inv_device *have = &s->inventory->devices[i];

		if (!strcmp(have->pci, d->pci) && have->partition == d->partition)
			return probe_nodes("", have, &s->local->device[i], ret, err);
	}
	return err_set(err, ERR_STATE, "this node has no device %s/%u", d->pci, (unsigned)d->partition);
}

static int devices(const struct shell *s, const struct unit *u, struct arena *arena, struct confine *ret, struct err *err)
{
	struct paths p = {.n = 0};
	struct probe_nodes nodes;
	int code = 0;

	if (!(exec_caps(s->exec) & EXEC_CAP_DEVICES) || !s->local->devices_here)
		return 0; /* nobody to refuse, or nothing here to be refused */
	for (uint32_t i = 0; i < u->devices_n && !code; i++) {
		code = confine_device(s, &u->devices[i], &nodes, err);
		for (unsigned k = 0; k < nodes.own_n && !code; k++)
			code = add_path(&p, nodes.own[k], arena, err);
		for (unsigned k = 0; k < nodes.control_n && !code; k++)
			code = add_path(&p, nodes.control[k], arena, err);
	}
	for (size_t i = 0; i < s->conf.exec.devices.count && !code; i++)
		code = add_path(&p, s->conf.exec.devices.items[i], arena, err);
	if (!code && !s->conf.exec.devices.count)
		code = add_usual(&p, arena, err);
	if (code == ERR_NOTFOUND)
		code = err_set(err, ERR_STATE, "%s", (const char *)arena_copy(arena, err->msg, strlen(err->msg) + 1));
	if (code)
		return code;
	ret->devices = arena_copy(arena, p.items, (p.n + 1) * sizeof *p.items);
	return 0;
}

/* Memory next to the granted cores. It is bound to only where those memory nodes are the unit's alone: cores
 * are handed out by the grant, memory only as a sum, so a neighbour's need must not become our end. */
static void memory_nodes(const struct shell *s, const struct unit *u, struct arena *arena, struct confine *ret)
{
	const struct inventory *inv = s->inventory;
	int64_t alone_mib = 0;
	bool alone = true;

	if (inv->emulated || inv->numa_count < 2)
		return;
	ret->mems = node_numa(s, u->cores, arena);
	if (!ret->mems[0])
		ret->mems = NULL;
	for (unsigned i = 0; i < inv->numa_count; i++) {
		bool near = false, whole = true;

		for (size_t w = 0; w < CORE_WORDS; w++) {
			near |= (inv->numa[i].cores.w[w] & u->cores[w]) != 0;
			whole &= (inv->numa[i].cores.w[w] & ~u->cores[w]) == 0;
		}
		if (!near || inv->numa[i].device_memory)
			continue;
		alone &= whole;
		alone_mib += inv->numa[i].memory_mib;
	}
	ret->mems_preferred = !alone || alone_mib < (int64_t)u->memory_mib;
}

static uint32_t threads_of(const struct shell *s, const uint64_t cores[CORE_WORDS])
{
	uint32_t n = 0;

	for (unsigned c = 0; c < s->local->core_count; c++)
		if (cores[c / 64] >> (c % 64) & 1)
			n += s->local->core[c].count;
	return n;
}

int confine_unit(const struct shell *s, const struct unit *u, struct arena *arena, struct confine *ret, struct err *err)
{
	unsigned caps = exec_caps(s->exec);
	int code;

	*ret = (struct confine){.tasks_max = (uint32_t)s->conf.exec.tasks_max};
	code = account(s, u, arena, ret, err);
	if (!code)
		code = devices(s, u, arena, ret, err);
	if (code)
		return code;
	ret->cpus = node_cpus(s, u->cores, arena);
	memory_nodes(s, u, arena, ret);
	ret->mem_bytes = (uint64_t)u->memory_mib << 20;
	/* A task may widen its affinity; where no cpuset stops it, a quota makes that useless. */
	if (ret->cpus && !(caps & EXEC_CAP_CPUSET))
		ret->cpu_percent = threads_of(s, u->cores) * 100;
	return 0;
}

void confine_task(const struct confine *c, struct exec_task *t)
{
	t->uid = c->uid;
	t->devices = c->devices;
	t->cpus = c->cpus;
	t->mems = c->mems;
	t->mems_preferred = c->mems_preferred;
	t->mem_bytes = c->mem_bytes;
	t->tasks_max = c->tasks_max;
	t->cpu_percent = c->cpu_percent;
}
