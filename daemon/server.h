/* server.h - sluisd as one object: open, serve, close
 *
 * The thin shell around the core. It owns the loop, the doors, the store and the clock; every change
 * of state goes through server_step() in server.c.
 */
#ifndef SLUIS_DAEMON_SERVER_H
#define SLUIS_DAEMON_SERVER_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/base/err.h"
#include "proto/config/daemon_conf.h"

/* Exit statuses, a contract with service managers (sluisd(8)). */
enum {
	EXIT_STOPPED = 0,  /* asked to stop */
	EXIT_OTHER = 1,    /* anything without a status of its own */
	EXIT_CONF = 2,	   /* bad configuration or usage */
	EXIT_HELD = 69,	   /* another sluisd holds the state */
	EXIT_STORAGE = 70, /* a read, write or sync of the state failed */
	EXIT_NEWER = 78,   /* the state was written by a newer version */
};

struct server;

struct server_opts {
	const char *config; /* NULL: defaults alone */
	const char *const *sets;
	size_t sets_n;
	bool print_endpoints; /* one line of JSON on stdout when ready */
};

/* Open everything and begin to listen. `conf` (loaded from `opts`) becomes the server's; both are
 * kept, `opts` is borrowed until server_free. Returns 0, or a negative code with *ret_exit set to
 * the status to exit with. */
int server_open(struct daemon_conf *conf, const struct server_opts *opts, struct server **ret_server,
		int *ret_exit, struct err *err) NODISCARD;

/* Serve until SIGTERM or SIGINT, or until the store fails. Returns the status to exit with. */
int server_run(struct server *s) NODISCARD;

void server_free(struct server *s); /* accepts NULL */

/* LOG_* of log.level. */
int server_level(const struct daemon_conf *conf);

#endif
