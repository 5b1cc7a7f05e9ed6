/* environ.c - see environ.h */
#include "agent/core/environ.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/bits.h"
#include "proto/base/ensure.h"
#include "proto/base/instant.h"
#include "proto/config/hostlist.h"
#include "proto/model/names.h"

#define SLURM_NO_ARRAY UINT32_C(4294967294) /* what Slurm's %a gives outside an array */

struct envs {
	struct arena *arena;
	const char **items;
	size_t n, cap;
};

static void append(struct envs *e, const char *text)
{
	if (e->n + 1 >= e->cap) {
		const char **more;

		e->cap = e->cap ? e->cap * 2 : 128;
		more = arena_alloc(e->arena, e->cap * sizeof *more);
		if (e->n)
			memcpy(more, e->items, e->n * sizeof *more);
		e->items = more;
	}
	e->items[e->n++] = text;
	e->items[e->n] = NULL;
}

static size_t find(const struct envs *e, const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < e->n; i++)
		if (strncmp(e->items[i], name, len) == 0 && e->items[i][len] == '=')
			return i;
	return SIZE_MAX;
}

static const char *PRINTF_LIKE(3, 0) assignment(struct envs *e, const char *name, const char *fmt, va_list ap)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	char text[512];
	va_list again;
	int n;

	va_copy(again, ap);
	n = vsnprintf(text, sizeof text, fmt, ap);
	ENSURE(n >= 0);
	buf_addf(&b, "%s=", name);
	(void)vsnprintf((char *)buf_reserve(&b, (size_t)n + 1), (size_t)n + 1, fmt, again);
	va_end(again);
	b.len += (size_t)n + 1;
	return arena_copy(e->arena, b.data, b.len);
}

/* Ours, whatever the user had. */
static void PRINTF_LIKE(3, 4) set(struct envs *e, const char *name, const char *fmt, ...)
{
	size_t at = find(e, name);
	const char *text;
	va_list ap;

	va_start(ap, fmt);
	text = assignment(e, name, fmt, ap);
	va_end(ap);
	if (at == SIZE_MAX)
		append(e, text);
	else
		e->items[at] = text;
}

/* Only if the user has none. */
static void PRINTF_LIKE(3, 4) preset(struct envs *e, const char *name, const char *fmt, ...)
{
	va_list ap;

	if (find(e, name) != SIZE_MAX)
		return;
	va_start(ap, fmt);
	append(e, assignment(e, name, fmt, ap));
	va_end(ap);
}

const char *environ_get(const char *const *env, const char *name)
{
	size_t len = strlen(name);

	for (; *env; env++)
		if (strncmp(*env, name, len) == 0 && (*env)[len] == '=')
			return *env + len + 1;
	return NULL;
}

static bool given(const char *text)
{
	return text && text[0];
}

static uint32_t cores_of(const struct unit *u)
{
	uint32_t n = 0;

	for (size_t i = 0; i < CORE_WORDS; i++)
		n += popcount64(u->cores[i]);
	return n;
}

static bool is_job(const struct unit *u)
{
	return u->kind == UNIT_JOB_SCRIPT || u->kind == UNIT_JOB_COMMAND;
}

/* A unit that came without a list of hosts is alone. */
static uint32_t hosts_of(const struct environ_in *in, struct unit_host *alone, const struct unit_host **ret)
{
	if (in->unit->hosts_n) {
		*ret = in->unit->hosts;
		return in->unit->hosts_n;
	}
	*alone = (struct unit_host){.slots = in->unit->tasks ? in->unit->tasks : 1};
	(void)snprintf(alone->name, sizeof alone->name, "%s", in->node);
	(void)snprintf(alone->address, sizeof alone->address, "%s", given(in->address) ? in->address : in->node);
	*ret = alone;
	return 1;
}

void environ_hostfile(const struct environ_in *in, struct buf *out)
{
	const struct unit_host *hosts;
	struct unit_host alone;
	uint32_t n = hosts_of(in, &alone, &hosts);

	for (uint32_t i = 0; i < n; i++)
		buf_addf(out, "%s slots=%u\n", hosts[i].address[0] ? hosts[i].address : hosts[i].name,
			 hosts[i].slots ? (unsigned)hosts[i].slots : 1U);
}

