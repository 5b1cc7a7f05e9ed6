/* exec.h - runs tasks so that they outlive the agent, and knows about every one it ever started
 *
 *   agent ──exec_start──▶ unit directory ──synced──▶ sluis-shim ──fork──▶ task
 *         ◀──exec_status── status, exit, empty ◀──────────┘ (parent, subreaper, own session)
 *         ──exec_signal, exec_notice, exec_kill──▶ socket of the shim
 *
 * One task is one *unit*; its name is the idempotency key. A unit is a directory under
 * RUN_DIR/units until exec_release() removes it; who opens the same RUN_DIR later (a restarted or
 * upgraded agent) knows what this one knew: everything is a function of the directories, of the lock
 * that each live shim holds, and of the boot id.
 *
 * What is synced, and why only that:
 *  - the *intent*: name and boot id of a unit, before its shim exists (one fdatasync per exec_start or
 *    per 64 of a batch). On this boot the page cache already tells the truth after any crash of the
 *    agent; after a crash of the machine the intent says "may have run, is gone": LOST, never a second
 *    start.
 *  - the exit status, by the shim, before anybody can read it. One fdatasync.
 *  - nothing else: running, empty, notices and reports mean nothing after a reboot, or are in `exit`.
 *    A release is not synced: a unit released just before the machine crashed may be LOST or EXITED
 *    again; release it again.
 * Both go to preallocated slots in one file (unit.h), so neither waits for the file system's journal.
 *
 * Who is alive is decided by locks, not by pids: the agent locks the unit before it spawns and the
 * shim inherits that lock (same open file description). Lock free and nothing written by the shim
 * means: the task was never begun. No guess, no time-out.
 *
 * Not thread-safe. One process per RUN_DIR (exec_open takes a lock). exec reaps its own shims by pidfd:
 * the caller may wait for children of its own by pid, never for any child at all. One descriptor per
 * live shim: a node that runs a thousand tasks needs RLIMIT_NOFILE above that.
 * Source: Nomad's executor plugins and Slurm's slurmstepd outlive their daemons in the same way.
 */
#ifndef SLUIS_AGENT_EXEC_EXEC_H
#define SLUIS_AGENT_EXEC_EXEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/base/err.h"

struct exec;

enum {
	EXEC_NAME_BYTES = 65,         /* a unit name with its NUL: 1-64 of [A-Za-z0-9._-], no '.' in front */
	EXEC_NOTICE_BYTES_MAX = 4000, /* one JSON line, below PIPE_BUF with its newline */
	EXEC_ERROR_BYTES = 160,
	EXEC_UNITS_MAX = 16384,
	EXEC_TASK_BYTES_MAX = 4 << 20, /* argv, env and the rest, as written for the shim */
};

enum exec_backend {
	EXEC_PLAIN,   /* subreaper, session, affinity: unprivileged */
	EXEC_CGROUP2, /* one cgroup per unit below cgroup_root, which must be writable */
	EXEC_SYSTEMD, /* one transient service per unit in sluis.slice; for who may start system services */
	EXEC_EXECD,   /* sluis-execd does the same, or its own cgroups, for an agent without privilege */
};

/* What the backend can enforce here (exec_caps). */
enum exec_cap {
	EXEC_CAP_MEMORY = 1, /* memory.max */
	EXEC_CAP_CPUSET = 2, /* cpuset.cpus, cpuset.mems: the task cannot widen its own affinity */
	EXEC_CAP_TRACK = 4,  /* no process can leave the unit, whatever happens to the shim */
	EXEC_CAP_PIDS = 8,   /* tasks_max */
	EXEC_CAP_DEVICES = 16, /* `devices`: the kernel refuses to open any other */
	EXEC_CAP_CPU = 32,   /* cpu_percent */
	EXEC_CAP_USER = 64,  /* uid: tasks as other users */
};

struct exec_cfg {
	const char *run_dir; /* made (0700) if absent; must survive a reboot, so not below /run */
	enum exec_backend backend;
	const char *cgroup_root; /* EXEC_CGROUP2 only: a delegated cgroup, made if absent */
	const char *execd_socket; /* EXEC_EXECD only: where sluis-execd listens */
	const char *shim_path;   /* the program sluis-shim; with execd it is execd that says which */
	uint64_t report_bytes_max; /* per unit, kept in the run dir; 0: 64 MiB */
};

/* What to run. All borrowed for the call. The environment is taken as it stands, plus
 * SLUIS_UNIT, SLUIS_UNIT_KEY (unlike any other, by which plain finds what a killed shim left),
 * SLUIS_NOTICE_FD, SLUIS_NOTICE_FILE and SLUIS_REPORT_FD, which exec sets. */
