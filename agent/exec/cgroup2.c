/* cgroup2.c - one cgroup per task below a delegated one
 *
 * No process can leave, so cgroup.kill and "populated" are exact even when the shim is gone. Limits are
 * set where their controller is at hand; exec_caps() says which.
 * Source: Linux Documentation/admin-guide/cgroup-v2.rst, "Core Interface Files".
 */
#include "agent/exec/backend.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "agent/exec/devices.h"
#include "agent/exec/unit.h"
#include "proto/base/ensure.h"

int exec_cgroup_write(const char *dir, const char *file, const char *value)
{
	char path[PATH_MAX];
	ssize_t n;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	n = write(fd, value, strlen(value));
	(void)close(fd);
	return n == (ssize_t)strlen(value) ? 0 : -1;
}

unsigned exec_cgroup_caps(const char *controllers)
{
	static const struct {
		const char *name;
		unsigned cap;
	} known[] = {{"memory", EXEC_CAP_MEMORY}, {"cpuset", EXEC_CAP_CPUSET}, {"pids", EXEC_CAP_PIDS}, {"cpu", EXEC_CAP_CPU}};
	unsigned caps = 0;

	for (const char *at = controllers; *at; at += strspn(at, " \n")) {
		size_t n = strcspn(at, " \n");

		for (size_t i = 0; i < ARRAY_LEN(known); i++)
			if (strlen(known[i].name) == n && !strncmp(at, known[i].name, n))
				caps |= known[i].cap;
		at += n;
	}
	return caps;
}

static bool read_file(const char *dir, const char *file, char *ret_text, size_t bytes)
{
	char path[PATH_MAX];
	ssize_t n;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, ret_text, bytes - 1);
	(void)close(fd);
	ret_text[n > 0 ? n : 0] = 0;
	return n >= 0;
}

static void place_of(const struct exec_site *site, const char *name, char path[PATH_MAX])
{
	int n = snprintf(path, PATH_MAX, "%s/%s", site->cgroup_root, name);

	ENSURE(n < PATH_MAX); /* cgroup_open left room for a name */
}

static int cgroup_open(struct exec_site *site, struct err *err)
{
	char path[PATH_MAX];
	char text[256];
	struct statfs fs;
	char *real;

	if (!site->cgroup_root)
		return err_set(err, ERR_CONFIG, "the cgroup2 backend needs a cgroup root");
	if (mkdir(site->cgroup_root, 0755) && errno != EEXIST)
		return err_set_errno(err, ERR_UNSUPPORTED, "cannot make the cgroup '%s'", site->cgroup_root);
	real = realpath(site->cgroup_root, NULL);
	if (!real || strlen(real) + EXEC_NAME_BYTES + 32 > PATH_MAX) {
		free(real);
		return err_set(err, ERR_UNSUPPORTED, "cannot resolve '%s'", site->cgroup_root);
	}
	free(site->cgroup_root);
	site->cgroup_root = real;
	if (statfs(real, &fs) || fs.f_type != CGROUP2_SUPER_MAGIC)
		return err_set(err, ERR_UNSUPPORTED, "'%s' is not on a cgroup2 file system", real);
	(void)snprintf(path, sizeof(path), "%s/cgroup.kill", real);
	if (access(path, W_OK)) {
		(void)err_set_errno(err, ERR_UNSUPPORTED, "cannot write '%s'", path);
		(void)err_hint(err, "needs Linux 5.14 and a delegated cgroup that is not the root");
		return ERR_UNSUPPORTED;
	}
	/* Each on its own: one that is not on offer must not keep the others out. */
	(void)exec_cgroup_write(real, "cgroup.subtree_control", "+memory");
	(void)exec_cgroup_write(real, "cgroup.subtree_control", "+cpuset");
	(void)exec_cgroup_write(real, "cgroup.subtree_control", "+pids");
	(void)exec_cgroup_write(real, "cgroup.subtree_control", "+cpu");
	site->suffix = xstrdup("");
	site->caps = EXEC_CAP_TRACK | (device_filter_possible() ? EXEC_CAP_DEVICES : 0);
	if (read_file(real, "cgroup.subtree_control", text, sizeof(text)))
		site->caps |= exec_cgroup_caps(text);
	return 0;
}

