/* exec.c - see exec.h; the files are described in unit.h
 *
 * In memory there is only what makes waiting cheap: the names, and a pidfd per live shim. Every answer
 * about a unit is read from its directory.
 *
 * Order of one start, and what a crash after each step leaves:
 *   write the intent into a slot           nothing (cleared by the next exec_open)
 *   make .new-NAME with task and sock      nothing, the same
 *   rename to NAME                         UNSTARTED: our lock on `task` dies with us
 *   sync the slots                         the same; after a crash of the machine LOST_REBOOT
 *   posix_spawn                            UNSTARTED until the shim writes its status, with its lock held
 */
#include "agent/exec/exec.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/exec/backend.h"
#include "agent/exec/procfs.h"
#include "agent/exec/service.h"
#include "agent/exec/unit.h"
#include "proto/base/buf.h"
#include "proto/base/ensure.h"
#include "proto/base/failpoint.h"
#include "proto/base/instant.h"

enum {
	BATCH_MAX = 64,           /* starts that share one sync; two descriptors each meanwhile */
	ANSWER_MS = 1000,         /* what we wait for a shim */
	STOPPED_MS = 100,         /* and for one that somebody has stopped */
	BELL_FULL_BYTES = 60000,  /* of the 64 KiB a pipe holds: some may have been turned away */
	SPARE_FD = 10,
	SPARES_MAX = 64, /* directories of released units, to be used again */
	SLOTS_GROW = 256,
	BOOT_ID_BYTES = 40,
};

struct known {
	char name[EXEC_NAME_BYTES];
	uint64_t hash;
	int pidfd; /* of the shim, or -1 */
	int listen_fd; /* of the unit's socket, so that it can be used again; or -1 */
	int64_t slot; /* -1: none, made by hand */
	bool changed;
	bool leaving; /* released, but its shim has yet to be waited for */
	struct known *next; /* of the changed, or of the leaving */
};

struct exec {
	const struct exec_ops *ops;
	struct exec_site site;
	char *run_dir;
	char *shim_path;
	uint64_t report_bytes_max;
	char boot_id[BOOT_ID_BYTES];
	int lock_fd, units_fd, bell_fd, epoll_fd, null_fd, slots_fd;
	bool *slot_used;
	size_t n_slots;
	uint64_t nonce;
	struct known **known;
	size_t n, cap;
	struct known *changed_first, *changed_last;
	struct known *leaving;
	struct spare { unsigned number; int listen_fd; } spares[SPARES_MAX];
	size_t spares_n;
	unsigned spare_next;
	char bell[EXEC_NAME_BYTES + 1]; /* a name the last read cut in two */
	size_t bell_len;
};

/* A start between its two halves. */
struct prep {
	const struct exec_task *task;
	int lock_fd, listen_fd;
	uint64_t nonce;
};

static void close_fd(int *fd)
{
	int kept = errno;

	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
	errno = kept;
}

/* ---- slots: what outlives the machine ---------------------------------------------------------------- */

/* Written and synced zeros: from then on a write there changes data alone. */
static int slots_grow(struct exec *exec, struct err *err)
{
	static const uint8_t zeros[UNIT_SLOT_BYTES];

	for (size_t i = 0; i < SLOTS_GROW; i++)
		if (pwrite(exec->slots_fd, zeros, sizeof(zeros), (off_t)((exec->n_slots + i) * sizeof(zeros))) !=
				(ssize_t)sizeof(zeros))
			return err_set_errno(err, errno == ENOSPC ? ERR_NOSPACE : ERR_IO, "cannot grow the slots");
	if (fsync(exec->slots_fd))
		return err_set_errno(err, ERR_IO, "cannot sync the slots");
	exec->slot_used = xrealloc(exec->slot_used, exec->n_slots + SLOTS_GROW);
	memset(exec->slot_used + exec->n_slots, 0, SLOTS_GROW);
	exec->n_slots += SLOTS_GROW;
	return 0;
}

static int slot_take(struct exec *exec, const char *name, size_t *ret_slot, struct err *err)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	size_t slot = 0;
	int code;

	while (slot < exec->n_slots && exec->slot_used[slot])
		slot++;
	if (slot == exec->n_slots && (code = slots_grow(exec, err)))
		return code;
	exec->nonce++;
	unit_put(&b, "unit", name);
	unit_put(&b, "boot", exec->boot_id);
	unit_put_u64(&b, "nonce", exec->nonce);
	code = unit_slot_begin(exec->slots_fd, slot, &b, err);
	if (code)
		return code;
	exec->slot_used[slot] = true;
	*ret_slot = slot;
	return 0;
}

static void slot_give(struct exec *exec, size_t slot)
{
	const struct buf none = BUF_INIT;

	exec->slot_used[slot] = false;
	/* A failed write leaves an intent without directory, which exec_open clears or calls LOST. */
	(void)!unit_slot_begin(exec->slots_fd, slot, &none, NULL);
}

/* ---- what we know ---------------------------------------------------------------------------------- */

static uint64_t name_hash(const char *name)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */

	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * UINT64_C(0x100000001b3);
	return h;
}

static struct known *known_find(const struct exec *exec, const char *name)
{
	uint64_t hash = name_hash(name);

	for (size_t i = 0; i < exec->n; i++)
		if (exec->known[i]->hash == hash && !strcmp(exec->known[i]->name, name))
			return exec->known[i];
	return NULL;
}

static struct known *known_add(struct exec *exec, const char *name)
{
	struct known *k = xcalloc(1, sizeof(*k));

	ENSURE(strlen(name) < sizeof(k->name));
	memcpy(k->name, name, strlen(name) + 1);
	k->hash = name_hash(name);
	k->pidfd = -1;
	k->listen_fd = -1;
	k->slot = -1;
	if (exec->n == exec->cap) {
		exec->cap = exec->cap ? exec->cap * 2 : 64;
		exec->known = xrealloc(exec->known, exec->cap * sizeof(struct known *));
	}
	exec->known[exec->n++] = k;
	return k;
}

static void known_changed(struct exec *exec, struct known *k)
{
	if (k->changed)
		return;
	k->changed = true;
	k->next = NULL;
	if (exec->changed_last)
		exec->changed_last->next = k;
	else
		exec->changed_first = k;
	exec->changed_last = k;
}

static void known_unwatch(struct exec *exec, struct known *k)
{
	if (k->pidfd < 0)
		return;
	(void)epoll_ctl(exec->epoll_fd, EPOLL_CTL_DEL, k->pidfd, NULL); /* closing alone leaves it if duplicated */
	close_fd(&k->pidfd);
}

/* False while it still runs. One that is another agent's child is init's to wait for. */
static bool shim_reaped(const struct known *k)
{
	siginfo_t info = {0};

	if (waitid(P_PIDFD, (id_t)k->pidfd, &info, WEXITED | WNOHANG))
		return true;
	return info.si_pid != 0;
}

static void known_drop(struct exec *exec, struct known *k)
{
	struct known **at = &exec->changed_first;
	struct known *last = NULL;

	for (; *at && *at != k; at = &(*at)->next)
		last = *at;
	if (*at) {
		*at = k->next;
		if (exec->changed_last == k)
			exec->changed_last = last;
	}
	if (k->slot >= 0)
		slot_give(exec, (size_t)k->slot);
	close_fd(&k->listen_fd);
	for (size_t i = 0; i < exec->n; i++)
		if (exec->known[i] == k) {
			exec->known[i] = exec->known[--exec->n];
			break;
		}
	if (k->pidfd >= 0 && !shim_reaped(k)) {
		k->leaving = true;
		k->next = exec->leaving;
		exec->leaving = k;
		return;
	}
	known_unwatch(exec, k);
	free(k);
}

