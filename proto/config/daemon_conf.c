/* daemon_conf.c - the table of sluisd.conf (see daemon_conf.h) */
#include "proto/config/daemon_conf.h"

#include <string.h>

#include "proto/base/ensure.h"
#include "proto/base/instant.h"
#include "proto/model/command.h"
#include "proto/model/names.h"

#define AT(member) offsetof(struct daemon_conf, member)
#define PART(member) offsetof(struct partition_conf, member)
#define LONG_MS (INT64_C(3650) * MS_PER_DAY) /* ten years */

static const char *const format_names[] = {"journal", "plain", NULL};
static const char *const level_names[] = {"error", "warning", "notice", "info", "debug", NULL};
static const char *const class_names[] = {"none", "urgent", "normal", "standby", "scavenger", NULL};
static const char *const loan_names[] = {"none", "never", "ok", "only", NULL};

static const struct conf_row listen_rows[] = {
	{.key = "agents", .type = CONF_ENDPOINT, .offset = AT(listen.agents), .preset = "tcp://*:8471",
	 .doc = "where agents come in"},
	{.key = "users", .type = CONF_ENDPOINT, .offset = AT(listen.users), .preset = "tcp://*:8472",
	 .doc = "where people and providers come in"},
	{.key = "enrol", .type = CONF_ENDPOINT, .offset = AT(listen.enrol),
	 .doc = "where join tokens and invitations are redeemed; left out: closed"},
	{.key = "local", .type = CONF_SOCKET, .offset = AT(listen.local), .preset = "/run/sluis/sluisd.sock",
	 .doc = "socket for this machine's users; off: none"},
};
static const struct conf_row liveness_rows[] = {
	{.key = "heartbeat", .type = CONF_DURATION, .offset = AT(liveness.heartbeat_ms), .preset = "10s", .min = 10,
	 .max = MS_PER_HOUR, .doc = "how often an agent reports"},
	{.key = "suspect", .type = CONF_DURATION, .offset = AT(liveness.suspect_ms), .preset = "30s", .min = 10,
	 .max = MS_PER_DAY, .doc = "silence after which a node gets no new work"},
	{.key = "unreachable", .type = CONF_DURATION, .offset = AT(liveness.unreachable_ms), .preset = "90s", .min = 10,
	 .max = MS_PER_DAY, .doc = "silence after which a node counts as unreachable"},
};
static const struct conf_row limits_rows[] = {
	{.key = "nodes", .type = CONF_COUNT, .offset = AT(limits.nodes), .preset = "12000", .min = 1, .max = 65536,
	 .doc = "nodes that may be known at once"},
	{.key = "devices", .type = CONF_COUNT, .offset = AT(limits.devices), .preset = "140000", .min = 1, .max = 1048576,
	 .doc = "devices that may be known at once"},
	{.key = "pending_jobs", .type = CONF_COUNT, .offset = AT(limits.pending_jobs), .preset = "1000000", .min = 1,
	 .max = 4000000, .doc = "jobs that may wait at once"},
	{.key = "leases", .type = CONF_COUNT, .offset = AT(limits.leases), .preset = "100000", .min = 1, .max = 1000000,
	 .doc = "leases that may live at once"},
};
static const struct conf_row leases_rows[] = {
	{.key = "ttl", .type = CONF_DURATION, .offset = AT(leases.ttl_ms), .preset = "15m", .min = 100, .max = LONG_MS,
	 .doc = "how long a lease lives after a renewal"},
	{.key = "grace", .type = CONF_DURATION, .offset = AT(leases.grace_ms), .preset = "15m", .max = LONG_MS,
	 .doc = "how long after that it may still be renewed"},
	{.key = "rejoin_grace", .type = CONF_DURATION, .offset = AT(leases.rejoin_grace_ms), .preset = "5m", .max = LONG_MS,
	 .doc = "no lease expires so soon after sluisd started"},
	{.key = "renewals_per_second", .type = CONF_COUNT, .offset = AT(leases.renewals_per_second), .preset = "2000",
	 .min = 1, .max = 1000000, .doc = "renewals are spread so that no more come at once"},
	{.key = "offer", .type = CONF_DURATION, .offset = AT(leases.offer_ms), .preset = "10m", .min = 100, .max = LONG_MS,
	 .doc = "how long an offer stands"},
	{.key = "bind_timeout", .type = CONF_DURATION, .offset = AT(leases.bind_timeout_ms), .preset = "60s", .min = 100,
	 .max = MS_PER_DAY, .doc = "how long agents may take to bind a grant"},
	{.key = "term", .type = CONF_DURATION, .offset = AT(leases.term_ms), .preset = "30d", .min = 1000, .max = LONG_MS,
	 .doc = "term of a lease that names none"},
	{.key = "notice_nonrenew", .type = CONF_DURATION, .offset = AT(leases.notice_nonrenew_ms), .preset = "7d",
	 .max = LONG_MS, .doc = "how long before its end a holder hears that a term is not extended"},
};
static const struct conf_row jobs_rows[] = {
	{.key = "notice_default", .type = CONF_DURATION, .offset = AT(jobs.notice_default_ms), .preset = "2m",
	 .max = MS_PER_DAY, .doc = "notice before a stop, for jobs that name none"},
	{.key = "lost_after", .type = CONF_DURATION, .offset = AT(jobs.lost_after_ms), .preset = "30m", .min = 1000,
	 .max = LONG_MS, .doc = "silence of a node after which its jobs are started anew"},
	{.key = "default_time", .type = CONF_DURATION, .offset = AT(jobs.default_time_ms), .preset = "1h", .min = 1000,
	 .max = LONG_MS, .doc = "time limit of jobs that name none"},
	{.key = "slurm_env", .type = CONF_ENUM, .offset = AT(jobs.slurm_env), .preset = "compat", .names = slurm_env_names,
	 .doc = "which jobs see SLURM_* variables"},
	{.key = "retries_infra", .type = CONF_COUNT, .offset = AT(jobs.retries_infra), .preset = "3", .max = 100,
	 .doc = "attempts after a fault of the machines, for jobs that name none"},
	{.key = "retries_user", .type = CONF_COUNT, .offset = AT(jobs.retries_user), .preset = "0", .max = 100,
	 .doc = "attempts after a non-zero exit, for jobs that name none"},
	{.key = "finished_keep", .type = CONF_DURATION, .offset = AT(jobs.finished_keep_ms), .preset = "30d", .max = LONG_MS,
	 .doc = "how long a finished job is listed"},
	{.key = "age_guard", .type = CONF_DURATION, .offset = AT(jobs.age_guard_ms), .preset = "1d", .min = 1000,
	 .max = LONG_MS, .doc = "a job that waits longer goes by age, not by size"},
	{.key = "resize_interval", .type = CONF_DURATION, .offset = AT(jobs.resize_interval_ms), .preset = "5m", .min = 100,
	 .max = LONG_MS, .doc = "an elastic job changes its size at most this often"},
	{.key = "urgent_percent", .type = CONF_COUNT, .offset = AT(jobs.urgent_percent), .preset = "200", .max = 10000,
	 .doc = "what class urgent costs a budget, in percent of the normal price"},
	{.key = "reservations", .type = CONF_COUNT, .offset = AT(jobs.reservations), .preset = "64", .min = 1, .max = 1000,
	 .doc = "jobs per flavor that have a reserved start which nothing started later may delay"},
	{.key = "reservations_each", .type = CONF_COUNT, .offset = AT(jobs.reservations_each), .preset = "1", .min = 1,
	 .max = 1000, .doc = "of these, jobs of one project"},
};
static const struct conf_row recall_rows[] = {
	{.key = "slo", .type = CONF_DURATION, .offset = AT(recall.slo_ms), .preset = "15m", .min = 100, .max = LONG_MS,
	 .doc = "within what time lent capacity comes back, where the tree names nothing"},
	{.key = "kill_margin", .type = CONF_DURATION, .offset = AT(recall.kill_margin_ms), .preset = "10s",
	 .max = MS_PER_HOUR, .doc = "from the end of the notice to the proven release"},
	{.key = "scrub_max", .type = CONF_DURATION, .offset = AT(recall.scrub_max_ms), .preset = "60s", .max = MS_PER_HOUR,
	 .doc = "longest cleaning of a device, for flavors that name none"},
	{.key = "cooldown", .type = CONF_DURATION, .offset = AT(recall.cooldown_ms), .preset = "60s", .max = MS_PER_HOUR,
	 .doc = "how long a recalled job waits for its next loan; doubled with each recall"},
};
static const struct conf_row loan_rows[] = {
	{.key = "notice", .type = CONF_DURATION, .offset = AT(loan.notice_ms), .preset = "2m", .max = MS_PER_DAY,
	 .doc = "notice before a loan is taken back, where the borrower names none"},
	{.key = "exempt", .type = CONF_DURATION, .offset = AT(loan.exempt_ms), .preset = "10m", .max = MS_PER_DAY,
	 .doc = "how long a new loan is left alone"},
	{.key = "rate", .type = CONF_SHARE, .offset = AT(loan.rate_ppm), .preset = "50 %", .max = 1000000,
	 .doc = "what a loan costs a budget, of the guaranteed price"},
};
static const struct conf_row partition_rows[] = {
	{.key = "flavor", .type = CONF_NAME, .required = true, .offset = PART(flavor), .doc = "what its nodes carry"},
	{.key = "default", .type = CONF_BOOL, .offset = PART(is_default), .doc = "the one for scripts that name none"},
	{.key = "class", .type = CONF_ENUM, .offset = PART(klass), .preset = "none", .names = class_names,
	 .doc = "class of its jobs"},
	{.key = "loan", .type = CONF_ENUM, .offset = PART(loan), .preset = "none", .names = loan_names,
	 .doc = "whether its jobs run on loan"},
	{.key = "time_max", .type = CONF_DURATION, .offset = PART(time_max_ms), .min = 1000, .max = LONG_MS,
	 .doc = "longest time limit"},
	{.key = "nodes_max", .type = CONF_COUNT, .offset = PART(nodes_max), .min = 1, .max = 65536,
	 .doc = "most nodes of one job"},
};
static const struct conf_row log_rows[] = {
	{.key = "format", .type = CONF_ENUM, .offset = AT(log.format), .preset = "journal", .names = format_names,
	 .doc = "journal: <N> in front of each line; plain: without"},
	{.key = "level", .type = CONF_ENUM, .offset = AT(log.level), .preset = "info", .names = level_names,
	 .doc = "least important line that is written"},
	{.key = "archive_dir", .type = CONF_PATH, .offset = AT(log.archive_dir), .doc = "where old log segments go"},
	{.key = "archive_after", .type = CONF_DURATION, .offset = AT(log.archive_after_ms), .preset = "30d", .min = 1000,
	 .max = LONG_MS, .doc = "age at which they go there"},
};

