/* service_conf.h - a service file, for `sluisctl lease request --service FILE`: what an agent keeps running
 * in each replica of a lease */
#ifndef SLUIS_PROTO_CONFIG_SERVICE_CONF_H
#define SLUIS_PROTO_CONFIG_SERVICE_CONF_H

#include "proto/config/config.h"

struct service_conf {
	struct arena arena;
	struct conf_texts command; /* {port}, {replica} are filled in */
	int64_t replicas;
	int64_t devices_per_replica;
	struct {
		struct conf_texts command; /* none: the process alone counts */
		int64_t every_ms, timeout_ms, after_ms;
		int64_t fail; /* failures in a row until a restart */
	} health;
	struct {
		int64_t backoff_first_ms, backoff_last_ms;
	} restart;
	struct {
		int signal; /* number */
		int64_t within_ms;
	} stop;
	struct conf_pairs env;
	const char *workdir; /* NULL: / */
};

extern const struct conf_schema service_conf_schema;

/* As daemon_conf_load(). */
int service_conf_load(const char *path, const char *const *sets, size_t sets_count, struct service_conf *ret_conf,
		      struct config_errors *errs) NODISCARD;
void service_conf_done(struct service_conf *conf);

#endif
