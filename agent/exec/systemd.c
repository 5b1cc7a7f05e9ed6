/* systemd.c - one transient service per task
 *
 * The service runs the ordinary shim, so exit status, notices and reports are what they are elsewhere.
 * systemd adds the cgroup, its limits and the device filter, and takes the task out of the agent's own
 * unit: stopping or upgrading the agent cannot touch it.
 *
 * Two things differ from what systemd would do by itself:
 *  - OOMPolicy=continue: the shim must survive to write down the exit status and that memory was why.
 *    It is the shim that then kills the rest of the unit.
 *  - CPU affinity is also set by the shim, because AllowedCPUs needs the cgroup2 cpuset controller.
 *
 * Source: org.freedesktop.systemd1(5), StartTransientUnit; flux-core's sdexec works in the same way.
 */
#include "agent/exec/service.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "agent/exec/procfs.h"
#include "agent/exec/unit.h"
#include "proto/base/ensure.h"
#include "proto/base/instant.h"

#define MANAGER "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"

struct service_bus {
	sd_bus *bus;
	char job[128];    /* whose end is waited for */
	char result[32];  /* "" until then */
};

static void service_name(const char *name, char ret[SERVICE_NAME_BYTES])
{
	ENSURE(strlen(name) < EXEC_NAME_BYTES);
	(void)snprintf(ret, SERVICE_NAME_BYTES, SERVICE_PREFIX "%s.service", name);
}

/* ---- the bus ------------------------------------------------------------------------------------------ */

static int job_removed(sd_bus_message *m, void *ctx, sd_bus_error *error)
{
	struct service_bus *bus = ctx;
	const char *job, *unit, *result;
	uint32_t id;

	(void)error;
	if (sd_bus_message_read(m, "uoss", &id, &job, &unit, &result) >= 0 && !strcmp(job, bus->job))
		(void)snprintf(bus->result, sizeof(bus->result), "%s", result);
	return 0;
}

/* Without senders: on the private socket there are no names. */
static int connect_bus(struct service_bus *bus)
{
	int r;

	if (geteuid()) {
		r = sd_bus_open_system(&bus->bus);
	} else {
		r = sd_bus_new(&bus->bus);
		if (r >= 0)
			r = sd_bus_set_address(bus->bus, "unix:path=/run/systemd/private");
		if (r >= 0)
			r = sd_bus_start(bus->bus);
	}
	if (r >= 0)
		r = sd_bus_set_method_call_timeout(bus->bus, SERVICE_START_MS * UINT64_C(1000));
	if (r >= 0)
		r = sd_bus_match_signal(bus->bus, NULL, NULL, "/org/freedesktop/systemd1",
				"org.freedesktop.systemd1.Manager", "JobRemoved", job_removed, bus);
	return r < 0 ? r : sd_bus_call_method(bus->bus, MANAGER, "Subscribe", NULL, NULL, NULL);
}

int service_bus_open(struct service_bus **ret_bus, struct err *err)
{
	struct service_bus *bus;
	int r;

	if (sd_booted() <= 0)
		return err_set(err, ERR_UNSUPPORTED, "this machine was not booted with systemd");
	bus = xcalloc(1, sizeof(*bus));
	r = connect_bus(bus);
	if (r < 0) {
		service_bus_close(bus);
		return err_set(err, ERR_UNSUPPORTED, "cannot talk to systemd: %s", strerror(-r));
	}
	*ret_bus = bus;
	return 0;
}

void service_bus_close(struct service_bus *bus)
{
	if (!bus)
		return;
	(void)sd_bus_flush_close_unref(bus->bus);
	free(bus);
}

/* systemd may have been restarted since the last call: once more on a new connection. */
static int bus_alive(struct service_bus *bus, struct err *err)
{
	int r;

	while ((r = sd_bus_process(bus->bus, NULL)) > 0)
		; /* signals of others' jobs */
	if (r >= 0 && sd_bus_is_open(bus->bus) > 0)
		return 0;
	bus->bus = sd_bus_flush_close_unref(bus->bus);
	r = connect_bus(bus);
	return r < 0 ? err_set(err, ERR_SYS, "cannot talk to systemd: %s", strerror(-r)) : 0;
}

static int bus_error(const sd_bus_error *e, int r, const char *what, const char *name, struct err *err)
{
	int code = r == -EACCES || r == -EPERM ? ERR_DENIED : ERR_SYS;

	if (sd_bus_error_has_name(e, "org.freedesktop.systemd1.UnitExists"))
		code = ERR_EXISTS;
	return err_set(err, code, "systemd does not %s '%s': %s", what, name, e->message ? e->message : strerror(-r));
}

/* ---- the place ---------------------------------------------------------------------------------------- */