static const struct conf_schema listen_schema = {.rows = listen_rows, .rows_count = ARRAY_LEN(listen_rows)};
static const struct conf_schema limits_schema = {.rows = limits_rows, .rows_count = ARRAY_LEN(limits_rows)};
static const struct conf_schema jobs_schema = {.rows = jobs_rows, .rows_count = ARRAY_LEN(jobs_rows)};
static const struct conf_schema loan_schema = {.rows = loan_rows, .rows_count = ARRAY_LEN(loan_rows)};
static const struct conf_schema log_schema = {.rows = log_rows, .rows_count = ARRAY_LEN(log_rows)};
static const struct conf_schema liveness_schema = {.rows = liveness_rows, .rows_count = ARRAY_LEN(liveness_rows)};
static const struct conf_schema leases_schema = {.rows = leases_rows, .rows_count = ARRAY_LEN(leases_rows)};
static const struct conf_schema recall_schema = {.rows = recall_rows, .rows_count = ARRAY_LEN(recall_rows)};
static const struct conf_schema partition_schema = {
	.rows = partition_rows,
	.rows_count = ARRAY_LEN(partition_rows),
	.item_bytes = sizeof(struct partition_conf),
};

static void check(struct conf_walk *walk, struct doc_node *node, void *target);

static const struct conf_row rows[] = {
	{.key = "cluster", .type = CONF_NAME, .offset = AT(cluster), .preset = "cluster", .doc = "this cluster's name"},
	{.key = "state_dir", .type = CONF_PATH, .offset = AT(state_dir), .preset = "/var/lib/sluis/state",
	 .doc = "where the state and the log lie"},
	{.key = "map_size", .type = CONF_SIZE, .offset = AT(map_size_bytes), .preset = "64GiB", .min = 1 << 20,
	 .max = INT64_C(1) << 44, .doc = "size of the state's file"},
	{.key = "listen", .type = CONF_MAP, .sub = &listen_schema, .doc = "the doors"},
	{.key = "server_key", .type = CONF_SECRET, .offset = AT(server_key), .preset = "credential:server.key",
	 .doc = "secret key of this server"},
	{.key = "server_key_next", .type = CONF_SECRET, .offset = AT(server_key_next),
	 .doc = "the key that takes its place later: announced from now on"},
	{.key = "local_admins", .type = CONF_COUNT_LIST, .offset = AT(local_admins), .max = UINT32_MAX - 1,
	 .doc = "uids that are admins through the local door; the uid that runs sluisd always is"},
	{.key = "dual_control", .type = CONF_TEXT_LIST, .offset = AT(dual_control),
	 .doc = "commands that act only when a second person agrees; revoking a firm lease always takes two"},
	{.key = "liveness", .type = CONF_MAP, .sub = &liveness_schema, .doc = "when silence means something"},
	{.key = "limits", .type = CONF_MAP, .sub = &limits_schema, .doc = "ceilings; memory is taken at start"},
	{.key = "leases", .type = CONF_MAP, .sub = &leases_schema, .doc = "lives of leases"},
	{.key = "jobs", .type = CONF_MAP, .sub = &jobs_schema, .doc = "defaults of jobs"},
	{.key = "recall", .type = CONF_MAP, .sub = &recall_schema, .doc = "taking back what was lent"},
	{.key = "loan", .type = CONF_MAP, .sub = &loan_schema, .doc = "defaults of loans"},
	{.key = "partitions", .type = CONF_MAP_OF, .offset = AT(partitions), .sub = &partition_schema,
	 .doc = "what sbatch -p means here"},
	{.key = "qos", .type = CONF_PAIRS, .offset = AT(qos), .doc = "what sbatch -q means here"},
	{.key = "gres_types", .type = CONF_PAIRS, .offset = AT(gres_types),
	 .doc = "what the type in --gres=gpu:TYPE:N means here"},
	{.key = "log", .type = CONF_MAP, .sub = &log_schema, .doc = "what is written, and where it goes when old"},
};

