/* enter.c - see enter.h
 *
 * The shim gets the user of the task as its real user and the agent as its effective and saved one. So,
 * without any capability, it writes the agent's files, may signal the task (the kernel compares real
 * users), and its child can become the task's user for good, but nobody else. The task in turn may not
 * trace the shim, whose saved user is another.
 */
#include "agent/execd/enter.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <linux/keyctl.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/base/ensure.h"

enum { GROUPS_MAX = 1024, SPARE_FD = 10 };

struct person {
	gid_t gid;
	char name[64];
};

static int look_up(uid_t uid, struct person *ret, struct err *err)
{
	const struct passwd *p;

	errno = 0;
	p = uid ? getpwuid(uid) : NULL;
	if (!uid)
		return err_set(err, ERR_DENIED, "nothing is started as root");
	if (!p)
		return err_set(err, ERR_NOTFOUND, "there is no user %u", (unsigned)uid);
	if (!p->pw_gid)
		return err_set(err, ERR_DENIED, "user %u is in group root", (unsigned)uid);
	if (strlen(p->pw_name) >= sizeof(ret->name))
		return err_set(err, ERR_RANGE, "the name of user %u is too long", (unsigned)uid);
	ret->gid = p->pw_gid;
	(void)snprintf(ret->name, sizeof(ret->name), "%s", p->pw_name);
	return 0;
}

int enter_check(uid_t uid, uid_t agent, struct err *err)
{
	struct person person;
	int code = look_up(uid, &person, err);

	return code ? code : look_up(agent, &person, err);
}

/* All groups of the user but root's, which a mistake in /etc/group must not hand out. */
static int set_groups(const struct person *user, struct err *err)
{
	gid_t groups[GROUPS_MAX];
	int n = GROUPS_MAX;
	size_t kept = 0;

	if (getgrouplist(user->name, user->gid, groups, &n) < 0)
		return err_set(err, ERR_RANGE, "user '%s' has more than %d groups", user->name, GROUPS_MAX);
	for (int i = 0; i < n; i++)
		if (groups[i])
			groups[kept++] = groups[i];
	return setgroups(kept, groups) ? err_set_errno(err, ERR_SYS, "cannot set the groups of '%s'", user->name) : 0;
}

static int set_files(int lock, int listen, struct err *err)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	/* Out of the way first: each number may be another's goal. */
	lock = fcntl(lock, F_DUPFD_CLOEXEC, SPARE_FD);
	listen = fcntl(listen, F_DUPFD_CLOEXEC, SPARE_FD);
	if (null < 0 || lock < 0 || listen < 0 || dup2(lock, 0) < 0 || dup2(listen, 1) < 0 || dup2(null, 2) < 0 ||
			close_range(3, ~0U, CLOSE_RANGE_CLOEXEC))
		return err_set_errno(err, ERR_SYS, "cannot arrange descriptors");
	return 0;
}

/* What exec would hand on: ignored signals (we ignore SIGCHLD) and blocked ones. */
static void reset_signals(void)
{
	sigset_t none;

	for (int s = 1; s < NSIG; s++)
		(void)signal(s, SIG_DFL); /* not for KILL and STOP, nor those of libc */
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

int enter(uid_t uid, uid_t agent, int lock, int listen, const char *shim, const char *task, struct err *err)
{
	char *argv[] = {strdup(shim), strdup("--service"), strdup(task), NULL};
	char *envp[] = {NULL};
	struct person user, own;
	uid_t r, e, s;
	int code = look_up(uid, &user, err);

	if (!code)
		code = look_up(agent, &own, err);
	if (!code)
		code = set_files(lock, listen, err);
	if (!code)
		code = set_groups(&user, err);
	if (code)
		return code;
	reset_signals();
	(void)umask(022);
	(void)prctl(PR_SET_KEEPCAPS, 0); /* off unless somebody before us set it */
	if (setresgid(user.gid, own.gid, own.gid) || setresuid(uid, agent, agent) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return err_set_errno(err, ERR_SYS, "cannot become user %u", (unsigned)uid);
	/* Root's keys, of the session that we were started in, are not the task's: it would possess them. A kernel without keys
	 * has none to hand on, and what a filter forbids to us it forbids to the task. */
	if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS && errno != EPERM)
		return err_set_errno(err, ERR_SYS, "cannot leave the session's keys behind");
	/* There must be no way back. */
	if (getresuid(&r, &e, &s) || r != uid || e != agent || s != agent || !setuid(0) || !seteuid(0))
		return err_set(err, ERR_SYS, "root was not given up");
	(void)execve(shim, argv, envp);
	return err_set_errno(err, ERR_SYS, "cannot execute '%s'", shim);
}
