/* procfs.h - which processes exist, and whose they are
 *
 * Everything here is a look at an instant: a process may be gone, and its number used again, a moment
 * later. Who acts on a pid checks `start` once more through a pidfd, or is the parent.
 */
#ifndef SLUIS_AGENT_EXEC_PROCFS_H
#define SLUIS_AGENT_EXEC_PROCFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/base/err.h"

struct proc {
	pid_t pid, ppid, session;
	char state;     /* 'Z' and 'X' are no longer running anything */
	uint64_t start; /* clock ticks since boot; with pid it names one process for good */
};

/* False if there is no such process. */
bool proc_read(pid_t pid, struct proc *ret) NODISCARD;
/* All processes, ascending by pid. The caller frees *ret. */
size_t proc_all(struct proc **ret) NODISCARD;
/* Keep the descendants of `root` (not root itself) that are not zombies; returns how many. */
size_t proc_keep_tree(struct proc *all, size_t n, pid_t root) NODISCARD;
/* Is `assignment` ("KEY=value") in the environment that the process was executed with? */
bool proc_has_env(pid_t pid, const char *assignment) NODISCARD;
/* Signal exactly this process: not another one that has its number by now. False if it is gone or not
 * ours to signal. */
bool proc_kill(const struct proc *p, int signo);
/* "0-3,8" into a bitmap of `words` words. Returns 0; ERR_INVAL; ERR_RANGE past the bitmap. */
int cpulist_parse(const char *list, uint64_t *ret_bits, size_t words, struct err *err) NODISCARD;

#endif