const struct conf_schema daemon_conf_schema = {.rows = rows, .rows_count = ARRAY_LEN(rows), .check = check};

static bool may_take_two(const char *name)
{
#define X(cmd, bit)                                                                                \
	if (!strcmp(name, command_name(cmd)))                                                      \
		return true;
	DUAL_CONTROL_TABLE(X)
#undef X
	return false;
}

/* What no single key can know. */
static void check(struct conf_walk *walk, struct doc_node *node, void *target)
{
	const struct daemon_conf *c = target;
	const struct doc_node *at = doc_get(node, "liveness");
	const struct partition_conf *parts = c->partitions.items, *first = NULL;

	if (c->liveness.suspect_ms <= c->liveness.heartbeat_ms || c->liveness.unreachable_ms < c->liveness.suspect_ms)
		config_error_try(conf_error(walk, at ? at : node, "heartbeat < suspect <= unreachable does not hold"),
				 "suspect 3 heartbeats, unreachable 9");
	at = doc_get(node, "recall");
	if (c->loan.exempt_ms + c->loan.notice_ms + c->recall.kill_margin_ms + c->recall.scrub_max_ms > c->recall.slo_ms)
		config_error_try(conf_error(walk, at ? at : node,
					    "exempt + notice + kill_margin + scrub_max is longer than slo: no loan could "
					    "be given back in time"),
				 "a longer recall.slo, or a shorter loan.exempt");
	for (size_t i = 0; i < c->partitions.count; i++) {
		if (parts[i].is_default && first)
			config_error_try(config_errors_add(walk->errs, walk->doc->file, parts[i].head.line,
							   parts[i].head.col, "partitions '%s' and '%s' are both the default",
							   first->head.name, parts[i].head.name),
					 "default: true at one of them");
		if (parts[i].is_default && !first)
			first = &parts[i];
	}
	for (size_t i = 0; i < c->dual_control.count; i++)
		if (!may_take_two(c->dual_control.items[i])) {
			at = doc_get(node, "dual_control");
			config_error_try(conf_error(walk, at ? at : node, "'%s' is no command that can take two people",
						    c->dual_control.items[i]),
					 "division_apply, stage_set, node_declare_dead, node_remove, token_create, "
					 "key_revoke, user_disable or resume");
		}
	for (size_t i = 0; i < c->qos.count; i++) {
		const struct conf_pair *p = &c->qos.items[i];
		size_t k = 1;

		while (class_names[k] && strcmp(class_names[k], p->value) != 0)
			k++;
		if (!class_names[k])
			config_error_try(config_errors_add(walk->errs, walk->doc->file, p->line, p->col,
							   "'%s' is no class in qos/%s", p->value, p->key),
					 "urgent, normal, standby or scavenger");
	}
}

int daemon_conf_load(const char *path, const char *const *sets, size_t sets_count, struct daemon_conf *ret_conf,
		     struct config_errors *errs)
{
	struct daemon_conf conf = {0};
	int code = conf_load(path, "sluisd.conf", sets, sets_count, &daemon_conf_schema, &conf, &conf.arena, errs);

	if (code)
		daemon_conf_done(&conf);
	else
		*ret_conf = conf;
	return code;
}

void daemon_conf_done(struct daemon_conf *conf)
{
	arena_done(&conf->arena);
	memset(conf, 0, sizeof(*conf));
}

const struct partition_conf *daemon_conf_partition(const struct daemon_conf *conf, const char *name)
{
	const struct partition_conf *parts = conf->partitions.items;

	for (size_t i = 0; i < conf->partitions.count; i++)
		if (name ? strcmp(parts[i].head.name, name) == 0 : parts[i].is_default)
			return &parts[i];
	return NULL;
}