static const char *cgroup2_mount(void)
{
	static const char *const known[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
	struct statfs fs;

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (!statfs(known[i], &fs) && fs.f_type == CGROUP2_SUPER_MAGIC)
			return known[i];
	return NULL;
}

/* What this systemd enforces: cgroup2 controllers, or those of cgroup1, which lacks cpusets here. */
static unsigned find_caps(const char *mount)
{
	static const struct {
		const char *folder;
		unsigned cap;
	} legacy[] = {{"memory", EXEC_CAP_MEMORY}, {"pids", EXEC_CAP_PIDS}, {"cpu", EXEC_CAP_CPU},
		{"devices", EXEC_CAP_DEVICES}};
	unsigned caps = EXEC_CAP_TRACK;
	char path[PATH_MAX], text[256] = "";
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/cgroup.controllers", mount);
	f = fopen(path, "re");
	if (f) {
		if (fgets(text, sizeof(text), f))
			caps |= exec_cgroup_caps(text);
		(void)fclose(f);
	}
	if (!strcmp(mount, "/sys/fs/cgroup"))
		return caps | EXEC_CAP_DEVICES; /* by BPF, as everywhere on cgroup2 */
	for (size_t i = 0; i < ARRAY_LEN(legacy); i++) {
		(void)snprintf(path, sizeof(path), "/sys/fs/cgroup/%s/cgroup.procs", legacy[i].folder);
		if (!access(path, F_OK))
			caps |= legacy[i].cap;
	}
	return caps;
}

int service_site(struct service_bus *bus, struct exec_site *site, struct err *err)
{
	sd_bus_error error = SD_BUS_ERROR_NULL;
	CLEANUP(buf_done) struct buf path = BUF_INIT;
	const char *mount = cgroup2_mount();
	char *root = NULL;
	int r;

	if (!mount)
		return err_set(err, ERR_UNSUPPORTED, "no cgroup2 mount at /sys/fs/cgroup or /sys/fs/cgroup/unified");
	r = sd_bus_get_property_string(bus->bus, MANAGER, "ControlGroup", &error, &root);
	if (r < 0) {
		int code = bus_error(&error, r, "tell", "ControlGroup", err);

		sd_bus_error_free(&error);
		return code;
	}
	buf_addf(&path, "%s%s/" SERVICE_SLICE "/" SERVICE_PREFIX, mount, strcmp(root, "/") ? root : "");
	free(root);
	if (path.len + SERVICE_NAME_BYTES + 32 > PATH_MAX)
		return err_set(err, ERR_UNSUPPORTED, "the cgroup of systemd has too long a path");
	site->cgroup_root = xstrdup(buf_cstr(&path));
	site->suffix = xstrdup(".service");
	site->caps = find_caps(mount);
	return 0;
}

/* ---- properties --------------------------------------------------------------------------------------- */

/* A list of cpus or nodes as the bitmap systemd reads: bytes, lowest first. */
static int put_set(sd_bus_message *m, const char *key, const char *list)
{
	uint64_t bits[UNIT_CPU_WORDS];
	uint8_t bytes[UNIT_CPU_WORDS * 8];
	size_t n = 0;
	int r;

	if (cpulist_parse(list, bits, UNIT_CPU_WORDS, NULL))
		return -EINVAL;
	for (size_t i = 0; i < sizeof(bytes); i++) {
		bytes[i] = (uint8_t)(bits[i / 8] >> (i % 8 * 8));
		if (bytes[i])
			n = i + 1;
	}
	r = sd_bus_message_open_container(m, 'r', "sv");
	if (r >= 0)
		r = sd_bus_message_append_basic(m, 's', key);
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'v', "ay");
	if (r >= 0)
		r = sd_bus_message_append_array(m, 'y', bytes, n);
	if (r >= 0)
		r = sd_bus_message_close_container(m);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

static int put_command(sd_bus_message *m, const char *const *argv)
{
	char *copy[SERVICE_ARGS_MAX + 1];
	size_t n = 0;
	int r;

	for (; argv[n]; n++) {
		ENSURE(n < SERVICE_ARGS_MAX);
		copy[n] = xstrdup(argv[n]);
	}
	copy[n] = NULL;
	r = sd_bus_message_open_container(m, 'r', "sv");
	if (r >= 0)
		r = sd_bus_message_append_basic(m, 's', "ExecStart");
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'v', "a(sasb)");
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'a', "(sasb)");
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'r', "sasb");
	if (r >= 0)
		r = sd_bus_message_append_basic(m, 's', argv[0]);
	if (r >= 0)
		r = sd_bus_message_append_strv(m, copy);
	if (r >= 0)
		r = sd_bus_message_append(m, "b", 0);
	for (int i = 0; i < 4 && r >= 0; i++)
		r = sd_bus_message_close_container(m);
	while (n)
		free(copy[--n]);
	return r;
}