struct exec_task {
	const char *name;        /* unit name, e.g. "a42-p0-t3" */
	const char *const *argv; /* NULL at the end; argv[0] is searched in PATH of `env` */
	const char *const *env;  /* "KEY=value", NULL at the end */
	const char *cwd;         /* NULL: "/" */
	const char *stdin_path;  /* NULL: /dev/null */
	const char *stdout_path; /* NULL: `stdout` in the unit directory; relative paths: below cwd */
	const char *stderr_path; /* NULL: with stdout if stdout_path is set, else `stderr` there */
	/* Output is always appended. What was there before this instant (UTC, ns; 0: keep all) is dropped by
	 * whichever task of the run comes first. As CLOCK_REALTIME_COARSE, which is what file times show. */
	int64_t truncate_before_ns;
	/* stdout_path, stderr_path are the agent's own files (0600), opened before the task becomes its user. */
	bool agent_stdout, agent_stderr;
	bool stderr_to_stdout;   /* one file for both; stderr_path must be NULL */
	bool kill_rest;          /* when the leader has ended, kill what it left behind */
	const char *cpus;        /* "0-3,8"; NULL: not bound */
	const char *mems;        /* NUMA nodes; NULL: not bound */
	bool mems_preferred;     /* take memory from others when these are full; else never */
	uint64_t mem_bytes;      /* limit where EXEC_CAP_MEMORY; 0: none */
	uint32_t tasks_max;      /* processes and threads, with the shim, where EXEC_CAP_PIDS; 0: no limit */
	uint32_t cpu_percent;    /* of one CPU, where EXEC_CAP_CPU; 0: no limit */
	/* Device nodes the task may open besides null, zero, full, random, urandom, tty and ptys, where
	 * EXEC_CAP_DEVICES; NULL at the end. NULL: any that file modes allow. */
	const char *const *devices;
	/* Run as this user, with its groups, where EXEC_CAP_USER; 0: as the agent. Files that the task
	 * names are opened as this user, those in the unit directory as the agent. */
	uid_t uid;
	bool private_tmp; /* an empty /tmp of its own, with systemd */
	/* A folder of the task's user alone (0700), made if absent, with `files` in it
	 * (one that is there already stays as it is). Tasks may share one; it goes with the last of them.
	 * Absolute, in a folder where that user may make it; NULL: none. */
	const char *scratch;
	const struct exec_file *files;
	size_t files_n;
};

/* A file below exec_task.scratch. */
struct exec_file {
	const char *name; /* as a unit's, also with one '.' in front */
	const char *text;
	bool executable;
};

enum exec_state {
	EXEC_NONE,      /* no such unit: never started here, or released */
	EXEC_UNSTARTED, /* known, and certain never to have begun (the agent died before the shim lived) */
	EXEC_STARTING,  /* the shim lives, the task is not yet executing */
	EXEC_RUNNING,
	EXEC_EXITED, /* of the leader; `empty` says whether anything else is left */
	EXEC_LOST,   /* ended, or out of sight, without an exit status */
};

enum exec_lost {
	EXEC_LOST_NOT,
	EXEC_LOST_REBOOT, /* the machine restarted underneath; nothing is left */
	EXEC_LOST_SHIM,   /* the shim was killed: the task may go on, see `empty` and exec_kill */
};

struct exec_status {
	enum exec_state state;
	bool empty;          /* no process of the unit exists. True for NONE, UNSTARTED, LOST_REBOOT */
	enum exec_lost lost; /* with EXEC_LOST */
	bool began;          /* the task has executed. LOST with false: not known whether it did */
	pid_t pid;           /* leader; from RUNNING on, 0 if it never came to be */
	uint64_t pid_start;  /* its start time in clock ticks since boot: /proc/PID/stat field 22 */
	int64_t started_ms;  /* UTC; 0 while not begun */
	/* EXEC_EXITED */
	int64_t ended_ms;
	int exit_code;   /* 0-255, or -1 if ended by a signal */
	int exit_signal; /* 0, or the signal */
	bool core;       /* dumped core */
	bool oom;        /* the cgroup counted an oom kill; what was left of the unit is killed too */
	bool setup_failed; /* never executed: exit_code is 127 (no such command) or 126, see `error` */
	uint64_t user_us, system_us, maxrss_kib; /* leader and the children it waited for */
	uint64_t reports_dropped; /* lines over 4 KiB, or beyond report_bytes_max */
	char error[EXEC_ERROR_BYTES];            /* what failed before the task could execute */
};

enum exec_stream { EXEC_STDOUT, EXEC_STDERR, EXEC_REPORTS };