/* Learn of the end of a shim. Without a descriptor to spare its bell still tells of everything but its
 * being killed, and exec_status of that. */
static void known_watch(struct exec *exec, struct known *k, pid_t shim)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = k};

	k->pidfd = (int)syscall(SYS_pidfd_open, shim, 0);
	if (k->pidfd >= 0 && epoll_ctl(exec->epoll_fd, EPOLL_CTL_ADD, k->pidfd, &event))
		close_fd(&k->pidfd);
}

/* ---- directories -------------------------------------------------------------------------------------- */

/* Remove `name` below dirfd and all in it, as far as it goes: what a task left there may be anything. */
static int remove_tree(int dirfd, const char *name)
{
	struct dirent *e;
	DIR *dir;
	int fd;

	if (!unlinkat(dirfd, name, 0) || errno == ENOENT)
		return 0;
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		close_fd(&fd);
		return -1;
	}
	while ((e = readdir(dir)))
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			(void)remove_tree(fd, e->d_name); /* the rmdir below tells */
	(void)closedir(dir);
	return unlinkat(dirfd, name, AT_REMOVEDIR);
}

static int unit_dir(const struct exec *exec, const char *name)
{
	return openat(exec->units_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static void spare_name(unsigned number, char ret[EXEC_NAME_BYTES])
{
	(void)snprintf(ret, EXEC_NAME_BYTES, ".spare-%u", number);
}

static void spare_drop(struct exec *exec, struct spare *s)
{
	char name[EXEC_NAME_BYTES];

	spare_name(s->number, name);
	close_fd(&s->listen_fd);
	(void)remove_tree(exec->units_fd, name); /* the next exec_open, if not now */
}

/* Is the shim (or a starting agent) alive? Ask this before reading what it writes. */
static bool lock_held(int dir)
{
	int fd = openat(dir, "task", O_RDONLY | O_CLOEXEC);
	bool held = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK;

	close_fd(&fd);
	return held;
}

/* ---- opening -------------------------------------------------------------------------------------------- */

static int read_boot_id(char ret[BOOT_ID_BYTES], struct err *err)
{
	FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
	bool ok = f && fgets(ret, BOOT_ID_BYTES, f);

	if (f)
		(void)fclose(f);
	if (!ok)
		return err_set(err, ERR_SYS, "cannot read the boot id");
	ret[strcspn(ret, "\n")] = 0;
	return 0;
}

static int open_dirs(struct exec *exec, const char *run_dir, struct err *err)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
	int fd;

	if (mkdir(run_dir, 0700) && errno != EEXIST)
		return err_set_errno(err, ERR_SYS, "cannot make '%s'", run_dir);
	exec->run_dir = realpath(run_dir, NULL);
	fd = exec->run_dir ? open(exec->run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (fd < 0)
		return err_set_errno(err, ERR_SYS, "cannot open '%s'", run_dir);
	if (strlen(exec->run_dir) + EXEC_NAME_BYTES + 32 > PATH_MAX) {
		close_fd(&fd);
		return err_set(err, ERR_RANGE, "the path of the run dir is too long");
	}
	exec->lock_fd = openat(fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (exec->lock_fd < 0 || flock(exec->lock_fd, LOCK_EX | LOCK_NB)) {
		int code = exec->lock_fd >= 0 && errno == EWOULDBLOCK ? ERR_BUSY : ERR_SYS;

		close_fd(&fd);
		return err_set_errno(err, code, "cannot lock '%s'", run_dir);
	}
	if ((mkdirat(fd, "units", 0700) && errno != EEXIST) || (mkfifoat(fd, "bell", 0600) && errno != EEXIST) ||
			fsync(fd)) {
		close_fd(&fd);
		return err_set_errno(err, ERR_IO, "cannot set up '%s'", run_dir);
	}
	exec->units_fd = openat(fd, "units", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	exec->slots_fd = openat(fd, "slots", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	exec->bell_fd = openat(fd, "bell", O_RDWR | O_NONBLOCK | O_CLOEXEC); /* RDWR: never at its end */
	close_fd(&fd);
	exec->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	exec->null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (exec->units_fd < 0 || exec->slots_fd < 0 || exec->bell_fd < 0 || exec->epoll_fd < 0 || exec->null_fd < 0 ||
			epoll_ctl(exec->epoll_fd, EPOLL_CTL_ADD, exec->bell_fd, &event))
		return err_set_errno(err, ERR_SYS, "cannot open what is in '%s'", run_dir);
	return 0;
}

/* Which slot a unit says it has; -1 if that cannot be. */
static int64_t slot_of(const struct exec *exec, const char *name)
{
	CLEANUP(buf_done) struct buf task = BUF_INIT;
	CLEANUP(close_fd) int dir = unit_dir(exec, name);
	uint64_t slot;

	if (dir < 0 || unit_read(dir, "task", &task, EXEC_TASK_BYTES_MAX + 65536, NULL) || !unit_get(&task, "slot"))
		return -1;
	slot = unit_get_u64(&task, "slot");
	return slot < exec->n_slots ? (int64_t)slot : -1;
}

/* An intent of another boot: make its directory say what the slot says. The directory may be whole, torn
 * or absent. */
static int restore(struct exec *exec, size_t slot, const struct buf *intent, struct err *err)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	CLEANUP(close_fd) int dir = -1;
	const char *name = unit_get(intent, "unit");
	const char *nonce = unit_get(intent, "nonce");

	if (mkdirat(exec->units_fd, name, 0700) && errno != EEXIST)
		return err_set_errno(err, ERR_IO, "cannot make a directory for '%s'", name);
	dir = unit_dir(exec, name);
	if (dir < 0)
		return err_set_errno(err, ERR_IO, "cannot open the directory of '%s'", name);
	if (unit_read(dir, "task", &b, EXEC_TASK_BYTES_MAX + 65536, NULL) || !unit_get(&b, "nonce") ||
			strcmp(unit_get(&b, "nonce"), nonce)) {
		buf_reset(&b);
		buf_add(&b, intent->data, intent->len);
		unit_put_u64(&b, "slot", slot);
		return unit_write(dir, "task", &b, err);
	}
	return 0;
}

/* On this boot the directories are right and a slot without one is a start or a release cut short. Of
 * another boot only the slots are. */
static int open_slots(struct exec *exec, struct err *err)
{
	CLEANUP(buf_done) struct buf intent = BUF_INIT;
	CLEANUP(buf_done) struct buf task = BUF_INIT;
	struct stat st;

	if (fstat(exec->slots_fd, &st))
		return err_set_errno(err, ERR_IO, "cannot look at the slots");
	exec->n_slots = (size_t)st.st_size / UNIT_SLOT_BYTES;
	exec->slot_used = xcalloc(exec->n_slots, sizeof(bool));
	exec->nonce = (uint64_t)wall_now().ns; /* unlike any before, also for a name that is used again */
	for (size_t slot = 0; slot < exec->n_slots; slot++) {
		CLEANUP(close_fd) int dir = -1;
		bool same_boot;
		int code;

		if (unit_part_get(exec->slots_fd, slot, UNIT_INTENT, &intent, NULL) || !unit_get(&intent, "unit") ||
				!unit_get(&intent, "boot") || !unit_get(&intent, "nonce") ||
				unit_name_check(unit_get(&intent, "unit"), NULL))
			continue; /* empty, or torn before its sync: nothing was started on it */
		same_boot = !strcmp(unit_get(&intent, "boot"), exec->boot_id);
		dir = unit_dir(exec, unit_get(&intent, "unit"));
		if (dir >= 0 && !unit_read(dir, "task", &task, EXEC_TASK_BYTES_MAX + 65536, NULL) &&
				unit_get(&task, "boot") && !strcmp(unit_get(&task, "boot"), exec->boot_id)) {
			if (!same_boot || unit_get_u64(&task, "slot") != slot)
				slot_give(exec, slot); /* the name was released and is used again */
		} else if (same_boot) {
			slot_give(exec, slot);
		} else {
			code = restore(exec, slot, &intent, err);
			if (code)
				return code;
		}
	}
	return exec->n_slots ? 0 : slots_grow(exec, err);
}

/* Watch the shim of a unit that another process started. The lock says that it lives; number and start
 * time say that the pidfd is of no other process. */
static void reattach(struct exec *exec, struct known *k)
{
	CLEANUP(buf_done) struct buf status = BUF_INIT;
	CLEANUP(close_fd) int dir = unit_dir(exec, k->name);
	struct proc shim;
	pid_t pid;

	if (dir < 0 || k->slot < 0 || !lock_held(dir) ||
			unit_part_get(exec->slots_fd, (uint64_t)k->slot, UNIT_STATUS, &status, NULL))
		return;
	pid = (pid_t)unit_get_u64(&status, "shim");
	if (pid <= 0)
		return;
	known_watch(exec, k, pid);
	if (k->pidfd >= 0 && (!proc_read(pid, &shim) || shim.start != unit_get_u64(&status, "shim_start")))
		known_unwatch(exec, k);
}

static int scan_units(struct exec *exec, struct err *err)
{
	int fd = openat(exec->units_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!dir) {
		close_fd(&fd);
		return err_set_errno(err, ERR_IO, "cannot list the units");
	}
	while ((e = readdir(dir))) {
		if (!strncmp(e->d_name, ".new-", 5) || !strncmp(e->d_name, ".old-", 5) || !strncmp(e->d_name, ".spare-", 7)) {
			(void)remove_tree(exec->units_fd, e->d_name); /* next time, if not now */
		} else if (!unit_name_check(e->d_name, NULL)) {
			struct known *k = known_add(exec, e->d_name);

			k->slot = slot_of(exec, k->name);
			if (k->slot >= 0)
				exec->slot_used[k->slot] = true;
			reattach(exec, k);
			known_changed(exec, k);
		}
	}
	(void)closedir(dir);
	return 0;
}

static const struct exec_ops *const backends[] = {
	[EXEC_PLAIN] = &exec_plain_ops,
	[EXEC_CGROUP2] = &exec_cgroup2_ops,
	[EXEC_SYSTEMD] = &exec_systemd_ops,
	[EXEC_EXECD] = &exec_execd_ops,
};

/* Tasks of other users find their notice by its path; what else is here stays closed by its own mode. */
static int open_for_users(struct exec *exec, struct err *err)
{
	if (exec->ops == &exec_execd_ops && (chmod(exec->run_dir, 0711) || fchmod(exec->units_fd, 0711)))
		return err_set_errno(err, ERR_SYS, "cannot let users pass '%s'", exec->run_dir);
	return 0;
}

int exec_open(const struct exec_cfg *cfg, struct exec **ret_exec, struct err *err)
{
	struct exec *exec = xcalloc(1, sizeof(*exec));
	int code;

	exec->lock_fd = exec->units_fd = exec->bell_fd = exec->epoll_fd = exec->null_fd = exec->slots_fd = -1;
	exec->ops = backends[cfg->backend];
	exec->report_bytes_max = cfg->report_bytes_max ? cfg->report_bytes_max : UINT64_C(64) << 20;
	exec->shim_path = realpath(cfg->shim_path, NULL);
	if (cfg->cgroup_root)
		exec->site.cgroup_root = xstrdup(cfg->cgroup_root);
	if (cfg->execd_socket)
		exec->site.execd_socket = xstrdup(cfg->execd_socket);
	if (!exec->shim_path || access(exec->shim_path, X_OK))
		code = err_set_errno(err, ERR_UNSUPPORTED, "cannot execute the shim '%s'", cfg->shim_path);
	else
		code = read_boot_id(exec->boot_id, err);
	if (!code)
		code = open_dirs(exec, cfg->run_dir, err);
	if (!code)
		code = exec->ops->open(&exec->site, err);
	if (!code)
		code = open_for_users(exec, err);
	if (!code)
		code = open_slots(exec, err);
	if (!code)
		code = scan_units(exec, err);
	if (code) {
		exec_close(exec);
		return code;
	}
	*ret_exec = exec;
	return 0;
}

void exec_close(struct exec *exec)
{
	if (!exec)
		return;
	for (size_t i = 0; i < exec->n; i++) {
		close_fd(&exec->known[i]->pidfd);
		close_fd(&exec->known[i]->listen_fd);
		free(exec->known[i]);
	}
	free(exec->known);
	while (exec->spares_n > 0)
		spare_drop(exec, &exec->spares[--exec->spares_n]);
	while (exec->leaving) {
		struct known *k = exec->leaving;

		exec->leaving = k->next;
		close_fd(&k->pidfd);
		free(k);
	}
	close_fd(&exec->epoll_fd);
	close_fd(&exec->bell_fd);
	close_fd(&exec->units_fd);
	close_fd(&exec->null_fd);
	close_fd(&exec->slots_fd);
	free(exec->slot_used);
	close_fd(&exec->lock_fd);
	service_bus_close(exec->site.bus);
	free(exec->site.cgroup_root);
	free(exec->site.execd_socket);
	free(exec->site.suffix);
	free(exec->run_dir);
	free(exec->shim_path);
	free(exec);
}

unsigned exec_caps(const struct exec *exec) { return exec->site.caps; }
size_t exec_count(const struct exec *exec) { return exec->n; }
int exec_wait_fd(const struct exec *exec) { return exec->epoll_fd; }

/* ---- starting --------------------------------------------------------------------------------------------- */

static int check_task(const struct exec_task *task, struct err *err)
{
	uint64_t bits[UNIT_CPU_WORDS];
	size_t bytes = 0;
	int code = unit_name_check(task->name, err);

	if (code)
		return code;
	if (!task->argv || !task->argv[0] || !task->argv[0][0])
		return err_set(err, ERR_INVAL, "'%s' has no command", task->name);
	if (task->stderr_to_stdout && task->stderr_path)
		return err_set(err, ERR_INVAL, "'%s' names a file for stderr and wants it in stdout", task->name);
	if (task->cwd && task->cwd[0] != '/')
		return err_set(err, ERR_INVAL, "the working directory '%s' is not absolute", task->cwd);
	if ((task->cpus && (code = cpulist_parse(task->cpus, bits, UNIT_CPU_WORDS, err))) ||
			(task->mems && (code = cpulist_parse(task->mems, bits, UNIT_CPU_WORDS / 8, err))))
		return code;
	if (task->scratch && (task->scratch[0] != '/' || strlen(task->scratch) + EXEC_NAME_BYTES + 8 > PATH_MAX))
		return err_set(err, ERR_INVAL, "the scratch folder '%.80s' is not absolute, or too long", task->scratch);
	for (size_t i = 0; i < task->files_n; i++) {
		code = task->scratch ? unit_name_check(task->files[i].name + (task->files[i].name[0] == '.'), err) :
				       err_set(err, ERR_INVAL, "'%s' has files and no scratch folder", task->name);
		if (code)
			return code;
		bytes += strlen(task->files[i].text) + 80;
	}
	for (const char *const *s = task->argv; *s && bytes <= EXEC_TASK_BYTES_MAX; s++)
		bytes += strlen(*s) + 5;
	for (const char *const *s = task->env; s && *s && bytes <= EXEC_TASK_BYTES_MAX; s++) {
		if (!strchr(*s, '='))
			return err_set(err, ERR_INVAL, "'%.80s' in the environment is no assignment", *s);
		bytes += strlen(*s) + 5;
	}
	if (bytes > EXEC_TASK_BYTES_MAX)
		return err_set(err, ERR_TOOBIG, "command, files and environment of '%s' exceed %d bytes", task->name,
				EXEC_TASK_BYTES_MAX);
	return 0;
}

static void put_env(struct buf *b, const char *key, const char *value)
{
	buf_add(b, "env=", 4);
	unit_put(b, key, value);
}

static bool sets(const char *assignment, const char *key)
{
	size_t n = strlen(key);

	return !strncmp(assignment, key, n) && assignment[n] == '=';
}

static void describe(const struct exec *exec, const struct exec_task *task, size_t slot, struct buf *b)
{
	char path[PATH_MAX];
	const char *out = task->stdout_path;
	const char *err = task->stderr_path;
	char number[8];
	char key[24];

	unit_put(b, "unit", task->name);
	unit_put(b, "boot", exec->boot_id);
	unit_put_u64(b, "slot", slot);
	unit_put_u64(b, "nonce", exec->nonce);
	unit_put(b, "backend", exec->ops->name);
	(void)snprintf(path, sizeof(path), "%s/slots", exec->run_dir);
	unit_put(b, "slots", path);
	(void)snprintf(path, sizeof(path), "%s/bell", exec->run_dir);
	unit_put(b, "bell", path);
	unit_put(b, "cwd", task->cwd ? task->cwd : "/");
	unit_put(b, "stdin", task->stdin_path ? task->stdin_path : "/dev/null");
	(void)snprintf(path, sizeof(path), "%s/units/%s/stdout", exec->run_dir, task->name);
	unit_put(b, "stdout", out ? out : path);
	if (!out)
		unit_put(b, "own_out", "1");
	if (out && task->agent_stdout)
		unit_put(b, "own_out", "1");
	if (!err && (out || task->stderr_to_stdout)) {
		unit_put(b, "stderr", out ? out : path);
	} else {
		(void)snprintf(path, sizeof(path), "%s/units/%s/stderr", exec->run_dir, task->name);
		unit_put(b, "stderr", err ? err : path);
		if (!err || task->agent_stderr)
			unit_put(b, "own_err", "1");
	}
	if (task->truncate_before_ns > 0)
		unit_put_u64(b, "truncate_before", (uint64_t)task->truncate_before_ns);
	if (task->kill_rest)
		unit_put(b, "kill_rest", "1");
	if (task->cpus)
		unit_put(b, "cpus", task->cpus);
	if (task->mems)
		unit_put(b, "mems", task->mems);
	if (task->mems && task->mems_preferred)
		unit_put(b, "mems_preferred", "1");
	if (task->scratch)
		unit_put(b, "scratch", task->scratch);
	for (size_t i = 0; i < task->files_n; i++) {
		char file[EXEC_NAME_BYTES + 2];

		(void)snprintf(file, sizeof(file), "%s%s", task->files[i].name, task->files[i].executable ? "*" : "");
		unit_put(b, "file", file);
		unit_put(b, "text", task->files[i].text);
	}
	unit_put_u64(b, "report_max", exec->report_bytes_max);
	for (const char *const *s = task->argv; *s; s++)
		unit_put(b, "arg", *s);
	for (const char *const *s = task->env; s && *s; s++)
		if (!sets(*s, "SLUIS_UNIT") && !sets(*s, "SLUIS_UNIT_KEY") && !sets(*s, "SLUIS_NOTICE_FD") &&
				!sets(*s, "SLUIS_NOTICE_FILE") && !sets(*s, "SLUIS_REPORT_FD"))
			unit_put(b, "env", *s);
	put_env(b, "SLUIS_UNIT", task->name);
	(void)snprintf(key, sizeof(key), "%" PRIu64, exec->nonce);
	put_env(b, "SLUIS_UNIT_KEY", key);
	(void)snprintf(number, sizeof(number), "%d", UNIT_NOTICE_FD);
	put_env(b, "SLUIS_NOTICE_FD", number);
	(void)snprintf(path, sizeof(path), "%s/units/%s/notice", exec->run_dir, task->name);
	put_env(b, "SLUIS_NOTICE_FILE", path);
	(void)snprintf(number, sizeof(number), "%d", UNIT_REPORT_FD);
	put_env(b, "SLUIS_REPORT_FD", number);
}

/* A directory's path may exceed the 108 bytes of sun_path; its descriptor does not. */
static struct sockaddr_un sock_address(int dir)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	(void)snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/sock", dir);
	return a;
}

static int listen_in(int dir)
{
	struct sockaddr_un a = sock_address(dir);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	/* The mode before the name: nobody else ever finds it open. */
	if (fd >= 0 && (fchmod(fd, 0600) || bind(fd, (const struct sockaddr *)&a, sizeof(a)) || listen(fd, 16)))
		close_fd(&fd);
	return fd;
}

/* ---- directories that are used again ---- */

/* Making and removing files is most of what a quick task costs (ext4 looks for an inode that was not freed
 * lately, one by one), so the directory of a released unit, with `task` and bound socket, becomes the next
 * one's. Nothing of the old unit may reach the new: its shim has left (the lock is free), nothing else is in
 * the directory, and no request waits in the socket. Whatever is not so is removed instead. */

static bool only_task_and_sock(int dir)
{
	int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *e;
	bool ok = list != NULL;

	if (!list)
		close_fd(&copy);
	while (list && ok && (e = readdir(list)))
		ok = !strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || !strcmp(e->d_name, "task") || !strcmp(e->d_name, "sock");
	if (list)
		(void)closedir(list);
	return ok;
}

static bool quiet(int listen_fd)
{
	struct pollfd p = {.fd = listen_fd, .events = POLLIN};

	return poll(&p, 1, 0) == 0;
}

/* Put the directory of `k` aside. False, and nothing is changed, if it is not fit for that. */
static bool spare_keep(struct exec *exec, struct known *k)
{
	CLEANUP(close_fd) int dir = -1;
	char spare[EXEC_NAME_BYTES];

	if (k->listen_fd < 0 || exec->spares_n == SPARES_MAX)
		return false;
	dir = unit_dir(exec, k->name);
	if (dir < 0 || lock_held(dir) || !only_task_and_sock(dir) || !quiet(k->listen_fd))
		return false;
	spare_name(++exec->spare_next, spare);
	if (renameat(exec->units_fd, k->name, exec->units_fd, spare))
		return false;
	exec->spares[exec->spares_n++] = (struct spare){exec->spare_next, k->listen_fd};
	k->listen_fd = -1;
	return true;
}

/* One that is put aside, with its socket; its name goes to `ret`. -1 if there is none. */
static int spare_take(struct exec *exec, char ret[EXEC_NAME_BYTES])
{
	while (exec->spares_n > 0) {
		struct spare s = exec->spares[--exec->spares_n];

		spare_name(s.number, ret);
		if (quiet(s.listen_fd)) /* nobody but us knows the name, but it could be listed */
			return s.listen_fd;
		spare_drop(exec, &s);
	}
	return -1;
}

/* First half: everything on disk but the sync. */
static int prepare(struct exec *exec, const struct exec_task *task, struct prep *ret_prep, struct err *err)
{
	CLEANUP(buf_done) struct buf records = BUF_INIT;
	CLEANUP(close_fd) int dir = -1;
	struct exec_trace trace = {.name = task->name};
	char fresh[EXEC_NAME_BYTES + 8];
	size_t slot;
	int spare = -1;
	int code = check_task(task, err);

	*ret_prep = (struct prep){.task = task, .lock_fd = -1, .listen_fd = -1};
	if (code)
		return code;
	if (known_find(exec, task->name))
		return err_set(err, ERR_EXISTS, "the unit '%s' was started before", task->name);
	if (exec->n >= EXEC_UNITS_MAX)
		return err_set(err, ERR_NOROOM, "%d units are known; release some", EXEC_UNITS_MAX);
	code = slot_take(exec, task->name, &slot, err);
	if (code)
		return code;
	ret_prep->nonce = exec->nonce;
	describe(exec, task, slot, &records);
	code = exec->ops->prepare(&exec->site, task, &records, err);
	if (code) {
		slot_give(exec, slot);
		return code;
	}
	spare = spare_take(exec, fresh);
	if (spare < 0)
		(void)snprintf(fresh, sizeof(fresh), ".new-%s", task->name);
	if ((spare < 0 && mkdirat(exec->units_fd, fresh, 0700) &&
			(errno != EEXIST || remove_tree(exec->units_fd, fresh) ||
				mkdirat(exec->units_fd, fresh, 0700))) ||
			(dir = unit_dir(exec, fresh)) < 0)
		code = err_set_errno(err, errno == ENOSPC ? ERR_NOSPACE : ERR_IO, "cannot make a directory for '%s'",
				task->name);
	if (!code)
		code = spare < 0 ? unit_write(dir, "task", &records, err) : unit_overwrite(dir, "task", &records, err);
	if (!code && (spare >= 0 || unit_get(&records, "notice_for_all")) &&
			fchmod(dir, unit_get(&records, "notice_for_all") ? 0711 : 0700))
		code = err_set_errno(err, ERR_SYS, "cannot open the directory of '%s'", task->name);
	if (!code) {
		/* Above the numbers they get in the shim, so that dup2 there hits neither. */
		int lock = openat(dir, "task", O_RDONLY | O_CLOEXEC);
		int sock = spare >= 0 ? fcntl(spare, F_DUPFD_CLOEXEC, 0) : listen_in(dir);

		ret_prep->lock_fd = lock < 0 ? -1 : fcntl(lock, F_DUPFD_CLOEXEC, SPARE_FD);
		ret_prep->listen_fd = sock < 0 ? -1 : fcntl(sock, F_DUPFD_CLOEXEC, SPARE_FD);
		if (ret_prep->lock_fd < 0 || ret_prep->listen_fd < 0 || flock(lock, LOCK_EX | LOCK_NB))
			code = err_set_errno(err, ERR_SYS, "cannot make lock and socket of '%s'", task->name);
		close_fd(&lock);
		close_fd(&sock);
	}
	FAILPOINT("exec.start.drafted");
	if (!code && renameat2(exec->units_fd, fresh, exec->units_fd, task->name, RENAME_NOREPLACE))
		code = err_set_errno(err, errno == EEXIST ? ERR_EXISTS : ERR_IO, "cannot name the directory of '%s'",
				task->name);
	if (code) {
		trace.cgroup = unit_get(&records, "cgroup");
		close_fd(&ret_prep->lock_fd);
		close_fd(&ret_prep->listen_fd);
		close_fd(&spare);
		(void)remove_tree(exec->units_fd, fresh);
		if (trace.cgroup)
			(void)exec->ops->forget(&exec->site, &trace, NULL); /* empty; the next start of the name clears it too */
		slot_give(exec, slot);
		return code;
	}
	known_add(exec, task->name)->slot = (int64_t)slot;
	if (spare < 0 && exec->n <= SPARES_MAX * 4) /* more live at a time than will ever be kept */
		spare = fcntl(ret_prep->listen_fd, F_DUPFD_CLOEXEC, SPARE_FD);
	known_find(exec, task->name)->listen_fd = spare;
	return 0;
}

/* Its directory and what we know; the place is somebody else's matter by now. */
static int remove_unit(struct exec *exec, const char *name, struct err *err)
{
	struct known *k = known_find(exec, name);
	char old[EXEC_NAME_BYTES + 8];

	if (k && spare_keep(exec, k)) {
		known_drop(exec, k);
		return 0;
	}
	/* Out of the way in one step: a half-removed unit would read as a lost one. */
	(void)snprintf(old, sizeof(old), ".old-%s", name);
	(void)remove_tree(exec->units_fd, old); /* only there if an earlier release was cut short */
	FAILPOINT("exec.release.before_rename");
	/* A full disk may have no room for another name. Nobody asks for a release again, so it goes where it is: cut
	 * short there, it reads as lost to the next agent, which releases it. */
	if (renameat(exec->units_fd, name, exec->units_fd, old) && remove_tree(exec->units_fd, name))
		return err_set_errno(err, ERR_IO, "cannot remove the directory of '%s'", name);
	FAILPOINT("exec.release.after_rename");
	if (k)
		known_drop(exec, k);
	(void)remove_tree(exec->units_fd, old); /* the rest is for the next exec_open */
	return 0;
}

static void undo(struct exec *exec, struct prep *prep)
{
	const char *name = prep->task->name;

	close_fd(&prep->lock_fd);
	close_fd(&prep->listen_fd);
	/* UNSTARTED now; if it stays, that is what it says. A place made by others, and perhaps another's, is
	 * not touched. */
	(void)!(exec->ops->launch ? remove_unit(exec, name, NULL) : exec_release(exec, name, NULL));
}

/* Second half, by systemd or execd. Nothing is known of the shim until it writes its status. */
static int launch_elsewhere(struct exec *exec, struct prep *prep, struct err *err)
{
	char path[PATH_MAX];
	const struct exec_launch l = {.task = prep->task, .shim_path = exec->shim_path, .task_path = path,
		.lock_fd = prep->lock_fd, .listen_fd = prep->listen_fd};
	int code;

	(void)snprintf(path, sizeof(path), "%s/units/%s/task", exec->run_dir, prep->task->name);
	code = exec->ops->launch(&exec->site, &l, err);
	if (code) {
		undo(exec, prep);
		return code;
	}
	close_fd(&prep->lock_fd);
	close_fd(&prep->listen_fd);
	reattach(exec, known_find(exec, prep->task->name));
	return 0;
}

/* Second half: the shim. */
static int launch(struct exec *exec, struct prep *prep, struct err *err)
{
	const char *name = prep->task->name;
	char mark[48];
	char path[PATH_MAX];
	char *argv[] = {exec->shim_path, path, NULL};
	char *env[] = {mark, NULL};
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, all;
	pid_t pid;
	int number;

	(void)snprintf(mark, sizeof(mark), "SLUIS_UNIT_KEY=%" PRIu64, prep->nonce);
	(void)snprintf(path, sizeof(path), "%s/units/%s/task", exec->run_dir, name);
	(void)sigemptyset(&none);
	(void)sigfillset(&all);
	/* Allocation aside these cannot fail, and what they leave out posix_spawn itself reports. */
	(void)posix_spawn_file_actions_init(&files);
	for (int fd = 0; fd < 3; fd++)
		(void)posix_spawn_file_actions_adddup2(&files, exec->null_fd, fd);
	(void)posix_spawn_file_actions_adddup2(&files, prep->lock_fd, UNIT_LOCK_FD);
	(void)posix_spawn_file_actions_adddup2(&files, prep->listen_fd, UNIT_LISTEN_FD);
	(void)posix_spawnattr_init(&attr);
	(void)posix_spawnattr_setflags(&attr,
			POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	(void)posix_spawnattr_setsigmask(&attr, &none);
	(void)posix_spawnattr_setsigdefault(&attr, &all);
	number = posix_spawn(&pid, exec->shim_path, &files, &attr, argv, env);
	FAILPOINT("exec.start.spawned");
	(void)posix_spawn_file_actions_destroy(&files);
	(void)posix_spawnattr_destroy(&attr);
	if (number) {
		undo(exec, prep);
		return err_set(err, ERR_SYS, "cannot start the shim of '%s': %s", name, strerror(number));
	}
	known_watch(exec, known_find(exec, name), pid);
	close_fd(&prep->lock_fd);
	close_fd(&prep->listen_fd);
	return 0;
}

int exec_start_batch(struct exec *exec, const struct exec_task *const *tasks, size_t n, int *ret_codes,
		struct err *err)
{
	int first = 0;

	for (size_t done = 0; done < n;) {
		struct prep preps[BATCH_MAX];
		size_t chunk = n - done < BATCH_MAX ? n - done : BATCH_MAX;
		size_t ready = 0;
		int synced = 0;

		for (size_t i = 0; i < chunk; i++) {
			ret_codes[done + i] = prepare(exec, tasks[done + i], &preps[i], first ? NULL : err);
			ready += !ret_codes[done + i];
			if (!first)
				first = ret_codes[done + i];
		}
		FAILPOINT("exec.start.before_sync");
		if (ready && fdatasync(exec->slots_fd))
			synced = first ? ERR_IO : err_set_errno(err, ERR_IO, "cannot sync the intents");
		FAILPOINT("exec.start.after_sync");
		for (size_t i = 0; i < chunk; i++) {
			int *code = &ret_codes[done + i];

			if (*code)
				continue;
			if (synced) {
				undo(exec, &preps[i]);
				*code = synced;
			} else {
				*code = (exec->ops->launch ? launch_elsewhere : launch)(exec, &preps[i], first ? NULL : err);
			}
			if (!first)
				first = *code;
		}
		done += chunk;
	}
	return first;
}

int exec_start(struct exec *exec, const struct exec_task *task, struct err *err)
{
	int code;

	return exec_start_batch(exec, &task, 1, &code, err);
}

/* ---- looking ------------------------------------------------------------------------------------------------ */

/* All that the files of a unit say. */
struct view {
	struct buf task, status, exit;
	bool has_task, has_status, has_exit;
	bool shim_alive, marked_empty;
};

static void view_done(struct view *v)
{
	buf_done(&v->task);
	buf_done(&v->status);
	buf_done(&v->exit);
}

/* A part of the unit's slot, if it is there and of this unit. */
static bool part_read(const struct exec *exec, const struct buf *task, enum unit_part part, struct buf *ret)
{
	const char *nonce;
	int code = ERR_CORRUPT;

	/* The shim may be writing it: a look later it has. What a crash tore stays torn. */
	for (int i = 0; i < 3 && code == ERR_CORRUPT; i++)
		code = unit_part_get(exec->slots_fd, unit_get_u64(task, "slot"), part, ret, NULL);
	nonce = code ? NULL : unit_get(ret, "nonce");
	return nonce && !strcmp(nonce, unit_get(task, "nonce"));
}

/* By number and start time: of a shim that said it had begun. */
static bool shim_dead(const struct buf *status)
{
	pid_t pid = (pid_t)unit_get_u64(status, "shim");
	struct proc p;

	return pid > 0 && (!proc_read(pid, &p) || p.start != unit_get_u64(status, "shim_start") || p.state == 'Z' ||
				 p.state == 'X');
}

/* The lock is asked first: whatever a dead shim wrote is then there to be read. */
static int view_read(struct exec *exec, const char *name, struct view *ret, struct err *err)
{
	CLEANUP(close_fd) int dir = unit_dir(exec, name);
	CLEANUP(buf_done) struct buf empty = BUF_INIT;
	const char *phase;

	*ret = (struct view){0};
	if (dir < 0)
		return err_set_errno(err, errno == ENOENT ? ERR_NOTFOUND : ERR_IO, "no unit '%s'", name);
	ret->shim_alive = lock_held(dir);
	ret->has_task = !unit_read(dir, "task", &ret->task, EXEC_TASK_BYTES_MAX + 65536, NULL);
	if (!ret->has_task || !unit_get(&ret->task, "slot") || !unit_get(&ret->task, "nonce"))
		return 0;
	ret->has_status = part_read(exec, &ret->task, UNIT_STATUS, &ret->status);
	/* Somebody else may still hold its lock: systemd, or its child up to exec, and nobody tells when that lets go. */
	if (ret->shim_alive && ret->has_status && shim_dead(&ret->status)) {
		ret->shim_alive = false;
		ret->has_status = part_read(exec, &ret->task, UNIT_STATUS, &ret->status); /* its last word */
	}
	ret->has_exit = part_read(exec, &ret->task, UNIT_EXIT, &ret->exit);
	/* Not yet synced, as long as the shim lives and has not said so. */
	phase = ret->has_status ? unit_get(&ret->status, "phase") : NULL;
	if (ret->shim_alive && ret->has_exit && (!phase || strcmp(phase, "exited")))
		ret->has_exit = false;
	ret->marked_empty = ret->has_exit &&
		(unit_get(&ret->exit, "empty") || part_read(exec, &ret->task, UNIT_EMPTY, &empty));
	return 0;
}

static struct exec_trace view_trace(const struct view *v, const char *name)
{
	return (struct exec_trace){
		.name = name,
		.key = unit_get(&v->task, "nonce"),
		.cgroup = unit_get(&v->task, unit_get(&v->task, "place") ? "place" : "cgroup"),
		.execd = unit_get(&v->task, "execd"),
		.shim = (pid_t)unit_get_u64(&v->status, "shim"),
	};
}

/* The backend the unit was started with, which a later agent may not be configured for. */
static const struct exec_ops *view_ops(const struct view *v)
{
	if (unit_get(&v->task, "place"))
		return unit_get(&v->task, "execd") ? &exec_execd_ops : &exec_systemd_ops;
	return unit_get(&v->task, "cgroup") ? &exec_cgroup2_ops : &exec_plain_ops;
}

static void fill_leader(const struct buf *b, struct exec_status *ret)
{
	ret->pid = (pid_t)unit_get_u64(b, "pid");
	ret->pid_start = unit_get_u64(b, "pid_start");
	ret->started_ms = (int64_t)unit_get_u64(b, "started_ms");
	ret->began = ret->pid > 0;
}

static void fill_exit(const struct buf *b, struct exec_status *ret)
{
	const char *error = unit_get(b, "error");

	fill_leader(b, ret);
	ret->state = EXEC_EXITED;
	ret->ended_ms = (int64_t)unit_get_u64(b, "ended_ms");
	ret->exit_signal = (int)unit_get_u64(b, "signal");
	ret->exit_code = ret->exit_signal ? -1 : (int)unit_get_u64(b, "code");
	ret->core = unit_get(b, "core") != NULL;
	ret->oom = unit_get(b, "oom") != NULL;
	ret->setup_failed = unit_get(b, "setup_failed") != NULL;
	ret->user_us = unit_get_u64(b, "user_us");
	ret->system_us = unit_get_u64(b, "system_us");
	ret->maxrss_kib = unit_get_u64(b, "maxrss_kib");
	ret->reports_dropped = unit_get_u64(b, "reports_dropped");
	if (error)
		(void)snprintf(ret->error, sizeof(ret->error), "%s", error);
}

static void judge(struct exec *exec, const char *name, const struct view *v, struct exec_status *ret)
{
	const char *boot = v->has_task ? unit_get(&v->task, "boot") : NULL;
	/* No legible description: it was visible only once complete, so a machine has crashed since. */
	bool other_boot = !boot || strcmp(boot, exec->boot_id);

	*ret = (struct exec_status){0};
	if (v->has_exit)
		fill_exit(&v->exit, ret);
	else if (v->has_status)
		fill_leader(&v->status, ret);
	if (other_boot && !v->shim_alive) {
		ret->empty = true;
		if (!v->has_exit) {
			ret->state = EXEC_LOST;
			ret->lost = EXEC_LOST_REBOOT;
		}
		return;
	}
	if (v->has_exit) {
		ret->empty = v->marked_empty;
	} else if (v->shim_alive) {
		ret->state = ret->began ? EXEC_RUNNING : EXEC_STARTING;
	} else if (!v->has_status) {
		ret->state = EXEC_UNSTARTED;
		ret->empty = true;
	} else {
		ret->state = EXEC_LOST;
		ret->lost = EXEC_LOST_SHIM;
	}
	if (!ret->empty && !v->shim_alive) {
		struct exec_trace trace = view_trace(v, name);

		ret->empty = !view_ops(v)->alive(&exec->site, &trace);
	}
}

int exec_status(struct exec *exec, const char *name, struct exec_status *ret, struct err *err)
{
	CLEANUP(view_done) struct view v;
	int code = unit_name_check(name, err);

	v = (struct view){0};
	*ret = (struct exec_status){.state = EXEC_NONE, .empty = true};
	if (code)
		return code;
	code = view_read(exec, name, &v, err);
	if (code)
		return code == ERR_NOTFOUND ? 0 : code;
	judge(exec, name, &v, ret);
	return 0;
}

/* ---- asking the shim ---------------------------------------------------------------------------------------- */

/* Has somebody stopped it? It blocks what can be blocked; its task's user may send it the rest. */
static bool shim_stopped(struct exec *exec, const char *name, struct proc *ret)
{
	CLEANUP(view_done) struct view v = {0};
	pid_t pid = 0;

	if (!view_read(exec, name, &v, NULL) && v.shim_alive)
		pid = (pid_t)unit_get_u64(&v.status, "shim");
	return pid > 0 && proc_read(pid, ret) && ret->start == unit_get_u64(&v.status, "shim_start") && ret->state == 'T';
}

/* Wait for its answer; 0: there is none. One that was stopped is told to go on, and given less time: another process of
 * its user may do that again and again. */
static int wait_answer(struct exec *exec, const char *name, int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct proc shim;
	int n;

	while ((n = poll(&p, 1, STOPPED_MS)) < 0 && errno == EINTR)
		;
	if (n)
		return n;
	if (shim_stopped(exec, name, &shim)) {
		(void)proc_kill(&shim, SIGCONT);
		return poll(&p, 1, STOPPED_MS);
	}
	while ((n = poll(&p, 1, ANSWER_MS)) < 0 && errno == EINTR)
		;
	return n;
}

/* One request, one answer. ERR_GONE if nobody is there to ask, or it says "gone". */
static int ask(struct exec *exec, const char *name, const char *request, size_t len, struct err *err)
{
	CLEANUP(close_fd) int dir = unit_dir(exec, name);
	CLEANUP(close_fd) int fd = -1;
	struct sockaddr_un a;
	struct proc shim;
	char reply[128];
	ssize_t n;

	if (dir < 0)
		return err_set(err, ERR_NOTFOUND, "no unit '%s'", name);
	if (!lock_held(dir)) /* we keep its socket, so nobody would refuse us */
		return err_set(err, ERR_GONE, "the shim of '%s' is gone", name);
	a = sock_address(dir);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set_errno(err, ERR_SYS, "cannot make a socket");
	if (connect(fd, (const struct sockaddr *)&a, sizeof(a))) {
		if (errno == ECONNREFUSED || errno == ENOENT)
			return err_set(err, ERR_GONE, "the shim of '%s' is gone", name);
		if (errno != EAGAIN)
			return err_set_errno(err, ERR_SYS, "cannot ask the shim of '%s'", name);
		if (shim_stopped(exec, name, &shim))
			(void)proc_kill(&shim, SIGCONT); /* so that it takes what waits */
		return err_set(err, ERR_TIMEOUT, "the shim of '%s' takes no request", name);
	}
	if (send(fd, request, len, MSG_NOSIGNAL) != (ssize_t)len)
		return err_set(err, ERR_GONE, "the shim of '%s' has left", name);
	if (wait_answer(exec, name, fd) <= 0) {
		CLEANUP(view_done) struct view v;

		/* systemd may hold the socket of a dead one open for a moment */
		if (!view_read(exec, name, &v, NULL) && !v.shim_alive)
			return err_set(err, ERR_GONE, "the shim of '%s' is gone", name);
		return err_set(err, ERR_TIMEOUT, "the shim of '%s' has not confirmed", name);
	}
	n = recv(fd, reply, sizeof(reply) - 1, 0);
	if (n <= 0)
		return err_set(err, ERR_GONE, "the shim of '%s' has left", name);
	reply[n] = 0;
	if (!strncmp(reply, "ok", 2))
		return 0;
	if (!strcmp(reply, "gone"))
		return err_set(err, ERR_GONE, "nothing of '%s' is left to signal", name);
	return err_set(err, ERR_SYS, "the shim of '%s' says: %s", name, reply);
}

int exec_signal(struct exec *exec, const char *name, int signo, bool all, struct err *err)
{
	char request[64];
	int n;
	int code = unit_name_check(name, err);

	if (code)
		return code;
	if (signo <= 0 || signo > SIGRTMAX)
		return err_set(err, ERR_INVAL, "no signal %d", signo);
	n = snprintf(request, sizeof(request), "signal %d %s", signo, all ? "all" : "leader");
	return ask(exec, name, request, (size_t)n, err);
}

int exec_notice(struct exec *exec, const char *name, const char *json, int signo, bool all, struct err *err)
{
	CLEANUP(buf_done) struct buf request = BUF_INIT;
	int code = unit_name_check(name, err);

	if (code)
		return code;
	if (signo < 0 || signo > SIGRTMAX)
		return err_set(err, ERR_INVAL, "no signal %d", signo);
	if (strchr(json, '\n'))
		return err_set(err, ERR_INVAL, "a notice is one line");
	if (strlen(json) > EXEC_NOTICE_BYTES_MAX)
		return err_set(err, ERR_TOOBIG, "a notice has at most %d bytes", EXEC_NOTICE_BYTES_MAX);
	buf_addf(&request, "notice %d %s\n%s", signo, all ? "all" : "leader", json);
	return ask(exec, name, (const char *)request.data, request.len, err);
}

/* What is there without the shim, or with one that is stopped. */
static int kill_place(struct exec *exec, const char *name, bool shim_too, struct err *err)
{
	CLEANUP(view_done) struct view v = {0};
	struct exec_status status;
	int code = view_read(exec, name, &v, err);

	if (code)
		return code;
	if (v.shim_alive && (!shim_too || !unit_get(&v.task, "place")))
		return shim_too ? err_set(err, ERR_TIMEOUT, "the shim of '%s' is stopped", name) : 0;
	judge(exec, name, &v, &status);
	if (!status.empty) {
		struct exec_trace trace = view_trace(&v, name);

		view_ops(&v)->kill(&exec->site, &trace);
	}
	return 0;
}

int exec_kill(struct exec *exec, const char *name, struct err *err)
{
	struct proc shim;
	int code = unit_name_check(name, err);

	if (code)
		return code;
	/* In a place of its own it goes with the rest: it would be stopped again before it has told how the task ended. */
	if (shim_stopped(exec, name, &shim) && kill_place(exec, name, true, err) == 0)
		return 0;
	code = ask(exec, name, "kill", 4, err);
	if (code == ERR_GONE)
		return kill_place(exec, name, false, err);
	if (code == ERR_TIMEOUT && shim_stopped(exec, name, &shim))
		return kill_place(exec, name, true, err);
	return code;
}

/* ---- forgetting ----------------------------------------------------------------------------------------------- */

void exec_list(struct exec *exec, void (*fn)(void *ctx, const char *name), void *ctx)
{
	/* From the end: a release moves the last one into the gap, and that has been seen. */
	for (size_t i = exec->n; i-- > 0;) {
		char name[EXEC_NAME_BYTES];

		memcpy(name, exec->known[i]->name, sizeof(name));
		fn(ctx, name);
	}
}

/* A shim that has said all leaves at once. */
static void wait_shim(const struct known *k)
{
	struct pollfd p = {.fd = k ? k->pidfd : -1, .events = POLLIN};

	while (p.fd >= 0 && poll(&p, 1, ANSWER_MS) < 0 && errno == EINTR)
		;
}

int exec_release(struct exec *exec, const char *name, struct err *err)
{
	CLEANUP(view_done) struct view v;
	struct exec_status status;
	struct exec_trace trace;
	struct known *k;
	int code = unit_name_check(name, err);

	v = (struct view){0};
	if (code)
		return code;
	k = known_find(exec, name);
	code = view_read(exec, name, &v, err);
	if (code == ERR_NOTFOUND) {
		if (k)
			known_drop(exec, k);
		return 0;
	}
	if (code)
		return code;
	/* Its slot goes with known_drop: last, so that a crash before leaves a unit to be released. */
	judge(exec, name, &v, &status);
	if (!status.empty)
		return err_set(err, ERR_STATE, "'%s' still has processes", name);
	trace = view_trace(&v, name);
	if (unit_get(&v.task, "place"))
		wait_shim(k); /* the last process of its cgroup */
	if (trace.cgroup && (code = view_ops(&v)->forget(&exec->site, &trace, err)))
		return code;
	return remove_unit(exec, name, err);
}

/* ---- waiting ---------------------------------------------------------------------------------------------------- */

static void read_bell(struct exec *exec)
{
	char data[8192];
	size_t total = 0;
	ssize_t n;

	while ((n = read(exec->bell_fd, data, sizeof(data))) > 0) {
		total += (size_t)n;
		for (ssize_t i = 0; i < n; i++) {
			struct known *k;

			if (data[i] != '\n') {
				if (exec->bell_len < sizeof(exec->bell) - 1)
					exec->bell[exec->bell_len++] = data[i];
				continue;
			}
			exec->bell[exec->bell_len] = 0;
			exec->bell_len = 0;
			k = known_find(exec, exec->bell);
			if (k && k->pidfd < 0 && exec->ops->launch)
				reattach(exec, k);
			if (k)
				known_changed(exec, k);
		}
		if (total >= BELL_FULL_BYTES)
			break;
	}
	if (total >= BELL_FULL_BYTES)
		for (size_t i = 0; i < exec->n; i++)
			known_changed(exec, exec->known[i]);
}

static void shim_ended(struct exec *exec, struct known *k)
{
	struct known **at = &exec->leaving;

	(void)shim_reaped(k);
	known_unwatch(exec, k);
	if (!k->leaving) {
		known_changed(exec, k);
		return;
	}
	while (*at != k)
		at = &(*at)->next;
	*at = k->next;
	free(k);
}

bool exec_next_changed(struct exec *exec, char ret_name[EXEC_NAME_BYTES])
{
	struct epoll_event events[64];
	struct known *k;
	int n;

	if (!exec->changed_first) {
		n = epoll_wait(exec->epoll_fd, events, ARRAY_LEN(events), 0);
		for (int i = 0; i < n; i++)
			if (!events[i].data.ptr)
				read_bell(exec);
			else
				shim_ended(exec, events[i].data.ptr);
	}
	k = exec->changed_first;
	if (!k)
		return false;
	exec->changed_first = k->next;
	if (!exec->changed_first)
		exec->changed_last = NULL;
	k->changed = false;
	memcpy(ret_name, k->name, EXEC_NAME_BYTES);
	return true;
}

/* ---- files -------------------------------------------------------------------------------------------------------- */

static int read_at(int fd, const char *what, uint64_t offset, void *buf, size_t max, size_t *ret_len,
		struct err *err)
{
	struct stat st;
	ssize_t n;

	if (fd < 0)
		return err_set_errno(err, errno == ENOENT ? ERR_NOTFOUND : ERR_IO, "cannot open '%.160s'", what);
	if (fstat(fd, &st) || !S_ISREG(st.st_mode))
		return err_set(err, ERR_INVAL, "'%.160s' is no regular file", what);
	if (offset > (uint64_t)INT64_MAX)
		return err_set(err, ERR_RANGE, "offset beyond any file");
	do
		n = pread(fd, buf, max, (off_t)offset);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return err_set_errno(err, ERR_IO, "cannot read '%.160s'", what);
	*ret_len = (size_t)n;
	return 0;
}

int exec_file_read(const char *path, uint64_t offset, void *buf, size_t max, size_t *ret_len, struct err *err)
{
	/* NONBLOCK: opening a FIFO must not stop the agent. */
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	return read_at(fd, path, offset, buf, max, ret_len, err);
}

int exec_log_read(struct exec *exec, const char *name, enum exec_stream stream, uint64_t offset, void *buf,
		size_t max, size_t *ret_len, struct err *err)
{
	CLEANUP(view_done) struct view v;
	CLEANUP(buf_done) struct buf path = BUF_INIT;
	CLEANUP(close_fd) int dir = -1;
	CLEANUP(close_fd) int fd = -1;
	const char *file;
	int code = unit_name_check(name, err);

	v = (struct view){0};
	if (code)
		return code;
	dir = unit_dir(exec, name);
	if (dir < 0)
		return err_set(err, ERR_NOTFOUND, "no unit '%s'", name);
	if (stream == EXEC_REPORTS) {
		fd = openat(dir, "reports", O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
		return read_at(fd, "reports", offset, buf, max, ret_len, err);
	}
	code = unit_read(dir, "task", &v.task, EXEC_TASK_BYTES_MAX + 65536, err);
	if (code)
		return code;
	file = unit_get(&v.task, stream == EXEC_STDOUT ? "stdout" : "stderr");
	if (!file)
		return err_set(err, ERR_CORRUPT, "the description of '%s' names no output", name);
	if (file[0] != '/')
		buf_addf(&path, "%s/", unit_get(&v.task, "cwd"));
	buf_addf(&path, "%s", file);
	return exec_file_read(buf_cstr(&path), offset, buf, max, ret_len, err);
}
