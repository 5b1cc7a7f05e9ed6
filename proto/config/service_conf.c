/* service_conf.c - the table of a service file (see service_conf.h) */
#include "proto/config/service_conf.h"

#include <string.h>

#include "proto/base/ensure.h"
#include "proto/base/instant.h"
#include "proto/base/limits.h"
#include "proto/config/signals.h"
#include "proto/config/units.h"

#define AT(member) offsetof(struct service_conf, member)

/* backoff: 1s..60s */
static void set_backoff(struct conf_walk *walk, const struct conf_row *row, struct doc_node *node, void *target)
{
	const char *dots = node->kind == DOC_SCALAR ? strstr(node->text, "..") : NULL;
	int64_t ms[2] = {0, 0};
	char first[UNITS_TEXT_BYTES];
	size_t len;

	(void)row;
	if (dots) {
		len = (size_t)(dots - node->text);
		if (len < sizeof(first)) {
			memcpy(first, node->text, len);
			first[len] = '\0';
			if (units_duration(first, &ms[0], NULL) == 0 && units_duration(dots + 2, &ms[1], NULL) == 0 &&
			    ms[0] > 0 && ms[0] <= ms[1] && ms[1] <= MS_PER_DAY) {
				memcpy(target, ms, sizeof(ms));
				return;
			}
		}
	}
	config_error_try(conf_error(walk, node, "not a span of waiting times"), "1s..60s, a day at most");
}

static void set_signal(struct conf_walk *walk, const struct conf_row *row, struct doc_node *node, void *target)
{
	int num = node->kind == DOC_SCALAR ? signal_number(node->text) : 0;

	(void)row;
	if (num == 0) {
		config_error_try(conf_error(walk, node, "not a signal"), "TERM, INT, USR1");
		return;
	}
	memcpy(target, &num, sizeof(num));
}

static const struct conf_row health_rows[] = {
	{.key = "command", .type = CONF_TEXT_LIST, .offset = AT(health.command), .required = true,
	 .doc = "exits 0 when the replica can serve"},
	{.key = "every", .type = CONF_DURATION, .offset = AT(health.every_ms), .preset = "10s", .min = 100,
	 .max = MS_PER_DAY, .doc = "from one check to the next"},
	{.key = "timeout", .type = CONF_DURATION, .offset = AT(health.timeout_ms), .preset = "3s", .min = 10,
	 .max = MS_PER_HOUR, .doc = "longest check; longer is a failure"},
	{.key = "after", .type = CONF_DURATION, .offset = AT(health.after_ms), .preset = "60s", .max = MS_PER_DAY,
	 .doc = "failures so soon after the start do not count"},
	{.key = "fail", .type = CONF_COUNT, .offset = AT(health.fail), .preset = "3", .min = 1, .max = 1000,
	 .doc = "failures in a row until a restart"},
};
static const struct conf_row restart_rows[] = {
	{.key = "backoff", .type = CONF_CUSTOM, .offset = AT(restart.backoff_first_ms), .preset = "1s..60s",
	 .set = set_backoff, .doc = "wait before a restart: first, and at most"},
};
static const struct conf_row stop_rows[] = {
	{.key = "signal", .type = CONF_CUSTOM, .offset = AT(stop.signal), .preset = "TERM", .set = set_signal,
	 .doc = "asks the command to stop"},
	{.key = "within", .type = CONF_DURATION, .offset = AT(stop.within_ms), .preset = "45s", .max = MS_PER_HOUR,
	 .doc = "then it is killed"},
};
static const struct conf_schema health_schema = {.rows = health_rows, .rows_count = ARRAY_LEN(health_rows)};
static const struct conf_schema restart_schema = {.rows = restart_rows, .rows_count = ARRAY_LEN(restart_rows)};
static const struct conf_schema stop_schema = {.rows = stop_rows, .rows_count = ARRAY_LEN(stop_rows)};

/* A service without a health command is checked by its process alone. */
static void set_health(struct conf_walk *walk, const struct conf_row *row, struct doc_node *node, void *target)
{
	(void)row;
	conf_walk_map(walk, &health_schema, node, target);
}

static void check(struct conf_walk *walk, struct doc_node *node, void *target)
{
	const struct service_conf *c = target;

	if (c->command.count == 0)
		(void)conf_error(walk, doc_get(node, "command"), "the command is empty");
	else if (c->command.items[0][0] != '/')
		config_error_try(conf_error(walk, doc_get(node, "command"), "the command is no absolute path"),
				 "/usr/bin/%s", c->command.items[0]);
	if (doc_get(node, "health") && c->health.command.count == 0)
		(void)conf_error(walk, doc_get(node, "health"), "the health command is empty");
	for (size_t i = 0; i < c->env.count; i++)
		if (strchr(c->env.items[i].key, '='))
			(void)config_errors_add(walk->errs, walk->doc->file, c->env.items[i].line, c->env.items[i].col,
						"'%s' is no name of a variable in env", c->env.items[i].key);
}

static const struct conf_row rows[] = {
	{.key = "command", .type = CONF_TEXT_LIST, .required = true, .offset = AT(command), .doc = "what to run, word by word"},
	{.key = "replicas", .type = CONF_COUNT, .offset = AT(replicas), .preset = "1", .min = 1, .max = PARTS_PER_ALLOC_MAX,
	 .doc = "how many of it"},
	{.key = "devices_per_replica", .type = CONF_COUNT, .offset = AT(devices_per_replica), .preset = "1",
	 .max = DEVICES_PER_NODE_MAX, .doc = "devices of each"},
	{.key = "health", .type = CONF_CUSTOM, .offset = 0, .set = set_health, .doc = "how to tell that it serves"},
	{.key = "restart", .type = CONF_MAP, .sub = &restart_schema, .doc = "what happens when it ends"},
	{.key = "stop", .type = CONF_MAP, .sub = &stop_schema, .doc = "how to end it"},
	{.key = "env", .type = CONF_PAIRS, .offset = AT(env), .doc = "variables"},
	{.key = "workdir", .type = CONF_PATH, .offset = AT(workdir), .doc = "folder it starts in"},
};
const struct conf_schema service_conf_schema = {.rows = rows, .rows_count = ARRAY_LEN(rows), .check = check};

int service_conf_load(const char *path, const char *const *sets, size_t sets_count, struct service_conf *ret_conf,
		      struct config_errors *errs)
{
	struct service_conf conf = {0};
	int code = conf_load(path, "service", sets, sets_count, &service_conf_schema, &conf, &conf.arena, errs);

	if (code)
		service_conf_done(&conf);
	else
		*ret_conf = conf;
	return code;
}

void service_conf_done(struct service_conf *conf)
{
	arena_done(&conf->arena);
	memset(conf, 0, sizeof(*conf));
}