static int cgroup_prepare(struct exec_site *site, const struct exec_task *task, struct buf *records,
		struct err *err)
{
	char place[PATH_MAX];
	char text[32];
	const char *failed = NULL;
	int code;

	place_of(site, task->name, place);
	/* One of this name is left from a unit whose directory is gone. Empty or not, rmdir knows. */
	if (mkdir(place, 0755) && (errno != EEXIST || rmdir(place) || mkdir(place, 0755)))
		return err_set_errno(err, errno == EBUSY ? ERR_BUSY : ERR_SYS, "cannot make the cgroup '%s'", place);
	(void)snprintf(text, sizeof(text), "%" PRIu64, task->mem_bytes);
	if (task->mem_bytes && (site->caps & EXEC_CAP_MEMORY)) {
		if (exec_cgroup_write(place, "memory.max", text))
			failed = "memory.max";
		if (!site->shim_inside)
			(void)exec_cgroup_write(place, "memory.oom.group", "1"); /* absent before Linux 4.19 */
	}
	(void)snprintf(text, sizeof(text), "%" PRIu32, task->tasks_max);
	if (task->tasks_max && (site->caps & EXEC_CAP_PIDS) && exec_cgroup_write(place, "pids.max", text))
		failed = "pids.max";
	(void)snprintf(text, sizeof(text), "%" PRIu64 " 100000", (uint64_t)task->cpu_percent * 1000);
	if (task->cpu_percent && (site->caps & EXEC_CAP_CPU) && exec_cgroup_write(place, "cpu.max", text))
		failed = "cpu.max";
	if (task->cpus && (site->caps & EXEC_CAP_CPUSET) && exec_cgroup_write(place, "cpuset.cpus", task->cpus))
		failed = "cpuset.cpus";
	if (task->mems && !task->mems_preferred && (site->caps & EXEC_CAP_CPUSET) && exec_cgroup_write(place, "cpuset.mems", task->mems))
		failed = "cpuset.mems";
	if (failed) {
		(void)err_set_errno(err, ERR_SYS, "cannot set %s of '%s'", failed, task->name);
		(void)rmdir(place);
		return ERR_SYS;
	}
	if (task->devices && (site->caps & EXEC_CAP_DEVICES) && (code = device_filter_attach(place, task->devices, err))) {
		(void)rmdir(place);
		return code;
	}
	unit_put(records, "cgroup", place);
	return 0;
}

bool exec_cgroup_alive(const char *cgroup)
{
	char text[256];

	if (!read_file(cgroup, "cgroup.events", text, sizeof(text)))
		return access(cgroup, F_OK) == 0; /* no cgroup: none in it; unreadable: assume the worst */
	return strstr(text, "populated 0") == NULL;
}

static bool cgroup_alive(struct exec_site *site, const struct exec_trace *trace)
{
	(void)site;
	return exec_cgroup_alive(trace->cgroup);
}

static void cgroup_kill(struct exec_site *site, const struct exec_trace *trace)
{
	(void)site;
	(void)exec_cgroup_write(trace->cgroup, "cgroup.kill", "1"); /* cgroup_alive tells whether it worked */
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)at;
	if (type == FTW_DP)
		(void)rmdir(path); /* the last one, of the place itself, is looked at below */
	return 0;
}

static int cgroup_forget(struct exec_site *site, const struct exec_trace *trace, struct err *err)
{
	(void)site;
	/* A task that may write here can have made cgroups of its own. */
	(void)nftw(trace->cgroup, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	if (!access(trace->cgroup, F_OK))
		return err_set(err, ERR_BUSY, "cannot remove the cgroup '%s'", trace->cgroup);
	return 0;
}

const struct exec_ops exec_cgroup2_ops = {
	.name = "cgroup2",
	.open = cgroup_open,
	.prepare = cgroup_prepare,
	.alive = cgroup_alive,
	.kill = cgroup_kill,
	.forget = cgroup_forget,
};
