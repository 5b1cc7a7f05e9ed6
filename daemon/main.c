/* main.c - sluisd: options, configuration, exit status */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/server.h"
#include "daemon/store/store.h"
#include "proto/base/buf.h"
#include "proto/base/ensure.h"
#include "proto/link/log.h"

#define CONFIG_DEFAULT "/etc/sluis/sluisd.conf"
enum { SETS_MAX = 256 };

struct options {
	struct server_opts server;
	const char *sets[SETS_MAX];
	bool check_config;
	const char *restore, *state_dir;
};

static void usage(FILE *to)
{
	(void)fprintf(to,
		      "usage: sluisd [--config FILE] [--set KEY=VALUE]... [--check-config] [--print-endpoints]\n"
		      "       sluisd --restore BACKUP --state-dir DIR\n"
		      "       sluisd --version | --help\n"
		      "sluisd(8) explains.\n");
}

static int usage_error(const char *text)
{
	(void)fprintf(stderr, "sluisd: %s\n", text);
	usage(stderr);
	return EXIT_CONF;
}

/* Returns -1 to go on, or the status to exit with. */
static int parse(int argc, char **argv, struct options *o)
{
	enum { OPT_CHECK = 256, OPT_FOREGROUND, OPT_PRINT, OPT_RESTORE, OPT_STATE_DIR };
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},
		{"set", required_argument, NULL, 's'},
		{"check-config", no_argument, NULL, OPT_CHECK},
		{"foreground", no_argument, NULL, OPT_FOREGROUND},
		{"print-endpoints", no_argument, NULL, OPT_PRINT},
		{"restore", required_argument, NULL, OPT_RESTORE},
		{"state-dir", required_argument, NULL, OPT_STATE_DIR},
		{"version", no_argument, NULL, 'V'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "c:s:Vh", options, NULL)) != -1) {
		switch (c) {
		case 'c': o->server.config = optarg; break;
		case 's':
			if (o->server.sets_n == SETS_MAX)
				return usage_error("too many --set");
			o->sets[o->server.sets_n++] = optarg;
			break;
		case OPT_CHECK: o->check_config = true; break;
		case OPT_FOREGROUND: break; /* it never leaves it */
		case OPT_PRINT: o->server.print_endpoints = true; break;
		case OPT_RESTORE: o->restore = optarg; break;
		case OPT_STATE_DIR: o->state_dir = optarg; break;
		case 'V': (void)printf("sluisd %s\n", SLUIS_VERSION); return EXIT_STOPPED;
		case 'h': usage(stdout); return EXIT_STOPPED;
		default: usage(stderr); return EXIT_CONF;
		}
	}
	if (optind < argc)
		return usage_error("it takes options only");
	if ((o->restore != NULL) != (o->state_dir != NULL))
		return usage_error("--restore and --state-dir go together");
	if (!o->server.config && access(CONFIG_DEFAULT, F_OK) == 0)
		o->server.config = CONFIG_DEFAULT;
	o->server.sets = o->sets;
	return -1;
}

static int say(const char *what, const struct err *err, int status)
{
	(void)fprintf(stderr, "sluisd: %s%s%s\n", what, what[0] ? ": " : "", err->msg);
	if (err->hint[0])
		(void)fprintf(stderr, "  try     %s\n", err->hint);
	return status;
}

static int restore(const struct options *o)
{
	struct err err;
	int rc = store_restore(o->restore, o->state_dir, wall_ms(wall_now()), &err);

	if (rc)
		return say("cannot restore", &err,
			   rc == ERR_EXISTS || rc == ERR_NOTFOUND ? EXIT_CONF : rc == ERR_BUSY ? EXIT_HELD : EXIT_STORAGE);
	(void)printf("restored %s into %s\n"
		     "start sluisd on it: it is in safe mode, stops no work and places none,\n"
		     "until an admin has looked and says: sluisctl cluster resume\n"
		     "new jobs and leases have higher numbers than any that the lost state can have given\n",
		     o->restore, o->state_dir);
	return EXIT_STOPPED;
}

static int load(const struct options *o, struct daemon_conf *ret_conf)
{
	CLEANUP(config_errors_done) struct config_errors errs = CONFIG_ERRORS_INIT;
	CLEANUP(buf_done) struct buf text = BUF_INIT;

	if (daemon_conf_load(o->server.config, o->server.sets, o->server.sets_n, ret_conf, &errs) == 0) {
		log_set_level(server_level(ret_conf));
		log_set_prefix(ret_conf->log.format == LOG_JOURNAL);
		return 0;
	}
	config_errors_print(&errs, &text);
	(void)fputs(buf_cstr(&text), stderr);
	return EXIT_CONF;
}

int main(int argc, char **argv)
{
	struct options o = {0};
	struct daemon_conf conf;
	struct server *s;
	struct err err;
	int status = parse(argc, argv, &o);

	if (status >= 0)
		return status;
	(void)umask(0077); /* state, backups, keys: nobody else's; the local door sets its own mode */
	if (o.restore)
		return restore(&o);
	status = load(&o, &conf);
	if (status)
		return status;
	if (o.check_config) {
		daemon_conf_done(&conf);
		return EXIT_STOPPED;
	}
	if (server_open(&conf, &o.server, &s, &status, &err))
		return say("", &err, status);
	status = server_run(s);
	server_free(s);
	return status;
}
