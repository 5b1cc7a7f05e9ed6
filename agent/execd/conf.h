/* conf.h - what sluis-execd may do: /etc/sluis/execd.conf and flags
 *
 * A line is "key = value", '#' begins a comment; a flag is --key=value and comes last. The file must be
 * root's and writable by nobody else.
 *
 *   agent = sluis-agent                user (name or number) that may ask, and that owns run-dir
 *   uid-min = 1000, uid-max = 60000    whose tasks may be started, besides the agent's own
 *   run-dir = /var/lib/sluis-agent/exec  RUN_DIR of the agent (agent/exec/unit.h)
 *   shim = sluis-shim beside this program
 *   backend = auto                     systemd where it runs, else cgroup2
 *   cgroup-root = /sys/fs/cgroup/sluis for cgroup2
 *   socket =                           made at this path; empty: given by systemd
 */
#ifndef SLUIS_AGENT_EXECD_CONF_H
#define SLUIS_AGENT_EXECD_CONF_H

#include <limits.h>
#include <sys/types.h>

#include "proto/base/err.h"

enum execd_backend { EXECD_AUTO, EXECD_SYSTEMD, EXECD_CGROUP2 };

struct execd_conf {
	uid_t agent;
	uid_t uid_min, uid_max;
	enum execd_backend backend;
	char run_dir[PATH_MAX - 128], shim[PATH_MAX - 128], cgroup_root[PATH_MAX - 128], socket[PATH_MAX - 128];
};

#define EXECD_CONF_PATH "/etc/sluis/execd.conf"

/* Flags may name another file with --config=PATH; the default one may be absent.
 * ERR_CONFIG with the line or flag; ERR_IO. */
int execd_conf_load(int argc, char **argv, struct execd_conf *ret, struct err *err) NODISCARD;

#endif
