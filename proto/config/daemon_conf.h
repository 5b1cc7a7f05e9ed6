/* daemon_conf.h - sluisd.conf as a struct: the table in daemon_conf.c is its only description
 *
 * Everything points into `arena`. Fields that are left out have the table's defaults, so a loaded
 * struct is always whole.
 */
#ifndef SLUIS_PROTO_CONFIG_DAEMON_CONF_H
#define SLUIS_PROTO_CONFIG_DAEMON_CONF_H

#include "proto/config/config.h"
#include "proto/model/job.h"

enum conf_log_format { LOG_JOURNAL, LOG_PLAIN };
enum conf_log_level { LEVEL_ERROR, LEVEL_WARNING, LEVEL_NOTICE, LEVEL_INFO, LEVEL_DEBUG };
/* What sbatch -p says about class and loan; NONE: nothing. */
enum conf_class { CONF_CLASS_NONE, CONF_CLASS_URGENT, CONF_CLASS_NORMAL, CONF_CLASS_STANDBY, CONF_CLASS_SCAVENGER };
enum conf_loan { CONF_LOAN_NONE, CONF_LOAN_NEVER, CONF_LOAN_OK, CONF_LOAN_ONLY };

struct partition_conf {
	struct conf_head head;
	const char *flavor;
	bool is_default;
	int klass;           /* enum conf_class */
	int loan;            /* enum conf_loan */
	int64_t time_max_ms; /* 0: no limit of its own */
	int64_t nodes_max;   /* 0: no limit of its own */
};

struct daemon_conf {
	struct arena arena;
	const char *cluster;
	const char *state_dir;
	int64_t map_size_bytes;
	struct {
		const char *agents, *users, *enrol; /* tcp://HOST:PORT; either may be *; enrol NULL: closed */
		const char *local;		    /* socket path; "off": none */
	} listen;
	const char *server_key; /* a path, or credential:NAME */
	const char *server_key_next; /* likewise, or NULL */
	struct conf_counts local_admins; /* uids that are admins through the local door */
	struct conf_texts dual_control; /* names of commands that take two people */
	struct {
		int64_t heartbeat_ms, suspect_ms, unreachable_ms;
	} liveness;
	struct {
		int64_t nodes, devices, pending_jobs, leases;
	} limits;
	struct {
		int64_t ttl_ms, grace_ms, rejoin_grace_ms, renewals_per_second;
		int64_t offer_ms, bind_timeout_ms, term_ms, notice_nonrenew_ms;
	} leases;
	struct {
		int64_t notice_default_ms, lost_after_ms, default_time_ms;
		int slurm_env; /* enum slurm_env */
		int64_t retries_infra, retries_user;
		int64_t finished_keep_ms; /* how long a finished job is listed */
		int64_t age_guard_ms; /* waiting longer: by age, not by size */
		int64_t resize_interval_ms; /* between two changes of an elastic job's size */
		int64_t urgent_percent; /* what class urgent costs a budget */
		int64_t reservations;   /* per flavor: jobs that are promised, or kept, a start */
		int64_t reservations_each; /* of one project */
	} jobs;
	struct {
		int64_t slo_ms; /* of tree nodes that name none */
		int64_t kill_margin_ms, scrub_max_ms;
		int64_t cooldown_ms; /* before the next loan of a recalled job; doubled each time */
	} recall;
	struct {
		int64_t notice_ms, exempt_ms; /* of loans that name none */
		int64_t rate_ppm; /* what a loan costs a budget, of the guaranteed price */
	} loan;
	struct conf_items partitions; /* struct partition_conf */
	struct conf_pairs qos;        /* Slurm's QOS name -> class */
	struct conf_pairs gres_types; /* Slurm's gres type -> flavor, or "none" */
	struct {
		int format, level; /* enum conf_log_format, conf_log_level */
		const char *archive_dir; /* NULL: keep everything in the state */
		int64_t archive_after_ms;
	} log;
};

extern const struct conf_schema daemon_conf_schema;

/* Read `path` (NULL: defaults alone) and then the `--set` assignments. On ERR_CONFIG errs holds the
 * reasons and *ret_conf is untouched. daemon_conf_done frees. */
int daemon_conf_load(const char *path, const char *const *sets, size_t sets_count, struct daemon_conf *ret_conf,
		     struct config_errors *errs) NODISCARD;
void daemon_conf_done(struct daemon_conf *conf);
/* Partition by name, or NULL; name NULL: the default one. */
const struct partition_conf *daemon_conf_partition(const struct daemon_conf *conf, const char *name);

#endif