static int put_devices(sd_bus_message *m, const char *const *devices)
{
	int r = sd_bus_message_append(m, "(sv)", "DevicePolicy", "s", "closed");

	for (; *devices && r >= 0; devices++)
		r = sd_bus_message_append(m, "(sv)", "DeviceAllow", "a(ss)", 1, *devices, "rw");
	return r;
}

static int put_limits(sd_bus_message *m, const struct exec_task *task)
{
	int r = 0;

	if (task->mem_bytes)
		r = sd_bus_message_append(m, "(sv)(sv)", "MemoryMax", "t", task->mem_bytes, "MemorySwapMax", "t", UINT64_C(0));
	if (r >= 0)
		r = sd_bus_message_append(m, "(sv)", "TasksMax", "t", task->tasks_max ? (uint64_t)task->tasks_max : UINT64_MAX);
	if (task->cpu_percent && r >= 0)
		r = sd_bus_message_append(m, "(sv)", "CPUQuotaPerSecUSec", "t", (uint64_t)task->cpu_percent * 10000);
	if (task->cpus && r >= 0)
		r = put_set(m, "AllowedCPUs", task->cpus);
	if (task->cpus && r >= 0)
		r = put_set(m, "CPUAffinity", task->cpus);
	if (task->mems && !task->mems_preferred && r >= 0)
		r = put_set(m, "AllowedMemoryNodes", task->mems);
	if (task->devices && r >= 0)
		r = put_devices(m, task->devices);
	return r;
}

/* What every such service is. The shim tells how the task ended, so systemd need not: a failed
 * service is one whose shim could not run, or was killed. */
static int put_service(sd_bus_message *m, const struct exec_task *task, int lock_fd, int listen_fd, bool as_root)
{
	enum { SETGID = 1 << 6, SETUID = 1 << 7, OOM_SCORE_SHIM = -900 };
	int r = sd_bus_message_append(m, "(sv)(sv)(sv)(sv)(sv)(sv)(sv)", "Slice", "s", SERVICE_SLICE, "Description", "s",
			"sluis task", "Type", "s", "exec", "KillMode", "s", "control-group", "OOMPolicy", "s", "continue",
			"CollectMode", "s", "inactive-or-failed", "NoNewPrivileges", "b", 1);

	if (r >= 0)
		r = sd_bus_message_append(m, "(sv)(sv)(sv)", "StandardInputFileDescriptor", "h", lock_fd,
				"StandardOutputFileDescriptor", "h", listen_fd, "StandardError", "s", "null");
	/* Registered memory of fast networks counts as locked; files as for the agent. */
	if (r >= 0)
		r = sd_bus_message_append(m, "(sv)(sv)(sv)(sv)", "LimitMEMLOCK", "t", UINT64_MAX, "LimitMEMLOCKSoft", "t",
				UINT64_MAX, "LimitNOFILESoft", "t", UINT64_C(65536), "TimeoutStopUSec", "t",
				UINT64_C(10000000));
	if (r >= 0)
		r = sd_bus_message_append(m, "(sv)", "OOMScoreAdjust", "i", OOM_SCORE_SHIM);
	if (r >= 0 && (as_root || geteuid()))
		r = sd_bus_message_append(m, "(sv)", "CapabilityBoundingSet", "t", as_root ? (uint64_t)(SETGID | SETUID) : 0);
	if (r >= 0 && !as_root && geteuid()) {
		char user[16];

		(void)snprintf(user, sizeof(user), "%u", (unsigned)geteuid());
		r = sd_bus_message_append(m, "(sv)", "User", "s", user);
	}
	if (task->private_tmp && r >= 0)
		r = sd_bus_message_append(m, "(sv)", "PrivateTmp", "b", 1);
	return r;
}

/* ---- starting ------------------------------------------------------------------------------------------- */

static int wait_job(struct service_bus *bus, const char *name, struct err *err)
{
	int64_t until = mono_ms(mono_now()) + SERVICE_START_MS;

	for (;;) {
		int r = sd_bus_process(bus->bus, NULL);
		int64_t left = until - mono_ms(mono_now());

		if (bus->result[0])
			break;
		if (r < 0 || left <= 0)
			return 0; /* asked for, and not refused: the lock tells what became of it */
		if (!r)
			(void)sd_bus_wait(bus->bus, (uint64_t)left * 1000);
	}
	if (strcmp(bus->result, "done"))
		return err_set(err, ERR_SYS, "the service of '%s' did not start: %s", name, bus->result);
	return 0;
}

