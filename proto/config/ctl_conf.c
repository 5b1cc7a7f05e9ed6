/* ctl_conf.c - the table of sluisctl.conf (see ctl_conf.h) */
#include "proto/config/ctl_conf.h"

#include <string.h>

#include "proto/base/ensure.h"
#include "proto/base/instant.h"
#include "proto/config/units.h"

#define AT(member) offsetof(struct ctl_conf, member)
#define CTX(member) offsetof(struct context_conf, member)

/* tcp:// as everywhere, and ipc:// for the local door */
static void set_endpoint(struct conf_walk *walk, const struct conf_row *row, struct doc_node *node, void *target)
{
	static const struct conf_row tcp = {.key = "endpoint", .type = CONF_ENDPOINT};
	const char *copy;

	(void)row;
	if (node->kind != DOC_SCALAR || strncmp(node->text, "ipc:///", 7) != 0) {
		conf_value(walk, &tcp, node, target);
		return;
	}
	if (strlen(node->text) > 6 + 107) {
		(void)conf_error(walk, node, "the path of a socket is longer than 107 bytes");
		return;
	}
	copy = arena_copy(walk->arena, node->text, strlen(node->text) + 1);
	memcpy(target, &copy, sizeof(copy));
}

static void check_context(struct conf_walk *walk, struct doc_node *node, void *target)
{
	const struct context_conf *c = target;

	if (strncmp(c->endpoint, "tcp:", 4) == 0 && !c->server_key)
		config_error_try(conf_error_key(walk, node, "context '%s' has no server_key", c->head.name),
				 "server_key: the cluster's public key (40 characters)");
	if (c->server_key && strlen(c->server_key) != 40)
		(void)conf_error(walk, doc_get(node, "server_key"), "a public key has 40 characters, not %zu",
				 strlen(c->server_key));
	if (strncmp(c->endpoint, "tcp:", 4) == 0 && strchr(c->endpoint, '*'))
		config_error_try(conf_error(walk, doc_get(node, "endpoint"), "'%s' is no address to connect to",
					    c->endpoint),
				 "tcp://ctl.example:8472");
}

static void check(struct conf_walk *walk, struct doc_node *node, void *target)
{
	const struct ctl_conf *c = target;
	const struct context_conf *items = c->contexts.items;

	if (c->current && !ctl_conf_context(c, c->current))
		config_error_try(conf_error(walk, doc_get(node, "current"), "there is no context '%s'", c->current), "%s",
				 c->contexts.count ? items[0].head.name : "sluisctl context add NAME --endpoint URL");
}

static const struct conf_row context_rows[] = {
	{.key = "endpoint", .type = CONF_CUSTOM, .required = true, .offset = CTX(endpoint), .set = set_endpoint,
	 .doc = "where sluisd takes users: tcp://HOST:PORT or ipc:///PATH"},
	{.key = "server_key", .type = CONF_TEXT, .offset = CTX(server_key), .doc = "sluisd's public key (Z85)"},
	{.key = "server_key_next", .type = CONF_TEXT, .offset = CTX(server_key_next),
	 .doc = "the key sluisd will have next, as it announced; kept by sluisctl"},
	{.key = "key", .type = CONF_PATH, .offset = CTX(key), .doc = "your secret key's file"},
	{.key = "project", .type = CONF_TEXT, .offset = CTX(project), .doc = "project of jobs that name none"},
	{.key = "timeout", .type = CONF_DURATION, .offset = CTX(timeout_ms), .preset = "10s", .min = 1,
	 .max = MS_PER_DAY, .doc = "how long to wait for an answer"},
};
static const struct conf_schema context_schema = {
	.rows = context_rows,
	.rows_count = ARRAY_LEN(context_rows),
	.item_bytes = sizeof(struct context_conf),
	.check = check_context,
};
static const struct conf_row rows[] = {
	{.key = "current", .type = CONF_NAME, .offset = AT(current), .doc = "the context used when none is named"},
	{.key = "contexts", .type = CONF_MAP_OF, .offset = AT(contexts), .sub = &context_schema, .doc = "clusters you use"},
};
const struct conf_schema ctl_conf_schema = {.rows = rows, .rows_count = ARRAY_LEN(rows), .check = check};

int ctl_conf_load(const char *path, const char *const *sets, size_t sets_count, struct ctl_conf *ret_conf,
		  struct config_errors *errs)
{
	struct ctl_conf conf = {0};
	int code = conf_load(path, "sluisctl.conf", sets, sets_count, &ctl_conf_schema, &conf, &conf.arena, errs);

	if (code)
		ctl_conf_done(&conf);
	else
		*ret_conf = conf;
	return code;
}

void ctl_conf_done(struct ctl_conf *conf)
{
	arena_done(&conf->arena);
	memset(conf, 0, sizeof(*conf));
}

const struct context_conf *ctl_conf_context(const struct ctl_conf *conf, const char *name)
{
	const struct context_conf *items = conf->contexts.items;

	name = name ? name : conf->current;
	for (size_t i = 0; name && i < conf->contexts.count; i++)
		if (strcmp(items[i].head.name, name) == 0)
			return &items[i];
	return NULL;
}

void ctl_conf_write(const struct ctl_conf *conf, struct buf *out)
{
	const struct context_conf *items = conf->contexts.items;
	char text[UNITS_TEXT_BYTES];

	if (conf->current)
		buf_addf(out, "current: %s\n", conf->current);
	if (conf->contexts.count)
		buf_addf(out, "contexts:\n");
	for (size_t i = 0; i < conf->contexts.count; i++) {
		const struct context_conf *c = &items[i];
		const struct { const char *key, *value; } texts[] = {
			{"endpoint", c->endpoint}, {"server_key", c->server_key},
			{"server_key_next", c->server_key_next}, {"key", c->key}, {"project", c->project}};

		buf_addf(out, "  %s:\n", c->head.name);
		for (size_t k = 0; k < ARRAY_LEN(texts); k++) {
			if (!texts[k].value)
				continue;
			buf_addf(out, "    %s: ", texts[k].key);
			conf_quote(texts[k].value, out);
			buf_addf(out, "\n");
		}
		buf_addf(out, "    timeout: %s\n", units_duration_exact(text, c->timeout_ms));
	}
}
