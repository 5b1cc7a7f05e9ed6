/* ctl_conf.h - sluisctl.conf as a struct: contexts, one per cluster */
#ifndef SLUIS_PROTO_CONFIG_CTL_CONF_H
#define SLUIS_PROTO_CONFIG_CTL_CONF_H

#include "proto/config/config.h"

struct context_conf {
	struct conf_head head; /* name of the context */
	const char *endpoint;  /* tcp://HOST:PORT or ipc:///PATH */
	const char *server_key; /* Z85; NULL for ipc */
	const char *server_key_next; /* announced by the server as its next; NULL: none */
	const char *key;        /* path of the user's key, or NULL */
	const char *project;    /* default project, or NULL */
	int64_t timeout_ms;
};

struct ctl_conf {
	struct arena arena;
	const char *current; /* NULL: none chosen */
	struct conf_items contexts; /* struct context_conf */
};

extern const struct conf_schema ctl_conf_schema;

/* As daemon_conf_load(). */
int ctl_conf_load(const char *path, const char *const *sets, size_t sets_count, struct ctl_conf *ret_conf,
		  struct config_errors *errs) NODISCARD;
void ctl_conf_done(struct ctl_conf *conf);
/* Context by name (NULL: the current one), or NULL. */
const struct context_conf *ctl_conf_context(const struct ctl_conf *conf, const char *name);
/* The file that holds `conf`, appended: what `context add|use|remove` write back. */
void ctl_conf_write(const struct ctl_conf *conf, struct buf *out);

#endif