int service_start(struct service_bus *bus, const struct exec_task *task, const char *const *argv, int lock_fd,
		int listen_fd, bool as_root, struct err *err)
{
	sd_bus_error error = SD_BUS_ERROR_NULL;
	sd_bus_message *m = NULL, *reply = NULL;
	char service[SERVICE_NAME_BYTES];
	const char *job;
	int code = bus_alive(bus, err);
	int r;

	if (code)
		return code;
	service_name(task->name, service);
	r = sd_bus_message_new_method_call(bus->bus, &m, MANAGER, "StartTransientUnit");
	if (r >= 0)
		r = sd_bus_message_append(m, "ss", service, "fail");
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'a', "(sv)");
	if (r >= 0)
		r = put_service(m, task, lock_fd, listen_fd, as_root);
	if (r >= 0)
		r = put_limits(m, task);
	if (r >= 0)
		r = put_command(m, argv);
	if (r >= 0)
		r = sd_bus_message_close_container(m);
	if (r >= 0)
		r = sd_bus_message_append(m, "a(sa(sv))", 0);
	bus->job[0] = bus->result[0] = 0;
	if (r >= 0)
		r = sd_bus_call(bus->bus, m, 0, &error, &reply);
	if (r >= 0)
		r = sd_bus_message_read(reply, "o", &job);
	if (r >= 0) {
		(void)snprintf(bus->job, sizeof(bus->job), "%s", job);
		code = wait_job(bus, task->name, err);
	} else {
		code = bus_error(&error, r, "start", service, err);
	}
	sd_bus_error_free(&error);
	(void)sd_bus_message_unref(m);
	(void)sd_bus_message_unref(reply);
	return code;
}

/* One call whose only interesting failure is "there is no such unit", which is fine. */
static int tell(struct service_bus *bus, const char *name, bool kill, struct err *err)
{
	sd_bus_error error = SD_BUS_ERROR_NULL;
	char service[SERVICE_NAME_BYTES];
	int code = bus_alive(bus, err);
	int r;

	if (code)
		return code;
	service_name(name, service);
	if (kill)
		r = sd_bus_call_method(bus->bus, MANAGER, "KillUnit", &error, NULL, "ssi", service, "all", 9);
	else
		r = sd_bus_call_method(bus->bus, MANAGER, "ResetFailedUnit", &error, NULL, "s", service);
	if (r < 0 && !sd_bus_error_has_name(&error, "org.freedesktop.systemd1.NoSuchUnit") &&
			!sd_bus_error_has_name(&error, "org.freedesktop.systemd1.NoSuchProcess"))
		code = bus_error(&error, r, kill ? "kill" : "forget", service, err);
	sd_bus_error_free(&error);
	return code;
}

int service_kill(struct service_bus *bus, const char *name, struct err *err) { return tell(bus, name, true, err); }

int service_forget(struct service_bus *bus, const char *name, struct err *err) { return tell(bus, name, false, err); }

/* ---- the backend ------------------------------------------------------------------------------------------ */

static int systemd_open(struct exec_site *site, struct err *err)
{
	int code = service_bus_open(&site->bus, err);

	return code ? code : service_site(site->bus, site, err);
}

static int systemd_prepare(struct exec_site *site, const struct exec_task *task, struct buf *records, struct err *err)
{
	CLEANUP(buf_done) struct buf place = BUF_INIT;

	if (task->uid && task->uid != geteuid())
		return err_set(err, ERR_UNSUPPORTED, "'%s' is to run as another user, which needs sluis-execd", task->name);
	buf_addf(&place, "%s%s%s", site->cgroup_root, task->name, site->suffix);
	unit_put(records, "place", buf_cstr(&place));
	return 0;
}

static int systemd_launch(struct exec_site *site, const struct exec_launch *l, struct err *err)
{
	const char *const argv[] = {l->shim_path, "--service", l->task_path, NULL};

	return service_start(site->bus, l->task, argv, l->lock_fd, l->listen_fd, false, err);
}

static bool systemd_alive(struct exec_site *site, const struct exec_trace *trace)
{
	(void)site;
	return exec_cgroup_alive(trace->cgroup);
}

/* A service without its shim is being killed by systemd already (KillMode); this only hurries it. The
 * site may be of another backend, if the agent was configured anew. */
static void systemd_kill(struct exec_site *site, const struct exec_trace *trace)
{
	struct service_bus *bus = site->bus;

	if (!bus && service_bus_open(&bus, NULL))
		return;
	(void)!service_kill(bus, trace->name, NULL); /* alive() tells whether it worked */
	if (bus != site->bus)
		service_bus_close(bus);
}

static int systemd_forget(struct exec_site *site, const struct exec_trace *trace, struct err *err)
{
	if (exec_cgroup_alive(trace->cgroup))
		return err_set(err, ERR_BUSY, "the service of '%s' still has processes", trace->name);
	return site->bus ? service_forget(site->bus, trace->name, err) : 0;
}

const struct exec_ops exec_systemd_ops = {
	.name = "systemd",
	.open = systemd_open,
	.prepare = systemd_prepare,
	.launch = systemd_launch,
	.alive = systemd_alive,
	.kill = systemd_kill,
	.forget = systemd_forget,
};