/* Tasks of the gang on one host. `slots` says how many ranks fit there (mpirun, torchrun), which is not the
 * same when there is one task per node and each has several devices. */
static uint32_t host_tasks(const struct environ_in *in, const struct unit_host *host, uint32_t hosts_n)
{
	if (in->unit->world <= hosts_n || !host->slots)
		return 1;
	return host->slots;
}

/* Slurm's "2(x3),1". */
static void counts_text(const struct environ_in *in, const struct unit_host *hosts, uint32_t n, struct buf *out)
{
	for (uint32_t i = 0; i < n;) {
		uint32_t k = i, tasks = host_tasks(in, &hosts[i], n);

		while (k < n && host_tasks(in, &hosts[k], n) == tasks)
			k++;
		buf_addf(out, "%s%" PRIu32, i ? "," : "", tasks);
		if (k - i > 1)
			buf_addf(out, "(x%" PRIu32 ")", k - i);
		i = k;
	}
}

/* ---- the parts of the environment ------------------------------------------------------------------- */

static bool begins(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Does this assignment speak of another allocation, or forge something of ours? */
static bool leftover(const struct environ_in *in, const char *text)
{
	static const char *const ranks[] = {"RANK=", "LOCAL_RANK=", "WORLD_SIZE=", "LOCAL_WORLD_SIZE=", "GROUP_RANK=",
					    "NODE_RANK=", "SLUIS_RANK=", "SLUIS_LOCAL_RANK=", "SLUIS_WORLD_SIZE="};

	for (size_t i = 0; i < ARRAY_LEN(ranks); i++)
		if (begins(text, ranks[i]))
			return in->mode != ENVIRON_EXEC;
	if (begins(text, "SLURM_"))
		return in->mode != ENVIRON_EXEC || !in->unit->slurm_env;
	return begins(text, "SLUIS_") || begins(text, "SLURMD_") || (begins(text, "PET_") && in->mode != ENVIRON_EXEC);
}

static void add_users(const struct environ_in *in, struct envs *e)
{
	for (uint32_t i = 0; in->payload && i < in->payload->env_n; i++) {
		const char *s = in->payload->env[i].s;

		if (s && strchr(s, '=') && s[0] != '=' && !leftover(in, s))
			append(e, in->unit->kind == UNIT_SERVICE ? environ_port(s, in->port, e->arena) : s);
	}
}

static void add_identity(const struct environ_in *in, struct envs *e)
{
	const struct unit *u = in->unit;
	const struct payload *p = in->payload;

	set(e, "SLUIS_CLUSTER", "%s", in->cluster ? in->cluster : "");
	set(e, is_job(u) ? "SLUIS_JOB_ID" : "SLUIS_LEASE_ID", "%" PRIu64, u->owner);
	set(e, is_job(u) ? "SLUIS_JOB_NAME" : "SLUIS_LEASE_NAME", "%s", u->name);
	set(e, "SLUIS_PROJECT", "%s", u->project);
	set(e, "SLUIS_USER", "%s", u->user);
	set(e, "SLUIS_ATTEMPT", "%" PRIu32, u->attempt);
	set(e, "SLUIS_ALLOCATION", "%" PRIu64, u->alloc);
	set(e, "SLUIS_FENCE", "%" PRIu64 ".%" PRIu32 ".%" PRIu64, u->owner, u->attempt, u->alloc);
	set(e, "SLUIS_CLASS", "%s", alloc_class_name(u->klass));
	set(e, "SLUIS_RESTART_COUNT", "%" PRIu32, u->restart_count);
	set(e, "SLUIS_RESUME", "%d", u->resume ? 1 : 0);
	if (u->array) {
		set(e, "SLUIS_ARRAY_ID", "%" PRIu64, u->array);
		set(e, "SLUIS_ARRAY_INDEX", "%" PRIu32, u->array_index);
	}
	if (p && given(p->cwd))
		set(e, "SLUIS_SUBMIT_DIR", "%s", p->cwd);
	if (p && given(p->submit_host))
		set(e, "SLUIS_SUBMIT_HOST", "%s", p->submit_host);
	if (p && given(p->checkpoint_dir))
		set(e, "SLUIS_CHECKPOINT_DIR", "%s", environ_path(in, p->checkpoint_dir, e->arena));
	if (p && given(p->checkpoint_command))
		set(e, "SLUIS_CHECKPOINT_COMMAND", "%s", p->checkpoint_command);
	if (p && p->stop_within_ms > 0)
		set(e, "SLUIS_NOTICE_SECONDS", "%" PRId64, p->stop_within_ms / MS_PER_S);
	if (in->until_unix_ms != T_NEVER)
		set(e, "SLUIS_DEADLINE", "%" PRId64, in->until_unix_ms / MS_PER_S);
	set(e, "HOSTNAME", "%s", in->node);
}

static void add_places(const struct environ_in *in, struct envs *e, const char *list)
{
	const struct unit *u = in->unit;
	const struct unit_host *hosts;
	struct unit_host alone;
	uint32_t n = hosts_of(in, &alone, &hosts), cores = cores_of(u);
	CLEANUP(buf_done) struct buf names = BUF_INIT;

	for (uint32_t i = 0; i < n; i++)
		buf_addf(&names, "%s%s", i ? " " : "", hosts[i].name);
	set(e, "SLUIS_NODES", "%s", buf_cstr(&names));
	set(e, "SLUIS_NODELIST", "%s", list);
	set(e, "SLUIS_NODE_COUNT", "%" PRIu32, n);
	set(e, "SLUIS_NODE_RANK", "%" PRIu32, u->node_rank);
	set(e, "SLUIS_TASKS", "%" PRIu32, u->world);
	if (u->nodes_max) {
		set(e, "SLUIS_NUM_NODES_MIN", "%" PRIu32, u->nodes_min);
		set(e, "SLUIS_NUM_NODES_MAX", "%" PRIu32, u->nodes_max);
	}
	set(e, "SLUIS_TASKS_PER_NODE", "%u", (unsigned)(u->tasks ? u->tasks : 1));
	if (given(in->hostfile)) {
		set(e, "SLUIS_HOSTFILE", "%s", in->hostfile);
		set(e, "OMPI_MCA_orte_default_hostfile", "%s", in->hostfile);
		set(e, "HYDRA_HOST_FILE", "%s", in->hostfile);
		set(e, "I_MPI_HYDRA_HOST_FILE", "%s", in->hostfile);
	}
	set(e, "SLUIS_CPUS", "%" PRIu32, cores);
	if (given(in->cpuset))
		set(e, "SLUIS_CPUSET", "%s", in->cpuset);
	if (given(in->numa))
		set(e, "SLUIS_NUMA", "%s", in->numa);
	set(e, "SLUIS_MEM_MB", "%" PRIu32, u->memory_mib);
	preset(e, "OMP_NUM_THREADS", "%" PRIu32,
	       u->cpus_per_task ? u->cpus_per_task : cores > u->tasks && u->tasks ? cores / u->tasks : 1U);
	if (given(in->tmpdir))
		set(e, "TMPDIR", "%s", in->tmpdir);
}

static void add_devices(const struct environ_in *in, struct envs *e)
{
	const struct unit *u = in->unit;
	CLEANUP(buf_done) struct buf all = BUF_INIT, nvidia = BUF_INIT, amd = BUF_INIT;

	for (uint32_t i = 0; i < u->devices_n; i++) {
		const struct unit_device *d = &u->devices[i];
		struct buf *mine = strcmp(d->vendor, "amd") == 0 ? &amd : strcmp(d->vendor, "nvidia") == 0 ? &nvidia : NULL;
		const char *id = d->uuid[0] ? d->uuid : d->pci;

		buf_addf(&all, "%s%s", all.len ? "," : "", id);
		if (mine)
			buf_addf(mine, "%s%s", mine->len ? "," : "", id);
	}
	set(e, "SLUIS_DEVICES", "%s", buf_cstr(&all));
	set(e, "CUDA_DEVICE_ORDER", "PCI_BUS_ID");
	/* Empty, not unset: a program of a cpu job shall see no device. */
	set(e, "CUDA_VISIBLE_DEVICES", "%s", buf_cstr(&nvidia));
	set(e, "NVIDIA_VISIBLE_DEVICES", "%s", nvidia.len ? buf_cstr(&nvidia) : "void");
	set(e, "ROCR_VISIBLE_DEVICES", "%s", buf_cstr(&amd));
}

static void add_fabric(const struct environ_in *in, struct envs *e)
{
	if (given(in->interface)) {
		preset(e, "NCCL_SOCKET_IFNAME", "%s", in->interface);
		preset(e, "GLOO_SOCKET_IFNAME", "%s", in->interface);
	}
	if (given(in->hcas)) {
		CLEANUP(buf_done) struct buf ucx = BUF_INIT;

		preset(e, "NCCL_IB_HCA", "%s", in->hcas);
		for (const char *s = in->hcas; *s;) {
			size_t n = strcspn(s, ",");

			buf_addf(&ucx, "%s%.*s:1", ucx.len ? "," : "", (int)n, s);
			s += n + (s[n] == ',');
		}
		preset(e, "UCX_NET_DEVICES", "%s", buf_cstr(&ucx));
	}
}

static void add_rendezvous(const struct environ_in *in, struct envs *e)
{
	const struct unit *u = in->unit;
	const struct unit_host *hosts;
	struct unit_host alone;
	uint32_t n = hosts_of(in, &alone, &hosts);
	uint32_t rank = u->rank0 + in->task;
	const char *master = u->master_address[0] ? u->master_address : hosts[0].address;

	if (!is_job(u)) {
		if (in->port) {
			set(e, "SLUIS_PORT", "%u", (unsigned)in->port);
			preset(e, "PORT", "%u", (unsigned)in->port);
		}
		if (u->kind == UNIT_SERVICE) {
			set(e, "SLUIS_RANK", "%" PRIu32, rank);
			set(e, "SLUIS_WORLD_SIZE", "%" PRIu32, u->world);
		}
		return;
	}
	set(e, "MASTER_ADDR", "%s", master);
	if (u->master_port)
		set(e, "MASTER_PORT", "%u", (unsigned)u->master_port);
	if (in->mode != ENVIRON_TASK)
		return;
	set(e, "SLUIS_RANK", "%" PRIu32, rank);
	set(e, "SLUIS_LOCAL_RANK", "%" PRIu32, in->task);
	set(e, "SLUIS_WORLD_SIZE", "%" PRIu32, u->world);
	set(e, "RANK", "%" PRIu32, rank);
	set(e, "LOCAL_RANK", "%" PRIu32, in->task);
	set(e, "WORLD_SIZE", "%" PRIu32, u->world);
	set(e, "LOCAL_WORLD_SIZE", "%u", (unsigned)u->tasks);
	set(e, "GROUP_RANK", "%" PRIu32, u->node_rank);
	set(e, "NODE_RANK", "%" PRIu32, u->node_rank);
	if (u->tasks != 1 || u->world != n)
		return;
	/* torchrun, one per node, finds these without a flag and makes ranks of its own. */
	if (u->nodes_max)
		set(e, "PET_NNODES", "%" PRIu32 ":%" PRIu32, u->nodes_min, u->nodes_max);
	else
		set(e, "PET_NNODES", "%" PRIu32, n);
	set(e, "PET_NODE_RANK", "%" PRIu32, u->node_rank);
	set(e, "PET_NPROC_PER_NODE", "%" PRIu32, u->devices_n ? u->devices_n : 1U);
	set(e, "PET_RDZV_BACKEND", "c10d");
	set(e, "PET_RDZV_ENDPOINT", "%s:%u", master, (unsigned)u->master_port);
	set(e, "PET_RDZV_ID", "job-%" PRIu64 ".%" PRIu32, u->owner, u->attempt);
	/* nodes that leave an elastic job look like failures to those that stay */
	set(e, "PET_MAX_RESTARTS", u->nodes_max ? "100" : "0");
}

static void add_slurm(const struct environ_in *in, struct envs *e, const char *list)
{
	const struct unit *u = in->unit;
	const struct unit_host *hosts;
	struct unit_host alone;
	uint32_t n = hosts_of(in, &alone, &hosts), cores = cores_of(u), ntasks = u->world > n ? u->world : n;
	const char *account = strrchr(u->project, '/');
	CLEANUP(buf_done) struct buf counts = BUF_INIT, gpus = BUF_INIT, gtids = BUF_INIT;

	counts_text(in, hosts, n, &counts);
	set(e, "SLURM_JOB_ID", "%" PRIu64, u->owner);
	set(e, "SLURM_JOBID", "%" PRIu64, u->owner);
	set(e, "SLURM_JOB_NAME", "%s", u->name);
	set(e, "SLURM_JOB_NODELIST", "%s", list);
	set(e, "SLURM_NODELIST", "%s", list);
	set(e, "SLURM_JOB_NUM_NODES", "%" PRIu32, n);
	set(e, "SLURM_NNODES", "%" PRIu32, n);
	set(e, "SLURM_NTASKS", "%" PRIu32, ntasks);
	set(e, "SLURM_NPROCS", "%" PRIu32, ntasks);
	set(e, "SLURM_TASKS_PER_NODE", "%s", buf_cstr(&counts));
	set(e, "SLURM_NTASKS_PER_NODE", "%" PRIu32, host_tasks(in, &hosts[0], n));
	set(e, "SLURM_CPUS_ON_NODE", "%" PRIu32, cores);
	if (n > 1)
		set(e, "SLURM_JOB_CPUS_PER_NODE", "%" PRIu32 "(x%" PRIu32 ")", cores, n);
	else
		set(e, "SLURM_JOB_CPUS_PER_NODE", "%" PRIu32, cores);
	if (u->cpus_per_task)
		set(e, "SLURM_CPUS_PER_TASK", "%u", (unsigned)u->cpus_per_task);
	if (u->devices_n) {
		for (uint32_t i = 0; i < u->devices_n; i++)
			buf_addf(&gpus, "%s%" PRIu32, i ? "," : "", i);
		set(e, "SLURM_GPUS_ON_NODE", "%" PRIu32, u->devices_n);
		set(e, "SLURM_GPUS_PER_NODE", "%" PRIu32, u->devices_n);
		set(e, "SLURM_JOB_GPUS", "%s", buf_cstr(&gpus));
	}
	set(e, "SLURM_MEM_PER_NODE", "%" PRIu32, u->memory_mib);
	set(e, "SLURM_JOB_ACCOUNT", "%s", account ? account + 1 : u->project);
	set(e, "SLURM_JOB_USER", "%s", u->user);
	set(e, "SLURM_JOB_UID", "%" PRIu32, in->uid);
	if (in->payload && given(in->payload->cwd))
		set(e, "SLURM_SUBMIT_DIR", "%s", in->payload->cwd);
	if (in->payload && given(in->payload->submit_host))
		set(e, "SLURM_SUBMIT_HOST", "%s", in->payload->submit_host);
	set(e, "SLURM_CLUSTER_NAME", "%s", in->cluster ? in->cluster : "");
	if (u->array) {
		set(e, "SLURM_ARRAY_JOB_ID", "%" PRIu64, u->array);
		set(e, "SLURM_ARRAY_TASK_ID", "%" PRIu32, u->array_index);
	}
	if (u->restart_count)
		set(e, "SLURM_RESTART_COUNT", "%" PRIu32, u->restart_count);
	set(e, "SLURMD_NODENAME", "%s", in->node);
	set(e, "SLURM_NODEID", "%" PRIu32, u->node_rank);
	set(e, "SLURM_JOB_START_TIME", "%" PRId64, in->start_unix_ms / MS_PER_S);
	if (in->until_unix_ms != T_NEVER)
		set(e, "SLURM_JOB_END_TIME", "%" PRId64, in->until_unix_ms / MS_PER_S);
	if (in->mode == ENVIRON_BATCH) { /* the batch shell is task 0 of the batch step */
		set(e, "SLURM_PROCID", "0");
		set(e, "SLURM_LOCALID", "0");
	}
	if (in->mode != ENVIRON_TASK)
		return;
	for (uint32_t i = 0; i < u->tasks; i++)
		buf_addf(&gtids, "%s%" PRIu32, i ? "," : "", u->rank0 + i);
	set(e, "SLURM_PROCID", "%" PRIu32, u->rank0 + in->task);
	set(e, "SLURM_LOCALID", "%" PRIu32, in->task);
	set(e, "SLURM_STEP_ID", "0");
	set(e, "SLURM_STEPID", "0");
	set(e, "SLURM_STEP_NODELIST", "%s", list);
	set(e, "SLURM_STEP_NUM_NODES", "%" PRIu32, n);
	set(e, "SLURM_STEP_NUM_TASKS", "%" PRIu32, ntasks);
	set(e, "SLURM_STEP_TASKS_PER_NODE", "%s", buf_cstr(&counts));
	set(e, "SLURM_GTIDS", "%s", buf_cstr(&gtids));
	set(e, "SLURM_LAUNCH_NODE_IPADDR", "%s", u->master_address[0] ? u->master_address : hosts[0].address);
	if (u->devices_n)
		set(e, "SLURM_STEP_GPUS", "%s", buf_cstr(&gpus));
}

/* It is the agent that runs it, whoever it is for. */
static void add_hook(const struct environ_in *in, struct envs *e)
{
	set(e, "SLUIS_PHASE", "%s", in->hook);
	set(e, "SLUIS_PART", "%u", (unsigned)in->unit->part);
	if (!in->nobody)
		set(e, "SLUIS_UID", "%" PRIu32, in->uid);
	set(e, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	if (given(in->home))
		set(e, "HOME", "%s", in->home);
}

const char *const *environ_build(const struct environ_in *in, struct arena *arena)
{
	struct envs e = {.arena = arena};
	struct hostlist list = HOSTLIST_INIT;
	CLEANUP(buf_done) struct buf names = BUF_INIT;
	const struct unit_host *hosts;
	struct unit_host alone;
	uint32_t n = hosts_of(in, &alone, &hosts);
	bool whole = true;

	/* In node-rank order, so that the first one listed is the one that scripts take for the head. */
	for (uint32_t i = 0; i < n; i++)
		whole &= hostlist_add(&list, hosts[i].name, NULL) == 0;
	if (whole)
		hostlist_compress(&list, &names);
	hostlist_done(&list);

	add_users(in, &e);
	add_identity(in, &e);
	add_places(in, &e, buf_cstr(&names));
	add_devices(in, &e);
	if (in->mode == ENVIRON_HOOK) {
		add_hook(in, &e);
		return e.items;
	}
	add_fabric(in, &e);
	add_rendezvous(in, &e);
	if (in->unit->slurm_env && is_job(in->unit))
		add_slurm(in, &e, buf_cstr(&names));
	preset(&e, "PATH", "/usr/local/bin:/usr/bin:/bin");
	preset(&e, "USER", "%s", in->unit->user);
	preset(&e, "LOGNAME", "%s", in->unit->user);
	if (given(in->home))
		preset(&e, "HOME", "%s", in->home);
	return e.items;
}

/* ---- texts with holes -------------------------------------------------------------------------------- */

const char *environ_path(const struct environ_in *in, const char *pattern, struct arena *arena)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	const struct unit *u = in->unit;

	for (const char *s = pattern; *s; s++) {
		const char *at = s;
		int width = 0;

		if (*s != '%') {
			buf_add(&b, s, 1);
			continue;
		}
		for (s++; *s >= '0' && *s <= '9'; s++)
			width = width < 100 ? width * 10 + (*s - '0') : width;
		if (width > 10)
			width = 10; /* as Slurm */
		switch (*s) {
		case '%': buf_add(&b, "%", 1); break;
		case 'j':
		case 'J': buf_addf(&b, "%0*" PRIu64, width, u->owner); break;
		case 'A': buf_addf(&b, "%0*" PRIu64, width, u->array ? u->array : u->owner); break;
		case 'a': buf_addf(&b, "%0*" PRIu32, width, u->array ? u->array_index : SLURM_NO_ARRAY); break;
		case 'x': buf_addf(&b, "%s", u->name); break;
		case 'u': buf_addf(&b, "%s", u->user); break;
		case 'N': buf_addf(&b, "%s", in->node); break;
		case 'n': buf_addf(&b, "%0*" PRIu32, width, u->node_rank); break;
		case 't': buf_addf(&b, "%0*" PRIu32, width, u->rank0 + in->task); break;
		case 's': buf_addf(&b, "%s", in->mode == ENVIRON_TASK ? "0" : "batch"); break;
		default:
			if (!*s)
				s--; /* ends in '%' */
			buf_add(&b, at, (size_t)(s - at) + 1);
		}
	}
	return arena_copy(arena, buf_cstr(&b), b.len + 1);
}

const char *environ_port(const char *text, uint16_t port, struct arena *arena)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	const char *hole;

	for (; (hole = strstr(text, "{port}")) != NULL; text = hole + 6) {
		buf_add(&b, text, (size_t)(hole - text));
		buf_addf(&b, "%u", (unsigned)port);
	}
	buf_addf(&b, "%s", text);
	return arena_copy(arena, buf_cstr(&b), b.len + 1);
}
