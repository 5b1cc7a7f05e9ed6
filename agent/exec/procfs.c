/* procfs.c - see procfs.h */
#include "agent/exec/procfs.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/base/buf.h"
#include "proto/base/ensure.h"

bool proc_read(pid_t pid, struct proc *ret)
{
	char path[32];
	char text[1024];
	const char *after;
	int ppid, session;
	unsigned long long start;
	ssize_t n;
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, text, sizeof(text) - 1);
	(void)close(fd);
	if (n <= 0)
		return false;
	text[n] = 0;
	after = strrchr(text, ')'); /* the name in field 2 may hold blanks and brackets */
	if (!after)
		return false;
	*ret = (struct proc){.pid = pid};
	/* Fields 3 state, 4 ppid, 5 pgrp, 6 session, 7-21 skipped, 22 starttime. */
	if (sscanf(after + 1,
			" %c %d %*d %d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
			&ret->state, &ppid, &session, &start) != 4)
		return false;
	ret->ppid = ppid;
	ret->session = session;
	ret->start = start;
	return true;
}

static int by_pid(const void *a, const void *b)
{
	const struct proc *x = a, *y = b;

	return (x->pid > y->pid) - (x->pid < y->pid);
}

size_t proc_all(struct proc **ret)
{
	struct proc *all = NULL;
	size_t n = 0, cap = 0;
	struct dirent *e;
	DIR *dir = opendir("/proc");

	while (dir && (e = readdir(dir))) {
		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		if (n == cap) {
			cap = cap ? cap * 2 : 256;
			all = xrealloc(all, cap * sizeof(*all));
		}
		if (proc_read((pid_t)strtol(e->d_name, NULL, 10), &all[n]))
			n++;
	}
	if (dir)
		(void)closedir(dir);
	if (n)
		qsort(all, n, sizeof(*all), by_pid);
	*ret = all;
	return n;
}

size_t proc_keep_tree(struct proc *all, size_t n, pid_t root)
{
	bool *in = xcalloc(n, sizeof(*in));
	bool grew = true;
	size_t kept = 0;

	while (grew) { /* as often as the tree is deep, once more */
		grew = false;
		for (size_t i = 0; i < n; i++) {
			const struct proc key = {.pid = all[i].ppid};
			const struct proc *parent;

			if (in[i] || all[i].pid == root)
				continue;
			if (all[i].ppid != root) {
				parent = bsearch(&key, all, n, sizeof(*all), by_pid);
				if (!parent || !in[parent - all])
					continue;
			}
			in[i] = true;
			grew = true;
		}
	}
	for (size_t i = 0; i < n; i++)
		if (in[i] && all[i].state != 'Z' && all[i].state != 'X')
			all[kept++] = all[i];
	free(in);
	return kept;
}

bool proc_has_env(pid_t pid, const char *assignment)
{
	enum { ENVIRON_BYTES_MAX = 4 << 20 };
	CLEANUP(buf_done) struct buf env = BUF_INIT;
	size_t want = strlen(assignment) + 1;
	char path[32];
	ssize_t n = 1;
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	while (n > 0 && env.len < ENVIRON_BYTES_MAX) {
		n = read(fd, buf_reserve(&env, 16384), 16384);
		if (n > 0)
			env.len += (size_t)n;
	}
	(void)close(fd);
	(void)buf_cstr(&env);
	for (size_t at = 0; at < env.len; at += strlen((const char *)env.data + at) + 1)
		if (env.len - at + 1 >= want && !memcmp(env.data + at, assignment, want))
			return true;
	return false;
}

bool proc_kill(const struct proc *p, int signo)
{
	struct proc again;
	int fd = (int)syscall(SYS_pidfd_open, p->pid, 0);
	bool done;

	if (fd < 0)
		return false;
	/* The descriptor pins one process; only now does its start time prove which. */
	done = proc_read(p->pid, &again) && again.start == p->start &&
		!syscall(SYS_pidfd_send_signal, fd, signo, NULL, 0);
	(void)close(fd);
	return done;
}

int cpulist_parse(const char *list, uint64_t *ret_bits, size_t words, struct err *err)
{
	const char *p = list;

	memset(ret_bits, 0, words * sizeof(*ret_bits));
	for (;;) {
		unsigned long first, last;
		char *end;

		if (!isdigit((unsigned char)*p))
			return err_set(err, ERR_INVAL, "malformed list '%s'", list);
		first = last = strtoul(p, &end, 10);
		if (*end == '-') {
			p = end + 1;
			if (!isdigit((unsigned char)*p))
				return err_set(err, ERR_INVAL, "malformed list '%s'", list);
			last = strtoul(p, &end, 10);
		}
		if (last < first)
			return err_set(err, ERR_INVAL, "malformed list '%s'", list);
		if (last >= words * 64)
			return err_set(err, ERR_RANGE, "list '%s' goes beyond %zu", list, words * 64 - 1);
		for (unsigned long i = first; i <= last; i++)
			ret_bits[i / 64] |= UINT64_C(1) << (i % 64);
		if (!*end)
			return 0;
		if (*end != ',')
			return err_set(err, ERR_INVAL, "malformed list '%s'", list);
		p = end + 1;
	}
}
