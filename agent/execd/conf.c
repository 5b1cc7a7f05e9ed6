/* conf.c - see conf.h */
#include "agent/execd/conf.h"

#include <errno.h>
#include <libgen.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/ensure.h"

static int number(const char *text, uid_t *ret)
{
	char *end;
	unsigned long v;

	errno = 0;
	v = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || v > INT_MAX)
		return -1;
	*ret = (uid_t)v;
	return 0;
}

static int put_user(const char *text, uid_t *ret)
{
	const struct passwd *p;

	if (!number(text, ret))
		return 0;
	p = getpwnam(text);
	if (!p)
		return -1;
	*ret = p->pw_uid;
	return 0;
}

static int put_path(const char *text, char ret[PATH_MAX - 128])
{
	if ((*text && *text != '/') || strlen(text) >= PATH_MAX - 128)
		return -1;
	(void)snprintf(ret, PATH_MAX - 128, "%s", text);
	return 0;
}

static int put_backend(const char *text, enum execd_backend *ret)
{
	static const char *const names[] = {"auto", "systemd", "cgroup2"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (!strcmp(text, names[i])) {
			*ret = (enum execd_backend)i;
			return 0;
		}
	return -1;
}

static int put(struct execd_conf *c, const char *key, const char *value, struct err *err)
{
	int bad;

	if (!strcmp(key, "agent"))
		bad = put_user(value, &c->agent);
	else if (!strcmp(key, "uid-min"))
		bad = number(value, &c->uid_min);
	else if (!strcmp(key, "uid-max"))
		bad = number(value, &c->uid_max);
	else if (!strcmp(key, "run-dir"))
		bad = put_path(value, c->run_dir);
	else if (!strcmp(key, "shim"))
		bad = put_path(value, c->shim);
	else if (!strcmp(key, "cgroup-root"))
		bad = put_path(value, c->cgroup_root);
	else if (!strcmp(key, "socket"))
		bad = put_path(value, c->socket);
	else if (!strcmp(key, "backend"))
		bad = put_backend(value, &c->backend);
	else
		return err_set(err, ERR_CONFIG, "no such setting '%.40s'", key);
	return bad ? err_set(err, ERR_CONFIG, "'%.80s' is no value for %s", value, key) : 0;
}

static char *trim(char *text)
{
	size_t n;

	text += strspn(text, " \t");
	n = strlen(text);
	while (n && strchr(" \t\n", text[n - 1]))
		text[--n] = 0;
	return text;
}

static int read_file(struct execd_conf *c, const char *path, bool must_exist, struct err *err)
{
	FILE *f = fopen(path, "re");
	char line[PATH_MAX + 64];
	struct stat st;
	int number_of = 0, code = 0;

	if (!f)
		return errno == ENOENT && !must_exist ? 0 : err_set_errno(err, ERR_IO, "cannot read '%.160s'", path);
	if (fstat(fileno(f), &st) || st.st_uid || (st.st_mode & 022))
		code = err_set(err, ERR_CONFIG, "'%.160s' must be root's, and writable by nobody else", path);
	while (!code && fgets(line, sizeof(line), f)) {
		char *eq, *text = line;

		number_of++;
		line[strcspn(line, "#")] = 0;
		text = trim(text);
		if (!*text)
			continue;
		eq = strchr(text, '=');
		if (!eq) {
			code = err_set(err, ERR_CONFIG, "%.120s:%d: no '='", path, number_of);
			break;
		}
		*eq = 0;
		code = put(c, trim(text), trim(eq + 1), err);
		if (code)
			(void)err_prefix(err, "%.120s:%d", path, number_of);
	}
	(void)fclose(f);
	return code;
}

static int default_shim(struct execd_conf *c, struct err *err)
{
	char self[PATH_MAX - 160];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0)
		return err_set_errno(err, ERR_SYS, "cannot find this program");
	self[n] = 0;
	(void)snprintf(c->shim, sizeof(c->shim), "%s/sluis-shim", dirname(self));
	return 0;
}

int execd_conf_load(int argc, char **argv, struct execd_conf *ret, struct err *err)
{
	const char *path = NULL;
	int code;

	*ret = (struct execd_conf){.agent = 0, .uid_min = 1000, .uid_max = 60000, .run_dir = "/var/lib/sluis-agent/exec",
		.cgroup_root = "/sys/fs/cgroup/sluis"};
	(void)put_user("sluis-agent", &ret->agent); /* checked below */
	code = default_shim(ret, err);
	for (int i = 1; i < argc; i++)
		if (!strncmp(argv[i], "--config=", 9))
			path = argv[i] + 9;
	if (!code)
		code = read_file(ret, path ? path : EXECD_CONF_PATH, path != NULL, err);
	for (int i = 1; i < argc && !code; i++) {
		char key[32];
		const char *eq = strchr(argv[i], '=');

		if (!strncmp(argv[i], "--config=", 9))
			continue;
		if (strncmp(argv[i], "--", 2) || !eq || (size_t)(eq - argv[i]) - 2 >= sizeof(key))
			return err_set(err, ERR_CONFIG, "no such flag '%.40s'", argv[i]);
		(void)snprintf(key, sizeof(key), "%.*s", (int)(eq - argv[i] - 2), argv[i] + 2);
		code = put(ret, key, eq + 1, err);
	}
	if (code)
		return code;
	if (!ret->agent)
		return err_set(err, ERR_CONFIG, "no user for the agent: there is no sluis-agent, and root cannot be");
	if (ret->run_dir[0] != '/' || ret->shim[0] != '/' || ret->cgroup_root[0] != '/')
		return err_set(err, ERR_CONFIG, "run-dir, shim and cgroup-root cannot be empty");
	if (!ret->uid_min || ret->uid_max < ret->uid_min)
		return err_set(err, ERR_CONFIG, "uid-min and uid-max must be 1 or more, in this order");
	return 0;
}