/* Open RUN_DIR, take its lock, clear what half-written starts left, and re-attach to all units.
 *
 * Returns 0; ERR_BUSY if another process has it; ERR_UNSUPPORTED if the backend cannot work here (err
 * says what is missing); ERR_SYS, ERR_IO. Cost: O(units), a few system calls each.
 */
int exec_open(const struct exec_cfg *cfg, struct exec **ret_exec, struct err *err) NODISCARD;
/* Let go of everything; tasks run on. NULL is fine. */
void exec_close(struct exec *exec);
unsigned exec_caps(const struct exec *exec); /* of enum exec_cap */

/* Start one task. On 0 the unit is known and its shim exists (state STARTING, soon RUNNING or EXITED).
 *
 * Returns ERR_EXISTS for a name that is known, whatever its state: never a second process. On any other
 * error no unit is left behind and nothing has run: ERR_DENIED by execd, ERR_UNSUPPORTED, ERR_INVAL, ERR_TOOBIG, ERR_NOROOM, ERR_IO, ERR_SYS.
 * A released name is unknown again: whoever releases remembers that the attempt is over.
 * Cost: one directory, one fdatasync, one posix_spawn.
 */
int exec_start(struct exec *exec, const struct exec_task *task, struct err *err) NODISCARD;
/* The same for `n` tasks with one sync for each 64. ret_codes[i] is what exec_start would have returned
 * for tasks[i]; one that fails does not stop the others. Returns the first code that is not 0. */
int exec_start_batch(struct exec *exec, const struct exec_task *const *tasks, size_t n, int *ret_codes,
		struct err *err) NODISCARD;

/* Never fails for a well-formed name: EXEC_NONE is an answer.
 * Cost: three small reads; for LOST_SHIM with plain also a walk over /proc. */
int exec_status(struct exec *exec, const char *name, struct exec_status *ret, struct err *err) NODISCARD;

/* Signal the leader, or every process of the unit.
 * Returns 0 once the shim has done it; ERR_NOTFOUND for an unknown unit; ERR_GONE if the leader (with
 * `all`: the last process) has ended or the shim is lost; ERR_TIMEOUT if the shim took the request but
 * did not confirm within a second. */
int exec_signal(struct exec *exec, const char *name, int signo, bool all, struct err *err) NODISCARD;
/* One notice: `json` (one line, no newline, ≤ EXEC_NOTICE_BYTES_MAX) replaces SLUIS_NOTICE_FILE, is
 * written to SLUIS_NOTICE_FD, and then `signo` (0: none) goes to the leader or to all. Errors as above. */
int exec_notice(struct exec *exec, const char *name, const char *json, int signo, bool all,
		struct err *err) NODISCARD;
/* SIGKILL for every process of the unit, again and again until none is left; also when the shim is
 * lost, or is stopped again and again (with it where it has a place of its own: execd, systemd; if it was stopped in
 * between, only the next call finds that). 0 says it is under way: `empty` says when it is done. 0 for a unit that is already empty. */
int exec_kill(struct exec *exec, const char *name, struct err *err) NODISCARD;

/* Call fn for every unit started and not released, in no particular order. fn may release the unit it
 * is called with and start none. */
void exec_list(struct exec *exec, void (*fn)(void *ctx, const char *name), void *ctx);
size_t exec_count(const struct exec *exec);

/* Forget a unit: removes its directory, its cgroup and its default output files.
 * Returns 0, also for an unknown name; ERR_STATE while a process is left. */
int exec_release(struct exec *exec, const char *name, struct err *err) NODISCARD;

/* One descriptor for poll(): readable when a unit may have changed (began, exited, became empty, wrote
 * a report, lost its shim). Then call exec_next_changed() until it returns false. Wake-ups may be
 * spurious. Right after exec_open every unit counts as changed. A LOST_SHIM unit that is not empty
 * wakes nobody when it becomes so: ask again on a timer. */
int exec_wait_fd(const struct exec *exec);
bool exec_next_changed(struct exec *exec, char ret_name[EXEC_NAME_BYTES]);

/* Read a stream of a unit from `offset` on, wherever the task sends it. *ret_len is 0 at the end.
 * Returns ERR_NOTFOUND if unit or file does not exist (yet), ERR_INVAL if it is no regular file. */
int exec_log_read(struct exec *exec, const char *name, enum exec_stream stream, uint64_t offset, void *buf,
		size_t max, size_t *ret_len, struct err *err) NODISCARD;
/* The same for any regular file, also after its unit was released. */
int exec_file_read(const char *path, uint64_t offset, void *buf, size_t max, size_t *ret_len,
		struct err *err) NODISCARD;

#endif
